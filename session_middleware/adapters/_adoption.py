"""Framework sessions from before our time: until when one is given a session of ours, and that it happens once (L23).

Where the framework keeps its session on the server, the link is written into it and every copy of its cookie sees it.
Where it lives in a cookie, a copy made before knows nothing of the link; there the store takes note of whose it was.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from session_middleware.core.exchange import Exchange
from session_middleware.core.record import handle_of
from session_middleware.stores.base import AddsOnce

if TYPE_CHECKING:
    from session_middleware.engine import Engine

__all__ = ["adopts_until", "take_once"]


def adopts_until(engine: Engine) -> float:
    """Return the end (UTC) of the day named by `adopt_existing_until`; -inf where the setting is left out."""
    until = engine.settings.adopt_existing_until
    if until is None:
        return float("-inf")
    last_day = datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC)
    return (last_day + timedelta(days=1)).timestamp()


async def take_once(engine: Engine, x: Exchange, *whose: str) -> bool:
    """Take note that a framework session which lives in a cookie is being adopted; False: one like it was before.

    Also False with a store that cannot take note (`AddsOnce`): better nobody is adopted than everybody twice.

    Args:
        engine: whose store takes note, until nothing is adopted any more.
        x: the exchange.
        whose: all that tells this framework session from others and that a copy of it has too.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    if not isinstance(engine.store, AddsOnce):
        return False
    key = handle_of("adopted", "\0".join(whose))
    return bool(await engine.reach.write("add_once", key, adopts_until(engine), x.now))
