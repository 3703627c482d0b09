"""Reach leaves a store alone that fails again and again, and comes back to it with one call (L17)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from session_middleware.errors import RecordUnreadable, StoreUnavailable
from session_middleware.reach import FAULTS_IN_A_ROW, LEFT_ALONE, Reach
from session_middleware.runtime import LoopRuntime, ThreadRuntime, run_sync
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.reference_record import reference_record

KEY = reference_record(0).key


class Failing(MemoryStore):
    """A store that is down while `fault` is set, and counts who asks."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self.asked = 0

    def load(self, key: bytes) -> Any:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return super().load(key)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> Failing:
    made = Failing()
    made.create(reference_record(0))
    return made


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def reach(store: Failing, clock: FakeClock, events: list[str]) -> Reach:
    return Reach(
        store,
        runtime=ThreadRuntime(),
        clock=clock,
        retention=86_400.0,
        announce=lambda name, detail: events.append(name),
    )


def ask(reach: Reach) -> bool:
    try:
        return run_sync(reach.load(KEY)) is not None
    except StoreUnavailable:
        return False


def let_down(reach: Reach, store: Failing) -> None:
    store.fault = OSError("down")
    for _ in range(FAULTS_IN_A_ROW):
        assert not ask(reach)
    store.asked = 0


def test_a_store_that_fails_again_and_again_is_left_alone(reach: Reach, store: Failing, events: list[str]) -> None:
    """After some faults in a row nobody waits for the next one; each fault is announced, what was not asked is not."""
    let_down(reach, store)
    assert not any(ask(reach) for _ in range(100))
    assert store.asked == 0
    assert events == ["store_fault"] * FAULTS_IN_A_ROW


def test_one_call_tries_whether_it_is_back(reach: Reach, store: Failing, clock: FakeClock, events: list[str]) -> None:
    """When the pause is over one call in each tries; while it still fails, the others are spared."""
    let_down(reach, store)
    for tried in range(1, 4):
        clock.advance(LEFT_ALONE)
        assert not any(ask(reach) for _ in range(10))
        assert store.asked == tried
    store.fault = None
    clock.advance(LEFT_ALONE)
    assert all(ask(reach) for _ in range(10))
    assert store.asked == 3 + 10
    assert events[-1] == "store_recovered"


def test_while_one_call_tries_the_others_wait_for_no_answer(store: Failing, clock: FakeClock) -> None:
    """No herd comes back: of 50 requests at once one is asked while the store's answer is out."""

    class Slow:
        short_calls = frozenset[str]()
        asked = 0
        down = True

        async def load(self, key: bytes) -> Any:
            self.asked += 1
            if self.down:
                raise OSError("down")
            await answer.wait()
            return store.load(key)

    async def main() -> None:
        nonlocal answer
        answer = asyncio.Event()
        reach = Reach(slow, runtime=LoopRuntime(), clock=clock, retention=1.0, announce=lambda name, detail: None)

        async def one() -> bool:
            try:
                return await reach.load(KEY) is not None
            except StoreUnavailable:
                return False

        for _ in range(FAULTS_IN_A_ROW):
            assert not await one()
        slow.asked, slow.down = 0, False
        clock.advance(LEFT_ALONE)
        waiting = [asyncio.create_task(one()) for _ in range(50)]
        while sum(task.done() for task in waiting) < 49:  # noqa: ASYNC110  # no event says that nobody waits
            await asyncio.sleep(0)
        assert slow.asked == 1
        answer.set()
        assert sorted(await asyncio.gather(*waiting)) == [False] * 49 + [True]
        assert await one()

    answer: asyncio.Event
    slow = Slow()
    asyncio.run(main())


def test_a_clock_set_back_does_not_keep_it_alone(reach: Reach, store: Failing, clock: FakeClock) -> None:
    """The pause is never longer than it says, whatever the clock does."""
    let_down(reach, store)
    store.fault = None
    clock.set(clock() - 3600)
    assert ask(reach)


def test_faults_between_answers_do_not_add_up(reach: Reach, store: Failing) -> None:
    """Only faults in a row count; a record that cannot be read is an answer."""
    for fault in [OSError("down")] * (FAULTS_IN_A_ROW - 1) + [RecordUnreadable("garbage")]:
        store.fault = fault
        assert not ask(reach)
    store.asked, store.fault = 0, OSError("down")
    for _ in range(FAULTS_IN_A_ROW - 1):
        assert not ask(reach)
    store.fault = None
    assert ask(reach)
    assert store.asked == FAULTS_IN_A_ROW


def test_writes_are_spared_too(reach: Reach, store: Failing, clock: FakeClock) -> None:
    """A write is refused at once as well; an end that was not tried is owed and done when the store is back (L17)."""
    let_down(reach, store)
    assert not run_sync(reach.end(KEY, "logout", 1.0, 1.0))
    held = MemoryStore.load(store, KEY)
    assert held is not None
    assert held.ended_at is None, "not tried"
    store.fault = None
    clock.advance(LEFT_ALONE)
    ask(reach)
    held = MemoryStore.load(store, KEY)
    assert held is not None
    assert held.end_reason == "logout"
