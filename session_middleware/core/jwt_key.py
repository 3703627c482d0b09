"""One key of the session JWT: HS256 from a secret, Ed25519 or ES256 from a PEM; one key has one algorithm (L9)."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

from session_middleware.core.tokens import b64decode, b64encode, derive
from session_middleware.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

__all__ = ["JwtAlgorithm", "JwtKey"]

JwtAlgorithm = Literal["HS256", "Ed25519", "EdDSA", "ES256"]

_KID: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}", re.ASCII)
_KEY_FIX: Final = "Give a PEM of an Ed25519 or P-256 key."


def _p256(
    public: EllipticCurvePublicKey, private: EllipticCurvePrivateKey | None
) -> tuple[dict[str, str], Callable[[bytes], bytes] | None, Callable[[bytes, bytes], None]]:
    """Return the public JWK members of a P-256 key, how it signs and how it verifies (RFC 7518 §3.4, §6.2)."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    scheme = ec.ECDSA(hashes.SHA256())
    try:
        # RFC 8725 §3.2 wants RFC 6979: no random number whose repetition gives the key away.
        signing = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    except (TypeError, UnsupportedAlgorithm):  # an older cryptography or OpenSSL
        signing = scheme
    point = public.public_numbers()
    x, y = (b64encode(number.to_bytes(32, "big")) for number in (point.x, point.y))

    def check(signature: bytes, message: bytes) -> None:
        if len(signature) != 64:  # r and s, 32 bytes each; never DER
            raise InvalidSignature
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        public.verify(utils.encode_dss_signature(r, s), message, scheme)

    def sign(message: bytes) -> bytes:
        assert private is not None  # handed out below only with a private key
        r, s = utils.decode_dss_signature(private.sign(message, signing))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}, None if private is None else sign, check


def _checked_kid(kid: object) -> str:
    if not isinstance(kid, str) or _KID.fullmatch(kid) is None:
        raise SettingsError(
            "kid", kid, "is not a key id.", "Use 1 to 128 letters, digits and ._~:/+=@-, or leave it out."
        )
    return kid


def _refused_pem(problem: str, fix: str = _KEY_FIX) -> SettingsError:
    return SettingsError("jwt_keys", "***", problem, fix)


