"""Requests of one browser that overlap: every order in which their calls to the store may come, at random (L12, L13, L14).

Each call waits for its turn before it reaches the store and once more before its answer is heard; a seed says whose turn it
is. So nothing here depends on how a loop happens to schedule.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from session_middleware import Settings
from session_middleware.core.exchange import RouteRules
from session_middleware.core.lifetime import Verdict
from session_middleware.engine import Engine
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.reach.retrying import Retrying
from session_middleware.runtime import LoopRuntime
from session_middleware.session import AsyncSession
from session_middleware.stores.nearcache import AsyncNearCache
from session_middleware.testing import FakeClock

from .core.facts import Facts
from .stores.announcing_store import AnnouncingStore, Line, Monotonic

#: A refused request is answered, as on a page that anybody may see.
OPEN = RouteRules(policy="optional")

SETTINGS = Settings(
    secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"],
    inactivity_timeout=4 * 3600,
    absolute_lifetime=86_400,
    jwt_claims=["c1"],
)


class Turns:
    """Who waits for the store, what the store still has to announce, and whose turn is next."""

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)  # an order, no secret
        self.waiting: list[asyncio.Future[None]] = []
        self.untold: list[tuple[Line, deque[bytes]]] = []

    async def mine(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        await turn

    async def until_done(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Give turns until all tasks are done: each to one that waits, once nobody can go on without."""
        while not all(task.done() for task in tasks):
            for _ in range(20):
                await asyncio.sleep(0)
            news = [(line, keys) for line, keys in self.untold if keys]
            if self.waiting or news:
                at = self.choice.randrange(len(self.waiting) + len(news))
                if at < len(self.waiting):
                    self.waiting.pop(at).set_result(None)
                else:
                    line, keys = news[at - len(self.waiting)]
                    line.tell(keys.popleft())

    def tell_all(self) -> None:
        """Let everything that was announced arrive."""
        for line, keys in self.untold:
            while keys:
                line.tell(keys.popleft())


class InTurn:
    """A store whose calls are awaited, each in its turn, and which announces what was written, to arrive in its turn."""

    def __init__(self, turns: Turns) -> None:
        self.inner = AnnouncingStore()
        self.turns = turns
        self.until_fault = 0  # so many calls from now one fails, at random before or after it has done what it does

    def announcements(self) -> Line:
        line = self.inner.announcements()
        self.turns.untold.append((line, deque()))
        return line


def _in_turn(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def call(self: InTurn, *args: Any) -> Any:  # Any: those of the store's method
        await self.turns.mine()
        self.until_fault -= 1
        late = self.until_fault == 0 and self.turns.choice.random() < 0.5
        if self.until_fault == 0 and not late:
            raise ConnectionError("before")
        answer = getattr(self.inner, name)(*args)
        if late:
            raise ConnectionError("after")
        if name in WRITES:
            for _, keys in self.turns.untold:
                keys.append(args[0] if isinstance(args[0], bytes) else args[0].key)
        return answer

    return call


WRITES = ("create", "touch", "save", "renew", "end")
for _name in (*WRITES, "load", "list", "add_once"):
    setattr(InTurn, _name, _in_turn(_name))


@dataclass
class Browser:
    """One jar, and every jar that it ever was."""

    jar: dict[str, str] = field(default_factory=dict)
    jars: list[str] = field(default_factory=list)
    forgets: bool = False

    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.jar.items())

    def take(self, lines: list[str]) -> None:
        for line in lines:
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.jar.pop(name, None)
            else:
                self.jar[name] = value
        self.jars.append(self.header())


Act = Callable[[AsyncSession], Coroutine[Any, Any, Any]]


async def request(engine: Engine, browser: Browser, act: Act | None = None, done: Done | None = None) -> Verdict:
    """Do what an adapter does for a request of the browser's; its answer arrives as soon as it is given."""
    x = engine.begin(Facts("POST", cookies=browser.header(), sec_fetch_site="same-origin"))
    await engine.open(x, OPEN)
    verdict = x.verdict
    if act is not None:
        try:
            await act(AsyncSession(engine, x))
        except StoreUnavailable as fault:
            await engine.answer(x, fault)
        except SessionError:
            await engine.abandon(x)
    if done is not None and x.created is not None:
        done.handing_out = True
    with suppress(StoreUnavailable):  # then 503 is answered, and no cookie goes out
        browser.take(await engine.close(x))
    return verdict


@dataclass
class Done:
    """What was done, and acknowledged."""

    saved: set[str] = field(default_factory=set)
    logged_out: bool = False
    handing_out: bool = False  # whether an answer with another session's cookies may be under way

    def note(self, name: str) -> None:
        """Take note of what must not be lost: all but what comes in the moment in which a session is given up."""
        if not self.handing_out:
            self.saved.add(name)


