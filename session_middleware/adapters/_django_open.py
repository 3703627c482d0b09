"""Django's streamed responses, which end with their session, and our stream of events as one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from django.core.exceptions import RequestAborted
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from session_middleware.adapters._django_http import finish
from session_middleware.adapters._wsgi_open import (
    HeldParts,
    belongs_to_session,
    is_event_stream,
    may_belong_to_session,
    polled,
)
from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Verdict
from session_middleware.engine import Engine
from session_middleware.event_stream import EventStream, Feed
from session_middleware.runtime import Bell, Cancelled, Interruptible
from session_middleware.watch import BEAT, Watcher, Watching

__all__ = ["events", "hold"]

Run = Callable[[Any], Any]


class _Gone(RequestAborted, Cancelled):
    """What Django takes for a client that has gone, up to 5.2 the one and from 6.0 the other: it closes everything, and sends
    no more."""


class _Stop(Watcher):
    """The watcher of a response that is sent in parts."""

    def __init__(self) -> None:
        self.wait = Interruptible()
        self.is_over = False

    def over(self, verdict: Verdict) -> None:
        self.is_over = True
        self.wait.interrupt()


def hold(response: HttpResponseBase, engine: Engine, x: Exchange, watching: Watching, run: Run) -> None:
    """Have a streamed response end with its session; a file that the server sends by itself is out of reach."""
    if not isinstance(response, StreamingHttpResponse) or not may_belong_to_session(x):
        return
    if getattr(response, "file_to_stream", None) is not None:
        return
    may_end = is_event_stream(response.headers.items())
    parts: Any = response.streaming_content  # Any: an iterator of either kind
    if response.is_async:
        response.streaming_content = _held(aiter(parts), x, watching, may_end)
    elif engine.runtime.asynchronous:
        return  # Django reads blocking parts to their end before it sends the first
    else:
        # `_iterator` would do; the public way also sees to what has to be closed.
        response.streaming_content = HeldParts(parts, engine, x, lambda: may_end, run)


async def _held(parts: AsyncIterator[bytes], x: Exchange, watching: Watching, may_end: bool) -> AsyncIterator[bytes]:
    stop, leave = _Stop(), None
    try:
        while not stop.is_over:
            if leave is None and belongs_to_session(x):
                leave = watching.join(x, stop)
            try:
                part = await stop.wait.run(parts.__anext__)
            except StopAsyncIteration:
                return
            if part is not None and not stop.is_over:
                yield part
        if not may_end:
            raise _Gone("The session has ended, and this response with it.")
    finally:
        if leave is not None:
            leave()


async def events(
    engine: Engine, x: Exchange, reply: EventStream, watching: Watching, run: Run
) -> StreamingHttpResponse:
    """Return our stream of events."""
    cookies = await engine.close(x)  # of ours none (L9), but a provider's may be due
    parts: Any = _fed(x, reply, watching) if engine.runtime.asynchronous else polled(engine, x, reply, run)
    response = StreamingHttpResponse(parts)
    for name, value in reply.headers:
        response.headers[name] = value
    finish(response, vary=engine.vary(x), protected=False, cookies=cookies)
    return response


async def _fed(x: Exchange, reply: EventStream, watching: Watching) -> AsyncIterator[bytes]:
    bell = Bell()
    feed = Feed(lambda: reply.event(x), bell.ring)
    leave = watching.join(x, feed, beats=True)
    try:
        yield reply.body
        while True:
            text = feed.take()  # asked before whether it is over: the session may end while an event goes out
            if text:
                yield text
            elif feed.is_over:
                return
            else:
                await bell.wait(BEAT)
    finally:
        leave()
