"""Mints the session JWT: what it says, when it is due, and one signature per process, session and rotation (L9)."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from session_middleware.core import cookies, lifetime
from session_middleware.core.jwt import JwtKeys
from session_middleware.core.record import NEVER, SessionRecord
from session_middleware.core.tokens import b64encode
from session_middleware.runtime import mutex
from session_middleware.settings import Settings

__all__ = ["Issuer"]

#: JWTs remembered so that a parallel request, or a browser that lost its cookie, is given the same one.
REMEMBERED = 10_000

#: An instant with as many digits as any that a session will see.
_FAR = 9_999_999_999

#: Claims that say when and which; the others say what.
_OF_THE_MOMENT = frozenset({"iat", "nbf", "exp", "jti"})


class Issuer:
    """Mints session JWTs under the first key.

    Args:
        settings: for lifetimes, issuer, audience, listed claims.
        keys: the JWT keys.
        pairwise_key: from which the pairwise subject is derived.
        clock: the engine's: a request may have been on its way for long.
    """

    def __init__(self, settings: Settings, keys: JwtKeys, pairwise_key: bytes, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._keys = keys
        self._pairwise_key = pairwise_key
        self._clock = clock
        self.name = settings.jwt_issuer or settings.cookie_name
        self.audience = settings.jwt_audience or settings.cookie_name
        self._mutex = mutex()
        self._minted: dict[bytes, tuple[str, int, int, dict[str, Any]]] = {}  # Any: claims
        self.signatures = 0  # counted, so that a test can hold "one per process, session and rotation"

    def claims_for(self, record: SessionRecord, claims: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a JWT for this record says, but for the instants: nothing personal unless listed (L9)."""
        settings = self._settings
        if settings.jwt_subject == "plain":
            subject = record.subject
        else:
            raw = record.subject.encode("utf-8", "surrogatepass")
            subject = b64encode(hmac.digest(self._pairwise_key, raw, "sha256"))
        said: dict[str, Any] = {
            "iss": self.name,
            "aud": self.audience,
            "sid": record.public_id,
            "sub": subject,
        }
        if record.fresh_at != NEVER:  # else nobody can say when it was, and who reads it would take it for fresh
            said["auth_time"] = int(record.authenticated_at)
        if settings.aal is not None:
            said["acr"] = settings.aal
        methods = sorted({str(factor["type"]) for factor in record.factors if "type" in factor})
        if methods:
            said["amr"] = methods
        said.update({name: claims[name] for name in settings.jwt_claims if name in claims})
        return said

    def is_due(self, text: str, held: Mapping[str, Any], record: SessionRecord, now: float, ends_at: float) -> bool:
        """Say whether a JWT that came must be replaced: by time, by key, or because what it says has changed."""
        if self._is_old(held["iat"], held["exp"], now, ends_at):
            return True
        if not self._keys.is_current(text):
            return True
        said = {name: value for name, value in held.items() if name not in _OF_THE_MOMENT}
        return said != self.claims_for(record, record.claims)

    def _is_old(self, issued: int, expires: int, now: float, ends_at: float) -> bool:
        """Say whether a JWT is to be replaced by time: too old, or from before the clock was set back (L1)."""
        timing = self._settings.timing
        if issued > now + timing.clock_skew and issued > self._clock() + timing.clock_skew:
            return True
        return expires <= now or lifetime.jwt_due(expires, now, ends_at, timing)

    def mint(self, record: SessionRecord, now: float, ends_at: float) -> str:
        """Return the JWT that stands for a record now: the one already minted, unless it is due.

        Raises:
            SettingsError: the listed claims make it too large for a cookie (L19).
        """
        said = self.claims_for(record, record.claims)
        with self._mutex:
            minted = self._minted.get(record.key)
            if minted is not None:
                text, issued, expires, saying = minted
                if saying == said and not self._is_old(issued, expires, now, ends_at):
                    return text
            expires = lifetime.jwt_expiry(now, ends_at, self._settings.timing)
            issued = int(now)
            text = self._keys.mint(
                {**said, "iat": issued, "nbf": issued, "exp": expires, "jti": secrets.token_urlsafe(12)}
            )
            cookies.check_size(self._settings.jwt_cookie, text)
            self.signatures += 1
            if len(self._minted) >= REMEMBERED:
                self._minted = dict(list(self._minted.items())[REMEMBERED // 2 :])
            self._minted[record.key] = (text, issued, expires, said)
            return text

    def check_fits(self, record: SessionRecord) -> None:
        """Refuse listed claims that would make the JWT of this record too large, before they are stored (L19).

        Raises:
            SettingsError: it would not fit a cookie.
        """
        longest = {"iat": _FAR, "nbf": _FAR, "exp": _FAR, "jti": "x" * 16}
        text = self._keys.mint({**self.claims_for(record, record.claims), **longest})
        cookies.check_size(self._settings.jwt_cookie, text)

    def forget(self, key: bytes) -> None:
        """Forget the JWT of a session that has ended."""
        with self._mutex:
            self._minted.pop(key, None)
