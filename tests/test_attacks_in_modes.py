"""Attacks in every mode: odd cookies, targets, hosts and mounts, secrets in logs, and what a rule still leaves open."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from session_middleware import Settings
from session_middleware.adapters import asgi, flask, starlette, wsgi
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing import FakeClock
from session_middleware.testing.browser import Answer
from session_middleware.testing.stage import JWT, KEY, TOKEN, Stage, login

from .adapters.flask_wiki import HTTPS, Wiki, who
from .modes.asgi_mode import ASGIDriver
from .modes.django_settings import OURS, configure, lifetime
from .modes.wsgi_mode import WSGIDriver
from .test_attacks import is_path

MODES = ["wsgi", "asgi", "asgi_trio", "flask", "starlette", "django_wsgi", "django_asgi"]


@pytest.mark.parametrize("mode", ["wsgi", "asgi", "flask", "starlette", "django_wsgi", "django_asgi"])
@pytest.mark.parametrize("mount", ["/caf\u00e9", "/\u65e5\u672c"], ids=["latin", "beyond latin"])
def test_a_mount_beyond_ascii_is_encoded(mode: str, mount: str) -> None:
    """L15, RFC 3986 §2.1: headers carry percent-encoded paths only, or servers answer 500."""
    stage = Stage(importlib.import_module(f"tests.modes.{mode}_mode").make, MemoryStore())
    visitor = stage.visitor()
    driver: Any = visitor.driver
    driver.app = mounted(driver.app, mount, asynchronous="asgi" in mode or mode == "starlette")
    answer = visitor.navigate("/me")
    assert answer.status == 303
    assert is_path(answer.header("Location") or "")
    stage.close()


def mounted(app: Any, mount: str, *, asynchronous: bool) -> Any:
    """Return an app as it stands below a mount that no driver need know."""
    if asynchronous:
        return lambda scope, receive, send: app(
            {**scope, "root_path": mount, "path": mount + scope["path"]}, receive, send
        )
    return lambda environ, start: app({**environ, "SCRIPT_NAME": mount.encode().decode("latin-1")}, start)


# --- every mode: cookies, targets, hosts, logs -------------------------------------------------------------------------------


@pytest.fixture(params=MODES)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A stage in each mode, over a SQLite file."""
    store = SQLiteStore(tmp_path / "sessions.db")
    stage = Stage(importlib.import_module(f"tests.modes.{request.param}_mode").make, store)
    yield stage
    stage.close()
    store.close()


#: Cookie headers, "%s" being a good token, and whether they sign in.
COOKIES = {
    "  __Host-session=%s  ;": True,
    "a=1;;; =; __Host-session=%s": True,
    "\x80\xff=1; __Host-session=%s": True,
    "$Version=1; __Host-session=%s": True,
    "a=" + "b" * 20_000 + "; __Host-session=%s": True,
    "__Host-session=%s; __Host-session_jwt=\x80": True,
    "__Host-session=%s; __Host-session_jwt=" + "." * 4_000: True,
    "__Host-session=%s; __Host-session_jwt=a; __Host-session_jwt=b": False,
    '__Host-session="%s"': False,
    "__Host-session=%s, a=1": False,
    "__Host-session=%s\x7f": False,
    "__Host-session=\xed\xa0\x80": False,
    "__host-session=%s": False,
    "__HOST-session=%s": False,
    "\xa0__Host-session=%s": False,
    "=__Host-session=%s": False,
    "a=__Host-session=%s": False,
    "__Host-session=v1." + "A" * 32 + ".999999999." + "A" * 43: False,
}


def test_odd_cookie_headers_read_the_same_everywhere(stage: Stage) -> None:
    """L10, RFC 6265bis §5.8: no framework's own idea of a cookie lets a token in or breaks the request."""
    browser = stage.signed_in()
    token = browser.jar[TOKEN]
    for header, good in COOKIES.items():
        browser.cookie_header = header.replace("%s", token)
        answer = browser.fetch("/me")
        assert answer.status == (200 if good else 401), header[:60]