@dataclass(frozen=True, slots=True)
class JwtKey:
    """A key of the session JWT; made by `hs256` or `from_pem`. One key has one algorithm (RFC 8725 §3.1).

    Example:
        >>> key = JwtKey.hs256(b"0f6a1b2c3d4e5f60718293a4b5c6d7e8f9", kid="2026-01")
        >>> key
        JwtKey(kid='2026-01', alg='HS256')

    Attributes:
        kid: the id that stands in the header of every JWT it signs.
        alg: the one algorithm it signs and verifies with, as the header names it.
    """

    kid: str
    alg: JwtAlgorithm
    _fingerprint: bytes = field(repr=False)  # the same for the same key under whatever kid and alg; not the key
    _jwk: Mapping[str, str] | None = field(repr=False, compare=False)  # public members only; None for a secret
    _sign: Callable[[bytes], bytes] | None = field(repr=False, compare=False)
    _verifies: Callable[[bytes, str], bool] = field(repr=False, compare=False)

    @property
    def can_sign(self) -> bool:
        """Whether this is a secret or private key; a public one only verifies."""
        return self._sign is not None

    @classmethod
    def hs256(cls, secret: bytes, kid: str | None = None) -> JwtKey:
        """Make a symmetric key (RFC 7518 §3.2): whoever verifies with it can also sign.

        Args:
            secret: 32 random bytes or more, never a password (RFC 8725 §3.5).
            kid: its id; left out, a hash of the secret that does not reveal it.

        Returns:
            A key that signs and verifies.

        Raises:
            SettingsError: the secret is not bytes, too short, too uniform or in truth a public key; or the kid is bad.
        """
        make = 'Make one with: python -c "import secrets; print(secrets.token_urlsafe(48))"'
        if not isinstance(secret, bytes):
            raise SettingsError("jwt_keys", type(secret).__name__, "is not bytes.", "Encode it: secret.encode().")
        if len(secret) < 32 or len(set(secret)) < 8:
            raise SettingsError(
                "jwt_keys",
                f"<secret of {len(secret)} bytes>",
                "is too short or too uniform for HS256 (RFC 7518 §3.2; 32 bytes with at least 8 different ones).",
                make,
            )
        if b"-----BEGIN " in secret or secret.lstrip().startswith((b"ssh-", b"ecdsa-")):
            # The classic confusion: a key that everyone may know, taken for a secret (RFC 8725 §2.1).
            raise SettingsError("jwt_keys", "***", "is a PEM or SSH key, not a secret.", "Use JwtKey.from_pem.")

        def sign(message: bytes) -> bytes:
            return hmac.digest(secret, message, "sha256")

        def verifies(message: bytes, signature: str) -> bool:
            # Encoded against encoded: there is one right text, and it is compared in constant time.
            return hmac.compare_digest(b64encode(sign(message)), signature)

        fingerprint = derive(secret, "session JWT key id")
        own = b64encode(fingerprint[:12]) if kid is None else _checked_kid(kid)
        return cls(own, "HS256", fingerprint, None, sign, verifies)

    @classmethod
    def from_pem(
        cls,
        pem: str | bytes,
        kid: str | None = None,
        password: bytes | None = None,
        *,
        alg: Literal["Ed25519", "EdDSA", "ES256"] | None = None,
    ) -> JwtKey:
        """Read an Ed25519 (RFC 8037) or P-256 (RFC 7518 §3.4) key from PEM.

        Args:
            pem: a private key, which signs and verifies, or a public key, which only verifies.
            kid: its id; left out, its RFC 7638 thumbprint.
            password: of an encrypted private key.
            alg: left out, the fully-specified name for the key. `"EdDSA"` makes an Ed25519 key sign and verify under
                the deprecated name instead, for readers that do not know RFC 9864 yet, such as PyJWT 2.15.

        Returns:
            The key.

        Raises:
            SettingsError: it cannot be read, is of another kind or does not go with `alg`; or the package
                `cryptography` is missing.
        """
        try:
            from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
            from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
            from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
        except ImportError:
            raise _refused_pem(
                "needs the package cryptography.", 'Install "session-middleware[jwt]", or use JwtKey.hs256.'
            ) from None

        if not isinstance(pem, (str, bytes)):
            raise SettingsError("jwt_keys", type(pem).__name__, "is not a PEM.", _KEY_FIX)
        raw = pem.encode("utf-8", "replace") if isinstance(pem, str) else pem
        private: Any = None  # Any: cryptography's union of private key types, narrowed below
        try:
            if b"PRIVATE KEY-----" in raw:
                private = load_pem_private_key(raw, password)
                public: Any = private.public_key()  # Any: the same for public keys
            else:
                public = load_pem_public_key(raw)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: a password missing, or one too many
            raise _refused_pem(
                "cannot be read: no PEM of a key, of a kind unknown here, or the wrong password.",
                "Give an unencrypted or correctly unlocked PEM of an Ed25519 or P-256 key.",
            ) from None

        allowed: tuple[JwtAlgorithm, ...]
        check: Callable[[bytes, bytes], None]  # signature, message
        if isinstance(public, ed25519.Ed25519PublicKey):
            allowed = ("Ed25519", "EdDSA")
            jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64encode(public.public_bytes_raw())}
            sign, check = None if private is None else private.sign, public.verify
        elif isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
            allowed = ("ES256",)
            jwk, sign, check = _p256(public, private)
        else:
            what = type(public).__name__.removesuffix("PublicKey")
            if isinstance(public, rsa.RSAPublicKey):
                what = f"RSA ({public.key_size} bits)"
            elif isinstance(public, ec.EllipticCurvePublicKey):
                what = f"elliptic-curve ({public.curve.name})"
            raise _refused_pem(f"is a key of the kind {what}, which is not used here.")

        if alg is not None and alg not in allowed:
            raise SettingsError("alg", alg, f"does not go with this key ({jwk['crv']}).", f"Use {allowed[0]!r}.")

        def verifies(message: bytes, signature: str) -> bool:
            try:
                check(b64decode(signature), message)
            except (ValueError, InvalidSignature):
                return False
            return True

        # RFC 7638 §3: the required members alone, in alphabetical order, which is the order above.
        fingerprint = sha256(json.dumps(jwk, separators=(",", ":")).encode("ascii")).digest()
        own = b64encode(fingerprint) if kid is None else _checked_kid(kid)
        return cls(own, alg or allowed[0], fingerprint, jwk, sign, verifies)
