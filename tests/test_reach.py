"""Reach leaves a store alone that fails again and again, and comes back to it with one call (L17)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from session_middleware.core.lifetime import Outage, Touch
from session_middleware.core.provider import mark_of
from session_middleware.core.record import SessionRecord
from session_middleware.errors import RecordUnreadable, StoreUnavailable
from session_middleware.reach import CAUGHT_UP, FAULTS_IN_A_ROW, LEFT_ALONE, RETRY_INTERVAL, Reach, calls, making_up
from session_middleware.reach.outages import Outages
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


def test_processes_do_not_come_back_at_the_same_instant(store: Failing, clock: FakeClock) -> None:
    """Issue 3, no thundering herd: of many that lost the store together each tries again at its own time, all in time."""
    made = [
        Reach(store, runtime=ThreadRuntime(), clock=clock, retention=86_400.0, announce=lambda name, detail: None)
        for _ in range(40)
    ]
    for reach in made:
        let_down(reach, store)
    store.fault = None
    served: list[int] = [0]
    for _ in range(20):
        clock.advance(LEFT_ALONE / 20)
        served.append(sum(ask(reach) for reach in made))
    assert served[-1] == len(made)
    assert max(now - before for before, now in itertools.pairwise(served)) < len(made) / 2


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


def test_what_cannot_be_read_is_not_written_either(reach: Reach, store: Failing) -> None:
    """L17: a login does not wait for a server of which the pages before it know that it is silent."""
    let_down(reach, store)
    with pytest.raises(StoreUnavailable, match="left alone"):
        run_sync(reach.write("create", reference_record(1)))
    assert len(store) == 1


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


# --- what is owed --------------------------------------------------------------------------------------------------------


class Owing(MemoryStore):
    """A store in which writes can fail: all of them, those to some records for good; and whose records can be unreadable."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.poison: dict[bytes, BaseException] = {}
        self.writes = 0

    def _ask(self, key: bytes) -> None:
        if self.down:
            raise OSError("read-only")
        self.writes += 1
        if key in self.poison:
            raise self.poison[key]

    def touch(self, key: bytes, touch: Any) -> Any:
        self._ask(key)
        return super().touch(key, touch)

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        self._ask(key)
        return super().end(key, reason, at, keep_until)

    def create(self, record: SessionRecord) -> None:
        self._ask(record.key)
        super().create(record)

    def load(self, key: bytes) -> Any:
        if isinstance(self.poison.get(key), RecordUnreadable):
            raise self.poison[key]
        return super().load(key)


class Debtor:
    """A process over such a store, and sessions in it."""

    def __init__(self, clock: FakeClock, sessions: int) -> None:
        self.clock, self.store, self.events = clock, Owing(), [""]
        self.records = [self.record(number) for number in range(sessions)]
        for record in self.records:
            self.store.create(record)
        self.reach = Reach(
            self.store,
            runtime=ThreadRuntime(),
            clock=clock,
            retention=86_400.0,
            announce=lambda name, detail: self.events.append(detail.get("method", "")),
        )

    def record(self, number: int) -> SessionRecord:
        """Return a record of a session that begins now."""
        now = self.clock()
        return reference_record(number).evolve(
            authenticated_at=now,
            last_seen_at=now,
            renewed_at=now,
            inactivity_deadline=now + 3_600,
            keep_until=now + 90_000,
        )

    def end(self, number: int) -> bool:
        return run_sync(self.reach.end(self.records[number].key, "logout", self.clock(), self.clock())) is not None

    def is_ended(self, number: int) -> bool:
        held = MemoryStore.load(self.store, self.records[number].key)
        return held is not None and held.ended_at is not None

    def write(self) -> None:
        """Do a write of somebody else's, once the store can be asked again."""
        self.clock.advance(LEFT_ALONE + 1)
        run_sync(self.reach.write("create", self.record(int(self.clock()))))


@pytest.mark.parametrize(
    "fault", [RecordUnreadable("damaged"), OSError("refused for this one")], ids=["unreadable", "any"]
)
def test_an_end_that_cannot_be_written_keeps_no_other_from_being_written(clock: FakeClock, fault: Exception) -> None:
    """L13, L17: one damaged record must not leave everybody else signed in."""
    debtor = Debtor(clock, 3)
    debtor.store.poison[debtor.records[0].key] = fault
    debtor.store.down = True
    assert not any([debtor.end(0), debtor.end(1), debtor.end(2)])
    debtor.store.down = False
    for _ in range(4):
        debtor.write()
    assert [debtor.is_ended(number) for number in range(3)] == [False, True, True]
    assert all(debtor.reach.is_over(record) for record in debtor.records), "this process knows of all three"


