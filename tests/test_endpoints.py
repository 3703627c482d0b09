"""The endpoints below `endpoint_prefix`, driven without any framework: status, continue, refresh, logout, my sessions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_middleware.authorities.base import Alive, Shown, Vouch
from session_middleware.core.caching import finished
from session_middleware.core.exchange import Exchange
from session_middleware.core.jwt import JwtKey
from session_middleware.core.lifetime import Touch, Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.core.refusal import Refusal, Reply
from session_middleware.endpoints import BODY_LIMIT, ROUTES, Endpoints
from session_middleware.engine import Engine
from session_middleware.errors import SettingsError
from session_middleware.events import SessionEvent
from session_middleware.runtime import run_sync
from session_middleware.settings import Limits, Settings
from session_middleware.stores.memory import MemoryStore

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
START = 1_700_000_000.0
OURS = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
PERSON = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate", "accept": "text/html"}
FORM = "application/x-www-form-urlencoded"


@dataclass
class Facts:
    """A request as a test writes it."""

    method: str = "GET"
    path: str = "/"
    query: str = ""
    mount: str = ""
    scheme: str = "https"
    host: str = "app.example"
    websocket: bool = False
    cookies: str = ""
    client: str | None = "203.0.113.1"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        return self.mount + self.path + (f"?{self.query}" if self.query else "")

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


class Store(MemoryStore):
    """A MemoryStore that counts what is asked of it, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.down: set[str] = set()
        self.before_touch: Callable[[bytes], object] | None = None

    def _asked(self, name: str) -> None:
        self.calls.append(name)
        if name in self.down:
            raise OSError("the store is down")

    def load(self, key: bytes) -> SessionRecord | None:
        self._asked("load")
        return super().load(key)

    def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        self._asked("touch")
        if self.before_touch is not None:
            self.before_touch(key)
        return super().touch(key, touch)

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        self._asked("end")
        return super().end(key, reason, at, keep_until)

    def list(self, handle: str, now: float) -> Any:
        self._asked("list")
        return super().list(handle, now)

    def holds(self, record: SessionRecord) -> bool:
        return "load" not in self.down and super().holds(record)


READS = ("load", "list")


class Site:
    """An app with our endpoints and nothing else, as seen by one browser after another."""

    def __init__(self, *, authority: Any = None, mount: str = "", **options: Any) -> None:
        self.now = [START]
        self.events: list[SessionEvent] = []
        self.store = Store()
        self.mount = mount
        settings = Settings(**{"secret_keys": [KEY], "inactivity_timeout": 1800, "absolute_lifetime": 7200, **options})
        self.engine = Engine(
            settings, self.store, authority=authority, clock=lambda: self.now[0], on_event=[self.events.append]
        )
        self.endpoints = Endpoints(self.engine)

    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def login(self, subject: str = "alice", *, agent: str = "Firefox", **options: Any) -> Browser:
        x = self.engine.begin(Facts(path="/login", method="POST", headers={"user-agent": agent, **OURS}))
        run_sync(self.engine.login(x, subject, **options))
        browser = Browser(self)
        assert x.record is not None
        browser.id = x.record.public_id
        browser.keep(run_sync(self.engine.close(x)))
        return browser

    def browser(self) -> Browser:
        return Browser(self)


@dataclass
class Answer:
    reply: Reply
    cookies: list[str]
    x: Exchange

    @property
    def status(self) -> int:
        return self.reply.status

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.reply.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.reply.body)

    @property
    def text(self) -> str:
        return self.reply.body.decode()

    @property
    def deleted(self) -> bool:
        return len(self.cookies) == 2 and all("Max-Age=0" in line for line in self.cookies)


class Browser:
    """Keeps cookies and sends them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.jar: dict[str, str] = {}
        self.id = ""
        self.fault: Exception | None = None  # what reading a body meets

    def keep(self, lines: list[str]) -> None:
        for line in lines:
            name, _, rest = line.partition("=")
            if "Max-Age=0" in line:
                self.jar.pop(name, None)
            else:
                self.jar[name] = rest.partition(";")[0]

    def ask(
        self,
        method: str,
        name: str,
        *,
        headers: Mapping[str, str] = OURS,
        body: bytes = b"",
        kind: str | None = None,
        query: str = "",
        websocket: bool = False,
    ) -> Answer:
        site = self.site
        sent = {**headers, **({"content-type": kind} if kind is not None else {})}
        facts = Facts(
            method=method,
            path=f"/session/{name}",
            query=query,
            mount=site.mount,
            websocket=websocket,
            headers=sent,
            cookies="; ".join(f"{k}={v}" for k, v in self.jar.items()),
        )

        async def read_body(limit: int) -> bytes:
            if self.fault is not None:
                raise self.fault
            if len(body) > limit:
                raise ValueError("too long")
            return body

        assert site.endpoints.owns(facts.path)
        x = site.engine.begin(facts)
        reply = run_sync(site.endpoints.answer(x, read_body))
        lines = run_sync(site.engine.close(x))
        self.keep(lines)
        for _, value in finished(reply.headers, vary=site.engine.vary(x), protected=False, cookies=lines):
            value.encode("latin-1")
            assert "\n" not in value
            assert "\r" not in value
        return Answer(reply, lines, x)

    def status(self) -> Any:
        return self.ask("GET", "status").json

    def is_in(self) -> bool:
        return bool(self.status()["authenticated"])


class Unsure:
    """An authority that is not local, and does not answer when told to."""

    name = "auth0"
    verify_interval: float | None = 0.0
    alive = Alive.ALIVE

    async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
        return Vouch(self.alive)


class Page(HTMLParser):
    """What a test asks of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def site() -> Site:
    return Site()


# --- which requests are ours ---------------------------------------------------------------------------------------


def test_only_paths_below_the_prefix_are_owned() -> None:
    """The prefix itself and its look-alikes belong to the app."""
    endpoints = Site(endpoint_prefix="/auth/s").endpoints
    assert endpoints.prefix == "/auth/s/"
    assert endpoints.owns("/auth/s/status")
    assert not any(map(endpoints.owns, ["/auth/s", "/auth/status", "/auth/sx/status", "/x/auth/s/status", ""]))


@pytest.mark.parametrize(
    "name", ["", "nope", "status/", "Status", "list/", "list//end", "list/a/b", "list/a/end/", "client", "../status"]
)
def test_an_unknown_name_is_a_404_problem(site: Site, name: str) -> None:
    """Nothing below the prefix reaches the app, so a name we do not have is answered here."""
    answer = site.login().ask("GET", name)
    assert (answer.status, answer.json["reason"]) == (404, "not_found")
    assert answer.header("content-type") == "application/problem+json"


def test_a_problem_has_the_members_that_refusals_have(site: Site) -> None:
    """Whoever reads our problems reads one shape."""
    answer = site.browser().ask("GET", "nope")
    assert set(answer.json) == {"type", "title", "status", "reason", "login_url"}


