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
from session_middleware.runtime import LoopRuntime, ThreadRuntime, is_awaited, run_sync
from session_middleware.settings import Settings
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.nearcache import near_cache
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.stores.sqlite import SQLiteStore
from tests.stores.postgres_server import new_schema
from tests.stores.redis_server import a_prefix, url_of, wait_until

from .core.facts import Facts

SETTINGS = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"], jwt_claims=["n"])
OPEN = RouteRules(policy="optional")


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def _redis(kind: str) -> Callable[[Path], Any]:  # Any: a store
    return lambda folder: RedisStore.from_url(url_of(kind), prefix=a_prefix())


def _async_redis(kind: str) -> Callable[[Path], Any]:  # Any: a store
    return lambda folder: AsyncRedisStore.from_url(url_of(kind), prefix=a_prefix())


STORES: dict[str, Callable[[Path], Any]] = {
    "memory": lambda folder: MemoryStore(),
    "sqlite": lambda folder: SQLiteStore(folder / "sessions.db"),
    "redis": _redis("standalone"),
    "cluster": _redis("cluster"),
    "sentinel": _redis("sentinel"),
    "postgres": lambda folder: PostgresStore.from_url(new_schema()),
    "async-redis": _async_redis("standalone"),
    "async-cluster": _async_redis("cluster"),
    "async-sentinel": _async_redis("sentinel"),
    "async-postgres": lambda folder: AsyncPostgresStore.from_url(new_schema()),
}


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


def alone(store: Any, clock: Clock, jar: str, work: Work | None = None) -> tuple[Verdict, list[str]]:
    """Run one request in a process of its own."""
    if not is_awaited(store):
        return run_sync(exchange(Engine(SETTINGS, store, runtime=ThreadRuntime(), clock=clock), jar, work))

    async def main() -> tuple[Verdict, list[str]]:
        try:
            return await exchange(Engine(SETTINGS, store, runtime=LoopRuntime(), clock=clock), jar, work)
        finally:
            await _left(store)

    return asyncio.run(main())


async def _left(store: Any) -> None:
    """Close an awaited store's connections of a loop that ends; a near cache before it goes on."""
    if is_awaited(store):
        await getattr(store, "store", store).close()


def login(store: Any, clock: Clock) -> str:
    return jar_of(alone(store, clock, "", lambda e, x: e.login(x, "alice"))[1])


Jobs = list[tuple[str, Work | None]]


def in_threads(store: Any, clock: Clock, jobs: Jobs) -> list[tuple[Verdict, list[str]]]:
    """Run requests in threads of one process that all start together."""
    engine = Engine(SETTINGS, store, runtime=ThreadRuntime(), clock=clock)
    together = threading.Barrier(len(jobs))

    def one(job: tuple[str, Work | None]) -> tuple[Verdict, list[str]]:
        together.wait()
        return run_sync(exchange(engine, *job))

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(one, jobs))


def on_asyncio(store: Any, clock: Clock, jobs: Jobs) -> list[tuple[Verdict, list[str]]]:
    """Run requests as tasks of one event loop."""

    async def main() -> list[tuple[Verdict, list[str]]]:
        engine = Engine(SETTINGS, store, runtime=LoopRuntime(), clock=clock)
        try:
            return list(await asyncio.gather(*(exchange(engine, *job) for job in jobs)))
        finally:
            await _left(store)

    return asyncio.run(main())


def on_trio(store: Any, clock: Clock, jobs: Jobs) -> list[tuple[Verdict, list[str]]]:
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
    if is_awaited(store):
        run_sync(_left(store))
    return results


def of_several_workers(store: Any, clock: Clock, jobs: Jobs) -> list[tuple[Verdict, list[str]]]:
    """Run each request in an engine of its own, as workers of a server have; on a loop of its own where calls are awaited."""
    together = threading.Barrier(len(jobs))

    def one(job: tuple[str, Work | None]) -> tuple[Verdict, list[str]]:
        together.wait()
        return alone(store, clock, *job)

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(one, jobs))


RUNNERS: dict[str, Callable[..., Any]] = {
    "threads": in_threads,
    "asyncio": on_asyncio,
    "trio": on_trio,
    "workers": of_several_workers,
}


