"""The rules of time, one by one, on bare records (L1-L7, L9, L11, L16, L17, L22)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_middleware.core import lifetime
from session_middleware.core.lifetime import Deadlines, Outage, Touch, Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError
from session_middleware.settings import Limits, Settings

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
T = 1_000_000.0
LIMITS = Limits(3600, 86400)


def timing(**given: Any) -> Any:
    return Settings(secret_keys=[KEY], **given).timing


USUAL = timing()


def record(**given: Any) -> SessionRecord:
    made = SessionRecord(
        key=b"k" * 32,
        public_id="p",
        subject="alice",
        created_at=T,
        authenticated_at=T,
        last_seen_at=T,
        inactivity_deadline=T + 3600,
        limits=LIMITS,
        keep_until=T + 3600 + 86400,
        renewed_at=T,
    )
    return made.evolve(**given)


def verdict(
    rec: SessionRecord | None, at: float, generation: int = 0, configured: Limits = LIMITS, **kw: Any
) -> Verdict:
    return lifetime.judge(rec, generation, at, configured, USUAL, **kw).verdict


def test_a_deadline_is_reached_at_the_instant() -> None:
    """L1: alive until just before the deadline, over at it."""
    assert verdict(record(), T + 3599.999) is Verdict.ACTIVE
    assert verdict(record(), T + 3600) is Verdict.INACTIVITY_TIMEOUT


def test_the_earlier_deadline_names_it() -> None:
    """L16: where both have passed, the earlier one gives the verdict."""
    late = record(inactivity_deadline=T + 86000, keep_until=T + 10 * 86400)
    assert verdict(late, T + 86400) is Verdict.INACTIVITY_TIMEOUT
    assert verdict(late.evolve(inactivity_deadline=T + 86400), T + 86400) is Verdict.LIFETIME_EXCEEDED
    assert verdict(late.evolve(inactivity_deadline=None), T + 86399) is Verdict.ACTIVE


def test_a_cut_applies_at_once_and_a_raise_never() -> None:
    """L2: the smaller of stored and configured; a cut in silence counts from last_seen_at plus one touch interval."""
    rec = record(last_seen_at=T + 100)
    cut = Limits(900, 7200)
    assert lifetime.deadlines(rec, cut, USUAL) == Deadlines(T + 100 + 900 + 60, T + 7200)
    assert lifetime.deadlines(rec, Limits(7200, 2 * 86400), USUAL) == Deadlines(T + 3600, T + 86400)
    assert lifetime.deadlines(rec.evolve(inactivity_deadline=T + 200), cut, USUAL).inactivity == T + 200
    endless = rec.evolve(limits=Limits(None, 86400), inactivity_deadline=None)
    assert lifetime.deadlines(endless, LIMITS, USUAL).inactivity == T + 100 + 3600 + 60


def test_a_ceiling_caps_thirty_seconds_early() -> None:
    """L2: the authority's own end of the session is reached 30 s before."""
    assert lifetime.deadlines(record(ceiling=T + 500), LIMITS, USUAL).absolute == T + 470
    assert lifetime.first_deadlines(T, LIMITS, T + 500).absolute == T + 470


def test_first_deadlines_are_exact() -> None:
    """L5, L7: login records the exact instant, or the minutes it was given, never past the absolute deadline."""
    assert lifetime.first_deadlines(T, LIMITS, None) == Deadlines(T + 3600, T + 86400)
    assert lifetime.first_deadlines(T, LIMITS, None, 30) == Deadlines(T + 1800, T + 86400)
    assert lifetime.first_deadlines(T, Limits(None, 600), None) == Deadlines(None, T + 600)
    assert lifetime.first_deadlines(T, Limits(600, 600), None, 60) == Deadlines(T + 600, T + 600)


def test_a_touch_is_due_after_login_and_then_once_an_interval() -> None:
    """L5: the first request after login moves the exact deadline; after that one write per touch_interval."""
    assert lifetime.touch(record(), T, LIMITS, USUAL) is None
    first = lifetime.touch(record(), T + 1, LIMITS, USUAL)
    assert first is not None
    assert (first.last_seen_at, first.inactivity_deadline) == (T + 1, T + 1 + 3600 + 60)
    seen = first.applied(record())
    assert lifetime.touch(seen, T + 60.9, LIMITS, USUAL) is None
    assert lifetime.touch(seen, T + 61, LIMITS, USUAL) is not None


