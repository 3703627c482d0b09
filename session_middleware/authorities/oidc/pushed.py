"""What the provider says by itself: back-channel logout and security events, as routes that prove themselves.

Back-Channel Logout 1.0 §2.5 to §2.8; push delivery of security event tokens, RFC 8935. An answer of 400 says that the token
is bad and not worth sending again; a fault of ours, or of the provider's keys, is 503 and worth it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from session_middleware.authorities.keys import KeySource
from session_middleware.authorities.oidc.claims import (
    EVENT_AGE,
    LOGOUT_AGE,
    Expected,
    logout_token,
    security_event,
)
from session_middleware.authorities.routes import Answer, Ask, Done, End, Problem
from session_middleware.authorities.signed import header_of, read_signed
from session_middleware.core.fields import text_of
from session_middleware.core.record import handle_of
from session_middleware.errors import InvalidToken

__all__ = ["Events", "Logouts", "subject_handle"]

_log = logging.getLogger("session_middleware.authorities.oidc")

#: Auth0 and Keycloak write "JWT", oidc-provider what the specification recommends, others nothing.
_LENIENT: Final = frozenset({None, "jwt", "logout+jwt"})
_STRICT: Final = frozenset({"logout+jwt"})

#: A provider's times are whole seconds: what happened in the same one may be before it or after it. With what clocks differ by
#: this decides which sign-ins were before: in doubt a user signs in once more (L1).
WHOLE_SECOND: Final = 1.0

_EVENT_TYPS: Final = frozenset({"secevent+jwt"})

#: Of a session or of a user: they end sessions, or ask the user to prove who they are once more.
_ENDS: Final = frozenset({"session-revoked"})
_STALES: Final = frozenset({"credential-change", "assurance-level-change"})


def subject_handle(authority: str, subject: str) -> str:
    """Return the handle under which all sessions of a user of a provider are found, whatever the app calls the user."""
    return handle_of("provider subject", f"{authority}\0{subject}")


class Logouts:
    """The route where the provider says that a session there is over.

    Args:
        name: the authority's.
        keys: the provider's.
        issuer: the provider.
        client_id: ours there.
        algorithms: by which it may sign.
        clock_skew: seconds that clocks may differ by.
        strict: whether a token must say that it is a logout token (`typ: logout+jwt`).
    """

    def __init__(
        self,
        name: str,
        keys: KeySource,
        issuer: str,
        client_id: str,
        algorithms: frozenset[str],
        *,
        clock_skew: float,
        strict: bool,
    ) -> None:
        self._name, self._keys, self._issuer, self._client_id = name, keys, issuer, client_id
        self._algorithms, self._clock_skew = algorithms, clock_skew
        self._typs = _STRICT if strict else _LENIENT

    async def take(self, ask: Ask) -> Answer:
        """End what a logout token names (§2.6, §2.7)."""
        form = await ask.form()
        token = None if form is None else text_of(form, "logout_token")
        if token is None:
            return _bad_logout("The request has no logout_token.")
        try:
            keys = await self._keys.keys(header_of(token).get("kid"), ask.now)
            signed = read_signed(token, keys, algorithms=self._algorithms, typs=self._typs)
            said = logout_token(signed, Expected(self._issuer, self._client_id, ask.now, self._clock_skew))
        except InvalidToken as fault:
            _log.warning("A logout token was refused: %s", fault)  # it holds no part of the token
            return _bad_logout(str(fault))
        once = (_digest("logout", self._issuer, said.jti), ask.now + LOGOUT_AGE + 2 * self._clock_skew)
        before = said.issued_at + WHOLE_SECOND + self._clock_skew
        if said.sid is not None:
            return End("provider_logout", provider_sessions=(said.sid,), before=before, once=once)
        assert said.subject is not None  # one of the two is there
        return End("provider_logout", handles=(subject_handle(self._name, said.subject),), before=before, once=once)


def _bad_logout(why: str) -> Problem:
    return Problem(400, "invalid_request", why, {"error": "invalid_request", "error_description": why})


class Events:
    """The route where a transmitter pushes security event tokens about users of the provider.

    Args:
        name: the authority's.
        keys: the transmitter's.
        transmitter: its issuer.
        audience: what it calls us.
        provider: the issuer whose users it names.
        algorithms: by which it may sign.
        clock_skew: seconds that clocks may differ by.
    """

    def __init__(
        self,
        name: str,
        keys: KeySource,
        transmitter: str,
        audience: str,
        provider: str,
        algorithms: frozenset[str],
        *,
        clock_skew: float,
    ) -> None:
        self._name, self._keys, self._transmitter, self._audience = name, keys, transmitter, audience
        self._provider, self._algorithms, self._clock_skew = provider, algorithms, clock_skew

    async def take(self, ask: Ask) -> Answer:
        """Do what an event asks for; one that is about nobody here, or of another kind, is taken note of (RFC 8935 §2.2)."""
        kind = (ask.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/secevent+jwt":
            return _bad_event("invalid_request", "The Content-Type is not application/secevent+jwt.")
        token = (await ask.body()).decode("ascii", "replace")
        try:
            keys = await self._keys.keys(header_of(token).get("kid"), ask.now)
            signed = read_signed(token, keys, algorithms=self._algorithms, typs=_EVENT_TYPS)
            expected = Expected(self._transmitter, self._audience, ask.now, self._clock_skew)
            said = security_event(signed, expected, self._provider)
        except InvalidToken as fault:
            _log.warning("A security event token was refused: %s", fault)  # it holds no part of the token
            return _bad_event(_ERRORS.get(fault.code, "invalid_request"), str(fault))
        once = (_digest("event", self._transmitter, said.jti), ask.now + EVENT_AGE + 2 * self._clock_skew)
        ends, about = bool(said.kinds & _ENDS), said.about
        known = about.sid is not None or about.subject is not None
        if not known or not (ends or said.kinds & _STALES):
            if await ask.once(*once):
                return Done(202)
            return _bad_event("invalid_request", "The security event token was used before.")
        return End(
            "provider_revoked",
            provider_sessions=() if about.sid is None else (about.sid,),
            # Where a session is named, it alone is meant, whoever's it is.
            handles=()
            if about.subject is None or (about.sid is not None and not about.either)
            else (subject_handle(self._name, about.subject),),
            before=said.happened_at + WHOLE_SECOND + self._clock_skew,
            once=once,
            stale=not ends,
            status=202,
        )


#: RFC 8935 §2.4
_ERRORS: Final[Mapping[str, str]] = {
    "token_key": "invalid_key",
    "token_signature": "invalid_key",
    "token_issuer": "invalid_issuer",
    "token_audience": "invalid_audience",
}


def _bad_event(error: str, why: str) -> Problem:
    return Problem(400, error, why, {"err": error, "description": why})


def _digest(kind: str, issuer: str, jti: str) -> str:
    named = f"{issuer}\0{jti}"
    return f"{kind} {sha256(named.encode('utf-8', 'surrogatepass')).hexdigest()}"
