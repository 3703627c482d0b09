"""Streamed bodies of WSGI: they stop when their session ends, which is found out at most once a second, at a part."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Verdict
from session_middleware.errors import StoreUnavailable
from session_middleware.event_stream import HEARTBEAT, EventStream
from session_middleware.runtime import run_sync
from session_middleware.watch import BEAT

if TYPE_CHECKING:
    from session_middleware.engine import Engine

__all__ = ["HeldParts", "belongs_to_session", "is_event_stream", "may_belong_to_session", "polled"]

Run = Callable[[Any], Any]

#: Seconds between two looks at the session of one stream: each is a call to the store.
LOOK: Final = 1.0


def belongs_to_session(x: Exchange) -> bool:
    """Say whether what is streamed in answer to a request is to end with a session."""
    return x.record is not None and x.deadlines is not None and (x.is_active or x.stale)


def may_belong_to_session(x: Exchange) -> bool:
    """Say whether it does, or comes to: on an exempt route the session may be opened while parts are made (L21)."""
    return not x.authenticated or belongs_to_session(x)


def is_event_stream(headers: Iterable[tuple[str, str]]) -> bool:
    """Say whether these are the headers of a stream of events, which ends where it is."""
    return any(name.lower() == "content-type" and value.startswith("text/event-stream") for name, value in headers)


def over() -> ConnectionResetError:
    """Return what breaks a body off, so that nobody takes a part for the whole: servers close the connection then."""
    return ConnectionResetError(errno.ECONNRESET, "The session has ended, and this response with it.")


class HeldParts:
    """A body that is sent in parts, as long as its session lives.

    Args:
        body: the app's.
        engine: the app's engine.
        x: the exchange; as long as it has no session there is nothing to end.
        ends_where_it_is: says whether the body is one that may end anywhere; any other is broken off.
        run: runs what the engine awaits.
    """

    def __init__(
        self,
        body: Iterable[bytes],
        engine: Engine,
        x: Exchange,
        ends_where_it_is: Callable[[], bool],
        run: Run = run_sync,
    ) -> None:
        self._body = body
        self._parts = iter(body)
        self._engine = engine
        self._x = x
        self._ends_where_it_is = ends_where_it_is
        self._run = run
        self._looked_at = x.now

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        part = next(self._parts)
        if not belongs_to_session(self._x):
            return part
        now = self._engine.clock()
        if not 0 <= now - self._looked_at < LOOK:
            self._looked_at = now
            if not _lives(self._engine, self._x, self._run):
                if self._ends_where_it_is():
                    raise StopIteration
                raise over()
        return part

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


def _lives(engine: Engine, x: Exchange, run: Run) -> bool:
    try:
        run(engine.look_again(x))
    except StoreUnavailable:
        return True  # nobody is logged out by a fault of a server (L17)
    if x.is_active or x.stale:
        return True
    assert x.record is not None
    detail = {"reason": x.verdict.reason or "", "connections": "1"}
    engine.announce("connection_closed", x.now, x.record.public_id, x.record.subject, detail=detail)
    return False


def polled(engine: Engine, x: Exchange, reply: EventStream, run: Run = run_sync) -> Iterator[bytes]:
    """Give the events of a stream as they come, from the thread that serves it (`sse=True`)."""
    yield reply.body
    silent = 0.0
    while True:
        run(engine.runtime.pause(LOOK))
        silent += LOOK
        before = x.record, x.deadlines
        if not _lives(engine, x, run):
            if x.verdict is not Verdict.UNAVAILABLE:
                yield reply.event(x)
            return
        if before != (x.record, x.deadlines):
            silent = 0.0
            yield reply.event(x)
        elif silent >= BEAT:
            silent = 0.0
            yield HEARTBEAT
