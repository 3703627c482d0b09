"""What a near cache holds, believed as long as the store's announcements are heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from session_middleware.core.record import SessionRecord
from session_middleware.stores.base import Announcements
from session_middleware.stores.line import Line
from session_middleware.stores.nearcache.entries import Entries

__all__ = ["Listening"]


class Listening(Entries, Line):
    """Entries that forget what was announced, and are believed for a lease at a time.

    Args:
        store: a store that can announce changes.
        lease: seconds for which an answer of the server keeps the cache open.
        most: as for `Entries`.
        monotonic: as for `Entries`.
    """

    def __init__(self, store: Any, *, lease: float, most: int, monotonic: Callable[[], float]) -> None:
        # Any: Store | AsyncStore, with Announces
        Entries.__init__(self, most, monotonic)
        Line.__init__(self, store, lease=lease, monotonic=monotonic)

    def _begin(self) -> None:
        Line._begin(self)
        Entries._begin(self)

    def announcements(self) -> Announcements:
        """Hand on the store's own."""
        line: Announcements = self.store.announcements()
        return line

    def _found(self, key: bytes) -> SessionRecord | None:
        record = Entries._found(self, key)
        if record is None and not self._listening:
            self.listen()
        return record

    def _changed(self, key: bytes) -> None:
        self._forget(key)
        Line._changed(self, key)

    def _everything(self) -> None:
        self._forget_all()
        Line._everything(self)
