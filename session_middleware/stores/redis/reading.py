"""How records are read, which is nearly all that Redis is asked: awaited GETs share one connection and one write.

redis-py finds the server, connects, speaks TLS and signs in; what it does for each command beyond that (a connection taken
from the pool and given back, a retry, a span, a timer, two tasks' worth of waiting) costs several times what a GET does.
Measured on loopback, one after the other and 32 at once: docs/dependencies.md.

* Awaited: the transport of one of redis-py's connections is given to `_Line`. Whoever asks in one turn of the event loop is in
  one write, and answers come in the order of the questions.
* Blocking: some connections are kept out of the pool for reads; the command is sent and its answer read on one of them.

What is not plain (an answer that is an error, a connection whose transport cannot be had) is asked again through the client,
which raises what it always raises. A connection that was lost is tried anew once: a read may be repeated.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable
from typing import Any, Final

from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from session_middleware.runtime import running_loop

__all__ = ["ASK_THE_CLIENT", "AwaitedReads", "BlockingReads"]

#: Instead of an answer: the client itself is to be asked.
ASK_THE_CLIENT: Final = object()

#: Of so many connections of a pool one may be kept for reads alone; a pool of fewer has none to spare.
_SPARE: Final = 4

#: Connections kept for blocking reads, at most.
_KEPT: Final = 16

_GET: Final = b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n"
_BULK, _ERROR, _NULL = b"$-_"


class _Lost(ConnectionError):
    """The connection was lost after it had been made."""


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
        self._process = os.getpid()

    def get(self, name: bytes) -> Any:  # Any: bytes, None or ASK_THE_CLIENT
        """Return what stands under a name.

        Raises:
            RedisError: the server cannot be reached, or does not answer in time.
        """
        if self._process != os.getpid():  # a fork: these are its parent's
            self._kept, self._process = [], os.getpid()
        try:
            connection = self._kept.pop()
        except IndexError:
            connection = self._pool.get_connection()
        try:
            connection.send_packed_command([_GET % (len(name), name)], check_health=False)
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
            if len(self._kept) < self._most:
                self._kept.append(connection)
            else:
                self._pool.release(connection)


class AwaitedReads:
    """The reads of one event loop.

    Args:
        client: a client of `redis.asyncio` for one server.
    """

    def __init__(self, client: Any) -> None:  # Any: redis.asyncio.Redis
        self._pool = client.connection_pool
        self._line: _Line | None = None
        self._asked: list[tuple[bytes, Any]] = []  # Any: a future; not sent yet
        self._is_due = False
        self._opening: Any = None  # a task
        self._can = getattr(self._pool, "max_connections", 0) >= _SPARE

    @property
    def master(self) -> tuple[str, int] | None:
        """Where the Sentinels last said that the master is, if there are any."""
        address: tuple[str, int] | None = getattr(self._pool, "master_address", None)
        return address

    async def get(self, name: bytes) -> Any:  # Any: bytes, None or ASK_THE_CLIENT
        """Return what stands under a name.

        Raises:
            RedisError: the server cannot be reached, or does not answer in time.
        """
        if not self._can:
            return ASK_THE_CLIENT
        line = self._line
        if line is not None and line.master != self.master:
            line.fail(_Lost("Another master has been found."))
            self.lost(line)
        try:
            return await self._ask(name)
        except _Lost:
            return await self._ask(name)

    def _ask(self, name: bytes) -> Awaitable[Any]:  # Any: as `get`
        loop: Any = running_loop()
        future = loop.create_future()
        self._asked.append((name, future))
        if self._line is None:
            if self._opening is None:
                self._opening = loop.create_task(self._open())
        elif not self._is_due:
            self._is_due = True
            loop.call_soon(self._send)
        return future  # type: ignore[no-any-return]

    def _send(self) -> None:
        self._is_due = False
        if self._line is not None and self._asked:
            asked, self._asked = self._asked, []
            self._line.ask([(name, future) for name, future in asked if not future.done()])

    async def _open(self) -> None:
        try:
            connection = await self._pool.get_connection()
            self._line = _Line.on(connection, self)
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

    def lost(self, line: _Line) -> None:
        """Use a line no more, and give its connection back to the pool."""
        if self._line is line:
            self._line = None
            self._fail_all(_Lost("The connection to Redis was lost."))
        loop: Any = running_loop()
        self._giving_back = loop.create_task(self._given_back(line))  # a loop forgets a task that nobody holds

    async def _given_back(self, line: _Line) -> None:
        connection, line.connection = line.connection, None
        if connection is not None:  # else it has been
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def close(self) -> None:
        """Give the connection back; the next question opens another."""
        line, self._line = self._line, None
        if line is not None:
            line.fail(ConnectionError("The store was closed."))
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


class _Line:
    """The protocol of one connection: what was asked on it, in order, and what has come so far.

    The streams that redis-py had on it are told when it is lost, as they wait for that.
    """

    def __init__(self, connection: Any, transport: Any, reads: AwaitedReads) -> None:
        self.connection: Any = connection  # None once it was given back
        self._transport, self._reads = transport, reads
        self._streams = transport.get_protocol()
        self._timeout: float | None = connection.socket_timeout
        self._sent: deque[tuple[Any, float]] = deque()  # Any: a future; and when it was asked
        self._rest = b""
        self._timer: Any = None
        self.master = reads.master

    @classmethod
    def on(cls, connection: Any, reads: AwaitedReads) -> _Line | None:
        """Take over the transport of a connection that is up; None where there is no way to it."""
        transport = getattr(getattr(connection, "_writer", None), "transport", None)
        if transport is None or transport.is_closing():
            return None
        line = cls(connection, transport, reads)
        transport.set_protocol(line)
        return line

    def ask(self, asked: list[tuple[bytes, Any]]) -> None:
        """Send questions, in one write."""
        loop: Any = running_loop()
        now = loop.time()
        self._sent.extend((future, now) for _, future in asked)
        self._transport.write(b"".join([_GET % (len(name), name) for name, _ in asked]))
        if self._timer is None and self._timeout is not None:
            self._timer = loop.call_later(self._timeout, self._look)

    def _look(self) -> None:
        """Give up a server that is silent; looked at no oftener than it may be silent."""
        self._timer = None
        if not self._sent:
            return
        loop: Any = running_loop()
        left = self._sent[0][1] + (self._timeout or 0.0) - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look)
        else:
            self.fail(TimeoutError("Redis did not answer in time."))

    def fail(self, problem: Exception) -> None:
        """Tell all who wait that no answer will come, and hang up."""
        sent, self._sent = self._sent, deque()
        for future, _ in sent:
            if not future.done():
                future.set_exception(problem)
        self._transport.abort()

    def _refuse(self) -> None:
        """Hang up on what was not asked for: no later question may get it as its answer."""
        self.fail(_Lost("Redis sent what was not asked for."))

    # --- what the transport calls -----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, size, sent = 0, len(data), self._sent
        while at < size:
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            kind, following = data[at], end + 2
            value: Any = None
            if kind == _BULK:
                try:
                    length = int(data[at + 1 : end])
                except ValueError:
                    self._refuse()
                    return
                if length >= 0:
                    following += length + 2
                    if following > size:
                        break
                    value = data[end + 2 : following - 2]
            elif kind == _ERROR:
                value = ASK_THE_CLIENT
            elif kind != _NULL:
                self._refuse()
                return
            if not sent:
                self._refuse()
                return
            future, _ = sent.popleft()
            if not future.done():  # else whoever asked has gone
                future.set_result(value)
            at = following
        self._rest = data[at:]

    def eof_received(self) -> bool:
        return False  # the transport closes itself

    def pause_writing(self) -> None:
        """Nobody waits for room: each question is a line."""

    def resume_writing(self) -> None:
        """As above."""

    def connection_lost(self, problem: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.fail(_Lost("The connection to Redis was lost."))
        self._streams.connection_lost(problem)
        self._reads.lost(self)
