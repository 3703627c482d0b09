"""The sessions of a stood-in Stytch project: how long they live, what they hold, how they are found and end."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from session_middleware.testing.stand_ins._stytch_keys import JWT_LIFETIME, SigningKeys
from session_middleware.testing.stand_ins._stytch_objects import (
    Factor,
    Member,
    User,
    factor_of,
    nanoseconds,
    new_id,
    seconds,
)

__all__ = ["Problem", "Session", "Sessions"]

SHORTEST: Final = 5
LONGEST: Final = 527_040  # minutes: 366 days
RESERVED: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
CLAIMS_LIMIT: Final = 4_096

#: 44 characters, as Stytch's are; anything else is no session token.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{44}", re.ASCII)

_MINUTE: Final = 60 * 10**9


class Problem(Exception):
    """An answer of the API that is an error: status, `error_type` and `error_message`."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type


@dataclass(slots=True)
class Session:
    """One session; times are nanoseconds since the epoch."""

    of: User | Member
    factors: list[dict[str, Any]]
    started_at: int
    last_accessed_at: int
    expires_at: int
    attributes: Mapping[str, str] | None
    roles: Sequence[str] | None
    custom_claims: dict[str, Any]
    id: str = field(default_factory=lambda: new_id("session"))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(33), repr=False)
    revoked: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as the API has it: `session` of a consumer project, `member_session` of a B2B one."""
        common = {
            "authentication_factors": self.factors,
            "roles": list(self.roles or ()),
            "started_at": nanoseconds(self.started_at),
            "last_accessed_at": nanoseconds(self.last_accessed_at),
            "expires_at": nanoseconds(self.expires_at),
            "custom_claims": self.custom_claims,
        }
        if isinstance(self.of, User):
            attributes = None if self.attributes is None else dict(self.attributes)
            return {"session_id": self.id, "user_id": self.of.id, "attributes": attributes, **common}
        organization = self.of.organization
        return {
            "member_session_id": self.id,
            "member_id": self.of.id,
            "organization_id": organization.id,
            "organization_slug": organization.slug,
            **common,
        }


class Sessions:
    """All sessions of one project.

    Args:
        project_id: `aud` of its JWTs.
        keys: what signs them.
        clock: nanoseconds since the epoch.
        old_jwts: leave out of a JWT what older projects' do not have: `roles` and the session's own `expires_at`.
    """

    def __init__(self, project_id: str, keys: SigningKeys, clock: Callable[[], int], old_jwts: bool) -> None:
        self._project_id = project_id
        self._keys = keys
        self._clock = clock
        self._old_jwts = old_jwts
        self._all: dict[str, Session] = {}

    def start(
        self,
        of: User | Member,
        minutes: object,
        factors: Sequence[Factor],
        *,
        attributes: Mapping[str, str] | None = None,
        roles: Sequence[str] | None = None,
        claims: object = None,
    ) -> Session:
        """Begin a session that ends after these minutes.

        Raises:
            Problem: the minutes or the claims are none.
        """
        now = self._clock()
        expires_at = now + _duration(minutes) * _MINUTE
        shown = [factor_of(factor, now) for factor in factors]
        session = Session(of, shown, now, now, expires_at, attributes, roles, _merged({}, claims))
        self._all[session.id] = session
        return session

    def authenticate(self, credential: Mapping[str, Any], minutes: object, claims: object) -> Session:
        """Find a session by its token or JWT; with minutes, have it end so many from now and take claims in.

        Raises:
            Problem: it does not live, or an argument is wrong.
        """
        duration = None if minutes is None else _duration(minutes)
        session = self.find(credential)
        if duration is not None:
            session.custom_claims = _merged(session.custom_claims, claims)
            session.expires_at = self._clock() + duration * _MINUTE
        session.last_accessed_at = self._clock()
        return session

    def find(self, credential: Mapping[str, Any]) -> Session:
        """Return the living session of a token or JWT.

        Raises:
            Problem: there is none.
        """
        given = [name for name in ("session_token", "session_jwt") if credential.get(name)]
        if len(given) != 1:
            raise _arguments("session", given)
        if given == ["session_jwt"]:
            return self._living(self._all.get(self._id_of(credential["session_jwt"])))
        token = credential["session_token"]
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise Problem(400, "invalid_session_token", "The session_token is not valid.")
        return self._living(next((found for found in self._all.values() if found.token == token), None))

    def show(self, session: Session, factor: Factor) -> None:
        """Take note that a factor was shown now; one of the same type keeps its beginning."""
        shown = factor_of(factor, self._clock())
        for held in session.factors:
            if held["type"] == shown["type"]:
                shown["created_at"] = held["created_at"]
        session.factors = [held for held in session.factors if held["type"] != shown["type"]] + [shown]

    def revoke(self, fields: Mapping[str, Any], id_field: str) -> None:
        """End the session of an id, token or JWT.

        Raises:
            Problem: there is none that lives.
        """
        given = [name for name in (id_field, "session_token", "session_jwt") if fields.get(name)]
        if len(given) != 1:
            raise _arguments("session_revoke", given)
        session = self._living(self._all.get(fields[id_field])) if given == [id_field] else self.find(fields)
        session.revoked = True

    def of(self, owner: User | Member) -> list[Session]:
        """Return the living sessions of one user or member, the first begun first."""
        return [session for session in self._all.values() if session.of is owner and self._lives(session)]

    def jwt_of(self, session: Session) -> str:
        """Return a new JWT of a session; it holds 300 s whatever becomes of the session meanwhile."""
        now = self._clock() // 10**9
        inner: dict[str, Any] = {
            "id": session.id,
            "started_at": seconds(session.started_at),
            "last_accessed_at": seconds(session.last_accessed_at),
            "authentication_factors": session.factors,
        }
        if not self._old_jwts:
            inner["expires_at"] = seconds(session.expires_at)
            if session.roles is not None:
                inner["roles"] = list(session.roles)
        if session.attributes is not None:
            inner["attributes"] = dict(session.attributes)
        claims = {
            **session.custom_claims,
            "aud": [self._project_id],
            "iss": f"stytch.com/{self._project_id}",
            "sub": session.of.id,
            "iat": now,
            "nbf": now,
            "exp": now + JWT_LIFETIME,
            "https://stytch.com/session": inner,
        }
        if isinstance(session.of, Member):
            organization = session.of.organization
            named = {"organization_id": organization.id, "slug": organization.slug}
            claims["https://stytch.com/organization"] = named
        return self._keys.sign(claims)

    def _id_of(self, jwt: object) -> str:
        claims = self._keys.claims_of(jwt) if isinstance(jwt, str) else None
        if claims is None:
            raise Problem(400, "unable_to_parse_session_jwt", "The session_jwt could not be parsed.")
        return str(claims["https://stytch.com/session"]["id"])

    def _lives(self, session: Session) -> bool:
        return not session.revoked and self._clock() < session.expires_at

    def _living(self, session: Session | None) -> Session:
        if session is None or not self._lives(session):
            raise Problem(404, "session_not_found", "Session could not be found.")
        return session


def _arguments(kind: str, given: list[str]) -> Problem:
    many = "too_many" if given else "no"
    return Problem(400, f"{many}_{kind}_arguments", "Give exactly one way to name the session.")


def _duration(minutes: object) -> int:
    if type(minutes) is not int or not SHORTEST <= minutes <= LONGEST:
        raise Problem(
            400,
            "invalid_session_duration_minutes",
            f"session_duration_minutes is to be an integer from {SHORTEST} to {LONGEST}.",
        )
    return minutes


def _merged(held: dict[str, Any], claims: object) -> dict[str, Any]:
    """Return custom claims with others taken in: reserved names are ignored, null deletes, objects are merged."""
    if claims is None:
        return held
    if not isinstance(claims, dict):
        raise Problem(400, "invalid_argument", "session_custom_claims is to be an object.")
    merged = _taken_in(held, {name: value for name, value in claims.items() if name not in RESERVED})
    if len(json.dumps(merged, separators=(",", ":")).encode()) > CLAIMS_LIMIT:
        raise Problem(400, "custom_claims_too_large", f"Custom claims may have {CLAIMS_LIMIT} bytes in total.")
    return merged


def _taken_in(held: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = dict(held)
    for name, value in new.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict) and isinstance(held.get(name), dict):
            merged[name] = _taken_in(held[name], value)
        else:
            merged[name] = value
    return merged
