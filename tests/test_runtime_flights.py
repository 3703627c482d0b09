"""OneFlight: of several callers with one question one asks, and the others get its answer."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from session_middleware.runtime import LoopPlaces, LoopRuntime, OneFlight, ThreadRuntime, run_sync


class Question:
    """A call that stays in the air until the test lets it land."""

    def __init__(self, gate: Any, fault: Exception | None = None) -> None:  # Any: an asyncio or trio event
        self.asked, self.gate, self.fault = 0, gate, fault

    async def __call__(self) -> int:
        self.asked += 1
        mine = self.asked
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return mine


def test_fifty_tasks_ask_once() -> None:
    """Fifty callers on one loop make one call; the next one asks anew."""

    async def life() -> None:
        flight, runtime = OneFlight(), LoopRuntime()
        question = Question(asyncio.Event())
        tasks = [asyncio.create_task(flight.run(runtime, "key", question, 5)) for _ in range(50)]
        await asyncio.sleep(0)
        question.gate.set()
        assert await asyncio.gather(*tasks) == [1] * 50
        assert await flight.run(runtime, "key", question, 5) == 2

    asyncio.run(life())


def test_other_keys_are_other_questions() -> None:
    """A key of its own is a call of its own."""

    async def life() -> None:
        flight, question = OneFlight(), Question(asyncio.Event())
        tasks = [asyncio.create_task(flight.run(LoopRuntime(), key, question, 5)) for key in "ab"]
        await asyncio.sleep(0)
        question.gate.set()
        assert sorted(await asyncio.gather(*tasks)) == [1, 2]

    asyncio.run(life())


def test_a_fault_is_everybodys() -> None:
    """What the call raised reaches all who waited: a provider that is down is not asked fifty times."""

    async def life() -> None:
        flight, question = OneFlight(), Question(asyncio.Event(), ValueError("down"))
        tasks = [asyncio.create_task(flight.run(LoopRuntime(), "key", question, 5)) for _ in range(10)]
        await asyncio.sleep(0)
        question.gate.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(fault) for fault in found] == ["down"] * 10
        assert question.asked == 1

    asyncio.run(life())


def test_whoever_is_cancelled_leaves_the_question_to_the_next() -> None:
    """The browser of the caller in front goes away: another makes the call, nobody fails."""

    async def life() -> None:
        flight, question = OneFlight(), Question(asyncio.Event())
        tasks = [asyncio.create_task(flight.run(LoopRuntime(), "key", question, 5)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        question.gate.set()
        assert await asyncio.gather(*tasks[1:]) == [2, 2]
        assert tasks[0].cancelled()

    asyncio.run(life())


def test_waiting_has_an_end() -> None:
    """Who waits for another's call does not wait for ever, on a loop or in a thread."""

    async def life() -> None:
        flight, question = OneFlight(), Question(asyncio.Event())
        first = asyncio.create_task(flight.run(LoopRuntime(), "key", question, 5))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await flight.run(LoopRuntime(), "key", question, 0.01)
        question.gate.set()
        assert await first == 1

    asyncio.run(life())
    flight, entered, leave = OneFlight(), threading.Event(), threading.Event()

    async def slow() -> int:
        entered.set()
        leave.wait(10)
        return 1

    thread = threading.Thread(target=lambda: run_sync(flight.run(ThreadRuntime(), "key", slow, 5)))
    thread.start()
    entered.wait(10)
    with pytest.raises(TimeoutError):
        run_sync(flight.run(ThreadRuntime(), "key", slow, 0.01))
    leave.set()
    thread.join()


def test_threads_ask_once() -> None:
    """Eight threads of a synchronous app make one call."""
    flight, asked, waiting = OneFlight(), [], threading.Barrier(8)
    leave = threading.Event()

    async def slow() -> int:
        asked.append(1)
        leave.wait(10)
        return len(asked)

    found: list[int] = []

    def visit() -> None:
        waiting.wait(10)
        found.append(run_sync(flight.run(ThreadRuntime(), "key", slow, 10)))

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    timer = threading.Timer(0.2, leave.set)  # until then the others have come to wait; later ones would ask anew
    timer.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(asked) < 8


def test_trio_asks_once_too() -> None:
    """The same among tasks of trio, cancellation included."""
    found: list[int] = []

    async def life() -> None:
        flight, question = OneFlight(), Question(trio.Event())

        async def visit(scope: trio.CancelScope | None = None) -> None:
            with scope or trio.CancelScope():
                found.append(await flight.run(LoopRuntime(), "key", question, 5))

        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(visit, scope)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(5):
                nursery.start_soon(visit)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            question.gate.set()
        assert found == [2] * 5

    trio.run(life)


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_a_block_with_a_time_limit(run: Callable[..., Any]) -> None:
    """`within` ends what takes too long with TimeoutError, and lets pass what does not."""

    async def life() -> None:
        runtime = LoopRuntime()
        async with runtime.within(5):
            await runtime.pause(0)
        with pytest.raises(TimeoutError):
            async with runtime.within(0.01):
                await runtime.pause(5)

    run(life) if run is trio.run else run(life())


def test_in_a_thread_nothing_is_limited() -> None:
    """What blocks has limits of its own; `within` and `pause` never suspend there."""

    async def life() -> str:
        async with ThreadRuntime().within(0):
            await ThreadRuntime().pause(0)
        return "done"

    assert run_sync(life()) == "done"


def test_places_of_loops_that_have_ended_are_forgotten() -> None:
    """A semaphore that somebody has waited for leads to its loop; a script that calls asyncio.run for each job keeps one."""
    places, loops = LoopPlaces(1), []

    async def two_at_once() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))

        async def one() -> None:
            await places.take(1)
            await asyncio.sleep(0)
            places.give()

        await asyncio.gather(one(), one())

    for _ in range(3):
        asyncio.run(two_at_once())
    gc.collect()
    assert [loop() is None for loop in loops] == [True, True, False]
