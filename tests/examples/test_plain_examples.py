"""The plain WSGI and ASGI examples, used as a person in a browser uses them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.clock import FakeClock

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PERSON = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}
SCRIPT = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}


class _Stage:
    """An example with a fake clock, and one browser."""

    def __init__(self, name: str) -> None:
        spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / name / "app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.clock = FakeClock()
        self.app = module.make_app(store=MemoryStore(), clock=self.clock)
        self.browser = self._client(name)

    def _client(self, name: str) -> Any:
        if name == "wsgi_app":
            return httpx.Client(transport=httpx.WSGITransport(app=self.app), base_url="https://app.example")
        starlette = pytest.importorskip("starlette.testclient")
        return starlette.TestClient(self.app, base_url="https://app.example", follow_redirects=False)

    def open(self, path: str) -> Any:
        return self.browser.get(path, headers=PERSON)

    def call(self, path: str) -> Any:
        return self.browser.get(path, headers=SCRIPT)

    def submit(self, path: str, **fields: str) -> Any:
        return self.browser.post(path, data=fields, headers=PERSON)

    def log_in(self, back: str = "/") -> Any:
        return self.submit(f"/login?return_to={back}", name="alice", password="wonderland")


@pytest.fixture(params=["wsgi_app", "asgi_app"])
def stage(request: pytest.FixtureRequest) -> Iterator[_Stage]:
    made = _Stage(request.param)
    with made.browser:
        yield made


def test_a_visitor_logs_in_and_comes_back(stage: _Stage) -> None:
    """A protected page sends a visitor to the login, and the login sends them back (L15)."""
    refused = stage.open("/password")
    assert (refused.status_code, refused.headers["location"]) == (303, "/login?return_to=/password")
    assert 'action="/login?return_to=/password"' in stage.open(refused.headers["location"]).text
    back = stage.log_in("/password")
    assert (back.status_code, back.headers["location"]) == (303, "/password")
    assert "you may" in stage.open("/password").text
    assert "Silence ends this session at 08:15:00 UTC" in stage.open("/").text


def test_a_wrong_password_begins_nothing(stage: _Stage) -> None:
    """Wrong names and passwords, the empty ones included, set no cookie (L27)."""
    for name, password in [("alice", "x"), ("mallory", ""), ("", "")]:
        refused = stage.submit("/login", name=name, password=password)
        assert refused.status_code == 403
        assert "set-cookie" not in refused.headers


def test_a_foreign_way_back_is_not_taken(stage: _Stage) -> None:
    """The login never leads off this host (L15)."""
    assert stage.log_in("https://evil.example").headers["location"] == "/"


def test_an_exempt_page_needs_nothing(stage: _Stage) -> None:
    """The exempt page is open to all and does not look at cookies (L18, L21)."""
    answer = stage.open("/about")
    assert answer.status_code == 200
    assert "vary" not in answer.headers


def test_a_poll_does_not_keep_the_session(stage: _Stage) -> None:
    """Fifteen minutes of polling only, and the session has ended by silence; pages keep it (L5, L6)."""
    stage.log_in()
    for _ in range(15):
        stage.clock.advance(minutes=1)
        last = stage.call("/unread")
    assert (last.status_code, last.json()["reason"]) == (401, "inactivity")
    stage.log_in()
    for _ in range(15):
        stage.clock.advance(minutes=1)
        assert stage.open("/").status_code == 200


def test_a_sensitive_page_wants_a_recent_login(stage: _Stage) -> None:
    """After five minutes the sensitive page asks for a login, and the others do not (L21)."""
    stage.log_in()
    stage.clock.advance(minutes=5)
    assert stage.open("/password").headers["location"] == "/login?reason=fresh_login&return_to=/password"
    assert stage.open("/").status_code == 200


def test_logout_ends_the_session_for_every_copy_of_the_cookie(stage: _Stage) -> None:
    """After logout neither the browser nor a copy of its cookies gets in (L13)."""
    stage.log_in()
    copy = "; ".join(f"{name}={value}" for name, value in stage.browser.cookies.items())
    assert stage.submit("/session/logout").headers["location"] == "/session/signed-out"
    assert stage.open("/").status_code == 303
    assert stage.browser.get("/", headers={**SCRIPT, "Cookie": copy}).json()["reason"] == "signed_out"


def test_my_sessions_are_listed(stage: _Stage) -> None:
    """The page of one's sessions shows this one."""
    stage.log_in()
    assert "this browser" in stage.open("/session/list").text


def test_an_unknown_address_shows_nothing_to_strangers(stage: _Stage) -> None:
    """Signed out, an unknown address is refused like any other; signed in, it is a 404 (L21)."""
    assert stage.open("/nothing").status_code == 303
    stage.log_in()
    assert stage.open("/nothing").status_code == 404
