"""One connection to Redis for GETs alone: what was asked on it, in order, and what has come so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import ConnectionError, TimeoutError

from session_middleware.runtime import running_loop

__all__ = ["ASK_THE_CLIENT", "GET", "Line", "Lost"]

#: Instead of an answer: the client itself is to be asked.
ASK_THE_CLIENT: Final = object()

GET: Final = b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n"
_BULK, _ERROR, _NULL = b"$-_"


class Lost(ConnectionError):
    """The connection was lost after it had been made."""


class Line:
    """The protocol of one connection of redis-py's, whose own streams are told when it is lost, as they wait for that.

    Args:
        connection: of redis-py, connected and signed in.
        transport: of the event loop, taken from it.
        master: where the Sentinels said that the master is, if there are any.
        lost: is told when there is no connection any more.
    """

    def __init__(
        self, connection: Any, transport: Any, master: tuple[str, int] | None, lost: Callable[[Line], None]
    ) -> None:
        self.connection: Any = connection  # None once it was given back
        self._transport, self._lost = transport, lost
        self._streams = transport.get_protocol()
        self._timeout: float | None = connection.socket_timeout
        self._sent: deque[tuple[Any, float]] = deque()  # Any: a future; and when it was asked
        self._rest = bytearray()
        self._needed = 0  # as long as what has come is shorter, there is no whole answer in it
        self._timer: Any = None
        self._is_left = False
        self.master = master

    @classmethod
    def on(cls, connection: Any, master: tuple[str, int] | None, lost: Callable[[Line], None]) -> Line | None:
        """Take over the transport of a connection that is up; None where there is no way to it."""
        transport = getattr(getattr(connection, "_writer", None), "transport", None)
        if transport is None or transport.is_closing():
            return None
        line = cls(connection, transport, master, lost)
        transport.set_protocol(line)
        return line

    @property
    def is_idle(self) -> bool:
        """Whether no answer is awaited."""
        return not self._sent

    def ask(self, asked: list[tuple[bytes, Any]]) -> None:
        """Send questions, in one write."""
        loop: Any = running_loop()
        now = loop.time()
        self._sent.extend((future, now) for _, future in asked)
        self._transport.write(b"".join([GET % (len(name), name) for name, _ in asked]))
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

    def leave(self) -> None:
        """Hang up once nothing is awaited any more."""
        self._is_left = True
        if not self._sent:
            self._transport.abort()

    def fail(self, problem: Exception) -> None:
        """Tell all who wait that no answer will come, and hang up."""
        sent, self._sent = self._sent, deque()
        for future, _ in sent:
            if not future.done():
                future.set_exception(problem)
        self._transport.abort()

    def _refuse(self) -> None:
        """Hang up on what was not asked for: no later question may get it as its answer."""
        self.fail(Lost("Redis sent what was not asked for."))

    # --- what the transport calls -----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
        at, size, sent = 0, len(data), self._sent
        self._needed = 0
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
                        self._needed = following - at
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
        self._rest = bytearray(data[at:])
        if self._is_left and not sent:
            self._transport.abort()

    def eof_received(self) -> bool:
        return False  # the transport closes itself

    def pause_writing(self) -> None:
        """Nobody waits for room: each question is a line."""

    def resume_writing(self) -> None:
        """As above."""

    def connection_lost(self, problem: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.fail(Lost("The connection to Redis was lost."))
        self._streams.connection_lost(problem)
        self._lost(self)
