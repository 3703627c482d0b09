"""Sessions that stand on a provider's credential: begun by it, compared with it, moved and ended with it (L2, L24).

The provider's credential proves; our own session carries limits and claims. Adoption makes ours once and links both; from
then on a request shows both, and they name the same session of the provider.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from session_middleware.authorities.base import Alive, Extended, NeedsBrowser, NotExtended, ProviderLogin
from session_middleware.core import credentials, lifetime
from session_middleware.core.credentials import Known
from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Verdict
from session_middleware.core.origin import is_cross_site
from session_middleware.core.provider import ProviderSession, handle_mark, provider_handle, provider_mark
from session_middleware.core.record import NEVER, SessionRecord
from session_middleware.core.tokens import key_of, public_id_of
from session_middleware.engine.joining import Joining
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.reach import rewrite

__all__ = ["Adopting"]

#: Seconds by which a provider's end may differ from ours without a write: fractions are rounded on the way.
SAME_INSTANT = 1.0


class Adopting(Joining):
    """The part of the engine that knows of provider sessions; `Joining` is what it begins and ends ours with."""

    if TYPE_CHECKING:

        async def revoke(self, x: Exchange) -> None: ...

    # --- beginning ---------------------------------------------------------------------------------------------

    async def _adopt(self, x: Exchange) -> None:
        """Begin a session of ours on the provider's credential, where there is none that stands on it (L24)."""
        found: ProviderLogin | None = x.anew
        if (found is None and x.verdict is Verdict.ACTIVE) or x.created is not None:
            return
        if x.verdict is Verdict.UNAVAILABLE or not self._may_adopt(x):
            return
        shown = self.vouching.shown(x.facts)
        if found is None:
            vouch = await self.vouching.adopt(shown, x.now)
            if vouch is None:
                return
            x.relay += vouch.relay
            x.ask_for = vouch.ask_for
            if vouch.alive is Alive.UNKNOWN and x.verdict in (Verdict.ANONYMOUS, Verdict.UNKNOWN):
                x.verdict = Verdict.UNAVAILABLE  # who shows a credential is not sent to sign in by an outage (L17)
            found = vouch.login
            if vouch.alive is not Alive.ALIVE or found is None:
                return
        try:
            await self._begin(x, found)
            x.adopted = x.created is not None
        except StoreUnavailable:
            x.verdict = Verdict.UNAVAILABLE
        except SessionError as fault:
            # It has ended here, or is at as many places as may be: the event is out, and the login page is next.
            if fault.code not in ("provider_session_ended", "too_many_sessions"):
                raise
            self.vouching.refuse(shown, x.now)
            x.verdict = x.verdict if x.verdict is not Verdict.ACTIVE else Verdict.REVOKED
            if fault.code == "provider_session_ended":  # else its login page would say that the user is signed in
                x.relay += await self.vouching.end(_over_there(found, x.now), shown, "refused", x.now)
        else:
            if x.record is not None:
                self.vouching.vouched(x.record, shown, x.now)

    def _may_adopt(self, x: Exchange) -> bool:
        """Say whether the response can carry our cookie, and the request was not made by another site (L18, L20)."""
        facts = x.facts
        if facts.websocket or facts.method == "OPTIONS" or not x.rules.sets_cookies:
            return False
        return facts.method in ("GET", "HEAD") or not is_cross_site(facts, self.settings)

    async def _begin(self, x: Exchange, found: ProviderLogin) -> None:
        """Begin the session, or join the one that a parallel request has begun for the same proof.

        Raises:
            SessionError: the provider's session has ended here (L24), or there are too many sessions.
            StoreUnavailable: the store failed.
        """
        old = x.record
        token_id = self._token_id(found.provider, x.now)
        key = key_of(public_id_of(token_id))
        held = await self.reach.load(key, anew=True)
        if held is not None and _stands_on(held, found):
            await self._join(x, token_id, held)
            return
        if x.anew is not None and old is not None and old.ended_at is None:
            x.verdict = Verdict.ACTIVE  # the login goes over a live session: the same user's claims stay (L12)
        if held is not None:
            await self.begin_provided(x, found)
            return

        async def begin() -> None:
            await self.begin_provided(x, found, token_id=token_id)

        if await self._begin_once(x, key, begin, partial(_stands_on, found=found)):
            return
        held = await self.reach.load(key, anew=True)
        if held is not None and _stands_on(held, found):
            await self._join(x, token_id, held)
        else:
            await self.begin_provided(x, found)  # it has ended already, which leaves a mark

    async def begin_provided(
        self, x: Exchange, found: ProviderLogin, *, token_id: bytes | None = None, vouched: bool = False
    ) -> None:
        """Log in who a provider says is there (L3, L12, L24).

        Args:
            x: the exchange.
            found: who, and by what proof.
            token_id: of the new session; random if None.
            vouched: whether the authority's bound state vouches for a request that another site made (L20).

        Raises:
            SessionError: the provider's session has ended here, or there are too many sessions.
            StoreUnavailable: the store failed.
        """
        await self.login(
            x,
            found.subject,
            claims=found.claims,
            factors=found.factors,
            provider=found.provider,
            token_id=token_id,
            sealed=found.sealed,
            handles=found.handles,
            vouched=vouched,
        )

    def _token_id(self, provider: ProviderSession, now: float) -> bytes:
        # Its age is part of it, in steps as long as an ended record is kept: what is forgotten is of an earlier step (L16).
        step = max(0, int((now - provider.proven_at) // self.settings.timing.ended_retention))
        return self.derived_id(f"{provider.authority}\0{provider.id}\0{provider.proven_at!r}\0{step}")

    # --- comparing ---------------------------------------------------------------------------------------------

    async def _compare(self, x: Exchange, record: SessionRecord, found: ProviderLogin) -> None:
        """Hold the session that the credential proves against the one that the record stands on (L24)."""
        provider = found.provider
        if record.provider_session is None:
            return  # the app's own login made it
        if (provider.authority, provider.id, found.subject) != (
            record.authority,
            record.provider_session,
            record.subject,
        ):
            x.verdict = Verdict.UNKNOWN
            self._to_begin(x, record, found)
            return
        # Its clock may be ahead of ours, and then the record holds the moment of the login instead (L1).
        if provider.proven_at > record.authenticated_at + self.settings.timing.clock_skew + SAME_INSTANT:
            self._to_begin(x, record, found)  # the user proved who they are once more: a full authentication (L3, L12)
            return
        if found.moves and _differs(record.ceiling, provider.ceiling):
            await self.move_ceiling(x, provider.ceiling)

    def _to_begin(self, x: Exchange, record: SessionRecord, found: ProviderLogin) -> None:
        """Take note that a session is to begin on what the credential proves, and that it does not vouch for the record.

        Not every request can begin one (a WebSocket, status, a request of another site, any while the store is down): the next
        one has to ask again then, and not to take this answer for a yes.
        """
        x.anew = found
        x.known.verified_at, x.known.quiet = NEVER, credentials.NEVER
        self.vouching.forget(record, self.vouching.shown(x.facts))

    async def proves_anew(self, x: Exchange, within: float) -> bool:
        """Ask the provider whether the user has proved who they are a moment ago; True: the session is fresh by that.

        An answer that still holds may be older than the proof, where that leaves the credential as it was.
        """
        record, vouching = x.record, self.vouching
        if record is None or vouching.adopts is None or x.created is not None:
            return False
        if record.provider_session is None or record.authority != self.authority.name:
            return False
        shown = vouching.shown(x.facts)
        if vouching.asked_at(record, shown) == x.now:
            return False
        vouch = await vouching.verify(record, shown, x.now)
        x.relay += vouch.relay
        if vouch.alive is Alive.UNKNOWN:
            x.verdict = Verdict.UNAVAILABLE
        elif vouch.alive is Alive.GONE:
            await self.revoke(x)
        elif vouch.login is not None:
            await self._compare(x, record, vouch.login)
            await self._adopt(x)
        return lifetime.is_fresh(x.record, within, x.now, self.settings.timing) if x.is_active and x.record else False

    async def _ceiling_moved(self, x: Exchange, known: Known, record: SessionRecord) -> bool:
        """Where it is the provider's end that has passed, ask whether it still stands; True if it was moved (L2)."""
        vouching = self.vouching
        if vouching.adopts is None or record.ended_at is not None or record.ceiling is None:
            return False
        if record.authority != self.authority.name or record.provider_session is None:
            return False
        freed = lifetime.freed(record, None, x.configured, self.settings.timing)
        without = (record if freed is None else freed.applied(record)).evolve(ceiling=None)
        if self._judgement(x, known, without).verdict is not Verdict.ACTIVE:
            return False
        vouch = await vouching.verify(record, vouching.shown(x.facts), x.now)
        x.relay += vouch.relay
        if vouch.alive is Alive.UNKNOWN:
            x.verdict = Verdict.UNAVAILABLE  # the provider may have moved it, and cannot be asked (L17)
            return False
        found = vouch.login
        if vouch.alive is not Alive.ALIVE or found is None or not found.moves or not _stands_on(record, found):
            return False
        if not _differs(record.ceiling, found.provider.ceiling):
            return False
        await self.move_ceiling(x, found.provider.ceiling)
        return x.verdict is not Verdict.REVOKED

    async def move_ceiling(self, x: Exchange, until: float | None) -> None:
        """Write down that the provider's session ends at another instant (L2); later, if the store fails."""
        record = x.record
        assert record is not None
        freed = lifetime.freed(record, until, x.configured, self.settings.timing)
        try:
            moved = await rewrite(self.reach, record, lambda held: held.evolve(ceiling=until))
        except StoreUnavailable:
            moved = record.evolve(ceiling=until)  # holds for this request, and is found to differ at the next
        if moved is not None and freed is not None:
            moved = await self.reach.touch(moved, freed)
        if moved is None:
            x.verdict = Verdict.REVOKED  # dead wins (L13)
            return
        x.record = moved
        x.deadlines = lifetime.deadlines(moved, x.configured, self.settings.timing)
        x.quiet = False

    # --- extending ---------------------------------------------------------------------------------------------

    async def extend_there(self, x: Exchange, minutes: float | None = None) -> None:
        """Extend the provider's session too (L4, L7); where it cannot be asked, ours goes as far as its end is known."""
        record = x.record
        assert record is not None
        extension = await self.vouching.extend(record, self.vouching.shown(x.facts), x.now, minutes)
        if isinstance(extension, Extended):
            x.relay += extension.relay
            if extension.until is not None and _differs(record.ceiling, extension.until):
                await self.move_ceiling(x, extension.until)
        elif isinstance(extension, NeedsBrowser):
            x.continue_url = extension.url
        elif isinstance(extension, NotExtended) and extension.gone:
            await self.revoke(x)

    # --- ending -----------------------------------------------------------------------------------------------------

    async def end_shown(self, x: Exchange) -> bool:
        """End what the provider's credential of a request stands for: a logout is one of all that a browser shows (L24).

        Returns:
            Whether that is stored; False: not yet (L17).
        """
        if self.vouching.adopts is None:
            return True
        shown = self.vouching.shown(x.facts)
        vouch = await self.vouching.adopt(shown, x.now)
        if vouch is None or vouch.alive is not Alive.ALIVE or vouch.login is None:
            return True
        provider = vouch.login.provider
        await self.reach.mark(provider_mark(provider.authority, provider.id, x.now, proven_at=provider.proven_at))
        x.relay += await self.vouching.end(_over_there(vouch.login, x.now), shown, "logout", x.now)
        try:
            for record in await self.reach.read("list", provider_handle(provider.authority, provider.id), x.now):
                await self.end_for(x, record, "logout")
        except StoreUnavailable:
            key = key_of(public_id_of(self._token_id(provider, x.now)))
            return await self.end(key, "logout", x.now, x.now) is not None
        return True

    # --- what a provider says by itself ------------------------------------------------------------------------

    async def end_by_provider(
        self,
        reason: str,
        now: float,
        *,
        provider_sessions: tuple[str, ...] = (),
        handles: tuple[str, ...] = (),
        before: float | None = None,
        stale: bool = False,
    ) -> int:
        """End the sessions that a provider names, or make them prove who they are again; return how many (L24).

        Each provider session and each handle leaves a mark, whether one of ours stands there or not: a login may be on its way.

        Raises:
            StoreUnavailable: it could not be stored; the provider is to say it again.
        """
        name, count, done = self.authority.name, 0, set[bytes]()
        if not stale:
            at = now if before is None else min(before, now)
            marks = [provider_mark(name, id, at) for id in provider_sessions]
            for mark in (*marks, *(handle_mark(handle, at) for handle in handles)):
                await self.reach.mark(mark)

        async def end(record: SessionRecord) -> bool | None:
            if before is not None and record.authenticated_at > before:
                return None
            if stale:
                return await self._make_stale(record, now)
            was_alive = await self._end_now(record.key, record, reason, now, tell=False)
            if was_alive:
                self.announce("session_ended", now, record.public_id, record.subject, detail={"reason": reason})
            return was_alive

        for handle in (*(provider_handle(name, id) for id in provider_sessions), *handles):
            count += await self.end_each(handle, now, done, end)
        if self.reach.unmarked:
            raise StoreUnavailable("What the provider said could not be stored.")
        return count

    async def _make_stale(self, record: SessionRecord, now: float) -> bool:
        """Make a session prove who it is before `fresh_login_required` lets it in again."""
        stale = await rewrite(
            self.reach, record, lambda held: None if held.fresh_at == NEVER else held.evolve(fresh_at=NEVER)
        )
        if stale is None:
            return False
        self.announce("session_stale", now, record.public_id, record.subject)
        return True


def _over_there(found: ProviderLogin, at: float) -> SessionRecord:
    """Return a record that stands on a session of the provider and has ended, where there is none of ours."""
    provider = found.provider
    return provider_mark(provider.authority, provider.id, at).evolve(
        subject=found.subject, authority=provider.authority, provider_session=provider.id
    )


def _stands_on(record: SessionRecord, found: ProviderLogin) -> bool:
    return (
        record.ended_at is None
        and record.subject == found.subject
        and record.authority == found.provider.authority
        and record.provider_session == found.provider.id
    )


def _differs(held: float | None, said: float | None) -> bool:
    if held is None or said is None:
        return held is not said
    return abs(held - said) >= SAME_INSTANT