def test_a_person_gets_a_problem_as_a_page(site: Site) -> None:
    """A person is not shown JSON."""
    answer = site.browser().ask("GET", "nope", headers=PERSON)
    assert (answer.status, answer.header("content-type")) == (404, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("method", "name", "allow"),
    [
        ("POST", "status", "GET, HEAD, OPTIONS"),
        ("GET", "continue", "OPTIONS, POST"),
        ("HEAD", "continue", "OPTIONS, POST"),
        ("PUT", "logout", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "list/end-others", "OPTIONS, POST"),
        ("GET", "list/abc", "DELETE, OPTIONS"),
        ("GET", "list/abc/end", "OPTIONS, POST"),
        ("get", "status", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_ones(site: Site, method: str, name: str, allow: str) -> None:
    """RFC 9110 §15.5.6: Allow is sent, and nothing else happens; so GET changes nothing (M26)."""
    browser = site.login()
    answer = browser.ask(method, name)
    assert (answer.status, answer.header("allow")) == (405, allow)
    assert browser.is_in()


def test_options_names_the_methods(site: Site) -> None:
    """OPTIONS asks for exactly that, and looks at no session."""
    answer = site.login().ask("OPTIONS", "list")
    assert (answer.status, answer.header("allow"), answer.cookies) == (204, "GET, HEAD, OPTIONS", [])
    assert site.store.calls.count("load") == 1  # that of the login


@pytest.mark.parametrize("name", ["status", "list", "jwks.json", "logout", "signed-out"])
def test_head_is_answered_as_get(site: Site, name: str) -> None:
    """The adapter drops the body; status and headers are those of GET."""
    browser = site.login()
    head, get = browser.ask("HEAD", name), browser.ask("GET", name)
    assert (head.reply.status, head.reply.headers) == (get.reply.status, get.reply.headers)


def test_a_websocket_finds_nothing_here(site: Site) -> None:
    """A handshake is no GET of ours."""
    assert site.login().ask("GET", "status", websocket=True).status == 404


def test_endpoints_work_where_exempt_paths_cover_them() -> None:
    """`exempt_paths=["/*"]` opens the app, and does not blind our own endpoints."""
    site = Site(exempt_paths=["/*"])
    browser = site.login()
    assert browser.is_in()
    assert browser.ask("POST", "logout").status == 204
    assert not browser.is_in()


# --- headers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [OURS, PERSON], ids=["script", "person"])
@pytest.mark.parametrize(("name", "method"), [(name, method) for name in ROUTES for method in ROUTES[name]])
def test_every_answer_is_hardened(site: Site, name: str, method: str, headers: dict[str, str]) -> None:
    """Nothing but the key set and the script may be stored; nothing is sniffed; every page has a policy without script."""
    browser = site.login()
    for each in (browser, site.browser()):
        answer = each.ask(method, name.replace("{id}", browser.id), headers=headers)
        stored = {"jwks.json": "public, max-age=300", "client.js": "no-cache"}
        assert answer.header("cache-control") == stored.get(name, "no-store")
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("referrer-policy") == "same-origin"
        if (answer.header("content-type") or "").startswith("text/html"):
            policy = answer.header("content-security-policy") or ""
            assert "default-src 'none'" in policy
            assert "form-action 'self'" in policy
            assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("name", ["list", "logout", "signed-out", "nope"])
def test_pages_are_accessible_without_script(site: Site, name: str) -> None:
    """Language, title and viewport are set; every form is a same-origin POST with a real button."""
    site.login()
    page = Page(site.login().ask("GET", name, headers=PERSON).text)
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("title")) == len(page.all("h1")) == 1
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert not page.all("script")
    for form in page.all("form"):
        assert form["method"] == "post"
        assert str(form["action"]).startswith("/session/")
    assert len(page.all("button")) == len(page.all("form"))
    assert all(button["type"] == "submit" for button in page.all("button"))


# --- other sites (L20) ---------------------------------------------------------------------------------------------

CHANGES = [
    ("POST", "continue"),
    ("POST", "logout"),
    ("DELETE", "list/{id}"),
    ("POST", "list/{id}/end"),
    ("POST", "list/end-others"),
]
NOT_OURS: list[dict[str, str]] = [
    {},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"origin": "null"},
    {"origin": "https://evil.example"},
    {"origin": "http://app.example"},
]


@pytest.mark.parametrize("headers", NOT_OURS, ids=str)
@pytest.mark.parametrize(("method", "name"), CHANGES)
def test_what_changes_state_takes_requests_of_this_origin_only(
    site: Site, method: str, name: str, headers: dict[str, str]
) -> None:
    """L20: anything but same-origin is a 403 that leaves every session, is told, and says what it depends on."""
    browser, other = site.login(), site.login()
    site.events.clear()
    answer = browser.ask(method, name.replace("{id}", browser.id), headers=headers)
    assert (answer.status, answer.json["reason"], answer.cookies) == (403, "csrf", [])
    assert {"Sec-Fetch-Site", "Origin"} <= set((answer.header("vary") or "").split(", "))
    assert site.names() == ["csrf_blocked"]
    assert browser.is_in()
    assert other.is_in()


@pytest.mark.parametrize(("method", "name"), CHANGES)
def test_an_origin_that_is_this_host_is_as_good(site: Site, method: str, name: str) -> None:
    """Browsers without Sec-Fetch-Site send an Origin."""
    browser = site.login()
    answer = browser.ask(method, name.replace("{id}", browser.id), headers={"origin": "https://app.example"})
    assert answer.status in (200, 204)


@pytest.mark.parametrize(("method", "name"), [("GET", "status"), ("GET", "list"), ("POST", "refresh")])
def test_what_only_tells_refuses_other_sites(site: Site, method: str, name: str) -> None:
    """L20: status, list and refresh refuse cross-site, and nothing else."""
    browser = site.login()
    assert browser.ask(method, name, headers={"sec-fetch-site": "cross-site"}).status == 403
    assert site.names()[-1] == "csrf_blocked"
    for site_header in ("same-origin", "same-site", "none"):
        assert browser.ask(method, name, headers={"sec-fetch-site": site_header}).status == 200
    assert browser.ask(method, name, headers={}).status == 200


def test_a_trusted_origin_may(site: Site) -> None:
    """L20: `trusted_origins` are let through on both kinds of endpoint."""
    site = Site(trusted_origins=["https://www.example"])
    trusted = {"sec-fetch-site": "cross-site", "origin": "https://www.example"}
    browser = site.login()
    assert browser.ask("GET", "status", headers=trusted).status == 200
    assert browser.ask("POST", "continue", headers=trusted).status == 200


def test_a_blocked_request_costs_no_store_call(site: Site) -> None:
    """Another site cannot make us work."""
    browser = site.login()
    site.store.calls.clear()
    browser.ask("POST", "logout", headers={"sec-fetch-site": "cross-site"})
    assert site.store.calls == []


# --- status --------------------------------------------------------------------------------------------------------


def test_status_tells_what_is_enforced_in_whole_seconds(site: Site) -> None:
    """Both clocks, rounded down, so that nobody is promised a second that is not there."""
    browser = site.login()
    site.now[0] += 10.25
    said = browser.status()
    assert said.pop("user")
    assert said == {
        "authenticated": True,
        "reason": None,
        "inactivity_left": 1789,
        "absolute_left": 7189,
        "final_left": 7189,
        "warn_before": 60,
        "report_every": 60,
        "events": False,
        "login_url": "/login",
        "return_param": "return_to",
    }


@pytest.mark.parametrize(("sse", "status"), [(False, 204), (True, 200)])
def test_events_take_a_thread_only_where_that_was_asked_for(sse: bool, status: int) -> None:
    """`sse`: each stream of a synchronous app holds a thread, so without the setting nobody is given one."""
    site = Site(sse=sse)
    browser = site.login()
    for method in ("GET", "HEAD"):
        assert browser.ask(method, "events").status == status
    assert browser.status()["events"] is sse


def test_status_is_null_where_there_is_no_limit() -> None:
    """No limit by silence is no number."""
    site = Site(inactivity_timeout=None)
    assert site.login().status()["inactivity_left"] is None


def test_status_tells_users_apart_and_names_nobody() -> None:
    """Two sessions of one user share a hash, also while a key is changed; another user's share none; no id is in them."""
    old, new = "old key 0f6a1b2c3d4e5f60718293a4b5c6d7e8", "new key 0f6a1b2c3d4e5f60718293a4b5c6d7e8"

    def users(keys: list[str], subject: str) -> set[str]:
        return set(Site(secret_keys=keys).login(subject).status()["user"])

    before, during, after = (users(keys, "alice") for keys in ([old], [new, old], [new]))
    assert before & during
    assert during & after
    assert not before & after
    assert not users([new, old], "bob") & (before | during | after)
    assert all("alice" not in text and len(text) == 16 for text in during)


@pytest.mark.parametrize(
    ("settings", "every"),
    [({"touch_interval": 20}, 20), ({"rolling": False}, None), ({"inactivity_timeout": None}, None)],
    ids=["rolling", "not rolling", "no limit by silence"],
)
def test_status_says_how_often_a_user_may_be_reported(settings: dict[str, Any], every: float | None) -> None:
    """L4: nobody is reported where activity does not move the deadline."""
    assert Site(**settings).login().status()["report_every"] == every


def test_status_never_rolls_writes_or_sets_a_cookie(site: Site) -> None:
    """M19, L9: however often it is asked, the session ends on time, and no cookie goes out, the JWT's included."""
    browser = site.login()
    site.store.calls.clear()
    for _ in range(17):
        site.now[0] += 100
        answer = browser.ask("GET", "status")
        assert answer.cookies == []
        assert answer.json["authenticated"]
    assert set(site.store.calls) <= {"load"}
    site.now[0] = START + 1800
    assert browser.status() == {
        "authenticated": False,
        "reason": "inactivity",
        "inactivity_left": None,
        "absolute_left": None,
        "final_left": None,
        "warn_before": 60,
        "report_every": None,
        "events": False,
        "user": None,
        "login_url": "/login",
        "return_param": "return_to",
    }


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda site, browser: browser.jar.clear(), None),
        (lambda site, browser: browser.jar.update({"__Host-session": "v1.x"}), "signed_out"),
        (lambda site, browser: site.now.__setitem__(0, START + 1800), "inactivity"),
        (lambda site, browser: run_sync(site.engine.end_id(browser.id, START)), "signed_out"),
    ],
    ids=["anonymous", "tampered", "silence", "ended"],
)
def test_status_names_the_reason(site: Site, spoil: Callable[[Site, Browser], Any], reason: str | None) -> None:
    """L16: the word outside for why nobody is signed in, with 200."""
    browser = site.login()
    spoil(site, browser)
    answer = browser.ask("GET", "status")
    assert (answer.status, answer.json["authenticated"], answer.json["reason"]) == (200, False, reason)


