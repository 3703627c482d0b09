"""What a provider signs, read strictly and verified: its keys, and tokens under them; nothing is known of claims here.

joserfc does the cryptography. Before it sees a token, the token has been read by code of ours that takes one spelling only
(`core/strict_json.py`), its algorithm is one that was agreed on, and its key is one that the provider publishes for that
algorithm: nothing in the token chooses (RFC 8725 §3.1, §3.10).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from session_middleware.core.strict_json import parsed_segment
from session_middleware.core.tokens import b64decode
from session_middleware.errors import InvalidToken

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

__all__ = ["ALGORITHMS", "PublishedKey", "Signed", "published_keys", "read_signed", "refused", "text_in"]

#: Asymmetric algorithms of today, by the key type and, where it decides, the curve that each needs (RFC 7518 §3.1,
#: RFC 9864 §2.2). A symmetric one would make everybody who can verify able to sign.
ALGORITHMS: Final[Mapping[str, tuple[str, str | None]]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}

#: Characters of the longest token looked at. ID tokens of large companies, groups included, are below 10,000.
TOKEN_LIMIT: Final = 24 * 1024

#: Characters of the longest id looked at.
TEXT_LIMIT: Final = 512

#: Bits below which an RSA key protects nothing (NIST SP 800-131A).
LEAST_RSA: Final = 2048

#: Headers that bring a key, say where to fetch one, or change what is signed.
_FORBIDDEN: Final = ("crit", "jwk", "jku", "x5u", "x5c", "zip", "b64", "cty")

#: Keys of one provider; more would make a token without a kid expensive.
_MOST_KEYS: Final = 100


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A key that a provider publishes for signatures.

    Attributes:
        kid: its id, None where it has none.
        alg: the one algorithm it is for, None where the provider does not say.
        type: kty and curve.
    """

    kid: str | None
    alg: str | None
    type: tuple[str, str | None]
    key: RSAKey | ECKey | OKPKey

    def fits(self, alg: str) -> bool:
        """Say whether a signature by this algorithm may be verified with it."""
        kty, curve = ALGORITHMS[alg]
        return self.alg in (None, alg) and self.type[0] == kty and curve in (None, self.type[1])


@dataclass(frozen=True, slots=True)
class Signed:
    """A token whose signature is the provider's.

    Attributes:
        typ: its kind in lower case, without "application/"; None where it says none.
        alg: how it is signed.
        claims: what it says.
    """

    typ: str | None
    alg: str
    claims: Mapping[str, Any]  # Any: JSON values


def refused(code: str, problem: str) -> InvalidToken:
    """Return the error for a token of a provider; it never holds the token or a part of it."""
    return InvalidToken(f"The provider's token was refused: {problem}", code=code)


def published_keys(jwks: Mapping[str, Any]) -> tuple[PublishedKey, ...]:
    """Return the keys of a JWK Set that are for signatures (RFC 7517 §5: those of an unknown kind are passed over).

    Args:
        jwks: the document as read.
    """
    found = jwks.get("keys")
    keys = (_published(jwk) for jwk in found[:_MOST_KEYS]) if isinstance(found, list) else ()
    return tuple(key for key in keys if key is not None)


def _published(jwk: object) -> PublishedKey | None:
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    operations = jwk.get("key_ops")
    if operations is not None and "verify" not in (operations if isinstance(operations, list) else ()):
        return None
    kid, alg = jwk.get("kid"), jwk.get("alg")
    if not isinstance(kid, str | None) or (alg is not None and alg not in ALGORITHMS):
        return None
    # Only what makes a public key: other members, a private exponent among them, do not get in.
    members = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}.get(str(jwk.get("kty")))
    if members is None or any(not isinstance(jwk.get(name), str) for name in members):
        return None
    public: Any = {"kty": jwk["kty"], **{name: jwk[name] for name in members}}  # Any: joserfc's TypedDict of the kind
    key: RSAKey | ECKey | OKPKey
    try:
        if jwk["kty"] == "RSA":
            if int.from_bytes(b64decode(jwk["n"]), "big").bit_length() < LEAST_RSA:
                return None
            key = RSAKey.import_key(public)
        elif jwk["kty"] == "EC":
            key = ECKey.import_key(public)
            _ = key.public_key
        else:
            key = OKPKey.import_key(public)
            _ = key.public_key
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return PublishedKey(kid, alg, (jwk["kty"], jwk.get("crv") if jwk["kty"] != "RSA" else None), key)


