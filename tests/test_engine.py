"""The engine by itself: what one request does to one session where no framework is at hand to show it."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from session_middleware.authorities.base import NOTHING_SHOWN, Alive, Shown, Vouch
from session_middleware.authorities.calls import ProviderFault
from session_middleware.authorities.local import LocalAuthority
from session_middleware.core.exchange import Exchange, RouteRules
from session_middleware.core.jwt import JwtKey
from session_middleware.core.lifetime import Verdict
from session_middleware.core.provider import ProviderSession
from session_middleware.core.refusal import Refusal
from session_middleware.core.tokens import key_of
from session_middleware.engine import Engine
from session_middleware.engine.ending import LOOKS
from session_middleware.errors import (
    InvalidToken,
    ResponseAlreadyStarted,
    SessionError,
    SessionNotAttached,
    SettingsError,
    StoreUnavailable,
)
from session_middleware.events import SessionEvent
from session_middleware.runtime import LoopRuntime, run_sync
from session_middleware.session import AsyncSession, Session
from session_middleware.sessions import Sessions
from session_middleware.settings import Limits, Settings
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.reference_record import reference_record
from session_middleware.testing.watched_store import WatchedStore

from .authorities.desk import Desk, Stay
from .core.facts import Facts

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
OPEN = RouteRules(policy="optional")
EXEMPT = RouteRules(policy="exempt")


class House:
    """An engine over a watched store with a clock, and one browser."""

    def __init__(
        self, *, authority: Any = None, store: Any = None, engine: dict[str, Any] | None = None, **settings: Any
    ):
        self.now = 1_000_000.0
        self.events: list[SessionEvent] = []
        self.store = WatchedStore(MemoryStore() if store is None else store)
        self.settings = Settings(**{"secret_keys": [KEY], **settings})
        self.engine = Engine(
            self.settings,
            self.store,
            authority=authority,
            clock=lambda: self.now,
            on_event=[self.events.append],
            **(engine or {}),
        )
        self.jar: dict[str, str] = {}

    def facts(self, method: str = "GET", path: str = "/x", **headers: Any) -> Facts:
        cookies = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        return Facts(method, path, cookies=cookies, **headers)

    def opened(self, rules: RouteRules | None = OPEN, facts: Facts | None = None) -> tuple[Exchange, Refusal | None]:
        x = self.engine.begin(facts or self.facts())
        return x, run_sync(self.engine.open(x, rules))

    def closed(self, x: Exchange) -> list[str]:
        lines = run_sync(self.engine.close(x))
        for line in lines:
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.jar.pop(name, None)
            else:
                self.jar[name] = value
        return lines

    def request(
        self, do: Callable[[Session], Any] | None = None, rules: RouteRules | None = OPEN, facts: Facts | None = None
    ) -> Exchange:
        x, _ = self.opened(rules, facts)
        if do is not None:
            do(Session(self.engine, x))
        self.closed(x)
        return x

    def login(self, subject: str = "alice", **given: Any) -> Exchange:
        return self.request(lambda session: session.login(subject, **given))

    def names(self) -> list[str]:
        return [event.name for event in self.events]


def test_an_engine_needs_a_key() -> None:
    """Bad input: without secret_keys nothing can be signed, and the error says how to make one."""
    with pytest.raises(SettingsError, match="token_urlsafe"):
        Engine(Settings(), MemoryStore())


# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_websocket_from_another_site_is_refused() -> None:
    """ASVS 4.4.2: a good session does not help a handshake whose Origin is foreign, whether one is required or not."""
    house = House()
    house.login()
    foreign = {"websocket": True, "scheme": "wss", "origin": "https://evil.example"}
    for rules in (RouteRules(policy="required"), OPEN):
        _, refusal = house.opened(rules, house.facts(**foreign))
        assert refusal is not None
        assert refusal.reason == "signed_out"
    _, refusal = house.opened(OPEN, Facts(**foreign))
    assert refusal is None, "who is not signed in may come from anywhere"


def test_a_websocket_handshake_sets_no_cookie_and_renews_nothing() -> None:
    """L11: renewal waits for a response that can carry it; the handshake itself is activity (L6)."""
    house = House()
    house.login()
    house.request(lambda session: session.extend(120))
    house.now += 3600
    x, _ = house.opened(OPEN, house.facts(websocket=True, scheme="wss"))
    assert (x.verdict, house.closed(x)) == (Verdict.ACTIVE, [])
    assert x.record is not None
    assert (x.record.generation, x.record.last_seen_at) == (0, house.now)


def test_a_store_that_fails_to_recognise_is_asked_the_general_way() -> None:
    """L17: `holds` may raise; the general path meets the same fault and says so."""
    house = House()
    house.login()
    house.now += 1
    house.request()
    house.store.go_down()
    x, refusal = house.opened(None)
    assert x.verdict is Verdict.UNAVAILABLE
    assert refusal is not None
    assert refusal.status == 503


def test_quiet_requests_open_without_a_coroutine() -> None:
    """Design §6: where nothing is due, open_quietly does what open does; anything else is left to open."""
    house = House(exempt_paths=["/free"])
    house.login()
    house.request()
    x = house.engine.begin(house.facts())
    assert not house.engine.open_quietly(x, OPEN), "an app with exempt paths asks the general way"
    plain = House()
    plain.login()
    plain.now += 1
    plain.request()
    x = plain.engine.begin(plain.facts())
    assert plain.engine.open_quietly(x, RouteRules(policy="required"))
    assert (x.verdict, x.protected, x.judged) == (Verdict.ACTIVE, True, True)
    for facts, rules in [
        (plain.facts(), EXEMPT),
        (plain.facts(), RouteRules(fresh_within=5.0)),
        (Facts(), OPEN),
    ]:
        assert not plain.engine.open_quietly(plain.engine.begin(facts), rules)


def test_a_recognised_request_whose_session_ends_has_no_subject() -> None:
    """L8, L13: what was recognised may end while the request is served: a bridged user who is gone, a revocation."""
    house = House()
    house.login()
    house.now += 1
    house.request()
    x = house.engine.begin(house.facts())
    assert house.engine.open_quietly(x, OPEN)
    session = Session(house.engine, x)
    assert session.subject == "alice"
    run_sync(house.engine.revoke(x))
    assert (session.subject, session.is_active, x.quiet) == (None, False, False)
    x = house.engine.begin(house.facts())
    x.quiet, x.verdict = True, Verdict.REVOKED  # as an open connection is told (watch.py)
    x.authenticated, x.record = True, reference_record(0)
    assert Session(house.engine, x).subject is None


def test_the_authorization_header_stands_for_the_cookie() -> None:
    """L19: with transport="header" the token may come in a header, and then no cookie is looked at."""
    house = House(transport="header")
    house.login()
    token = house.jar["__Host-session"]
    x, _ = house.opened(OPEN, Facts(authorization=f"Session {token}", cookies="__Host-session=junk"))
    assert x.verdict is Verdict.ACTIVE
    assert house.engine.vary(x) == "Cookie, Authorization"
    assert house.request().verdict is Verdict.ACTIVE
    assert house.opened(OPEN, Facts(authorization="Basic eA=="))[0].verdict is Verdict.ANONYMOUS


def test_a_link_of_another_site_may_sign_in() -> None:
    """L20: one in a mail, say, that proves itself; only an unsafe request of another site is refused."""
    house = House()
    house.request(lambda session: session.login("alice"), facts=Facts("GET", sec_fetch_site="cross-site"))
    assert house.request().verdict is Verdict.ACTIVE
    with pytest.raises(SessionError, match="login CSRF"):
        house.request(lambda session: session.login("bob"), facts=Facts("POST", sec_fetch_site="cross-site"))


def test_a_header_of_ours_leaves_the_cookies_of_another_session_alone() -> None:
    """L9, L19: a JWT cookie of bob's beside alice's token would be a mismatch, and sign her out."""
    house = House(transport="header", renewal_interval=600.0)
    house.login("bob")
    bob = f"Session {house.jar.pop('__Host-session')}"
    house.jar.clear()
    house.login("alice")
    house.now += 700.0  # bob's token is due for renewal, and every JWT is over

    def by_header(do: Callable[[Session], Any] | None = None) -> list[str]:
        x, _ = house.opened(OPEN, Facts(authorization=bob, cookies=house.facts().cookies))
        assert x.record is not None
        assert x.record.subject == "bob"
        if do is not None:
            do(Session(house.engine, x))
        return house.closed(x)

    assert by_header() == []
    assert by_header(lambda session: session.logout()) == []
    x = house.request()
    assert x.verdict is Verdict.ACTIVE
    assert x.record is not None
    assert x.record.subject == "alice"


def test_a_login_that_is_refused_leaves_the_one_before_it_its_token() -> None:
    """L12: a view that catches the refusal of a second login answers with the session of the first."""
    house = House(max_sessions=1, on_max_sessions="refuse")
    House(store=house.store.store).login("bob")

    def view(session: Session) -> None:
        session.login("alice")
        with pytest.raises(SessionError, match="max_sessions"):
            session.login("bob")

    house.request(view)
    x, _ = house.opened()
    assert x.record is not None
    assert (x.verdict, x.record.subject) == (Verdict.ACTIVE, "alice")


def test_a_login_by_a_header_of_ours_sets_its_cookies_beside_any() -> None:
    """L12, L19: nobody else ever hears of the new session; what stands in the cookies beside it makes place."""
    house = House(transport="header")
    house.login("bob")
    bob = f"Session {house.jar.pop('__Host-session')}"
    house.jar.clear()
    house.login("alice")
    x, _ = house.opened(OPEN, Facts("POST", authorization=bob, cookies=house.facts().cookies))
    Session(house.engine, x).login("carol")
    assert len(house.closed(x)) == 2


def test_a_forged_header_leaves_the_cookies_beside_it_alone() -> None:
    """L19, L26: it is of no session, so that a logout by it is not one of the session in the cookies."""
    house = House(transport="header")
    house.login()
    x, _ = house.opened(OPEN, Facts(authorization="Session forged", cookies=house.facts().cookies))
    Session(house.engine, x).logout()
    assert house.closed(x) == []
    assert house.request().verdict is Verdict.ACTIVE
    house.jar.clear()
    x, _ = house.opened(OPEN, Facts(authorization="Session forged"))
    Session(house.engine, x).logout()
    assert len(house.closed(x)) == 2


def test_a_header_of_ours_is_answered_with_cookies_where_no_others_came() -> None:
    """L9, L11: a client without a browser reads its next token and JWT there."""
    house = House(transport="header", renewal_interval=600.0)
    house.login()
    token = house.jar["__Host-session"]
    house.now += 700.0
    for cookies in ("", f"__Host-session={token}"):
        x, _ = house.opened(OPEN, Facts(authorization=f"Session {token}", cookies=cookies))
        assert [line.partition("=")[0] for line in run_sync(house.engine.close(x))] == [
            "__Host-session",
            "__Host-session_jwt",
        ]


def test_a_lost_renewal_is_accepted_and_recorded() -> None:
    """L11: a generation newer than the store's can only be ours; accepted even while it cannot be written."""
    house = House()
    house.login()
    x = house.request()
    assert x.presented is not None
    house.jar["__Host-session"] = house.engine._tokens.sign(x.presented.token_id, 3)
    house.store.go_down(reads=False)
    assert house.request().verdict is Verdict.ACTIVE
    house.store.come_back()
    assert house.request().verdict is Verdict.ACTIVE
    assert house.store.load(x.presented.key).generation == 3


