"""What an app may give to be kept: ids and text, claims and data that JSON gives back as they were (L14)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from session_middleware.core.exchange import Exchange
from session_middleware.errors import SettingsError

__all__ = [
    "as_json_values",
    "checked_factors",
    "checked_id",
    "checked_mapping",
    "checked_subject",
    "checked_text",
    "data_changes",
    "refresh",
    "taken_along",
]


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
            _kind(value),
            f"cannot be stored as JSON ({problem}).",
            "Use text, numbers, lists and dicts.",
        ) from None
    _refuse_odd_keys(name, value)
    return back


def _kind(value: object) -> str:
    """Return what a message shows instead of the value: that may be personal, or a digest of a password."""
    return f"<{type(value).__name__}>"


def _refuse_odd_keys(name: str, value: Any) -> None:  # Any: what JSON can write
    """Refuse keys that are not text, at any depth: JSON would give them back as text."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            for key in each:
                if not isinstance(key, str):
                    raise SettingsError(
                        name,
                        f"<the key {key!r}>",
                        "is no text, and would come back as text.",
                        f"Write {str(key)!r}.",
                    )
            waiting.extend(each.values())
        elif isinstance(each, (list, tuple)):
            waiting.extend(each)


def data_changes(x: Exchange) -> tuple[dict[str, Any], set[str]]:  # Any: JSON values
    """Return what the app wrote to its working copy of the session's data, and the names it removed."""
    if x.data is None:
        return {}, set()
    before, now = x.data_from or {}, as_json_values("data", x.data)
    written = {name: value for name, value in now.items() if name not in before or before[name] != value}
    return written, set(before) - set(now)


def taken_along(
    new: Mapping[str, Any], copied: Mapping[str, Any], held: Mapping[str, Any]
) -> dict[str, Any]:  # Any: JSON values
    """Return the claims or data of a session with what was written elsewhere, since they were copied, to the one before it.

    Args:
        new: the session's own.
        copied: those of the one before, as they were copied from there.
        held: those of the one before, as they are now.
    """
    merged = dict(new)
    for name in copied.keys() | held.keys():
        if held.get(name) != copied.get(name) and merged.get(name) == copied.get(name):  # else it was changed here too
            if name in held:
                merged[name] = held[name]
            else:
                merged.pop(name, None)
    return merged


def refresh(held: dict[str, Any], record: Mapping[str, Any]) -> None:  # Any: JSON values
    """Make a working copy equal to what was stored, in place: the view goes on with the dict that it holds."""
    for name in held.keys() - record.keys():
        del held[name]
    for name, value in record.items():
        if name not in held or held[name] != value:
            held[name] = deepcopy(value)


def checked_subject(subject: object) -> str:
    """Return the id of a user.

    Raises:
        SettingsError: it is no text, or empty. The number 5 is nobody, where the user was signed in as "5".
    """
    if not isinstance(subject, str) or not subject:
        raise SettingsError("subject", subject, "is not a user id.", "Give a non-empty str, for example str(user.id).")
    return subject


def checked_id(name: str, id: object) -> str:
    """Return the public id of a session.

    Raises:
        SettingsError: it is no text, or empty.
    """
    if not isinstance(id, str) or not id:
        raise SettingsError(name, id, "is not the id of a session.", "Give the text that `id` of a listed session is.")
    return id


def checked_text(name: str, value: object, fix: str) -> str | None:
    """Return text, or None where there is none.

    Raises:
        SettingsError: it is something else, which not every store could give back.
    """
    if value is not None and not isinstance(value, str):
        raise SettingsError(name, _kind(value), "is not text.", fix)
    return value


def checked_mapping(name: str, value: object) -> dict[str, Any]:  # Any: JSON values
    """Return claims or data as a dict of their own, empty for None.

    Raises:
        SettingsError: it is no mapping.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(name, _kind(value), "is not a mapping.", 'Give a dict, for example {"role": "editor"}.')
    return dict(value)


def checked_factors(factors: object) -> tuple[dict[str, Any], ...]:  # Any: JSON values
    """Return how a user proved who they are.

    Raises:
        SettingsError: it is not a list of mappings of JSON values.
    """
    if (
        not isinstance(factors, Sequence)
        or isinstance(factors, (str, bytes, bytearray))
        or not all(isinstance(factor, Mapping) for factor in factors)
    ):
        raise SettingsError("factors", _kind(factors), "is not a list of dicts.", 'Write it like [{"type": "otp"}].')
    return tuple(as_json_values("factors", dict(factor)) for factor in factors)
