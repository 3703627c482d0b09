"""Our configuration: the README's. No switch of ours is set for a benchmark."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contenders import SECRET
from session_middleware import Settings
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.watched_store import WatchedStore

__all__ = ["settings", "store", "traffic"]

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


def store(kind: str, counting: bool) -> Any:  # Any: a Store
    """Return a store: "memory", or "sqlite" in a file of its own; watched, if its calls are to be counted."""
    made: Any
    if kind == "sqlite":
        from session_middleware.stores.sqlite import SQLiteStore

        made = SQLiteStore(folder() / "sessions.db")
    else:
        made = MemoryStore()
    return WatchedStore(made) if counting else made


def traffic(watched: Any) -> Callable[[], tuple[int, int]]:  # Any: a Store
    """Return what counts the calls of a store."""
    return (lambda: (watched.total, watched.writes)) if isinstance(watched, WatchedStore) else (lambda: (0, 0))
