"""Session JWT: keys, minting, the key set, rotation, and that other JOSE libraries read what we mint (L9)."""

from __future__ import annotations

import json
import sys
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt

from session_middleware.core.jwt import JWT_LIMIT, JwtKey, JwtKeys
from session_middleware.core.tokens import b64decode, b64encode
from session_middleware.errors import InvalidToken, SettingsError
from tests.fresh_python import printed_by

NOW = 1_000_000.5
ISSUER = AUDIENCE = "https://app.example"
SECRET = bytes(range(32))
OTHER_SECRET = bytes(range(32, 64))
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sid": "Ks8vZ2oXhT1nq0mLwB3yRA",
    "sub": "p4irw1se",
    "iat": 1_000_000,
    "nbf": 1_000_000,
    "exp": 1_000_300,
    "jti": "0af7651916cd43dd",
    "auth_time": 999_000.25,
    "acr": "aal1",
    "amr": ["pwd"],
}


def private_pem(key: Any, password: bytes | None = None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
P256 = ec.derive_private_key(0x1F2E3D4C5B6A79880123456789ABCDEF, ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)

KEYS = {
    "HS256": JwtKey.hs256(SECRET),
    "Ed25519": JwtKey.from_pem(private_pem(ED25519)),
    "EdDSA": JwtKey.from_pem(private_pem(ED25519), alg="EdDSA"),
    "ES256": JwtKey.from_pem(private_pem(P256)),
}


def verified(keys: JwtKeys, text: str, **changes: Any) -> dict[str, Any]:
    return keys.verify(text, **{"issuer": ISSUER, "audience": AUDIENCE, "now": NOW, "clock_skew": 30.0, **changes})


# minting


@pytest.mark.parametrize("alg", KEYS)
def test_round_trip(alg: str) -> None:
    """What was minted verifies to the same claims, and the same claims give the same text (RFC 6979 for ES256)."""
    keys = JwtKeys([KEYS[alg]])
    text = keys.mint(CLAIMS)
    assert verified(keys, text) == CLAIMS
    assert keys.mint(CLAIMS) == text


@pytest.mark.parametrize("alg", KEYS)
def test_header(alg: str) -> None:
    """The header holds alg, kid and typ and nothing else."""
    header = json.loads(b64decode(JwtKeys([KEYS[alg]]).mint(CLAIMS).split(".")[0]))
    assert header == {"alg": alg, "kid": KEYS[alg].kid, "typ": "session+jwt"}


def test_payload_is_compact_utf8_in_the_order_given() -> None:
    """The payload is written without spaces or escapes, in the caller's order."""
    text = JwtKeys([KEYS["HS256"]]).mint({"sub": "Zoë", "a": 1})
    assert b64decode(text.split(".")[1]) == '{"sub":"Zoë","a":1}'.encode()


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), {1, 2}, b"bytes", "\ud800", object()],
    ids=["nan", "infinity", "set", "bytes", "half a surrogate pair", "object"],
)
def test_mint_refuses_what_is_not_json(value: object) -> None:
    """A claim that has no one JSON text is refused, and its value is not shown."""
    with pytest.raises(SettingsError, match="not JSON") as caught:
        JwtKeys([KEYS["HS256"]]).mint({**CLAIMS, "mine": value})
    assert "mine" in str(caught.value)
    assert repr(value) not in str(caught.value)


