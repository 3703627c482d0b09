"""A server under PEP 3333 sends headers with the first chunk, which may be long in coming: no cookie is made before (L13, L26)."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from http.cookies import SimpleCookie
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test.utils import override_settings
from django.urls import path
from flask import Flask, Response, request, send_file

from session_middleware import Settings
from session_middleware.adapters import flask
from session_middleware.adapters.wsgi import SessionLifetimeMiddleware, session_from
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.stage import JWT, TOKEN
from session_middleware.testing.watched_store import WatchedStore
from tests.modes.django_settings import OURS, configure

configure()

from session_middleware.adapters import django  # noqa: E402  # needs the settings

SETTINGS = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"], default_policy="optional")

Serve = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Site:
    """An app behind a server that sends headers when PEP 3333 says so, and a browser of one user.

    Attributes:
        meanwhile: what happens while the app makes the first chunk of `/export`.
        jar: the browser's cookies.
    """

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = WatchedStore(MemoryStore())
        self.meanwhile: Callable[[], object] = lambda: None
        self.jar: dict[str, str] = {}
        self.app: Serve

    def rows(self) -> Iterator[bytes]:
        """Make a body whose first chunk takes its time."""
        self.meanwhile()
        yield b"row"

    def ask(self, method: str, path: str, **extra: Any) -> tuple[str, bytes, list[str]]:
        """Return status, body and the Set-Cookie lines of a request; the browser keeps the cookies when the headers come."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "HTTP_HOST": "app.example",
            "wsgi.url_scheme": "https",
            "HTTP_SEC_FETCH_SITE": "same-origin",
            "HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in self.jar.items()),
            **extra,
        }
        setup_testing_defaults(environ)
        answers: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            answers.append((status, headers))
            return lambda chunk: None

        body = self.app(environ, start)
        chunks = iter(body)
        first = next((chunk for chunk in chunks if chunk), b"")
        status, headers = answers[-1]
        lines = [value for name, value in headers if name == "Set-Cookie"]
        for line in lines:
            for name, morsel in SimpleCookie(line).items():
                self.jar.pop(name, None)
                if morsel["max-age"] != "0":
                    self.jar[name] = morsel.value
        whole = first + b"".join(chunks)
        assert len(answers) == 1, "start_response was called again"
        close = getattr(body, "close", None)
        if close is not None:
            close()
        return status, whole, lines

    def who(self) -> bytes:
        return self.ask("GET", "/me")[1]

    def sign_in(self) -> None:
        assert self.ask("POST", "/login")[0].startswith("200")
        assert self.who() == b"alice"

    def due(self, what: str) -> None:
        """Sign in, and let the next request be one at which a cookie is to be replaced."""
        self.sign_in()
        if what == "renewal":
            for _ in range(2):
                self.clock.advance(seconds=1300)
                self.who()
            self.clock.advance(seconds=1300)
        else:
            self.clock.advance(seconds=260)


