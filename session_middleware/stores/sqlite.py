"""SQLiteStore: sessions in one file, for every process and thread of one machine."""

from __future__ import annotations

import itertools
import math
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from types import TracebackType
from typing import Any, Final

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.errors import RecordUnreadable
from session_middleware.stores._sqlite_file import SQLiteFile
from session_middleware.stores.base import renewed, saved, to_evict
from session_middleware.stores.packing import packed, unpacked

__all__ = ["SQLiteStore"]

# Why it looks like this (450 bytes a session, lookups that do not grow with the table):
# * Rows are appended under a small id, so that pages are full; only 8 bytes of each random key are in an index, which
#   random order leaves a third empty. Whoever looks up compares the whole key.
# * AUTOINCREMENT: an id never comes back, so (id, version) says for ever which write a record came from.
# * `handles` repeats what the index has, 8 bytes each, so that the sweep need not read bodies.
# * `sweep_at` may be early and never moves with a touch, so a touch writes one row and no index; the sweep looks at a
#   row then, and puts it off if it is still needed.
_SCHEMA: Final = """
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL,
    version INTEGER NOT NULL,
    authenticated_at REAL NOT NULL,
    last_seen_at REAL NOT NULL,
    inactivity_deadline REAL,
    keep_until REAL NOT NULL,
    renewed_at REAL NOT NULL,
    generation INTEGER NOT NULL,
    presented_at REAL,
    revision INTEGER NOT NULL,
    ended_at REAL,
    end_reason TEXT,
    sweep_at INTEGER NOT NULL,
    handles BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX sessions_key ON sessions (substr(key, 1, 8));
CREATE INDEX sessions_sweep ON sessions (sweep_at);
CREATE TABLE handles (handle BLOB, session INTEGER, PRIMARY KEY (handle, session)) WITHOUT ROWID;
CREATE TABLE epoch (id INTEGER PRIMARY KEY, instant REAL NOT NULL, at REAL NOT NULL);
INSERT INTO epoch VALUES (1, -9e999, 0);
CREATE TABLE once (key BLOB PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX once_until ON once (until)
"""

_COLUMNS: Final = (
    "s.id, s.version, s.last_seen_at, s.inactivity_deadline, s.keep_until, s.renewed_at, s.generation, "
    "s.presented_at, s.revision, s.ended_at, s.end_reason, s.body"
)
_LOAD: Final = (
    f"SELECT {_COLUMNS}, e.instant, e.at FROM sessions s CROSS JOIN epoch e WHERE substr(s.key, 1, 8) = ? AND s.key = ?"  # noqa: S608  # constants only
)
_HOLDS: Final = (
    "SELECT 1 FROM sessions s CROSS JOIN epoch e "
    "WHERE s.id = ? AND s.version = ? AND s.key = ? AND s.ended_at IS NULL AND s.authenticated_at >= e.instant"
)
_LIST: Final = (
    f"SELECT {_COLUMNS}, s.key FROM handles h CROSS JOIN sessions s ON s.id = h.session CROSS JOIN epoch e "  # noqa: S608  # constants only
    "WHERE h.handle = ? AND s.ended_at IS NULL AND s.authenticated_at >= e.instant AND s.keep_until > ?"
)
_BEFORE_EPOCH: Final = "SELECT 1 FROM epoch WHERE instant > ?"
_WALK: Final = "SELECT id, key FROM sessions WHERE id > ? ORDER BY id LIMIT ?"
_DUE: Final = "SELECT id, keep_until, sweep_at, handles FROM sessions WHERE sweep_at <= ? ORDER BY sweep_at LIMIT ?"
_FORGET_HANDLE: Final = "DELETE FROM handles WHERE handle = ? AND session = ?"
_INSERT: Final = f"INSERT INTO sessions VALUES (NULL, ?, 0, {', '.join('?' * 13)})"  # noqa: S608  # constants only
_PULSE: Final = (
    "UPDATE sessions SET version = version + 1, last_seen_at = ?, inactivity_deadline = ?, keep_until = ?, "
    "renewed_at = ?, generation = ?, presented_at = ?, revision = ?"
)
_TOUCHED: Final = f"{_PULSE} WHERE id = ?"
_REPLACED: Final = f"{_PULSE}, authenticated_at = ?, body = ? WHERE id = ?"
_ENDED: Final = f"{_PULSE}, body = ?, ended_at = ?, end_reason = ?, sweep_at = ?, handles = x'' WHERE id = ?"

