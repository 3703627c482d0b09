"""Plain WSGI: a response starts with its first chunk (PEP 3333), and until then nothing stands that it promised (L25)."""

from __future__ import annotations

import gc
import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from session_middleware import Settings, session_optional
from session_middleware.adapters.wsgi import SessionLifetimeMiddleware, session_from
from session_middleware.core.record import SessionRecord
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.reference_store import ReferenceStore
from session_middleware.testing.watched_store import WatchedStore

App = Callable[[dict[str, Any], Any], Iterable[bytes]]

PAGE = [("Content-Type", "text/plain")]


class Site:
    """A WSGI app with sessions, behind a server that sends headers when PEP 3333 says so."""

    def __init__(self, app: App, *, checked: bool = True, store: Any = None) -> None:
        self.store = store or WatchedStore(ReferenceStore())
        settings = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"])
        inner = session_optional(app)
        self.clock = FakeClock()
        self.app = SessionLifetimeMiddleware(inner, settings, self.store, clock=self.clock)
        self.served: App = validator(self.app) if checked else self.app
        self.jar = ""

    def get(self) -> tuple[str, str, str]:
        """Return status, our token cookie and body of a request; cookies that come are kept."""
        environ: dict[str, Any] = {"QUERY_STRING": ""}
        if self.jar:
            environ["HTTP_COOKIE"] = self.jar
        setup_testing_defaults(environ)
        out = io.BytesIO()
        handler = SimpleHandler(io.BytesIO(), out, io.StringIO(), environ, multithread=False)
        handler.run(self.served)
        head, _, body = out.getvalue().decode("latin-1").partition("\r\n\r\n")
        lines = head.split("\r\n")
        pairs = [line.partition(": ")[2].split(";")[0] for line in lines if line.lower().startswith("set-cookie:")]
        if pairs:
            self.jar = "; ".join(pairs)
        token = [pair for pair in pairs if pair.startswith("__Host-session=")]
        return lines[0].partition(" ")[2], "".join(token), body

    def of(self, subject: str) -> SessionRecord:
        """Return the one record of a subject."""
        found: list[SessionRecord] = [r for r in self.store.store.rows.values() if r.subject == subject]
        (record,) = found
        return record


