"""The few things that wait or lock; the only importer of threading and asyncio. The adapter picks a runtime."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
import time
from asyncio import _get_running_loop  # in its __all__, though for those who write loops
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from session_middleware.errors import SettingsError

__all__ = [
    "LoopPlaces",
    "Flag",
    "LoopRuntime",
    "Mutex",
    "PerThread",
    "OneFlight",
    "Runtime",
    "ThreadPlaces",
    "ThreadRuntime",
    "beside",
    "bind",
    "is_awaited",
    "mutex",
    "on_loop",
    "run_on",
    "run_sync",
    "running_loop",
    "this_loop",
    "this_thread",
]

T = TypeVar("T")

Mutex = threading.Lock

#: Set once, waited for with a time limit.
Flag = threading.Event

#: Returns a number that tells this thread from the others that run now. (Asking for the running loop instead is a call
#: into the operating system on Python 3.11.)
this_thread = threading.get_ident


def mutex() -> threading.Lock:
    """Return a lock for a few instructions of shared state; never held across an await."""
    return threading.Lock()


def beside(work: Callable[[], None], name: str) -> None:
    """Run work in a thread of its own that does not keep the process alive."""
    threading.Thread(target=work, name=name, daemon=True).start()


def is_awaited(store: Any) -> bool:  # Any: Store | AsyncStore
    """Say which form of a store this is: whether its calls are awaited."""
    return inspect.iscoroutinefunction(store.load)


class PerThread(threading.local):
    """A place for objects that belong to one thread, such as a database connection."""


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
        if _on_asyncio():
            return await asyncio.to_thread(call, *args)
        import trio  # whoever runs us on trio has it

        return await trio.to_thread.run_sync(call, *args)

    async def pause(self, seconds: float) -> None:
        if _on_asyncio():
            await asyncio.sleep(seconds)
            return
        import trio  # whoever runs us on trio has it

        await trio.sleep(seconds)

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        if _on_asyncio():
            async with asyncio.timeout(seconds):
                yield
            return
        import trio  # whoever runs us on trio has it

        try:
            with trio.fail_after(seconds):
                yield
        except trio.TooSlowError:
            raise TimeoutError from None


def _on_asyncio() -> bool:
    if "trio" not in sys.modules:
        return True
    return _get_running_loop() is not None


def on_loop() -> bool:
    """Say whether an event loop runs in this thread, so that blocking here would hold up everybody."""
    if _get_running_loop() is not None:  # the form that raises costs four times as much, in every blocking view
        return True
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


def running_loop() -> object | None:
    """Return the asyncio loop that runs in this thread, for things that belong to one; None on trio or without a loop."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def this_loop() -> Any:  # Any: an asyncio loop, or a token of trio's, which has no types here
    """Return what `run_on` needs to come back to the event loop that runs in this thread."""
    loop = _get_running_loop()
    if loop is not None:
        return loop
    import trio  # whoever runs us on trio has it

    return trio.lowlevel.current_trio_token()


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
        if not _on_asyncio():
            raise SettingsError(
                "store", "asynchronous", "waits on asyncio, and this is trio.", "Give the store's blocking form."
            )
        loop = asyncio.get_running_loop()
        free = self._free.get(loop)
        if free is None:
            free = self._free[loop] = asyncio.Semaphore(self._number)
        if free.locked():
            async with asyncio.timeout(seconds):
                await free.acquire()
        else:
            await free.acquire()

    def give(self) -> None:
        """Give a place back, on the same loop."""
        self._free[asyncio.get_running_loop()].release()


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