def test_a_touch_stops_at_the_absolute_deadline() -> None:
    """L4: never past the absolute deadline; there only last_seen_at moves."""
    near = record(last_seen_at=T + 86000, inactivity_deadline=T + 86400)
    assert lifetime.touch(near, T + 86030, LIMITS, USUAL) is None
    last = lifetime.touch(near, T + 86100, LIMITS, USUAL)
    assert last is not None
    assert last.inactivity_deadline == T + 86400


def test_without_rolling_only_last_seen_moves() -> None:
    """L4: rolling=False leaves the deadline to extend."""
    fixed = timing(rolling=False)
    assert lifetime.touch(record(), T + 30, LIMITS, fixed) is None
    seen = lifetime.touch(record(), T + 60, LIMITS, fixed)
    assert seen is not None
    assert (seen.last_seen_at, seen.inactivity_deadline) == (T + 60, T + 3600)


def test_without_a_silence_limit_nothing_rolls() -> None:
    """L5: inactivity_timeout=None means no limit by silence."""
    endless = record(limits=Limits(None, 86400), inactivity_deadline=None)
    seen = lifetime.touch(endless, T + 60, Limits(None, 86400), USUAL)
    assert seen is not None
    assert seen.inactivity_deadline is None
    assert lifetime.touch(endless, T + 59, Limits(None, 86400), USUAL) is None


def test_a_first_presentation_is_written_once_even_without_activity() -> None:
    """L11: the grace of the previous token starts when the successor is first shown, activity or not."""
    renewed = record(generation=1, renewed_at=T + 3600, last_seen_at=T + 3600, inactivity_deadline=T + 7260)
    shown = lifetime.touch(renewed, T + 3601, LIMITS, USUAL, activity=False)
    assert shown is not None
    after = shown.applied(renewed)
    assert (after.presented_at, after.last_seen_at) == (T + 3601, T + 3600)
    assert lifetime.touch(after, T + 3700, LIMITS, USUAL, activity=False) is None
    assert lifetime.touch(renewed, T + 3601, LIMITS, USUAL, presented=False) is None


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5), st.booleans()), max_size=6),
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)), max_size=6),
)
def test_touches_that_are_not_exact_commute(
    exact: list[tuple[float, float, bool]], pairs: list[tuple[float, float]]
) -> None:
    """Store promise: two touches in either order leave the later times."""
    touches = [Touch(T + a, T + b, T + b) for a, b in pairs]
    forward, backward = record(), record()
    for touch in touches:
        forward = touch.applied(forward)
    for touch in reversed(touches):
        backward = touch.applied(backward)
    assert forward == backward


def test_extend_is_exact_and_may_shorten() -> None:
    """L7: now + minutes, capped; blank leaves the deadline; keep_until follows."""
    longer = lifetime.extend_touch(record(), 120, T + 10, LIMITS, USUAL).applied(record())
    assert longer.inactivity_deadline == T + 10 + 7200
    shorter = lifetime.extend_touch(longer, 5, T + 20, LIMITS, USUAL).applied(longer)
    assert (shorter.inactivity_deadline, shorter.keep_until) == (T + 20 + 300, T + 320 + 86400)
    assert lifetime.extend_touch(longer, None, T + 20, LIMITS, USUAL).applied(longer).inactivity_deadline == T + 7210
    assert lifetime.extend_touch(record(), 527040, T, LIMITS, USUAL).inactivity_deadline == T + 86400


@pytest.mark.parametrize("minutes", [4, 527041, -5, 0, True, "30", math.nan, math.inf, [], None.__class__])
def test_hostile_minutes_are_refused(minutes: object) -> None:
    """L7: 5..527040 minutes, anything else is an error that names the bounds."""
    with pytest.raises(SettingsError, match="minutes"):
        lifetime.checked_minutes(minutes)