def header_of(token: object) -> dict[str, Any]:  # Any: JSON values
    """Return the header of a compact JWS, unverified, to see which key is wanted.

    Raises:
        InvalidToken: it is none that anybody should look at further.
    """
    if not isinstance(token, str) or not token.isascii() or token.count(".") != 2:
        raise refused("token_malformed", "it is no compact JWS.")
    if len(token) > TOKEN_LIMIT:
        raise refused("token_malformed", f"it is longer than {TOKEN_LIMIT} characters.")
    header = parsed_segment(token.partition(".")[0])
    if header is None:
        raise refused("token_malformed", "its header cannot be read.")
    forbidden = [name for name in _FORBIDDEN if name in header]
    if forbidden:
        raise refused("token_header", f"its header has {forbidden[0]!r}.")
    if not isinstance(header.get("kid", ""), str) or not isinstance(header.get("typ", ""), str):
        raise refused("token_header", "its header has a kid or typ that is no text.")
    return header


def read_signed(
    token: str, keys: Iterable[PublishedKey], *, algorithms: Collection[str], typs: Collection[str | None]
) -> Signed:
    """Return what a token says, once it is shown that one of these keys signed it.

    Args:
        token: a compact JWS.
        keys: the provider's.
        algorithms: those agreed on, of `ALGORITHMS`.
        typs: the kinds wanted, in lower case; None where a token may leave it out.

    Raises:
        InvalidToken: anything is wrong. `code` is `token_malformed`, `token_header`, `token_typ`, `token_key` (no such key)
            or `token_signature`.
    """
    from joserfc.errors import JoseError
    from joserfc.jws import JWSRegistry

    header = header_of(token)
    alg = header.get("alg")
    if not isinstance(alg, str) or alg not in algorithms or alg not in ALGORITHMS:
        raise refused("token_header", "it is signed by an algorithm that was not agreed on.")
    typ = header.get("typ")
    if typ is not None:
        typ = str(typ).lower().removeprefix("application/")  # RFC 7515 §4.1.9
    if typ not in typs:
        raise refused("token_typ", "it is a token of another kind.")
    fitting = [key for key in keys if key.fits(alg)]
    if "kid" in header:
        fitting = [key for key in fitting if key.kid == header["kid"]]
    if len(fitting) != 1:  # RFC 7517 §4.5: several with one kid, or none named among several, leave it open which
        raise refused("token_key", "it names no key that the provider publishes for its algorithm.")
    message, _, signature = token.rpartition(".")
    # EdDSA is the name of before RFC 9864 for what a key of this curve can do, and providers still write it.
    algorithm, key = JWSRegistry.algorithms["Ed25519" if alg == "EdDSA" else alg], fitting[0].key
    try:
        algorithm.check_key(key)
        verifies = algorithm.verify(message.encode("ascii"), b64decode(signature), key)
    except (JoseError, ValueError, TypeError):
        verifies = False
    if not verifies:
        raise refused("token_signature", "its signature does not verify.")
    claims = parsed_segment(message.partition(".")[2])
    if claims is None:
        raise refused("token_malformed", "its claims cannot be read.")
    return Signed(typ, alg, claims)


def text_in(claims: Mapping[str, Any], name: str) -> str:
    """Return a claim that is a text.

    Raises:
        InvalidToken: it is missing, empty, too long or something else.
    """
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_LIMIT:
        raise refused("token_claims", f"its {name!r} is no text of a sensible length.")
    return value
