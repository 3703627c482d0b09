"""Our configuration: the README's. No switch of ours is set for a benchmark."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contenders import SECRET
from session_middleware import Settings
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.watched_store import WatchedStore

__all__ = ["settings", "store", "traffic"]

#: About what a session of the reference record takes in Redis.
RECORD_BYTES = 250

#: Keeps the folders of SQLite files until the process ends.
_folders: list[tempfile.TemporaryDirectory[str]] = []


def settings() -> Settings:
    """Return the README's settings."""
    return Settings(secret_keys=[SECRET])


def folder() -> Path:
    """Return a new folder that goes with this process."""
    made = tempfile.TemporaryDirectory()
    _folders.append(made)
    return Path(made.name)


def store(kind: str, counting: bool, *, asynchronous: bool = False) -> Any:  # Any: a Store | AsyncStore
    """Return a store, watched if its calls are to be counted.

    Args:
        kind: "memory", "sqlite" in a file of its own, "redis", or "near-redis": behind a near cache.
        counting: whether its calls are to be counted; behind a near cache, those that reach the server.
        asynchronous: for an app on an event loop.
    """
    near, _, name = kind.rpartition("-")
    made: Any
    if name == "sqlite":
        from session_middleware.stores.sqlite import SQLiteStore

        made = SQLiteStore(folder() / "sessions.db")
    elif name == "redis":
        from session_middleware.stores.redis import AsyncRedisStore, RedisStore

        made = (AsyncRedisStore if asynchronous else RedisStore).from_url(os.environ["BENCHMARK_REDIS_URL"])
    else:
        made = MemoryStore()
    watched = WatchedStore(made) if counting else made
    if near:
        from session_middleware.stores.nearcache import near_cache

        if counting:
            setattr(watched, "announcements", made.announcements)  # noqa: B010 # a power that nobody counts
        return near_cache(watched)
    return watched


def redis_client(*, asynchronous: bool) -> Any:  # Any: a client of redis-py
    """Return the client that our store uses, timeouts and bounded pool included."""
    from session_middleware.stores.redis.url import address_of

    return address_of(os.environ["BENCHMARK_REDIS_URL"]).client(asynchronous=asynchronous, timeout=2.0)


def traffic(watched: Any) -> Callable[[], tuple[int, int]]:  # Any: a Store
    """Return what counts the calls of a store."""
    watched = getattr(watched, "store", None) if hasattr(watched, "reload") else watched
    return (lambda: (watched.total, watched.writes)) if isinstance(watched, WatchedStore) else (lambda: (0, 0))
