"""Interleaved rounds: every contender in a process of its own, one at a time, in an order that changes each round.

The machine's other work comes and goes in stretches much longer than a round, so what is compared is what was measured
in the same round: microseconds added are the difference of two medians of one round, and a ratio is of two such
differences. Processes are started anew several times, since where one process's memory lies shifts its times by percents.
Where that is still too much, contenders that can share a process do, and each is asked once in turn.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType

from benchmarks.cores import on_core

__all__ = ["Counts", "Effort", "Spread", "Worker", "added", "counts", "hops", "measure", "ratio"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: how often processes are started, rounds of each, microseconds of a contender in a round."""

    launches: int = 5
    rounds: int = 16
    micros: float = 20_000

    def requests(self, each: float) -> int:
        """Return how many requests of so many microseconds make a round: 15 to 150."""
        return max(15, min(150, round(self.micros / each)))


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of at least two values."""
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def text(self, digits: int) -> str:
        """Return it as a table shows it."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"  # noqa: RUF001 # a range


@dataclass(frozen=True, slots=True)
class Counts:
    """Per request: calls to the store, writes among them, Set-Cookie headers."""

    calls: float
    writes: float
    cookies: float


class Worker:
    """The process of a contender, or of all in a group.

    Args:
        group: of the contender.
        name: its name; "" for all.
        how: what else the process is told.

    Attributes:
        each: about how many microseconds a request takes, once it is ready.

    Raises:
        ModuleNotFoundError: what the contender needs is not installed.
        RuntimeError: it failed in another way.
    """

    def __init__(self, group: str, name: str, *how: str) -> None:
        self.name = name
        self.each = 0.0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", group, *filter(None, [name]), *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "SESSION_STORE_URL": ""},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def answer(self) -> str:
        """Return its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return line.strip()
        errors = self._process.communicate()[1].strip()
        last = errors.rpartition("\n")[2]
        if last.startswith("ModuleNotFoundError"):
            raise ModuleNotFoundError(last.partition(": ")[2])
        raise RuntimeError(f"{self.name}: {errors[-2000:]}")

    def is_ready(self) -> None:
        """Wait until it can be asked."""
        self.each = max(json.loads(self.answer()).values())

    def burst(self, requests: int) -> dict[str, float]:
        """Return the median microseconds of some requests, for each contender in this process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{requests}\n")
        self._process.stdin.flush()
        micros: dict[str, float] = json.loads(self.answer())
        return micros


@contextmanager
def _launched(group: str, names: Sequence[str]) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        with on_core(-1):  # a thread's wake-up on another core would cost more than what is measured
            workers = [stack.enter_context(Worker(group, name)) for name in names]
        for worker in workers:
            worker.is_ready()
        yield workers


def measure(group: str, names: Sequence[str], effort: Effort, *, together: bool = False) -> dict[str, list[float]]:
    """Return the median microseconds of a request, for each contender and round; `together`: all in one process."""
    times: dict[str, list[float]] = {name: [] for name in names}
    order = random.Random(1)
    for _ in range(effort.launches):
        with _launched(group, [""] if together else names) as workers:
            for _ in range(effort.rounds):
                order.shuffle(workers)
                for worker in workers:
                    for name, micros in worker.burst(effort.requests(worker.each)).items():
                        times[name].append(micros)
    return times


def counts(group: str, name: str) -> Counts:
    """Return what a contender asks of its store and its client."""
    with Worker(group, name, "count") as worker:
        return Counts(*json.loads(worker.answer()))


def hops(group: str, name: str) -> tuple[float, float]:
    """Return how often a request is handed to a thread, and how often the loop turns for it."""
    with Worker(group, name, "hops") as worker:
        threads, turns = json.loads(worker.answer())
        return threads, turns


def added(times: Mapping[str, Sequence[float]], name: str, bare: str) -> list[float]:
    """Return the microseconds that a contender adds to another, round by round."""
    return [mine - theirs for mine, theirs in zip(times[name], times[bare], strict=True)]


def ratio(times: Mapping[str, Sequence[float]], name: str, peer: str, bare: str) -> list[float]:
    """Return what one contender adds, as a share of what another adds, round by round.

    A round in which the peer seems to add nothing was disturbed and says nothing; it is left out.
    """
    pairs = zip(added(times, name, bare), added(times, peer, bare), strict=True)
    return [mine / theirs for mine, theirs in pairs if theirs > 0]
