"""How work is waited for: in the thread that serves a request, or on an event loop of asyncio or trio."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio import _get_running_loop  # in its __all__, though for those who write loops
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

__all__ = [
    "LoopRuntime",
    "Runtime",
    "ThreadRuntime",
    "forget_closed",
    "on_asyncio",
    "on_loop",
    "run_on",
    "run_sync",
    "running_loop",
    "this_loop",
]

T = TypeVar("T")


class Runtime(Protocol):
    """How blocking work is waited for."""

    #: True where the engine may suspend, that is, where a loop runs it.
    asynchronous: bool

    async def in_thread(self, call: Callable[..., T], *args: Any) -> T:  # Any: the arguments of `call`
        """Run blocking work without holding up others."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait, while others go on."""
        ...

    def within(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """Return a block that raises TimeoutError after so long; where nothing can suspend it does nothing."""
        ...


class ThreadRuntime:
    """For WSGI: the thread that serves the request also does the blocking work."""

    asynchronous = False

    async def in_thread(self, call: Callable[..., T], *args: Any) -> T:  # Any: the arguments of `call`
        return call(*args)

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # this thread serves one request, and that is the one that waits

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        yield  # what blocks has its own time limits


class LoopRuntime:
    """For ASGI, on asyncio or trio, whichever runs."""

    asynchronous = True

    async def in_thread(self, call: Callable[..., T], *args: Any) -> T:  # Any: the arguments of `call`
        if on_asyncio():
            return await asyncio.to_thread(call, *args)
        import trio  # whoever runs us on trio has it

        return await trio.to_thread.run_sync(call, *args)

    async def pause(self, seconds: float) -> None:
        if on_asyncio():
            await asyncio.sleep(seconds)
            return
        import trio  # whoever runs us on trio has it

        await trio.sleep(seconds)

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        if on_asyncio():
            async with asyncio.timeout(seconds):
                yield
            return
        import trio  # whoever runs us on trio has it

        try:
            with trio.fail_after(seconds):
                yield
        except trio.TooSlowError:
            raise TimeoutError from None


def on_asyncio() -> bool:
    """Say which of the two runs here."""
    if "trio" not in sys.modules:
        return True
    return _get_running_loop() is not None


def on_loop() -> bool:
    """Say whether an event loop runs in this thread, so that blocking here would hold up everybody."""
    if _get_running_loop() is not None:  # the form that raises costs four times as much, in every blocking view
        return True
    trio = sys.modules.get("trio")  # None also where somebody forbids the import
    return trio is not None and bool(trio.lowlevel.in_trio_run())


def running_loop() -> object | None:
    """Return the asyncio loop that runs in this thread, for things that belong to one; None on trio or without a loop."""
    return _get_running_loop()


def this_loop() -> Any:  # Any: an asyncio loop, or a token of trio's, which has no types here
    """Return what `run_on` needs to come back to the event loop that runs in this thread."""
    loop = _get_running_loop()
    if loop is not None:
        return loop
    import trio  # whoever runs us on trio has it

    return trio.lowlevel.current_trio_token()


def forget_closed(kept: WeakKeyDictionary[Any, Any]) -> None:  # Any: loops, and what belongs to each
    """Let go of what belongs to loops that ended without a word, as those of `asyncio.run` in a script or a task queue.

    A connection leads to its loop, so that being weak keys does not let them go.
    """
    for reference in kept.keyrefs():
        loop: Any = reference()  # Any: an asyncio loop; a token of trio's cannot be asked, and nothing leads to it
        if isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed():
            kept.pop(loop, None)


def run_on(loop: Any, call: Callable[[], Coroutine[Any, Any, T]]) -> T:  # Any: as this_loop; a coroutine's other types
    """Have an event loop run an async function, and wait for it in this thread, which is another.

    Args:
        loop: what `this_loop` returned there.
        call: the function.

    Raises:
        RuntimeError: the loop runs no more.
    """
    if isinstance(loop, asyncio.AbstractEventLoop):
        if not loop.is_running():
            raise RuntimeError("The event loop runs no more.")
        return asyncio.run_coroutine_threadsafe(call(), loop).result()
    import trio  # it gave us the token

    return trio.from_thread.run(call, trio_token=loop)


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
