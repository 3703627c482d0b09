"""Session JWT: everything that must not verify; one section per row of ASVS 5.0 V9 and RFC 8725bis.

Most tokens here are signed with the right key: what is refused is refused although the signature is good.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import assume, given
from hypothesis import strategies as st
from joserfc import jwe as joserfc_jwe
from joserfc import jwk as joserfc_jwk

from session_middleware.core.jwt import JWT_LIMIT, JwtKey, JwtKeys
from session_middleware.core.tokens import TokenKeys, b64decode, b64encode
from session_middleware.errors import InvalidToken, SettingsError

NOW = 1_000_000.5
ISSUER, AUDIENCE = "https://login.example", "https://app.example"
SECRET = bytes(range(32))
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sid": "Ks8vZ2oXhT1nq0mLwB3yRA",
    "sub": "p4irw1se",
    "iat": 1_000_000,
    "nbf": 1_000_000,
    "exp": 1_000_300,
    "jti": "0af7651916cd43dd",
}
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
P256 = ec.derive_private_key(0x1F2E3D4C5B6A79880123456789ABCDEF, ec.SECP256R1())
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SP 800-186 §3.2.1.3)


def pem(key: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


KEYS = {
    "HS256": JwtKeys([JwtKey.hs256(SECRET, "k1")]),
    "Ed25519": JwtKeys([JwtKey.from_pem(pem(ED25519), "k1")]),
    "EdDSA": JwtKeys([JwtKey.from_pem(pem(ED25519), "k1", alg="EdDSA")]),
    "ES256": JwtKeys([JwtKey.from_pem(pem(P256), "k1")]),
}
HS256 = KEYS["HS256"]
HEADER: dict[str, Any] = {"alg": "HS256", "kid": "k1", "typ": "session+jwt"}


def verified(text: str, keys: JwtKeys = HS256, **changes: Any) -> dict[str, Any]:
    return keys.verify(text, **{"issuer": ISSUER, "audience": AUDIENCE, "now": NOW, "clock_skew": 30.0, **changes})


def refused(text: Any, keys: JwtKeys = HS256, **changes: Any) -> str:
    """Return the code of the refusal, having checked that it says nothing about the token."""
    with pytest.raises(InvalidToken) as caught:
        verified(text, keys, **changes)
    assert str(caught.value) == "The session JWT did not verify."
    assert caught.value.__context__ is None, "a chained exception would carry the token into logs"
    return caught.value.code


def signed_raw(header: bytes, payload: bytes, secret: bytes = SECRET) -> str:
    """Sign exactly these bytes with HS256."""
    text = f"{b64encode(header)}.{b64encode(payload)}"
    return f"{text}.{b64encode(hmac.digest(secret, text.encode(), 'sha256'))}"


def signed(header: Any = HEADER, payload: Any = CLAIMS) -> str:
    return signed_raw(json.dumps(header).encode(), json.dumps(payload).encode())


def raw_claims(**changes: str) -> bytes:
    """Return the payload with some members replaced by raw JSON text; an empty text leaves the member out."""
    members = {**{name: json.dumps(value) for name, value in CLAIMS.items()}, **changes}
    return ("{" + ",".join(f'"{name}":{text}' for name, text in members.items() if text) + "}").encode()


def test_the_ground_is_firm() -> None:
    """What the helpers of this file sign verifies when nothing is wrong, so each refusal below has one cause."""
    assert verified(signed()) == verified(signed_raw(json.dumps(HEADER).encode(), raw_claims())) == CLAIMS


# 9.1.1, bis 3.3: the signature comes before everything


@pytest.mark.parametrize("alg", KEYS)
def test_every_flipped_byte_is_refused(alg: str) -> None:
    """Changing any one byte of header, payload or signature, to anything of the same length, is refused."""
    header, payload, signature = (b64decode(part) for part in KEYS[alg].mint(CLAIMS).split("."))
    for index, part in enumerate((header, payload, signature)):
        for position in range(len(part)):
            for flip in (0x01, 0x80, 0xFF):
                parts = [header, payload, signature]
                parts[index] = part[:position] + bytes([part[position] ^ flip]) + part[position + 1 :]
                assert refused(".".join(map(b64encode, parts)), KEYS[alg]) == "jwt_invalid"


@pytest.mark.parametrize("alg", KEYS)
def test_every_changed_character_is_refused(alg: str) -> None:
    """Changing any one character of the text is refused: no character has slack, the last ones included."""
    text = KEYS[alg].mint(CLAIMS)
    for position, was in enumerate(text):
        for character in "Az9-_.= +/\n\x00é":
            if character != was:
                refused(text[:position] + character + text[position + 1 :], KEYS[alg])


@pytest.mark.parametrize("alg", KEYS)
def test_every_cut_is_refused(alg: str) -> None:
    """No prefix of a JWT is a JWT."""
    text = KEYS[alg].mint(CLAIMS)
    for length in range(len(text)):
        assert refused(text[:length], KEYS[alg]) == "jwt_invalid"


@pytest.mark.parametrize("alg", KEYS)
@given(data=st.data())
def test_parts_of_two_tokens_do_not_mix(alg: str, data: st.DataObject) -> None:
    """The payload of one token under the signature of another is refused."""
    other = KEYS[alg].mint({**CLAIMS, "sub": data.draw(st.text(st.characters(codec="utf-8"), max_size=20))})
    text = KEYS[alg].mint(CLAIMS)
    assume(other != text)
    header, payload, _ = other.split(".")
    assert refused(f"{header}.{payload}.{text.split('.')[2]}", KEYS[alg]) == "jwt_invalid"


@pytest.mark.parametrize("claims", [{}, {**CLAIMS, "exp": 1}, {**CLAIMS, "iss": "other"}, {**CLAIMS, "nbf": 2e9}])
def test_a_bad_signature_hides_every_other_fault(claims: dict[str, Any]) -> None:
    """With a bad signature the code is the same whatever the claims say: they were not looked at."""
    text = JwtKeys([JwtKey.hs256(SECRET[::-1], "k1")]).mint(claims)
    assert refused(text) == "jwt_invalid"


# 9.1.2, bis 3.1: one key, one algorithm

BAD_ALGORITHMS = [
    "none", "None", "nOnE", "NONE", "", "hs256", "HS256 ", "HS384", "HS512", "RS256", "ES256", "ES384", "Ed25519",
    "EdDSA", "PBES2-HS256+A128KW", "dir", None, True, 0, ["HS256"], {"alg": "HS256"},
]  # fmt: skip


@pytest.mark.parametrize("alg", BAD_ALGORITHMS, ids=repr)
def test_any_other_algorithm_is_refused(alg: Any) -> None:
    """The header's alg must be the key's own, to the letter."""
    assert refused(signed({**HEADER, "alg": alg})) == "jwt_invalid"


@pytest.mark.parametrize("alg", BAD_ALGORITHMS, ids=repr)
def test_unsigned_is_refused(alg: Any) -> None:
    """An empty signature is refused under whatever algorithm name."""
    assert refused(signed({**HEADER, "alg": alg}).rpartition(".")[0] + ".") == "jwt_invalid"


def test_missing_algorithm_is_refused() -> None:
    """A header without alg is refused (RFC 7515 §4.1.1)."""
    assert refused(signed({"kid": "k1", "typ": "session+jwt"})) == "jwt_invalid"


@pytest.mark.parametrize(("name", "key"), [("Ed25519", ED25519), ("ES256", P256)])
def test_a_public_key_is_no_secret(name: str, key: Any) -> None:
    """HS256 keyed with the published public key, in any of its spellings, is refused (RFC 8725 §2.1)."""
    raw = key.public_key().public_bytes(
        *((Encoding.Raw, PublicFormat.Raw) if name == "Ed25519" else (Encoding.X962, PublicFormat.UncompressedPoint))
    )
    jwk = json.dumps(KEYS[name].jwks()["keys"][0]).encode()
    for secret in (public_pem(key), public_pem(key).strip(), raw, jwk):
        for alg in ("HS256", name):
            header = json.dumps({**HEADER, "alg": alg}).encode()
            assert refused(signed_raw(header, raw_claims(), secret), KEYS[name]) == "jwt_invalid"


def test_es384_over_a_p256_key_is_refused() -> None:
    """A key for ES256 verifies no ES384."""
    text = f"{b64encode(json.dumps({**HEADER, 'alg': 'ES384'}).encode())}.{b64encode(raw_claims())}"
    r, s = utils.decode_dss_signature(P256.sign(text.encode(), ec.ECDSA(hashes.SHA384())))
    signature = b64encode(r.to_bytes(48, "big") + s.to_bytes(48, "big"))
    assert refused(f"{text}.{signature}", KEYS["ES256"]) == "jwt_invalid"


@pytest.mark.parametrize(("signed_as", "read_as"), [("Ed25519", "EdDSA"), ("EdDSA", "Ed25519"), ("ES256", "Ed25519")])
def test_a_key_answers_to_one_name(signed_as: str, read_as: str) -> None:
    """An Ed25519 key configured under one name refuses the other (RFC 9864 §4.1.2)."""
    assert refused(KEYS[signed_as].mint(CLAIMS), KEYS[read_as]) == "jwt_invalid"


def test_der_signature_is_refused() -> None:
    """ES256 takes r and s as 64 raw bytes, never DER, nothing longer or shorter (RFC 7518 §3.4)."""
    text, _, signature = KEYS["ES256"].mint(CLAIMS).rpartition(".")
    raw = b64decode(signature)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    for wrong in (
        utils.encode_dss_signature(r, s),
        raw + b"\0",
        b"\0" + raw,
        raw[:-1],
        b"",
        raw[:32] + b"\0" + raw[32:],
    ):
        assert refused(f"{text}.{b64encode(wrong)}", KEYS["ES256"]) == "jwt_invalid"


@pytest.mark.parametrize(("r", "s"), [(0, 0), (0, 1), (1, 0), (ORDER, ORDER), (ORDER, 0), (2**256 - 1, 2**256 - 1)])
def test_psychic_signatures_are_refused(r: int, s: int) -> None:
    """ES256 with r or s zero or beyond the order is refused (CVE-2022-21449)."""
    text = KEYS["ES256"].mint(CLAIMS).rpartition(".")[0]
    signature = b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    assert refused(f"{text}.{signature}", KEYS["ES256"]) == "jwt_invalid"


# 9.1.3, bis 3.10: keys come from configuration


@pytest.mark.parametrize("keys", [HS256, KEYS["Ed25519"]], ids=["HS256", "Ed25519"])
def test_a_token_cannot_bring_its_key(keys: JwtKeys) -> None:
    """A token signed by the key in its own jwk header is refused."""
    evil = ed25519.Ed25519PrivateKey.generate()
    jwk = JwtKeys([JwtKey.from_pem(pem(evil), "k1")]).jwks()["keys"][0]
    headers = {"kid": "k1", "typ": "session+jwt", "jwk": jwk, "alg": "Ed25519"}
    text = f"{b64encode(json.dumps(headers).encode())}.{b64encode(raw_claims())}"
    assert refused(f"{text}.{b64encode(evil.sign(text.encode()))}", keys) == "jwt_invalid"


@pytest.mark.parametrize(
    "extra",
    [
        {"jku": "http://127.0.0.1:9/keys"}, {"x5u": "http://127.0.0.1:9/cert"}, {"x5c": ["MIIB"]}, {"x5t": "a"},
        {"jwk": {"kty": "oct", "k": b64encode(SECRET)}}, {"crit": []}, {"crit": ["exp"]}, {"crit": ["b64"], "b64": False},
        {"b64": False}, {"b64": True}, {"zip": "DEF"}, {"zip": None}, {"cty": "JWT"}, {"enc": "A128GCM"},
        {"p2c": 2**31, "p2s": "c2FsdA"}, {"epk": {}}, {"nonce": "1"}, {"Alg": "none"}, {"": ""},
    ],
    ids=lambda extra: "+".join(extra),
)  # fmt: skip
def test_any_other_header_parameter_is_refused(extra: dict[str, Any]) -> None:
    """The header is closed: no key by reference or value, no crit, no compression, no b64, although the MAC is good."""
    assert refused(signed({**HEADER, **extra})) == "jwt_invalid"


@pytest.mark.parametrize(
    "kid",
    ["../../dev/null", "' OR 1=1 --", "k" * 10_000, "k" * 2_000, "", "K1", "k1 ", "k1\0", "\0", "%6b1", 1, 0, 1.0, None,
     True, ["k1"], {"k1": 1}],
    ids=lambda kid: repr(kid)[:20],
)  # fmt: skip
def test_any_other_kid_is_refused(kid: Any) -> None:
    """A kid that is not one of ours, or no text, is refused by a dict lookup and nothing more."""
    assert refused(signed({**HEADER, "kid": kid})) == "jwt_invalid"


def test_missing_kid_is_refused() -> None:
    """Without a kid no key is tried."""
    assert refused(signed({"alg": "HS256", "typ": "session+jwt"})) == "jwt_invalid"


# 9.2.1: exp, nbf and iat

NOT_DATES = [
    "NaN", "Infinity", "-Infinity", "1e400", "-1e400", '"1000300"', '""', '"string"', "true", "false", "null",
    "[1000300]", "{}", "1" + "0" * 2_500, "-1", "-0.5", "1e30", "253402300800", "1" + "0" * 17, "01000300", "+1000300",
    "0x7fffffff", "1_000_300",
]  # fmt: skip


@pytest.mark.parametrize("name", ["exp", "nbf", "iat", "auth_time"])
@pytest.mark.parametrize("text", NOT_DATES, ids=lambda text: text[:14])
def test_what_is_no_date_is_refused(name: str, text: str) -> None:
    """A time that is not a finite number in range is refused, however a lenient reader might take it."""
    assert refused(signed_raw(json.dumps(HEADER).encode(), raw_claims(**{name: text}))) == "jwt_claims"


def test_ten_to_the_4000_is_refused() -> None:
    """An integer of 4000 digits is refused before it is read, also where it is not a time."""
    for name in ("exp", "mine"):
        refused(signed_raw(json.dumps(HEADER).encode(), raw_claims(**{name: "1" + "0" * 4_000})))
        text = signed_raw(json.dumps(HEADER).encode(), raw_claims(**{name: "1" + "0" * 2_800}))
        assert len(text) <= JWT_LIMIT
        assert refused(text) == "jwt_claims"


@pytest.mark.parametrize("number", [175928847299117063, 2**64 - 1, -(2**63), [1 << 62]], ids=str)
def test_ids_of_64_bits_are_numbers(number: Any) -> None:
    """Other people's systems count their users and messages so, and what is minted must verify."""
    assert verified(HS256.mint({**CLAIMS, "id": number}))["id"] == number


