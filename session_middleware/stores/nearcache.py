"""NearCache: records that this process has read, held until the server says that they changed.

A hit costs no round trip. What makes that safe is the lease: a hit counts only while the listener has had an answer, on
the connection that carries the announcements, to a question it asked less than `lease` seconds ago. All that was written
before that question has been heard of by then. When the line is lost, or the server falls silent, the lease runs out,
every call goes to the store, and nothing held before is believed again.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Final

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SessionError, SettingsError
from session_middleware.runtime import Flag, beside, is_awaited, mutex
from session_middleware.stores.base import Announcements, Announces, AsyncStore, ReadsAhead, Store

__all__ = ["AsyncNearCache", "NearCache", "NearCacheState", "near_cache"]

_log = logging.getLogger("session_middleware")

#: Seconds between attempts to listen again.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0

#: Questions asked within one lease, so that one late answer does not close the cache.
_QUESTIONS: Final = 4

_NEVER: Final = float("-inf")


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


class _Fill:
    """A call to the store under way, whose answer may be held unless something was announced meanwhile."""

    __slots__ = ("epoch", "spoilt")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.spoilt = False


class _Held:
    """What both forms share: the entries, and the thread that listens.

    Args:
        store: a store that can announce changes.
        lease: seconds for which an answer of the server keeps the cache open; a revocation elsewhere is seen here no
            later than that, whatever happens to the line.
        most: how many records are held; the oldest goes first. About 3 KiB each (measured).
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
        self.store: Any = store
        self.lease = lease
        self._most = most
        self._monotonic = monotonic
        self._lost = self._hits = self._misses = 0
        self._lags: deque[float] = deque(maxlen=256)
        self._epoch = 0  # moved whenever everything is forgotten
        self._line: Announcements | None = None
        self._begin()
        for name in ("add_once", "end_before", "create_capped", "prune"):
            if hasattr(store, name):  # a store without a power must not seem to have it
                setattr(self, name, getattr(self, f"_{name}", None) or getattr(store, name))
        if hasattr(os, "register_at_fork"):
            this = weakref.ref(self)  # what is registered there stays for ever
            os.register_at_fork(after_in_child=lambda: _begin_anew(this()))

    def _begin(self) -> None:
        self._mutex = mutex()
        self._entries: dict[bytes, SessionRecord] = {}
        self._filling: dict[bytes, list[_Fill]] = {}
        self._epoch += 1
        self._open_until = _NEVER
        self._inherited, self._line = self._line, None  # kept, since dropping it might close what is the parent's
        self._listening = False
        self._closed = Flag()

    # --- what the engine asks ------------------------------------------------------------------------------------

    def holds(self, record: SessionRecord) -> bool:
        """Say whether a load would return exactly this record; see `Recognises`."""
        return self._entries.get(record.key) is record and self._monotonic() < self._open_until

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

    def announcements(self) -> Announcements:
        """Hand on the store's own."""
        line: Announcements = self.store.announcements()
        return line

    def stop(self) -> None:
        """Stop listening, and forget everything."""
        self._closed.set()
        if self._line is not None:
            _close(self._line)  # else the listener would notice only at its next question
        self._open_until = _NEVER
        self._forget_all()

    # --- entries ---------------------------------------------------------------------------------------------------

    def _found(self, key: bytes) -> SessionRecord | None:
        """Return the record that is held, if that may be believed."""
        record = self._entries.get(key)
        if record is not None and self._monotonic() < self._open_until:
            self._hits += 1
            return record
        self._misses += 1
        if not self._listening:
            self._listen_beside()
        return None

    def _filled_by(self, key: bytes) -> _Fill:
        """Take note, before the store is asked, that its answer is to be held."""
        with self._mutex:
            fill = _Fill(self._epoch)
            self._filling.setdefault(key, []).append(fill)
            return fill

    def _fill(self, key: bytes, fill: _Fill, record: SessionRecord | None, *, wrote: bool) -> None:
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

    # --- listening ---------------------------------------------------------------------------------------------------

    def _listen_beside(self) -> None:
        with self._mutex:
            if self._listening or self._closed.is_set():
                return
            self._listening = True
        try:
            beside(self._listen, "session near cache")
        except RuntimeError:  # no thread is to be had now; the next miss tries again
            self._listening = False

    def _listen(self) -> None:
        """Listen until stopped; where the line is lost, open another."""
        pause = _FIRST_PAUSE
        while not self._closed.is_set():
            try:
                opened: Announcements = self.store.announcements()
                self._line = opened
                self._all_may_differ()  # nothing held until now was watched
                self._hear(opened)
            except Exception as fault:
                if self._open_until != _NEVER:
                    pause = _FIRST_PAUSE  # it has worked
                if not self._closed.is_set():
                    self._note(fault, logging.WARNING if pause == _FIRST_PAUSE else logging.DEBUG)
            finally:
                self._open_until = _NEVER
                self._forget_all()
                line, self._line = self._line, None
                if line is not None:
                    _close(line)
            self._closed.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _note(self, fault: Exception, level: int) -> None:
        self._lost += 1
        said = (
            str(fault) if isinstance(fault, SessionError) else type(fault).__name__
        )  # ours name the fix and no secret
        _log.log(level, "The near cache cannot listen (%s); every call goes to the store.", said)

    def _all_may_differ(self) -> None:
        """Forget everything, and what the store itself has read ahead before that: new reads must not build on it."""
        if isinstance(self.store, ReadsAhead):
            self.store.read_anew()
        self._forget_all()

    def _hear(self, line: Announcements) -> None:
        """Listen until the line is lost or the server silent for a lease; raises then."""
        asked: deque[float] = deque()
        due = _NEVER
        while not self._closed.is_set():
            now = self._monotonic()
            if now >= due:
                line.ask()
                asked.append(now)
                due = now + self.lease / _QUESTIONS
            keys, answered = line.receive(max(0.0, due - self._monotonic()))
            for key in keys:
                if key:
                    self._forget(key)
                else:
                    self._all_may_differ()
            now = self._monotonic()
            for _ in range(answered):
                then = asked.popleft()
                self._lags.append(now - then)
                self._open_until = then + self.lease  # after what was announced before has been forgotten
            if asked and now - asked[0] > self.lease:
                raise TimeoutError("the server does not answer")


def _begin_anew(held: _Held | None) -> None:
    # In a forked child: the thread that listens stayed behind, with the connection, which is the parent's to close.
    if held is not None:
        stopped = held._closed.is_set()
        held._begin()
        if stopped:
            held._closed.set()


def _close(line: Announcements) -> None:
    try:
        line.close()
    except Exception as fault:  # it was lost anyway
        _log.debug("Closing the lost line: %s", type(fault).__name__)


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
