"""For how long each record could not be read: a part of a store can be down by itself, as a master of a Cluster (L17)."""

from __future__ import annotations

from collections.abc import Callable

from session_middleware.core.lifetime import Outage
from session_middleware.runtime import drop_oldest

__all__ = ["KEPT", "Outages"]

#: Records of which this is kept; of more, the oldest are forgotten.
KEPT = 10_000


class Outages:
    """What one process knows of them.

    Args:
        clock: the engine's.

    Attributes:
        since: records that cannot be read, and since when.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.since: dict[bytes, float] = {}
        self._over: dict[bytes, Outage] = {}  # the last time of those that can be again

    def failed(self, key: bytes) -> None:
        """Take note that a record could not be read."""
        if key not in self.since:
            _make_room(self.since)
            self.since[key] = self._clock()

    def has_been_read(self, key: bytes) -> None:
        """Take note that a record has been read."""
        since = self.since.pop(key, None)
        if since is not None:
            _make_room(self._over)
            self._over[key] = Outage(since, self._clock())

    def of(self, key: bytes, whole: Outage | None) -> Outage | None:
        """Return the last time during which a record could not be read, by itself or with all others.

        Args:
            key: the record's.
            whole: the last time during which the store could not be reached at all.
        """
        own = self._over.get(key)
        if own is None or whole is None:
            return own or whole
        if own.until < whole.since or whole.until < own.since:
            return own if own.until > whole.until else whole
        return Outage(min(own.since, whole.since), max(own.until, whole.until))


def _make_room(kept: dict[bytes, object] | dict[bytes, float] | dict[bytes, Outage]) -> None:
    if len(kept) >= KEPT:
        drop_oldest(kept)
