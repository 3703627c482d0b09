"""Wiki: an app with Flask-Login, as such apps are, wrapped."""

from __future__ import annotations

from typing import Any

import flask_login
from flask import Flask, request
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user, logout_user

from session_middleware import Settings
from session_middleware.adapters.flask import SessionLifetime
from session_middleware.events import SessionEvent
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
HTTPS = "https://app.example"


class User(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    def __init__(self, id: str) -> None:
        self.id = id


class Store(MemoryStore):
    """A store that can be switched off."""

    down = False

    def load(self, *args: Any) -> Any:
        if self.down:
            raise OSError("down")
        return super().load(*args)

    def create(self, *args: Any) -> Any:
        if self.down:
            raise OSError("down")
        return super().create(*args)

    def add_once(self, *args: Any) -> Any:
        if self.down:
            raise OSError("down")
        return super().add_once(*args)

    def end(self, *args: Any) -> Any:
        if self.down:
            raise OSError("down")
        return super().end(*args)

    def holds(self, record: Any) -> bool:
        return not self.down and super().holds(record)


class Wiki:
    """An app that has used Flask-Login for years; nothing in its views knows of us."""

    def __init__(self, *, login_first: bool = True, store: Any = None, **settings: Any) -> None:
        self.app = app = Flask("wiki")
        app.config["SECRET_KEY"] = KEY
        self.users = {"alice", "bob"}
        self.store, self.clock = store or Store(), FakeClock()
        self.events: list[SessionEvent] = []
        self.manager = LoginManager()
        self.manager.login_view = "login"
        self.manager.user_loader(lambda id: User(id) if id in self.users else None)

        def wrap() -> SessionLifetime:
            return SessionLifetime(app, Settings(**settings), self.store, clock=self.clock, on_event=self.events.append)

        if login_first:
            self.manager.init_app(app)
            self.lifetime = wrap()
        else:
            self.lifetime = wrap()
            self.manager.init_app(app)

        @app.route("/login", methods=["GET", "POST"])
        def login() -> str:
            if request.method == "POST":
                user = User(request.form["user"])
                assert login_user(user, remember="remember" in request.form, fresh="stale" not in request.form)
            return "login"

        @app.get("/who")
        def who() -> str:
            return str(current_user.get_id())

        @app.get("/private")
        @login_required
        def private() -> str:
            return f"private of {current_user.get_id()}"

        @app.get("/sensitive")
        @flask_login.fresh_login_required
        def sensitive() -> str:
            return "sensitive"

        @app.post("/confirm")
        def confirm() -> str:
            flask_login.confirm_login()
            return str(current_user.get_id())

        @app.post("/logout")
        def logout() -> str:
            logout_user()
            return str(current_user.get_id())

    def client(self, user: str | None = None, **form: str) -> FlaskClient:
        client = self.app.test_client()
        if user is not None:
            self.login(client, user, **form)
        return client

    def login(self, client: FlaskClient, user: str, **form: str) -> None:
        assert client.post("/login", base_url=HTTPS, data={"user": user, **form}).status_code == 200


def who(client: FlaskClient, path: str = "/who", **given: Any) -> str:
    return client.get(path, base_url=HTTPS, **given).text


def drop(client: FlaskClient, *names: str) -> None:
    for name in names:
        client.delete_cookie(name, domain="app.example")


def move(name: str, source: FlaskClient, target: FlaskClient) -> None:
    cookie = source.get_cookie(name, "app.example")
    assert cookie is not None
    target.set_cookie(name, cookie.value, domain="app.example")


OURS = ("__Host-session", "__Host-session_jwt")