def test_status_names_the_lifetime() -> None:
    """L16: the hard age has its own word."""
    site = Site(inactivity_timeout=None)
    browser = site.login()
    site.now[0] += 7200
    assert browser.status()["reason"] == "lifetime"


def test_status_after_an_outage_never_counts_below_zero(site: Site) -> None:
    """L17: silence that ran out while the store was away ends a touch interval after; what is shown says so."""
    browser = site.login()
    site.now[0] += 1700
    site.store.down = {*READS}
    assert browser.ask("GET", "status").status == 503
    site.now[0] += 200
    site.store.down = set()
    state = browser.status()
    assert state["authenticated"]
    assert state["inactivity_left"] == 60


# --- continue ------------------------------------------------------------------------------------------------------


def test_continue_sets_the_policys_window(site: Site) -> None:
    """L7: now + the inactivity timeout in force, answered as status does."""
    browser = site.login()
    site.now[0] += 1000
    answer = browser.ask("POST", "continue")
    assert answer.status == 200
    assert answer.json == browser.status()
    assert answer.json["inactivity_left"] == 1800


@pytest.mark.parametrize(
    ("referer", "location"),
    [
        ("https://app.example/basket?page=2", "/basket?page=2"),
        ("https://evil.example/basket", None),
        (None, None),
    ],
)
def test_a_person_who_continues_by_a_form_comes_back(site: Site, referer: str | None, location: str | None) -> None:
    """A button on a page without script leads back to that page, or to one that says what was done: nobody reads JSON."""
    browser = site.login()
    site.now[0] += 1000
    headers = PERSON if referer is None else {**PERSON, "referer": referer}
    answer = browser.ask("POST", "continue", headers=headers, body=b"minutes=", kind=FORM)
    assert browser.status()["inactivity_left"] == 1800
    assert answer.header("location") == location
    if location is not None:
        assert answer.status == 303
    else:
        assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
        assert "stay signed in" in answer.text
    assert {"Accept", "Sec-Fetch-Mode"} <= set((answer.header("vary") or "").split(", "))