class Play:
    """One browser that is signed in, two processes, and a few requests at once.

    Args:
        seed: says what is asked, where, and in which order the store is reached.
        verbs: what views may do.
        near: whether each process has a near cache before the store.
        fails: whether one call to the store fails.
    """

    def __init__(self, seed: int, verbs: str, *, near: bool, fails: bool) -> None:
        self.turns = Turns(seed)
        self.verbs = verbs.split()
        self.near, self.fails = near, fails
        self.browser = Browser()
        self.done = Done()
        self.said: list[str] = []

    def act(self, number: int, verb: str) -> Act | None:
        done, name = self.done, f"c{number}"

        async def act(session: AsyncSession) -> None:
            if verb == "claim":
                session.update_claims(**{name: number})
                await session.save()
                done.note(name)
            elif verb == "data":
                session.data[name] = number
                await session.save()
                done.note(name)
            elif verb == "extend":
                await session.extend(240)
            elif verb == "end_others":
                await session.end_others()
            elif verb == "step_up":
                await session.step_up([{"type": "otp"}])
            elif verb == "login":
                await session.login("alice")
            elif verb == "logout":
                await session.logout()
                done.logged_out = True

        return None if verb == "get" else act

    async def main(self) -> None:
        clock, shared, choice = FakeClock(), InTurn(self.turns), self.turns.choice
        stores: list[Any] = [AsyncNearCache(shared, monotonic=Monotonic()) if self.near else shared for _ in range(2)]
        engines = [Engine(SETTINGS, store, clock=clock, runtime=LoopRuntime()) for store in stores]

        async def together(*works: Coroutine[Any, Any, Any]) -> None:
            tasks = [asyncio.ensure_future(work) for work in works]
            await self.turns.until_done(tasks)
            for task in tasks:
                task.result()

        async def login(session: AsyncSession) -> None:
            await session.login("alice")

        await together(request(engines[0], self.browser, login))
        for engine in engines:
            await together(request(engine, self.browser))
        for number in range(len(self.turns.untold)):
            shared.inner.line(number)  # it is listened to
        shared.until_fault = choice.randint(1, 20) if self.fails else 0
        for turn in range(choice.randint(1, 2)):
            self.turns.tell_all()
            clock.advance(seconds=choice.choice([1, 70, 200, 3700]))
            chosen = [choice.choice(self.verbs) for _ in range(choice.randint(2, 4))]
            self.said.append(" ".join(chosen))
            works = [
                request(choice.choice(engines), self.browser, self.act(10 * turn + number, verb), self.done)
                for number, verb in enumerate(chosen)
            ]
            self.done.handing_out = False
            await together(*works)
            if sum(verb in ("login", "step_up") for verb in chosen) > 1:
                self.done.saved.clear()  # the second may have come too late to be made of the same session
        self.turns.tell_all()
        shared.until_fault = 0
        for engine in engines:
            clock.advance(seconds=5)
            await together(engine.reach.catch_up())  # as each process does by itself
        self.seen: list[tuple[Verdict, dict[str, Any]]] = []  # of the browser's cookies, and then of all it ever had
        for jar in dict.fromkeys([self.browser.header(), *self.browser.jars]):
            for engine in engines:
                x = engine.begin(Facts("GET", cookies=jar, sec_fetch_site="same-origin"))
                await together(engine.open(x, OPEN))
                self.seen.append((x.verdict, {**x.claims, **(x.record.data if x.record else {})}))
        for store in stores if self.near else ():
            await store.close()


@pytest.fixture(autouse=True)
def _nothing_happens_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process does beside its requests goes by the time of day."""
    monkeypatch.setattr(Retrying, "begin", lambda self: None)


def played(seed: int, verbs: str) -> Play:
    # Two step-ups at once, of which one cannot tell whose end of the old session failed, may both stand until they end.
    fails = seed % 4 == 1 and not {"step_up", "logout"} <= {*verbs.split()}
    play = Play(seed, verbs, near=seed % 4 == 0, fails=fails)
    asyncio.run(play.main())
    return play


MANY = [*range(40), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(40, 800))]


@pytest.mark.parametrize("verbs", ["get claim data extend end_others step_up", "get claim data extend step_up login"])
@pytest.mark.parametrize("seed", MANY)
def test_what_is_no_logout_logs_nobody_out_and_loses_nothing(seed: int, verbs: str) -> None:
    """L11, L12, L14, L17: renewals and writes, step-ups and logins of one user, an end of all others, a fault of the store."""
    play = played(seed, verbs)
    for verdict, held in play.seen[:2]:
        assert verdict is Verdict.ACTIVE, play.said
        assert play.done.saved <= held.keys(), play.said


@pytest.mark.parametrize("verbs", ["get claim extend end_others step_up logout", "get claim data extend logout"])
@pytest.mark.parametrize("seed", MANY)
def test_dead_wins(seed: int, verbs: str) -> None:
    """L12, L13, L17: after a logout no cookie that the browser ever had is good, whatever was under way beside it."""
    play = played(seed, verbs)
    if play.done.logged_out:
        assert all(verdict is not Verdict.ACTIVE for verdict, _ in play.seen), play.said