def races() -> list[Any]:  # Any: what pytest.param returns
    """Return each store, with a near cache before it too where it takes one, with each runner that it can be used by."""
    found = []
    for name in STORES:
        for near in ("", "near-") if name not in ("memory", "sqlite") else ("",):
            for runner in ("asyncio", "trio", "workers") if name.startswith("async-") else RUNNERS:
                marks = [pytest.mark.slow] if near or name.endswith(("cluster", "sentinel")) else []
                found.append(pytest.param((near + name, runner), id=f"{near}{name}-{runner}", marks=marks))
    return found


@pytest.fixture(params=races())
def race(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Callable[..., Any]]]:
    """A store, empty, and what runs requests over it at once."""
    name, runner = request.param
    store = STORES[name.removeprefix("near-")](tmp_path)
    if name.startswith("near-"):
        store = near_cache(store)
        store.listen()
        wait_until(lambda: bool(store.state.open), "the near cache")
    yield store, RUNNERS[runner]
    if hasattr(store, "stop"):
        store.stop()
    if not is_awaited(store) and hasattr(store, "close"):  # an awaited one has left each loop at its end
        store.close()


def test_fifty_requests_at_the_renewal_moment(race: Any) -> None:
    """L11: one successor, everybody served and given it, whatever it lost to; in one process one JWT too (L9)."""
    store, run = race
    clock = Clock()
    jar = login(store, clock)
    alone(store, clock, jar, lambda e, x: e.extend(x, 120))
    clock.now += 3600  # renewal is due
    answers = run(store, clock, [(jar, None)] * 50)
    assert {verdict for verdict, _ in answers} == {Verdict.ACTIVE}
    cookies = [dict(line.partition(";")[0].split("=", 1) for line in lines) for _, lines in answers]
    tokens = {found["__Host-session"] for found in cookies}
    assert len(tokens) == 1
    assert tokens.pop().split(".")[2] == "1"
    if run is not of_several_workers:
        assert len({found["__Host-session_jwt"] for found in cookies if "__Host-session_jwt" in found}) == 1


def test_parallel_claims_are_all_kept(race: Any) -> None:
    """L14: writers of different names in parallel lose nothing of each other; a reader in between writes nothing."""
    store, run = race
    clock = Clock()
    jar = login(store, clock)

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

    alone(store, clock, jar, look)
    assert set(seen) == {f"n{i}" for i in range(8)} | {f"c_n{i}" for i in range(8)}


async def _logout(engine: Engine, x: Any) -> None:
    await engine.logout(x)


async def _extend(engine: Engine, x: Any) -> None:
    await engine.extend(x, 60)


async def _claim(engine: Engine, x: Any) -> None:
    engine.change_claims(x, {"n": 1})


#: Of the orders in which four may come; an ordinary run plays those where each is first once.
ORDERS = [
    pytest.param(order, id=str(order), marks=[] if number % 6 == 0 else [pytest.mark.slow])
    for number, order in enumerate(itertools.permutations(range(4)))
]


@pytest.mark.parametrize("order", ORDERS)
def test_dead_wins(race: Any, order: tuple[int, ...]) -> None:
    """L13: logout beside renewal, extend and a claims write, in every order of arrival: afterwards it is dead."""
    store, run = race
    clock = Clock()
    jar = login(store, clock)
    alone(store, clock, jar, lambda e, x: e.extend(x, 120))
    clock.now += 3600  # renewal is due
    works: list[Work | None] = [_logout, None, _extend, _claim]
    answers = run(store, clock, [(jar, works[i]) for i in order])
    for token in {jar, *(jar_of(lines) for _, lines in answers)}:
        if "v1." in token:
            verdict, lines = alone(store, clock, token)
            assert verdict is Verdict.REVOKED
            assert lines == []


def test_parallel_logins_each_get_their_own_session(race: Any) -> None:
    """L12: parallel logins never share an id, and each cookie belongs to its own subject."""
    store, run = race
    clock = Clock()

    def as_subject(name: str) -> Work:
        return lambda engine, x: engine.login(x, name)

    answers = run(store, clock, [("", as_subject(f"user-{i}")) for i in range(16)])
    subjects = []

    async def look(engine: Engine, x: Any) -> None:
        subjects.append(x.record.subject)

    for _, lines in answers:
        alone(store, clock, jar_of(lines), look)
    assert sorted(subjects) == sorted(f"user-{i}" for i in range(16))
