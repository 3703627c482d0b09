"""The calls of Stytch's API that an authority makes, and what its answers mean.

Which error means what is decided by `error_type` where the documentation names one, and by 401 alone for our own
credentials. Only `session_not_found` says that a session is over; whatever is not understood is a fault, and a fault logs
nobody out (L17). The official client is not used: it has no time limit, and refuses good sessions with a factor that it
does not know.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from session_middleware.authorities.calls import Answered, Calls, ProviderFault, path_segment
from session_middleware.authorities.stytch.session import Kind, StytchSession

__all__ = ["Authenticated", "Exchanged", "NoSession", "StytchApi"]


class NoSession(enum.Enum):
    """Why a credential is nobody's."""

    NOT_FOUND = "not found"  # unknown, revoked or run out: the proof of an end
    MALFORMED = "malformed"  # no credential at all


#: What is said of a credential that cannot be read; with which status is not documented.
_MALFORMED: Final = frozenset(
    {
        "invalid_session_token",
        "invalid_session_id",
        "unable_to_parse_session_jwt",
        "jwt_invalid_audience",
        "jwt_invalid_issuer",
        "jwt_invalid_claims",
    }
)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A living session and its credentials; the JWT is new."""

    session: StytchSession
    token: str = field(repr=False)
    jwt: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A session in another organization, or what is missing for one.

    Attributes:
        authenticated: the session; None where the member has to do more first.
        intermediate_token: proves what was shown so far, for 10 minutes; "" with a session.
        missing: "primary_required" or "mfa_required"; "" with a session.
    """

    authenticated: Authenticated | None
    intermediate_token: str = field(default="", repr=False)
    missing: str = ""


