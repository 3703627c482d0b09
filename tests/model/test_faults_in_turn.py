"""One life of a session, once for each call of its store, with a fault at that call (L13, L17, L25)."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

import pytest
from model_browser import JWT, TOKEN, Browser, Facts, closed, opened, settings_of

from session_middleware.core.exchange import Exchange, RouteRules
from session_middleware.core.lifetime import Verdict
from session_middleware.core.provider import ProviderSession
from session_middleware.engine import Engine
from session_middleware.errors import StoreUnavailable
from session_middleware.runtime import run_sync
from session_middleware.session import Session
from session_middleware.sessions import Sessions
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.clock import FakeClock

CALLS = ("create", "load", "touch", "save", "renew", "end", "list", "holds")
Verb = Callable[[Session], object] | None

#: (seconds to wait, what the view does, who is signed in afterwards)
LIFE: list[tuple[float, Verb, str | None]] = [
    (0, lambda s: s.login("alice", claims={"tier": "silver"}), "alice"),
    (1, None, "alice"),
    (70, None, "alice"),
    (600, None, "alice"),
    (1, None, "alice"),
    (40, None, "alice"),
    (1, lambda s: s.extend(30), "alice"),
    (1, lambda s: s.update_claims(tier="gold"), "alice"),
    (1, lambda s: s.step_up([{"type": "otp"}]), "alice"),
    (1, lambda s: s.end_others(), "alice"),
    (700, None, "alice"),
    (1, None, "alice"),
    (1, lambda s: s.login("bob"), "bob"),
    (70, None, "bob"),
    (1, lambda s: s.logout(), None),
    (2, None, None),
]


class Faulty:
    """A MemoryStore that fails at one call, before or after it has done what was asked."""

    short_calls = MemoryStore.short_calls

    def __init__(self, fail_at: int | None, after: bool, fault: BaseException | None = None) -> None:
        self.inner, self.fault = MemoryStore(), fault or OSError("the store went away")
        self.count, self.failed, self.fail_at, self.after = 0, "", fail_at, after
        for name in CALLS:
            setattr(self, name, self._watched(name, getattr(self.inner, name)))

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:  # Any: any method of a store
        def call(*args: Any) -> Any:  # Any: its arguments
            number, self.count = self.count, self.count + 1
            if number == self.fail_at:
                self.failed = name
                if self.after:
                    method(*args)
                raise self.fault
            return method(*args)

        return call

    def alive(self) -> int:
        return sum(record.ended_at is None for record in self.inner._records.values())


def live(fail_at: int | None, after: bool = False) -> Faulty:
    """Live the life, asking again after a 503, as a user would; return the store."""
    clock, store, browser = FakeClock(), Faulty(fail_at, after), Browser()
    given = {"renewal_interval": 600, "inactivity_timeout": 3_600, "touch_interval": 60}
    engine = Engine(settings_of(("k1",), **given), store, clock=clock)
    for number, (pause, verb, subject) in enumerate(LIFE):
        clock.advance(seconds=pause)
        for _attempt in range(3):
            answered = attempt(engine, browser, verb)
            if answered is not None:
                break
            clock.advance(seconds=2)
        else:
            pytest.fail(f"step {number} never succeeded after a fault in {store.failed}")
        assert answered == subject, f"step {number} after a fault in {store.failed}"
    clock.advance(seconds=2)
    assert Sessions(engine).list("alice") == []  # any call lets the process write what it owes
    return store


def attempt(engine: Engine, browser: Browser, verb: Verb) -> Any:  # Any: the subject, None for a 503
    """Make one request; return who is signed in after it, or None where it was answered 503."""
    x, refusal = opened(engine, Facts(browser.cookies(), "POST"), RouteRules(policy="optional"))
    assert refusal is None
    if x.verdict is Verdict.UNAVAILABLE and verb is None:
        assert closed(engine, x) == {}, "a fault deletes no cookie (L17)"
        return None
    session = Session(engine, x)
    logs_out = verb is LOGOUT
    try:
        if verb is not None:
            verb(session)
    except StoreUnavailable:
        if not logs_out:
            run_sync(engine.abandon(x))
            return None
    subject = session.subject or SIGNED_OUT
    try:
        lines = closed(engine, x)
    except StoreUnavailable:
        return None
    assert logs_out or None not in lines.values(), "only logout deletes cookies (L26)"
    if logs_out:
        assert lines == {TOKEN: None, JWT: None}, "the browser is signed out, whatever the store says (L17)"
    browser.take(lines)
    return subject


LOGOUT = LIFE[-2][1]
SIGNED_OUT = "nobody"
LIFE = [(pause, verb, subject or SIGNED_OUT) for pause, verb, subject in LIFE]
STORE_CALLS = live(None).count - 1  # but for the list at the end


def test_a_life_without_faults_leaves_no_live_session() -> None:
    """The life that the faults are put into is whole by itself."""
    store = live(None)
    assert (store.alive(), len(store.inner)) == (0, 3)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fail_at", range(STORE_CALLS))
def test_a_fault_at_any_call_of_the_store_loses_nothing(fail_at: int, after: bool) -> None:
    """L17, L13: asked again, each step succeeds for the same user; what was logged out has ended in the store."""
    store = live(fail_at, after)
    assert store.failed
    unheard_of = after and store.failed == "create"  # a session whose id nobody was told ends by silence
    assert store.alive() <= unheard_of


def login_twice(session: Session) -> None:
    session.login("alice")
    session.login("alice")


#: What begins a session, and how many calls of the store that takes, from opening the request to its response.
BEGINNINGS: dict[str, tuple[Callable[[Session], object], int]] = {
    "login": (lambda s: s.login("alice"), 4),
    "login twice": (login_twice, 6),
    "login at a provider": (lambda s: s.login("alice", provider=ProviderSession("there", FakeClock()())), 7),
    "step_up": (lambda s: s.step_up([{"type": "otp"}]), 6),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("name", "fail_at"), [(name, number) for name, (_, calls) in BEGINNINGS.items() for number in range(calls)]
)
def test_a_request_that_is_broken_off_leaves_no_session_of_nobody(name: str, fail_at: int, after: bool) -> None:
    """L25: wherever the client goes away, what was begun for it ends; it would be one of the places its user may take."""
    clock, store, browser = FakeClock(), Faulty(None, after, CancelledError()), Browser()
    engine = Engine(settings_of(("k1",)), store, clock=clock)
    assert attempt(engine, browser, lambda s: s.login("alice")) == "alice"
    [came] = [record.key for record in store.inner._records.values()]
    store.count, store.fail_at = 0, fail_at
    x = engine.begin(Facts(browser.cookies(), "POST"))
    with pytest.raises(CancelledError):
        serve(engine, x, BEGINNINGS[name][0])
    run_sync(engine.abandon(x))  # as an adapter does
    clock.advance(seconds=2)
    Sessions(engine).list("bob")  # any call lets the process write what it owes
    assert {record.key for record in store.inner._records.values() if record.ended_at is None and record.subject} <= {
        came
    }


def serve(engine: Engine, x: Exchange, verb: Callable[[Session], object]) -> None:
    run_sync(engine.open(x, RouteRules(policy="optional")))
    verb(Session(engine, x))
    run_sync(engine.close(x))
    raise AssertionError("fewer calls of the store than were said")
