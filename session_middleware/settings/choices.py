"""The checks of what is one of a few: words, switches, lists of names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from session_middleware.errors import SettingsError
from session_middleware.settings.kinds import check_function, text, texts

if TYPE_CHECKING:
    from session_middleware.settings.options import Settings

__all__ = ["Put", "check_choices", "check_number", "choice"]

#: Writes a value that was checked into settings that are being made.
Put = Callable[[str, object], None]

#: The largest number that every store counts to.
_MOST_SESSIONS = 2**31 - 1


def choice(settings: Settings, name: str, *allowed: object) -> None:
    """Refuse a setting whose value is none of those allowed."""
    value = getattr(settings, name)
    if value not in allowed:
        near = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Give one of {', '.join(map(repr, allowed))}."
        raise SettingsError(name, value, "is not known.", hint)


def check_number(settings: Settings) -> None:
    """Check the one setting that is a number of something."""
    most = settings.max_sessions
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= _MOST_SESSIONS):
        raise SettingsError(
            "max_sessions", most, "is no number of sessions.", "Give a whole number from 1 up, or None for no limit."
        )


def check_choices(settings: Settings, put: Put) -> None:
    """Check what is one of a few words, or a list of such."""
    choice(settings, "on_replay", "end", "refuse")
    choice(settings, "on_max_sessions", "evict", "refuse")
    choice(settings, "jwt_subject", "pairwise", "plain")
    choice(settings, "activity", "request", "user")
    choice(settings, "socket_activity", "app", "message")
    choice(settings, "default_policy", None, "required", "optional")
    choice(settings, "csrf_without_headers", "refuse", "allow")
    choice(settings, "transport", "cookie", "header")
    choice(settings, "on_unavailable", "refuse", "stale")
    for name in ("persistent", "cookie_partitioned", "insecure_dev", "sse", "silent_sso"):
        choice(settings, name, True, False)
        put(name, bool(getattr(settings, name)))
    for name in ("jwt_issuer", "jwt_audience"):
        if getattr(settings, name) is not None:
            text(name, getattr(settings, name), "Give one text, or None for the cookie name.")
    claims = texts("jwt_claims", settings.jwt_claims, "Give a list of names, such as ['role'].")
    put("jwt_claims", claims)
    reserved = {"iss", "aud", "sid", "sub", "iat", "nbf", "exp", "jti", "auth_time", "acr", "amr"} & set(claims)
    if reserved:
        raise SettingsError(
            "jwt_claims", sorted(reserved), "are written by us (RFC 7519 §4.1).", "Name your own claims."
        )
    allowed = {"cache", "cookies", "storage", "executionContexts", "*"}
    kinds = texts("clear_site_data", settings.clear_site_data, f"Give a list of {sorted(allowed)}.")
    put("clear_site_data", kinds)
    if not set(kinds) <= allowed:
        raise SettingsError("clear_site_data", kinds, "has an unknown type.", f"Use {sorted(allowed)}.")
    if settings.client_address is not None:
        check_function("client_address", settings.client_address, "Give a function of the request's facts, or None.")
    if settings.refusal is not None:
        check_function("refusal", settings.refusal, "Give a function (facts, refusal) -> Reply or None, or None.")
    if settings.adopt_existing_until is not None:
        _check_day("adopt_existing_until", settings.adopt_existing_until)


def _check_day(name: str, value: object) -> None:
    fix = "Write the day of installation as text, YYYY-MM-DD."
    if isinstance(value, date):
        raise SettingsError(name, value, "is not text.", f"Write {value.isoformat()[:10]!r}.")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text(name, value, fix), re.ASCII):
        raise SettingsError(name, value, "is not a date.", fix)
    try:
        day = date.fromisoformat(str(value))
    except ValueError:
        raise SettingsError(name, value, "is no day of the calendar.", fix) from None
    if day == date.max:  # what is adopted is adopted until the end of the day, which is the day after
        raise SettingsError(name, value, "is the last day there is.", fix)
