"""The least that could be called a session check, by hand: what is left of our work when all that only we do is left out.

Whatever ends sessions when it should must find its cookies, look up what they stand for (in this process, or by one GET),
compare a deadline with the clock, and keep the response out of shared caches. This does that and nothing else: no rule, no
route, no token that is verified, no end that anybody hears of. What it adds to a bare app is the part of a bar that no
implementation can be under, measured in the same run.
"""

from __future__ import annotations

import struct
import time

__all__ = ["COOKIES", "KEY", "SAYS", "Known", "has_ended", "record"]

#: What a login sets: as many cookies of ours as a browser sends us, as long as ours.
COOKIES = tuple(
    f"{name}={'x' * length}; Path=/; Secure; HttpOnly; SameSite=Lax"
    for name, length in (("__Host-session", 81), ("__Host-session_jwt", 412))
)

#: What a response says to caches, as ASGI headers (L18).
SAYS = ((b"vary", b"Cookie"), (b"cache-control", b"private, no-cache"))

#: Under which key its record is in Redis.
KEY = "minimum-record"

_DEADLINE = struct.Struct("d")


def record(size: int) -> bytes:
    """Return what is kept in a store: a deadline, an hour from now, in so many bytes."""
    return _DEADLINE.pack(time.time() + 3600).ljust(size, b"\0")


def has_ended(held: bytes | None) -> bool:
    """Say whether a record is not there or its deadline has passed."""
    return held is None or time.time() >= _DEADLINE.unpack_from(held)[0]


class Known:
    """What is kept in memory: for each Cookie header the deadline of whoever sends it."""

    def __init__(self) -> None:
        self._deadlines: dict[object, float] = {}

    def is_signed_in(self, cookie: object) -> bool:
        """Say whether this Cookie header belongs to a session that has not ended; a new one begins a session."""
        deadline = self._deadlines.get(cookie)
        if deadline is None and cookie:
            deadline = self._deadlines[cookie] = time.time() + 3600
        return deadline is not None and time.time() < deadline
