"""An app whose sessions live at the Kratos stand-in, on a stage: people sign in there, and both tell the same time."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from session_middleware.authorities.kratos import KratosAuthority
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.browser import Answer, Browser, Driver
from session_middleware.testing.stage import Stage
from session_middleware.testing.stand_ins.kratos import KratosCredential, KratosStandIn
from tests.authorities.kratos_operations import check_calls
from tests.authorities.kratos_visitor import Visitor
from tests.authorities.kratos_world import World, world

#: Two are enough where nothing of an adapter's is in play.
FEW = ["asgi", "wsgi"]

COOKIE = "ory_kratos_session"
APP = "https://app.example"

#: Seconds for a call where slowness is not the subject: a machine may stop for longer than the default of 3 s.
PATIENCE = 30.0


class Watched(KratosAuthority):
    """An authority that knows its copies: Django makes one for each handler, and each has connections of its own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.all = [self]

    def __copy__(self) -> Watched:
        made = object.__new__(Watched)
        vars(made).update(vars(self))
        self.all.append(made)
        return made


@dataclass
class Town:
    """A stage with a Kratos beside it."""

    stage: Stage
    here: World
    made: list[Watched] = field(default_factory=list)

    @property
    def kratos(self) -> KratosStandIn:
        return self.here.kratos

    @property
    def clock(self) -> Any:
        return self.stage.clock

    def authority(self, *, admin: bool = True, **options: Any) -> Watched:
        """Return an authority that asks the stand-in, with its admin listener or without."""
        options.setdefault("lifespan", 3600.0)
        options.setdefault("app_url", APP)
        options.setdefault("timeout", PATIENCE)
        if admin:
            options.setdefault("admin_url", self.here.admin_url)
        self.made.append(Watched(self.here.public_url, **options))
        return self.made[-1]

    def alice(self, **options: Any) -> KratosCredential:
        """Return what somebody holds who has just signed in at Kratos."""
        return self.kratos.begin_session(self.kratos.add_identity("alice", "correct horse"), **options)

    def browser(self, held: KratosCredential | None = None, *, driver: Any = None, **options: Any) -> Browser:
        """Return a browser, with the Kratos cookie of a session if one is given; options are the app's settings."""
        if driver is None and "authority" not in options:
            options["authority"] = self.authority()
        browser = self.stage.visitor(driver, **options)
        if held is not None:
            self.show(browser, held)
        return browser

    def show(self, browser: Browser, held: KratosCredential) -> None:
        """Give a browser the Kratos cookie of a session."""
        browser.jar.take([f"{held.cookie}; Path=/; HttpOnly"], browser.origin, "/")

    def at_kratos(self, browser: Browser, answer: Answer, **typed: str) -> Answer:
        """Follow a redirect to Kratos, fill in its form if there is one, and come back to the app."""
        location = answer.header("Location") or ""
        assert location.startswith(self.here.public_url), f"leads elsewhere: {answer.status} {location}"
        person = Visitor(self.here)
        person.cookies = {name: browser.jar[name] for name in browser.jar.names if not name.startswith("__Host-")}
        page = person.open(location)
        if page.status == 200:
            page = person.fill_in(page, **typed)
        for name, value in person.cookies.items():
            browser.jar.take([f"{name}={value}; Path=/; HttpOnly"], browser.origin, "/")
        back = page.headers["Location"]
        assert back.startswith(APP), f"{page.status} {back}"
        return browser.navigate(back.removeprefix(APP), site="cross-site")

    def record(self, subject: str) -> SessionRecord | None:
        """Return the one live record of a user."""
        found = self.stage.store.list(handle_of("subject", subject), self.clock())
        assert len(found) <= 1
        return found[0] if found else None

    def paths(self, since: int = 0) -> list[str]:
        """Return method and path of what Kratos was asked, ids left out."""
        shown = []
        for call in self.kratos.calls[since:]:
            parts = ["{id}" if len(part) == 36 else part for part in call.path.split("/")]
            shown.append(f"{call.method} {'/'.join(parts)}")
        return shown


@contextmanager
def town(mode: str, **options: Any) -> Iterator[Town]:
    """Set a stage of this mode beside a stand-in with these options; what was asked of it fits Kratos' OpenAPI document."""
    module = importlib.import_module(f"tests.modes.{mode}_mode")

    def make(*args: Any, **more: Any) -> Driver:
        driver: Any = module.make(*args, **more)
        if hasattr(driver, "_exchange"):  # on trio each request has a loop of its own, and leaves nothing open there
            exchange = driver._exchange

            async def exchange_and_close(*request: Any) -> Answer:
                try:
                    answer: Answer = await exchange(*request)
                finally:
                    for authority in more["authority"].all:
                        await authority.aclose()
                return answer

            driver._exchange = exchange_and_close
        return driver

    stage = Stage(make, MemoryStore())
    options = {"lifespan": 3600.0, "allowed_return_urls": [APP], **options}
    with world(clock=stage.clock, **options) as here:
        made = Town(stage, here)
        try:
            yield made
        finally:
            stage.close()
            for authority in made.made:
                for each in authority.all:
                    each.close()
        check_calls([call for call in made.kratos.calls if call.headers.get("user-agent") == "session-middleware"])
