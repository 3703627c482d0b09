"""Stytch's two cookies, read from what a request shows, and written as Stytch's own script writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from typing import Final

from session_middleware.authorities.base import Shown
from session_middleware.authorities.stytch.options import checked_flag
from session_middleware.core.cookies import SIZE_LIMIT
from session_middleware.errors import SettingsError

__all__ = ["StytchCookies", "digest"]

#: What a token of Stytch's consists of, with room for longer ones than the 44 characters of today.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_=-]{20,256}", re.ASCII)
_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)

#: Characters of the longest JWT looked at; a browser keeps none that is longer.
_JWT_LIMIT: Final = 8_192

#: A name of a cookie (RFC 6265bis §4.1.1); and a domain, so that neither adds an attribute of its own.
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_DOMAIN: Final = re.compile(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class StytchCookies:
    """How the cookies are called and written.

    Attributes:
        token: name of the cookie with the session token.
        jwt: name of the cookie with the session JWT.
        domain: their Domain; None for the host alone.
        http_only: whether scripts may not read them.
        secure: whether they are sent over https only.
        written: whether they are written at all.
        intermediate: name of the cookie with the intermediate session token.

    Raises:
        SettingsError: a name is none, or the domain.
    """

    token: str
    jwt: str
    domain: str | None
    http_only: bool
    secure: bool
    written: bool
    intermediate: str = "stytch_intermediate_session_token"

    def __post_init__(self) -> None:
        for field, name in (("token_cookie", self.token), ("jwt_cookie", self.jwt)):
            if not isinstance(name, str) or _NAME.fullmatch(name) is None:
                raise SettingsError(field, name, "is no name of a cookie.", "Give the name your Stytch client uses.")
        if self.token == self.jwt:
            raise SettingsError("jwt_cookie", self.jwt, "is the name of token_cookie too.", "Give each a name.")
        checked_flag("cookie_http_only", self.http_only)
        checked_flag("set_cookies", self.written)
        if self.domain is not None and (not isinstance(self.domain, str) or _DOMAIN.fullmatch(self.domain) is None):
            raise SettingsError("cookie_domain", self.domain, "is no domain.", "Give one such as example.com, or None.")

    def token_of(self, shown: Shown) -> str | None:
        """Return the session token; None where none came, or something that cannot be one."""
        value = shown.cookies.get(self.token, "")
        return value if _TOKEN.fullmatch(value) else None

    def jwt_of(self, shown: Shown) -> str | None:
        """Return the session JWT; None where none came, or something that cannot be one."""
        value = shown.cookies.get(self.jwt, "")
        return value if len(value) <= _JWT_LIMIT and _JWT.fullmatch(value) else None

    def set_lines(self, values: Mapping[str, str], expires_at: float) -> tuple[str, ...]:
        """Return the Set-Cookie values that write cookies, by name, until an instant.

        One that browsers would not keep is left out: 4 KB of custom claims make such a JWT. So is one with a character
        that would begin an attribute.
        """
        if not self.written:
            return ()
        until = format_datetime(datetime.fromtimestamp(expires_at, UTC), usegmt=True)
        return tuple(
            f"{name}={value}; Expires={until}{self._attributes()}"
            for name, value in values.items()
            if len(name) + len(value) < SIZE_LIMIT and (_TOKEN.fullmatch(value) or _JWT.fullmatch(value))
        )

    def delete_lines(self, shown: Shown) -> tuple[str, ...]:
        """Return the Set-Cookie values that remove the cookies a request has shown."""
        if not self.written:
            return ()
        gone = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        return tuple(f"{name}=; {gone}{self._attributes()}" for name in (self.token, self.jwt) if name in shown.cookies)

    def _attributes(self) -> str:
        parts = ["; Path=/"]
        if self.domain is not None:
            parts.append(f"; Domain={self.domain}")
        if self.secure:
            parts.append("; Secure")
        if self.http_only:
            parts.append("; HttpOnly")
        return "".join([*parts, "; SameSite=Lax"])


def digest(text: str) -> str:
    """Return what a secret is known again by without being kept."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
