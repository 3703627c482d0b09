"""The calls of one process to its store: their faults, and how long it is left alone after some."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from session_middleware.core.lifetime import Outage
from session_middleware.core.record import SessionRecord
from session_middleware.errors import RecordUnreadable, StoreUnavailable
from session_middleware.reach.breaker import Breaker, LeftAlone
from session_middleware.reach.outages import NOBODY
from session_middleware.runtime import Runtime, bind

__all__ = ["ALONE", "Calls", "NotAsked", "NotReadable", "key_in"]

#: What is said of a store that is not asked.
ALONE = "The session store has failed several times in a row and is left alone for a moment."


class NotAsked(StoreUnavailable):
    """The store was left alone: nothing can have been written."""


class NotReadable(StoreUnavailable):
    """What lies under this key cannot be used; the store itself is well."""


STORE_METHODS = (
    *("create", "create_capped", "load", "reload", "touch", "save", "renew", "end", "list"),
    *("end_before", "add_once", "prune"),
)

#: Seconds that a failed write must have taken for others to be spared the same wait, and for how long at most.
SLOW = 0.1
LONGEST_PAUSE = 30.0


class Calls:
    """Calls a store, and takes note of what that says of the store.

    Args:
        store: a `Store`, or an `AsyncStore` in an asynchronous app.
        runtime: how blocking calls are waited for.
        clock: the engine's.
        announce: called with the name of an event and its detail.
    """

    def __init__(
        self,
        store: Any,  # Store | AsyncStore; bind() looks at each method's form
        *,
        runtime: Runtime,
        clock: Callable[[], float],
        announce: Callable[[str, dict[str, str]], None],
    ) -> None:
        self._call = bind(store, STORE_METHODS, runtime)
        self.caches = hasattr(self._call, "reload")  # whether `load` may be behind what is written elsewhere
        self._clock = clock
        self._announce = announce
        self.down_since: float | None = None  # when the store did not answer for the first time since it last did
        self.outage: Outage | None = None  # the last one of the whole store
        self._is_stuck = False  # whether the last write failed
        self._pause_until = float("-inf")  # for writes that can wait, since one has just waited in vain
        self._reads, self._writes = Breaker(clock), Breaker(clock)

    if TYPE_CHECKING:  # what a store is owed, Reach keeps

        def _makes_up(self) -> bool: ...

        async def catch_up(self) -> None: ...

        def _went_silent(self, key: bytes) -> None: ...

    async def read(self, method: str, *args: Any, at_once: bool = False) -> Any:  # Any: the store's methods, by name
        """Call a method that reads.

        Args:
            method: which.
            args: what it takes.
            at_once: whether the answer is wanted as soon as it is there; else what the store is owed is written first.

        Raises:
            StoreUnavailable: it raised.
        """
        breaker = self._reads
        try:
            if breaker.faults:
                breaker.pass_through()
            answer = await getattr(self._call, method)(*args)
        except RecordUnreadable as fault:
            breaker.faults = 0
            raise self.unreadable(method, args[0], fault) from None
        except LeftAlone:
            raise StoreUnavailable(ALONE) from None
        except Exception as fault:
            breaker.fault()
            self._writes.fault()  # what cannot be read cannot be written either; the other way round it can (L17)
            if self.down_since is None:
                self.down_since = self._clock()
            self._went_silent(NOBODY)
            raise self._fault(method, fault) from fault
        breaker.faults = 0
        if self.down_since is not None:
            self._came_back(self.down_since)
        if not at_once and self._makes_up():
            await self.catch_up()
        return answer

    async def _write(self, method: str, *args: Any) -> Any:  # Any: the store's methods, by name
        """Call a method that writes, unless that has just failed too often to be worth the wait."""
        self._writes.pass_through()
        began = monotonic()
        try:
            answer = await getattr(self._call, method)(*args)
        except RecordUnreadable:
            self._reads.faults = self._writes.faults = 0
            raise
        except Exception:
            self._writes.fault()
            self._is_stuck = True
            self._waited_in_vain(monotonic() - began)
            raise
        self._reads.faults = self._writes.faults = 0
        self._pause_until = float("-inf")
        return answer

    def _waited_in_vain(self, seconds: float) -> None:
        if seconds >= SLOW:
            self._pause_until = self._clock() + min(seconds, LONGEST_PAUSE)

    def _pauses(self, until: float) -> bool:
        """Say whether writes that can wait are put off until then: for as long as the last one waited in vain, so that at most every
        other moment is spent on a lock that somebody keeps, or a server that accepts no writes and does not say so."""
        now = self._clock()
        return now < until <= now + LONGEST_PAUSE  # else that time is over, or the clock was set back

    def _came_back(self, since: float) -> None:
        now, self.down_since = self._clock(), None
        self.outage = Outage(since, now)
        self._announce("store_recovered", {"seconds": f"{now - since:.3f}"})

    def unreadable(self, method: str, asked: object, fault: RecordUnreadable) -> StoreUnavailable:
        """Tell which record cannot be used, why, and what to do; return what is raised in its place.

        Args:
            method: what the store was asked for.
            asked: the first argument of that.
            fault: what is wrong with the record.
        """
        detail = {"method": method, "fault": type(fault).__name__, "problem": str(fault), "fix": fault.fix}
        key = key_in(asked)
        if isinstance(key, bytes):
            # A hash of a hash, which opens nothing (L10), and by which the record can be deleted.
            detail["record"] = key.hex()
        self._announce("store_fault", detail)
        return NotReadable(f"{fault} {fault.fix}")

    def _fault(self, method: str, fault: Exception) -> StoreUnavailable:
        self._announce("store_fault", {"method": method, "fault": type(fault).__name__})
        return StoreUnavailable(f"The session store failed on {method} ({type(fault).__name__}).")


def key_in(asked: object) -> object:
    """Return the key in what a method of a store is given first; what that is where it is none."""
    return asked.key if isinstance(asked, SessionRecord) else asked
