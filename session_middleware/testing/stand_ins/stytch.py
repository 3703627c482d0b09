"""StytchStandIn: Stytch's session API, consumer and B2B, for those who develop and test offline.

It answers as the API does where the documentation or an official client says how, the unpleasant parts included. Not
verified against the real service: which status goes with `invalid_...` and `..._arguments` errors (400 here), whether a
session that is exchanged for one in another organization lives on (it does here). RBAC is not there: a call with
`authorization_check` is refused.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from uuid import uuid4
from wsgiref.types import StartResponse

from session_middleware.testing.stand_ins._faults import Answer, Faults
from session_middleware.testing.stand_ins._stytch_api import Api
from session_middleware.testing.stand_ins._stytch_keys import SigningKeys
from session_middleware.testing.stand_ins._stytch_objects import Factor, Member, Organization, User
from session_middleware.testing.stand_ins._stytch_sessions import Problem, Session, Sessions

__all__ = ["Call", "Credentials", "StytchStandIn"]


class Credentials(NamedTuple):
    """What a browser of a Stytch session holds: the values of `stytch_session` and `stytch_session_jwt`."""

    token: str
    jwt: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API, as it came.

    Attributes:
        method: of the request.
        path: of the request, such as "/v1/sessions/authenticate".
        fields: its JSON body or query; it may hold session tokens, so a repr does not show it.
    """

    method: str
    path: str
    fields: Mapping[str, Any] = field(repr=False)  # Any: JSON


