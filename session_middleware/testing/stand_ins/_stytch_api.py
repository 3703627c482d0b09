"""The calls of Stytch's API that concern sessions, and the password login that begins one."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from session_middleware.testing.stand_ins._stytch_keys import SigningKeys
from session_middleware.testing.stand_ins._stytch_objects import Member, Organization, User, nanoseconds, new_id
from session_middleware.testing.stand_ins._stytch_sessions import Problem, Session, Sessions

__all__ = ["Api"]

Fields = Mapping[str, Any]  # Any: JSON
Thing = TypeVar("Thing")
Person = TypeVar("Person", User, Member)

#: Factors that are no second one.
FIRST_FACTORS: Final = frozenset({"magic_link", "password", "sso", "oauth", "email_otp"})

#: Where a member is looked up without naming the organization; Stytch calls that dangerous.
MEMBER: Final = "organizations/members/dangerously_get/"

#: Nanoseconds for which an intermediate session token holds.
INTERMEDIATE: Final = 600 * 10**9


class Api:
    """The calls of one project's API; those of the other kind of project are refused.

    Args:
        project_id: whose JWKS is served.
        keys: what is served there.
        sessions: of the project.
        clock: nanoseconds since the epoch.
        b2b: whether it is a B2B project.

    Attributes:
        people: users or members by id.
        organizations: by id.
    """

    def __init__(
        self, project_id: str, keys: SigningKeys, sessions: Sessions, clock: Callable[[], int], b2b: bool
    ) -> None:
        self.people: dict[str, User | Member] = {}
        self.organizations: dict[str, Organization] = {}
        self._project_id = project_id
        self._keys = keys
        self._sessions = sessions
        self._clock = clock
        self._b2b = b2b
        self._calls: dict[tuple[str, str], Callable[[Fields], dict[str, Any]]] = {
            ("POST", "sessions/authenticate"): self._authenticate,
            ("POST", "sessions/revoke"): self._revoke_member if b2b else self._revoke,
            ("GET", "sessions"): self._list_member if b2b else self._list,
            ("POST", "passwords/authenticate"): self._member_password if b2b else self._password,
        }
        if b2b:
            self._calls["POST", "sessions/exchange"] = self._exchange

    def add(self, thing: User | Member | Organization, id: str = "") -> str:
        """Add a user, member or organization and return its id."""
        thing.id = id or thing.id
        if isinstance(thing, Organization):
            self.organizations[thing.id] = thing
        else:
            self.people[thing.id] = thing
        return thing.id

    def call(self, method: str, path: str, fields: Fields) -> dict[str, Any]:
        """Do what is asked and return the members of the answer that are not in each.

        Raises:
            Problem: it cannot be done.
        """
        of_b2b = path.startswith("/v1/b2b/")
        name = path.removeprefix("/v1/b2b/" if of_b2b else "/v1/").removesuffix("/")
        if path.startswith("/v1/") and of_b2b != self._b2b:
            kind = "B2B" if of_b2b else "consumer"
            raise Problem(
                400, f"invalid_{kind.lower()}_endpoint", f"This endpoint is only enabled for {kind} projects."
            )
        if method == "GET" and name.startswith("sessions/jwks/"):
            if unquote(name.removeprefix("sessions/jwks/")) != self._project_id:
                raise _unknown("project")
            return {"keys": self._keys.jwks()}
        if method == "GET" and self._b2b and name.startswith(MEMBER):
            return self._described({"member_id": unquote(name.removeprefix(MEMBER))})
        if not path.startswith("/v1/") or (method, name) not in self._calls:
            raise Problem(404, "route_not_found", "The requested route could not be found.")
        return self._calls[method, name](fields)

    # --- both kinds -----------------------------------------------------------------------------------------------

    def _authenticate(self, fields: Fields) -> dict[str, Any]:
        if fields.get("authorization_check") is not None:
            raise Problem(400, "invalid_argument", "The stand-in has no RBAC policy to check with.")
        found = self._sessions.authenticate(
            fields, fields.get("session_duration_minutes"), fields.get("session_custom_claims")
        )
        return self._shown(found)

    def _shown(self, session: Session) -> dict[str, Any]:
        """Return a session with its credentials; each such answer has a new JWT."""
        shown = {"session_token": session.token, "session_jwt": self._sessions.jwt_of(session)}
        if isinstance(session.of, User):
            return {**shown, "session": session.as_json(), "user": session.of.as_json()}
        return {**shown, "member_session": session.as_json(), **_described(session.of)}

    def _person(self, fields: Fields, kind: str) -> User | Member:
        found = self.people.get(str(fields.get(f"{kind}_id")))
        if found is None:
            raise _unknown(kind)
        return found

    # --- consumer -------------------------------------------------------------------------------------------------

    def _revoke(self, fields: Fields) -> dict[str, Any]:
        self._sessions.revoke(fields, "session_id")
        return {}

    def _list(self, fields: Fields) -> dict[str, Any]:
        user = self._person(fields, "user")
        return {"sessions": [session.as_json() for session in self._sessions.of(user)]}

    def _password(self, fields: Fields) -> dict[str, Any]:
        """Sign in; without a duration there is no session at all."""
        users = [person for person in self.people.values() if isinstance(person, User)]
        user = _proven(next((user for user in users if user.email == fields.get("email")), None), fields)
        minutes = fields.get("session_duration_minutes")
        if minutes is None:
            none = {"session": None, "session_token": "", "session_jwt": ""}
            return {"user_id": user.id, "user": user.as_json(), **none}
        claims = fields.get("session_custom_claims")
        session = self._sessions.start(user, minutes, ["password"], claims=claims)
        return {"user_id": user.id, **self._shown(session)}

    # --- B2B ------------------------------------------------------------------------------------------------------

    def _described(self, fields: Fields) -> dict[str, Any]:
        member = self._person(fields, "member")
        assert isinstance(member, Member)  # a B2B project has no others
        return {"member_id": member.id, **_described(member)}

    def _revoke_member(self, fields: Fields) -> dict[str, Any]:
        """End one session, or all of a member."""
        ways = [name for name in ("member_id", "member_session_id", "session_token", "session_jwt") if fields.get(name)]
        if ways == ["member_id"]:
            for session in self._sessions.of(self._person(fields, "member")):
                session.revoked = True
        elif "member_id" in ways:
            raise Problem(400, "too_many_session_revoke_arguments", "Give exactly one way to name the session.")
        else:
            self._sessions.revoke(fields, "member_session_id")
        return {}

    def _list_member(self, fields: Fields) -> dict[str, Any]:
        organization = self._organization(fields)
        member = self._person(fields, "member")
        if not isinstance(member, Member) or member.organization is not organization:
            raise _unknown("member")
        return {"member_sessions": [session.as_json() for session in self._sessions.of(member)]}

    def _member_password(self, fields: Fields) -> dict[str, Any]:
        """Sign in to an organization; without a duration for 60 minutes."""
        member = _proven(self._member(self._organization(fields), fields.get("email_address")), fields)
        return self._admitted(member, ["password"], fields)

    def _exchange(self, fields: Fields) -> dict[str, Any]:
        """Begin a session in another organization of the same person, if its demands are met."""
        organization = self._organization(fields)
        session = self._sessions.find(fields)
        assert isinstance(session.of, Member)  # a B2B project has no others
        member = _found(self._member(organization, session.of.email), "member")
        return self._admitted(member, session.factors, fields)

    def _admitted(self, member: Member, factors: Any, fields: Fields) -> dict[str, Any]:
        """Return a session in the member's organization, or what it still demands; then there is no session."""
        demanded = _demanded(member.organization, factors)
        if demanded:
            admitted: dict[str, Any] = {
                "member_session": None,
                "session_token": "",
                "session_jwt": "",
                "member_authenticated": False,
                "intermediate_session_token": new_id("intermediate-session-token"),
                "intermediate_session_token_expires_at": nanoseconds(self._clock() + INTERMEDIATE),
                **_described(member),
                **demanded,
            }
        else:
            minutes = fields.get("session_duration_minutes")
            claims = fields.get("session_custom_claims")
            session = self._sessions.start(member, 60 if minutes is None else minutes, factors, claims=claims)
            admitted = {"member_authenticated": True, "intermediate_session_token": "", **self._shown(session)}
        return {"member_id": member.id, "organization_id": member.organization.id, **admitted}

    def _organization(self, fields: Fields) -> Organization:
        named = fields.get("organization_id")
        found = [o for o in self.organizations.values() if named in (o.id, o.slug)]
        return _found(found[0] if found else None, "organization")

    def _member(self, organization: Organization, email: object) -> Member | None:
        members = [person for person in self.people.values() if isinstance(person, Member)]
        return next((m for m in members if m.organization is organization and m.email == email), None)


