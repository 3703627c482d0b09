"""MemoryStore: sessions in a dict of this process; gone when it stops, and not seen by another worker."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.runtime import mutex
from session_middleware.stores.base import renewed, saved, to_evict

__all__ = ["MemoryStore"]

#: Rubbish looked at per create, so that a store that only grows by logins also shrinks by them.
_SWEEP = 4


class MemoryStore:
    """Keeps records in this process. For one-process apps, tests and trying things out.

    Safe with threads and with any event loop. Durability: none, by nature: what the process forgets is signed out.
    """

    short_calls = frozenset(
        {
            *("create", "load", "touch", "save", "renew", "end", "list"),
            *("create_capped", "end_before", "add_once", "prune", "walk"),
        }
    )

    def __init__(self) -> None:
        self._lock = mutex()
        self._records: dict[bytes, SessionRecord] = {}
        self._current = self._records  # where what is found is as good as loaded; empty once there is an epoch
        self._by_handle: dict[str, set[bytes]] = {}
        self._rubbish: list[tuple[float, bytes]] = []  # a heap; an entry may be early, and is then put back
        self._ended_before: tuple[float, float] | None = None  # (instant, at)
        self._once: dict[str, float] = {}
        self._once_heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._records)

    def create(self, record: SessionRecord) -> None:
        with self._lock:
            self._create(record)

    def create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        with self._lock:
            evicted = [] if self._is_before_epoch(record) else to_evict(self._live(handle, now), most, now)
            if evicted and not evict:
                return None
            self._create(record)
            for old in evicted:
                self._end(old, "revoked", now, keep_until)
            return evicted

    def load(self, key: bytes) -> SessionRecord | None:
        record = self._records.get(key)
        if record is not None and self._ended_before is not None:
            return self._after_epoch(record)
        return record

    def holds(self, record: SessionRecord) -> bool:
        return self._current.get(record.key) is record and record.ended_at is None

    def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        with self._lock:
            record = self._alive(key)
            if record is not None:
                record = self._records[key] = touch.applied(record)
            return record

    def save(self, record: SessionRecord) -> SessionRecord | None:
        with self._lock:
            held = self._alive(record.key)
            if held is None or held.revision != record.revision:
                return None
            held = self._records[record.key] = saved(held, record)
            return held

    def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        with self._lock:
            record = self._alive(key)
            if record is None or record.generation != generation:
                return None
            record = self._records[key] = renewed(record, to, at)
            return record

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        with self._lock:
            record = self._alive(key)
            if record is None:
                return False
            self._end(record, reason, at, keep_until)
            return True

    def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        with self._lock:
            return self._live(handle, now)

    def end_before(self, instant: float, at: float) -> None:
        with self._lock:
            if self._ended_before is None or instant > self._ended_before[0]:
                self._ended_before = (instant, at)
                self._current = {}

    def add_once(self, key: str, until: float, now: float) -> bool:
        with self._lock:
            while self._once_heap and self._once_heap[0][0] <= now:
                _, old = heapq.heappop(self._once_heap)
                self._once.pop(old, None)
            if key in self._once:
                return False
            self._once[key] = until
            heapq.heappush(self._once_heap, (until, key))
            return True

    def prune(self, now: float, limit: int = 1000) -> int:
        with self._lock:
            gone = 0
            # A round may find only entries that were early and are put back; it has then made the way free.
            while gone < limit and self._rubbish and self._rubbish[0][0] <= now:
                gone += self._sweep(now, limit - gone)
            return gone

    def walk(self, after: bytes | None, limit: int) -> tuple[Sequence[bytes], bytes | None]:
        with self._lock:
            left = (key for key in self._records if after is None or key > after)
            keys = heapq.nsmallest(limit, left)
        return keys, keys[-1] if len(keys) == limit else None

    # --- under the lock ---------------------------------------------------------------------------------------------

    def _create(self, record: SessionRecord) -> None:
        if record.key in self._records:
            raise KeyError("a session with this key exists; ids are random, so this is a fault")
        self._sweep(record.renewed_at, _SWEEP)
        self._records[record.key] = record
        for handle in record.handles:
            self._by_handle.setdefault(handle, set()).add(record.key)
        heapq.heappush(self._rubbish, (record.keep_until, record.key))

    def _end(self, record: SessionRecord, reason: str, at: float, keep_until: float) -> None:
        self._records[record.key] = record.ended(reason, at, keep_until)
        heapq.heappush(self._rubbish, (keep_until, record.key))

    def _live(self, handle: str, now: float) -> Sequence[SessionRecord]:
        found = (self._alive(key) for key in self._by_handle.get(handle, ()))
        return [record for record in found if record is not None and now < record.keep_until]

    def _alive(self, key: bytes) -> SessionRecord | None:
        record = self.load(key)
        return record if record is not None and record.ended_at is None else None

    def _is_before_epoch(self, record: SessionRecord) -> bool:
        return self._ended_before is not None and record.authenticated_at < self._ended_before[0]

    def _after_epoch(self, record: SessionRecord) -> SessionRecord:
        if record.ended_at is None and self._is_before_epoch(record):
            assert self._ended_before is not None
            return record.ended("revoked", self._ended_before[1], record.keep_until)
        return record

    def _sweep(self, now: float, limit: int) -> int:
        gone = 0
        for _ in range(limit):
            if not self._rubbish or self._rubbish[0][0] > now:
                break
            _, key = heapq.heappop(self._rubbish)
            record = self._records.get(key)
            if record is None:
                continue
            if now < record.keep_until:
                heapq.heappush(self._rubbish, (record.keep_until, key))
                continue
            del self._records[key]
            for handle in record.handles:
                keys = self._by_handle.get(handle)
                if keys is not None:
                    keys.discard(key)
                    if not keys:
                        del self._by_handle[handle]
            gone += 1
        return gone
