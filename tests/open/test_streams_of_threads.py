"""Streams of WSGI, Flask and Django end with their session; `sse=True` gives their pages events (L6, L13, L17)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest
from flask import Flask, Response, stream_with_context

from session_middleware import Settings, session_exempt, session_optional
from session_middleware.adapters import flask as with_flask
from session_middleware.adapters import wsgi as plain
from session_middleware.adapters._wsgi_open import HeldParts
from session_middleware.authorities.local import LocalAuthority
from session_middleware.core.exchange import RouteRules
from session_middleware.reach.retrying import Retrying
from session_middleware.runtime import run_sync
from session_middleware.session import Session
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock

from .driver import KEY
from .test_connections import Counting, Faulty
from .test_events import with_provider
from .test_later import Place, Vouches, served_from_the_jwt

FORMS = ["wsgi", "wsgi-late", "flask"]


@pytest.fixture(autouse=True)
def _nothing_happens_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever pauses here moves the clock: that is the stream alone, not what a process does beside it."""
    monkeypatch.setattr(Retrying, "begin", lambda self: None)


class Shop:
    """An app whose streams count up, under one adapter; its time moves while it waits."""

    def __init__(self, form: str, store: Any = None, **settings: Any) -> None:
        self.form = form
        self.clock = FakeClock()
        self.events: list[Any] = []
        self.closed = 0
        self.step = 10
        self.wait: Callable[[], object] = lambda: None  # what happens between two parts
        given = {"inactivity_timeout": 300, "absolute_lifetime": 900, **settings}
        self.settings = Settings(secret_keys=[KEY], **given)
        self.store = MemoryStore() if store is None else store
        options: dict[str, Any] = {"clock": self.clock, "on_event": self.events.append}
        if form == "flask":
            app = Flask(__name__)
            gate = with_flask.SessionLifetime(app, self.settings, self.store, **options)
            app.add_url_rule("/login", view_func=session_optional(self._flask_login))
            app.add_url_rule("/logout", view_func=self._flask_logout)
            app.add_url_rule("/exempt", view_func=session_exempt(self._flask_opens))
            app.add_url_rule("/<kind>", view_func=self._flask_stream)
            self.engine = gate.engine
            self.app: Any = validator(app)
        else:
            whole = plain.SessionLifetimeMiddleware(session_optional(self._serve), self.settings, self.store, **options)
            self.engine = whole.engine
            self.app = validator(whole)
        self.engine.runtime.pause = self._pause  # type: ignore[method-assign]

    async def _pause(self, seconds: float) -> None:
        self.clock.advance(seconds=seconds)
        self.wait()

    def parts(self) -> Iterator[bytes]:
        try:
            for number in range(1, 1000):
                yield b"%d\n" % number
                self.clock.advance(seconds=self.step)
                self.wait()
        finally:
            self.closed += 1

    def _serve(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        session = plain.session_from(environ)
        path = environ["PATH_INFO"]
        if path in ("/login", "/logout"):
            session.login("alice") if path == "/login" else session.logout()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"done"]
        kind = "text/event-stream" if path == "/events" else "text/plain"
        parts = self._opening(session) if path == "/exempt" else self.parts()
        if self.form == "wsgi-late":
            return self._late(kind, start_response, parts)
        start_response("200 OK", [("Content-Type", kind)])
        return parts

    def _late(self, kind: str, start_response: Any, parts: Iterator[bytes]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", kind)])
        yield from parts

    def _opening(self, session: Session) -> Iterator[bytes]:
        """Give what asks who is there once some of it has gone out."""
        for number, part in enumerate(self.parts(), 1):
            yield part if number < 3 else str(session.is_active).encode()

    def _flask_login(self) -> str:
        with_flask.session_from().login("alice")
        return "done"

    def _flask_logout(self) -> str:
        with_flask.session_from().logout()
        return "done"

    def _flask_opens(self) -> Response:
        return Response(stream_with_context(self._opening(with_flask.session_from())), mimetype="text/plain")

    def _flask_stream(self, kind: str) -> Response:
        return Response(self.parts(), mimetype="text/event-stream" if kind == "events" else "text/plain")

    # --- the server --------------------------------------------------------------------------------------------------

    def environ(self, path: str, cookies: str = "", method: str = "GET") -> dict[str, Any]:
        import io
        import sys

        found = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "app.example",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "app.example",
            "REMOTE_ADDR": "203.0.113.7",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        if cookies:
            found["HTTP_COOKIE"] = cookies
        return found

    def ask(self, path: str, cookies: str = "", **more: Any) -> Answer:
        return Answer(self.app, self.environ(path, cookies, **more))

    def login(self) -> str:
        answer = self.ask("/login")
        answer.read()
        return "; ".join(value.partition(";")[0] for name, value in answer.headers if name == "Set-Cookie")


_given: list[Answer] = []


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    """Close what a test left open, as a server does whose client has gone."""
    yield
    while _given:
        _given.pop().close()


class Answer:
    """A response as a server takes it: part by part, and closed at the end."""

    def __init__(self, app: Any, environ: Any) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
            self.status, self.headers = status, headers
            return lambda part: None

        self.body = app(environ, start)
        self.parts = iter(self.body)
        self.broken = self.is_closed = False
        _given.append(self)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.body.close()

    def read(self, most: int = 10_000) -> list[bytes]:
        """Return the parts that come, so many at most, and note whether the body was broken off."""
        found = []
        try:
            for part in self.parts:
                found.append(part)
                if len(found) == most:
                    return found
        except ConnectionResetError:
            self.broken = True
        self.close()
        return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["events", "text"])
