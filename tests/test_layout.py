"""Where CPython keeps what is written to an exchange: in its place, or in a dict of its own, which takes twice as long."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from benchmarks.contenders import GROUPS, make
from session_middleware.core.exchange import Exchange
from session_middleware.engine.recognising import Recogniser

from .fresh_python import printed_by


def dicts_after_others(group: str) -> int:
    """Count the dicts that quiet exchanges have of their own in an app that has served many who were not signed in."""
    found: list[Exchange] = []
    quiet = Recogniser.quiet

    def watched(self: Recogniser, x: Exchange) -> bool:
        recognised = quiet(self, x)
        if recognised:
            found.append(x)
        return recognised

    Recogniser.quiet = watched  # type: ignore[method-assign]
    (name,) = [name for name in GROUPS[group].others if name.endswith("ours-memory")]
    contender = make(group, name)
    client: Any = contender.client
    client.jar.put("theme=dark")
    for _ in range(60):
        client.call("GET", contender.path)
    client.jar.put("")
    contender.sign_in()
    client.burst(contender.path, 20)
    client.close()
    assert len(found) >= 20
    return sum(type(held) is dict and "shown" in held for x in found for held in gc.get_referents(x))


@pytest.mark.parametrize(
    "group",
    ["plain", "starlette", "fastapi", "plainwsgi", "flask", "django", "djangoasgi", "djangoauth", "djangoauthasgi"],
)
def test_who_came_first_does_not_make_later_requests_slow(group: str) -> None:
    """The first instances of a class decide for which attributes all others have a place; health checks are often first."""
    assert (
        printed_by(f"from tests.test_layout import dicts_after_others; print(dicts_after_others({group!r}))").strip()
        == "0"
    )
