"""What a judged request writes: activity, the first presentation of a token, its renewal; and until when nothing is due again."""

from __future__ import annotations

from session_middleware.core import lifetime
from session_middleware.core.credentials import NEVER, Known
from session_middleware.core.exchange import Exchange, is_activity
from session_middleware.core.lifetime import Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.engine.responding import Responding
from session_middleware.errors import StoreUnavailable

__all__ = ["Recording"]


class Recording(Responding):
    """The part of the engine that records what came with a request (L5, L6, L11)."""

    async def record_activity(self, x: Exchange) -> None:
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
            touch = self._touch_due(x, record, activity)
            if touch is not None and self.reach.caches:
                # Not every store tells of touches, and one that another process has written is as good (L5).
                record = await self._read_anew(record)
                touch = self._touch_due(x, record, activity)
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
            if record.generation > x.presented.generation:  # renewed here, or by another request beside our touch
                x.reissue = True
        self._remember_quiet(x, known)

    def _touch_due(self, x: Exchange, record: SessionRecord, activity: bool) -> lifetime.Touch | None:
        assert x.presented is not None
        current = x.presented.generation == record.generation
        return lifetime.touch(record, x.now, x.configured, self.settings.timing, activity=activity, presented=current)

    async def _read_anew(self, record: SessionRecord) -> SessionRecord:
        """Return a live record as the store has it now; as it is known where that cannot be said, or it has ended there."""
        try:
            held = await self.reach.load(record.key, anew=True)
        except StoreUnavailable:
            return record
        return record if held is None or held.ended_at is not None else held  # dead wins at the write (L13)

    def _remember_quiet(self, x: Exchange, known: Known) -> None:
        """Work out until when the general path would find nothing to do for this Cookie header."""
        record, presented = x.record, known.presented
        assert record is not None
        known.record, known.deadlines, known.configured = record, x.deadlines, x.configured
        known.quiet = NEVER  # replaced as a whole: another thread may be reading it
        if (
            x.verdict is not Verdict.ACTIVE
            or x.deadlines is None
            or presented.generation != record.generation
            or presented.key_index > 0
            or (record.generation > 0 and record.presented_at is None)
            or self._jwt_due(x, x.now)
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
        return renewed
