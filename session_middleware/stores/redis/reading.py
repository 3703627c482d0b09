"""How records are read, which is nearly all that Redis is asked: awaited GETs share one connection.

redis-py finds the server, connects, speaks TLS and signs in; what it does for each command beyond that (a connection taken
from the pool and given back, a retry, a span, a timer, two tasks' worth of waiting) costs several times what a GET does.
Measured on loopback, one after the other and 32 at once: docs/dependencies.md.

* Awaited: the transport of one of redis-py's connections is given to `Line`, and answers come in the order of the questions.
  Where none is awaited, a question is sent at once; whoever else asks in the same turn of the event loop is in one write.
* Blocking: some connections are kept out of the pool for reads; the command is sent and its answer read on one of them.

What is not plain (an answer that is an error, a connection whose transport cannot be had) is asked again through the client,
which raises what it always raises. A connection that was lost is tried anew once: a read may be repeated.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from session_middleware.runtime import running_loop
from session_middleware.stores.redis.line import ASK_THE_CLIENT, GET, Line, Lost

__all__ = ["AwaitedReads", "BlockingReads"]

#: Of so many connections of a pool one may be kept for reads alone; a pool of fewer has none to spare.
_SPARE: Final = 4

#: Connections kept for blocking reads, at most.
_KEPT: Final = 16


class BlockingReads:
    """The reads of one process.

    Args:
        client: a client of `redis` for one server.
    """

    def __init__(self, client: Any) -> None:  # Any: redis.Redis
        self._pool = client.connection_pool
        # Behind a Sentinel the pool must see to each, as it drops those to a master that is none any more.
        by_sentinel = hasattr(self._pool, "sentinel_manager")
        self._most = 0 if by_sentinel else min(_KEPT, getattr(self._pool, "max_connections", 0) // _SPARE)
        self._kept: list[Any] = []  # Any: connections; taken and given back by any thread
        self._left = 0  # how often they were left for another server
        self._process = os.getpid()

    def get(self, name: bytes) -> Any:  # Any: bytes, None or ASK_THE_CLIENT
        """Return what stands under a name.

        Raises:
            RedisError: the server cannot be reached, or does not answer in time.
        """
        if self._process != os.getpid():  # a fork: these are its parent's
            self._kept, self._process = [], os.getpid()
        left = self._left
        try:
            connection = self._kept.pop()
        except IndexError:
            connection = self._pool.get_connection()
        try:
            connection.send_packed_command([GET % (len(name), name)], check_health=False)
            return connection.read_response(disable_decoding=True)
        except ResponseError:
            return ASK_THE_CLIENT
        except TimeoutError:
            connection.disconnect()
            raise
        except ConnectionError:
            connection.disconnect()  # a server that was started anew, say
            return ASK_THE_CLIENT
        except BaseException:
            connection.disconnect()  # its answer may still come, and is nobody else's
            raise
        finally:
            if left != self._left:
                connection.disconnect()
            if len(self._kept) < self._most:
                self._kept.append(connection)
            else:
                self._pool.release(connection)

    def leave(self) -> None:
        """Give back what leads to a server that is no master any more."""
        self._left += 1
        while self._kept and self._process == os.getpid():
            with contextlib.suppress(IndexError):  # another thread was faster
                connection = self._kept.pop()
                connection.disconnect()
                self._pool.release(connection)


class AwaitedReads:
    """The reads of one event loop.

    Args:
        client: a client of `redis.asyncio` for one server.
    """

    def __init__(self, client: Any) -> None:  # Any: redis.asyncio.Redis
        self._pool = client.connection_pool
        self._line: Line | None = None
        self._asked: list[tuple[bytes, Any]] = []  # Any: a future; not sent yet
        self._is_due = False
        self._opening: Any = None  # a task
        self._can = getattr(self._pool, "max_connections", 0) >= _SPARE

    @property
    def master(self) -> tuple[str, int] | None:
        """Where the Sentinels last said that the master is, if there are any."""
        address: tuple[str, int] | None = getattr(self._pool, "master_address", None)
        return address

    async def get(self, names: Sequence[bytes]) -> list[Any]:  # Any: bytes, None or ASK_THE_CLIENT
        """Return what stands under each name, in one trip.

        Raises:
            RedisError: the server cannot be reached, or does not answer in time.
        """
        try:
            return await _all(self.ask(*names))
        except Lost:
            return await _all(self.ask(*names))

    def ask(self, *names: bytes) -> list[Any]:  # Any: futures
        """Ask what stands under each name, in one trip.

        Returns:
            what to await for each: it brings bytes, None or ASK_THE_CLIENT, or raises a `RedisError`; after `Lost` it may be
            asked once more.
        """
        loop: Any = running_loop()
        futures = [loop.create_future() for _ in names]
        line = self._line
        if not self._can:
            for future in futures:
                future.set_result(ASK_THE_CLIENT)
            return futures
        if line is not None and line.master != self.master:
            line.fail(Lost("Another master has been found."))
            self.lost(line)
            line = None
        self._asked.extend(zip(names, futures, strict=True))
        if line is None:
            if self._opening is None:
                self._opening = loop.create_task(self._open())
        elif not self._is_due:
            if line.is_idle:
                self._send()
            else:
                self._is_due = True
                loop.call_soon(self._send)
        return futures

    def _send(self) -> None:
        self._is_due = False
        if self._line is not None and self._asked:
            asked, self._asked = self._asked, []
            self._line.ask([(name, future) for name, future in asked if not future.done()])

    async def _open(self) -> None:
        try:
            connection = await self._pool.get_connection()
            self._line = Line.on(connection, self.master, self.lost)
            if self._line is None:  # another redis-py keeps its transport elsewhere
                self._can = False
                await self._pool.release(connection)
                self._answer_all(ASK_THE_CLIENT)
            self._send()
        except Exception as problem:
            self._fail_all(problem)
        finally:
            self._opening = None
            for _, future in self._asked:  # the loop ends: whoever waits ends with it
                future.cancel()

    def leave(self) -> None:
        """Ask no more on a line that leads to a server that is no master; what is on its way comes, as it still answers."""
        line, self._line = self._line, None
        if line is not None:
            line.leave()
            if self._asked and self._opening is None:
                loop: Any = running_loop()
                self._opening = loop.create_task(self._open())

    def lost(self, line: Line) -> None:
        """Use a line no more, and give its connection back to the pool."""
        if self._line is line:
            self._line = None
            self._fail_all(Lost("The connection to Redis was lost."))
        loop: Any = running_loop()
        self._giving_back = loop.create_task(self._given_back(line))  # a loop forgets a task that nobody holds

    async def _given_back(self, line: Line) -> None:
        connection, line.connection = line.connection, None
        if connection is not None:  # else it has been
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def close(self) -> None:
        """Give the connection back; the next question opens another."""
        line, self._line = self._line, None
        if line is not None:
            closed = ConnectionError("The store was closed.")
            line.fail(closed)
            self._fail_all(closed)  # what waits for its turn would wait for ever: there is no line to send it on
            await self._given_back(line)

    def _answer_all(self, answer: object) -> None:
        asked, self._asked = self._asked, []
        for _, future in asked:
            if not future.done():
                future.set_result(answer)

    def _fail_all(self, problem: Exception) -> None:
        asked, self._asked = self._asked, []
        for _, future in asked:
            if not future.done():
                future.set_exception(problem)


async def _all(futures: Sequence[Any]) -> list[Any]:  # Any: futures, and what they bring
    """Wait for all, also where one has failed: a failure that nobody asks for would be logged as one that was missed."""
    answers, problem = [], None
    try:
        for future in futures:
            try:
                answers.append(await future)
            except RedisError as fault:
                problem = fault
    finally:
        for future in futures:
            future.cancel()  # whoever waits goes away
    if problem is not None:
        raise problem
    return answers
