"""One request to a Flask app: the start_response that Flask is given, and what goes out in place of its answer."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from werkzeug.http import HTTP_STATUS_CODES

from session_middleware.adapters._wsgi_exchange import Write
from session_middleware.adapters._wsgi_response import ExcInfo, Headers, LateStart
from session_middleware.core.caching import finished
from session_middleware.core.refusal import Reply
from session_middleware.errors import StoreUnavailable
from session_middleware.runtime import run_sync

if TYPE_CHECKING:
    from session_middleware.adapters._flask_gate import Gate

__all__ = ["FlaskExchange", "discard"]


def discard(chunk: bytes) -> None:
    """Take what the app would write (PEP 3333) and send none of it."""


class FlaskExchange(LateStart):
    """One request, and the start_response that Flask is given.

    Attributes:
        gate: what it passes through.
    """

    __slots__ = ("gate",)

    gate: Gate

    def start_late(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        """Take an answer that no quiet request was given; one that no view gave is judged first."""
        if not self.judged:
            refusal = self.gate.judge_late(self)
            if refusal is not None:
                self.replace(self.engine.render(self, refusal))
                return discard
        if self.created is None and self.gate.owns(self):
            return self.send(status, headers, exc_info)  # our own reply is at hand: nothing to wait for
        return super().start_late(status, headers, exc_info)

    def send(self, status: str, headers: Headers, exc_info: ExcInfo | None) -> Write:
        engine = self.engine
        if not self.closed:
            try:
                self.set_cookies = run_sync(engine.close(self))
            except StoreUnavailable:
                if self.held is not None:
                    raise  # Flask's context may be gone, which rendering needs: see Gate._failed
                self.replace(engine.unavailable(self))
                return discard
        self.started = True
        self.headers = headers = finished(
            headers, vary=engine.vary(self), protected=self.protected, cookies=self.set_cookies
        )
        return self.server_start(status, headers) if exc_info is None else self.server_start(status, headers, exc_info)

    def empty_session(self) -> None:
        """Empty Flask's session (L26)."""
        self.gate.empty_session()

    @property
    def is_streamed(self) -> bool:
        """Whether nobody knows how long the body is; Flask says it of every other."""
        headers = self.headers if self.held is None else self.held[1]
        return all(name != "Content-Length" for name, _ in headers)

    def replace(self, reply: Reply) -> None:
        """Send a reply of ours instead of what the app says."""
        engine = self.engine
        self.started = True
        self.instead = [] if self.method == "HEAD" else [reply.body]
        cookies: list[str] = []
        with suppress(StoreUnavailable):
            if reply.status >= 500:
                run_sync(engine.abandon(self))
            cookies = run_sync(engine.close(self))
        headers = finished(reply.headers, vary=engine.vary(self), protected=False, cookies=cookies)
        headers.append(("Content-Length", str(len(reply.body))))
        phrase = HTTP_STATUS_CODES.get(reply.status, "Unknown")  # `refusal=` may answer what it likes
        self.server_start(f"{reply.status} {phrase}", headers)

    def in_place_of(self, standing: Iterable[bytes]) -> Iterable[bytes]:
        """Return the body of the reply that goes out; the app's own, which is not sent, is closed."""
        assert self.instead is not None
        close = getattr(standing, "close", None)
        if close is not None:
            close()
        return self.instead
