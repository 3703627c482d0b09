"""The authority as one process reaches it: what it may see, when it was asked, what it still has to be told (L8, L17, L24).

One question about one credential is in flight at a time; who asks the same meanwhile gets its answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from session_middleware.authorities.base import (
    NOTHING_SHOWN,
    Adopts,
    Alive,
    Attached,
    Authority,
    EndedThere,
    Ends,
    Extended,
    Extends,
    Lists,
    NeedsBrowser,
    NotExtended,
    Shown,
    Vouch,
)
from session_middleware.core.cookies import find
from session_middleware.core.exchange import RequestFacts
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SessionError
from session_middleware.events import log_failure
from session_middleware.runtime import OneFlight, drop_oldest

__all__ = ["Vouching"]

#: Answers that are remembered; the older half goes when there are more.
REMEMBERED = 16_384

#: Seconds for which a credential that begins no session is not asked about again. Short: the same one may be good a moment
#: later, since a provider that asks for the password again keeps its token.
REFUSED_FOR = 2.0

#: Seconds between two attempts to tell a provider of an end, or to extend after a fault.
RETRY_INTERVAL = 5.0

#: Ends that a provider is still to be told of.
OWED = 1_000

#: Of those that one request tells it of, which whoever made it waits for.
TOLD_AT_ONCE = 16

#: Seconds to wait for an answer that somebody else has asked for.
PATIENCE = 30.0

K = TypeVar("K")
V = TypeVar("V")


class Vouching:
    """Asks one authority.

    Args:
        authority: who vouches.
        to: what it is told of the app.
        interval: seconds for which an answer holds; None never asks.
        announce: called with the name of an event and its detail.
    """

    def __init__(
        self,
        authority: Authority,
        to: Attached,
        *,
        interval: float | None,
        announce: Callable[[str, dict[str, str]], None],
    ) -> None:
        self.authority = authority
        self.interval = interval
        self.adopts: Adopts | None = authority if isinstance(authority, Adopts) else None
        self.extends: Extends | None = authority if isinstance(authority, Extends) else None
        self.ends: Ends | None = authority if isinstance(authority, Ends) else None
        self.lists: Lists | None = authority if isinstance(authority, Lists) else None
        self.reads_headers = self.adopts is not None and bool(self.adopts.headers)
        self._runtime = to.runtime
        self.keys = to.keys
        self._announce = announce
        self._flights = OneFlight()
        self._asked: dict[tuple[bytes, str | None], float] = {}  # (record, credential) -> when it was vouched for
        self._refused: dict[str, float] = {}  # credential -> when it began no session
        self._extend_after: dict[bytes, float] = {}  # record -> when an extension may be tried again
        self.owes: dict[bytes, tuple[SessionRecord, Shown, str]] = {}  # ends that the provider has not been told
        #: What a refresh has brought, where the store has not taken it yet: the record before, and its `sealed` to be.
        self.unkept: dict[bytes, tuple[SessionRecord, str]] = {}
        #: Refreshes that failed: until when they are not tried again, and what makes the exception to say so.
        self.failed_refreshes: dict[str, tuple[float, Callable[[], SessionError]]] = {}
        self._told_at = float("-inf")
        attach = getattr(authority, "attach", None)
        if attach is not None:
            attach(to)

    def shown(self, facts: RequestFacts) -> Shown:
        """Return what the authority may see of a request."""
        if self.adopts is None:
            return NOTHING_SHOWN
        cookies, several = {}, {}
        for name in self.adopts.cookies:
            values = [value for value in find(facts.cookies, name) if value]
            if len(values) == 1:
                cookies[name] = values[0]
            elif values:
                several[name] = tuple(values)
        headers = {name: value for name in self.adopts.headers if (value := facts.header(name))}
        return Shown(cookies, headers, several) if cookies or headers or several else NOTHING_SHOWN

    def may_know(self, facts: RequestFacts) -> str | None:
        """Return what people call the provider at which this browser may still be signed in; None where it is not.

        Where the provider's credential comes with requests, a browser that shows none is signed out there too.
        """
        authority = self.authority
        if authority.name == "local" or (self.adopts is not None and self.shown(facts) is NOTHING_SHOWN):
            return None
        return str(getattr(authority, "title", authority.name))

    # --- asking ------------------------------------------------------------------------------------------------

    def vouched_at(self, record: SessionRecord, shown: Shown, now: float) -> float | None:
        """Return when this credential was last vouched for beside this record, if that still holds."""
        assert self.interval is not None  # else nobody asks
        at = self.asked_at(record, shown)
        return at if at is not None and 0 <= now - at < self.interval else None

    def asked_at(self, record: SessionRecord, shown: Shown) -> float | None:
        """Return when this credential was last vouched for beside this record, whether that still holds or not."""
        return None if self.adopts is None else self._asked.get((record.key, self.adopts.credential(shown)))

    async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
        """Ask whether a session may live on. A fault is `UNKNOWN` (L17)."""
        if self.adopts is None:
            return await self._answer(lambda: self.authority.verify(record, shown, now))
        credential = self.adopts.credential(shown)
        vouch = await self._answer(
            lambda: self._flights.run(
                self._runtime,
                ("verify", record.key, credential, record.revision),
                lambda: self.authority.verify(record, shown, now),
                PATIENCE,
            )
        )
        key = (record.key, credential)
        if vouch.alive is Alive.ALIVE:
            _remember(self._asked, key, now)
        else:
            self._asked.pop(key, None)
        return vouch

    async def adopt(self, shown: Shown, now: float) -> Vouch | None:
        """Ask whose session a credential is; None where there is nothing to ask. A fault is `UNKNOWN` (L17)."""
        adopts = self.adopts
        assert adopts is not None  # else there is nothing to adopt
        credential = adopts.credential(shown)
        if credential is None:
            return None
        at = self._refused.get(credential)
        if at is not None and 0 <= now - at < REFUSED_FOR:
            return None
        vouch = await self._answer(
            lambda: self._flights.run(self._runtime, ("adopt", credential), lambda: adopts.adopt(shown, now), PATIENCE)
        )
        if vouch.alive is Alive.GONE:
            self.refuse(shown, now)
        return vouch

    def refuse(self, shown: Shown, now: float) -> None:
        """Take note that a credential begins no session, so that it is not asked about at every request."""
        credential = None if self.adopts is None else self.adopts.credential(shown)
        _remember(self._refused, credential or "", now)

    def vouched(self, record: SessionRecord, shown: Shown, now: float) -> None:
        """Take note that a credential has just been vouched for beside a record: it was adopted, or extended."""
        credential = None if self.adopts is None else self.adopts.credential(shown)
        _remember(self._asked, (record.key, credential), now)

    def forget(self, record: SessionRecord, shown: Shown) -> None:
        """Take note that a credential does not vouch for a record, although somebody is alive by it."""
        assert self.adopts is not None  # else no login is told of
        self._asked.pop((record.key, self.adopts.credential(shown)), None)

    async def _answer(self, ask: Callable[[], Any]) -> Vouch:  # Any: an awaitable Vouch
        try:
            vouch: Vouch = await ask()
        except Exception as fault:
            self.fault(fault)
            return Vouch(Alive.UNKNOWN)
        return vouch

    async def alone(self, key: Hashable, call: Callable[[], Awaitable[V]]) -> V:
        """Make a call, or wait for the same one that is being made here."""
        return await self._flights.run(self._runtime, key, call, PATIENCE)

    def fault(self, fault: Exception) -> None:
        """Say that the authority could not be asked."""
        # A provider's fault names its kind; what its message says is for the log of whoever raised it. Any other is a mistake
        # in `verify` or in the authority, and whoever wrote that needs to know where.
        kind = getattr(fault, "kind", None)
        if kind is None and not isinstance(fault, SessionError):
            log_failure("the authority", fault)
        self._announce("authority_fault", {"fault": str(kind or type(fault).__name__)})

    # --- telling -----------------------------------------------------------------------------------------------

    def extension_due(self, record: SessionRecord, now: float) -> bool:
        """Say whether activity is to extend the provider's session now (L4)."""
        if self.extends is None or record.provider_session is None or record.authority != self.authority.name:
            return False
        after = self._extend_after.get(record.key)
        if after is not None and after - RETRY_INTERVAL <= now < after:
            return False
        return self.extends.extension_due(record, now)

    def may_move_ceiling(self, record: SessionRecord) -> bool:
        """Say whether extending the provider's session may move the end that it gave ours (L2)."""
        mine = self.extends is not None and record.authority == self.authority.name
        return mine and record.provider_session is not None and not getattr(self.authority, "ceiling_is_final", False)

    async def extend(
        self, record: SessionRecord, shown: Shown, now: float, minutes: float | None = None
    ) -> Extended | NeedsBrowser | NotExtended | None:
        """Extend the provider's session; None where there is none, or where it cannot be told just now.

        Activity does not try again before `RETRY_INTERVAL` has passed.
        """
        extends = self.extends
        if extends is None or record.provider_session is None or record.authority != self.authority.name:
            return None
        try:
            extension = await self._flights.run(
                self._runtime,
                ("extend", record.key, minutes),
                lambda: extends.extend(record, shown, now, minutes),
                PATIENCE,
            )
        except Exception as fault:
            self.fault(fault)
            _remember(self._extend_after, record.key, now + RETRY_INTERVAL)
            return None
        if isinstance(extension, Extended):
            self.vouched(record, shown, now)
        # Extended or not: a request beside this one, which has read what stood before, is not to ask for it once more.
        _remember(self._extend_after, record.key, now + RETRY_INTERVAL)
        return extension

    async def end(self, record: SessionRecord, shown: Shown, reason: str, now: float) -> tuple[str, ...]:
        """Tell the provider that a session has ended here; return its Set-Cookie values. Told again where it fails."""
        if self.ends is None or record.provider_session is None or record.authority != self.authority.name:
            return ()
        if len(self.owes) >= OWED:
            drop_oldest(self.owes)
        self.owes[record.key] = (record, shown, reason)
        return await self._tell(record.key, now) or ()

    async def catch_up(self, now: float) -> None:
        """Tell the provider of some of the ends that it could not be told of.

        The first that fails is the last for now: each may take as long as the provider's time limit, and a request of
        somebody else waits for it. It goes behind the rest, so that it does not keep them from being told.
        """
        if self.owes and not 0 <= now - self._told_at < RETRY_INTERVAL:
            for key in list(self.owes)[:TOLD_AT_ONCE]:
                if await self._tell(key, now) is None:
                    return

    async def _tell(self, key: bytes, now: float) -> tuple[str, ...] | None:
        """Tell the provider of an end that is owed; return its Set-Cookie values, None if it could not be told."""
        ends, owed = self.ends, self.owes.get(key)
        assert ends is not None  # else nobody is told
        if owed is None:
            return ()  # another request has told it meanwhile
        record, shown, reason = owed
        self._told_at = now
        try:
            told: EndedThere | None = await ends.end(record, shown, reason, now)
        except Exception as fault:
            self.fault(fault)
            if self.owes.pop(key, None) is not None:
                self.owes[key] = owed
            return None
        self.owes.pop(key, None)
        return told.relay if told is not None else ()


def _remember(place: dict[K, V], key: K, value: V) -> None:
    if len(place) >= REMEMBERED and key not in place:
        for old in list(place)[: REMEMBERED // 2]:
            place.pop(old, None)
    place[key] = value
