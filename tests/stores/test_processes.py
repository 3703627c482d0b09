"""Several operating-system processes on one session at the same instant: the store, not this process's locks, decides (L11, L13, L14)."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest

from session_middleware.stores import store_from_url
from session_middleware.testing.store_promises.records import BEGAN, LONG_AFTER, a_record, a_touch
from tests.stores.postgres_server import new_schema
from tests.stores.redis_server import a_prefix, url_of

pytestmark = [pytest.mark.server, pytest.mark.slow]

PROCESSES, ROUNDS = 3, 25
#: Seconds after which a process that says nothing has failed.
PATIENCE = 40.0


class Caller:
    """Calls the methods of a store of either form, in a process of its own."""

    def __init__(self, url: str, *, awaited: bool) -> None:
        self.store: Any = store_from_url(url, asynchronous=awaited)
        self.runner = asyncio.Runner()

    def __call__(self, method: str, *arguments: Any) -> Any:
        async def asked() -> Any:
            answer = getattr(self.store, method)(*arguments)
            return await answer if isawaitable(answer) else answer

        return self.runner.run(asked())

    def close(self) -> None:
        self("close")
        self.runner.close()


Job = Callable[[Caller, int, int], Any]


def _process(url: str, awaited: bool, job: Job, who: int, together: Any, out: Any) -> None:
    answers: list[Any] = []
    try:
        call = Caller(url, awaited=awaited)
        call("load", b"nobody")  # connected before the first race
        for number in range(ROUNDS):
            together.wait(PATIENCE)
            answers.append(job(call, number, who))
        call.close()
    except Exception as fault:
        together.abort()
        answers = [f"{type(fault).__name__}: {fault}"]
    out.put((who, answers))


def raced(url: str, awaited: bool, job: Job) -> list[list[Any]]:
    """Do a job in several processes, each round of it at the same instant; return the answers of each round."""
    context = multiprocessing.get_context("spawn")
    together, out = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=_process, args=(url, awaited, job, who, together, out)) for who in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    said = dict(out.get(timeout=PATIENCE) for _ in processes)
    for process in processes:
        process.join(PATIENCE)
    assert [len(answers) for answers in said.values()] == [ROUNDS] * PROCESSES, said
    return [[said[who][number] for who in range(PROCESSES)] for number in range(ROUNDS)]


def _redis(kind: str) -> str:
    url = url_of(kind)
    return f"{url}{'&' if '?' in url else '?'}prefix={a_prefix()}"


PLACES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder / 'sessions.db'}",
    "redis": lambda folder: _redis("standalone"),
    "cluster": lambda folder: _redis("cluster"),
    "sentinel": lambda folder: _redis("sentinel"),
    "postgres": lambda folder: new_schema(),
}


@pytest.fixture(
    params=[
        pytest.param((name, awaited), id=f"{'async-' if awaited else ''}{name}")
        for name in PLACES
        for awaited in ((False,) if name == "sqlite" else (False, True))
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, bool]:
    """The URL of an empty store, and whether its awaited form is meant."""
    name, awaited = request.param
    return PLACES[name](tmp_path), awaited


def _renew(call: Caller, number: int, who: int) -> float | None:
    renewed = call("renew", a_record(number).key, 0, 1, BEGAN + who)
    return None if renewed is None else renewed.renewed_at  # a record's mappings cannot be sent to another process


def test_one_process_renews(place: tuple[str, bool]) -> None:
    """Of processes that renew from one generation exactly one succeeds, and what it wrote stands (L11)."""
    call = Caller(place[0], awaited=False)
    for number in range(ROUNDS):
        call("create", a_record(number))
    for number, answers in enumerate(raced(*place, _renew)):
        (winner,) = [answer for answer in answers if answer is not None]
        held = call("load", a_record(number).key)
        assert (held.generation, held.renewed_at) == (1, winner)
    call.close()


def _count(call: Caller, number: int, who: int) -> int:
    for tries in range(1000):
        held = call("load", a_record().key)
        if call("save", held.evolve(claims={"n": held.claims.get("n", 0) + 1})) is not None:
            return tries
    raise AssertionError("never saved")


def test_no_process_overwrites_another(place: tuple[str, bool]) -> None:
    """Processes that count in one session's claims by compare-and-swap lose nothing of each other (L14)."""
    call = Caller(place[0], awaited=False)
    call("create", a_record())
    for times in range(1, 11):  # one core may happen to let each process finish before the next begins
        tries = raced(*place, _count)
        held = call("load", a_record().key)
        assert (held.claims["n"], held.revision) == (times * PROCESSES * ROUNDS, times * PROCESSES * ROUNDS)
        if any(sum(each) for each in tries):
            break
    else:
        raise AssertionError("they never got into each other's way")
    call.close()


