"""DOES: the only place that awaits a store or an authority, and so the only place where their order is written.

`open` runs before the view (who is this, may they come in), `close` when the response starts (which cookies go out).
Everything that is decided is decided in `core/`; this file asks, writes and remembers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from session_middleware.authorities.base import Alive, Attached, Authority
from session_middleware.authorities.local import LocalAuthority
from session_middleware.authorities.routes import Serves
from session_middleware.core import lifetime
from session_middleware.core.credentials import Credentials, Known
from session_middleware.core.exchange import NO_RULES, Exchange, RequestFacts, RouteRules
from session_middleware.core.jwt import JwtKey, JwtKeys
from session_middleware.core.lifetime import Verdict
from session_middleware.core.origin import is_foreign, is_ours, is_preflight, on_this_host
from session_middleware.core.record import SessionRecord
from session_middleware.core.refusal import Refusal
from session_middleware.core.tokens import TokenKeys, derive
from session_middleware.errors import SettingsError, StoreUnavailable
from session_middleware.events import Hook
from session_middleware.issuer import Issuer
from session_middleware.reach import Reach
from session_middleware.recognising import Recogniser
from session_middleware.recording import Recording
from session_middleware.runtime import Runtime, ThreadRuntime, mutex
from session_middleware.settings import DEFAULT_LOGIN_URL, Limits, Settings
from session_middleware.stores.base import Caps, Recognises
from session_middleware.vouching import Vouching

__all__ = ["Engine"]


#: A path that leaves a folder again: "/static/../admin", and what some servers take for the same.
_CLIMBS = re.compile(r"(?:^|[/\\])\.\.(?:[/\\;]|$)")

#: Looking a member up on its enum takes Python 3.11 a tenth of a microsecond, and the hot path asks often.
_ACTIVE = Verdict.ACTIVE


class Engine(Recording):
    """Runs the rules of `core/` over a store and an authority, for one app.

    Args:
        settings: checked settings, secret keys included.
        store: a `Store`, or an `AsyncStore` in an asynchronous app.
        authority: who vouches; the app itself by default.
        runtime: how blocking work is waited for.
        clock: a callable returning seconds since the epoch; read once per request (L1).
        on_event: callables that get each `SessionEvent`.
        default_policy: what holds where `settings.default_policy` is not set ("optional" for bridged logins, L21).
        resolve_login: turns `settings.login_url` into a URL for a request; set by adapters that know route names.

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
        self._adoption_key = derive(raw_keys[0], "adoption")
        self._tokens = TokenKeys(raw_keys, settings.token_cookie)
        self._jwts = JwtKeys(settings.jwt_keys or [JwtKey.hs256(derive(key, "session jwt")) for key in raw_keys])
        subject_key = settings.jwt_subject_key or raw_keys[0]
        subject_key = subject_key if isinstance(subject_key, bytes) else subject_key.encode()
        self.issuer = Issuer(settings, self._jwts, derive(subject_key, "pairwise subject"))
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

    def _is_as_before(self, x: Exchange, known: Known, record: SessionRecord | None) -> bool:
        """Do what the recogniser does once a store that has no `holds` has answered with the very record it knows."""
        quiet, reach = known.quiet, self.reach
        if record is not quiet[0] or not quiet[3] <= x.now < quiet[4] or not reach.is_well:
            return False
        x.quiet = True
        x.verdict = _ACTIVE
        x.record, x.deadlines, x.configured = quiet[:3]
        return True

    async def authenticate(self, x: Exchange) -> None:
        """Find out whose request this is (L8): token, record, limits, authority. No write but the end of what is over."""
        if x.authenticated:
            return
        x.authenticated = True
        try:
            if self.vouching.owes:
                await self.vouching.catch_up(x.now)
            known = self._shown(x)
            if isinstance(known, Verdict):
                x.verdict = known
                if known is Verdict.TAMPERED:
                    self.tell("session_tampered", x)
                return
            x.known, x.presented = known, known.presented
            try:
                record = await self.reach.load(known.presented.key)
                if self._is_as_before(x, known, record):
                    return
                judgement = self._judgement(x, known, record)
                if self.reach.caches and record is not None and record.ended_at is None and not judgement.is_plain:
                    # A cache holds neither what has ended nor what is missing; anything else but a plain yes may be news
                    # that it has not heard: a later deadline, a renewal, when that was first presented (L5, L11).
                    record = await self.reach.load(known.presented.key, anew=True)
                    judgement = self._judgement(x, known, record)
            except StoreUnavailable:
                x.verdict = Verdict.UNAVAILABLE
                return
            await self._judge(x, known, record, judgement)
        except BaseException as fault:
            # Broken off, by a time limit in a view perhaps, and that may be before the authority has said no: unless somebody has
            # said that already, what was found stands for nothing, and whoever asks once more asks anew. Not after a mistake in
            # somebody's code: the app's error page, which asks who is there, would meet it again.
            if x.verdict in (_ACTIVE, Verdict.ANONYMOUS):
                x.authenticated, x.verdict, x.record = isinstance(fault, Exception), Verdict.ANONYMOUS, None
            raise

    def _authorization(self, x: Exchange) -> str | None:
        """Return the Authorization header if it is ours (L19); the cookies of such a request count for nothing."""
        authorization = x.facts.header("authorization") if self._header_transport else None
        return authorization if authorization is not None and is_ours(authorization) else None

    def keys_shown(self, x: Exchange) -> list[bytes]:
        """Return the store keys of all tokens of ours that came as cookies, however many."""
        return [] if self._authorization(x) is not None else self.credentials.keys_in(x.facts.cookies)

    def _shown(self, x: Exchange) -> Known | Verdict:
        authorization = self._authorization(x) if self._header_transport else None
        if authorization is not None:
            return self.credentials.read_header(authorization, x.now)
        header = x.facts.cookies
        return self.credentials.read(header, x.now, x.shown) if header else Verdict.ANONYMOUS

    def _judgement(self, x: Exchange, known: Known, record: SessionRecord | None) -> lifetime.Judgement:
        """Judge a record that was read for this request.

        Raises:
            StoreUnavailable: it is the record of another session.
        """
        if record is not None and record.public_id != known.presented.public_id:
            raise self.of_another(known.presented.key)
        x.configured, outage = self.settings.default_limits, None
        if record is not None and record.ended_at is None:
            x.configured, outage = self._configured(record, known, x.now), self.reach.outage_of(record.key)
        return lifetime.judge(record, known.presented.generation, x.now, x.configured, self.settings.timing, outage)

    async def _judge(
        self, x: Exchange, known: Known, record: SessionRecord | None, judgement: lifetime.Judgement
    ) -> None:
        x.verdict, x.deadlines = judgement.verdict, judgement.deadlines
        if record is None or judgement.verdict is Verdict.UNKNOWN:
            self.tell("session_unknown", x)
            return
        x.record = record
        if judgement.verdict is Verdict.LIFETIME_EXCEEDED and await self._ceiling_moved(x, known, record):
            record = x.record
            judgement = self._judgement(x, known, record)
            x.verdict, x.deadlines = judgement.verdict, judgement.deadlines
        if x.verdict is Verdict.UNAVAILABLE:
            return
        if judgement.verdict is not Verdict.ACTIVE:
            await self._refuse_record(x, record, judgement)
            return
        newer = judgement.presented == "newer"
        if judgement.presented == "previous" or (known.presented.key_index > 0 and not newer):
            x.reissue = True
        await self._ask_authority(x, known)
        # Only now: while the store is waited for, another task of the view's may look, and the authority has not said yes.
        if newer and x.verdict is _ACTIVE:
            await self._accept_newer(x, record)

    async def _refuse_record(self, x: Exchange, record: SessionRecord, judgement: lifetime.Judgement) -> None:
        """Write down that a session is over, once (L16), and say what happened."""
        verdict = judgement.verdict
        if verdict is Verdict.REPLAYED and record.ended_at is None:
            self.tell("session_replayed", x)
            if self.settings.on_replay == "refuse":
                return
        if record.ended_at is not None:
            self.tell("session_use_after_end", x, reason=record.end_reason or "revoked")
        else:
            by_deadline = verdict in (Verdict.INACTIVITY_TIMEOUT, Verdict.LIFETIME_EXCEEDED)
            at = judgement.deadlines.ends_at if by_deadline else x.now
            await self.end(record.key, verdict.value, at, x.now, record, x=x)
            self.tell("session_ended", x, reason=verdict.value)
        await self.clear_framework(x)

    async def _accept_newer(self, x: Exchange, record: SessionRecord) -> None:
        """Record a generation that only we can have signed: a fail-over of the store lost its renewal (L11)."""
        assert x.presented is not None
        try:
            moved = await self.reach.write("renew", record.key, record.generation, x.presented.generation, x.now)
        except StoreUnavailable:
            return
        if moved is not None:
            x.record = moved

    async def _ask_authority(self, x: Exchange, known: Known) -> None:
        vouching, record = self.vouching, x.record
        interval = vouching.interval
        if interval is None:
            return
        # A clock set back is no reason to trust; a header of the provider's is not part of what `known` stands for.
        if not vouching.reads_headers and 0 <= x.now - known.verified_at < interval:
            return
        assert record is not None
        shown = vouching.shown(x.facts)
        at = vouching.vouched_at(record, shown, x.now)
        if at is not None:
            known.verified_at = at
            return
        x.verdict = Verdict.ANONYMOUS  # for another task of the view's that looks before the answer is there
        vouch = await vouching.verify(record, shown, x.now)
        x.relay += vouch.relay
        if vouch.alive is Alive.ALIVE:
            if vouch.login is not None:
                await self._compare(x, record, vouch.login)
            if x.anew is None:
                known.verified_at = x.now
            if x.verdict is Verdict.ANONYMOUS:
                x.verdict = _ACTIVE
        elif vouch.alive is Alive.UNKNOWN:
            x.verdict = Verdict.UNAVAILABLE
        elif vouch.alive is Alive.NOT_SHOWN:
            # The token alone is half of the proof (L24). Nothing has ended: the other half may come with the next request.
            x.verdict, x.ask_for = Verdict.UNKNOWN, vouch.ask_for
        else:
            await self.revoke(x)

    async def revoke(self, x: Exchange) -> None:
        """End the session of this request: the authority, or a bridged login, says that its user is gone (L8)."""
        if x.record is not None:
            x.verdict, x.quiet = Verdict.REVOKED, False
            await self.end(x.record.key, "revoked", x.now, x.now, x.record)
            self.tell("session_ended", x, reason="authority")
            await self.clear_framework(x)

    def _stand_in(self, x: Exchange) -> bool:
        """Let a still valid session JWT stand in while the store or the authority is down (L17)."""
        known: Known | None = x.known
        if known is None or known.jwt_claims is None or x.presented is None:
            return False
        record, deadlines, configured = x.record, x.deadlines, x.configured
        if record is None:  # else it has been read, and it is the authority that is down
            record, deadlines, configured = known.record, known.deadlines, known.configured
        if record is None or deadlines is None or self.reach.is_over(record):
            return False  # a subject in a JWT may be pairwise, so only a session seen here before can be served
        # What stays open beyond this request is bounded by the JWT as well.
        deadlines = lifetime.Deadlines(deadlines.inactivity, min(deadlines.absolute, known.jwt_expires))
        if x.now >= deadlines.ends_at:
            return False
        x.record, x.deadlines, x.configured, x.stale = record, deadlines, configured, True
        return True

    def is_fresh(self, x: Exchange, within: float) -> bool:
        """Say whether the user proved who they are within `within` seconds; never on a stale answer (L17)."""
        if x.verdict is not Verdict.ACTIVE or x.record is None:
            return False
        return lifetime.is_fresh(x.record, within, x.now, self.settings.timing)

    def _configured(self, record: SessionRecord, known: Known, now: float) -> Limits:
        """Return the configured limits for a record; `limits=` is asked at most once per touch interval here (L2)."""
        if self.settings.limits is None:
            return self.limits_for(record.subject, record.claims, record.persistent)
        same = known.record is not None and known.record.revision == record.revision
        interval = self.settings.timing.touch_interval
        if (
            known.configured is None
            or not same
            or not 0 <= now - known.configured_at < interval
            or now - record.last_seen_at >= interval  # a touch may be due
        ):
            known.configured = self.limits_for(record.subject, record.claims, record.persistent, fallback=record.limits)
            known.configured_at = now
        return known.configured