def test_mint_refuses_endless_nesting() -> None:
    """Claims nested beyond what the encoder can follow are a SettingsError, not a crash."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SettingsError, match="not JSON"):
        JwtKeys([KEYS["HS256"]]).mint({**CLAIMS, "mine": deep})


def test_mint_refuses_more_than_a_cookie_holds() -> None:
    """Claims that would make a JWT longer than `verify` reads are refused when minting."""
    keys = JwtKeys([KEYS["HS256"]])
    room = JWT_LIMIT - len(keys.mint({**CLAIMS, "x": ""}))
    assert verified(keys, keys.mint({**CLAIMS, "x": "x" * (room * 3 // 4 - 3)}))
    with pytest.raises(SettingsError, match="more than 4096"):
        keys.mint({**CLAIMS, "x": "x" * room})


# keys


def test_repr_shows_no_secret() -> None:
    """Neither repr nor str of a key or a key list shows key material, even where it is text."""
    secret = b"this-secret-is-quite-readable-0123456789"
    key = JwtKey.hs256(secret)
    shown = f"{key!r} {key} {JwtKeys([key])!r}"
    assert "readable" not in shown
    assert repr(key) == f"JwtKey(kid={key.kid!r}, alg='HS256')"


def test_default_kid_of_a_secret() -> None:
    """The kid of a secret is stable, differs between secrets and says nothing of the secret."""
    assert JwtKey.hs256(SECRET).kid == JwtKey.hs256(SECRET).kid
    assert JwtKey.hs256(SECRET).kid != JwtKey.hs256(OTHER_SECRET).kid
    assert b64decode(JwtKey.hs256(SECRET).kid) not in SECRET


def test_default_kid_is_the_thumbprint_of_rfc_8037() -> None:
    """The kid of an Ed25519 key is its RFC 7638 thumbprint: the example of RFC 8037 A.3."""
    raw = b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
    key = JwtKey.from_pem(private_pem(ed25519.Ed25519PrivateKey.from_private_bytes(raw)))
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_default_kid_agrees_with_joserfc(alg: str) -> None:
    """The thumbprint is the one another library computes."""
    (published,) = JwtKeys([KEYS[alg]]).jwks()["keys"]
    assert joserfc_jwk.import_key(published).thumbprint() == published["kid"] == KEYS[alg].kid


def test_signature_of_rfc_8037() -> None:
    """Ed25519 signs the example of RFC 8037 A.4 to the bytes printed there."""
    raw = b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
    key = JwtKey.from_pem(private_pem(ed25519.Ed25519PrivateKey.from_private_bytes(raw)))
    message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    assert key._sign is not None
    assert b64encode(key._sign(message)) == (
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (b"", "too short"),
        (b"changeme", "too short"),
        (bytes(range(16)), "too short"),
        (bytes(range(31)), "too short"),
        (b"a" * 64, "too uniform"),
        (b"abcdefg" * 9, "too uniform"),
        ("0f6a1b2c3d4e5f60718293a4b5c6d7e8f9", "not bytes"),
        (None, "not bytes"),
        (public_pem(RSA), "PEM or SSH key"),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx0 user@host", "PEM or SSH key"),
    ],
    ids=["empty", "changeme", "16", "31", "one letter", "seven letters", "str", "None", "RSA public key", "SSH key"],
)
def test_weak_secret_is_refused(secret: Any, problem: str) -> None:
    """A secret that is short, uniform, a password or everyone's to know is refused and not shown (RFC 8725 §3.5)."""
    with pytest.raises(SettingsError, match=problem) as caught:
        JwtKey.hs256(secret)
    assert "changeme" not in str(caught.value)