@pytest.mark.parametrize("number", [10**20, -(10**20), {"deep": [10**30]}], ids=str)
def test_what_would_not_verify_is_not_minted(number: Any) -> None:
    """A JWT that its own issuer refuses would be issued anew with every response (L9)."""
    with pytest.raises(SettingsError, match="over 64 bits"):
        HS256.mint({**CLAIMS, "id": number})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", "[-1e400]", '{"a":NaN}'])
def test_numbers_beyond_json_are_refused_anywhere(text: str) -> None:
    """A number that is not finite is refused in any claim, at any depth, not only where a time is wanted."""
    assert refused(signed_raw(json.dumps(HEADER).encode(), raw_claims(mine=text))) == "jwt_claims"


@pytest.mark.parametrize("text", ["1000300", "1000300.0", "1000300.25", "1.0003e6", "1.0003E+6", "253402300799"])
def test_what_is_a_date_is_accepted(text: str) -> None:
    """exp may be any finite JSON number in range (RFC 7519 §2)."""
    claims = verified(signed_raw(json.dumps(HEADER).encode(), raw_claims(exp=text)))
    assert claims["exp"] == float(text)


@pytest.mark.parametrize("name", ["exp", "iss", "aud", "sub", "sid", "jti"])
def test_required_claims(name: str) -> None:
    """A token that lacks a required claim is refused."""
    assert refused(signed_raw(json.dumps(HEADER).encode(), raw_claims(**{name: ""}))) == "jwt_claims"


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "sid", "jti"])
@pytest.mark.parametrize("text", ['""', "null", "1", "true", "[]", "{}", '["a"]', '{"a":1}'])
def test_required_claims_are_text(name: str, text: str) -> None:
    """A required claim that is not a text, or an empty one, is refused."""
    assert refused(signed_raw(json.dumps(HEADER).encode(), raw_claims(**{name: text}))) == "jwt_claims"