@pytest.mark.parametrize(
    ("body", "kind", "left"),
    [
        (b'{"minutes": 20}', "application/json", 1200),
        (b'{"minutes": "20"}', "application/json; charset=utf-8", 1200),
        (b'{"minutes": 7.5}', "application/json", 450),
        (b"minutes=20", FORM, 1200),
        (b"minutes=20&minutes=20", FORM, 1200),
        (b'{"minutes": null}', "application/json", 1800),
        (b'{"minutes": " "}', "application/json", 1800),
        (b"minutes=", FORM, 1800),
        (b"{}", "application/json", 1800),
        (b"", "application/json", 1800),
        (b"other=1", FORM, 1800),
    ],
)
def test_continue_takes_minutes_from_json_or_a_form(site: Site, body: bytes, kind: str, left: int) -> None:
    """Blank minutes are no minutes."""
    answer = site.login().ask("POST", "continue", body=body, kind=kind)
    assert (answer.status, answer.json["inactivity_left"]) == (200, left)


@pytest.mark.parametrize(
    "value",
    [
        "4.9",
        "31",
        "-5",
        "0",
        "1e9",
        '"x"',
        '"1_0"',
        '"\\u0661\\u0660"',
        "true",
        "[10]",
        "{}",
        "NaN",
        "Infinity",
        "9" * 4000,
    ],
)
def test_bad_minutes_are_a_400_that_names_the_bounds(site: Site, value: str) -> None:
    """L7: no request widens the policy, and the deadline stays where it was."""
    browser = site.login()
    site.now[0] += 100
    answer = browser.ask("POST", "continue", body=b'{"minutes": %s}' % value.encode(), kind="application/json")
    assert (answer.status, answer.json["reason"]) == (400, "minutes")
    assert "at least 5 and at most 30" in answer.json["detail"]
    assert browser.status()["inactivity_left"] == 1700


def test_two_different_minutes_are_refused(site: Site) -> None:
    """Which one was meant cannot be known."""
    assert site.login().ask("POST", "continue", body=b"minutes=10&minutes=20", kind=FORM).status == 400


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"minutes": 10', "application/json"),
        (b"[10]", "application/json"),
        (b"\xff\xfe\xfa", "application/json"),
        (b"[" * 60_000, "application/json"),
        (b"minutes=10", "text/plain"),
        (b"minutes=10", None),
        (b"a=1&" * 200, FORM),
    ],
)
def test_an_unreadable_body_is_a_400(site: Site, body: bytes, kind: str | None) -> None:
    """A body we do not understand is not taken for an empty one."""
    answer = site.login().ask("POST", "continue", body=body, kind=kind)
    assert (answer.status, answer.json["reason"]) == (400, "unreadable")


def test_a_multipart_form_is_told_what_to_send(site: Site) -> None:
    """L7: `fetch` sends FormData so; the answer names the two kinds that are read, and nothing is done."""
    body = b'--x\r\nContent-Disposition: form-data; name="minutes"\r\n\r\n5\r\n--x--\r\n'
    answer = site.login().ask("POST", "continue", body=body, kind="multipart/form-data; boundary=x")
    assert (answer.status, answer.json["reason"]) == (400, "unreadable")
    assert "JSON or a urlencoded form (not multipart)" in answer.text


def test_a_body_over_the_limit_is_a_413(site: Site) -> None:
    """64 KiB are read, not a byte more, and nothing is done."""
    browser = site.login()
    answer = browser.ask("POST", "continue", body=b"x" * (BODY_LIMIT + 1), kind=FORM)
    assert (answer.status, answer.json["reason"]) == (413, "too_large")
    assert browser.is_in()


def test_max_continue_binds_the_minutes() -> None:
    """L7: the setting replaces the inactivity timeout as the bound."""
    browser = Site(max_continue=3600).login()
    assert browser.ask("POST", "continue", body=b"minutes=60", kind=FORM).json["inactivity_left"] == 3600
    assert "at most 60" in browser.ask("POST", "continue", body=b"minutes=61", kind=FORM).json["detail"]


def test_continue_never_passes_the_absolute_deadline(site: Site) -> None:
    """M18: where the hard age is nearer it is what counts."""
    browser = site.login()
    for _ in range(4):
        site.now[0] += 1700
        assert browser.ask("POST", "continue").status == 200
    assert browser.status()["inactivity_left"] == browser.status()["absolute_left"] == 400


def test_continue_may_rotate_the_jwt(site: Site) -> None:
    """L9: its answer may carry cookies, unlike that of status."""
    browser = site.login()
    site.now[0] += 200
    assert [line.partition("=")[0] for line in browser.ask("POST", "continue").cookies] == ["__Host-session_jwt"]


def test_continue_loses_against_an_end_in_between(site: Site) -> None:
    """L7, L13: an ended session cannot be extended, also if it ended between the read and the write."""
    browser = site.login()
    site.store.before_touch = lambda key: site.store.end(key, "logout", START, START + 1000)
    answer = browser.ask("POST", "continue")
    assert (answer.status, answer.json["reason"], answer.cookies) == (401, "signed_out", [])


# --- nobody signed in, or nobody knows -----------------------------------------------------------------------------

SIGNED_IN = [
    ("POST", "continue"),
    ("POST", "refresh"),
    ("GET", "list"),
    ("DELETE", "list/abc"),
    ("POST", "list/abc/end"),
    ("POST", "list/end-others"),
]


@pytest.mark.parametrize(("method", "name"), SIGNED_IN)
def test_without_a_session_a_script_gets_401(site: Site, method: str, name: str) -> None:
    """L15: a problem with the login URL and a challenge, and no store call for somebody anonymous."""
    answer = site.browser().ask(method, name)
    assert (answer.status, answer.json["login_url"], answer.cookies) == (401, "/login", [])
    assert answer.header("www-authenticate") == "Session"
    assert site.store.calls == []


@pytest.mark.parametrize(("method", "name"), SIGNED_IN)
def test_an_ended_session_is_refused_with_its_reason(site: Site, method: str, name: str) -> None:
    """L16, L26: the reason is named and the dead cookies stay."""
    browser = site.login()
    site.now[0] += 1800
    answer = browser.ask(method, name)
    assert (answer.status, answer.json["reason"], answer.cookies) == (401, "inactivity", [])


def test_a_person_without_a_session_is_sent_to_login(site: Site) -> None:
    """L15: whoever opens the list is brought back to it after signing in."""
    answer = site.browser().ask("GET", "list", headers=PERSON)
    assert (answer.status, answer.header("location")) == (303, "/login?return_to=/session/list")


def test_the_apps_own_refusal_is_used() -> None:
    """L15: `refusal=` renders ours too, and may decline."""
    own = Reply(418, (), b"teapot")

    def render(facts: Facts, refusal: Refusal) -> Reply | None:
        return own if refusal.verdict is Verdict.ANONYMOUS else None

    site = Site(refusal=render)
    assert site.browser().ask("POST", "refresh").status == 418
    browser = site.login()
    site.now[0] += 1800
    assert browser.ask("POST", "refresh").status == 401


async def _later(*given: object) -> Any:
    return Reply(418, ())


