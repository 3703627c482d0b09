"""The signing keys of a stood-in Stytch project: session JWTs under RS256, two keys served while they rotate."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from uuid import uuid4

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from session_middleware.core.tokens import b64decode, b64encode

__all__ = ["SigningKeys"]

#: Seconds from `iat` to `exp` of a session JWT, however long the session is.
JWT_LIFETIME: Final = 300


class SigningKeys:
    """The RSA keys of one project; the newest signs, all verify and are served."""

    def __init__(self) -> None:
        self._made = 0
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        self.rotate()

    def rotate(self) -> None:
        """Sign with a new key; the earlier ones are served on."""
        self._keys = {f"jwk-test-{uuid4()}": _key(self._made), **self._keys}
        self._made += 1

    def retire(self) -> None:
        """Serve the newest key alone."""
        kid, key = next(iter(self._keys.items()))
        self._keys = {kid: key}

    def jwks(self) -> list[dict[str, Any]]:  # Any: JSON
        """Return the `keys` that Stytch would serve, with the members it serves."""
        return [{**_public(key), "kid": kid} for kid, key in self._keys.items()]

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a JWT under the newest key."""
        kid, key = next(iter(self._keys.items()))
        header = {"alg": "RS256", "kid": kid, "typ": "JWT"}
        signed = f"{b64encode(_json(header))}.{b64encode(_json(claims))}"
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{b64encode(signature)}"

    def claims_of(self, jwt: str) -> dict[str, Any] | None:
        """Return what a JWT of ours says, past its `exp` too; None where none of the keys signed it."""
        try:
            header, payload, signature = jwt.split(".")
            key = self._keys[json.loads(b64decode(header))["kid"]]
            signed = f"{header}.{payload}".encode()
            key.public_key().verify(b64decode(signature), signed, padding.PKCS1v15(), hashes.SHA256())
            return dict(json.loads(b64decode(payload)))
        except (ValueError, KeyError, TypeError, InvalidSignature):
            return None


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@lru_cache
def _key(number: int) -> rsa.RSAPrivateKey:
    """Return a key of this process: making one takes up to a second, and a suite has many projects."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


@lru_cache
def _public(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stytch stand-in")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=36_525))
        .sign(key, hashes.SHA256())
    )
    der = certificate.public_bytes(Encoding.DER)
    return {
        "kty": "RSA",
        "use": "sig",
        "key_ops": ["verify"],
        "alg": "RS256",
        "x5c": [base64.b64encode(der).decode()],  # with padding, as this member alone has it (RFC 7517 §4.7)
        "x5t#S256": b64encode(certificate.fingerprint(hashes.SHA256())),
        "n": b64encode(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
        "e": b64encode(numbers.e.to_bytes(3, "big")),
    }
