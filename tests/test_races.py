"""Races on one session, really parallel: threads in a synchronous app, tasks in an asynchronous one, on every store.

The deterministic half, every interleaving of one request with another process, is in the scenarios of AdapterContract.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trio

from session_middleware.core.exchange import RouteRules
from session_middleware.core.lifetime import Verdict
from session_middleware.engine import Engine
from session_middleware.errors import SessionError
from session_middleware.runtime import LoopRuntime, ThreadRuntime, run_sync
from session_middleware.settings import Settings
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.postgres import PostgresStore
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.sqlite import SQLiteStore
from tests.stores.postgres_server import new_schema
from tests.stores.redis_server import a_prefix, url_of

from .core.facts import Facts

SETTINGS = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"], jwt_claims=["n"])
OPEN = RouteRules(policy="optional")


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made: Any
    if request.param == "memory":
        made = MemoryStore()
    elif request.param == "sqlite":
        made = SQLiteStore(tmp_path / "sessions.db")
    elif request.param == "postgres":
        made = PostgresStore.from_url(new_schema())
    else:
        made = RedisStore.from_url(url_of("standalone"), prefix=a_prefix())
    yield made
    if request.param != "memory":
        made.close()


Work = Callable[[Engine, Any], Coroutine[Any, Any, Any]]


async def exchange(
    engine: Engine, jar: str, work: Work | None = None, method: str = "GET"
) -> tuple[Verdict, list[str]]:
    """Do what an adapter does for one request; return the verdict at its start and the cookies that go out."""
    x = engine.begin(Facts(method, cookies=jar, sec_fetch_site="same-origin"))
    await engine.open(x, OPEN)
    verdict = x.verdict
    if work is not None:
        with contextlib.suppress(SessionError):  # "it ended meanwhile" is an answer
            await work(engine, x)
    return verdict, await engine.close(x)


def jar_of(lines: list[str]) -> str:
    return "; ".join(line.partition(";")[0] for line in lines)


def login(engine: Engine) -> str:
    _, lines = run_sync(exchange(engine, "", lambda e, x: e.login(x, "alice")))
    return jar_of(lines)


def in_threads(store: Any, clock: Clock, jobs: list[tuple[str, Work | None]]) -> list[tuple[Verdict, list[str]]]:
    """Run requests in threads of one process that all start together."""
    engine = Engine(SETTINGS, store, runtime=ThreadRuntime(), clock=clock)
    together = threading.Barrier(len(jobs))

    def one(job: tuple[str, Work | None]) -> tuple[Verdict, list[str]]:
        together.wait()
        return run_sync(exchange(engine, *job))

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(one, jobs))


def on_asyncio(store: Any, clock: Clock, jobs: list[tuple[str, Work | None]]) -> list[tuple[Verdict, list[str]]]:
    """Run requests as tasks of one event loop."""

    async def main() -> list[tuple[Verdict, list[str]]]:
        engine = Engine(SETTINGS, store, runtime=LoopRuntime(), clock=clock)
        return list(await asyncio.gather(*(exchange(engine, *job) for job in jobs)))

    return asyncio.run(main())


def on_trio(store: Any, clock: Clock, jobs: list[tuple[str, Work | None]]) -> list[tuple[Verdict, list[str]]]:
    """Run requests as tasks of trio."""
    results: list[tuple[Verdict, list[str]]] = []

    async def main() -> None:
        engine = Engine(SETTINGS, store, runtime=LoopRuntime(), clock=clock)

        async def one(job: tuple[str, Work | None]) -> None:
            results.append(await exchange(engine, *job))

        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(one, job)

    trio.run(main)
    return results


def of_several_workers(
    store: Any, clock: Clock, jobs: list[tuple[str, Work | None]]
) -> list[tuple[Verdict, list[str]]]:
    """Run each request in an engine of its own, as workers of a server have."""
    together = threading.Barrier(len(jobs))

    def one(job: tuple[str, Work | None]) -> tuple[Verdict, list[str]]:
        engine = Engine(SETTINGS, store, runtime=ThreadRuntime(), clock=clock)
        together.wait()
        return run_sync(exchange(engine, *job))

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(one, jobs))


RUNNERS = [in_threads, on_asyncio, on_trio, of_several_workers]


@pytest.mark.parametrize("run", RUNNERS)
def test_fifty_requests_at_the_renewal_moment(store: Any, run: Any) -> None:
    """L11: one successor, everybody served, every token cookie the same; in one process one JWT too (L9)."""
    clock = Clock()
    jar = login(Engine(SETTINGS, store, clock=clock))
    run_sync(exchange(Engine(SETTINGS, store, clock=clock), jar, lambda e, x: e.extend(x, 120)))
    clock.now += 3600  # renewal is due
    answers = run(store, clock, [(jar, None)] * 50)
    assert {verdict for verdict, _ in answers} == {Verdict.ACTIVE}
    cookies = [dict(line.partition(";")[0].split("=", 1) for line in lines) for _, lines in answers]
    tokens = {found["__Host-session"] for found in cookies if "__Host-session" in found}
    assert len(tokens) == 1
    assert tokens.pop().split(".")[2] == "1"
    if run is not of_several_workers:
        assert len({found["__Host-session_jwt"] for found in cookies if "__Host-session_jwt" in found}) == 1


@pytest.mark.parametrize("run", RUNNERS)
def test_parallel_claims_are_all_kept(store: Any, run: Any) -> None:
    """L14: writers of different names in parallel lose nothing of each other; a reader in between writes nothing."""
    clock = Clock()
    jar = login(Engine(SETTINGS, store, clock=clock))

    def writer(name: str) -> Work:
        async def work(engine: Engine, x: Any) -> None:
            engine.data_of(x)[name] = 1
            engine.change_claims(x, {f"c_{name}": 1})

        return work

    async def reader(engine: Engine, x: Any) -> None:
        engine.data_of(x)

    jobs: list[tuple[str, Work | None]] = [(jar, writer(f"n{i}")) for i in range(8)]
    run(store, clock, [*jobs, *[(jar, reader)] * 4])
    seen: dict[str, Any] = {}

    async def look(engine: Engine, x: Any) -> None:
        seen.update(engine.data_of(x))
        seen.update(x.claims)

    run_sync(exchange(Engine(SETTINGS, store, clock=clock), jar, look))
    assert set(seen) == {f"n{i}" for i in range(8)} | {f"c_n{i}" for i in range(8)}


async def _logout(engine: Engine, x: Any) -> None:
    await engine.logout(x)


async def _extend(engine: Engine, x: Any) -> None:
    await engine.extend(x, 60)


async def _claim(engine: Engine, x: Any) -> None:
    engine.change_claims(x, {"n": 1})


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_dead_wins(store: Any, run: Any, order: tuple[int, ...]) -> None:
    """L13: logout beside renewal, extend and a claims write, in every order of arrival: afterwards it is dead."""
    clock = Clock()
    jar = login(Engine(SETTINGS, store, clock=clock))
    run_sync(exchange(Engine(SETTINGS, store, clock=clock), jar, lambda e, x: e.extend(x, 120)))
    clock.now += 3600  # renewal is due
    works: list[Work | None] = [_logout, None, _extend, _claim]
    answers = run(store, clock, [(jar, works[i]) for i in order])
    fresh = Engine(SETTINGS, store, clock=clock)
    for token in {jar, *(jar_of(lines) for _, lines in answers)}:
        if "v1." in token:
            verdict, lines = run_sync(exchange(fresh, token))
            assert verdict is Verdict.REVOKED
            assert lines == []


@pytest.mark.parametrize("run", RUNNERS)
def test_parallel_logins_each_get_their_own_session(store: Any, run: Any) -> None:
    """L12: parallel logins never share an id, and each cookie belongs to its own subject."""
    clock = Clock()

    def as_subject(name: str) -> Work:
        return lambda engine, x: engine.login(x, name)

    answers = run(store, clock, [("", as_subject(f"user-{i}")) for i in range(16)])
    engine = Engine(SETTINGS, store, clock=clock)
    subjects = []
    for _, lines in answers:
        x = engine.begin(Facts(cookies=jar_of(lines)))
        run_sync(engine.open(x, OPEN))
        assert x.record is not None
        subjects.append(x.record.subject)
    assert sorted(subjects) == sorted(f"user-{i}" for i in range(16))