def test_exp_has_no_leeway() -> None:
    """A token is over at the very instant of exp, whatever the skew (L1)."""
    text = HS256.mint(CLAIMS)
    assert verified(text, now=math.nextafter(1_000_300, 0), clock_skew=300.0)
    for now in (1_000_300, 1_000_300.0, 1_000_301.0, math.inf, math.nan):
        assert refused(text, now=now, clock_skew=300.0) == "jwt_expired"


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_iat_and_nbf_may_be_ahead_by_the_skew(name: str) -> None:
    """iat and nbf up to clock_skew ahead are a clock that differs; beyond, the token is not valid yet (L1)."""
    text = HS256.mint({**CLAIMS, name: 1_000_030.5})
    assert verified(text)
    assert refused(text, now=math.nextafter(NOW, 0)) == "jwt_not_yet_valid"
    assert refused(text, clock_skew=0.0) == "jwt_not_yet_valid"


def test_iat_and_nbf_may_be_missing() -> None:
    """Only exp is required of the times."""
    assert verified(signed_raw(json.dumps(HEADER).encode(), raw_claims(iat="", nbf="")))


# 9.2.2, bis 3.11 and 3.12: kinds of token


@pytest.mark.parametrize(
    "typ",
    ["JWT", "jwt", "at+jwt", "logout+jwt", "secevent+jwt", "dbsc+jwt", "session", "session+jwt ", "SESSION+JWT",
     "application/", "application/application/session+jwt", "text/session+jwt", "", None, 1, ["session+jwt"]],
    ids=repr,
)  # fmt: skip
def test_other_kinds_are_refused(typ: Any) -> None:
    """A JWT of another kind under the same key, with claims that would do, is no session JWT."""
    assert refused(signed({**HEADER, "typ": typ})) == "jwt_invalid"