@pytest.mark.parametrize("said", [("no", 418), "no", 418, b"", False, _later], ids=repr)
def test_a_refusal_of_another_kind_is_an_error(said: Any) -> None:
    """Bad input: what is neither a Reply nor None would be dropped without a word; what would be awaited is put away."""

    def render(facts: Facts, refusal: Refusal) -> Any:
        return said(facts) if callable(said) else said

    with pytest.raises(SettingsError) as caught:
        Site(refusal=render).browser().ask("POST", "refresh")
    assert (caught.value.field, "Reply" in caught.value.fix) == ("refusal", True)


@pytest.mark.parametrize("said", [None, "", 5, b"/in", "/in\r\nSet-Cookie: a=b", _later], ids=repr)
def test_a_login_url_that_is_none_is_an_error(said: Any) -> None:
    """Bad input: what the app's function returns goes into a header and a page as it is, so it must be a URL."""

    def login(facts: Facts) -> Any:
        return said(facts) if callable(said) else said

    with pytest.raises(SettingsError) as caught:
        Site(login_url=login).browser().ask("GET", "list", headers=PERSON)
    assert caught.value.field == "login_url"


@pytest.mark.parametrize(
    ("said", "location"),
    [
        ("/вход", "/%D0%B2%D1%85%D0%BE%D0%B4?return_to=/session/list"),
        ("/a b\\c", "/a%20b%5Cc?return_to=/session/list"),
        ("https://id.example/é?a=%20", "https://id.example/%C3%A9?a=%20&return_to=/session/list"),
    ],
)
def test_a_login_url_in_any_script_fits_a_header(said: str, location: str) -> None:
    """RFC 9110 §10.2.2: a Location is a URI, so what is not ASCII is percent-encoded, whoever named it."""
    if " " not in said:  # which the setting refuses
        site = Site(login_url=said)
        assert site.browser().ask("GET", "list", headers=PERSON).header("location") == location
    site = Site(login_url=lambda facts: said)
    assert site.browser().ask("GET", "list", headers=PERSON).header("location") == location


@pytest.mark.parametrize("headers", [OURS, PERSON], ids=["script", "person"])
@pytest.mark.parametrize(("method", "name"), [*SIGNED_IN, ("GET", "status"), ("GET", "signed-out")])
def test_while_the_store_is_down_nobody_is_told_they_are_out(
    site: Site, method: str, name: str, headers: dict[str, str]
) -> None:
    """L17: 503 with Retry-After, no cookie deleted, no login redirect, and the session is there afterwards."""
    browser = site.login()
    site.store.down = {*READS}
    answer = browser.ask(method, name, headers=headers)
    assert (answer.status, answer.header("retry-after"), answer.cookies) == (503, "5", [])
    site.store.down = set()
    assert browser.is_in()


@pytest.mark.parametrize(
    ("method", "name", "down"),
    [
        ("POST", "continue", "touch"),
        ("GET", "list", "list"),
        ("DELETE", "list/{id}", "end"),
        ("POST", "list/end-others", "end"),
    ],
)
def test_a_store_that_fails_halfway_is_a_503(site: Site, method: str, name: str, down: str) -> None:
    """L17: reads work, the call this needs does not."""
    browser, other = site.login(), site.login()
    site.store.down = {down}
    answer = browser.ask(method, name.replace("{id}", other.id))
    assert (answer.status, answer.json["reason"], answer.cookies) == (503, "unavailable", [])
    assert answer.header("retry-after") == "5"


def test_an_authority_that_does_not_answer_is_a_503_but_not_for_logout() -> None:
    """L17: whether the user may go on is unknown; that they want to leave is not."""
    authority = Unsure()
    site = Site(authority=authority)
    browser = site.login()
    authority.alive = Alive.UNKNOWN
    assert browser.ask("GET", "status").status == 503
    answer = browser.ask("POST", "logout")
    assert (answer.status, answer.deleted) == (204, True)


def test_no_stale_answer_here() -> None:
    """L17: where a session JWT may stand in for the record, it still does not speak for our own endpoints."""
    site = Site(on_unavailable="stale")
    browser = site.login()
    assert browser.is_in()
    site.store.down = {*READS}
    assert browser.ask("GET", "status").status == 503
    assert browser.ask("GET", "list").status == 503


# --- logout --------------------------------------------------------------------------------------------------------


def test_logout_ends_the_session_and_removes_the_cookies(site: Site) -> None:
    """A copy of the cookies is worth nothing afterwards."""
    browser = site.login()
    copy = dict(browser.jar)
    answer = browser.ask("POST", "logout")
    assert (answer.status, answer.reply.body, answer.header("location")) == (204, b"", None)
    assert answer.deleted
    thief = site.browser()
    thief.jar = copy
    assert thief.status()["reason"] == "signed_out"
    assert site.events[-2].name == "session_ended"


def test_logout_of_a_person_lands_on_our_page(site: Site) -> None:
    """303, so that the browser asks for the page with GET."""
    answer = site.login().ask("POST", "logout", headers=PERSON)
    assert (answer.status, answer.header("location"), answer.deleted) == (303, "/session/signed-out", True)


def test_a_form_without_sec_fetch_mode_is_a_person() -> None:
    """Older browsers send Origin and Accept only; they must not be left on a blank 204."""
    browser = Site().login()
    answer = browser.ask("POST", "logout", headers={"origin": "https://app.example", "accept": "text/html,*/*"})
    assert answer.status == 303


@pytest.mark.parametrize(("headers", "status"), [(OURS, 204), (PERSON, 303)])
def test_logout_without_a_session_is_no_error(site: Site, headers: dict[str, str], status: int) -> None:
    """Pressing twice, or late, is answered as the first time; nothing is asked of the store."""
    answer = site.browser().ask("POST", "logout", headers=headers)
    assert (answer.status, site.store.calls) == (status, [])


def test_the_address_of_logout_alone_changes_nothing(site: Site) -> None:
    """M26: GET shows a button; it does not even look at the session."""
    browser = site.login()
    site.store.calls.clear()
    answer = browser.ask("GET", "logout", headers=PERSON)
    assert (answer.status, answer.cookies, site.store.calls) == (200, [], [])
    assert Page(answer.text).all("form") == [{"method": "post", "action": "/session/logout"}]
    assert browser.is_in()


