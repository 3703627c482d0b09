"""Shop: the Flask app of these tests, with its store, clock and events."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from session_middleware import (
    Settings,
    session_optional,
)
from session_middleware.adapters.flask import SessionLifetime, session_from
from session_middleware.events import SessionEvent
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
OTHER_KEY = "9f8e7d6c5b4a39281706f5e4d3c2b1a0ff"
HTTPS = "https://app.example"


class Shop:
    """An app with our extension, its store, clock and events."""

    def __init__(self, *, build: Callable[[Flask], None] | None = None, store: Any = None, **settings: Any) -> None:
        self.app = Flask("shop")
        self.app.config["SECRET_KEY"] = KEY
        self.store = MemoryStore() if store is None else store
        self.clock = FakeClock()
        self.events: list[SessionEvent] = []
        if build is not None:
            build(self.app)
        self.lifetime = SessionLifetime(
            self.app, Settings(**settings), self.store, clock=self.clock, on_event=self.events.append
        )

        @self.app.route("/sign-in/<subject>", methods=["GET", "POST"])
        @session_optional
        def sign_in(subject: str) -> str:
            session_from().login(subject)
            return "in"

    def client(self, subject: str | None = None) -> FlaskClient:
        client = self.app.test_client()
        if subject is not None:
            assert client.get(f"/sign-in/{subject}", base_url=HTTPS).status_code == 200
        return client

    def status(self, path: str, subject: str | None = None, **given: Any) -> int:
        return self.client(subject).open(path, base_url=HTTPS, **given).status_code

    def lost(self) -> list[tuple[str, str]]:
        return [(e.detail["endpoint"], e.detail["marked"]) for e in self.events if e.name == "marker_unreachable"]


def bare(view: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that forgets functools.wraps."""

    def hiding(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return hiding


def wrapping(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def outer(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return outer


def hello() -> Callable[[], str]:
    """A new view: markers stay on the function they tag."""
    return lambda: "hello"
