"""KratosAuthority: sessions that live at Ory Kratos, with the limits of ours on top."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from session_middleware.authorities.base import (
    Alive,
    Attached,
    EndedThere,
    Extension,
    NeedsBrowser,
    NotExtended,
    ProviderLogin,
    Shown,
    Vouch,
)
from session_middleware.authorities.calls import Calls, ProviderFault
from session_middleware.authorities.kratos.arguments import (
    EARLY,
    address,
    bearer,
    cookie,
    flag,
    function,
    named,
    seconds,
    window,
)
from session_middleware.authorities.kratos.doubt import Doubts
from session_middleware.authorities.kratos.extending import Extending
from session_middleware.authorities.kratos.server import TOKEN_HEADER, Kratos, Whoami, credentials
from session_middleware.authorities.kratos.session import KratosSession
from session_middleware.authorities.kratos.signin import SignIn
from session_middleware.authorities.routes import Endpoint
from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError
from session_middleware.settings import Settings

if TYPE_CHECKING:
    import httpx2

__all__ = ["KratosAuthority"]

Claims = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # Any: JSON values

#: What an end of ours is called where the user, an operator or the security of the session asked for it.
WANTED_ENDS = frozenset({"logout", "revoked", "replayed"})


class KratosAuthority:
    """Vouches for sessions that live at Ory Kratos.

    Kratos proves who is there, by its cookie or its session token: whoami is asked when a session of ours begins, and then
    every `verify_interval` seconds. Our session carries what Kratos has not got: an inactivity timeout, an absolute
    lifetime, claims. A session that ends at Kratos ends here, and one that ends here ends at Kratos.

    Args:
        public_url: Kratos' public listener as this process reaches it, such as "http://127.0.0.1:4433".
        app_url: where browsers find this app, mount included, such as "https://shop.example"; Kratos sends them back there,
            so it belongs into `selfservice.allowed_return_urls`.
        browser_url: Kratos' public listener as browsers reach it (`serve.public.base_url`); `public_url` by default.
        admin_url: Kratos' admin listener; None without admin rights. With it activity extends Kratos' session, an end
            here is known there although no browser takes part, and a whoami that denies a session is checked at once.
        admin_token: sent to the admin listener as a bearer (an Ory Network API key).
        cookie_name: `session.cookie.name`; at Ory Network "ory_session_" and the project's slug.
        api_clients: whether a request may show its session as `X-Session-Token` instead of the cookie.
        lifespan: `session.lifespan`, in seconds or as a timedelta.
        extend_when_left: activity extends Kratos' session once less than this is left of it; half of `lifespan` by default.
            At most `session.earliest_possible_extend`, where that is set: Kratos ignores what comes earlier.
        shared: whether other apps use the same Kratos sessions. A timeout here then ends ours alone; a logout, a revocation
            and a replayed token end Kratos' too.
        claims: makes the claims of our session from Kratos' session, a JSON object; none by default.
        verify_interval: seconds, or a timedelta, for which an answer of whoami holds in one process; so long may a session that was ended
            at Kratos go on here.
        timeout: seconds for one call.
        insecure_dev: accepts plain http to other machines: in a network that is yours alone.
        client: an `httpx2.Client` (or `AsyncClient` in an asynchronous app) of your own, for proxies and certificates.

    Raises:
        SettingsError: a URL or a time makes no sense, or httpx2 is not installed.

    Example:
        >>> authority = KratosAuthority(
        ...     "http://127.0.0.1:4433", app_url="https://shop.example", admin_url="http://127.0.0.1:4434"
        ... )
        >>> authority.name, authority.verify_interval
        ('kratos', 10.0)
    """

    name = "kratos"

    def __init__(
        self,
        public_url: str,
        *,
        app_url: str,
        browser_url: str | None = None,
        admin_url: str | None = None,
        admin_token: str | None = None,
        cookie_name: str = "ory_kratos_session",
        api_clients: bool = False,
        lifespan: float | timedelta = 86_400.0,
        extend_when_left: float | timedelta | None = None,
        shared: bool = False,
        claims: Claims | None = None,
        verify_interval: float | timedelta = 10.0,
        timeout: float = 3.0,
        insecure_dev: bool = False,
        client: httpx2.Client | httpx2.AsyncClient | None = None,
    ) -> None:
        make = partial(Calls, timeout=timeout, insecure_dev=flag("insecure_dev", insecure_dev), client=client)
        public, admin = named("public_url", make, public_url), None
        if admin_url is not None:
            admin = named("admin_url", partial(make, headers=bearer(admin_token)), admin_url)
        elif admin_token is not None:
            raise SettingsError("admin_token", "<hidden>", "is of no use without admin_url.", "Give admin_url too.")
        self._kratos = Kratos(public, admin, cookie(cookie_name))
        self.cookies: tuple[str, ...] = (cookie_name,)
        self.headers: tuple[str, ...] = (TOKEN_HEADER,) if flag("api_clients", api_clients) else ()
        self.verify_interval: float | None = seconds("verify_interval", verify_interval, 0.0)
        self._lifespan = seconds("lifespan", lifespan, 4 * EARLY)
        self._extending = Extending(window(extend_when_left, self._lifespan))
        self._shared = flag("shared", shared)
        self._claims = None if claims is None else function("claims", claims)
        self._doubts = Doubts()
        self._sign_in = SignIn(
            browser_url=address("browser_url", public_url if browser_url is None else browser_url),
            app_url=address("app_url", app_url),
        )

    def __repr__(self) -> str:
        return f"<KratosAuthority {'with' if self._kratos.has_admin else 'without'} admin rights>"

    def attach(self, to: Attached) -> None:
        """Take note of the app; called by the engine."""
        self._kratos = self._kratos.attached(to)
        self._sign_in = self._sign_in.attached(to, self.adopt)

    def close(self) -> None:
        """Close the connections to Kratos, in a synchronous app that ends."""
        self._kratos.close()

    async def aclose(self) -> None:
        """Close the connections to Kratos, in an asynchronous app that ends."""
        await self._kratos.aclose()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The route `login`, where people are sent to sign in."""
        return (Endpoint("GET", "login", self._sign_in.login, needs="look"),)

    def advice(self, settings: Settings) -> Sequence[str]:
        """Return where Kratos' sessions end before ours."""
        limits, left = settings.default_limits, self._extending.when_left - EARLY
        silence, age = limits.inactivity_timeout, limits.absolute_lifetime
        if not self._kratos.has_admin:
            if age <= self._lifespan - EARLY:
                return ()
            return (
                f"absolute_lifetime is beyond {self._lifespan:g} s, the lifespan of Kratos' sessions, which nothing extends "
                "without admin_url: they end first.",
            )
        if silence is not None and silence <= left:
            return ()
        return (
            f"inactivity_timeout is beyond {left:g} s, what is left of Kratos' session at least after activity "
            "(extend_when_left, less 30): that may end first.",
        )

    # --- vouching ------------------------------------------------------------------------------------------------

    def credential(self, shown: Shown) -> str | None:
        """Return Kratos' session token if one came, else its cookie, in Kratos' own order; every value of it, if several."""
        values = ["\0".join((*one.headers.values(), *one.cookies.values())) for one in credentials(shown)]
        return "\0".join(values) or None

    async def adopt(self, shown: Shown, now: float) -> Vouch:
        """Ask whose session the shown credential is. A 401 is asked about once more: nobody's session is at stake yet."""
        who = await self._kratos.whoami(shown)
        if who.is_denied:
            who = await self._kratos.whoami(shown)
        return Vouch(Alive.GONE) if who.is_denied else self._vouch(who)

    async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
        """Ask whether a session of Kratos' may live on. A 401 of whoami's alone ends nothing (L17).

        Raises:
            ProviderFault: it could not be found out.
        """
        session, credential = record.provider_session, self.credential(shown)
        if session is None or record.authority != self.name:
            return Vouch(Alive.ALIVE)
        if credential is None:
            return Vouch(Alive.NOT_SHOWN)
        try:
            who = await self._kratos.whoami(shown, session)
            if who.is_denied:
                return await self._denied(session, credential, shown, now)
        except ProviderFault as fault:
            if fault.kind != "unconfirmed":
                self._doubts.clear(session, credential)  # it is not well: what it said before counts for nothing
            raise
        self._doubts.clear(session, credential)
        return self._vouch(who)

    async def _denied(self, session: str, credential: str, shown: Shown, now: float) -> Vouch:
        """Find out what a 401 of whoami's means: the end, a fault of Kratos' own, or a credential that is no good any more."""
        kratos = self._kratos
        who = await kratos.whoami(shown, session)  # most mistakes are gone a moment later
        if not who.is_denied:
            self._doubts.clear(session, credential)
            return self._vouch(who)
        if kratos.has_admin:
            held = await kratos.session(session)
            if held is None or not held.active:
                self._doubts.clear(session, credential)
                return Vouch(Alive.GONE)
        if not self._doubts.is_settled(session, credential, now):
            raise ProviderFault("unconfirmed", "Kratos' whoami sees no session, which is not confirmed yet.")
        if kratos.has_admin:
            return Vouch(Alive.NOT_SHOWN)  # the session lives, but this credential does not show it
        for one in credentials(shown):
            if not await kratos.denies_session(one):
                return Vouch(Alive.NOT_SHOWN)
        return Vouch(Alive.GONE)

    def _vouch(self, who: Whoami) -> Vouch:
        if who.riddle:
            return Vouch(Alive.NOT_SHOWN)
        if who.lacks_factor:
            return Vouch(Alive.NOT_SHOWN, relay=who.relay, ask_for=(("aal", "aal2"),))
        assert who.session is not None
        return Vouch(Alive.ALIVE, self._login(who.session), who.relay)

    def _login(self, session: KratosSession) -> ProviderLogin:
        if session.identity is None:
            raise ProviderFault("garbage", "Kratos' whoami described a session without its identity.")
        provider = ProviderSession(session.id, session.authenticated_at, session.expires_at, self.name)
        claims = {} if self._claims is None else self._claims(session.document)
        return ProviderLogin(session.identity, provider, claims, session.factors, moves=True)

    # --- extending -----------------------------------------------------------------------------------------------

    def extension_due(self, record: SessionRecord, now: float) -> bool:
        """Say whether activity is to extend Kratos' session: with admin rights, once too little is left of it."""
        return self._kratos.has_admin and self._extending.is_due(record, now)

    async def extend(self, record: SessionRecord, shown: Shown, now: float, minutes: float | None) -> Extension:
        """Extend Kratos' session by its lifespan, if less is left of it than is wanted.

        Without admin rights the user has to prove who they are once more.

        Raises:
            ProviderFault: it could not be found out.
        """
        wanted = self._extending.when_left if minutes is None else minutes * 60.0 + EARLY
        if record.provider_session is None or record.ceiling is None or record.ceiling - now >= wanted:
            return NotExtended()
        if not self._kratos.has_admin:
            return NeedsBrowser(self._sign_in.renewal_url)
        return await self._extending.extend(self._kratos, record.provider_session, shown, now, wanted)

    # --- ending --------------------------------------------------------------------------------------------------

    async def end(self, record: SessionRecord, shown: Shown, reason: str, now: float) -> EndedThere | None:
        """End Kratos' session: at a logout as its holder, so that its cookie goes too, else by its id.

        A late refusal must not delete the cookie of a login made meanwhile (L26).

        Raises:
            ProviderFault: it could not be told.
        """
        id = record.provider_session
        if id is None or (self._shared and reason not in WANTED_ENDS):
            return None
        if self.credential(shown) is not None and (reason == "logout" or not self._kratos.has_admin):
            who = await self._kratos.whoami(shown, id)
            if who.session is not None and who.session.id == id:  # else the browser shows another session now
                relay = await self._kratos.log_out(who.by)
                return EndedThere(relay if reason == "logout" else ())
        if not self._kratos.has_admin:
            return None
        await self._kratos.revoke(id)
        return EndedThere()

    @property
    def knows_users(self) -> bool:
        """Whether a user's sessions at Kratos can be asked for: with admin rights."""
        return self._kratos.has_admin

    async def list(self, subject: str, now: float) -> Sequence[ProviderSession]:
        """Return the user's live sessions at Kratos.

        Raises:
            SettingsError: there is no `admin_url`.
            ProviderFault: it could not be found out.
        """
        self._needs_admin()
        listed = await self._kratos.sessions_of(subject)
        return [ProviderSession(each.id, each.authenticated_at, each.expires_at, self.name) for each in listed]

    async def end_all(self, subject: str, now: float) -> None:
        """End all of the user's sessions at Kratos.

        Raises:
            SettingsError: there is no `admin_url`.
            ProviderFault: it could not be told.
        """
        self._needs_admin()
        await self._kratos.revoke_all(subject)

    def _needs_admin(self) -> None:
        if not self._kratos.has_admin:
            raise SettingsError("admin_url", None, "is needed for a user's sessions at Kratos.", "Give admin_url.")
