"""The server that stand-ins are met through: real connections, kept alive, closed cleanly, silent."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit
from wsgiref.types import StartResponse

import pytest

from session_middleware.testing.stand_ins import served


def mirror(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Say what came."""
    seen = [environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], environ.get("HTTP_COOKIE", "")]
    body = "|".join(seen).encode() + b"|" + environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    return [body]


def connection_to(base_url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", urlsplit(base_url).port, timeout=10)


def test_a_request_and_its_answer_arrive_whole() -> None:
    """Method, decoded path, query, several Cookie headers and body reach the app; each Set-Cookie line comes back."""
    with served(mirror) as base_url:
        client = connection_to(base_url)
        client.putrequest("PATCH", "/a%20b?c=%20d")
        for name, value in [("Cookie", "x=1"), ("Cookie", "y=2"), ("Content-Length", "4")]:
            client.putheader(name, value)
        client.endheaders(b"body")
        answer = client.getresponse()
        assert answer.read() == b"PATCH|/a b|c=%20d|x=1; y=2|body"
        assert answer.msg.get_all("Set-Cookie") == ["a=1", "b=2"]
        client.close()


def test_a_connection_is_kept_alive() -> None:
    """Two requests travel over one connection, also after a response without a body."""
    seen: list[tuple[str, int]] = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        seen.append(environ["REMOTE_ADDR"])
        start_response("204 No Content", [])
        return []

    with served(app) as base_url:
        client = connection_to(base_url)
        client.request("GET", "/")
        assert client.getresponse().read() == b""
        kept = client.sock
        client.request("HEAD", "/")
        assert client.getresponse().read() == b""
        assert client.sock is kept
        assert len(seen) == 2
        client.close()


def test_the_end_does_not_wait_for_an_idle_client() -> None:
    """The block ends at once while a client keeps its connection open, and the port is free again."""
    with served(mirror) as base_url:
        client = connection_to(base_url)
        client.request("GET", "/")
        client.getresponse().read()
        before = time.monotonic()
    assert time.monotonic() - before < 5
    client.close()
    with served(mirror, port=urlsplit(base_url).port or 0) as again:
        assert again == base_url


def test_the_end_waits_for_a_request_that_is_being_answered() -> None:
    """A request that has reached the app is answered although the block has ended meanwhile."""
    arrived, go_on = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        arrived.set()
        assert go_on.wait(10)
        return mirror(environ, start_response)

    with served(app) as base_url:
        client = connection_to(base_url)
        client.request("GET", "/late")
        assert arrived.wait(10)
        threading.Timer(0.1, go_on.set).start()
    assert client.getresponse().read() == b"GET|/late|||"
    client.close()


def test_an_app_can_hang_up() -> None:
    """A ConnectionError in the app closes the connection without an answer, and is nobody's fault."""

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        raise ConnectionResetError

    with served(app) as base_url:
        client = connection_to(base_url)
        client.request("GET", "/")
        with pytest.raises(http.client.RemoteDisconnected):
            client.getresponse()
        client.close()


def test_a_fault_of_the_app_is_told() -> None:
    """An exception of the app is answered 500 and raised where the block ends."""

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        raise ZeroDivisionError("of the app")

    def ask() -> None:
        with served(app) as base_url:
            client = connection_to(base_url)
            client.request("GET", "/")
            assert client.getresponse().status == 500
            client.close()

    with pytest.raises(ZeroDivisionError, match="of the app"):
        ask()


def test_it_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither a request nor a malformed one writes a line."""
    with served(mirror) as base_url:
        client = connection_to(base_url)
        client.request("GET", "/")
        client.getresponse().read()
        client.close()
        client.request("POST", "/", headers={"Transfer-Encoding": "chunked"})
        assert client.getresponse().status == 411
        client.close()
    assert capfd.readouterr() == ("", "")
