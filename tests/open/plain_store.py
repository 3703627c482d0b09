"""A store as somebody may write one who knows of no power but the seven methods."""

from __future__ import annotations

from typing import Any

from session_middleware.core.record import SessionRecord
from session_middleware.stores.memory import MemoryStore


class Plain:
    """A store of somebody's own, that tells nothing and compares nothing."""

    short_calls = frozenset({"create", "load", "touch", "save", "renew", "end", "list"})

    def __init__(self) -> None:
        self._inner = MemoryStore()
        self.loaded: list[bytes] = []

    def load(self, key: bytes) -> SessionRecord | None:
        self.loaded.append(key)
        return self._inner.load(key)

    def __getattr__(self, name: str) -> Any:
        if name in self.short_calls:
            return getattr(self._inner, name)
        raise AttributeError(name)
