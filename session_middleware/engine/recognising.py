"""The hot path: recognises a request for which no rule would answer otherwise than it did last time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from session_middleware.core.credentials import UNKNOWN, Known
from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.reach import Reach

__all__ = ["Recogniser"]

#: Looking a member up on its enum takes Python 3.11 a tenth of a microsecond.
_ACTIVE = Verdict.ACTIVE


def _never(record: SessionRecord) -> bool:
    """Stand for the `holds` of a store that has none."""
    return False


class Recogniser:
    """What `Engine.quiet` asks, apart from all else that an engine is: it is read anew from memory for every request.

    Args:
        remembered: what is known of each Cookie header; the dict itself, which stays the same.
        holds: the store's; None where headers besides Cookie say who somebody is, or the store has none.
        reach: the store's.
    """

    __slots__ = ("_holds", "_reach", "_remembered")

    def __init__(
        self,
        remembered: Mapping[str | bytes, Known],
        holds: Callable[[SessionRecord], bool] | None,
        reach: Reach,
    ) -> None:
        self._remembered = remembered
        self._holds = holds or _never
        self._reach = reach

    def quiet(self, x: Exchange) -> bool:
        """Recognise a request, and say of it what was found last time; False means: ask all rules.

        It must agree with `Engine.authenticate` and with every `due` rule: the quiet instants come from
        `lifetime.quiet_until`, and a test compares the two paths.
        """
        known = self._remembered.get(x.shown, UNKNOWN)
        record, deadlines, configured, since, until = known.quiet
        now, reach = x.now, self._reach
        if now >= until or now < since or reach.down_since is not None or reach.unended:
            return False
        holds = self._holds
        try:
            if not holds(record):
                return False
        except Exception:
            return False  # the general path meets the same fault and says so
        x.authenticated = x.quiet = True
        x.verdict = _ACTIVE
        x.known = known
        x.record = record
        x.presented = known.presented
        x.deadlines = deadlines
        x.configured = configured
        return True
