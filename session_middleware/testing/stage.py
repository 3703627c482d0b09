"""Stage: what a scenario plays on: a clock, a watched store, apps over them, and people with browsers."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from typing import Any
from urllib.parse import urlencode

from session_middleware.core.tokens import key_of
from session_middleware.events import SessionEvent
from session_middleware.settings import Settings
from session_middleware.testing.browser import Answer, Browser, Driver
from session_middleware.testing.clock import FakeClock
from session_middleware.testing.watched_store import Meanwhile, WatchedStore

__all__ = ["JWT", "KEY", "OTHER_KEY", "TOKEN", "Stage"]

KEY = "scenario key one: 0f6a1b2c3d4e5f60718293a4b5c6d7e8"
OTHER_KEY = "scenario key two: 9a8b7c6d5e4f30211203f4e5d6c7b8a9"

#: The names of our two cookies under the default settings.
TOKEN, JWT = "__Host-session", "__Host-session_jwt"

#: 15 minutes of silence (so a touch every 45 s), 8 hours in all; what bridged frameworks would choose otherwise is set.
DEFAULTS: dict[str, Any] = {
    "secret_keys": [KEY],
    "inactivity_timeout": 900,
    "absolute_lifetime": 28_800,
    "default_policy": "required",
    "return_param": "return_to",
    "login_url": "/login",
}


class Stage:
    """Makes apps and browsers for one scenario.

    Args:
        make: a mode's factory: `make(settings, store, *, clock, on_event, authority) -> Driver`.
        store: a new, empty store.

    Attributes:
        events: every `SessionEvent` of every app, in order.
    """

    def __init__(self, make: Callable[..., Driver], store: Any) -> None:  # Any: a Store or an AsyncStore
        self.clock = FakeClock()
        self.store = WatchedStore(store)
        self.events: list[SessionEvent] = []
        self._make = make
        self._drivers: list[Driver] = []
        self._browsers: list[Browser] = []

    def app(self, *, authority: Any = None, mount: str = "", **changes: Any) -> Driver:  # Any: settings
        """Start an app over the common store; a second one is another worker, or another release."""
        more = {"mount": mount} if mount else {}
        settings = Settings(**{**DEFAULTS, **changes})
        driver = self._make(
            settings, self.store, clock=self.clock, on_event=(self.events.append,), authority=authority, **more
        )
        self._drivers.append(driver)
        return driver

    def visitor(self, driver: Driver | None = None, **options: Any) -> Browser:  # Any: settings
        """Return the browser of somebody who is not signed in, at an app made with these settings if none is given."""
        browser = Browser(driver or self.app(**options), self.clock)
        self._browsers.append(browser)
        return browser

    def signed_in(self, subject: str = "alice", driver: Driver | None = None, **options: Any) -> Browser:
        """Return the browser of somebody who has just signed in."""
        browser = self.visitor(driver, **options)
        answer = login(browser, subject)
        assert answer.status == 200, f"the login was answered with {answer.status}: {answer.body[:200]!r}"
        return browser

    def ends_meanwhile(self, session_id: str) -> Meanwhile:
        """Return what ends a session in another process, for `store.interrupt`."""

        def end() -> Generator[tuple[Any, ...], Any, None]:  # Any: the store's methods, by name
            yield "end", key_of(session_id), "revoked", self.clock(), self.clock() + 86_400.0

        return end

    def renews_meanwhile(self, session_id: str, generation: int, to: int) -> Meanwhile:
        """Return what moves a session's generation in another process, for `store.interrupt`."""

        def renew() -> Generator[tuple[Any, ...], Any, None]:  # Any: the store's methods, by name
            yield "renew", key_of(session_id), generation, to, self.clock()

        return renew

    def event_names(self) -> list[str]:
        """Return the names of all events so far."""
        return [event.name for event in self.events]

    def close(self) -> None:
        """Stop every app, and check that no browser dropped a cookie of ours."""
        for driver in self._drivers:
            driver.close()
        for browser in self._browsers:
            assert not browser.jar.dropped, f"a browser would drop {browser.jar.dropped}"


def login(browser: Browser, subject: str = "alice", **arguments: Any) -> Answer:
    """Send the login form; claims and limits are written as JSON."""
    query = {"subject": subject}
    query |= {name: value if isinstance(value, str) else json.dumps(value) for name, value in arguments.items()}
    return browser.submit(f"/login?{urlencode(query)}", page="/login")
