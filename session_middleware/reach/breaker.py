"""A store that fails again and again is left alone for a moment, so that nobody waits for its timeout in vain (L17)."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["FAULTS_IN_A_ROW", "LEFT_ALONE", "Breaker", "LeftAlone"]

#: Faults in a row after which the store is left alone for a moment, so that nobody waits for its timeout in vain.
FAULTS_IN_A_ROW = 5

#: Seconds for which it is left alone at most; then one call tries whether it is back, and the others wait for that.
LEFT_ALONE = 1.0


class LeftAlone(Exception):
    """The store was not asked."""


class Breaker:
    """Counts faults in a row, and says when a store is left alone.

    Args:
        clock: the engine's.

    Attributes:
        faults: so many in a row; 0 once the store has answered.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.faults = 0
        self._alone_until = float("-inf")

    def pass_through(self) -> None:
        """Let a call pass, or raise `LeftAlone`: of many, one tries again when the time is over."""
        if self.faults >= FAULTS_IN_A_ROW:
            now = self._clock()
            if now < self._alone_until <= now + LEFT_ALONE:  # else that time is over, or the clock was set back
                raise LeftAlone
            self._leave_alone(now)

    def fault(self) -> None:
        """Count a call that failed."""
        self.faults += 1
        if self.faults >= FAULTS_IN_A_ROW:
            self._leave_alone(self._clock())

    def _leave_alone(self, now: float) -> None:
        # Not every process comes back at the same instant.
        self._alone_until = now + LEFT_ALONE * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, keeps no secret
