"""The wheel gives each key out once, never early, and no later than a step after its instant (L1)."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from session_middleware.core.wheel import Wheel

INSTANTS = st.floats(-1e6, 1e6)
CHANGES = st.lists(st.tuples(st.sampled_from("abcdef"), st.one_of(st.none(), INSTANTS)), max_size=40)


def test_keys_come_out_when_they_are_due() -> None:
    """A key that is put again comes out at its new instant alone; one that is dropped does not."""
    wheel: Wheel[str] = Wheel(1.0)
    wheel.put("late", 20)
    wheel.put("early", 10)
    wheel.put("moved", 10)
    wheel.put("moved", 30)
    wheel.put("gone", 10)
    wheel.drop("gone")
    wheel.drop("never there")
    assert len(wheel) == 3
    assert wheel.due(9.9) == []
    assert wheel.due(10) == ["early"]
    assert wheel.due(29.9) == ["late"]
    assert wheel.due(30) == ["moved"]
    assert wheel.due(1e9) == []
    assert len(wheel) == 0


def test_never_is_never() -> None:
    """What is due at infinity is not kept, and what had been due is forgotten."""
    wheel: Wheel[str] = Wheel()
    wheel.put("key", 5)
    wheel.put("key", math.inf)
    wheel.put("other", -math.inf)
    wheel.put("third", math.nan)
    assert wheel.due(1e12) == []
    assert len(wheel) == 0


def test_the_same_slot_twice_costs_nothing() -> None:
    """A deadline that moves within one slot leaves the key where it is."""
    wheel: Wheel[str] = Wheel(10.0)
    wheel.put("key", 11)
    wheel.put("key", 12)
    assert wheel.due(19.9) == []
    assert wheel.due(20) == ["key"]


@given(changes=CHANGES, step=st.sampled_from([0.1, 0.5, 1.0, 7.0]), looks=st.lists(INSTANTS, max_size=20))
def test_a_wheel_is_as_good_as_timers(changes: list[tuple[str, float | None]], step: float, looks: list[float]) -> None:
    """Against a dict of instants: whatever is put, moved and dropped."""
    wheel: Wheel[str] = Wheel(step)
    timers: dict[str, float] = {}
    for key, at in changes:
        if at is None:
            wheel.drop(key)
            timers.pop(key, None)
        else:
            wheel.put(key, at)
            timers[key] = at
    assert len(wheel) == len(timers)
    for now in sorted(looks):
        due = wheel.due(now)
        assert len(due) == len(set(due))
        for key in due:
            assert timers.pop(key) <= now + 1e-6
        for at in timers.values():
            assert at + step + 1e-6 > now
    assert len(wheel) == len(timers)
