"""What the tests of the browser script share: Debian's Chromium driven by Playwright, and a server of our own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from session_middleware.testing import FakeClock


def missing(what: str) -> NoReturn:
    """Skip a test for want of something, or fail it where CI asks for everything."""
    if os.environ.get("SESSION_TESTS_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{what}, and SESSION_TESTS_REQUIRE_SERVERS=1 asks for it")
    pytest.skip(what)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:  # Any: playwright may be missing
    """The browser, one for these tests: while Playwright runs, an event loop seems to run in this thread."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing("chromium is not in PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def served() -> Iterator[Any]:
    """A town and its origin; its clock is moved by tests and never set back."""
    pytest.importorskip("starlette")
    from .town import Town

    town = Town(FakeClock())
    with town.runs() as origin:
        yield town, origin


@pytest.fixture
def person(chromium: Any, served: Any) -> Iterator[Any]:
    """Somebody whose browser has no cookies yet."""
    from .browsing import Person

    town, origin = served
    town.log.clear()
    town.delays.clear()
    town.faults.clear()
    town.options = {}
    town.events = False
    context = chromium.new_context()
    context.set_default_timeout(10_000)
    person = Person(context, town, origin)
    yield person
    person.leaves()