def test_open_connections_hear_of_an_end_that_is_owed(clock: FakeClock) -> None:
    """L17: what is over for this process is so on its sockets too, and not only once the store has written and said so."""
    debtor, heard = Debtor(clock, 1), list[bytes]()
    debtor.reach.hearers = (heard.append,)
    debtor.store.down = True
    assert not debtor.end(0)
    assert heard == [debtor.records[0].key]


def test_an_end_that_is_cancelled_with_its_request_is_written_by_the_next(clock: FakeClock) -> None:
    """L13, L25: a client that goes away while its logout is being written has logged out all the same."""
    debtor = Debtor(clock, 1)
    debtor.store.poison[debtor.records[0].key] = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        debtor.end(0)
    assert debtor.reach.is_over(debtor.records[0])
    debtor.store.poison.clear()
    assert run_sync(debtor.reach.load(b"another")) is None
    assert debtor.is_ended(0)


class Unsure(MemoryStore):
    """A store that writes a new record and then raises, as one whose answer does not come in time."""

    fault: BaseException | None = None

    def create(self, record: SessionRecord) -> None:
        super().create(record)
        if self.fault is not None:
            raise self.fault


@pytest.mark.parametrize("fault", [TimeoutError(), asyncio.CancelledError()], ids=lambda fault: type(fault).__name__)
def test_a_new_record_of_which_nobody_heard_is_ended(clock: FakeClock, fault: BaseException) -> None:
    """L25: it is nobody's session, and would count among those that its subject may have."""
    store, record = Unsure(), reference_record(1)
    reach = Reach(store, runtime=ThreadRuntime(), clock=clock, retention=60.0, announce=lambda name, detail: None)
    store.fault = fault
    with pytest.raises((StoreUnavailable, asyncio.CancelledError)):
        run_sync(reach.create("create", record))
    store.fault = None
    run_sync(reach.load(b"another"))
    held = store.load(record.key)
    assert held is not None
    assert (held.end_reason, reach.unended) == ("abandoned", {})


def test_a_new_record_for_which_the_store_was_not_asked_is_not_ended(clock: FakeClock) -> None:
    """A store that is left alone has not got it: nothing is owed, which each later request would have to make up for."""
    store = Unsure()
    reach = Reach(store, runtime=ThreadRuntime(), clock=clock, retention=60.0, announce=lambda name, detail: None)
    store.fault = TimeoutError()
    for n in range(FAULTS_IN_A_ROW + 3):
        with pytest.raises(StoreUnavailable):
            run_sync(reach.create("create", reference_record(n)))
    assert len(reach.unended) == FAULTS_IN_A_ROW


def test_an_end_that_is_cancelled_while_its_mark_is_written_is_written_too(clock: FakeClock) -> None:
    """L13, L24: so it is of a session that stands on one of a provider's, whose mark comes first."""
    debtor, mark = Debtor(clock, 1), a_mark(10)
    debtor.store.poison[mark.key] = asyncio.CancelledError()
    key, now = debtor.records[0].key, clock()
    with pytest.raises(asyncio.CancelledError):
        run_sync(debtor.reach.end(key, "logout", now, now, mark=mark))
    assert debtor.reach.is_over(debtor.records[0])
    debtor.store.poison.clear()
    assert run_sync(debtor.reach.load(b"another")) is None
    assert debtor.is_ended(0)
    assert debtor.store.load(mark.key) is not None


def test_an_end_of_a_record_that_cannot_be_read_is_written_once_it_can_be(clock: FakeClock) -> None:
    """L13: it is not retried meanwhile, which would keep every request from being recognised quietly; nor forgotten."""
    debtor = Debtor(clock, 1)
    debtor.store.poison[debtor.records[0].key] = RecordUnreadable("of a later version")
    assert not debtor.end(0)
    debtor.write()
    assert debtor.reach.is_well
    writes = debtor.store.writes
    debtor.write()
    assert debtor.store.writes == writes + 1, "the other's own"
    debtor.store.poison.clear()
    assert run_sync(debtor.reach.load(b"another")) is None
    record = run_sync(debtor.reach.load(debtor.records[0].key))
    assert record is not None
    assert record.end_reason == "logout"
    debtor.write()
    assert debtor.is_ended(0)


