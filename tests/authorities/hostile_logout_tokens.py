"""Logout tokens and security event tokens that end nobody's session: each with what is wrong with it.

`ANY` holds for both kinds, whose tokens go to different addresses; `LOGOUT` and `EVENT` for one. A row builds its token with a
`Forge`, so that the key, issuer, audience and time are the right ones wherever the row does not say otherwise.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from joserfc.jwk import RSAKey

from tests.authorities.token_forge import ABSENT, CAEP, LOGOUT_EVENT, Forge


@dataclass(frozen=True)
class Hostile:
    """One bad token.

    Attributes:
        name: for the test's id.
        why: what is wrong.
        build: makes it; given the forge and the maker of a good token of the kind (`Forge.logout`, `Forge.event`).
    """

    name: str
    why: str
    build: Callable[[Forge, Callable[..., str]], str]


def _claims(forge: Forge, make: Callable[..., str]) -> dict[str, Any]:
    return forge.event_claims() if make == forge.event else forge.logout_claims()


def _header(forge: Forge, make: Callable[..., str]) -> dict[str, Any]:
    return {"typ": "secevent+jwt" if make == forge.event else "logout+jwt"}


def _other_key(forge: Forge) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": forge.key.kid}, private=True)


def _payload(forge: Forge, make: Callable[..., str], change: Callable[[bytes], bytes]) -> str:
    """A token whose payload is changed as text, then signed."""
    return forge.raw(forge.header(_header(forge, make)), change(json.dumps(_claims(forge, make)).encode()))


def _cut(token: str, part: int, change: Callable[[str], str]) -> str:
    """A good token, one of its three parts changed after it was signed."""
    parts = token.split(".")
    parts[part] = change(parts[part])
    return ".".join(parts)


def _with_own_key(forge: Forge, make: Callable[..., str]) -> str:
    key = RSAKey.generate_key(2048, {"kid": "mine"}, private=True)
    header = {**_header(forge, make), "kid": "mine", "jwk": key.as_dict(private=False)}
    return forge.signed(_claims(forge, make), header, key)


def _id_token(forge: Forge, **more: Any) -> dict[str, Any]:
    claims = {"iss": forge.issuer, "aud": forge.audience, "sub": forge.subject, "sid": forge.sid, "iat": forge.now}
    return {**claims, "exp": forge.now + 600, "auth_time": forge.now, **more}


def _access_token(forge: Forge) -> str:
    claims = {**_id_token(forge), "client_id": forge.audience, "scope": "openid", "jti": "an access token"}
    return forge.signed(claims, {"typ": "at+jwt"})


def _nested(forge: Forge, make: Callable[..., str]) -> str:
    return forge.raw(forge.header({**_header(forge, make), "cty": "JWT"}), make().encode())


def _tampered(forge: Forge, make: Callable[..., str]) -> str:
    """The signature of one token under the claims of another."""
    return ".".join([*make().split(".")[:2], make(iat=forge.now - 1).split(".")[2]])


ANY: Final = (
    # --- the signature -----------------------------------------------------------------------------------------
    Hostile("alg-none", "unsigned", lambda f, make: f.unsigned(_claims(f, make), _header(f, make))),
    Hostile(
        "alg-none-spelled-otherwise",
        "unsigned, under a spelling that a careless comparison lets through",
        lambda f, make: _cut(
            f.unsigned(_claims(f, make), _header(f, make)),
            0,
            lambda _: urlsafe_b64encode(f.header({**_header(f, make), "alg": "nOnE"})).rstrip(b"=").decode(),
        ),
    ),
    Hostile(
        "public-key-as-secret",
        "HS256 with what everybody can download",
        lambda f, make: f.with_public_key_as_secret(_claims(f, make), _header(f, make)),
    ),
    Hostile(
        "other-key",
        "another key under the same kid",
        lambda f, make: f.signed(_claims(f, make), _header(f, make), _other_key(f)),
    ),
    Hostile("kid-unknown", "a key id that the provider does not publish", lambda f, make: make({"kid": "unknown"})),
    Hostile("kid-no-text", "a key id that is no text", lambda f, make: make({"kid": 7})),
    Hostile("kid-path", "a key id that names a file", lambda f, make: make({"kid": "../../dev/null"})),
    Hostile("alg-of-another-key", "RS512 for a key published for RS256", lambda f, make: make({"alg": "RS512"})),
    Hostile("alg-missing", "no algorithm", lambda f, make: make({"alg": ABSENT})),
    Hostile("signature-cut", "half a signature", lambda f, make: _cut(make(), 2, lambda text: text[: len(text) // 2])),
    Hostile("signature-empty", "no signature", lambda f, make: _cut(make(), 2, lambda _: "")),
    Hostile("signature-of-another", "the signature of another token", _tampered),
    # --- the header ----------------------------------------------------------------------------------------------
    Hostile("jwk-in-header", "brings its own key", _with_own_key),
    Hostile("jku", "says where to fetch keys", lambda f, make: make({"jku": "https://evil.example/keys"})),
    Hostile("x5u", "says where to fetch a certificate", lambda f, make: make({"x5u": "https://evil.example/cert"})),
    Hostile("x5c", "brings a certificate", lambda f, make: make({"x5c": ["MIIB"]})),
    Hostile("crit", "demands an extension", lambda f, make: make({"crit": ["urn:x"], "urn:x": 1})),
    Hostile(
        "crit-b64", "demands an unencoded payload (RFC 7797)", lambda f, make: make({"crit": ["b64"], "b64": False})
    ),
    Hostile("crit-no-list", "an extension list that is none", lambda f, make: make({"crit": "exp"})),
    Hostile("zip", "compressed", lambda f, make: make({"zip": "DEF"})),
    Hostile("typ-of-an-access-token", "says that it is an access token", lambda f, make: make({"typ": "at+jwt"})),
    Hostile("typ-no-text", "a kind that is no text", lambda f, make: make({"typ": ["logout+jwt", "secevent+jwt"]})),
    Hostile(
        "header-name-twice",
        "two algorithms: parsers disagree which one counts",
        lambda f, make: f.raw(
            f.header(_header(f, make)).replace(b'"alg": "RS256"', b'"alg": "none", "alg": "RS256"'),
            json.dumps(_claims(f, make)).encode(),
        ),
    ),
    Hostile(
        "header-no-object",
        "a header that is a list",
        lambda f, make: f.raw(b'["RS256"]', json.dumps(_claims(f, make)).encode()),
    ),
    # --- the form ------------------------------------------------------------------------------------------------
    Hostile("empty", "nothing", lambda f, make: ""),
    Hostile("no-jwt", "some text", lambda f, make: "logout alice please"),
    Hostile("two-parts", "no third part", lambda f, make: make().rpartition(".")[0]),
    Hostile("five-parts", "looks encrypted", lambda f, make: make() + ".AAAA.AAAA"),
    Hostile("padded", "a second encoding of the same bytes", lambda f, make: _cut(make(), 2, lambda text: text + "==")),
    Hostile("space-before", "white space", lambda f, make: " " + make()),
    Hostile("not-ascii", "letters that are none of base64url's", lambda f, make: make() + "é"),
    Hostile("nested", "a token in a token", _nested),
    Hostile("too-large", "forty kilobytes of claims", lambda f, make: make(padding="x" * 40_000)),
    Hostile(
        "deep",
        "forty thousand brackets",
        lambda f, make: _payload(f, make, lambda raw: raw[:-1] + b', "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    ),
    Hostile(
        "payload-no-object", "claims that are a list", lambda f, make: f.signed([_claims(f, make)], _header(f, make))
    ),
    Hostile("payload-no-json", "claims that are no JSON", lambda f, make: _payload(f, make, lambda raw: raw[:-1])),
    Hostile(
        "payload-utf-16",
        "JSON that guessing parsers read",
        lambda f, make: _payload(f, make, lambda raw: raw.decode().encode("utf-16")),
    ),
    Hostile(
        "claim-twice",
        "two issuers: parsers disagree which one counts",
        lambda f, make: _payload(f, make, lambda raw: b'{"iss": "https://evil.example", ' + raw[1:]),
    ),
    Hostile(
        "nan", "a time that is no number", lambda f, make: _payload(f, make, lambda raw: raw[:-1] + b', "nbf": NaN}')
    ),
    # --- from whom, for whom ---------------------------------------------------------------------------------------
    Hostile("iss-other", "another issuer", lambda f, make: make(iss="https://evil.example")),
    Hostile("iss-with-slash", "almost the issuer", lambda f, make: make(iss=f.issuer + "/")),
    Hostile("iss-missing", "no issuer", lambda f, make: make(iss=ABSENT)),
    Hostile("iss-list", "several issuers", lambda f, make: make(iss=[f.issuer, "https://evil.example"])),
    Hostile("aud-other", "for another application", lambda f, make: make(aud="another-application")),
    Hostile("aud-missing", "for nobody", lambda f, make: make(aud=ABSENT)),
    Hostile("aud-empty", "for an empty list", lambda f, make: make(aud=[])),
    Hostile("aud-object", "an audience that is no text", lambda f, make: make(aud={f.audience: True})),
    Hostile("aud-part", "an audience that contains ours", lambda f, make: make(aud=f"not-{f.audience}")),
    # --- when --------------------------------------------------------------------------------------------------------
    Hostile("iat-missing", "issued at no time", lambda f, make: make(iat=ABSENT)),
    Hostile("iat-text", "issued at a text", lambda f, make: make(iat=str(f.now))),
    Hostile("iat-bool", "issued at true", lambda f, make: make(iat=True)),
    Hostile(
        "iat-ahead",
        "issued a minute from now, beyond what clocks differ by",
        lambda f, make: make(iat=f.now + 60, exp=f.now + 180),
    ),
    Hostile("iat-old", "issued two days ago", lambda f, make: make(iat=f.now - 2 * 86_400, exp=ABSENT)),
    Hostile("iat-milliseconds", "issued in milliseconds", lambda f, make: make(iat=f.now * 1000)),
    Hostile("nbf-ahead", "not valid before an hour from now", lambda f, make: make(nbf=f.now + 3_600)),
    # --- which one -----------------------------------------------------------------------------------------------------
    Hostile("jti-missing", "no id, so a replay could not be told", lambda f, make: make(jti=ABSENT)),
    Hostile("jti-empty", "an empty id", lambda f, make: make(jti="")),
    Hostile("jti-number", "an id that is no text", lambda f, make: make(jti=1)),
    Hostile("jti-huge", "an id of ten kilobytes, to be remembered", lambda f, make: make(jti="x" * 10_000)),
    # --- what it says ----------------------------------------------------------------------------------------------------
    Hostile("events-missing", "says nothing", lambda f, make: make(events=ABSENT)),
    Hostile("events-text", "events that are a text", lambda f, make: make(events=LOGOUT_EVENT)),
    Hostile("events-list", "events that are a list", lambda f, make: make(events=[LOGOUT_EVENT])),
    Hostile("events-empty", "no event", lambda f, make: make(events={})),
    Hostile(
        "event-value-text",
        "an event that is a text",
        lambda f, make: make(events={LOGOUT_EVENT: "", CAEP + "session-revoked": ""}),
    ),
    Hostile(
        "event-value-null",
        "an event that is null",
        lambda f, make: make(events={LOGOUT_EVENT: None, CAEP + "session-revoked": None}),
    ),
    Hostile(
        "events-of-both-kinds",
        "is a logout token and a security event token at once",
        lambda f, make: make(events={LOGOUT_EVENT: {}, CAEP + "session-revoked": {}}),
    ),
    # --- another token in its place ----------------------------------------------------------------------------------------
    Hostile("id-token", "an ID token", lambda f, make: f.signed(_id_token(f, nonce="n"))),
    Hostile("id-token-without-nonce", "an ID token of a refresh", lambda f, make: f.signed(_id_token(f, jti="j"))),
    Hostile("access-token", "an access token (RFC 9068)", lambda f, make: _access_token(f)),
)

LOGOUT: Final = (
    Hostile("nonce", "a nonce, which an ID token has", lambda f, make: make(nonce="n")),
    Hostile("nonce-null", "a nonce all the same", lambda f, make: make(nonce=None)),
    Hostile("nobody", "neither sub nor sid", lambda f, make: make(sub=ABSENT, sid=ABSENT)),
    Hostile("sub-empty", "an empty sub", lambda f, make: make(sub="")),
    Hostile("sid-empty", "an empty sid, which must not mean all sessions of sub", lambda f, make: make(sid="")),
    Hostile("sid-null", "a sid of null, which must not mean all sessions of sub", lambda f, make: make(sid=None)),
    Hostile("sid-list", "several sessions", lambda f, make: make(sid=[f.sid])),
    Hostile("sub-object", "a sub that is no text", lambda f, make: make(sub={"eq": f.subject})),
    Hostile("exp-passed", "over by a second: no leeway (L1)", lambda f, make: make(iat=f.now - 121, exp=f.now - 1)),
    Hostile("exp-now", "over at this instant (L1)", lambda f, make: make(iat=f.now - 120, exp=f.now)),
    Hostile("exp-text", "a text as its end", lambda f, make: make(exp=str(f.now + 120))),
    Hostile("exp-null", "null as its end", lambda f, make: make(exp=None)),
    Hostile(
        "old-without-exp", "ten minutes old, with no end of its own", lambda f, make: make(iat=f.now - 600, exp=ABSENT)
    ),
    Hostile(
        "old-with-exp",
        "two days old, with an end in a year",
        lambda f, make: make(iat=f.now - 172_800, exp=f.now + 31_536_000),
    ),
    Hostile("event-of-another-kind", "another event", lambda f, make: make(events={CAEP + "session-revoked": {}})),
    Hostile("event-in-a-list", "an event that is a list", lambda f, make: make(events={LOGOUT_EVENT: []})),
    Hostile("security-event-token", "a security event token", lambda f, make: f.event()),
)

EVENT: Final = (
    Hostile("typ-missing", "of no kind: a security event token names its kind", lambda f, make: make({"typ": ABSENT})),
    Hostile("typ-jwt", "of any kind", lambda f, make: make({"typ": "JWT"})),
    Hostile("exp", "has an end, as an ID token has (Shared Signals 1.0 §4.1.7)", lambda f, make: make(exp=f.now + 120)),
    Hostile("sub", "has a sub, as an ID token has (Shared Signals 1.0 §4.1.2)", lambda f, make: make(sub=f.subject)),
    Hostile("subject-missing", "about nobody", lambda f, make: make(sub_id=ABSENT)),
    Hostile("subject-text", "about a text", lambda f, make: make(sub_id=f.subject)),
    Hostile("subject-without-format", "about something unsaid", lambda f, make: make(sub_id={"id": f.sid})),
    Hostile("subject-empty", "about nothing in particular", lambda f, make: make(sub_id={"format": "complex"})),
    Hostile(
        "subject-session-no-text", "about a session that is a number",
        lambda f, make: make(sub_id={"format": "complex", "session": {"format": "opaque", "id": 7}}),
    ),
    Hostile(
        "subject-sub-empty", "about a user without a name",
        lambda f, make: make(sub_id={"format": "iss_sub", "iss": f.issuer, "sub": ""}),
    ),
    Hostile("aliases-empty", "a user by no name", lambda f, make: make(sub_id={"format": "aliases", "identifiers": []})),
    Hostile(
        "aliases-nested", "names within names",
        lambda f, make: make(sub_id={"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [{"format": "opaque", "id": f.subject}]}]}),
    ),
    Hostile(
        "aliases-many", "a user by a thousand names",
        lambda f, make: make(sub_id={"format": "aliases", "identifiers": [{"format": "opaque", "id": f.subject}] * 1_000}),
    ),
    Hostile("timestamp-text", "happened at a text", lambda f, make: make(events={CAEP + "session-revoked": {"event_timestamp": "now"}})),
    Hostile(
        "timestamp-ahead", "has not happened yet",
        lambda f, make: make(events={CAEP + "session-revoked": {"event_timestamp": f.now + 3_600}}),
    ),
    Hostile("logout-token", "a logout token", lambda f, make: f.logout()),
)  # fmt: skip
