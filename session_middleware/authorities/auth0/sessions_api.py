"""Auth0's Sessions API (Management API v2, enterprise plans): which sessions a user has there, and how to end them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from session_middleware.authorities.calls import Answered, Calls, ProviderFault, path_segment
from session_middleware.core.provider import ProviderSession
from session_middleware.errors import SettingsError
from session_middleware.runtime import OneFlight, Runtime

__all__ = ["Management", "SessionsApi"]

#: Seconds before its end at which our own token for the API is fetched anew.
RENEW_BEFORE: Final = 60.0

#: Sessions of a user in one answer, and answers that are read: more is no person.
PAGE: Final = 50
PAGES: Final = 20

PATIENCE: Final = 30.0

#: Sessions that are remembered; the older half goes when there are more.
MOST_SEEN: Final = 16_384


@dataclass(frozen=True, slots=True)
class Management:
    """Credentials of a machine-to-machine application for the Management API, and what to use them for.

    It needs the scopes read:sessions, delete:sessions and, to revoke refresh tokens too, delete:refresh_tokens.

    Args:
        client_id: of that application; not the one that people sign in to.
        client_secret: its secret.
        verify_interval: seconds between two questions whether a session still lives at Auth0; None never asks, and
            back-channel logout is what tells of an end. Asking follows Auth0's own idle timeout, which requests to your app
            do not move.
        revoke: whether a session that is revoked here is revoked there too, with its refresh tokens; and all of a user's,
            where `Sessions.end_all` ends them here.

    Raises:
        SettingsError: the interval is none.
    """

    client_id: str
    client_secret: str = field(repr=False)
    verify_interval: float | None = None
    revoke: bool = True

    def __post_init__(self) -> None:
        interval = self.verify_interval
        if interval is not None and (
            isinstance(interval, bool) or not isinstance(interval, (int, float)) or not interval > 0
        ):
            raise SettingsError(
                "verify_interval", interval, "is no interval.", "Give seconds, such as 300, or None never to ask."
            )


class SessionsApi:
    """Calls of the API.

    Args:
        calls: to the tenant.
        runtime: how waiting is done.
        issuer: the tenant's, its slash included.
        management: our credentials.
        known: what is remembered of it, shared in this process.
    """

    def __init__(self, calls: Calls, runtime: Runtime, issuer: str, management: Management, known: Remembered) -> None:
        self._calls, self._runtime, self._issuer, self._management = calls, runtime, issuer, management
        self._known = known

    async def lives(self, id: str, now: float) -> bool:
        """Say whether a session is known there. Only a 404 of Auth0's own says that it is not.

        An answer holds for `verify_interval`, and whoever asks while it is on its way gets it too.

        Raises:
            ProviderFault: it could not be found out.
        """
        if self._known.seen_lately(id, now, self._management.verify_interval or 0.0):
            return True
        alive = await self._known.flights.run(self._runtime, id, lambda: self._asked(id, now), PATIENCE)
        self._known.note(id, now if alive else None)
        return alive

    async def _asked(self, id: str, now: float) -> bool:
        if self._known.seen_lately(id, now, self._management.verify_interval or 0.0):
            return True  # somebody had the answer between our look and our turn
        answered = await self._ask("GET", f"/sessions/{path_segment(id)}", now)
        if _is_missing(answered):
            return False
        found = answered.object()
        if answered.status != 200 or found.get("id") != id:
            raise ProviderFault("garbage", f"{answered.where}: an answer {answered.status} that is no session.")
        return True

    async def revoke(self, id: str, now: float) -> None:
        """End a session and its refresh tokens; one that is not there is ended already.

        Raises:
            ProviderFault: it could not be done.
        """
        _expect(await self._ask("POST", f"/sessions/{path_segment(id)}/revoke", now))

    async def list(self, user: str, now: float, name: str) -> Sequence[ProviderSession]:
        """Return the sessions of a user.

        Raises:
            ProviderFault: they could not be read.
        """
        found: list[ProviderSession] = []
        query = {"take": str(PAGE), "include_totals": "true"}
        for _ in range(PAGES):
            answered = await self._ask("GET", f"/users/{path_segment(user)}/sessions", now, query)
            if _is_missing(answered):
                return found
            document = answered.object()
            listed = document.get("sessions")
            if answered.status != 200 or not isinstance(listed, list):
                raise ProviderFault("garbage", f"{answered.where}: an answer {answered.status} without sessions.")
            found += [session for held in listed if (session := _session(held, name)) is not None]
            following = document.get("next")
            if not isinstance(following, str) or not following:
                break
            query = {**query, "from": following}
        return found

    async def end_all(self, user: str, now: float) -> None:
        """End every session of a user.

        Raises:
            ProviderFault: it could not be done.
        """
        _expect(await self._ask("DELETE", f"/users/{path_segment(user)}/sessions", now))

    # --- one call ----------------------------------------------------------------------------------------------

    async def _ask(
        self, method: Literal["GET", "POST", "DELETE"], path: str, now: float, query: Mapping[str, str] | None = None
    ) -> Answered:
        for last in (False, True):
            bearer = await self._bearer(now)
            headers = {"Authorization": f"Bearer {bearer}"}
            answered = await self._calls.ask(method, f"/api/v2{path}", query=query, headers=headers, safe=True)
            if answered.status == 401 and not last:
                self._known.forget(bearer)  # revoked, or signed with a key that is gone
                continue
            if answered.status in (400, 401, 403):
                raise ProviderFault("credentials", f"{answered.where}: Auth0 refuses it with {answered.status}.")
            return answered
        raise AssertionError  # the second time returns or raises

    async def _bearer(self, now: float) -> str:
        held = self._known.token_at(now)
        if held is not None:
            return held
        return await self._known.flights.run(self._runtime, ("token",), lambda: self._fetched(now), PATIENCE)

    async def _fetched(self, now: float) -> str:
        fields = {
            "grant_type": "client_credentials",
            "client_id": self._management.client_id,
            "client_secret": self._management.client_secret,
            "audience": f"{self._issuer}api/v2/",
        }
        answered = await self._calls.ask("POST", "/oauth/token", form=fields, safe=True)
        if answered.status in (400, 401, 403):
            raise ProviderFault("credentials", f"{answered.where}: Auth0 refuses the Management API's credentials.")
        found = answered.object()
        token, lives = found.get("access_token"), found.get("expires_in")
        if answered.status != 200 or not isinstance(token, str) or not isinstance(lives, int):
            raise ProviderFault("garbage", f"{answered.where}: an answer {answered.status} without a token.")
        self._known.keep(token, now + lives - RENEW_BEFORE)
        return token


class Remembered:
    """What one process remembers: our own token for the API, and which sessions lived when they were asked about."""

    def __init__(self) -> None:
        self.flights = OneFlight()
        self._token: tuple[str, float] | None = None
        self._seen: dict[str, float] = {}

    def token_at(self, now: float) -> str | None:
        """Return our token if it is good."""
        held = self._token
        return held[0] if held is not None and now < held[1] else None

    def keep(self, token: str, until: float) -> None:
        """Keep a new token."""
        self._token = (token, until)

    def forget(self, token: str) -> None:
        """Drop a token that was refused."""
        if self._token is not None and self._token[0] == token:
            self._token = None

    def seen_lately(self, id: str, now: float, interval: float) -> bool:
        """Say whether a session lived so many seconds ago or less; a clock set back is no reason to trust."""
        at = self._seen.get(id)
        return at is not None and 0 <= now - at < interval

    def note(self, id: str, at: float | None) -> None:
        """Note when a session was seen to live; None: it lives no more."""
        if at is None:
            self._seen.pop(id, None)
            return
        if len(self._seen) >= MOST_SEEN and id not in self._seen:
            for old in list(self._seen)[: MOST_SEEN // 2]:
                self._seen.pop(old, None)
        self._seen[id] = at


def _expect(answered: Answered) -> None:
    if answered.status not in (200, 202, 204) and not _is_missing(answered):
        raise ProviderFault("garbage", f"{answered.where}: an answer {answered.status} that means nothing here.")


def _is_missing(answered: Answered) -> bool:
    """Say whether Auth0 itself says that there is no such thing: what else is at a wrong address does not say it so."""
    return answered.status == 404 and str(answered.object().get("statusCode")) == "404"


def _session(held: object, name: str) -> ProviderSession | None:
    """Return a session of a list; None for one without id or time. Dates may be null or objects there."""
    if not isinstance(held, dict) or not isinstance(held.get("id"), str):
        return None
    began = _instant(held.get("authenticated_at")) or _instant(held.get("created_at"))
    return None if began is None else ProviderSession(held["id"], began, _instant(held.get("expires_at")), name)


def _instant(value: Any) -> float | None:  # Any: JSON
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except ValueError:
        return None