def test_an_end_that_is_owed_to_what_nobody_has_seen_and_is_gone_is_forgotten(clock: FakeClock) -> None:
    """L17: there is nothing to mark and nothing to end, and every request would go the long way meanwhile."""
    debtor = Debtor(clock, 1)
    key = debtor.records[0].key
    debtor.store.down = True
    assert not run_sync(debtor.reach.end(key, "logout", clock(), clock(), unseen=True))
    debtor.store.down = False
    assert debtor.store.prune(clock() + 1_000_000)
    for _ in range(2):
        debtor.write()
    assert debtor.reach.is_well
    assert not debtor.reach.unseen


@pytest.mark.parametrize(
    "fault", [RecordUnreadable("damaged"), OSError("refused for this one")], ids=["unreadable", "any"]
)
def test_a_mark_that_cannot_be_written_keeps_no_end_from_being_written(clock: FakeClock, fault: Exception) -> None:
    """L24: it counts in this process; what is behind it is written."""
    debtor = Debtor(clock, 2)
    mark = mark_of(debtor.records[0].evolve(provider_session="p", authority="oidc"), clock())
    assert mark is not None
    debtor.store.poison[mark.key] = fault
    debtor.store.down = True
    assert not debtor.end(1)
    run_sync(debtor.reach.mark(mark))
    debtor.store.down = False
    for _ in range(2):
        debtor.write()
    assert debtor.is_ended(1)
    assert run_sync(debtor.reach.write("touch", debtor.records[0].key, Touch(clock(), None, clock() + 1))) is not None


@pytest.mark.parametrize("ends", [(10, 20), (20, 10)], ids=["in turn", "the later one first"])
def test_of_two_marks_that_are_owed_the_later_end_counts(clock: FakeClock, ends: tuple[float, float]) -> None:
    """L24: who proved who they are between two ends has signed out since."""
    debtor = Debtor(clock, 0)
    debtor.store.down = True
    for at in ends:
        run_sync(debtor.reach.mark(a_mark(at)))
    late = a_mark(20)
    assert run_sync(debtor.reach.ended_at_provider(late.key, late.last_seen_at)) == late.last_seen_at
    debtor.store.down = False
    clock.advance(LEFT_ALONE + 1)
    # Now it is written right after the store has been read, which said nothing of it yet.
    assert run_sync(debtor.reach.ended_at_provider(late.key, late.last_seen_at)) == late.last_seen_at
    assert not debtor.reach.unmarked
    held = debtor.store.load(late.key)
    assert held is not None
    assert held.last_seen_at == late.last_seen_at


@pytest.mark.parametrize("ends", [(10, 20), (20, 10)], ids=["in turn", "the later one first"])
def test_of_two_marks_that_no_store_can_write_the_later_end_counts(clock: FakeClock, ends: tuple[float, float]) -> None:
    """L24: an end that is told of late, of a deadline that had passed before, takes nothing from the one set aside."""
    debtor, late = Debtor(clock, 0), a_mark(20)
    debtor.store.poison[late.key] = RecordUnreadable("of a later version")
    for at in ends:
        run_sync(debtor.reach.mark(a_mark(at)))
    debtor.store.poison.clear()
    assert run_sync(debtor.reach.ended_at_provider(late.key, late.last_seen_at)) == late.last_seen_at


def test_a_mark_that_no_store_can_write_is_not_tried_again_until_it_can_be(clock: FakeClock) -> None:
    """L24: else each request would try, and say so in the log, for as long as the process runs; then it counts, and is written."""
    debtor, mark = Debtor(clock, 1), a_mark(10)
    debtor.store.poison[mark.key] = RecordUnreadable("of a later version")
    run_sync(debtor.reach.mark(mark))
    writes, told = debtor.store.writes, len(debtor.events)
    for _ in range(3):
        clock.advance(RETRY_INTERVAL)
        assert run_sync(debtor.reach.load(debtor.records[0].key)) is not None
    assert (debtor.store.writes, len(debtor.events)) == (writes, told)
    assert not debtor.reach.unmarked, "who waits for what a provider has said to be stored need not wait for this"
    with pytest.raises(StoreUnavailable):
        run_sync(debtor.reach.ended_at_provider(mark.key, mark.last_seen_at))
    debtor.store.poison.clear()  # an operator has deleted it
    assert run_sync(debtor.reach.ended_at_provider(mark.key, mark.last_seen_at)) == mark.last_seen_at
    assert run_sync(debtor.reach.load(b"another")) is None
    assert debtor.store.load(mark.key) is not None


