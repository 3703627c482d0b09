"""Whose request it is: token, record, limits, authority, in that order, and what their answers mean (L2, L8, L11, L17)."""

from __future__ import annotations

from session_middleware.authorities.base import Alive
from session_middleware.core import lifetime
from session_middleware.core.credentials import Known
from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Verdict
from session_middleware.core.origin import is_ours
from session_middleware.core.record import SessionRecord
from session_middleware.engine.recording import Recording
from session_middleware.errors import StoreUnavailable
from session_middleware.settings import Limits

__all__ = ["Authenticating"]

#: Ends of sessions that go on as another one in the same browser, or were never there: what the framework keeps is the other's.
GOES_ON = frozenset({"replaced", "abandoned"})

#: Looking a member up on its enum takes Python 3.11 a tenth of a microsecond, and this is asked often.
_ACTIVE = Verdict.ACTIVE


class Authenticating(Recording):
    """The part of the engine that finds out who is there."""

    _header_transport: bool

    async def authenticate(self, x: Exchange) -> None:
        """Find out whose request this is (L8): token, record, limits, authority. No write but the end of what is over."""
        if x.authenticated:
            return
        x.authenticated = True
        if x.closed:
            x.now = self.clock()  # opened late, on a connection that may have been open for hours
        try:
            if self.vouching.owes:
                await self.vouching.catch_up(x.now)
            known = self._shown(x)
            if isinstance(known, Verdict):
                self._refuse_shown(x, known)
                return
            x.known, x.presented = known, known.presented
            try:
                record = await self.reach.load(known.presented.key)
                if self._is_as_before(x, known, record):
                    return
                # One that the session had before may have been on its way to this browser while another tab stepped up.
                if known.jwt_of_another is not None and (record is None or not record.is_named(known.jwt_of_another)):
                    x.known = x.presented = None
                    self._refuse_shown(x, Verdict.TAMPERED)
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
            if x.closed:
                x.opened_late()
        except BaseException as fault:
            # Broken off, by a time limit in a view perhaps, and that may be before the authority has said no: unless somebody has
            # said that already, what was found stands for nothing, and whoever asks once more asks anew. Not after a mistake in
            # somebody's code: the app's error page, which asks who is there, would meet it again.
            if x.verdict in (_ACTIVE, Verdict.ANONYMOUS):
                x.authenticated, x.verdict, x.record = isinstance(fault, Exception), Verdict.ANONYMOUS, None
            raise

    def _refuse_shown(self, x: Exchange, verdict: Verdict) -> None:
        x.verdict = verdict
        if verdict is Verdict.TAMPERED:
            self.tell("session_tampered", x)

    def _is_as_before(self, x: Exchange, known: Known, record: SessionRecord | None) -> bool:
        """Do what the recogniser does once a store that has no `holds` has answered with the very record it knows."""
        quiet, reach = known.quiet, self.reach
        if record is not quiet[0] or not quiet[3] <= x.now < quiet[4] or not reach.is_well:
            return False
        x.quiet = True
        x.verdict = _ACTIVE
        x.record, x.deadlines, x.configured = quiet[:3]
        if x.closed:
            x.opened_late()
        return True

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
        if judgement.verdict is Verdict.LIFETIME_EXCEEDED:
            if await self._ceiling_moved(x, known, record):
                record = x.record
                judgement = self._judgement(x, known, record)
                x.verdict, x.deadlines = judgement.verdict, judgement.deadlines
            elif x.verdict is not judgement.verdict:
                return  # nobody can say, or somebody has ended it meanwhile
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
        if record.end_reason not in GOES_ON:
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
        now = self.clock() if x.closed else x.now  # a connection that stays open may do so for hours
        return lifetime.is_fresh(x.record, within, now, self.settings.timing)

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
