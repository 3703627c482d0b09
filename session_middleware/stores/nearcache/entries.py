"""What a near cache holds: records, and what is under way to the store and may not be held when it comes back."""

from __future__ import annotations

from collections.abc import Callable

from session_middleware.core.record import SessionRecord
from session_middleware.runtime import mutex
from session_middleware.stores.line import NEVER

__all__ = ["Entries", "Fill"]


class Fill:
    """A call to the store under way, whose answer may be held unless something was announced meanwhile."""

    __slots__ = ("epoch", "spoilt")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.spoilt = False


class Entries:
    """Records by their keys, believed until `_open_until`, which whoever listens moves on.

    Args:
        most: how many records are held; the one that came from the store longest ago goes first. About 3 KiB each (measured).
        monotonic: seconds of a clock that is never set.
    """

    def __init__(self, most: int, monotonic: Callable[[], float]) -> None:
        self._most = most
        self._monotonic = monotonic
        self._hits = self._misses = 0
        self._epoch = 0  # moved whenever everything is forgotten

    def _begin(self) -> None:
        """Hold nothing, at first or in a forked child."""
        self._mutex = mutex()
        self._entries: dict[bytes, SessionRecord] = {}
        self._filling: dict[bytes, list[Fill]] = {}
        self._epoch += 1
        self._open_until = NEVER

    def holds(self, record: SessionRecord) -> bool:
        """Say whether a load would return exactly this record; see `Recognises`."""
        return self._entries.get(record.key) is record and self._monotonic() < self._open_until

    def held(self, key: bytes) -> SessionRecord | None:
        """Return what `load` would return without asking the store; None if it would ask."""
        record = self._entries.get(key)
        return record if record is not None and self._monotonic() < self._open_until else None

    def _found(self, key: bytes) -> SessionRecord | None:
        """Return the record that is held, if that may be believed."""
        record = self._entries.get(key)
        if record is not None and self._monotonic() < self._open_until:
            self._hits += 1
            return record
        self._misses += 1
        return None

    def _filled_by(self, key: bytes) -> Fill:
        """Take note, before the store is asked, that its answer is to be held."""
        with self._mutex:
            fill = Fill(self._epoch)
            self._filling.setdefault(key, []).append(fill)
            return fill

    def _fill(self, key: bytes, fill: Fill, record: SessionRecord | None, *, wrote: bool) -> None:
        """Hold what the store answered, unless something was announced, lost or written here since it was asked.

        Not every write is announced (`PostgresStore` keeps touches to itself), and answers may overtake each other on
        their way here; so what was asked before a write has returned is not held.
        """
        with self._mutex:
            fills = self._filling.get(key)
            if fills is not None and fill in fills:
                fills.remove(fill)
                if wrote:
                    for other in fills:
                        other.spoilt = True
                if not fills:
                    del self._filling[key]
            self._entries.pop(key, None)
            if (
                record is None
                or record.ended_at is not None
                or fill.spoilt
                or fill.epoch != self._epoch
                or self._monotonic() >= self._open_until
            ):
                return
            entries = self._entries
            if len(entries) >= self._most:
                del entries[next(iter(entries))]
            entries[key] = record

    def _forget(self, key: bytes) -> None:
        with self._mutex:
            self._entries.pop(key, None)
            for fill in self._filling.get(key, ()):
                fill.spoilt = True

    def _forget_all(self) -> None:
        with self._mutex:
            self._epoch += 1
            self._entries.clear()

    def _forget_rubbish(self, now: float) -> None:
        with self._mutex:
            for key in [key for key, record in self._entries.items() if record.keep_until <= now]:
                del self._entries[key]
