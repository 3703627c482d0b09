"""One fault, one app: before, during, after, and what it amounts to."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from benchmarks.faults.faults import Fault
from benchmarks.faults.ledger import Ledger
from benchmarks.faults.people import audit, people
from benchmarks.faults.served import served

__all__ = ["Outcome", "Way", "look_at"]

#: Seconds without an answer that a fault is to blame for, after which all is normal.
_QUIET = 3.0

#: Seconds after which it is not believed any more that it will be.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Way:
    """How the app is run.

    Attributes:
        kind: "wsgi" (gunicorn, two workers of sixteen threads, blocking store) or "asgi" (uvicorn, two workers, awaited).
        near: the lease of a near cache before the store; None: there is none.
    """

    kind: str
    near: float | None

    @property
    def title(self) -> str:
        """What the table says."""
        return {"wsgi": "WSGI", "asgi": "ASGI"}[self.kind] + ("" if self.near is None else " + near cache")


@dataclass(frozen=True)
class Outcome:
    """What was seen.

    Attributes:
        statuses: of a kind of request, how often each status was seen by those that began while the fault lasted (after
            a fail-over: until the last that it is to blame for); 0: no answer.
        before: how many requests were answered before the fault, all well.
        audited: sessions and ended sessions looked at once all was normal.
        let_in: what was accepted and should not have been.
        signed_out: what was refused and should not have been.
        lost: sessions that the fault itself took away.
        within_lease: accepted after an acknowledged logout, within the near cache's lease.
        slowest: seconds that the slowest page took while the fault lasted.
        normal_after: seconds from the fault's end (of a fail-over: its beginning) to the last answer that it is to
            blame for; None: it was not normal again in time.
    """

    fault: Fault
    way: Way
    statuses: dict[str, Counter[int]]
    before: int
    audited: tuple[int, int]
    let_in: list[str]
    signed_out: list[str]
    lost: int
    within_lease: int
    slowest: float
    normal_after: float | None

    @property
    def is_right(self) -> bool:
        """Whether no verdict was wrong and all is normal again."""
        return not self.let_in and not self.signed_out and self.normal_after is not None


def look_at(fault: Fault, way: Way, *, crowd: int = 12, warm: float = 3.0, seconds: float | None = None) -> Outcome:
    """Start servers and an app, load it, let the fault happen, and wait until all is normal.

    Args:
        fault: what goes wrong.
        way: how the app is run.
        crowd: how many people use it.
        warm: seconds before the fault.
        seconds: how long it lasts, instead of what it says itself.
    """
    place = fault.place()
    try:
        lease = way.near
        url = place.url + (f"?near_cache={lease:g}" if lease is not None else "")
        ledger = Ledger(lease=lease or 0.0)
        lasted = fault.seconds if seconds is None else seconds
        with served(way.kind, url) as port, people(crowd, port, ledger) as (everybody, stop):
            time.sleep(warm)  # people visit meanwhile: real time on real servers is the subject
            bad_before = ledger.last_bad()
            fault.begin(place)
            ledger.forgets, ledger.fault_at = place.forgets, time.monotonic()
            time.sleep(lasted)  # for so long the fault lasts
            if fault.end is not None:
                fault.end(place)
            ended_at = time.monotonic() if fault.end is not None else ledger.fault_at
            time.sleep(_QUIET)  # what counts as normal is so long without a disappointment
            while not ledger.is_normal(_QUIET) and time.monotonic() < ended_at + _PATIENCE:
                time.sleep(0.1)  # looked at again, until normal or out of patience
            normal = ledger.is_normal(_QUIET)
            last_bad = ledger.last_bad()
            stop()
            audited = audit(everybody, port, ledger)
        if bad_before > float("-inf"):
            raise RuntimeError(f"{fault.name}, {way.title}: requests failed before there was a fault")
        until = ended_at if fault.end is not None else max(last_bad, ledger.fault_at + lasted) + 0.001
        kinds = {"page": ("page",), "login": ("login",), "logout": ("logout",), "public": ("public",)}
        return Outcome(
            fault,
            way,
            {name: ledger.statuses(chosen, ledger.fault_at, until) for name, chosen in kinds.items()},
            sum(ledger.statuses(("page", "login", "logout", "public"), 0.0, ledger.fault_at).values()),
            audited,
            ledger.let_in,
            ledger.signed_out,
            ledger.lost,
            ledger.within_lease,
            ledger.slowest(ledger.fault_at, until),
            max(0.0, last_bad - ended_at) if normal else None,
        )
    finally:
        place.remove()
