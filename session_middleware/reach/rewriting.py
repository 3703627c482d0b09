"""Changes a record beside other writers: by compare-and-swap, and anew on what whoever came first has left (L13, L14)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from session_middleware.core.record import SessionRecord
from session_middleware.errors import StoreUnavailable

if TYPE_CHECKING:
    from session_middleware.reach.owed import Reach

__all__ = ["TRIES", "rewrite"]

#: Writers who may come before us; more in a row is a fault.
TRIES = 20


async def rewrite(
    reach: Reach, record: SessionRecord, change: Callable[[SessionRecord], SessionRecord | None]
) -> SessionRecord | None:
    """Write a record as it is to be.

    Args:
        reach: the store's.
        record: as it was read last.
        change: makes what is to be written of what stands there; None where nothing is to be changed any more.

    Returns:
        The record as it was written; None: it has ended, or nothing was to be changed.

    Raises:
        StoreUnavailable: the store failed, or too many others wrote first.
    """
    for _ in range(TRIES):
        new = change(record)
        if new is None:
            return None
        saved: SessionRecord | None = await reach.write("save", new)
        if saved is not None:
            return saved
        held = await reach.load(record.key, anew=True)
        if held is None or held.ended_at is not None:
            return None  # dead wins
        record = held
    raise StoreUnavailable(f"A session could not be changed: {TRIES} other writers came first.")
