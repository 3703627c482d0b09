"""How many replicas follow a master, as it says itself; believed for a while, until one of them is late."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["KnownReplicas"]

#: Seconds for which it is believed.
_KNOWN: Final = 10.0


class KnownReplicas:
    """What masters have said."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[int, float]] = {}  # by the master's name: how many, and until when that counts

    def of(self, master: str) -> int | None:
        """Return how many replicas a master has; None where it is to be asked."""
        found = self._of.get(master)
        return found[0] if found is not None and time.monotonic() < found[1] else None

    def said(self, master: str, told: Mapping[str, Any]) -> int:
        """Take note of what a master answers to INFO replication, and return how many replicas can confirm a write.

        One that is still copying cannot: nobody is to wait for it.
        """
        online = [each for each in told.values() if isinstance(each, Mapping) and each.get("state") == "online"]
        return self.take(master, len(online))

    def take(self, master: str, count: int) -> int:
        """Take note of a count, and return it."""
        self._of[master] = (count, time.monotonic() + _KNOWN)
        return count

    def doubt(self) -> None:
        """Believe nothing of it any more."""
        self._of = {}
