"""The few things that wait or lock; the only importer of threading and asyncio. The adapter picks a runtime."""

from session_middleware.runtime.binding import bind
from session_middleware.runtime.flights import OneFlight
from session_middleware.runtime.loops import (
    LoopRuntime,
    Runtime,
    ThreadRuntime,
    forget_closed,
    on_loop,
    run_on,
    run_sync,
    running_loop,
    this_loop,
)
from session_middleware.runtime.places import LoopPlaces, ThreadPlaces
from session_middleware.runtime.threads import (
    Flag,
    Mutex,
    PerThread,
    beside,
    drop_oldest,
    is_awaited,
    mutex,
    this_thread,
)
from session_middleware.runtime.waits import Bell, Cancelled, Cut, Interruptible, at_once, side_by_side, to_its_end

__all__ = [
    "Bell",
    "Cancelled",
    "Cut",
    "Interruptible",
    "at_once",
    "side_by_side",
    "Flag",
    "LoopPlaces",
    "LoopRuntime",
    "Mutex",
    "OneFlight",
    "PerThread",
    "Runtime",
    "ThreadPlaces",
    "ThreadRuntime",
    "beside",
    "bind",
    "drop_oldest",
    "forget_closed",
    "is_awaited",
    "mutex",
    "on_loop",
    "run_on",
    "run_sync",
    "running_loop",
    "this_loop",
    "this_thread",
    "to_its_end",
]
