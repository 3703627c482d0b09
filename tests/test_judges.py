"""Outside judges: each mode stands before them, and each of them does judge."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from session_middleware import Settings
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing import FakeClock
from tests.modes import asgi_mode
from tests.modes.asgi_mode import ASGIDriver
from tests.modes.wsgi_mode import WSGIDriver, judged

MODES = sorted(path.stem for path in (Path(__file__).parent / "modes").glob("*_mode.py"))
KEY = bytes(32)
SETTINGS = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"])


@pytest.mark.parametrize("name", MODES)
def test_every_mode_is_judged(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a mode's driver calls is the judges, and the app behind them."""
    mode = importlib.import_module(f"tests.modes.{name}")
    made: list[Any] = []

    def judge(app: Any) -> Any:
        made.append(judged(app))
        return made[-1]

    monkeypatch.setattr(mode if hasattr(mode, "judged") else asgi_mode, "judged", judge)
    driver = mode.make(SETTINGS, MemoryStore(), clock=FakeClock())
    driver.close()
    assert driver.app is made[-1]


def _wsgi(*, headers: Any = (), read: Callable[[Any], Any] = lambda stream: None) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        read(environ["wsgi.input"])
        start_response("200 OK", [("Content-Type", "text/plain"), *headers])
        return [b""]

    return app


def test_both_judges_of_wsgi_judge() -> None:
    """WebTest's lint alone minds a header beyond Latin-1, wsgiref.validate alone a read without a size (PEP 3333)."""
    assert WSGIDriver(judged(_wsgi())).request("GET", "/", []).status == 200
    with pytest.raises(AssertionError, match="latin1"):
        WSGIDriver(judged(_wsgi(headers=[("X-Price", "\N{EURO SIGN}")]))).request("GET", "/", [])
    with pytest.raises(AssertionError):
        WSGIDriver(judged(_wsgi(read=lambda stream: stream.read()))).request("GET", "/", [])


def _asgi(view: Callable[[], Any]) -> ASGIDriver:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = view() or []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return ASGIDriver(app, lambda call, *args: asyncio.run(call(*args)), lambda: None)


def test_the_linter_of_asgi_judges() -> None:
    """asgion, where Python is new enough for it, refuses a header that is no bytes; so do our own few lines anywhere."""
    with pytest.raises(AssertionError, match="no byte string"):
        _asgi(lambda: [("x-name", "text")]).request("GET", "/", [])
    pytest.importorskip("asgion")
    assert _asgi(lambda: None).app is not asgi_mode.application
    assert _asgi(lambda: [(b"X-Upper", b"1")]).request("GET", "/", []).status == 500


def test_the_detector_lets_pass_the_inline_read_and_nothing_else(tmp_path: Path) -> None:
    """On the loop of a mode SQLiteStore may be read in place; a write of it, or a sleep, is found."""
    store = SQLiteStore(tmp_path / "sessions.db")
    store.load(KEY)  # opens the file
    assert _asgi(lambda: store.load(KEY)).request("GET", "/", []).status == 200
    for blocks in (lambda: store.end(KEY, "logout", 1.0, 2.0), lambda: time.sleep(0)):
        answer = _asgi(blocks).request("GET", "/", [])
        assert answer.status == 500
        assert b"BlockingError" in answer.body
    store.close()
