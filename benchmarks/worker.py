"""One contender in a process of its own: answers each line "requests" on stdin with their median in microseconds.

    python -m benchmarks.worker GROUP NAME [count | hops]

It begins by saying about how many microseconds a request takes. With `count` it makes 1,000 requests instead, prints
store calls, writes and Set-Cookie headers for each, and ends; with `hops` it prints how often a request is handed to a
thread and how often the event loop turns for it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.contenders import Contender, make

WARM_UP = 300
COUNTED = 1_000
HOPS = 100


def main() -> None:
    group, name, *how = sys.argv[1:]
    contender = make(group, name, counting=how == ["count"])
    contender.sign_in()
    client, path = contender.client, contender.path
    client.burst(path, HOPS if how == ["hops"] else WARM_UP)
    if how:
        print(json.dumps(counted(contender) if how == ["count"] else hops(contender)), flush=True)
        return
    gc.collect()
    gc.freeze()  # what stands is not to be looked through while others are measured
    print(micros(contender, 50), flush=True)
    for line in sys.stdin:
        print(micros(contender, int(line)), flush=True)
    client.close()


def micros(contender: Contender, requests: int) -> float:
    """Return the median microseconds of some requests."""
    return statistics.median(contender.client.burst(contender.path, requests)) * 1e6


def counted(contender: Contender) -> list[float]:
    """Return store calls, writes and Set-Cookie headers of a request."""
    jar = contender.client.jar
    before = (*contender.traffic(), jar.set_cookies)
    contender.client.burst(contender.path, COUNTED)
    after = (*contender.traffic(), jar.set_cookies)
    return [(now - then) / COUNTED for now, then in zip(after, before, strict=True)]


def hops(contender: Contender) -> list[float]:
    """Return how often a request is handed to a thread, and how often the loop turns for it."""
    seen: Counter[str] = Counter()
    loop: Any = asyncio.base_events.BaseEventLoop  # typeshed hides what it turns
    submit, turn = ThreadPoolExecutor.submit, loop._run_once

    def submitted(*args: Any, **named: Any) -> Any:
        seen["threads"] += 1
        return submit(*args, **named)

    def turned(self: Any) -> None:
        seen["turns"] += 1
        turn(self)

    ThreadPoolExecutor.submit, loop._run_once = submitted, turned  # type: ignore[method-assign]
    contender.client.burst(contender.path, HOPS)
    ThreadPoolExecutor.submit, loop._run_once = submit, turn  # type: ignore[method-assign]
    return [seen["threads"] / HOPS, round(seen["turns"] / HOPS, 1)]


if __name__ == "__main__":
    main()
