"""Logins on provider sessions against an independent model of L24: a provider cannot undo our end."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_browser import Browser, Facts, closed, opened

from session_middleware.core.exchange import RouteRules
from session_middleware.core.provider import ProviderSession
from session_middleware.engine import Engine
from session_middleware.errors import SessionError
from session_middleware.runtime import run_sync
from session_middleware.session import Session
from session_middleware.settings import Settings
from session_middleware.stores.memory import MemoryStore

SILENCE, AGE = 900.0, 7_200.0
SETTINGS = Settings(
    secret_keys=["model of provider sessions 0f6a1b2c3d4e5f60718293a4b5c6d7e8"],
    inactivity_timeout=SILENCE,
    absolute_lifetime=AGE,
    touch_interval=0,
    renewal_interval=None,
)
OPEN = RouteRules(policy="optional")


class Believed:
    """A session as the model sees it."""

    def __init__(self, subject: str, sid: str | None, proven: float, now: float) -> None:
        self.subject, self.sid, self.proven, self.seen = subject, sid, proven, now
        self.over = False

    @property
    def deadline(self) -> float:
        return min(self.seen + SILENCE, self.proven + AGE)


class World:
    """Two processes on one store, three browsers, two provider sessions; beside them what the model believes."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.store = MemoryStore()
        self.processes = [Engine(SETTINGS, self.store, clock=lambda: self.now) for _ in range(2)]
        self.browsers = [Browser() for _ in range(3)]
        self.proven = {"sid-1": self.now, "sid-2": self.now}
        self.held: dict[int, Believed] = {}
        self.marks: dict[str, float] = {}
        self.seen: Counter[str] = Counter()

    # --- the model -----------------------------------------------------------------------------------------------

    def end(self, session: Believed, at: float) -> None:
        session.over = True
        if session.sid is not None:
            self.marks[session.sid] = max(self.marks.get(session.sid, at), at)

    def notice(self, session: Believed | None) -> bool:
        """Have somebody look at a session; say whether it lives."""
        if session is None or session.over:
            return False
        if self.now >= session.deadline:
            self.end(session, session.deadline)
            return False
        return True

    def may_begin(self, sid: str) -> bool:
        for session in self.everybody:
            if session.sid == sid:
                self.notice(session)
        return self.proven[sid] > self.marks.get(sid, float("-inf")) and self.proven[sid] + AGE > self.now

    # --- what happens ----------------------------------------------------------------------------------------------

    everybody: list[Believed]

    def do(self, process: int, browser: int, what: tuple[Any, ...]) -> None:
        kind, *more = what
        if kind == "wait":
            self.now += more[0]
            return
        if kind == "proves":
            self.proven[more[0]] = self.now
            return
        if kind == "end_all":
            engine = self.processes[process]
            ended = run_sync(engine.end_all(more[0], self.now))
            alive = [session for session in self.everybody if session.subject == more[0] and not session.over]
            assert ended == len(alive)
            for session in alive:
                self.end(session, self.now)
            return
        self.request(self.processes[process], browser, kind, more)

    def request(self, engine: Engine, number: int, kind: str, more: list[Any]) -> None:
        browser, session = self.browsers[number], self.held.get(number)
        lives = self.notice(session)
        x, _ = opened(engine, Facts(browser.cookies(), "POST"), OPEN)
        assert x.is_active == lives
        if lives:
            assert session is not None
            assert x.deadlines is not None
            session.seen = self.now
            assert x.deadlines.ends_at == session.deadline
        view = Session(engine, x)
        if kind == "logout":
            view.logout()
            if session is not None and lives:
                self.end(session, self.now)
        elif kind == "login":
            subject, sid = more
            provider = None if sid is None else ProviderSession(sid, self.proven[sid])
            expected = sid is None or self.may_begin(sid)
            try:
                view.login(subject, provider=provider)
            except SessionError as fault:
                assert (fault.code, expected) == ("provider_session_ended", False)  # noqa: PT017  # or it logs in: below
                self.seen["refused"] += 1
            else:
                assert expected
                self.seen["begun on a provider session" if sid else "begun"] += 1
                if session is not None:
                    session.over = True  # replaced: no mark
                made = Believed(subject, sid, self.now if sid is None else self.proven[sid], self.now)
                self.held[number] = made
                self.everybody.append(made)
        browser.take(closed(engine, x))


WAITS = st.sampled_from([0.25, 1.0, 60.0, 450.0, 899.75, 900.0, 3_600.0])
SIDS = st.sampled_from(["sid-1", "sid-2"])
STEPS = st.one_of(
    st.tuples(st.just("wait"), WAITS),
    st.tuples(st.just("proves"), SIDS),
    st.tuples(st.just("login"), st.sampled_from(["alice", "bob"]), st.one_of(SIDS, SIDS, st.none())),
    st.tuples(st.just("login"), st.just("alice"), SIDS),
    st.tuples(st.just("request")),
    st.tuples(st.just("logout")),
    st.tuples(st.just("end_all"), st.sampled_from(["alice", "bob"])),
)
LIVES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), STEPS), min_size=10, max_size=40)


def live(examples: int) -> Counter[str]:
    seen: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=not os.environ.get("SESSION_TESTS_RANDOM"),
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(LIVES)
    def lives(steps: list[Any]) -> None:
        world = World()
        world.everybody = []
        for process, browser, what in steps:
            world.do(process, browser, what)
        seen.update(world.seen)

    lives()
    return seen


def test_a_provider_never_undoes_an_end() -> None:
    """Of random lives with logouts, silence, age and an operator, exactly those logins are refused that L24 names."""
    seen = live(150)
    assert seen["refused"] > 100
    assert seen["begun on a provider session"] > 100


@pytest.mark.slow
def test_a_provider_never_undoes_an_end_in_many_lives() -> None:
    """The same in more lives."""
    assert live(1_500)["refused"] > 1_000
