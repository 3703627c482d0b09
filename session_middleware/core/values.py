"""What an app may keep in claims and data: values that JSON gives back as they were (L14)."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from session_middleware.core.exchange import Exchange
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError

__all__ = ["as_json_values", "data_changes"]


def as_json_values(name: str, value: Any) -> Any:  # Any: what the app gives
    """Return a value if it can be stored as JSON and comes back the same.

    Raises:
        SettingsError: it cannot.
    """
    try:
        back = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as problem:
        raise SettingsError(
            name,
            f"<{type(value).__name__}>",
            f"cannot be stored as JSON ({problem}).",
            "Use text, numbers, lists and dicts.",
        ) from None
    return back


def data_changes(x: Exchange, record: SessionRecord) -> tuple[dict[str, Any], set[str]]:  # Any: JSON values
    """Return what the app wrote to its working copy of the record's data, and the names it removed."""
    if x.data is None:
        return {}, set()
    before = record.data
    as_json_values("data", x.data)
    written = {k: deepcopy(v) for k, v in x.data.items() if k not in before or before[k] != v}
    return written, set(before) - set(x.data)
