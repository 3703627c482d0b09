"""What a store promises, as protocols; the comments here are the specification that `testing.StoreContract` runs.

A complete store of your own:

    from session_middleware.core.lifetime import Touch
    from session_middleware.core.record import SessionRecord

    class DictStore:
        short_calls = frozenset({"create", "load", "touch", "save", "renew", "end", "list"})

        def __init__(self):
            self.rows = {}

        def create(self, record):
            if self.rows.setdefault(record.key, record) is not record:
                raise KeyError("this key is held")

        def load(self, key):
            return self.rows.get(key)

        def _alive(self, key):
            record = self.rows.get(key)
            return record if record is not None and record.ended_at is None else None

        def touch(self, key, touch):
            record = self._alive(key)
            if record is not None:
                record = self.rows[key] = touch.applied(record)
            return record

        def save(self, record):
            held = self._alive(record.key)
            if held is None or held.revision != record.revision:
                return None
            held = self.rows[record.key] = saved(held, record)
            return held

        def renew(self, key, generation, to, at):
            record = self._alive(key)
            if record is None or record.generation != generation:
                return None
            record = self.rows[key] = renewed(record, to, at)
            return record

        def end(self, key, reason, at, keep_until):
            record = self._alive(key)
            if record is None:
                return False
            self.rows[key] = record.ended(reason, at, keep_until)
            return True

        def list(self, handle, now):
            return [r for r in self.rows.values() if handle in r.handles and r.ended_at is None and now < r.keep_until]

(One process, one thread; a real one holds a lock around each method, or lets its server do the comparison.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

from session_middleware.core.lifetime import Touch, recorded_end
from session_middleware.core.record import SessionRecord

__all__ = [
    "AddsOnce",
    "Announcements",
    "Announces",
    "AnnouncesIf",
    "AsyncStore",
    "Caches",
    "Caps",
    "EndsBefore",
    "Prunes",
    "ReadsAhead",
    "Recognises",
    "SeesWrites",
    "Store",
    "Walks",
    "renewed",
    "saved",
    "to_evict",
]

R = TypeVar("R", bound=SessionRecord)


class Store(Protocol):
    """A store whose calls block. Promises, for every method:

    * A store judges nothing (no verdict, no clock): it returns what it holds; `core/lifetime.py` decides.
    * "Alive" means: held and `ended_at` is None. Only `create` makes a row, only `end` ends one, nothing revives one:
      touch, save and renew are "update only if alive", decided and written in one step, also between processes (L13).
    * Missing and ended are not errors. An exception means a fault of the system and nothing else, or
      `RecordUnreadable` where the bytes under the key are no record; then the bytes stay as they are.
    * After `now >= record.keep_until` (of the record as last written) the store may drop it at any time.
    * Handles are opaque. Fields a record carries in `extra` come back unchanged.
    * After `create` or `end` has returned, a crash of the process loses neither; `create` and `end` use the strongest
      durability the store has. What it cannot promise stands in its docstring.

    Attributes:
        short_calls: names of methods that are short and local, so that an asynchronous app may call them on its event
            loop; the others run in a worker thread there. Measured, not guessed: a thread costs about 130 us.
    """

    short_calls: frozenset[str]

    def create(self, record: SessionRecord) -> None:
        """Keep a new record, durably. Its key is random: a key that is held already is a fault."""
        ...

    def load(self, key: bytes) -> SessionRecord | None:
        """Return what is held under the key, ended records included, or None."""
        ...

    def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        """Apply `touch` (see `Touch.applied`) if alive and return the record as it now stands, else None.

        Two touches in either order leave the later times, unless `exact`. Moves neither generation nor revision (L14).
        """
        ...

    def save(self, record: SessionRecord) -> SessionRecord | None:
        """Replace the body if alive and still at `record.revision`; return the record as it now stands, else None.

        The revision goes up by one. The pulse (see `SessionRecord`) and handles stay as the store holds them (L14).
        """
        ...

    def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        """If alive and at `generation`, set generation to `to`, renewed_at to `at`, presented_at to None (L11).

        Returns the record as it now stands; None if ended, missing or at another generation. Of many callers one wins.
        """
        ...

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        """End the session, durably, keeping only `SessionRecord.ended(...)` of it (L13, L16).

        Returns True if it was alive. Ending what has ended or is missing returns False and changes nothing.
        """
        ...

    def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        """Return the live records that carry the handle, in any order; may skip rows with `now >= keep_until`."""
        ...


class AsyncStore(Protocol):
    """The same promises as `Store`, for a store whose calls are awaited."""

    async def create(self, record: SessionRecord) -> None: ...
    async def load(self, key: bytes) -> SessionRecord | None: ...
    async def touch(self, key: bytes, touch: Touch) -> SessionRecord | None: ...
    async def save(self, record: SessionRecord) -> SessionRecord | None: ...
    async def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None: ...
    async def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool: ...
    async def list(self, handle: str, now: float) -> Sequence[SessionRecord]: ...


# --- optional powers: small protocols, asked for with isinstance --------------------------------------------------


@runtime_checkable
class Recognises(Protocol):
    """A store that can say cheaply, without blocking and without I/O over a network, that nothing has changed."""

    def holds(self, record: SessionRecord) -> bool:
        """Return True only if a `load` of the record's key, now, would return exactly this record, alive.

        The record is one that this store returned earlier. False is always allowed; so is raising, which counts as a
        fault of the store.
        """
        ...


@runtime_checkable
class EndsBefore(Protocol):
    """A store that can end every session begun before an instant in constant time (an epoch)."""

    def end_before(self, instant: float, at: float) -> None:
        """From now on every record with `authenticated_at < instant` counts as ended, reason "revoked", at `at`.

        load returns such records with `ended_at` set; touch, save and renew find them not alive; list leaves them out.
        An earlier instant than one given before changes nothing.
        """
        ...


@runtime_checkable
class AddsOnce(Protocol):
    """A store that can take note of a value exactly once (state, jti, challenges)."""

    def add_once(self, key: str, until: float, now: float) -> bool:
        """Return True for the first caller with this key, False for others until `until` has passed."""
        ...


@runtime_checkable
class Prunes(Protocol):
    """A store that sweeps rubbish itself, a little at each create, and on request.

    At a create it takes `renewed_at` of the new record for the time, which is when that was made; `last_seen_at` may come from
    a clock that is ahead, and would sweep away sessions of others that are alive (L1).
    """

    def prune(self, now: float, limit: int = 1000) -> int:
        """Delete at most `limit` records with `now >= keep_until`; return how many were deleted."""
        ...


@runtime_checkable
class Caps(Protocol):
    """A store that can hold a subject to a number of sessions, exactly, also between processes (ASVS 7.1.2)."""

    def create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        """Do what `create` does, unless that would leave more than `most` live records with this handle.

        Alive are here those of `list` whose `lifetime.recorded_end` lies after `now`. The record
        carries the handle. Of many callers at once no more succeed than there is room for. A record that an `end_before` has
        ended as it begins takes up no room: it is created, and nobody is ended for it.

        Args:
            record: the new one.
            handle: whose records are counted.
            most: at least 1.
            evict: True: make room by ending the oldest (by `authenticated_at`) as `end(key, "revoked", now, keep_until)`
                does; False: create nothing where there is no room.
            now: the engine's, seconds since the epoch.
            keep_until: of the records ended here.

        Returns:
            The records that were ended, as they were before; None: nothing was created.
        """
        ...


@runtime_checkable
class Walks(Protocol):
    """A store that can be read from end to end, so that sessions can be moved out of it (`stores/moving.py`)."""

    def walk(self, after: bytes | None, limit: int) -> tuple[Sequence[bytes], bytes | None]:
        """Return some keys of what is held, alive, ended or unreadable, and where to go on; None at the end.

        Every record that is held from the first call to the last is found at least once; one that comes or goes
        meanwhile may be missing. A batch may be larger or smaller than `limit`, and empty before the end.

        Args:
            after: None to begin, then what the call before returned.
            limit: about how many keys to return, from 1 up.
        """
        ...


@runtime_checkable
class Caches(Protocol):
    """A store whose `load` may answer with a record that has been written to elsewhere a moment ago.

    What it answers is never older than its stated lease. The engine asks again with `reload` before it refuses anybody
    and before it sets a cookie (L11, L13).
    """

    def reload(self, key: bytes) -> SessionRecord | None:
        """Do what `load` does, from the place where the record is written."""
        ...


class Announcements(Protocol):
    """A connection on which a store says which records were written, by anybody, in any process."""

    def ask(self) -> None:
        """Send a question, without waiting; its answer proves that every announcement made before it has arrived."""
        ...

    def receive(self, seconds: float) -> tuple[Sequence[bytes], int]:
        """Wait at most so long; return the keys of records that may have changed, and how many questions were answered.

        Both since the last call, and in that order: the keys were announced before the answers. The key b"" stands for
        all records. Raises where the connection is lost.
        """
        ...

    def close(self) -> None:
        """Close the connection; a `receive` in another thread returns or raises."""
        ...


@runtime_checkable
class Announces(Protocol):
    """A store that can announce changes, for a near cache. Both forms of a store give the blocking listener."""

    def announcements(self) -> Announcements:
        """Open a connection of its own. Every write that begins after this has returned is announced on it."""
        ...


@runtime_checkable
class AnnouncesIf(Protocol):
    """A store that announces only where it was set up so; a near cache asks before it relies on it."""

    def check_announces(self) -> None:
        """Raise SettingsError, with the way out, where `announcements` could never open a connection."""
        ...


@runtime_checkable
class SeesWrites(Protocol):
    """A store that can say at next to no cost whether anybody, in any process, may have written since it was last asked."""

    def version(self) -> object:
        """Return something that equals an earlier answer only if nothing was written between the two."""
        ...


@runtime_checkable
class ReadsAhead(Protocol):
    """A store that announces, and whose `load` may for a while build on an `end_before` that it has read earlier."""

    def read_anew(self) -> None:
        """From now on build on nothing read before: every `load` that begins after this knows what was announced."""
        ...


def saved(held: SessionRecord, new: SessionRecord) -> SessionRecord:
    """Return the record after `save`: the new body with the held pulse and handles, one revision on."""
    return new.evolve(
        last_seen_at=held.last_seen_at,
        inactivity_deadline=held.inactivity_deadline,
        keep_until=held.keep_until,
        renewed_at=held.renewed_at,
        generation=held.generation,
        presented_at=held.presented_at,
        handles=held.handles,
        revision=held.revision + 1,
    )


def renewed(held: SessionRecord, to: int, at: float) -> SessionRecord:
    """Return the record after `renew`."""
    return held.evolve(generation=to, renewed_at=at, presented_at=None)


def to_evict(listed: Sequence[R], most: int, now: float) -> list[R]:
    """Return those that `create_capped` ends to make room for one more, oldest first; none where there is room.

    Args:
        listed: what `list` returns for the handle.
        most: as for `create_capped`.
        now: as for `create_capped`.
    """
    alive = sorted(
        (record for record in listed if now < recorded_end(record)), key=lambda record: record.authenticated_at
    )
    return alive[: max(0, len(alive) + 1 - most)]
