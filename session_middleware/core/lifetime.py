"""Every rule about when a session lives and ends; nothing else in the package decides it.

The table that the whole package cites as L1-L27 is data, in `core/rules.py`, so that the docs are generated from it and
a test can ask which rules are tested; this file implements L1-L7, L9 (when), L11, L16 and L22. All functions are pure:
`now` is an argument, times are seconds since the epoch, a deadline is reached at `now >= deadline` (L1). Any exception
raised from here, but for the documented SettingsError, is a bug.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError
from session_middleware.settings import EXTEND_MAX_MINUTES, EXTEND_MIN_MINUTES, Limits, Timing

__all__ = [
    "Deadlines",
    "Judgement",
    "Outage",
    "Touch",
    "Verdict",
    "checked_minutes",
    "continue_touch",
    "deadlines",
    "extend_touch",
    "first_deadlines",
    "freed",
    "is_fresh",
    "judge",
    "jwt_due",
    "jwt_expiry",
    "keep_until",
    "quiet_until",
    "recorded_end",
    "renewal_due",
    "touch",
]

#: Seconds by which an authority's ceiling is reached early, so that ours ends before the provider's (L2).
CEILING_MARGIN = 30.0


class Verdict(enum.Enum):
    """What we know about the session of a request (L16). Reasons are values, not exceptions."""

    ACTIVE = "active"
    ANONYMOUS = "anonymous"  # no credential came
    UNKNOWN = "unknown"  # a good token whose record is gone
    TAMPERED = "tampered"
    INACTIVITY_TIMEOUT = "inactivity_timeout"
    LIFETIME_EXCEEDED = "lifetime_exceeded"
    REVOKED = "revoked"
    REPLAYED = "replayed"
    UNAVAILABLE = "unavailable"  # the store or the authority did not answer (L17)

    @property
    def reason(self) -> str | None:
        """How it reads outside: `inactivity`, `lifetime`, `signed_out`, `unavailable`; None where there is none."""
        return _OUTSIDE[self]


_OUTSIDE: dict[Verdict, str | None] = {
    Verdict.ACTIVE: None,
    Verdict.ANONYMOUS: None,
    Verdict.UNKNOWN: "signed_out",
    Verdict.TAMPERED: "signed_out",
    Verdict.INACTIVITY_TIMEOUT: "inactivity",
    Verdict.LIFETIME_EXCEEDED: "lifetime",
    Verdict.REVOKED: "signed_out",
    Verdict.REPLAYED: "signed_out",
    Verdict.UNAVAILABLE: "unavailable",
}

#: What `end_reason` of a record may say; anything else that ended it reads as REVOKED.
_ENDED = {v.value: v for v in (Verdict.INACTIVITY_TIMEOUT, Verdict.LIFETIME_EXCEEDED, Verdict.REPLAYED)}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The instants in force for a record (L2, L3, L5)."""

    inactivity: float | None
    absolute: float

    @property
    def ends_at(self) -> float:
        """The earlier of the two."""
        return self.absolute if self.inactivity is None else min(self.inactivity, self.absolute)


@dataclass(frozen=True, slots=True)
class Outage:
    """A time during which this process could not reach the store; `until` is when it could again (L17)."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What `judge` found: the verdict, the deadlines it used, and which generation was presented (L11)."""

    verdict: Verdict
    deadlines: Deadlines
    presented: str = "current"  # or "previous" (answer with the successor), "newer" (record it)

    @property
    def is_plain(self) -> bool:
        """Whether it is a yes to the newest token."""
        return self.verdict is Verdict.ACTIVE and self.presented == "current"


@dataclass(frozen=True, slots=True)
class Touch:
    """One write of activity (L5), applied by a store only while the record is alive (L13).

    Attributes:
        last_seen_at: recorded if later than what stands.
        inactivity_deadline: recorded as it is if `exact`, else only if later than what stands; None leaves it.
        exact: set by continue and extend, which may shorten (L7).
        presented_generation: where this is the record's generation and its `presented_at` is unset, that is set (L11).
        presented_at: what it is set to.
        keep_until: how long the store keeps the record; recorded as it is if `exact`, else only if later.
    """

    last_seen_at: float
    inactivity_deadline: float | None
    keep_until: float
    exact: bool = False
    presented_generation: int | None = None
    presented_at: float | None = None

    def late(self, record: SessionRecord) -> Touch:
        """Return what is left of this touch where it is applied long after its instant (L17).

        What came after it has set the deadline, perhaps to an earlier one (L7), which only later activity may raise again.
        """
        if record.last_seen_at <= self.last_seen_at:
            return self
        return replace(self, inactivity_deadline=None)

    def applied(self, record: SessionRecord) -> SessionRecord:
        """Return the record as it stands after this touch; the reference for every store."""
        deadline, keep = record.inactivity_deadline, record.keep_until
        if self.exact:
            keep = self.keep_until
            if self.inactivity_deadline is not None:
                deadline = self.inactivity_deadline
        else:
            keep = max(keep, self.keep_until)
            if self.inactivity_deadline is not None and deadline is not None:
                deadline = max(deadline, self.inactivity_deadline)
        presented = record.presented_at
        if presented is None and self.presented_generation == record.generation:
            presented = self.presented_at
        return record.evolve(
            last_seen_at=max(record.last_seen_at, self.last_seen_at),
            inactivity_deadline=deadline,
            keep_until=keep,
            presented_at=presented,
        )