def test_a_lost_renewal_is_recorded_once_the_authority_has_said_yes() -> None:
    """L8, L11: nothing is waited for with a verdict of ACTIVE that nobody has vouched for."""
    vouched = True
    house = House(authority=LocalAuthority(verify=lambda record: vouched, verify_interval=10.0))
    house.login()
    x = house.request()
    assert x.presented is not None
    house.jar["__Host-session"] = house.engine._tokens.sign(x.presented.token_id, 1)
    house.now += 20.0
    vouched = False
    assert house.request().verdict is Verdict.REVOKED
    assert house.store.calls["renew"] == 0


def test_a_lost_renewal_that_another_process_records_first() -> None:
    """L11: of two that record it one wins, and both serve."""
    house = House()
    house.login()
    x = house.request()
    assert x.presented is not None
    key = x.presented.key
    house.jar["__Host-session"] = house.engine._tokens.sign(x.presented.token_id, 1)

    def other() -> Any:
        yield "renew", key, 0, 1, house.now

    house.store.interrupt("renew", other)
    assert house.request().verdict is Verdict.ACTIVE


def test_route_names_are_resolved_by_the_adapter() -> None:
    """L15: login_url may be a route name, a path below the mount, or a callable."""
    named = House(login_url="auth.login", engine={"resolve_login": lambda facts, url: f"/resolved/{url}"})
    assert named.engine.login_url(Facts()) == "/resolved/auth.login"
    assert House().engine.login_url(Facts(mount="/日本")) == "/%E6%97%A5%E6%9C%AC/login"
    assert House(login_url=lambda facts: "https://id.example/").engine.login_url(Facts()) == "https://id.example/"


def test_who_has_to_prove_it_again_may_be_sent_to_another_page() -> None:
    """L15: `fresh_login_url`, written as `login_url` is; that where it is not set, and for all who are not signed in."""

    def sent(**given: Any) -> list[str]:
        house = House(**given)
        house.login("alice")
        x = house.request()
        return [house.engine.refusal(x, reason).login_url for reason in ("fresh_login", "inactivity")]

    assert sent() == ["/login", "/login"]
    assert sent(fresh_login_url="/confirm") == ["/confirm", "/login"]
    assert sent(fresh_login_url=lambda facts: "/пароль") == ["/%D0%BF%D0%B0%D1%80%D0%BE%D0%BB%D1%8C", "/login"]
    by_name = {"resolve_login": lambda facts, url: f"/resolved/{url}"}
    assert sent(fresh_login_url="auth.confirm", engine=by_name) == ["/resolved/auth.confirm", "/resolved//login"]
    with pytest.raises(SettingsError, match="fresh_login_url"):
        sent(fresh_login_url=lambda facts: None)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/вход/", "/%D0%B2%D1%85%D0%BE%D0%B4/"),
        ("https://id.example/вход?a=1", "https://id.example/%D0%B2%D1%85%D0%BE%D0%B4?a=1"),
        (lambda facts: "/log in/", "/log%20in/"),
        (lambda facts: "/log%20in/?a=1&b=2#c", "/log%20in/?a=1&b=2#c"),
        (lambda facts: "//id.example/вход", "//id.example/%D0%B2%D1%85%D0%BE%D0%B4"),
        (lambda facts: "https://[::1]:8443/a", "https://[::1]:8443/a"),
    ],
)
def test_the_login_url_goes_out_percent_encoded(given: Any, sent: str) -> None:
    """L15: as a header needs it, whoever wrote it; what is encoded already stays as it is."""
    house = House(login_url=given)
    assert house.engine.login_url(Facts()) == sent
    page = urlsplit(sent)
    if not page.netloc:
        assert house.opened(None, Facts(path=unquote(page.path)))[1] is None  # and the page is open (L21)


# --- authorities -----------------------------------------------------------------------------------------------------


class Says:
    """An authority that says what it is told to."""

    name = "says"
    verify_interval: float | None = 60.0

    def __init__(self) -> None:
        self.answer: Alive | Exception = Alive.ALIVE
        self.asked = 0

    async def verify(self, record: Any, shown: Any, now: float) -> Vouch:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return Vouch(self.answer)


def test_the_authority_is_asked_once_an_interval() -> None:
    """L8: when it last answered is process memory; a setting may ask more often than its own default."""
    authority = Says()
    house = House(authority=authority)
    house.login()
    for _ in range(5):
        house.request()
        house.now += 20
    assert authority.asked == 2
    often = House(authority=Says(), verify_interval=0)
    often.login()
    often.request()
    often.request()
    assert often.engine.authority.asked == 2  # type: ignore[attr-defined]  # it is Says


@pytest.mark.parametrize(("interval", "asked"), [(0, 31), (10, 4)])
def test_the_authority_is_asked_where_nothing_else_is_due(interval: int, asked: int) -> None:
    """L8: a request that is recognised asks it as well, once its last answer is too old."""
    authority = Says()
    house = House(authority=authority, verify_interval=interval)
    house.login()
    house.now += 61  # after which no touch is due for a minute
    for _ in range(31):
        assert house.request().verdict is Verdict.ACTIVE
        house.now += 1
    assert authority.asked == asked


def test_a_session_is_over_since_its_deadline_not_since_that_was_noticed() -> None:
    """L16, L24: who signs in at a provider between the two has proved who they are after the end."""
    house = House(inactivity_timeout=900.0)
    here = ProviderSession("there", house.now)
    house.login(provider=here)
    house.now += 1_000.0
    x = house.request()
    assert x.verdict is Verdict.INACTIVITY_TIMEOUT
    assert x.record is not None
    held = house.store.load(x.record.key)
    assert held is not None
    assert held.ended_at == x.record.inactivity_deadline
    house.login(provider=ProviderSession("there", house.now - 50.0))
    assert house.request().verdict is Verdict.ACTIVE


DAY = 86_400.0


@pytest.mark.parametrize("ends_at", [None, DAY])
@pytest.mark.parametrize(
    ("first", "second", "days"),
    [
        ({"absolute_lifetime": 90 * DAY}, {}, 80),
        ({"limits": lambda subject, claims: Limits(None, DAY)}, {"limits": lambda *_: Limits(None, 30 * DAY)}, 29),
        ({"absolute_lifetime": 800 * DAY}, {}, 799),
        ({"persistent_limits": Limits(None, 800 * DAY)}, {"persistent": True}, 799),
    ],
)
def test_no_limits_of_a_later_login_outlive_the_mark(
    ends_at: float | None, first: dict[str, Any], second: dict[str, Any], days: int
) -> None:
    """L24: the proof begins no session again, however long its provider's session and the limits then in force may last."""
    store = MemoryStore()
    house = House(store=store, **first)
    proof = house.now
    there = ProviderSession("there", proof, None if ends_at is None else proof + ends_at)
    house.login(provider=there)
    house.request(lambda session: session.logout())
    later = House(store=store, **{**first, **second})
    later.now = proof + days * DAY
    extended = ProviderSession("there", proof, None if ends_at is None else later.now + DAY)
    with pytest.raises(SessionError, match="has ended here"):
        later.login(provider=extended)
    later.login(provider=ProviderSession("there", later.now))
    assert later.request().verdict is Verdict.ACTIVE, "a new proof is none of before the end"


