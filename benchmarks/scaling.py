"""What sessions take: `python -m benchmarks.scaling [--sessions N] [--write-docs]`.

Measured for Redis, PostgreSQL and SQLite: bytes per session, alive and ended, and what each call takes of the server's
processors (of SQLite: of the process). From these and a stated load the needs of a million and of a hundred million
sessions are worked out. Processor time is what counts here: unlike calls a second it does not depend on what else runs.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.table import markdown, write
from session_middleware.core.lifetime import Touch
from session_middleware.stores.postgres import PostgresStore, create_schema
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing.reference_record import reference_record
from tests.stores.postgres_server import PostgresServer, new_server
from tests.stores.redis_server import Server

__all__ = ["Load", "Measured", "main", "report", "worked_out"]

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """What one store takes.

    Attributes:
        name: of the store.
        alive: bytes of a signed-in session, with what finds it.
        ended: bytes of one that has ended, as long as its end is remembered.
        took: microseconds of processor time of a call, by its name.
        rate: calls a second of one client that waits for each, by name.
        log: bytes that a call writes to PostgreSQL's log (WAL), by name; empty elsewhere.
    """

    name: str
    alive: float
    ended: float
    took: dict[str, float]
    rate: dict[str, float]
    log: dict[str, float]


class Place:
    """A store, and how much it has taken so far."""

    name: str
    store: Any  # Any: a Store

    def room(self) -> int:
        """Return how much room the sessions take, that of what is no more given back."""
        raise NotImplementedError

    def seconds(self) -> float:
        """Return how much processor time the store's side has taken."""
        raise NotImplementedError

    def logged(self) -> int:
        """Return how many bytes were written to a log of its own."""
        return 0


class _Redis(Place):
    name = "Redis"

    def __init__(self, server: Server, store: RedisStore) -> None:
        self.store, self._server = store, server

    def room(self) -> int:
        with self._server.client() as client:
            return int(client.info("memory")["used_memory"])

    def seconds(self) -> float:
        return _processor_time(self._server.process.pid)


class _Postgres(Place):
    name = "PostgreSQL"

    def __init__(self, server: PostgresServer, store: PostgresStore) -> None:
        self.store, self._server = store, server

    def room(self) -> int:
        self._asked("VACUUM FULL session_middleware.sessions")
        tables = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r'"
        return int(self._asked(f"{tables} AND relnamespace = 'session_middleware'::regnamespace"))

    def seconds(self) -> float:
        pid = self._server.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return _processor_time(pid) + sum(_processor_time(int(child)) for child in children)

    def logged(self) -> int:
        return int(self._asked("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"))

    def _asked(self, statement: str) -> Any:  # Any: a value of SQL
        import psycopg

        with psycopg.connect(self._server.url(), autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchone()[0] if done.description else 0  # type: ignore[index]


class _SQLite(Place):
    name = "SQLite"

    def __init__(self, store: SQLiteStore) -> None:
        self.store = store

    def room(self) -> int:
        connection = self.store._file.take()
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.store._file.give(connection)
        return int(self.store._file.path.stat().st_size)

    def seconds(self) -> float:
        return time.process_time()


def _processor_time(pid: int) -> float:
    """Return what a process, and those of its children that have ended, have taken (proc(5))."""
    cells = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, cells[11:15])) / _TICKS


@contextmanager
def _places() -> Iterator[list[Place]]:
    with tempfile.TemporaryDirectory() as folder:
        redis, postgres = Server(), new_server()
        create_schema(postgres.url())
        stores = RedisStore.from_url(redis.url), PostgresStore(postgres.url()), SQLiteStore(Path(folder) / "s.db")
        try:
            yield [_Redis(redis, stores[0]), _Postgres(postgres, stores[1]), _SQLite(stores[2])]
        finally:
            for store in stores:
                store.close()
            redis.remove()
            postgres.remove()