def test_continue_shortens_nothing() -> None:
    """L4, L7: a deadline that the app has set for longer stands; what activity has recorded becomes exact."""
    given = record().evolve(inactivity_deadline=T + 14_400.0)
    left = lifetime.continue_touch(given, None, T + 60, LIMITS, USUAL)
    assert left.applied(given).inactivity_deadline == T + 14_400.0
    assert left.applied(given).last_seen_at == T + 60
    assert lifetime.continue_touch(given, 30, T + 60, LIMITS, USUAL).inactivity_deadline == T + 1_860
    near = lifetime.continue_touch(given, None, T + 14_400 - 3_600 - USUAL.touch_interval, LIMITS, USUAL)
    assert near.inactivity_deadline == T + 14_400 - USUAL.touch_interval
    cut = lifetime.continue_touch(given, None, T + 60, Limits(900, 86400), USUAL)
    assert cut.inactivity_deadline == T + 960, "a cut that is in force since leaves nothing later"


def test_continue_is_bound_by_the_policy() -> None:
    """L7: continue sets now + the timeout in force; minutes beyond max_continue are refused."""
    assert lifetime.continue_touch(record(), None, T + 9, LIMITS, USUAL).inactivity_deadline == T + 3609
    assert lifetime.continue_touch(record(), None, T + 9, Limits(900, 86400), USUAL).inactivity_deadline == T + 909
    assert lifetime.continue_touch(record(), 30, T, LIMITS, USUAL).inactivity_deadline == T + 1800
    with pytest.raises(SettingsError, match="60"):
        lifetime.continue_touch(record(), 61, T, LIMITS, USUAL)
    wide = timing(max_continue=7200)
    assert lifetime.continue_touch(record(), 120, T, LIMITS, wide).inactivity_deadline == T + 7200
    endless = record(limits=Limits(None, 86400), inactivity_deadline=None)
    assert lifetime.continue_touch(endless, None, T, Limits(None, 86400), USUAL).inactivity_deadline is None
    assert lifetime.continue_touch(endless, 600, T, Limits(None, 86400), USUAL).inactivity_deadline == T + 36000


def test_generations() -> None:
    """L11: current and newer live; previous until the grace after the first presentation; older is a replay."""
    rec = record(generation=2, presented_at=T + 10)
    assert verdict(rec, T + 20, 2) is Verdict.ACTIVE
    assert verdict(rec, T + 20, 3) is Verdict.ACTIVE
    assert verdict(rec, T + 39.9, 1) is Verdict.ACTIVE
    assert verdict(rec, T + 40, 1) is Verdict.REPLAYED
    assert verdict(rec, T + 20, 0) is Verdict.REPLAYED
    assert verdict(rec.evolve(presented_at=None), T + 3000, 1) is Verdict.ACTIVE
    assert lifetime.judge(rec, 1, T + 20, LIMITS, USUAL).presented == "previous"
    assert lifetime.judge(rec, 3, T + 20, LIMITS, USUAL).presented == "newer"


def test_renewal_is_due_only_for_the_current_generation() -> None:
    """L11: else two lost responses would push what the browser holds out of reach."""
    assert lifetime.renewal_due(record(), 0, T + 3600, USUAL)
    assert not lifetime.renewal_due(record(), 0, T + 3599, USUAL)
    assert not lifetime.renewal_due(record(generation=1), 0, T + 9999, USUAL)
    assert not lifetime.renewal_due(record(), 0, T + 9999, timing(renewal_interval=None))


def test_ended_records_keep_their_reason() -> None:
    """L16: what ended a session is what it goes on saying; a later raise or a clock set back revives nothing."""
    for reason, expected in [
        ("inactivity_timeout", Verdict.INACTIVITY_TIMEOUT),
        ("lifetime_exceeded", Verdict.LIFETIME_EXCEEDED),
        ("replayed", Verdict.REPLAYED),
        ("logout", Verdict.REVOKED),
    ]:
        assert verdict(record().ended(reason, T + 5, T + 86400), T) is expected
    assert verdict(None, T) is Verdict.UNKNOWN


