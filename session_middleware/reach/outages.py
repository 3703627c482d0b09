"""For how long each record could not be read: a part of a store can be down by itself, as a master of a Cluster (L17)."""

from __future__ import annotations

from collections.abc import Callable

from session_middleware.core.lifetime import Outage
from session_middleware.runtime import drop_oldest

__all__ = ["KEPT", "NOBODY", "Outages"]

#: The key of a record that is never there, by which a store can be asked whether it answers.
NOBODY = bytes(32)

#: Records of which this is kept; of more, the oldest are forgotten.
KEPT = 10_000


class Outages:
    """What one process knows of them.

    Args:
        clock: the engine's.

    Attributes:
        since: records that cannot be read, and since when.
        silent: those of them, or `NOBODY`, whose place in the store does not answer; they are asked for until it does, since an
            outage ends when it does and not when somebody comes by next.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.since: dict[bytes, float] = {}
        self.silent: dict[bytes, None] = {}
        self._over: dict[bytes, Outage] = {}  # the last time of those that can be again

    def failed(self, key: bytes, *, silent: bool) -> None:
        """Take note that a record could not be read, because its place in the store does not answer or for what it holds."""
        if key not in self.since:
            _make_room(self.since)
            self.since[key] = self._clock()
        self.silent.pop(key, None)  # it goes behind the others
        if silent:
            _make_room(self.silent)
            self.silent[key] = None

    def has_been_read(self, key: bytes) -> None:
        """Take note that a record has been read."""
        self.silent.pop(key, None)
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


def _make_room(kept: dict[bytes, None] | dict[bytes, float] | dict[bytes, Outage]) -> None:
    if len(kept) >= KEPT:
        drop_oldest(kept)
