"""The few things that wait or lock; the only importer of threading and asyncio. The adapter picks a runtime."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from session_middleware.errors import SettingsError

__all__ = [
    "LoopRuntime",
    "Mutex",
    "PerThread",
    "Runtime",
    "ThreadRuntime",
    "bind",
    "mutex",
    "on_loop",
    "run_sync",
    "this_thread",
]

T = TypeVar("T")

Mutex = threading.Lock

#: Returns a number that tells this thread from the others that run now. (Asking for the running loop instead is a call
#: into the operating system on Python 3.11.)
this_thread = threading.get_ident


def mutex() -> threading.Lock:
    """Return a lock for a few instructions of shared state; never held across an await."""
    return threading.Lock()


class PerThread(threading.local):
    """A place for objects that belong to one thread, such as a database connection."""


class Runtime(Protocol):
    """How blocking work is waited for."""

    #: True where the engine may suspend, that is, where a loop runs it.
    asynchronous: bool

    async def in_thread(self, call: Callable[..., T], *args: Any) -> T:  # Any: the arguments of `call`
        """Run blocking work without holding up others."""
        ...


class ThreadRuntime:
    """For WSGI: the thread that serves the request also does the blocking work."""

    asynchronous = False

    async def in_thread(self, call: Callable[..., T], *args: Any) -> T:  # Any: the arguments of `call`
        return call(*args)


class LoopRuntime:
    """For ASGI, on asyncio or trio, whichever runs."""

    asynchronous = True

    async def in_thread(self, call: Callable[..., T], *args: Any) -> T:  # Any: the arguments of `call`
        if _on_asyncio():
            return await asyncio.to_thread(call, *args)
        import trio  # whoever runs us on trio has it

        return await trio.to_thread.run_sync(call, *args)


def _on_asyncio() -> bool:
    if "trio" not in sys.modules:
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def on_loop() -> bool:
    """Say whether an event loop runs in this thread, so that blocking here would hold up everybody."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        trio = sys.modules.get("trio")
        return trio is not None and bool(trio.lowlevel.in_trio_run())
    return True


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:  # Any: a coroutine's send and yield types, which are not used
    """Drive a coroutine that never suspends, from synchronous code.

    Raises:
        RuntimeError: it suspended: something asynchronous was used in a synchronous app.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError(
        "Something asynchronous was awaited in a synchronous app: an async store, authority or verify hook. "
        "Use its blocking form, or serve the app with an ASGI adapter."
    )


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
