"""What a request shows of a Stytch session: how Stytch is asked about it, and what can be told without asking."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from session_middleware.authorities.base import Shown
from session_middleware.authorities.stytch.api import Authenticated, NoSession, StytchApi
from session_middleware.authorities.stytch.cookies import StytchCookies, digest
from session_middleware.authorities.stytch.jwt import ReadJwt, SessionJwts
from session_middleware.core.record import SessionRecord
from session_middleware.errors import InvalidToken

__all__ = ["Proof", "Proofs"]

#: Seconds before the end of Stytch's session from which its JWT is not believed without asking: it may have been extended.
NEAR_ITS_END: Final = 90.0

#: Seconds for which a credential that is nobody's is not asked about again. Short, should Stytch not know a new one yet.
DEAD_FOR: Final = 2.0

#: Such credentials that are remembered.
MOST_DEAD: Final = 4_096


@dataclass(frozen=True, slots=True)
class Proof:
    """A credential that may be Stytch's.

    Attributes:
        named: how Stytch is asked about it: `session_token` or `session_jwt`.
        read: what the JWT beside it, or itself, says; None where there is none, or its key is not known.
    """

    named: Mapping[str, str] = field(repr=False)
    read: ReadJwt | None

    def suffices(self, record: SessionRecord, now: float, max_token_age: float) -> bool:
        """Say whether the JWT is believed without asking: young, about this session, whose end is not near.

        Nor beside a token of another session: an app that has just signed somebody in may have set the token alone.
        """
        read, token = self.read, self.named.get("session_token")
        return (
            read is not None
            and read.holds
            and now - read.issued_at < max_token_age
            and (read.session.id, read.session.subject) == (record.provider_session, record.subject)
            and (token is None or record.sealed == digest(token))
            and (record.ceiling is None or now < record.ceiling - NEAR_ITS_END)
        )

    def is_of(self, record: SessionRecord) -> bool:
        """Say whether this is the credential that the record stands on, so that its end is the record's."""
        token = self.named.get("session_token")
        if token is not None:
            return record.sealed == digest(token)
        return self.read is not None and self.read.session.id == record.provider_session


class Proofs:
    """Finds the credential in what a request shows, and asks Stytch about it.

    Args:
        api: asked.
        jwts: read JWTs.
        cookies: where both are.
    """

    def __init__(self, api: StytchApi, jwts: SessionJwts, cookies: StytchCookies) -> None:
        self._api, self._jwts, self._cookies = api, jwts, cookies
        self._dead: dict[str, tuple[float, NoSession]] = {}  # digest of a credential -> when it was nobody's, and why

    async def find(self, shown: Shown, now: float, record: SessionRecord | None = None) -> Proof | None:
        """Return what is shown; None where nothing is that could be Stytch's.

        The token is asked about where there is one, for it dies at once when the session is revoked; but not where the
        record does not know it, made by a login of the app's own, and the JWT is of its session.
        """
        token, jwt = self._cookies.token_of(shown), self._cookies.jwt_of(shown)
        read = None
        if jwt is not None:
            try:
                read = await self._jwts.read(jwt, now)
            except InvalidToken:
                jwt = None
        by_jwt = None if jwt is None else Proof({"session_jwt": jwt}, read)
        if token is None:
            return by_jwt
        if record is not None and record.sealed is None and by_jwt is not None and by_jwt.is_of(record):
            return by_jwt
        return Proof({"session_token": token}, read)

    async def ask(self, proof: Proof, now: float) -> Authenticated | NoSession:
        """Ask Stytch about a credential, but not about one again that was nobody's a moment ago.

        Raises:
            ProviderFault: Stytch did not say.
        """
        key = digest(next(iter(proof.named.values())))
        at, why = self._dead.get(key, (-math.inf, NoSession.NOT_FOUND))
        if 0 <= now - at < DEAD_FOR:
            return why
        found = await self._api.authenticate(proof.named)
        if isinstance(found, NoSession):
            if len(self._dead) >= MOST_DEAD:
                self._dead.clear()
            self._dead[key] = now, found
        return found
