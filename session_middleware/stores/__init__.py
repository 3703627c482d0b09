"""REMEMBER: what keeps the records; stores judge nothing. `store_from_url` names one by a URL."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from session_middleware.errors import SettingsError
from session_middleware.stores.showing import masked

if TYPE_CHECKING:
    from session_middleware.stores.base import AsyncStore, Store

__all__ = ["masked", "refuse_control_characters", "store_from_url", "without_near_cache"]

_FORMS: Final = {
    "memory": "memory://",
    "sqlite": "sqlite:///relative.db or sqlite:////absolute.db",
    "redis": "redis://host:6379/0",
    "redis+cluster": "redis+cluster://host:6379,other:6379",
    "redis+sentinel": "redis+sentinel://host:26379,other:26379/master-name",
    "postgresql": "postgresql://user:password@host:5432/database",
}

#: Other ways to write a scheme: of the same server, or with TLS.
_SAME: Final = {
    **dict.fromkeys(("rediss", "valkey", "valkeys"), "redis"),
    **dict.fromkeys(("rediss+cluster", "valkey+cluster", "valkeys+cluster"), "redis+cluster"),
    **dict.fromkeys(("rediss+sentinel", "valkey+sentinel", "valkeys+sentinel"), "redis+sentinel"),
    "postgres": "postgresql",
}


def store_from_url(url: str, *, asynchronous: bool = False) -> Store | AsyncStore:
    """Return the store that a URL names, as SESSION_STORE_URL does.

    Args:
        url: `memory://`, `sqlite:///relative.db`, `sqlite:////absolute.db`, `redis://host:6379/0`,
            `redis+cluster://host,other`, `redis+sentinel://host,other/master-name` (`rediss...` for TLS, `valkey...`
            alike) or `postgresql://user:password@host/database`. In these `near_cache=2` after a "?" puts a near cache
            of so many seconds' lease before the store (`stores/nearcache`). What has a meaning in a URL ("?", "#", "%", in a
            password also "@", "/" and ":") is written %3F, %23, %25, %40, %2F, %3A.
        asynchronous: whether the app runs on asyncio. A store across a network is then one whose calls are awaited; the
            others are the same for both.

    Raises:
        SettingsError: no store is called so, or it cannot be used; passwords are never shown.
    """
    refuse_control_characters(url)
    scheme, separator, _ = url.partition("://")
    kind = _SAME.get(scheme, scheme)
    if not separator or kind not in _FORMS:
        raise _unusable(url, "no store of this version has such a URL.", _hint(url))
    if kind == "memory":
        return _memory(url)
    if kind == "sqlite":
        return _sqlite(url)
    whole = url
    url, lease = without_near_cache(url)
    store = _far(url, kind, asynchronous)
    if lease is None:
        return store
    from session_middleware.stores.nearcache import near_cache

    no_lease = _unusable(whole, "near_cache is no number of seconds from 0.1 to 60.", "Write near_cache=2")
    if not re.fullmatch(r"\d{1,9}(\.\d{0,9})?|\.\d{1,9}", lease):
        raise no_lease
    try:
        return near_cache(store, lease=float(lease))
    except SettingsError as problem:
        raise no_lease if problem.field == "lease" else problem from None


def refuse_control_characters(url: str) -> None:
    """See that nothing in a URL is dropped without a word: `urlsplit` leaves out line breaks and tabs (WHATWG URL).

    Raises:
        SettingsError: there is a line break, a tab or another control character in it, or what is no text of Unicode.
    """
    if any("\ud800" <= character <= "\udfff" for character in url):  # a driver's error would hold the password
        raise SettingsError(
            "SESSION_STORE_URL",
            masked(url),
            "is no text of Unicode.",
            "Write it in UTF-8 where it is read, or other letters percent-encoded, such as %C3%BC.",
        )
    if any(character < " " or character == "\x7f" for character in url):
        shown = "".join(character for character in masked(url) if character.isprintable())
        raise SettingsError(
            "SESSION_STORE_URL",
            shown,
            "has a line break, a tab or another control character in it.",
            "Take it out (what is read from a file often ends with one); in a password write %0A for a line break.",
        )


def without_near_cache(url: str) -> tuple[str, str | None]:
    """Take near_cache= out of a URL; return the rest as it was written, and what it said, None where it was not there.

    Raises:
        SettingsError: it is there twice.
    """
    address, _, query = url.rpartition("?")
    parts = query.split("&")
    ours = [part for part in parts if part.startswith("near_cache=")]
    if not address or not ours:
        return url, None
    if len(ours) > 1:
        raise _unusable(url, "near_cache is there twice.", "Write it once.")
    rest = "&".join(part for part in parts if part not in ours)
    return address + (rest and "?" + rest), ours[0].partition("=")[2]


def _far(url: str, kind: str, asynchronous: bool) -> Store | AsyncStore:
    """Return a store across a network."""
    if kind == "postgresql":
        try:
            from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
        except ImportError as missing:
            raise _not_installed(url, missing, "postgres") from None
        return AsyncPostgresStore.from_url(url) if asynchronous else PostgresStore.from_url(url)
    _refuse_stray_signs(url, kind)
    try:
        from session_middleware.stores.redis import AsyncRedisStore, RedisStore
    except ImportError as missing:
        raise _not_installed(url, missing, "redis") from None
    return AsyncRedisStore.from_url(url) if asynchronous else RedisStore.from_url(url)


def _refuse_stray_signs(url: str, kind: str) -> None:
    """See that no password is taken for a host, a master or an option, whose names errors say."""
    address, _, query = url.partition("://")[2].partition("?")
    servers, _, path = address.partition("/")
    if re.search(r"[=;\s]", servers.rpartition("@")[2]):
        tls = _form("rediss" + kind.removeprefix("redis")).replace("://", "://user:password@")
        raise _unusable(
            url, "has options behind the host, as other products write them.", f"Write {tls}; without TLS redis..."
        )
    if "@" in path or any("@" in option.partition("=")[0] or "=" not in option for option in query.split("&") if query):
        raise _unusable(
            url,
            "has something behind the host that is no path and no name=value.",
            "In a password / is written %2F, ? %3F.",
        )


def _memory(url: str) -> Store:
    if url != "memory://":
        raise _unusable(url, "a store in memory has no address.", "Write memory://")
    from session_middleware.stores.memory import MemoryStore

    return MemoryStore()


def _sqlite(url: str) -> Store:
    path = url.removeprefix("sqlite://")
    name = unquote(path[1:])
    if not path.startswith("/") or "?" in path or "#" in path or not name or name == ":memory:":
        problem = "a file has three slashes before its name, four if the path is absolute, and nothing after it."
        if name == ":memory:":
            problem = "SQLite in memory would be another store for each connection."
        raise _unusable(url, problem, f"Write {_FORMS['sqlite']}{'; or memory://' if name == ':memory:' else ''}.")
    from session_middleware.stores.sqlite import SQLiteStore

    return SQLiteStore(name)


def _hint(url: str) -> str:
    """Return what to write instead of what is no URL of ours."""
    if re.search(r"(?i)(?:^|[\s;:/])(?:host|hostaddr|dbname|user|username|password|server|service)\s*=", url):
        return f"A key=value form is no URL; for PostgreSQL write {_FORMS['postgresql']}."
    if re.search(r"(?i),\s*(?:password|ssl|user)\s*=", url):
        return "Options behind commas are no URL; for Redis write rediss://user:password@host:6380/0."
    name = re.match(r"[a-z+]*", url.lower())
    near = difflib.get_close_matches(name[0] if name else "", [*_FORMS, *_SAME], n=1, cutoff=0.5)
    return f"Did you mean {_form(near[0])}?" if near else f"There are: {'; '.join(_FORMS.values())}."


def _form(scheme: str) -> str:
    """Return how a URL of this scheme is written."""
    kind = _SAME.get(scheme, scheme)
    return _FORMS[kind].replace(kind.partition("+")[0], scheme.partition("+")[0], 1)


def _not_installed(url: str, missing: ImportError, extra: str) -> SettingsError:
    if (missing.name or "").startswith("session_middleware"):
        raise missing  # not the driver: this package is broken, and a hint to install something would mislead
    return _unusable(url, "its driver is not installed.", f'Run: pip install "session-middleware[{extra}]"')


def _unusable(url: str, problem: str, fix: str) -> SettingsError:
    return SettingsError("SESSION_STORE_URL", masked(url), problem, fix)
