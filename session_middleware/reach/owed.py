"""Reach: the store as the engine asks it. What it could not be told is kept, and counts here as if it were written (L17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from session_middleware.core.lifetime import Outage, Touch
from session_middleware.core.record import SessionRecord
from session_middleware.errors import RecordUnreadable, StoreUnavailable
from session_middleware.reach.breaker import LeftAlone
from session_middleware.reach.calls import ALONE, NotAsked, NotReadable, key_in
from session_middleware.reach.making_up import MakingUp
from session_middleware.runtime import Runtime, drop_oldest

__all__ = ["Reach"]


def _nothing_held(key: bytes) -> SessionRecord | None:
    """Stand for the `held` of a store that is no cache."""
    return None


#: Touches kept while the store cannot be written to; more than this and the oldest are dropped.
KEPT_TOUCHES = 10_000

#: Ends of which this process remembers that it knows of them.
KEPT_ENDS = 10_000


class Reach(MakingUp):
    """Calls a store and remembers what it could not be told.

    Args:
        store: a `Store`, or an `AsyncStore` in an asynchronous app.
        runtime: how blocking calls are waited for.
        clock: the engine's.
        retention: seconds for which an ended record is kept.
        announce: called with the name of an event and its detail.
        lifetime: seconds of the longest life that the settings give a session.
    """

    def __init__(
        self,
        store: Any,  # Store | AsyncStore
        *,
        runtime: Runtime,
        clock: Callable[[], float],
        retention: float,
        announce: Callable[[str, dict[str, str]], None],
        lifetime: float = 0.0,
    ) -> None:
        super().__init__(store, runtime=runtime, clock=clock, announce=announce, lifetime=lifetime)
        self._held: Callable[[bytes], SessionRecord | None] = getattr(store, "held", _nothing_held)
        self._retention = retention
        #: Called with the key of a record that this process has written to, for its open connections.
        self.hearers: tuple[Callable[[bytes], None], ...] = ()
        self._over: dict[bytes, None] = {}  # keys of sessions that this process has ended or found ended
        self._over_before = float("-inf")  # and of all that began earlier

    @property
    def is_well(self) -> bool:
        """Whether the store answered last time and is owed no end."""
        return self.down_since is None and not self.unended

    def has_ended(self, key: bytes) -> bool:
        """Say whether this process knows that a session is over, also while the store cannot be asked (L13, L17)."""
        return key in self._over or key in self.unended or key in self._set_aside

    def is_over(self, record: SessionRecord) -> bool:
        """Say the same of a record that was read earlier, of which an end by date is known as well."""
        return self.has_ended(record.key) or record.authenticated_at < self._over_before

    def outage_of(self, key: bytes) -> Outage | None:
        """Return the last time during which a record could not be read, by itself or with all others (L17)."""
        return self._outages.of(key, self.outage)

    def _is_over(self, key: bytes) -> None:
        if len(self._over) >= KEPT_ENDS:
            self._over = dict.fromkeys(list(self._over)[KEPT_ENDS // 2 :])
        self._over[key] = None

    async def load(self, key: bytes, *, anew: bool = False, at_once: bool = False) -> SessionRecord | None:
        """Load a record as this process knows it: what it could not yet write is applied.

        Args:
            key: the record's.
            anew: from the place where it is written, past any cache.
            at_once: as in `read`.

        Raises:
            StoreUnavailable: the store failed, or holds something unreadable under this key.
        """
        owed_end, owed = self.unended.get(key), self.unsaved.get(key)  # the read may write them after it has read
        record: SessionRecord | None = None
        method = "reload" if anew and self.caches else "load"
        if self.caches and not anew and (self.down_since is not None or self._reads.faults):
            record, method = self._held(key), "reload"  # what is held says nothing of the store behind the cache
        if record is None:
            try:  # here, since each coroutine on the way of a read costs a microsecond (measured)
                record = await self.read(method, key, at_once=at_once)
            except NotReadable:
                self._outages.failed(key, silent=False)
                raise
            except StoreUnavailable:
                self._went_silent(key)
                raise
            if self._outages.since or self._set_aside:
                self._has_been_read(key)
        if record is None:
            return None
        if record.ended_at is not None:
            self._is_over(key)
            return record
        owed_end = self.unended.get(key, owed_end)
        if owed_end is not None:
            return record.ended(*owed_end)
        owed = self.unsaved.get(key, owed)
        return owed.late(record).applied(record) if owed is not None and record.ended_at is None else record

    def as_known(self, record: SessionRecord) -> SessionRecord:
        """Return a live record with the touch that the store has not got yet."""
        owed = self.unsaved.get(record.key)
        return record if owed is None else owed.late(record).applied(record)

    async def write(self, method: str, *args: Any) -> Any:  # Any: the store's methods, by name
        """Call a method that writes; where it succeeds, what was owed is written too.

        Raises:
            StoreUnavailable: it raised.
        """
        owed = self.unsaved.get(args[0]) if method == "touch" else None
        try:
            answer = await self._write(method, *args)
        except LeftAlone:
            raise NotAsked(ALONE) from None
        except RecordUnreadable as fault:
            raise self.unreadable(method, args[0], fault) from None
        except Exception as fault:
            raise self._fault(method, fault) from fault
        if owed is not None and self.unsaved.get(args[0]) is owed:
            # The one just written was made of it, and may have set an earlier deadline (L7). Another thread may have forgotten it.
            self.unsaved.pop(args[0], None)
        if method == "end_before":
            self._over_before = max(self._over_before, args[0])
        elif method == "create_capped":
            for evicted in answer or ():
                self._is_over(evicted.key)
                self._tell("end", (evicted.key,))
        if self.hearers:
            self._tell(method, args)
        if (self.unended or self.unsaved or self.unmarked) and not self._pauses(self._owed_pause_until):
            await self.catch_up()
        return answer

    def _tell(self, method: str, args: tuple[Any, ...]) -> None:
        """Tell open connections of a write; b"" stands for any record."""
        key = b"" if method == "end_before" else key_in(args[0])
        if isinstance(key, bytes):  # else it is none of a session: `add_once`, `prune`
            for hear in self.hearers:
                hear(key)

    async def create(self, method: str, record: SessionRecord, *args: Any) -> Any:  # Any: as in `write`
        """Store a new record; where that fails and it may be there all the same, it is ended as soon as that can be.

        Nobody has its token; but it would be one of the user's places (`max_sessions`), and stand in every list.

        Args:
            method: which of the store's methods.
            record: the record, whose key nobody else can have stored.
            args: what else the method takes.

        Raises:
            StoreUnavailable: it could not be stored.
        """
        may_be_there = True
        try:
            answer = await self.write(method, record, *args)
            may_be_there = False
        except NotAsked:
            may_be_there = False
            raise
        finally:  # also where it is cancelled with its request
            if may_be_there:
                now = self._clock()
                self._owe_end(record.key, "abandoned", now, now + self._retention)
        return answer

    async def touch(self, record: SessionRecord, touch: Touch) -> SessionRecord | None:
        """Write a touch; where that fails keep it, and go on as if it were written. None: the session has ended."""
        try:
            if self._pauses(self._pause_until):
                raise StoreUnavailable(ALONE)
            touched: SessionRecord | None = await self.write("touch", record.key, touch)
        except StoreUnavailable:
            if len(self.unsaved) >= KEPT_TOUCHES:
                drop_oldest(self.unsaved)
            self.unsaved[record.key] = touch
            return touch.applied(record)
        return touched

    async def end(
        self,
        key: bytes,
        reason: str,
        at: float,
        now: float,
        *,
        mark: SessionRecord | None = None,
        unseen: bool = False,
    ) -> bool | None:
        """End a session; where that fails this process treats it as ended and retries.

        Args:
            key: the record's.
            reason: why.
            at: the instant of the end.
            now: the request's.
            mark: what takes note of it on the provider session that it stands on.
            unseen: whether it is over for good and its record could not be read: once it can be, its mark is left too.

        Returns:
            Whether it was alive; None: not stored yet.
        """
        keep = now + self._retention
        self._is_over(key)
        self.unsaved.pop(key, None)
        was_alive: bool | None = None
        try:
            if mark is not None:
                await self.mark(mark)  # before the end: a crash between them leaves a mark too many, not one too few
            was_alive = bool(await self.write("end", key, reason, at, keep))
        except StoreUnavailable:
            pass
        finally:  # also where it is cancelled with its request: whether it has been written cannot be known then
            if was_alive is None:
                self._owe_end(key, reason, at, keep)
                if unseen:
                    self.unseen.add(key)
        return was_alive

    def _owe_end(self, key: bytes, reason: str, at: float, keep: float) -> None:
        self.unended[key] = (reason, at, keep)
        self._tell("end", (key,))  # what is known to be over goes on nowhere here, whoever else announces writes
        self._retrying.begin()

    async def end_now(self, key: bytes, reason: str, now: float) -> bool:
        """End a session that must be stored as ended before this returns; True if it was alive.

        Raises:
            StoreUnavailable: it could not be stored.
        """
        self._is_over(key)
        return bool(await self.write("end", key, reason, now, now + self._retention))

    async def mark(self, mark: SessionRecord) -> None:
        """Take note that what stands on a provider session has ended; where that fails, as soon as the store answers."""
        owed = self.unmarked.get(mark.key) or self._set_aside.pop(mark.key, ("", None))[1]
        if owed is None or owed.last_seen_at < mark.last_seen_at:
            owed = mark
        self.unmarked[mark.key] = owed
        try:  # this one alone: what else is owed may be owed to a part of the store that is silent
            if not await self._wrote("mark", mark.key, owed, says=True):
                self._retried_at = self._clock()
        finally:
            if self.unmarked:
                self._retrying.begin()

    async def ended_at_provider(self, mark_key: bytes, now: float) -> float | None:
        """Return when what stood on a provider session ended, if it did.

        Raises:
            StoreUnavailable: the store failed.
        """
        owed = self.unmarked.get(mark_key)
        held = await self.load(mark_key, anew=True)  # which may write it, or find that it can be
        marks = (owed, held, self.unmarked.get(mark_key))
        ends = [mark.last_seen_at for mark in marks if mark is not None and now < mark.keep_until]
        return max(ends, default=None)
