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


PLAIN = [(b"content-type", b"text/plain"), (b"content-length", b"0")]


def _asgi(headers: list[tuple[Any, Any]], view: Callable[[], object] = lambda: None) -> ASGIDriver:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        view()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return ASGIDriver(app, lambda call, *args: asyncio.run(call(*args)), lambda: None)


def test_our_own_lines_judge_asgi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python is too old for asgion, headers must still be lower-case bytes."""
    monkeypatch.setattr(asgi_mode, "judged", lambda app: app)
    assert _asgi(PLAIN).request("GET", "/", []).status == 200
    with pytest.raises(AssertionError, match="no byte string"):
        _asgi([*PLAIN, ("x-name", "text")]).request("GET", "/", [])
    with pytest.raises(AssertionError, match="lower case"):
        _asgi([*PLAIN, (b"X-Name", b"text")]).request("GET", "/", [])


def test_asgion_judges() -> None:
    """asgion is strict: it minds a response that does not say what it holds."""
    pytest.importorskip("asgion", reason="asgion needs Python 3.12")
    assert _asgi(PLAIN).request("GET", "/", []).status == 200
    answer = _asgi([]).request("GET", "/", [])
    assert answer.status == 500
    assert b"ASGIProtocolError" in answer.body


def test_the_detector_lets_pass_the_inline_read_and_nothing_else(tmp_path: Path) -> None:
    """On the loop of a mode SQLiteStore may be read in place; a write of it, or a sleep, is found."""
    store = SQLiteStore(tmp_path / "sessions.db")
    store.load(KEY)  # opens the file
    assert _asgi(PLAIN, lambda: store.load(KEY)).request("GET", "/", []).status == 200
    for blocks in (lambda: store.end(KEY, "logout", 1.0, 2.0), lambda: time.sleep(0)):
        answer = _asgi(PLAIN, blocks).request("GET", "/", [])
        assert answer.status == 500
        assert b"BlockingError" in answer.body
    store.close()
