"""Locks, flags and threads, under names of our own."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["Flag", "Mutex", "PerThread", "beside", "drop_oldest", "is_awaited", "mutex", "this_thread"]

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


def drop_oldest(kept: dict[Any, Any]) -> None:  # Any: whatever is kept
    """Make room in a dict that threads share: what has been in it longest goes, unless another thread is at it just now."""
    with suppress(RuntimeError, StopIteration):  # that has put something in since we began to look, or taken the last
        kept.pop(next(iter(kept)), None)


def is_awaited(store: Any) -> bool:  # Any: Store | AsyncStore
    """Say which form of a store this is: whether its calls are awaited."""
    return inspect.iscoroutinefunction(store.load)


class PerThread(threading.local):
    """A place for objects that belong to one thread, such as a database connection."""
