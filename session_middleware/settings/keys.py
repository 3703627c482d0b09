"""The checks of the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from session_middleware.errors import SettingsError
from session_middleware.settings.choices import Put
from session_middleware.settings.kinds import listed

if TYPE_CHECKING:
    from session_middleware.settings.options import Settings

__all__ = ["check_keys"]


def check_keys(settings: Settings, put: Put) -> None:
    """Check the keys (L9, L10); no message shows one."""
    keys = listed("secret_keys", settings.secret_keys, "Give a list of keys, str or bytes.", secret=True)
    checked = [_checked_key("secret_keys", f"key {position}", key) for position, key in enumerate(keys)]
    if len(set(checked)) != len(checked):
        raise SettingsError(
            "secret_keys", "***", "names the same key twice.", "List each key once, the signing key first."
        )
    put("secret_keys", tuple(checked))
    jwt_keys = listed("jwt_keys", settings.jwt_keys, "Give a list of JwtKey.", secret=True)
    for key in jwt_keys:
        if not hasattr(key, "kid") or not hasattr(key, "alg"):  # JwtKey itself lies behind us
            raise SettingsError(
                "jwt_keys", type(key).__name__, "is not a JwtKey.", "Use JwtKey.hs256 or JwtKey.from_pem."
            )
    put("jwt_keys", jwt_keys)
    if settings.jwt_subject_key is not None:
        if settings.jwt_subject == "plain":
            raise SettingsError(
                "jwt_subject_key", "***", 'makes nothing where jwt_subject is "plain".', "Leave one of the two out."
            )
        put("jwt_subject_key", _checked_key("jwt_subject_key", "key", settings.jwt_subject_key))


def _checked_key(name: str, which: str, key: object) -> bytes:
    if not isinstance(key, (str, bytes)):
        raise SettingsError(name, type(key).__name__, "is not text or bytes.", "Give str or bytes keys.")
    try:
        raw = key.encode() if isinstance(key, str) else bytes(key)
    except UnicodeEncodeError:  # which holds the key
        raw = None
    if raw is None:
        raise SettingsError(
            name, f"<{which}>", "is no text of Unicode.", "Give str or bytes keys; in UTF-8 where they are read."
        )
    if len(raw) < 32 or len(set(raw)) < 8:
        raise SettingsError(
            name,
            f"<{which}, {len(raw)} bytes>",
            "is too short or too uniform for HMAC-SHA-256 (RFC 2104 §3; 32 bytes with at least 8 different ones).",
            'Make one with: python -c "import secrets; print(secrets.token_urlsafe(48))"',
        )
    return raw
