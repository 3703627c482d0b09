"""What the OpenID stand-in knows: its keys, who is signed in, which codes and refresh tokens are out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4
from weakref import finalize

from joserfc import jwt
from joserfc.jwk import RSAKey

from session_middleware.core.tokens import b64encode

__all__ = ["Client", "Grant", "ProviderSession", "World"]

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

#: Seconds for which an ID token and an access token live, and a code.
TOKEN_LIFE = 600
CODE_LIFE = 60


@dataclass(frozen=True, slots=True)
class Client:
    """An application registered with the stand-in.

    Attributes:
        secret: of a confidential one; None for a public one.
        redirect_uris: where answers may go.
        logout_uris: where the browser may go after a logout.
    """

    secret: str | None = field(repr=False)
    redirect_uris: tuple[str, ...]
    logout_uris: tuple[str, ...] = ()


@dataclass(slots=True)
class ProviderSession:
    """Somebody signed in at the stand-in, in one browser."""

    sid: str
    subject: str
    auth_time: float
    seen_at: float
    clients: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a code or a refresh token stands for."""

    client: str
    sid: str
    subject: str
    auth_time: float
    scope: str
    family: str
    asked: Mapping[str, str] = field(default_factory=dict, repr=False)
    made_at: float = 0.0


class World:
    """The stand-in's state; whoever changes it holds its lock.

    Args:
        clock: seconds since the epoch.
        idle: seconds of silence that end a session.
        lifetime: seconds that end one in any case.
    """

    def __init__(self, clock: Callable[[], float], idle: float, lifetime: float) -> None:
        self.clock, self.idle, self.lifetime = clock, idle, lifetime
        self.claims: dict[str, dict[str, Any]] = {}
        self.sessions: dict[str, ProviderSession] = {}
        self.browsers: dict[str, str] = {}  # cookie -> sid
        self.codes: dict[str, Grant] = {}
        self.refresh_tokens: dict[str, Grant] = {}
        self.used: dict[str, str] = {}  # refresh token that has been used -> family
        self.keys = [_spare.pop() if _spare else _key()]
        finalize(self, _spare.append, self.keys[0]).atexit = False

    def rotate_keys(self) -> None:
        """Sign with a new key from now on; the old one is not published any more."""
        self.keys = [_key()]

    def jwks(self) -> dict[str, Any]:
        """The public keys."""
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def signed(self, claims: Mapping[str, Any], typ: str) -> str:
        """A token under the current key."""
        key = self.keys[0]
        return jwt.encode({"alg": "RS256", "kid": key.kid, "typ": typ}, dict(claims), key, algorithms=["RS256"])

    # --- sessions ----------------------------------------------------------------------------------------------

    def sign_in(self, subject: str, cookie: str | None) -> tuple[ProviderSession, str]:
        """Sign somebody in; who is there already goes on with the same session. Returns it and the browser's cookie."""
        now = self.clock()
        there = self.session_of(cookie)
        if there is not None and there.subject == subject and cookie is not None:
            there.auth_time = there.seen_at = now
            return there, cookie
        session = ProviderSession(f"sid-{secrets.token_urlsafe(9)}", subject, now, now)
        cookie = secrets.token_urlsafe(18)
        self.sessions[session.sid], self.browsers[cookie] = session, session.sid
        return session, cookie

    def session_of(self, cookie: str | None) -> ProviderSession | None:
        """The live session of a browser."""
        return self.live(self.browsers.get(cookie or "", ""))

    def live(self, sid: str) -> ProviderSession | None:
        """The session of an id, if it is not over."""
        session, now = self.sessions.get(sid), self.clock()
        if session is None or now >= session.seen_at + self.idle or now >= session.auth_time + self.lifetime:
            return None
        return session

    def end(self, sid: str) -> ProviderSession | None:
        """End a session; return it as it was, None if there was none."""
        return self.sessions.pop(sid, None)

    # --- tokens ------------------------------------------------------------------------------------------------

    def code_for(self, session: ProviderSession, client: str, asked: Mapping[str, str]) -> str:
        """A code for a session: the browser has come, so its time of silence begins anew."""
        now, code = self.clock(), secrets.token_urlsafe(18)
        session.seen_at = now
        if client not in session.clients:
            session.clients.append(client)
        scope = asked.get("scope", "openid")
        self.codes[code] = Grant(client, session.sid, session.subject, session.auth_time, scope, code, dict(asked), now)
        return code

    def redeem(self, code: str, client: str, verifier: str, redirect_uri: str) -> Grant | None:
        """What a code stands for; None where it is not good, and then it never will be."""
        grant = self.codes.pop(code, None)
        if grant is None or grant.client != client or self.clock() > grant.made_at + CODE_LIFE:
            return None
        challenge = b64encode(sha256(verifier.encode()).digest())
        good = grant.asked.get("code_challenge") == challenge and grant.asked.get("redirect_uri") == redirect_uri
        return grant if good else None

    def refresh(self, token: str, client: str) -> Grant | None:
        """What a refresh token stands for; one that comes a second time revokes its family (RFC 9700 §4.14.2)."""
        family = self.used.get(token)
        if family is not None:
            self.revoke_family(family)
            return None
        grant = self.refresh_tokens.pop(token, None)
        if grant is None or grant.client != client:
            return None
        self.used[token] = grant.family
        return grant

    def revoke_family(self, family: str) -> None:
        """Let no refresh token of a sign-in serve any more."""
        for token in [token for token, grant in self.refresh_tokens.items() if grant.family == family]:
            del self.refresh_tokens[token]

    def tokens(self, grant: Grant, issuer: str, typ: str = "JWT") -> dict[str, Any]:
        """The answer of a token endpoint."""
        now = int(self.clock())
        claims: dict[str, Any] = {"iss": issuer, "aud": grant.client, "sub": grant.subject, "sid": grant.sid}
        claims |= {"iat": now, "exp": now + TOKEN_LIFE, "auth_time": int(grant.auth_time)}
        if "nonce" in grant.asked:
            claims["nonce"] = grant.asked["nonce"]
        claims |= {"name": grant.subject.title(), "email": f"{grant.subject}@example.org"}
        claims |= self.claims.get(grant.subject, {})
        answer: dict[str, Any] = {
            "id_token": self.signed(claims, typ),
            "access_token": f"access-{uuid4().hex}",
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFE,
        }
        if "offline_access" in grant.scope.split():
            token = f"refresh-{uuid4().hex}"
            self.refresh_tokens[token] = Grant(
                grant.client, grant.sid, grant.subject, grant.auth_time, grant.scope, grant.family
            )
            answer["refresh_token"] = token
        return answer

    def logout_token(self, issuer: str, client: str, session: ProviderSession, typ: str, **more: Any) -> str:
        """What is told to an application when a session has ended (Back-Channel Logout 1.0 §2.4)."""
        now = int(self.clock())
        claims = {"iss": issuer, "aud": client, "sub": session.subject, "sid": session.sid, "iat": now}
        claims |= {"exp": now + 120, "jti": uuid4().hex, "events": {LOGOUT_EVENT: {}}, **more}
        return self.signed(claims, typ)


#: Keys of worlds that are gone, for the next ones: making one takes a tenth of a second, and a suite has many worlds. Two at
#: a time never share one.
_spare: list[RSAKey] = []


def _key() -> RSAKey:
    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, private=True, auto_kid=True)