def test_what_an_authority_says() -> None:
    """L8, L17: gone ends the session; unknown and an exception are nobody's logout."""
    authority = Says()
    house = House(authority=authority, verify_interval=0)
    house.login()
    for fault in (Alive.UNKNOWN, OSError("down")):
        authority.answer = fault
        assert house.request().verdict is Verdict.UNAVAILABLE
    authority.answer = Alive.ALIVE
    assert house.request().verdict is Verdict.ACTIVE
    authority.answer = Alive.GONE
    assert house.request().verdict is Verdict.REVOKED
    authority.answer = Alive.ALIVE
    assert house.request().verdict is Verdict.REVOKED
    assert "authority_fault" in house.names()
    x = house.engine.begin(Facts())
    run_sync(house.engine.revoke(x))
    assert x.verdict is Verdict.ANONYMOUS, "without a record there is nothing to revoke"


def test_local_authority_hooks() -> None:
    """L8: plain, blocking and awaited hooks, and none."""

    async def awaited(record: Any) -> bool:
        return record.subject == "alice"

    for authority in (
        LocalAuthority(awaited),
        LocalAuthority(lambda record: record.subject == "alice"),
        LocalAuthority(lambda record: record.subject == "alice", blocking=True),
    ):
        house = House(authority=authority)
        house.login("alice")
        assert house.request().verdict is Verdict.ACTIVE
        house.login("mallory")
        assert house.request().verdict is Verdict.REVOKED
    assert run_sync(LocalAuthority().verify(House().login().record, NOTHING_SHOWN, 0.0)) == Vouch(Alive.ALIVE)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="not a function"):
        LocalAuthority("yes")  # type: ignore[arg-type]  # that is the point


# --- limits= ---------------------------------------------------------------------------------------------------------


def test_limits_for_a_subject() -> None:
    """L2: asked at login and at most once per touch interval; a cut for one user acts within it."""
    asked: list[str] = []
    window = {"alice": 900.0}

    def limits(subject: str, claims: Any) -> Limits:
        asked.append(subject)
        return Limits(window.get(subject, 3600), 86400)

    house = House(limits=limits)
    x = house.login()
    assert x.record is not None
    assert x.record.limits == Limits(900, 86400)
    house.store.forget_calls()
    before = len(asked)
    for _ in range(30):
        house.now += 1
        house.request()
    assert len(asked) - before == 1
    house.engine.recogniser._holds = lambda record: (
        False
    )  # as with a store that cannot recognise: the general path each time
    for _ in range(5):
        house.request()
    assert len(asked) - before == 1
    window["alice"] = 300.0
    house.now += 60
    house.request()
    house.now += 361
    assert house.request().verdict is Verdict.INACTIVITY_TIMEOUT


@pytest.mark.parametrize("answer", [5, Limits(None, 13 * 3600), ZeroDivisionError("x")])
def test_limits_that_fail(answer: Any) -> None:
    """L2, L22: nonsense is an error at login, and never logs anybody out afterwards."""
    broken = [False]

    def limits(subject: str, claims: Any) -> Any:
        if not broken[0]:
            return Limits(600, 3600)
        if isinstance(answer, Exception):
            raise answer
        return answer

    house = House(limits=limits, aal="aal3")
    house.login()
    broken[0] = True
    house.now += 120
    assert house.request().verdict is Verdict.ACTIVE
    assert "settings_fault" in house.names()
    assert [info.current for info in Sessions(house.engine).list("alice")] == [False]
    with pytest.raises((SettingsError, ZeroDivisionError)):
        house.login("bob")


# --- closing ---------------------------------------------------------------------------------------------------------


def test_limits_are_asked_here_though_another_process_writes_the_touches() -> None:
    """L2: a cut for one user acts within a touch interval in every process, whichever of them records the activity."""
    asked: list[str] = []

    def limits(subject: str, claims: Any) -> Limits:
        asked.append(subject)
        return Limits(3600, 86400)

    house = House(limits=limits)
    house.login()
    house.now += 1
    house.request()
    house.now += 30
    house.jar["theme"] = "dark"  # a header not seen before, for which they are asked anew
    house.request()
    other = House(limits=limits, store=house.store.store)
    other.jar, other.now = house.jar, house.now + 30
    other.request()
    house.now += 31
    house.request()
    before = len(asked)
    house.now += 30
    house.request()
    assert len(asked) == before + 1


def test_no_cookie_goes_out_where_the_record_cannot_be_read_again() -> None:
    """L13, L17: a rotation waits; a login whose record cannot be confirmed is a 503."""
    house = House()
    house.login()
    house.now += 200
    x, _ = house.opened()
    house.store.go_down()
    assert house.closed(x) == []
    house.store.come_back()
    x, _ = house.opened()
    Session(house.engine, x).login("bob")
    house.store.go_down()
    with pytest.raises(StoreUnavailable):
        house.closed(x)


def test_no_cookie_goes_out_once_the_session_is_over() -> None:
    """L13: what shortened the session while the view ran is seen at its end."""
    house = House()
    house.login()
    house.now += 200
    x, _ = house.opened()
    other = House()
    other.store, other.engine.reach = house.store, house.engine.reach
    assert x.record is not None
    deadline = house.now - 1

    def shorten() -> Any:
        from session_middleware.core.lifetime import Touch

        assert x.record is not None
        yield "touch", x.record.key, Touch(house.now, deadline, deadline + 86400, exact=True)

    house.store.interrupt("load", shorten)
    assert house.closed(x) == []


def test_whoever_answers_after_the_end_is_told_of_it() -> None:
    """L13: a session that ended while the view ran is REVOKED for what still goes out, a stream say."""
    house = House()
    house.login()
    house.now += 200
    x, _ = house.opened()
    assert x.record is not None
    assert x.verdict is Verdict.ACTIVE
    Sessions(house.engine).end(x.record.public_id)
    assert house.closed(x) == []
    assert x.verdict is Verdict.REVOKED


def test_claims_too_large_for_the_cookie_are_refused_before_they_are_stored() -> None:
    """L19: at login and at each write of listed claims; what is not listed may be larger."""
    house = House(jwt_claims=["big"])
    with pytest.raises(SettingsError, match="4096"):
        house.login(claims={"big": "x" * 4000})
    assert house.store.calls["create"] == 0
    house.login(claims={"other": "x" * 9000})
    with pytest.raises(SettingsError, match="4096"):
        house.request(lambda session: session.update_claims(big="x" * 4000))
    house.request(lambda session: session.update_claims(big="x" * 2000))
    assert len(house.jar["__Host-session_jwt"]) > 2000


