"""What a process could not tell its store: kept, counted as if it were written, and written as soon as that can be (L17)."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from session_middleware.core.lifetime import Outage, Touch
from session_middleware.core.provider import lasting, mark_of
from session_middleware.core.record import SessionRecord
from session_middleware.errors import RecordUnreadable, StoreUnavailable
from session_middleware.reach.at_work import AtWork
from session_middleware.reach.breaker import LeftAlone
from session_middleware.reach.calls import ALONE, Calls, NotAsked, NotReadable, key_in
from session_middleware.reach.outages import Outages
from session_middleware.reach.retrying import RETRY_INTERVAL, Retrying
from session_middleware.runtime import Runtime, drop_oldest

__all__ = ["CAUGHT_UP", "Reach"]


def _nothing_held(key: bytes) -> SessionRecord | None:
    """Stand for the `held` of a store that is no cache."""
    return None


#: Touches kept while the store cannot be written to; more than this and the oldest are dropped.
KEPT_TOUCHES = 10_000

#: Ends of which this process remembers that it knows of them.
KEPT_ENDS = 10_000

#: Writes that one request makes up for, which whoever made it waits for.
CAUGHT_UP = 64


class Reach(Calls):
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
        super().__init__(store, runtime=runtime, clock=clock, announce=announce)
        self._held: Callable[[bytes], SessionRecord | None] = getattr(store, "held", _nothing_held)
        self._retention = retention
        self._lifetime = lifetime
        self._outages = Outages(clock)  # of single records
        self.unsaved: dict[bytes, Touch] = {}  # touches the store has not got yet
        self.unended: dict[bytes, tuple[str, float, float]] = {}  # ends the store has not got yet: this process knows
        #: Marks of ends at a provider that the store has not got yet (L24).
        self.unmarked: dict[bytes, SessionRecord] = {}
        self._owed: dict[str, dict[bytes, Any]] = {"mark": self.unmarked, "end": self.unended, "touch": self.unsaved}
        self.unseen: set[bytes] = set()  # keys in `unended` of which nobody knows on what provider session they stand
        #: Called with the key of a record that this process has written to, for its open connections.
        self.hearers: tuple[Callable[[bytes], None], ...] = ()
        self._retried_at = float("-inf")
        self._refused = ""  # the kind of what was owed and could not be written last time
        self._owed_pause_until = float("-inf")  # for what is owed, since that has: a part of the store may be well
        self._over: dict[bytes, None] = {}  # keys of sessions that this process has ended or found ended
        self._over_before = float("-inf")  # and of all that began earlier
        #: Ends and marks that no store can write, since what lies under their keys cannot be read; owed again once it can be.
        self._set_aside: dict[bytes, tuple[str, Any]] = {}
        self._catching_up = AtWork()
        self._retrying = Retrying(runtime, self._still_owes)

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

    async def load(self, key: bytes, *, anew: bool = False) -> SessionRecord | None:
        """Load a record as this process knows it: what it could not yet write is applied.

        Args:
            key: the record's.
            anew: from the place where it is written, past any cache.

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
                record = await self.read(method, key)
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

    def _has_been_read(self, key: bytes) -> None:
        """Take note of a record that could not be read, and can be."""
        self._outages.has_been_read(key)
        aside = self._set_aside.pop(key, None)
        if aside is not None:
            name, value = aside
            self._owed[name][key] = value
            self._retrying.begin()

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

    async def _write_mark(self, mark: SessionRecord) -> None:
        mark = lasting(mark, self._lifetime)
        touch = Touch(mark.last_seen_at, None, mark.keep_until)
        if await self._write("touch", mark.key, touch) is None:
            try:
                await self._write("create", mark)
            except Exception:
                if await self._write("touch", mark.key, touch) is None:  # else another process was first
                    raise

    async def _mark_unseen(self, key: bytes, at: float) -> None:
        """Mark the end of a session whose record nobody had read when it was ended: the store was down (L24)."""
        if key in self.unseen:
            held: SessionRecord | None = await self._call.load(key)
            mark = None if held is None or held.ended_at is not None else mark_of(held, at)
            if mark is not None:
                await self._write_mark(mark)
            self.unseen.discard(key)

    async def _write_late(self, key: bytes, touch: Touch) -> None:
        """Write a touch that is owed beside what other processes have written meanwhile."""
        held: SessionRecord | None = await getattr(self._call, "reload" if self.caches else "load")(key)
        if held is not None:
            await self._call.touch(key, touch.late(held))

    def _makes_up(self) -> bool:
        """Say whether a read that has succeeded is to write some of what is owed."""
        return bool(
            (self.unended or self.unsaved or self.unmarked)
            and (not self._is_stuck or self._clock() - self._retried_at >= RETRY_INTERVAL)
            and not self._pauses(self._pause_until)
            and not self._pauses(self._owed_pause_until)
        )

    async def catch_up(self, *, says: bool = True) -> None:
        """Write some of what the store has missed, marks and ends first; each is forgotten only once written.

        Some, since a request of somebody else waits for it; and one request at a time. What cannot be written goes behind the
        rest, and its kind behind the others, so that it does not keep them from being written.

        Args:
            says: whether a fault is announced: not each second anew, where nobody asked for anything.
        """
        if self._catching_up:
            return
        self._catching_up.begin()
        self._is_stuck, self._retried_at = False, self._clock()
        left, refused, self._refused = CAUGHT_UP, self._refused, ""
        try:
            for name in sorted(self._owed, key=refused.__eq__):
                for key, value in list(self._owed[name].items())[:left]:
                    left -= 1
                    if not await self._wrote(name, key, value, says):
                        self._is_stuck, self._refused = True, name
                        return
        finally:
            self._catching_up.end()

    async def _still_owes(self) -> bool:
        """Write some of what is owed and ask what is silent, and say whether there is more to do: touches can wait for a request."""
        if self.unended or self.unmarked:
            await self.catch_up(says=False)
        await self._ask_the_silent()
        return bool(self.unended or self.unmarked or self._outages.silent)

    def _went_silent(self, key: bytes) -> None:
        self._outages.failed(key, silent=True)
        self._retrying.begin()

    async def _ask_the_silent(self) -> None:
        """Ask whether what did not answer is back, so that it is known when it was (L17)."""
        load = self._call.reload if self.caches else self._call.load
        for key in list(self._outages.silent)[:CAUGHT_UP]:
            try:
                await load(key)
            except RecordUnreadable:
                self._outages.failed(key, silent=False)
            except Exception:
                self._outages.failed(key, silent=True)
                return
            else:
                self._has_been_read(key)
            if self.down_since is not None:
                self._came_back(self.down_since)

    async def _wrote(self, name: str, key: bytes, value: Any, says: bool) -> bool:  # Any: a mark, an end or a touch
        """Write one thing that is owed; False: the store is not to be asked for more now."""
        owed, began = self._owed[name], monotonic()
        try:
            if name == "mark":
                await self._write_mark(value)
            elif name == "end":
                await self._mark_unseen(key, value[1])
                await self._call.end(key, *value)
            else:
                await self._write_late(key, value)
        except LeftAlone:
            return False
        except RecordUnreadable as fault:
            self._fault(name, fault)
            if name != "touch":
                self._set_aside[key] = name, value
        except Exception as fault:
            if says:
                self._fault(name, fault)
            self._waited_in_vain(monotonic() - began)
            self._owed_pause_until = self._pause_until
            if owed.get(key) is value:
                owed[key] = owed.pop(key, value)
            return False
        if owed.get(key) is value:  # else more is owed meanwhile
            owed.pop(key, None)  # which another thread may have written too
        return True