@pytest.mark.parametrize("kid", ["", " ", "a b", "a\n", "é", "x" * 129, '"', 7], ids=repr)
@pytest.mark.parametrize(
    "make", [lambda kid: JwtKey.hs256(SECRET, kid), lambda kid: JwtKey.from_pem(public_pem(P256), kid)]
)
def test_bad_kid_is_refused(make: Any, kid: Any) -> None:
    """A configured kid is short printable ASCII."""
    with pytest.raises(SettingsError, match="not a key id"):
        make(kid)


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (RSA, r"RSA \(2048 bits\)"),
        (rsa.generate_private_key(65537, 1024), r"RSA \(1024 bits\)"),
        (ec.generate_private_key(ec.SECP384R1()), r"elliptic-curve \(secp384r1\)"),
        (ec.generate_private_key(ec.SECP256K1()), r"elliptic-curve \(secp256k1\)"),
        (ed448.Ed448PrivateKey.generate(), "Ed448"),
        (x25519.X25519PrivateKey.generate(), "X25519"),
        (dsa.generate_private_key(2048), "DSA"),
    ],
    ids=["RS256", "RSA 1024", "P-384", "secp256k1", "Ed448", "X25519", "DSA"],
)
@pytest.mark.parametrize("half", [private_pem, public_pem])
def test_other_kinds_of_key_are_named_and_refused(key: Any, named: str, half: Any) -> None:
    """Only Ed25519 and P-256 are taken; the error says what was given (RFC 8725 §3.2)."""
    with pytest.raises(SettingsError, match=named):
        JwtKey.from_pem(half(key))


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "nonsense",
        "é\ud800",
        b"\xff\xfe",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        private_pem(P256, b"right"),
    ],
    ids=["empty", "text", "not ASCII", "bytes", "empty key", "certificate", "locked"],
)
def test_unreadable_pem_is_refused(pem: str | bytes) -> None:
    """What is no PEM of a key, or is locked, is a SettingsError that shows nothing of it."""
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        JwtKey.from_pem(pem)
    assert "BEGIN" not in str(caught.value)


def test_pem_of_the_wrong_type_is_refused() -> None:
    """Something that is neither text nor bytes is named by its type."""
    with pytest.raises(SettingsError, match="'int'"):
        JwtKey.from_pem(7)  # type: ignore[arg-type]  # what an untyped caller does


@pytest.mark.parametrize("password", [b"wrong", None])
def test_wrong_password_is_refused(password: bytes | None) -> None:
    """A locked PEM with the wrong password or none is refused, and the password is not shown."""
    with pytest.raises(SettingsError, match="wrong password") as caught:
        JwtKey.from_pem(private_pem(ED25519, b"right"), password=password)
    assert "b'wrong'" not in str(caught.value)


def test_locked_pem_opens_with_its_password() -> None:
    """A locked PEM gives the same key as an open one; str and bytes are the same."""
    assert JwtKey.from_pem(private_pem(ED25519, b"right"), password=b"right") == KEYS["Ed25519"]
    assert JwtKey.from_pem(private_pem(ED25519).decode()) == KEYS["Ed25519"]


@pytest.mark.parametrize(("key", "alg"), [(ED25519, "ES256"), (P256, "Ed25519"), (P256, "EdDSA"), (P256, "ES384")])
def test_alg_must_go_with_the_key(key: Any, alg: Any) -> None:
    """An algorithm name that is not the key's is refused at start-up (RFC 8725 §3.1)."""
    with pytest.raises(SettingsError, match="does not go with this key"):
        JwtKey.from_pem(private_pem(key), alg=alg)


def test_pem_without_cryptography_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package cryptography an asymmetric key is refused with the name of the extra."""
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(SettingsError, match=r"session-middleware\[jwt\]"):
        JwtKey.from_pem(private_pem(ED25519))


def test_core_does_not_import_cryptography() -> None:
    """Importing the module and using HS256 never loads cryptography."""
    code = (
        "import sys; from session_middleware.core.jwt import *; k = JwtKeys([JwtKey.hs256(bytes(range(32)))]);"
        "k.mint({}); k.jwks(); print(any(m.split('.')[0] == 'cryptography' for m in sys.modules))"
    )
    assert printed_by(code).strip() == "False"


@pytest.mark.parametrize("fault", [TypeError("deterministic_signing"), UnsupportedAlgorithm("OpenSSL is too old")])
def test_es256_where_rfc_6979_is_missing(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cryptography or OpenSSL that cannot sign deterministically, ES256 signs with a random number."""
    real = ec.ECDSA

    def old(algorithm: Any, **more: Any) -> ec.ECDSA:
        if more:
            raise fault
        return real(algorithm)

    monkeypatch.setattr(ec, "ECDSA", old)
    keys = JwtKeys([JwtKey.from_pem(private_pem(P256))])
    assert verified(keys, keys.mint(CLAIMS)) == CLAIMS
    assert keys.mint(CLAIMS) != keys.mint(CLAIMS)


