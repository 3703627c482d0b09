"""DOES: the only place that awaits a store or an authority, and so the only place where their order is written.

`open` runs before the view (who is this, may they come in), `close` when the response starts (which cookies go out).
Everything that is decided is decided in `core/`; this file asks, writes and remembers.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any
from urllib.parse import quote, urlsplit

from session_middleware.authorities.base import Alive, Authority
from session_middleware.authorities.local import LocalAuthority
from session_middleware.core import cookies, lifetime
from session_middleware.core.credentials import Credentials, Known
from session_middleware.core.exchange import (
    NO_RULES,
    Exchange,
    RequestFacts,
    RouteRules,
    changed,
    is_activity,
)
from session_middleware.core.jwt import JwtKey, JwtKeys
from session_middleware.core.lifetime import Deadlines, Outage, Touch, Verdict
from session_middleware.core.origin import is_cross_site, is_foreign, is_preflight
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.core.refusal import Refusal
from session_middleware.core.tokens import ID_BYTES, TokenKeys, b64encode, derive, key_of, public_id_of
from session_middleware.errors import (
    RecordUnreadable,
    ResponseAlreadyStarted,
    SessionError,
    SettingsError,
    StoreUnavailable,
)
from session_middleware.events import Hook, SessionEvent, announce
from session_middleware.runtime import Runtime, ThreadRuntime, bind, mutex
from session_middleware.settings import AAL3_OVERALL, Limits, Settings
from session_middleware.stores.base import EndsBefore, Recognises

__all__ = ["Engine"]

STORE_METHODS = ("create", "load", "touch", "save", "renew", "end", "list", "end_before", "add_once", "prune")

#: Touches and ends kept while the store cannot be written to; more than this and the oldest are dropped (touches only).
KEPT_WRITES = 10_000

#: A claims write meets another writer; each retry re-reads. More than this many in a row is a fault.
SAVE_TRIES = 20


class Engine:
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
        self.settings = settings
        self.store = store
        self.runtime: Runtime = runtime or ThreadRuntime()
        self.authority: Authority = authority or LocalAuthority()
        attach = getattr(self.authority, "attach", None)
        if attach is not None:
            attach(self.runtime)
        interval = settings.verify_interval
        self._verify_interval: float | None = self.authority.verify_interval
        if self._verify_interval is not None and interval is not None:
            self._verify_interval = float(interval)  # type: ignore[arg-type]  # a float since Settings checked it
        self._exempt_exact = frozenset(path for path in settings.exempt_paths if not path.endswith("/*"))
        self._exempt_below = tuple(path[:-1] for path in settings.exempt_paths if path.endswith("/*"))
        self._header_transport = settings.transport == "header"
        self.vary_on = "Cookie, Authorization" if self._header_transport else "Cookie"
        self.vary_header = (b"vary", self.vary_on.encode())
        self.clock = clock
        self.hooks = tuple(on_event)
        self.default_policy = settings.default_policy or default_policy
        self.return_param = settings.return_param or return_param
        self._resolve_login = resolve_login
        self._call = bind(store, STORE_METHODS, self.runtime)
        self._holds = store.holds if isinstance(store, Recognises) else None

        raw_keys = [key for key in settings.secret_keys if isinstance(key, bytes)]  # all are, since Settings checked
        self._tokens = TokenKeys(raw_keys, settings.token_cookie)
        self._jwts = JwtKeys(settings.jwt_keys or [JwtKey.hs256(derive(key, "session jwt")) for key in raw_keys])
        self._pairwise = derive(raw_keys[0], "pairwise subject")
        self.issuer = settings.jwt_issuer or settings.cookie_name
        self.audience = settings.jwt_audience or settings.cookie_name
        self.credentials = Credentials(
            self._tokens,
            self._jwts,
            token_cookie=settings.token_cookie,
            jwt_cookie=settings.jwt_cookie,
            issuer=self.issuer,
            audience=self.audience,
            clock_skew=settings.timing.clock_skew,
        )
        self._mutex = mutex()
        self._minted: dict[bytes, tuple[str, int, dict[str, Any]]] = {}  # Any: claims
        self._down_since: float | None = None
        self._outage: Outage | None = None
        self._unsaved: dict[bytes, Touch] = {}
        self._unended: dict[bytes, tuple[str, float, float]] = {}
        self._retried_at = float("-inf")
        self.jwt_signatures = 0  # counted, so that a test can hold "one per process, session and rotation"

    # --- a request ---------------------------------------------------------------------------------------------

    def begin(self, facts: RequestFacts) -> Exchange:
        """Start an exchange; nothing is read yet but the clock."""
        return Exchange(facts, self.clock())

    async def open(self, x: Exchange, rules: RouteRules | None = None) -> Refusal | None:
        """Judge a request to a route with these rules; a refusal means that the view must not run."""
        if rules is None:
            rules = NO_RULES
        x.rules = rules
        x.judged = True
        policy = rules.policy or self.default_policy
        if policy == "exempt" or self._is_exempt(x.facts):
            return None
        if not x.authenticated and not self.quiet(x):
            await self.authenticate(x)
        x.protected = policy == "required"
        if x.verdict is Verdict.ACTIVE and x.created is None and not x.quiet:
            await self._record_activity(x)
        if x.verdict is Verdict.ACTIVE:
            if x.protected and x.facts.websocket and is_foreign(x.facts, self.settings):
                return self.refusal(x, "signed_out")
            if rules.fresh_within is not None and not self.is_fresh(x, rules.fresh_within):
                return self.refusal(x, "fresh_login")
            return None
        if x.verdict is Verdict.UNAVAILABLE:
            outage = rules.on_unavailable or self.settings.on_unavailable
            if outage == "stale" and rules.fresh_within is None and self._stand_in(x):
                return None
        if not x.protected or self._is_login_page(x.facts):
            return None
        return self.refusal(x, x.verdict.reason)

    def _is_exempt(self, facts: RequestFacts) -> bool:
        """Say whether a request is let through in any case, untouched (L21): `exempt_paths` and CORS preflights."""
        if facts.method == "OPTIONS" and is_preflight(facts):
            return True
        if not self._exempt_exact and not self._exempt_below:
            return False
        path = facts.path
        return path in self._exempt_exact or path.startswith(self._exempt_below)

    def _is_login_page(self, facts: RequestFacts) -> bool:
        """Say whether this is where people are sent to sign in; it is open to all (L21)."""
        page = urlsplit(self.login_url(facts)).path
        return bool(page) and page == quote(facts.mount + facts.path, safe="/%:@!$&'()*+,;=-._~")

    def quiet(self, x: Exchange) -> bool:
        """Recognise a request for which no rule would answer otherwise than last time; False means: ask them all.

        This is the hot path. It must agree with `authenticate` and with every `due` rule: the quiet instants come from
        `lifetime.quiet_until`, and a test compares the two paths.
        """
        if self._holds is None or self._down_since is not None or self._unended or self._header_transport:
            return False
        known = self.credentials.remembered.get(x.facts.cookies)
        if known is None or known.quiet is None:
            return False
        record, deadlines, configured, since, until = known.quiet
        if not since <= x.now < until:
            return False
        try:
            if not self._holds(record):
                return False
        except Exception:
            return False  # the general path meets the same fault and says so
        x.authenticated = x.quiet = True
        x.verdict = Verdict.ACTIVE
        x.known = known
        x.record = record
        x.presented = known.presented
        x.deadlines = deadlines
        x.configured = configured
        return True

    async def authenticate(self, x: Exchange) -> None:
        """Find out whose request this is (L8): token, record, limits, authority. No write but the end of what is over."""
        if x.authenticated:
            return
        x.authenticated = True
        known = self._shown(x)
        if isinstance(known, Verdict):
            x.verdict = known
            if known is Verdict.TAMPERED:
                self._tell("session_tampered", x)
            return
        x.known, x.presented = known, known.presented
        try:
            record = await self._load(known.presented.key, x.now)
        except StoreUnavailable:
            x.verdict = Verdict.UNAVAILABLE
            return
        await self._judge(x, known, record)

    def _shown(self, x: Exchange) -> Known | Verdict:
        if self.settings.transport == "header":
            authorization = x.facts.header("authorization")
            if authorization is not None:
                return self.credentials.read_header(authorization, x.now)
        header = x.facts.cookies
        return self.credentials.read(header, x.now) if header else Verdict.ANONYMOUS

    async def _judge(self, x: Exchange, known: Known, record: SessionRecord | None) -> None:
        configured = self.settings.default_limits
        if record is not None and record.ended_at is None:
            configured = self._configured(record, known, x.now)
        judgement = lifetime.judge(
            record, known.presented.generation, x.now, configured, self.settings.timing, self._outage
        )
        x.verdict, x.deadlines, x.configured = judgement.verdict, judgement.deadlines, configured
        if record is None or judgement.verdict is Verdict.UNKNOWN:
            self._tell("session_unknown", x)
            return
        x.record = record
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
        if verdict is Verdict.REPLAYED:
            self._tell("session_replayed", x)
            if self.settings.on_replay == "refuse":
                return
        if record.ended_at is not None:
            self._tell("session_use_after_end", x, reason=record.end_reason or "revoked")
        else:
            by_deadline = verdict in (Verdict.INACTIVITY_TIMEOUT, Verdict.LIFETIME_EXCEEDED)
            await self._end(record.key, verdict.value, judgement.deadlines.ends_at if by_deadline else x.now, x.now)
            self._tell("session_ended", x, reason=verdict.value)
        await self._clear_framework(x)

    async def _accept_newer(self, x: Exchange, record: SessionRecord) -> None:
        """Record a generation that only we can have signed: a fail-over of the store lost its renewal (L11)."""
        assert x.presented is not None
        try:
            moved = await self._write("renew", record.key, record.generation, x.presented.generation, x.now)
        except StoreUnavailable:
            return
        if moved is not None:
            x.record = moved

    async def _ask_authority(self, x: Exchange, known: Known) -> None:
        interval = self._verify_interval
        if interval is None or x.now - known.verified_at < interval:
            return
        assert x.record is not None
        try:
            vouch = await self.authority.verify(x.record, x.now)
        except Exception as fault:
            self._tell("authority_fault", x, fault=type(fault).__name__)
            x.verdict = Verdict.UNAVAILABLE
            return
        if vouch.alive is Alive.ALIVE:
            known.verified_at = x.now
        elif vouch.alive is Alive.UNKNOWN:
            x.verdict = Verdict.UNAVAILABLE
        else:
            x.verdict = Verdict.REVOKED
            await self._end(x.record.key, "revoked", x.now, x.now)
            self._tell("session_ended", x, reason="authority")
            await self._clear_framework(x)

    async def _record_activity(self, x: Exchange) -> None:
        """Touch, take note of a first presentation, renew: whatever is due (L5, L6, L11); then remember the quiet time."""
        record, known = x.record, x.known
        assert record is not None
        assert x.presented is not None
        timing = self.settings.timing
        activity = is_activity(x.facts, x.rules, self.settings.activity)
        if activity or x.rules.sets_cookies:  # our status and list write nothing at all
            current = x.presented.generation == record.generation
            touch = lifetime.touch(record, x.now, x.configured, timing, activity=activity, presented=current)
            if touch is not None:
                record = await self._touch(x, touch)
        if (
            activity
            and x.verdict is Verdict.ACTIVE
            and not x.facts.websocket
            and lifetime.renewal_due(record, x.presented.generation, x.now, timing)
        ):
            record = await self._renew(x, record)
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
            or known.jwt_claims is None
            or self._jwt_is_due(x, known.jwt_claims, known.jwt)
            or record.key in self._unsaved
        ):
            return
        until = lifetime.quiet_until(record, x.deadlines, int(known.jwt_expires), self.settings.timing)
        if self._verify_interval is not None:
            until = min(until, known.verified_at + self._verify_interval)
        if x.now < until:
            known.quiet = (record, x.deadlines, x.configured, x.now, until)
            x.quiet = True

    async def _touch(self, x: Exchange, touch: Touch) -> SessionRecord:
        """Write a touch; where the store cannot be written to, keep it and serve the request all the same (L17)."""
        record = x.record
        assert record is not None
        try:
            touched: SessionRecord | None = await self._write("touch", record.key, touch)
        except StoreUnavailable:
            if len(self._unsaved) >= KEPT_WRITES:
                self._unsaved.pop(next(iter(self._unsaved)))
            self._unsaved[record.key] = touch
            return touch.applied(record)
        self._unsaved.pop(record.key, None)
        if touched is None:  # it ended between the read and this write (L13)
            x.verdict = Verdict.REVOKED
            return record
        return touched

    async def _renew(self, x: Exchange, record: SessionRecord) -> SessionRecord:
        """Give the session its next token; of parallel requests one wins and all get the same successor (L11)."""
        try:
            renewed: SessionRecord | None = await self._write(
                "renew", record.key, record.generation, record.generation + 1, x.now
            )
            if renewed is None:
                renewed = await self._load(record.key, x.now)  # another request was first
            else:
                self._tell("session_renewed", x)
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
        if known.record is None or x.presented is None or x.presented.key in self._unended:
            return False  # a subject in a JWT may be pairwise, so only a session seen here before can be served
        x.record, x.deadlines, x.configured, x.stale = known.record, known.deadlines, known.configured, True
        return True

    def refusal(self, x: Exchange, reason: str | None) -> Refusal:
        """Say why a request is not served."""
        retry = self.settings.timing.retry_after if x.verdict is Verdict.UNAVAILABLE else None
        self._tell("session_refused", x, reason=reason or "anonymous")
        return Refusal(x.verdict, reason, self.login_url(x.facts), retry)

    def login_url(self, facts: RequestFacts) -> str:
        """Return where this request is to sign in: a path below the mount, a route's URL, or what a callable says."""
        url = self.settings.login_url
        if callable(url):
            return url(facts)
        if self._resolve_login is not None:
            return self._resolve_login(facts, url)
        return facts.mount + url if url.startswith("/") else url

    def is_fresh(self, x: Exchange, within: float) -> bool:
        """Say whether the user proved who they are within `within` seconds; never on a stale answer (L17)."""
        return x.verdict is Verdict.ACTIVE and x.record is not None and lifetime.is_fresh(x.record, within, x.now)

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
            return [cookies.delete_line(self.settings, name) for name in self._cookie_names()]
        if x.claim_changes or x.data is not None:
            await self._save(x)
        if x.verdict is not Verdict.ACTIVE or x.record is None or not x.authenticated:
            return []
        if x.facts.websocket or x.facts.method == "OPTIONS" or not x.rules.sets_cookies:
            return []
        known: Known | None = x.known
        if (
            known is not None
            and not x.reissue
            and x.created is None
            and known.jwt_claims is not None
            and not self._jwt_is_due(x, known.jwt_claims, known.jwt)
        ):
            x.jwt = known.jwt
            return []
        return await self._issue(x)

    def is_settled(self, x: Exchange) -> bool:
        """Say that `close` would return nothing and ask nobody; lets an adapter skip it on the hot path."""
        return (
            x.claim_changes is None
            and x.data is None
            and not x.deletes
            and not x.reissue
            and x.created is None
            and (x.quiet or x.verdict is not Verdict.ACTIVE)
        )

    def vary(self, x: Exchange) -> str:
        """Return what the response depends on: the headers the session was read from, "" if it was not looked at (L18)."""
        return self.vary_on if x.authenticated else ""

    async def _issue(self, x: Exchange) -> list[str]:
        """Return our cookies, after one more look at the record: none go out once the session has ended (L13)."""
        record = x.record
        assert record is not None
        try:
            record = await self._load(record.key, x.now)
        except StoreUnavailable:
            if x.created is not None:
                raise
            return []
        if record is None or record.ended_at is not None:
            x.verdict = Verdict.REVOKED
            return []
        x.record = record
        x.deadlines = lifetime.deadlines(record, x.configured, self.settings.timing)
        if x.now >= x.deadlines.ends_at:
            return []
        age = cookies.max_age(x.deadlines.absolute, x.now) if record.persistent else None
        lines = []
        if x.reissue:
            token_id = x.created_id if x.created is not None else x.presented.token_id
            token = self._tokens.sign(token_id, record.generation)
            lines.append(cookies.set_line(self.settings, self.settings.token_cookie, token, age))
        if not x.stale:
            x.jwt, due = self._mint_if_due(x, record)
            if due:
                lines.append(cookies.set_line(self.settings, self.settings.jwt_cookie, x.jwt, age))
        for key in x.replaced:
            await self._end(key, "replaced", x.now, x.now)
        x.replaced = []
        return lines

    def _cookie_names(self) -> tuple[str, str]:
        return self.settings.token_cookie, self.settings.jwt_cookie

    # --- the session JWT (L9) ----------------------------------------------------------------------------------

    def _wanted(self, record: SessionRecord, claims: Mapping[str, Any]) -> dict[str, Any]:
        """Return the claims of a JWT for this record that do not depend on when it is minted."""
        settings = self.settings
        if settings.jwt_subject == "plain":
            subject = record.subject
        else:
            subject = b64encode(hmac.digest(self._pairwise, record.subject.encode("utf-8", "surrogatepass"), "sha256"))
        wanted: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sid": record.public_id,
            "sub": subject,
            "auth_time": int(record.authenticated_at),
        }
        if settings.aal is not None:
            wanted["acr"] = settings.aal
        methods = sorted({str(factor["type"]) for factor in record.factors if "type" in factor})
        if methods:
            wanted["amr"] = methods
        wanted.update({name: claims[name] for name in settings.jwt_claims if name in claims})
        return wanted

    def _jwt_is_due(self, x: Exchange, held: Mapping[str, Any], text: str | None) -> bool:
        """Say whether the JWT that came must be replaced: by time, by key, or because what it says has changed."""
        record = x.record
        assert record is not None
        assert x.deadlines is not None
        expires = held["exp"]
        if expires <= x.now or lifetime.jwt_due(expires, x.now, x.deadlines.ends_at, self.settings.timing):
            return True
        if text is None or not self._jwts.is_current(text):
            return True
        wanted = self._wanted(record, record.claims)
        fixed = ("iat", "nbf", "exp", "jti")
        return wanted != {name: value for name, value in held.items() if name not in fixed}

    def _mint_if_due(self, x: Exchange, record: SessionRecord) -> tuple[str, bool]:
        """Return the JWT that stands for this record now, and whether it must be sent.

        One signature per process, session and rotation: the one minted for a parallel request, or for one whose cookie
        the browser lost, is given again.
        """
        assert x.deadlines is not None
        known: Known | None = x.known
        if (
            x.created is None
            and known is not None
            and known.jwt is not None
            and known.jwt_claims is not None
            and not self._jwt_is_due(x, known.jwt_claims, known.jwt)
        ):
            return known.jwt, False
        return self._mint(record, record.claims, x.now, x.deadlines.ends_at), True

    def _mint(self, record: SessionRecord, claims: Mapping[str, Any], now: float, ends_at: float) -> str:
        wanted = self._wanted(record, claims)
        timing = self.settings.timing
        with self._mutex:
            minted = self._minted.get(record.key)
            if minted is not None:
                text, expires, said = minted
                if said == wanted and expires > now and not lifetime.jwt_due(expires, now, ends_at, timing):
                    return text
            expires = lifetime.jwt_expiry(now, ends_at, timing)
            issued = int(now)
            text = self._jwts.mint(
                {**wanted, "iat": issued, "nbf": issued, "exp": expires, "jti": secrets.token_urlsafe(12)}
            )
            cookies.check_size(self.settings.jwt_cookie, text)
            self.jwt_signatures += 1
            if len(self._minted) >= KEPT_WRITES:
                self._minted = dict(list(self._minted.items())[KEPT_WRITES // 2 :])
            self._minted[record.key] = (text, expires, wanted)
            return text

    def current_jwt(self, x: Exchange) -> str | None:
        """Return the session JWT that stands for this request, to hand to another service; None without a session."""
        if x.verdict is not Verdict.ACTIVE or x.record is None:
            return None
        x.jwt, _ = self._mint_if_due(x, x.record)
        return x.jwt

    def verify_jwt(self, text: str) -> dict[str, Any]:
        """Return the claims of a session JWT of this app (L9); for the user's other services.

        Raises:
            InvalidToken: it is not ours, or not valid now.
        """
        return self.credentials.claims_of(text, self.clock())

    def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JWK Set (RFC 7517 §5); symmetric keys never appear in it."""
        return self._jwts.jwks()

    # --- what a view may do (L7, L12, L25, L27) ------------------------------------------------------------------

    async def login(
        self,
        x: Exchange,
        subject: str,
        *,
        claims: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        factors: Sequence[Mapping[str, Any]] = (),
        persistent: bool | None = None,
        minutes: float | None = None,
        limits: Limits | None = None,
        stamp: str | None = None,
        actor: str | None = None,
    ) -> None:
        """Begin a session (L12); see `Session.login` for the arguments."""
        if x.closed:
            raise ResponseAlreadyStarted("login() came after the response had started; call it before you answer.")
        if not isinstance(subject, str) or not subject:
            raise SettingsError(
                "subject", subject, "is not a user id.", "Give a non-empty str, for example str(user.id)."
            )
        if (
            not x.rules.cross_site_login
            and is_cross_site(x.facts, self.settings)
            and x.facts.method not in ("GET", "HEAD")
        ):
            self._tell("csrf_blocked", x, verb="login")
            raise SessionError(
                "login() was called in a request that another site made (login CSRF). If this view proves the request "
                "itself, mark it with @session_optional(cross_site_login=True), or list the origin in trusted_origins.",
                code="cross_site_login",
            )
        await self.authenticate(x)
        standing = x.record if x.verdict is Verdict.ACTIVE else None
        same = standing is not None and standing.subject == subject
        all_claims, all_data, created_at = dict(claims or {}), dict(data or {}), x.now
        if same:
            assert standing is not None
            created_at = standing.created_at
            all_claims = {**x.claims, **all_claims}
            all_data = {**(x.data if x.data is not None else standing.data), **all_data}
        persistent = self.settings.persistent if persistent is None else persistent
        configured = self._limits_for(subject, all_claims, persistent)
        own = configured if limits is None else configured.capped(limits)
        record = self._new_record(
            x,
            subject=subject,
            created_at=created_at,
            authenticated_at=x.now,
            limits=own,
            deadlines=lifetime.first_deadlines(x.now, own, None, minutes),
            claims=_json("claims", {name: value for name, value in all_claims.items() if value is not None}),
            data=_json("data", all_data),
            factors=tuple(_json("factors", dict(factor)) for factor in factors),
            persistent=persistent,
            stamp=stamp,
            actor=actor,
        )
        await self._replace_with(x, record, configured)
        if not same and standing is not None:
            await self._clear_framework(x)  # another subject logs in (L26)
        self._tell("session_created", x)
        if x.facts.scheme in ("http", "ws") and not self.settings.insecure_dev and not _is_localhost(x.facts.host):
            self._tell(
                "insecure_cookie", x, host=x.facts.host, problem="the browser will drop this cookie on plain http"
            )

    async def step_up(self, x: Exchange, factors: Sequence[Mapping[str, Any]]) -> None:
        """Record a further proof of identity under a new id; both deadlines stay (L12)."""
        if x.closed:
            raise ResponseAlreadyStarted("step_up() came after the response had started; call it before you answer.")
        standing = await self.live(x, "step_up")
        added = tuple(_json("factors", dict(factor)) for factor in factors)
        now = x.now
        record = self._new_record(
            x,
            subject=standing.subject,
            created_at=standing.created_at,
            authenticated_at=standing.authenticated_at,
            limits=standing.limits,
            deadlines=Deadlines(
                standing.inactivity_deadline, lifetime.deadlines(standing, x.configured, self.settings.timing).absolute
            ),
            claims=_json("claims", x.claims),
            data=_json("data", x.data if x.data is not None else standing.data),
            factors=standing.factors + added,
            persistent=standing.persistent,
            stamp=standing.stamp,
            actor=standing.actor,
        ).evolve(
            fresh_at=now,
            last_seen_at=standing.last_seen_at,
            ceiling=standing.ceiling,
            authority=standing.authority,
            provider_session=standing.provider_session,
            extra=standing.extra,
        )
        await self._replace_with(x, record, x.configured)
        self._tell("session_stepped_up", x)

    def _new_record(
        self,
        x: Exchange,
        *,
        subject: str,
        created_at: float,
        authenticated_at: float,
        limits: Limits,
        deadlines: Deadlines,
        claims: Mapping[str, Any],
        data: Mapping[str, Any],
        factors: tuple[Mapping[str, Any], ...],
        persistent: bool,
        stamp: str | None,
        actor: str | None,
    ) -> SessionRecord:
        x.created_id = secrets.token_bytes(ID_BYTES)  # never one that a client chose (L12)
        public_id = public_id_of(x.created_id)
        attributes = {}
        agent, address = x.facts.header("user-agent"), self.address(x.facts)
        if agent:
            attributes["user_agent"] = agent[:256]
        if address:
            attributes["address"] = address[:64]
        return SessionRecord(
            key=key_of(public_id),
            public_id=public_id,
            subject=subject,
            created_at=created_at,
            authenticated_at=authenticated_at,
            last_seen_at=x.now,
            inactivity_deadline=deadlines.inactivity,
            limits=limits,
            keep_until=lifetime.keep_until(deadlines.inactivity, deadlines.absolute, self.settings.timing),
            renewed_at=x.now,
            persistent=persistent,
            claims=claims,
            data=data,
            factors=factors,
            attributes=attributes,
            handles=(handle_of("subject", subject),),
            authority=self.authority.name,
            stamp=stamp,
            actor=actor,
        )

    async def _replace_with(self, x: Exchange, record: SessionRecord, configured: Limits) -> None:
        """Create a record at once; the one it replaces ends when the response with the new cookie starts (L12, L25)."""
        deadlines = lifetime.deadlines(record, configured, self.settings.timing)
        self._mint(record, record.claims, x.now, deadlines.ends_at)  # refuses claims that make the cookie too large
        await self._write("create", record)
        if x.created is not None:  # a second login in one request: nobody ever held the first token
            await self._end(x.created.key, "replaced", x.now, x.now)
        elif x.presented is not None and x.presented.key not in x.replaced:
            x.replaced.append(x.presented.key)
        x.created = x.record = record
        x.verdict, x.configured, x.deadlines = Verdict.ACTIVE, configured, deadlines
        x.claim_changes, x.data, x.deletes, x.reissue, x.quiet = None, None, False, True, False

    async def logout(self, x: Exchange) -> None:
        """End the session at once (L25) and have the browser forget our cookies.

        Raises:
            ResponseAlreadyStarted: the cookies can no longer be removed; the session has been ended all the same.
            StoreUnavailable: the end could not be stored yet; the cookies go, and the end is retried (L17).
        """
        await self.authenticate(x)
        keys = [x.created.key] if x.created is not None else []
        keys += x.replaced
        if x.presented is not None and x.presented.key not in keys:
            keys.append(x.presented.key)
        ended = x.is_active
        stored = [await self._end(key, "logout", x.now, x.now) for key in keys]
        if ended:
            self._tell("session_ended", x, reason="logout")
        x.verdict, x.record, x.created, x.replaced = Verdict.ANONYMOUS, None, None, []
        x.claim_changes, x.data, x.reissue, x.stale = None, None, False, False
        await self._clear_framework(x)
        if x.closed:
            raise ResponseAlreadyStarted(
                "logout() came after the response had started: the session has ended, but its cookies could not be removed."
            )
        x.deletes = True
        if not all(stored):
            raise StoreUnavailable(
                "The logout could not be stored yet: this browser's cookies are removed and the end is retried."
            )

    async def extend(self, x: Exchange, minutes: float | None) -> None:
        """Set the inactivity deadline to now + minutes (L7)."""
        record = await self.live(x, "extend")
        await self._extend(x, lifetime.extend_touch(record, minutes, x.now, x.configured, self.settings.timing))

    async def continue_(self, x: Exchange, minutes: float | None) -> None:
        """Do what `POST continue` does (L7)."""
        record = await self.live(x, "continue")
        await self._extend(x, lifetime.continue_touch(record, minutes, x.now, x.configured, self.settings.timing))

    async def _extend(self, x: Exchange, touch: Touch) -> None:
        assert x.record is not None
        moved: SessionRecord | None = await self._write("touch", x.record.key, touch)
        if moved is None:
            x.verdict = Verdict.REVOKED
            raise SessionError(
                "The session ended while it was being extended; an ended session stays ended.", code="ended"
            )
        x.record, x.quiet = moved, False
        if x.created is not None:
            x.created = moved
        x.deadlines = lifetime.deadlines(moved, x.configured, self.settings.timing)
        self._tell("session_extended", x)

    async def save(self, x: Exchange) -> None:
        """Write changed claims and data now."""
        await self.live(x, "save")
        await self._save(x)

    async def live(self, x: Exchange, verb: str) -> SessionRecord:
        await self.authenticate(x)
        if x.verdict is Verdict.UNAVAILABLE:
            raise StoreUnavailable(f"{verb}() needs the store, which does not answer.")
        if x.verdict is not Verdict.ACTIVE or x.record is None:
            raise SessionError(
                f"{verb}() needs a signed-in session; this request is {x.verdict.name}. Call login() first, or mark the "
                "route @session_required.",
                code="not_signed_in",
            )
        return x.record

    def change_claims(self, x: Exchange, changes: Mapping[str, Any]) -> None:
        """Take note of changed claims; refuses what would not fit the cookie, before anything is stored (L19)."""
        if x.verdict is not Verdict.ACTIVE or x.record is None:
            raise SessionError(
                f"Claims belong to a signed-in session and this request is {x.verdict.name}: there are no anonymous "
                "sessions. Call login() first.",
                code="not_signed_in",
            )
        merged = {**(x.claim_changes or {}), **_json("claims", dict(changes))}
        if set(changes) & set(self.settings.jwt_claims):
            size = len(str(self._wanted(x.record, changed(x.record.claims, merged)))) * 4 // 3 + 400
            cookies.check_size(self.settings.jwt_cookie, "x" * size)
        x.claim_changes = merged

    def data_of(self, x: Exchange) -> dict[str, Any]:
        """Return the app's working copy of its data; changes are written when the response starts."""
        if x.verdict is not Verdict.ACTIVE or x.record is None:
            raise SessionError(
                f"Data belong to a signed-in session and this request is {x.verdict.name}: there are no anonymous "
                "sessions. Call login() first.",
                code="not_signed_in",
            )
        if x.data is None:
            x.data = deepcopy(dict(x.record.data))
        return x.data

    async def _save(self, x: Exchange) -> None:
        """Write claims and data by compare-and-swap; another's write in between is kept, name by name (L14)."""
        record = x.record
        if record is None or x.verdict is not Verdict.ACTIVE:
            return
        claim_changes, x.claim_changes = x.claim_changes or {}, None
        written: dict[str, Any] = {}
        removed: set[str] = set()
        if x.data is not None:
            before = record.data
            _json("data", x.data)
            written = {k: deepcopy(v) for k, v in x.data.items() if k not in before or before[k] != v}
            removed = set(before) - set(x.data)
        if not (claim_changes or written or removed):
            return
        for _ in range(SAVE_TRIES):
            data = {k: v for k, v in {**record.data, **written}.items() if k not in removed}
            new = record.evolve(claims=changed(record.claims, claim_changes), data=data)
            saved: SessionRecord | None = await self._write("save", new)
            if saved is not None:
                x.record, x.quiet = saved, False
                if x.created is not None:
                    x.created = saved
                if x.data is not None:
                    x.data = deepcopy(dict(saved.data))
                return
            record = await self._load(new.key, x.now)
            if record is None or record.ended_at is not None:
                x.verdict = Verdict.REVOKED  # dead wins (L13)
                return
        raise StoreUnavailable(f"Claims could not be saved: {SAVE_TRIES} other writers came first.")

    async def abandon(self, x: Exchange) -> None:
        """The app raised instead of answering: no cookie goes out, so a session made for it is ended (L25)."""
        if x.created is not None and not x.closed:
            await self._end(x.created.key, "abandoned", x.now, x.now)
            x.created, x.verdict, x.record = None, Verdict.ANONYMOUS, None
        x.closed = True

    # --- sessions as such, in and outside requests --------------------------------------------------------------

    async def list_of(self, subject: str, now: float) -> list[SessionRecord]:
        """Return the live sessions of a subject, the latest seen first."""
        found = await self._read("list", handle_of("subject", subject), now)
        timing, live = self.settings.timing, []
        for record in found:
            if record.subject != subject or record.key in self._unended:
                continue
            configured = self._limits_for(record.subject, record.claims, record.persistent)
            if lifetime.judge(record, record.generation, now, configured, timing).verdict is Verdict.ACTIVE:
                live.append(record)
        return sorted(live, key=lambda record: record.last_seen_at, reverse=True)

    async def end_id(self, public_id: str, now: float, reason: str = "revoked") -> bool:
        """End one session by its public id; True if it was alive.

        Raises:
            StoreUnavailable: the end could not be stored.
        """
        return bool(await self._write("end", key_of(public_id), reason, now, self._retained(now)))

    async def end_all(self, subject: str, now: float, except_key: bytes | None = None, reason: str = "revoked") -> int:
        """End every session of a subject but one; return how many were alive.

        Raises:
            StoreUnavailable: an end could not be stored; some sessions may have ended.
        """
        count = 0
        for record in await self._read("list", handle_of("subject", subject), now):
            if record.key != except_key and record.subject == subject:
                count += bool(await self._write("end", record.key, reason, now, self._retained(now)))
        return count

    async def end_before(self, instant: float, now: float) -> None:
        """End every session authenticated before an instant, in constant time.

        Raises:
            SessionError: the store has no such power.
            StoreUnavailable: it could not be stored.
        """
        if not isinstance(self.store, EndsBefore):
            raise SessionError(f"{type(self.store).__name__} cannot end sessions by date.", code="not_supported")
        await self._write("end_before", instant, now)

    # --- store calls -------------------------------------------------------------------------------------------

    async def _load(self, key: bytes, now: float) -> SessionRecord | None:
        """Load a record as this process knows it: what it could not yet write is applied."""
        record: SessionRecord | None = await self._read("load", key)
        if record is None:
            return None
        if key in self._unended:
            reason, at, keep = self._unended[key]
            return record.ended(reason, at, keep)
        unsaved = self._unsaved.get(key)
        return unsaved.applied(record) if unsaved is not None and record.ended_at is None else record

    async def _read(self, method: str, *args: Any) -> Any:  # Any: the store's methods, by name
        try:
            answer = await getattr(self._call, method)(*args)
        except RecordUnreadable as fault:
            self._fault(method, fault)
            raise StoreUnavailable(str(fault)) from None
        except Exception as fault:
            self._went_down(method, fault)
            raise StoreUnavailable(f"The session store failed on {method} ({type(fault).__name__}).") from fault
        if self._down_since is not None:
            self._came_back()
        if self._unended and self.clock() - self._retried_at >= 1.0:
            await self._catch_up()
        return answer

    async def _write(self, method: str, *args: Any) -> Any:  # Any: the store's methods, by name
        try:
            answer = await getattr(self._call, method)(*args)
        except Exception as fault:
            self._fault(method, fault)
            raise StoreUnavailable(f"The session store failed on {method} ({type(fault).__name__}).") from fault
        if self._unended or self._unsaved:
            await self._catch_up()
        return answer

    async def _end(self, key: bytes, reason: str, at: float, now: float) -> bool:
        """End a session; where that cannot be stored, this process treats it as ended and retries. False: not stored."""
        with self._mutex:
            self._minted.pop(key, None)
            self._unsaved.pop(key, None)
        keep = self._retained(now)
        try:
            await self._write("end", key, reason, at, keep)
        except StoreUnavailable:
            self._unended[key] = (reason, at, keep)
            return False
        return True

    async def _catch_up(self) -> None:
        """Write what a store that was down has missed (L17): ends first."""
        self._retried_at = self.clock()
        with self._mutex:
            ends, self._unended = self._unended, {}
            touches, self._unsaved = self._unsaved, {}
        try:
            while ends:
                key = next(iter(ends))
                await self._call.end(key, *ends[key])
                del ends[key]
            while touches:
                key = next(iter(touches))
                await self._call.touch(key, touches[key])
                del touches[key]
        except Exception as fault:
            self._fault("end" if ends else "touch", fault)
            with self._mutex:
                self._unended = {**ends, **self._unended}
                self._unsaved = {**touches, **self._unsaved}

    def _retained(self, now: float) -> float:
        return now + self.settings.timing.ended_retention

    def _went_down(self, method: str, fault: Exception) -> None:
        if self._down_since is None:
            self._down_since = self.clock()
        self._fault(method, fault)

    def _came_back(self) -> None:
        since, self._down_since = self._down_since, None
        if since is not None:
            now = self.clock()
            self._outage = Outage(since, now)
            self._announce("store_recovered", now, None, None, None, {"seconds": f"{now - since:.3f}"})

    def _fault(self, method: str, fault: Exception) -> None:
        detail = {"method": method, "fault": type(fault).__name__}
        self._announce("store_fault", self.clock(), None, None, None, detail)

    # --- small things ------------------------------------------------------------------------------------------

    def _configured(self, record: SessionRecord, known: Known, now: float) -> Limits:
        """Return the configured limits for a record; `limits=` is asked at most once per touch interval here (L2)."""
        if self.settings.limits is None:
            return self._limits_for(record.subject, record.claims, record.persistent)
        same = known.record is not None and known.record.revision == record.revision
        if (
            known.configured is None
            or not same
            or not 0 <= now - known.configured_at < self.settings.timing.touch_interval
        ):
            known.configured = self._limits_for(
                record.subject, record.claims, record.persistent, fallback=record.limits
            )
            known.configured_at = now
        return known.configured

    def _limits_for(
        self, subject: str, claims: Mapping[str, Any], persistent: bool, fallback: Limits | None = None
    ) -> Limits:
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
            self._announce("settings_fault", self.clock(), None, subject, None, {"fault": type(fault).__name__})
            return fallback
        return answer

    def address(self, facts: RequestFacts) -> str | None:
        """Return the client's address: the peer's, or what `client_address` makes of the request."""
        find = self.settings.client_address
        return facts.client if find is None else find(facts)

    async def _clear_framework(self, x: Exchange) -> None:
        if x.clear_framework is not None:
            waiting = x.clear_framework()
            if waiting is not None:
                await waiting

    def _tell(self, name: str, x: Exchange, **detail: str) -> None:
        record, presented = x.record, x.presented
        session = record.public_id if record is not None else presented.public_id if presented is not None else None
        self._announce(name, x.now, session, record.subject if record else None, self.address(x.facts), detail)

    def _announce(
        self,
        name: str,
        at: float,
        session: str | None,
        subject: str | None,
        address: str | None,
        detail: dict[str, str],
    ) -> None:
        announce(SessionEvent(name, at, session, subject, address, detail), self.hooks)


def _is_localhost(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name in ("localhost", "127.0.0.1", "[::1]", "") or name.endswith(".localhost")


def _json(name: str, value: Any) -> Any:  # Any: what the app gives
    """Return a value if it can be stored as JSON and comes back the same.

    Raises:
        SettingsError: it cannot.
    """
    try:
        back = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as problem:
        raise SettingsError(
            name,
            f"<{type(value).__name__}>",
            f"cannot be stored as JSON ({problem}).",
            "Use text, numbers, lists and dicts.",
        ) from None
    return back
