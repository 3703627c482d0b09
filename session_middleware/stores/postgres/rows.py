"""What goes to PostgreSQL and comes back, in its binary form: parameters of the statements, rows as records."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Protocol

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import BODY_VERSION, SessionRecord
from session_middleware.errors import RecordUnreadable
from session_middleware.stores.packing import packed, unpacked

__all__ = [
    "Parameters",
    "Read",
    "Rows",
    "adding",
    "counted",
    "creating",
    "ending",
    "instants",
    "is_standby",
    "listed",
    "listing",
    "locking",
    "pruning",
    "renewing",
    "saving",
    "touched_with",
    "version_in",
    "walked",
    "walking",
    "written",
]

#: A parameter or a field; None is NULL.
Parameters = Sequence[bytes | None]

_float8 = struct.Struct("!d")
_int4 = struct.Struct("!i")
_int8 = struct.Struct("!q")
_array = struct.Struct("!iiiii")  # dimensions, whether one is NULL, type, number, first index
_BYTEA_OID: Final = 17
_DIMENSIONS: Final = (_int4.pack(1), _int4.pack(0))  # of a list, and of an empty one

#: Records a process remembers having parsed: a few megabytes.
_KNOWN: Final = 2000


class Rows(Protocol):
    """What is used of a result of libpq."""

    @property
    def ntuples(self) -> int: ...
    def get_value(self, row_number: int, column_number: int) -> bytes | None: ...


# --- parameters -------------------------------------------------------------------------------------------------------


def creating(record: SessionRecord) -> Parameters:
    """Return the parameters of `create`."""
    seal, kept, body = _written(record)
    return (
        record.key,
        seal,
        kept,
        body,
        _handles_out(record.handles),
        _float8.pack(record.authenticated_at),
        _float8.pack(record.last_seen_at),
        _maybe(record.inactivity_deadline),
        _float8.pack(record.keep_until),
        _float8.pack(record.renewed_at),
        _maybe(record.presented_at),
        _maybe(record.ended_at),
        None if record.end_reason is None else _text_out(record.end_reason),
        _int4.pack(record.generation),
        _int4.pack(record.revision),
        _second(record.keep_until),
        _second(record.renewed_at),
        _float8.pack(record.renewed_at),
    )


def touched_with(key: bytes, touch: Touch) -> Parameters:
    """Return the parameters of the statement that `Statements.touching` names."""
    generation = touch.presented_generation
    parameters = (
        key,
        _float8.pack(touch.last_seen_at),
        _maybe(touch.inactivity_deadline),
        _float8.pack(touch.keep_until),
        None if generation is None else _int4.pack(generation),
        _maybe(touch.presented_at),
    )
    return (*parameters, _second(touch.keep_until)) if touch.exact else parameters


def saving(record: SessionRecord) -> Parameters:
    """Return the parameters of `save`."""
    return (record.key, _int4.pack(record.revision), *_written(record), _float8.pack(record.authenticated_at))


def renewing(key: bytes, generation: int, to: int, at: float) -> Parameters:
    """Return the parameters of `renew`."""
    return (key, _int4.pack(generation), _int4.pack(to), _float8.pack(at))


def ending(key: bytes, reason: str, at: float, keep_until: float) -> Parameters:
    """Return the parameters of `end`."""
    return (key, _text_out(reason), _float8.pack(at), _float8.pack(keep_until), _second(keep_until))


def listing(handle: str, now: float) -> Parameters:
    """Return the parameters of `list`."""
    return (_text_out(handle), _float8.pack(now))


def instants(*numbers: float) -> Parameters:
    """Return numbers as parameters."""
    return tuple(map(_float8.pack, numbers))


def adding(key: str, until: float, now: float) -> Parameters:
    """Return the parameters of `add_once`."""
    return (sha256(_text_out(key)).digest()[:16], *instants(until, now))


def pruning(now: float, limit: int) -> Parameters:
    """Return the parameters of `prune`."""
    return (_second(now), _float8.pack(now), _int8.pack(limit))


def walking(after: bytes | None, limit: int) -> Parameters:
    """Return the parameters of `walk`, which goes on behind a key."""
    return (after or b"", _int8.pack(limit))


def locking(schema: str, handle: str) -> Parameters:
    """Return the parameter of `lock`: a number that this handle of this schema has to itself."""
    return (sha256(schema.encode() + b"\0" + _text_out(handle)).digest()[:8],)


def _text_out(text: str) -> bytes:
    """Return any text as bytes, also what UTF-8 itself has no form for."""
    return text.encode("utf-8", "surrogatepass")


def _written(record: SessionRecord) -> tuple[bytes, bytes, bytes]:
    """Return seal, kept and body; the handles have a column of their own, which a save leaves alone (L14)."""
    record = record.evolve(handles=())
    body = packed(record.encode_body())
    kept = b"" if record.ended_at is not None else packed(record.ended("", 0.0, 0.0).encode_body())
    return sha256(bytes([BODY_VERSION]) + kept + body).digest()[:4], kept, body


def _maybe(instant: float | None) -> bytes | None:
    return None if instant is None else _float8.pack(instant)


def _second(instant: float) -> bytes:
    """Return the whole second of an instant, within what a bigint can hold."""
    return _int8.pack(math.floor(max(-4e18, min(instant, 4e18))))


def _handles_out(handles: Sequence[str]) -> bytes:
    if not handles:
        return _int4.pack(0) * 2 + _int4.pack(_BYTEA_OID)
    texts = [_text_out(handle) for handle in handles]
    return _array.pack(1, 0, _BYTEA_OID, len(texts), 1) + b"".join(_int4.pack(len(text)) + text for text in texts)


# --- rows -------------------------------------------------------------------------------------------------------------


def record_in(key: bytes, rows: Rows, row: int = 0) -> SessionRecord:
    """Return the record in a row of what the statements call fields.

    Raises:
        RecordUnreadable: it is none.
    """
    field = rows.get_value
    reason, handles = field(row, 8), field(row, 9)
    record = SessionRecord.decode(
        key,
        unpacked(field(row, 10)),
        last_seen_at=_number(field(row, 0)),
        inactivity_deadline=_instant(field(row, 1)),
        keep_until=_number(field(row, 2)),
        renewed_at=_number(field(row, 3)),
        generation=_count(field(row, 4)),
        presented_at=_instant(field(row, 5)),
        revision=_count(field(row, 6)),
        ended_at=_instant(field(row, 7)),
        end_reason=None if reason is None else _text_in(reason),
    )
    # The body has none; a copy with them would cost a third of the reading, and nobody else has seen this one yet.
    object.__setattr__(record, "handles", _handles_in(handles))
    return record


class Read:
    """What `load` has read lately, so that a row that comes again as it was is not parsed again.

    Parsing takes as long as asking. The rows are compared whole, byte for byte, so nothing is believed that the server
    has not just said.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[tuple[bytes | None, ...], SessionRecord]] = {}

    def loaded(self, key: bytes, rows: Rows) -> SessionRecord | None:
        """Return what `load` found, as `end_before` left it."""
        if not rows.ntuples:
            self.forget(key)
            return None
        field = rows.get_value
        row = tuple([field(0, column) for column in range(12)])
        known = self._known.get(key)
        if known is not None and known[0] == row:
            return known[1]
        record, revoked_at = record_in(key, rows), _instant(row[11])
        if revoked_at is not None:
            record = record.ended("revoked", revoked_at, record.keep_until)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[key] = (row, record)
        return record

    def forget(self, key: bytes) -> None:
        """Keep nothing of a session that has ended (L16)."""
        self._known.pop(key, None)