TARGETS = [
    "//evil.test",
    "//evil.test/me",
    "///me",
    "/%5cevil.test",
    "/%2f%2fevil.test/",
    "/%0d%0aSet-Cookie:x=1",
    "/me?x=%0d%0aA:b",
    "/%ff%fe",
    "/%00",
    "/%E2%80%A8",
    "/.//evil.test",
    "/session/../me",
    "/session/%2e%2e/me",
    "/session//status",
    "/session/status/",
    "/sessionx",
    "/session",
    "/Session/status",
    "/session/list//end",
    "/exempt/../me",
    "/exempt%2f..%2fme",
    "/login/../me",
    "/login;x",
    "/login%2f",
    "/LOGIN",
    "/me/",
    "/" + "a" * 5_000,
    "/me?" + "a" * 5_000,
]


def test_odd_targets_open_nothing_and_lead_nowhere_else(stage: Stage) -> None:
    """L15, L21, ASVS 3.7.2, 4.2.4: no page, no other host, no control character and no 500 for who is not signed in."""
    visitor = stage.visitor()
    for target in TARGETS:
        for ask in (visitor.navigate, visitor.fetch, visitor.htmx):
            unharmed(ask(target), target)


def test_odd_hosts_lead_nowhere_else(stage: Stage) -> None:
    """ASVS 3.7.2: neither Host nor Referer nor HX-Current-URL names where a refusal leads."""
    driver = stage.app()
    for host in ("evil.test", "", "app.example@evil.test", "evil.test/x?y", "[::1", "app.example:99999"):
        page = f"https://{host}//evil.test"
        for sent in (
            [("Sec-Fetch-Mode", "navigate"), ("Referer", page)],
            [("Accept", "text/html"), ("X-Forwarded-Host", "evil.test"), ("X-Forwarded-Prefix", "//evil.test")],
            [("HX-Request", "true"), ("HX-Current-URL", page)],
        ):
            for method in ("GET", "POST"):
                unharmed(driver.request(method, "/me", [("Host", host), *sent]), host)


def unharmed(answer: Answer, what: str) -> None:
    """Check that an answer lets nobody in and leads nowhere else."""
    assert answer.status in (301, 303, 308, 400, 401, 403, 404, 405), what
    for name, value in answer.headers:
        assert value.isprintable(), (what, name)
        if name.lower() in ("location", "hx-redirect"):
            assert is_path(value.removeprefix("https://app.example")), (what, value)
    assert answer.set_cookies == []


def test_no_secret_in_logs_or_bodies(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """ASVS 16.2.5, 3.3.4: with the root logger at DEBUG no token, JWT or key appears, nor in anything but Set-Cookie."""
    caplog.set_level(logging.DEBUG)
    browser = stage.signed_in()
    secrets = {KEY}

    def did(answer: Answer) -> None:
        secrets.update(browser.jar[name] for name in (TOKEN, JWT) if name in browser.jar.names)
        others = [(name, value) for name, value in answer.headers if name.lower() != "set-cookie"]
        shown = repr(others) + answer.body.decode("latin-1")
        assert not [secret for secret in secrets if secret in shown]

    for target in ("/me", "/open", "/fail", "/nowhere", "/session/status", "/session/list", "/session/jwks.json"):
        did(browser.navigate(target))
        did(browser.fetch(target))
    did(browser.submit("/step-up"))
    did(browser.submit('/claims?set={"a":1}'))
    did(browser.fetch("/session/refresh", "POST"))
    did(browser.fetch("/session/continue", "POST", site="cross-site"))
    did(browser.submit("/login-then-fail?subject=bob"))
    forged = browser.twin()
    forged.jar.put(TOKEN, browser.jar[TOKEN][:-1])
    did(forged.navigate("/me"))
    stage.clock.advance(4_000)
    did(browser.navigate("/me"))
    did(login(browser))
    stage.store.go_down()
    did(browser.navigate("/me"))
    did(browser.submit("/sign-out"))
    logged = "\n".join(f"{record.getMessage()} {record.exc_text} {record.__dict__!r}" for record in caplog.records)
    assert "session_use_after_end" in logged or "session_ended" in logged
    assert not [secret for secret in secrets if secret in logged]


# --- preflights, and what is still open ----------------------------------------------------------------------------------------


PREFLIGHT = [
    ("Host", "app.example"),
    ("Origin", "https://evil.test"),
    ("Access-Control-Request-Method", "GET"),
]


@pytest.mark.parametrize("mode", ["wsgi", "asgi", "flask", "starlette", "django"])
def test_a_preflight_runs_no_protected_view(mode: str) -> None:
    """ASVS 8.2.1: anybody can send OPTIONS with two headers, so a view that would answer them is judged as for GET."""
    ran: list[str] = []
    PREFLIGHTED[mode](ran).request("OPTIONS", "/secret", PREFLIGHT)
    assert ran == []


def preflighted_wsgi(ran: list[str]) -> Any:
    def app(environ: Any, start: Any) -> list[bytes]:
        ran.append("view")
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"secret"]

    return WSGIDriver(wsgi.SessionLifetimeMiddleware(app, Settings(secret_keys=[KEY]), MemoryStore()))


