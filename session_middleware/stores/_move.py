"""How one session moves from a store to another while it is used: every state on the way, and who may leave it.

A session is always in exactly one place, and which one the *old* store says, in one row, by one write:

    old store                       new store               where the session is
    1 alive                         -                       old
    2 alive, marked                 -                       old; its body is frozen
    3 alive, marked                 parked                  old
    4 ended, reason "moved"         parked                  new: whoever comes by completes it
    5 ended, reason "moved"         there                   new
    6 ended, any other reason       perhaps parked          nowhere: dead wins (L13)
    7 -                             there or not            new

* Marking is a `save`, so it moves the revision: a claims write that was begun before is refused by the old store and tries
  again (L14), one begun after carries the mark and goes to the new store. So nothing can be written to the body between
  its copy and the end. What arrives has the revision from before the mark, so a move is no write.
* Touches and renewals still go to the old row until it ends, and the ended row keeps them: what arrives is the parked
  body with the pulse of the ended row.
* The parked copy stands under a key that belongs to no token, so a logout that reaches the old row first is final
  whatever the mover does next, and if it stops there for ever.
* Arriving is a `create`: of many who complete a move one succeeds, and none can bring back what has ended since.

Every step may be repeated by anybody, so a crash between two of them loses nothing.

The mark of an end at a provider (L24) is no session and moves in its own way: see `_move_marks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from session_middleware.core.lifetime import Touch, recorded_end
from session_middleware.core.provider import is_mark
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.errors import SessionError
from session_middleware.runtime import Runtime, bind
from session_middleware.stores._move_marks import MOVED, Marks

__all__ = ["ALREADY_THERE", "METHODS", "MOVED", "Move", "is_parked"]

#: In `extra` of a record in the old store: its body is frozen. Never taken away again.
_MARK: Final = "moving"

#: In `extra` of a record in the new store: it is no session but the body of one that is on its way.
_PARKED: Final = "parked"

#: The code of the error that says that a session cannot be moved.
ALREADY_THERE: Final = "already_there"

METHODS: Final = (
    *("create", "create_capped", "load", "touch", "save", "renew", "end", "list"),
    *("end_before", "add_once", "prune", "walk", "check", "close"),
)


class Move:
    """The methods of a store over two, of which sessions move from one to the other.

    Args:
        old: where sessions were made until now; a `Store`, or an `AsyncStore` in an asynchronous app.
        new: where they go; the same.
        create_in_new: where logins are made.
        runtime: how blocking calls are waited for.

    Raises:
        SettingsError: a store is asynchronous and the app is not.
    """

    def __init__(self, old: Any, new: Any, *, create_in_new: bool, runtime: Runtime) -> None:  # Any: as said
        self.old, self.new = bind(old, METHODS, runtime), bind(new, METHODS, runtime)
        self._create_in_new = create_in_new
        self._marks = Marks(self.old, self.new, _already_there)

    # --- the promises of stores/base.py -----------------------------------------------------------------------------

    async def create(self, record: SessionRecord) -> None:
        await (self.new if self._create_in_new else self.old).create(record)

    async def load(self, key: bytes) -> SessionRecord | None:
        return await self._followed(key, await self.old.load(key))

    async def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        return await self._written(key, "touch", key, touch)

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        if _MARK not in record.extra:
            return await self._written(record.key, "save", record)
        found = await self.load(record.key)  # completes the move
        if found is None or found.ended_at is not None:
            return None
        saved: SessionRecord | None = await self.new.save(_unmarked(record))
        return saved

    async def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        return await self._written(key, "renew", key, generation, to, at)

    async def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        if await self.old.end(key, reason, at, keep_until):
            return True  # it can never be said to have moved after this, so what is parked is nobody's
        left = await self.old.load(key)
        if not _is_gone(left):
            return False
        if left is not None:
            await self._arrived(left)  # else it could arrive after this end
        ended: bool = await self.new.end(key, reason, at, keep_until)
        if left is not None:
            await self._unpark(left)
        return ended

    async def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        # In the direction in which they move, so that none is on its way from where we look next to where we looked.
        found = {record.key: record for record in await self.old.list(handle, now)}
        for parked in await self.new.list(_parked_handle(handle), now):
            record = await self.load(bytes.fromhex(parked.extra[_PARKED]))
            if record is not None and record.ended_at is None and now < record.keep_until:
                found[record.key] = record
        found |= {record.key: record for record in await self.new.list(handle, now)}
        return [*found.values()]

    # --- optional powers --------------------------------------------------------------------------------------------

    async def create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        if not self._create_in_new and not await self._any_in_new(handle, now):
            answer: Sequence[SessionRecord] | None = await self.old.create_capped(
                record, handle, most, evict, now, keep_until
            )
            return answer
        # They can only be counted where they are all together.
        for held in await self.old.list(handle, now):
            await self.moved(held)
        await self.list(handle, now)  # completes what had left already and was on its way
        evicted: Sequence[SessionRecord] | None = await self.new.create_capped(
            record, handle, most, evict, now, keep_until
        )
        for one in evicted or ():
            left = await self.old.load(one.key)
            if left is not None:
                await self._unpark(left)
        return evicted

    async def end_before(self, instant: float, at: float) -> None:
        # The old one first: what leaves it before this is caught in the new one, parked or there.
        await self.old.end_before(instant, at)
        await self.new.end_before(instant, at)

    async def add_once(self, key: str, until: float, now: float) -> bool:
        # Every worker of two neighbouring deployments asks at least one store in common, and each has one first.
        return bool(await self.old.add_once(key, until, now) and await self.new.add_once(key, until, now))

    async def prune(self, now: float, limit: int = 1000) -> int:
        gone = 0
        for store in (self.old, self.new):
            if hasattr(store, "prune") and gone < limit:
                gone += await store.prune(now, limit - gone)
        return gone

    # --- moving -----------------------------------------------------------------------------------------------------

    async def moved(self, held: SessionRecord) -> SessionRecord | None:
        """Move a session that the old store holds alive; return what has become of it, as `load` does.

        Raises:
            SessionError: the new store holds another record under its key.
        """
        if is_mark(held):
            return await self._marks.moved(held)
        key = held.key
        while _MARK not in held.extra:
            if await self.new.load(key) is not None:
                again = await self.old.load(key)
                if again is not None and again.ended_at is None:
                    raise _already_there(held)
                return await self._followed(key, again)
            marked: SessionRecord | None = await self.old.save(held.evolve(extra={**held.extra, _MARK: 1}))
            if marked is None:  # written to meanwhile, ended, or moved by another
                marked = await self.old.load(key)
            if marked is None or marked.ended_at is not None:
                return await self._followed(key, marked)
            held = marked
        parked = _parked(held)
        try:
            await self._create_if_new(parked)
        except Exception:
            left = await self.old.load(key)
            if left is not None and left.ended_at is None:
                raise
            return await self._followed(key, left)  # another was so much faster that its copy is gone already
        won = await self.old.end(key, MOVED, held.last_seen_at, held.keep_until)
        left = await self.old.load(key)
        if won and left is not None:
            return await self._arrive(parked, left)
        found = await self._followed(key, left)
        await self.new.end(parked.key, MOVED, held.last_seen_at, held.last_seen_at)
        return found

    async def copied(self, ended: SessionRecord) -> bool:
        """Copy what is left of an ended session, so that its reason survives (L16); False: that was there."""
        await self._unpark(ended)
        if await self.new.load(ended.key) is not None:
            return False
        await self._create_if_new(ended)
        return True

    async def completed(self, left: SessionRecord) -> None:
        """Complete the move of a session that was left half-way."""
        if is_mark(left):
            await self._marks.tell(left)
            return
        await self._arrived(left)
        await self._unpark(left)

    # --- how --------------------------------------------------------------------------------------------------------

    async def _followed(self, key: bytes, held: SessionRecord | None) -> SessionRecord | None:
        """Return what a record of the old store has become."""
        if held is None:
            found: SessionRecord | None = await self.new.load(key)
            return found
        if is_mark(held):
            return await self._marks.later(held)
        if held.ended_at is None:
            return await self.moved(held) if _MARK in held.extra else held
        return await self._arrived(held) if held.end_reason == MOVED else held

    async def _written(self, key: bytes, method: str, *arguments: Any) -> SessionRecord | None:  # Any: of the method
        """Write to the session where it is; None: not alive, or not as the method wants it."""
        written: SessionRecord | None = await getattr(self.old, method)(*arguments)
        if written is None:
            left = await self.old.load(key)
            if _is_gone(left):
                if left is not None:
                    await self._arrived(left)
                written = await getattr(self.new, method)(*arguments)
        return written

    async def _arrived(self, left: SessionRecord) -> SessionRecord | None:
        """Return the record in the new store of what has left the old one; put it there if nobody has."""
        found: SessionRecord | None = await self.new.load(left.key)
        if found is None:
            parked = await self.new.load(_parked_key(left))
            if parked is not None and parked.ended_at is None:
                return await self._arrive(parked, left)
            found = await self.new.load(left.key)  # whoever has put it there has ended the parked copy since
        return found

    async def _arrive(self, parked: SessionRecord, left: SessionRecord) -> SessionRecord | None:
        await self._create_if_new(_arriving(parked, left))
        await self._unpark(left)
        found: SessionRecord | None = await self.new.load(left.key)  # as `end_before` has left it there
        return found

    async def _create_if_new(self, record: SessionRecord) -> None:
        """Create a record in the new store, unless another has been faster."""
        try:
            await self.new.create(record)
        except Exception:
            if await self.new.load(record.key) is None:
                raise

    async def _unpark(self, record: SessionRecord) -> None:
        """End the parked copy: it is rubbish from then on, and keeps nothing of the person (L16)."""
        await self.new.end(_parked_key(record), MOVED, record.last_seen_at, record.last_seen_at)

    async def _any_in_new(self, handle: str, now: float) -> bool:
        return bool(await self.new.list(_parked_handle(handle), now) or await self.new.list(handle, now))


def _already_there(held: SessionRecord) -> SessionError:
    return SessionError(
        f"The session {held.public_id} is alive in the old store, and the new one holds a record of it already: sessions have "
        "been moved the other way before. Move them to an empty store.",
        code=ALREADY_THERE,
    )


def _is_gone(left: SessionRecord | None) -> bool:
    """Say whether a session is the new store's, by what the old one holds."""
    return left is None or (left.ended_at is not None and left.end_reason == MOVED)