# the list of keys


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ([], "is empty"),
        ([KEYS["HS256"], KEYS["Ed25519"]], "mixes symmetric and asymmetric"),
        ([KEYS["ES256"], KEYS["HS256"]], "mixes symmetric and asymmetric"),
        ([KEYS["HS256"], JwtKey.hs256(OTHER_SECRET, KEYS["HS256"].kid)], "names a kid twice"),
        ([KEYS["HS256"], JwtKey.hs256(SECRET, "again")], "names one key twice"),
        ([JwtKey.from_pem(private_pem(ED25519), "new"), KEYS["EdDSA"]], "names one key twice"),
        ([JwtKey.from_pem(public_pem(P256))], "public key"),
        ([JwtKey.from_pem(public_pem(P256)), KEYS["Ed25519"]], "public key"),
        ([SECRET], "'bytes'"),
        (["a secret as text"], "'str'"),
    ],
    ids=["empty", "mixed", "mixed asymmetric first", "kid twice", "secret twice", "Ed25519 and EdDSA", "only public",
         "public first", "bytes", "str"],
)  # fmt: skip
def test_key_list_is_checked_at_start_up(keys: list[Any], problem: str) -> None:
    """A key list that cannot sign, is ambiguous or mixes kinds is refused (RFC 8725 §3.1)."""
    with pytest.raises(SettingsError, match=problem) as caught:
        JwtKeys(keys)
    assert "secret as text" not in str(caught.value)


def test_can_sign() -> None:
    """A key says whether it can sign."""
    assert KEYS["HS256"].can_sign
    assert KEYS["ES256"].can_sign
    assert not JwtKey.from_pem(public_pem(P256)).can_sign


ROTATIONS = {
    "HS256": (KEYS["HS256"], JwtKey.hs256(OTHER_SECRET)),
    "Ed25519 to ES256": (KEYS["Ed25519"], KEYS["ES256"]),
}


@pytest.mark.parametrize(("old", "new"), ROTATIONS.values(), ids=ROTATIONS)
def test_rotation(old: JwtKey, new: JwtKey) -> None:
    """The first key signs, all verify, and a key taken off the list is retired (L10)."""
    before, appended, moved, after = JwtKeys([old]), JwtKeys([old, new]), JwtKeys([new, old]), JwtKeys([new])
    first = before.mint(CLAIMS)
    assert appended.mint(CLAIMS) == first
    second = moved.mint(CLAIMS)
    assert second == after.mint(CLAIMS) != first
    for keys in (appended, moved):
        assert verified(keys, first) == verified(keys, second) == CLAIMS
    assert (moved.is_current(first), moved.is_current(second)) == (False, True)
    with pytest.raises(InvalidToken):
        verified(after, first)
    with pytest.raises(InvalidToken):
        verified(before, second)


def test_public_half_verifies() -> None:
    """A retired key may stay on the list by its public half."""
    text = JwtKeys([KEYS["ES256"]]).mint(CLAIMS)
    assert verified(JwtKeys([KEYS["Ed25519"], JwtKey.from_pem(public_pem(P256))]), text) == CLAIMS


# the key set


def test_jwks_never_holds_a_secret() -> None:
    """Symmetric keys never appear in the key set."""
    assert JwtKeys([KEYS["HS256"], JwtKey.hs256(OTHER_SECRET)]).jwks() == {"keys": []}


def test_jwks_holds_public_members_only() -> None:
    """Asymmetric keys appear in the order listed, by their public members, whichever half was configured."""
    rfc8037 = JwtKey.from_pem(public_pem(ED25519), kid="retired")
    first, second = JwtKeys([KEYS["ES256"], rfc8037]).jwks()["keys"]
    assert first.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert (first["kty"], first["crv"], first["alg"], first["use"]) == ("EC", "P-256", "ES256", "sig")
    assert [len(b64decode(first[name])) for name in "xy"] == [32, 32]
    assert second == {
        "kty": "OKP", "crv": "Ed25519", "x": b64encode(ED25519.public_key().public_bytes_raw()),
        "kid": "retired", "alg": "Ed25519", "use": "sig",
    }  # fmt: skip


