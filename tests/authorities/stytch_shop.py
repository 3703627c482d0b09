"""An app whose sessions live at the Stytch stand-in, on a stage: people sign in there, and both tell the same time."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from session_middleware.authorities.stytch import StytchAuthority
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.browser import Browser, Driver
from session_middleware.testing.stage import Stage
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.stytch import Call, Credentials, StytchStandIn

#: Two are enough where nothing of an adapter's is in play.
FEW = ["asgi", "wsgi"]
#: Those of trio run each request on a loop of its own, which leaves no time to close connections.
MODES = [*FEW, "django_asgi", "django_wsgi", "fastapi", "flask", "starlette"]

TOKEN_COOKIE, JWT_COOKIE = "stytch_session", "stytch_session_jwt"

#: Seconds for a call where slowness is not the subject: a machine may stop for longer than the default of 3 s.
PATIENCE = 30.0


class Shop:
    """A stage with a Stytch project beside it."""

    def __init__(self, stage: Stage, stytch: StytchStandIn, base_url: str) -> None:
        self.stage, self.stytch, self.base_url = stage, stytch, base_url
        self.clock = stage.clock
        self.made: list[StytchAuthority] = []

    def authority(self, **options: Any) -> StytchAuthority:
        """Return an authority that asks the stand-in."""
        project = self.stytch
        options = {"base_url": self.base_url, "b2b": project.b2b, "timeout": PATIENCE, **options}
        self.made.append(StytchAuthority(project.project_id, project.secret, **options))
        return self.made[-1]

    def app(self, *, settings: Any = None, **options: Any) -> Driver:
        """Start an app; options are the authority's."""
        return self.stage.app(authority=self.authority(**options), **(settings or {}))

    def alice(self, minutes: int = 60, **more: Any) -> Credentials:
        """Return what the browser of somebody holds who has just signed in at Stytch."""
        user = more.pop("user", None) or self.stytch.add_user("alice@example.com")
        return self.stytch.start_session(user, minutes, **more)

    def browser(self, held: Credentials | None = None, driver: Driver | None = None, **options: Any) -> Browser:
        """Return a browser that holds a Stytch session, at an app made with these options if none is given."""
        browser = self.stage.visitor(driver or self.app(**options))
        if held is not None:
            show(browser, held)
        return browser

    def records(self, subject: str) -> list[SessionRecord]:
        """Return the live records of a user."""
        found: list[SessionRecord] = self.stage.store.list(handle_of("subject", subject), self.clock())
        return found

    def asked(self, path: str = "authenticate") -> list[Call]:
        """Return the calls of one kind since the last time."""
        calls = self.stytch.calls_of(path)
        self.stytch.calls.clear()
        return calls


@contextmanager
def shop_of(mode: str, *, b2b: bool = False, **options: Any) -> Iterator[Shop]:
    """Set a stage of this mode beside a stand-in."""
    module = importlib.import_module(f"tests.modes.{mode}_mode")

    def make(*args: Any, **more: Any) -> Driver:
        driver: Any = module.make(*args, **more)
        close = driver.close

        def close_all() -> None:
            if hasattr(driver, "_run"):  # its connections are closed on its own loop
                driver._run(more["authority"].aclose)
            close()

        driver.close = close_all
        return driver

    stage = Stage(make, MemoryStore())
    stytch = StytchStandIn(clock=stage.clock, b2b=b2b, **options)
    with served(stytch) as base_url:
        shop = Shop(stage, stytch, base_url)
        try:
            yield shop
        finally:
            stytch.recover()
            stage.close()
            for authority in shop.made:
                authority.close()


def show(browser: Browser, held: Credentials) -> None:
    """Give a browser Stytch's cookies, as Stytch's script does."""
    plant(browser, **{TOKEN_COOKIE: held.token, JWT_COOKIE: held.jwt})


def plant(browser: Browser, **cookies: str) -> None:
    """Give a browser cookies of any name and value."""
    lines = [f"{name}={value}; Path=/; Secure; SameSite=Lax" for name, value in cookies.items()]
    browser.jar.take(lines, browser.origin, "/")


def set_by(lines: list[str]) -> dict[str, str]:
    """Return what Set-Cookie lines set, by name, with their attributes."""
    return {line.partition("=")[0]: line.partition("=")[2] for line in lines}
