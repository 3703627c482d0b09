"""What must be reached, and whether it was."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.rounds import Spread, added, ratio

__all__ = ["ADDED", "RATIOS", "WHOLE", "Added", "Ratio", "Row", "Whole", "judge"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """What `name` adds is at most `bar` times what `peer` adds.

    `minimum` names what any implementation must add, measured in the same run: where that alone is near the bar, the bar
    says more about the peer than about us.
    """

    group: str
    name: str
    peer: str
    bar: float
    title: str
    minimum: str = "minimum"


@dataclass(frozen=True, slots=True)
class Whole:
    """A request to `name` takes at most `bar` times as long as one to `peer`, the framework's part included."""

    group: str
    name: str
    peer: str
    bar: float
    title: str


@dataclass(frozen=True, slots=True)
class Added:
    """What `name` adds is at most `bar` microseconds."""

    group: str
    name: str
    bar: float
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table of bars; `met` is None where there is no bar."""

    title: str
    value: str
    bar: str
    met: bool | None


_SM = "session-middleware"
MINIMUM_REDIS = "minimum-redis"
RATIOS = (
    Ratio("starlette", "ours-memory", _SM, 0.2, "Starlette, MemoryStore / SessionMiddleware"),
    Ratio("starlette200", "ours-memory", _SM, 0.2, "Starlette, last of 200 routes / SessionMiddleware"),
    Ratio("fastapi", "ours-memory", _SM, 0.2, "FastAPI, MemoryStore / SessionMiddleware"),
    Ratio("fastapi200", "ours-memory", _SM, 0.2, "FastAPI, last of 200 routes / SessionMiddleware"),
    Ratio("starlette", "ours-near-redis", "ours-memory", 1.3, "Starlette, near cache before Redis / MemoryStore"),
    Ratio(
        "starlette", "ours-redis", "starsessions-redis", 0.45, "Starlette, Redis / starsessions, Redis", MINIMUM_REDIS
    ),
    Ratio("flask", "ours-redis", "flask-session-redis", 0.4, "Flask, Redis / Flask-Session, Redis", MINIMUM_REDIS),
    Ratio("starlette", "ours-sqlite", _SM, 0.7, "Starlette, SQLiteStore / SessionMiddleware"),
    # A permanent session is the one that ends after silence and is written anew on each request, as ours would be.
    Ratio("flask", "ours-memory", "cookie-permanent", 0.12, "Flask, MemoryStore / Flask's cookie session (permanent)"),
    Ratio("django", "ours-memory", "cache", 0.25, "Django WSGI, MemoryStore / cache (locmem)"),
    Ratio("django", "ours-sqlite", "db", 0.08, "Django WSGI, SQLiteStore / db (tuned SQLite)"),
    Ratio("djangoasgi", "ours-memory", "cache", 0.1, "Django ASGI, MemoryStore / cache (locmem)"),
    Ratio("djangoasgi", "ours-redis", "cache-redis", 0.1, "Django ASGI, Redis / cache (Redis)", MINIMUM_REDIS),
)
WHOLE = (
    Whole("starlette", "ours-redis", "get-redis", 1.2, "Starlette, Redis / an app that awaits one GET"),
    Whole("flask", "ours-redis", "get-redis", 1.2, "Flask, Redis / an app that makes one GET"),
)
ADDED = (
    Added("djangoauth", "auth-ours-memory", 60, "Django WSGI, bridge above session + auth"),
    Added("djangoauthasgi", "auth-ours-memory", 60, "Django ASGI, bridge above session + auth"),
)


def judge(times: Mapping[str, Mapping[str, Sequence[float]]], bare: Mapping[str, str]) -> list[Row]:
    """Return the rows for which there are measurements.

    Args:
        times: for each group what `measure` returned.
        bare: for each group the name of what the others are compared with.
    """
    rows = []
    for item in RATIOS:
        found = times.get(item.group, {})
        if {item.name, item.peer, bare.get(item.group)} <= set(found):
            share = Spread.of(ratio(found, item.name, item.peer, bare[item.group]))
            rows.append(Row(item.title, f"{share.text(2)} x", f"≤ {item.bar:g} x", share.median <= item.bar))
            if item.minimum in found:
                least = Spread.of(ratio(found, item.minimum, item.peer, bare[item.group]))
                rows.append(Row(f"{item.title}: the hand-written minimum", f"{least.text(2)} x", "", None))
    for pair in WHOLE:
        found = times.get(pair.group, {})
        if {pair.name, pair.peer} <= set(found):
            share = Spread.of([mine / theirs for mine, theirs in zip(found[pair.name], found[pair.peer], strict=True)])
            rows.append(Row(pair.title, f"{share.text(2)} x", f"≤ {pair.bar:g} x", share.median <= pair.bar))
    for more in ADDED:
        found = times.get(more.group, {})
        if more.name in found:
            cost = Spread.of(added(found, more.name, bare[more.group]))
            rows.append(Row(more.title, f"{cost.text(1)} us", f"≤ {more.bar:g} us", cost.median <= more.bar))
    return rows


def at_most(title: str, value: float, bar: float, unit: str, digits: int = 2) -> Row:
    """Return the row of a single figure that may be at most so much."""
    return _figure(title, value, bar, unit, digits, operator.le, "≤")


def at_least(title: str, value: float, bar: float, unit: str, digits: int = 2) -> Row:
    """Return the row of a single figure that must be at least so much."""
    return _figure(title, value, bar, unit, digits, operator.ge, "≥")


def _figure(
    title: str, value: float, bar: float, unit: str, digits: int, holds: Callable[[float, float], bool], sign: str
) -> Row:
    return Row(title, f"{value:.{digits}f} {unit}", f"{sign} {bar:g} {unit}", holds(value, bar))
