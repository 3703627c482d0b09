"""Settings as a mapping of texts holds them: the environment, a configuration file."""

from __future__ import annotations

import difflib
import json
from typing import Any

from session_middleware.errors import SettingsError

__all__ = ["from_text", "unknown"]

#: Settings that are text; what else is text in a mapping is read as JSON.
_TEXT = {
    "aal",
    "on_max_sessions",
    "on_replay",
    "jwt_issuer",
    "jwt_audience",
    "jwt_subject",
    "jwt_subject_key",
    "activity",
    "socket_activity",
    "default_policy",
    "login_url",
    "fresh_login_url",
    "return_param",
    "endpoint_prefix",
    "cookie_name",
    "cookie_domain",
    "cookie_samesite",
    "transport",
    "csrf_without_headers",
    "on_unavailable",
    "adopt_existing_until",
}


def from_text(name: str, value: Any) -> Any:
    """Return the value of a setting that a mapping may hold as text.

    Raises:
        SettingsError: it is no JSON, where the setting is not text.
    """
    if not isinstance(value, str) or name in _TEXT:
        return value
    if name == "secret_keys" and not value.lstrip().startswith("["):
        return [value]
    if name == "inactivity_timeout" and value == "default":
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        shown = "***" if name in ("secret_keys", "jwt_keys") else value
        raise SettingsError(
            name, shown, "is not readable.", 'Write it as JSON, for example 900, true or ["a"].'
        ) from None


def unknown(key: str, name: str, names: set[str], prefix: str) -> SettingsError:
    """Return the error of a name that is no setting, with the nearest that is."""
    near = difflib.get_close_matches(name, names, n=1)
    hint = (
        f"Did you mean {prefix + (near[0].upper() if prefix.isupper() else near[0])}?"
        if near
        else "See the settings page for the names."
    )
    return SettingsError(key, "...", "is not a setting.", hint)
