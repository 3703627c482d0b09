"""What a process owes its store is written also where no request comes by any more: a worker may be idle for hours (L17)."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable
from typing import Final

from session_middleware.reach.at_work import AtWork
from session_middleware.runtime import Runtime, at_once, beside, run_sync

__all__ = ["RETRY_INTERVAL", "Retrying"]

#: Seconds between two attempts to write what is owed, while no write has succeeded.
RETRY_INTERVAL: Final = 1.0


class Retrying:
    """Asks again and again for what is owed to be written, beside the requests: in a thread, or in a task of the loop.

    Args:
        runtime: how to wait.
        write: a method that writes some of it and says whether more is owed. Its object is not kept alive by this.
    """

    def __init__(self, runtime: Runtime, write: Callable[[], Awaitable[bool]]) -> None:
        self._runtime = runtime
        self._write = weakref.WeakMethod(write)
        self._at_work = AtWork()

    def begin(self) -> None:
        """See that this is under way; where nothing can be started now, whoever owes more tries again."""
        if self._at_work:
            return
        self._at_work.begin()
        try:
            if self._runtime.asynchronous:
                at_once(self._until_written)
            else:
                beside(lambda: run_sync(self._until_written()), "session ends that are owed")
        except RuntimeError:  # no thread is to be had, or no loop runs
            self._at_work.end()

    async def _until_written(self) -> None:
        is_mine = True
        try:
            while is_mine:
                await self._runtime.pause(RETRY_INTERVAL)
                write = self._write()
                # Said before the last look, so that what comes to be owed after it begins this anew.
                self._at_work.end()
                is_mine = False
                owes = write is not None and await write()
                del write
                if owes and not self._at_work:  # else another was begun during a look that took long
                    self._at_work.begin()
                    is_mine = True
        except GeneratorExit:
            is_mine = False  # its loop was closed before, and another may be at work by now
            raise
        finally:
            if is_mine:
                self._at_work.end()
