"""What goes wrong with a SQLite file, in words that name the way out."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Final

from session_middleware.errors import SettingsError, StoreUnavailable

__all__ = ["Complaints", "unusable"]

_log: Final = logging.getLogger("session_middleware")

#: The log of what was there before would be written into the backup, and damage it too.
_START_ANEW: Final = (
    "Stop the app, move the file away together with the -wal and -shm beside it, put a backup in its place or none, and start "
    "anew."
)

#: What to do, by SQLite's primary result code.
_FIXES: Final = {
    sqlite3.SQLITE_BUSY: "Find the process that keeps it locked: a shell with an open transaction, a backup, a VACUUM.",
    sqlite3.SQLITE_CANTOPEN: "Put the file back, or start the app anew with an empty one; check who may read and write it.",
    sqlite3.SQLITE_CORRUPT: _START_ANEW,
    sqlite3.SQLITE_FULL: "Make room on its disk.",
    sqlite3.SQLITE_IOERR: "Check its disk, and that it is no network file system.",
    sqlite3.SQLITE_NOTADB: _START_ANEW,
    sqlite3.SQLITE_READONLY: "Check that the app may write to the file and its folder, and that the file system is not read-only.",
}


class Complaints:
    """Says once what an operator has to put right: a request only learns that there is a fault.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said: set[str] = set()

    def about(self, problem: BaseException | None) -> None:
        """Log a fault of SQLite or of ours with its way out, unless that has been logged since all was well.

        What the tables refuse is no fault of the file: of two processes that make the same record one is told so.
        """
        if isinstance(problem, sqlite3.IntegrityError):
            return
        if isinstance(problem, sqlite3.Error):
            # The low byte is what went wrong, the rest where; an error of the sqlite3 module itself has no code.
            fix = _FIXES.get(getattr(problem, "sqlite_errorcode", 0) & 0xFF, "")
            said = f"{self._path}: {problem}. {fix}".rstrip()
        elif isinstance(problem, StoreUnavailable):
            said = str(problem)
        else:
            return
        if said not in self._said:
            self._said.add(said)
            _log.error("%s", said)

    def are_over(self) -> None:
        """Forget what was said, since all is well."""
        self._said.clear()


def unusable(path: Path, problem: str) -> SettingsError:
    """Return the error that says why a file cannot hold sessions."""
    return SettingsError(
        "store",
        str(path),
        f"SQLite cannot keep sessions there: {problem}.",
        "Name a file in an existing folder that this process may write to: SESSION_STORE_URL=sqlite:////var/lib/app/sessions.db",
    )
