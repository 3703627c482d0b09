"""The tokens that a session keeps: sealed in its record at sign-in, handed out, refreshed, and revoked with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from session_middleware.authorities.base import Token
from session_middleware.authorities.calls import ProviderFault
from session_middleware.authorities.oidc.claims import IdToken
from session_middleware.authorities.oidc.provider import GrantRefused, Provider, TokenAnswer
from session_middleware.authorities.oidc.pushed import subject_handle
from session_middleware.authorities.oidc.sealing import HeldTokens, open_sealed, seal
from session_middleware.core.record import SessionRecord
from session_middleware.errors import InvalidToken, SessionError

__all__ = ["KeptTokens"]

#: Seconds before its end at which an access token is refreshed: what is handed out is good for a call or two yet.
REFRESH_BEFORE: Final = 60.0

#: Seconds for which an access token is taken to live where the provider does not say (RFC 6749 §5.1).
UNSAID_LIFE: Final = 300.0

#: Verifies the ID token that a refresh brought beside an access token.
Verified = Callable[[str, float, str | None], Awaitable[IdToken]]


class KeptTokens:
    """What becomes of a provider's tokens.

    Args:
        name: the authority's.
        provider: where they come from.
        verified: given an ID token, the instant and the access token beside it, returns what it says.
        keys: to seal with.
        keeps_id_token: whether it is kept, for the logout.
        offline: whether tokens for APIs are.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        verified: Verified,
        keys: Callable[[], Sequence[bytes]],
        *,
        keeps_id_token: bool,
        offline: bool,
    ) -> None:
        self._name, self._provider, self._verified, self._keys = name, provider, verified, keys
        self._keeps_id_token, self._offline = keeps_id_token, offline

    def sealed(self, given: TokenAnswer, now: float) -> str | None:
        """Return what a record keeps of a sign-in."""
        kept = HeldTokens(id_token=given.id_token if self._keeps_id_token else None)
        if self._offline and given.refresh_token is not None:
            kept = HeldTokens(kept.id_token, given.access_token, _over_at(given, now), given.refresh_token)
        return seal(kept, self._keys(), self._name)

    def id_token(self, record: SessionRecord) -> str | None:
        """Return the ID token that a record keeps."""
        return self._held(record).id_token

    def current(self, record: SessionRecord, now: float) -> Token | None:
        """Return the access token at hand, if it is good for a minute yet."""
        held = self._held(record)
        if held.access_token is None or held.expires_at is None or now >= held.expires_at - REFRESH_BEFORE:
            return None
        return Token(held.access_token)

    async def refresh(self, record: SessionRecord, now: float) -> Token:
        """Get a new access token; where the provider rotates, the new refresh token takes the old one's place.

        Raises:
            SessionError: there is no refresh token, or the provider takes it no more (`code="provider_token"`).
            ProviderFault: the provider did not answer.
        """
        held = self._held(record)
        if held.refresh_token is None:
            raise _no_token("There is no refresh token in this session; ask for the scope offline_access.")
        try:
            given = await self._provider.refresh(now, held.refresh_token)
            if given.access_token is None:
                raise _no_token("The provider gave no access token.")
            id_token = await self._same_user(record, given, now) or held.id_token
        except (GrantRefused, InvalidToken) as fault:
            raise _no_token(f"The provider gives no token for this session any more ({fault}).") from None
        kept = HeldTokens(id_token, given.access_token, _over_at(given, now), given.refresh_token or held.refresh_token)
        return Token(given.access_token, seal(kept, self._keys(), self._name))

    async def _same_user(self, record: SessionRecord, given: TokenAnswer, now: float) -> str | None:
        """Return the ID token of a refresh if there is one to keep; it must be about the same user (Core §12.2).

        Where its key is not to be had just now it is passed over: the refresh token has been used up, and what came for it
        came from the provider itself, over TLS (Core §3.1.3.7 no. 6).
        """
        if given.id_token is None:
            return None
        try:
            found = await self._verified(given.id_token, now, given.access_token)
        except (ProviderFault, TimeoutError):
            return None
        except InvalidToken as fault:
            if fault.code == "token_key":  # so new that the keys fetched a moment ago do not have it
                return None
            raise
        if subject_handle(self._name, found.subject) not in record.handles:
            raise _no_token("The provider answered a refresh with another user.")
        return given.id_token if self._keeps_id_token else None

    async def revoke(self, record: SessionRecord, now: float) -> None:
        """Revoke the refresh token of a session that has ended here: nobody else has it (RFC 7009).

        Raises:
            ProviderFault: the provider did not answer.
        """
        token = self._held(record).refresh_token
        if token is not None:
            await self._provider.revoke(now, token)

    def _held(self, record: SessionRecord) -> HeldTokens:
        return open_sealed(record.sealed, self._keys(), self._name)


def _over_at(given: TokenAnswer, now: float) -> float:
    return now + (given.lives if given.lives is not None else UNSAID_LIFE)


def _no_token(problem: str) -> SessionError:
    return SessionError(problem, code="provider_token")
