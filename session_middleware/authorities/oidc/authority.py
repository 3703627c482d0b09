"""OIDCAuthority: sessions begun by signing in at an OpenID provider, and ended when it says so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlencode, urlsplit

from session_middleware.authorities.base import (
    Alive,
    Attached,
    EndedThere,
    Extension,
    NeedsBrowser,
    NotExtended,
    ProviderLogin,
    Shown,
    Token,
    Vouch,
)
from session_middleware.authorities.oidc.claims import IdToken
from session_middleware.authorities.oidc.options import (
    checked_age,
    checked_algorithms,
    checked_app_url,
    checked_authentication,
    checked_name,
    checked_parameters,
    installed,
    one_of,
)
from session_middleware.authorities.oidc.provider import (
    ClientAuthentication,
    Provider,
    TokenAnswer,
)
from session_middleware.authorities.oidc.pushed import Events, Logouts, subject_handle
from session_middleware.authorities.oidc.signals import SharedSignals
from session_middleware.authorities.oidc.signin import Asking, SignIn
from session_middleware.authorities.oidc.tokens import KeptTokens
from session_middleware.authorities.routes import Answer, Ask, Endpoint
from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError

if TYPE_CHECKING:
    import httpx2

__all__ = ["OIDCAuthority"]

#: Characters of the longest ID token that is sent as a hint: servers take URLs of 8,000, and proxies as much of a header.
HINT_LIMIT: Final = 4_096

_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")


class OIDCAuthority:
    """An OpenID provider behind the sessions of an app: authorization code flow with PKCE (OpenID Connect Core 1.0 §3.1).

    It brings the routes `login`, `callback` and `backchannel-logout` (and `security-events`) below `endpoint_prefix`. The
    session that begins here has its own limits; the provider's `auth_time` is what its absolute lifetime counts from (L3),
    `session_expiry` caps it (L2), and a logout that the provider tells ends it at once. The provider is asked nothing while
    the session lives, so its faults log nobody out.

    Args:
        issuer: the provider's issuer identifier, as its discovery document says it, slash at the end included.
        client_id: what the app is called there.
        client_secret: the app's secret; None for a public client.
        app_url: where the app is, mount included, such as "https://shop.example". `{app_url}/session/callback` is to be
            registered as redirect URI, `{app_url}/session/signed-out` as URI after logout, and
            `{app_url}/session/backchannel-logout` as back-channel logout URI.
        scope: what is asked for; "openid" is added. With "offline_access" the app gets tokens for APIs by
            `session.provider_token()`; they are kept in the record, encrypted.
        claims: names of claims of the ID token that the session keeps.
        subject: makes our user id of all claims; `sub` by default.
        max_age: seconds since the user's last proof at the provider that a sign-in accepts; None accepts any that a session
            may stand on.
        require_auth_time: refuse an ID token without `auth_time`. Without it a proof counts from the sign-in, and
            `fresh_login_required` cannot be met; turn it off only for a provider that never says it.
        response_mode: "query", or "form_post" for a provider that insists (Sign in with Apple).
        parameters: sent with each sign-in, such as `{"audience": ...}`.
        passes: parameters of our login route that are passed on, if given: `/session/login?login_hint=...`.
        authentication: at the token endpoint: "client_secret_basic" (the default with a secret), "client_secret_post", "none".
        algorithms: by which the provider may sign.
        keep_id_token: keep it, encrypted, as `id_token_hint` of the logout: providers then ask no question.
        continue_there: let `POST /session/continue` answer with a `continue_url` that makes the browser go on with the
            provider's session too, without a page (`prompt=none`): only its visit moves the provider's own idle timeout.
        sign_out_there: end the provider's session too at logout (RP-Initiated Logout 1.0).
        logout_parameters: sent with the logout.
        consent_for_offline: send `prompt=consent` where offline_access is asked for (Core §11); some providers, Auth0 among
            them, need it not.
        strict_logout_typ: refuse logout tokens whose header does not say `logout+jwt`.
        signals: where security events come from; None takes none.
        name: by which records know this authority; made of issuer and client_id by default. Never changes.
        timeout: seconds for one call to the provider.
        client: an `httpx2.Client` or `AsyncClient` of the app's own, for proxies, certificates and the like.
        insecure_dev: accept http for issuer and app beyond this machine.

    Raises:
        SettingsError: a value makes no sense, or the extra `oidc` is not installed.

    Example:
        >>> authority = OIDCAuthority("https://id.example", "shop", "a secret", app_url="https://shop.example")
        >>> authority
        <OIDCAuthority https://id.example for shop>
    """

    verify_interval: float | None = None
    ceiling_is_final = True  # `session_expiry` is the upstream provider's, and no visit here moves it

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None = None,
        *,
        app_url: str,
        scope: str = "openid profile email",
        claims: Collection[str] = ("name", "email"),
        subject: Callable[[Mapping[str, Any]], str] | None = None,  # Any: JSON values
        max_age: float | None = None,
        require_auth_time: bool = True,
        response_mode: Literal["query", "form_post"] = "query",
        parameters: Mapping[str, str] | None = None,
        passes: Collection[str] = ("login_hint", "ui_locales"),
        authentication: ClientAuthentication | None = None,
        algorithms: Collection[str] = _ALGORITHMS,
        keep_id_token: bool = True,
        continue_there: bool = False,
        sign_out_there: bool = True,
        logout_parameters: Mapping[str, str] | None = None,
        consent_for_offline: bool = True,
        strict_logout_typ: bool = False,
        signals: SharedSignals | None = None,
        name: str | None = None,
        timeout: float = 3.0,
        client: httpx2.Client | httpx2.AsyncClient | None = None,
        insecure_dev: bool = False,
    ) -> None:
        installed()
        if not isinstance(client_id, str) or not client_id:
            raise SettingsError("client_id", client_id, "is no client id.", "Copy it from the provider.")
        if client_secret is not None and (not isinstance(client_secret, str) or not client_secret):
            raise SettingsError("client_secret", "***", "is no secret.", "Copy it from the provider, or leave it out.")
        self._app_url = checked_app_url(app_url, insecure_dev)
        self._provider = Provider(
            issuer,
            client_id,
            client_secret,
            authentication=checked_authentication(authentication, client_secret),
            timeout=timeout,
            client=client,
            insecure_dev=insecure_dev,
        )
        self.name = checked_name(name, issuer, client_id)
        #: What people call it: the provider's host.
        self.title = urlsplit(issuer).hostname or self.name
        self._claims, self._subject = tuple(claims), subject
        scopes = list(dict.fromkeys(["openid", *scope.split()]))
        self._offline = "offline_access" in scopes
        fixed = checked_parameters("parameters", parameters)
        self._asking = Asking(
            scope=" ".join(scopes),
            form_post=one_of("response_mode", response_mode, ("query", "form_post")) == "form_post",
            algorithms=checked_algorithms(algorithms),
            max_age=checked_age(max_age),
            demands_auth_time=bool(require_auth_time),
            consents=self._offline and bool(consent_for_offline),
            parameters=fixed,
            passes=frozenset(checked_parameters("passes", dict.fromkeys(passes, ""))),
        )
        self._keep_id_token, self._sign_out_there = bool(keep_id_token), bool(sign_out_there)
        self._continue_there = bool(continue_there)
        self._logout_parameters = dict(logout_parameters or {})
        self._strict = bool(strict_logout_typ)
        self._signals = signals
        self._to: Attached | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._provider.issuer} for {self._provider.client_id}>"

    def attach(self, to: Attached) -> None:
        """Take note of the app; called by the engine, on a copy of its own where an app has several engines."""
        self._to = to
        provider = self._provider = self._provider.attached(to)
        self._signin = SignIn(provider, self._asking, to, self._app_url, self._accepted)
        self._tokens = KeptTokens(
            self.name,
            provider,
            self._verified,
            lambda: to.keys("provider tokens"),
            keeps_id_token=self._keep_id_token,
            offline=self._offline,
        )
        self._logouts = Logouts(
            self.name,
            provider.key_source,
            provider.issuer,
            provider.client_id,
            self._asking.algorithms,
            clock_skew=to.clock_skew,
            strict=self._strict,
        )
        if self._signals is not None:
            signals = self._signals.attached(to)
            self._events = Events(
                self.name,
                signals.key_source or provider.key_source,
                signals.issuer or provider.issuer,
                signals.audience,
                provider.issuer,
                self._asking.algorithms,
                clock_skew=to.clock_skew,
            )

    def close(self) -> None:
        """Close the connections of a synchronous app."""
        self._provider.calls.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._provider.calls.aclose()

    # --- routes ------------------------------------------------------------------------------------------------

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Its routes below `endpoint_prefix`."""
        routes = [
            Endpoint("GET", "login", self._login),
            Endpoint("GET", "callback", self._callback),
            Endpoint("POST", "backchannel-logout", self._logout_told),
        ]
        if self._asking.form_post:
            routes.append(Endpoint("POST", "callback", self._posted_callback))
        if self._signals is not None:
            routes.append(Endpoint("POST", "security-events", self._event_told))
        return tuple(routes)

    async def _login(self, ask: Ask) -> Answer:
        return await self._signin.login(ask)

    async def _callback(self, ask: Ask) -> Answer:
        return await self._signin.callback(ask)

    async def _posted_callback(self, ask: Ask) -> Answer:
        return await self._signin.posted_callback(ask)

    async def _logout_told(self, ask: Ask) -> Answer:
        return await self._logouts.take(ask)

    async def _event_told(self, ask: Ask) -> Answer:
        return await self._events.take(ask)

    # --- what a session stands on ------------------------------------------------------------------------------

    def _accepted(self, found: IdToken, proven_at: float, given: TokenAnswer, now: float) -> ProviderLogin:
        """Return what our session begins with."""
        subject = found.subject if self._subject is None else self._subject(found.claims)
        # Without `sid` a session there cannot be told from the next one of the same user but by when it began.
        id = found.sid if found.sid is not None else f"{found.subject} {proven_at:.0f}"
        methods = found.claims.get("amr")
        named = [method for method in methods if isinstance(method, str)] if isinstance(methods, list) else []
        return ProviderLogin(
            subject,
            ProviderSession(id, proven_at, found.session_expiry, self.name),
            claims={name: found.claims[name] for name in self._claims if name in found.claims},
            factors=tuple({"type": method} for method in named) or ({"type": "oidc"},),
            sealed=self._tokens.sealed(given, now),
            handles=(subject_handle(self.name, found.subject),),
        )

    async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
        """Vouch: what a provider has to say of a session that lives it says by itself."""
        return Vouch(Alive.ALIVE)

    def extension_due(self, record: SessionRecord, now: float) -> bool:
        """No: activity cannot move the provider's session, since only a browser that goes there does."""
        return False

    async def extend(self, record: SessionRecord, shown: Shown, now: float, minutes: float | None) -> Extension:
        """Say where the browser goes on with the provider's session."""
        if not self._continue_there:
            return NotExtended()
        assert self._to is not None  # the engine attaches before it serves
        return NeedsBrowser(f"{self._app_url}{self._to.prefix}/login?prompt=none")

    # --- tokens for APIs ---------------------------------------------------------------------------------------

    def current(self, record: SessionRecord, now: float) -> Token | None:
        """Return the access token at hand, if it is good for a minute yet."""
        return self._tokens.current(record, now)

    @property
    def refresh_seconds(self) -> float:
        """How long `refresh` takes at most: discovery, the token, the keys of what it says."""
        return 3 * self._provider.calls.timeout

    async def refresh(self, record: SessionRecord, now: float) -> Token:
        """Get a new access token; where the provider rotates, the new refresh token takes the old one's place.

        Raises:
            SessionError: there is no refresh token, or the provider takes it no more (`code="provider_token"`): the session
                lives on, and a sign-in gets new ones.
            ProviderFault: the provider did not answer.
        """
        return await self._tokens.refresh(record, now)

    async def _verified(self, token: str, now: float, access_token: str | None) -> IdToken:
        return await self._signin.verified(token, now, nonce=None, access_token=access_token)

    async def end(self, record: SessionRecord, shown: Shown, reason: str, now: float) -> EndedThere | None:
        """Revoke the refresh token of a session that has ended here: nobody else has it (RFC 7009).

        The provider's own session takes the browser to end (`logout_url`).

        Raises:
            ProviderFault: the provider did not answer; it is told again.
        """
        await self._tokens.revoke(record, now)
        return None

    # --- logout ------------------------------------------------------------------------------------------------

    @property
    def _signed_out_url(self) -> str:
        assert self._to is not None  # the engine attaches before it serves
        return f"{self._app_url}{self._to.prefix}/signed-out"

    async def logout_url(
        self, record: SessionRecord | None, return_to: str | None, client_id: str | None
    ) -> str | None:
        """Return where the browser goes to sign out at the provider (RP-Initiated Logout 1.0 §2); None if it cannot.

        Raises:
            ProviderFault: the provider was never reached from this process, and cannot be now.
        """
        if not self._sign_out_there:
            return None
        assert self._to is not None  # the engine attaches before it serves
        endpoint = (await self._provider.metadata(self._to.clock())).end_session_endpoint
        if endpoint is None:
            return None
        asked = {"client_id": self._provider.client_id, **self._logout_parameters}
        if record is not None and record.authority == self.name:
            hint = self._tokens.id_token(record)
            if hint is not None and len(hint) <= HINT_LIMIT:
                asked["id_token_hint"] = hint
            elif record.provider_session is not None:
                asked["logout_hint"] = record.provider_session
        asked["post_logout_redirect_uri"] = return_to or self._signed_out_url
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"
