"""DOES: the only place that awaits a store or an authority, and so the only place where their order is written.

`open` runs before the view (who is this, may they come in), `close` when the response starts (which cookies go out).
Everything that is decided is decided in `core/`; this file asks, writes and remembers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode, urlsplit

from session_middleware.adopting import Adopting
from session_middleware.authorities.base import NOTHING_SHOWN, Alive, Attached, Authority
from session_middleware.authorities.local import LocalAuthority
from session_middleware.authorities.routes import Serves
from session_middleware.core import cookies, lifetime
from session_middleware.core.credentials import Credentials, Known
from session_middleware.core.exchange import (
    NO_RULES,
    Exchange,
    RequestFacts,
    RouteRules,
    is_activity,
)
from session_middleware.core.jwt import JwtKey, JwtKeys
from session_middleware.core.lifetime import Verdict
from session_middleware.core.origin import is_foreign, is_preflight, on_this_host
from session_middleware.core.provider import mark_of
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.core.refusal import Refusal, Reply, refuse
from session_middleware.core.replies import problem
from session_middleware.core.tokens import TokenKeys, derive, key_of
from session_middleware.errors import (
    SessionError,
    SettingsError,
    StoreUnavailable,
)
from session_middleware.events import Hook, SessionEvent, announce
from session_middleware.issuer import Issuer
from session_middleware.reach import Reach
from session_middleware.runtime import Runtime, ThreadRuntime
from session_middleware.settings import AAL3_OVERALL, DEFAULT_LOGIN_URL, Limits, Settings
from session_middleware.stores.base import Caps, EndsBefore, Recognises
from session_middleware.vouching import Vouching

__all__ = ["Engine"]


#: A path that leaves a folder again: "/static/../admin", and what some servers take for the same.
_CLIMBS = re.compile(r"(?:^|[/\\])\.\.(?:[/\\;]|$)")

#: Looking a member up on its enum takes Python 3.11 a tenth of a microsecond, and the hot path asks often.
_ACTIVE = Verdict.ACTIVE


class Engine(Adopting):
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
        # None where the quiet path is not to be had: it knows sessions by their Cookie header alone.
        by_cookies = not self._header_transport and not self.vouching.reads_headers
        self._holds = store.holds if isinstance(store, Recognises) and by_cookies else None
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
        )
        self.reach = Reach(
            store,
            runtime=self.runtime,
            clock=clock,
            retention=settings.timing.ended_retention,
            announce=lambda name, detail: self.announce(name, self.clock(), detail=detail),
        )

    # --- a request ---------------------------------------------------------------------------------------------

    def begin(self, facts: RequestFacts) -> Exchange:
        """Start an exchange; nothing is read yet but the clock."""
        return Exchange(facts, self.clock())

    def open_quietly(self, x: Exchange, rules: RouteRules) -> bool:
        """Do what `open` does for a request for which nothing is due, without a coroutine; False: ask `open`."""
        policy = rules.policy or self.default_policy
        if self._exempts or policy == "exempt" or rules.fresh_within is not None:
            return False
        facts = x.facts
        if facts.websocket or facts.method == "OPTIONS" or not self.quiet(x):
            return False
        x.rules = rules
        x.judged = True
        x.protected = policy == "required"
        return True

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
            return None
        if not x.authenticated and not self.quiet(x):
            await self.authenticate(x)
        x.protected = policy == "required"
        if self._adopts and not x.quiet:
            await self._adopt(x)
        if x.verdict is _ACTIVE:
            # Refused before it is recorded: a refused request is no activity (L6). On an optional route too: a socket of
            # another origin would speak for the user there (ASVS 4.4.2).
            if x.facts.websocket and is_foreign(x.facts, self.settings):
                return self.refusal(x, "signed_out")
            within = rules.fresh_within
            if within is not None and not (self.is_fresh(x, within) or await self.proves_anew(x, within)):
                return self.refusal(x, "fresh_login" if x.verdict is _ACTIVE else x.verdict.reason)
            if x.created is None and not x.quiet:
                await self._record_activity(x)
        if x.verdict is _ACTIVE:
            return None
        if x.verdict is Verdict.UNAVAILABLE:
            outage = rules.on_unavailable or self.settings.on_unavailable
            if outage == "stale" and rules.fresh_within is None and self._stand_in(x):
                return None
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

    def quiet(self, x: Exchange) -> bool:
        """Recognise a request for which no rule would answer otherwise than last time; False means: ask them all.

        This is the hot path. It must agree with `authenticate` and with every `due` rule: the quiet instants come from
        `lifetime.quiet_until`, and a test compares the two paths.
        """
        known = self.credentials.remembered.get(x.facts.cookies)
        if known is None or (quiet := known.quiet) is None or (holds := self._holds) is None:
            return False
        record, deadlines, configured, since, until = quiet
        reach = self.reach
        if not since <= x.now < until or x.authenticated or reach.down_since is not None or reach.unended:
            return False
        try:
            if not holds(record):
                return False
        except Exception:
            return False  # the general path meets the same fault and says so
        x.authenticated = x.quiet = True
        x.verdict = _ACTIVE
        x.known = known
        x.record = record
        x.presented = known.presented
        x.deadlines = deadlines
        x.configured = configured
        return True

    def _is_as_before(self, x: Exchange, known: Known, record: SessionRecord | None) -> bool:
        """Do what `quiet` does once a store that has no `holds` has answered with the very record it knows."""
        quiet, reach = known.quiet, self.reach
        if quiet is None or record is not quiet[0] or not quiet[3] <= x.now < quiet[4] or not reach.is_well:
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

    def _shown(self, x: Exchange) -> Known | Verdict:
        if self.settings.transport == "header":
            authorization = x.facts.header("authorization")
            if authorization is not None:
                return self.credentials.read_header(authorization, x.now)
        header = x.facts.cookies
        return self.credentials.read(header, x.now) if header else Verdict.ANONYMOUS

    def _judgement(self, x: Exchange, known: Known, record: SessionRecord | None) -> lifetime.Judgement:
        x.configured = self.settings.default_limits
        if record is not None and record.ended_at is None:
            x.configured = self._configured(record, known, x.now)
        return lifetime.judge(
            record, known.presented.generation, x.now, x.configured, self.settings.timing, self.reach.outage
        )

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
        if judgement.presented == "newer":
            await self._accept_newer(x, record)
        elif judgement.presented == "previous" or known.presented.key_index > 0:
            x.reissue = True
        await self._ask_authority(x, known)

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
        vouch = await vouching.verify(record, shown, x.now)
        x.relay += vouch.relay
        if vouch.alive is Alive.ALIVE:
            known.verified_at = x.now
            if vouch.login is not None:
                await self._compare(x, record, vouch.login)
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
            x.verdict = Verdict.REVOKED
            await self.end(x.record.key, "revoked", x.now, x.now, x.record)
            self.tell("session_ended", x, reason="authority")
            await self.clear_framework(x)

    async def _record_activity(self, x: Exchange) -> None:
        """Touch, take note of a first presentation, renew: whatever is due (L5, L6, L11); then remember the quiet time."""
        record, known = x.record, x.known
        assert record is not None
        assert x.presented is not None
        timing = self.settings.timing
        activity = is_activity(x.facts, x.rules, self.settings.activity)
        if activity and self.vouching.extension_due(record, x.now):
            await self.extend_there(x)
            if x.verdict is not Verdict.ACTIVE or x.record is None:
                return
            record = x.record
        if activity or x.rules.sets_cookies:  # our status and list write nothing at all
            current = x.presented.generation == record.generation
            touch = lifetime.touch(record, x.now, x.configured, timing, activity=activity, presented=current)
            if touch is not None:
                touched = await self.reach.touch(record, touch)
                if touched is None:  # it ended between the read and this write (L13)
                    x.verdict = Verdict.REVOKED
                else:
                    record = touched
        if (
            activity
            and x.verdict is Verdict.ACTIVE
            and not x.facts.websocket
            and lifetime.renewal_due(record, x.presented.generation, x.now, timing)
        ):
            record = await self._renew(x, record)
        if record is not x.record:  # else what was judged stands, silence moved by an outage included (L17)
            x.record = record
            x.deadlines = lifetime.deadlines(record, x.configured, timing)
        self._remember_quiet(x, known)

    def _remember_quiet(self, x: Exchange, known: Known) -> None:
        """Work out until when the general path would find nothing to do for this Cookie header."""
        record, presented = x.record, known.presented
        assert record is not None
        known.record, known.deadlines, known.configured = record, x.deadlines, x.configured
        known.quiet = None  # replaced as a whole: another thread may be reading it
        if (
            x.verdict is not Verdict.ACTIVE
            or x.deadlines is None
            or presented.generation != record.generation
            or presented.key_index > 0
            or (record.generation > 0 and record.presented_at is None)
            or self._jwt_due(x)
            or record.key in self.reach.unsaved
            or self.vouching.reads_headers
        ):
            return
        until = lifetime.quiet_until(record, x.deadlines, int(known.jwt_expires), x.configured, self.settings.timing)
        if self.vouching.interval is not None:
            until = min(until, known.verified_at + self.vouching.interval)
        if self.settings.limits is not None:
            until = min(until, known.configured_at + self.settings.timing.touch_interval)
        if x.now < until:
            known.quiet = (record, x.deadlines, x.configured, x.now, until)
            x.quiet = not x.relay

    async def _renew(self, x: Exchange, record: SessionRecord) -> SessionRecord:
        """Give the session its next token; of parallel requests one wins and all get the same successor (L11)."""
        try:
            renewed: SessionRecord | None = await self.reach.write(
                "renew", record.key, record.generation, record.generation + 1, x.now
            )
            if renewed is None:
                renewed = await self.reach.load(record.key, anew=True)  # another request was first
            else:
                self.tell("session_renewed", x)
        except StoreUnavailable:
            return record  # renewal waits
        if renewed is None or renewed.ended_at is not None:
            x.verdict = Verdict.REVOKED
            return record
        x.reissue = renewed.generation > record.generation
        return renewed

    def _stand_in(self, x: Exchange) -> bool:
        """Let a still valid session JWT stand in for the record while the store is down (L17)."""
        known: Known | None = x.known
        if known is None or known.jwt_claims is None or known.jwt_expires <= x.now:
            return False
        if known.record is None or x.presented is None or self.reach.has_ended(x.presented.key):
            return False  # a subject in a JWT may be pairwise, so only a session seen here before can be served
        x.record, x.deadlines, x.configured, x.stale = known.record, known.deadlines, known.configured, True
        return True

    def refusal(self, x: Exchange, reason: str | None) -> Refusal:
        """Say why a request is not served."""
        retry = self.settings.timing.retry_after if x.verdict is Verdict.UNAVAILABLE else None
        login_url = self.login_url(x.facts)
        if x.ask_for:
            reason = "fresh_login"  # who is there is known, and has to prove more
            login_url += ("&" if "?" in login_url else "?") + urlencode(x.ask_for)
        self.tell("session_refused", x, reason=reason or "anonymous")
        return Refusal(x.verdict, reason, login_url, retry)

    def login_url(self, facts: RequestFacts) -> str:
        """Return where this request is to sign in: a path below the mount, a route's URL, or what a callable says."""
        url = self.settings.login_url
        if callable(url):
            return url(facts)
        if self.signs_in:
            url = f"{facts.mount}{self.settings.endpoint_prefix}/login"
        elif self._resolve_login is not None:
            url = self._resolve_login(facts, url)
        elif url.startswith("/"):
            url = facts.mount + url
        return on_this_host(url, more="?#[]") if url.startswith("/") else url

    def render(self, x: Exchange, refusal: Refusal) -> Reply:
        """Render a refusal, by the app's own `refusal=` where that answers (L15)."""
        own = self.settings.refusal
        reply = None if own is None else own(x.facts, refusal)
        return reply if isinstance(reply, Reply) else refuse(x.facts, refusal, self.return_param)

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

    def is_fresh(self, x: Exchange, within: float) -> bool:
        """Say whether the user proved who they are within `within` seconds; never on a stale answer (L17)."""
        if x.verdict is not Verdict.ACTIVE or x.record is None:
            return False
        return lifetime.is_fresh(x.record, within, x.now, self.settings.timing)

    # --- a response --------------------------------------------------------------------------------------------

    async def close(self, x: Exchange) -> list[str]:
        """Finish the exchange when the response starts; return the Set-Cookie values that go out.

        Raises:
            StoreUnavailable: claims or data could not be saved.
        """
        if x.closed:
            return []
        x.closed = True
        if x.deletes and x.created is None:
            names = (self.settings.token_cookie, self.settings.jwt_cookie)
            return [*(cookies.delete_line(self.settings, name) for name in names), *cookies.relayed(x.relay)]
        try:
            return [*await self._finish(x), *cookies.relayed(x.relay)]
        except StoreUnavailable:
            if x.created is not None:  # its cookie never goes out (L25)
                await self.end_for(x, x.created, "abandoned")
            raise

    async def _finish(self, x: Exchange) -> list[str]:
        if x.claim_changes or x.data is not None:
            await self.save_changes(x)
        if x.verdict is not Verdict.ACTIVE or x.record is None or not x.authenticated:
            return []
        if x.facts.websocket or x.facts.method == "OPTIONS" or not x.rules.sets_cookies:
            return []
        if not x.reissue and not self._jwt_due(x):
            return []
        return await self._issue(x)

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
        return self.vary_on if x.authenticated or x.relay else ""

    async def _issue(self, x: Exchange) -> list[str]:
        """Return our cookies, after one more look at the record: none go out once the session has ended (L13)."""
        record = x.record
        assert record is not None
        try:
            record = await self.reach.load(record.key, anew=True)
        except StoreUnavailable:
            if x.created is not None:
                raise
            return []
        if record is None or record.ended_at is not None:
            x.verdict = Verdict.REVOKED
            return []
        x.record = record
        x.deadlines = lifetime.deadlines(record, x.configured, self.settings.timing)
        if x.now >= x.deadlines.ends_at or not await self._carries_on(x, record):
            return []
        age = cookies.max_age(x.deadlines.absolute, x.now) if record.persistent else None
        lines = []
        if x.reissue:
            if x.created is not None:
                token_id = x.created_id
            else:
                assert x.presented is not None
                token_id = x.presented.token_id
            token = self._tokens.sign(token_id, record.generation)
            lines.append(cookies.set_line(self.settings, self.settings.token_cookie, token, age))
        if self._jwt_due(x):
            try:
                text = self.issuer.mint(record, x.now, x.deadlines.ends_at)
            except SettingsError as fault:
                # Two writers whose claims fit one by one, or a setting that lists more than before: no fault of the user's.
                self.tell("settings_fault", x, fault=fault.field)
            else:
                lines.append(cookies.set_line(self.settings, self.settings.jwt_cookie, text, age))
        for key in x.replaced:
            if x.outgoing is not None and x.outgoing.key == key:
                await self.end_for(x, x.outgoing, "replaced")
            else:  # over already, or a token without a record
                await self.end(key, "replaced", x.now, x.now)
        x.replaced = ()
        return lines

    async def _carries_on(self, x: Exchange, record: SessionRecord) -> bool:
        """End the session that step_up carries on; if somebody else has ended it meanwhile, dead wins (L13)."""
        before = x.stepped_from
        if before is None:
            return True
        owed = before in self.reach.unended
        try:
            was_alive = await self.reach.end_now(before, "replaced", x.now)
        except StoreUnavailable:
            held = await self.reach.load(before, anew=True)  # did the fault come before the write, or after it?
            was_alive = held is not None and (held.ended_at is None or held.end_reason == "replaced")
            await self.end(before, "replaced", x.now, x.now)
        if was_alive and not owed:
            self.issuer.forget(before)
            return True
        await self.end_for(x, record, "replaced")
        x.verdict = Verdict.REVOKED
        return False

    def _jwt_due(self, x: Exchange) -> bool:
        """Say whether the JWT that came with a live session must be replaced, or none of ours came."""
        known: Known | None = x.known
        if x.created is not None or known is None or known.jwt is None or known.jwt_claims is None:
            return True
        assert x.record is not None
        assert x.deadlines is not None
        return self.issuer.is_due(known.jwt, known.jwt_claims, x.record, x.now, x.deadlines.ends_at)

    def current_jwt(self, x: Exchange) -> str | None:
        """Return the session JWT that stands for this request, to hand to another service; None without a session."""
        if x.verdict is not Verdict.ACTIVE or x.record is None or x.deadlines is None:
            return None
        if x.known is not None and not self._jwt_due(x):
            text: str = x.known.jwt
            return text
        return self.issuer.mint(x.record, x.now, x.deadlines.ends_at)

    def verify_jwt(self, text: str) -> dict[str, Any]:
        """Return the claims of a session JWT of this app (L9); for the user's other services.

        Raises:
            InvalidToken: it is not ours, or not valid now.
        """
        return self.credentials.claims_of(text, self.clock())

    def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JWK Set (RFC 7517 §5); symmetric keys never appear in it."""
        return self._jwts.jwks()

    # --- sessions as such, in and outside requests --------------------------------------------------------------

    async def list_of(self, subject: str, now: float) -> list[SessionRecord]:
        """Return the live sessions of a subject, the latest seen first."""
        owed = set(self.reach.unended)  # the read may write them after it has read
        found = await self.reach.read("list", handle_of("subject", subject), now)
        timing, live = self.settings.timing, []
        for held in found:
            if held.subject != subject or held.key in owed or held.key in self.reach.unended:
                continue
            record = self.reach.as_known(held)
            configured = self.limits_for(record.subject, record.claims, record.persistent, fallback=record.limits)
            judgement = lifetime.judge(record, record.generation, now, configured, timing, self.reach.outage)
            if judgement.verdict is Verdict.ACTIVE:
                live.append(record)
        return sorted(live, key=lambda record: record.last_seen_at, reverse=True)

    async def end_id(self, public_id: str, now: float, reason: str = "revoked") -> bool:
        """End one session by its public id; True if it was alive.

        Raises:
            StoreUnavailable: the end could not be stored.
        """
        key = key_of(public_id)
        try:
            record = await self.reach.load(key, anew=True)
        except StoreUnavailable:
            record = None  # an end needs only the id (L13); whether it leaves a mark at a provider cannot be known
        ended = await self._end_now(key, record, reason, now)
        if ended:
            self.announce("session_ended", now, public_id, detail={"reason": reason})
        return ended

    async def end_all(
        self, subject: str, now: float, except_keys: Collection[bytes] = (), reason: str = "revoked"
    ) -> int:
        """End every session of a subject but some; return how many were alive.

        Raises:
            StoreUnavailable: an end could not be stored; some sessions may have ended.
        """
        count = 0
        for record in await self.reach.read("list", handle_of("subject", subject), now):
            if record.key in except_keys or record.subject != subject:
                continue
            if await self._end_now(record.key, record, reason, now):
                count += 1
                self.announce("session_ended", now, record.public_id, subject, detail={"reason": reason})
        return count

    async def end_before(self, instant: float, now: float) -> None:
        """End every session authenticated before an instant, in constant time.

        Raises:
            SessionError: the store has no such power.
            StoreUnavailable: it could not be stored.
        """
        if not isinstance(self.store, EndsBefore):
            raise SessionError(f"{type(self.store).__name__} cannot end sessions by date.", code="not_supported")
        await self.reach.write("end_before", instant, now)

    async def _end_now(
        self, key: bytes, record: SessionRecord | None, reason: str, now: float, *, tell: bool = True
    ) -> bool:
        mark = None if record is None or record.ended_at is not None else mark_of(record, now)
        if mark is not None:
            await self.reach.mark(mark)
        ended = await self.reach.end_now(key, reason, now)
        if mark is not None and record is not None and tell:
            await self.vouching.end(record, NOTHING_SHOWN, reason, now)
        return ended

    async def end(
        self,
        key: bytes,
        reason: str,
        at: float,
        now: float,
        record: SessionRecord | None = None,
        *,
        x: Exchange | None = None,
        unseen: bool = False,
    ) -> bool:
        """End a session, here at once and in the store as soon as it answers; False: not stored yet (L17).

        Args:
            key: the record's.
            reason: why.
            at: the instant of the end: of the deadline, where one has passed.
            now: the request's.
            record: given where the provider session that it may stand on must not bring it back (L24); not where it
                goes on as another one, after a login over it or a step-up.
            x: the exchange, where the provider is to be told, and its own cookies go; None where it has told us.
            unseen: whether the record could not be read, so that what it stands on is found out later.
        """
        self.issuer.forget(key)
        if record is None or (self.settings.silent_sso and reason == Verdict.INACTIVITY_TIMEOUT.value):
            return await self.reach.end(key, reason, at, now, unseen=unseen)
        mark = mark_of(record, at)
        if mark is not None:
            await self.reach.mark(mark)  # before the end: a crash between them leaves a mark too many, not one too few
        stored = await self.reach.end(key, reason, at, now)
        if x is not None:
            x.relay += await self.vouching.end(record, self.vouching.shown(x.facts), reason, now)
        return stored

    async def end_for(self, x: Exchange, record: SessionRecord, reason: str) -> None:
        """End a live session in the course of a request, and say so."""
        await self.end(record.key, reason, x.now, x.now)
        address = self.address(x.facts)
        self.announce("session_ended", x.now, record.public_id, record.subject, address, {"reason": reason})

    # --- small things ------------------------------------------------------------------------------------------

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

    def limits_for(
        self, subject: str, claims: Mapping[str, Any], persistent: bool, fallback: Limits | None = None
    ) -> Limits:
        """Return the configured limits of a subject; `fallback` instead of raising where `limits=` fails (L2)."""
        settings = self.settings
        if settings.limits is None:
            return settings.max_age_limits if persistent else settings.default_limits
        try:
            answer = settings.limits(subject, claims)
            if not isinstance(answer, Limits):
                raise SettingsError("limits", answer, "is not Limits.", "Let the function return Limits(...).")
            if settings.aal == "aal3" and answer.absolute_lifetime > AAL3_OVERALL:
                raise SettingsError(
                    "limits",
                    answer,
                    "is beyond what aal3 allows (NIST SP 800-63B-4 §2.3.3: 12 hours).",
                    "Give at most 43200.",
                )
        except Exception as fault:
            if fallback is None:
                raise
            # Nobody is logged out by a fault of the app's own function: what held at login goes on.
            self.announce("settings_fault", self.clock(), subject=subject, detail={"fault": type(fault).__name__})
            return fallback
        return answer

    def address(self, facts: RequestFacts) -> str | None:
        """Return the client's address: the peer's, or what `client_address` makes of the request; None where it fails.

        It is asked while sessions end, and a fault of the app's own function must not keep one alive.
        """
        find = self.settings.client_address
        if find is None:
            return facts.client
        try:
            found = find(facts)
        except Exception as fault:
            self.announce("settings_fault", self.clock(), detail={"fault": type(fault).__name__})
            return None
        return found if isinstance(found, str) else None

    async def clear_framework(self, x: Exchange) -> None:
        """Clear the framework's own session data (L26)."""
        clear = x.clear_framework or getattr(x.facts, "clear_framework", None)
        if clear is not None:
            waiting = clear()
            if waiting is not None:
                await waiting

    def tell(self, name: str, x: Exchange, **detail: str) -> None:
        """Announce something about a request."""
        record, presented = x.record, x.presented
        session = record.public_id if record is not None else presented.public_id if presented is not None else None
        subject = record.subject if record is not None else None
        self.announce(name, x.now, session, subject, self.address(x.facts), detail)

    def announce(
        self,
        name: str,
        at: float,
        session: str | None = None,
        subject: str | None = None,
        address: str | None = None,
        detail: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Give an event to the logger and to every hook."""
        announce(SessionEvent(name, at, session, subject, address, detail), self.hooks)
