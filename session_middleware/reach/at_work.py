"""Whether somebody is at work on something, though a fork and a loop that is closed leave work without ending it."""

from __future__ import annotations

import os
import weakref
from typing import Any

from session_middleware.runtime import running_loop

__all__ = ["AtWork"]


class AtWork:
    """True from `begin` to `end`, as long as the process and the event loop of whoever began are there."""

    def __init__(self) -> None:
        self._process: int | None = None  # a fork leaves what its threads were at behind
        self._loop: weakref.ref[Any] | None = None  # of asyncio, in that process

    def __bool__(self) -> bool:
        if self._process is None or self._process != os.getpid():
            return False
        if self._loop is None:
            return True
        # Closed without a word to its tasks, as that of a task queue may be.
        loop = self._loop()
        return loop is not None and not loop.is_closed()

    def begin(self) -> None:
        """Say that the caller is, or what it starts on its event loop or in a thread."""
        loop = running_loop()
        self._process, self._loop = os.getpid(), None if loop is None else weakref.ref(loop)

    def end(self) -> None:
        """Say that nobody is any more."""
        self._process = None
