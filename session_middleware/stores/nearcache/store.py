"""NearCache and AsyncNearCache: a store with what was read near; what an operator wants to know of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError
from session_middleware.runtime import is_awaited
from session_middleware.stores.base import Announces, AnnouncesIf, AsyncStore, Store
from session_middleware.stores.nearcache.listening import Listening

__all__ = ["AsyncNearCache", "NearCache", "NearCacheState", "near_cache"]


@dataclass(frozen=True, slots=True)
class NearCacheState:
    """What an operator wants to know of a near cache, in this process.

    Attributes:
        open: whether a hit counts now.
        entries: how many records are held.
        lag: seconds between the last question and its answer on the line that carries the announcements: how late a
            revocation elsewhere arrives here. None before the first answer.
        worst_lag: the longest of the last 256 of these.
        lost: how often the line was lost.
        hits: loads answered from here. Requests for which nothing was due at all are not loads and not counted.
        misses: loads that went to the store.
    """

    open: bool
    entries: int
    lag: float | None
    worst_lag: float | None
    lost: int
    hits: int
    misses: int


class _Held(Listening):
    """What both forms share: what may be given to them, the store's own powers, and the operator's figures.

    Args:
        store: a store that can announce changes.
        lease: seconds for which an answer of the server keeps the cache open; a revocation elsewhere is seen here no
            later than that, whatever happens to the line.
        most: how many records are held; the one that came from the store longest ago goes first. About 3 KiB each (measured).
        monotonic: seconds of a clock that is never set.

    Raises:
        SettingsError: the store is of the other form or cannot announce changes, or nonsense in the rest.
    """

    short_calls: frozenset[str] = frozenset()
    _awaited: ClassVar[bool]

    def __init__(
        self,
        store: Any,  # Store | AsyncStore, with Announces
        *,
        lease: float = 2.0,
        most: int = 50_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(store, Announces):
            raise SettingsError(
                "store",
                type(store).__name__,
                "cannot announce changes, so that what is held near could be stale.",
                "Give a store in Redis or PostgreSQL; MemoryStore and SQLiteStore are near already.",
            )
        if isinstance(store, AnnouncesIf):
            store.check_announces()
        if is_awaited(store) is not self._awaited:
            raise SettingsError(
                "store",
                type(store).__name__,
                "blocks." if self._awaited else "is awaited.",
                f"Give it to {'NearCache' if self._awaited else 'AsyncNearCache'}.",
            )
        if isinstance(lease, bool) or not isinstance(lease, (int, float)) or not 0.1 <= lease <= 60:
            raise SettingsError("lease", lease, "is no sensible lease.", "Give seconds from 0.1 to 60.")
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise SettingsError("most", most, "is no number of records.", "Give a whole number from 1 up.")
        super().__init__(store, lease=lease, most=most, monotonic=monotonic)
        for name in ("add_once", "end_before", "create_capped", "prune"):
            if hasattr(store, name):  # a store without a power must not seem to have it
                setattr(self, name, getattr(self, f"_{name}", None) or getattr(store, name))

    @property
    def state(self) -> NearCacheState:
        """What an operator wants to know."""
        lags = list(self._lags)
        return NearCacheState(
            open=self._monotonic() < self._open_until,
            entries=len(self._entries),
            lag=lags[-1] if lags else None,
            worst_lag=max(lags, default=None),
            lost=self._lost,
            hits=self._hits,
            misses=self._misses,
        )


class NearCache(_Held):
    """A near cache before a blocking store, for synchronous apps and for asynchronous ones alike.

        store = NearCache(RedisStore.from_url("redis://localhost"))

    Each process has its own, with one thread that listens, started at the first load and again after a fork.
    """

    store: Store
    _awaited = False

    def create(self, record: SessionRecord) -> None:
        self.store.create(record)

    def load(self, key: bytes) -> SessionRecord | None:
        return self._found(key) or self.reload(key)

    def reload(self, key: bytes) -> SessionRecord | None:
        """Load past the cache; see `Caches`."""
        return self._through(key, self.store.load, key)

    def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        return self._through(key, self.store.touch, key, touch)

    def save(self, record: SessionRecord) -> SessionRecord | None:
        return self._through(record.key, self.store.save, record)

    def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        return self._through(key, self.store.renew, key, generation, to, at)

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        self._forget(key)
        try:
            return self.store.end(key, reason, at, keep_until)
        finally:
            self._forget(key)

    def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        return self.store.list(handle, now)

    def _end_before(self, instant: float, at: float) -> None:
        try:
            self.store.end_before(instant, at)  # type: ignore[attr-defined]  # bound only where it is
        finally:
            self._forget_all()

    def _create_capped(self, *arguments: Any) -> Sequence[SessionRecord] | None:  # Any: as Caps.create_capped
        ended: Sequence[SessionRecord] | None = self.store.create_capped(*arguments)  # type: ignore[attr-defined]
        for record in ended or ():
            self._forget(record.key)
        return ended

    def _prune(self, now: float, limit: int = 1000) -> int:
        count: int = self.store.prune(now, limit)  # type: ignore[attr-defined]  # bound only where it is
        self._forget_rubbish(now)  # which is not announced
        return count

    def _through(
        self, key: bytes, call: Callable[..., SessionRecord | None], *arguments: Any
    ) -> SessionRecord | None:  # Any: those of the store's method
        fill = self._filled_by(key)
        record = None
        try:
            record = call(*arguments)
        finally:
            self._fill(key, fill, record, wrote=call != self.store.load)
        return record

    def close(self) -> None:
        """Stop listening, and close the store."""
        self.stop()
        close: Callable[[], None] | None = getattr(self.store, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> NearCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncNearCache(_Held):
    """A near cache before a store whose calls are awaited.

        store = AsyncNearCache(AsyncRedisStore.from_url("redis://localhost"))

    Its thread listens for all event loops of the process.
    """

    store: AsyncStore
    _awaited = True

    async def create(self, record: SessionRecord) -> None:
        await self.store.create(record)

    async def load(self, key: bytes) -> SessionRecord | None:
        return self._found(key) or await self.reload(key)

    async def reload(self, key: bytes) -> SessionRecord | None:
        """Load past the cache; see `Caches`."""
        return await self._through(key, self.store.load, key)

    async def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        return await self._through(key, self.store.touch, key, touch)

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        return await self._through(record.key, self.store.save, record)

    async def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        return await self._through(key, self.store.renew, key, generation, to, at)

    async def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        self._forget(key)
        try:
            return await self.store.end(key, reason, at, keep_until)
        finally:
            self._forget(key)

    async def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        return await self.store.list(handle, now)

    async def _end_before(self, instant: float, at: float) -> None:
        try:
            await self.store.end_before(instant, at)  # type: ignore[attr-defined]  # bound only where it is
        finally:
            self._forget_all()

    async def _create_capped(self, *arguments: Any) -> Sequence[SessionRecord] | None:  # Any: as Caps.create_capped
        ended: Sequence[SessionRecord] | None = await self.store.create_capped(*arguments)  # type: ignore[attr-defined]
        for record in ended or ():
            self._forget(record.key)
        return ended

    async def _prune(self, now: float, limit: int = 1000) -> int:
        count: int = await self.store.prune(now, limit)  # type: ignore[attr-defined]  # bound only where it is
        self._forget_rubbish(now)  # which is not announced
        return count

    async def _through(
        self, key: bytes, call: Callable[..., Any], *arguments: Any
    ) -> SessionRecord | None:  # Any: those of the store's method
        fill = self._filled_by(key)
        record: SessionRecord | None = None
        try:
            record = await call(*arguments)
        finally:
            self._fill(key, fill, record, wrote=call != self.store.load)
        return record

    async def close(self) -> None:
        """Stop listening, and close the store."""
        self.stop()
        close = getattr(self.store, "close", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> AsyncNearCache:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def near_cache(store: Any, **options: Any) -> NearCache | AsyncNearCache:
    """Put a near cache before a store of either form.

    Args:
        store: a store that can announce changes.
        options: `lease` and `most`, as for `NearCache`.

    Raises:
        SettingsError: the store cannot announce changes, or nonsense in the rest.
    """
    return (AsyncNearCache if is_awaited(store) else NearCache)(store, **options)