#: Rubbish rows looked at per create, so that a file that grows by logins also shrinks by them.
_SWEEP_PER_CREATE: Final = 4
#: Rows deleted in one go by `prune`, and the seconds it then leaves to other writers.
_SWEEP_BATCH: Final = 50
_SWEEP_PAUSE: Final = 0.001
#: Such goes after which `prune` writes the log back, so that no request has to: without it p99 of touches doubled.
_WRITE_BACK_EVERY: Final = 4


class _Held(SessionRecord):
    """A record that knows which write of which row it is, so that `holds` is one comparison."""

    __slots__ = ("row", "version")

    row: int
    version: int

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SessionRecord):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in SessionRecord.__slots__)

    __hash__ = SessionRecord.__hash__


class SQLiteStore:
    """Keeps records in a SQLite file, which all processes and threads of a machine may use at once.

    `create`, `create_capped`, `end`, `end_before` and `add_once` are on the disk when they return (synchronous=FULL). A touch, save or
    renewal survives the end of the process, kill -9 included, but a power cut may lose the last of them; it never
    brings back what had ended before. The file and its log must be on a local disk: SQLite's WAL mode does not work
    over a network.

    `list` leaves out rows that cannot be read, so that one damaged row does not keep a user from ending the others.

    Args:
        path: the file; made with mode 0600 if it is not there, in a folder that must exist and be writable. One that
            everybody may read is set to 0600, or refused if it belongs to another user.
        busy_timeout: seconds a write waits for another process's before it fails.

    Raises:
        SettingsError: the file cannot be used.

    Example:
        >>> import tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder, SQLiteStore(os.path.join(folder, "sessions.db")) as store:
        ...     store.load(b"no such key") is None
        True
    """

    #: Reads never wait for a writer; a write may wait for another process, so it belongs in a worker thread.
    short_calls = frozenset({"load", "holds", "version"})

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = 5.0) -> None:
        self._file = SQLiteFile(path, _SCHEMA, busy_timeout)

    def __repr__(self) -> str:
        return f"<SQLiteStore {self._file.path}>"

    def __enter__(self) -> SQLiteStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file's idle connections; the next call opens it again."""
        self._file.close()

    # --- the store's promises: see base.py ------------------------------------------------------------------------

    def create(self, record: SessionRecord) -> None:
        body = packed(record.encode_body())
        with self._file.transaction(durable=True) as connection:
            _create(connection, record, body)

    def create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        body = packed(record.encode_body())
        with self._file.transaction(durable=True) as connection:
            is_over = connection.execute(_BEFORE_EPOCH, (record.authenticated_at,)).fetchone() is not None
            evicted = [] if is_over else to_evict(_listed(connection, handle, now), most, now)
            if evicted and not evict:
                return None
            _create(connection, record, body)
            for old in evicted:
                _end(connection, old, "revoked", now, keep_until)
            return evicted

    def load(self, key: bytes) -> SessionRecord | None:
        row = self._read(_LOAD, (key[:8], key))
        if row is None and self._file.follow():
            row = self._read(_LOAD, (key[:8], key))
        return None if row is None else _after_epoch(_record(key, row), row)

    def holds(self, record: SessionRecord) -> bool:
        if type(record) is not _Held:
            return False
        try:
            stamp = (record.row, record.version, record.key)
        except AttributeError:  # a changed copy of one of ours
            return False
        return self._read(_HOLDS, stamp) is not None

    def version(self) -> object:
        return self._file.version()

    def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        return self._write(key, touch.applied)

    def save(self, record: SessionRecord) -> SessionRecord | None:
        def decide(held: SessionRecord) -> SessionRecord | None:
            return saved(held, record) if held.revision == record.revision else None

        return self._write(record.key, decide, body=True)

    def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        def decide(held: SessionRecord) -> SessionRecord | None:
            return renewed(held, to, at) if held.generation == generation else None

        return self._write(key, decide)

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        with self._file.transaction(durable=True) as connection:
            alive = _alive(connection, key)
            if alive is None:
                return False
            _end(connection, alive, reason, at, keep_until)
            return True

    def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        connection = self._file.take()
        try:
            found = _listed(connection, handle, now)
        except BaseException as problem:
            self._file.discard(connection, problem)
            raise
        self._file.give(connection)
        return found

    def end_before(self, instant: float, at: float) -> None:
        with self._file.transaction(durable=True) as connection:
            connection.execute("UPDATE epoch SET instant = ?, at = ? WHERE instant < ?", (instant, at, instant))

    def add_once(self, key: str, until: float, now: float) -> bool:
        short = sha256(key.encode("utf-8", "surrogatepass")).digest()[:16]
        with self._file.transaction(durable=True) as connection:
            connection.execute(
                "DELETE FROM once WHERE key = ? AND until <= ? "
                "OR key IN (SELECT key FROM once WHERE until <= ? ORDER BY until LIMIT ?)",
                (short, now, now, _SWEEP_PER_CREATE),
            )
            return connection.execute("INSERT OR IGNORE INTO once VALUES (?, ?)", (short, until)).rowcount == 1

    def prune(self, now: float, limit: int = 1000) -> int:
        gone = 0
        for stroke in itertools.count(1):
            with self._file.transaction(durable=False) as connection:
                deleted, postponed = _sweep(connection, now, min(_SWEEP_BATCH, limit - gone))
                connection.execute(
                    "DELETE FROM once WHERE key IN (SELECT key FROM once WHERE until <= ? ORDER BY until LIMIT ?)",
                    (now, _SWEEP_BATCH),
                )
            gone += deleted
            if gone >= limit or not (deleted or postponed):
                break
            if stroke % _WRITE_BACK_EVERY == 0:
                self._file.write_back()
            # A lock that is given back and taken again in the same breath is seen free by nobody else.
            time.sleep(_SWEEP_PAUSE)
        return gone

    def walk(self, after: bytes | None, limit: int) -> tuple[Sequence[bytes], bytes | None]:
        connection = self._file.take()
        try:
            rows = connection.execute(_WALK, (0 if after is None else int(after), limit)).fetchall()
        except BaseException as problem:
            self._file.discard(connection, problem)
            raise
        self._file.give(connection)
        return [key for _, key in rows], str(rows[-1][0]).encode() if len(rows) == limit else None

    # --- how ------------------------------------------------------------------------------------------------------

    def _read(self, statement: str, arguments: tuple[Any, ...]) -> Any:  # Any: a row of sqlite3
        file = self._file
        connection = file.take()
        try:
            row = connection.execute(statement, arguments).fetchone()
        except BaseException as problem:
            file.discard(connection, problem)
            raise
        file.give(connection)
        return row

    def _write(
        self, key: bytes, decide: Callable[[SessionRecord], SessionRecord | None], *, body: bool = False
    ) -> SessionRecord | None:
        """Replace an alive record by what `decide` makes of it, in one step; None leaves it."""
        with self._file.transaction(durable=False) as connection:
            alive = _alive(connection, key)
            record = None if alive is None else decide(alive)
            if alive is None or record is None:
                return None
            if body:
                connection.execute(
                    _REPLACED,
                    (*_pulse(record), record.authenticated_at, packed(record.encode_body()), alive.row),
                )
            else:
                connection.execute(_TOUCHED, (*_pulse(record), alive.row))
            return _stamped(record, alive.row, alive.version + 1)


