"""Auth0Authority: the OpenID authority with Auth0's addresses, logout, limits and Sessions API."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, Literal
from urllib.parse import urlencode

from session_middleware.authorities.auth0.sessions_api import Management, Remembered, SessionsApi
from session_middleware.authorities.base import Alive, Attached, EndedThere, Shown, Vouch
from session_middleware.authorities.oidc.authority import OIDCAuthority
from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SessionError, SettingsError
from session_middleware.settings import Settings

__all__ = ["Auth0Authority"]

#: Longest silence and longest age of an Auth0 session by plan, in days (Auth0 docs, "Session Lifecycle"; the page that
#: the first settings of this package were modelled on says the same).
LONGEST: Final = {"self-service": (3, 30), "enterprise": (100, 365)}

_DAY: Final = 86_400.0

#: What ends here because somebody wanted it to end, and so ends there too. At logout the browser goes there itself.
_REVOKED: Final = frozenset({"revoked", "replayed"})


class Auth0Authority(OIDCAuthority):
    """Auth0 behind the sessions of an app.

    What Auth0 does not do it does not pretend to: no call extends an Auth0 session, and requests to your app do not touch its
    idle timeout. Our own limits hold for the app; `/session/login?prompt=none` lets a browser go on with the Auth0 session.

    Args:
        domain: of the tenant, such as "example.eu.auth0.com", or its custom domain; a whole URL for a stand-in.
        client_id: of the application ("Regular Web Application").
        client_secret: its secret.
        logout: "v2" sends the browser to `/v2/logout`, which asks nothing and compares the return URL without its query;
            "oidc" to `/oidc/logout`, which compares it to the letter.
        tenant_logout: with "v2", let Auth0 look the return URL up in the tenant's list in place of the application's.
        federated: sign out of the upstream identity provider too.
        management: credentials for the Sessions API; None does without.
        plan: "self-service" or "enterprise", for what `check` says of your limits.
        passes: as of `OIDCAuthority`.
        more: whatever else `OIDCAuthority` takes.

    Raises:
        SettingsError: a value makes no sense.

    Example:
        >>> Auth0Authority("example.eu.auth0.com", "an id", "a secret", app_url="https://shop.example")
        <Auth0Authority https://example.eu.auth0.com/ for an id>
    """

    def __init__(
        self,
        domain: str,
        client_id: str,
        client_secret: str,
        *,
        app_url: str,
        logout: Literal["v2", "oidc"] = "v2",
        tenant_logout: bool = False,
        federated: bool = False,
        management: Management | None = None,
        plan: Literal["self-service", "enterprise"] = "self-service",
        passes: Collection[str] = (
            "login_hint",
            "ui_locales",
            "screen_hint",
            "connection",
            "organization",
            "invitation",
        ),
        **more: Any,  # Any: the arguments of OIDCAuthority
    ) -> None:
        if not isinstance(domain, str) or not domain.strip("/ ") or "?" in domain or "#" in domain:
            raise SettingsError("domain", domain, "is no domain of a tenant.", 'Give one like "example.eu.auth0.com".')
        base = domain.rstrip("/") if "://" in domain else f"https://{domain.rstrip('/')}"
        for field, value, known in (("logout", logout, ("v2", "oidc")), ("plan", plan, tuple(LONGEST))):
            if value not in known:
                raise SettingsError(field, value, "is not known here.", f"Use {' or '.join(map(repr, known))}.")
        if tenant_logout and logout != "v2":
            raise SettingsError("tenant_logout", tenant_logout, "is a thing of /v2/logout.", 'Use logout="v2" with it.')
        options: dict[str, Any] = {"authentication": "client_secret_post", "consent_for_offline": False, **more}
        if federated and logout == "oidc":
            options["logout_parameters"] = {"federated": "", **(options.get("logout_parameters") or {})}
        super().__init__(f"{base}/", client_id, client_secret, app_url=app_url, passes=passes, **options)
        self._base, self._logout, self._tenant_logout, self._federated = base, logout, tenant_logout, federated
        self._management, self._plan = management, plan
        self._known = Remembered()
        self._api: SessionsApi | None = None
        if management is not None:
            self.verify_interval = management.verify_interval

    def attach(self, to: Attached) -> None:
        """Take note of the app; called by the engine, on a copy of its own where an app has several engines."""
        super().attach(to)
        if self._management is not None:
            provider = self._provider
            self._api = SessionsApi(provider.calls, to.runtime, provider.issuer, self._management, self._known)

    async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
        """Ask whether the session lives at Auth0, where `Management.verify_interval` says so; 404 alone is an end."""
        if self._api is None or self.verify_interval is None:
            return Vouch(Alive.ALIVE)
        if record.authority != self.name or record.provider_session is None:
            return Vouch(Alive.ALIVE)
        return Vouch(Alive.ALIVE if await self._api.lives(record.provider_session, now) else Alive.GONE)

    async def end(self, record: SessionRecord, shown: Shown, reason: str, now: float) -> EndedThere | None:
        """Revoke the session at Auth0 when it is revoked here; at a logout the browser goes there itself."""
        management, id = self._management, record.provider_session
        if self._api is None or management is None or not management.revoke or reason not in _REVOKED or id is None:
            return await super().end(record, shown, reason, now)
        await self._api.revoke(id, now)  # with its refresh tokens
        return EndedThere()

    @property
    def knows_users(self) -> bool:
        """Whether a user's sessions at Auth0 can be asked for: with `management`, and where the user id is Auth0's own."""
        return self._management is not None and self._subject is None

    async def list(self, subject: str, now: float) -> Sequence[ProviderSession]:
        """Return the sessions of a user at Auth0, also those of other applications of the tenant.

        Raises:
            SessionError: there are no credentials for the Sessions API.
            ProviderFault: Auth0 did not answer.
        """
        return await self._sessions_api.list(subject, now, self.name)

    async def end_all(self, subject: str, now: float) -> None:
        """End every session of a user at Auth0, unless `Management.revoke` says no; each application is told.

        Raises:
            SessionError: there are no credentials for the Sessions API.
            ProviderFault: Auth0 did not answer.
        """
        api = self._sessions_api
        if self._management is not None and self._management.revoke:
            await api.end_all(subject, now)

    @property
    def _sessions_api(self) -> SessionsApi:
        if self._api is None:
            raise SessionError(
                "The Sessions API needs credentials: Auth0Authority(management=Management(...)).", code="not_supported"
            )
        return self._api

    async def logout_url(
        self, record: SessionRecord | None, return_to: str | None, client_id: str | None
    ) -> str | None:
        """Return where the browser goes to sign out at Auth0; the session there ends for all applications of the tenant."""
        if self._logout == "oidc" or not self._sign_out_there:
            return await super().logout_url(record, return_to, client_id)
        asked = {} if self._tenant_logout else {"client_id": client_id or self._provider.client_id}
        asked["returnTo"] = return_to or self._signed_out_url
        url = f"{self._base}/v2/logout?{urlencode({**asked, **self._logout_parameters})}"
        return f"{url}&federated" if self._federated else url

    def advice(self, settings: Settings) -> Sequence[str]:
        """Return what is doubtful in limits of ours beside those that an Auth0 session can have."""
        silence, age = LONGEST[self._plan]
        limits, said = settings.default_limits, []
        if limits.inactivity_timeout is None or limits.inactivity_timeout > silence * _DAY:
            said.append(
                f"inactivity_timeout is beyond {silence} d, the longest silence of an Auth0 session ({self._plan} plans): "
                "ours outlives it, and silent sign-in will fail."
            )
        if limits.absolute_lifetime > age * _DAY:
            said.append(
                f"absolute_lifetime is beyond {age} d, the longest age of an Auth0 session ({self._plan} plans): "
                "ours outlives it."
            )
        return said
