"""What parallel requests begin on one proof is one session: the first makes it, and the others join (L23, L24).

The token id is derived from what was proved, under a key of ours: so that many requests at once, in several processes, make one
session. Nobody without the key can know it, and none is ever used again after its end.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from session_middleware.core.credentials import Known
from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Judgement, Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.core.tokens import ID_BYTES, Presented, key_of, public_id_of
from session_middleware.engine.verbs import Verbs
from session_middleware.errors import SessionError, StoreUnavailable

__all__ = ["Joining"]


class Joining(Verbs):
    """The part of the engine that makes one session of one proof."""

    if TYPE_CHECKING:
        _adoption_key: bytes

        def _judgement(self, x: Exchange, known: Known, record: SessionRecord | None) -> Judgement: ...
        async def _refuse_record(self, x: Exchange, record: SessionRecord, judgement: Judgement) -> None: ...

    def derived_id(self, proof: str) -> bytes:
        """Return the token id of the session that begins on a proof."""
        return hmac.digest(self._adoption_key, proof.encode("utf-8", "surrogatepass"), "sha256")[:ID_BYTES]

    async def adopt_login(
        self, x: Exchange, proof: str, subject: str, *, authenticated_at: float | None = None
    ) -> bool:
        """Begin the session of a login that a framework knows from before our time, once (L23).

        Requests that show it at the same time get the same session; whoever comes later than a lost response could be the reason
        of has to show that session itself.

        Args:
            x: the exchange.
            proof: what the framework knows its session by, and that nobody else can know.
            subject: who it is there.
            authenticated_at: when they proved it, where that is known (L3).

        Returns:
            False: it was adopted before, by a request that did not run beside this one.

        Raises:
            SessionError: nobody may log in in this request, or what began with it has ended (`code="login_ended"`).
            StoreUnavailable: the store failed.
        """
        self.check_login(x)
        token_id = self.derived_id(_of_login(proof))
        key = key_of(public_id_of(token_id))

        def joins(held: SessionRecord) -> bool:
            return (
                held.ended_at is None
                and held.subject == subject
                and x.now < held.created_at + self.settings.timing.renewal_grace
            )

        async def begin() -> None:
            await self.login(x, subject, token_id=token_id, authenticated_at=authenticated_at, fresh=False)

        held = await self.reach.load(key, anew=True)
        if held is None:
            if await self._begin_once(x, key, begin, joins):
                return True
            held = await self.reach.load(key, anew=True)
        if held is not None and held.ended_at is not None:
            raise SessionError("What began with this login has ended; the user signs in anew.", code="login_ended")
        if held is None or not joins(held):
            return False
        await self._join(x, token_id, held)
        return x.verdict is Verdict.ACTIVE

    def is_of_login(self, record: SessionRecord, proof: str) -> bool:
        """Say whether a record is the session that `adopt_login` began on a proof."""
        return record.is_named(public_id_of(self.derived_id(_of_login(proof))))

    async def _begin_once(
        self, x: Exchange, key: bytes, begin: Callable[[], Awaitable[None]], joins: Callable[[SessionRecord], bool]
    ) -> bool:
        """Begin the session of a proof unless another request is first; True: this one has begun it.

        Args:
            x: the exchange.
            key: the store key of the session.
            begin: begins it, under that key.
            joins: whether a record under that key may be joined.
        """
        old, known, made = x.record, x.known, False

        async def make() -> None:
            nonlocal made
            if await self.reach.load(key, anew=True) is None:
                await begin()
                made = x.shared = True

        try:
            # One at a time here: a store that refuses a second record under one key many times in a row is taken for broken.
            await self.vouching.alone(("begin", key), make)
        except StoreUnavailable:
            held = await self.reach.load(key, anew=True)  # had another process made it in between?
            if held is None or not joins(held):
                raise
        if not made:
            x.record, x.known = old, known
        return made

    async def _join(self, x: Exchange, token_id: bytes, held: SessionRecord) -> None:
        """Take a session that the same proof has begun already: its cookie goes out once more."""
        old, presented = x.record, x.presented
        joined = Presented(token_id, held.public_id, held.key, held.generation, 0)
        known = Known(joined, None, None)
        judgement = self._judgement(x, known, held)
        if judgement.verdict is not Verdict.ACTIVE:
            await self._refuse_record(x, held, judgement)
            x.verdict = judgement.verdict
            return
        if presented is not None and presented.key != held.key:
            x.replaced = (*x.replaced, presented.key)
            x.outgoing = old if old is not None and old.ended_at is None and old.key == presented.key else None
        x.known, x.presented, x.record = known, joined, held
        x.verdict, x.deadlines, x.reissue, x.quiet = Verdict.ACTIVE, judgement.deadlines, True, False


def _of_login(proof: str) -> str:
    return f"\0login\0{proof}"  # no proof of a provider's begins so
