"""Where a PostgreSQL server is, read from a URL, and how it may be shown: never with a password."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from psycopg import Error, conninfo

from session_middleware.errors import SettingsError

__all__ = ["Address", "options_of"]

_FORM: Final = (
    "Write postgresql://user:password@host:5432/database; in a password @ is written %40, / %2F, ? %3F, % %25."
)
_SECRET: Final = ("password", "sslpassword", "oauth_client_secret")
_YES: Final = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


class Address:
    """What libpq is told to find the server.

    Args:
        text: a URL or libpq's own `key=value` form.
        connect_timeout: whole seconds for each of its hosts, unless it says otherwise itself.

    Raises:
        SettingsError: libpq cannot read it, or it is not what was meant: a password with a bare @ or / in it.
    """

    def __init__(self, text: str, connect_timeout: int) -> None:
        try:
            parts: dict[str, Any] = conninfo.conninfo_to_dict(text)
        except Error:  # its words may quote a piece of the password
            raise self._unreadable("is no address that libpq can read.") from None
        if any("@" in str(parts.get(name, "")) for name in ("host", "hostaddr", "dbname")):
            raise self._unreadable("has an @ where a host or a database is named.")
        if not all(re.fullmatch(r"\d{0,5}", port) for port in str(parts.get("port", "")).split(",")):
            raise self._unreadable("has a port that is no number.")
        parts.setdefault("connect_timeout", connect_timeout)
        parts.setdefault("application_name", "session_middleware")
        self.conninfo = conninfo.make_conninfo("", **parts)
        self._secrets = [str(parts[name]) for name in _SECRET if parts.get(name)]
        host, port = parts.get("host") or parts.get("hostaddr") or "local socket", parts.get("port")
        self.shown = f"postgresql://{host}{f':{port}' if port else ''}/{parts.get('dbname', '')}"

    @staticmethod
    def _unreadable(problem: str) -> SettingsError:
        return SettingsError("SESSION_STORE_URL", "postgresql://***", problem, _FORM)

    def without_secrets(self, text: str) -> str:
        """Return a text of libpq's with every secret of this address taken out."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        lines = (line.strip() for line in text.splitlines())
        return " ".join(line for line in lines if line and not line.startswith("Is the server running"))


def options_of(url: str) -> tuple[str, dict[str, Any]]:  # Any: arguments of PostgresStore
    """Split a URL into what libpq reads and the options of the store that stand in its query.

    Raises:
        SettingsError: there is a line break in it, or an option has a value that makes no sense.
    """
    from session_middleware.stores import refuse_control_characters  # it imports us where a URL is of PostgreSQL

    refuse_control_characters(url)
    address, mark, query = url.rpartition("?")  # the last, since libpq takes one in a password as it is
    ours: dict[str, Any] = {}
    theirs = []
    for name, value in parse_qsl(query if mark else "", keep_blank_values=True):
        if name == "schema":
            ours[name] = value
        elif name in ("prepare", "announces"):
            if value.lower() not in _YES:
                raise SettingsError(f"SESSION_STORE_URL {name}", value, "is neither on nor off.", f"Write {name}=off.")
            ours[name] = _YES[value.lower()]
        elif name in ("connections", "timeout"):
            try:
                ours[name] = int(value) if name == "connections" else float(value)
            except ValueError:
                raise SettingsError(
                    f"SESSION_STORE_URL {name}", value, "is no number.", f"Write {name}=2, for example."
                ) from None
        else:
            theirs.append((name, value))
    if not ours:
        return url, ours
    return address + ("?" + urlencode(theirs, quote_via=quote) if theirs else ""), ours
