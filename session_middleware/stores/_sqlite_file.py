"""One SQLite file and the connections to it: made once, lent to one caller at a time, never carried across a fork."""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import stat
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from session_middleware.errors import SettingsError, StoreUnavailable
from session_middleware.runtime import mutex
from session_middleware.stores._sqlite_faults import Complaints, unusable
from session_middleware.stores._sqlite_tables import make_tables

__all__ = ["SQLiteFile"]

#: Seconds that one who needs all connections closed waits for the calls of other threads to end, and how often it looks.
_PATIENCE: Final = 1.0
_LOOK: Final = 0.0005

#: Connections that were open when a process was forked behind our back. SQLite forbids to use or close them there, and
#: what nothing refers to is closed.
_left_behind: list[sqlite3.Connection] = []

#: Nanoseconds within which a file system may give two writes the same time; generous, and FAT is no place for sessions.
_SAME_TIME = 100_000_000

#: Held while a file is made.
_making = mutex()

_files: weakref.WeakSet[SQLiteFile] = weakref.WeakSet()


class SQLiteFile:
    """Lends connections to a file.

    A pool, not one connection per thread: a server that starts a thread per request would open the file per request.
    Taking from and giving to a list is one step each, so lending costs no lock. Commits survive the process but not a
    power cut (synchronous=NORMAL); a transaction that must, asks for FULL, which costs 3 us beside the disk's 300.

    Args:
        path: the file; made with mode 0600 if it is not there, and set to it if everybody may read it. Its folder must
            exist.
        schema: SQL that makes the tables, run once per file.
        busy_timeout: seconds to wait for another writer.

    Raises:
        SettingsError: the file cannot be made or opened here, or was written by a later version.
    """

    def __init__(self, path: str | os.PathLike[str], schema: str, busy_timeout: float) -> None:
        # Absolute, since an app may change its working directory between two connections.
        self.path = Path(path).absolute()
        if any(ord(character) < 32 or ord(character) == 127 for character in str(self.path)):
            # SQLite's file ends at a NUL, and what is a newline here was most likely an accident of the environment.
            raise unusable(self.path, "the name has a control character in it")
        self._address = (
            f"{self.path.as_uri()}?mode=rw"  # without it SQLite makes what is missing, empty and for all to read
        )
        self._complaints = Complaints(self.path)
        self._schema = schema
        self._busy_timeout = busy_timeout
        self._opened: list[sqlite3.Connection] = []
        self._begin()
        self._prepare()
        _files.add(self)
        weakref.finalize(self, _close_all, self._opened).atexit = False  # threads may still be at work then

    def _begin(self) -> None:
        """Start without connections, in this process."""
        self._pid = os.getpid()
        self._gate = mutex()  # held while connections are made, and by a fork while none may be
        self._is_forking = False  # whether it is a fork that holds it
        self._writer = mutex()  # SQLite lets writers poll with growing sleeps; threads of one process need not
        self._idle: list[sqlite3.Connection] = []

    # --- lending ----------------------------------------------------------------------------------------------------

    def take(self) -> sqlite3.Connection:
        """Return a connection that is the caller's until `give` or `discard`."""
        if self._pid != os.getpid():
            self._forked()
        try:
            return self._idle.pop()
        except IndexError:
            with self._gate:
                return self._open()

    def give(self, connection: sqlite3.Connection) -> None:
        """Take back a connection that is in no transaction."""
        self._idle.append(connection)

    def discard(self, connection: sqlite3.Connection, problem: BaseException | None = None) -> None:
        """Take back a connection on which something went wrong; closing it undoes an open transaction."""
        self._complaints.about(problem)
        with contextlib.suppress(sqlite3.Error):
            connection.close()
        with contextlib.suppress(ValueError):
            self._opened.remove(connection)

    @contextlib.contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """Hold the file's write lock; commit at the end, undo if the block raises.

        Args:
            durable: whether a commit must survive a power cut.

        Raises:
            StoreUnavailable: other threads of this process held the lock for longer than busy_timeout, or the file is gone.
        """
        if self._pid != os.getpid():
            self._forked()
        writer = self._writer
        if not writer.acquire(timeout=self._busy_timeout):
            raise StoreUnavailable(f"Other threads kept {self.path} locked for {self._busy_timeout} s.")
        try:
            if _place(self.path) != self._place:
                self._follow()
            connection = self.take()
            try:
                if durable:
                    connection.execute("PRAGMA synchronous=FULL")
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
                if durable:
                    connection.execute("PRAGMA synchronous=NORMAL")
            except BaseException as problem:
                self.discard(connection, problem)
                raise
            self.give(connection)
            self._complaints.are_over()
        finally:
            writer.release()

    def follow(self) -> bool:
        """Look whether another file was put in the place of the one that is read, and go on with that; True if so.

        Raises:
            StoreUnavailable: there is none any more, or a write to the old one does not end.
            SettingsError: the new one cannot be used.
        """
        if _place(self.path) == self._place:
            return False
        if not self._writer.acquire(timeout=self._busy_timeout):
            raise StoreUnavailable(f"Other threads kept {self.path} locked for {self._busy_timeout} s.")
        try:
            self._follow()
        finally:
            self._writer.release()
        return True

    def version(self) -> object:
        """Return what every commit of any process changes: the times and sizes of the file and its log.

        A time of the file system moves only every few milliseconds; what was written a moment ago equals nothing, since
        more may be written at the same time.
        """
        found = []
        for path in (self.path, self._log):
            try:
                status = path.stat()
            except FileNotFoundError:
                found.append((0, 0))
                continue
            if abs(time.time_ns() - status.st_mtime_ns) < _SAME_TIME:
                return object()
            found.append((status.st_mtime_ns, status.st_size))
        return tuple(found)

    def write_back(self) -> None:
        """Move what is in the log into the file while others read and write."""
        connection = self.take()
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except BaseException as problem:
            self.discard(connection, problem)
            raise
        self.give(connection)

    def close(self) -> None:
        """Close the idle connections; the next call opens new ones."""
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was faster
                self.discard(self._idle.pop())

    def exits(self) -> None:
        """Close the idle connections at the end of the program, if they are of this process."""
        if self._pid == os.getpid():
            self.close()

    # --- opening ----------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._address,
                uri=True,
                timeout=self._busy_timeout,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=64,
            )
        except sqlite3.Error as problem:
            self._complaints.about(problem)
            raise
        try:
            connection.execute("PRAGMA synchronous=NORMAL")
            # What ended must not linger in free space (L16); FAST overwrites only pages that are written anyway.
            connection.execute("PRAGMA secure_delete=FAST")
            # Whoever commits beyond this many pages writes the log back while the process's other writers wait; so
            # whoever writes much calls `write_back` well before.
            connection.execute("PRAGMA wal_autocheckpoint=2000")
        except BaseException as problem:
            self._complaints.about(problem)  # what is no database can be opened; the first statement finds out
            connection.close()
            raise
        self._opened.append(connection)
        return connection

    def _prepare(self) -> None:
        """Make the file and its tables if need be, and leave no connection open: a server may fork next."""
        real = Path(os.path.realpath(self.path))  # not resolve(), which raises another error for a loop
        try:
            _make(real)
            if not os.access(real.parent, os.W_OK | os.X_OK):
                raise PermissionError("the folder is not writable, and SQLite keeps its log beside the file")
            mode = _foreign_mode(real)
        except OSError as problem:
            raise unusable(self.path, problem.strerror or str(problem)) from None
        if mode is not None:
            raise SettingsError(
                "store",
                str(self.path),
                f"everybody on this machine may read the sessions in it (mode {mode:04o}), and it belongs to another user.",
                f"Run as its owner: chmod 600 {self.path}",
            )
        patience = time.monotonic() + self._busy_timeout
        while True:
            connection = sqlite3.connect(self.path, timeout=self._busy_timeout, isolation_level=None)
            try:
                make_tables(connection, self.path, self._schema)
            except sqlite3.OperationalError as problem:
                # Switching to WAL answers "locked" at once where another process does the same right now.
                if "locked" not in str(problem) or time.monotonic() > patience:
                    raise unusable(self.path, str(problem)) from problem
            except sqlite3.DatabaseError as problem:
                raise unusable(self.path, str(problem)) from problem
            else:
                _tighten(real)  # not before it is known to be ours
                self._place = _place(self.path)
                self._log = Path(f"{real}-wal")  # SQLite keeps it beside the file, not beside a link to it
                return
            finally:
                connection.close()
            time.sleep(0.01)  # until the other process has switched

    def _follow(self) -> None:
        """Leave a file that was taken away or replaced: what is written there nobody else sees, a logout least of all.

        Called by who holds the lock of writers: at the next write, or for a session that is not found; until then what is
        found is read from the old file.

        Raises:
            StoreUnavailable: there is none at this path any more, which may be a disk that is not mounted; a new one here
                would sign everybody out.
            SettingsError: the new one cannot be used.
        """
        with self._gate:
            self._close_all()
            if self._opened:
                raise StoreUnavailable(f"{self.path} was replaced, and what reads the old file does not end.")
            if _place(self.path) is None:
                gone = StoreUnavailable(f"{self.path} is gone. Put it back, or start the app anew with an empty one.")
                self._complaints.about(gone)
                raise gone
            self._prepare()  # nobody may read what has no tables yet, nor a fork come while it is open

    def _close_all(self) -> None:
        """Close all connections, waiting a moment for those that are out; whoever calls it holds the gate."""
        patience = time.monotonic() + _PATIENCE
        self.close()
        while self._opened and time.monotonic() < patience:
            time.sleep(_LOOK)  # threads that are at work give theirs back
            self.close()

    # --- forks ------------------------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        # SQLite shares its file locks among the connections of a process, and believes in a child that it still holds
        # the parent's. So none may be open at that instant: lend no more, wait for those that are out, close all.
        if self._gate.acquire(timeout=_PATIENCE):
            self._is_forking = True
        self._close_all()

    def _after_fork_in_parent(self) -> None:
        if self._is_forking:  # else patience was over, and it is another's to give back
            self._is_forking = False
            self._gate.release()

    def _forked(self) -> None:
        """Begin anew in a child."""
        _left_behind.extend(self._opened)
        self._opened.clear()
        self._begin()


