"""Kratos as it is asked: one method for each call, with the answers that its source and tests know.

Every path, parameter and body here is held against Kratos' OpenAPI document by the tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from session_middleware.authorities.base import NOTHING_SHOWN, Attached, Shown
from session_middleware.authorities.calls import Answered, Calls, ProviderFault, path_segment
from session_middleware.authorities.kratos.session import KratosSession, read_session

__all__ = ["TOKEN_HEADER", "Kratos", "Whoami", "credentials"]

#: Where API clients send the session's token.
TOKEN_HEADER = "x-session-token"  # noqa: S105  # a name

#: What Kratos' identities are called: anything else it answers with 400.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

#: Kratos cookies in one request that are asked about; a browser has one for the host and one for each domain above it.
MOST_COOKIES = 4

#: Sessions of one user that are listed; Kratos gives no more in one answer.
MOST_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Whoami:
    """What whoami says of a credential.

    Attributes:
        session: the live one; None where there is none to be seen.
        lacks_factor: the session lives, and a second factor has to be proved before Kratos shows it.
        relay: Kratos' own Set-Cookie values.
        by: the one credential that showed it, where a request shows several.
        riddle: the request shows several that live, and nobody knows which one is meant.
    """

    session: KratosSession | None
    lacks_factor: bool = False
    relay: tuple[str, ...] = ()
    by: Shown = NOTHING_SHOWN
    riddle: bool = False

    @property
    def is_denied(self) -> bool:
        """Whether Kratos says that there is no session to be seen."""
        return self.session is None and not self.lacks_factor and not self.riddle


def credentials(shown: Shown) -> tuple[Shown, ...]:
    """Return what a request shows, one credential at a time: a token, or a cookie, or each value of it if there are some.

    Two cookies of one name are what a change of `session.cookie.domain` leaves in a browser. Kratos itself reads the first
    one, which may be the one that it does not know any more, and a login there replaces the other.
    """
    if TOKEN_HEADER in shown.headers:  # Kratos' own order; and never both (see `Kratos._credential`)
        return (Shown(headers={TOKEN_HEADER: shown.headers[TOKEN_HEADER]}),)
    if shown.cookies:
        return (Shown(shown.cookies),)
    values = [(name, value) for name, held in shown.several.items() for value in held]
    return tuple(Shown({name: value}) for name, value in values) if len(values) <= MOST_COOKIES else ()


class Kratos:
    """The two listeners of one Kratos.

    Args:
        public: calls to the public listener.
        admin: calls to the admin listener; None without admin rights.
        cookie_name: `session.cookie.name`.
    """

    def __init__(self, public: Calls, admin: Calls | None, cookie_name: str) -> None:
        self._public, self._admin, self._cookie_name = public, admin, cookie_name

    def attached(self, to: Attached) -> Kratos:
        """Return the same as one app asks it."""
        admin = None if self._admin is None else self._admin.attached(to)
        return Kratos(self._public.attached(to), admin, self._cookie_name)

    def close(self) -> None:
        """Close the connections of a synchronous app."""
        for calls in (self._public, self._admin):
            if calls is not None:
                calls.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        for calls in (self._public, self._admin):
            if calls is not None:
                await calls.aclose()

    @property
    def has_admin(self) -> bool:
        """Whether the admin listener may be asked."""
        return self._admin is not None

    # --- the public listener -------------------------------------------------------------------------------------

    async def whoami(self, shown: Shown, wanted: str | None = None) -> Whoami:
        """Ask whose session a credential is. A 401 is no session to be seen, which proves nothing (kratos issue 3250).

        Args:
            shown: by a request; each credential in it is asked about.
            wanted: the id of the session that is meant, if several should live.

        Raises:
            ProviderFault: there was no usable answer.
        """
        found = [await self._whoami(one) for one in credentials(shown)]
        live = [who for who in found if who.session is not None]
        live = [who for who in live if who.session is not None and who.session.id == wanted] or live
        if len({who.session.id for who in live if who.session is not None}) > 1:
            return Whoami(None, riddle=True)
        lacking = [who for who in found if who.lacks_factor]
        return next(iter((*live, *lacking)), Whoami(None))

    async def _whoami(self, one: Shown) -> Whoami:
        answered = await self._public.ask("GET", "/sessions/whoami", headers=self._credential(one))
        if answered.status == 200:
            session = read_session(answered.object())
            return Whoami(session if session.active else None, relay=answered.set_cookies, by=one)
        if answered.status == 401:
            return Whoami(None)
        if answered.status == 403 and _error(answered) == "session_aal2_required":
            return Whoami(None, lacks_factor=True, by=one)
        raise _unexpected(answered)

    async def denies_session(self, one: Shown) -> bool:
        """Ask for a login flow of the second factor, which tells a session that is over from a fault, as whoami does not.

        Without a session Kratos refuses it as `session_aal1_required`; where its database fails it says 500; and for a
        live session it begins a flow that nobody will finish.

        Raises:
            ProviderFault: there was no usable answer.
        """
        kind = "api" if TOKEN_HEADER in one.headers else "browser"
        answered = await self._public.ask(
            "GET",
            f"/self-service/login/{kind}",
            query={"aal": "aal2"},
            headers=self._credential(one),
            safe=False,
        )
        if answered.status == 401 and _error(answered) == "session_aal1_required":
            return True
        if answered.status in (200, 400):
            return False
        raise _unexpected(answered)

    async def log_out(self, one: Shown) -> tuple[str, ...]:
        """End the session of a credential as its own holder; return Kratos' Set-Cookie values.

        A browser's takes two steps: Kratos makes a logout token that is bound to the session, and takes it back with the
        cookie. An API client's takes its token.

        Raises:
            ProviderFault: there was no usable answer.
        """
        if TOKEN_HEADER in one.headers:
            token = one.headers[TOKEN_HEADER]
            answered = await self._public.ask(
                "DELETE", "/self-service/logout/api", json={"session_token": token}, safe=True
            )
            if answered.status not in (204, 403):  # 403: no such token
                raise _unexpected(answered)
            return ()
        headers = self._credential(one)
        begun = await self._public.ask("GET", "/self-service/logout/browser", headers=headers)
        if begun.status == 401:
            return ()  # over already
        logout_token = begun.object().get("logout_token") if begun.status == 200 else None
        if not isinstance(logout_token, str):
            raise _unexpected(begun)
        done = await self._public.ask("GET", "/self-service/logout", query={"token": logout_token}, headers=headers)
        if done.status not in (204, 401):  # 401: somebody else was first
            raise _unexpected(done)
        return done.set_cookies

    def _credential(self, one: Shown) -> Mapping[str, str]:
        # Never both: whoami answers 500 to a good token beside a cookie that it cannot read.
        if TOKEN_HEADER in one.headers:
            return {"X-Session-Token": one.headers[TOKEN_HEADER]}
        value = one.cookies.get(self._cookie_name)
        return {"Cookie": f"{self._cookie_name}={value}"} if value is not None else {}

    # --- the admin listener --------------------------------------------------------------------------------------

    async def session(self, id: str) -> KratosSession | None:
        """Return a session by its id, alive or not; None: there is no such row.

        Its identity is asked for too: without it Kratos does not look whether the user was disabled.

        Raises:
            ProviderFault: there was no usable answer.
        """
        answered = await self._ask_admin("GET", f"/sessions/{path_segment(id)}", query={"expand": "identity"})
        if _is_missing(answered):
            return None
        if answered.status != 200:
            raise _unexpected(answered)
        return read_session(answered.object())

    async def extend(self, id: str) -> None:
        """Ask for an extension. No answer says whether anything was extended: look again.

        Success may be without effect (too early), and 404 may mean that another request extends it just now.

        Raises:
            ProviderFault: there was no usable answer.
        """
        answered = await self._ask_admin("PATCH", f"/sessions/{path_segment(id)}/extend")
        if answered.status not in (200, 204) and not _is_missing(answered):
            raise _unexpected(answered)

    async def revoke(self, id: str) -> None:
        """End a session by its id; it may be over already.

        Raises:
            ProviderFault: there was no usable answer.
        """
        answered = await self._ask_admin("DELETE", f"/sessions/{path_segment(id)}", safe=True)
        if answered.status != 204 and not _is_missing(answered):
            raise _unexpected(answered)

    async def sessions_of(self, identity: str) -> Sequence[KratosSession]:
        """Return the live sessions of a user; what is no UUID is nobody's at Kratos.

        Raises:
            ProviderFault: there was no usable answer.
        """
        if not _is_uuid(identity):
            return ()
        query = {"active": "true", "per_page": str(MOST_LISTED)}
        answered = await self._ask_admin("GET", f"/identities/{path_segment(identity)}/sessions", query=query)
        if _is_missing(answered):
            return ()
        if answered.status != 200:
            raise _unexpected(answered)
        try:
            listed = json.loads(answered.body)
        except (ValueError, RecursionError):
            listed = None
        if not isinstance(listed, list) or not all(isinstance(item, Mapping) for item in listed):
            raise ProviderFault("garbage", f"Kratos answered {answered.where} without a JSON array of objects.")
        return tuple(read_session(item) for item in listed)

    async def revoke_all(self, identity: str) -> None:
        """End every session of a user; what is no UUID is nobody's at Kratos.

        Raises:
            ProviderFault: there was no usable answer.
        """
        if not _is_uuid(identity):
            return
        answered = await self._ask_admin("DELETE", f"/identities/{path_segment(identity)}/sessions", safe=True)
        if answered.status != 204 and not _is_missing(answered):
            raise _unexpected(answered)

    async def _ask_admin(self, method: Any, path: str, **options: Any) -> Answered:  # Any: as `Calls.ask` takes them
        assert self._admin is not None
        answered = await self._admin.ask(method, f"/admin{path}", **options)
        if answered.status in (401, 403):
            raise ProviderFault("credentials", f"Kratos refused our admin token for {answered.where}.")
        return answered


def _is_uuid(identity: str) -> bool:
    return _UUID.fullmatch(identity) is not None


def _is_missing(answered: Answered) -> bool:
    """Say whether there is no such row: Kratos says so as JSON, and whatever else is at a wrong address does not."""
    return answered.status == 404 and isinstance(answered.object().get("error"), Mapping)


def _error(answered: Answered) -> str | None:
    error = answered.object().get("error")
    found = error.get("id") if isinstance(error, Mapping) else None
    return found if isinstance(found, str) else None


def _unexpected(answered: Answered) -> ProviderFault:
    return ProviderFault("garbage", f"Kratos answered {answered.status} to {answered.where}, which it should not.")
