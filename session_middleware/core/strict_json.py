"""JSON in tokens, read so that it has one meaning only: of a JWT's segments whatever another parser reads differently is refused."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

from session_middleware.core.tokens import b64decode

__all__ = ["parsed_segment"]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a repeated name: parsers disagree on which one counts (RFC 8725bis, RFC 8259 §4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _integer(text: str) -> int:
    """Read an integer of at most 64 bits, as ids of users and messages are; longer ones are slow to read."""
    if len(text) > 20:
        raise ValueError("an integer is too long")
    return int(text)


def _number(text: str) -> float:
    """Read a number with a fraction or exponent; 1e400 would be infinite."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _constant(text: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads and JSON does not have (RFC 8259 §6)."""
    raise ValueError("NaN and Infinity are not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant
)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def parsed_segment(segment: str) -> dict[str, Any] | None:
    """Return the one object a segment can mean: canonical base64url, UTF-8 without BOM, strict JSON; else None.

    None instead of an exception, because a chained JSONDecodeError would carry the token along.
    """
    try:
        raw = b64decode(segment)
        text = raw.decode("utf-8")  # never json.loads(bytes): it guesses UTF-16 and -32
        found, end = _DECODER.raw_decode(text)
        if b"\\u" in raw:
            _ENCODER.encode(found).encode("utf-8")  # an escaped half of a surrogate pair is no text (RFC 8259 §8.2)
    except (ValueError, RecursionError):
        return None
    return found if type(found) is dict and end == len(text) else None
