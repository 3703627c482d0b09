"""REMEMBER: what keeps the records; stores judge nothing. `store_from_url` names one by a URL."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from session_middleware.errors import SettingsError

if TYPE_CHECKING:
    from session_middleware.stores.base import AsyncStore, Store

__all__ = ["store_from_url"]

_FORMS: Final = {
    "memory": "memory://",
    "sqlite": "sqlite:///relative.db or sqlite:////absolute.db",
}


def store_from_url(url: str) -> Store | AsyncStore:
    """Return the store that a URL names, as SESSION_STORE_URL does.

    Args:
        url: `memory://`, `sqlite:///relative.db` or `sqlite:////absolute.db`. A "?", "#" or "%" in a file's name is
            written %3F, %23, %25.

    Raises:
        SettingsError: no store is called so, or it cannot be used; passwords are never shown.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _FORMS:
        near = difflib.get_close_matches(scheme.partition(":")[0].lower(), _FORMS, n=1, cutoff=0.5)
        hint = f"Did you mean {_FORMS[near[0]]}?" if near else f"There are: {'; '.join(_FORMS.values())}."
        raise _unusable(url, "no store of this version has such a URL.", hint)
    if scheme == "memory":
        if url != "memory://":
            raise _unusable(url, "a store in memory has no address.", "Write memory://")
        from session_middleware.stores.memory import MemoryStore

        return MemoryStore()
    parts = urlsplit(url)
    name = unquote(parts.path[1:])
    if parts.netloc or parts.query or parts.fragment or not name or name == ":memory:":
        problem = "a file has three slashes before its name, four if the path is absolute, and nothing after it."
        if name == ":memory:":
            problem = "SQLite in memory would be another store for each connection."
        raise _unusable(url, problem, f"Write {_FORMS['sqlite']}{'; or memory://' if name == ':memory:' else ''}.")
    from session_middleware.stores.sqlite import SQLiteStore

    return SQLiteStore(name)


def _unusable(url: str, problem: str, fix: str) -> SettingsError:
    return SettingsError("SESSION_STORE_URL", _masked(url), problem, fix)


def _masked(url: str) -> str:
    """Return the URL without what may be a password: all before the last "@" and all after the first "?"."""
    scheme, colon, rest = url.partition(":")
    address, question, _ = rest.partition("?")
    user, at, host = address.rpartition("@")
    if not colon and "@" in url:  # no URL at all; then nothing of it is known to be harmless
        return "***"
    if at:
        address = f"{'//' if user.startswith('//') else ''}***@{host}"
    return f"{scheme}{colon}{address}{question and '?***'}"
