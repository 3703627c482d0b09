"""What stands under a record's key in Redis: a pulse of fixed width, then handles, then the body, as one string.

    offset  field
    0       version of this layout (1)
    1       flags: 1 has an inactivity deadline, 2 was presented, 4 has ended
    2       length of the reason it ended for, 0 while it lives
    3       length of the handles (2 bytes)
    5       lengths of the core and of the rest of the body (4 bytes each)
    13      generation, revision (4 bytes each)
    21      authenticated_at, last_seen_at, inactivity_deadline, keep_until, renewed_at, presented_at or ended_at, and the
            instant until which the handles' entries are kept (8 bytes each)
    77      reason, handles, core, rest

Numbers are big-endian, times IEEE doubles. So a script moves the pulse without knowing the body. Core and rest are one
stream of deflate, flushed between them: the core is what an ended record keeps (L16), so a script ends a record by
cutting the rest off. Handles stand apart, since a save replaces the body and leaves them.
"""

from __future__ import annotations

import json
import re
import zlib
from math import isfinite
from struct import Struct
from typing import Final

from session_middleware.core.record import SessionRecord
from session_middleware.errors import RecordUnreadable
from session_middleware.stores.packing import COMMON

__all__ = ["INSTANT", "entries_until", "handles_in", "packed_body", "read", "written"]

#: How a script is given an instant, and how one is stored: to the last bit.
INSTANT: Final = Struct(">d")

_VERSION: Final = 1
_PULSE: Final = Struct(">BBBHIIIIddddddd")
_DEADLINE, _PRESENTED, _ENDED = 1, 2, 4

#: Seconds by which entries of the handles outlive a session's longest life, so that no touch has to move them: ended
#: records are kept after it, and settings change.
_ENTRIES_OUTLIVE: Final = 7 * 86_400.0

#: Bytes that a body may unpack to, so that what somebody else has written cannot fill our memory. A larger body is stored
#: as it is.
_MOST: Final = 1 << 20

#: What `handle_of` makes: 12 bytes in hexadecimal.
_SHORT_HANDLE: Final = re.compile(r"[0-9a-f]{24}")
_SHORT: Final = 12


def written(record: SessionRecord) -> bytes:
    """Return what is stored of a record."""
    core, rest = packed_body(record)
    handles = _packed_handles(record.handles)
    reason = b"" if record.ended_at is None else (record.end_reason or "").encode()
    if record.ended_at is not None:
        rest = b""
    mark = record.presented_at if record.ended_at is None else record.ended_at
    flags = (
        (_DEADLINE if record.inactivity_deadline is not None else 0)
        | (_PRESENTED if record.presented_at is not None and record.ended_at is None else 0)
        | (_ENDED if record.ended_at is not None else 0)
    )
    pulse = _PULSE.pack(
        _VERSION,
        flags,
        len(reason),
        len(handles),
        len(core),
        len(rest),
        record.generation,
        record.revision,
        record.authenticated_at,
        record.last_seen_at,
        record.inactivity_deadline or 0.0,
        record.keep_until,
        record.renewed_at,
        mark or 0.0,
        max(record.keep_until, record.authenticated_at + record.limits.absolute_lifetime) + _ENTRIES_OUTLIVE,
    )
    return b"".join((pulse, reason, handles, core, rest))


def packed_body(record: SessionRecord) -> tuple[bytes, bytes]:
    """Return the body in two pieces: what an ended record keeps, and the rest."""
    bare = record.evolve(handles=())
    core = bare.ended("", 0.0, 0.0).encode_body()
    kept = json.loads(core)
    others = {name: value for name, value in json.loads(bare.encode_body()).items() if name not in kept}
    rest = json.dumps(others, separators=(",", ":"), ensure_ascii=False, allow_nan=False)[1:-1]
    more = b"," + rest.encode("utf-8", "surrogatepass") if rest else b""
    level = 9 if len(core) + len(more) <= _MOST else 0
    deflater = zlib.compressobj(level, zlib.DEFLATED, -12, 6, zlib.Z_DEFAULT_STRATEGY, COMMON)
    first = deflater.compress(core[:-1]) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return first, deflater.compress(more) + deflater.flush()


def read(key: bytes, value: object) -> SessionRecord:
    """Return the record of a stored value.

    Raises:
        RecordUnreadable: it was written by something else or a later version, or is damaged.
    """
    if not isinstance(value, bytes) or len(value) < _PULSE.size or value[0] != _VERSION:
        raise _unreadable(key)
    (_, flags, reason, handles, core, rest, generation, revision, _, seen, deadline, keep, renewed, mark, _) = (
        _PULSE.unpack_from(value)
    )
    if not isfinite(seen + deadline + keep + renewed + mark):
        raise _unreadable(key)
    after_reason = _PULSE.size + reason
    start = after_reason + handles
    if start + core + rest != len(value):
        raise _unreadable(key)
    inflater = zlib.decompressobj(-12, COMMON)
    ended = flags & _ENDED
    try:
        text = inflater.decompress(value[start:], max(_MOST, len(value)))
        if not ended and not inflater.eof:
            raise _unreadable(key)
        end_reason = value[_PULSE.size : after_reason].decode() if ended else None
        body = b"".join((text, _handles_text(value[after_reason:start]), b"}"))
    except (zlib.error, UnicodeDecodeError):
        raise _unreadable(key) from None
    return SessionRecord.decode(
        key,
        body,
        last_seen_at=seen,
        inactivity_deadline=deadline if flags & _DEADLINE else None,
        keep_until=keep,
        renewed_at=renewed,
        generation=generation,
        presented_at=mark if flags & _PRESENTED else None,
        revision=revision,
        ended_at=mark if ended else None,
        end_reason=end_reason,
    )


def handles_in(value: bytes) -> list[str]:
    """Return the handles of a stored value, of which the body may be cut off; none where they are damaged."""
    fields = _PULSE.unpack_from(value)
    start = _PULSE.size + fields[2]
    text = _handles_text(value[start : start + fields[3]])
    try:
        return list(json.loads(text[5:] or b"[]"))
    except ValueError:
        return []


def entries_until(value: bytes) -> float:
    """Return the instant until which the handles' entries of a stored value are kept."""
    until: float = _PULSE.unpack_from(value)[-1]
    return until


def _packed_handles(handles: tuple[str, ...]) -> bytes:
    if not handles:
        return b""
    if all(_SHORT_HANDLE.fullmatch(handle) for handle in handles):
        return b"\0" + b"".join(bytes.fromhex(handle) for handle in handles)
    return json.dumps(list(handles), separators=(",", ":")).encode()


def _handles_text(packed: bytes) -> bytes:
    """Return the handles as they stand in a body."""
    if not packed:
        return b""
    if packed[0]:
        return b',"h":' + packed
    shorts = [packed[at : at + _SHORT].hex() for at in range(1, len(packed), _SHORT)]
    return (',"h":["' + '","'.join(shorts) + '"]').encode()


def _unreadable(key: bytes) -> RecordUnreadable:
    return RecordUnreadable(
        f"What Redis holds under the key of {key[:4].hex()}... is no session record of a version this one reads; it "
        "was written by something else or damaged. It is left as it is."
    )
