"""Attacks on the engine and its stores, each of which worked once or would be the first to be tried again."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from session_middleware import Limits, Settings
from session_middleware.authorities.local import LocalAuthority
from session_middleware.core.cookies import find
from session_middleware.core.exchange import Exchange, RouteRules
from session_middleware.core.fields import are_text, body_fields
from session_middleware.core.lifetime import Verdict
from session_middleware.core.refusal import Refusal
from session_middleware.endpoints import Endpoints
from session_middleware.engine import Engine
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.runtime import on_loop, run_sync
from session_middleware.session import AsyncSession
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing import FakeClock
from session_middleware.testing.stage import KEY, TOKEN
from session_middleware.testing.watched_store import WatchedStore

from .core.facts import Facts

OPEN = RouteRules(policy="optional")
REQUIRED = RouteRules(policy="required")
STALE = RouteRules(policy="required", on_unavailable="stale")

Work = Callable[[Engine, Exchange], Coroutine[Any, Any, Any]]


class House:
    """An engine with a clock, a store that can go down, and the cookies of one visitor."""

    def __init__(self, *, authority: Any = None, store: Any = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.store = WatchedStore(MemoryStore() if store is None else store)
        self.events: list[str] = []
        self.engine = Engine(
            Settings(secret_keys=[KEY], **settings),
            self.store,
            clock=self.clock,
            authority=authority,
            on_event=[lambda event: self.events.append(event.name)],
        )
        self.cookies = ""

    def ask(self, rules: RouteRules = REQUIRED, work: Work | None = None, **facts: Any) -> tuple[Exchange, Any]:
        """Do one request; return its exchange and the refusal, if any; cookies that come are kept."""
        facts = {"cookies": self.cookies, "sec_fetch_site": "same-origin", **facts}
        x = self.engine.begin(Facts(**facts))
        refusal: Refusal | None = run_sync(self.engine.open(x, rules))
        if refusal is None and work is not None:
            run_sync(work(self.engine, x))
        lines = run_sync(self.engine.close(x))
        if lines:
            kept = dict(pair.split("=", 1) for pair in self.cookies.split("; ") if pair)
            kept |= dict(line.partition(";")[0].split("=", 1) for line in lines)
            self.cookies = "; ".join(f"{name}={value}" for name, value in kept.items() if value)
        return x, refusal

    def login(self, subject: str = "alice") -> None:
        self.ask(OPEN, lambda engine, x: engine.login(x, subject), method="POST")

    def verdict(self, **facts: Any) -> Verdict:
        return self.ask(OPEN, **facts)[0].verdict


# --- the quiet path, the clock and what is remembered ------------------------------------------------------------------


def test_a_clock_set_back_does_not_skip_the_verify_hook() -> None:
    """L8: a user who is gone stays out although the answer remembered is, by the clock, from the future."""
    active = ["alice"]
    house = House(authority=LocalAuthority(lambda record: record.subject in active))
    house.login()
    assert house.verdict() is Verdict.ACTIVE
    active.clear()
    house.clock.set(house.clock() - 5)
    assert house.verdict() is Verdict.REVOKED


@pytest.mark.parametrize("wait", [1, 30, 59])
def test_a_cut_by_the_limits_function_acts_within_a_touch_interval(wait: int) -> None:
    """L2: whichever Cookie header the cut falls between, and however lately the function was asked for it."""
    answer = [Limits(3_600, 86_400)]
    house = House(limits=lambda subject, claims: answer[0])
    house.login()
    house.clock.advance(1)
    house.ask()
    house.clock.advance(wait)
    house.cookies += "; _ga=2"
    house.ask()
    answer[0] = Limits(3_600, 1)
    cut = house.clock()
    while house.ask()[1] is None:
        house.clock.advance(1)
        assert house.clock() - cut <= house.engine.settings.timing.touch_interval


@pytest.mark.parametrize(
    "end",
    [
        lambda engine, x: engine.logout(x),
        lambda engine, x: engine.end_all("alice", x.now),
        lambda engine, x: engine.end_id(x.record.public_id, x.now),
        lambda engine, x: engine.end_before(x.now, x.now),
    ],
    ids=["logout", "end_all", "end_id", "end_before"],
)
def test_an_outage_does_not_revive_what_this_process_ended(end: Work) -> None:
    """L13, ASVS 7.4.1: a stale answer is no way back into a session whose end was stored before the store went down."""
    house = House()
    house.login()
    house.ask()
    stolen = house.cookies
    house.clock.advance(1)
    house.ask(OPEN, end)
    house.cookies = stolen
    house.store.go_down()
    x, refusal = house.ask(STALE)
    assert refusal is not None
    assert not x.stale


def test_an_outage_does_not_revive_what_this_process_found_ended() -> None:
    """L13: nor into one that another process ended, once a request here has been told so."""
    house = House()
    house.login()
    house.ask()
    record = house.ask()[0].record
    assert record is not None
    house.store.store.end(record.key, "revoked", house.clock(), house.clock() + 86_400)
    assert house.verdict() is Verdict.REVOKED
    house.store.go_down()
    assert house.ask(STALE)[1] is not None


def test_a_stale_answer_still_serves_the_living() -> None:
    """L17: what the two tests above refuse is served while the session lives, so they can fail."""
    house = House()
    house.login()
    house.ask()
    house.store.go_down()
    x, refusal = house.ask(STALE)
    assert refusal is None
    assert x.stale


@pytest.mark.parametrize("everywhere", [True, False], ids=["by the setting", "by the marker"])
def test_a_stale_answer_is_never_fresh(everywhere: bool) -> None:
    """L17: what needs a recent login is not served from a JWT, however recent that login was."""
    house = House(on_unavailable="stale" if everywhere else "refuse")
    house.login()
    house.ask()
    within = RouteRules(policy="required", fresh_within=300.0, on_unavailable=None if everywhere else "stale")
    assert house.ask(within)[1] is None
    house.store.go_down()
    _, refusal = house.ask(within)
    assert refusal is not None
    assert refusal.reason == "unavailable"


SOCKET = {"websocket": True, "scheme": "wss", "origin": "https://evil.example"}


def test_an_outage_opens_no_socket_to_another_origin() -> None:
    """ASVS 4.4.2: a stale answer is refused a foreign handshake as any other is, where a session is required and not."""
    house = House()
    house.login()
    house.ask()
    house.store.go_down()
    for policy in ("required", "optional"):
        rules = RouteRules(policy=policy, on_unavailable="stale")
        assert house.ask(rules, origin="https://app.example", websocket=True, scheme="wss")[1] is None, "its own may"
        refusal = house.ask(rules, **SOCKET)[1]
        assert refusal is not None
        assert refusal.reason == "signed_out"


@pytest.mark.parametrize("settings", [{}, {"exempt_paths": ["/x"]}], ids=["marker", "exempt_paths"])
def test_a_socket_of_another_origin_is_nobody_where_the_view_opens_the_session(settings: dict[str, Any]) -> None:
    """ASVS 4.4.2: on an exempt route too, whatever the view asks for later."""
    house = House(**settings)
    house.login()
    rules = REQUIRED if settings else RouteRules(policy="exempt")

    async def opened(engine: Engine, x: Exchange) -> None:
        await AsyncSession(engine, x).open()

    async def extended(engine: Engine, x: Exchange) -> None:
        await AsyncSession(engine, x).extend(10)

    own = house.ask(rules, opened, websocket=True, scheme="wss", origin="https://app.example")[0]
    assert own.verdict is Verdict.ACTIVE
    assert house.ask(rules, opened, **SOCKET)[0].verdict is Verdict.ANONYMOUS
    with pytest.raises(SessionError):
        house.ask(rules, extended, **SOCKET)
    cookies = house.cookies
    house.ask(rules, lambda engine, x: engine.logout(x), **SOCKET)
    house.cookies = cookies
    assert house.verdict(path="/y") is Verdict.ACTIVE, "nor can it sign anybody out"


def test_a_stale_answer_is_good_for_no_longer_than_its_jwt() -> None:
    """L17: bounded by `jwt_lifetime`, also for what stays open after the request."""
    house = House()
    house.login()
    house.ask()
    expires = house.ask()[0].known.jwt_expires
    house.store.go_down()
    x, _ = house.ask(STALE)
    assert x.stale
    assert x.deadlines is not None
    assert x.deadlines.ends_at == expires


def test_a_stale_answer_says_what_the_store_has_just_said() -> None:
    """L8, ASVS 8.3.2: where the authority alone is down, a right that was taken away elsewhere does not come back."""
    down = False

    def verify(record: Any) -> bool:
        if down:
            raise OSError
        return True

    house = House(authority=LocalAuthority(verify=verify))
    other = House(store=house.store.store)
    other.clock = house.clock

    async def demoted(engine: Engine, x: Exchange) -> None:
        engine.change_claims(x, {"role": "guest"})

    house.ask(OPEN, lambda engine, x: engine.login(x, "alice", claims={"role": "admin"}), method="POST")
    house.ask()
    other.cookies = house.cookies
    other.ask(REQUIRED, demoted)
    down = True
    x, refusal = house.ask(STALE)
    assert refusal is None
    assert x.stale
    assert x.claims["role"] == "guest"


def test_a_limit_that_was_cut_holds_during_an_outage() -> None:
    """L2, L17: nobody is served beyond the deadline that was last known, however long the JWT has left."""
    answer = [Limits(3_600, 86_400)]
    house = House(limits=lambda subject, claims: answer[0])
    house.login()
    house.ask()
    answer[0] = Limits(3_600, 100)
    house.clock.advance(61)
    before = house.cookies  # with a JWT from before the cut
    house.ask()
    house.store.go_down()
    house.clock.advance(30)
    assert house.ask(STALE, cookies=before)[1] is None
    house.clock.advance(10)
    assert house.ask(STALE, cookies=before)[1] is not None


def test_a_touch_behind_a_cache_is_kept_where_the_store_cannot_be_asked_anew() -> None:
    """L5, L17: whether another process has written it cannot be known; it is not lost."""

    class Cache(MemoryStore):
        down = False

        def reload(self, key: bytes) -> Any:
            if self.down:
                raise OSError("down")
            return super().load(key)

    cache = Cache()
    house = House(store=cache)
    house.login()
    house.ask()
    house.clock.advance(61)
    cache.down = True
    x, refusal = house.ask()
    assert refusal is None
    assert x.record is not None
    assert x.record.last_seen_at == house.clock()


# --- planted cookies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("front", [True, False])
@pytest.mark.parametrize("planted", ["x", "v1.good.looking", "another", "another, which is over"])
def test_a_planted_cookie_keeps_no_session_from_ending(planted: str, front: bool) -> None:
    """L13: logout ends what the browser's own token stands for, though another host has put a second cookie beside it."""
    house = House(cookie_domain="example.org")
    name = house.engine.settings.token_cookie
    if planted.startswith("another"):
        house.login("mallory")
        is_over = planted != "another"
        planted = dict(pair.split("=", 1) for pair in house.cookies.split("; "))[name]
        if is_over:
            house.ask(OPEN, lambda engine, x: engine.logout(x), method="POST")
        house.cookies = ""
    house.login()
    good = house.cookies
    beside = f"{name}={planted}"
    house.cookies = f"{beside}; {good}" if front else f"{good}; {beside}"
    assert house.verdict() is Verdict.TAMPERED
    house.ask(OPEN, lambda engine, x: engine.logout(x), method="POST")
    # Each session's end is said once, that of one which is over already not again.
    assert house.events.count("session_ended") == (2 if planted.startswith("v1.") and len(planted) > 40 else 1)
    house.cookies = good
    assert house.verdict() is Verdict.REVOKED


