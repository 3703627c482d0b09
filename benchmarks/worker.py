"""One contender in a process of its own: answers each line "requests" on stdin with their median in microseconds.

    python -m benchmarks.worker GROUP NAME [count | hops]
    python -m benchmarks.worker GROUP

It begins by saying about how many microseconds a request takes. With `count` it makes 1,000 requests instead, prints
store calls, writes and Set-Cookie headers for each, and ends; with `hops` it prints how often a request is handed to a
thread and how often the event loop turns for it. Without a name all contenders of the group are in this process, and what
is printed is a JSON object of their microseconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.contenders import Contender, make, make_together

WARM_UP = 300
COUNTED = 1_000
HOPS = 100


def main() -> None:
    group, *named = sys.argv[1:]
    name, how = (named[0], named[1:]) if named else ("", [])
    contenders = {name: make(group, name, counting=how == ["count"])} if name else make_together(group)
    for contender in contenders.values():
        contender.sign_in()
        contender.client.burst(contender.path, HOPS if how == ["hops"] else WARM_UP)
    if how:
        print(json.dumps(counted(contender) if how == ["count"] else hops(contender)), flush=True)
        return
    gc.collect()
    gc.freeze()  # what stands is not to be looked through while others are measured
    print(json.dumps(micros(contenders, 50)), flush=True)
    for line in sys.stdin:
        print(json.dumps(micros(contenders, int(line))), flush=True)
    for contender in contenders.values():
        contender.client.close()


def micros(contenders: Mapping[str, Contender], requests: int) -> dict[str, float]:
    """Return the median microseconds of some requests to each, in turns of one where there are several."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    turns = list(contenders.items())
    for _ in range(requests if len(turns) > 1 else 1):
        for name, contender in turns:
            times[name] += contender.client.burst(contender.path, 1 if len(turns) > 1 else requests)
        turns.reverse()  # neither is always the one that comes second
    return {name: statistics.median(taken) * 1e6 for name, taken in times.items()}


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