def _pulse(record: SessionRecord) -> tuple[Any, ...]:  # Any: what sqlite3 takes
    return (
        record.last_seen_at,
        record.inactivity_deadline,
        record.keep_until,
        record.renewed_at,
        record.generation,
        record.presented_at,
        record.revision,
    )


def _second(instant: float) -> int:
    """Return the whole second of an instant, within what SQLite can hold."""
    return math.floor(max(-1e18, min(instant, 1e18)))


def _short(handle: str) -> bytes:
    """Return what is indexed of a handle; whoever looks up compares the whole."""
    return sha256(handle.encode("utf-8", "surrogatepass")).digest()[:8]


def _stamped(record: SessionRecord, row: int, version: int) -> _Held:
    if not isinstance(record, _Held):  # an app may save a record it has built itself
        record = _Held(**{name: getattr(record, name) for name in SessionRecord.__slots__})
    object.__setattr__(record, "row", row)
    object.__setattr__(record, "version", version)
    return record


def _record(key: bytes, row: Any) -> _Held:  # Any: a row of _COLUMNS
    record = _Held.decode(
        key,
        unpacked(row[11]),
        last_seen_at=row[2],
        inactivity_deadline=row[3],
        keep_until=row[4],
        renewed_at=row[5],
        generation=row[6],
        presented_at=row[7],
        revision=row[8],
        ended_at=row[9],
        end_reason=row[10],
    )
    return _stamped(record, row[0], row[1])


