"""The near cache: how long a session that another process ends is still accepted here, and what a hit costs."""

from __future__ import annotations

import os
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.bars import Row, at_most
from benchmarks.clients import ASGIClient
from benchmarks.costs import _app
from benchmarks.redis_server import redis_server
from benchmarks.rounds import Spread
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.nearcache import NearCache
from session_middleware.testing.reference_record import reference_record

__all__ = ["rows"]

#: What loads the machine meanwhile: processes that sign in and out as fast as a server with some 300 logins a second.
_BUSY = 1
_PAUSE = 0.003


def rows(quick: bool) -> list[Row]:
    """Measure both; `quick` asks fewer times."""
    with redis_server() as there:
        if not there:
            return [Row("near cache", "no redis-server here", "", None)]
        return [*_lag(100 if quick else 2000), *_hit(40 if quick else 400)]


def _store() -> Any:
    from session_middleware.stores.redis import RedisStore

    return RedisStore.from_url(os.environ["BENCHMARK_REDIS_URL"], prefix="near:")


def _open(near: NearCache) -> None:
    near.load(b"nobody")
    until = time.monotonic() + 10
    while not near.state.open:
        if time.monotonic() > until:
            raise RuntimeError("the near cache does not open")
        time.sleep(0.001)  # until its listener is up


def _lag(times: int) -> list[Row]:
    """Time from another process's OK to the moment when the record is held here no more."""
    near = NearCache(_store())
    _open(near)
    lags = []
    with _processes() as (revoker, ended):
        for n in range(times):
            record = reference_record(n)
            near.create(record)
            while not near.holds(near.load(record.key) or record):
                pass  # what announced the login may still be on its way
            held = near.load(record.key)
            assert held is not None
            print(n, file=revoker.stdin, flush=True)
            seen = 0.0
            while near.holds(held):
                time.sleep(0.00005)  # the listener wants to run, too
            seen = time.monotonic()
            lags.append(max(0.0, seen - ended.get(timeout=10)) * 1e3)
    worst, lost = near.state.worst_lag or 0.0, near.state.lost
    near.close()
    if lost:
        raise RuntimeError("the line was lost meanwhile")
    lags.sort()
    p50, p99 = lags[len(lags) // 2], lags[int(len(lags) * 0.99)]
    return [
        at_most("a revocation elsewhere, Redis under load: p50 after the revoker's OK", p50, 1, "ms"),
        at_most("the same: p99", p99, 20, "ms"),
        Row("what the cache itself says of that: worst of its last 256 questions", f"{worst * 1e3:.2f} ms", "", None),
    ]


@contextmanager
def _processes() -> Iterator[tuple[subprocess.Popen[str], queue.Queue[float]]]:
    """Start the process that revokes, and those that load the machine; give what it says as it comes."""
    here = [sys.executable, "-m", "benchmarks.near_cache"]
    busy = [subprocess.Popen([*here, "busy", str(n)], stdin=subprocess.DEVNULL) for n in range(_BUSY)]
    revoker = subprocess.Popen([*here, "revoke"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ended: queue.Queue[float] = queue.Queue()

    def listen() -> None:
        assert revoker.stdout is not None
        for line in revoker.stdout:
            ended.put(float(line))

    listening = threading.Thread(target=listen)
    listening.start()
    try:
        yield revoker, ended
    finally:
        assert revoker.stdin is not None
        revoker.stdin.close()
        revoker.wait()
        listening.join()
        for process in busy:
            process.kill()
            process.wait()


def _revoke() -> None:
    """End the records whose numbers come in, and say when each was acknowledged."""
    store = _store()
    for line in sys.stdin:
        record = reference_record(int(line))
        store.end(record.key, "revoked", record.created_at + 1, record.keep_until)
        print(time.monotonic(), flush=True)


def _be_busy(number: int) -> None:
    """Sign in and out, for ever."""
    store, n = _store(), 0
    while True:
        n += 1
        record = reference_record(1_000_000 * (number + 1) + n)
        store.create(record)
        for _ in range(10):
            store.load(record.key)
        store.end(record.key, "logout", record.created_at + 1, record.keep_until)
        time.sleep(_PAUSE)  # load beside the measured revocations, not a full core of it


def _hit(times: int) -> list[Row]:
    """Compare a request whose session is held near with one whose session is in memory, on plain ASGI, interleaved."""
    near = NearCache(_store())
    _open(near)
    clients = {"near": ASGIClient(_app(near)), "memory": ASGIClient(_app(MemoryStore()))}
    for client in clients.values():
        client.call("POST", "/login")
        client.burst("/", 20)
    ratios, micros = [], []
    for _ in range(times):
        each = {name: statistics.median(client.burst("/", 50)) for name, client in clients.items()}
        ratios.append(each["near"] / each["memory"])
        micros.append(each["near"] * 1e6)
    for client in clients.values():
        client.close()
    state = near.state
    near.close()
    if state.lost:
        raise RuntimeError("the line was lost meanwhile")
    return [
        at_most("near-cache hit, the whole request / the same with MemoryStore", statistics.median(ratios), 1.3, "x"),
        Row("the request itself", f"{Spread.of(micros).text(1)} us, {state.misses} loads from Redis", "", None),
    ]


if __name__ == "__main__":
    if sys.argv[1] == "revoke":
        _revoke()
    else:
        _be_busy(int(sys.argv[2]))