def test_a_logout_with_a_planted_cookie_while_the_store_is_down() -> None:
    """L17: it says that it is not stored yet, and is stored once the store answers."""
    house = House(cookie_domain="example.org")
    house.login()
    good = house.cookies
    house.cookies = f"{house.engine.settings.token_cookie}=x; {good}"
    house.store.go_down()
    with pytest.raises(StoreUnavailable):
        house.ask(OPEN, lambda engine, x: engine.logout(x), method="POST")
    house.store.come_back()
    house.clock.advance(10)
    house.cookies = good
    assert house.verdict() is Verdict.REVOKED


def test_a_header_of_ours_is_taken_alone() -> None:
    """L19: of a request with `Authorization: Session` no cookie counts; any other scheme is not ours and changes nothing."""
    house = House(transport="header")
    house.login()
    token = dict(pair.split("=", 1) for pair in house.cookies.split("; "))[house.engine.settings.token_cookie]
    assert house.verdict(authorization="Basic eA==") is Verdict.ACTIVE
    assert house.verdict(authorization="Session x") is Verdict.TAMPERED
    assert house.verdict(authorization=f"Session {token}") is Verdict.ACTIVE
    cookies = house.cookies
    house.ask(OPEN, lambda engine, x: engine.logout(x), method="POST", authorization="Session x")
    house.cookies = cookies
    assert house.verdict() is Verdict.ACTIVE, "nor is it ended by a header that is not its own"