def test_missing_typ_is_refused() -> None:
    """Without typ the kind is unknown."""
    assert refused(signed({"alg": "HS256", "kid": "k1"})) == "jwt_invalid"


@pytest.mark.parametrize("alg", KEYS)
def test_a_session_jwt_is_no_other_kind(alg: str) -> None:
    """Where another kind is wanted, a session JWT is refused."""
    text = KEYS[alg].mint(CLAIMS)
    for typ in ("logout+jwt", "dbsc+jwt", "JWT", "application/session+jwt"):
        assert refused(text, KEYS[alg], typ=typ) == "jwt_invalid"


def test_another_kind_verifies_where_it_is_wanted() -> None:
    """`typ=` reads another kind by the same strict rules."""
    text = signed({**HEADER, "typ": "status+jwt"})
    assert verified(text, typ="status+jwt") == CLAIMS
    assert refused(text) == "jwt_invalid"


def test_a_session_token_is_no_session_jwt() -> None:
    """The session token, also one under the same secret, is refused as a JWT, and a JWT as a session token."""
    tokens = TokenKeys([SECRET], "__Host-session")
    assert refused(tokens.sign(bytes(24), 0)) == "jwt_invalid"
    assert tokens.verify(HS256.mint(CLAIMS)) is None


# 9.2.3, 9.2.4, bis 3.8 and 3.9: issuer and audience


