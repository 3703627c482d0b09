"""What was seen, as lines of text and as the table of the docs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.faults.run import Outcome
from benchmarks.table import markdown

__all__ = ["shown", "table"]

_HEAD = ["fault", "app", "pages", "logins", "logouts", "let in", "signed out", "lost", "slowest", "normal after"]


def shown(outcome: Outcome) -> str:
    """Return what an operator reads while the command runs."""
    lines = [f"{outcome.fault.name}, {outcome.way.title}: {outcome.before} requests before; since then"]
    lines += [f"  {name}: {_counted(counts)}" for name, counts in outcome.statuses.items()]
    live, ended = outcome.audited
    lines.append(
        f"  slowest page {outcome.slowest:.1f} s; normal after {_seconds(outcome.normal_after)}; then {live} sessions and "
        f"{ended} copies of ended ones looked at; {outcome.lost} lost, {outcome.within_lease} accepted within the lease"
    )
    for word, wrong in (("LET IN", outcome.let_in), ("SIGNED OUT", outcome.signed_out)):
        lines += [f"  {word}: {what}" for what in wrong[:10]]
    return "\n".join(lines)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table of the docs."""
    rows = []
    for one in outcomes:
        store = one.fault.name.partition("-")[0].capitalize().replace("Postgres", "PostgreSQL")
        title = one.fault.title if store in one.fault.title else f"{store}: {one.fault.title}"
        counts = [_counted(one.statuses[name]) for name in ("page", "login", "logout")]
        wrong = [str(len(one.let_in)), str(len(one.signed_out)), str(one.lost)]
        rows.append([title, one.way.title, *counts, *wrong, f"{one.slowest:.1f} s", _seconds(one.normal_after)])
    return markdown(_HEAD, rows)


def _counted(counts: Counter[int]) -> str:
    """Return how often each status was seen, the most frequent first."""
    words = {0: "no answer"}
    return ", ".join(f"{words.get(status, status)}: {count}" for status, count in counts.most_common()) or "none"


def _seconds(seconds: float | None) -> str:
    return "**never**" if seconds is None else f"{seconds:.1f} s"
