"""What goes out: whether cookies do where the response starts, refusals, and answers to what a view let through (L15, L17)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from session_middleware.core import cookies
from session_middleware.core.credentials import Credentials
from session_middleware.core.exchange import Exchange, RequestFacts
from session_middleware.core.jwt import JwtKeys
from session_middleware.core.lifetime import Verdict
from session_middleware.core.origin import on_this_host, percent_encoded
from session_middleware.core.refusal import Refusal, Reply, refuse
from session_middleware.core.replies import problem
from session_middleware.core.tokens import TokenKeys
from session_middleware.engine.handing_out import HandingOut
from session_middleware.errors import SessionError, SettingsError, StoreUnavailable

__all__ = ["Responding"]

#: What no URL has and no header takes.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Responding(HandingOut):
    """The part of the engine that answers."""

    return_param: str
    signs_in: bool
    fresh_login: str | Callable[[Any], str] | None  # Any: as in Settings
    vary_on: str
    credentials: Credentials
    _tokens: TokenKeys
    _jwts: JwtKeys
    _resolve_login: Callable[[RequestFacts, str], str] | None

    if TYPE_CHECKING:

        def _authorization(self, x: Exchange) -> str | None: ...

    def refusal(self, x: Exchange, reason: str | None) -> Refusal:
        """Say why a request is not served."""
        retry = self.settings.timing.retry_after if x.verdict is Verdict.UNAVAILABLE else None
        if x.ask_for:
            reason = "fresh_login"  # who is there is known, and has to prove more
            login_url = self.login_url(x.facts)
            login_url += ("&" if "?" in login_url else "?") + urlencode(x.ask_for)
        else:
            login_url = self.fresh_login_url(x.facts) if reason == "fresh_login" else self.login_url(x.facts)
        self.tell("session_refused", x, reason=reason or "anonymous")
        return Refusal(x.verdict, reason, login_url, retry)

    def login_url(self, facts: RequestFacts) -> str:
        """Return where this request is to sign in: a path below the mount, a route's URL, or what a callable says.

        It is percent-encoded, as it goes out in headers.

        Raises:
            SettingsError: the callable says nothing that is a URL.
        """
        if self.signs_in:
            return on_this_host(f"{facts.mount}{self.settings.endpoint_prefix}/login", more="?#[]")
        return self._page("login_url", self.settings.login_url, facts)

    def fresh_login_url(self, facts: RequestFacts) -> str:
        """Return where somebody who is signed in proves once more who they are (`fresh_login`): by default as `login_url`.

        Raises:
            SettingsError: the callable says nothing that is a URL.
        """
        url = self.fresh_login
        return self.login_url(facts) if url is None else self._page("fresh_login_url", url, facts)

    def _page(self, name: str, url: str | Callable[[Any], str], facts: RequestFacts) -> str:  # Any: as in Settings
        if callable(url):
            return percent_encoded(_said_url(name, url(facts)))
        if self._resolve_login is not None:
            url = self._resolve_login(facts, url)
        elif url.startswith("/"):
            url = facts.mount + url
        return on_this_host(url, more="?#[]") if url.startswith("/") else percent_encoded(url)

    def render(self, x: Exchange, refusal: Refusal) -> Reply:
        """Render a refusal, by the app's own `refusal=` where that answers (L15).

        Raises:
            SettingsError: what it answers is neither a Reply nor None.
        """
        own = self.settings.refusal
        reply = None if own is None else own(x.facts, refusal)
        if reply is None:
            return refuse(x.facts, refusal, self.return_param)
        if not isinstance(reply, Reply):
            fix = "Let the function return session_middleware.core.refusal.Reply(...), or None for ours."
            raise SettingsError("refusal", _shown(reply), "was answered instead of a Reply.", fix)
        return reply

    async def answer(self, x: Exchange, fault: SessionError) -> Reply | None:
        """Return what is answered where a view let this exception pass; None leaves it to the app's own error handling.

        503 where the store was down (L17), 403 where another site asked for a login (L20), 409 where the user is signed in
        at as many places as may be. A session that the request
        had begun does not stand (L25).
        """
        if isinstance(fault, StoreUnavailable):
            reply = self.unavailable(x)
        elif fault.code == "cross_site_login":
            reply = problem(x.facts, 403, "csrf", "This sign-in was asked for by another site, so it was not done.")
        elif fault.code == "provider_session_ended":
            title = "This sign-in has ended here. Please sign in again at the provider, with your password."
            reply = problem(x.facts, 403, "provider_session_ended", title)
        elif fault.code == "too_many_sessions":
            reply = problem(x.facts, 409, "too_many_sessions", "You are signed in elsewhere. Sign out there first.")
        else:
            return None
        if x.created is not None:
            await self.abandon(x)
        return reply

    def unavailable(self, x: Exchange) -> Reply:
        """Render the 503 of a verb that needed the store while it was down (L17)."""
        after = self.settings.timing.retry_after
        return self.render(x, Refusal(x.verdict, "unavailable", self.login_url(x.facts), after))

    async def close(self, x: Exchange, *, at_once: bool = True) -> list[str]:
        """Finish the exchange when the response starts; return the Set-Cookie values that go out.

        Args:
            x: the exchange.
            at_once: False where they go out at some later time: then none of a session that came with the request is
                among them, as it may be over by then (L13, L26); the next request gets what is due.

        Raises:
            StoreUnavailable: claims or data could not be saved.
        """
        if x.closed:
            return []
        x.closed = True
        if x.deletes:  # a login after it would have taken that back
            names = () if self._is_beside_another(x) else (self.settings.token_cookie, self.settings.jwt_cookie)
            return [*(cookies.delete_line(self.settings, name) for name in names), *cookies.relayed(x.relay)]
        try:
            return [*await self._finish(x, at_once), *cookies.relayed(x.relay)]
        except BaseException:  # also where it is cancelled with its request
            if x.created is not None and not x.shared:  # its cookie never goes out (L25)
                await self.end_for(x, x.created, "abandoned")
            raise

    async def _finish(self, x: Exchange, at_once: bool) -> list[str]:
        if x.claim_changes or x.data is not None:
            await self.save_changes(x)
        if x.verdict is not Verdict.ACTIVE or x.record is None or not x.authenticated:
            return []
        if x.facts.websocket or x.facts.method == "OPTIONS" or not x.rules.sets_cookies:
            return []
        if not x.reissue and not self._jwt_due(x, x.now):
            return []
        if x.created is None and (not at_once or self._is_beside_another(x)):
            return []
        return await self._issue(x)

    def _is_beside_another(self, x: Exchange) -> bool:
        """Say whether the token came in a header, and beside it cookies of another session (L19).

        Those stay as they are: a JWT cookie of this session would make that one TAMPERED.
        """
        if self._authorization(x) is None:
            return False
        shown = None if x.presented is None else x.presented.key  # a forged one is of no session
        return any(key != shown for key in self.credentials.keys_in(x.facts.cookies))

    def is_settled(self, x: Exchange) -> bool:
        """Say that `close` would return nothing and ask nobody; lets an adapter skip it on the hot path."""
        return x.quiet or (
            x.verdict is not Verdict.ACTIVE
            and x.claim_changes is None
            and x.data is None
            and not x.deletes
            and not x.reissue
            and not x.relay
            and x.created is None
        )

    def vary(self, x: Exchange) -> str:
        """Return what the response depends on: the headers the session was read from, "" if it was not looked at (L18)."""
        return self.vary_on if x.was_looked_at or x.relay else ""

    def verify_jwt(self, text: str) -> dict[str, Any]:
        """Return the claims of a session JWT of this app (L9); for the user's other services.

        Raises:
            InvalidToken: it is not ours, or not valid now.
        """
        return self.credentials.claims_of(text, self.clock())

    def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JWK Set (RFC 7517 §5); symmetric keys never appear in it."""
        return self._jwts.jwks()


def _said_url(name: str, said: object) -> str:
    if not isinstance(said, str) or not said or _CONTROL.search(said):
        fix = "Let the function return a path or a URL, as text and not awaited."
        raise SettingsError(name, _shown(said), "was returned by the function and is no URL.", fix)
    return said


def _shown(said: object) -> object:
    """Return what the app's own function said as a message shows it; nobody awaits a coroutine, so it is put away."""
    if not inspect.iscoroutine(said):
        return said
    said.close()
    return "<a coroutine>"