def measure(place: Place, sessions: int) -> Measured:
    """Sign so many people in, look at them, touch them and sign them out."""
    store = place.store
    order = list(range(sessions))
    random.Random(7).shuffle(order)
    records = {n: reference_record(n) for n in order}
    took: dict[str, float] = {}
    rate: dict[str, float] = {}
    log: dict[str, float] = {}

    def do(name: str, call: Callable[[int], object]) -> None:
        used, wrote, began = place.seconds(), place.logged(), time.perf_counter()
        for n in order:
            call(n)
        passed = time.perf_counter() - began
        took[name] = (place.seconds() - used) / sessions * 1e6
        rate[name] = sessions / passed
        if wrote:
            log[name] = (place.logged() - wrote) / sessions

    def touch(later: float) -> Callable[[int], object]:
        def touched(n: int) -> object:
            record = records[n]
            at, until = record.last_seen_at + later, record.keep_until + later
            return store.touch(record.key, Touch(at, (record.inactivity_deadline or at) + later, until))

        return touched

    store.load(b"nobody" * 6)
    empty = place.room()
    do("login", lambda n: store.create(records[n]))
    alive = place.room() - empty
    do("check", lambda n: store.load(records[n].key))
    do("touch", touch(60.0))
    do("end", lambda n: store.end(records[n].key, "logout", records[n].last_seen_at, records[n].keep_until))
    ended = place.room() - empty
    return Measured(place.name, alive / sessions, ended / sessions, took, rate, log)


@dataclass(frozen=True)
class Load:
    """How sessions are used.

    Attributes:
        sessions: signed in at a time.
        active: which part of them is in use.
        between: seconds between two requests of one in use.
        touch_interval: as the setting.
        lifetime: seconds from login to logout.
    """

    sessions: int
    active: float = 0.1
    between: float = 10.0
    touch_interval: float = 60.0
    lifetime: float = 86_400.0

    def rates(self, *, near: bool) -> dict[str, float]:
        """Return how many of each call come in a second.

        Args:
            near: whether the processes hold what they have read; about one check for each touch is left, since that is
                announced.
        """
        touches = self.sessions * self.active / self.touch_interval
        checks = touches if near else self.sessions * self.active / self.between
        turnover = self.sessions / self.lifetime
        return {"check": checks, "touch": touches, "login": turnover, "end": turnover}


def worked_out(measured: Measured, load: Load, *, near: bool) -> tuple[float, float, float]:
    """Return what a store needs: bytes, processors that are always busy, and bytes of PostgreSQL's log a second.

    An end is remembered for a day, as long as a session lasts here; so there is one for every live session.
    """
    rates = load.rates(near=near)
    room = load.sessions * (measured.alive + measured.ended)
    busy = sum(rates[name] * measured.took[name] for name in rates) / 1e6
    return room, busy, sum(rates[name] * measured.log.get(name, 0.0) for name in rates)


#: Of a node: memory for data, and how busy a processor may be before requests queue.
_NODE_GIB, _BUSY = 16, 0.5


def report(measured: list[Measured]) -> str:
    """Return both tables."""
    calls = ("check", "touch", "login", "end")
    head = ["store", "bytes alive", "bytes ended", *(f"{call}: µs, calls a second" for call in calls)]
    rows = [
        [
            one.name,
            f"{one.alive:.0f}",
            f"{one.ended:.0f}",
            *(f"{one.took[call]:.1f}, {one.rate[call]:,.0f}" for call in calls),
        ]
        for one in measured
    ]
    parts = [markdown(head, rows)]
    for one in measured:
        if one.log:
            wrote = ", ".join(f"{call} {one.log[call]:.0f}" for call in calls)
            parts.append(f"Bytes that a call adds to the log of {one.name} (WAL): {wrote}.")
    needs = [
        _needs(one, Load(sessions), near=near)
        for one in measured[:2]
        for sessions in (1_000_000, 100_000_000)
        for near in (False, True)
    ]
    parts.append(markdown(["store", "sessions", "calls a second", "room", "processors busy", "that is"], needs))
    return "\n\n".join(parts)


def _needs(one: Measured, load: Load, *, near: bool) -> list[str]:
    room, busy, log = worked_out(one, load, near=near)
    if one.name == "Redis":
        masters = max(3, math.ceil(room / (_NODE_GIB << 30)), math.ceil(busy / _BUSY))
        that = f"{masters} masters of {max(1, math.ceil(room / masters / (1 << 30)))} GiB, and a replica of each"
    else:
        that = f"{max(2, math.ceil(busy / _BUSY))} processors, {log / 1e6:.1f} MB of log a second"
    return [
        one.name + (" + near cache" if near else ""),
        f"{load.sessions // 1_000_000} million",
        f"{sum(load.rates(near=near).values()):,.0f}",
        f"{room / (1 << 30):.1f} GiB",
        f"{busy:.2f}",
        that,
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=100_000, help="how many are made; default: %(default)s")
    parser.add_argument("--write-docs", action="store_true", help="write the tables into docs/scaling.md")
    options = parser.parse_args()
    with _places() as places:
        measured = [measure(place, options.sessions) for place in places]
    text = report(measured)
    print(text)
    if options.write_docs:
        write(Path(__file__).parent.parent / "docs" / "scaling.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
