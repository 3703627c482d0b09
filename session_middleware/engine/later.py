"""What is judged anew after the request was: on connections that stay open, and once its response has started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from session_middleware.core import lifetime
from session_middleware.core.credentials import Known
from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Judgement, Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.engine.ending import Ending
from session_middleware.errors import RecordUnreadable, SessionError, StoreUnavailable

__all__ = ["Later"]


class Later(Ending):
    """The part of the engine that looks again (L7, L13, L17)."""

    if TYPE_CHECKING:

        async def authenticate(self, x: Exchange) -> None: ...

        async def _ask_authority(self, x: Exchange, known: Known) -> None: ...

    async def live(self, x: Exchange, verb: str, *, anew: bool = False) -> SessionRecord:
        """Return the record that a verb is about to write to.

        Raises:
            SessionError: there is no live session.
            StoreUnavailable: nobody can say.
        """
        await self.authenticate(x)
        if (x.closed or anew) and (x.verdict is Verdict.ACTIVE or x.stale):
            await self.look_again(x)
            if x.stale:
                await self._confirm(x)
        if x.verdict is Verdict.UNAVAILABLE:
            raise StoreUnavailable(f"{verb}() needs the store, or whoever vouches, which does not answer.")
        if x.verdict is not Verdict.ACTIVE or x.record is None:
            raise SessionError(
                f"{verb}() needs a signed-in session; this request is {x.verdict.name}. Call login() first, or mark the "
                "route @session_required.",
                code="not_signed_in",
            )
        return x.record

    async def look(self, known: SessionRecord, now: float) -> tuple[SessionRecord | None, Judgement]:
        """Read and judge a session outside of its requests; a near cache is believed where it says yes (L11).

        Args:
            known: its record, as it was read before.
            now: the instant.

        Raises:
            StoreUnavailable: the store does not answer, or with the record of another session.
        """
        record = await self.reach.load(known.key)
        judgement = self._judgement_of(known, record, now)
        if judgement.verdict is not Verdict.ACTIVE and self.reach.caches:
            record = await self.reach.load(known.key, anew=True)
            judgement = self._judgement_of(known, record, now)
        return record, judgement

    def _judgement_of(self, known: SessionRecord, record: SessionRecord | None, now: float) -> Judgement:
        configured, generation, outage = self.settings.default_limits, 0, None
        if record is not None:
            if record.public_id != known.public_id:
                raise self.of_another(known.key)
            configured = self.limits_for(record.subject, record.claims, record.persistent, fallback=record.limits)
            generation, outage = record.generation, self.reach.outage_of(record.key)
        return lifetime.judge(record, generation, now, configured, self.settings.timing, outage)

    def of_another(self, key: bytes) -> StoreUnavailable:
        """Return what is raised where the record under a key is another session's: who goes on with it would be its user."""
        fault = RecordUnreadable("The record of another session lies under this key; somebody has copied it there.")
        return self.reach.unreadable("load", key, fault)

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
            record, judgement = await self.look(x.record, x.now)
        except StoreUnavailable:
            if self.reach.is_over(x.record):
                x.verdict = Verdict.REVOKED
            elif x.deadlines is not None and x.now >= x.deadlines.ends_at:
                x.verdict = Verdict.UNAVAILABLE  # nobody is served beyond what is known (L17)
            else:
                raise
            x.stale = False
            return True
        if record is not None:
            x.record = record
            x.configured = self.limits_for(record.subject, record.claims, record.persistent, fallback=record.limits)
        if judgement.verdict is not Verdict.ACTIVE or self.is_confirmed(x):
            x.verdict, x.deadlines, x.stale = judgement.verdict, judgement.deadlines, False
        elif x.deadlines is not None and x.now >= x.deadlines.ends_at:
            x.stale = False
        return before != (x.record, x.deadlines)

    def is_confirmed(self, x: Exchange) -> bool:
        """Say whether a session of which the store says that it lives is known to: after an answer from the session JWT
        alone (L17) also whoever vouches has to say so, and is not asked by a look."""
        return not x.stale or self.vouching.interval is None

    async def _confirm(self, x: Exchange) -> None:
        """Ask whoever vouches, for somebody whom the session JWT alone speaks for and the store has found alive."""
        x.verdict = Verdict.ACTIVE
        try:
            await self._ask_authority(x, x.known)
        finally:
            if x.verdict in (Verdict.ACTIVE, Verdict.ANONYMOUS, Verdict.UNAVAILABLE):
                x.stale = x.verdict is not Verdict.ACTIVE
                x.verdict = Verdict.UNAVAILABLE if x.stale else Verdict.ACTIVE
            else:
                x.stale = False
        if x.verdict is Verdict.ACTIVE:
            await self.look_again(x)  # whose deadlines are the record's, and no longer the token's

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
