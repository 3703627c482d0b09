"""Session JWT: minted, verified and published as a key set for the user's other services (L9).

Compact JWS (RFC 7515 §3.1) with `typ: session+jwt`. Verification is stricter than the RFCs ask, because we read only
what we minted ourselves: a closed header, one key for one algorithm, one encoding, one reading of the JSON. Pure: `now`
and `jti` are the caller's. Nothing is cached here, and nothing may identify a JWT by its text or a hash of it: the same
ECDSA signature can be written two ways, so revocation goes by `sid` (RFC 8725bis, OWASP JWT cheat sheet).

Which algorithm: HS256 needs nothing and suits one application. Ed25519 and ES256 publish their public key through
`jwks()`. Ed25519 is signed under its fully-specified name `Ed25519` (RFC 9864 §2.2), not under the deprecated `EdDSA`.
joserfc >= 1.5, jwcrypto and jose (JavaScript) know that name; PyJWT 2.15 does not yet (its issue 1190). For a service
that reads with such a library choose ES256, or `JwtKey.from_pem(..., alg="EdDSA")`. A key answers to one name only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from session_middleware.core.jwt_key import JwtAlgorithm, JwtKey
from session_middleware.core.strict_json import parsed_segment
from session_middleware.core.tokens import b64encode
from session_middleware.errors import InvalidToken, SettingsError

__all__ = ["JWT_LIMIT", "JWT_TYP", "JwtAlgorithm", "JwtKey", "JwtKeys"]

#: The kind of token, so that no other JWT under the same key passes for a session (RFC 8725 §3.11).
JWT_TYP: Final = "session+jwt"

#: Characters of the longest JWT minted or looked at: more would not fit a cookie (RFC 6265bis §5.6).
JWT_LIMIT: Final = 4096

#: 9999-12-31T23:59:59Z, the last instant `datetime` can say; a later NumericDate is nonsense (RFC 7519 §2).
_LAST_INSTANT: Final = 253_402_300_799

_HEADER_NAMES: Final = frozenset({"alg", "kid", "typ"})
_TEXT_CLAIMS: Final = ("iss", "sub", "sid", "jti")

#: What every refusal says; why is in `code`, the token is nowhere.
_MESSAGE: Final = "The session JWT did not verify."


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _segment(value: Mapping[str, Any]) -> str:
    return b64encode(_ENCODER.encode(dict(value)).encode("utf-8"))


def _is_date(value: object) -> bool:
    """Say whether a value is a NumericDate: an int or float proper (not bool, not text), finite and in range."""
    return (type(value) is int or type(value) is float) and 0 <= value <= _LAST_INSTANT


class JwtKeys:
    """Mints and verifies session JWTs under a list of keys: the first signs, all verify (L9, L10).

    To change the key, append the new one everywhere, then move it to the front, then drop the old one after
    `jwt_lifetime`. Symmetric and asymmetric keys do not mix (RFC 8725 §2.1). To go from one to the other replace the
    whole list: a session JWT that no longer verifies is minted anew and ends no session.

    Args:
        keys: at least one; the first must be able to sign.

    Raises:
        SettingsError: the list is empty, names a key or a kid twice, mixes kinds, or cannot sign.
    """

    __slots__ = ("_by_header", "_by_kid", "_jwks", "_prefix", "_sign")

    def __init__(self, keys: Sequence[JwtKey]) -> None:
        listed = tuple(keys)
        for key in listed:
            if not isinstance(key, JwtKey):
                raise SettingsError(
                    "jwt_keys", type(key).__name__, "is not a JwtKey.", "Use JwtKey.hs256 or JwtKey.from_pem."
                )
        kids = [key.kid for key in listed]
        if not listed:
            raise SettingsError("jwt_keys", kids, "is empty.", "Give at least one key, the signing key first.")
        if len(set(kids)) != len(kids):
            raise SettingsError("jwt_keys", kids, "names a kid twice.", "Give every key a kid of its own.")
        if len({key._fingerprint for key in listed}) != len(listed):
            raise SettingsError(
                "jwt_keys", kids, "names one key twice.", "List each key once: one key, one algorithm (RFC 8725 §3.1)."
            )
        if len({key.alg == "HS256" for key in listed}) != 1:
            raise SettingsError(
                "jwt_keys",
                [f"{key.kid}: {key.alg}" for key in listed],
                "mixes symmetric and asymmetric keys (RFC 8725 §2.1).",
                "Replace the whole list at once: session JWTs are minted anew and nobody is logged out.",
            )
        first = listed[0]
        if first._sign is None:
            raise SettingsError(
                "jwt_keys", kids, f"begins with the public key {first.kid!r}.", "Put a private key first: it signs."
            )
        self._sign = first._sign
        self._by_kid = {key.kid: key for key in listed}
        # Our own headers are few, so they are known by their text and need no parsing.
        self._by_header = {_segment({"alg": key.alg, "kid": key.kid, "typ": JWT_TYP}): key for key in listed}
        self._prefix = next(iter(self._by_header)) + "."
        self._jwks = [
            {**key._jwk, "kid": key.kid, "alg": key.alg, "use": "sig"} for key in listed if key._jwk is not None
        ]

    def mint(self, claims: Mapping[str, Any]) -> str:
        """Sign claims with the first key; the same claims give the same JWT.

        Args:
            claims: what it says (RFC 7519 §4), written in the order given; `verify` wants iss, aud, sub, sid, jti, exp.

        Returns:
            The compact serialisation, at most `JWT_LIMIT` characters.

        Raises:
            SettingsError: a claim is no JSON value, or they are too long together.
        """
        try:
            payload = _segment(claims)
        except (TypeError, ValueError, RecursionError):
            raise SettingsError(
                "claims", sorted(map(str, claims)), "hold something that is not JSON.", "Use text, numbers and lists."
            ) from None
        if parsed_segment(payload) is None:  # nobody may be given a JWT that `verify` refuses
            raise SettingsError(
                "claims",
                sorted(map(str, claims)),
                "hold an integer of over 64 bits.",
                "Give it as text, or do not list it.",
            )
        signed = self._prefix + payload
        text = f"{signed}.{b64encode(self._sign(signed.encode('ascii')))}"
        if len(text) > JWT_LIMIT:
            raise SettingsError(
                "claims",
                sorted(map(str, claims)),
                f"make a session JWT of {len(text)} characters, more than {JWT_LIMIT}.",
                "List fewer in jwt_claims: the record keeps the rest.",
            )
        return text

    def verify(
        self, text: str, *, issuer: str, audience: str, now: float, clock_skew: float, typ: str = JWT_TYP
    ) -> dict[str, Any]:
        """Return the claims of a JWT of ours that holds at `now`; the signature is checked before any is looked at.

        Beyond RFC 7519 §7.2 and RFC 8725: the header holds alg, kid and typ and nothing else (so no jwk, jku, x5c, x5u,
        crit, zip, b64), kid must be one of ours and alg that key's own, `aud` is us alone (a text, or a list of just
        that), iss, sub, sid, jti and exp are required, and text that has a second reading is refused.

        Args:
            text: the compact serialisation.
            issuer: what `iss` must be.
            audience: what `aud` must be.
            now: seconds since the epoch.
            clock_skew: seconds that `iat` and `nbf` may be ahead of `now`; `exp` has no leeway (L1).
            typ: the kind of token wanted; `application/` may stand before it (RFC 7515 §4.1.9).

        Returns:
            Its claims.

        Raises:
            InvalidToken: anything at all is wrong. `code` is `jwt_invalid` (not signed by us, or not a token of this
                kind), and once the signature is good `jwt_claims` (not for us, or a claim missing or malformed),
                `jwt_expired` or `jwt_not_yet_valid`.
        """
        if not isinstance(text, str) or len(text) > JWT_LIMIT or not text.isascii():
            raise InvalidToken(_MESSAGE, code="jwt_invalid")
        parts = text.split(".")
        if len(parts) != 3:  # five would be JWE (RFC 7516 §3.1)
            raise InvalidToken(_MESSAGE, code="jwt_invalid")
        header, payload, signature = parts
        key = self._by_header.get(header) if typ == JWT_TYP else None
        if key is None:
            key = self._key_of(header, typ)
        if key is None or not key._verifies(text[: -len(signature) - 1].encode("ascii"), signature):
            raise InvalidToken(_MESSAGE, code="jwt_invalid")
        claims = parsed_segment(payload)
        if claims is None or not _are_for(claims, issuer, audience):
            raise InvalidToken(_MESSAGE, code="jwt_claims")
        if not now < claims["exp"]:  # so that a `now` that is not a number ends it too
            raise InvalidToken(_MESSAGE, code="jwt_expired")
        latest = now + clock_skew
        if claims.get("iat", 0) > latest or claims.get("nbf", 0) > latest:
            raise InvalidToken(_MESSAGE, code="jwt_not_yet_valid")
        return claims

    def _key_of(self, header: str, typ: str) -> JwtKey | None:
        """Return the key that a header written by another library may be verified with, None for none."""
        found = parsed_segment(header)
        if found is None or found.keys() != _HEADER_NAMES or found["typ"] not in (typ, f"application/{typ}"):
            return None
        kid = found["kid"]
        key = self._by_kid.get(kid) if isinstance(kid, str) else None
        return key if key is not None and found["alg"] == key.alg else None

    def is_current(self, text: str) -> bool:
        """Say whether a JWT that verified was signed by the first key; if not, it wants rotation (L9)."""
        return text.startswith(self._prefix)

    def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JWK Set (RFC 7517 §5), in the order listed; symmetric keys never appear."""
        return {"keys": [dict(jwk) for jwk in self._jwks]}


def _are_for(claims: dict[str, Any], issuer: str, audience: str) -> bool:
    """Say whether claims have every member we need, of the right type, and are from `issuer` for `audience` alone."""
    for name in _TEXT_CLAIMS:
        value = claims.get(name)
        if type(value) is not str or not value:
            return False
    if claims["iss"] != issuer or not _is_date(claims.get("exp")):
        return False
    for name in ("iat", "nbf", "auth_time"):
        if name in claims and not _is_date(claims[name]):
            return False
    named = claims.get("aud")
    if type(named) is list and len(named) == 1:
        named = named[0]
    return type(named) is str and named == audience != ""  # an audience never set is met by nobody
