"""Server-sent events of one session (HTML, "Server-sent events"): what open pages are told, and when."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from session_middleware.core.lifetime import Verdict
from session_middleware.core.refusal import HARDENING, Reply
from session_middleware.watch import Watcher

__all__ = ["HEARTBEAT", "EventStream", "Feed", "as_event", "opening"]

#: A comment: it says nothing, and keeps proxies from closing the connection.
HEARTBEAT: Final = b":\n\n"

_HEADERS: Final = (
    *((name, value) for name, value in HARDENING if name != "Cache-Control"),
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),  # nginx holds back what it may buffer
)


class EventStream(Reply):
    """The reply that begins a stream; its body is the first event.

    Attributes:
        event: returns the event that says how things stand with an exchange now.
    """

    __slots__ = ("event",)

    def __init__(self, first: bytes, event: Callable[..., bytes]) -> None:
        super().__init__(200, _HEADERS, first)
        object.__setattr__(self, "event", event)

    event: Callable[..., bytes]

    def with_headers(self, more: Sequence[tuple[str, str]]) -> EventStream:
        changed = EventStream(self.body, self.event)
        object.__setattr__(changed, "headers", (*self.headers, *more))
        return changed


def opening() -> bytes:
    """Return what a stream begins with: after how many milliseconds to come back when it breaks, not all at once."""
    return b"retry: %d\n\n" % random.randint(2000, 5000)  # noqa: S311  # spreads load, keeps no secret


def as_event(state: bytes) -> bytes:
    """Return a state, one line of JSON, as an event."""
    return b"data: " + state + b"\n\n"


class Feed(Watcher):
    """What one stream has still to send.

    Args:
        event: returns the event that says how things stand now.
        wake: called when there is something to send.
    """

    __slots__ = ("_event", "_is_due", "_wake", "_wants_beat", "is_over")

    def __init__(self, event: Callable[[], bytes], wake: Callable[[], object]) -> None:
        self._event = event
        self._wake = wake
        self._is_due = self._wants_beat = self.is_over = False

    def take(self) -> bytes:
        """Return what is to be sent now."""
        due, beat = self._is_due, self._wants_beat
        self._is_due = self._wants_beat = False
        return self._event() if due else HEARTBEAT if beat else b""

    def changed(self) -> None:
        self._is_due = True
        self._wake()

    def over(self, verdict: Verdict) -> None:
        self._is_due = verdict is not Verdict.UNAVAILABLE  # then nobody knows, and the page asks again later
        self.is_over = True
        self._wake()

    def beat(self) -> None:
        self._wants_beat = True
        self._wake()