def first_deadlines(
    now: float, limits: Limits, ceiling: float | None, minutes: float | None = None, proven_at: float | None = None
) -> Deadlines:
    """Return the deadlines of a login at `now` (L3, L5, L7): the exact instant, without a touch interval on top.

    Args:
        now: the request's instant.
        limits: those of the session.
        ceiling: the authority's own end of it, or None.
        minutes: the first deadline of silence, where the app gives one.
        proven_at: when the user proved who they are, where that was not now.
    """
    absolute = (now if proven_at is None else proven_at) + limits.absolute_lifetime
    if ceiling is not None:
        absolute = min(absolute, ceiling - CEILING_MARGIN)
    if minutes is not None:
        return Deadlines(min(now + checked_minutes(minutes) * 60.0, absolute), absolute)
    if limits.inactivity_timeout is None:
        return Deadlines(None, absolute)
    return Deadlines(min(now + limits.inactivity_timeout, absolute), absolute)


def deadlines(record: SessionRecord, configured: Limits, timing: Timing) -> Deadlines:
    """Return the deadlines in force (L2): each limit is the smaller of the stored and the configured one.

    A cut is computed here and never written back: where the configured silence is shorter than the stored one, the
    deadline in force is `min(recorded, last_seen_at + configured + touch_interval)`, extended or not.
    """
    stored = record.limits
    absolute = _absolute(record, min(stored.absolute_lifetime, configured.absolute_lifetime))
    silence, recorded = configured.inactivity_timeout, record.inactivity_deadline
    if silence is not None and (stored.inactivity_timeout is None or silence < stored.inactivity_timeout):
        cut = record.last_seen_at + silence + timing.touch_interval
        recorded = cut if recorded is None else min(recorded, cut)
    return Deadlines(recorded, absolute)


def recorded_end(record: SessionRecord) -> float:
    """Return when a record ends as it was written, for lists and counts; `deadlines` says what is in force (L2)."""
    absolute = _absolute(record, record.limits.absolute_lifetime)
    return absolute if record.inactivity_deadline is None else min(record.inactivity_deadline, absolute)


def _absolute(record: SessionRecord, lifetime: float) -> float:
    absolute = record.authenticated_at + lifetime
    return absolute if record.ceiling is None else min(absolute, record.ceiling - CEILING_MARGIN)


def judge(
    record: SessionRecord | None,
    generation: int,
    now: float,
    configured: Limits,
    timing: Timing,
    outage: Outage | None = None,
) -> Judgement:
    """Say whether the session of a record lives (L1-L3, L11, L16, L17).

    Args:
        record: what the store holds under the token's key, or None.
        generation: the token's generation.
        now: the request's instant.
        configured: the configured limits, or what the `limits=` function answered.
        timing: for touch_interval and renewal_grace.
        outage: the last time this process could not reach the store, if any.

    Returns:
        The verdict, the deadlines in force and which generation was presented.
    """
    if record is None or now >= record.keep_until:
        # A store that has not yet swept and one that has must not differ (L16).
        return Judgement(Verdict.UNKNOWN, Deadlines(None, -math.inf))
    force = deadlines(record, configured, timing)
    if record.ended_at is not None:
        return Judgement(_ENDED.get(record.end_reason or "", Verdict.REVOKED), force)

    silence = force.inactivity
    if silence is not None and outage is not None and outage.since < silence <= outage.until:
        # L17: silence that ran out while we were deaf ends one touch interval after we could hear again.
        silence = min(outage.until + timing.touch_interval, force.absolute)
        force = Deadlines(silence, force.absolute)
    if now >= force.ends_at:
        if silence is not None and silence < force.absolute:
            return Judgement(Verdict.INACTIVITY_TIMEOUT, force)
        return Judgement(Verdict.LIFETIME_EXCEEDED, force)

    behind = record.generation - generation
    if behind == 0:
        return Judgement(Verdict.ACTIVE, force)
    if behind < 0:
        return Judgement(Verdict.ACTIVE, force, "newer")
    if behind == 1 and (record.presented_at is None or now < record.presented_at + timing.renewal_grace):
        return Judgement(Verdict.ACTIVE, force, "previous")
    return Judgement(Verdict.REPLAYED, force)


