"""What a store is owed, and how it is written as soon as that can be: beside later calls, and beside no request at all (L17)."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from session_middleware.core.lifetime import Touch
from session_middleware.core.provider import lasting, mark_of
from session_middleware.core.record import SessionRecord
from session_middleware.errors import RecordUnreadable
from session_middleware.reach.at_work import AtWork
from session_middleware.reach.breaker import LeftAlone
from session_middleware.reach.calls import Calls
from session_middleware.reach.outages import Outages
from session_middleware.reach.retrying import RETRY_INTERVAL, Retrying
from session_middleware.runtime import Runtime

__all__ = ["CAUGHT_UP", "MakingUp"]

#: Writes that one request makes up for, which whoever made it waits for.
CAUGHT_UP = 64


class MakingUp(Calls):
    """Calls a store, and makes up for what it has missed.

    Args:
        store: a `Store`, or an `AsyncStore` in an asynchronous app.
        runtime: how blocking calls are waited for.
        clock: the engine's.
        announce: called with the name of an event and its detail.
        lifetime: seconds of the longest life that the settings give a session.
    """

    def __init__(
        self,
        store: Any,  # Store | AsyncStore
        *,
        runtime: Runtime,
        clock: Callable[[], float],
        announce: Callable[[str, dict[str, str]], None],
        lifetime: float,
    ) -> None:
        super().__init__(store, runtime=runtime, clock=clock, announce=announce)
        self._lifetime = lifetime
        self._outages = Outages(clock)  # of single records
        self.unsaved: dict[bytes, Touch] = {}  # touches the store has not got yet
        self.unended: dict[bytes, tuple[str, float, float]] = {}  # ends the store has not got yet: this process knows
        #: Marks of ends at a provider that the store has not got yet (L24).
        self.unmarked: dict[bytes, SessionRecord] = {}
        self._owed: dict[str, dict[bytes, Any]] = {"mark": self.unmarked, "end": self.unended, "touch": self.unsaved}
        self.unseen: set[bytes] = set()  # keys in `unended` of which nobody knows on what provider session they stand
        self._retried_at = float("-inf")
        self._refused = ""  # the kind of what was owed and could not be written last time
        self._owed_pause_until = float("-inf")  # for what is owed, since that has: a part of the store may be well
        #: Ends and marks that no store can write, since what lies under their keys cannot be read; owed again once it can be.
        self._set_aside: dict[bytes, tuple[str, Any]] = {}
        self._catching_up = AtWork()
        self._retrying = Retrying(runtime, self._still_owes)

    def _makes_up(self) -> bool:
        """Say whether a read that has succeeded is to write some of what is owed."""
        return bool(
            (self.unended or self.unsaved or self.unmarked)
            and (not self._is_stuck or self._clock() - self._retried_at >= RETRY_INTERVAL)
            and not self._pauses(self._pause_until)
            and not self._pauses(self._owed_pause_until)
        )

    async def catch_up(self, *, says: bool = True) -> None:
        """Write some of what the store has missed, marks and ends first; each is forgotten only once written.

        Some, since a request of somebody else waits for it; and one request at a time. What cannot be written goes behind the
        rest, and its kind behind the others, so that it does not keep them from being written.

        Args:
            says: whether a fault is announced: not each second anew, where nobody asked for anything.
        """
        if self._catching_up:
            return
        self._catching_up.begin()
        self._is_stuck, self._retried_at = False, self._clock()
        left, refused, self._refused = CAUGHT_UP, self._refused, ""
        try:
            for name in sorted(self._owed, key=refused.__eq__):
                for key, value in list(self._owed[name].items())[:left]:
                    left -= 1
                    if not await self._wrote(name, key, value, says):
                        self._is_stuck, self._refused = True, name
                        return
        finally:
            self._catching_up.end()

    async def _wrote(self, name: str, key: bytes, value: Any, says: bool) -> bool:  # Any: a mark, an end or a touch
        """Write one thing that is owed; False: the store is not to be asked for more now."""
        owed, began = self._owed[name], monotonic()
        try:
            if name == "mark":
                await self._write_mark(value)
            elif name == "end":
                await self._mark_unseen(key, value[1])
                await self._call.end(key, *value)
            else:
                await self._write_late(key, value)
        except LeftAlone:
            return False
        except RecordUnreadable as fault:
            self._fault(name, fault)
            if name != "touch":
                self._set_aside[key] = name, value
        except Exception as fault:
            if says:
                self._fault(name, fault)
            self._waited_in_vain(monotonic() - began)
            self._owed_pause_until = self._pause_until
            if owed.get(key) is value:
                owed[key] = owed.pop(key, value)
            return False
        if owed.get(key) is value:  # else more is owed meanwhile
            owed.pop(key, None)  # which another thread may have written too
        return True

    async def _write_mark(self, mark: SessionRecord) -> None:
        mark = lasting(mark, self._lifetime)
        touch = Touch(mark.last_seen_at, None, mark.keep_until)
        if await self._write("touch", mark.key, touch) is None:
            try:
                await self._write("create", mark)
            except Exception:
                if await self._write("touch", mark.key, touch) is None:  # else another process was first
                    raise

    async def _mark_unseen(self, key: bytes, at: float) -> None:
        """Mark the end of a session whose record nobody had read when it was ended: the store was down (L24)."""
        if key in self.unseen:
            held: SessionRecord | None = await self._call.load(key)
            mark = None if held is None or held.ended_at is not None else mark_of(held, at)
            if mark is not None:
                await self._write_mark(mark)
            self.unseen.discard(key)

    async def _write_late(self, key: bytes, touch: Touch) -> None:
        """Write a touch that is owed beside what other processes have written meanwhile."""
        held: SessionRecord | None = await getattr(self._call, "reload" if self.caches else "load")(key)
        if held is not None:
            await self._call.touch(key, touch.late(held))

    async def _still_owes(self) -> bool:
        """Write some of what is owed and ask what is silent, and say whether there is more to do: touches can wait for a request."""
        if self.unended or self.unmarked:
            await self.catch_up(says=False)
        await self._ask_the_silent()
        return bool(self.unended or self.unmarked or self._outages.silent)

    def _went_silent(self, key: bytes) -> None:
        self._outages.failed(key, silent=True)
        self._retrying.begin()

    async def _ask_the_silent(self) -> None:
        """Ask whether what did not answer is back, so that it is known when it was (L17)."""
        load = self._call.reload if self.caches else self._call.load
        for key in list(self._outages.silent)[:CAUGHT_UP]:
            try:
                await load(key)
            except RecordUnreadable:
                self._outages.failed(key, silent=False)
            except Exception:
                self._outages.failed(key, silent=True)
                return
            else:
                self._has_been_read(key)
            if self.down_since is not None:
                self._came_back(self.down_since)

    def _has_been_read(self, key: bytes) -> None:
        """Take note of a record that could not be read, and can be."""
        self._outages.has_been_read(key)
        aside = self._set_aside.pop(key, None)
        if aside is not None:
            name, value = aside
            self._owed[name][key] = value
            self._retrying.begin()
