"""What a process owes its store is written although no request comes by any more (L17)."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from typing import Any

import pytest

from session_middleware.core.lifetime import Outage
from session_middleware.core.provider import provider_mark
from session_middleware.errors import RecordUnreadable, StoreUnavailable
from session_middleware.reach import RETRY_INTERVAL, Reach
from session_middleware.reach import retrying as module
from session_middleware.reach.outages import NOBODY
from session_middleware.runtime import LoopRuntime, Runtime, ThreadRuntime, run_sync
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.reference_record import reference_record

RECORD = reference_record(0)


class Down(MemoryStore):
    """A store that takes no writes but new records while it is down."""

    def __init__(self) -> None:
        super().__init__()
        self.down = True
        self.asked = 0
        self.has_ended = threading.Event()
        super().create(RECORD)

    def _ask(self) -> None:
        self.asked += 1
        if self.down:
            raise OSError("read-only")

    def create(self, record: Any) -> None:
        self._ask()
        super().create(record)

    def touch(self, key: bytes, touch: Any) -> Any:
        self._ask()
        return super().touch(key, touch)

    def end(self, *arguments: Any) -> bool:
        self._ask()
        ended = super().end(*arguments)
        self.has_ended.set()
        return ended


class Stepwise(LoopRuntime):
    """Waits until it is told to go on, a step at a time."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.steps = asyncio.Semaphore(0)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.steps.acquire()

    async def step(self) -> None:
        self.steps.release()
        for _ in range(5):
            await asyncio.sleep(0)


def over(store: MemoryStore, runtime: Runtime, events: list[str]) -> Reach:
    return Reach(
        store,
        runtime=runtime,
        clock=FakeClock(),
        retention=86_400.0,
        announce=lambda name, detail: events.append(name),
    )


def test_a_loop_writes_what_is_owed_by_itself() -> None:
    """The end is tried once a second until it is stored; a fault is announced once, and then there is no task any more."""

    async def main() -> None:
        store, runtime, events = Down(), Stepwise(), list[str]()
        reach = over(store, runtime, events)
        assert not await reach.end(RECORD.key, "logout", 10.0, 10.0)
        assert not await reach.end(b"another", "logout", 10.0, 10.0)
        tried = store.asked
        for _ in range(3):
            await runtime.step()
        assert store.asked == tried + 3
        store.down = False
        await runtime.step()
        assert not reach.unended
        assert store.has_ended.is_set()
        assert events == ["store_fault"] * 2
        assert runtime.pauses == [RETRY_INTERVAL] * 4
        assert len(asyncio.all_tasks()) == 1
        store.down = True
        assert not await reach.end(b"a third", "logout", 20.0, 20.0)
        await runtime.step()
        assert runtime.pauses == [RETRY_INTERVAL] * 6, "begun anew"

    asyncio.run(main())


def test_what_was_set_aside_is_retried_once_its_record_can_be_read() -> None:
    """L13: other processes let its user in until it is written, and the next request of this one may be hours away."""

    class Damaged(Down):
        """One whose only record cannot be read."""

        def load(self, key: bytes) -> Any:
            if self.down:
                raise RecordUnreadable("damaged")
            return super().load(key)

        def _ask(self) -> None:
            if self.down:
                raise RecordUnreadable("damaged")

    async def work() -> None:
        store, runtime = Damaged(), Stepwise()
        reach = over(store, runtime, [])
        now = FakeClock()()
        assert not await reach.end(RECORD.key, "logout", now, now)
        await runtime.step()
        assert (reach.unended, len(runtime.pauses)) == ({}, 1)
        store.down = False
        assert await reach.load(RECORD.key) == RECORD.ended("logout", now, now + 86_400.0)
        for _ in range(2):
            await runtime.step()
        assert store.has_ended.is_set()

    asyncio.run(work())