def preflighted_asgi(ran: list[str]) -> Any:
    return ASGIDriver(
        asgi.SessionLifetimeMiddleware(secret_of(ran), Settings(secret_keys=[KEY]), MemoryStore()), run, lambda: None
    )


def preflighted_starlette(ran: list[str]) -> Any:
    ours = Middleware(starlette.SessionLifetimeMiddleware, settings=Settings(secret_keys=[KEY]), store=MemoryStore())
    return ASGIDriver(Starlette(routes=[Mount("/", secret_of(ran))], middleware=[ours]), run, lambda: None)


def secret_of(ran: list[str]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        ran.append("view")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"secret"})

    return app


def run(call: Any, *arguments: Any) -> Any:
    return asyncio.run(call(*arguments))


def preflighted_flask(ran: list[str]) -> Any:
    app = Flask("preflighted")

    def view() -> str:
        ran.append("view")
        return "secret"

    app.add_url_rule("/secret", "secret", view, methods=["GET", "OPTIONS"])
    flask.SessionLifetime(app, Settings(secret_keys=[KEY]), MemoryStore())
    return WSGIDriver(app)


def preflighted_django(ran: list[str]) -> Any:
    configure()
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest, HttpResponse
    from django.test.utils import override_settings
    from django.urls import path

    def secret(request: HttpRequest) -> HttpResponse:
        ran.append("view")
        return HttpResponse("secret")

    class Handler(WSGIHandler):
        def get_response(self, request: HttpRequest) -> Any:
            request.urlconf = (path("secret", secret),)  # type: ignore[assignment]  # any sequence of patterns
            return super().get_response(request)

    given = lifetime(Settings(secret_keys=[KEY]), MemoryStore(), clock=FakeClock(), on_event=(), authority=None)
    with override_settings(MIDDLEWARE=[OURS], SESSION_LIFETIME=given):
        return WSGIDriver(Handler())


PREFLIGHTED = {
    "wsgi": preflighted_wsgi,
    "asgi": preflighted_asgi,
    "starlette": preflighted_starlette,
    "flask": preflighted_flask,
    "django": preflighted_django,
}


def test_a_copy_of_an_adopted_flask_session_is_worth_nothing_after_logout() -> None:
    """L23: a framework session from before our time gets a session of ours once, also where it lives in a cookie."""
    wiki = Wiki(adopt_existing_until="2027-01-20")
    serializer = SecureCookieSessionInterface().get_signing_serializer(wiki.app)
    assert serializer is not None
    old = serializer.dumps({"_user_id": "alice", "_fresh": True})
    client, thief = wiki.client(), wiki.client()
    for each in (client, thief):
        each.set_cookie("session", str(old), domain="app.example")
    assert who(client) == "alice"
    client.post("/logout", base_url=HTTPS)
    assert who(thief) == "None"
