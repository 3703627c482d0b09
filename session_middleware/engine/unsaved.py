"""Says so where claims or data are written after the response has started, and nobody calls `save()`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Unsaved"]


class Unsaved:
    """Belongs to one exchange and goes with it; what is unsaved then is lost, which is not to happen without a word.

    Nothing else can tell: the response has gone out, and a stream, a socket or a background task may write and save as long
    as it runs. Python itself speaks of a coroutine that nobody awaited in this way.

    Args:
        tell: gets the names of what was lost, no values.
    """

    __slots__ = ("_before", "_claims", "_data", "_tell")

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.hold(None, None, None)

    def hold(
        self,
        claims: Mapping[str, Any] | None,  # Any: JSON values
        data: Mapping[str, Any] | None,
        before: Mapping[str, Any] | None,
    ) -> None:
        """Take what is not saved yet: changed claims, and the app's working copy of data beside what it was made of."""
        self._claims = claims or {}
        self._data, self._before = ({}, {}) if data is None or before is None else (data, before)

    def __del__(self) -> None:
        names = set(self._claims)
        if self._data != self._before:
            names |= {name for name in self._data if self._data[name] != self._before.get(name)}
            names |= self._before.keys() - self._data.keys()
        if names:
            self._tell(", ".join(sorted(map(str, names))))