LISTED: dict[str, Any] = {
    "logout_urls": ["/bye", "https://app.example/out?x=1", "https://bücher.example/é"],
    "logout_urls_by_client": {"one": ["https://one.example/out"]},
}


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ({"return_to": "/bye"}, "/bye"),
        ({"return_to": "https://app.example/out?x=1"}, "https://app.example/out?x=1"),
        ({"return_to": "https://bücher.example/é"}, "https://b%C3%BCcher.example/%C3%A9"),
        ({"return_to": "https://one.example/out", "client_id": "one"}, "https://one.example/out"),
        ({"return_to": ""}, "/session/signed-out"),
        ({"client_id": "one"}, "/session/signed-out"),
    ],
)
@pytest.mark.parametrize("way", ["form", "json", "query"])
def test_logout_goes_to_a_listed_url(asked: dict[str, str], location: str, way: str) -> None:
    """Exact match with the list, that of the client where one is named; from form, JSON or query."""
    from urllib.parse import urlencode

    site = Site(**LISTED)
    browser = site.login()
    if way == "query":
        answer = browser.ask("POST", "logout", headers=PERSON, query=urlencode(asked))
    elif way == "form":
        answer = browser.ask("POST", "logout", headers=PERSON, body=urlencode(asked).encode(), kind=FORM)
    else:
        answer = browser.ask("POST", "logout", headers=PERSON, body=json.dumps(asked).encode(), kind="application/json")
    assert (answer.status, answer.header("location")) == (303, location)
    assert "redirect_blocked" not in site.names()


@pytest.mark.parametrize(
    "asked",
    [
        {"return_to": "https://evil.example/"},
        {"return_to": "//evil.example"},
        {"return_to": "/bye/"},
        {"return_to": "/bye?x"},
        {"return_to": "/BYE"},
        {"return_to": " /bye"},
        {"return_to": "/bye\r\nSet-Cookie: a=b"},
        {"return_to": "javascript:alert(1)"},
        {"return_to": "https://one.example/out"},
        {"return_to": "/bye", "client_id": "one"},
        {"return_to": "/bye", "client_id": "unknown"},
        {"return_to": ["/bye"]},
        {"return_to": {"a": 1}},
        {"return_to": 7},
        {"return_to": True},
        {"return_to": "/bye", "client_id": ["one"]},
        {"return_to": "\ud800"},
    ],
    ids=ascii,
)
def test_logout_never_goes_anywhere_else(asked: dict[str, Any]) -> None:
    """Whoever asked to leave has left; where to, we decide; that somebody tried is told."""
    site = Site(**LISTED)
    browser = site.login()
    body = json.dumps(asked).encode()
    answer = browser.ask("POST", "logout", headers=PERSON, body=body, kind="application/json")
    assert (answer.status, answer.header("location"), answer.deleted) == (303, "/session/signed-out", True)
    assert site.names().count("redirect_blocked") == 1
    assert next(e for e in site.events if e.name == "redirect_blocked").session_id == browser.id
    assert not browser.is_in()


def test_two_different_return_urls_are_not_listed() -> None:
    """A parameter given twice is somebody playing; also where one of the two is listed."""
    site = Site(**LISTED)
    answer = site.login().ask("POST", "logout", headers=PERSON, query="return_to=/bye&return_to=https://evil.example")
    assert answer.header("location") == "/session/signed-out"
    assert "redirect_blocked" in site.names()


def test_a_script_gets_204_for_an_unlisted_url_too() -> None:
    """Nothing is redirected for a script, and its session ends all the same."""
    site = Site(**LISTED)
    browser = site.login()
    answer = browser.ask("POST", "logout", body=b"return_to=https://evil.example", kind=FORM)
    assert (answer.status, answer.header("location"), answer.deleted) == (204, None, True)
    assert "redirect_blocked" in site.names()


def test_an_unreadable_body_does_not_keep_anybody_in(site: Site) -> None:
    """Leaving needs no body."""
    browser = site.login()
    assert browser.ask("POST", "logout", body=b"{", kind="application/json").status == 204
    assert not browser.is_in()


@pytest.mark.parametrize("fault", [None, ValueError("the client went away"), OSError("reset")])
def test_a_body_that_never_comes_does_not_keep_anybody_in(fault: Exception | None) -> None:
    """Logout ends the session in any case: a body that is too long, or breaks off, has no fields; the query still has."""
    site = Site(**LISTED)
    browser = site.login()
    browser.fault = fault
    body = b"x" * (BODY_LIMIT + 1)
    answer = browser.ask("POST", "logout", headers=PERSON, body=body, kind=FORM, query="return_to=/bye")
    assert (answer.status, answer.header("location"), answer.deleted) == (303, "/bye", True)
    assert not browser.is_in()


def test_the_confirm_page_carries_a_listed_url_on() -> None:
    """Its form sends the URL, and its policy lets browsers follow the redirect to that one origin."""
    site = Site(**LISTED)
    query = "return_to=https://one.example/out&client_id=one"
    answer = site.browser().ask("GET", "logout", headers=PERSON, query=query)
    fields = {f["name"]: f["value"] for f in Page(answer.text).all("input")}
    assert fields == {"return_to": "https://one.example/out", "client_id": "one"}
    assert "form-action 'self' https://one.example" in (answer.header("content-security-policy") or "")


@pytest.mark.parametrize("url", ["https://evil.example/", '"><script>alert(1)</script>', "https://bücher.example/é"])
def test_the_confirm_pages_policy_names_no_other_origin(url: str) -> None:
    """What is not listed is not carried; what cannot be written as an origin is not put in a header."""
    from urllib.parse import quote

    answer = Site(**LISTED).browser().ask("GET", "logout", headers=PERSON, query=f"return_to={quote(url)}")
    assert "form-action 'self'" in (answer.header("content-security-policy") or "").split("; ")
    assert "<script" not in answer.text


@pytest.mark.parametrize("clear", [(), ("cache", "storage")])
def test_clear_site_data_is_an_option(clear: tuple[str, ...]) -> None:
    """L26: off by default; where set, every way of leaving says it, also while the store is down."""
    wanted = ", ".join(f'"{kind}"' for kind in clear) or None
    site = Site(clear_site_data=clear)
    assert site.login().ask("POST", "logout").header("clear-site-data") == wanted
    assert site.login().ask("POST", "logout", headers=PERSON).header("clear-site-data") == wanted
    browser = site.login()
    assert browser.ask("DELETE", f"list/{browser.id}").header("clear-site-data") == wanted
    browser = site.login()
    site.store.down = {"end"}
    assert browser.ask("POST", "logout").header("clear-site-data") == wanted


@pytest.mark.parametrize("down", [{"end"}, {"end", *READS}], ids=["writes fail", "all fails"])
@pytest.mark.parametrize("headers", [OURS, PERSON], ids=["script", "person"])
def test_logout_while_the_store_is_down(site: Site, headers: dict[str, str], down: set[str]) -> None:
    """L17: the cookies go, the answer is 503 and says what is and is not done, and the end is stored when it can be."""
    browser = site.login()
    copy = dict(browser.jar)
    site.store.down = down
    answer = browser.ask("POST", "logout", headers=headers)
    assert (answer.status, answer.deleted, answer.header("retry-after")) == (503, True, "5")
    assert "signed out here" in answer.text
    assert "retried" in answer.text
    site.store.down = set()
    site.now[0] += 2
    thief = site.browser()
    thief.jar = copy
    assert not thief.is_in()
    assert not thief.is_in()