def plain() -> Site:
    """Plain WSGI."""
    site = Site()

    def view(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        session = session_from(environ)
        path = environ["PATH_INFO"]
        if path == "/login":
            session.login("alice")
        if path == "/claims":
            session.update_claims(plan="gold")
        start("200 OK", [("Content-Type", "text/plain")])
        return site.rows() if path in ("/export", "/claims") else [str(session.subject).encode()]

    site.app = SessionLifetimeMiddleware(view, SETTINGS, site.store, clock=site.clock)
    return site


def flasks(headers: dict[str, str]) -> Site:
    """Flask."""
    site = Site()
    app = Flask("late")
    flask.SessionLifetime(app, SETTINGS, site.store, clock=site.clock)

    @app.post("/login")
    def login() -> str:
        flask.session_from().login("alice")
        return "in"

    @app.get("/me")
    def me() -> str:
        return str(flask.session_from().subject)

    @app.get("/export")
    def export() -> Response:
        return Response(site.rows(), headers=headers)

    @app.get("/claims")
    def claims() -> Response:
        flask.session_from().update_claims(plan="gold")
        return Response(site.rows(), headers=headers)

    @app.get("/file")
    def file() -> Response:
        if request.query_string:
            flask.session_from().update_claims(plan="gold")
        return send_file(io.BytesIO(b"a file"), mimetype="text/plain")

    site.app = app.wsgi_app
    return site


class DjangoSite(Site):
    """Django, with the settings of this site for each request."""

    def __init__(self) -> None:
        super().__init__()
        routes = (
            path("login", self._login),
            path("me", lambda request: HttpResponse(str(django.session_from(request).subject))),
            path("export", lambda request: StreamingHttpResponse(self.rows())),
            path("late-login", self._late_login),
        )
        lifetime = {"settings": SETTINGS, "store": self.store, "clock": self.clock}
        self._settings = {"MIDDLEWARE": [OURS], "ROOT_URLCONF": routes, "SESSION_LIFETIME": lifetime}
        with override_settings(**self._settings):
            self.app = WSGIHandler()

    def ask(self, method: str, path: str, **extra: Any) -> tuple[str, bytes, list[str]]:
        with override_settings(**self._settings):
            return super().ask(method, path, **extra)

    def _login(self, request: HttpRequest) -> HttpResponse:
        django.session_from(request).login("alice")
        return HttpResponse("in")

    def _late_login(self, request: HttpRequest) -> StreamingHttpResponse:
        django.session_from(request).login("bob")
        return StreamingHttpResponse(self.rows())


SITES: dict[str, Callable[[], Site]] = {
    "wsgi": plain,
    "flask": lambda: flasks({}),
    "flask_of_known_length": lambda: flasks({"Content-Length": "3"}),
    "django": DjangoSite,
}


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> Site:
    """Return a site of each kind."""
    return SITES[request.param]()


DUE = pytest.mark.parametrize("what", ["renewal", "jwt"])


@DUE
def test_a_slow_first_chunk_does_not_wipe_a_login_made_meanwhile(what: str, site: Site) -> None:
    """L26: the headers go out after those of the login, so they carry no cookie of the session that it replaced."""
    site.due(what)
    site.meanwhile = site.sign_in
    assert site.ask("GET", "/export")[1:] == (b"row", [])
    for _ in range(6):
        assert site.who() == b"alice"
        site.clock.advance(seconds=60)


@DUE
def test_a_slow_first_chunk_does_not_bring_cookies_back_after_a_logout(what: str, site: Site) -> None:
    """L13: the headers go out after those of the logout, so they carry no cookie of ours."""
    site.due(what)
    site.meanwhile = lambda: site.ask("POST", "/session/logout")
    assert site.ask("GET", "/export")[1:] == (b"row", [])
    assert site.jar == {}


@pytest.mark.parametrize(("what", "names"), [("renewal", [TOKEN, JWT]), ("jwt", [JWT])])
def test_what_is_due_goes_out_with_the_first_chunk(what: str, names: list[str], site: Site) -> None:
    """L9, L11: a streamed answer carries the new cookies as any other does."""
    site.due(what)
    if isinstance(site, DjangoSite):
        assert site.ask("GET", "/export")[2] == []  # it would be made too early, so the next answer carries it
        target = "/me"
    else:
        target = "/export"
    assert [line.partition("=")[0] for line in site.ask("GET", target)[2]] == names
    assert site.who() == b"alice"


def test_django_signs_in_with_a_stream() -> None:
    """L25: the cookie of a login goes out with its own response, streamed or not."""
    site = DjangoSite()
    site.sign_in()
    assert len(site.ask("GET", "/late-login")[2]) == 2
    assert site.who() == b"bob"


@pytest.mark.parametrize("kind", ["wsgi", "flask"])
def test_claims_that_cannot_be_saved_when_a_stream_starts_are_a_503(kind: str) -> None:
    """L17: they are saved with the first chunk; nothing has been sent before, and nothing of the app's is after."""
    site = SITES[kind]()
    site.sign_in()
    site.meanwhile = site.store.go_down
    status, body, lines = site.ask("GET", "/claims")
    assert (status[:3], b"row" in body, lines) == ("503", False, [])


def answering(body: Callable[[Any], Iterable[bytes]]) -> tuple[Site, list[list[Any]]]:
    """Return a site whose session is due for a renewal, and what its server hears; `body` is given start_response."""
    site, heard = plain(), list[list[Any]]()
    site.due("renewal")

    def view(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        return body(start)

    view.__dict__.update(vars(site.app.app))  # type: ignore[attr-defined]  # the middleware's
    site.app.app = view  # type: ignore[attr-defined]
    inner = site.app

    def listening(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        def hear(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            heard.append([status, len(exc_info)])
            return start(status, headers, *exc_info)

        return inner(environ, hear)

    site.app = listening
    return site, heard


def test_an_answer_that_is_held_can_be_taken_back() -> None:
    """PEP 3333: the app answers anew before its first chunk, and the server hears of the second answer only."""

    def body(start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start("500 Sorry", [], sys.exc_info())
        yield b"sorry"

    site, heard = answering(body)
    status, whole, lines = site.ask("GET", "/")
    assert (status, whole, len(lines)) == ("500 Sorry", b"sorry", 2)
    assert heard == [["500 Sorry", 0]]


@pytest.mark.parametrize("kind", ["wsgi", "flask"])
def test_a_file_that_the_server_sends_by_itself_stays_one(kind: str) -> None:
    """PEP 3333, "Optional Platform-Specific File Handling": its body is at hand, so its headers wait for nothing."""

    def body(start: Any) -> Any:
        start("200 OK", [])
        return FileWrapper(io.BytesIO(b"a file"))

    site = answering(body)[0] if kind == "wsgi" else flasks({})
    if kind == "flask":
        site.due("renewal")
    served, given = site.app, list[object]()

    def noting(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        answer = served({**environ, "wsgi.file_wrapper": FileWrapper}, start)
        given.append(type(answer))
        return answer

    site.app = noting
    _, whole, lines = site.ask("GET", "/file")
    assert (whole, len(lines), given) == (b"a file", 2, [FileWrapper])


def test_a_file_of_a_session_whose_claims_cannot_be_saved_is_a_503() -> None:
    """L17: nothing of the answer has been sent."""
    site = flasks({})
    site.sign_in()
    site.store.go_down()
    status, body, lines = site.ask("GET", "/file", **{"wsgi.file_wrapper": FileWrapper, "QUERY_STRING": "changed"})
    assert (status[:3], b"file" in body, lines) == ("503", False, [])
