"""The route `login`: to Kratos and back, with a new proof where one is demanded (L24)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlencode, urlsplit

from session_middleware.authorities.base import Alive, Attached, Shown, Vouch
from session_middleware.authorities.kratos.server import TOKEN_HEADER, credentials
from session_middleware.authorities.routes import Answer, Ask, Begin, Problem, Redirect
from session_middleware.core.fields import text_of

__all__ = ["SignIn"]

#: The assurance levels that may be asked for.
LEVELS: Final = ("aal1", "aal2")

_RIDDLE: Final = (
    "Your browser shows two different sign-ins at once. Delete the cookies of this site, then sign in again."
)


class SignIn:
    """Sends people to Kratos.

    Args:
        browser_url: Kratos' public listener as browsers reach it.
        app_url: where browsers find the app, mount included.
    """

    def __init__(self, *, browser_url: str, app_url: str) -> None:
        self._browser_url, self._app_url = browser_url, app_url
        self._to: Attached | None = None
        self._vouch: Callable[[Shown, float], Awaitable[Vouch]] | None = None

    def attached(self, to: Attached, vouch: Callable[[Shown, float], Awaitable[Vouch]]) -> SignIn:
        """Return the same for one app, with what asks whose session a credential is."""
        made = SignIn(browser_url=self._browser_url, app_url=self._app_url)
        made._to, made._vouch = to, vouch
        return made

    @property
    def renewal_url(self) -> str:
        """Where a user goes who has to prove who they are so that their session may go on."""
        return f"{self._app_url}{self._app.prefix}/login?refresh=true"

    @property
    def _app(self) -> Attached:
        assert self._to is not None  # the engine attaches before it serves
        return self._to

    async def login(self, ask: Ask) -> Answer:
        """Send the user to Kratos; who is signed in there, and need not prove it again, begins a session here at once.

        Query: `return_to` or `next`, `reason` as in a refusal, `refresh=true` for a new proof, `aal=aal2` for the second
        factor.
        """
        query = ask.query
        path = ask.safe_path(text_of(query, "return_to")) or ask.safe_path(text_of(query, "next"))
        reason, level = text_of(query, "reason"), text_of(query, "aal")
        level = level if level in LEVELS else None
        anew = reason in ("lifetime", "fresh_login") or (reason == "inactivity" and not self._app.silent_sso)
        anew = anew or text_of(query, "refresh") == "true" or level is not None
        asked = {"return_to": self._back(path), **({"aal": level} if level is not None else {})}
        again = self._at_kratos(ask.shown, {**asked, "refresh": "true"})
        if anew:
            return Redirect(again)
        to = path or urlsplit(self._app_url).path or "/"
        if ask.record is not None:
            return Redirect(to)
        if self._vouch is not None and credentials(ask.shown):
            vouch = await self._vouch(ask.shown, ask.now)
            if vouch.alive is Alive.NOT_SHOWN and not vouch.ask_for:
                return Problem(409, "two_sign_ins", _RIDDLE)  # Kratos would send the browser straight back
            if vouch.login is not None and vouch.alive is Alive.ALIVE:
                return Begin(vouch.login, to, again)  # where it has ended here already: a new proof, not that one (L24)
            asked |= dict(vouch.ask_for)
        return Redirect(self._at_kratos(ask.shown, asked))

    def _at_kratos(self, shown: Shown, query: dict[str, str]) -> str:
        kind = "api" if TOKEN_HEADER in shown.headers else "browser"
        return f"{self._browser_url}/self-service/login/{kind}?{urlencode(query)}"

    def _back(self, path: str | None) -> str:
        """Return the absolute URL that Kratos sends the user back to; a path holds the mount already."""
        if path is None:
            return f"{self._app_url}/"
        parts = urlsplit(self._app_url)
        return f"{parts.scheme}://{parts.netloc}{path}"
