"""What stands in a store's URL behind the "?": options, in which a "+" is a "+", as it is to libpq and in the rest of the URL."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

__all__ = ["options_in"]


def options_in(query: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and what was written of each option; not `parse_qsl`, which reads a form, where "+" is a blank.

    Args:
        query: what follows the "?".
    """
    for written in filter(None, query.split("&")):
        name, _, value = written.partition("=")
        yield unquote(name), unquote(value), written