@pytest.mark.parametrize(
    "aud",
    ["https://other.example", AUDIENCE + "/", AUDIENCE.upper(), [], [AUDIENCE, "https://other.example"],
     ["https://other.example", AUDIENCE], [AUDIENCE, AUDIENCE], [[AUDIENCE]], {AUDIENCE: 1}, [None], ["*"], "*"],
    ids=repr,
)  # fmt: skip
def test_any_other_audience_is_refused(aud: Any) -> None:
    """A token for another app under the same key, or for us and others, is refused."""
    assert refused(signed(payload={**CLAIMS, "aud": aud})) == "jwt_claims"


def test_a_list_of_just_us_is_us() -> None:
    """aud may be a list if we are all of it (RFC 7519 §4.1.3)."""
    assert verified(signed(payload={**CLAIMS, "aud": [AUDIENCE]}))


@pytest.mark.parametrize("iss", ["https://other.example", ISSUER + "/", ISSUER.upper(), [ISSUER], AUDIENCE], ids=repr)
def test_any_other_issuer_is_refused(iss: Any) -> None:
    """iss is compared to the letter."""
    assert refused(signed(payload={**CLAIMS, "iss": iss})) == "jwt_claims"


@pytest.mark.parametrize("nothing", [None, ""])
@pytest.mark.parametrize("claims", [{}, {"iss": None, "aud": None}, {"iss": "", "aud": ""}])
def test_unset_issuer_and_audience_match_nothing(nothing: Any, claims: dict[str, Any]) -> None:
    """An issuer or audience left unset by mistake is not met by a token that has none."""
    payload = {name: value for name, value in CLAIMS.items() if name not in ("iss", "aud")} | claims
    assert refused(signed(payload=payload), issuer=nothing, audience=nothing) == "jwt_claims"
    assert refused(signed(payload={**payload, "iss": ISSUER}), audience=nothing) == "jwt_claims"


# bis 2.3 and 3.3: signed is not encrypted


def test_jwe_is_refused() -> None:
    """A five-part JWE under the same secret is refused (RFC 7516)."""
    key = joserfc_jwk.OctKey.import_key(SECRET)
    text = joserfc_jwe.encrypt_compact({"alg": "dir", "enc": "A128CBC-HS256", "kid": "k1"}, raw_claims(), key)
    assert text.count(".") == 4
    assert refused(text) == "jwt_invalid"


def test_nested_jwt_is_refused() -> None:
    """A JWT whose payload is a JWT is refused."""
    text = signed_raw(json.dumps(HEADER).encode(), HS256.mint(CLAIMS).encode())
    assert refused(text) == "jwt_claims"


# bis 3.6 and 3.15: no compression, no bombs


