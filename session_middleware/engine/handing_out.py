"""A response that hands out our cookies: one more look at the record, and the end of what the session takes the place of.

What others wrote to that meanwhile goes along (L9, L12, L13, L14).
"""

from __future__ import annotations

from contextlib import suppress

from session_middleware.core import cookies, lifetime
from session_middleware.core.credentials import Known
from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.core.tokens import TokenKeys
from session_middleware.core.values import taken_along
from session_middleware.engine.adopting import Adopting
from session_middleware.errors import SettingsError, StoreUnavailable
from session_middleware.reach import rewrite

__all__ = ["HandingOut"]


class HandingOut(Adopting):
    """The part of the engine that gives a browser its token and its session JWT."""

    _tokens: TokenKeys

    async def _issue(self, x: Exchange) -> list[str]:
        """Return our cookies, after one more look at the record: none go out once the session has ended (L13)."""
        record = x.record
        assert record is not None
        try:
            # Nothing is made up for in between, which may take a while: what is found holds as the cookies go out.
            record = await self.reach.load(record.key, anew=True, at_once=True)
            if record is not None and record.ended_at is None and x.outgoing is not None:
                record = await self._with_what_came(record, x.outgoing)
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
        if self._jwt_due(x, x.now):
            try:
                text = self.issuer.mint(record, x.now, x.deadlines.ends_at)
            except SettingsError as fault:
                # Two writers whose claims fit one by one, or a setting that lists more than before: no fault of the user's.
                self.tell("settings_fault", x, fault=fault.field)
            else:
                lines.append(cookies.set_line(self.settings, self.settings.jwt_cookie, text, age))
        await self._end_replaced(x, record)
        return lines

    async def _with_what_came(self, record: SessionRecord, copied: SessionRecord) -> SessionRecord | None:
        """Return a session with what others wrote, since it was made, to the one of the same user that it was made of.

        None: it has ended. What is written to that one between this and its end is lost with it.
        """
        if record.subject != copied.subject:
            return record
        held = await self.reach.load(copied.key, anew=True)
        if held is None or held.ended_at is not None or held.revision == copied.revision:
            return record

        def with_it(mine: SessionRecord) -> SessionRecord:
            return mine.evolve(
                claims=taken_along(mine.claims, copied.claims, held.claims),
                data=taken_along(mine.data, copied.data, held.data),
                sealed=held.sealed if mine.sealed == copied.sealed else mine.sealed,
            )

        return await rewrite(self.reach, record, with_it)

    async def _end_replaced(self, x: Exchange, record: SessionRecord) -> None:
        """End the sessions in whose place another has come, now that its cookie goes out (L12)."""
        gone_on = x.gone_on
        for key in x.replaced:
            if x.outgoing is not None and x.outgoing.key == key:
                if await self.end_for(x, x.outgoing, "replaced") is False:
                    gone_on = x.outgoing  # a step-up of another tab, perhaps, came in between
            else:  # over already, or a token without a record
                await self.end(key, "replaced", x.now, x.now)
        x.replaced, x.gone_on = (), None
        # The same user's own may be what this one was made of, or beside it: whose cookie arrives last nobody knows.
        if gone_on is not None and gone_on.subject != record.subject:
            with suppress(StoreUnavailable):  # nobody waits to hear of it, and the login stands
                await self.end_line(gone_on, x.now, "replaced")

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

    def _jwt_due(self, x: Exchange, now: float) -> bool:
        """Say whether the JWT that came with a live session must be replaced, or none of ours came."""
        known: Known | None = x.known
        if x.created is not None or known is None or known.jwt is None or known.jwt_claims is None:
            return True
        assert x.record is not None
        assert x.deadlines is not None
        return self.issuer.is_due(known.jwt, known.jwt_claims, x.record, now, x.deadlines.ends_at)

    def current_jwt(self, x: Exchange) -> str | None:
        """Return the session JWT that stands for this request, to hand to another service; None without a session.

        On a connection that stays open, that of now: what came with the request ends in the middle of it.
        """
        if x.verdict is not Verdict.ACTIVE or x.record is None or x.deadlines is None:
            return None
        now = self.clock() if x.closed else x.now
        if now >= x.deadlines.ends_at:
            return None  # over, as far as is known here: nobody has looked yet
        if x.known is not None and not self._jwt_due(x, now):
            text: str = x.known.jwt
            return text
        return self.issuer.mint(x.record, now, x.deadlines.ends_at)
