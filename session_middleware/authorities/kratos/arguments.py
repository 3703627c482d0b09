"""The arguments of KratosAuthority, checked: what is wrong is said by the argument's own name, and no secret is repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

from session_middleware.authorities.calls import Calls
from session_middleware.errors import SettingsError

__all__ = ["EARLY", "address", "bearer", "cookie", "flag", "function", "named", "seconds", "window"]

F = TypeVar("F", bound=Callable[..., object])

#: Seconds by which a deadline of the provider's falls earlier here (L2).
EARLY = 30.0


def named(field: str, make: Callable[[str], Calls], url: str) -> Calls:
    """Make calls; what is wrong with the address is said of the argument that it came by."""
    try:
        return make(url)
    except SettingsError as fault:
        if fault.field != "base_url":
            raise
        raise SettingsError(field, fault.value, "is no address to ask Kratos at.", fault.fix) from None


def bearer(token: str | None) -> Mapping[str, str] | None:
    """Return the headers that show the admin token; None without one."""
    if token is None:
        return None
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            "admin_token", "<hidden>", "is no bearer token.", "Give Kratos' own text, as in ory_pat_..."
        )
    return {"Authorization": f"Bearer {token}"}


def cookie(name: str) -> str:
    """Return the name of Kratos' cookie."""
    if not isinstance(name, str) or not name or not name.isascii() or set(name) & set(' ()<>@,;:\\"/[]?={}\t'):
        raise SettingsError("cookie_name", name, "is no name of a cookie.", "Give what session.cookie.name says.")
    return name


def address(field: str, url: str) -> str:
    """Return an address for browsers without its last slash."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = usable and not parts.query and not parts.fragment and parts.username is None
    except (ValueError, AttributeError, TypeError):
        usable = False
    if not usable:
        shown = url if isinstance(url, str) and "@" not in url else "<hidden>"
        raise SettingsError(field, shown, "is no address for browsers.", "Give one like https://shop.example.")
    return url.rstrip("/")


def seconds(field: str, value: float | timedelta, least: float) -> float:
    """Return a time in seconds."""
    given = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not least <= given < 1e10:
        raise SettingsError(field, value, f"is not at least {least:g} seconds.", "Give seconds or a timedelta.")
    return float(given)


def window(value: float | timedelta | None, lifespan: float) -> float:
    """Return how little of a session may be left before it is extended; half of its life by default."""
    if value is None:
        return lifespan / 2
    given = seconds("extend_when_left", value, 2 * EARLY)
    if given > lifespan:
        fix = f"Give at most lifespan, {lifespan:g}, and at most session.earliest_possible_extend."
        raise SettingsError("extend_when_left", value, "is longer than Kratos' sessions live.", fix)
    return given


def flag(field: str, value: bool) -> bool:
    """Return what is True or False: a text of the environment would count as True whatever it says."""
    if not isinstance(value, bool):
        raise SettingsError(field, value, "is neither True nor False.", "Give one of them.")
    return value


def function(field: str, value: F) -> F:
    """Return what can be called."""
    if not callable(value):
        raise SettingsError(field, value, "is not a function.", "Give one that takes Kratos' session.")
    return value