def test_two_engines_over_one_store_see_each_others_ends() -> None:
    """L13: what one worker remembers as quiet ends with the logout at the other."""
    house = House()
    other = House(store=house.store.store)
    other.clock = house.clock
    house.login()
    other.cookies = house.cookies
    assert [each.verdict() for each in (house, other)] == [Verdict.ACTIVE] * 2
    other.ask(OPEN, lambda engine, x: engine.logout(x))
    assert house.verdict() is Verdict.REVOKED


# --- faults of the app's own functions -----------------------------------------------------------------------------------


def broken(*arguments: Any) -> Any:
    raise RuntimeError("the app's own function failed")


def test_a_broken_client_address_keeps_nobody_in_and_nobody_out() -> None:
    """L11, L13, ASVS 16.5.4: a replay still ends the session, and login and logout still work."""
    house = House(client_address=broken, renewal_interval=60)
    house.login()
    first = house.cookies
    house.clock.advance(61)
    house.ask()
    house.clock.advance(1)
    house.ask()
    house.clock.advance(61)
    assert house.verdict(cookies=first) is Verdict.REPLAYED
    assert house.verdict() is Verdict.REPLAYED
    house.login()
    stolen = house.cookies
    house.ask(OPEN, lambda engine, x: engine.logout(x))
    assert house.cookies == ""
    assert house.verdict(cookies=stolen) is Verdict.REVOKED
    assert "settings_fault" in house.events


