"""Waiting that somebody else can end: for connections that stay open, on asyncio and on trio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from session_middleware.runtime.loops import on_asyncio

__all__ = ["Bell", "Cut", "Cancelled", "Interruptible", "at_once", "side_by_side", "to_its_end"]

T = TypeVar("T")

#: What a task on asyncio is ended with.
Cancelled = asyncio.CancelledError


class Bell:
    """Wakes the one task that waits for it, from any thread. Made on the event loop where it is waited for."""

    def __init__(self) -> None:
        self._asyncio = on_asyncio()
        self._rung = False
        if self._asyncio:
            self._loop: Any = asyncio.get_running_loop()
            self._event: Any = asyncio.Event()  # Any: trio has no types here
        else:
            import trio  # whoever runs us on trio has it

            self._loop = trio.lowlevel.current_trio_token()
            self._event = trio.Event()

    def ring(self) -> bool:
        """Wake whoever waits, or will wait next; False: the loop is gone."""
        if self._rung:
            return True  # still on its way
        self._rung = True
        try:
            if self._asyncio:
                self._loop.call_soon_threadsafe(self._event.set)
            else:
                self._loop.run_sync_soon(self._event.set)
        except Exception as fault:  # RuntimeError, and trio's own RunFinishedError
            if not isinstance(fault, RuntimeError) and type(fault).__name__ != "RunFinishedError":
                raise
            return False
        return True

    async def wait(self, seconds: float) -> None:
        """Wait until it has been rung since the last wait, and at most so long."""
        if self._asyncio:
            try:
                async with asyncio.timeout(seconds):
                    await self._event.wait()
            except TimeoutError:
                pass
            self._event.clear()
        else:
            import trio  # whoever runs us on trio has it

            with trio.move_on_after(seconds):
                await self._event.wait()
            if self._event.is_set():
                self._event = trio.Event()
        self._rung = False


class Interruptible:
    """One task's wait that another task of the same loop can end early."""

    __slots__ = ("_asked", "_scope", "_task")

    def __init__(self) -> None:
        self._task: Any = None  # Any: asyncio.Task
        self._scope: Any = None  # Any: trio.CancelScope
        self._asked = False

    async def run(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return what the call returns, or None: it was interrupted."""
        if not on_asyncio():
            return await self._run_on_trio(call)
        self._task = task = asyncio.current_task()
        assert task is not None
        self._asked = False
        try:
            return await call()
        except asyncio.CancelledError:
            # `uncancel` says how many others want this task to end; then it is no interruption.
            if self._asked and task.cancelling() == 1:
                return None
            raise
        finally:
            self._task = None
            if self._asked:
                task.uncancel()

    async def _run_on_trio(self, call: Callable[[], Awaitable[T]]) -> T | None:
        import trio  # whoever runs us on trio has it

        with trio.CancelScope() as self._scope:
            try:
                return await call()
            finally:
                self._scope = None
        return None

    def interrupt(self) -> bool:
        """End the wait; False: nobody waits now."""
        if self._scope is not None:
            self._scope.cancel()
            return True
        if self._task is None:
            return False
        if not self._asked:
            self._asked = True
            self._task.cancel()
        return True


def at_once(call: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Start a task of its own on the running loop. It must not raise."""
    if on_asyncio():
        _begun(call())
        return
    import trio  # whoever runs us on trio has it

    trio.lowlevel.spawn_system_task(call)


#: The tasks under way, since a loop itself keeps no hold on its tasks, and what each runs.
_kept: dict[asyncio.AbstractEventLoop, dict[asyncio.Task[Any], Coroutine[Any, Any, Any]]] = {}


def _begun(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    loop = asyncio.get_running_loop()
    if loop not in _kept:
        _leave_closed()
    task = loop.create_task(coroutine)
    _kept.setdefault(loop, {})[task] = coroutine
    task.add_done_callback(_is_done)
    return task


def _is_done(task: asyncio.Task[Any]) -> None:
    tasks = _kept.get(task.get_loop(), {})
    tasks.pop(task, None)
    if not tasks:
        _kept.pop(task.get_loop(), None)


def _leave_closed() -> None:
    """End what loops have left that were closed without a word to their tasks, as those of a task queue may be.

    Here and now, not whenever the garbage is collected: what a task does at its end takes locks, which somebody may hold then.
    """
    for loop in list(_kept):
        for task, coroutine in _kept.pop(loop).items() if loop.is_closed() else ():
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # else asyncio reports each; it has no other way
            with contextlib.suppress(RuntimeError):  # it wants to wait for something once more
                coroutine.close()


async def to_its_end(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Make a call on an event loop that goes on where whoever waits for it is cancelled: no half of it may be lost."""
    if on_asyncio():
        return await asyncio.shield(_begun(call()))
    import trio  # whoever runs us on trio has it

    found: list[T] = []
    with trio.CancelScope(shield=True):
        found.append(await call())
    return found[0]


async def side_by_side(calls: Iterable[Callable[[], Coroutine[Any, Any, None]]], most: int) -> None:
    """Make async calls, so many at a time, and wait for all. They must not raise."""
    waiting = iter(calls)

    async def one_after_another() -> None:
        for call in waiting:
            await call()

    if on_asyncio():
        async with asyncio.TaskGroup() as group:
            for _ in range(most):
                group.create_task(one_after_another())
        return
    import trio  # whoever runs us on trio has it

    async with trio.open_nursery() as nursery:
        for _ in range(most):
            nursery.start_soon(one_after_another)


class Cut:
    """Ends a task that neither sends nor receives; on asyncio alone, since trio cancels scopes and no tasks."""

    __slots__ = ("_task", "_was_cut")

    def __init__(self) -> None:
        self._task: Any = None  # Any: asyncio.Task
        self._was_cut = False

    def mark(self) -> None:
        """Take note of the task that is at work now."""
        if on_asyncio():
            self._task = asyncio.current_task()

    def now(self) -> None:
        """End it where it waits."""
        if self._task is not None and not self._task.done() and not self._was_cut:
            self._was_cut = True
            self._task.cancel()

    def made(self, fault: BaseException) -> bool:
        """Say whether an exception is what the cut has come to in the running task, and no other's wish to end it."""
        if not self._was_cut or not isinstance(fault, asyncio.CancelledError):
            return False
        task = asyncio.current_task()
        assert task is not None
        return (task.uncancel() if task is self._task else task.cancelling()) == 0
