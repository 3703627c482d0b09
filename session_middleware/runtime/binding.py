"""One awaited form for objects that block and objects that are awaited."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from session_middleware.errors import SettingsError
from session_middleware.runtime.loops import Runtime

__all__ = ["bind"]

T = TypeVar("T")


class _Bound:
    """A store as the engine sees it: every method awaited, whatever the store's own form."""


def bind(store: Any, methods: tuple[str, ...], runtime: Runtime) -> Any:  # Any: methods are put in by name
    """Give a blocking or asynchronous object one awaited form.

    Short calls of a blocking object are made in place; the others through `runtime.in_thread`. Methods that the
    object lacks are left out.

    Args:
        store: the object.
        methods: the names to bind.
        runtime: where it will run.

    Raises:
        SettingsError: the object is asynchronous and the app is not.
    """
    bound = _Bound()
    short: frozenset[str] = getattr(store, "short_calls", frozenset())
    for name in methods:
        method = getattr(store, name, None)
        if method is None:
            continue
        if inspect.iscoroutinefunction(method):
            if not runtime.asynchronous:
                raise SettingsError(
                    "store",
                    type(store).__name__,
                    f"is asynchronous ({name} is a coroutine function) but this app is synchronous.",
                    "Use the blocking form of the store, or an ASGI adapter.",
                )
            awaited = method
        elif name in short or not runtime.asynchronous:
            awaited = _in_place(method)
        else:
            awaited = _in_thread(method, runtime)
        setattr(bound, name, awaited)
    return bound


def _in_place(method: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    async def call(*args: Any) -> T:  # Any: the arguments of `method`
        return method(*args)

    return call


def _in_thread(method: Callable[..., T], runtime: Runtime) -> Callable[..., Awaitable[T]]:
    async def call(*args: Any) -> T:  # Any: the arguments of `method`
        return await runtime.in_thread(method, *args)

    return call
