"""From one organization of a B2B project to another: the route that exchanges a member's session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

from session_middleware.authorities.base import ProviderLogin, Shown
from session_middleware.authorities.routes import Answer, Ask, Begin, Endpoint, Problem, Redirect
from session_middleware.authorities.stytch.api import Authenticated, Exchanged
from session_middleware.authorities.stytch.cookies import StytchCookies
from session_middleware.core.fields import text_of

__all__ = ["Organizations"]

#: Seconds for which an intermediate session token holds.
INTERMEDIATE: Final = 600.0

#: Characters of the longest id or slug of an organization looked at; a slug has up to 128.
LONGEST_NAME: Final = 256


class Organizations:
    """`POST organization`: begins a session in another organization, if Stytch says that the member is authenticated.

    Args:
        exchange: asks Stytch; None where the person is no member there, or shows no living session.
        login: what the engine is told of a session.
        cookies: Stytch's.
        login_path: where a member shows what an organization demands beyond the first; None: there is no such page.
    """

    def __init__(
        self,
        exchange: Callable[[Shown, str, float], Awaitable[Exchanged | None]],
        login: Callable[[Authenticated], ProviderLogin],
        cookies: StytchCookies,
        login_path: str | None,
    ) -> None:
        self._exchange, self._login = exchange, login
        self._cookies, self._login_path = cookies, login_path
        self.endpoints = (Endpoint("POST", "organization", self.answer, guard="same_origin", needs="look"),)

    async def answer(self, ask: Ask) -> Answer:
        """Exchange the member's session for one in the organization that the form names."""
        fields = await ask.form() or {}
        organization_id = text_of(fields, "organization_id")
        if organization_id is None or len(organization_id) > LONGEST_NAME:
            return Problem(400, "no_organization", "The form names no organization: send organization_id.")
        if ask.record is None:
            return Problem(401, "not_signed_in", "Sign in first.")
        found = await self._exchange(ask.shown, organization_id, ask.now)
        if found is None:
            return Problem(403, "not_a_member", "You are not a member of this organization.")
        back = ask.safe_path(text_of(fields, "return_to")) or "/"
        session = found.authenticated
        if session is not None:
            values = {self._cookies.token: session.token, self._cookies.jwt: session.jwt}
            lines = self._cookies.set_lines(values, session.session.expires_at or ask.now)
            return Begin(self._login(session), ask.mount + back, relay=lines)
        if self._login_path is None:
            return Problem(403, found.missing, "This organization asks for more than you have shown.")
        target = f"{ask.mount}{self._login_path}?reason={found.missing}&return_to={quote(back, safe='/')}"
        lines = self._cookies.set_lines({self._cookies.intermediate: found.intermediate_token}, ask.now + INTERMEDIATE)
        return Redirect(target, relay=lines)
