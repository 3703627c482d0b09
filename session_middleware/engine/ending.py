"""How sessions end, in and outside requests: one, all of a subject, all begun before an instant (L13, L16, L24)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from session_middleware.authorities.base import NOTHING_SHOWN
from session_middleware.core import lifetime
from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Verdict
from session_middleware.core.provider import mark_of
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.core.tokens import key_of
from session_middleware.engine.issuer import Issuer
from session_middleware.engine.telling import Telling
from session_middleware.engine.vouching import Vouching
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.reach import Reach
from session_middleware.stores.base import EndsBefore

__all__ = ["Ending", "goes_on_from"]

#: How often a list is read anew because some of it had ended before it was ended.
LOOKS = 4


class Ending(Telling):
    """The part of the engine that ends sessions, and lists them."""

    store: Any  # Store | AsyncStore
    reach: Reach
    issuer: Issuer
    vouching: Vouching

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
            judgement = lifetime.judge(
                record, record.generation, now, configured, timing, self.reach.outage_of(record.key)
            )
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
            subject = record.subject if record is not None else None
            self.announce("session_ended", now, public_id, subject, detail={"reason": reason})
        elif record is not None:
            ended = await self.end_line(record, now, reason) > 0
        return ended

    async def end_line(self, record: SessionRecord, now: float, reason: str) -> int:
        """End what a session goes on as, where it had got another id before it was ended (L12, L13); return how many.

        Args:
            record: the session, as it was read before.
            now: the instant.
            reason: why.

        Raises:
            StoreUnavailable: an end could not be stored, or nobody can say what it goes on as.
        """

        async def end(other: SessionRecord) -> bool | None:
            if other.subject != record.subject or record.public_id not in other.before:
                return None
            try:
                was_alive = await self._end_now(other.key, other, reason, now)
            except StoreUnavailable:
                await self.reach.end(other.key, reason, now, now)  # it is retried
                raise
            if was_alive:
                self.issuer.forget(other.key)
                self.announce("session_ended", now, other.public_id, other.subject, detail={"reason": reason})
            return was_alive

        if record.end_reason not in (None, "replaced"):
            return 0  # it had ended for good
        return await self.end_each(handle_of("subject", record.subject), now, set(), end)

    async def end_all(
        self, subject: str, now: float, except_keys: Collection[bytes] = (), reason: str = "revoked"
    ) -> int:
        """End every session of a subject but some; return how many were alive.

        Raises:
            StoreUnavailable: an end could not be stored; some sessions may have ended.
        """

        async def end(record: SessionRecord) -> bool | None:
            if record.subject != subject or goes_on_from(record, except_keys):
                return None
            was_alive = await self._end_now(record.key, record, reason, now)
            if was_alive:
                self.announce("session_ended", now, record.public_id, subject, detail={"reason": reason})
            return was_alive

        return await self.end_each(handle_of("subject", subject), now, set(except_keys), end)

    async def end_each(
        self, handle: str, now: float, done: set[bytes], end: Callable[[SessionRecord], Awaitable[bool | None]]
    ) -> int:
        """End what carries a handle, and what goes on from it under another id meanwhile (ASVS 7.4.2).

        Args:
            handle: whose records.
            now: the instant.
            done: keys of those that are to be left alone; those that are seen to are added.
            end: ends one and says whether it was alive; None where it is not meant.

        Returns:
            How many were alive.

        Raises:
            StoreUnavailable: an end could not be stored; some sessions may have ended.
        """
        count = 0
        for _ in range(LOOKS):
            missed = False
            for record in await self.reach.read("list", handle, now):
                if record.key not in done:
                    done.add(record.key)
                    was_alive = await end(record)
                    count += was_alive is True
                    missed = missed or was_alive is False
            if not missed:
                break  # else somebody was first: a step-up, say, whose new record stood before it ended the old one
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
    ) -> bool | None:
        """End a session, here at once and in the store as soon as it answers (L17).

        Args:
            key: the record's.
            reason: why.
            at: the instant of the end: of the deadline, where one has passed.
            now: the request's.
            record: given where the provider session that it may stand on must not bring it back (L24); not where it
                goes on as another one, after a login over it or a step-up.
            x: the exchange, where the provider is to be told, and its own cookies go; None where it has told us.
            unseen: whether the record could not be read, so that what it stands on is found out later.

        Returns:
            Whether it was alive; None: not stored yet.
        """
        self.issuer.forget(key)
        if record is None or (self.settings.silent_sso and reason == Verdict.INACTIVITY_TIMEOUT.value):
            return await self.reach.end(key, reason, at, now, unseen=unseen)
        was_alive = await self.reach.end(key, reason, at, now, mark=mark_of(record, at))
        if x is not None:
            x.relay += await self.vouching.end(record, self.vouching.shown(x.facts), reason, now)
        return was_alive

    async def end_for(self, x: Exchange, record: SessionRecord, reason: str) -> bool | None:
        """End a live session in the course of a request, and say so; return what `end` does."""
        was_alive = await self.end(record.key, reason, x.now, x.now)
        address = self.address(x.facts)
        self.announce("session_ended", x.now, record.public_id, record.subject, address, {"reason": reason})
        return was_alive


def goes_on_from(record: SessionRecord, keys: Collection[bytes]) -> bool:
    """Say whether a session is one of these, under an id that a step-up or a login has given it since (L12)."""
    return bool(keys) and any(key_of(id) in keys for id in record.before)
