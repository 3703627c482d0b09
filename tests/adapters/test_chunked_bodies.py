"""Bodies in chunks, sent to our endpoints through WSGI: read where the server says that they end, else refused with 411."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from typing import Any

import pytest

from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.browser import Answer, Browser
from session_middleware.testing.stage import Stage
from tests.modes.wsgi_mode import WSGIDriver


class InChunks:
    """Sends every body in chunks, to a server like gunicorn (which terminates the input) or one that leaves it open."""

    def __init__(self, driver: WSGIDriver) -> None:
        self.driver = driver
        self.terminated = True
        self.more: dict[str, Any] = {}
        usual = driver._environ

        def environ(*request: Any) -> dict[str, Any]:
            made = usual(*request)
            if made.pop("CONTENT_LENGTH", None):
                made |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": Slowly(made["wsgi.input"]), **self.more}
                if self.terminated:
                    made["wsgi.input_terminated"] = True
            return made

        driver._environ = environ  # type: ignore[method-assign]

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        return self.driver.request(method, target, headers, body)

    def close(self) -> None:
        self.driver.close()


class Slowly:
    """Gives a body in parts as they come, as a socket may."""

    def __init__(self, whole: io.BytesIO) -> None:
        self.whole = whole

    def read(self, size: int) -> bytes:
        return self.whole.read(min(size, 40_000))

    def readline(self, *size: int) -> bytes:
        return self.whole.readline(*size)

    def readlines(self, *size: int) -> list[bytes]:
        return self.whole.readlines(*size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.whole)


@pytest.fixture(params=["wsgi_mode", "flask_mode", "django_wsgi_mode"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    mode: Any = importlib.import_module(f"tests.modes.{request.param}")
    stage = Stage(lambda *given, **more: InChunks(mode.make(*given, **more)), MemoryStore())
    yield stage
    stage.close()


def carry_on(browser: Browser, body: bytes) -> Answer:
    return browser.fetch("/session/continue", "POST", body, headers=[("Content-Type", "application/json")])


def test_a_body_in_chunks_is_read(stage: Stage) -> None:
    """The minutes asked for are the minutes given."""
    browser = stage.signed_in()
    assert carry_on(browser, b'{"minutes": 10}').json["inactivity_left"] == 600


def test_a_body_in_chunks_may_not_be_longer_than_others(stage: Stage) -> None:
    """64 KiB are read and no more."""
    browser = stage.signed_in()
    assert carry_on(browser, b'{"minutes": 10}' + b" " * 65_000).status == 200
    assert carry_on(browser, b" " * 70_000).status == 413


@pytest.mark.parametrize("more", [{}, {"CONTENT_LENGTH": "15"}], ids=["", "with a length"])
def test_a_body_without_an_end_is_refused(stage: Stage, more: dict[str, str]) -> None:
    """Where nobody has taken the chunks apart reading them may never end, whatever length is said beside them."""
    driver: Any = stage.app()
    browser = stage.signed_in(driver=driver)
    driver.terminated, driver.more = False, more
    answer = carry_on(browser, b'{"minutes": 10}')
    assert (answer.status, answer.json["type"].rpartition(":")[2]) == (411, "length_required")
    assert browser.fetch("/session/status").json["inactivity_left"] == 900


def test_what_reads_no_body_does_not_ask_how_long_it_is(stage: Stage) -> None:
    """An empty body in chunks, as some proxies send it with every POST, keeps nobody from the other endpoints."""
    driver: Any = stage.app()
    browser = stage.signed_in(driver=driver)
    driver.terminated = False
    assert browser.fetch("/session/refresh", "POST").status == 200
