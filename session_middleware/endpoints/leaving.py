"""Logout: this session ends in any case; where the browser goes is on a list (design §4)."""

from __future__ import annotations

from urllib.parse import quote

from session_middleware.authorities.base import SignsOut
from session_middleware.core import pages
from session_middleware.core.exchange import Exchange
from session_middleware.core.fields import Fields, query_fields, text_of
from session_middleware.core.refusal import Reply
from session_middleware.core.replies import (
    as_page,
    done,
    gone_elsewhere,
    problem,
)
from session_middleware.endpoints.call import Answers, Call, fields_of
from session_middleware.errors import StoreUnavailable

__all__ = ["Leaving"]


class Leaving(Answers):
    """The endpoints that sign out."""

    __slots__ = ()

    async def _confirm_logout(self, call: Call) -> Reply:
        """Ask before signing out: a GET changes nothing. A listed return URL is carried on."""
        asked = query_fields(call.x.facts.target)
        target = self._listed(asked)
        carried = ((name, text_of(asked, name)) for name in ("return_to", "client_id") if target is not None)
        fields = [(name, value) for name, value in carried if value is not None]
        return as_page(pages.confirm_logout(self._url(call.x, "logout"), fields), form_target=target)

    async def _log_out(self, call: Call) -> Reply:
        """End the session in any case; go to the URL asked for only if it is listed, else to our landing page."""
        asked = {**query_fields(call.x.facts.target), **(await self._fields_of_logout(call) or {})}
        target = self._listed(asked)
        if target is None and asked.get("return_to"):
            url, client = text_of(asked, "return_to") or "", text_of(asked, "client_id") or ""
            self.engine.tell("redirect_blocked", call.x, url=url.partition("?")[0][:200], client_id=client[:200])
        return await self._end_this(call.x, target, text_of(asked, "client_id"))

    async def _fields_of_logout(self, call: Call) -> Fields | None:
        """Return the fields of the body; a body that is too long, or breaks off, has none and keeps nobody in."""
        try:
            return await fields_of(call)
        except Exception:  # whatever the server raises where the client goes away
            return None

    async def _end_this(self, x: Exchange, target: str | None = None, client: str | None = None) -> Reply:
        authority = self.engine.authority
        record = x.record if x.is_active else None
        elsewhere = None
        if isinstance(authority, SignsOut):  # asked while there is a record: it may hold what the provider wants to see
            try:
                elsewhere = await authority.logout_url(record, target, client)
            except Exception as fault:  # no reason not to log out here
                self.engine.vouching.fault(fault)
        kinds = self.engine.settings.clear_site_data
        clear = (("Clear-Site-Data", ", ".join(f'"{kind}"' for kind in kinds)),) if kinds else ()
        try:
            await self.engine.logout(x)
        except StoreUnavailable:
            detail = (
                "This browser is signed out here. That the session has ended could not be stored yet; this is being "
                "retried. On a shared or lost device, sign out of your other sessions later."
            )
            title = "Signed out in this browser only."
            return problem(x.facts, 503, "unavailable", title, detail, (self._retry_after(), *clear))
        if elsewhere is not None:
            return gone_elsewhere(x.facts, elsewhere).with_headers(clear)
        return done(x.facts, target or self._url(x, "signed-out")).with_headers(clear)

    def _listed(self, asked: Fields) -> str | None:
        """Return the URL asked for, percent-encoded, if the list of that client (or of all) has exactly it."""
        settings = self.engine.settings
        url, client = text_of(asked, "return_to"), text_of(asked, "client_id")
        if asked.get("client_id"):
            # It only selects the list; the session ends for every application that shares it (Auth0).
            allowed = settings.logout_urls_by_client.get(client, ()) if client is not None else ()
        else:
            allowed = settings.logout_urls
        if url is None or url not in allowed:
            return None
        return quote(url, safe="/?&=%:;,+$!*'()@-._~[]", errors="surrogatepass")

    async def _signed_out(self, call: Call) -> Reply:
        if call.x.is_active:  # somebody who is signed in must not read that they are not
            return as_page(pages.confirm_logout(self._url(call.x, "logout")))
        provider = self.engine.vouching.may_know(call.x.facts)
        return as_page(pages.signed_out(self.engine.login_url(call.x.facts), provider))
