"""What Stytch says of a session, in an answer of its API or in a session JWT, read into one form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from session_middleware.authorities.base import ProviderLogin
from session_middleware.core.provider import ProviderSession

__all__ = ["B2B", "CONSUMER", "Kind", "StytchSession"]

#: Where a session JWT says what is not in its registered claims.
SESSION_CLAIM: Final = "https://stytch.com/session"
ORGANIZATION_CLAIM: Final = "https://stytch.com/organization"

_NOT_CUSTOM: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", SESSION_CLAIM, ORGANIZATION_CLAIM})

#: Types of factors that prove alone who somebody is. The others add to a proof, or were somebody else's.
PRIMARY: Final = frozenset(
    {"magic_link", "otp", "email_otp", "oauth", "webauthn", "password", "sso", "crypto", "signature_challenge"}
)


@dataclass(frozen=True, slots=True)
class Kind:
    """How the two kinds of Stytch projects call the same things.

    Attributes:
        prefix: of the paths of their API.
        session: the member that holds the session.
        id: the member of the session that names it.
        subject: the member of the session that says whose it is.
    """

    prefix: str
    session: str
    id: str
    subject: str


CONSUMER: Final = Kind("/v1", "session", "session_id", "user_id")
B2B: Final = Kind("/v1/b2b", "member_session", "member_session_id", "member_id")


@dataclass(frozen=True, slots=True)
class StytchSession:
    """One session at Stytch.

    Times are whole seconds since the epoch: a JWT has no fractions, and both forms of one session are to be equal.

    Attributes:
        id: its `session_id` or `member_session_id`.
        subject: its `user_id` or `member_id`.
        started_at: when it began.
        expires_at: when it ends; None where an older JWT does not say.
        factors: its `authentication_factors`.
        claims: its custom claims, with what Stytch knows of roles and organization over them.
    """

    id: str
    subject: str
    started_at: float
    expires_at: float | None
    factors: tuple[Mapping[str, Any], ...] = ()  # Any: JSON
    claims: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON

    @classmethod
    def from_api(cls, kind: Kind, session: object) -> StytchSession | None:
        """Read the session in an answer of the API; None where it is none."""
        if not isinstance(session, Mapping):
            return None
        slug = session.get("organization_slug")
        named = (session.get(kind.id), session.get(kind.subject), session.get("organization_id"), slug)
        read = _read(kind, named, session, session.get("custom_claims"))
        return None if read is None or read.expires_at is None else read

    @classmethod
    def from_claims(cls, kind: Kind, claims: Mapping[str, Any]) -> StytchSession | None:
        """Read the session that the claims of a session JWT are about; None where there is none."""
        session, organization = claims.get(SESSION_CLAIM), claims.get(ORGANIZATION_CLAIM)
        if not isinstance(session, Mapping):
            return None
        within = organization if isinstance(organization, Mapping) else {}
        named = (session.get("id"), claims.get("sub"), within.get("organization_id"), within.get("slug"))
        custom = {name: value for name, value in claims.items() if name not in _NOT_CUSTOM}
        return _read(kind, named, session, custom)

    @property
    def proven_at(self) -> float:
        """When the user last proved who they are: at its start, or by a first factor shown once more since then (L3)."""
        shown = (_instant(f.get("last_authenticated_at")) for f in self.factors if f.get("type") in PRIMARY)
        return max([self.started_at, *(at for at in shown if at is not None)])

    def login(self, authority: str, *, ends_at: float | None, sealed: str | None) -> ProviderLogin:
        """Return what the engine is told of it.

        Args:
            authority: the authority's name.
            ends_at: when it ends, as far as is known.
            sealed: kept in the record.
        """
        return ProviderLogin(
            self.subject,
            ProviderSession(self.id, self.proven_at, ends_at, authority),
            claims=self.claims,
            factors=self.factors,
            sealed=sealed,
            moves=True,
        )


def _read(
    kind: Kind, named: tuple[object, object, object, object], session: Mapping[str, Any], custom: object
) -> StytchSession | None:
    id, subject, organization_id, slug = named
    started_at = _instant(session.get("started_at"))
    if not isinstance(id, str) or not isinstance(subject, str) or not id or not subject or started_at is None:
        return None
    claims = dict(custom) if isinstance(custom, Mapping) else {}
    # Over the custom claims, since whoever may write those must not be able to write these.
    roles = session.get("roles")
    claims["roles"] = [role for role in roles if isinstance(role, str)] if isinstance(roles, list) and roles else None
    if kind is B2B:
        if not isinstance(organization_id, str) or not organization_id:
            return None
        claims["organization_id"] = organization_id
        claims["organization_slug"] = slug if isinstance(slug, str) else None
    factors = session.get("authentication_factors")
    known = tuple(f for f in factors if isinstance(f, Mapping)) if isinstance(factors, list) else ()
    return StytchSession(id, subject, started_at, _instant(session.get("expires_at")), known, claims)


def _instant(text: object) -> float | None:
    """Read an RFC 3339 time down to the second; None for anything else."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if read.tzinfo is None else float(math.floor(read.timestamp()))
