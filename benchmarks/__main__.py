"""Measure, print the tables, and on request write them to the README; exit 1 where a bar is missed.

    uv run --group bench python -m benchmarks [--only starlette,flask,...] [--quick] [--write-readme]

Parts: one for each group of contenders (`contenders/`), `server` (requests a second under uvicorn and gunicorn),
`costs` (what happens rarely), `million` (a million sessions in SQLite; minutes), `near_cache` (what a hit costs and how
late a revocation elsewhere comes), `postgres` (a check beside a bare read). All of them run unless `--only` says which.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks import costs, million, near_cache, postgres, server
from benchmarks.bars import Row, judge
from benchmarks.contenders import GROUPS, Group
from benchmarks.redis_server import redis_server
from benchmarks.rounds import Counts, Effort, Spread, added, counts, hops, measure, ratio
from benchmarks.table import bars_table, markdown, write

README = Path(__file__).parent.parent / "README.md"
PARTS = {
    "server": server.rows,
    "costs": costs.rows,
    "million": million.rows,
    "near_cache": near_cache.rows,
    "postgres": postgres.rows,
}

#: What the group "bench" brings: the peers, and what uvicorn is installed with where it counts.
NEEDED = ("cachelib", "flask_session", "httptools", "starsessions", *(() if sys.platform == "win32" else ("uvloop",)))

#: Which contender stands for the others' "x" in a group's table.
PEERS = {
    "starlette": "session-middleware",
    "starlette200": "session-middleware",
    "fastapi": "session-middleware",
    "fastapi200": "session-middleware",
    "flask": "cookie-permanent",
    "django": "cache",
    "djangoasgi": "cache",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; return 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", help="parts, separated by commas: " + ", ".join([*GROUPS, *PARTS]))
    parser.add_argument("--quick", action="store_true", help="fewer rounds; to see that everything runs")
    parser.add_argument("--write-readme", action="store_true", help="put the tables into the README")
    chosen = parser.parse_args(arguments)
    parts = chosen.only.split(",") if chosen.only else [*GROUPS, *PARTS]
    unknown = set(parts) - set(GROUPS) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {sorted(unknown)}")
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing and "server" in parts:  # it would be another server without its C parts; other parts leave peers out
        parser.exit(2, f"{', '.join(missing)}: not installed. Run: uv run --group bench python -m benchmarks\n")

    effort = Effort(2, 4, 5_000) if chosen.quick else Effort()
    times, tables, rows = frameworks([part for part in parts if part in GROUPS], effort)
    rows += judge(times, {name: group.bare for name, group in GROUPS.items()})
    for name, part in PARTS.items():
        if name in parts:
            progress(name)
            # What the README says of a million sessions is measured of a million.
            rows += part(chosen.quick and not (part is million.rows and chosen.write_readme))
    text = "\n\n".join([f"{machine()}", *tables, bars_table(rows)])
    print(text)
    if chosen.write_readme:
        write(README, text)
    return 1 if any(row.met is False for row in rows) else 0


def frameworks(groups: Sequence[str], effort: Effort) -> tuple[dict[str, dict[str, list[float]]], list[str], list[Row]]:
    """Measure groups of contenders; return their times, their tables, and a row for each that could not be measured."""
    times: dict[str, dict[str, list[float]]] = {}
    tables, left_out = [], []
    with redis_server() as has_redis:
        for key in groups:
            group, seen = GROUPS[key], {}
            for name in [group.bare, *group.others]:
                if name.endswith("redis") and not has_redis:
                    continue
                progress(f"{key}: counting {name}")
                try:
                    seen[name] = counts(key, name)
                except ModuleNotFoundError as missing:
                    left_out.append(Row(f"{group.title}: {group.others.get(name, name)}", f"{missing}", "", None))
            if group.bare in seen:
                progress(f"{key}: measuring")
                launches = max(effort.launches, group.launches * effort.launches // Effort().launches)
                times[key] = measure(key, list(seen), replace(effort, launches=launches), together=group.together)
                tables.append(group_table(group, times[key], seen, PEERS.get(key)))
                if group.options == "asgi":
                    left_out.append(thread_hops(key, group, list(seen)))
                progress(f"done\n{tables[-1]}")
    return times, tables, left_out


def thread_hops(key: str, group: Group, names: Sequence[str]) -> Row:
    """Return the row that says how often each contender hands a request to a thread; ours may not add to it."""
    asked = {name: hops(key, name) for name in names}
    text = ", ".join(f"{name} {threads:g}" for name, (threads, _) in asked.items())
    ours = [threads for name, (threads, _) in asked.items() if "ours" in name]
    bare = asked[group.bare][0]
    return Row(f"{group.title}: thread hops a request", text, f"ours ≤ {group.bare}", max(ours, default=bare) <= bare)


def group_table(
    group: Group, found: Mapping[str, Sequence[float]], seen: Mapping[str, Counts], peer: str | None
) -> str:
    """Return the table of a group: what each contender adds, as a share of what `peer` adds, and what it asks for."""
    rows = []
    for name, title in group.others.items():
        if name not in seen:
            continue
        share = ""
        if peer in found and name != peer:
            share = Spread.of(ratio(found, name, str(peer), group.bare)).text(2)
        elif name == peer:
            share = "1"
        asked = seen[name]
        per = [f"{value:.2f}".rstrip("0").rstrip(".") for value in (asked.calls, asked.writes, asked.cookies)]
        rows.append([title, Spread.of(added(found, name, group.bare)).text(1), share, *per])
    bare = statistics.median(found[group.bare])
    title = f"{group.title} (bare: {bare:.0f} us)"
    return markdown([title, "us added", "ratio", "store calls", "writes", "Set-Cookie"], rows)


def machine() -> str:
    """Say what the figures were measured on."""
    cores = os.cpu_count()
    return (
        f"Median (quartiles) of interleaved rounds on {cores} cores, {platform.python_implementation()} "
        f"{platform.python_version()}: microseconds that a signed-in request costs beyond the bare app; ratio to the "
        "framework's own; per request: calls to the store, writes among them, Set-Cookie headers. All that the app signs in "
        "itself keep the same of a user: a browser, an address, a time, one factor, 100 bytes of claims."
    )


def progress(text: str) -> None:
    """Tell whoever waits."""
    print(f"... {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