def test_longer_than_a_cookie_is_refused() -> None:
    """A token over the limit is refused although it is properly signed, and one at the limit is read."""
    for text_length in range(2_700, 3_100):
        text = signed(payload={**CLAIMS, "x": "x" * text_length})
        if len(text) > JWT_LIMIT:
            assert refused(text) == "jwt_invalid"
            break
        assert verified(text)
    else:  # pragma: no cover
        pytest.fail("the limit was never reached")


class Untouchable(str):
    """A text that may be measured but not read."""

    def _read(self, *args: object) -> Any:
        raise AssertionError("the text was read")

    isascii = split = rpartition = count = encode = __iter__ = __getitem__ = _read


def test_length_is_looked_at_first() -> None:
    """A text over the limit is refused by its length alone, before anything reads it."""
    assert refused(Untouchable("." * (JWT_LIMIT + 1))) == "jwt_invalid"


@pytest.mark.parametrize(
    "bomb", ["[" * 2_800, '{"a":' * 550, "[" * 1_400 + "]" * 1_400, '{"a":' * 460 + "1" + "}" * 460]
)
def test_nesting_bombs_are_refused(bomb: str) -> None:
    """Deep nesting in header or payload is refused, not a crash; where it is within bounds it is an ordinary claim."""
    assert refused(signed_raw(bomb.encode(), raw_claims())) == "jwt_invalid"
    assert refused(signed_raw(json.dumps(HEADER).encode(), bomb.encode())) == "jwt_claims"


def test_deep_claims_never_crash() -> None:
    """A signed claim nested deeper than the interpreter follows is InvalidToken; where it can follow, just a claim."""
    text = signed_raw(json.dumps(HEADER).encode(), raw_claims(mine="[" * 1_300 + "]" * 1_300))
    assert len(text) <= JWT_LIMIT
    try:
        assert verified(text)["sid"] == CLAIMS["sid"]
    except InvalidToken as fault:
        assert fault.code == "jwt_claims"  # noqa: PT017  # either outcome is right; only a crash is not


# bis 3.7: UTF-8 only


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"])
def test_other_encodings_are_refused(encoding: str) -> None:
    """A header or payload in UTF-16, UTF-32 or with a byte order mark is refused; PyJWT accepts both."""
    header, payload = json.dumps(HEADER), json.dumps({**CLAIMS, "name": "Zoë~"}, ensure_ascii=False)
    assert refused(signed_raw(header.encode(), payload.encode(encoding))) == "jwt_claims"
    if header.encode(encoding) != header.encode():
        assert refused(signed_raw(header.encode(encoding), payload.encode())) == "jwt_invalid"


