"""The blocking session of a plain function that an asynchronous app runs in a thread; its verbs run on the app's loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from session_middleware.errors import SessionNotAttached
from session_middleware.runtime import this_thread
from session_middleware.session import Session

if TYPE_CHECKING:
    from session_middleware.adapters._asgi_connection import Connection
    from session_middleware.engine import Engine

__all__ = ["OnLoop", "refuse_in_thread", "session_in_thread"]

T = TypeVar("T")


class OnLoop(Protocol):
    """Runs an async function on the loop that serves a request, from a thread, and waits for it there.

    Raises:
        RuntimeError: the loop cannot be reached from this thread, or runs no more.
    """

    def __call__(self, call: Callable[[], Coroutine[Any, Any, T]], /) -> T: ...  # Any: a coroutine's other types


def session_in_thread(engine: Engine, x: Connection, on_loop: OnLoop) -> Session:
    """Return the session of a request for use in a thread.

    Args:
        engine: the engine.
        x: the request; it says which thread's loop serves it.
        on_loop: how to come back to that loop.

    Raises:
        SessionNotAttached: this is the thread of that loop.
    """
    served_by = x.thread
    _refuse_in(served_by, "sync_session_from()")

    def run(coroutine: Coroutine[Any, Any, T]) -> T:  # Any: a coroutine's send and yield types
        async def awaited() -> T:
            return await coroutine

        try:
            _refuse_in(served_by, "A verb of Session")
            return on_loop(awaited)
        except RuntimeError as fault:
            if inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED:
                raise
            coroutine.close()
            if isinstance(fault, SessionNotAttached):
                raise
            raise SessionNotAttached(
                "A verb of Session was called where the event loop of its request cannot be reached: in a thread of "
                "your own, or after the loop has stopped. Call it in the endpoint, or await AsyncSession's."
            ) from None

    return Session(engine, x, run)


def _refuse_in(thread: int, what: str) -> None:
    if thread == this_thread():
        raise SessionNotAttached(
            f"{what} was called on the event loop, where it would hold up every other request. In an `async def` "
            "endpoint use session_from() and await its verbs."
        )


def refuse_in_thread(x: Connection) -> None:
    """Refuse to give a session whose verbs must be awaited to a thread, where nobody can await them.

    Raises:
        SessionNotAttached: this is not the thread whose loop serves the request.
    """
    if x.thread != this_thread():
        raise SessionNotAttached(
            "session_from() gives a session whose verbs must be awaited, and a `def` endpoint cannot do that. Use "
            "sync_session_from() here, or make it `async def`."
        )
