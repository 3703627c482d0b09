"""The same in real seconds, with nobody's clock moved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .test_timeline import ASKS, FINAL, LAPSED

pytestmark = [pytest.mark.slow, pytest.mark.server]


@contextmanager
def somebody(chromium: Any, **limits: Any) -> Iterator[Any]:
    from .browsing import Person
    from .town import Town

    town = Town(**limits)
    with town.runs() as origin:
        context = chromium.new_context()
        yield Person(context, town, origin)
        context.close()


def test_asked_and_continued(chromium: Any) -> None:
    """Silence ends after 70 s: the dialog comes after ten, not before nine, and is gone with Continue."""
    with somebody(chromium, inactivity_timeout=70, absolute_lifetime=900) as person:
        began = time.monotonic()
        tab = person.signed_in()
        tab.shows_nothing()
        tab.becomes("warning")
        assert 9 < time.monotonic() - began < 30
        tab.shows(ASKS)
        first = tab.dialog.get_by_role("timer").inner_text()
        tab.until("session.remaining() < 58")
        assert tab.dialog.get_by_role("timer").inner_text() != first
        tab.button("Continue").click()
        tab.becomes("active")
        tab.shows_nothing()
        assert tab.left > 60
        assert person.town.count("POST", "/session/continue") == 1


def test_ended_by_age(chromium: Any) -> None:
    """Twelve seconds is all there is: the dialog says so at once, and says when it is over; the page stays."""
    with somebody(chromium, inactivity_timeout=12, absolute_lifetime=12) as person:
        began = time.monotonic()
        tab = person.signed_in()
        tab.becomes("warning")
        tab.shows(FINAL)
        tab.becomes("lapsed")
        assert 11 < time.monotonic() - began < 40
        tab.shows(LAPSED)
        assert tab.page.evaluate("session.reason") == "lifetime"
        assert tab.page.url == f"{person.origin}/"
        assert person.town.count("POST", "/session/logout") == 0
