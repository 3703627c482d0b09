"""Makes the tokens of a provider, and what a forger makes of them."""

from __future__ import annotations

import hmac
import json
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import RSAKey

#: Given as the value of a claim or header member, leaves it out.
ABSENT: Final = object()

LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"


class Forge:
    """A signing key of a provider and what its tokens say about one session.

    Args:
        key: the provider's private RSA key.
        issuer: what `iss` must be.
        audience: the client_id.
        now: the instant of the tokens, in seconds since the epoch.
        subject: whose session it is.
        sid: the session's id at the provider.
    """

    def __init__(
        self,
        key: RSAKey,
        *,
        issuer: str,
        audience: str,
        now: float,
        subject: str = "alice",
        sid: str = "sid-of-alice",
    ) -> None:
        self.key = key
        self.issuer, self.audience, self.now, self.subject, self.sid = issuer, audience, int(now), subject, sid

    # --- what the provider would say ---------------------------------------------------------------------------

    def logout_claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a logout token (Back-Channel Logout 1.0 §2.4)."""
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": self.subject,
            "sid": self.sid,
            "iat": self.now,
            "exp": self.now + 120,
            "jti": uuid.uuid4().hex,
            "events": {LOGOUT_EVENT: {}},
        }
        return _changed(claims, changes)

    def event_claims(self, event: str = "session-revoked", **changes: Any) -> dict[str, Any]:
        """The claims of a security event token about this session (RFC 8417 §2.2, Shared Signals 1.0 §4)."""
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "iat": self.now,
            "jti": uuid.uuid4().hex,
            "txn": uuid.uuid4().hex,
            "sub_id": {
                "format": "complex",
                "session": {"format": "opaque", "id": self.sid},
                "user": {"format": "iss_sub", "iss": self.issuer, "sub": self.subject},
            },
            "events": {CAEP + event: {"event_timestamp": self.now}},
        }
        return _changed(claims, changes)

    def logout(self, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """A logout token."""
        return self.signed(self.logout_claims(**changes), {"typ": "logout+jwt", **(header or {})})

    def event(self, header: Mapping[str, Any] | None = None, *, of: str = "session-revoked", **changes: Any) -> str:
        """A security event token."""
        return self.signed(self.event_claims(of, **changes), {"typ": "secevent+jwt", **(header or {})})

    # --- how it is written ---------------------------------------------------------------------------------------

    def header(self, changes: Mapping[str, Any]) -> bytes:
        """A JOSE header of this key."""
        return _json(_changed({"alg": "RS256", "kid": self.key.kid, "typ": "JWT"}, changes))

    def signed(self, claims: Any, header: Mapping[str, Any] | None = None, key: RSAKey | None = None) -> str:
        """A compact JWS, signed with RS256 whatever its header says."""
        return self.raw(self.header(header or {}), _json(claims), key)

    def raw(self, header: bytes, payload: bytes, key: RSAKey | None = None) -> str:
        """A compact JWS of these very bytes."""
        signing = f"{_b64(header)}.{_b64(payload)}"
        private: Any = (key or self.key).private_key
        return f"{signing}.{_b64(private.sign(signing.encode(), PKCS1v15(), SHA256()))}"

    def with_public_key_as_secret(self, claims: Any, header: Mapping[str, Any]) -> str:
        """A JWS signed with HS256, its secret being the PEM of the public key that everybody may know."""
        signing = f"{_b64(self.header({**header, 'alg': 'HS256'}))}.{_b64(_json(claims))}"
        public = self.key.as_pem(private=False)
        return f"{signing}.{_b64(hmac.digest(public, signing.encode(), 'sha256'))}"

    def unsigned(self, claims: Any, header: Mapping[str, Any]) -> str:
        """A JWS with `alg: none` and no signature."""
        return f"{_b64(self.header({**header, 'alg': 'none'}))}.{_b64(_json(claims))}."


def _changed(held: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**held, **changes}.items() if value is not ABSENT}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
