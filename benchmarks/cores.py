"""Which core a process runs on: a hop between two of them costs more than most of what is measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["on_core"]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this process, and those it starts meanwhile, on one core; where none can be chosen, do nothing."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[core]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
