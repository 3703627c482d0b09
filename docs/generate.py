"""Write the documents that are made from code: `python docs/generate.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from session_middleware.core.rules import RULES

__all__ = ["DOCUMENTS"]

_RULES = """# The rules

What the package does, word for word as code, tests and documents cite it (L5, L13 ...). This page is generated from
`session_middleware/core/rules.py` by `python docs/generate.py`; change the rule there.

Words: *inactivity_timeout* ends by silence; *absolute_lifetime* is a hard age since authentication; *touch* records
activity; *renew* gives the same session a new token; *rotate* mints a new session JWT; *extend* moves the inactivity
deadline on request; *end* terminates. `*_timeout` is silence, `*_lifetime` a hard age, `*_interval` how often we act,
`*_at` an instant.

What the rules say of device-bound sessions (DBSC; L3, L6, L9, L19, L20) is for a later version; this one has none.

| rule | what holds |
|---|---|
"""


def rules() -> str:
    """Return docs/rules.md."""
    return _RULES + "".join(f"| {name} | {_cell(text)} |\n" for name, text in RULES.items())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


#: File name -> what makes its text.
DOCUMENTS: dict[str, Callable[[], str]] = {"rules.md": rules}


if __name__ == "__main__":
    for name, make in DOCUMENTS.items():
        (Path(__file__).parent / name).write_text(make(), "utf-8")