def test_a_stream_ends_by_silence(form: str, kind: str) -> None:
    """At its deadline: events end where they are, any other body is broken off, and the app's iterator is closed."""
    shop = Shop(form)
    answer = shop.ask(f"/{kind}", shop.login())
    assert answer.read() == [b"%d\n" % number for number in range(1, 31)]
    assert answer.broken is (kind == "text")
    assert shop.closed == 1
    assert [e.detail["reason"] for e in shop.events if e.name == "connection_closed"] == ["inactivity"]


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_for_which_nothing_was_due_stops_too(form: str) -> None:
    """A request that is recognised at once, without a question to any rule, is as bound to its session."""
    shop = Shop(form)
    cookies = shop.login()
    shop.clock.advance(seconds=1)
    shop.ask("/text", cookies).read(1)  # is recorded; nothing is due for the next
    answer = shop.ask("/text", cookies)
    assert answer.read(2) == [b"1\n", b"2\n"]
    shop.ask("/logout", cookies).read()
    assert answer.read() == []
    assert answer.broken


@pytest.mark.parametrize("form", FORMS)
def test_a_logout_stops_a_stream(form: str) -> None:
    """A logout in another request stops it at the next part that comes a second later (L13)."""
    shop = Shop(form)
    cookies = shop.login()
    answer = shop.ask("/text", cookies)
    assert answer.read(5) == [b"1\n", b"2\n", b"3\n", b"4\n", b"5\n"]
    shop.ask("/logout", cookies).read()
    assert answer.read() == []
    assert answer.broken


@pytest.mark.parametrize("form", FORMS)
def test_a_stream_that_opens_its_session_late(form: str) -> None:
    """On an exempt route that may be while its parts are made: from then on it belongs to that session (L21)."""
    shop = Shop(form, exempt_paths=("/exempt",))
    cookies = shop.login()
    answer = shop.ask("/exempt", cookies)
    assert answer.read(4) == [b"1\n", b"2\n", b"True", b"True"]
    shop.ask("/logout", cookies).read()
    assert answer.read() == []
    assert answer.broken
    assert shop.ask("/exempt").read(50)[2:] == [b"False"] * 48, "without a session there is nothing to end"


@pytest.mark.parametrize("form", FORMS)
def test_what_another_request_extends_goes_on(form: str) -> None:
    """Activity elsewhere moves the end of a stream too; the stream itself is none (L5, L6)."""
    shop = Shop(form)
    cookies = shop.login()
    answer = shop.ask("/text", cookies)
    assert len(answer.read(25)) == 25
    shop.ask("/text", cookies).read(1)  # left open: a client that goes on reading
    assert len(answer.read()) > 25
    assert answer.broken


@pytest.mark.parametrize("form", FORMS)
def test_a_fast_stream_looks_once_a_second(form: str) -> None:
    """The store is asked at most once a second, however many parts there are."""
    store = Counting()
    shop = Shop(form, store)
    cookies = shop.login()
    shop.step = 0  # no time passes
    loads: list[bytes] = []
    answer = shop.ask("/text", cookies)
    answer.read(1)
    inner = shop.engine.reach.load

    async def counted(key: bytes, *, anew: bool = False) -> Any:
        loads.append(key)
        return await inner(key, anew=anew)

    shop.engine.reach.load = counted  # type: ignore[method-assign]
    assert len(answer.read(500)) == 500
    assert loads == []


@pytest.mark.parametrize("form", FORMS)
def test_a_store_that_is_down_stops_no_stream_early(form: str) -> None:
    """L17: it goes on until the deadline that is known."""
    store = Faulty()
    shop = Shop(form, store)
    answer = shop.ask("/text", shop.login())
    answer.read(1)
    store.down = True
    assert len(answer.read()) == 29
    assert answer.broken


