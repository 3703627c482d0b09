"""Let every fault happen: `python -m benchmarks.faults [--only NAME ...] [--write-docs]`; exit 1 if a verdict was wrong."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from benchmarks.faults.faults import FAULTS
from benchmarks.faults.report import shown, table
from benchmarks.faults.run import Outcome, Way, look_at
from benchmarks.table import write

#: A blocking store in threads and an awaited one, each with a near cache or without.
WAYS = {
    "wsgi": Way("wsgi", None),
    "wsgi-near": Way("wsgi", 2.0),
    "asgi": Way("asgi", None),
    "asgi-near": Way("asgi", 2.0),
}

#: Those that the table of the docs shows.
SHOWN = ["wsgi", "asgi-near"]


def main() -> int:
    names = [fault.name for fault in FAULTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--only", action="append", choices=names, help="a fault; may be given several times")
    parser.add_argument(
        "--way", action="append", choices=list(WAYS), help=f"how the app is run; default: {' and '.join(SHOWN)}"
    )
    parser.add_argument("--write-docs", action="store_true", help="write the table into docs/faults.md")
    options = parser.parse_args()
    if options.write_docs and (options.only or options.way):
        parser.error("--write-docs writes the whole table; leave out --only and --way")
    logging.disable(logging.CRITICAL)  # of the servers' starting; what users saw is in the table
    outcomes: list[Outcome] = []
    for fault in FAULTS:
        for name in options.way or SHOWN:
            if fault.name in (options.only or names):
                outcomes.append(look_at(fault, WAYS[name]))
                print(shown(outcomes[-1]), flush=True)
    print("\n" + table(outcomes))
    if options.write_docs:
        write(Path(__file__).parent.parent.parent / "docs" / "faults.md", table(outcomes))
    return 0 if all(outcome.is_right for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
