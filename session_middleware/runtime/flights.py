"""One call for all who ask the same at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from session_middleware.runtime.loops import Runtime, this_loop

__all__ = ["OneFlight"]

T = TypeVar("T")


class _Flight:
    """One call that others wait for."""

    __slots__ = ("answer", "fault", "landed", "loop")

    def __init__(self, loop: object) -> None:
        self.loop = loop
        self.answer: Any = None  # Any: the call's
        self.fault: Exception | None = None
        if loop is None:
            self.landed: Any = threading.Event()
        elif isinstance(loop, asyncio.AbstractEventLoop):
            self.landed = asyncio.Event()
        else:
            import trio  # whoever runs us on trio has it

            self.landed = trio.Event()


class OneFlight:
    """Of several callers with the same key one makes the call; the others wait, and get what it got.

    Within one event loop, or among the threads of a synchronous app. Where the caller that made the call was cancelled,
    the next one makes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[tuple[object, Hashable], _Flight] = {}

    async def run(self, runtime: Runtime, key: Hashable, call: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Return what the call returns, made here or by somebody else.

        Args:
            runtime: the app's.
            key: what is asked.
            call: asks it.
            seconds: how long to wait for another's call.

        Raises:
            TimeoutError: another's call took longer.
            Exception: what the call raised.
        """
        loop = this_loop() if runtime.asynchronous else None
        place = (None if loop is None else id(loop), key)
        while True:
            with self._lock:
                flight = self._flights.get(place)
                mine = flight is None or flight.loop is not loop  # a loop that is gone may have left its id
                if mine:
                    flight = self._flights[place] = _Flight(loop)
            assert flight is not None
            if mine:
                return await self._fly(place, flight, call)
            if loop is not None:
                async with runtime.within(seconds):
                    await flight.landed.wait()
            elif not flight.landed.wait(seconds):
                raise TimeoutError
            if isinstance(flight.fault, _Crashed):
                continue
            if flight.fault is not None:
                raise flight.fault
            answer: T = flight.answer
            return answer

    async def _fly(self, place: tuple[object, Hashable], flight: _Flight, call: Callable[[], Awaitable[T]]) -> T:
        flight.fault = _Crashed()
        try:
            flight.answer = await call()
            flight.fault = None
        except Exception as fault:
            flight.fault = fault
            raise
        finally:
            with self._lock:
                if self._flights.get(place) is flight:
                    del self._flights[place]
            flight.landed.set()
        result: T = flight.answer
        return result


class _Crashed(Exception):
    """Whoever made the call was cancelled before it had an answer."""