def raises_at_once(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    session_from(environ).login("new")
    start("200 OK", PAGE)
    raise ZeroDivisionError


def raises_in_its_body(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
    session_from(environ).login("new")
    start("200 OK", PAGE)
    if environ:
        raise ZeroDivisionError
    yield b""


def takes_its_answer_back(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    session_from(environ).login("new")
    start("200 OK", PAGE)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        start("500 Sorry", PAGE, sys.exc_info())
    return [b"sorry"]


def takes_its_answer_back_late(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
    yield from takes_its_answer_back(environ, start)


def answers_with_an_error_page(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    session_from(environ).login("new")
    start("500 Sorry", PAGE)
    return [b"sorry"]


#: A framework makes an error page of a view that raised, and we hear of nothing else.
FAILING = [
    raises_at_once,
    raises_in_its_body,
    takes_its_answer_back,
    takes_its_answer_back_late,
    answers_with_an_error_page,
]


def assert_old_outlives(app: App, *, checked: bool) -> None:
    """Sign in, then have the app sign in anew and fail: the first session goes on, the new one does not stand."""

    def first_in_then(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        session = session_from(environ)
        if session.is_active:
            return app(environ, start)
        session.login("old")
        start("200 OK", PAGE)
        return [b"in"]

    site = Site(first_in_then, checked=checked)
    assert site.get()[1]
    status, cookie, _ = site.get()
    assert (status[:3], cookie) == ("500", "")
    assert (site.of("old").ended_at, site.of("new").end_reason) == (None, "abandoned")


@pytest.mark.parametrize("app", FAILING)
def test_a_login_whose_answer_is_never_sent_does_not_stand(app: App) -> None:
    """L25: an app that fails between start_response and its first chunk sets no cookie; the new record is ended."""
    site = Site(app, checked=app is not raises_at_once)
    status, cookie, _ = site.get()
    assert status.startswith("500")
    assert cookie == ""
    assert site.of("new").end_reason == "abandoned"


@pytest.mark.parametrize("app", FAILING)
def test_the_session_that_came_outlives_an_answer_that_is_never_sent(app: App) -> None:
    """L25: the old session ends when the response starts, and this one never does."""
    assert_old_outlives(app, checked=app is not raises_at_once)


def in_a_list(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    session_from(environ).login("new")
    start("200 OK", PAGE)
    return [b"wel", b"come"]


def in_chunks(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
    session_from(environ).login("new")
    start("200 OK", PAGE)
    yield b"wel"
    yield b"come"


def by_write(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    session_from(environ).login("new")
    write = start("200 OK", PAGE)
    write(b"wel")
    write(b"come")
    return []


@pytest.mark.parametrize("app", [in_a_list, in_chunks, by_write])
def test_a_login_goes_out_with_the_first_chunk(app: App) -> None:
    """However the body comes, the cookie is among the headers, once, and the session stands."""
    site = Site(app)
    status, cookie, body = site.get()
    assert (status, body) == ("200 OK", "welcome")
    assert cookie
    assert site.of("new").ended_at is None


@pytest.mark.parametrize("body", [[], (), iter(())])
def test_a_login_goes_out_without_a_body(body: Iterable[bytes]) -> None:
    """A response without a chunk starts at its end."""

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        session_from(environ).login("new")
        start("204 No Content", [])
        return body

    site = Site(app)
    assert site.get()[1]
    assert site.of("new").ended_at is None


def fails_after_a_chunk(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
    session_from(environ).login("new")
    start("200 OK", PAGE)
    yield b"wel"
    raise ZeroDivisionError


def fails_after_a_write(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    session_from(environ).login("new")
    start("200 OK", PAGE)(b"wel")
    raise ZeroDivisionError


@pytest.mark.parametrize("app", [fails_after_a_chunk, fails_after_a_write])
def test_a_login_that_went_out_stands(app: App) -> None:
    """L25: once a chunk has gone out the browser holds the cookie, whatever becomes of the rest."""
    site = Site(app, checked=False)
    status, cookie, _ = site.get()
    assert status == "200 OK"
    assert cookie
    assert site.of("new").ended_at is None


def empty_first_then_raises(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
    session_from(environ).login("new")
    start("200 OK", PAGE)
    yield b""
    yield b""
    raise ZeroDivisionError


def empty_first_then_begins_anew(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
    session_from(environ).login("new")
    start("200 OK", PAGE)
    yield b""
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        start("500 Sorry", PAGE, sys.exc_info())
    yield b"sorry"


def writes_nothing_then_raises(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    session_from(environ).login("new")
    start("200 OK", PAGE)(b"")
    raise ZeroDivisionError


@pytest.mark.parametrize("app", [empty_first_then_raises, empty_first_then_begins_anew, writes_nothing_then_raises])
def test_an_empty_chunk_is_not_the_start_of_a_response(app: App) -> None:
    """PEP 3333: headers go out with the first chunk that is not empty; up to there the login is taken back."""
    assert_old_outlives(app, checked=app is not writes_nothing_then_raises)


@pytest.mark.parametrize("chunks", [[b"", b"", b"x"], [b""], [b"", b"x", b""]])
def test_a_login_goes_out_behind_empty_chunks(chunks: list[bytes]) -> None:
    """With the first chunk that says something, or at the end of the body."""

    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        session_from(environ).login("new")
        start("200 OK", PAGE)
        yield from chunks

    site = Site(app)
    status, cookie, body = site.get()
    assert (status, body) == ("200 OK", b"".join(chunks).decode())
    assert cookie
    assert site.of("new").ended_at is None


def test_an_answer_that_the_server_has_not_sent_yet_can_be_taken_back() -> None:
    """A server that holds headers back lets an app begin anew; the cookie of its first answer is not on the second."""

    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        session_from(environ).login("new")
        start("200 OK", PAGE)
        yield b"wel"
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start("500 Sorry", PAGE, sys.exc_info())
        yield b"sorry"

    site = Site(app)
    answers: list[list[tuple[str, str]]] = []
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        answers.append(headers)
        return lambda chunk: None

    assert b"".join(site.app(environ, start)) == b"welsorry"
    first, second = ([value for name, value in headers if name == "Set-Cookie"] for headers in answers)
    assert first
    assert second == []
    assert site.of("new").end_reason == "abandoned"


def test_a_recognised_request_may_be_answered_anew() -> None:
    """PEP 3333: an app that fails after its start_response answers again, as the server must hear, on the short way too."""

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if not site.jar:
            session_from(environ).login("new")
        start("200 OK", PAGE)
        if not failing:
            return [b"well"]
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start("500 Sorry", PAGE, sys.exc_info())
        return [b"sorry"]

    failing: list[bool] = []
    site = Site(app, store=MemoryStore())
    for _ in range(3):
        assert site.get()[0] == "200 OK"
        site.clock.advance(seconds=1)
    failing.append(True)
    environ: dict[str, Any] = {"HTTP_COOKIE": site.jar}
    setup_testing_defaults(environ)
    heard: list[tuple[str, bool]] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        heard.append((status, exc_info is not None))
        return lambda chunk: None

    assert b"".join(site.app(environ, start)) == b"sorry"
    assert heard == [("200 OK", False), ("500 Sorry", True)]


def test_a_body_that_nobody_asks_for_takes_the_login_back() -> None:
    """A server that closes the body before its first chunk, since the client is gone, has sent no cookie (L25)."""
    site = Site(in_chunks)
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    body: Any = site.app(environ, lambda *answer: print)
    next(iter(body))
    body.close()
    assert site.of("new").ended_at is None

    def held(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        session_from(environ).login("other")
        start("200 OK", PAGE)
        return iter([b"x"])

    site = Site(held)
    body = site.app(environ, lambda *answer: print)
    body.close()
    assert site.of("other").end_reason == "abandoned"


@pytest.mark.parametrize("app", [in_a_list, in_chunks, by_write])
def test_a_store_that_fails_when_the_response_starts(app: App, caplog: pytest.LogCaptureFixture) -> None:
    """L17: the cookie cannot be vouched for, so a 503 goes out in place of the answer, without it."""
    site = Site(app)
    caplog.set_level(logging.CRITICAL, "session_middleware")
    site.store.go_down(writes=False)
    status, cookie, _ = site.get()
    assert (status[:3], cookie) == ("503", "")
    assert site.of("new").end_reason == "abandoned"


def test_a_second_answer_without_a_fault_is_the_servers_to_refuse() -> None:
    """PEP 3333: start_response twice without exc_info is an error; nothing of ours hides it."""

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        session_from(environ).login("new")
        start("200 OK", PAGE)
        start("200 OK", PAGE)
        return []

    status, _, _ = Site(app, checked=False).get()
    assert status.startswith("500")


@pytest.mark.parametrize("kind", [ReferenceStore, MemoryStore])
def test_a_request_leaves_nothing_for_the_garbage_collector(kind: type[ReferenceStore] | type[MemoryStore]) -> None:
    """Environ and exchange hold each other while a request is served and not after it, recognised at once or not."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        session = session_from(environ)
        if session.subject is None:
            session.login("alice")
        start_response("200 OK", PAGE)
        return [b"page"]

    site = Site(app, checked=False, store=kind())
    site.get()

    def serve() -> None:
        environ: dict[str, Any] = {"HTTP_COOKIE": site.jar}
        setup_testing_defaults(environ)
        site.app(environ, lambda status, headers, fault=None: lambda chunk: None)

    site.clock.advance(seconds=1)
    serve()  # is recorded; nothing is due for the others
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            serve()
        assert gc.collect() == 0
    finally:
        gc.enable()
