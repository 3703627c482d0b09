"""Stage: what a scenario plays on: a clock, a watched store, apps over them, and people with browsers."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from typing import Any, Protocol
from urllib.parse import urlencode

from session_middleware.core.tokens import key_of
from session_middleware.events import SessionEvent
from session_middleware.settings import Settings
from session_middleware.testing.browser import Answer, Browser, Driver
from session_middleware.testing.clock import FakeClock
from session_middleware.testing.watched_store import Meanwhile, WatchedStore

__all__ = ["Behind", "JWT", "KEY", "OTHER_KEY", "TOKEN", "Stage"]

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


class Behind(Protocol):
    """A provider that people sign in at, to play the scenarios with its authority in place of the local one.

    A login of a scenario stands on a session there, and the browser shows the provider's cookies from then on.

    Attributes:
        cookies: the names of those cookies.
    """

    cookies: tuple[str, ...]

    def authority(self) -> Any:  # Any: an Authority
        """Return a new authority for one app (process). It adopts nothing: a scenario says itself who signs in when."""
        ...

    def enter(self, subject: str) -> tuple[dict[str, Any], list[str]]:  # Any: JSON values
        """Sign a user in there; return the fields of the `ProviderSession`, and the Set-Cookie values of the provider."""
        ...


class Stage:
    """Makes apps and browsers for one scenario.

    Args:
        make: a mode's factory: `make(settings, store, *, clock, on_event, authority) -> Driver`.
        store: a new, empty store.
        behind: the provider behind every app that is not given an authority of its own.

    Attributes:
        events: every `SessionEvent` of every app, in order.
    """

    def __init__(
        self,
        make: Callable[..., Driver],
        store: Any,  # Any: a Store or an AsyncStore
        behind: Callable[[FakeClock], Behind] | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.behind = None if behind is None else behind(self.clock)
        self.store = WatchedStore(store)
        self.events: list[SessionEvent] = []
        self._make = make
        self._drivers: list[Driver] = []
        self._browsers: list[Browser] = []

    def app(self, *, authority: Any = None, mount: str = "", **changes: Any) -> Driver:  # Any: settings
        """Start an app over the common store; a second one is another worker, or another release."""
        more = {"mount": mount} if mount else {}
        settings = Settings(**{**DEFAULTS, **changes})
        if authority is None and self.behind is not None:
            authority = self.behind.authority()
        driver = self._make(
            settings, self.store, clock=self.clock, on_event=(self.events.append,), authority=authority, **more
        )
        self._drivers.append(driver)
        return driver

    def visitor(self, driver: Driver | None = None, **options: Any) -> Browser:  # Any: settings
        """Return the browser of somebody who is not signed in, at an app made with these settings if none is given."""
        browser = Browser(driver or self.app(**options), self.clock)
        self._browsers.append(browser)
        if self.behind is not None:
            browser.enter, browser.beside_names = self.behind.enter, self.behind.cookies
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
    lines: list[str] = []
    if browser.enter is not None and "provider" not in arguments:
        arguments["provider"], lines = browser.enter(subject)
    query |= {name: value if isinstance(value, str) else json.dumps(value) for name, value in arguments.items()}
    answer = browser.submit(f"/login?{urlencode(query)}", page="/login")
    browser.beside.take(lines, browser.origin, "/")
    return answer
