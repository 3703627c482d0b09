"""Every fault that is looked at: where, what is done, and what undoes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.faults.places import Postgres, Redis, RedisCluster, RedisSentinel

__all__ = ["FAULTS", "Fault"]

Act = Callable[[Any], None]  # Any: the place that the fault is for


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        name: what `--only` selects by.
        title: what the table says.
        place: makes the servers.
        begin: what goes wrong.
        end: what puts it right; None where nobody does, and the servers are left to themselves.
        seconds: how long it lasts; how long users are watched, where nobody ends it.
    """

    name: str
    title: str
    place: Callable[[], Any]
    begin: Act
    end: Act | None
    seconds: float = 6.0


def _late(seconds: float) -> Act:
    def late(place: Any) -> None:
        place.proxy.delay = seconds

    return late


def _cut(place: Any) -> None:
    place.proxy.swallow()


def _mend(place: Any) -> None:
    place.proxy.restore()


def _of_a_server(kind: str, place: Callable[[], Any], full: str) -> list[Fault]:
    """Return the faults that a single server can have."""
    return [
        Fault(f"{kind}-killed", "killed, started again", place, lambda it: it.kill(), lambda it: it.start(), 3),
        Fault(f"{kind}-frozen", "frozen (SIGSTOP)", place, lambda it: it.freeze(), lambda it: it.thaw()),
        Fault(f"{kind}-late", "every answer 1 s late", place, _late(1.0), _late(0.0)),
        # As slow as the stores wait by default (2 s), and a little more, so that it is not a matter of luck.
        Fault(f"{kind}-slow", "every answer 2.2 s late", place, _late(2.2), _late(0.0)),
        Fault(f"{kind}-half-open", "line cut half-open", place, _cut, _mend),
        Fault(f"{kind}-full", full, place, lambda it: it.fill(), lambda it: it.drain()),
        Fault(f"{kind}-read-only", "read-only", place, lambda it: it.read_only(), lambda it: it.writable()),
        Fault(f"{kind}-flushed", "all data deleted", place, lambda it: it.flush(), None, 3),
    ]


FAULTS = [
    *_of_a_server("redis", Redis, "out of memory (`noeviction`)"),
    Fault("cluster-failover", "Cluster of 3 + 3: a master dies", RedisCluster, lambda it: it.lose_master(), None, 0),
    Fault("sentinel-failover", "Sentinel: the master dies", RedisSentinel, lambda it: it.lose_master(), None, 0),
    *_of_a_server("postgres", Postgres, "disk full"),
]
