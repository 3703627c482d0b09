"""FakeClock: a clock that stands still until a test moves it."""

from __future__ import annotations

import math
from datetime import datetime

from session_middleware.runtime import mutex

__all__ = ["FakeClock"]

#: 2027-01-15 08:00:00 UTC: a round instant, late enough that no certificate or token of today is still to come.
START = 1_800_000_000.0


class FakeClock:
    """Tells the time a test has set; give it as `clock=` to any adapter. Safe with threads.

    Args:
        start: the first instant, as an aware datetime or in seconds since the epoch.

    Example:
        >>> clock = FakeClock()
        >>> before = clock()
        >>> clock.advance(minutes=5) - before
        300.0
    """

    def __init__(self, start: datetime | float = START) -> None:
        self._lock = mutex()
        self._now = _instant(start)

    def __call__(self) -> float:
        return self._now

    def __repr__(self) -> str:
        return f"FakeClock({self._now!r})"

    def advance(self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0) -> float:
        """Move on and return the new instant, in seconds since the epoch.

        Raises:
            ValueError: the sum is negative or not finite; to go back, say so with `set`.
        """
        step = seconds + 60.0 * minutes + 3_600.0 * hours + 86_400.0 * days
        if not math.isfinite(step) or step < 0.0:
            raise ValueError(f"advance({step!r} seconds): a clock goes forward. To set it back, call set(instant).")
        with self._lock:
            self._now += step
            return self._now

    def set(self, instant: datetime | float) -> float:
        """Set the clock, back included, and return the new instant.

        Raises:
            ValueError: it is a datetime without a time zone, or no finite number.
        """
        now = _instant(instant)
        with self._lock:
            self._now = now
        return now


def _instant(given: datetime | float) -> float:
    if isinstance(given, datetime):
        if given.tzinfo is None:
            raise ValueError(f"{given!r} has no time zone: give an aware datetime, or seconds since the epoch.")
        return given.timestamp()
    number = float(given)
    if not math.isfinite(number):
        raise ValueError(f"{given!r} is no instant: give an aware datetime, or seconds since the epoch.")
    return number