class PartlySilent(MemoryStore):
    """A store of which some records cannot be asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.silent: set[bytes] = set()
        self.damaged: set[bytes] = set()
        self.asked: list[bytes] = []

    def load(self, key: bytes) -> Any:
        self.asked.append(key)
        if key in self.damaged:
            raise RecordUnreadable("damaged")
        if key in self.silent or NOBODY in self.silent:
            raise OSError("no answer")
        return super().load(key)

    def list(self, handle: str, now: float) -> Any:
        raise OSError("no answer")


async def fails(reach: Reach, key: bytes) -> None:
    with pytest.raises(StoreUnavailable):
        await reach.load(key)


def at(clock: FakeClock, events: list[str], store: MemoryStore, runtime: Runtime) -> Reach:
    return Reach(store, runtime=runtime, clock=clock, retention=1.0, announce=lambda name, detail: events.append(name))


def test_an_outage_is_over_when_the_store_is_back_and_not_when_somebody_asks() -> None:
    """L5, L17: one fault, and a night in which nobody asks: whose silence runs out in that night is out in the morning."""

    async def main() -> None:
        store, runtime, clock, events = PartlySilent(), Stepwise(), FakeClock(), list[str]()
        reach, began = at(clock, events, store, runtime), clock()
        store.silent = {NOBODY}
        await fails(reach, b"a")
        clock.advance(1)
        await runtime.step()
        assert reach.outage is None, "it is still away"
        store.silent = set()
        clock.advance(1)
        await runtime.step()
        clock.advance(hours=6)
        assert await reach.load(b"a") is None
        assert await reach.load(b"b") is None
        assert reach.outage_of(b"a") == reach.outage_of(b"b") == Outage(began, began + 2)
        assert events == ["store_fault", "store_recovered"]
        assert len(asyncio.all_tasks()) == 1, "and nobody asks any more"

    asyncio.run(main())


def test_a_fault_of_a_list_ends_as_well() -> None:
    """L17: an operator's question in the evening is no outage until the morning."""

    async def main() -> None:
        store, runtime, clock = PartlySilent(), Stepwise(), FakeClock()
        reach, began = at(clock, [], store, runtime), clock()
        with pytest.raises(StoreUnavailable):
            await reach.read("list", "subject\0alice", began)
        clock.advance(1)
        await runtime.step()
        assert reach.outage == Outage(began, began + 1)
        assert store.asked == [NOBODY]

    asyncio.run(main())


def test_a_part_of_a_store_that_is_silent_is_asked_until_it_answers() -> None:
    """L17: each record by itself, since only one master of a Cluster may be away; what cannot be read is not asked for."""

    async def main() -> None:
        store, runtime, clock = PartlySilent(), Stepwise(), FakeClock()
        reach, began = at(clock, [], store, runtime), clock()
        store.silent, store.damaged = {b"a", b"b"}, {b"c"}
        for key in (b"a", b"b", b"c"):
            await fails(reach, key)
        store.silent = {b"a"}
        for _ in range(3):
            clock.advance(1)
            await runtime.step()
        assert reach.outage_of(b"b") == Outage(began, began + 2)
        store.silent, store.damaged = set(), {b"a", b"c"}
        asked = len(store.asked)
        for _ in range(3):
            clock.advance(1)
            await runtime.step()
        assert store.asked[asked:] == [b"a"]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_there_is_one_that_retries_however_long_a_try_takes() -> None:
    """An end that fails while another is being tried begins a task; each took turns with those before, for hours."""

    async def main() -> None:
        may_answer, asked = asyncio.Semaphore(0), asyncio.Semaphore(0)

        class Slow(Down):
            async def end(self, *arguments: Any) -> bool:  # type: ignore[override]  # a store may mix both forms
                if arguments[0] == b"slow":
                    asked.release()
                    await may_answer.acquire()
                raise OSError("read-only")

        runtime = Stepwise()
        reach = over(Slow(), runtime, [])
        may_answer.release()
        assert not await reach.end(b"slow", "logout", 10.0, 10.0)
        await asked.acquire()
        await asyncio.sleep(0)
        runtime.steps.release()
        await asked.acquire()
        assert not await reach.end(b"another", "logout", 10.0, 10.0)
        may_answer.release()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 2, "this one, and one that retries"
        assert set(reach.unended) == {b"slow", b"another"}

    asyncio.run(main())


def test_a_thread_writes_what_is_owed_by_itself() -> None:
    """The same where no loop runs."""
    may_go_on = threading.Event()

    class Held(ThreadRuntime):
        async def pause(self, seconds: float) -> None:
            may_go_on.wait(60)

    store = Down()
    reach = over(store, Held(), [])
    assert not run_sync(reach.end(RECORD.key, "logout", 10.0, 10.0))
    store.down = False
    may_go_on.set()
    assert store.has_ended.wait(60)


def test_a_mark_that_is_owed_is_written_too() -> None:
    """L24: of an end that was stored and whose mark was not."""

    async def main() -> None:
        store, runtime = Down(), Stepwise()
        reach = over(store, runtime, [])
        mark = provider_mark("kratos", "a session there", 10.0, 1_000.0)
        await reach.mark(mark)
        await asyncio.sleep(0)
        store.down = False
        await runtime.step()
        assert store.load(mark.key) == mark
        assert not reach.unmarked
        await reach.mark(provider_mark("kratos", "another", 10.0, 1_000.0))
        await asyncio.sleep(0)
        assert len(runtime.pauses) == 1, "that one was stored at once"

    asyncio.run(main())


