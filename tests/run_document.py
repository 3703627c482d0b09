"""Run the Python of one Markdown file as its reader would: block after block, in one namespace, in this folder.

A block fenced with three backticks and "python" runs unless the line before it is `<!-- skip: why -->`. A comment
`<!-- check` ... `-->` holds Python that the reader does not see: it proves what the text says about the block before.
Line numbers in tracebacks are those of the document.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SKIP = re.compile(r"<!-- skip: .{10,} -->")


def blocks(text: str) -> list[tuple[int, str]]:
    """Return every block that runs, with the number of lines before it."""
    found: list[tuple[int, str]] = []
    lines = text.split("\n")
    start, end = 0, ""
    for number, line in enumerate(lines):
        if not end:
            if line in ("```python", "<!-- check"):
                start, end = number + 1, "```" if line.startswith("`") else "-->"
        elif line == end:
            before = next((lines[n] for n in range(start - 2, -1, -1) if lines[n].strip()), "")
            if not SKIP.fullmatch(before):
                found.append((start, "\n".join(lines[start:number])))
            end = ""
    if end:
        raise SyntaxError(f"a block opened in line {start} is never closed")
    return found


def main(path: str) -> None:
    # A module of its own, so that what looks names up by module (Django's "urls", pickles) finds them.
    namespace = sys.modules["__main__"].__dict__
    for before, code in blocks(Path(path).read_text("utf-8")):
        exec(compile("\n" * before + code, path, "exec"), namespace)  # the repository's own documents


if __name__ == "__main__":
    main(sys.argv[1])