class StytchStandIn:
    """One Stytch project as a WSGI callable; serve it with `served` and give its URL to `StytchAuthority(base_url=)`.

    Args:
        project_id: user name of the API's Basic authentication and `aud` of the JWTs.
        secret: its password.
        clock: seconds since the epoch; give it the same `FakeClock` as the app. `clock_offset` is added to it.
        b2b: whether it is a B2B project; a project has one kind, and calls of the other are refused.
        old_jwts: leave `roles` and the session's own `expires_at` out of JWTs, as older projects do.

    Attributes:
        calls: every call of the API that came, answered or not, the first one first; clear it as you like.
        clock_offset: seconds by which its clock is ahead of `clock`.
        project_id, secret, b2b: as given.

    Example:
        >>> stytch = StytchStandIn()
        >>> alice = stytch.add_user("alice@example.com", password="correct horse")
        >>> browser = stytch.start_session(alice, minutes=60)
        >>> stytch.end_session(browser.token)
    """

    def __init__(
        self,
        project_id: str = "project-test-00000000-0000-4000-8000-000000000000",
        secret: str = "secret-test-of-the-stand-in",  # noqa: S107  # opens nothing but this stand-in
        *,
        clock: Callable[[], float] = time.time,
        b2b: bool = False,
        old_jwts: bool = False,
    ) -> None:
        self.project_id = project_id
        self.secret = secret
        self.calls: list[Call] = []
        self.clock_offset = 0.0
        self._clock = clock
        self.b2b = b2b
        self._lock = threading.RLock()
        self._faults = Faults()
        self._keys = SigningKeys()
        self._sessions = Sessions(project_id, self._keys, self._now, old_jwts)
        self._api = Api(project_id, self._keys, self._sessions, self._now, b2b)
        self._basic = "Basic " + b64encode(f"{project_id}:{secret}".encode()).decode()

    def __repr__(self) -> str:
        return f"StytchStandIn({self.project_id!r}, b2b={self.b2b!r})"

    def _now(self) -> int:
        """Return the time in nanoseconds, never a whole second: times of the API have nine digits after it."""
        return int((self._clock() + self.clock_offset) * 10**9) | 1

    # --- what happens at Stytch -----------------------------------------------------------------------------------

    def add_user(self, email: str = "", *, password: str = "", id: str = "") -> str:
        """Add a user of a consumer project and return the id, one of ours unless one is given."""
        return self._api.add(User(email, password, self._now()), id)

    def add_organization(
        self, slug: str, *, mfa_required: bool = False, allowed_auth_methods: Sequence[str] = ()
    ) -> str:
        """Add an organization and return its id.

        Args:
            slug: its name in URLs.
            mfa_required: who comes without a second factor is not authenticated.
            allowed_auth_methods: the first factors it accepts, such as "sso"; none given means all.
        """
        organization = Organization(slug, self._now(), mfa_required, tuple(allowed_auth_methods))
        return self._api.add(organization)

    def add_member(self, organization_id: str, email: str = "", *, password: str = "", id: str = "") -> str:
        """Add a member of an organization and return the id, one of ours unless one is given.

        Raises:
            KeyError: there is no such organization.
        """
        organization = self._api.organizations[organization_id]
        return self._api.add(Member(organization, email, password, self._now()), id)

    def start_session(
        self,
        user_id: str,
        minutes: int = 60,
        factors: Sequence[Factor] = ("password",),
        *,
        attributes: Mapping[str, str] | None = None,
        roles: Sequence[str] | None = None,
        claims: Mapping[str, Any] | None = None,  # Any: JSON
    ) -> Credentials:
        """Sign a user or member in, as Stytch's own pages do, and return what the browser then holds.

        Args:
            user_id: of a user or member added before.
            minutes: from now until it ends, 5 to 527040.
            factors: what was shown: the `type` of an authentication factor, or some of its members.
            attributes: `ip_address` and `user_agent`; without them the session and its JWT have none.
            roles: of the user; without them the JWT has none.
            claims: custom claims.

        Raises:
            KeyError: there is no such user or member.
        """
        with self._lock:
            owner = self._api.people[user_id]
            held = None if claims is None else dict(claims)
            session = self._sessions.start(owner, minutes, factors, attributes=attributes, roles=roles, claims=held)
            return self._credentials(session)

    def new_jwt(self, token: str) -> Credentials:
        """Return the credentials with a new JWT, as the browser's script fetches one every three minutes.

        Raises:
            ValueError: no session of this token lives.
        """
        with self._lock:
            return self._credentials(self._session(token))

    def extend_session(self, token: str, minutes: int) -> None:
        """Have a session end so many minutes from now, as the browser's script does on request.

        Raises:
            ValueError: no session of this token lives.
        """
        with self._lock:
            self._session(token)
            self._sessions.authenticate({"session_token": token}, minutes, None)

    def add_factor(self, token: str, factor: Factor) -> None:
        """Show a factor on a session that lives: a new one, or one that was shown before and is now shown again.

        Raises:
            ValueError: no session of this token lives.
        """
        with self._lock:
            self._sessions.show(self._session(token), factor)

    def end_session(self, token: str) -> None:
        """End a session behind the app's back, as an operator does in the dashboard.

        Raises:
            ValueError: no session of this token lives.
        """
        with self._lock:
            self._session(token).revoked = True

    def id_of(self, token: str) -> str:
        """Return the `session_id` or `member_session_id` of a session.

        Raises:
            ValueError: no session of this token lives.
        """
        with self._lock:
            return self._session(token).id

    def user_of(self, token: str) -> str:
        """Return the `user_id` or `member_id` whose session it is.

        Raises:
            ValueError: no session of this token lives.
        """
        with self._lock:
            return self._session(token).of.id

    def lives(self, token: str) -> bool:
        """Say whether the session of this token lives, without a call of the API."""
        with self._lock:
            try:
                self._sessions.find({"session_token": token})
            except Problem:
                return False
            return True

    def rotate_keys(self) -> None:
        """Sign with a new key; JWTs under the old one verify on, for it is still served."""
        with self._lock:
            self._keys.rotate()

    def retire_keys(self) -> None:
        """Serve the newest key alone, as Stytch does a month after a rotation."""
        with self._lock:
            self._keys.retire()

    def _session(self, token: str) -> Session:
        try:
            return self._sessions.find({"session_token": token})
        except Problem:
            raise ValueError("No session of this token lives.") from None

    def _credentials(self, session: Session) -> Credentials:
        return Credentials(session.token, self._sessions.jwt_of(session))

    # --- what goes wrong ------------------------------------------------------------------------------------------

    def slow(self, seconds: float, *, only: str = "", times: int | None = None) -> None:
        """Answer late; what was asked has been done by then, as behind a slow network.

        Args:
            seconds: how late, in real time.
            only: part of the path that it concerns, such as "jwks"; "" means each. The same for every fault.
            times: how many calls it concerns; None means each until `recover`. The same for every fault.
        """
        self._faults.set(seconds=seconds, only=only, times=times)

    def down(self, status: int | None = 500, *, only: str = "", times: int | None = None) -> None:
        """Do nothing and answer with an error, or close the connection without an answer where status is None."""
        if status is None:
            self._faults.set(hang_up=True, only=only, times=times)
        else:
            problem = Problem(status, "internal_server_error", "Oops, something seems to have gone wrong.")
            self._faults.set(_refusal(problem), only=only, times=times)

    def throttle(self, retry_after: float | None = 7, *, only: str = "", times: int | None = None) -> None:
        """Do nothing and answer 429, with `Retry-After` in seconds unless it is None."""
        problem = Problem(429, "too_many_requests", "Too many requests have been made.")
        waits = () if retry_after is None else (("Retry-After", str(retry_after)),)
        self._faults.set(_refusal(problem, waits), only=only, times=times)

    def refuse_credentials(self, *, only: str = "", times: int | None = None) -> None:
        """Do nothing and answer 401 although the secret is right, as after a rotation of secrets gone wrong."""
        self._faults.set(_refusal(_unauthorized()), only=only, times=times)

    def garble(
        self,
        body: bytes = b"<!doctype html><title>Welcome to the hotel's network</title>",
        *,
        status: int = 200,
        only: str = "",
        times: int | None = None,
    ) -> None:
        """Do nothing and answer with what is not the API's, as a proxy on the way does."""
        kind = "text/html" if body.startswith(b"<") else "application/json"
        self._faults.set(Answer(status, body, (("Content-Type", kind),)), only=only, times=times)

    def recover(self) -> None:
        """End all faults; answers that are being held back go out."""
        self._faults.clear()

    # --- the API --------------------------------------------------------------------------------------------------

    def calls_of(self, path: str) -> list[Call]:
        """Return the calls whose path has this in it, such as "authenticate"."""
        return [call for call in list(self.calls) if path in call.path]

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one call of the API (PEP 3333)."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        fields: object = query
        if method == "POST":
            try:
                fields = json.loads(body or b"{}")
            except ValueError:
                fields = None
        self.calls.append(Call(method, path, fields if isinstance(fields, dict) else {}))
        shown = environ.get("HTTP_AUTHORIZATION", "")
        answer = self._faults.through(path, lambda: self._answered(method, path, fields, shown))
        headers = [*answer.headers, ("Content-Length", str(len(answer.body)))]
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)
        return [answer.body]

    def _answered(self, method: str, path: str, fields: object, shown: str) -> Answer:
        try:
            if "/sessions/jwks/" not in path and not hmac.compare_digest(shown.encode(), self._basic.encode()):
                raise _unauthorized()
            if not isinstance(fields, dict):
                raise Problem(400, "invalid_argument", "The body is to be a JSON object.")
            with self._lock:
                return _answer(200, self._api.call(method, path, fields))
        except Problem as problem:
            return _refusal(problem)


def _unauthorized() -> Problem:
    return Problem(401, "unauthorized_credentials", "Unauthorized credentials.")


def _answer(status: int, content: Mapping[str, Any], headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    envelope = {"status_code": status, "request_id": f"request-id-test-{uuid4()}", **content}
    return Answer(status, json.dumps(envelope).encode(), (("Content-Type", "application/json"), *headers))


def _refusal(problem: Problem, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    content = {
        "error_type": problem.error_type,
        "error_message": str(problem),
        "error_url": f"https://stytch.com/docs/api/errors/{problem.status}",
    }
    return _answer(problem.status, content, headers)
