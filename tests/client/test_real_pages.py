"""A page that Chromium itself puts away and brings back: its back/forward cache, which Playwright otherwise turns off."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .browsing import PATIENCE
from .conftest import missing

pytestmark = [pytest.mark.slow, pytest.mark.server]


def wait_for(says: Callable[[], object], wanted: object = True) -> None:
    end = time.monotonic() + PATIENCE
    while (found := says()) != wanted:
        assert time.monotonic() < end, f"{found!r}, not {wanted!r}"
        time.sleep(0.02)


@pytest.fixture
def place(chromium: Any) -> Iterator[Any]:
    """A town in real time, and a page of it in a browser that keeps pages."""
    from .town import Town

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing("chromium is not in PATH")
    browser = chromium.browser_type.launch(
        executable_path=path,
        args=["--no-sandbox", "--disable-gpu"],
        ignore_default_args=["--disable-back-forward-cache"],
    )
    town = Town(inactivity_timeout=3600, absolute_lifetime=36000)
    town.events = True
    try:
        with town.runs() as origin:
            context = browser.new_context()
            page = context.new_page()
            page.goto(f"{origin}/quiet")
            page.evaluate("fetch('/login?user=alice&return_to=/quiet', {method: 'POST'}).then((a) => a.status)")
            page.goto(f"{origin}/quiet-page")
            yield town, origin, page
            context.close()
    finally:
        browser.close()


def listens(town: Any, times: int) -> None:
    wait_for(lambda: (town.streams, town.count("GET", "/session/events")), (1, times))


def test_the_back_forward_cache_keeps_the_page_with_the_stream(place: Any) -> None:
    """M22: it gives lock and stream up as it goes, is the same page when it comes back, and asks at once."""
    town, origin, page = place
    listens(town, 1)
    page.evaluate("window.kept = 'kept'")
    page.evaluate("addEventListener('pageshow', (event) => { window.persisted = event.persisted; })")
    page.evaluate("void setTimeout(() => location.assign('/quiet'))")
    page.wait_for_url(f"{origin}/quiet")
    wait_for(lambda: town.streams, 0)
    asked = town.count("GET", "/session/status")
    page.evaluate("void setTimeout(() => history.back())")
    page.wait_for_url(f"{origin}/quiet-page", wait_until="commit")  # nothing is loaded
    assert page.evaluate("[window.kept, window.persisted]") == ["kept", True]
    wait_for(lambda: town.count("GET", "/session/status"), asked + 1)
    listens(town, 2)