def test_an_address_that_is_no_text_is_none() -> None:
    """L19: what `client_address` answers enters a record only as text."""
    house = House(client_address=lambda facts: 7)
    house.login()
    record = house.ask()[0].record
    assert record is not None
    assert "address" not in record.attributes


def test_a_broken_hook_and_a_broken_verify_let_nobody_in() -> None:
    """L17, ASVS 16.5.4: a fault of `verify` is 503 and ends nothing."""
    fault = [False]
    house = House(authority=LocalAuthority(lambda record: broken() if fault[0] else True))
    house.login()
    fault[0] = True
    x, refusal = house.ask()
    assert x.verdict is Verdict.UNAVAILABLE
    assert refusal is not None
    fault[0] = False
    assert house.verdict() is Verdict.ACTIVE


def test_a_login_whose_cookie_cannot_go_out_does_not_stand() -> None:
    """L25: the store fails between the login and the response; no session is left that nobody holds."""
    house = House()
    with pytest.raises(StoreUnavailable):
        house.ask(OPEN, broken_store_after_login, method="POST")
    assert house.cookies == ""
    house.store.come_back()
    house.login()
    house.clock.advance(2)
    house.ask()
    assert len(run_sync(house.engine.list_of("alice", house.clock()))) == 1


async def broken_store_after_login(engine: Engine, x: Exchange) -> None:
    await engine.login(x, "alice")
    engine.store.go_down()


def test_a_header_of_many_cookies_is_read_in_one_go() -> None:
    """ASVS 15.4: twice the cookies of our name take twice the comparisons, not four times."""

    class Counted(str):
        compared = 0

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

        def partition(self, separator: str) -> tuple[str, str, str]:
            left, middle, right = str.partition(self, separator)
            return left, middle, Counted(right)

        def split(self, *arguments: Any) -> list[str]:
            return [Counted(part) for part in str.split(self, *arguments)]

        def strip(self, *arguments: Any) -> str:
            return Counted(str.strip(self, *arguments))

    found = find(Counted(";".join(f"{TOKEN}={number}" for number in range(1_000))), TOKEN)
    assert found == [str(number) for number in range(1_000)]
    assert Counted.compared < 10_000


# --- ways around the routes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/static/../me", "/static/..", "/static//../me", "/static/..;/me", "/static/..\\me"])
def test_a_path_that_leaves_an_exempt_folder_is_not_exempt(path: str) -> None:
    """L21: whatever the app or a server behind makes of it."""
    house = House(exempt_paths=["/static/*"])
    assert house.ask(path=path)[1] is not None
    assert house.ask(path="/static/..a/b..css")[1] is None