def test_the_landing_page_says_that_one_is_out(site: Site) -> None:
    """Somebody arrives here after logout; the app itself is the authority, so there is nothing to warn of."""
    answer = site.browser().ask("GET", "signed-out", headers=PERSON)
    assert answer.status == 200
    assert "<h1>You are signed out</h1>" in answer.text
    assert "provider" not in answer.text
    assert Page(answer.text).all("a") == [{"href": "/login"}]


def test_the_landing_page_warns_of_the_provider() -> None:
    """Auth0: who signs in through a provider may still be signed in there."""
    answer = Site(authority=Unsure()).browser().ask("GET", "signed-out", headers=PERSON)
    assert "may still be signed in at the identity provider (auth0)" in answer.text


def test_the_landing_page_does_not_lie(site: Site) -> None:
    """Whoever opens it while signed in is asked whether to sign out, not told that they are."""
    browser = site.login()
    answer = browser.ask("GET", "signed-out", headers=PERSON)
    assert "You are signed out" not in answer.text
    assert Page(answer.text).all("form") == [{"method": "post", "action": "/session/logout"}]
    assert browser.is_in()


def test_the_login_url_is_escaped() -> None:
    """The app's own URL is text like any other: what a URI does not have is encoded, what HTML would read is escaped."""
    answer = Site(login_url=lambda facts: '/in?a=1&lt;b="><script>').browser().ask("GET", "signed-out", headers=PERSON)
    assert "<script>" not in answer.text
    assert Page(answer.text).all("a") == [{"href": "/in?a=1&lt;b=%22%3E%3Cscript%3E"}]


def test_addresses_are_below_the_mount() -> None:
    """Under SCRIPT_NAME or root_path our redirects and forms stay below it, percent-encoded."""
    site = Site(mount="/über app")
    browser = site.login()
    assert browser.ask("POST", "list/end-others", headers=PERSON).header("location") == "/%C3%BCber%20app/session/list"
    page = Page(browser.ask("GET", "logout", headers=PERSON).text)
    assert page.all("form")[0]["action"] == "/%C3%BCber%20app/session/logout"
    assert browser.ask("POST", "logout", headers=PERSON).header("location") == "/%C3%BCber%20app/session/signed-out"


# --- refresh and the key set ---------------------------------------------------------------------------------------


def test_refresh_answers_the_session_object_without_a_token(site: Site) -> None:
    """The shape of Stytch's answer, without `session_token` and `session_jwt`, in RFC 3339 with Z."""
    browser = site.login(claims={"role": "admin"}, data={"cart": 1}, factors=[{"type": "password"}])
    site.now[0] += 30
    answer = browser.ask("POST", "refresh")
    document = answer.json
    assert re.fullmatch(r"request-id-[0-9a-f-]{36}", document.pop("request_id"))
    assert document == {
        "status_code": 200,
        "session": {
            "attributes": {"ip_address": "203.0.113.1", "user_agent": "Firefox"},
            "authentication_factors": [{"type": "password"}],
            "custom_claims": {"role": "admin"},
            "expires_at": "2023-11-14T22:43:20Z",
            "last_accessed_at": "2023-11-14T22:13:20Z",
            "session_id": browser.id,
            "started_at": "2023-11-14T22:13:20Z",
            "user_id": "alice",
        },
    }
    assert all(value not in answer.text for value in browser.jar.values())


def test_refresh_rotates_the_jwt_and_is_not_activity(site: Site) -> None:
    """L9: a JWT that is due is replaced; the deadline of silence stays, and nothing is written."""
    browser = site.login()
    old = browser.jar["__Host-session_jwt"]
    site.store.calls.clear()
    site.now[0] += 200
    answer = browser.ask("POST", "refresh")
    assert [line.partition("=")[0] for line in answer.cookies] == ["__Host-session_jwt"]
    assert browser.jar["__Host-session_jwt"] != old
    assert set(site.store.calls) == {"load"}
    assert browser.status()["inactivity_left"] == 1600


def test_refresh_gives_back_a_jwt_that_was_lost(site: Site) -> None:
    """L9: a missing cookie is answered with the one already minted, without another signature."""
    browser = site.login()
    jwt = browser.jar.pop("__Host-session_jwt")
    signed = site.engine.issuer.signatures
    browser.ask("POST", "refresh")
    assert (browser.jar["__Host-session_jwt"], site.engine.issuer.signatures) == (jwt, signed)


def test_refresh_with_a_deadline_beyond_the_calendar() -> None:
    """A nonsense lifetime must not become a 500."""
    site = Site(inactivity_timeout=None, absolute_lifetime=1e14)
    assert site.login().ask("POST", "refresh").json["session"]["expires_at"] == "9999-12-31T23:59:59Z"


def test_the_key_set_is_public() -> None:
    """The public half of the keys; cacheable; no look at the session, no cookie, from any site."""
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    site = Site(jwt_keys=[JwtKey.from_pem(pem)])
    browser = site.login()
    site.store.calls.clear()
    site.now[0] += 200
    answer = browser.ask("GET", "jwks.json", headers={"sec-fetch-site": "cross-site"})
    assert [jwk["kty"] for jwk in answer.json["keys"]] == ["OKP"]
    assert "d" not in answer.json["keys"][0]
    assert (answer.cookies, site.store.calls, site.engine.vary(answer.x)) == ([], [], "")
    assert answer.header("vary") is None
    assert answer.header("content-type") == "application/jwk-set+json"


def test_a_symmetric_key_is_never_published(site: Site) -> None:
    """L9: with the default key there is nothing to publish, and the address still answers."""
    answer = site.browser().ask("GET", "jwks.json")
    assert (answer.status, answer.json) == (200, {"keys": []})


# --- my sessions ---------------------------------------------------------------------------------------------------


def test_the_list_has_my_sessions_and_no_others(site: Site) -> None:
    """Rows have five members, the latest seen first, however old it is; no cookie, no activity."""
    first = site.login(agent="Firefox")
    site.now[0] += 60
    second = site.login(agent="curl/8")
    site.login("bob")
    site.now[0] += 100
    assert first.ask("POST", "continue").status == 200
    site.now[0] += 100
    site.store.calls.clear()
    answer = second.ask("GET", "list")
    assert answer.json == {
        "sessions": [
            {
                "id": first.id,
                "current": False,
                "created_at": "2023-11-14T22:13:20Z",
                "last_seen_at": "2023-11-14T22:16:00Z",
                "attributes": {"user_agent": "Firefox", "address": "203.0.113.1"},
            },
            {
                "id": second.id,
                "current": True,
                "created_at": "2023-11-14T22:14:20Z",
                "last_seen_at": "2023-11-14T22:14:20Z",
                "attributes": {"user_agent": "curl/8", "address": "203.0.113.1"},
            },
        ]
    }
    assert (answer.cookies, set(site.store.calls) <= {"load", "list"}) == ([], True)


