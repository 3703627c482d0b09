"""What RedisStore and AsyncRedisStore do, written once over a link that blocks or is awaited."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from redis.exceptions import ResponseError

from session_middleware.core.lifetime import Touch, recorded_end
from session_middleware.core.record import SessionRecord
from session_middleware.errors import RecordUnreadable
from session_middleware.stores.redis import scripts
from session_middleware.stores.redis.epoch import KnownEpoch
from session_middleware.stores.redis.faults import EVICTS, FAULTS, Fault, unreachable
from session_middleware.stores.redis.link import Answer, Command, Link
from session_middleware.stores.redis.sending import Sending, value_of
from session_middleware.stores.redis.value import (
    INSTANT,
    entries_until,
    handles_in,
    packed_body,
    read,
    written,
)

__all__ = ["EPOCH", "RECORD", "RedisCalls"]

_log: Final = logging.getLogger("session_middleware")

#: What follows the prefix in a key: of a record, of a handle's entries, of a value added once; the epoch's whole.
RECORD: Final = b"r:"
_HANDLE: Final = b"h:"
_ONCE: Final = b"o:"
EPOCH: Final = b"epoch"

# The class below has a method called list.
_Commands = list[Command]
_Records = list[SessionRecord]
_Names = list[bytes]

_GLOB: Final = re.compile(rb"[\\*?\[\]^-]")

#: Seconds that a key stays beyond what its record asks for.
_MARGIN: Final = 3600.0
#: Seconds for which `create_capped` holds a place before its record is there.
_RESERVED: Final = 60

#: Records that a process keeps in mind as read, and bytes of the longest such.
_KNOWN: Final = 4096
_KNOWN_SIZE: Final = 4096


class RedisCalls:
    """The methods of a store.

    Args:
        link: returns how to reach Redis from here.
        prefix: begins every key.
        lease: seconds for which an epoch that was read counts.
        replicas: how many replicas are to confirm a durable write, where there are so many.
        replica_wait: seconds to wait for them; None: as `Sending`.
    """

    def __init__(
        self, link: Callable[[], Link], *, prefix: bytes, lease: float, replicas: int, replica_wait: float | None
    ) -> None:
        self._link = link
        self._record_prefix = prefix + RECORD
        self._prefix = prefix
        self._epoch = KnownEpoch(prefix + EPOCH, lease)
        self._sending = Sending(replicas=replicas, replica_wait=replica_wait)
        self._known: dict[bytes, tuple[bytes, SessionRecord]] = {}  # what values were last read as

    # --- the promises of stores/base.py -----------------------------------------------------------------------------

    @property
    def unconfirmed(self) -> int:
        """How many durable writes no replica confirmed in time."""
        return self._sending.unconfirmed

    async def create(self, record: SessionRecord) -> None:
        link, value = self._link(), written(record)
        entries = self._entries(record, value)
        commands: _Commands = [self._set(record, value)]
        if link.one_place:
            commands += entries
        # The record first: who crashes in between leaves a session whose token nobody has.
        answers = await self._sending.durably(link, self._key(record.key), commands)
        _check_new(answers[0])
        for answer in answers[1:]:
            value_of(answer)
        if not link.one_place:
            for entry in entries:
                await link.one(*entry)

    async def load(self, key: bytes) -> SessionRecord | None:
        link, name = self._link(), self._record_prefix + key
        now = time.monotonic()
        if self._epoch.is_known(now):
            value = await link.get(name)
        else:
            value = await self._load_with_epoch(link, name, now)
        if value is None:
            self._known.pop(key, None)
            return None
        known = self._known.get(key)
        # The same bytes are the same record; comparing them costs a hundredth of reading them.
        record = known[1] if known is not None and known[0] == value else self._read_and_know(key, value)
        return self._epoch.after(record)

    def _read_and_know(self, key: bytes, answer: Answer) -> SessionRecord:
        value = value_of(answer)
        record = read(key, value)
        if record.ended_at is not None:
            self._known.pop(key, None)  # nothing is kept of a session that has ended (L16)
        elif len(value) <= _KNOWN_SIZE:
            while len(self._known) >= _KNOWN:
                with contextlib.suppress(KeyError, RuntimeError, StopIteration):  # another thread was faster
                    del self._known[next(iter(self._known))]
            self._known.pop(key, None)
            self._known[key] = (value, record)
        return record

    async def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        link = self._link()
        deadline, generation, presented = touch.inactivity_deadline, touch.presented_generation, touch.presented_at
        answer = await self._sending.script(
            link,
            scripts.TOUCH,
            self._key(key),
            INSTANT.pack(await self._epoch.instant(link)),
            INSTANT.pack(touch.last_seen_at),
            b"" if deadline is None else INSTANT.pack(deadline),
            INSTANT.pack(touch.keep_until),
            b"1" if touch.exact else b"",
            b"" if generation is None else generation,
            b"" if presented is None else INSTANT.pack(presented),
        )
        if answer is None:
            return None
        record = read(key, answer)
        if record.keep_until > entries_until(answer):  # only where settings have grown by more than a week meanwhile
            for entry in self._entries(record, written(record)):
                await link.one(*entry)
        return record

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        link = self._link()
        core, rest = packed_body(record)
        head = await self._sending.script(
            link,
            scripts.SAVE,
            self._key(record.key),
            INSTANT.pack(await self._epoch.instant(link)),
            record.revision,
            INSTANT.pack(record.authenticated_at),
            core,
            rest,
        )
        return None if head is None else read(record.key, head + core + rest)

    async def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        link = self._link()
        epoch = INSTANT.pack(await self._epoch.instant(link))
        answer = await self._sending.script(
            link, scripts.RENEW, self._key(key), epoch, generation, to, INSTANT.pack(at)
        )
        return None if answer is None else read(key, answer)

    async def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        self._known.pop(key, None)
        return await self._end(self._link(), key, reason, at, keep_until, whole=False) is not None

    async def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        link = self._link()
        await self._epoch.instant(link)
        alive, stale = await self._alive_of(link, handle)
        if stale:
            await link.one("ZREM", self._handle(handle), *stale)
        return [record for record in alive if now < record.keep_until]

    # --- optional powers --------------------------------------------------------------------------------------------

    async def create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        # A place is reserved among the handle's entries, in one step and on one key, before the record is there; what
        # makes room for it is only marked, and ended once the record is there. Whoever finds itself marked by then,
        # by another login at the same time, ends itself.
        link, place = self._link(), self._handle(handle)
        if record.authenticated_at < await self._epoch.instant(link):
            await self.create(record)  # over as it begins: it takes up no room
            return []
        alive, stale = await self._alive_of(link, handle)
        counted = [one for one in alive if now < min(recorded_end(one), one.keep_until)]
        over = {one.key for one in alive} - {one.key for one in counted}
        oldest_first = [one.key for one in sorted(counted, key=lambda one: one.authenticated_at)]
        chosen: Answer = await self._sending.script(
            link,
            scripts.RESERVE,
            place,
            *(record.key, most, int(evict), _RESERVED, len(stale), len(over)),
            *(*stale, *over, *oldest_first),
        )
        if isinstance(chosen, int):
            if chosen:
                _check_new(None)
            return None
        try:
            value = written(record)
            _check_new((await self._sending.durably(link, self._key(record.key), [self._set(record, value)]))[0])
        except BaseException:
            with contextlib.suppress(Exception):  # then the marks run out by themselves
                await self._sending.script(link, scripts.RELEASE, place, record.key, *chosen)
            raise
        evicted: _Records = []
        for other in chosen[::2]:
            before = await self._end(link, other, "revoked", now, keep_until, whole=True)
            if before is not None:
                evicted.append(read(other, before))
        for entry in self._entries(record, value, besides=handle):
            await link.one(*entry)
        if not await link.one(*self._entry(handle, record, value, reserved=True)):
            before = await self._end(link, record.key, "revoked", now, keep_until, whole=True)
            if before is not None:
                evicted.append(read(record.key, before))
        return evicted

    async def end_before(self, instant: float, at: float) -> None:
        link, began = self._link(), time.monotonic()
        answer = await self._sending.durable_script(
            link, scripts.MOVE_EPOCH, self._epoch.key, self._epoch.packed(instant, at)
        )
        self._epoch.answered(answer, began)

    async def add_once(self, key: str, until: float, now: float) -> bool:
        name = self._prefix + _ONCE + sha256(key.encode("utf-8", "surrogatepass")).digest()[:16]
        arguments = (INSTANT.pack(until), INSTANT.pack(now))
        answer = await self._sending.durable_script(self._link(), scripts.ADD_ONCE, name, *arguments)
        return bool(answer == 1)

    def read_anew(self) -> None:
        """Build on no instant of `end_before` that was read before now."""
        self._epoch.doubt()

    async def _load_with_epoch(self, link: Link, name: bytes, now: float) -> Answer:
        if not link.one_place:
            await self._epoch.instant(link)
            return await link.get(name)
        self._epoch.asked(now)
        epoch, value = await link.values([self._epoch.key, name])
        self._epoch.answered(epoch, now)
        return value

    async def check(self) -> None:
        """See that every master can be reached, and warn where one may evict keys; one that may not be asked is let be.

        Raises:
            StoreUnavailable: one cannot be reached.
        """
        try:
            answers = await self._link().told_by_masters("INFO", "memory")
        except FAULTS as problem:
            raise unreachable(problem) from problem
        for told in answers:
            if isinstance(told, Fault) and not isinstance(told, ResponseError):
                raise unreachable(told) from told
            if isinstance(told, dict) and told.get("maxmemory") and told.get("maxmemory_policy") != "noeviction":
                _log.warning(EVICTS, told.get("maxmemory_policy"))
                return

    async def walk(self, after: bytes | None, limit: int) -> tuple[Sequence[bytes], bytes | None]:
        # A prefix is any text; what would mean something in a pattern is taken literally.
        literal = _GLOB.sub(rb"\\\g<0>", self._record_prefix)
        names, following = await self._link().scan(literal + b"*", after, limit)
        return [name.removeprefix(self._record_prefix) for name in names], following

    # --- how --------------------------------------------------------------------------------------------------------

    def _key(self, key: bytes) -> bytes:
        return self._record_prefix + key

    def _handle(self, handle: str) -> bytes:
        return self._prefix + _HANDLE + handle.encode("utf-8", "surrogatepass")

    def _set(self, record: SessionRecord, value: bytes) -> Command:
        # The TTL comes from the record's own times, since the caller's clock is not the server's (L16); not from
        # `last_seen_at`, which a clock that is ahead may have set (L1).
        kept = max(record.keep_until - (record.ended_at or record.renewed_at), 0.0) + _MARGIN
        return ("SET", self._key(record.key), value, "NX", "PX", int(min(kept, 1e11) * 1000))

    def _entries(self, record: SessionRecord, value: bytes, *, besides: str | None = None) -> _Commands:
        if record.ended_at is not None:
            return []
        return [self._entry(handle, record, value) for handle in record.handles if handle != besides]

    def _entry(self, handle: str, record: SessionRecord, value: bytes, *, reserved: bool = False) -> Command:
        seconds = int(max(entries_until(value) - record.renewed_at, 0.0) + _MARGIN)
        # By its text: it shares a trip with the record, and so must not fail where the server does not know it.
        return ("EVAL", scripts.ADD_ENTRY.text, 1, self._handle(handle), record.key, seconds, int(reserved))

    async def _alive_of(self, link: Link, handle: str) -> tuple[Sequence[SessionRecord], Sequence[bytes]]:
        """Return the live records of a handle, and the entries that have outlived theirs."""
        flat = await self._sending.script(link, scripts.ENTRIES, self._handle(handle))
        keys, scores = flat[::2], [float(score) for score in flat[1::2]]
        alive: _Records = []
        stale: _Names = []
        values = await link.values([self._key(key) for key in keys])
        for key, score, value in zip(keys, scores, values, strict=True):
            if value is None:
                if score >= 0:  # else it is reserved, and its record may be on the way
                    stale.append(key)
                continue
            try:
                record = self._epoch.after(read(key, value_of(value)))
            except RecordUnreadable:
                continue  # one damaged record does not keep a user from ending the others
            if record.ended_at is None and handle in record.handles:
                alive.append(record)
            else:
                stale.append(key)
        return alive, stale

    async def _end(
        self, link: Link, key: bytes, reason: str, at: float, keep_until: float, *, whole: bool
    ) -> bytes | None:
        """End a record if it is alive; return what stood before, or of that only what stands before the body."""
        before = await self._sending.durable_script(
            link,
            scripts.END,
            self._key(key),
            INSTANT.pack(await self._epoch.instant(link)),
            INSTANT.pack(at),
            INSTANT.pack(keep_until),
            reason,
            int(whole),
        )
        if before is None:
            return None
        held: bytes = before
        forget = [("ZREM", self._handle(handle), key) for handle in handles_in(held)]
        # The session has ended, so what goes wrong from here on must not say otherwise; a list forgets the entry later.
        with contextlib.suppress(Exception):
            if link.one_place and len(forget) > 1:
                await link.together(key, forget)
            else:
                for command in forget:
                    await link.one(*command)
        return held


def _check_new(answer: Answer) -> None:
    """Raise unless a SET NX has set something."""
    if not value_of(answer):
        raise KeyError("a session with this key exists; ids are random, so this is a fault")
