"""What a session costs in the file, and that finding one does not grow with the table: counted, never timed."""

from __future__ import annotations

import contextlib

import pytest

from session_middleware.stores import sqlite
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing.reference_record import reference_record

SESSIONS = 20_000


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    with SQLiteStore(tmp_path_factory.mktemp("size") / "sessions.db") as store:
        with store._file.transaction(durable=False) as connection:

            @contextlib.contextmanager
            def inside(*, durable):
                yield connection

            store._file.transaction = inside
            for n in range(SESSIONS):
                store.create(reference_record(n))
            del store._file.transaction
        yield store


def plan(store, statement, *arguments):
    connection = store._file.take()
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments).fetchall()
    store._file.give(connection)
    return [row[-1] for row in rows]


@pytest.mark.slow
def test_a_session_takes_at_most_450_bytes(filled):
    """The reference record takes at most 450 bytes of the file, all indexes included."""
    filled.close()  # the last connection writes the log back
    assert filled._file.path.stat().st_size / SESSIONS <= 450


def test_the_reference_record_is_as_promised():
    """110 characters of user agent, 100 bytes of claims, one factor, one handle: sizes are quoted for this record."""
    import json

    for n in (0, 1, 2, 12_345, 999_999):
        record = reference_record(n)
        assert len(record.attributes["user_agent"]) == 110
        assert len(json.dumps(dict(record.claims), separators=(",", ":"))) == 100
        assert (len(record.factors), len(record.handles), len(record.key)) == (1, 1, 32)


def test_every_lookup_goes_through_an_index(tmp_path):
    """No statement of a request or of the sweep reads a table from end to end; the epoch is one row."""
    with SQLiteStore(tmp_path / "sessions.db") as store:
        assert plan(store, sqlite._LOAD, b"", b"") == ["SEARCH s USING INDEX sessions_key (<expr>=?)", "SCAN e"]
        assert plan(store, sqlite._HOLDS, 1, 1, b"") == ["SEARCH s USING INTEGER PRIMARY KEY (rowid=?)", "SCAN e"]
        assert plan(store, sqlite._LIST, b"", 0) == [
            "SEARCH h USING PRIMARY KEY (handle=?)",
            "SEARCH s USING INTEGER PRIMARY KEY (rowid=?)",
            "SCAN e",
        ]
        assert "USING INDEX sessions_sweep" in plan(store, sqlite._DUE, 1, 1)[0]
