"""The checks of what is one of a few: words, switches, lists of names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from session_middleware.errors import SettingsError

if TYPE_CHECKING:
    from session_middleware.settings.options import Settings

__all__ = ["Put", "check_choices", "check_number", "choice"]

#: Writes a value that was checked into settings that are being made.
Put = Callable[[str, object], None]


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
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
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
    for name in ("persistent", "cookie_partitioned", "insecure_dev", "sse"):
        choice(settings, name, True, False)
    put("jwt_claims", tuple(settings.jwt_claims))
    reserved = {"iss", "aud", "sid", "sub", "iat", "nbf", "exp", "jti", "auth_time", "acr", "amr"} & set(
        settings.jwt_claims
    )
    if reserved:
        raise SettingsError(
            "jwt_claims", sorted(reserved), "are written by us (RFC 7519 §4.1).", "Name your own claims."
        )
    allowed = {"cache", "cookies", "storage", "executionContexts", "*"}
    put("clear_site_data", tuple(settings.clear_site_data))
    if not set(settings.clear_site_data) <= allowed:
        raise SettingsError(
            "clear_site_data", settings.clear_site_data, "has an unknown type.", f"Use {sorted(allowed)}."
        )
    origins = tuple(settings.trusted_origins)
    for origin in origins:
        if not re.fullmatch(r"https?://[^/\s?#@\\]+", origin):
            raise SettingsError(
                "trusted_origins", origin, "is not an origin.", "Write scheme://host[:port], nothing after."
            )
    put("trusted_origins", tuple(o.lower() for o in origins))
    until = settings.adopt_existing_until
    if until is not None and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", until):
        raise SettingsError(
            "adopt_existing_until", until, "is not a date.", "Write the day of installation, YYYY-MM-DD."
        )