def written(key: bytes, rows: Rows) -> SessionRecord | None:
    """Return what a touch, save or renewal wrote; None: nothing."""
    return record_in(key, rows) if rows.ntuples else None


def listed(rows: Rows) -> list[SessionRecord]:
    """Return what `list` found; a damaged row does not keep a user from ending the others."""
    found = []
    for row in range(rows.ntuples):
        try:
            found.append(record_in(rows.get_value(row, 11) or b"", rows, row))
        except RecordUnreadable:
            continue
    return found


def walked(rows: Rows, limit: int) -> tuple[list[bytes], bytes | None]:
    """Return the keys that `walk` found, and where it goes on."""
    keys = [rows.get_value(row, 0) or b"" for row in range(rows.ntuples)]
    return keys, keys[-1] if len(keys) == limit else None


def counted(rows: Rows) -> tuple[int, int]:
    """Return the two numbers that `prune` answers."""
    return _big(rows.get_value(0, 0)), _big(rows.get_value(0, 1))


def is_standby(rows: Rows) -> bool:
    """Say whether `about` was answered by a server that follows another."""
    return rows.get_value(0, 1) == b"\x01"


def version_in(rows: Rows) -> int | None:
    """Return the version that `about` answers; None: there is none."""
    value = rows.get_value(0, 0)
    return None if value is None else _count(value)


def _number(value: bytes | None) -> float:
    number: float = _float8.unpack(value or b"")[0]
    return number


def _instant(value: bytes | None) -> float | None:
    return None if value is None else _number(value)


def _count(value: bytes | None) -> int:
    count: int = _int4.unpack(value or b"")[0]
    return count


def _big(value: bytes | None) -> int:
    count: int = _int8.unpack(value or b"")[0]
    return count


def _text_in(value: bytes) -> str:
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise _damaged() from None


def _handles_in(value: bytes | None) -> tuple[str, ...]:
    if value is None or value[:4] not in _DIMENSIONS:
        raise _damaged()
    handles, at = [], _array.size
    while at < len(value):
        size = _int4.unpack_from(value, at)[0]
        if size < 0:  # NULL
            raise _damaged()
        end = at + 4 + size
        handles.append(_text_in(value[at + 4 : end]))
        at = end
    return tuple(handles)


def _damaged() -> RecordUnreadable:
    return RecordUnreadable("A text beside a session's body is damaged; the row is left as it is.")
