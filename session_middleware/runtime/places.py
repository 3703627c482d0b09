"""So many callers at once and no more."""

from __future__ import annotations

import asyncio
import threading
from weakref import WeakKeyDictionary

from session_middleware.errors import SettingsError
from session_middleware.runtime.loops import forget_closed, on_asyncio

__all__ = ["LoopPlaces", "ThreadPlaces"]


class ThreadPlaces:
    """So many callers at once and no more; the others wait. Each caller is a thread.

    Args:
        number: how many.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.anew()

    def anew(self) -> None:
        """Forget who holds a place: in the child of a fork they do not exist."""
        self._free = threading.Semaphore(self._number)

    async def take(self, seconds: float) -> None:
        """Take a place; never suspends, but may hold up the thread.

        Raises:
            TimeoutError: there was none for so long.
        """
        if not self._free.acquire(timeout=seconds):
            raise TimeoutError

    def give(self) -> None:
        """Give a place back."""
        self._free.release()


class LoopPlaces:
    """The same for tasks of asyncio; each loop has so many.

    Args:
        number: how many.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.anew()

    def anew(self) -> None:
        """Forget who holds a place."""
        self._free: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def take(self, seconds: float) -> None:
        """Take a place of the running loop.

        Raises:
            TimeoutError: there was none for so long.
            SettingsError: the loop that runs is not asyncio's.
        """
        if not on_asyncio():
            raise SettingsError(
                "store", "asynchronous", "waits on asyncio, and this is trio.", "Give the store's blocking form."
            )
        loop = asyncio.get_running_loop()
        free = self._free.get(loop)
        if free is None:
            forget_closed(self._free)
            free = self._free[loop] = asyncio.Semaphore(self._number)
        if free.locked():
            async with asyncio.timeout(seconds):
                await free.acquire()
        else:
            await free.acquire()

    def give(self) -> None:
        """Give a place back, on the same loop."""
        self._free[asyncio.get_running_loop()].release()