def test_jwks_is_a_copy() -> None:
    """Changing the answer changes nothing here."""
    keys = JwtKeys([KEYS["ES256"]])
    keys.jwks()["keys"][0]["kid"] = "evil"
    keys.jwks()["keys"].clear()
    assert keys.jwks()["keys"][0]["kid"] == KEYS["ES256"].kid


# the user's other services


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_joserfc_reads_ours_through_the_key_set(alg: str) -> None:
    """Another service verifies ours with joserfc and jwks.json alone."""
    keys = JwtKeys([KEYS[alg], KEYS["ES256" if alg == "Ed25519" else "Ed25519"]])
    published = joserfc_jwk.KeySet.import_key_set(json.loads(json.dumps(keys.jwks())))
    read = joserfc_jwt.decode(keys.mint(CLAIMS), published, algorithms=[alg])
    assert (read.claims, read.header["typ"]) == (CLAIMS, "session+jwt")


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_pyjwt_reads_ours_through_the_key_set(alg: str) -> None:
    """Another service verifies ours with PyJWT and jwks.json alone; Ed25519 under the name PyJWT knows."""
    keys = JwtKeys([KEYS[alg]])
    text = keys.mint({**CLAIMS, "iat": 1, "nbf": 1, "exp": 9_999_999_999})
    key = pyjwt.PyJWKSet.from_dict(keys.jwks())[pyjwt.get_unverified_header(text)["kid"]]
    assert pyjwt.decode(text, key, algorithms=[alg], audience=AUDIENCE, issuer=ISSUER)["sid"] == CLAIMS["sid"]


def test_pyjwt_reads_the_fully_specified_name_once_told() -> None:
    """A PyJWT that does not know RFC 9864 yet reads `Ed25519` after one line of registration."""
    keys = JwtKeys([KEYS["Ed25519"]])
    key = pyjwt.PyJWK({**keys.jwks()["keys"][0], "alg": "EdDSA"}).key
    reader = pyjwt.PyJWS()
    if "Ed25519" not in reader._algorithms:
        reader.register_algorithm("Ed25519", pyjwt.algorithms.OKPAlgorithm())
    assert json.loads(reader.decode(keys.mint(CLAIMS), key, algorithms=["Ed25519"])) == CLAIMS


def test_shared_secret_is_read_by_both() -> None:
    """Another service that shares the HS256 secret verifies ours with joserfc or PyJWT."""
    text = JwtKeys([KEYS["HS256"]]).mint({**CLAIMS, "iat": 1, "nbf": 1, "exp": 9_999_999_999})
    secret = joserfc_jwk.OctKey.import_key(SECRET)
    assert joserfc_jwt.decode(text, secret, algorithms=["HS256"]).claims["sid"] == CLAIMS["sid"]
    assert pyjwt.decode(text, SECRET, algorithms=["HS256"], audience=AUDIENCE)["sid"] == CLAIMS["sid"]


@pytest.mark.parametrize("alg", ["HS256", "EdDSA", "ES256"])
@pytest.mark.parametrize("typ", ["session+jwt", "application/session+jwt"])
def test_ours_reads_what_pyjwt_signs(alg: str, typ: str) -> None:
    """A token of the same key, kid and kind made by another library verifies, `application/` or not (RFC 7515 §4.1.9)."""
    material: Any = {"HS256": SECRET, "EdDSA": ED25519, "ES256": P256}[alg]
    text = pyjwt.encode(CLAIMS, material, algorithm=alg, headers={"typ": typ, "kid": KEYS[alg].kid}, sort_headers=True)
    assert verified(JwtKeys([KEYS[alg]]), text) == CLAIMS