@pytest.mark.parametrize("broken", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe9"], ids=repr)
def test_broken_utf8_is_refused(broken: bytes) -> None:
    """Bytes that are not UTF-8, overlong forms and encoded surrogates are refused."""
    payload = raw_claims(name='"@"').replace(b"@", broken)
    assert refused(signed_raw(json.dumps(HEADER).encode(), payload)) == "jwt_claims"


@pytest.mark.parametrize("text", [r'"\ud800"', r'"\udc00\ud800"', r'["\uD83D"]', r'{"\udfff":1}'])
def test_half_a_surrogate_pair_is_refused(text: str) -> None:
    """An escape that is no character is refused, since nothing can write it down again."""
    assert refused(signed_raw(json.dumps(HEADER).encode(), raw_claims(name=text))) == "jwt_claims"


def test_escapes_are_read() -> None:
    """Proper escapes, surrogate pairs included, mean the characters they stand for."""
    claims = verified(signed_raw(json.dumps(HEADER).encode(), raw_claims(name=r'"\u0041\ud83d\ude00"')))
    assert claims["name"] == "A\N{GRINNING FACE}"


# bis 3.14: one serialisation, one encoding


@pytest.mark.parametrize("alg", KEYS)
def test_other_spellings_of_a_good_token_are_refused(alg: str) -> None:
    """Padding, quotes, spaces, newlines, extra segments, the other alphabet, a prefix: none is the token."""
    text = KEYS[alg].mint({**CLAIMS, "mine": "?>~?>~"})
    header, payload, signature = text.split(".")
    assert "_" in text or "-" in text
    spellings = [
        text + "=", text + "==", f"{header}=.{payload}.{signature}", f"{header}.{payload}==.{signature}", f'"{text}"',
        f" {text}", f"{text} ", f"{text}\n", f"{text}\r\n", f"\ufeff{text}", f"{text}\0", f"{header}\n.{payload}.{signature}",
        f"{header}. {payload}.{signature}", f"{text}.", f".{text}", f"{text}.{signature}", f"{header}..{payload}.{signature}",
        text.translate(str.maketrans("-_", "+/")), f"Bearer {text}", text.replace(".", "%2E"), text.replace(".", "\uff0e"),
        f"{header}.{payload}", f"{header}.{payload}.", f"{header}..{signature}", f".{payload}.{signature}", "..", "", ".",
    ]  # fmt: skip
    for spelling in spellings:
        assert refused(spelling, KEYS[alg]) == "jwt_invalid", spelling


@pytest.mark.parametrize("alg", KEYS)
def test_json_serialisation_is_refused(alg: str) -> None:
    """The general and flattened JSON serialisations are refused (RFC 7515 §7.2)."""
    header, payload, signature = KEYS[alg].mint(CLAIMS).split(".")
    one = {"protected": header, "signature": signature}
    for document in ({"payload": payload, **one}, {"payload": payload, "signatures": [one]}):
        assert refused(json.dumps(document), KEYS[alg]) == "jwt_invalid"


def test_slack_bits_are_refused() -> None:
    """Base64 whose unused bits are set is another text of the same bytes, so it is refused, properly signed or not."""
    for payload in (raw_claims(), raw_claims(a='"1"'), raw_claims(a='"12"')):
        segment, header = b64encode(payload), b64encode(json.dumps(HEADER).encode())
        if len(segment) % 4 == 0:
            continue
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        twin = segment[:-1] + alphabet[alphabet.index(segment[-1]) + 1]
        text = f"{header}.{twin}"
        assert refused(f"{text}.{b64encode(hmac.digest(SECRET, text.encode(), 'sha256'))}") == "jwt_claims"


@pytest.mark.parametrize(
    "document", ["[]", "null", "1", '"text"', "", " ", "{} {}", "{}x", "{'a':1}", '{"a":1,}', "//"]
)
def test_what_is_no_object_is_refused(document: str) -> None:
    """Header and payload are each one JSON object and nothing beside it."""
    assert refused(signed_raw(document.encode(), raw_claims())) == "jwt_invalid"
    assert refused(signed_raw(json.dumps(HEADER).encode(), document.encode())) == "jwt_claims"


@pytest.mark.parametrize("around", [b" %b", b"%b ", b"%b\n", b"%b{}", b"%b\0"])
def test_nothing_stands_beside_the_object(around: bytes) -> None:
    """Good claims with anything before or after them are refused."""
    assert refused(signed_raw(json.dumps(HEADER).encode(), around % raw_claims())) == "jwt_claims"


@pytest.mark.parametrize("text", [None, b"a.b.c", 7, ["a", "b", "c"]], ids=repr)
def test_what_is_no_text_is_refused(text: Any) -> None:
    """A value that is not a str is refused like any other garbage."""
    assert refused(text) == "jwt_invalid"


# the denylist row: a token is not its text


def test_an_ecdsa_twin_is_the_same_session() -> None:
    """(r, n - s) verifies as (r, s) does and names the same sid and jti, so revocation by either covers both."""
    text, _, signature = KEYS["ES256"].mint(CLAIMS).rpartition(".")
    raw = b64decode(signature)
    twin = f"{text}.{b64encode(raw[:32] + (ORDER - int.from_bytes(raw[32:], 'big')).to_bytes(32, 'big'))}"
    assert hashlib.sha256(twin.encode()).digest() != hashlib.sha256(f"{text}.{signature}".encode()).digest()
    again = verified(twin, KEYS["ES256"])
    assert (again["sid"], again["jti"]) == (CLAIMS["sid"], CLAIMS["jti"])


# duplicate names


@pytest.mark.parametrize(
    "header",
    ['{"alg":"none","alg":"HS256","kid":"k1","typ":"session+jwt"}', '{"alg":"HS256","kid":"x","kid":"k1","typ":"session+jwt"}',
     r'{"alg":"HS256","kid":"k1","typ":"session+jwt","\u0061lg":"HS256"}'],
)  # fmt: skip
def test_duplicate_header_names_are_refused(header: str) -> None:
    """A header that names a parameter twice is refused, escapes included (RFC 7515 §4)."""
    assert refused(signed_raw(header.encode(), raw_claims())) == "jwt_invalid"


@pytest.mark.parametrize("member", ['"exp":9999999999', '"sid":"other"', r'"\u0073ub":"eve"', '"mine":{"a":1,"a":1}'])
@pytest.mark.parametrize("first", [True, False])
def test_duplicate_claims_are_refused(member: str, first: bool) -> None:
    """A payload that names a claim twice, at any depth, is refused."""
    inner = raw_claims()[1:-1].decode()
    payload = f"{{{member},{inner}}}" if first else f"{{{inner},{member}}}"
    assert refused(signed_raw(json.dumps(HEADER).encode(), payload.encode())) == "jwt_claims"


# what another library would accept

NO_EXP = raw_claims(exp="")
PYJWT_ACCEPTS = {
    "missing exp": signed_raw(json.dumps(HEADER).encode(), NO_EXP),
    "numeric text": signed_raw(json.dumps(HEADER).encode(), raw_claims(exp='"9999999999"')),
    "huge exp": signed_raw(json.dumps(HEADER).encode(), raw_claims(exp="1" + "0" * 2_800)),
    "UTF-16": signed_raw(json.dumps(HEADER).encode(), raw_claims(exp="9999999999").decode().encode("utf-16")),
    "BOM": signed_raw(json.dumps(HEADER).encode(), b"\xef\xbb\xbf" + raw_claims(exp="9999999999")),
    "padding": signed_raw(json.dumps(HEADER).encode(), raw_claims(exp="9999999999")) + "=",
    "duplicate exp": signed_raw(json.dumps(HEADER).encode(), raw_claims(exp='1,"exp":9999999999')),
    "duplicate alg": signed_raw(
        b'{"alg":"none","alg":"HS256","kid":"k1","typ":"session+jwt"}', raw_claims(exp="9999999999")
    ),
    "other typ": signed({**HEADER, "typ": "JWT"}, {**CLAIMS, "exp": 9_999_999_999}),
    "no kid": signed({"alg": "HS256"}, {**CLAIMS, "exp": 9_999_999_999}),
    "many audiences": signed(payload={**CLAIMS, "exp": 9_999_999_999, "aud": [AUDIENCE, "https://other.example"]}),
    "own jwk": signed({**HEADER, "jwk": {"kty": "oct", "k": "AAAA"}}, {**CLAIMS, "exp": 9_999_999_999}),
}


@pytest.mark.parametrize("text", PYJWT_ACCEPTS.values(), ids=PYJWT_ACCEPTS)
def test_ours_refuses_what_pyjwt_accepts(text: str) -> None:
    """Tokens that a well-kept library accepts with its usual options are refused here."""
    assert pyjwt.decode(text, SECRET, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)["sub"] == CLAIMS["sub"]
    refused(text)


# garbage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
SEGMENT = (
    st.binary(max_size=60).map(b64encode) | st.text(max_size=60) | JSON.map(lambda v: b64encode(json.dumps(v).encode()))
)


@pytest.mark.parametrize("alg", KEYS)
@given(text=st.text() | st.lists(SEGMENT, min_size=1, max_size=5).map(".".join))
def test_garbage_raises_invalid_token_only(alg: str, text: str) -> None:
    """Whatever text comes, the answer is InvalidToken and no other exception."""
    assert refused(text, KEYS[alg]) == "jwt_invalid"


@given(header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk"]), JSON))
def test_garbage_headers_raise_invalid_token_only(header: dict[str, Any]) -> None:
    """Whatever a signed header holds, the answer is InvalidToken and no other exception."""
    assert refused(signed(header)) == "jwt_invalid"


@given(payload=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_payloads_raise_invalid_token_only(payload: bytes) -> None:
    """Whatever a signed payload holds, the answer is InvalidToken and no other exception."""
    assert refused(signed_raw(json.dumps(HEADER).encode(), payload)) == "jwt_claims"


@given(name=st.sampled_from([*CLAIMS, "auth_time", "acr", "amr"]), value=JSON)
def test_garbage_claims_never_crash(name: str, value: Any) -> None:
    """Whatever one claim holds, a signed token verifies to exactly that claim or is InvalidToken."""
    text = signed(payload={**CLAIMS, name: value})
    try:
        assert verified(text)[name] == value
    except InvalidToken as fault:
        assert fault.code.startswith("jwt_")  # noqa: PT017  # either outcome is right; only a crash is not


@given(
    claims=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=10), st.text(st.characters(codec="utf-8")))
)
def test_custom_claims_survive(claims: dict[str, str]) -> None:
    """Whatever text the app's own claims hold, they come back as they went in."""
    assume(not {"auth_time", "nbf"} & set(claims))  # these are ours, and are held to their type
    both = {**claims, **CLAIMS}
    assume(len(json.dumps(both, ensure_ascii=False).encode()) < 2_900)
    assert verified(HS256.mint(both)) == both
