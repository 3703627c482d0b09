"""Drives a store from an ordinary test function the way adapters do, whether its calls block or are awaited."""

from __future__ import annotations

import asyncio  # beside runtime/ only here: a test owns the loop that an app's server owns otherwise
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from session_middleware.runtime import LoopRuntime, ThreadRuntime, bind, run_sync

__all__ = ["METHODS", "Driven"]

#: What may be called of a store.
METHODS: Final = (
    "create", "load", "touch", "save", "renew", "end", "list",
    "create_capped", "holds", "end_before", "add_once", "prune", "walk", "close",
)  # fmt: skip

#: Callers at once in `Driven.together`.
_CALLERS: Final = 32


class Driven:
    """A store whose methods are called plainly; each goes through `runtime.bind`, as in an app.

    Args:
        store: a Store or an AsyncStore.
        on_loop: run it as an ASGI app would; an AsyncStore has no other way.
    """

    def __init__(self, store: object, *, on_loop: bool) -> None:
        self.store = store
        self._bound = bind(store, METHODS, LoopRuntime() if on_loop else ThreadRuntime())
        self._runner = asyncio.Runner() if on_loop else None

    def __getattr__(self, name: str) -> Callable[..., Any]:  # Any: methods are found by name
        method = self._method(name)

        def call(*args: Any) -> Any:  # Any: the arguments of `method`
            return self._run(method(*args))

        return call

    def _method(self, name: str) -> Callable[..., Any]:  # Any: methods are found by name
        method: Callable[..., Any] | None = getattr(self._bound, name, None)
        if method is None:  # the bound form is ours, and its name says nothing to whoever wrote the store
            raise AttributeError(f"{type(self.store).__name__} has no method {name}.", name=name, obj=self.store)
        return method

    def _run(self, call: Any) -> Any:  # Any: whatever the method returns
        if self._runner is None:
            return run_sync(call)

        async def awaited() -> Any:  # Any: whatever the method returns
            return await call

        return self._runner.run(awaited())

    def together(self, *calls: tuple[Any, ...]) -> list[Any]:  # Any: a name and its arguments; whatever comes back
        """Make calls at the same time, 32 at once, and return their answers in order.

        Args:
            calls: a method's name and its arguments each.
        """

        def begin(call: tuple[Any, ...]) -> Any:  # Any: a name and its arguments; a coroutine
            return self._method(call[0])(*call[1:])

        if self._runner is None:
            with ThreadPoolExecutor(_CALLERS) as pool:
                return list(pool.map(lambda call: run_sync(begin(call)), calls))

        async def all_of_them() -> list[Any]:  # Any: whatever the methods return
            return list(await asyncio.gather(*(begin(call) for call in calls)))

        return self._runner.run(all_of_them())

    def finish(self) -> None:
        """Close the store, if it can be closed, and the loop."""
        if inspect.ismethod(getattr(self.store, "close", None)):
            self.close()
        if self._runner is not None:
            self._runner.close()