def test_an_app_that_is_gone_owes_nothing() -> None:
    """Whoever retries does not keep alive what it retries for."""

    async def main() -> None:
        store, runtime = Down(), Stepwise()
        reach = over(store, runtime, [])
        assert not await reach.end(RECORD.key, "logout", 10.0, 10.0)
        await asyncio.sleep(0)
        gone, tried = weakref.ref(reach), store.asked
        del reach
        gc.collect()
        assert gone() is None
        await runtime.step()
        assert len(asyncio.all_tasks()) == 1
        assert store.asked == tried

    asyncio.run(main())


def test_a_loop_that_ends_leaves_it_to_the_next() -> None:
    """Of `asyncio.run` in a script, say."""
    store = Down()
    events: list[str] = []

    class Own(LoopRuntime):
        here = Stepwise()

        async def pause(self, seconds: float) -> None:
            await self.here.pause(seconds)

    runtime = Own()
    reach = over(store, runtime, events)

    async def main() -> int:
        runtime.here = Stepwise()
        assert not await reach.end(RECORD.key, "logout", 10.0, 10.0)
        await asyncio.sleep(0)
        return len(runtime.here.pauses)

    assert [asyncio.run(main()), asyncio.run(main())] == [1, 1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the task that nobody cancels
def test_a_loop_that_is_closed_without_a_word_leaves_it_to_the_next() -> None:
    """Some task queues run a loop of their own and close it, whatever its tasks do."""
    runtime = Stepwise()
    reach = over(Down(), runtime, [])

    async def main() -> int:
        runtime.steps = asyncio.Semaphore(0)
        assert not await reach.end(RECORD.key, "logout", 10.0, 10.0)
        await asyncio.sleep(0)
        return len(runtime.pauses)

    def once() -> int:
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()

    assert [once(), once()] == [1, 2]
    assert not reach._retrying._at_work
    gc.collect()  # the first is gone by now, and has not told the third that nobody is at work

    async def owing() -> list[int]:
        before = await main()
        assert not await reach.end(reference_record(1).key, "logout", 10.0, 10.0)
        await asyncio.sleep(0)
        return [before, len(runtime.pauses)]

    assert asyncio.run(owing()) == [3, 3], "one is enough"


class Silent(Down):
    """A store that answers no end while it is silent."""

    is_silent = False

    async def end(self, *arguments: Any) -> bool:  # type: ignore[override]  # a store may mix both forms
        if self.is_silent:
            await asyncio.get_running_loop().create_future()
        return super().end(*arguments)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the task that nobody cancels
def test_a_loop_that_is_closed_amid_a_try_keeps_no_other_from_trying() -> None:
    """The store was silent, the job over and its loop closed: the next job writes the logout, and those to come."""
    store, runtime = Silent(), Stepwise()
    reach = over(store, runtime, [])

    async def silent() -> None:
        runtime.steps = asyncio.Semaphore(0)
        assert not await reach.end(RECORD.key, "logout", 10.0, 10.0)
        store.is_silent = True
        await runtime.step()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(silent())
    loop.close()
    store.down = store.is_silent = False
    asyncio.run(reach.catch_up())
    assert store.has_ended.is_set()
    assert not reach.unended


def test_a_fork_amid_a_try_keeps_no_child_from_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread of the parent was at does not go on in the child, which may owe ends of its own."""

    async def main() -> None:
        store = Silent()
        reach = over(store, Stepwise(), [])
        assert not await reach.end(RECORD.key, "logout", 10.0, 10.0)
        store.is_silent = True
        parents = asyncio.create_task(reach.catch_up())
        await asyncio.sleep(0)
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        store.down = store.is_silent = False
        await reach.catch_up()
        assert store.has_ended.is_set()
        assert not parents.done()

    asyncio.run(main())


def test_where_no_thread_is_to_be_had_the_next_fault_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is owed all the same; a request that comes by writes it, as before."""
    tried: list[str] = []

    def full(work: object, name: str) -> None:
        tried.append(name)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "beside", full)
    reach = over(Down(), ThreadRuntime(), [])
    for _ in range(2):
        assert not run_sync(reach.end(RECORD.key, "logout", 10.0, 10.0))
    assert len(tried) == 2
    assert reach.unended
