"""Reach leaves a store alone that fails again and again, and comes back to it with one call (L17)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from session_middleware.core.provider import mark_of
from session_middleware.core.record import SessionRecord
from session_middleware.errors import RecordUnreadable, StoreUnavailable
from session_middleware.reach import FAULTS_IN_A_ROW, LEFT_ALONE, Reach
from session_middleware.runtime import LoopRuntime, ThreadRuntime, bind, run_sync
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


def test_a_write_that_meets_garbage_is_answered(
    store: Failing, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that nobody can read is a fault of that record: the store is asked on, for reads and for writes."""
    asked: list[bytes] = []

    def touch(key: bytes, touch: object) -> None:
        asked.append(key)
        raise RecordUnreadable("garbage")

    monkeypatch.setattr(store, "touch", touch)
    reach = Reach(store, runtime=ThreadRuntime(), clock=clock, retention=86_400.0, announce=lambda name, detail: None)
    for _ in range(2 * FAULTS_IN_A_ROW):
        with pytest.raises(StoreUnavailable):
            run_sync(reach.write("touch", KEY, None))
    assert len(asked) == 2 * FAULTS_IN_A_ROW
    assert ask(reach)


# --- marks of what has ended at a provider (L24) -----------------------------------------------------------------------


def a_mark(at: float) -> SessionRecord:
    """Return the mark of an end so many seconds after the session began."""
    record = reference_record(0)
    made = mark_of(record.evolve(provider_session="sid-1"), record.created_at + at)
    assert made is not None
    return made


def ended(reach: Reach) -> float | None:
    """Return how many seconds after the beginning the provider session ended, as this process knows it."""
    began = reference_record(0).created_at
    found = run_sync(reach.ended_at_provider(a_mark(0).key, began))
    return None if found is None else found - began


def test_of_two_marks_the_later_stands(reach: Reach) -> None:
    """Whichever is left first."""
    assert ended(reach) is None
    for at in (10, 30, 20):
        run_sync(reach.mark(a_mark(at)))
    assert ended(reach) == 30
    assert not reach.unmarked


def test_two_processes_that_mark_at_once(reach: Reach, store: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that finds no mark and then one of the other's moves that on."""
    create = store.create

    def late(record: SessionRecord) -> None:
        create(a_mark(5))
        create(record)

    monkeypatch.setattr(store, "create", late)
    reach = Reach(store, runtime=ThreadRuntime(), clock=FakeClock(), retention=1.0, announce=lambda name, detail: None)
    run_sync(reach.mark(a_mark(10)))
    assert ended(reach) == 10
    assert not reach.unmarked


def test_a_mark_that_could_not_be_left_is_owed(
    store: Failing, events: list[str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds in this process at once, and is written with the next write; of what is owed, too, the later stands."""
    create = store.create

    def fails(record: SessionRecord) -> None:
        raise OSError("down")

    monkeypatch.setattr(store, "create", fails)
    reach = Reach(
        store, runtime=ThreadRuntime(), clock=clock, retention=1.0, announce=lambda name, detail: events.append(name)
    )
    for at in (20, 10):
        run_sync(reach.mark(a_mark(at)))
    assert ended(reach) == 20
    assert events == ["store_fault"] * 2
    assert [mark.last_seen_at for mark in reach.unmarked.values()] == [a_mark(20).last_seen_at]
    monkeypatch.setattr(store, "create", create)
    reach._call = bind(store, ("load", "touch", "create", "end"), ThreadRuntime())
    run_sync(reach.end_now(KEY, "revoked", 1.0))
    assert not reach.unmarked
    assert store.asked
    held = MemoryStore.load(store, a_mark(0).key)
    assert held is not None
    assert held.last_seen_at == a_mark(20).last_seen_at


def test_a_later_mark_left_while_one_is_written(store: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not forgotten with the one that was on its way."""
    touch = store.touch
    reach: Reach

    def meanwhile(key: bytes, change: Any) -> Any:
        reach.unmarked[key] = a_mark(99)
        return touch(key, change)

    monkeypatch.setattr(store, "touch", meanwhile)
    reach = Reach(store, runtime=ThreadRuntime(), clock=FakeClock(), retention=1.0, announce=lambda name, detail: None)
    run_sync(reach.mark(a_mark(10)))
    assert [mark.last_seen_at for mark in reach.unmarked.values()] == [a_mark(99).last_seen_at]
    assert ended(reach) == 99


def test_a_store_left_alone_gets_its_mark_later(reach: Reach, store: Failing, clock: FakeClock) -> None:
    """A mark is owed, not tried in vain."""
    let_down(reach, store)
    run_sync(reach.mark(a_mark(10)))
    assert a_mark(0).key in reach.unmarked
    store.fault = None
    clock.advance(LEFT_ALONE)
    assert ask(reach)
    assert not reach.unmarked
    assert ended(reach) == 10


def test_reads_go_on_where_only_writes_fail(store: Failing, clock: FakeClock, reach: Reach) -> None:
    """Many failed logins on a full or read-only store leave writes alone for a moment, and no page is refused (L17)."""
    refused = 0

    def full(record: SessionRecord) -> None:
        nonlocal refused
        refused += 1
        raise OSError("disk full")

    reach._call = bind(store, ("load", "end"), ThreadRuntime())
    reach._call.create = _awaited(full)
    for _ in range(2 * FAULTS_IN_A_ROW):
        with pytest.raises(StoreUnavailable):
            run_sync(reach.write("create", reference_record(1)))
        assert ask(reach)
    assert refused == FAULTS_IN_A_ROW
    clock.advance(LEFT_ALONE)
    assert run_sync(reach.end_now(KEY, "logout", clock()))
    with pytest.raises(StoreUnavailable):
        run_sync(reach.write("create", reference_record(1)))
    assert refused == FAULTS_IN_A_ROW + 1


def _awaited(call: Any) -> Any:
    async def awaited(*args: Any) -> Any:
        return call(*args)

    return awaited


def test_open_connections_hear_of_writes_to_sessions_alone(reach: Reach, clock: FakeClock) -> None:
    """Each write says which record, `end_before` says any; what is written of no session is news to nobody."""
    heard: list[bytes] = []
    reach.hearers = (heard.append,)
    record = reference_record(1)
    run_sync(reach.write("create", record))
    run_sync(reach.write("end", record.key, "revoked", clock(), clock() + 60))
    run_sync(reach.write("end_before", clock(), clock()))
    run_sync(reach.write("add_once", "a state", clock() + 60, clock()))
    run_sync(reach.write("prune", clock()))
    assert heard == [record.key, record.key, b""]
