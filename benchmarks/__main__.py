"""Measure, print the tables, and on request write them to the README or fail where a bar is missed.

    uv run --group bench python -m benchmarks [--only starlette,flask,...] [--quick] [--write-readme] [--check]

Parts: one for each group of contenders (`contenders/`), `server` (requests a second under uvicorn and gunicorn),
`costs` (what happens rarely), `million` (a million sessions in SQLite; minutes). All of them run unless `--only` says
which.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import costs, million, server
from benchmarks.bars import Row, judge
from benchmarks.contenders import GROUPS
from benchmarks.redis_server import redis_server
from benchmarks.rounds import Effort, Spread, added, counts, measure
from benchmarks.table import bars_table, markdown, write

README = Path(__file__).parent.parent / "README.md"
PARTS = {"server": server.rows, "costs": costs.rows, "million": million.rows}

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
    """Run what was asked for; return 1 where `--check` finds a bar missed."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", help="parts, separated by commas: " + ", ".join([*GROUPS, *PARTS]))
    parser.add_argument("--quick", action="store_true", help="fewer rounds; to see that everything runs")
    parser.add_argument("--write-readme", action="store_true", help="put the tables into the README")
    parser.add_argument("--check", action="store_true", help="exit 1 where a bar is missed")
    chosen = parser.parse_args(arguments)
    parts = chosen.only.split(",") if chosen.only else [*GROUPS, *PARTS]
    unknown = set(parts) - set(GROUPS) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {sorted(unknown)}")

    times, tables, rows = frameworks(
        [part for part in parts if part in GROUPS], Effort(2, 4, 50) if chosen.quick else Effort()
    )
    rows += judge(times, {name: group.bare for name, group in GROUPS.items()})
    for name, part in PARTS.items():
        if name in parts:
            progress(name)
            rows += part(chosen.quick)
    text = "\n\n".join([f"{machine()}", *tables, bars_table(rows)])
    print(text)
    if chosen.write_readme:
        write(README, text)
    missed = [row for row in rows if row.met is False]
    return 1 if chosen.check and missed else 0


Times = dict[str, dict[str, list[float]]]


def frameworks(groups: Sequence[str], effort: Effort) -> tuple[Times, list[str], list[Row]]:
    """Measure groups of contenders; return their times, their tables, and a row for each that could not be measured."""
    times: Times = {}
    tables, left_out = [], []
    with redis_server() as has_redis:
        for key in groups:
            group = GROUPS[key]
            names = [name for name in group.others if has_redis or not name.endswith("redis")]
            lines = {}
            for name in [group.bare, *names]:
                progress(f"{key}: counting {name}")
                try:
                    lines[name] = counts(key, name)
                except ModuleNotFoundError as missing:
                    left_out.append(Row(f"{group.title}: {group.others.get(name, name)}", f"{missing}", "", None))
            if group.bare not in lines:
                continue
            progress(f"{key}: measuring")
            times[key] = found = measure(key, list(lines), effort)
            peer = PEERS.get(key)
            table = []
            for name in names:
                if name not in lines:
                    continue
                cost = Spread.of(added(found, name, group.bare))
                share = ""
                if peer in found:
                    share = Spread.of(ratio_to(found, name, str(peer), group.bare)).text(2)
                seen = lines[name]
                per = [f"{value:.2f}".rstrip("0").rstrip(".") for value in (seen.calls, seen.writes, seen.cookies)]
                table.append([group.others[name], cost.text(1), share, *per])
            bare = Spread.of(found[group.bare])
            head = [
                f"{group.title} (bare: {bare.median:.0f} us)",
                "us added",
                "ratio",
                "store calls",
                "writes",
                "Set-Cookie",
            ]
            tables.append(markdown(head, table))
    return times, tables, left_out


def ratio_to(found: dict[str, list[float]], name: str, peer: str, bare: str) -> list[float]:
    """Return the ratios of a row; a contender is exactly once itself."""
    from benchmarks.rounds import ratio

    return [1.0, 1.0] if name == peer else ratio(found, name, peer, bare)


def machine() -> str:
    """Say what the figures were measured on."""
    cores = os.cpu_count()
    return (
        f"Median (quartiles) of interleaved rounds on {cores} cores, {platform.python_implementation()} "
        f"{platform.python_version()}: microseconds that a signed-in request costs beyond the bare app; ratio to the "
        "framework's own; per request: calls to the store, writes among them, Set-Cookie headers."
    )


def progress(text: str) -> None:
    """Tell whoever waits."""
    print(f"... {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
