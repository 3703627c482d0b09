"""How the engine is put together from settings, a store and an authority; and `open`, before the view: may they come in (L21).

`close`, when the response starts, is in `responding`. Everything that is decided is decided in `core/`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from session_middleware.authorities.base import Attached, Authority
from session_middleware.authorities.local import LocalAuthority
from session_middleware.authorities.routes import Serves
from session_middleware.core.credentials import Credentials
from session_middleware.core.exchange import NO_RULES, Exchange, RequestFacts, RouteRules
from session_middleware.core.jwt import JwtKey, JwtKeys
from session_middleware.core.lifetime import Verdict
from session_middleware.core.origin import is_foreign, is_preflight, on_this_host
from session_middleware.core.provider import KEPT
from session_middleware.core.refusal import Refusal
from session_middleware.core.tokens import TokenKeys, derive
from session_middleware.engine.authenticating import Authenticating
from session_middleware.engine.issuer import Issuer
from session_middleware.engine.recognising import Recogniser
from session_middleware.engine.vouching import Vouching
from session_middleware.errors import SettingsError
from session_middleware.events import Hook
from session_middleware.reach import Reach
from session_middleware.runtime import Runtime, ThreadRuntime, mutex
from session_middleware.settings import DEFAULT_LOGIN_URL, Settings
from session_middleware.stores.base import Caps, Recognises

__all__ = ["Engine"]


#: A path that leaves a folder again: "/static/../admin", and what some servers take for the same.
_CLIMBS = re.compile(r"(?:^|[/\\])\.\.(?:[/\\;]|$)")

#: Looking a member up on its enum takes Python 3.11 a tenth of a microsecond, and the hot path asks often.
_ACTIVE = Verdict.ACTIVE


class Engine(Authenticating):
    """Runs the rules of `core/` over a store and an authority, for one app.

    Args:
        settings: checked settings, secret keys included.
        store: a `Store`, or an `AsyncStore` in an asynchronous app.
        authority: who vouches; the app itself by default.
        runtime: how blocking work is waited for.
        clock: a callable returning seconds since the epoch; read once per request (L1).
        on_event: callables that get each `SessionEvent`.
        default_policy: what holds where `settings.default_policy` is not set ("optional" for bridged logins, L21).
        resolve_login: turns `login_url` and `fresh_login_url` into a URL for a request; set by adapters that know route names.

    Raises:
        SettingsError: there is no secret key, or the store does not fit the app.
    """

    def __init__(
        self,
        settings: Settings,
        store: Any,  # Store | AsyncStore; bind() looks at each method's form
        *,
        authority: Authority | None = None,
        runtime: Runtime | None = None,
        clock: Callable[[], float] = time.time,
        on_event: Iterable[Hook] = (),
        default_policy: str = "required",
        resolve_login: Callable[[RequestFacts, str], str] | None = None,
        return_param: str = "return_to",
    ) -> None:
        if not settings.secret_keys:
            raise SettingsError(
                "secret_keys",
                (),
                "is required here.",
                'Make one: python -c "import secrets; print(secrets.token_urlsafe(48))"',
            )
        if settings.max_sessions is not None and not isinstance(store, Caps):
            raise SettingsError(
                "max_sessions",
                settings.max_sessions,
                f"cannot be held by {type(store).__name__}.",
                "Leave it None, or take a store that can: every store of this package does.",
            )
        self.settings = settings
        self.store: Any = store  # Store | AsyncStore
        self.runtime: Runtime = runtime or ThreadRuntime()
        self.authority: Authority = authority or LocalAuthority()
        self._exempt_exact = frozenset(path for path in settings.exempt_paths if not path.endswith("/*"))
        self._exempt_below = tuple(path[:-1] for path in settings.exempt_paths if path.endswith("/*"))
        self._exempts = bool(settings.exempt_paths)
        self._header_transport = settings.transport == "header"
        names = ["Cookie", "Authorization"] if self._header_transport else ["Cookie"]
        names += [name.title() for name in getattr(self.authority, "headers", ())]
        self.vary_on = ", ".join(dict.fromkeys(names))
        self.clock = clock
        self.hooks = tuple(on_event)
        self.default_policy = settings.default_policy or default_policy
        self.return_param = settings.return_param or return_param
        self._resolve_login = resolve_login

        raw_keys = [key for key in settings.secret_keys if isinstance(key, bytes)]  # all are, since Settings checked
        interval: Any = self.authority.verify_interval  # Any: the setting's is a float since Settings checked it
        if interval is not None and settings.verify_interval is not None:
            interval = settings.verify_interval
        self.vouching = Vouching(
            self.authority,
            Attached(
                self.runtime,
                clock,
                lambda purpose: tuple(derive(key, f"authority {purpose}") for key in raw_keys),
                settings.endpoint_prefix,
                settings.timing.clock_skew,
                settings.token_cookie,
                settings.silent_sso,
            ),
            interval=interval,
            announce=lambda name, detail: self.announce(name, self.clock(), detail=detail),
        )
        self._adopts = self.vouching.adopts is not None
        #: The authority's own routes.
        self.provider_routes = self.authority.endpoints if isinstance(self.authority, Serves) else ()
        #: Whether people sign in at the authority's own route rather than at a page of the app's.
        self.signs_in = settings.login_url == DEFAULT_LOGIN_URL and any(r.path == "login" for r in self.provider_routes)
        #: As the setting says; where that says nothing, a bridged login may know a page of its own.
        self.fresh_login = settings.fresh_login_url
        self._adoption_key = derive(raw_keys[0], "adoption")
        self._tokens = TokenKeys(raw_keys, settings.token_cookie)
        self._jwts = JwtKeys(settings.jwt_keys or [JwtKey.hs256(derive(key, "session jwt")) for key in raw_keys])
        subject_key = settings.jwt_subject_key or raw_keys[0]
        subject_key = subject_key if isinstance(subject_key, bytes) else subject_key.encode()
        self.issuer = Issuer(settings, self._jwts, derive(subject_key, "pairwise subject"), self.clock)
        self.credentials = Credentials(
            self._tokens,
            self._jwts,
            token_cookie=settings.token_cookie,
            jwt_cookie=settings.jwt_cookie,
            issuer=self.issuer.name,
            audience=self.issuer.audience,
            clock_skew=settings.timing.clock_skew,
            mutex=mutex(),
        )
        self.reach = Reach(
            store,
            runtime=self.runtime,
            clock=clock,
            retention=settings.timing.ended_retention,
            announce=lambda name, detail: self.announce(name, self.clock(), detail=detail),
            lifetime=max(
                settings.default_limits.absolute_lifetime,
                settings.max_age_limits.absolute_lifetime,
                0.0 if settings.limits is None else KEPT,
            ),
        )

        # The quiet path knows sessions by their Cookie header alone.
        by_cookies = not self._header_transport and not self.vouching.reads_headers
        holds = store.holds if isinstance(store, Recognises) and by_cookies else None
        self.recogniser = Recogniser(self.credentials.remembered, holds, self.reach)

    def begin(self, facts: RequestFacts) -> Exchange:
        """Start an exchange; nothing is read yet but the clock."""
        return Exchange(facts, self.clock())

    def open_quietly(self, x: Exchange, rules: RouteRules) -> bool:
        """Do what `open` does for a request for which nothing is due, without a coroutine; False: ask `open`.

        Args:
            x: the exchange; of a request that a view answers: no WebSocket, and no OPTIONS.
            rules: what the markers of the route say.
        """
        protects = self.protects_quietly(rules)
        if protects is None or x.authenticated or not self.quiet(x):
            return False
        x.rules = rules
        x.judged = True
        x.protected = protects
        return True

    def protects_quietly(self, rules: RouteRules) -> bool | None:
        """Say whether a route requires a session; None where there is more to it than to recognise one."""
        policy = rules.policy or self.default_policy
        if self._exempts or policy == "exempt" or rules.fresh_within is not None:
            return None
        return policy == "required"

    async def open(self, x: Exchange, rules: RouteRules | None = None, *, runs_view: bool = True) -> Refusal | None:
        """Judge a request to a route with these rules; a refusal means that the view must not run.

        Args:
            x: the exchange.
            rules: what the markers of the route say; None where there are none.
            runs_view: False where something else than a view answers: CORS middleware, the framework's own answer to
                OPTIONS, a 404. There alone a preflight passes (L21).
        """
        if rules is None:
            rules = NO_RULES
        x.rules = rules
        x.judged = True
        policy = rules.policy or self.default_policy
        if policy == "exempt" or self.is_exempt(x.facts, runs_view=runs_view):
            # A socket of another origin speaks for nobody (ASVS 4.4.2): what it shows is not read later on either.
            x.authenticated = x.authenticated or self._is_foreign_socket(x)
            return None
        if not x.authenticated and not self.quiet(x):
            await self.authenticate(x)
        x.protected = policy == "required"
        if self._adopts and not x.quiet:
            await self._adopt(x)
        if x.verdict is _ACTIVE:
            # Refused before it is recorded: a refused request is no activity (L6). On an optional route too: a socket of
            # another origin would speak for the user there (ASVS 4.4.2).
            if self._is_foreign_socket(x):
                return self.refusal(x, "signed_out")
            within = rules.fresh_within
            if within is not None and not (self.is_fresh(x, within) or await self.proves_anew(x, within)):
                return self.refusal(x, "fresh_login" if x.verdict is _ACTIVE else x.verdict.reason)
            if x.created is None and not x.quiet:
                await self.record_activity(x)
        if x.verdict is _ACTIVE:
            return None
        if x.verdict is Verdict.UNAVAILABLE:
            outage = rules.on_unavailable or self.settings.on_unavailable
            if outage == "stale" and rules.fresh_within is None and self._stand_in(x):
                return self.refusal(x, "signed_out") if self._is_foreign_socket(x) else None
        if not x.protected or self._is_login_page(x.facts):
            return None
        return self.refusal(x, x.verdict.reason)

    def is_exempt(self, facts: RequestFacts, *, runs_view: bool = True) -> bool:
        """Say whether a request is let through in any case, untouched (L21): `exempt_paths`, and preflights to no view."""
        if not runs_view and facts.method == "OPTIONS" and is_preflight(facts):
            return True
        if not self._exempts:
            return False
        path = facts.path
        if path in self._exempt_exact:
            return True
        # What climbs out of a prefix again is not below it, whatever the app makes of such a path.
        return path.startswith(self._exempt_below) and not _CLIMBS.search(path)

    def _is_login_page(self, facts: RequestFacts) -> bool:
        """Say whether this is where people are sent to sign in; it is open to all (L21).

        Only a path or a route's name opens anything. A URL with a host does not, even if that is the Host of this request:
        whoever writes a provider's name there would find our page of the same path open.
        """
        try:
            page = urlsplit(self.login_url(facts))
        except ValueError:  # what the app's own callable made is no URL
            return False
        here = facts.mount + facts.path
        return not page.netloc and bool(page.path) and not here.startswith("//") and page.path == on_this_host(here)

    def _is_foreign_socket(self, x: Exchange) -> bool:
        return x.facts.websocket and is_foreign(x.facts, self.settings)

    def quiet(self, x: Exchange) -> bool:
        """Recognise a request for which no rule would answer otherwise than last time; False means: ask them all."""
        return self.recogniser.quiet(x)
