"""Where a PostgreSQL server is, read from a URL, and how it may be shown: never with a password."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, Final

from psycopg import Error, conninfo

from session_middleware.errors import SettingsError
from session_middleware.stores._query import options_in
from session_middleware.stores.postgres.schema import checked_schema
from session_middleware.stores.showing import HIDDEN

__all__ = ["Address", "options_of"]

_FORM: Final = (
    "Write postgresql://user:password@host:5432/database; in a password @ is written %40, / %2F, ? %3F, % %25."
)
_SECRET: Final = ("password", "sslpassword", "oauth_client_secret")
#: Names of hosts and databases that are certainly nothing else; what follows a "#" or a ";" may be a password.
_HARMLESS: Final = re.compile(r"[\w.,:/%~ -]*")
_YES: Final = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


class Address:
    """What libpq is told to find the server.

    Args:
        text: a URL or libpq's own `key=value` form.
        connect_timeout: whole seconds for each of its hosts, unless it says otherwise itself. Of several hosts the one
            that takes writes is taken, unless it says otherwise itself (`target_session_attrs`).

    Raises:
        SettingsError: libpq cannot read it, or it is not what was meant: a password with a bare @ or / in it, or options
            as other products write them.
    """

    def __init__(self, text: str, connect_timeout: int) -> None:
        parts = _read(text)
        if parts is None:
            raise self._unreadable("is no address that libpq can read.")
        named = [str(parts[name]) for name in ("host", "hostaddr", "dbname") if parts.get(name)]
        if any(re.search("[@=]", name) for name in named):
            raise self._unreadable("has an @ or a = where a host or a database is named.")
        if not all(re.fullmatch(r"\d{0,5}", port) for port in str(parts.get("port", "")).split(",")):
            raise self._unreadable("has a port that is no number.")
        parts.setdefault("connect_timeout", connect_timeout)
        hosts = parts.get("host") or parts.get("hostaddr") or os.environ.get("PGHOST") or os.environ.get("PGHOSTADDR")
        if hosts and "," in hosts and "PGTARGETSESSIONATTRS" not in os.environ:
            # Else the first that answers is taken, and whoever starts while the primary restarts stays with a standby.
            parts.setdefault("target_session_attrs", "read-write")
        parts.setdefault("application_name", "session_middleware")
        self.conninfo = conninfo.make_conninfo("", **parts)
        hidden = [name for name in named if not _HARMLESS.fullmatch(name)]
        secrets = [str(parts[name]) for name in _SECRET if parts.get(name)]
        self._secrets = sorted([*secrets, *hidden], key=len, reverse=True)  # one may be a piece of another
        host, port = parts.get("host") or parts.get("hostaddr") or "local socket", parts.get("port")
        where, database = (HIDDEN if name in hidden else name for name in (host, str(parts.get("dbname") or "")))
        self.shown = f"postgresql://{where}{f':{port}' if port else ''}/{database}"

    @staticmethod
    def _unreadable(problem: str) -> SettingsError:
        return SettingsError("SESSION_STORE_URL", f"postgresql://{HIDDEN}", problem, _FORM)

    def without_secrets(self, text: str) -> str:
        """Return a text of libpq's with every secret of this address taken out."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        lines = (line.strip() for line in text.splitlines())
        return " ".join(line for line in lines if line and not line.startswith("Is the server running"))


def _read(text: str) -> dict[str, Any] | None:  # Any: texts and numbers
    """Return what libpq reads; None: nothing. Its own words are dropped, since they may quote a piece of the password."""
    try:
        return conninfo.conninfo_to_dict(text)
    except (Error, UnicodeError):  # a password in Latin-1, %FF in a URL: psycopg reads UTF-8 alone
        return None


def options_of(url: str) -> tuple[str, dict[str, Any]]:  # Any: arguments of PostgresStore
    """Split a URL into what libpq reads and the options of the store that stand in its query.

    Raises:
        SettingsError: there is a line break in it, or an option has a value that makes no sense. The value is not shown:
            it may be a piece of a password in which somebody wrote a bare / and ?.
    """
    from session_middleware.stores import refuse_control_characters  # it imports us where a URL is of PostgreSQL

    refuse_control_characters(url)
    address, query = _split(url)
    ours: dict[str, Any] = {}
    theirs = []
    for name, value, written in options_in(query):
        if name not in _OPTIONS:
            theirs.append(written)
            continue
        meant, problem, fix = _OPTIONS[name]
        try:
            ours[name] = meant(value)
        except (ValueError, KeyError):
            ours[name] = None
        if ours[name] is None:  # said here, so that no exception behind ours quotes it
            raise SettingsError(f"SESSION_STORE_URL {name}", HIDDEN, problem, fix)
    if not ours:
        return url, ours
    return address + ("?" + "&".join(theirs) if theirs else ""), ours


def _split(url: str) -> tuple[str, str]:
    """Return a URL without its query, and that; found as libpq finds it, which takes a ? in a password as it is."""
    account = _ACCOUNT.match(url)
    if account is None:  # key=value
        return url, ""
    address, _, query = url[account.end() :].partition("?")
    return account[0] + address, query


_ACCOUNT: Final = re.compile(r"postgres(?:ql)?://(?:[^@/]*@)?")

#: Our options in a URL: what is meant by a value, and what to say where nothing is.
_OPTIONS: Final[dict[str, tuple[Callable[[str], Any], str, str]]] = {  # Any: arguments of PostgresStore
    "schema": (checked_schema, "cannot be the name of our schema.", "Take small letters, digits and _, 63 at most."),
    "prepare": (lambda value: _YES[value.lower()], "is neither on nor off.", "Write prepare=off."),
    "announces": (lambda value: _YES[value.lower()], "is neither on nor off.", "Write announces=off."),
    "connections": (int, "is no number.", "Write connections=2, for example."),
    "timeout": (float, "is no number.", "Write timeout=2, for example."),
}
