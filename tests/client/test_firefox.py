"""The same life in Firefox, in real seconds: Debian's, where it is installed."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_middleware.demo.app import Demo
from session_middleware.settings import Settings
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.stand_ins import served

from . import firefox as driver
from .test_timeline import ASKS, OTHER, OUT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.skipif(driver.path() is None, reason="there is no Firefox in PATH"),
]

TITLE = (
    "(() => { const dialog = document.querySelector('session-dialog')?.shadowRoot.querySelector('dialog');"
    " return dialog?.open ? dialog.querySelector('h2').textContent : null; })()"
)


def button(text: str) -> str:
    return (
        "[...document.querySelector('session-dialog').shadowRoot.querySelectorAll('button')]"
        f".find((button) => button.textContent === '{text}')"
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[driver.Firefox]:
    with driver.running() as running:
        yield running


@pytest.fixture
def place(browser: driver.Firefox) -> Iterator[Any]:
    """A town whose dialog comes after four seconds, and alice in two tabs of it."""
    from .town import Town

    town = Town(inactivity_timeout=64, absolute_lifetime=900)
    town.events = True
    with town.runs() as origin:
        a = browser.open(f"{origin}/quiet")
        browser.says("fetch('/login?user=alice&return_to=/quiet', {method: 'POST'}).then((answer) => answer.status)")
        browser.open(f"{origin}/")
        began(browser)
        b = browser.open(f"{origin}/quiet-page", beside=True)
        began(browser)
        yield town, origin, a, b
        if b in browser.do("WebDriver:GetWindowHandles"):
            browser.to(b)
            browser.do("WebDriver:CloseWindow")
        browser.to(a)
        browser.open(f"{origin}/quiet")
        browser.do("WebDriver:DeleteAllCookies")
        browser.open("about:blank")


def began(browser: driver.Firefox) -> None:
    browser.until("Boolean(window.session) && session.state !== 'unknown'")


def wait_for(says: Callable[[], object], wanted: object = True) -> None:
    end = time.monotonic() + driver.PATIENCE
    while (found := says()) != wanted:
        assert time.monotonic() < end, f"{found!r}, not {wanted!r}"
        time.sleep(0.02)  # for a browser, which is a process of its own


def listens(town: Any, times: int) -> None:
    """Wait until the browser has its stream open, for the so many'th time."""
    wait_for(lambda: (town.streams, town.count("GET", "/session/events")), (1, times))


def from_elsewhere(browser: driver.Firefox, url: str) -> None:
    cookies = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in browser.do("WebDriver:GetCookies"))
    headers = {"Sec-Fetch-Site": "same-origin", "Accept": "application/json", "Cookie": cookies}
    with urllib.request.urlopen(urllib.request.Request(url, method="POST", headers=headers)) as answer:
        assert answer.status in (200, 204)


def test_asked_continued_and_logged_out(browser: driver.Firefox, place: Any) -> None:
    """The dialog comes in both tabs, goes in both with one click, and Log out in one is seen in the other."""
    town, _, a, b = place
    for tab in (a, b):
        browser.to(tab)
        browser.until(TITLE, ASKS)
        assert browser.says("session.state") == "warning"
    browser.click(button("Continue"))
    for tab in (b, a):
        browser.to(tab)
        browser.until("session.state", "active")
        browser.until(TITLE, None)
    assert town.count("POST", "/session/continue") == 1
    browser.until(TITLE, ASKS)
    browser.click(button("Log out"))
    browser.until("location.pathname", "/session/signed-out")
    browser.to(b)
    browser.until(TITLE, OUT)
    assert browser.says("location.pathname") == "/quiet-page"
    assert browser.says("violations") == []


def test_what_happens_elsewhere_is_heard_through_one_connection(browser: driver.Firefox, place: Any) -> None:
    """Continued from outside: both dialogs go; the tab with the stream is closed: the other hears of the logout."""
    town, origin, a, b = place
    listens(town, 1)
    browser.until(TITLE, ASKS)
    from_elsewhere(browser, f"{origin}/session/continue")
    for tab in (a, b):
        browser.to(tab)
        browser.until("session.state", "active")
    browser.to(a)
    browser.open(f"{origin}/quiet")  # the tab that listened is elsewhere
    listens(town, 2)
    from_elsewhere(browser, f"{origin}/session/logout")
    browser.to(b)
    browser.until(TITLE, OUT)


def test_back_from_the_back_forward_cache(browser: driver.Firefox, place: Any) -> None:
    """M22: the page is the one that was left, and asks; without a stream, since Firefox keeps no page that had one open."""
    town, origin, a, _ = place
    town.events = False
    browser.to(a)
    browser.open(f"{origin}/quiet-page")
    began(browser)
    browser.says("void document.documentElement.setAttribute('lang', 'la')")
    browser.says("void setTimeout(() => location.assign('/quiet'))")
    browser.until("location.pathname", "/quiet")
    asked = town.count("GET", "/session/status")
    browser.do("WebDriver:Back")
    browser.until("document.documentElement.lang", "la")
    wait_for(lambda: town.count("GET", "/session/status") > asked)


def test_somebody_else_signs_in(browser: driver.Firefox, place: Any) -> None:
    """Bob signs in where no script of ours runs: the pages of alice offer to be loaded again."""
    town, _, a, b = place
    listens(town, 1)
    browser.to(b)
    browser.says("fetch('/login?user=bob&return_to=/quiet', {method: 'POST'}).then((answer) => answer.status)")
    for tab in (b, a):
        browser.to(tab)
        browser.until(TITLE, OTHER)


def test_the_demo(browser: driver.Firefox) -> None:
    """Its buttons: log in, request a page, continue, a sensitive page, a thief, log out."""
    settings = Settings(secret_keys=["demo in Firefox 0f6a1b2c3d4e5f60718293a4b5c6d7e8"], cookie_name="session_demo")
    with served(Demo(settings, MemoryStore())) as address:
        browser.open(address.replace("127.0.0.1", "localhost") + "/")
        for name, says in [
            ("alice", "You log in as alice"),
            ("page", "You request a page"),
            ("continue", "You continue"),
            ("fresh", "You open a sensitive page"),
            ("steal", "The thief steals the cookie"),
            ("forge", "The thief forges a token"),
            ("logout", "You log out"),
        ]:
            browser.click(f"document.querySelector('[data-do=\"{name}\"]')")
            browser.until(f"document.body.innerText.includes({says!r})")
        browser.until(
            "fetch('/session/status').then((answer) => answer.json()).then((said) => said.authenticated)", False
        )
