"""What is due when: one wheel for as many keys as there are, instead of a timer for each."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Wheel"]

K = TypeVar("K", bound=Hashable)


class Wheel(Generic[K]):
    """Keys in slots of time; putting one in and taking it out costs the same however many there are.

    Args:
        step: seconds of a slot. A key comes out up to so much after its instant, and never before it (L1).
    """

    __slots__ = ("_at", "_order", "_slots", "_step")

    def __init__(self, step: float = 1.0) -> None:
        self._step = step
        self._slots: dict[int, set[K]] = {}
        self._order: list[int] = []  # a heap of the slots that are not empty, and of some that have become so
        self._at: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._at)

    def put(self, key: K, at: float) -> None:
        """Have a key come out at an instant, in seconds of any one clock, instead of when it would have; never at infinity."""
        slot = math.ceil(at / self._step) if math.isfinite(at) else None
        if self._at.get(key) == slot and slot is not None:
            return
        self.drop(key)
        if slot is None:
            return
        self._at[key] = slot
        held = self._slots.get(slot)
        if held is None:
            self._slots[slot] = {key}
            heapq.heappush(self._order, slot)
        else:
            held.add(key)

    def drop(self, key: K) -> None:
        """Forget a key, if it is there."""
        slot = self._at.pop(key, None)
        if slot is None:
            return
        held = self._slots[slot]
        held.discard(key)
        if not held:
            del self._slots[slot]  # its number stays in the heap until its time comes

    def due(self, now: float) -> list[K]:
        """Take out the keys whose instant has come, the earliest first."""
        found: list[K] = []
        order = self._order
        while order and order[0] * self._step <= now:
            held = self._slots.pop(heapq.heappop(order), None)
            for key in held or ():
                del self._at[key]
                found.append(key)
        return found
