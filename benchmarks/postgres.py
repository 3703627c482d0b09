"""PostgreSQL: what a re-authentication reads, beside one prepared read of the same row by its key through the same driver.

Interleaved in one process, with a server of its own: a read of a row that is as it was, which is what a check nearly always
meets, and one of a row that was written to since.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.bars import Row, at_most
from benchmarks.cores import on_core
from session_middleware.core.lifetime import Touch
from session_middleware.testing.reference_record import reference_record

__all__ = ["rows"]

RECORD = reference_record(0)
#: What our statement reads, by the key alone.
READ = (
    "SELECT last_seen_at, inactivity_deadline, keep_until, renewed_at, generation, presented_at, revision, ended_at, "
    "end_reason, handles, body FROM checks.sessions WHERE key = %s"
)
EACH = 20


def rows(quick: bool) -> list[Row]:
    """Measure both forms; `quick` asks fewer times."""
    if importlib.util.find_spec("psycopg") is None:
        return [Row("PostgreSQL", "psycopg is not installed", "", None)]
    import psycopg
    import pytest

    from session_middleware.stores.postgres import PostgresStore, create_schema
    from tests.stores.postgres_server import new_server

    times = 30 if quick else 300
    try:
        with on_core(
            -1
        ):  # its processes too, one for each connection: else one of the two may be nearer to us than the other
            server = new_server()
    except pytest.skip.Exception as missing:
        return [Row("PostgreSQL", str(missing), "", None)]
    try:
        url, address = server.url(query="schema=checks"), server.url()
        create_schema(url)
        with (
            on_core(0),
            PostgresStore.from_url(url) as store,
            psycopg.connect(address, autocommit=True) as connection,
        ):
            store.create(RECORD)

            def read() -> object:
                return connection.execute(READ, (RECORD.key,), prepare=True, binary=True).fetchone()

            later = itertools.count(1)

            def touch() -> None:
                store.touch(RECORD.key, Touch(RECORD.last_seen_at + next(later), None, RECORD.keep_until))

            quiet = _ratio({"ours": lambda: store.load(RECORD.key), "read": read}, times)
            changed = _ratio({"ours": lambda: store.load(RECORD.key), "read": read}, times, touch)
        with on_core(0):
            awaited = asyncio.run(_awaited(url, address, times))
    finally:
        server.remove()
    return [
        at_most("PostgreSQL, a check / one prepared read by key: blocking", quiet, 1.25, "x"),
        at_most("the same: awaited", awaited, 1.25, "x"),
        Row("the same, blocking, where the row was written to since", f"{changed:.2f} x", "", None),
    ]


def _ratio(calls: dict[str, Callable[[], object]], times: int, before: Callable[[], None] | None = None) -> float:
    """Return the median of the ratios of rounds in which both are called in turns."""
    found, order = [], random.Random(1)
    for _ in range(times):
        took = {}
        for name in order.sample(list(calls), 2):
            each = []
            for _ in range(EACH):
                if before is not None:
                    before()
                began = time.perf_counter()
                calls[name]()
                each.append(time.perf_counter() - began)
            took[name] = statistics.median(each)
        found.append(took["ours"] / took["read"])
    return statistics.median(found[len(found) // 10 :])  # the first warm up


async def _awaited(url: str, address: str, times: int) -> float:
    import psycopg

    from session_middleware.stores.postgres import AsyncPostgresStore

    async with (
        AsyncPostgresStore.from_url(url) as store,
        await psycopg.AsyncConnection.connect(address, autocommit=True) as connection,
    ):

        async def read() -> Any:  # Any: a row
            return await (await connection.execute(READ, (RECORD.key,), prepare=True, binary=True)).fetchone()

        async def load() -> Any:  # Any: a record
            return await store.load(RECORD.key)

        calls: dict[str, Callable[[], Awaitable[Any]]] = {"ours": load, "read": read}
        found, order = [], random.Random(1)
        for _ in range(times):
            took = {}
            for name in order.sample(list(calls), 2):
                each = []
                for _ in range(EACH):
                    began = time.perf_counter()
                    await calls[name]()
                    each.append(time.perf_counter() - began)
                took[name] = statistics.median(each)
            found.append(took["ours"] / took["read"])
        return statistics.median(found[len(found) // 10 :])
