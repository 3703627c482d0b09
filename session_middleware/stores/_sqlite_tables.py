"""The tables in a SQLite file: made where there is nothing yet, and nothing changed where they are not ours."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Final

from session_middleware.stores._sqlite_faults import unusable

__all__ = ["make_tables"]

#: Kept in the file's user_version; a file of a later version is refused, never guessed at.
_SCHEMA_VERSION: Final = 1


def make_tables(connection: sqlite3.Connection, path: Path, schema: str) -> None:
    """Make the tables of a schema, if the file is empty, and let readers and a writer work side by side (WAL).

    Args:
        connection: of the file, in no transaction.
        path: its name, for the error.
        schema: SQL that makes the tables.

    Raises:
        SettingsError: the file is something else's, or of a later version, and left as it is; or it cannot have a WAL.
        sqlite3.Error: it is no database, or locked.
    """
    connection.execute("BEGIN")  # one look at both, beside another process that makes them
    _has_ours(connection, path, schema)
    connection.execute("COMMIT")
    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise unusable(path, "this file system does not let SQLite share memory (WAL)")
    connection.execute("BEGIN IMMEDIATE")
    if not _has_ours(connection, path, schema):
        for statement in filter(None, map(str.strip, schema.split(";"))):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _has_ours(connection: sqlite3.Connection, path: Path, schema: str) -> bool:
    """Say whether the tables are there; False: nothing is.

    Raises:
        SettingsError: something else is. Other programs count the versions of their files from 1 as well.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _SCHEMA_VERSION:
        raise unusable(path, f"it was written by a later version (schema {version})")
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not version and not found:
        return False
    if not version or not found.issuperset(re.findall(r"CREATE TABLE (\w+)", schema)):
        raise unusable(path, "it is the database of something else; sessions have a file of their own")
    return True
