"""What every new session is: a record made at once, in the place of what it replaces; ended where its response never goes out (L12, L25)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from session_middleware.authorities.base import NOTHING_SHOWN
from session_middleware.core import lifetime
from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Deadlines, Verdict
from session_middleware.core.provider import mark_of
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.core.tokens import key_of, public_id_of
from session_middleware.core.values import refresh
from session_middleware.engine.later import Later
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.settings import Limits

__all__ = ["Beginning"]


class Beginning(Later):
    """The part of the engine that puts a new session in the place of another."""

    if TYPE_CHECKING:

        def keys_shown(self, x: Exchange) -> list[bytes]: ...

    def _new_record(
        self,
        x: Exchange,
        token_id: bytes,
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
        public_id = public_id_of(token_id)
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

    async def _replace_with(
        self,
        x: Exchange,
        token_id: bytes,
        record: SessionRecord,
        configured: Limits,
        *,
        derived: bool = False,
        elsewhere: bool = False,
        mark_keys: Sequence[bytes] = (),
    ) -> None:
        """Create a record at once; the one it replaces ends when the response with the new cookie starts (L12, L25).

        Args:
            x: the exchange.
            token_id: of the new one.
            record: the new one.
            configured: the limits it stands under.
            derived: whether its id is not random, so that another request may be making the same one.
            elsewhere: whether the login was made elsewhere, perhaps before an `end_before`.
            mark_keys: of what says that the provider's session has ended.
        """
        deadlines = lifetime.deadlines(record, configured, self.settings.timing)
        self.issuer.mint(record, x.now, deadlines.ends_at)  # refuses claims that make the cookie too large
        evicted = await self._create(x, record, derived)
        if elsewhere:
            await self._check_begun(x, record, derived, mark_keys)
        before = x.created
        if before is None and x.presented is not None and x.presented.key not in x.replaced:
            x.replaced = (*x.replaced, x.presented.key)
            x.outgoing = x.record if x.verdict is Verdict.ACTIVE else None
            x.gone_on = x.record if x.record is not None and x.record.end_reason == "replaced" else None
        elif x.verdict is Verdict.TAMPERED:  # whichever of them the visitor was
            x.replaced = tuple(self.keys_shown(x))
        if x.data is not None:
            if x.record is not None and x.record.subject == record.subject:
                refresh(x.data, record.data)  # the view goes on with the dict that it holds (L14)
                x.data_from = record.data
            else:
                x.data = None
        x.created = x.record = record
        x.created_id = token_id
        x.adopted = x.shared = False
        x.verdict, x.configured, x.deadlines = Verdict.ACTIVE, configured, deadlines
        x.claim_changes, x.deletes, x.reissue, x.quiet = None, False, True, False
        if before is not None:  # a second login in one request: nobody ever held the first token
            await self.end_for(x, before, "replaced")
        for old in evicted:
            await self._ended_for(record, old, x.now)

    async def _create(self, x: Exchange, record: SessionRecord, derived: bool) -> Sequence[SessionRecord]:
        """Store a new record, within the number of sessions that its subject may have (ASVS 7.1.2); return what made room."""
        store = self.reach.write if derived else self.reach.create
        most = self.settings.max_sessions
        if most is None:
            await store("create", record)
            return ()
        # What this one replaces ends when the response starts, or right after it; until then there are more.
        standing = x.record if x.verdict is Verdict.ACTIVE else None
        going = {old.key: old.subject for old in (x.created, x.outgoing, standing) if old is not None}
        most += list(going.values()).count(record.subject)
        evict = self.settings.on_max_sessions == "evict"
        subject = handle_of("subject", record.subject)
        keep_until = x.now + self.settings.timing.ended_retention
        ended: Sequence[SessionRecord] | None = await store(
            "create_capped", record, subject, most, evict, x.now, keep_until
        )
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
        return ended

    async def _ended_for(self, record: SessionRecord, old: SessionRecord, now: float) -> None:
        """See to it that a session that made room for another is not begun anew by its credential's next request (L24)."""
        mark = mark_of(old, now)
        if mark is None or (old.authority, old.provider_session) == (record.authority, record.provider_session):
            return  # on the same session of the provider it goes on as the new one
        await self.reach.mark(mark)
        await self.vouching.end(old, NOTHING_SHOWN, "revoked", now)

    async def _has_ended_there(self, mark_keys: Sequence[bytes], proven_at: float, now: float) -> bool:
        """Say whether what stood on a proof of the provider's has ended since that was made (L24)."""
        for key in mark_keys:
            ended_at = await self.reach.ended_at_provider(key, now)
            if ended_at is not None and proven_at <= ended_at:
                return True
        return False

    async def _check_begun(self, x: Exchange, record: SessionRecord, derived: bool, mark_keys: Sequence[bytes]) -> None:
        """Refuse a login that was made elsewhere before an `end_before`; of a provider's leave a mark, so that none begins anew (L24).

        The store alone knows of that instant, and says so of a record that it holds: of the new one, before it lets anybody in.
        Marks are read once more: whoever ends leaves one first, and then looks for what stands there; so either we see the
        mark, or they our record.
        """
        proven_at = record.authenticated_at if record.proven_at is None else record.proven_at
        try:
            held = await self.reach.load(record.key, anew=True)
            if held is None:
                # No proof of an end: a replica that is behind, or a fail-over that lost the last writes (L17).
                raise StoreUnavailable("The session store does not find the record that it has just taken.")
            ended = held.ended_at is None and await self._has_ended_there(mark_keys, proven_at, x.now)
        except BaseException:  # also where it is cancelled with its request
            if not derived:  # else another request may have joined it
                await self.end(record.key, "abandoned", x.now, x.now)
            raise
        if ended:
            await self.end(record.key, "abandoned", x.now, x.now)
            raise self._ended_here(x)
        if held.ended_at is None:
            return
        mark = mark_of(record, min(held.ended_at, x.now))
        if mark is None:
            raise SessionError("All logins of that time have been ended; the user signs in anew.", code="login_ended")
        await self.reach.mark(mark)
        raise self._ended_here(x)

    def _ended_here(self, x: Exchange) -> SessionError:
        self.tell("adoption_refused", x, reason="ended")
        return SessionError(
            "This session of the provider has ended here, and its user has not signed in there since. Send them there "
            "for a new authentication (prompt=login and max_age=0, or refresh=true).",
            code="provider_session_ended",
        )

    async def abandon(self, x: Exchange, *, unsent: bool = False) -> None:
        """The app raised instead of answering: no cookie goes out, so a session made for it is ended (L25).

        One that other requests may have joined stays: they have its cookie, and so has whoever shows that proof next.

        Args:
            x: the exchange; it is closed.
            unsent: also where a response had begun, because it has been taken back before it was sent.
        """
        if x.created is not None and (unsent or not x.closed):
            if not x.shared:
                await self.end_for(x, x.created, "abandoned")
            x.created, x.verdict, x.record = None, Verdict.ANONYMOUS, None
        x.closed = True

    async def take_back(self, x: Exchange) -> None:
        """The view raised and something else answers: what it began is ended, and the session that came stays (L25).

        After `abandon` the exchange is over; here it goes on, and is nobody's.
        """
        if x.created is not None and not x.adopted and not x.closed:
            await self.abandon(x)
            x.reissue, x.claim_changes, x.data, x.closed = False, None, None, False
