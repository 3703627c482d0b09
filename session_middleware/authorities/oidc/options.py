"""The arguments of an OpenID authority, checked: what makes no sense is refused where the authority is made."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from session_middleware.authorities.oidc.provider import ClientAuthentication
from session_middleware.authorities.signed import ALGORITHMS
from session_middleware.errors import SettingsError

__all__ = [
    "checked_age",
    "checked_algorithms",
    "checked_app_url",
    "checked_authentication",
    "checked_name",
    "checked_parameters",
    "installed",
    "one_of",
]

#: What is sent with a sign-in by us, so that nobody sets it beside us.
_OURS: Final = frozenset(
    [
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "max_age",
        "nonce",
        "prompt",
        "redirect_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
        "request",
        "request_uri",
    ]
)
_PARAMETER: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_NAME: Final = re.compile(r"\S(?:.{0,62}\S)?", re.ASCII)


def installed() -> None:
    """Check that the libraries of the extra are there.

    Raises:
        SettingsError: they are not.
    """
    try:
        import authlib.oauth2.rfc6749  # noqa: F401
        import joserfc.jwt  # noqa: F401
    except ImportError:
        raise SettingsError(
            "authority",
            "an OpenID provider",
            "needs Authlib and joserfc.",
            "Install the extra: pip install 'session-middleware[oidc]'.",
        ) from None


def checked_app_url(url: object, insecure_dev: bool) -> str:
    """Return where the app is, without a slash at the end.

    Raises:
        SettingsError: it is no address, or is not encrypted.
    """
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise SettingsError("app_url", url, "is no address of an app.", "Give one like https://shop.example.")
    local = parts.hostname in ("localhost", "127.0.0.1", "::1") or parts.hostname.endswith(".localhost")
    if parts.scheme == "http" and not local and not insecure_dev:
        raise SettingsError("app_url", url, "is not encrypted.", "Use https, or insecure_dev=True in a test network.")
    return str(url).rstrip("/")


def checked_name(name: object, issuer: str, client_id: str) -> str:
    """Return the authority's name: what was given, or the provider's host and a digest of issuer and client.

    A provider may give each of its clients another `sid`, or the same one to several, so that both belong to the name under
    which sessions are found.

    Raises:
        SettingsError: it is no short text.
    """
    if name is None:
        host = urlsplit(issuer).hostname or ""
        return f"{host[:40]} {sha256(f'{issuer} {client_id}'.encode()).hexdigest()[:16]}"
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise SettingsError("name", name, "is no name of an authority.", "Use a short text, 64 characters at most.")
    return name


def checked_parameters(field: str, given: Mapping[str, str] | None) -> dict[str, str]:
    """Return parameters of a request that an app may choose.

    Raises:
        SettingsError: one is no text, or is ours to choose.
    """
    found = dict(given or {})
    for name, value in found.items():
        if not isinstance(name, str) or _PARAMETER.fullmatch(name) is None or not isinstance(value, str):
            raise SettingsError(field, name, "is no parameter with a text.", 'Give texts, such as {"audience": "..."}.')
        if name in _OURS:
            raise SettingsError(field, name, "is set by the package.", "Use the argument that is there for it.")
    return found


def checked_algorithms(given: Collection[str]) -> frozenset[str]:
    """Return the algorithms by which a provider may sign.

    Raises:
        SettingsError: there are none, or one is unknown or symmetric.
    """
    found = frozenset([given] if isinstance(given, str) else given)
    bad = sorted(map(str, found - ALGORITHMS.keys()))
    if bad or not found:
        raise SettingsError(
            "algorithms", ", ".join(bad), "cannot be used here.", f"Choose from {', '.join(sorted(ALGORITHMS))}."
        )
    return found


def checked_age(age: object) -> float | None:
    """Return an age in seconds, None for any.

    Raises:
        SettingsError: it is none.
    """
    if age is None:
        return None
    if isinstance(age, bool) or not isinstance(age, (int, float)) or not 0 <= age < 1e9:
        raise SettingsError("max_age", age, "is no age of a sign-in.", "Give seconds, or None for any.")
    return float(age)


def one_of(field: str, value: str, values: tuple[str, ...]) -> str:
    """Return a value that is one of those known.

    Raises:
        SettingsError: it is not.
    """
    if value not in values:
        raise SettingsError(field, value, "is not known here.", f"Use {' or '.join(map(repr, values))}.")
    return value


def checked_authentication(given: object, secret: str | None) -> ClientAuthentication:
    """Return how to authenticate at the token endpoint, by default as the presence of a secret says.

    Raises:
        SettingsError: it is none of those known, or does not go with the secret.
    """
    if given is None:
        return "none" if secret is None else "client_secret_basic"
    if given not in ("client_secret_basic", "client_secret_post", "none"):
        raise SettingsError(
            "authentication",
            given,
            "is no way to authenticate that is known here.",
            'Use "client_secret_basic", "client_secret_post" or "none".',
        )
    if (given == "none") is not (secret is None):
        raise SettingsError(
            "authentication", given, "does not go with client_secret.", 'Give a secret, or use "none" without one.'
        )
    return given