def _place(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at a path from any other that was or will be there while this one is open."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _make(path: Path) -> None:
    """Make the file if it is not there, readable by its owner alone; SQLite gives -wal and -shm the mode of the file.

    A file that is there is not opened. Closing any descriptor of it would give up the POSIX locks that SQLite holds in
    this process; another process then believes to be the last, and puts away the log that we go on writing to.
    """
    with _making:  # else the store of another thread might have locks by the time we close
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
        except FileExistsError:
            if path.is_dir():
                raise IsADirectoryError("it is a directory") from None
            if not os.access(path, os.R_OK | os.W_OK):
                raise PermissionError("this process may not read and write the file") from None


def _foreign_mode(path: Path) -> int | None:
    """Return the mode of a file that everybody may read and that is not ours to change; else None."""
    if os.name != "posix":
        return None
    status = path.stat()
    return stat.S_IMODE(status.st_mode) if status.st_mode & 0o007 and os.geteuid() not in (0, status.st_uid) else None


def _tighten(path: Path) -> None:
    """Close a file that everybody may read, and its log, to all but its owner; a group's access alone was a choice.

    Raises:
        SettingsError: the log belongs to another user.
    """
    if os.name != "posix" or not path.stat().st_mode & 0o007:
        return
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        try:
            file.chmod(0o600)
        except FileNotFoundError:
            continue
        except OSError as problem:
            raise unusable(file, problem.strerror or str(problem)) from None


def _close_all(connections: list[sqlite3.Connection]) -> None:
    for connection in connections:
        with contextlib.suppress(sqlite3.Error):
            connection.close()


@atexit.register
def _at_exit() -> None:
    """Close the connections that nobody uses, which puts the log away; one that a daemon thread is in would crash it."""
    for file in list(_files):
        file.exits()


def _before_fork() -> None:
    for file in list(_files):
        file._before_fork()


def _after_fork_in_parent() -> None:
    for file in list(_files):
        file._after_fork_in_parent()


def _after_fork_in_child() -> None:
    for file in list(_files):
        file._forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