def test_a_stream_for_which_nobody_vouches_goes_on_as_long_as_its_jwt() -> None:
    """L17: it was served from the session JWT alone, and the store is not whom it waits for."""
    vouches = Vouches()
    place = Place(authority=LocalAuthority(vouches))
    x = served_from_the_jwt(place)
    vouches.answer = OSError("gone")
    run_sync(place.engine.open(x, RouteRules(on_unavailable="stale")))
    run_sync(place.engine.close(x))
    assert x.deadlines is not None
    left = int(x.deadlines.ends_at - place.clock())
    assert left > 200
    parts = HeldParts((b"." for _ in range(1000)), place.engine, x, lambda: False)
    for _ in range(left - 1):
        place.clock.advance(seconds=1)
        assert next(parts) == b"."
    place.clock.advance(seconds=1)
    with pytest.raises(ConnectionResetError):
        next(parts)


@pytest.mark.parametrize("form", ["wsgi", "wsgi-late"])
def test_a_stream_without_a_session_is_left_alone(form: str) -> None:
    """Nobody's stream has no session to end with."""
    shop = Shop(form)
    assert len(shop.ask("/text").read()) == 999


def test_a_file_that_the_server_sends_stays_its_own() -> None:
    """What the server's file wrapper was given comes back to the server as it is (PEP 3333)."""

    class Wrapper:
        def __init__(self, file: Any, size: int = 8192) -> None:
            self.file = file

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"file"])

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/login":
            plain.session_from(environ).login("alice")
            start_response("200 OK", [])
            return [b""]
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](None)

    shop = Shop("wsgi")
    whole = plain.SessionLifetimeMiddleware(session_optional(app), shop.settings, shop.store, clock=shop.clock)
    cookies = shop.login()
    for wrapper in (Wrapper, lambda file: Wrapper(file)):
        environ = {**shop.environ("/file", cookies), "wsgi.file_wrapper": wrapper}
        body = whole(environ, lambda *_: lambda part: None)
        assert isinstance(body, Wrapper) is (wrapper is Wrapper)
        assert list(body) == [b"file"]


# --- events --------------------------------------------------------------------------------------------------------------


def told(parts: Iterable[bytes]) -> list[dict[str, Any]]:
    blocks = b"".join(parts).decode().split("\n\n")
    return [json.loads(block.removeprefix("data: ")) for block in blocks if block.startswith("data: ")]


@pytest.mark.parametrize("form", ["wsgi", "flask"])
def test_threads_are_not_taken_unasked(form: str) -> None:
    """Without `sse=True` events answer 204, which ends an EventSource for good."""
    shop = Shop(form)
    answer = shop.ask("/session/events", shop.login())
    assert answer.read() == []
    assert answer.status.startswith("204")


@pytest.mark.parametrize("form", ["wsgi", "flask"])
def test_pages_of_threaded_servers_are_told(form: str) -> None:
    """With `sse=True`: the state at once, news within a second, signs of life, and the end with its reason."""
    store = Counting()
    shop = Shop(form, store, sse=True)
    cookies = shop.login()
    answer = shop.ask("/session/events", cookies)
    assert answer.status.startswith("200")
    assert dict(answer.headers)["Content-Type"] == "text/event-stream; charset=utf-8"
    first = answer.read(1)
    assert told(first)[0]["inactivity_left"] == 300
    assert b"".join(answer.read(3)) == b":\n\n" * 3
    shop.ask("/text", cookies).read(1)
    assert told(answer.read(1))[0]["inactivity_left"] == 314
    writes = len(store.touched)
    rest = answer.read()
    assert told(rest)[-1] == {**told(rest)[-1], "authenticated": False, "reason": "inactivity"}
    assert len(store.touched) == writes
    assert not answer.broken


@pytest.mark.parametrize("form", ["wsgi", "flask"])
def test_events_of_a_store_that_is_down(form: str) -> None:
    """Nothing is told of an end that nobody knows of (L17)."""
    store = Faulty()
    shop = Shop(form, store, sse=True)
    answer = shop.ask("/session/events", shop.login())
    answer.read(1)
    store.down = True
    assert set(answer.read()) == {b":\n\n"}
    assert not answer.broken


@pytest.mark.parametrize("form", ["wsgi", "flask"])
def test_a_cookie_of_the_providers_goes_out_with_the_stream(form: str) -> None:
    """What the provider renews while it is asked reaches the browser here too."""
    shop = Shop(form, sse=True)
    cookies = shop.login()
    with_provider(shop.engine)
    answer = shop.ask("/session/events", cookies)
    answer.read(1)
    assert ("Set-Cookie", "provider=renewed; Path=/") in answer.headers
