"""What the tokens of a provider must say: ID tokens, logout tokens and security event tokens. Pure; `now` is an argument.

Authlib checks an ID token as OpenID Connect Core 1.0 §3.1.3.7 asks; what it leaves to the caller is done here. Logout tokens
follow Back-Channel Logout 1.0 §2.6, security event tokens RFC 8417 and Shared Signals 1.0 §4; both are stricter than the texts
where those would let one token pass for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from session_middleware.authorities.oidc.subjects import About, subject_of
from session_middleware.authorities.signed import Signed, refused, text_in

__all__ = [
    "CAEP",
    "EVENT_AGE",
    "LOGOUT_AGE",
    "LOGOUT_EVENT",
    "Expected",
    "IdToken",
    "LogoutToken",
    "SecurityEvent",
    "id_token",
    "logout_token",
    "security_event",
]

LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"

#: Seconds after which a logout token is too old, whatever it says itself: so that a `jti` need not be kept for longer. Auth0
#: and oidc-provider make theirs for 120.
LOGOUT_AGE: Final = 300.0

#: Seconds after which an event is too old. A transmitter repeats a push that failed, for hours perhaps (RFC 8935 §2.4).
EVENT_AGE: Final = 86_400.0

#: From here on a number is milliseconds, taken for seconds by mistake; as Auth0's own clients judge `session_expiry`.
MILLISECONDS: Final = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Expected:
    """Whom a token must be from and for, and when.

    Attributes:
        issuer: what `iss` must be, to the letter.
        audience: what `aud` must hold.
        now: seconds since the epoch.
        clock_skew: seconds that the provider's clock may be ahead (L1).
    """

    issuer: str
    audience: str
    now: float
    clock_skew: float = 30.0


@dataclass(frozen=True, slots=True)
class IdToken:
    """Who has signed in.

    Attributes:
        subject: `sub`.
        sid: the provider's session, None where it does not say.
        auth_time: when the user proved who they are there, None where it does not say.
        session_expiry: when the session is to end at the latest (IPSIE), None where it does not say.
        claims: all of them.
    """

    subject: str
    sid: str | None
    auth_time: float | None
    session_expiry: float | None
    claims: Mapping[str, Any]  # Any: JSON values


def id_token(
    signed: Signed, expected: Expected, *, nonce: str | None, access_token: str | None, demands_auth_time: bool
) -> IdToken:
    """Check an ID token.

    Args:
        signed: its signature verified.
        expected: from and for whom.
        nonce: what was asked with; None for the answer to a refresh, which has none or the first one's.
        access_token: what came with it, for `at_hash`.
        demands_auth_time: whether `max_age` was asked for: then the provider has to say `auth_time` (§3.1.2.1).

    Raises:
        InvalidToken: it is none for this sign-in.
    """
    from authlib.oidc.core import CodeIDToken
    from joserfc.errors import JoseError

    claims = signed.claims
    _for_us(claims, expected)
    _issued(claims, expected)
    params = {"client_id": expected.audience, "nonce": nonce, "access_token": access_token}
    try:
        # exp has no leeway (L1); iat and nbf were looked at above, against our clock's allowance.
        checked = {name: value for name, value in claims.items() if name not in ("iat", "nbf")}
        CodeIDToken(
            {**checked, "iat": int(expected.now)}, {"alg": signed.alg}, {"iss": {"value": expected.issuer}}, params
        ).validate(now=int(expected.now), leeway=0)
    except (JoseError, ValueError, TypeError) as fault:
        raise refused("id_token", f"{type(fault).__name__} in the ID token.") from None
    if not _instant(claims.get("exp")) or expected.now >= claims["exp"]:
        raise refused("id_token", "the ID token is over.")
    if "events" in claims:
        raise refused("id_token", "it is a security event token.")
    auth_time = claims.get("auth_time")
    if auth_time is not None and not (_instant(auth_time) and auth_time <= expected.now + expected.clock_skew):
        raise refused("id_token", "the ID token has an auth_time that is no time, or not yet.")
    if auth_time is None and demands_auth_time:
        raise refused("auth_time", "the ID token has no auth_time, though max_age was asked for.")
    return IdToken(
        text_in(claims, "sub"),
        _maybe_text(claims, "sid"),
        auth_time,
        _session_expiry(claims.get("session_expiry")),
        claims,
    )


def _session_expiry(value: object) -> float | None:
    """Return the claim if it is whole seconds; what is none, or is milliseconds, is passed over as Auth0's clients do."""
    return float(value) if type(value) is int and 0 < value < MILLISECONDS else None


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """Whose sessions the provider says are over: of `sid`, or where it is None, all of `subject`.

    Attributes:
        jti: its id.
        issued_at: the instant of the logout.
    """

    jti: str
    issued_at: float
    subject: str | None
    sid: str | None