def test_a_person_sees_the_list_as_a_page(site: Site) -> None:
    """Each session has a button, all others together one more; what a browser calls itself is escaped."""
    other = site.login(agent="<script>alert(1)</script>")
    browser = site.login()
    answer = browser.ask("GET", "list", headers=PERSON)
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert {form["action"] for form in Page(answer.text).all("form")} == {
        f"/session/list/{other.id}/end",
        f"/session/list/{browser.id}/end",
        "/session/list/end-others",
    }
    assert {"Accept", "Sec-Fetch-Mode"} <= set((answer.header("vary") or "").split(", "))


def test_the_page_says_where_and_when(site: Site) -> None:
    """Of each session: device, address, when it was begun and when it was last seen."""
    browser = site.login(agent="Netscape 4")
    site.now[0] += 160
    assert browser.ask("POST", "continue").status == 200
    page = browser.ask("GET", "list", headers=PERSON).text
    assert [time["datetime"] for time in Page(page).all("time")] == ["2023-11-14T22:13:20Z", "2023-11-14T22:16:00Z"]
    assert "Netscape 4" in page
    assert "203.0.113.1" in page
    assert page.index("Signed in") < page.index("22:13:20") < page.index("last seen") < page.index("22:16:00")


def test_without_others_there_is_no_button_for_them(site: Site) -> None:
    """A button that does nothing is not shown."""
    assert "end-others" not in site.login().ask("GET", "list", headers=PERSON).text


def test_the_list_survives_a_fault_of_the_apps_limits_function() -> None:
    """What held at login goes on; a list is no place to fail."""
    broken: list[bool] = []

    def limits(subject: str, claims: Mapping[str, Any]) -> Limits:
        if broken:
            raise RuntimeError("no")
        return Limits(1800, 7200)

    site = Site(limits=limits)
    browser = site.login()
    broken.append(True)
    assert [row["id"] for row in browser.ask("GET", "list").json["sessions"]] == [browser.id]


END = [("DELETE", "list/{}"), ("POST", "list/{}/end")]


@pytest.mark.parametrize(("method", "name"), END)
def test_one_of_my_other_sessions_ends_at_once(site: Site, method: str, name: str) -> None:
    """This one lives on, with its cookies; the end is told under the ended session's id."""
    other, browser = site.login(), site.login()
    answer = browser.ask(method, name.format(other.id))
    assert (answer.status, answer.cookies) == (204, [])
    assert not other.is_in()
    assert browser.is_in()
    ended = [event for event in site.events if event.name == "session_ended"]
    assert [event.session_id for event in ended] == [other.id]


@pytest.mark.parametrize(("method", "name"), END)
def test_another_users_session_is_not_found(site: Site, method: str, name: str) -> None:
    """404, as for an id that never was: nobody learns which ids exist."""
    bob, browser = site.login("bob"), site.login()
    answers = [browser.ask(method, name.format(id)) for id in (bob.id, "A" * 22, "ü", "\udc80", "x" * 5000)]
    assert {(answer.status, answer.reply.body) for answer in answers} == {(404, answers[0].reply.body)}
    assert bob.is_in()


@pytest.mark.parametrize(("method", "name"), END)
def test_ending_the_current_session_is_a_logout(site: Site, method: str, name: str) -> None:
    """Its cookies go, and a person lands on the page that says so."""
    browser = site.login()
    answer = browser.ask(method, name.format(browser.id))
    assert (answer.status, answer.deleted) == (204, True)
    browser = site.login()
    answer = browser.ask(method, name.format(browser.id), headers=PERSON)
    assert (answer.status, answer.header("location"), answer.deleted) == (303, "/session/signed-out", True)


def test_a_person_comes_back_to_the_list(site: Site) -> None:
    """After a button of the page the page is shown again."""
    other, browser = site.login(), site.login()
    for name in (f"list/{other.id}/end", "list/end-others"):
        answer = browser.ask("POST", name, headers=PERSON)
        assert (answer.status, answer.header("location")) == (303, "/session/list")


def test_end_others_ends_all_but_this(site: Site) -> None:
    """And nobody else's; each end is told."""
    others, bob, browser = [site.login(), site.login()], site.login("bob"), site.login()
    answer = browser.ask("POST", "list/end-others")
    assert (answer.status, answer.cookies) == (204, [])
    assert not any(other.is_in() for other in others)
    assert browser.is_in()
    assert bob.is_in()
    ended = {event.session_id for event in site.events if event.name == "session_ended"}
    assert ended == {other.id for other in others}


# --- anything at all -----------------------------------------------------------------------------------------------

TEXT = st.text(alphabet=st.characters(), max_size=40)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(st.sampled_from(["minutes", "return_to", "client_id"]) | TEXT, JSONS, max_size=4)
BODIES = st.one_of(
    st.tuples(FIELDS.map(lambda document: json.dumps(document).encode()), st.just("application/json")),
    st.tuples(
        st.binary(max_size=200), st.sampled_from(["application/json", FORM, "text/plain", "multipart/form-data"])
    ),
    st.tuples(
        st.lists(st.tuples(st.sampled_from(["minutes", "return_to", "client_id"]), TEXT), max_size=4).map(
            lambda pairs: "&".join(f"{k}={v}" for k, v in pairs).encode("utf-8", "surrogatepass")
        ),
        st.just(FORM),
    ),
)


@given(body=BODIES, query=TEXT, name=st.sampled_from(["continue", "logout"]), headers=st.sampled_from([OURS, PERSON]))
def test_no_body_or_query_makes_an_exception(
    body: tuple[bytes, str], query: str, name: str, headers: dict[str, str]
) -> None:
    """A clear answer, and no redirect to anything that is not listed."""
    answer = Site().login().ask("POST", name, body=body[0], kind=body[1], query=query, headers=headers)
    assert answer.status in ((200, 400) if name == "continue" else (204, 303))
    assert answer.header("location") in (None, "/session/signed-out", "/")


@given(value=JSONS)
def test_minutes_either_stay_within_the_policy_or_are_refused(value: object) -> None:
    """Whatever is sent, the deadline lies between five minutes and the inactivity timeout from now."""
    body = json.dumps({"minutes": value}).encode()
    answer = Site().login().ask("POST", "continue", body=body, kind="application/json")
    assert answer.status == 400 or 300 <= answer.json["inactivity_left"] <= 1800


@given(name=TEXT, method=st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "", "\x00"]))
def test_no_name_or_method_makes_an_exception(name: str, method: str) -> None:
    """Whatever stands behind the prefix is answered."""
    browser = Site().login()
    for path in (name, f"list/{name}", f"list/{name}/end"):
        assert browser.ask(method, path).status in (200, 204, 404, 405)
