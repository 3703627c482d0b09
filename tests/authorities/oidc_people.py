"""People who use an application that signs them in at the OpenID provider of the tests: a browser at each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
import pytest

from session_middleware.authorities.oidc import OIDCAuthority
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.browser import Answer, Browser
from session_middleware.testing.clock import FakeClock
from session_middleware.testing.stage import Stage
from tests.authorities.oidc_peer import Application, Peer
from tests.authorities.oidc_visitor import Arrival, PageForm, Visitor, certificates

#: One synchronous way of running, one on an event loop; the others do nothing of their own here.
MODES = ["wsgi_mode", "asgi_mode"]


def stage_of(mode: str) -> Stage:
    """Return an empty stage for one way of running an application."""
    return Stage(importlib.import_module(f"tests.modes.{mode}").make, MemoryStore())


def client_for(stage: Stage) -> httpx2.Client | httpx2.AsyncClient:
    """Return a client that leaves no connection open behind a test, for the way of running that a stage has."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    awaited = any(name in stage._make.__module__ for name in ("asgi", "starlette", "fastapi"))
    return (httpx2.AsyncClient if awaited else httpx2.Client)(limits=limits, timeout=20, verify=certificates())


def authority_at(peer: Peer, stage: Stage, application: Application | None = None, **more: Any) -> OIDCAuthority:
    """Return the authority of an application registered with the provider."""
    application = application or peer.shop
    options = {
        "client": client_for(stage),
        "app_url": application.origin,
        "scope": "openid email",
        "claims": ("email",),
        "authentication": application.auth_method,
        "timeout": 20.0,
    }
    return OIDCAuthority(peer.issuer, application.id, application.secret, **{**options, **more})


class Person:
    """Somebody with one browser, at an application and at the provider.

    Attributes:
        app: the browser as the application sees it.
        there: the same as the provider sees it.
    """

    def __init__(self, app: Browser, there: Visitor) -> None:
        self.app, self.there = app, there

    def sign_in(self, path: str = "/me") -> Answer:
        """Open a page, and do what it takes to see it; returns the last answer."""
        return self.go_on(self.app.navigate(path))

    def go_on(self, answer: Answer, most: int = 12) -> Answer:
        """Follow redirects between the application and the provider."""
        for _ in range(most):
            location = answer.header("Location")
            if answer.status != 303 or location is None:
                return answer
            parts = urlsplit(location)
            if parts.netloc and f"{parts.scheme}://{parts.netloc}" != self.app.origin:
                answer = self.arrive(self.there.visit(location))
            else:
                answer = self.app.follow(answer)
        raise AssertionError(f"led in circles, last to {answer.header('Location')}")

    def to_the_provider(self, path: str = "/session/login") -> str:
        """Begin a sign-in; return where it leads at the provider."""
        location = self.app.navigate(path).header("Location")
        assert location is not None
        return location

    def arrive(self, arrival: Arrival) -> Answer:
        """Carry what the provider sent the browser to over to the application."""
        if arrival.method == "GET":
            return self.app.navigate(arrival.target, site="cross-site")
        # A browser sends no Lax cookie with a form that another site's page posts (RFC 6265bis §5.6.3).
        self.app.cookie_header = ""
        answer = self.app.submit(arrival.target, urlencode(arrival.form).encode(), site="cross-site")
        self.app.cookie_header = None
        form = PageForm(answer.body.decode())
        if answer.status != 200 or form.action is None:
            return answer
        return self.app.submit(form.action, urlencode(form.fields).encode(), page="/session/callback")


class PeerClock(FakeClock):
    """The time at the provider, which runs; to advance it is to let time pass there too.

    Attributes:
        ahead: seconds by which the application's clock is ahead of the provider's.
    """

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self._peer, self.ahead = peer, 0.0

    def __call__(self) -> float:
        return self._peer.now() + self.ahead

    def advance(self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0) -> float:
        self._peer.advance(seconds + 60.0 * minutes + 3_600.0 * hours + 86_400.0 * days)
        return self()


@pytest.fixture(params=MODES)
def stage(request: pytest.FixtureRequest, peer: Peer) -> Iterator[Stage]:
    """A stage whose clock is the provider's."""
    stage = stage_of(request.param)
    stage.clock = PeerClock(peer)
    yield stage
    stage.close()


@pytest.fixture
def person(stage: Stage, peer: Peer) -> Iterator[Callable[..., Person]]:
    """Makes people at an application of their own, or at that of another; `settings` are its, the rest the authority's."""
    visitors: list[Visitor] = []

    def make(
        login: str = "alice",
        *,
        like: Person | None = None,
        application: Application | None = None,
        settings: dict[str, Any] | None = None,
        **more: Any,
    ) -> Person:
        where = application or peer.shop
        if like is None:
            driver = stage.app(authority=authority_at(peer, stage, where, **more), **(settings or {}))
        else:
            driver = like.app.driver
        visitors.append(Visitor(peer.issuer, login))
        return Person(Browser(driver, stage.clock, origin=where.origin), visitors[-1])

    yield make
    for visitor in visitors:
        visitor.__exit__()