def _demanded(organization: Organization, factors: Any) -> dict[str, Any]:
    """Return what an organization demands beyond these factors."""
    types = {factor if isinstance(factor, str) else factor["type"] for factor in factors}
    allowed = organization.allowed_auth_methods
    if allowed and not types.intersection(allowed):
        return {"primary_required": {"allowed_auth_methods": list(allowed)}, "mfa_required": None}
    if organization.mfa_required and types <= FIRST_FACTORS:
        options = {"mfa_phone_number": "", "totp_registration_id": ""}
        return {
            "primary_required": None,
            "mfa_required": {"member_options": options, "secondary_auth_initiated": None},
        }
    return {}


def _described(member: Member) -> dict[str, Any]:
    return {"member": member.as_json(), "organization": member.organization.as_json()}


def _found(thing: Thing | None, kind: str) -> Thing:
    if thing is None:
        raise _unknown(kind)
    return thing


def _unknown(kind: str) -> Problem:
    return Problem(404, f"{kind}_not_found", f"The {kind} could not be found.")


def _proven(person: Person | None, fields: Fields) -> Person:
    """Return the person whose password was given; a wrong one is told by the words that a wrong secret is told by."""
    known = _found(person, "email")
    if not known.password or not hmac.compare_digest(known.password.encode(), str(fields.get("password")).encode()):
        raise Problem(401, "unauthorized_credentials", "Unauthorized credentials.")
    return known
