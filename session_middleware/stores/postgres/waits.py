"""How PostgreSQL is waited for: in the thread that asks, or on the loop; the only difference between the two stores."""

from __future__ import annotations

import time
from typing import Any, Final, Protocol

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen
from psycopg.pq.abc import PGresult

from session_middleware.runtime import LoopPlaces, ThreadPlaces

__all__ = ["Blocking", "BlockingConnection", "LoopConnection", "OnLoop", "TooLong", "Waits", "within"]

#: Seconds after which a wait looks at the clock, and whether it was interrupted (Ctrl-C).
_INTERVAL: Final = 0.1


class TooLong(Exception):  # no TimeoutError: that is an OSError, which psycopg takes for a lost socket
    """The server did not answer in time."""


def within(seconds: float, generator: PQGen[list[PGresult]]) -> PQGen[list[PGresult]]:
    """Do what a generator of psycopg's does, for so long at most.

    Raises:
        TooLong: it took longer.
    """
    until = time.monotonic() + seconds
    try:
        wanted = next(generator)
        while True:
            ready = yield wanted
            wanted = generator.send(ready)  # first what has arrived, then the clock
            if time.monotonic() >= until:
                raise TooLong
    except StopIteration as done:
        results: list[PGresult] = done.value
        return results


class BlockingConnection(psycopg.Connection[Any]):
    """A connection of psycopg's, of which only the underlying one is used."""

    def __del__(self, *_: object) -> None:
        """Say nothing: one that nobody closed ends with its store, or was left behind by a fork."""


class LoopConnection(psycopg.AsyncConnection[Any]):
    """The same, made on a loop."""

    def __del__(self, *_: object) -> None:
        """Say nothing, as above."""


class Waits(Protocol):
    """How a connection is waited for, in a thread or on a loop; all else is written once."""

    @property
    def places(self) -> ThreadPlaces | LoopPlaces: ...

    async def connected(self, conninfo: str) -> BlockingConnection | LoopConnection: ...
    async def answered(self, generator: PQGen[list[PGresult]], descriptor: int, seconds: float) -> list[PGresult]: ...


class Blocking:
    """Waits in the thread that asks; its coroutines never suspend."""

    def __init__(self, connections: int) -> None:
        self.places = ThreadPlaces(connections)

    async def connected(self, conninfo: str) -> BlockingConnection:
        return BlockingConnection.connect(conninfo, autocommit=True)

    async def answered(self, generator: PQGen[list[PGresult]], descriptor: int, seconds: float) -> list[PGresult]:
        return waiting.wait(within(seconds, generator), descriptor, min(seconds, _INTERVAL))


class OnLoop:
    """Waits on whatever asyncio loop runs; a connection belongs to none of them, so all may share."""

    def __init__(self, connections: int) -> None:
        self.places = LoopPlaces(connections)

    async def connected(self, conninfo: str) -> LoopConnection:
        return await LoopConnection.connect(conninfo, autocommit=True)

    async def answered(self, generator: PQGen[list[PGresult]], descriptor: int, seconds: float) -> list[PGresult]:
        # Not AsyncConnection.wait: where the caller is cancelled it would cancel the statement, and undo a logout.
        return await waiting.wait_async(within(seconds, generator), descriptor, min(seconds, _INTERVAL))
