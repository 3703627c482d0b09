"""at_once: tasks of their own are kept while they are under way, and no longer than their loop; to_its_end: calls that go on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from session_middleware.runtime import at_once, to_its_end, waits


async def nothing() -> None:
    """Be over at once."""


async def waiting(over: list[str]) -> None:
    """Wait for what never comes, and say when that is over."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        over.append("over")


async def stubborn(over: list[str]) -> None:
    """Do the same, and then wait once more."""
    try:
        await waiting(over)
    finally:
        await asyncio.sleep(0)


def closed_amid(call: Callable[[], Coroutine[Any, Any, None]]) -> weakref.ref[Any]:
    """Run a loop that is closed without a word to the task that it began."""
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        at_once(call)
        await asyncio.sleep(0)

    loop.run_until_complete(begin())
    loop.close()
    return weakref.ref(loop)


def test_a_task_that_nobody_else_holds_is_done() -> None:
    """The garbage is collected while it waits; afterwards nothing of it is kept, nor of its loop."""
    over: list[str] = []

    async def main() -> None:
        go = asyncio.Event()

        async def late() -> None:
            await go.wait()
            over.append("over")

        at_once(late)
        at_once(nothing)
        await asyncio.sleep(0)
        gc.collect()
        go.set()
        await asyncio.sleep(0.001)

    asyncio.run(main())
    assert over == ["over"]
    assert not waits._kept


@pytest.mark.parametrize("call", [waiting, stubborn])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the stubborn one
def test_tasks_of_closed_loops_are_ended_by_the_next_loop(
    call: Callable[[list[str]], Coroutine[Any, Any, None]], caplog: pytest.LogCaptureFixture
) -> None:
    """Each is ended then and there, what it does at its end included; its loop is let go, and nobody is told of a fault."""
    over: list[str] = []
    loops = [closed_amid(lambda: call(over)) for _ in range(3)]
    assert over == ["over"] * 2, "each by the next"
    closed_amid(nothing)
    assert over == ["over"] * 3
    gc.collect()
    assert [loop() for loop in loops] == [None] * 3
    assert not waits._kept
    assert not caplog.records


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("fault", [None, ValueError("refused")])
def test_a_call_that_must_not_be_left_half_done(loop: str, fault: Exception | None) -> None:
    """Whoever waits gets what it returns or raises, and where they are cancelled it goes on without them."""
    over: list[str] = []
    goes_on: Any = None

    async def call() -> str:
        await anyio.sleep(0.01)
        over.append("over")
        goes_on.set()
        if fault is not None:
            raise fault
        return "done"

    async def life() -> None:
        nonlocal goes_on
        goes_on = anyio.Event()
        if fault is None:
            assert await to_its_end(call) == "done"
        else:
            with pytest.raises(ValueError, match="refused"):
                await to_its_end(call)
        goes_on = anyio.Event()
        with anyio.move_on_after(0), contextlib.suppress(ValueError):
            await to_its_end(call)
        with anyio.fail_after(5):
            await goes_on.wait()
        assert over == ["over", "over"]

    anyio.run(life, backend=loop)


def test_a_loop_that_ends_amid_such_a_call() -> None:
    """Who waits for it is not left waiting."""

    async def life() -> None:
        waiter = asyncio.ensure_future(to_its_end(lambda: waiting([])))
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task(), waiter}:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter

    asyncio.run(life())
