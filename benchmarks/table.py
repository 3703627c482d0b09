"""The tables, as Markdown; and their place in the README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.bars import Row

__all__ = ["bars_table", "markdown", "write"]

BEGIN = "<!-- benchmarks -->"
END = "<!-- /benchmarks -->"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bars_table(rows: Sequence[Row]) -> str:
    """Return the table of bars."""
    words = {True: "met", False: "**missed**", None: ""}
    return markdown(["case", "measured", "bar", ""], [[r.title, r.value, r.bar, words[r.met]] for r in rows])


def write(readme: Path, text: str) -> None:
    """Put a text between the two marks of a file.

    Raises:
        ValueError: the marks are not there, once each and in order.
    """
    standing = readme.read_text("utf-8")
    before, mark, rest = standing.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end or BEGIN in rest or END in before + after:
        raise ValueError(f"{readme.name} needs {BEGIN} and {END}, once each and in this order.")
    readme.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}", "utf-8")