def test_a_touch_of_a_record_that_cannot_be_read_is_dropped(clock: FakeClock) -> None:
    """L17: nobody waits for it any more."""
    debtor = Debtor(clock, 2)
    debtor.store.down = True
    for record in debtor.records:
        run_sync(debtor.reach.touch(record, Touch(clock(), None, clock() + 60)))
    debtor.store.down = False
    debtor.store.poison[debtor.records[0].key] = RecordUnreadable("damaged")
    told = len(debtor.events)
    debtor.write()
    assert not debtor.reach.unsaved
    assert debtor.events[told:] == ["touch"], "whoever runs the app hears of the record"


def test_a_touch_that_fails_while_a_later_one_is_owed(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """L5, L17: the later one stands."""
    debtor = Debtor(clock, 1)
    key, later = debtor.records[0].key, Touch(clock() + 60, None, clock() + 120)
    debtor.store.down = True
    run_sync(debtor.reach.touch(debtor.records[0], Touch(clock(), None, clock() + 60)))
    debtor.store.down = False

    def fails(key: bytes, touch: Any) -> Any:
        debtor.reach.unsaved[key] = later
        raise OSError("gone again")

    monkeypatch.setattr(debtor.store, "touch", fails)
    debtor.reach._call = bind(debtor.store, ("create", "load", "touch"), ThreadRuntime())
    debtor.write()
    assert debtor.reach.unsaved == {key: later}


def test_a_touch_that_is_owed_does_not_undo_a_later_one(clock: FakeClock) -> None:
    """L7, L17: `extend(5)` leaves five minutes, whatever activity of before it the store has not heard of yet."""
    debtor = Debtor(clock, 1)
    record, now = debtor.records[0], clock()
    debtor.store.down = True
    run_sync(debtor.reach.touch(record, Touch(now, now + 7_200, now + 93_600)))
    debtor.store.down = False
    clock.advance(LEFT_ALONE)
    extended = Touch(clock(), clock() + 300, clock() + 86_700, exact=True)
    run_sync(debtor.reach.write("touch", record.key, extended))
    assert MemoryStore.load(debtor.store, record.key) == extended.applied(record)
    assert not debtor.reach.unsaved


@pytest.mark.parametrize("seconds", [10, 400], ids=["before its end", "after it"])
def test_a_touch_that_is_owed_does_not_undo_what_another_process_has_shortened(
    clock: FakeClock, seconds: float
) -> None:
    """L7: only later activity raises a deadline again; an outage before it brings back nobody whose time is over."""
    debtor = Debtor(clock, 1)
    key, now = debtor.records[0].key, clock()
    debtor.store.down = True
    clock.advance(seconds=1)
    run_sync(debtor.reach.touch(debtor.records[0], Touch(now + 1, now + 7_200, now + 90_000, False, 0, now + 1)))
    debtor.store.down = False
    MemoryStore.touch(debtor.store, key, Touch(now + 2, now + 300, now + 90_000, exact=True))
    clock.advance(seconds=seconds)
    assert debtor.reach.as_known(debtor.store.load(key)).inactivity_deadline == now + 300
    held = run_sync(debtor.reach.load(key))
    assert held is not None
    assert (held.inactivity_deadline, held.presented_at) == (now + 300, now + 1)
    debtor.write()
    assert not debtor.reach.unsaved
    assert MemoryStore.load(debtor.store, key) == held


def test_a_touch_that_is_owed_and_no_activity_still_moves_the_deadline(clock: FakeClock) -> None:
    """L2: silence that a provider's old end had cut off is given back, at the instant when the user was last seen."""
    debtor = Debtor(clock, 1)
    record = debtor.records[0]
    debtor.store.down = True
    run_sync(debtor.reach.touch(record, Touch(record.last_seen_at, clock() + 7_200, clock() + 90_000)))
    debtor.store.down = False
    held = run_sync(debtor.reach.load(record.key))
    assert held is not None
    assert held.inactivity_deadline == clock() + 7_200


def test_what_a_cache_holds_does_not_say_what_became_of_a_record_meanwhile(clock: FakeClock) -> None:
    """L5: not every store tells of touches, so what is owed is compared with the store's own record."""
    debtor = Debtor(clock, 1)
    record, now = debtor.records[0], clock()

    class Cached(Owing):
        """Holds the record as it was at first."""

        def load(self, key: bytes) -> Any:
            return record

        def reload(self, key: bytes) -> Any:
            return debtor.store.load(key)

        def touch(self, key: bytes, touch: Any) -> Any:
            return debtor.store.touch(key, touch)

    reach = Reach(
        Cached(), runtime=ThreadRuntime(), clock=clock, retention=86_400.0, announce=lambda name, detail: None
    )
    debtor.store.down = True
    run_sync(reach.touch(record, Touch(now + 1, now + 7_200, now + 90_000)))
    debtor.store.down = False
    debtor.store.touch(record.key, Touch(now + 2, now + 300, now + 90_000, exact=True))
    run_sync(reach.catch_up())
    assert debtor.store.load(record.key).inactivity_deadline == now + 300


def test_a_touch_that_is_owed_to_what_is_gone_is_forgotten(clock: FakeClock) -> None:
    """Its record was deleted meanwhile, and no touch makes one (L13)."""
    debtor = Debtor(clock, 1)
    debtor.store.down = True
    run_sync(debtor.reach.touch(debtor.records[0], Touch(clock(), None, clock() + 60)))
    debtor.store.down = False
    debtor.store.prune(clock() + 100_000)
    debtor.write()
    assert not debtor.reach.unsaved
    assert debtor.store.load(debtor.records[0].key) is None


def test_a_touch_that_becomes_owed_beside_one_that_is_written_stays_so(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L17: two requests of one session at once; the one that was stored does not speak for the other."""
    debtor = Debtor(clock, 1)
    record, now = debtor.records[0], clock()
    other = Touch(now, now + 7_200, now + 90_000, exact=True)

    def beside_another(key: bytes, touch: Any) -> Any:
        debtor.reach.unsaved[key] = other
        return record

    monkeypatch.setattr(debtor.store, "touch", beside_another)
    debtor.reach._call = bind(debtor.store, ("create", "touch"), ThreadRuntime())
    debtor.reach._catching_up.begin()  # a third request is, and has passed this one
    run_sync(debtor.reach.touch(record, Touch(now, now + 3_600, now + 90_000)))
    assert debtor.reach.unsaved == {record.key: other}


def test_what_is_owed_is_written_in_pieces(clock: FakeClock) -> None:
    """L17, no herd on return: whoever writes first does not pay for what thousands are owed, and nobody does it twice."""
    sessions = 3 * CAUGHT_UP
    debtor = Debtor(clock, sessions)
    debtor.store.down = True
    for record in debtor.records:
        run_sync(debtor.reach.touch(record, Touch(clock(), None, clock() + 60)))
    debtor.store.down, debtor.store.writes = False, 0
    for piece in (1, 2, 3, 4):
        debtor.write()
        assert debtor.store.writes == min(piece * CAUGHT_UP, sessions) + piece
    assert not debtor.reach.unsaved


def test_reads_catch_up_as_well_once_writes_work(clock: FakeClock) -> None:
    """L17: what other processes do not know of yet does not wait for somebody else's write; while writes fail, once a second."""
    debtor = Debtor(clock, 2 * CAUGHT_UP + 1)
    debtor.store.down = True
    for record in debtor.records:
        run_sync(debtor.reach.touch(record, Touch(clock(), None, clock() + 60)))
    tried = len(debtor.events)
    for _ in range(10):
        run_sync(debtor.reach.load(debtor.records[0].key))
    assert len(debtor.events) == tried + 1
    clock.advance(RETRY_INTERVAL)
    run_sync(debtor.reach.load(debtor.records[0].key))
    assert len(debtor.events) == tried + 2
    debtor.store.down = False
    clock.advance(RETRY_INTERVAL)
    for left in (CAUGHT_UP + 1, 1, 0):
        run_sync(debtor.reach.load(debtor.records[0].key))
        assert len(debtor.reach.unsaved) == left


def test_who_wants_an_answer_at_once_makes_up_for_nothing(clock: FakeClock) -> None:
    """L13: what is found as a response starts must hold as its cookies go out, and not be from before many writes."""
    debtor = Debtor(clock, 1)
    debtor.store.down = True
    run_sync(debtor.reach.touch(debtor.records[0], Touch(clock(), None, clock() + 60)))
    debtor.store.down = False
    clock.advance(RETRY_INTERVAL)
    run_sync(debtor.reach.load(debtor.records[0].key, at_once=True))
    assert len(debtor.reach.unsaved) == 1
    run_sync(debtor.reach.load(debtor.records[0].key))
    assert not debtor.reach.unsaved


def every_wait_takes(monkeypatch: pytest.MonkeyPatch, seconds: Iterator[float]) -> None:
    """Have the clock that measures how long a write took read these."""
    for module in (calls, making_up):
        monkeypatch.setattr(module, "monotonic", lambda: next(seconds))


def test_who_can_wait_does_not_wait_in_vain_again(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """L17: where a write took five seconds to fail, touches are kept for as long, untried; an end is always tried."""
    debtor = Debtor(clock, 3)
    first, second, third = debtor.records
    seconds = itertools.count(step=5.0)
    every_wait_takes(monkeypatch, seconds)

    def touch(record: SessionRecord) -> int:
        before = len(debtor.events)
        run_sync(debtor.reach.touch(record, Touch(clock(), None, clock() + 60)))
        return len(debtor.events) - before

    debtor.store.down = True
    assert touch(first) == 1
    clock.advance(seconds=4.9)
    run_sync(debtor.reach.load(second.key))
    assert touch(second) == 0
    assert set(debtor.reach.unsaved) == {first.key, second.key}
    assert not run_sync(debtor.reach.end(third.key, "logout", clock(), clock()))
    assert debtor.events[1:] == ["touch", "end"]
    clock.set(clock() - 3600)  # what lies that far ahead is no pause
    assert touch(first) == 1
    debtor.store.down = False
    clock.advance(seconds=5)
    run_sync(debtor.reach.load(first.key))
    assert not debtor.reach.unsaved
    assert not debtor.reach.unended
    debtor.store.down = True
    assert touch(first) == 1
    debtor.store.down = False
    assert run_sync(debtor.reach.end(second.key, "logout", clock(), clock())), (
        "an end is tried, and says that all is well"
    )
    assert touch(first) == 0
    assert not debtor.reach.unsaved


def test_however_long_a_write_took_to_fail_the_next_is_tried_soon(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L17: after a wait of minutes touches are spared half a minute: neither for as long, nor not at all."""
    debtor = Debtor(clock, 3)
    seconds = itertools.count(step=300.0)
    every_wait_takes(monkeypatch, seconds)
    debtor.store.down = True
    tried = []
    for record, later in zip(debtor.records, (0.0, 29.9, 0.2), strict=True):
        clock.advance(seconds=later)
        before = len(debtor.events)
        run_sync(debtor.reach.touch(record, Touch(clock(), None, clock() + 60)))
        tried.append(len(debtor.events) > before)
    assert tried == [True, False, True]


def test_a_request_that_waited_for_what_is_owed_does_not_wait_for_its_own(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L17: a touch that is owed and takes five seconds to fail again spares the request, and others, the next five."""
    debtor = Debtor(clock, 2)
    first, second = debtor.records
    seconds = itertools.count(step=5.0)
    every_wait_takes(monkeypatch, seconds)
    debtor.store.down = True
    run_sync(debtor.reach.touch(first, Touch(clock(), None, clock() + 60)))
    clock.advance(seconds=5)
    assert debtor.events[1:] == ["touch"]
    run_sync(debtor.reach.load(second.key))
    run_sync(debtor.reach.touch(second, Touch(clock(), None, clock() + 60)))
    assert debtor.events[1:] == ["touch", "touch"]
    assert set(debtor.reach.unsaved) == {first.key, second.key}


def test_where_a_part_of_the_store_is_silent_the_rest_does_not_wait_for_it(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L17: a logout that a frozen master of a Cluster owes us does not hold up each login on the others for a timeout."""
    debtor = Debtor(clock, 1)
    seconds = itertools.count(step=2.0)
    every_wait_takes(monkeypatch, seconds)
    key = debtor.records[0].key
    debtor.store.poison[key] = TimeoutError("silent")
    assert not debtor.end(0)

    def login(number: int) -> int:
        before = len(debtor.events)
        run_sync(debtor.reach.create("create", debtor.record(number)))
        return len(debtor.events) - before

    assert [login(number) for number in range(10, 15)] == [1, 0, 0, 0, 0]
    clock.advance(seconds=1)
    run_sync(debtor.reach.load(b"another"))
    assert len(debtor.events) == 3, "the end, and the one login that tried it again"
    clock.advance(seconds=1)
    del debtor.store.poison[key]
    assert login(20) == 0
    assert debtor.is_ended(0)


def test_a_logout_at_a_provider_does_not_wait_for_a_silent_part_either(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L17, L24: its mark is written by itself, and before its end."""
    debtor = Debtor(clock, 4)
    seconds = itertools.count(step=2.0)
    every_wait_takes(monkeypatch, seconds)
    debtor.store.poison[debtor.records[0].key] = TimeoutError("silent")
    assert not debtor.end(0)

    def logout(number: int) -> int:
        before, record = len(debtor.events), debtor.records[number].evolve(provider_session=f"sid-{number}")
        mark = mark_of(record, clock())
        assert mark is not None
        assert run_sync(debtor.reach.end(record.key, "logout", clock(), clock(), mark=mark))
        assert MemoryStore.load(debtor.store, mark.key) is not None
        return len(debtor.events) - before

    assert [logout(number) for number in range(1, 4)] == [1, 0, 0], "the first has tried what is owed again"


def test_while_one_request_catches_up_the_others_go_on(clock: FakeClock) -> None:
    """L17: twenty logins at once write what is owed once, not twenty times."""
    debtor = Debtor(clock, FAULTS_IN_A_ROW - 1)
    debtor.store.down = True
    for record in debtor.records:
        run_sync(debtor.reach.touch(record, Touch(clock(), None, clock() + 60)))
    debtor.store.down, debtor.store.writes = False, 0
    clock.advance(LEFT_ALONE + 1)

    class Slowly:
        def __getattr__(self, name: str) -> Any:
            async def call(*args: Any) -> Any:
                await asyncio.sleep(0)
                return getattr(debtor.store, name)(*args)

            return call

    debtor.reach._call = Slowly()

    async def main() -> None:
        await asyncio.gather(*(debtor.reach.write("create", reference_record(100 + number)) for number in range(20)))

    asyncio.run(main())
    assert debtor.store.writes == 20 + FAULTS_IN_A_ROW - 1
    assert not debtor.reach.unsaved


# --- what the process knows to be over -----------------------------------------------------------------------------------


def test_what_this_process_has_ended_or_found_ended_is_over_for_it(clock: FakeClock) -> None:
    """L13, L17: whoever reads that a session has ended does not take its JWT for an answer when the store is down next."""
    debtor = Debtor(clock, 2)
    assert run_sync(debtor.reach.end_now(debtor.records[0].key, "revoked", clock()))
    debtor.store.end(debtor.records[1].key, "revoked", clock(), clock() + 60)
    assert not debtor.reach.has_ended(debtor.records[1].key)
    run_sync(debtor.reach.load(debtor.records[1].key))
    assert [debtor.reach.has_ended(record.key) for record in debtor.records] == [True, True]


def test_what_this_process_has_ended_by_date_or_evicted_is_over_for_it(clock: FakeClock) -> None:
    """L13, L17: also while the store cannot be asked."""
    debtor = Debtor(clock, 2)
    old, other = debtor.records
    assert not debtor.reach.is_over(old)
    run_sync(debtor.reach.write("end_before", old.authenticated_at, clock()))
    assert not debtor.reach.is_over(old)
    run_sync(debtor.reach.write("end_before", old.authenticated_at + 1, clock()))
    run_sync(debtor.reach.write("end_before", old.authenticated_at - 1, clock()))
    assert debtor.reach.is_over(old)
    later = other.evolve(authenticated_at=old.authenticated_at + 2)
    assert not debtor.reach.is_over(later)
    new = later.evolve(authenticated_at=clock() + 5, key=b"n" * 32, handles=("h",))
    held = later.evolve(key=b"o" * 32, handles=("h",))
    run_sync(debtor.reach.write("create", held))
    run_sync(debtor.reach.write("create_capped", new, "h", 1, True, clock(), clock() + 60))
    assert debtor.reach.is_over(held)
    assert not debtor.reach.is_over(new)


# --- a part of a store, and a cache before it ----------------------------------------------------------------------------


def test_a_record_that_could_not_be_read_has_an_outage_of_its_own(
    store: Failing, clock: FakeClock, reach: Reach
) -> None:
    """L17: one silent master of a Cluster logs nobody out, though the others answer all the time."""
    began = clock()
    store.fault = OSError("this master is silent")
    assert not ask(reach)
    store.fault = None
    clock.advance(100)
    assert run_sync(reach.load(b"another")) is None, "which is not there, and another master says so"
    clock.advance(100)
    assert ask(reach)
    assert reach.outage_of(KEY) == Outage(began, began + 200)
    assert reach.outage_of(b"another") == Outage(began, began + 100)
    clock.advance(1_000)
    reach.outage = Outage(clock() - 10, clock())
    assert reach.outage_of(KEY) == reach.outage, "the later one, where they do not touch"
    reach._outages._over[KEY] = Outage(clock() + 1, clock() + 2)
    assert reach.outage_of(KEY) == Outage(clock() + 1, clock() + 2)
    reach.outage = None
    assert reach.outage_of(KEY) == Outage(clock() + 1, clock() + 2)


def test_an_outage_of_a_record_begins_with_its_first_failure_and_joins_what_it_touches(clock: FakeClock) -> None:
    """L17: whoever tries again and again is not signed out by the last try; two outages that touch were one to the user."""
    began = clock()
    outages = Outages(clock)
    for _ in range(3):
        outages.failed(KEY, silent=True)
        clock.advance(100)
    outages.has_been_read(KEY)
    own = Outage(began, began + 300)
    assert outages.of(KEY, None) == own
    assert outages.of(KEY, Outage(began - 50, began)) == Outage(began - 50, began + 300)
    assert outages.of(KEY, Outage(began + 300, began + 400)) == Outage(began, began + 400)
    assert outages.of(KEY, Outage(began + 10, began + 20)) == own
    assert outages.of(KEY, Outage(began - 50, began - 1)) == own, "the later one"
    assert outages.of(KEY, Outage(began + 301, began + 400)) == Outage(began + 301, began + 400), "the later one"


def test_what_is_kept_of_such_records_is_bounded(store: Failing, reach: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage of a day with many visitors fills no memory."""
    monkeypatch.setattr("session_middleware.reach.outages.KEPT", 3)
    monkeypatch.setattr("session_middleware.reach.breaker.FAULTS_IN_A_ROW", 1_000)
    keys = [bytes([number]) * 32 for number in range(9)]
    store.fault = OSError("down")
    for key in keys:
        with pytest.raises(StoreUnavailable):
            run_sync(reach.load(key))
    store.fault = None
    assert len(reach._outages.since) == 3
    for _ in range(2):
        for key in keys:
            reach._outages.since[key] = 0.0
            run_sync(reach.load(key))
    assert len(reach._outages._over) == 3


def test_a_cache_that_does_not_say_what_it_holds_is_asked_past_it(clock: FakeClock) -> None:
    """L17: in an outage, so that an answer is the store's."""

    class Cached(Failing):
        reloaded = 0

        def reload(self, key: bytes) -> Any:
            self.reloaded += 1
            return super().load(key)

    store = Cached()
    reach = Reach(store, runtime=ThreadRuntime(), clock=clock, retention=1.0, announce=lambda name, detail: None)
    store.fault = OSError("down")
    assert not ask(reach)
    store.fault = None
    assert (store.asked, store.reloaded) == (1, 0)
    assert not ask(reach)
    assert (store.asked, store.reloaded, reach.down_since) == (2, 1, None)


def test_a_hit_of_a_cache_says_nothing_of_the_store_behind_it(clock: FakeClock, events: list[str]) -> None:
    """L17: whoever the near cache still knows is served, and the outage goes on until the store itself answers."""

    class Cached(Failing):
        def __init__(self) -> None:
            super().__init__()
            self.known: dict[bytes, SessionRecord] = {}

        def held(self, key: bytes) -> SessionRecord | None:
            return self.known.get(key)

        def reload(self, key: bytes) -> Any:
            return super().load(key)

        def load(self, key: bytes) -> Any:
            return self.known.get(key) or self.reload(key)

    store = Cached()
    hit = reference_record(1)
    store.known[hit.key] = hit
    reach = Reach(
        store, runtime=ThreadRuntime(), clock=clock, retention=1.0, announce=lambda name, detail: events.append(name)
    )
    began = clock()
    let_down(reach, store)
    asked = store.asked
    for _ in range(3):
        assert run_sync(reach.load(hit.key)) is hit
    assert (store.asked, reach.down_since) == (asked, began)
    assert "store_recovered" not in events
    store.fault = None
    clock.advance(LEFT_ALONE + 1)
    assert not ask(reach), "it is not there; but the store has said so"
    assert reach.down_since is None
    assert reach.outage == Outage(began, clock())