def _end_or_write(call: Caller, number: int, who: int) -> Any:
    key = a_record(number).key
    if who == 0:
        return call("end", key, "logout", BEGAN + 60, LONG_AFTER)
    # After an end that was acknowledged here, nothing that this process writes is accepted.
    writes = [
        lambda: call("touch", key, a_touch(30 + who)),
        lambda: call("renew", key, 0, 1, BEGAN + who),
        lambda: call("save", a_record(number, claims={"by": who})),
    ]
    for write in writes[who:] + writes[:who]:
        write()
    seen = call("load", key)
    return seen.ended_at is None or all(write() is None for write in writes)


def test_dead_wins_over_every_other_process(place: tuple[str, bool]) -> None:
    """A session that one process ends while others touch, renew and save is ended, and stays so (L13)."""
    call = Caller(place[0], awaited=False)
    for number in range(ROUNDS):
        call("create", a_record(number))
    for number, answers in enumerate(raced(*place, _end_or_write)):
        assert answers == [True] * PROCESSES
        held = call("load", a_record(number).key)
        assert (held.end_reason, held.ended_at, dict(held.claims)) == ("logout", BEGAN + 60, {})
    call.close()


def _log_in(call: Caller, number: int, who: int) -> bool:
    record = a_record(number * PROCESSES + who, handles=(f"user-{number}",))
    return call("create_capped", record, f"user-{number}", 2, False, BEGAN, LONG_AFTER) is not None


def test_as_many_succeed_as_may_between_processes(place: tuple[str, bool]) -> None:
    """Of parallel logins of one user in several processes no more succeed than there is room for (ASVS 7.1.2)."""
    assert [sum(answers) for answers in raced(*place, _log_in)] == [2] * ROUNDS


def _log_in_evicting(call: Caller, number: int, who: int) -> list[bytes]:
    record = a_record(number * PROCESSES + who, handles=(f"user-{number}",), authenticated_at=BEGAN + who)
    return [one.key for one in call("create_capped", record, f"user-{number}", 2, True, BEGAN, LONG_AFTER)]


def test_as_many_are_ended_as_must_be_between_processes(place: tuple[str, bool]) -> None:
    """Parallel logins that make room end each other's sessions once, and leave as many as are allowed (ASVS 7.1.2)."""
    call = Caller(place[0], awaited=False)
    for number, answers in enumerate(raced(*place, _log_in_evicting)):
        alive = {record.key for record in call("list", f"user-{number}", BEGAN)}
        ended = [key for keys in answers for key in keys]
        assert (len(alive), len(ended)) == (2, PROCESSES - 2)
        assert alive | set(ended) == {a_record(number * PROCESSES + who).key for who in range(PROCESSES)}
    call.close()


def _add_once(call: Caller, number: int, who: int) -> bool:
    return bool(call("add_once", f"jti-{number}", LONG_AFTER, BEGAN))


def test_one_process_is_first(place: tuple[str, bool]) -> None:
    """A value is taken note of once, whichever process asks first."""
    assert [sum(answers) for answers in raced(*place, _add_once)] == [1] * ROUNDS
