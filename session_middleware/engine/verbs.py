"""What a view may do with its session: login, step_up, logout, extend, claims and data (L7, L12, L14, L25, L27)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from session_middleware.core import lifetime
from session_middleware.core.exchange import Exchange, changed
from session_middleware.core.lifetime import Touch, Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.core.values import as_json_values, data_changes, refresh
from session_middleware.engine.logins import Logins
from session_middleware.engine.unsaved import Unsaved
from session_middleware.errors import ResponseAlreadyStarted, SessionError, StoreUnavailable
from session_middleware.reach import rewrite

__all__ = ["Verbs"]


class Verbs(Logins):
    """The half of the engine that a view calls through `Session`; `engine.Engine` is the other half."""

    if TYPE_CHECKING:

        async def end_shown(self, x: Exchange) -> bool: ...

        async def extend_there(self, x: Exchange, minutes: float | None = None) -> None: ...

    async def logout(self, x: Exchange) -> None:
        """End the session at once (L25) and have the browser forget our cookies.

        Raises:
            ResponseAlreadyStarted: the cookies can no longer be removed; the session has been ended all the same.
            StoreUnavailable: the end could not be stored yet; the cookies go, and the end is retried (L17).
        """
        await self.authenticate(x)
        if x.closed:
            x.now = self.clock()  # a connection may have been open for hours, and the end counts from here
            await self._write_end_found(x)
        keys = [x.created.key] if x.created is not None else []
        keys += x.replaced
        if x.presented is not None and x.presented.key not in keys:
            keys.append(x.presented.key)
        # A logout of what is over already is no later end of it; UNKNOWN with a record is one whose other half of the proof
        # has not come (L24).
        ended = x.is_active or (x.verdict is Verdict.UNKNOWN and x.record is not None)
        standing = x.record if ended else None
        if x.verdict is Verdict.UNAVAILABLE and x.known is not None:
            standing = x.record or x.known.record  # it may be the authority that is down, and the record read
        known = {record.key: record for record in (standing, x.created, x.outgoing) if record is not None}
        unseen = x.verdict is Verdict.UNAVAILABLE
        over = [record for record in (x.record, x.outgoing, x.gone_on) if record is not None]
        if x.verdict is Verdict.TAMPERED:
            # Whoever can plant a cookie beside ours must not be able to keep a session from ending (L13).
            for key in self.keys_shown(x):
                keys.append(key)
                try:
                    found = await self.reach.load(key, anew=True)
                except StoreUnavailable:
                    unseen = True
                    continue
                if found is None:
                    continue
                over.append(found)
                if found.ended_at is None:
                    known[key] = found
                    self._tell_of_logout(x, found)
        lived = [await self.end(key, "logout", x.now, x.now, known.get(key), x=x, unseen=unseen) for key in keys]
        stored = [was_alive is not None for was_alive in lived]
        were_over = {key for key, was_alive in zip(keys, lived, strict=True) if was_alive is False}
        gone_on = {each.key: each for each in over if each.key in were_over}
        stored += [await self._end_what_goes_on(record, x.now) for record in gone_on.values()]
        if ended:
            self.tell("session_ended", x, reason="logout")
        if standing is None or standing.provider_session is None:
            stored.append(await self.end_shown(x))
        x.verdict, x.record, x.created, x.replaced, x.gone_on = Verdict.ANONYMOUS, None, None, (), None
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

    async def _write_end_found(self, x: Exchange) -> None:
        """Write the end by a deadline that an open connection has found, which otherwise the next request does (L16, L24)."""
        record, deadlines = x.record, x.deadlines
        by_deadline = x.verdict in (Verdict.INACTIVITY_TIMEOUT, Verdict.LIFETIME_EXCEEDED)
        if by_deadline and record is not None and record.ended_at is None and deadlines is not None:
            await self.end(record.key, x.verdict.value, min(x.now, deadlines.ends_at), x.now, record, x=x)

    def _tell_of_logout(self, x: Exchange, record: SessionRecord) -> None:
        address, detail = self.address(x.facts), {"reason": "logout"}
        self.announce("session_ended", x.now, record.public_id, record.subject, address, detail)

    async def _end_what_goes_on(self, record: SessionRecord, now: float) -> bool:
        """End what a session goes on as that got another id while this logout was on its way (L12); False: not stored."""
        try:
            await self.end_line(record, now, "logout")
        except StoreUnavailable:
            return False
        return True

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

    def change_claims(self, x: Exchange, changes: Mapping[str, Any]) -> None:
        """Take note of changed claims; refuses what would not fit the cookie, before anything is stored (L19)."""
        record = self._held(x, "Claims")
        merged = {**(x.claim_changes or {}), **as_json_values("claims", dict(changes))}
        if set(changes) & set(self.settings.jwt_claims):
            self.issuer.check_fits(record.evolve(claims=changed(record.claims, merged)))
        x.claim_changes, x.quiet = merged, False
        if x.closed:
            self._watch_unsaved(x, record)

    def data_of(self, x: Exchange) -> dict[str, Any]:
        """Return the app's working copy of its data; changes are written when the response starts."""
        record = self._held(x, "Data")
        if x.data is None:
            x.data, x.data_from, x.quiet = deepcopy(dict(record.data)), record.data, False
        if x.closed:
            self._watch_unsaved(x, record)
        return x.data

    def _watch_unsaved(self, x: Exchange, record: SessionRecord) -> None:
        """Have it told if nobody saves what is written from now on: no response is left that would (L25)."""
        if x.unsaved is None:
            session, subject = record.public_id, record.subject

            def tell(names: str) -> None:
                self.announce("changes_lost", self.clock(), session, subject, detail={"names": names})

            x.unsaved = Unsaved(tell)
        x.unsaved.hold(x.claim_changes, x.data, x.data_from)

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
        written, removed = data_changes(x)
        if not (claim_changes or written or removed):
            if x.data is not None and x.closed:
                self._watch_unsaved(x, record)
            return

        def changed_there(held: SessionRecord) -> SessionRecord:
            data = {k: v for k, v in {**held.data, **written}.items() if k not in removed}
            return held.evolve(claims=changed(held.claims, claim_changes), data=data)

        try:
            saved = await rewrite(self.reach, record, changed_there)
        except StoreUnavailable:
            x.claim_changes = {**claim_changes, **(x.claim_changes or {})}  # whoever tries again saves them then
            raise
        if saved is None:
            x.verdict = Verdict.REVOKED  # dead wins (L13)
            if x.unsaved is not None:
                x.unsaved.hold(None, None, None)
            return
        x.record, x.quiet = saved, False
        if x.created is not None:
            x.created = saved
        if x.data is not None:
            refresh(x.data, saved.data)
            x.data_from = saved.data
        if x.closed:
            self._watch_unsaved(x, saved)