def test_what_a_function_of_the_app_raised_is_logged_with_where(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is let in or signed out by it, so the log is all that whoever wrote the function has (L2, L8, L17)."""
    broken: list[str] = []

    def limits(subject: str, claims: Any) -> Limits:
        if "limits" in broken:
            raise KeyError("a mistake in limits")
        return Limits(600, 3600)

    def client_address(facts: Any) -> str:
        raise KeyError("a mistake in client_address")

    def verify(record: Any) -> bool:
        raise KeyError("a mistake in verify")

    house = House(limits=limits, client_address=client_address, authority=LocalAuthority(verify=verify))
    house.login()
    broken.append("limits")
    house.now += 120
    house.request()
    for name in ("limits", "client_address", "verify"):
        assert f"a mistake in {name}" in caplog.text
    assert f"in {limits.__name__}\n" in caplog.text  # a line of the traceback
    caplog.clear()
    authority = Says()
    authority.answer = ProviderFault("timeout", "no answer")
    house = House(authority=authority)
    house.login()
    house.request()
    assert "authority_fault" in caplog.text
    assert "Traceback" not in caplog.text  # a provider that is down is no mistake of anybody's


def test_a_jwt_that_no_longer_fits_logs_nobody_out() -> None:
    """L19: a setting that lists more claims than before leaves the session as it is, without a new JWT."""
    house = House()
    house.login(claims={"big": "x" * 4000})
    later = House(jwt_claims=["big"])
    later.store, later.jar = house.store, house.jar
    later.engine = Engine(later.settings, house.store, clock=lambda: house.now, on_event=[later.events.append])
    x = later.request()
    assert x.verdict is Verdict.ACTIVE
    assert "settings_fault" in later.names()


def test_the_jwt_of_a_request() -> None:
    """L9: session.jwt is the one that came, or the one that will go out; verified by verify_jwt."""
    house = House()
    assert Session(house.engine, house.opened()[0]).jwt is None
    house.login()
    x, _ = house.opened()
    jwt = Session(house.engine, x).jwt
    assert jwt == house.jar["__Host-session_jwt"]
    house.now += 200
    x, _ = house.opened()
    minted = Session(house.engine, x).jwt
    house.closed(x)
    assert minted == house.jar["__Host-session_jwt"] != jwt
    assert minted is not None
    assert x.record is not None
    assert house.engine.verify_jwt(minted)["sid"] == x.record.public_id
    assert house.engine.jwks() == {"keys": []}
    with pytest.raises(InvalidToken):
        house.engine.verify_jwt(minted + "x")


# --- verbs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["", None, 5])
def test_a_subject_is_text(subject: Any) -> None:
    """Bad input: login says what a subject is."""
    with pytest.raises(SettingsError, match="subject"):
        House().login(subject)


def test_verbs_after_the_response_has_started() -> None:
    """L25: login, step_up and logout say that it is too late; a logout has ended the session all the same."""
    house = House()
    house.login()
    x, _ = house.opened()
    house.closed(x)
    session = Session(house.engine, x)
    with pytest.raises(ResponseAlreadyStarted):
        session.login("bob")
    with pytest.raises(ResponseAlreadyStarted):
        session.step_up([])
    with pytest.raises(ResponseAlreadyStarted):
        session.logout()
    assert run_sync(house.engine.close(x)) == []
    assert house.request().verdict is Verdict.REVOKED


def test_a_logout_on_a_connection_that_has_been_open_for_long() -> None:
    """L13, L24: it counts from when it is made, so that a proof at the provider since then is needed, and the record says when."""
    house = House(inactivity_timeout=None)
    house.login(provider=ProviderSession("there", house.now))
    x, _ = house.opened()
    house.closed(x)
    assert x.record is not None
    key = x.record.key
    house.now += 3_600
    with pytest.raises(ResponseAlreadyStarted):
        Session(house.engine, x).logout()
    held = house.store.load(key)
    assert held is not None
    assert held.ended_at == house.now
    with pytest.raises(SessionError, match="has ended here"):
        house.login(provider=ProviderSession("there", house.now - 60))
    assert house.login(provider=ProviderSession("there", house.now + 1)).is_active


@pytest.mark.parametrize("silence", [900, None])
def test_a_logout_on_a_connection_whose_session_has_passed_its_deadline(silence: float | None) -> None:
    """L24, L16: the connection knows of the end, which nobody has written; the logout leaves its mark, and does not name it."""
    house = House(inactivity_timeout=silence, absolute_lifetime=1_800)
    there = ProviderSession("there", house.now)
    house.login(provider=there)
    x, _ = house.opened()
    house.closed(x)
    assert x.record is not None
    key, ends_at = x.record.key, house.now + (silence or 1_800)
    house.now += 2_000
    run_sync(house.engine.look_again(x))
    with pytest.raises(ResponseAlreadyStarted):
        Session(house.engine, x).logout()
    held = house.store.load(key)
    assert held is not None
    assert (held.end_reason, held.ended_at) == ("inactivity_timeout" if silence else "lifetime_exceeded", ends_at)
    house.jar.clear()
    with pytest.raises(SessionError, match="has ended here"):
        house.login(provider=there)


def test_verbs_need_a_session() -> None:
    """L7, L27: on an anonymous request they say so; while the store is down they are a 503."""
    house = House()
    verbs: list[Callable[[Session], Any]] = [
        lambda s: s.extend(30),
        lambda s: s.step_up([]),
        lambda s: s.save(),
        lambda s: s.end_others(),
        lambda s: s.update_claims(a=1),
        lambda s: s.data,
    ]
    for verb in verbs:
        with pytest.raises(SessionError, match="ANONYMOUS") as caught:
            house.request(verb)
        assert caught.value.code == "not_signed_in"
    house.login()
    house.store.go_down()
    for verb in verbs[:4]:
        with pytest.raises(StoreUnavailable):
            house.request(verb)


def test_a_session_that_ends_meanwhile_stays_ended() -> None:
    """L7, L13: extend, step_up and a claims write that meet an end say so, and revive nothing."""
    for name, verb in {
        "touch": lambda s: s.extend(30),
        "load": lambda s: s.step_up([{"type": "otp"}]),
    }.items():
        house = House()
        house.login()
        x, _ = house.opened()
        assert x.record is not None
        key = x.record.key

        def end(key: bytes = key, house: House = house) -> Any:
            yield "end", key, "revoked", house.now, house.now + 86400

        house.store.interrupt(name, end)
        with pytest.raises(SessionError) as caught:
            verb(Session(house.engine, x))
        assert caught.value.code == "ended"
        assert x.verdict is Verdict.REVOKED
        assert house.closed(x) == []


def test_an_extend_of_a_session_just_begun() -> None:
    """L7, L12: login and extend in one request; and in a request that logged in, data and claims are written once."""
    house = House()

    def work(session: Session) -> None:
        session.login("alice", data={"a": 1})
        session.extend(30)
        session.data["b"] = [2]
        session.update_claims(c=3)
        session.save()
        session.extend(None)

    x = house.request(work)
    assert x.record is not None
    assert (x.record.data, x.record.claims) == ({"a": 1, "b": [2]}, {"c": 3})
    assert x.record.inactivity_deadline == house.now + 1800
    assert house.request().verdict is Verdict.ACTIVE


def test_two_logins_in_one_request() -> None:
    """L12: the last one counts; the first record, whose token nobody ever held, is ended."""
    house = House()

    def work(session: Session) -> None:
        session.login("alice")
        session.login("bob")

    x = house.request(work)
    assert x.record is not None
    assert x.record.subject == "bob"
    assert Sessions(house.engine).list("alice") == []
    assert len(Sessions(house.engine).list("bob")) == 1


def test_claims_another_writer_never_stops_changing() -> None:
    """L14: retries have an end, and it is a fault, not a lost write without a word."""
    house = House()
    house.login()
    x, _ = house.opened()
    assert x.record is not None
    key = x.record.key

    def other() -> Any:
        held = house.store.store.load(key)
        yield "save", held.evolve(claims={"n": held.revision})

    Session(house.engine, x).update_claims(mine=1)
    for turn in range(25):
        house.store.interrupt("save", other, skip=turn)
    with pytest.raises(StoreUnavailable, match="other writers"):
        house.closed(x)


def test_a_change_taken_back_writes_nothing_of_the_data() -> None:
    """L14: data that were looked at go with the claims, and stay as the other writer left them."""
    house = House()
    house.login(data={"a": 1})

    def work(session: Session) -> None:
        session.data["a"] = 1
        session.update_claims(b=2)
        session.save()
        session.save()

    x = house.request(work)
    assert x.record is not None
    assert (x.record.data, x.record.claims, x.record.revision) == ({"a": 1}, {"b": 2}, 1)


def test_saving_once_it_has_ended_writes_nothing() -> None:
    """L13: changes of a request whose session ended before its response are dropped."""
    house = House()
    house.login()
    x, _ = house.opened()
    Session(house.engine, x).update_claims(a=1)
    x.verdict = Verdict.REVOKED
    assert house.closed(x) == []
    assert house.store.calls["save"] == 0


def test_a_claims_write_that_meets_an_end() -> None:
    """L13: dead wins over a save."""
    house = House()
    house.login()
    x, _ = house.opened()
    assert x.record is not None
    key = x.record.key

    def end() -> Any:
        yield "end", key, "revoked", house.now, house.now + 86400

    Session(house.engine, x).update_claims(mine=1)
    house.store.interrupt("save", end)
    assert house.closed(x) == []
    assert x.verdict is Verdict.REVOKED


def test_nothing_changed_is_nothing_written() -> None:
    """L14: reading data, or writing what stands there already, saves nothing."""
    house = House()
    house.login(data={"a": {"b": 1}})
    house.request()
    house.store.forget_calls()
    house.request(lambda session: session.data["a"].get("b"))
    assert house.store.writes == 0
    house.request(lambda session: session.data["a"].update(b=2))
    assert house.store.calls["save"] == 1
    house.request(lambda session: session.data.pop("a"))
    assert house.request().record.data == {}  # type: ignore[union-attr]  # it is ACTIVE


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), b"x"])
def test_what_is_not_json_is_refused(value: Any) -> None:
    """Bad input: claims and data are JSON; the error names the type and shows no value."""
    house = House()
    house.login()
    for verb in (
        lambda s: s.login("alice", claims={"a": value}),
        lambda s: s.login("alice", data={"a": value}),
        lambda s: s.update_claims(a=value),
        lambda s: (s.data.update(a=value), s.save()),
    ):
        with pytest.raises(SettingsError, match="JSON"):
            house.request(verb)


def test_a_login_over_plain_http_is_said_to_be_in_vain() -> None:
    """L19: off localhost the browser drops a Secure cookie; the log says so, once for the login."""
    for host, expected in [("app.example", True), ("localhost:8000", False), ("[::1]", False), ("a.localhost", False)]:
        house = House()
        house.request(lambda s: s.login("alice"), facts=Facts(scheme="http", host=host))
        assert ("insecure_cookie" in house.names()) is expected


def test_the_framework_session_is_cleared() -> None:
    """L26: at logout, at a proven end and when another subject logs in; blocking or awaited."""
    cleared: list[str] = []

    async def later() -> None:
        cleared.append("awaited")

    def now() -> None:
        cleared.append("called")

    house = House()
    house.login()
    for subject, expected in [("alice", []), ("bob", ["called"])]:
        x, _ = house.opened()
        x.clear_framework = now
        Session(house.engine, x).login(subject)
        house.closed(x)
        assert cleared == expected
    x, _ = house.opened()
    x.clear_framework = later
    Session(house.engine, x).logout()
    assert cleared == ["called", "awaited"]


def no_database() -> None:
    raise OSError("the framework's own database is down")


def test_an_end_whose_framework_fails_is_found_once() -> None:
    """L16: the app's error page, which may ask who is there, meets the same fault no second time."""
    house = House()
    house.login()
    house.now += 86_401
    x = house.engine.begin(house.facts())
    x.clear_framework = no_database
    with pytest.raises(OSError, match="database"):
        run_sync(house.engine.open(x, OPEN))
    assert Session(house.engine, x).reason == "inactivity"


def test_a_logout_whose_framework_fails_still_removes_the_cookies() -> None:
    """L26: whatever fails after the end, the browser forgets our cookies."""
    house = House()
    house.login()
    x, _ = house.opened()
    x.clear_framework = no_database
    with pytest.raises(OSError, match="database"):
        Session(house.engine, x).logout()
    assert all("Max-Age=0" in line for line in house.closed(x))
    assert house.jar == {}


def test_bookkeeping_of_an_abandoned_request() -> None:
    """L25: an app that raises after login leaves no session; one that raises without keeps its own."""
    house = House()
    x, _ = house.opened()
    Session(house.engine, x).login("alice")
    run_sync(house.engine.abandon(x))
    assert Sessions(house.engine).list("alice") == []
    house.login()
    x, _ = house.opened()
    run_sync(house.engine.abandon(x))
    assert house.request().verdict is Verdict.ACTIVE


# --- outside requests ------------------------------------------------------------------------------------------------


def test_sessions_outside_a_request() -> None:
    """Issue 2: list, end one, end all but one, end all begun before an instant; the latest seen stands first."""
    house = House()
    sessions = Sessions(house.engine)
    jars = []
    for _ in range(3):
        house.jar = {}
        house.login()
        jars.append(house.jar)
        house.now += 10
    listed = sessions.list("alice")
    assert [info.created_at.timestamp() for info in listed] == [1_000_020.0, 1_000_010.0, 1_000_000.0]
    assert sessions.end(listed[0].id) is True
    assert sessions.end(listed[0].id) is False
    assert sessions.end("nobody's") is False
    assert sessions.end_all("alice", except_id=listed[1].id) == 1
    assert [info.id for info in sessions.list("alice")] == [listed[1].id]
    assert sessions.end_all("bob") == 0
    sessions.end_before(1_000_011.0)
    assert sessions.list("alice") == []
    ended = [event for event in house.events if event.name == "session_ended"]
    assert [event.detail.get("reason") for event in ended] == ["revoked"] * 2
    assert [event.subject for event in ended] == ["alice"] * 2, "an operator asks who that was"


def test_a_logout_beside_a_new_token_of_a_store_that_cannot_list() -> None:
    """L13, L17: what the session goes on as is not found then; whoever signs out is told that it is not done."""

    class Unlisted(MemoryStore):
        """Answers no list while it is down."""

        down = False

        def list(self, handle: str, now: float) -> Any:
            if self.down:
                raise OSError("no lists today")
            return super().list(handle, now)

    store = Unlisted()
    house = House(store=store)
    house.login()
    before = dict(house.jar)
    house.request(lambda session: session.step_up([{"type": "otp"}]))
    after, house.jar = house.jar, dict(before)
    store.down = True
    with pytest.raises(StoreUnavailable, match="could not be stored"):
        house.request(lambda session: session.logout())
    store.down, house.jar = False, after
    assert house.request().verdict is Verdict.ACTIVE
    house.jar = dict(before)
    house.request(lambda session: session.logout())
    house.jar = after
    assert house.request().verdict is Verdict.REVOKED


def stepped_up(house: House, jar: dict[str, str]) -> dict[str, str]:
    """Let another tab of this browser step up, with the cookies of the time; return those that it gets."""
    mine, house.jar = house.jar, dict(jar)
    house.request(lambda session: session.step_up([{"type": "otp"}]))
    house.jar, theirs = mine, house.jar
    return theirs


def verdict_of(house: House, jar: dict[str, str]) -> Verdict:
    mine, house.jar = house.jar, dict(jar)
    verdict = house.request().verdict
    house.jar = mine
    return verdict


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("when", ["before", "meanwhile", "at the end"])
def test_a_logout_ends_what_the_session_goes_on_as(when: str, times: int) -> None:
    """L12, L13: step-ups of other tabs before the late logout is opened, while it is on its way, and as it ends the session."""
    house = House()
    house.login()
    late, up = dict(house.jar), [dict(house.jar)]

    def others() -> Any:
        for _ in range(times):
            up.append(stepped_up(house, up[-1]))
        yield from ()

    if when == "before":
        list(others())

    def logout(session: Session) -> None:
        if when == "meanwhile":
            list(others())
        elif when == "at the end":
            house.store.interrupt("end", others)
        session.logout()

    house.jar = late
    house.request(logout)
    assert len(up) == times + 1
    assert {verdict_of(house, jar) for jar in up} == {Verdict.REVOKED}
    ended = [event.detail["reason"] for event in house.events if event.name == "session_ended"]
    assert ended.count("replaced") == times


def test_a_logout_of_tampered_cookies_ends_what_goes_on() -> None:
    """L13: whoever can plant a cookie beside ours keeps no session from ending, not one that has got another id either."""
    house = House()
    house.login()
    late, up = dict(house.jar), stepped_up(house, house.jar)
    token = house.settings.token_cookie
    cookies = f"{token}={late[token]}; {token}=planted"
    x = house.request(lambda session: session.logout(), facts=Facts("POST", "/x", cookies=cookies))
    assert x.verdict is Verdict.ANONYMOUS
    assert verdict_of(house, up) is Verdict.REVOKED


def test_a_logout_of_tampered_cookies_of_nobody() -> None:
    """L13: a token whose record is gone is no reason to leave the cookies."""
    house = House()
    token = house.settings.token_cookie
    house.login()
    cookies = f"{token}={house.jar[token]}; {token}=planted"
    wiped = House()
    x = wiped.request(lambda session: session.logout(), facts=Facts("POST", "/x", cookies=cookies))
    assert x.verdict is Verdict.ANONYMOUS


def test_what_a_session_goes_on_as_goes_on_once_more() -> None:
    """L12, L13: between the list and the end another tab may step up again: the list is read anew."""
    house = House()
    house.login()
    late, up = dict(house.jar), [stepped_up(house, house.jar)]

    def other() -> Any:
        up.append(stepped_up(house, up[-1]))
        yield from ()

    house.jar = late
    house.store.interrupt("end", other, skip=1)  # the first is of the token that came
    house.request(lambda session: session.logout())
    assert len(up) == 2
    assert {verdict_of(house, jar) for jar in up} == {Verdict.REVOKED}


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_an_end_by_id_ends_what_the_session_goes_on_as(when: str) -> None:
    """L12, ASVS 7.4.2: whoever ends a session of a list means it, also where it got another id since the list was shown."""
    house = House()
    listed = house.login().record
    assert listed is not None
    house.request(lambda session: session.login("alice"))
    up: list[dict[str, str]] = []

    def other() -> Any:
        up.append(stepped_up(house, house.jar))
        yield from ()

    if when == "before":
        list(other())
    else:
        house.store.interrupt("list", other)
    assert Sessions(house.engine).end(listed.public_id)
    assert [verdict_of(house, jar) for jar in up] == [Verdict.REVOKED]
    assert not Sessions(house.engine).end(listed.public_id)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("subject", "found"), [("bob", Verdict.REVOKED), ("alice", Verdict.ACTIVE)])