def test_rubbish_is_unknown_whether_swept_or_not() -> None:
    """L16: verdicts do not depend on when a store sweeps."""
    assert verdict(record(), T + 3600 + 86400 - 1) is Verdict.INACTIVITY_TIMEOUT
    assert verdict(record(), T + 3600 + 86400) is Verdict.UNKNOWN


def test_an_outage_logs_nobody_out() -> None:
    """L17: silence that ran out while the store was out of reach ends one touch interval after recovery."""
    deaf = Outage(T + 3000, T + 5000)
    assert verdict(record(), T + 5059, outage=deaf) is Verdict.ACTIVE
    assert verdict(record(), T + 5060, outage=deaf) is Verdict.INACTIVITY_TIMEOUT
    assert verdict(record(inactivity_deadline=T + 2999), T + 5001, outage=deaf) is Verdict.INACTIVITY_TIMEOUT
    short = record(limits=Limits(3600, 5010), inactivity_deadline=T + 3600)
    assert verdict(short, T + 5010, outage=deaf) is Verdict.LIFETIME_EXCEEDED


def test_jwt_expiry_and_rotation() -> None:
    """L9: jwt_lifetime, never past the deadline; rotated under half, only if a new one lives longer, or outlives it."""
    assert lifetime.jwt_expiry(T + 0.7, T + 9999, USUAL) == T + 300
    assert lifetime.jwt_expiry(T, T + 100.5, USUAL) == T + 100
    assert not lifetime.jwt_due(int(T + 300), T + 150, T + 9999, USUAL)
    assert lifetime.jwt_due(int(T + 300), T + 151, T + 9999, USUAL)
    assert not lifetime.jwt_due(int(T + 300), T + 290, T + 300, USUAL)
    assert lifetime.jwt_due(int(T + 300), T, T + 299, USUAL)


def test_quiet_until_is_the_earliest_instant_at_which_something_is_due() -> None:
    """Design §6: touch, renewal, JWT, deadlines and keep_until all bound the quiet time."""
    rec = record(last_seen_at=T + 1, inactivity_deadline=T + 3661)
    force = lifetime.deadlines(rec, LIMITS, USUAL)
    exp = int(T + 300)
    assert lifetime.quiet_until(rec, force, exp, LIMITS, USUAL) == T + 61
    assert lifetime.quiet_until(rec.evolve(inactivity_deadline=T + 3601), force, exp, LIMITS, USUAL) == T + 1
    rec = rec.evolve(inactivity_deadline=T + 3860)
    assert lifetime.quiet_until(rec.evolve(last_seen_at=T + 200), force, exp, LIMITS, USUAL) == T + 150
    assert lifetime.quiet_until(rec.evolve(renewed_at=T - 3570), force, exp, LIMITS, USUAL) == T + 30
    assert lifetime.quiet_until(rec, Deadlines(T + 20, T + 9), exp, LIMITS, USUAL) == -math.inf
    assert lifetime.quiet_until(rec, Deadlines(None, T + 300.5), exp, LIMITS, timing(renewal_interval=None)) == T + 61


def test_freshness_counts_from_authentication_or_step_up() -> None:
    """L3, L12: activity never makes a session fresh."""
    assert lifetime.is_fresh(record(last_seen_at=T + 500), 300, T + 299, USUAL)
    assert not lifetime.is_fresh(record(last_seen_at=T + 500), 300, T + 300, USUAL)
    assert lifetime.is_fresh(record(fresh_at=T + 500), 300, T + 700, USUAL)


@pytest.mark.parametrize("field", ["authenticated_at", "fresh_at"])
def test_a_proof_from_the_future_is_none(field: str) -> None:
    """L1: up to clock_skew ahead is another node's clock; further ahead it would be fresh for days, so it is not."""
    assert lifetime.is_fresh(record(**{field: T + 30}), 300, T, USUAL)
    assert not lifetime.is_fresh(record(**{field: T + 30.001}), 300, T, USUAL)
    assert lifetime.is_fresh(record(**{field: T + 60}), 300, T, timing(clock_skew=60))


_times = st.integers(-400_000, 400_000).map(lambda quarter: T + quarter / 4)


