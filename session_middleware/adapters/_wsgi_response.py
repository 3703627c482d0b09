"""When a WSGI response starts: with its first chunk (PEP 3333), not with start_response; a login waits until then (L25).

Up to the first chunk an app may fail, or answer anew with `exc_info`. The browser must then not have the cookie of a view
that failed, nor its old session be over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from session_middleware.core.exchange import Exchange
from session_middleware.runtime import run_sync

if TYPE_CHECKING:
    from session_middleware.engine import Engine

__all__ = ["ExcInfo", "Headers", "LateBody", "LateStart", "StartResponse", "Write"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Headers = list[tuple[str, str]]
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]


class LateStart:
    """The start_response that an app is given; an answer with a login is held until its first chunk.

    Attributes:
        held: the answer that waits, status and headers.
        started: whether an answer was given to the server.
        instead: the body that goes out in place of the app's, where its answer was replaced.
        headers: those of the answer that was given to the server.
    """

    __slots__ = ("_engine", "_server_write", "_x", "cookies", "headers", "held", "instead", "started")
    _server_write: Write  # once the answer that was held has started

    def __init__(self, engine: Engine, x: Exchange) -> None:
        self._engine = engine
        self._x = x
        self.cookies: list[str] = []
        self.held: tuple[str, Headers] | None = None
        self.started = False
        self.headers: Headers = []
        self.instead: Iterable[bytes] | None = None

    def send(self, status: str, headers: Headers, exc_info: ExcInfo | None) -> Write:
        """Finish the exchange if it is open, and give the answer to the server."""
        raise NotImplementedError

    def __call__(
        self, status: str, headers: Headers, exc_info: ExcInfo | None = None, *, failed: bool = False
    ) -> Write:
        """Take the app's answer.

        Args:
            status: as PEP 3333 has it.
            headers: as PEP 3333 has it.
            exc_info: as PEP 3333 has it: this answer takes back the one before.
            failed: whether this is an error page, which no view gave that logged in.
        """
        if self.held is not None and exc_info is None:
            self.begin()  # a second answer without a fault is the server's to refuse
        x = self._x
        if x.created is None:
            return self.send(status, headers, exc_info)
        if not x.closed:
            if exc_info is None and not failed:
                self.held = status, list(headers)
                return self._write
            self.held = None
            run_sync(self._engine.abandon(x))
        elif exc_info is not None:
            self.cookies = []
            write = self.send(status, headers, exc_info)  # raises if the first answer has gone out, cookie included
            run_sync(self._engine.abandon(x, unsent=True))
            return write
        return self.send(status, headers, exc_info)

    def begin(self) -> None:
        """Start the answer that is held, if one is.

        Raises:
            StoreUnavailable: the cookie of the login cannot be vouched for, or claims could not be saved.
        """
        if self.held is not None:
            self._server_write = self.send(*self.held, None)
            self.held = None

    def _write(self, chunk: bytes) -> object:
        self.begin()
        return self._server_write(chunk)


class LateBody:
    """The body of an app that has not answered when it returns: a generator function, or a login.

    Args:
        body: what the app returned.
        start: the start_response that it was given.
        failed: what to do where the app raises before its first chunk; returns another body, or raises.
        unasked: what to do where the server closes the body without having asked for a chunk.
    """

    def __init__(
        self,
        body: Iterable[bytes],
        start: LateStart,
        failed: Callable[[BaseException], Iterable[bytes]],
        unasked: Callable[[], object],
    ) -> None:
        self._body = body
        self._chunks: Iterator[bytes] = iter(body)
        self._start = start
        self._failed = failed
        self._unasked = unasked

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._start.started:
            return next(self._chunks)
        chunk: bytes | None = None
        try:
            chunk = next(self._chunks, None)
            self._start.begin()
            instead = self._start.instead
        except BaseException as problem:
            instead = self._failed(problem)
        if instead is not None:
            self._chunks = iter(instead)
            return next(self._chunks, b"")
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        if not self._start.started:
            self._unasked()
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