def _after_epoch(record: _Held, row: Any) -> SessionRecord:  # Any: a row of _LOAD
    """Return the record as `end_before` left it."""
    instant, at = row[12], row[13]
    if record.ended_at is None and record.authenticated_at < instant:
        return record.ended("revoked", at, record.keep_until)
    return record


def _alive(connection: sqlite3.Connection, key: bytes) -> _Held | None:
    """Return the record under the key if it is alive, inside a transaction."""
    row = connection.execute(_LOAD, (key[:8], key)).fetchone()
    if row is None:
        return None
    record = _after_epoch(_record(key, row), row)
    return record if isinstance(record, _Held) and record.ended_at is None else None


def _create(connection: sqlite3.Connection, record: SessionRecord, body: bytes) -> None:
    """Put in a row, inside a transaction."""
    if connection.execute(_LOAD, (record.key[:8], record.key)).fetchone() is not None:
        raise sqlite3.IntegrityError("a session with this key exists; ids are random, so this is a fault")
    _sweep(connection, record.renewed_at, _SWEEP_PER_CREATE)
    handles = [_short(handle) for handle in record.handles] if record.ended_at is None else []
    row = connection.execute(
        _INSERT,
        (
            record.key,
            record.authenticated_at,
            *_pulse(record),
            record.ended_at,
            record.end_reason,
            _second(record.keep_until),
            b"".join(handles),
            body,
        ),
    ).lastrowid
    connection.executemany("INSERT OR IGNORE INTO handles VALUES (?, ?)", [(handle, row) for handle in handles])


def _end(connection: sqlite3.Connection, alive: _Held, reason: str, at: float, keep_until: float) -> None:
    """End a row that is alive, inside a transaction."""
    end = alive.ended(reason, at, keep_until)
    connection.execute(_ENDED, (*_pulse(end), packed(end.encode_body()), at, reason, _second(keep_until), alive.row))
    connection.executemany(_FORGET_HANDLE, [(_short(handle), alive.row) for handle in alive.handles])


def _listed(connection: sqlite3.Connection, handle: str, now: float) -> Sequence[_Held]:
    """Return the live records of a handle, without those that cannot be read."""
    found: list[_Held] = []
    for row in connection.execute(_LIST, (_short(handle), now)).fetchall():
        try:
            record = _record(row[-1], row)
        except RecordUnreadable:
            continue
        if handle in record.handles:
            found.append(record)
    return found


def _sweep(connection: sqlite3.Connection, now: float, limit: int) -> tuple[int, int]:
    """Look at `limit` rows that may be rubbish; return how many were deleted and how many put off."""
    due = connection.execute(_DUE, (_second(now), limit)).fetchall()
    rubbish: list[tuple[int]] = []
    handles: list[tuple[bytes, int]] = []
    later: list[tuple[int, int]] = []
    for row, keep_until, sweep_at, shorts in due:
        if keep_until <= now:
            rubbish.append((row,))
            handles += [(shorts[at : at + 8], row) for at in range(0, len(shorts), 8)]
        elif _second(keep_until) > sweep_at:
            later.append((_second(keep_until), row))
    connection.executemany(_FORGET_HANDLE, handles)
    connection.executemany("DELETE FROM sessions WHERE id = ?", rubbish)
    connection.executemany("UPDATE sessions SET sweep_at = ? WHERE id = ?", later)
    return len(rubbish), len(later)
