"""A Stytch session JWT, verified here: whose session it is about, and for how long it is believed without asking.

It says nothing about revocation: it verifies for its five minutes whatever becomes of the session.
"""

from __future__ import annotations

from dataclasses import dataclass

from session_middleware.authorities.base import Attached
from session_middleware.authorities.calls import Calls, ProviderFault
from session_middleware.authorities.keys import KeyCache, KeySource
from session_middleware.authorities.signed import header_of, read_signed
from session_middleware.authorities.stytch.options import Options
from session_middleware.authorities.stytch.session import Kind, StytchSession
from session_middleware.errors import InvalidToken

__all__ = ["ReadJwt", "SessionJwts"]


@dataclass(frozen=True, slots=True)
class ReadJwt:
    """A session JWT under a key of the project's.

    Attributes:
        session: that it is about.
        issued_at: seconds since the epoch.
        holds: whether it is within its own times.
    """

    session: StytchSession
    issued_at: float
    holds: bool


class SessionJwts:
    """Verifies the session JWTs of one project.

    Args:
        calls: where its key set is.
        kind: of the project.
        options: its id, and what `iss` of its JWTs may be.
        to: the app.
        cache: of the keys, shared by the apps of this process.
    """

    def __init__(self, calls: Calls, kind: Kind, options: Options, to: Attached, cache: KeyCache) -> None:
        self._kind, self._project_id, self._issuers = kind, options.project_id, options.issuers
        self._skew = to.clock_skew
        path = f"{kind.prefix}/sessions/jwks/{options.project_id}"

        async def address(now: float) -> str:
            return path

        self._keys = KeySource(calls, to.runtime, address, cache)

    async def read(self, jwt: str, now: float) -> ReadJwt | None:
        """Return what a JWT says; None where that cannot be told, for its key is not known or the keys are out of reach.

        Raises:
            InvalidToken: it is none of this project's.
        """
        kid = header_of(jwt).get("kid")
        try:
            keys = await self._keys.keys(kid, now)
        except (ProviderFault, TimeoutError):
            return None
        try:
            signed = read_signed(jwt, keys, algorithms=("RS256",), typs=("jwt", None))
        except InvalidToken as refused:
            if refused.code == "token_key":
                return None  # a key so new that we do not have it yet
            raise
        claims = signed.claims
        audience = claims.get("aud")
        if self._project_id not in (audience if isinstance(audience, list) else [audience]):
            raise InvalidToken("The session JWT is for another project.", code="jwt_claims")
        session = StytchSession.from_claims(self._kind, claims)
        times = [claims.get(name) for name in ("iat", "nbf", "exp")]
        if claims.get("iss") not in self._issuers or session is None or not all(type(time) is int for time in times):
            raise InvalidToken("The session JWT is not as Stytch makes them.", code="jwt_claims")
        issued_at, not_before, expires = (float(time) for time in times if time is not None)
        holds = now < expires and max(issued_at, not_before) <= now + self._skew  # L1
        return ReadJwt(session, issued_at, holds)