def test_a_login_over_what_goes_on(subject: str, found: Verdict, late: bool) -> None:
    """L12: the session that came ends, also where it got another id while the login of another subject was on its way.

    Of the same user's two new tokens nobody knows whose arrives last, so neither signs the other out (L13).
    """
    house = House()
    house.login()
    came, up = dict(house.jar), []
    if late:
        up.append(stepped_up(house, came))

    def login(session: Session) -> None:
        session.login(subject)
        if not late:
            up.append(stepped_up(house, came))

    house.request(login)
    assert [verdict_of(house, jar) for jar in (came, *up, house.jar)] == [Verdict.REVOKED, found, Verdict.ACTIVE]


@pytest.mark.parametrize("does", ["step_up", "login"])
def test_a_jwt_that_arrives_after_another_tab_has_made_a_new_session(does: str) -> None:
    """L9, L12: it names an id that this session had before, and counts as missing: the browser is not shut out until it is over."""
    house = House()
    house.login()
    cookie = house.engine.settings.jwt_cookie
    house.now += 200
    late = dict(house.jar)
    late.pop(cookie)
    house.jar, mine = late, dict(house.jar)
    house.request()
    late, house.jar = house.jar, mine
    assert late[cookie] != mine[cookie]
    for _ in range(2):  # also where it names an older id yet
        house.request(
            lambda session: session.step_up([{"type": "otp"}]) if does == "step_up" else session.login("alice")
        )
    house.jar[cookie] = late[cookie]
    assert house.request().verdict is Verdict.ACTIVE
    assert house.jar[cookie] != late[cookie]
    assert house.request().verdict is Verdict.ACTIVE


