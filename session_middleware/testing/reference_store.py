"""The store that others are compared with: the one of `stores/base.py`'s docstring, with every power."""

from __future__ import annotations

from collections.abc import Sequence

from session_middleware.core.lifetime import Touch, recorded_end
from session_middleware.core.record import SessionRecord
from session_middleware.stores.base import renewed, saved

__all__ = ["ReferenceStore"]


class ReferenceStore:
    """A dict. One thread; it drops nothing unless told to."""

    short_calls = frozenset({"create", "load", "touch", "save", "renew", "end", "list"})

    def __init__(self) -> None:
        self.rows: dict[bytes, SessionRecord] = {}
        self.epoch: tuple[float, float] | None = None
        self.once: dict[str, float] = {}

    def create(self, record: SessionRecord) -> None:
        if record.key in self.rows:
            raise KeyError("a session with this key exists")
        self.rows[record.key] = record

    def load(self, key: bytes) -> SessionRecord | None:
        record = self.rows.get(key)
        if record is not None and record.ended_at is None and self.epoch is not None:
            instant, at = self.epoch
            if record.authenticated_at < instant:
                return record.ended("revoked", at, record.keep_until)
        return record

    def alive(self, key: bytes) -> SessionRecord | None:
        """Return the record if it has not ended."""
        record = self.load(key)
        return record if record is not None and record.ended_at is None else None

    def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        record = self.alive(key)
        if record is not None:
            record = self.rows[key] = touch.applied(record)
        return record

    def save(self, record: SessionRecord) -> SessionRecord | None:
        held = self.alive(record.key)
        if held is None or held.revision != record.revision:
            return None
        held = self.rows[record.key] = saved(held, record)
        return held

    def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        record = self.alive(key)
        if record is None or record.generation != generation:
            return None
        record = self.rows[key] = renewed(record, to, at)
        return record

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        record = self.alive(key)
        if record is None:
            return False
        self.rows[key] = record.ended(reason, at, keep_until)
        return True

    def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        alive = (self.alive(key) for key in self.rows)
        return [record for record in alive if record and handle in record.handles and now < record.keep_until]

    def create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        alive = [other for other in self.list(handle, now) if recorded_end(other) > now]
        if self.epoch is not None and record.authenticated_at < self.epoch[0]:
            alive = []  # it takes up no room
        evicted: list[SessionRecord] = []
        while len(alive) - len(evicted) >= most:
            if not evict:
                return None
            evicted.append(min((o for o in alive if o not in evicted), key=lambda other: other.authenticated_at))
        self.create(record)
        for other in evicted:
            self.end(other.key, "revoked", now, keep_until)
        return evicted

    def end_before(self, instant: float, at: float) -> None:
        if self.epoch is None or instant > self.epoch[0]:
            self.epoch = (instant, at)

    def add_once(self, key: str, until: float, now: float) -> bool:
        if key in self.once and now < self.once[key]:
            return False
        self.once[key] = until
        return True

    def prune(self, now: float, limit: int = 1000) -> int:
        rubbish = [key for key, record in self.rows.items() if now >= record.keep_until][:limit]
        for key in rubbish:
            del self.rows[key]
        return len(rubbish)

    def walk(self, after: bytes | None, limit: int) -> tuple[Sequence[bytes], bytes | None]:
        keys = sorted(key for key in self.rows if after is None or key > after)
        return keys[:limit], keys[limit - 1] if len(keys) > limit else None
