"""What a view may do with its session: login, step_up, logout, extend, claims and data (L7, L12, L14, L25, L27)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from session_middleware.core import lifetime
from session_middleware.core.exchange import Exchange, RequestFacts, changed
from session_middleware.core.lifetime import Deadlines, Judgement, Touch, Verdict
from session_middleware.core.origin import is_cross_site
from session_middleware.core.provider import ProviderSession, provider_handle
from session_middleware.core.record import NEVER, SessionRecord, handle_of
from session_middleware.core.tokens import ID_BYTES, key_of, public_id_of
from session_middleware.errors import ResponseAlreadyStarted, SessionError, SettingsError, StoreUnavailable
from session_middleware.settings import Limits, Settings

if TYPE_CHECKING:
    from session_middleware.authorities.base import Authority
    from session_middleware.issuer import Issuer
    from session_middleware.reach import Reach

__all__ = ["Verbs"]

#: A claims write meets another writer; each retry re-reads. More than this many in a row is a fault.
SAVE_TRIES = 20


class Verbs:
    """The half of the engine that a view calls through `Session`; `engine.Engine` is the other half."""

    if TYPE_CHECKING:
        settings: Settings
        authority: Authority
        issuer: Issuer
        reach: Reach
        clock: Callable[[], float]

        async def authenticate(self, x: Exchange) -> None: ...
        async def clear_framework(self, x: Exchange) -> None: ...
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
        ) -> bool: ...
        async def extend_there(self, x: Exchange, minutes: float | None = None) -> None: ...
        async def end_for(self, x: Exchange, record: SessionRecord, reason: str) -> None: ...
        def limits_for(
            self, subject: str, claims: Mapping[str, Any], persistent: bool, fallback: Limits | None = None
        ) -> Limits: ...
        def address(self, facts: RequestFacts) -> str | None: ...
        def tell(self, name: str, x: Exchange, **detail: str) -> None: ...
        def announce(
            self,
            name: str,
            at: float,
            session: str | None = None,
            subject: str | None = None,
            address: str | None = None,
            detail: Mapping[str, str] = ...,
        ) -> None: ...

    def check_login(self, x: Exchange, *, vouched: bool = False) -> None:
        """Refuse a request in which nobody may log in, before anything is done for it.

        Raises:
            ResponseAlreadyStarted: the headers have gone out.
            SessionError: another site made this request (L20), or its response takes no cookie (L18).
        """
        if x.closed:
            raise ResponseAlreadyStarted("login() came after the response had started; call it before you answer.")
        _can_set_cookie(x, "login")
        if (
            not x.rules.cross_site_login
            and not vouched
            and is_cross_site(x.facts, self.settings)
            and x.facts.method not in ("GET", "HEAD")
        ):
            self.tell("csrf_blocked", x, verb="login")
            raise SessionError(
                "login() was called in a request that another site made (login CSRF). If this view proves the request "
                "itself, mark it with @session_optional(cross_site_login=True), or list the origin in trusted_origins.",
                code="cross_site_login",
            )

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
        authenticated_at: float | None = None,
        token_id: bytes | None = None,
        fresh: bool = True,
        provider: ProviderSession | None = None,
        sealed: str | None = None,
        handles: Sequence[str] = (),
        vouched: bool = False,
    ) -> None:
        """Begin a session (L12); see `Session.login` for the arguments.

        `sealed` and `handles` are an authority's (`ProviderLogin`); `vouched` says that its bound state vouches for the
        request (L20). Three more are for bridges that adopt a login made elsewhere (L23): when it was made, where that is known (L3);
        the id that the bridge drew for it then, so that one login becomes one session and never a second; and False
        where nobody can say that the user has just proved who they are.
        """
        self.check_login(x, vouched=vouched)
        if not isinstance(subject, str) or not subject:
            raise SettingsError(
                "subject", subject, "is not a user id.", "Give a non-empty str, for example str(user.id)."
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
        configured = self.limits_for(subject, all_claims, persistent)
        own = configured if limits is None else configured.capped(limits)
        if provider is not None:
            authenticated_at = provider.proven_at
        proven_at = x.now if authenticated_at is None else min(authenticated_at, x.now)
        ceiling = None if provider is None else provider.ceiling
        deadlines = lifetime.first_deadlines(x.now, own, ceiling, minutes, proven_at)
        if provider is not None:
            await self._check_provider(x, provider, deadlines)
        record = self._new_record(
            x,
            subject=subject,
            created_at=created_at,
            authenticated_at=proven_at,
            limits=own,
            deadlines=deadlines,
            claims=_json("claims", {name: value for name, value in all_claims.items() if value is not None}),
            data=_json("data", all_data),
            factors=tuple(_json("factors", dict(factor)) for factor in factors),
            persistent=persistent,
            stamp=stamp,
            actor=actor,
            token_id=token_id,
        )
        if not fresh:
            record = record.evolve(fresh_at=NEVER)
        if provider is not None:
            record = record.evolve(
                authority=provider.authority,
                provider_session=provider.id,
                ceiling=ceiling,
                sealed=sealed,
                handles=(*record.handles, provider_handle(provider.authority, provider.id), *handles),
            )
        await self._replace_with(x, record, configured)
        x.stepped_from = None  # who proves who they are in full needs no earlier session
        if not same and standing is not None:
            await self.clear_framework(x)  # another subject logs in (L26)
        self.tell("session_created", x)
        if x.facts.scheme in ("http", "ws") and not self.settings.insecure_dev and not _is_localhost(x.facts.host):
            self.tell(
                "insecure_cookie", x, host=x.facts.host, problem="the browser will drop this cookie on plain http"
            )

    async def _check_provider(self, x: Exchange, provider: ProviderSession, deadlines: Deadlines) -> None:
        """Refuse a provider session that has ended here, unless the user proved who they are after that (L24)."""
        handle = provider_handle(provider.authority, provider.id)
        for record in await self.reach.read("list", handle, x.now):
            # One whose deadline has passed unnoticed ends now, and so before what stands on the same provider session.
            configured = self.limits_for(record.subject, record.claims, record.persistent, fallback=record.limits)
            found = lifetime.judge(
                record, record.generation, x.now, configured, self.settings.timing, self.reach.outage
            )
            if found.verdict in (Verdict.INACTIVITY_TIMEOUT, Verdict.LIFETIME_EXCEEDED):
                await self.end(record.key, found.verdict.value, found.deadlines.ends_at, x.now, record)
                self.announce(
                    "session_ended", x.now, record.public_id, record.subject, detail={"reason": found.verdict.value}
                )
        ended_at = await self.reach.ended_at_provider(provider.mark_key, x.now)
        if ended_at is not None and provider.proven_at <= ended_at:
            self.tell("adoption_refused", x, reason="ended")
            raise SessionError(
                "This session of the provider has ended here, and its user has not signed in there since. Send them there "
                "for a new authentication (prompt=login and max_age=0, or refresh=true).",
                code="provider_session_ended",
            )
        if deadlines.ends_at <= x.now:
            self.tell("adoption_refused", x, reason="too_old")
            raise SessionError(
                "This authentication at the provider is older than a session may become, or its session ends there. Send "
                "the user there for a new authentication.",
                code="provider_session_ended",
            )

    async def step_up(self, x: Exchange, factors: Sequence[Mapping[str, Any]]) -> None:
        """Record a further proof of identity under a new id; both deadlines stay (L12)."""
        if x.closed:
            raise ResponseAlreadyStarted("step_up() came after the response had started; call it before you answer.")
        _can_set_cookie(x, "step_up")
        standing = await self.live(x, "step_up")
        held = await self.reach.load(
            standing.key, anew=True
        )  # others may have written to it, or ended it, since we opened
        if held is None or held.ended_at is not None:
            x.verdict = Verdict.REVOKED
            raise SessionError("The session has ended; an ended session cannot be stepped up.", code="ended")
        written, removed = _data_changes(x, standing)
        data = {k: v for k, v in {**held.data, **written}.items() if k not in removed}
        standing = x.record = held
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
            claims=_json("claims", dict(x.claims)),
            data=_json("data", data),
            factors=standing.factors + added,
            persistent=standing.persistent,
            stamp=standing.stamp,
            actor=standing.actor,
        ).evolve(
            fresh_at=now,
            last_seen_at=standing.last_seen_at,
            keep_until=standing.keep_until,  # a cut of today is not written down (L2)
            ceiling=standing.ceiling,
            authority=standing.authority,
            provider_session=standing.provider_session,
            sealed=standing.sealed,
            handles=standing.handles,
            extra=standing.extra,
        )
        carries_on = standing.key if x.created is None else x.stepped_from
        await self._replace_with(x, record, x.configured)
        x.stepped_from = carries_on
        self.tell("session_stepped_up", x)

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
        token_id: bytes | None = None,
    ) -> SessionRecord:
        x.created_id = token_id or secrets.token_bytes(ID_BYTES)  # never one that a client chose (L12)
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
        self.issuer.mint(record, x.now, deadlines.ends_at)  # refuses claims that make the cookie too large
        await self._create(x, record)
        if x.created is not None:  # a second login in one request: nobody ever held the first token
            await self.end_for(x, x.created, "replaced")
        elif x.presented is not None and x.presented.key not in x.replaced:
            x.replaced = (*x.replaced, x.presented.key)
            x.outgoing = x.record if x.verdict is Verdict.ACTIVE else None
        x.created = x.record = record
        x.verdict, x.configured, x.deadlines = Verdict.ACTIVE, configured, deadlines
        x.claim_changes, x.data, x.deletes, x.reissue, x.quiet = None, None, False, True, False

    async def _create(self, x: Exchange, record: SessionRecord) -> None:
        """Store a new record, within the number of sessions that its subject may have (ASVS 7.1.2)."""
        most = self.settings.max_sessions
        if most is None:
            await self.reach.write("create", record)
            return
        # What this one replaces ends when the response starts, or right after it; until then there are more.
        standing = x.record if x.verdict is Verdict.ACTIVE else None
        going = {old.key: old.subject for old in (x.created, x.outgoing, standing) if old is not None}
        most += list(going.values()).count(record.subject)
        evict = self.settings.on_max_sessions == "evict"
        subject = handle_of("subject", record.subject)
        keep_until = x.now + self.settings.timing.ended_retention
        ended = await self.reach.write("create_capped", record, subject, most, evict, x.now, keep_until)
        if ended is None:
            limit = {"most": str(self.settings.max_sessions)}
            self.announce("session_limit", x.now, None, record.subject, detail=limit)
            raise SessionError(
                f"This user is signed in at {limit['most']} places, which is as many as max_sessions allows. End one of "
                'them (`Sessions.list`, `Sessions.end`), or set on_max_sessions="evict".',
                code="too_many_sessions",
            )
        for old in ended:
            self.issuer.forget(old.key)
            self.announce("session_ended", x.now, old.public_id, old.subject, detail={"reason": "max_sessions"})

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
        standing = x.record if ended else None  # a logout of what is over already is no later end of it (L24)
        if x.verdict is Verdict.UNAVAILABLE and x.known is not None:
            standing = x.record or x.known.record  # it may be the authority that is down, and the record read
        known = {record.key: record for record in (standing, x.created, x.outgoing) if record is not None}
        unseen = x.verdict is Verdict.UNAVAILABLE
        stored = [await self.end(key, "logout", x.now, x.now, known.get(key), x=x, unseen=unseen) for key in keys]
        if ended:
            self.tell("session_ended", x, reason="logout")
        x.verdict, x.record, x.created, x.replaced = Verdict.ANONYMOUS, None, None, ()
        x.claim_changes, x.data, x.reissue, x.stale, x.stepped_from = None, None, False, False, None
        x.quiet = False
        x.deletes = not x.closed  # whatever fails from here on
        await self.clear_framework(x)
        if x.closed:
            raise ResponseAlreadyStarted(
                "logout() came after the response had started: the session has ended, but its cookies could not be removed."
            )
        if not all(stored):
            raise StoreUnavailable(
                "The logout could not be stored yet: this browser's cookies are removed and the end is retried."
            )

    async def extend(self, x: Exchange, minutes: float | None) -> None:
        """Set the inactivity deadline to now + minutes (L7)."""
        record = await self.live(x, "extend")
        if minutes is None:
            return  # blank leaves it unchanged; even a touch would move the deadline of a cut (L2)
        record = await self._extended_there(x, record, lifetime.checked_minutes(minutes))
        await self._extend(x, lifetime.extend_touch(record, minutes, x.now, x.configured, self.settings.timing))

    async def continue_(self, x: Exchange, minutes: float | None) -> None:
        """Do what `POST continue` does (L7)."""
        record = await self.live(x, "continue")
        lifetime.continue_touch(record, minutes, x.now, x.configured, self.settings.timing)  # refuses bad minutes first
        record = await self._extended_there(x, record, minutes)
        await self._extend(x, lifetime.continue_touch(record, minutes, x.now, x.configured, self.settings.timing))

    async def touch(self, x: Exchange) -> None:
        """Record activity at this instant: a sign of the user on a connection that stays open (L4, L5, L6)."""
        held, deadlines, timing, now = x.record, x.deadlines, self.settings.timing, self.clock()
        if x.verdict is Verdict.ACTIVE and held is not None and deadlines is not None and now < deadlines.ends_at:
            if lifetime.touch(held, now, x.configured, timing, presented=False) is None:
                return
            try:
                held = await self.live(x, "touch", anew=True)
            except StoreUnavailable:
                x.now = now  # kept until the store answers, as for a request (L17)
        else:
            held = await self.live(x, "touch", anew=True)
        touch = lifetime.touch(held, x.now, x.configured, timing, presented=False)
        if touch is None:
            return
        touched = await self.reach.touch(held, touch)
        if touched is None:  # it ended between the read and this write (L13)
            x.verdict = Verdict.REVOKED
            raise SessionError("The session has ended.", code="ended")
        x.record, x.quiet = touched, False
        x.deadlines = lifetime.deadlines(touched, x.configured, timing)

    async def _extended_there(self, x: Exchange, record: SessionRecord, minutes: float | None) -> SessionRecord:
        """Extend the provider's session first, which bounds ours; where it cannot be told, ours may go as far as it is known.

        Raises:
            SessionError: it is over there.
        """
        if record.provider_session is not None:
            await self.extend_there(x, minutes)
            if x.verdict is not Verdict.ACTIVE or x.record is None:
                raise SessionError("The provider's session is over; an ended session stays ended.", code="ended")
            return x.record
        return record

    async def _extend(self, x: Exchange, touch: Touch) -> None:
        assert x.record is not None
        moved: SessionRecord | None = await self.reach.write("touch", x.record.key, touch)
        if moved is None:
            x.verdict = Verdict.REVOKED
            raise SessionError(
                "The session ended while it was being extended; an ended session stays ended.", code="ended"
            )
        x.record, x.quiet = moved, False
        if x.created is not None:
            x.created = moved
        x.deadlines = lifetime.deadlines(moved, x.configured, self.settings.timing)
        self.tell("session_extended", x)

    async def save(self, x: Exchange) -> None:
        """Write changed claims and data now."""
        await self.live(x, "save")
        await self.save_changes(x)

    async def live(self, x: Exchange, verb: str, *, anew: bool = False) -> SessionRecord:
        await self.authenticate(x)
        if (x.closed or anew) and x.verdict is Verdict.ACTIVE:
            await self.look_again(x)
        if x.verdict is Verdict.UNAVAILABLE:
            raise StoreUnavailable(f"{verb}() needs the store, which does not answer.")
        if x.verdict is not Verdict.ACTIVE or x.record is None:
            raise SessionError(
                f"{verb}() needs a signed-in session; this request is {x.verdict.name}. Call login() first, or mark the "
                "route @session_required.",
                code="not_signed_in",
            )
        return x.record

    async def look(self, key: bytes, now: float) -> tuple[SessionRecord | None, Judgement]:
        """Read and judge a session outside of its requests; a near cache is believed where it says yes (L11).

        Raises:
            StoreUnavailable: the store does not answer.
        """
        record = await self.reach.load(key)
        judgement = self._judgement_of(record, now)
        if judgement.verdict is not Verdict.ACTIVE and self.reach.caches:
            record = await self.reach.load(key, anew=True)
            judgement = self._judgement_of(record, now)
        return record, judgement

    def _judgement_of(self, record: SessionRecord | None, now: float) -> Judgement:
        configured, generation = self.settings.default_limits, 0
        if record is not None:
            configured = self.limits_for(record.subject, record.claims, record.persistent, fallback=record.limits)
            generation = record.generation
        return lifetime.judge(record, generation, now, configured, self.settings.timing, self.reach.outage)

    async def look_again(self, x: Exchange) -> bool:
        """Judge once more: what was judged when the request came may be hours old on a connection that stays open.

        Returns:
            Whether record or deadlines have changed.

        Raises:
            StoreUnavailable: the store does not answer, and the deadline that is known has not come.
        """
        assert x.record is not None
        x.now = self.clock()
        before = x.record, x.deadlines
        try:
            record, judgement = await self.look(x.record.key, x.now)
        except StoreUnavailable:
            if self.reach.has_ended(x.record.key):
                x.verdict = Verdict.REVOKED
            elif x.deadlines is not None and x.now >= x.deadlines.ends_at:
                x.verdict = Verdict.UNAVAILABLE  # nobody is served beyond what is known (L17)
            else:
                raise
            return True
        x.verdict, x.deadlines = judgement.verdict, judgement.deadlines
        if record is not None:
            x.record = record
            x.configured = self.limits_for(record.subject, record.claims, record.persistent, fallback=record.limits)
        return before != (x.record, x.deadlines)

    def change_claims(self, x: Exchange, changes: Mapping[str, Any]) -> None:
        """Take note of changed claims; refuses what would not fit the cookie, before anything is stored (L19)."""
        record = self._held(x, "Claims")
        merged = {**(x.claim_changes or {}), **_json("claims", dict(changes))}
        if set(changes) & set(self.settings.jwt_claims):
            self.issuer.check_fits(record.evolve(claims=changed(record.claims, merged)))
        x.claim_changes, x.quiet = merged, False

    def data_of(self, x: Exchange) -> dict[str, Any]:
        """Return the app's working copy of its data; changes are written when the response starts."""
        record = self._held(x, "Data")
        if x.data is None:
            x.data, x.quiet = deepcopy(dict(record.data)), False
        return x.data

    def _held(self, x: Exchange, what: str) -> SessionRecord:
        if x.verdict is Verdict.UNAVAILABLE:
            raise StoreUnavailable(f"{what} need the store, which does not answer.")  # whoever asks may be signed in
        if x.verdict is not Verdict.ACTIVE or x.record is None:
            raise SessionError(
                f"{what} belong to a signed-in session and this request is {x.verdict.name}: there are no anonymous "
                "sessions. Call login() first.",
                code="not_signed_in",
            )
        return x.record

    async def save_changes(self, x: Exchange) -> None:
        """Write claims and data by compare-and-swap; another's write in between is kept, name by name (L14)."""
        record = x.record
        if record is None or x.verdict is not Verdict.ACTIVE:
            return
        claim_changes, x.claim_changes = x.claim_changes or {}, None
        written, removed = _data_changes(x, record)
        if not (claim_changes or written or removed):
            return
        for _ in range(SAVE_TRIES):
            data = {k: v for k, v in {**record.data, **written}.items() if k not in removed}
            new = record.evolve(claims=changed(record.claims, claim_changes), data=data)
            saved: SessionRecord | None = await self.reach.write("save", new)
            if saved is not None:
                x.record, x.quiet = saved, False
                if x.created is not None:
                    x.created = saved
                if x.data is not None:
                    x.data = deepcopy(dict(saved.data))
                return
            record = await self.reach.load(new.key, anew=True)
            if record is None or record.ended_at is not None:
                x.verdict = Verdict.REVOKED  # dead wins (L13)
                return
        raise StoreUnavailable(f"Claims could not be saved: {SAVE_TRIES} other writers came first.")

    async def abandon(self, x: Exchange, *, unsent: bool = False) -> None:
        """The app raised instead of answering: no cookie goes out, so a session made for it is ended (L25).

        Args:
            x: the exchange; it is closed.
            unsent: also where a response had begun, because it has been taken back before it was sent.
        """
        if x.created is not None and (unsent or not x.closed):
            await self.end_for(x, x.created, "abandoned")
            x.created, x.verdict, x.record = None, Verdict.ANONYMOUS, None
        x.closed = True


def _can_set_cookie(x: Exchange, verb: str) -> None:
    """Refuse what would make a session that no browser ever hears of.

    Raises:
        SessionError: this response takes no cookie of ours (L18).
    """
    if x.facts.websocket:
        place = "a WebSocket handshake"
    elif x.facts.method == "OPTIONS":
        place = "the answer to OPTIONS"
    else:
        return
    raise SessionError(
        f"{verb}() needs a cookie to go out, and {place} sets none. Call it in a request whose response the browser "
        "keeps cookies of, such as a POST.",
        code="no_cookie",
    )


def _data_changes(x: Exchange, record: SessionRecord) -> tuple[dict[str, Any], set[str]]:  # Any: JSON values
    """Return what the app wrote to its working copy of the record's data, and the names it removed."""
    if x.data is None:
        return {}, set()
    before = record.data
    _json("data", x.data)
    written = {k: deepcopy(v) for k, v in x.data.items() if k not in before or before[k] != v}
    return written, set(before) - set(x.data)


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