class StytchApi:
    """Stytch's API as one app calls it.

    Args:
        calls: to the project's address.
        kind: of the project.
        basic: its credentials, as the Authorization header has them.
    """

    def __init__(self, calls: Calls, kind: Kind, basic: str) -> None:
        self._calls = calls
        self._kind = kind
        self._headers = {"Authorization": basic}  # with each call: a client of the app's own does not know them

    def __repr__(self) -> str:
        return f"<StytchApi over {self._calls!r}>"

    async def _post(self, path: str, fields: Mapping[str, Any], *, safe: bool) -> Answered:
        whole = f"{self._kind.prefix}/sessions/{path}"
        return await self._calls.ask("POST", whole, json=fields, headers=self._headers, safe=safe)

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> Answered:
        return await self._calls.ask("GET", self._kind.prefix + path, query=query, headers=self._headers)

    async def authenticate(
        self, credential: Mapping[str, str], minutes: int | None = None, claims: Mapping[str, Any] | None = None
    ) -> Authenticated | NoSession:
        """Find the session of a credential; with minutes, have it end so many from now.

        Args:
            credential: `session_token` or `session_jwt`.
            minutes: 5 to 527040; None leaves its end as it is.
            claims: custom claims to set, only with minutes; None as a value deletes one.

        Raises:
            ProviderFault: Stytch did not say.
        """
        fields: dict[str, Any] = dict(credential)
        if minutes is not None:
            fields["session_duration_minutes"] = minutes
            if claims:
                fields["session_custom_claims"] = dict(claims)
        # Asking twice does what asking once does: the end is counted from now, not added to.
        answered = await self._post("authenticate", fields, safe=True)
        refusal = _refusal(answered)
        if refusal is not None:
            return refusal
        return self._authenticated(answered, answered.object())

    async def revoke(self, **named: str) -> None:
        """End a session, or all of a member (`member_id`); that there is none is as good.

        Raises:
            ProviderFault: Stytch did not say.
        """
        _refusal(await self._post("revoke", named, safe=True))

    async def list(self, **query: str) -> list[StytchSession]:
        """Return the living sessions of a user or member; none for one whom Stytch does not know.

        Raises:
            ProviderFault: Stytch did not say.
        """
        answered = await self._get("/sessions", query)
        found = answered.object()
        if answered.status == 404 and found.get("error_type") in ("user_not_found", "member_not_found"):
            return []
        _refusal(answered)
        rows = found.get(f"{self._kind.session}s")
        sessions = [StytchSession.from_api(self._kind, row) for row in rows] if isinstance(rows, list) else [None]
        if None in sessions:
            raise _garbage(answered)
        return [session for session in sessions if session is not None]

    async def organization_of(self, member_id: str) -> str | None:
        """Return the organization of a member; None for one whom Stytch does not know.

        Raises:
            ProviderFault: Stytch did not say.
        """
        answered = await self._get(f"/organizations/members/dangerously_get/{path_segment(member_id)}")
        found = answered.object()
        if answered.status == 404 and found.get("error_type") == "member_not_found":
            return None
        _refusal(answered)
        member = found.get("member")
        organization_id = member.get("organization_id") if isinstance(member, Mapping) else None
        if not isinstance(organization_id, str) or not organization_id:
            raise _garbage(answered)
        return organization_id

    async def exchange(
        self, credential: Mapping[str, str], organization_id: str, minutes: int | None
    ) -> Exchanged | NoSession | None:
        """Begin a session in another organization of the same person.

        Returns:
            None where the person is no member there, or there is no such organization.

        Raises:
            ProviderFault: Stytch did not say.
        """
        fields: dict[str, Any] = {**credential, "organization_id": organization_id}
        if minutes is not None:
            fields["session_duration_minutes"] = minutes
        answered = await self._post("exchange", fields, safe=False)
        if answered.status in (400, 404) and _error_type(answered) in (
            "organization_not_found",
            "member_not_found",
            "invalid_organization_id",
        ):
            return None
        refusal = _refusal(answered)
        if refusal is not None:
            return refusal
        found = answered.object()
        if found.get("member_authenticated") is True:
            return Exchanged(self._authenticated(answered, found))
        # Whatever else is in the answer, there is no session: its tokens are not to be used.
        token = found.get("intermediate_session_token")
        if found.get("member_authenticated") is not False or not isinstance(token, str) or not token:
            raise _garbage(answered)
        missing = "primary_required" if found.get("primary_required") else "mfa_required"
        return Exchanged(None, token, missing)

    def _authenticated(self, answered: Answered, found: Mapping[str, Any]) -> Authenticated:
        session = StytchSession.from_api(self._kind, found.get(self._kind.session))
        token, jwt = found.get("session_token"), found.get("session_jwt")
        if session is None or not isinstance(token, str) or not isinstance(jwt, str) or not token or not jwt:
            raise _garbage(answered)
        return Authenticated(session, token, jwt)


def _error_type(answered: Answered) -> str:
    found = answered.object()
    word = found.get("error_type", found.get("error"))
    return word if isinstance(word, str) and len(word) <= 64 and word.replace("_", "").isalnum() else "no error_type"


def _refusal(answered: Answered) -> NoSession | None:
    """Return why a credential is nobody's; None for an answer that is no error.

    Raises:
        ProviderFault: the error says nothing about the session.
    """
    if answered.status == 200:
        return None
    if answered.status == 401:
        raise ProviderFault(
            "credentials", f"{answered.where}: Stytch refuses this project's credentials; see project_id and secret."
        )
    error_type = _error_type(answered)
    if answered.status == 404 and error_type == "session_not_found":
        return NoSession.NOT_FOUND
    if 400 <= answered.status < 500 and error_type in _MALFORMED:
        return NoSession.MALFORMED
    kind = "garbage" if answered.status < 400 else "refused"
    raise ProviderFault(kind, f"{answered.where}: an answer {answered.status} ({error_type}) that says nothing here.")


def _garbage(answered: Answered) -> ProviderFault:
    return ProviderFault("garbage", f"{answered.where}: an answer {answered.status} that lacks what is documented.")
