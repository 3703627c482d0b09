"""What an awaited store does on trio, where its driver cannot run: its blocking form, in worker threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from session_middleware.runtime import LoopRuntime, bind, mutex, on_loop, running_loop

__all__ = ["OnTrio"]

T = TypeVar("T")

_CALLS: Final = (
    *("create", "load", "touch", "save", "renew", "end", "list"),
    *("create_capped", "end_before", "add_once", "prune", "walk", "check"),
)


class OnTrio:
    """The other form of an awaited store, made at first need.

    Args:
        blocking: makes it.
    """

    def __init__(self, blocking: Callable[[], Any]) -> None:  # Any: a Store
        self._blocking = blocking
        self._making = mutex()
        self._store: Any = None
        self._bound: Any = None

    def instead_of(self, awaited: T) -> T:
        """Return what to call here: on trio the blocking form, each call in a thread; else what was given."""
        if running_loop() is not None or not on_loop():
            return awaited
        if self._bound is None:
            with self._making:
                if self._store is None:
                    self._store = self._blocking()
                    self._bound = bind(self._store, _CALLS, LoopRuntime())
        return cast("T", self._bound)

    @property
    def store(self) -> Any:  # Any: a Store
        """The blocking form, if it was needed."""
        return self._store

    def close(self) -> None:
        """Close its connections."""
        if self._store is not None:
            self._store.close()
