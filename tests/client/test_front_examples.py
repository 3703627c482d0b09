"""examples/htmx_app and examples/react_app in a browser; what they fetch from a CDN comes from npm here."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha384
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.stand_ins import served

from .checks import bundled, installed
from .test_timeline import OUT

pytestmark = [pytest.mark.slow, pytest.mark.server]

EXAMPLES = Path(__file__).parent.parent.parent / "examples"

#: What the import map of React leads to: one file for all of it, made by esbuild, as two copies of React are one too many.
REACT = """
export { createElement, useEffect, useState, useSyncExternalStore } from "react";
export { createRoot } from "react-dom/client";
"""


def module_of(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"{name}_front", EXAMPLES / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where Flask and pydantic look
    spec.loader.exec_module(module)
    return module


def version_of(package: str) -> str:
    found: str = json.loads((installed() / package / "package.json").read_text())["version"]
    return found


@contextmanager
def visiting(chromium: Any, origin: str, clock: FakeClock) -> Iterator[Any]:
    """Somebody with a browser in which the CDNs are npm's folder, and whose page logs what it complains of."""
    from .browsing import Person

    context = chromium.new_context()
    try:
        person = Person(context, SimpleNamespace(clock=clock), origin)  # type: ignore[arg-type]  # no town, only its clock
        page = context.new_page()
        page.said = []
        page.on(
            "console", lambda message: page.said.append(message.text) if message.type in ("error", "warning") else 0
        )
        page.on("pageerror", lambda error: page.said.append(str(error)))
        yield person, page
    finally:
        context.close()


def log_in(page: Any, origin: str) -> None:
    page.goto(f"{origin}/")
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password").fill("wonderland")
    page.get_by_role("button", name="Log in").click()


@pytest.fixture
def htmx(chromium: Any) -> Iterator[Any]:
    clock = FakeClock()
    app = module_of("htmx_app").create_app(store=MemoryStore(), clock=clock)
    with served(app) as address:
        origin = address.replace("127.0.0.1", "localhost")
        with visiting(chromium, origin, clock) as (person, page):
            script = installed() / "htmx.org" / "dist" / "htmx.min.js"
            headers = {"Access-Control-Allow-Origin": "*", "Content-Type": "text/javascript"}
            page.route(
                f"**/htmx.org@{version_of('htmx.org')}/**", lambda route: route.fulfill(path=script, headers=headers)
            )
            log_in(page, origin)
            page.wait_for_url(f"{origin}/")
            yield person, page


def test_htmx_a_refused_request_opens_the_dialog(htmx: Any) -> None:
    """The session is over elsewhere: no redirect, the dialog, and what was typed is still there."""
    person, page = htmx
    page.get_by_label("A note").fill("milk")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("listitem").filter(has_text="milk").wait_for()
    page.get_by_label("A note").fill("half a thought")
    person.context.clear_cookies()
    page.get_by_role("button", name="Add").click()
    page.get_by_role("alertdialog", name=OUT).wait_for()
    assert page.url == f"{person.origin}/"
    assert page.get_by_label("A note").input_value() == "half a thought"
    assert page.get_by_role("listitem").all_inner_texts() == ["milk"]


def test_htmx_a_poll_keeps_nobody_signed_in(htmx: Any) -> None:
    """Every ten seconds it asks, and says that this is no activity: the dialog comes a minute before the end."""
    person, page = htmx
    page.get_by_text("Unread: 0").wait_for()
    with page.expect_request("**/unread") as asked:
        person.passes(11)
    assert asked.value.headers["session-activity"] == "none"
    person.town.clock.advance(830)
    person.context.clock.fast_forward(830_000)
    page.get_by_role("alertdialog", name="Are you still there?").wait_for()


def test_htmx_is_the_file_whose_hash_the_page_names() -> None:
    """The version is npm's, and its integrity is that of npm's file."""
    example = module_of("htmx_app")
    file = (installed() / "htmx.org" / "dist" / "htmx.min.js").read_bytes()
    assert f"/htmx.org@{version_of('htmx.org')}/dist/htmx.min.js" in example.HTMX
    assert f"sha384-{b64encode(sha384(file).digest()).decode()}" == example.HTMX_HASH


@pytest.fixture
def react(chromium: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    from .town import serving

    monkeypatch.setenv("SESSION_LIFETIME_INACTIVITY_TIMEOUT", "90")
    monkeypatch.setenv("SESSION_STORE_URL", f"sqlite:///{tmp_path}/unused.db")
    clock = FakeClock()
    app = module_of("react_app").create_app(store=MemoryStore(), clock=clock)
    with serving(app) as origin, visiting(chromium, origin, clock) as (person, page):
        headers = {"Access-Control-Allow-Origin": "*", "Content-Type": "text/javascript"}
        whole = bundled(REACT)
        again = b"export * from 'https://esm.sh/react-of-the-tests';"

        def from_npm(route: Any) -> None:
            route.fulfill(body=whole if route.request.url.endswith("/react-of-the-tests") else again, headers=headers)

        page.route("https://esm.sh/**", from_npm)
        log_in(page, origin)
        page.get_by_role("heading", name="Hello alice").wait_for()
        yield person, page


def test_react_draws_its_own_dialog(react: Any) -> None:
    """The hooks tell a component when to ask, how much is left, and that somebody stayed; React has nothing to complain of."""
    person, page = react
    assert page.get_by_role("alertdialog").count() == 0
    person.passes(35)
    dialog = page.get_by_role("alertdialog", name="Still there?")
    dialog.get_by_text(re.compile("ends in 5[3-6] s")).wait_for()
    before = dialog.inner_text()
    person.passes(5)
    assert dialog.inner_text() != before
    dialog.get_by_role("button", name="Stay").click()
    dialog.wait_for(state="detached")
    assert page.locator("session-dialog").count() == 0  # ours is off
    assert [text for text in page.said if "401" not in text] == []  # before the login, the front asked who it is


def test_react_hears_that_the_session_ended(react: Any) -> None:
    """Ended in another tab: the component says so, and what was typed is still there."""
    person, page = react
    page.get_by_label("A note").fill("half a thought")
    other = person.context.new_page()
    other.goto(f"{person.origin}/api/about")
    other.evaluate("fetch('/session/logout', {method: 'POST'})")
    person.passes(1)
    page.get_by_role("alert").get_by_text("Your session has ended").wait_for()
    assert page.get_by_label("A note").input_value() == "half a thought"
    assert page.get_by_role("link", name="Sign in again").get_attribute("href") == f"{person.origin}/?return_to=%2F"


def test_react_is_the_version_that_the_page_names() -> None:
    """The import map asks for what is tested here."""
    page = (EXAMPLES / "react_app" / "front" / "index.html").read_text()
    versions = set(re.findall(r"react(?:-dom)?@([\d.]+)", page))
    assert versions == {version_of("react"), version_of("react-dom")}
