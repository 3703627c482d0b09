"""MovingStore: two stores as one while sessions move from the old to the new, so that outgrowing a machine signs nobody out.

    store = MovingStore(SQLiteStore("sessions.db"), RedisStore.from_url("redis://localhost"))

How to deploy it, step by step, is in docs/moving.md; why it is right, in `_move.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SessionError, SettingsError
from session_middleware.runtime import LoopRuntime, Runtime, ThreadRuntime, run_sync
from session_middleware.stores._move import ALREADY_THERE, MOVED, Move, is_parked

__all__ = ["AsyncMovingStore", "Moved", "MovingStore"]


@dataclass(frozen=True, slots=True)
class Moved:
    """What one batch of a move did.

    Attributes:
        moved: how many live sessions are in the new store now and were not before.
        ended: how many ended records were copied.
        before: how many had been moved or copied before.
        failed: what could not be moved and why, a line each.
        next: what to give to the next call; None: that was all.
    """

    moved: int
    ended: int
    before: int
    failed: tuple[str, ...]
    next: bytes | None


class _Two:
    """What both forms share."""

    #: Two stores are asked, one of which lies across a network.
    short_calls: frozenset[str] = frozenset()

    def __init__(self, old: Any, new: Any, *, create_in_new: bool = False) -> None:  # Any: Store | AsyncStore
        if old is new:
            raise SettingsError("new", type(new).__name__, "is the old store.", "Give another one.")
        for name, store in (("old", old), ("new", new)):
            if hasattr(store, "reload"):
                raise SettingsError(
                    name,
                    type(store).__name__,
                    "may answer with what was moved or ended a moment ago.",
                    "Give the store without its near cache (no near_cache= in its URL); put that back when the move is over.",
                )
        self.old, self.new = old, new
        self._move = Move(old, new, create_in_new=create_in_new, runtime=self._runtime())
        for name in ("create_capped", "end_before", "add_once"):  # a power that one lacks is none
            if hasattr(old, name) and hasattr(new, name):
                setattr(self, name, getattr(self, f"_{name}"))
        if hasattr(old, "prune") or hasattr(new, "prune"):
            setattr(self, "prune", getattr(self, "_prune"))  # noqa: B009, B010  # each form has its own

    def _runtime(self) -> Runtime:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.old!r} to {self.new!r}>"

    async def _of_both(self, method: str) -> None:
        for store in (self._move.old, self._move.new):
            if hasattr(store, method):
                await getattr(store, method)()

    async def _some_moved(self, after: bytes | None, limit: int, now: float) -> Moved:
        if not hasattr(self.old, "walk"):
            raise SettingsError(
                "old", type(self.old).__name__, "cannot be read from end to end.", "Give it the method walk; see Walks."
            )
        keys, following = await self._move.old.walk(after, limit)
        moved = ended = before = 0
        failed: list[str] = []
        for key in keys:
            try:
                record: SessionRecord | None = await self._move.old.load(key)
                if record is None or now >= record.keep_until or is_parked(record):
                    continue
                if record.ended_at is None:
                    await self._move.moved(record)
                    moved += 1
                elif record.end_reason == MOVED:
                    await self._move.completed(record)
                    before += 1
                elif await self._move.copied(record):
                    ended += 1
                else:
                    before += 1
            except SessionError as problem:
                if problem.code not in ("record_unreadable", ALREADY_THERE):
                    raise
                failed.append(str(problem))
        return Moved(moved, ended, before, tuple(failed), following)


class MovingStore(_Two):
    """Two blocking stores as one, for synchronous apps and for asynchronous ones alike.

    It keeps every promise of a store, with as much durability as the weaker of the two. A session that has moved costs
    two reads instead of one, and nothing is recognised without a read, until the new store is used alone.

    Args:
        old: where sessions were made until now.
        new: where they go. It must not be one that sessions have been moved out of before.
        create_in_new: where logins are made. First False in all processes, then True in all, then the new store alone.

    Raises:
        SettingsError: a store cannot be used here.

    Example:
        >>> from session_middleware.stores.memory import MemoryStore
        >>> MovingStore(MemoryStore(), MemoryStore()).load(b"no such key") is None
        True
    """

    def _runtime(self) -> Runtime:
        return ThreadRuntime()

    def __enter__(self) -> MovingStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close both stores."""
        run_sync(self._of_both("close"))

    def check(self) -> None:
        """See that both can be used, where they can say so."""
        run_sync(self._of_both("check"))

    def move_some(self, after: bytes | None, limit: int, now: float) -> Moved:
        """Move some sessions, and copy what is left of ended ones; may be repeated, and run while both are used.

        Args:
            after: None to begin, then what the call before returned as `next`.
            limit: about how many records to look at.
            now: seconds since the epoch; what is rubbish by then is left behind.

        Raises:
            SettingsError: the old store cannot be read from end to end.
            Exception: a store failed; what was moved stays moved, and the call may be repeated.
        """
        return run_sync(self._some_moved(after, limit, now))

    # --- the promises of stores/base.py -----------------------------------------------------------------------------

    def create(self, record: SessionRecord) -> None:
        run_sync(self._move.create(record))

    def load(self, key: bytes) -> SessionRecord | None:
        return run_sync(self._move.load(key))

    def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        return run_sync(self._move.touch(key, touch))

    def save(self, record: SessionRecord) -> SessionRecord | None:
        return run_sync(self._move.save(record))

    def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        return run_sync(self._move.renew(key, generation, to, at))

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        return run_sync(self._move.end(key, reason, at, keep_until))

    def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        return run_sync(self._move.list(handle, now))

    def _create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        return run_sync(self._move.create_capped(record, handle, most, evict, now, keep_until))

    def _end_before(self, instant: float, at: float) -> None:
        run_sync(self._move.end_before(instant, at))

    def _add_once(self, key: str, until: float, now: float) -> bool:
        return run_sync(self._move.add_once(key, until, now))

    def _prune(self, now: float, limit: int = 1000) -> int:
        return run_sync(self._move.prune(now, limit))


class AsyncMovingStore(_Two):
    """The same with calls that are awaited, over stores of either form; see `MovingStore`.

    Blocking ones are called in worker threads, but for what they call short.
    """

    def _runtime(self) -> Runtime:
        return LoopRuntime()

    async def __aenter__(self) -> AsyncMovingStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close both stores."""
        await self._of_both("close")

    async def check(self) -> None:
        """See that both can be used, where they can say so."""
        await self._of_both("check")

    async def move_some(self, after: bytes | None, limit: int, now: float) -> Moved:
        """Move some sessions; see `MovingStore.move_some`."""
        return await self._some_moved(after, limit, now)

    # --- the promises of stores/base.py -----------------------------------------------------------------------------

    async def create(self, record: SessionRecord) -> None:
        await self._move.create(record)

    async def load(self, key: bytes) -> SessionRecord | None:
        return await self._move.load(key)

    async def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        return await self._move.touch(key, touch)

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        return await self._move.save(record)

    async def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        return await self._move.renew(key, generation, to, at)

    async def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        return await self._move.end(key, reason, at, keep_until)

    async def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        return await self._move.list(handle, now)

    async def _create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        return await self._move.create_capped(record, handle, most, evict, now, keep_until)

    async def _end_before(self, instant: float, at: float) -> None:
        await self._move.end_before(instant, at)

    async def _add_once(self, key: str, until: float, now: float) -> bool:
        return await self._move.add_once(key, until, now)

    async def _prune(self, now: float, limit: int = 1000) -> int:
        return await self._move.prune(now, limit)
