"""Requests of one browser that overlap: every order in which their calls to the store may come, at random (L12, L13, L14).

Each call waits for its turn before it reaches the store and once more before its answer is heard; a seed says whose turn it
is. So nothing here depends on how a loop happens to schedule.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from session_middleware import Settings
from session_middleware.core.exchange import RouteRules
from session_middleware.core.lifetime import Verdict
from session_middleware.engine import Engine
from session_middleware.errors import SessionError
from session_middleware.runtime import LoopRuntime
from session_middleware.session import AsyncSession
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock

from .core.facts import Facts

#: A refused request is answered, as on a page that anybody may see.
OPEN = RouteRules(policy="optional")

SETTINGS = Settings(
    secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"],
    inactivity_timeout=4 * 3600,
    absolute_lifetime=86_400,
    jwt_claims=["c1"],
)


class Turns:
    """Who waits for the store, and who is next."""

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)  # an order, no secret
        self.waiting: list[asyncio.Future[None]] = []

    async def mine(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        await turn

    async def until_done(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Give turns until all tasks are done: each to one that waits, once nobody can go on without."""
        while not all(task.done() for task in tasks):
            for _ in range(20):
                await asyncio.sleep(0)
            if self.waiting:
                self.waiting.pop(self.choice.randrange(len(self.waiting))).set_result(None)


class InTurn:
    """A `MemoryStore` whose calls are awaited, each in its turn."""

    def __init__(self, inner: MemoryStore, turns: Turns) -> None:
        self._inner = inner
        self._turns = turns

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("holds", "version", "short_calls"):
            raise AttributeError(name)
        method = getattr(self._inner, name)
        if not callable(method):
            return method

        async def call(*args: Any) -> Any:
            await self._turns.mine()
            return method(*args)

        return call


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
        except SessionError:
            await engine.abandon(x)
    if done is not None and x.created is not None:
        done.handing_out = True
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
    """

    def __init__(self, seed: int, verbs: list[str]) -> None:
        self.turns = Turns(seed)
        self.verbs = verbs
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
        clock, store, choice = FakeClock(), InTurn(MemoryStore(), self.turns), self.turns.choice
        engines = [Engine(SETTINGS, store, clock=clock, runtime=LoopRuntime()) for _ in range(2)]

        async def together(*works: Coroutine[Any, Any, Any]) -> list[Any]:
            tasks = [asyncio.ensure_future(work) for work in works]
            await self.turns.until_done(tasks)
            return [task.result() for task in tasks]

        async def login(session: AsyncSession) -> None:
            await session.login("alice")

        await together(request(engines[0], self.browser, login))
        await together(request(engines[1], self.browser))
        for turn in range(choice.randint(1, 2)):
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
        self.seen: list[tuple[str, Verdict, dict[str, Any]]] = []
        for jar in dict.fromkeys([self.browser.header(), *self.browser.jars]):
            x = engines[0].begin(Facts("GET", cookies=jar, sec_fetch_site="same-origin"))
            await together(engines[0].open(x, OPEN))
            self.seen.append((jar, x.verdict, {**x.claims, **(x.record.data if x.record else {})}))


def played(seed: int, verbs: list[str]) -> Play:
    play = Play(seed, verbs)
    asyncio.run(play.main())
    return play


MANY = [*range(40), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(40, 1500))]


@pytest.mark.parametrize("seed", MANY)
def test_what_is_no_logout_logs_nobody_out_and_loses_nothing(seed: int) -> None:
    """L11, L12, L14: renewals, writes, step-ups and logins of one user, and an end of all others, in any order."""
    play = played(seed, ["get", "claim", "data", "extend", "end_others", "step_up", "login"])
    _, verdict, held = play.seen[0]
    assert verdict is Verdict.ACTIVE, play.said
    assert play.done.saved <= held.keys(), play.said


@pytest.mark.parametrize("seed", MANY)
def test_dead_wins(seed: int) -> None:
    """L12, L13: after a logout no cookie that the browser ever had is good, whatever was under way beside it."""
    play = played(seed, ["get", "claim", "extend", "end_others", "step_up", "logout"])
    if play.done.logged_out:
        assert [jar for jar, verdict, _ in play.seen if verdict is Verdict.ACTIVE] == [], play.said
