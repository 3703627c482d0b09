"""Keys that providers publish and tokens under them: which are taken, by which algorithms, and how often they are fetched."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from session_middleware.authorities.signed import ALGORITHMS, published_keys, read_signed
from session_middleware.errors import InvalidToken

CLAIMS = {"sub": "alice", "n": 1.5, "ä": ["ö"]}
TYPS = frozenset({None, "jwt"})

KEYS = {
    "RS": RSAKey.generate_key(2048, private=True, auto_kid=True),
    "PS": RSAKey.generate_key(3072, private=True, auto_kid=True),
    "ES256": ECKey.generate_key("P-256", private=True, auto_kid=True),
    "ES384": ECKey.generate_key("P-384", private=True, auto_kid=True),
    "ES512": ECKey.generate_key("P-521", private=True, auto_kid=True),
    "Ed": OKPKey.generate_key("Ed25519", private=True, auto_kid=True),
}


def key_for(alg: str) -> Any:
    return next(key for begin, key in KEYS.items() if alg.startswith(begin))


def signed(alg: str, key: Any, **header: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # of the name EdDSA, which providers still write
        registry = JWSRegistry(algorithms=[alg])
        return jwt.encode({"alg": alg, "kid": key.kid, **header}, CLAIMS, key, registry=registry)


def jwks(*keys: Any, **more: Any) -> dict[str, Any]:
    return {"keys": [{**key.as_dict(private=False), **more} for key in keys]}


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_each_algorithm(alg: str) -> None:
    """A token by each algorithm verifies with its key among all the others, and not where the algorithm was not agreed on."""
    token = signed(alg, key_for(alg))
    keys = published_keys(jwks(*KEYS.values()))
    found = read_signed(token, keys, algorithms=[alg], typs=TYPS)
    assert (found.typ, found.alg, found.claims) == ("jwt", alg, CLAIMS)
    others = [other for other in ALGORITHMS if other != alg]
    with pytest.raises(InvalidToken) as caught:
        read_signed(token, keys, algorithms=others, typs=TYPS)
    assert caught.value.code == "token_header"


def test_a_key_is_for_its_own_algorithm() -> None:
    """A key that says its algorithm verifies no other one's signatures; a curve has one algorithm only."""
    token = signed("RS512", KEYS["RS"])
    assert read_signed(token, published_keys(jwks(KEYS["RS"])), algorithms=["RS512"], typs=TYPS)
    for keys in (jwks(KEYS["RS"], alg="RS256"), jwks(KEYS["ES256"])):
        with pytest.raises(InvalidToken):
            read_signed(token, published_keys(keys), algorithms=list(ALGORITHMS), typs=TYPS)


def test_a_token_without_a_kid() -> None:
    """It is verified where one key can be meant, and refused where several can (RFC 7517 §4.5)."""
    key, other = KEYS["RS"], KEYS["PS"]
    token = jwt.encode({"alg": "RS256"}, CLAIMS, key, algorithms=["RS256"])
    assert read_signed(token, published_keys(jwks(key)), algorithms=["RS256"], typs=TYPS).claims == CLAIMS
    for keys in (jwks(key, other), jwks(key, key)):
        with pytest.raises(InvalidToken) as caught:
            read_signed(token, published_keys(keys), algorithms=["RS256"], typs=TYPS)
        assert caught.value.code == "token_key"


def test_what_is_no_key_for_signatures() -> None:
    """Secrets, weak keys, keys for encryption, of unknown kinds and broken ones are passed over; the others serve on."""
    good = KEYS["RS"].as_dict(private=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weak = RSAKey.generate_key(1024, private=True, auto_kid=True).as_dict(private=False)
    bad: list[Any] = [
        OctKey.generate_key(256, auto_kid=True).as_dict(private=True),
        weak,
        {**good, "use": "enc"},
        {**good, "key_ops": ["encrypt"]},
        {**good, "key_ops": "verify"},
        {**good, "alg": "RSA-OAEP"},
        {**good, "alg": "HS256"},
        {**good, "alg": 7},
        {**good, "kid": 7},
        {**good, "n": 7},
        {**good, "kty": "XYZ"},
        {"kty": "RSA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": ["RSA"]},
        "a text",
        None,
    ]
    assert [key.kid for key in published_keys({"keys": [*bad, good]})] == [good["kid"]]
    for nothing in ({}, {"keys": None}, {"keys": {}}, {"keys": []}):
        assert published_keys(nothing) == ()


def test_a_private_key_that_was_published() -> None:
    """What should never have been published is not kept, and nothing prints it."""
    private = KEYS["RS"].as_dict(private=True)
    (key,) = published_keys({"keys": [private]})
    assert not key.key.is_private
    assert private["d"] not in repr(key)


@pytest.mark.parametrize(
    "token", [None, 7, b"a.b.c", "", "a.b", "a.b.c.d", "é.b.c", "....", "e30.e30.", "!!.e30.AA", "bnVsbA.e30.AA"]
)
def test_what_is_no_token(token: Any) -> None:
    """Anything at all is refused, and never with the text in the message."""
    with pytest.raises(InvalidToken) as caught:
        read_signed(token, published_keys(jwks(KEYS["RS"])), algorithms=["RS256"], typs=TYPS)
    assert caught.value.code in ("token_malformed", "token_header")


def test_one_changed_character() -> None:
    """No token differs from a good one in a character and verifies."""
    token = signed("RS256", KEYS["RS"])
    keys = published_keys(jwks(KEYS["RS"]))
    for place in range(0, len(token), 7):
        flipped = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(InvalidToken):
            read_signed(flipped, keys, algorithms=["RS256"], typs=TYPS)