def keep_until(inactivity: float | None, absolute: float, timing: Timing) -> float:
    """Return until when a store keeps a live record: its recorded end and `ended_retention` (L16)."""
    end = absolute if inactivity is None else min(inactivity, absolute)
    return end + timing.ended_retention


def _moved(record: SessionRecord, now: float, configured: Limits, force: Deadlines, extra: float) -> float | None:
    """Return `min(now + inactivity_timeout in force + extra, absolute deadline)`, None where silence has no limit."""
    silence = record.limits.capped(configured).inactivity_timeout
    return None if silence is None else min(now + silence + extra, force.absolute)


def touch(
    record: SessionRecord,
    now: float,
    configured: Limits,
    timing: Timing,
    *,
    activity: bool = True,
    presented: bool = True,
) -> Touch | None:
    """Return the write that records activity or a first presentation at `now`, or None while none is due (L4, L5, L11).

    Args:
        record: a live record.
        now: the request's instant.
        configured: as for `judge`.
        timing: for touch_interval and rolling.
        activity: whether the request counts as activity (L6); one that does not may still be the first to present a
            token, and the grace of the one before starts with it.
        presented: whether the token of the record's own generation came with the request (L11).
    """
    force = deadlines(record, configured, timing)
    exact = _moved(record, now, configured, force, 0.0)
    recorded = record.inactivity_deadline
    due = now - record.last_seen_at >= timing.touch_interval
    if timing.rolling and exact is not None and recorded is not None and exact > recorded:
        due = True
    due = due and activity
    first = presented and record.generation > 0 and record.presented_at is None
    if not due and not first:
        return None
    deadline = recorded
    if timing.rolling and due:
        rolled = _moved(record, now, configured, force, timing.touch_interval)
        if rolled is not None and recorded is not None:
            deadline = max(recorded, rolled)
    return Touch(
        last_seen_at=now if due else record.last_seen_at,
        inactivity_deadline=deadline,
        keep_until=keep_until(deadline, force.absolute, timing),
        presented_generation=record.generation if first else None,
        presented_at=now if first else None,
    )


def freed(record: SessionRecord, until: float | None, configured: Limits, timing: Timing) -> Touch | None:
    """Return the write that gives back the silence which the provider's old end had cut off, None if it cut none (L2, L5).

    A session never ends earlier than inactivity_timeout after its last activity, so where the provider's session lives
    longer than it said, the deadline that was recorded no later than its old end moves too.

    Args:
        record: a live record, with the old ceiling.
        until: the new ceiling; None: there is none.
        configured: as for `judge`.
        timing: for ended_retention.
    """
    recorded, silence = record.inactivity_deadline, record.limits.capped(configured).inactivity_timeout
    if record.ceiling is None or recorded is None or silence is None or recorded < record.ceiling - CEILING_MARGIN:
        return None
    absolute = deadlines(record.evolve(ceiling=until), configured, timing).absolute
    deadline = min(record.last_seen_at + silence, absolute)
    if deadline <= recorded:
        return None
    return Touch(record.last_seen_at, deadline, keep_until(deadline, absolute, timing))


def checked_minutes(minutes: object, most: float = EXTEND_MAX_MINUTES) -> float:
    """Return minutes for extend, continue or login if they are a number in range (L7), else raise SettingsError."""
    if isinstance(minutes, bool) or not isinstance(minutes, (int, float)):
        raise SettingsError("minutes", minutes, "is not a number of minutes.", "Give a number such as 30.")
    if not EXTEND_MIN_MINUTES <= minutes <= most:  # also refuses NaN
        raise SettingsError(
            "minutes", minutes, "is out of range.", f"Give at least {EXTEND_MIN_MINUTES} and at most {most:g}."
        )
    return float(minutes)


def extend_touch(record: SessionRecord, minutes: float | None, now: float, configured: Limits, timing: Timing) -> Touch:
    """Return the write of `session.extend(minutes)`: exactly now + minutes, capped; None leaves the deadline (L7).

    Raises:
        SettingsError: the minutes are no number between 5 and 527040.
    """
    if minutes is None:
        return _leaving(record, now)
    force = deadlines(record, configured, timing)
    deadline = min(now + checked_minutes(minutes) * 60.0, force.absolute)
    return Touch(now, deadline, keep_until(deadline, force.absolute, timing), exact=True)