def logout_token(signed: Signed, expected: Expected) -> LogoutToken:
    """Check a logout token (Back-Channel Logout 1.0 §2.6).

    Raises:
        InvalidToken: it is none, or none for us.
    """
    claims = signed.claims
    _for_us(claims, expected)
    issued_at = _issued(claims, expected, LOGOUT_AGE)
    if "exp" in claims and not (_instant(claims["exp"]) and expected.now < claims["exp"]):
        raise refused("logout_token", "the logout token is over.")
    if "nonce" in claims:
        raise refused("logout_token", "it is an ID token.")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise refused("token_events", "it names no logout.")
    # Keycloak adds the plain name `revoke_offline_access`; what is a URI is another event (RFC 8417 §2.2).
    if any("://" in name for name in events if name != LOGOUT_EVENT):
        raise refused("token_events", "it is a security event token too.")
    subject, sid = _maybe_text(claims, "sub"), _maybe_text(claims, "sid")
    if subject is None and sid is None:
        raise refused("logout_token", "it names neither a session nor a user.")
    return LogoutToken(_jti(claims), issued_at, subject, sid)


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """Something that happened to a user or a session at the provider.

    Attributes:
        jti: the token's id.
        kinds: the event's types, the provider's own among them; a type of CAEP without its prefix.
        happened_at: when.
        about: whom.
    """

    jti: str
    kinds: frozenset[str]
    happened_at: float
    about: About


def security_event(signed: Signed, expected: Expected, provider: str) -> SecurityEvent:
    """Check a security event token (RFC 8417 §2.2; Shared Signals Framework 1.0 §4.1).

    Args:
        signed: its signature verified, its kind `secevent+jwt`.
        expected: the transmitter, and what it calls us.
        provider: the issuer whose users `sub_id` names.

    Raises:
        InvalidToken: it is none, or none for us.
    """
    claims = signed.claims
    _for_us(claims, expected)
    issued_at = _issued(claims, expected, EVENT_AGE)
    for name in ("exp", "sub", "nonce"):
        if name in claims:
            raise refused("security_event", f"it has {name!r}, as an ID token or logout token has.")
    events = _events(claims)
    if LOGOUT_EVENT in events:
        raise refused("security_event", "it is a logout token too.")
    happened_at = issued_at
    for event in events.values():
        said = _in_seconds(event.get("event_timestamp", issued_at))
        if not _instant(said) or said > expected.now + expected.clock_skew:
            raise refused("security_event", "an event happened at no time, or not yet.")
        happened_at = min(happened_at, float(said))
    kinds = frozenset(kind.removeprefix(CAEP) for kind in events)
    return SecurityEvent(_jti(claims), kinds, happened_at, subject_of(claims.get("sub_id"), provider))


def _in_seconds(said: object) -> object:
    """Return `event_timestamp` in seconds: the drafts of CAEP before its version 1.0 wrote milliseconds in all their examples.

    A revocation that is refused for its spelling would be lost, and nobody is wronged by reading it.
    """
    return said / 1000 if type(said) is int and MILLISECONDS <= said < MILLISECONDS * 1000 else said


# --- what all of them have -------------------------------------------------------------------------------------------


def _for_us(claims: Mapping[str, Any], expected: Expected) -> None:
    if claims.get("iss") != expected.issuer:
        raise refused("token_issuer", "it is from another issuer.")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if expected.audience not in named or not all(isinstance(one, str) for one in named):
        raise refused("token_audience", "it is for another application.")


def _issued(claims: Mapping[str, Any], expected: Expected, age: float | None = None) -> float:
    latest = expected.now + expected.clock_skew
    issued_at, not_before = claims.get("iat"), claims.get("nbf", 0)
    if not _instant(issued_at) or not _instant(not_before) or issued_at > latest or not_before > latest:
        raise refused("token_time", "it is not yet valid, or does not say since when.")
    if age is not None and issued_at < expected.now - age - expected.clock_skew:
        raise refused("token_time", "it is too old.")
    return float(issued_at)


def _events(claims: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    events = claims.get("events")
    if not isinstance(events, dict) or not events or not all(isinstance(event, dict) for event in events.values()):
        raise refused("token_events", "it names no event.")
    return events


def _jti(claims: Mapping[str, Any]) -> str:
    return text_in(claims, "jti")


def _maybe_text(claims: Mapping[str, Any], name: str) -> str | None:
    """Return a text, None where it is not there. One that is empty or null is neither: it must not widen what is meant."""
    return text_in(claims, name) if name in claims else None


def _instant(value: object) -> TypeGuard[float]:
    """Say whether a value is a NumericDate of seconds (RFC 7519 §2)."""
    return (type(value) is int or type(value) is float) and 0 <= value < MILLISECONDS
