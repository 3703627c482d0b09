"""StytchAuthority: sessions that stand on a session of a Stytch project."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from session_middleware.authorities.base import (
    Alive,
    Attached,
    EndedThere,
    Extended,
    Extension,
    NotExtended,
    ProviderLogin,
    Shown,
    Vouch,
)
from session_middleware.authorities.calls import Calls
from session_middleware.authorities.keys import KeyCache
from session_middleware.authorities.routes import Endpoint
from session_middleware.authorities.stytch.api import Authenticated, Exchanged, NoSession, StytchApi
from session_middleware.authorities.stytch.cookies import StytchCookies, digest
from session_middleware.authorities.stytch.jwt import SessionJwts
from session_middleware.authorities.stytch.options import LONGEST, SHORTEST, Options
from session_middleware.authorities.stytch.organizations import Organizations
from session_middleware.authorities.stytch.proof import Proofs
from session_middleware.authorities.stytch.session import B2B, CONSUMER, StytchSession
from session_middleware.core.lifetime import CEILING_MARGIN
from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord

if TYPE_CHECKING:
    import httpx2

__all__ = ["StytchAuthority"]


class StytchAuthority:
    """Vouches for whoever shows the session token or session JWT of a living Stytch session.

    Stytch's credential proves, our own session carries the limits (L24): a request shows both. A session is adopted by one
    call of `sessions/authenticate`. Later its JWT is verified here with the project's key set while it is younger than
    `max_token_age`; one that is older costs one call, whose new JWT goes out with the response. A session that is
    revoked at Stytch is noticed at the latest `max_token_age` + `verify_interval` after that: 120 s by default.

    Only `session_not_found` about the very credential that a session stands on ends it. Refused project credentials, 429,
    5xx, silence and garbage log nobody out (L17).

    Args:
        project_id: such as "project-live-...".
        secret: the project's secret.
        base_url: of the API; by default Stytch's for test or live, as the project id says. Give your own API domain
            (CNAME) if the project has one.
        token_cookie: name of the cookie with the session token.
        jwt_cookie: name of the cookie with the session JWT.
        cookie_domain: Domain of both; it must be what the browser's cookies have, or there would be two of one name. None:
            this host alone, which is what Stytch's script does unless `availableToSubdomains` is set.
        cookie_http_only: whether scripts may not read them. Only where no Stytch script runs in the browser.
        set_cookies: whether a new JWT and a new end go out as cookies; False where something else sees to that, and then there
            is no `POST /session/organization` either.
        session_duration_minutes: by how much activity extends Stytch's session, 5 to 527040; None leaves its end as it
            was set at the login. At least the inactivity timeout plus `extend_interval`, or it ends first.
        extend_interval: seconds between two extensions by activity; by default a sixth of the duration, at least 60.
        custom_claims: names of claims of ours that are written into Stytch's custom claims with each extension, so that
            they are in its JWT too. They are at most 4 KB there.
        max_token_age: seconds for which a JWT is believed without asking, 0 to 300; 0 asks each time.
        verify_interval: seconds for which an answer holds in one process.
        timeout: seconds for one call.
        client: an httpx2 client of the app's own, with base URL and authentication left alone.
        insecure_dev: accept http beyond this machine, and write cookies that http carries.
        name: kept in each record; two projects behind one store need two.
        b2b: whether it is a B2B project. The subject is then a `member_id`, which a person has in each organization anew;
            `organization_id` and `organization_slug` are claims of the session. `POST /session/organization` (below
            `endpoint_prefix`) with `organization_id` and, if you like, `return_to` begins a session in another
            organization; the one that Stytch returns is used only when it says `member_authenticated`.
        organization_login_path: path of your page on which a member shows what another organization demands beyond the
            first (`reason=primary_required` or `mfa_required`); the intermediate session token is then in its cookie
            for 10 minutes, as Stytch's script does it. None: such a member is refused with 403.

    Raises:
        SettingsError: an argument makes no sense, or httpx2 or joserfc is missing (extra `stytch`).

    Example:
        >>> authority = StytchAuthority("project-test-0000", "secret-test-0000", session_duration_minutes=60)
        >>> authority
        <StytchAuthority of project-test-0000>
    """

    def __init__(
        self,
        project_id: str,
        secret: str,
        *,
        base_url: str | None = None,
        token_cookie: str = "stytch_session",  # noqa: S107  # a name
        jwt_cookie: str = "stytch_session_jwt",
        cookie_domain: str | None = None,
        cookie_http_only: bool = False,
        set_cookies: bool = True,
        session_duration_minutes: int | None = None,
        extend_interval: float | None = None,
        custom_claims: Sequence[str] = (),
        max_token_age: float = 60.0,
        verify_interval: float = 60.0,
        timeout: float = 3.0,
        client: httpx2.Client | httpx2.AsyncClient | None = None,
        insecure_dev: bool = False,
        name: str = "stytch",
        b2b: bool = False,
        organization_login_path: str | None = None,
    ) -> None:
        self._options = Options(
            project_id,
            secret,
            base_url,
            session_duration_minutes,
            extend_interval,
            custom_claims,
            max_token_age,
            timeout,
            client,
            insecure_dev,
            b2b,
            organization_login_path,
            verify_interval,
            name,
        )
        self._kind = B2B if b2b else CONSUMER
        self._cookies = StytchCookies(
            token_cookie, jwt_cookie, cookie_domain, cookie_http_only, not insecure_dev, set_cookies
        )
        self.name = name
        self.verify_interval: float | None = verify_interval
        self.cookies: tuple[str, ...] = (token_cookie, jwt_cookie)
        self.headers: tuple[str, ...] = ()
        self._key_cache = KeyCache()
        self._options.calls()  # refuses what cannot work before the first request
        self._attached: list[Calls] = []  # shared with the copies that Django makes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._options.project_id}>"

    def attach(self, to: Attached) -> None:
        """Take note of the app; each has connections and keys of its own."""
        calls = self._options.calls().attached(to)
        self._attached.append(calls)
        self._api = StytchApi(calls, self._kind, self._options.basic)
        jwts = SessionJwts(calls, self._kind, self._options, to, self._key_cache)
        self._proofs = Proofs(self._api, jwts, self._cookies)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Its routes: `POST organization` in a B2B project, unless the cookies of another session cannot be written."""
        if self._kind is not B2B or not self._cookies.written:
            return ()
        path = self._options.organization_login_path
        return Organizations(self._exchange, self._login, self._cookies, path).endpoints

    # --- whose session it is ------------------------------------------------------------------------------------

    def credential(self, shown: Shown) -> str | None:
        """Return a digest of both cookies; None where neither came."""
        token, jwt = (shown.cookies.get(name, "") for name in self.cookies)
        return digest(f"{token}\0{jwt}") if token or jwt else None

    async def adopt(self, shown: Shown, now: float) -> Vouch:
        """Ask Stytch whose session the shown credential is; a JWT that is none of the project's is not asked about."""
        proof = await self._proofs.find(shown, now)
        found = NoSession.MALFORMED if proof is None else await self._proofs.ask(proof, now)
        if isinstance(found, NoSession):
            return Vouch(Alive.GONE)
        return Vouch(Alive.ALIVE, self._login(found), self._lines(found, shown))

    async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
        """Say whether Stytch's session lives, by its JWT while that suffices, else by asking Stytch."""
        if record.provider_session is None or record.authority != self.name:
            return Vouch(Alive.ALIVE)  # the app's own login made it
        proof = await self._proofs.find(shown, now, record)
        if proof is None:
            return Vouch(Alive.NOT_SHOWN)
        if proof.read is not None and proof.suffices(record, now, self._options.max_token_age):
            # A JWT is a picture of its moment: the end that is recorded may be newer than the one in it.
            login = proof.read.session.login(self.name, ends_at=record.ceiling, sealed=record.sealed)
            return Vouch(Alive.ALIVE, login)
        found = await self._proofs.ask(proof, now)
        if isinstance(found, Authenticated):
            return Vouch(Alive.ALIVE, self._login(found), self._lines(found, shown))
        over = found is NoSession.NOT_FOUND and proof.is_of(record)
        return Vouch(Alive.GONE if over else Alive.NOT_SHOWN)

    def _login(self, found: Authenticated) -> ProviderLogin:
        return found.session.login(self.name, ends_at=found.session.expires_at, sealed=digest(found.token))

    def _lines(self, found: Authenticated, shown: Shown) -> tuple[str, ...]:
        """Return the cookies of an answer: the new JWT, and the token's new end where the token was shown."""
        values = {self._cookies.jwt: found.jwt}
        if self._cookies.token_of(shown) is not None:
            values[self._cookies.token] = found.token
        expires_at = found.session.expires_at
        return () if expires_at is None else self._cookies.set_lines(values, expires_at)

    # --- extending ----------------------------------------------------------------------------------------------

    def extension_due(self, record: SessionRecord, now: float) -> bool:
        """Say whether activity is to move Stytch's end: by `extend_interval` or more, or as far as our own; never back."""
        minutes = self._options.session_duration_minutes
        if minutes is None or record.ceiling is None:
            return False
        until, ours = now + minutes * 60.0, _our_end(record)
        if until > ours:
            return record.ceiling < ours  # once, whatever the interval: ours is to be reached
        return until - record.ceiling >= self._options.extend_interval

    async def extend(self, record: SessionRecord, shown: Shown, now: float, minutes: float | None) -> Extension:
        """Have Stytch's session live `session_duration_minutes`, or so long that ours has exactly these minutes (L7).

        It is never made to end earlier: ours ends by itself, and later activity may raise its deadline again. Stytch is
        asked in any case, since what has ended there is not extended here.
        """
        wanted = self._options.session_duration_minutes if minutes is None else minutes + CEILING_MARGIN / 60.0
        proof = await self._proofs.find(shown, now, record)
        if wanted is None or proof is None or not proof.is_of(record):
            return NotExtended()
        until, ceiling = min(now + wanted * 60.0, _our_end(record)), record.ceiling
        if ceiling is None or ceiling >= until:
            found = await self._api.authenticate(proof.named)
            if isinstance(found, Authenticated) and (found.session.expires_at or 0.0) >= until:
                # Where the record has no end of Stytch's, the app's own login has left it out.
                return Extended(None if ceiling is None else found.session.expires_at, self._lines(found, shown))
            if isinstance(found, NoSession):
                return NotExtended(gone=found is NoSession.NOT_FOUND)
        duration = min(max(SHORTEST, math.ceil((until - now) / 60.0)), LONGEST)
        claims = {name: record.claims.get(name) for name in self._options.custom_claims}
        found = await self._api.authenticate(proof.named, duration, claims)
        if isinstance(found, Authenticated):
            return Extended(found.session.expires_at, self._lines(found, shown))
        return NotExtended(gone=found is NoSession.NOT_FOUND)

    # --- ending and listing -------------------------------------------------------------------------------------

    async def end(self, record: SessionRecord, shown: Shown, reason: str, now: float) -> EndedThere | None:
        """Revoke Stytch's session, whatever ours ended by; a logout removes its cookies too (L26)."""
        if record.provider_session is None:
            return None
        await self._api.revoke(**{self._kind.id: record.provider_session})
        return EndedThere(self._cookies.delete_lines(shown) if reason == "logout" else ())

    @property
    def knows_users(self) -> bool:
        """Whether a user's sessions at Stytch can be asked for: the project's secret is enough."""
        return True

    async def list(self, subject: str, now: float) -> Sequence[ProviderSession]:
        """Return the living sessions of a user at Stytch, also those never seen here.

        Raises:
            ProviderFault: Stytch did not say.
        """
        found = await self._listed(subject)
        return [session.login(self.name, ends_at=session.expires_at, sealed=None).provider for session in found]

    async def end_all(self, subject: str, now: float) -> None:
        """Revoke all sessions of a user at Stytch.

        Raises:
            ProviderFault: Stytch did not say; some may have been revoked.
        """
        if self._kind is B2B:
            await self._api.revoke(member_id=subject)
            return
        for session in await self._listed(subject):
            await self._api.revoke(**{self._kind.id: session.id})

    async def _listed(self, subject: str) -> Sequence[StytchSession]:
        if self._kind is CONSUMER:
            return await self._api.list(user_id=subject)
        organization_id = await self._api.organization_of(subject)
        if organization_id is None:
            return ()
        return await self._api.list(organization_id=organization_id, member_id=subject)

    async def _exchange(self, shown: Shown, organization_id: str, now: float) -> Exchanged | None:
        """Ask for a session in another organization; None where the member has none here, or is none there."""
        proof = await self._proofs.find(shown, now)
        if proof is None:
            return None
        found = await self._api.exchange(proof.named, organization_id, self._options.session_duration_minutes)
        return None if isinstance(found, NoSession) else found

    # --- connections --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections of synchronous apps."""
        for calls in self._attached:
            calls.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        for calls in self._attached:
            await calls.aclose()


def _our_end(record: SessionRecord) -> float:
    """Return until when Stytch's session has to live for ours to reach its absolute deadline, 30 s early as it ends (L2)."""
    lifetime = record.limits.absolute_lifetime
    return math.inf if lifetime is None else record.authenticated_at + lifetime + CEILING_MARGIN