def _without(record: SessionRecord, name: str) -> dict[str, Any]:  # Any: as SessionRecord.extra
    return {key: value for key, value in record.extra.items() if key != name}


def _unmarked(marked: SessionRecord) -> SessionRecord:
    # At the revision before the mark, which wrote nothing else: whoever read that may write (L14).
    return marked.evolve(extra=_without(marked, _MARK), revision=marked.revision - 1)


def _parked_key(record: SessionRecord) -> bytes:
    # Of this revision: should somebody have gone back to the old store alone meanwhile, an older body is not taken.
    return sha256(b"moving\0%d\0" % record.revision + record.key).digest()


def _parked_handle(handle: str) -> str:
    return handle_of("moving", handle)


def _parked(marked: SessionRecord) -> SessionRecord:
    """Return what waits in the new store: nobody's session, on nobody's list."""
    unmarked = _unmarked(marked)
    return unmarked.evolve(
        key=_parked_key(marked),
        handles=tuple(_parked_handle(handle) for handle in marked.handles),
        extra={**unmarked.extra, _PARKED: marked.key.hex()},
    )


def _arriving(parked: SessionRecord, left: SessionRecord) -> SessionRecord:
    """Return the record that arrives: the parked body with the pulse that the old store was left with."""
    arriving = parked.evolve(
        key=left.key,
        handles=left.handles,
        extra=_without(parked, _PARKED),
        last_seen_at=left.last_seen_at,
        inactivity_deadline=left.inactivity_deadline,
        generation=left.generation,
        renewed_at=left.renewed_at,
        # An ended record does not say when its generation was first presented; the next request records it again.
        presented_at=parked.presented_at if left.generation == parked.generation else None,
    )
    later = recorded_end(arriving) - recorded_end(parked)
    return arriving.evolve(keep_until=parked.keep_until + later)


def is_parked(record: SessionRecord) -> bool:
    """Say whether a record is a body that an earlier move has left behind."""
    return _PARKED in record.extra
