"""A URL names a store, or an error says how to write one without showing a password."""

from __future__ import annotations

import pytest

from session_middleware.errors import SettingsError
from session_middleware.stores import store_from_url
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from tests.fresh_python import printed_by


def test_memory():
    """memory:// is a MemoryStore."""
    assert isinstance(store_from_url("memory://"), MemoryStore)


def test_three_slashes_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    """sqlite:///name is a file in the working directory at that time, wherever the process goes later."""
    monkeypatch.chdir(tmp_path)
    store = store_from_url("sqlite:///my%20sessions.db")
    monkeypatch.chdir("/")
    assert isinstance(store, SQLiteStore)
    assert store.load(b"k" * 32) is None
    store.close()
    assert (tmp_path / "my sessions.db").exists()


def test_four_slashes_are_absolute(tmp_path):
    """sqlite:////path is an absolute path."""
    store_from_url(f"sqlite:///{tmp_path}/sessions.db")
    assert (tmp_path / "sessions.db").exists()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqllite:///x.db", "Did you mean sqlite:///"),
        ("SQLITE:///x.db", "Did you mean sqlite:///"),
        ("sqlite:x.db", "Did you mean sqlite:///"),
        ("sqlite://x.db", "three slashes"),
        ("sqlite://", "three slashes"),
        ("sqlite:///", "three slashes"),
        ("sqlite:///x.db?mode=ro", "three slashes"),
        ("sqlite:///:memory:", "memory://"),
        ("memory", "Did you mean memory://"),
        ("memory://here", "Write memory://"),
        ("mongodb://localhost", "There are: memory://; sqlite:///"),
        ("", "There are: memory://"),
    ],
)
def test_anything_else_is_an_error_that_says_what_to_write(url, says):
    """A URL that names no store is a SettingsError that names the setting and the forms there are."""
    with pytest.raises(SettingsError, match="SESSION_STORE_URL") as caught:
        store_from_url(url)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://user:secret@host/1",
        "mongodb://host/1?password=secret",
        "mongodb:secret@host",
        "secret@host",
        "mongodb://user:pa@secret@host",
        "mongodb://user:?secret@host",
    ],
)
def test_no_password_is_shown(url):
    """Neither the message nor the error's fields contain the password."""
    with pytest.raises(SettingsError) as caught:
        store_from_url(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.value)


def test_nothing_is_imported_that_is_not_used():
    """Naming a store in memory does not import SQLite."""
    code = (
        "import sys; from session_middleware.stores import store_from_url; store_from_url('memory://');"
        "print('sqlite3' in sys.modules)"
    )
    assert printed_by(code).strip() == "False"