@pytest.mark.parametrize("over", [False, True])
def test_a_jwt_of_somebody_elses_session(over: bool) -> None:
    """L9: beside it a token opens nothing, also of a record that is gone; a store that is silent is another matter (L17)."""
    house = House()
    house.login("mallory")
    theirs, house.jar = house.jar, {}
    x = house.login()
    cookie = house.engine.settings.jwt_cookie
    house.jar[cookie] = theirs[cookie]
    if over:
        assert x.record is not None
        del house.store.store._records[x.record.key]
    found, refusal = house.opened(RouteRules())
    assert found.verdict is Verdict.TAMPERED
    assert (found.known, found.presented, found.record) == (None, None, None)
    assert refusal is not None
    house.store.go_down()
    assert house.opened()[0].verdict is Verdict.UNAVAILABLE


@pytest.mark.parametrize("by", ["the session", "its id"])
def test_all_others_are_not_what_this_one_goes_on_as(by: str) -> None:
    """L12: another tab steps up while this one ends all others, or somebody has kept the id of before: the browser stays."""
    house = House()
    house.login()
    elsewhere, house.jar = dict(house.jar), {}
    mine = house.login().record
    assert mine is not None
    came, up = dict(house.jar), []

    def end_others(session: Session) -> None:
        up.append(stepped_up(house, came))
        if by == "the session":
            session.end_others()
        else:
            Sessions(house.engine).end_all("alice", except_id=mine.public_id)

    house.request(end_others)
    assert [verdict_of(house, jar) for jar in (elsewhere, *up)] == [Verdict.REVOKED, Verdict.ACTIVE]


def test_an_end_of_what_goes_on_that_cannot_be_stored() -> None:
    """L17: whoever signs out is told, and it is retried; the login of another subject stands all the same."""

    class Endless(MemoryStore):
        """Ends nothing while it is broken."""

        broken = False

        def end(self, *args: Any) -> bool:
            if self.broken:
                raise OSError("no ends today")
            return super().end(*args)

    for verb in ("logout", "login"):
        store = Endless()
        house = House(store=store)
        house.login()
        late, up = dict(house.jar), stepped_up(house, house.jar)

        def down(store: Endless = store) -> Any:
            store.broken = True
            yield from ()

        house.jar = late
        if verb == "logout":
            house.store.interrupt("list", down)
            with pytest.raises(StoreUnavailable, match="could not be stored"):
                house.request(lambda session: session.logout())
        else:
            house.store.interrupt("list", down)
            assert house.login("bob").is_active
        store.broken = False
        house.now += 5
        house.request()
        assert verdict_of(house, up) is Verdict.REVOKED


def test_a_provider_that_ends_a_session_while_it_begins() -> None:
    """L24: whoever ends leaves a mark and then looks for what stands there; what begins is stored and looks for a mark."""
    house = House()
    there = ProviderSession("there", house.now, authority="local")

    def logged_out() -> Any:
        run_sync(house.engine.end_by_provider("logout", house.now, provider_sessions=("there",)))
        yield from ()

    house.store.interrupt("create", logged_out)
    with pytest.raises(SessionError) as caught:
        house.login(provider=there)
    assert caught.value.code == "provider_session_ended"
    assert Sessions(house.engine).list("alice") == []
    house.now += 1
    assert house.login(provider=ProviderSession("there", house.now, authority="local")).is_active


def test_a_ban_ends_nobody_elses_session_whatever_a_store_lists() -> None:
    """Two subjects whose handles are alike are still two: what is ended is read from the record."""

    class Mixed(MemoryStore):
        """Lists everybody's."""

        def list(self, handle: str, now: float) -> Any:
            return list(self._records.values())

    house = House(store=Mixed())
    house.login()
    house.jar = {}
    house.login("bob")
    assert Sessions(house.engine).end_all("alice") == 1
    assert house.request().verdict is Verdict.ACTIVE


def test_whoever_goes_on_for_ever_is_not_pursued_for_ever() -> None:
    """ASVS 7.4.2: a list is read anew where somebody else ended some of it first; a store that never agrees ends that."""
    lists: list[str] = []

    class Slippery(MemoryStore):
        """Lists another record each time, and knows none of them."""

        def list(self, handle: str, now: float) -> Any:
            lists.append(handle)
            return [record.evolve(key=bytes([len(lists)]) * 32) for record in super().list(handle, now)]

    house = House(store=Slippery())
    house.login()
    assert Sessions(house.engine).end_all("alice") == 0
    assert len(lists) == LOOKS


def test_a_list_says_since_when_when_and_where() -> None:
    """Issue 3: device, address, created and last seen, and the last full authentication, each of its own instant."""
    house = House()
    house.login()
    house.now += 60
    house.request(lambda session: session.login("alice"), facts=house.facts(user_agent="Netscape 4"))
    house.now += 120
    house.request()
    (info,) = Sessions(house.engine).list("alice")
    instants = (info.created_at, info.authenticated_at, info.last_seen_at)
    assert [at.timestamp() for at in instants] == [1_000_000.0, 1_000_060.0, 1_000_180.0]
    assert info.attributes == {"user_agent": "Netscape 4", "address": "192.0.2.1"}


def test_a_store_without_an_epoch_says_so() -> None:
    """Optional powers: end_before on a store that cannot is an error with its name."""

    class Plain(MemoryStore):
        end_before = None  # type: ignore[assignment]  # a store without that power

    engine = Engine(House().settings, Plain())
    with pytest.raises(SessionError, match="Plain") as caught:
        Sessions(engine).end_before(5.0)
    assert caught.value.code == "not_supported"


def test_instants_are_unambiguous() -> None:
    """Bad input: a datetime without a zone, or no instant at all, is refused."""
    from datetime import UTC, datetime

    sessions = Sessions(House().engine)
    sessions.end_before(datetime(1970, 1, 2, tzinfo=UTC))
    for value in (datetime(2026, 1, 1), "today", float("nan"), True):
        with pytest.raises(SettingsError, match="instant"):
            sessions.end_before(value)  # type: ignore[arg-type]  # that is the point


def test_an_instant_to_come_ends_nothing() -> None:
    """Bad input: an epoch only grows, so one in the future (a year mistyped) would end every login as it begins, for good."""
    house = House()
    house.login()
    sessions = Sessions(house.engine)
    for ahead in (31.0, 86_400.0, 1e10):
        with pytest.raises(SettingsError, match="future"):
            sessions.end_before(house.now + ahead)
    assert len(sessions.list("alice")) == 1
    sessions.end_before(house.now + 29)  # as far as clocks may differ (L1)
    assert sessions.list("alice") == []


def test_a_list_leaves_out_what_is_over() -> None:
    """L16, L17: sessions past a deadline, or whose end is owed to the store, are not in anybody's list."""
    house = House()
    house.login()
    house.now += 3600
    assert Sessions(house.engine).list("alice") == []
    house.jar = {}
    x = house.login()
    assert x.record is not None
    house.store.go_down(reads=False)
    with pytest.raises(StoreUnavailable):
        house.request(lambda session: session.logout())
    assert Sessions(house.engine).list("alice") == []
    house.store.come_back()
    assert house.store.load(x.record.key).ended_at is None, "the end is still owed"
    Sessions(house.engine).end("any write")
    assert house.store.load(x.record.key).end_reason == "logout"


def test_a_list_knows_of_activity_that_could_not_be_stored() -> None:
    """L17: while writes fail, what the user reads of when they were last here is what counts for their session."""
    house = House()
    house.login()
    house.now += 100
    house.store.go_down(reads=False)
    assert house.request().verdict is Verdict.ACTIVE
    (listed,) = run_sync(house.engine.list_of("alice", house.now))
    assert listed.last_seen_at == house.now


def test_an_end_that_another_process_did_first_is_not_counted() -> None:
    """end_all counts what it ended, not what it met."""
    house = House()
    x = house.login()
    assert x.record is not None
    key = x.record.key

    def other() -> Any:
        yield "end", key, "revoked", house.now, house.now + 86400

    house.store.interrupt("end", other)
    assert Sessions(house.engine).end_all("alice") == 0


# --- what a view holds -----------------------------------------------------------------------------------------------


def test_an_anonymous_session_says_nothing() -> None:
    """L27: every property of nobody's session is empty, and its repr shows only the verdict."""
    session = Session(House().engine, House().opened()[0])
    assert (session.subject, session.id, session.ends_at, session.created_at, session.jwt) == (None,) * 5
    assert (session.inactivity_deadline, session.absolute_deadline, session.last_seen_at) == (None,) * 3
    assert (session.authenticated_at, session.actor, session.reason) == (None,) * 3
    assert (session.claims, session.factors, session.attributes) == ({}, (), {})
    assert (session.is_active, session.is_verified, session.is_fresh(60)) == (False, False, False)
    assert repr(session) == "<Session ANONYMOUS>"


def test_a_session_shows_its_record() -> None:
    """Public names: instants are aware datetimes in UTC, claims cannot be written past update_claims."""
    house = House()
    house.login(claims={"a": 1}, factors=[{"type": "password"}], actor="support")
    session = Session(house.engine, house.opened()[0])
    assert (session.subject, session.actor, session.verdict) == ("alice", "support", Verdict.ACTIVE)
    assert session.ends_at == session.inactivity_deadline
    assert session.ends_at is not None
    assert (session.ends_at.timestamp(), session.ends_at.utcoffset()) == (
        house.now + 3600,
        session.ends_at.resolution * 0,
    )
    assert session.attributes == {"address": "192.0.2.1"}
    with pytest.raises(TypeError):
        session.claims["a"] = 2  # type: ignore[index]  # that is the point