@given(
    times=st.fixed_dictionaries(
        {"authenticated_at": _times, "last_seen_at": _times, "inactivity_deadline": st.none() | _times}
    ),
    presented=st.none() | _times,
    configured=st.builds(Limits, st.none() | st.integers(60, 9000), st.integers(9000, 200_000)),
    generation=st.integers(0, 2),
    now=_times,
    back=st.integers(0, 400_000),
)
def test_a_clock_set_back_logs_nobody_out(
    times: dict[str, Any], presented: float | None, configured: Limits, generation: int, now: float, back: int
) -> None:
    """L1: whoever is signed in by one clock is signed in by any that is behind it, however far ahead the record is."""
    rec = record(**times, keep_until=T + 1e6, generation=2, presented_at=presented)
    if verdict(rec, now, generation, configured) is Verdict.ACTIVE:
        assert verdict(rec, now - back, generation, configured) is Verdict.ACTIVE


def test_every_verdict_has_its_outside_word() -> None:
    """L16: UNKNOWN, TAMPERED, REVOKED and REPLAYED all read signed_out."""
    assert {v.name: v.reason for v in Verdict} == {
        "ACTIVE": None,
        "ANONYMOUS": None,
        "UNKNOWN": "signed_out",
        "TAMPERED": "signed_out",
        "INACTIVITY_TIMEOUT": "inactivity",
        "LIFETIME_EXCEEDED": "lifetime",
        "REVOKED": "signed_out",
        "REPLAYED": "signed_out",
        "UNAVAILABLE": "unavailable",
    }
    assert Deadlines(None, 5).ends_at == 5


@given(st.lists(st.floats(0.0, 4000.0), min_size=1, max_size=40))
def test_never_earlier_and_at_most_one_interval_later(pauses: list[float]) -> None:
    """L5: over any activity, the session ends within [timeout, timeout + touch_interval] after the last of it."""
    rec, now, last = record(), T, T
    for pause in pauses:
        now += pause
        if verdict(rec, now) is not Verdict.ACTIVE:
            assert now - last >= 3600
            return
        last = now
        touch = lifetime.touch(rec, now, LIMITS, USUAL)
        if touch is not None:
            rec = touch.applied(rec)
        end = lifetime.deadlines(rec, LIMITS, USUAL).ends_at
        if end < T + 86400:
            assert 3600 <= end - last <= 3660 + 1e-6


def test_a_window_under_five_minutes_takes_no_minutes() -> None:
    """L7: where the policy's own window is shorter than any number allowed, the error says so."""
    with pytest.raises(SettingsError, match="Leave minutes out"):
        lifetime.continue_touch(record(), 5, T, Limits(120, 86400), USUAL)


def test_an_exact_touch_may_leave_the_deadline() -> None:
    """Store promise: None leaves the deadline as it is, in an exact touch and in another; so does a record without one."""
    assert Touch(T + 5, None, T + 9, exact=True).applied(record()).inactivity_deadline == T + 3600
    assert Touch(T + 5, None, T + 9).applied(record()).inactivity_deadline == T + 3600
    assert Touch(T + 5, T + 9, T + 9).applied(record(inactivity_deadline=None)).inactivity_deadline is None


def test_a_jwt_that_lives_just_as_long_as_its_session_is_quiet() -> None:
    """L9: none could live longer, so until the next touch there is nothing to do for such a request."""
    brief = record(inactivity_deadline=None, limits=Limits(None, 300))
    force = lifetime.deadlines(brief, Limits(None, 300), USUAL)
    assert lifetime.quiet_until(brief, force, int(T + 300), Limits(None, 300), USUAL) == T + 60
    assert lifetime.quiet_until(brief, force, int(T + 301), Limits(None, 300), USUAL) == -math.inf


def test_a_session_begun_without_a_limit_by_silence_is_quiet_under_one() -> None:
    """L2: no deadline of silence is recorded that activity could move, so only the touch is waited for."""
    endless = record(inactivity_deadline=None, limits=Limits(None, 86400))
    force = lifetime.deadlines(endless, LIMITS, USUAL)
    assert lifetime.quiet_until(endless, force, int(T + 300), LIMITS, USUAL) == T + 60
