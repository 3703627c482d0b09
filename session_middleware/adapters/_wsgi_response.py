"""When a WSGI response starts: with its first chunk (PEP 3333), not with start_response; our cookies wait until then.

Up to the first chunk that is not empty an app may fail, or answer anew with `exc_info`. The browser must then not have the
cookie of a view that failed, nor its old session be over (L25). And that chunk may be long in coming: a cookie made before
it would undo a logout, or wipe a login, that came meanwhile (L13, L26).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType

from session_middleware.adapters._wsgi_exchange import Environ, Write, WSGIExchange
from session_middleware.core.caching import PRIVATE, finished
from session_middleware.runtime import run_sync

__all__ = ["ExcInfo", "Headers", "LateBody", "LateStart", "Says", "is_the_servers", "says"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Headers = list[tuple[str, str]]
Says = tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]]

#: Headers that frameworks and apps often send, as they write them; none of them says anything to caches (L18).
_OF_OTHER_THINGS = frozenset(
    name
    for title in (
        *("Content-Type", "Content-Length", "Content-Disposition", "Content-Encoding", "Content-Language", "Date"),
        *("Access-Control-Allow-Credentials", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"),
        *("Allow", "Accept-Ranges", "Content-Security-Policy", "Cross-Origin-Opener-Policy", "ETag", "Last-Modified"),
        *("Link", "Location", "Permissions-Policy", "Referrer-Policy", "Server", "Set-Cookie"),
        *("Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options", "X-Request-ID"),
    )
    for name in (title, title.lower())
)

#: Says, in one call into C, that a response has no other headers than these; else somebody has to look more closely.
says_nothing: Callable[[Iterable[str]], bool] = _OF_OTHER_THINGS.issuperset


def says(vary: str) -> Says:
    """Return what L18 adds to an answer that says nothing of caches, by whether the route is protected."""
    return (("Vary", vary),), (("Vary", vary), ("Cache-Control", PRIVATE))


def is_the_servers(body: object, environ: Environ) -> bool:
    """Say whether this is a file that the server sends by itself (PEP 3333, "Optional Platform-Specific File Handling")."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


class LateStart(WSGIExchange):
    """One request with the start_response that its app is given; what may set a cookie is held until its first chunk.

    Attributes:
        says: what a quiet request adds to the headers of its answer, by whether the route is protected (L18).
        is_whole: whether this was a quiet request, and its app knew how long its answer is.
        set_cookies: the Set-Cookie values that go out with the answer.
        headers: those of the answer that was given to the server.
        held: the answer that waits, status and headers.
        instead: the body that goes out in place of the app's, where its answer was replaced.
    """

    __slots__ = ("says",)

    says: Says

    # Found on the class: most requests change few of them.
    is_whole = False
    set_cookies: Sequence[str] = ()
    headers: Sequence[tuple[str, str]] = ()
    held: tuple[str, Headers] | None = None
    instead: Iterable[bytes] | None = None
    _server_write: Write  # once the answer that was held has started

    written = (*WSGIExchange.written, "headers", "is_whole")

    def send(self, status: str, headers: Headers, exc_info: ExcInfo | None) -> Write:
        """Finish the exchange if it is open, and give the answer to the server."""
        raise NotImplementedError  # each adapter has its own

    def start(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        """Take the app's answer.

        Args:
            status: as PEP 3333 has it.
            headers: as PEP 3333 has it.
            exc_info: as PEP 3333 has it: this answer takes back the one before.
        """
        if not self.quiet or not self.judged or exc_info is not None or self.started:
            return self.start_late(status, headers, exc_info)
        self.started = self.closed = True
        names = dict(headers)
        if says_nothing(names):
            headers = [*headers, *self.says[self.protected]]  # a new list: the old one may be the app's own
        else:
            headers = finished(headers, vary=self.engine.vary_on, protected=self.protected, cookies=())
        self.headers = headers
        self.is_whole = "Content-Length" in names
        start = self.server_start
        return start(status, headers)

    def start_late(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        """Take an answer as `start` does, to a request for which there may be something to do.

        Args:
            status: as PEP 3333 has it.
            headers: as PEP 3333 has it.
            exc_info: as PEP 3333 has it.
        """
        if self.held is not None and exc_info is None:
            self.release()  # a second answer without a fault is the server's to refuse
        if self.created is None:
            self.held = None  # taken back
            if self.closed or self.started or self.engine.is_settled(self):
                return self.send(status, headers, exc_info)
            self.held = status, list(headers)
            return self._write
        if not self.closed:
            # An error page is what a framework makes of a view that raised (L25); whom we have adopted did not log in there.
            if exc_info is None and (self.adopted or not status.startswith("5")):
                self.held = status, list(headers)
                return self._write
            self.held = None
            run_sync(self.engine.abandon(self))
        elif exc_info is not None:
            self.set_cookies = ()
            write = self.send(status, headers, exc_info)  # raises if the first answer has gone out, cookie included
            run_sync(self.engine.abandon(self, unsent=True))
            return write
        return self.send(status, headers, exc_info)

    def release(self) -> None:
        """Start the answer that is held, if one is.

        Raises:
            StoreUnavailable: the cookie of the login cannot be vouched for, or claims could not be saved.
        """
        if self.held is not None:
            try:
                self._server_write = self.send(*self.held, None)
            finally:
                self.held = None  # one that failed is not sent behind the reply that goes out in its place

    def _write(self, chunk: bytes) -> object:
        if not chunk and self.held is not None:
            return None
        self.release()
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
            while chunk == b"" and self._start.held is not None:  # the headers go out with one that is not empty
                chunk = next(self._chunks, None)
            self._start.release()
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