def test_an_exempt_route_opens_its_session_itself() -> None:
    """L21: blocking code opens it by looking; asynchronous code is told to await open()."""
    house = House()
    house.login()
    x, _ = house.opened(EXEMPT)
    assert not x.authenticated
    assert Session(house.engine, x).subject == "alice"
    x, _ = house.opened(EXEMPT)
    waiting = AsyncSession(house.engine, x)
    with pytest.raises(SessionNotAttached, match="open"):
        waiting.subject  # noqa: B018  # looking is what is tested
    assert run_sync(waiting.open()).subject == "alice"


@pytest.mark.parametrize("where", ["store", "authority"])
def test_an_open_that_is_broken_off_has_found_nothing(where: str) -> None:
    """L8: a view that bounds it by a time limit knows nobody then, not even whom the record names; the next one asks anew."""
    authority, store = Says(), MemoryStore()
    house = House(authority=authority, store=store, verify_interval=0)
    house.login()
    x, _ = house.opened(EXEMPT)
    session = AsyncSession(house.engine, x)
    with pytest.MonkeyPatch.context() as patch:
        hurt, call = (house.engine.reach._call, "load") if where == "store" else (authority, "verify")
        patch.setattr(hurt, call, broken_off)
        with pytest.raises(CancelledError):
            run_sync(session.open())
    with pytest.raises(SessionNotAttached, match="open"):
        session.is_active  # noqa: B018  # looking is what is tested
    authority.answer = Alive.GONE
    assert run_sync(session.open()).verdict is Verdict.REVOKED


def test_a_mistake_in_an_authority_is_met_once() -> None:
    """L8: the app's error page, which asks who is there, is shown, and to nobody."""

    class Mistaken(Desk):
        """It cannot tell one credential from another."""

        def credential(self, shown: Shown) -> str | None:
            raise ValueError(shown)

    house = House()
    house.login()
    house.engine = Engine(house.settings, house.store, authority=Mistaken(), clock=lambda: house.now)
    x = house.engine.begin(house.facts())
    with pytest.raises(ValueError, match="Shown"):
        run_sync(house.engine.open(x, OPEN))
    assert Session(house.engine, x).subject is None


@pytest.mark.parametrize("answer", [Alive.ALIVE, Alive.GONE])
def test_two_tasks_open_one_session(answer: Alive) -> None:
    """L8: the second waits for what the first finds, and who looks without waiting sees nobody of whom a no may come yet."""

    class Slow(Says):
        """It answers once it is told to."""

        async def verify(self, record: Any, shown: Any, now: float) -> Vouch:
            asked.set()
            await may_answer.wait()
            return await super().verify(record, shown, now)

    async def work() -> list[str]:
        x = engine.begin(house.facts())
        await engine.open(x, EXEMPT)
        sessions = [AsyncSession(engine, x) for _ in range(2)]
        tasks = [asyncio.create_task(session.open()) for session in sessions]
        await asked.wait()
        assert not sessions[0].is_active
        may_answer.set()
        return [(await task).verdict.name for task in tasks]

    authority = Slow()
    house = House(store=MemoryStore())
    house.login()
    asked, may_answer = asyncio.Event(), asyncio.Event()
    authority.answer = answer
    engine = Engine(
        house.settings, house.store.store, authority=authority, runtime=LoopRuntime(), clock=lambda: house.now
    )
    assert asyncio.run(work()) == ["ACTIVE" if answer is Alive.ALIVE else "REVOKED"] * 2


@pytest.mark.parametrize("where", ["view", "answer"])
def test_a_session_that_others_have_joined_outlives_the_request_that_began_it(where: str) -> None:
    """L24: of a page's parallel requests the first one adopts; broken off, it takes nothing from those that have the cookie."""
    desk = Desk()
    house = House(authority=desk)
    desk.stays["stay"] = Stay("alice", house.now)
    house.jar["stay"] = "stay"
    first, _ = house.opened()
    second, _ = house.opened()
    Session(house.engine, second).data["basket"] = 1
    house.closed(second)
    if where == "answer":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(house.engine.reach, "load", broken_off)
            with pytest.raises(CancelledError):
                run_sync(house.engine.close(first))
    run_sync(house.engine.abandon(first))
    again = house.request()
    assert (again.record, again.verdict) == (second.record, Verdict.ACTIVE)


def test_who_proves_to_be_another_is_not_the_user_before_at_the_next_request() -> None:
    """L24: a socket to which another has signed in at the provider begins nothing; the answer from before does not hold on."""
    desk = Desk(interval=60.0)
    house = House(authority=desk)
    desk.stays["stay"] = Stay("alice", house.now)
    house.jar["stay"] = "stay"
    for _ in range(2):
        house.now += 1
        house.request()
    desk.stays["stay"] = Stay("bob", house.now)
    house.now += 10
    socket = house.facts(websocket=True, scheme="wss")
    _, refusal = house.opened(RouteRules(policy="required", fresh_within=5), socket)
    assert refusal is not None
    x, _ = house.opened(OPEN, socket)
    assert x.verdict is Verdict.UNKNOWN


async def broken_off(*given: object, **named: object) -> None:
    """Stand for a call during which somebody gave up."""
    raise CancelledError


def test_awaited_verbs_are_those_of_session() -> None:
    """Public names: AsyncSession has the verbs of Session."""
    house = House()

    def run(work: Callable[[AsyncSession], Coroutine[Any, Any, Any]]) -> Any:
        x, _ = house.opened()
        answer = run_sync(work(AsyncSession(house.engine, x)))
        house.closed(x)
        return answer

    given: dict[str, Any] = {"claims": {"a": 1}, "data": {"b": 2}, "stamp": "s", "actor": "support", "persistent": True}
    run(lambda s: s.login("alice", **given, factors=[{"type": "pwd"}], minutes=20, limits=Limits(600, 7200)))
    begun = house.request().record
    assert begun is not None
    assert {name: getattr(begun, name) for name in given} == given
    assert begun.factors == ({"type": "pwd"},)
    assert (begun.inactivity_deadline, begun.limits) == (house.now + 1200, Limits(600, 7200))
    run(lambda s: s.extend(30))
    run(lambda s: s.step_up([{"type": "otp"}]))
    run(lambda s: s.save())
    assert run(lambda s: s.end_others()) == 0
    assert house.request().record.factors == ({"type": "pwd"}, {"type": "otp"})  # type: ignore[union-attr]  # it is ACTIVE
    run(lambda s: s.logout())
    assert house.jar == {}


def test_step_up_and_end_others_keep_the_way_back() -> None:
    """L12, L13: end_others after step_up spares the session that step_up carries on; one ended meanwhile is dead."""
    house = House()
    house.login()
    x, _ = house.opened()
    session = Session(house.engine, x)
    session.step_up([{"type": "otp"}])
    assert session.end_others() == 0
    assert house.closed(x) != []
    x, _ = house.opened()
    Session(house.engine, x).step_up([{"type": "otp"}])
    assert x.stepped_from is not None
    house.store.end(x.stepped_from, "revoked", house.now, house.now + 86400)
    assert house.closed(x) == []
    assert x.verdict is Verdict.REVOKED
    assert key_of("x") != x.stepped_from


@pytest.mark.parametrize("reason", [None, "logout", "replaced"], ids=["alive", "logged out", "replaced"])
def test_a_step_up_of_which_the_store_does_not_say_what_it_ended(reason: str | None) -> None:
    """L13: where that write fails the record is read; a logout that came before it wins, our own end does not count as one."""
    house = House()
    house.login()
    x, _ = house.opened()
    Session(house.engine, x).step_up([{"type": "otp"}])
    assert x.stepped_from is not None
    if reason is not None:
        house.store.end(x.stepped_from, reason, house.now, house.now + 86400)
    house.store.go_down(reads=False)
    goes_on = reason != "logout"
    assert bool(house.closed(x)) is goes_on
    assert (x.verdict is Verdict.ACTIVE) is goes_on
    house.store.come_back()
    house.now += 60
    assert (house.request().verdict is Verdict.ACTIVE) is goes_on


def test_step_up_changes_nothing_but_id_and_freshness() -> None:
    """L2, L12, L14: ceiling, limits and what a later version wrote go over; a cut of today is not written down."""
    house = House(inactivity_timeout=1_800.0, absolute_lifetime=28_800.0)
    house.login(claims={"a": 1}, data={"b": 2}, persistent=True, stamp="s", actor="support", factors=[{"type": "pin"}])
    x = house.request(lambda session: session.extend(300))  # past the cut to come
    assert x.record is not None
    told = {
        "ceiling": house.now + 20_000.0,
        "sealed": "z",
        "provider_session": "there",
        "proven_at": 7.0,
        "extra": {"later": 1},
    }
    before = house.store.save(x.record.evolve(**told))
    assert before is not None
    cut = House(store=house.store, inactivity_timeout=1_200.0, absolute_lifetime=14_400.0)
    cut.jar = dict(house.jar)
    cut.now += 30.0
    x = cut.request(lambda session: session.step_up([{"type": "otp"}]))
    assert x.record is not None
    new = {
        name: getattr(x.record, name) for name in ("key", "public_id", "renewed_at", "fresh_at", "factors", "revision")
    }
    assert x.record == before.evolve(**new, before=(before.public_id,))
    assert (x.record.key != before.key, x.record.fresh_at) == (True, cut.now)
    assert x.record.factors == ({"type": "pin"}, {"type": "otp"})


