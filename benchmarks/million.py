"""A million sessions in SQLite, as rows of the table; the measuring is done by `sqlite_million.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.bars import Row

__all__ = ["rows"]

#: How its bars are shown, by the first word of a line.
BARS = {
    "load,": "≤ 1.5 x",
    "holds,": "≤ 1.5 x",
    "bytes": "≤ 450",
    "pruned": "≥ 8000",
    "p99": "< 50 ms",
}


def rows(quick: bool) -> list[Row]:
    """Run it in a process of its own; with `quick` among 50,000 sessions."""
    program = Path(__file__).parent / "sqlite_million.py"
    command = [sys.executable, str(program), "50000" if quick else "1000000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        raise RuntimeError(done.stderr[-2000:])
    found = []
    for line in done.stdout.splitlines():
        title, value, word = line[:40].strip(), line[40:63].strip(), line[63:].strip()
        no_bar = "(no bar)" in title
        bar = BARS.get(title.split()[0], "")
        found.append(Row(f"SQLite: {title}", value, bar, None if no_bar else word == "met"))
    return found
