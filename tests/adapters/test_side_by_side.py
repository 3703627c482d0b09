"""An app of another framework mounted in a Starlette app, each with our middleware and its own login: one session."""

from __future__ import annotations

from typing import Any

from asgiref.wsgi import WsgiToAsgi
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from session_middleware import Settings, session_optional
from session_middleware.adapters import flask, starlette
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


def shop(clock: FakeClock, **options: Any) -> TestClient:
    """Return a browser before a Starlette app with a Flask app at /wiki; the options are the outer app's."""
    store = MemoryStore()
    wiki = Flask("wiki")
    flask.SessionLifetime(wiki, Settings(secret_keys=[KEY]), store, clock=clock)

    @wiki.get("/")
    def read() -> str:
        return f"wiki {flask.session_from().subject}"

    @wiki.post("/login")
    @session_optional
    def log_in() -> str:
        flask.session_from().login("alice")
        return "welcome"

    async def home(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"shop {starlette.session_from(request).subject}")

    ours = Middleware(
        starlette.SessionLifetimeMiddleware, settings=Settings(secret_keys=[KEY], **options), store=store, clock=clock
    )
    app = Starlette(routes=[Route("/", home), Mount("/wiki", WsgiToAsgi(wiki))], middleware=[ours])
    return TestClient(app, base_url="https://testserver", headers=PAGE, follow_redirects=False)


def test_an_exempt_mount_is_judged_by_its_own_middleware() -> None:
    """Each sends strangers to its own login, with a way back below the mount (L15); a login in one counts in both (L21)."""
    clock = FakeClock()
    client = shop(clock, exempt_paths=["/wiki/*"])
    assert client.get("/").headers["Location"] == "/login?return_to=/"
    assert client.get("/wiki/?page=2").headers["Location"] == "/wiki/login?return_to=/wiki/%3Fpage%3D2"
    client.post("/wiki/login")
    assert (client.get("/wiki/").text, client.get("/").text) == ("wiki alice", "shop alice")
    client.post("/wiki/session/logout")
    assert (client.get("/wiki/").status_code, client.get("/").status_code) == (303, 303)


def test_judged_by_both_it_gets_one_cookie_of_each_name() -> None:
    """Both find the session due for renewal, and the response carries one token (L11, L18)."""
    clock = FakeClock()
    client = shop(clock, exempt_paths=["/wiki/login"])
    assert client.get("/wiki/").headers["Location"] == "/login?return_to=/wiki/"
    client.post("/wiki/login")
    clock.advance(minutes=50)
    client.get("/wiki/")
    clock.advance(minutes=50)
    answer = client.get("/wiki/")
    names = [line.partition("=")[0] for line in answer.headers.get_list("Set-Cookie")]
    assert (answer.text, sorted(names)) == ("wiki alice", ["__Host-session", "__Host-session_jwt"])
    assert client.get("/wiki/").text == "wiki alice"
