"""Read the few short fields that a query, a form or a JSON body of our endpoints may carry; nothing in here raises."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

__all__ = ["Fields", "are_text", "body_fields", "minutes_of", "query_fields", "text_of"]

#: Each field with its different values as they came; blank ones are left out, so that an empty list means "not given".
Fields = Mapping[str, list[object]]

_MINUTES: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_MOST_FIELDS: Final = 100


def query_fields(target: str) -> Fields:
    """Return the fields in the query of a request target; none if there are absurdly many."""
    return _form(target.partition("?")[2]) or {}


def body_fields(body: bytes, content_type: str | None) -> Fields | None:
    """Return the fields of a urlencoded form or a JSON object; None for a body that is neither."""
    if not body.strip():
        return {}
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return _form(body.decode("utf-8", "replace"))
    if kind != "application/json":
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    return {name: [] if _is_blank(value) else [value] for name, value in document.items()}


def _form(text: str) -> Fields | None:
    try:
        pairs = parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return None
    return {
        name: list(dict.fromkeys(value for value in values if not _is_blank(value))) for name, values in pairs.items()
    }


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def text_of(fields: Fields, name: str) -> str | None:
    """Return a field that was given once and as text; None for a field given several times, or as something else."""
    values = fields.get(name, [])
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None


def are_text(fields: Fields) -> bool:
    """Say whether fields can be written down again: half a surrogate pair cannot (RFC 8259 §8.2)."""
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def minutes_of(fields: Fields) -> float | None:
    """Return `minutes`; None if not given, and NaN, which lies in no range, for what is not one plain number."""
    values = fields.get("minutes", [])
    if not values:
        return None
    value = values[0] if len(values) == 1 else None
    if isinstance(value, str) and _MINUTES.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e9:
        return math.nan
    return float(value)
