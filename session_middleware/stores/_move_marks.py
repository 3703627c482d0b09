"""How the mark of an end at a provider moves from a store to another (L24): it is no session but the latest of some instants.

Workers of two steps of a move may each write one at once, one in either store, so a mark may be alive in both. Whoever
reads takes the later; moving one is telling the new store of it and then ending it in the old.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord

__all__ = ["MOVED", "Marks"]

#: What the old store says of what is in the new one now. No verdict: nobody but the move sees it.
MOVED: Final = "moved"


class Marks:
    """The marks in two stores.

    Args:
        old: the store they leave, its calls bound to be awaited.
        new: the one they go to, the same.
        refused: makes the error that says that the new store holds an ended record under a mark's key.
    """

    def __init__(
        self, old: Any, new: Any, refused: Callable[[SessionRecord], Exception]
    ) -> None:  # Any: as `bind` says
        self._old, self._new, self._refused = old, new, refused

    async def later(self, mark: SessionRecord) -> SessionRecord:
        """Return the later of what the old store holds and what the new one holds."""
        if mark.end_reason == MOVED:
            await self.tell(mark)  # the old store may have been told something between the two writes of `moved`
        found: SessionRecord | None = await self._new.load(mark.key)
        if found is None:
            return mark
        return found if mark.end_reason == MOVED or mark.last_seen_at <= found.last_seen_at else mark

    async def moved(self, mark: SessionRecord) -> SessionRecord:
        """Move a mark that the old store holds alive.

        Raises:
            Exception: a store failed, or the new one holds an ended record under its key.
        """
        try:
            if await self.tell(mark) is None:
                await self._new.create(mark)
        except Exception:  # another has been faster, or it is a fault
            if await self.tell(mark) is None:
                if await self._new.load(mark.key) is not None:
                    raise self._refused(mark) from None
                raise
        await self._old.end(mark.key, MOVED, mark.last_seen_at, mark.keep_until)
        return await self.later(await self._old.load(mark.key) or mark)

    async def tell(self, mark: SessionRecord) -> SessionRecord | None:
        """Let the new store have it if it is later than its own; None where it has none."""
        told: SessionRecord | None = await self._new.touch(mark.key, Touch(mark.last_seen_at, None, mark.keep_until))
        return told
