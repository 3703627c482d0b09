"""What an authority promises; the specification that `testing.AuthorityContract` runs."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from session_middleware.core.record import SessionRecord

__all__ = ["Alive", "Authority", "Vouch"]


class Alive(enum.Enum):
    """What an authority knows of a session."""

    ALIVE = "alive"
    GONE = "gone"  # proof that it ended: the record is ended too
    UNKNOWN = "unknown"  # it could not find out: the session is UNAVAILABLE, never a logout (L17)


@dataclass(frozen=True, slots=True)
class Vouch:
    """An authority's answer about one session."""

    alive: Alive


class Authority(Protocol):
    """Who is asked, after the record has been judged ACTIVE, whether the user may still be signed in (L8).

    An authority answers with values and performs no login. An exception counts as `Alive.UNKNOWN`.

    Attributes:
        name: kept in each record it stands behind.
        verify_interval: seconds for which an answer holds in one process; 0 asks on each request, None never asks.
    """

    name: str
    verify_interval: float | None

    async def verify(self, record: SessionRecord, now: float) -> Vouch:
        """Say whether the session of this record may live on. Never raises for a user who is gone."""
        ...