def test_a_login_after_a_step_up_needs_no_earlier_session() -> None:
    """L12: who proves who they are in full is signed in, whatever became of the session that the step-up carried on."""
    house = House()
    house.login()
    x, _ = house.opened()
    session = Session(house.engine, x)
    session.step_up([{"type": "otp"}])
    session.login("alice")
    assert x.presented is not None
    house.store.end(x.presented.key, "revoked", house.now, house.now + 86400)
    assert house.closed(x) != []
    assert house.request().verdict is Verdict.ACTIVE


def test_a_second_step_up_carries_on_the_session_that_came() -> None:
    """L12, L13: not the one of the first step-up, which nobody ever held; one ended meanwhile is dead."""
    house = House()
    house.login()
    for ends_meanwhile in (False, True):
        x, _ = house.opened()
        session = Session(house.engine, x)
        session.step_up([{"type": "otp"}])
        session.step_up([{"type": "otp"}])
        assert x.presented is not None
        if ends_meanwhile:
            house.store.end(x.presented.key, "revoked", house.now, house.now + 86400)
        assert bool(house.closed(x)) is not ends_meanwhile


def test_the_token_before_is_given_its_successor_each_time_and_refused_after_its_grace() -> None:
    """L11: it is never recognised without a look, or a lost response would stay lost, and a thief be served for longer."""
    house = House(renewal_interval=600.0, renewal_grace=30.0)
    house.login()
    token = house.jar["__Host-session"]
    house.now += 700.0
    house.request()
    house.request()  # presents the successor: the grace begins
    before = f"__Host-session={token}; __Host-session_jwt={house.jar['__Host-session_jwt']}"
    for _ in range(3):
        house.now += 9.0
        x, _ = house.opened(OPEN, Facts(cookies=before))
        assert (x.verdict, x.quiet) == (Verdict.ACTIVE, False)
        assert len(run_sync(house.engine.close(x))) > 0
    house.now += 3.0
    assert house.opened(OPEN, Facts(cookies=before))[0].verdict is Verdict.REPLAYED


def test_a_token_under_a_later_key_is_given_anew_each_time() -> None:
    """L10: also where the response that brought the new one was lost."""
    jwt_keys = [JwtKey.hs256(b"one key of 32 bytes, all the time")]
    old = House(jwt_keys=jwt_keys, jwt_subject="plain")
    old.login()
    house = House(store=old.store, secret_keys=[KEY[::-1], KEY], jwt_keys=jwt_keys, jwt_subject="plain")
    house.now += 61.0
    for _ in range(3):
        x, _ = house.opened(OPEN, old.facts())
        assert any(line.startswith("__Host-session=") for line in run_sync(house.engine.close(x)))


def test_our_own_pages_do_not_take_note_of_a_token() -> None:
    """L6, L11: status and list write nothing at all; the grace of the token before begins with a request to the app."""
    house = House(renewal_interval=600.0)
    house.login()
    house.now += 700.0
    assert house.request().reissue
    house.store.forget_calls()
    house.request(rules=RouteRules(policy="optional", touch=False, sets_cookies=False))
    assert house.store.writes == 0
    house.request(rules=RouteRules(policy="optional", touch=False))
    assert house.store.writes == 1


def test_login_and_end_others_keep_the_way_back() -> None:
    """L12, L25: the session that came ends with the response; where the view fails after end_others, it goes on."""
    house = House()
    house.login()
    elsewhere, house.jar = house.jar, {}
    house.login()
    x, _ = house.opened()
    session = Session(house.engine, x)
    session.login("alice")
    assert session.end_others() == 1
    run_sync(house.engine.abandon(x))
    assert house.request().verdict is Verdict.ACTIVE
    house.jar = elsewhere
    assert house.request().verdict is Verdict.REVOKED


def test_login_and_end_others_end_the_providers_session_before() -> None:
    """L24: nobody who has its credential begins a session with it again; the new one's own goes on."""
    house = House()
    house.login(provider=ProviderSession("first", house.now))
    house.now += 1.0
    x, _ = house.opened()
    session = Session(house.engine, x)
    session.login("alice", provider=ProviderSession("second", house.now))
    assert session.end_others() == 1
    house.closed(x)
    assert house.request().verdict is Verdict.ACTIVE
    for id, refused in (("first", True), ("second", False)):
        x, _ = house.opened()
        with pytest.raises(SessionError) if refused else nullcontext():
            Session(house.engine, x).login("alice", provider=ProviderSession(id, house.now - 1.0))


def test_what_is_answered_where_a_view_lets_a_fault_pass() -> None:
    """L17, L20, L25: 503 for a store that was down, 403 for another site's login, the app's own handling for the rest."""
    house = House()
    x, _ = house.opened()
    Session(house.engine, x).login("alice")
    reply = run_sync(house.engine.answer(x, StoreUnavailable("down")))
    assert reply is not None
    assert reply.status == 503
    assert house.closed(x) == [], "the login does not stand"
    assert Sessions(house.engine).list("alice") == []
    crossed = run_sync(house.engine.answer(house.opened()[0], SessionError("x", code="cross_site_login")))
    assert crossed is not None
    assert crossed.status == 403
    assert run_sync(house.engine.answer(house.opened()[0], SessionError("x"))) is None


def test_only_this_hosts_login_page_is_open() -> None:
    """L21: the login page is open to all; a page of ours that shares its path with a provider's is not."""
    for url, refused in [
        (lambda facts: "https://app.example/x", True),  # whoever asks chooses the Host
        (lambda facts: "https://id.example/x", True),
        (lambda facts: "https://[", True),
        (lambda facts: "/x", False),
        ("/x", False),
    ]:
        house = House(login_url=url)
        assert (house.opened(None)[1] is not None) is refused
    assert house.opened(None, house.facts(path="//x"))[1] is not None, "to an app that may be another page"


def test_an_empty_cookie_is_none() -> None:
    """L10: what a client kept of a deleted cookie is no forgery."""
    house = House()
    assert house.opened(OPEN, Facts(cookies="__Host-session="))[0].verdict is Verdict.ANONYMOUS


def test_a_preflight_passes_where_no_view_answers() -> None:
    """L21: OPTIONS with Origin and Access-Control-Request-Method is judged as any method where a view would run."""
    house = House()
    preflight = Facts("OPTIONS", origin="https://front.example", access_control_request_method="GET")
    assert run_sync(house.engine.open(house.engine.begin(preflight), None, runs_view=False)) is None
    assert run_sync(house.engine.open(house.engine.begin(preflight))) is not None


def test_claims_and_data_during_an_outage() -> None:
    """L17: whoever asks may be signed in, so it is a 503 and not "nobody is signed in"."""
    house = House()
    house.login()
    house.store.go_down()
    x, _ = house.opened()
    for verb in (lambda s: s.data, lambda s: s.update_claims(a=1)):
        with pytest.raises(StoreUnavailable):
            verb(Session(house.engine, x))


def test_a_session_that_is_over_makes_room_for_one_login_only() -> None:
    """ASVS 7.1.2: whoever comes back with the cookie of a session that timed out has no place besides those in use."""
    house = House(max_sessions=1, on_max_sessions="refuse", inactivity_timeout=600)
    house.login()
    gone, house.jar = house.jar, {}
    house.now += 700
    house.login()
    house.jar = gone
    with pytest.raises(SessionError) as refused:
        house.login()
    assert refused.value.code == "too_many_sessions"


def test_max_sessions_needs_a_store_that_can_count() -> None:
    """An impossible combination is an error at start-up that names both; every store of ours can."""

    class Without:
        short_calls = frozenset[str]()
        load = create = touch = save = renew = end = list = MemoryStore.load

    with pytest.raises(SettingsError, match=r"max_sessions=3: cannot be held by Without"):
        Engine(Settings(secret_keys=[KEY], max_sessions=3), Without())
    assert Engine(Settings(secret_keys=[KEY], max_sessions=3), MemoryStore()).settings.max_sessions == 3
    assert Engine(Settings(secret_keys=[KEY]), Without())
    for nonsense in (0, -1, 2.5, True, "3"):
        with pytest.raises(SettingsError, match="max_sessions="):
            Settings(secret_keys=[KEY], max_sessions=nonsense)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(SettingsError, match="on_max_sessions="):
        Settings(secret_keys=[KEY], max_sessions=1, on_max_sessions="ignore")  # type: ignore[arg-type]


def test_an_end_by_id_needs_no_read() -> None:
    """L13: end needs only the id; where the record cannot be read, it is ended all the same."""
    house = House()
    x = house.login()
    assert x.record is not None
    house.store.go_down(writes=False)
    assert Sessions(house.engine).end(x.record.public_id)
    house.store.come_back()
    assert house.store.load(x.record.key).end_reason == "revoked"