@pytest.mark.parametrize("host", ["app.example", "id.example", "ID.example"])
def test_a_providers_login_url_opens_no_path_of_ours(host: str) -> None:
    """L21: an anonymous visitor who writes the provider's name into the Host header finds no page open."""
    house = House(login_url="https://id.example/")
    x, refusal = house.ask(path="/", host=host)
    assert refusal is not None
    assert refusal.login_url == "https://id.example/"
    assert x.protected


@pytest.mark.parametrize("mount", ["//evil.test", "///evil.test", "/\\evil.test"])
def test_a_hostile_mount_names_no_other_host(mount: str) -> None:
    """ASVS 3.7.2: a mount that came with the request (X-Forwarded-Prefix, a parameter of a route) is a path, no host."""
    house = House()
    house.login()
    refusal = house.ask(cookies="", mount=mount, path="/me", query="x=1")[1]
    assert refusal is not None
    reply = house.engine.render(house.engine.begin(Facts(mount=mount, accept="text/html")), refusal)
    assert is_path(dict(reply.headers)["Location"])
    x = house.engine.begin(
        Facts(
            "POST",
            "/session/logout",
            mount=mount,
            cookies=house.cookies,
            sec_fetch_site="same-origin",
            accept="text/html",
        )
    )
    reply = run_sync(Endpoints(house.engine).answer(x, nothing))
    assert reply.status == 303
    assert is_path(dict(reply.headers)["Location"])


async def nothing(limit: int) -> bytes:
    return b""


def is_path(location: str) -> bool:
    """Say whether browsers take a Location for a path on this host."""
    return (
        location.startswith("/") and location[1:2] not in ("/", "\\") and location.isascii() and location.isprintable()
    )


# --- a store that somebody else writes to --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": "abc"},
        {"generation": -1},
        {"last_seen_at": "x"},
        {"body": b"\x80\x04cos\nsystem\n(S'true'\ntR."},
        {"body": b"\x01"},
        {"body": b""},
        {"body": b'{"v":1,"k":' + b"[" * 100_000},
        {"v": 99},
        {"l": ["a", "b"]},
        {"l": [-1, -1]},
        {"c": 10**400},
        {"k": [1]},
        {"x": 5},
        {"t": {"user_agent": 5, "address": [1]}},
    ],
    ids=str,
)
def test_a_hostile_row_is_refused_and_hurts_nobody_else(tmp_path: Path, changes: dict[str, Any]) -> None:
    """ASVS 1.5.2, L17: what a row says is checked; it is 503 for its owner alone, and no outage of the store."""
    path = tmp_path / "sessions.db"
    with SQLiteStore(path) as store:
        house = House(store=store)
        house.login("mallory")
        other = House(store=store)
        other.login("alice")
        key = house.engine.credentials.read(house.cookies, house.clock())
        assert not isinstance(key, Verdict)
        row = store.load(key.presented.key)
        assert row is not None
        columns = {name: value for name, value in changes.items() if len(name) > 1}
        letters = {name: value for name, value in changes.items() if len(name) == 1}
        if letters:
            columns["body"] = json.dumps({**json.loads(row.encode_body()), **letters}).encode()
        database = sqlite3.connect(path, isolation_level=None)
        for name, value in columns.items():
            database.execute(f"UPDATE sessions SET {name} = ?, version = version + 1 WHERE key = ?", (value, row.key))
        database.close()
        assert house.verdict() is Verdict.UNAVAILABLE
        assert house.engine.reach.is_well
        assert other.verdict() is Verdict.ACTIVE


def test_a_module_that_nobody_may_import_is_no_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """None in sys.modules forbids an import: that is no trio that could be asked, in every blocking view."""
    monkeypatch.setitem(sys.modules, "trio", None)
    assert on_loop() is False


# --- what an endpoint is sent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b'{"code": "\\ud800"}', b'{"\\udfff": 1}', b'{"a": ["\\ud800"]}'])
def test_half_a_character_is_no_text(body: bytes) -> None:
    """ASVS 16.5.1, RFC 8259 §8.2: JSON whose text cannot be written down again is refused before anything is done with it."""
    fields = body_fields(body, "application/json")
    assert fields is not None
    assert not are_text(fields)
    assert are_text(body_fields(b'{"code": "\\ud83d\\ude00"}', "application/json") or {})