def _leaving(record: SessionRecord, now: float) -> Touch:
    """Leave the deadline as the store holds it: another request may have moved it since this one read the record."""
    return Touch(now, None, record.keep_until)


def continue_touch(
    record: SessionRecord, minutes: float | None, now: float, configured: Limits, timing: Timing
) -> Touch:
    """Return the write of `POST continue`: now + the inactivity_timeout in force, or `minutes` within bounds (L7).

    A later deadline that `login(minutes=)` or `extend` has set stands: whoever goes on, or whom the browser script reports,
    asks for no shorter session. What activity has recorded is at most a touch_interval later, and is made exact (L5).

    Raises:
        SettingsError: the minutes are more than max_continue, or out of the range of `extend_touch`.
    """
    silence = record.limits.capped(configured).inactivity_timeout
    if minutes is not None:
        bound = timing.max_continue if timing.max_continue is not None else silence
        if bound is not None and bound < EXTEND_MIN_MINUTES * 60.0:
            raise SettingsError(
                "minutes",
                minutes,
                f"cannot be chosen here: the policy's window is {bound:g} s, shorter than any number allowed.",
                "Leave minutes out.",
            )
        if bound is not None:
            checked_minutes(minutes, most=bound / 60.0)
        return extend_touch(record, minutes, now, configured, timing)
    force = deadlines(record, configured, timing)
    if silence is None or (force.inactivity or 0.0) > now + silence + timing.touch_interval:
        return _leaving(record, now)
    deadline = min(now + silence, force.absolute)
    return Touch(now, deadline, keep_until(deadline, force.absolute, timing), exact=True)


def renewal_due(record: SessionRecord, generation: int, now: float, timing: Timing) -> bool:
    """Say whether the token is due for a new generation (L11).

    Only whoever presents the record's own generation moves it: else two lost responses would push the generation the
    browser still holds out of reach.
    """
    interval = timing.renewal_interval
    return interval is not None and generation == record.generation and now - record.renewed_at >= interval


def jwt_expiry(now: float, ends_at: float, timing: Timing) -> int:
    """Return `exp` of a session JWT minted at `now`: jwt_lifetime, never past the deadline in force (L9)."""
    return math.floor(min(now + timing.jwt_lifetime, ends_at))


def jwt_due(expires: int, now: float, ends_at: float, timing: Timing) -> bool:
    """Say whether a session JWT wants rotation by time alone (L9)."""
    if expires > ends_at:
        return True
    half = timing.jwt_lifetime / 2
    return expires - now < half and jwt_expiry(now, ends_at, timing) > expires


def quiet_until(record: SessionRecord, force: Deadlines, jwt_expires: int, configured: Limits, timing: Timing) -> float:
    """Return the instant before which no rule of this file would answer otherwise for this record.

    That is: ACTIVE, no touch due, no renewal due, no JWT due. It holds for the record's own generation, already
    presented, and a JWT of ours that does not outlive the deadlines.
    """
    until = min(force.ends_at, record.keep_until, record.last_seen_at + timing.touch_interval)
    if timing.renewal_interval is not None:
        until = min(until, record.renewed_at + timing.renewal_interval)
    silence, recorded = record.limits.capped(configured).inactivity_timeout, record.inactivity_deadline
    if timing.rolling and silence is not None and recorded is not None and recorded < force.absolute:
        # An exact deadline has no touch interval to spare: activity moves it from the moment it falls short (L5).
        until = min(until, recorded - silence)
    if jwt_expires > force.ends_at:
        return -math.inf
    if jwt_expires < math.floor(force.ends_at):
        return min(until, jwt_expires - timing.jwt_lifetime / 2)
    return min(until, jwt_expires)  # whole seconds: it may be over a moment before the session is


def is_fresh(record: SessionRecord, within: float, now: float, timing: Timing) -> bool:
    """Say whether the user proved who they are within the last `within` seconds (L3, L12, L21).

    A proof further ahead of our clock than clock_skew is none (L1): some node's clock was wrong, and whoever signed in
    there would be fresh for as long as it was ahead. A deadline is different: whether the node was ahead then or ours is
    behind now cannot be told, and nobody is logged out by a fault of ours, so a record's deadlines stand as recorded.

    Args:
        record: a live record.
        within: seconds.
        now: the request's instant.
        timing: for clock_skew.
    """
    since = record.authenticated_at if record.fresh_at is None else record.fresh_at
    return -timing.clock_skew <= now - since < within
