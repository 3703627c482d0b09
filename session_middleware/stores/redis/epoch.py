"""What a process knows of `end_before`: the instant, read again within a stated lease, at no cost to most loads."""

from __future__ import annotations

import time
from struct import Struct
from typing import Final

from session_middleware.core.record import SessionRecord
from session_middleware.errors import RecordUnreadable
from session_middleware.stores.redis.link import Answer, Link
from session_middleware.stores.redis.sending import value_of

__all__ = ["KnownEpoch"]

_LAYOUT: Final = Struct(">dd")


class KnownEpoch:
    """The instant before which all sessions have ended, and when that was said.

    Args:
        key: where it stands.
        lease: seconds for which what was read counts.
    """

    def __init__(self, key: bytes, lease: float) -> None:
        self.key = key
        self._lease = lease
        self._said = (float("-inf"), 0.0)
        self._due = -1.0  # when somebody is to read it again; the others go on with what is known
        self._over = -1.0  # when what is known no longer counts
        self._doubted = float("-inf")  # what was asked before counts for nobody

    def is_known(self, now: float) -> bool:
        """Say whether what is known counts, and nobody is to ask again yet."""
        return now < self._due and now < self._over

    def asked(self, now: float) -> None:
        """Note that somebody asks, so that others need not: half a lease early, so that nobody has to wait."""
        self._due = now + self._lease / 2

    def doubt(self) -> None:
        """Let whoever wants to know it from now on ask; an answer on its way may be too old."""
        self._doubted = time.monotonic()
        self._over = -1.0

    async def instant(self, link: Link) -> float:
        """Return the instant, which is asked for if need be."""
        now = time.monotonic()
        if not self.is_known(now):
            may_wait = now < self._over
            if self._due <= now or not may_wait:
                self.asked(now)
                try:
                    self.answered(await link.get(self.key), now)
                except Exception:
                    if not may_wait:
                        raise
        return self._said[0]

    def answered(self, answer: Answer, asked: float) -> None:
        """Take note of what stands under the key.

        Args:
            answer: what Redis said.
            asked: when it was asked; the lease counts from there.

        Raises:
            RecordUnreadable: something else stands there.
        """
        answer = value_of(answer)
        if answer is not None:
            if not isinstance(answer, bytes) or len(answer) != _LAYOUT.size:
                raise RecordUnreadable(
                    f"What Redis holds under {self.key!r} is not the instant of end_before; something else wrote it. "
                    "Delete it, or give the store a prefix of its own."
                )
            found = _LAYOUT.unpack(answer)
            if found[0] > self._said[0]:  # an answer that another one has overtaken may be older
                self._said = found
        if asked < self._doubted:
            return
        self._due = max(self._due, asked + self._lease / 2)
        self._over = max(self._over, asked + self._lease)

    def after(self, record: SessionRecord) -> SessionRecord:
        """Return a record as `end_before` left it."""
        instant, at = self._said
        if record.authenticated_at < instant and record.ended_at is None:
            return record.ended("revoked", at, record.keep_until)
        return record

    @staticmethod
    def packed(instant: float, at: float) -> bytes:
        """Return what is stored."""
        return _LAYOUT.pack(instant, at)
