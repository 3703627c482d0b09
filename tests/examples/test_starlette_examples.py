"""The Starlette and FastAPI examples, used as a person in a browser uses them."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PERSON = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}
SCRIPT = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}


class Stage:
    """An example with a fake clock, and one browser."""

    def __init__(self, name: str) -> None:
        spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / name / "app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where FastAPI looks for the names in annotations
        try:
            spec.loader.exec_module(module)
            self.clock = FakeClock()
            app = module.create_app(store=MemoryStore(), clock=self.clock)
        finally:
            del sys.modules[spec.name]
        self.browser = TestClient(app, base_url="https://app.example", follow_redirects=False)
        self.elsewhere = TestClient(app, base_url="https://app.example", follow_redirects=False)

    def open(self, path: str) -> Any:
        return self.browser.get(path, headers=PERSON)

    def submit(self, path: str, **fields: str) -> Any:
        return self.browser.post(path, data=fields, headers=PERSON)

    def call(self, path: str, method: str = "GET", body: object = None, browser: TestClient | None = None) -> Any:
        return (browser or self.browser).request(method, path, json=body, headers=SCRIPT)


# --- Starlette -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pages() -> Stage:
    return Stage("starlette_app")


def log_in(pages: Stage, back: str = "/", **fields: str) -> Any:
    return pages.submit(f"/login?return_to={back}", **{"name": "alice", "password": "wonderland", **fields})


def test_login_leads_back_to_the_page(pages: Stage) -> None:
    """A visitor is sent to the login page, and from there back to where they wanted to go, with the deadlines shown."""
    refused = pages.open("/?tab=2")
    assert (refused.status_code, refused.headers["Location"]) == (303, "/login?return_to=/%3Ftab%3D2")
    assert "wonderland" in pages.open(refused.headers["Location"]).text
    answer = pages.submit(refused.headers["Location"], name="alice", password="wonderland")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?tab=2")
    home = pages.open("/?tab=2").text
    assert "Hello alice" in home
    assert "08:15:00 UTC" in home or "08:15:45 UTC" in home
    assert "16:00:00 UTC" in home


@pytest.mark.parametrize("fields", [{"password": "wrong"}, {"name": "mallory"}])
def test_a_wrong_password_begins_no_session(pages: Stage, fields: dict[str, str]) -> None:
    """Nothing is kept of a failed login."""
    assert "That is not right" in log_in(pages, **fields).text
    assert pages.open("/").status_code == 303


def test_a_poll_keeps_nobody_signed_in(pages: Stage) -> None:
    """The page's own questions are no activity; the user's are."""
    log_in(pages)
    for _ in range(15):
        pages.clock.advance(minutes=1)
        pages.call("/unread")
    pages.clock.advance(minutes=1)
    assert pages.call("/unread").status_code == 401
    assert pages.open("/").headers["Location"] == "/login?reason=inactivity&return_to=/"


def test_a_password_change_needs_a_recent_login(pages: Stage) -> None:
    """Five minutes after the login the page asks for it again; then it opens."""
    log_in(pages)
    assert "08:00:00 UTC" in pages.open("/password").text
    pages.clock.advance(minutes=6)
    assert pages.open("/password").headers["Location"] == "/login?reason=fresh_login&return_to=/password"
    log_in(pages, "/password")
    assert pages.open("/password").status_code == 200


def test_the_exempt_page_is_for_everybody(pages: Stage) -> None:
    """A page for everybody is open, and may be cached as the app likes."""
    answer = pages.open("/about")
    assert answer.status_code == 200
    assert not {"cache-control", "vary"} & set(answer.headers)


def test_my_sessions_and_logout(pages: Stage) -> None:
    """A user sees this session in the list; after the logout it is over."""
    log_in(pages)
    assert "this" in pages.open("/session/list").text.lower()
    assert pages.submit("/session/logout").status_code == 303
    assert pages.open("/").status_code == 303


# --- FastAPI with a browser front ----------------------------------------------------------------------------------------


@pytest.fixture
def front() -> Stage:
    return Stage("fastapi_browser")


ALICE = {"name": "alice", "password": "wonderland"}


def test_the_front_is_open_and_its_api_is_not(front: Stage) -> None:
    """The front's files and the docs are served to everybody, without a look at the session; the API asks who it is."""
    page = front.open("/")
    assert "<title>Sessions behind a browser front</title>" in page.text
    assert "vary" not in page.headers
    assert front.open("/front.js").status_code == 200
    assert front.open("/docs").status_code == 200
    refused = front.call("/api/me")
    assert (refused.status_code, refused.json()["reason"], refused.json()["login_url"]) == (401, None, "/")
    assert front.call("/api/about").status_code == 200


def test_a_life_as_the_front_leads_it(front: Stage) -> None:
    """Log in, see the deadlines, stay by asking to, change the password while that is recent, log out."""
    assert front.call("/api/login", "POST", {**ALICE, "password": "wrong"}).json() == {"detail": "That is not right."}
    assert front.call("/api/login", "POST", ALICE).json() == {"go_to": "/"}
    me = front.call("/api/me").json()
    assert (me["name"], me["absolute_deadline"]) == ("alice", "2027-01-15T16:00:00Z")
    assert me["inactivity_deadline"] == "2027-01-15T08:15:00Z"
    front.clock.advance(minutes=14)
    assert front.call("/session/continue", "POST").json()["inactivity_left"] == 900
    front.clock.advance(minutes=14)
    assert front.call("/api/unread").json() == {"unread": 0}
    assert front.call("/api/password", "POST").json()["reason"] == "fresh_login"
    front.call("/api/login", "POST", ALICE)
    assert "alice" in front.call("/api/password", "POST").json()["changed"]
    assert front.call("/session/logout", "POST").status_code == 204
    assert front.call("/api/me").status_code == 401


def test_who_opens_the_api_comes_back_to_it(front: Stage) -> None:
    """A page of the API opened without a session leads to the front, and the login says where to go on; only here (L15)."""
    refused = front.open("/api/me?x=1")
    assert (refused.status_code, refused.headers["Location"]) == (303, "/?return_to=/api/me%3Fx%3D1")
    query = refused.headers["Location"].partition("?")[2]
    assert front.call(f"/api/login?{query}", "POST", ALICE).json() == {"go_to": "/api/me?x=1"}
    assert front.call("/api/login?return_to=//evil.example", "POST", ALICE).json() == {"go_to": "/"}


def test_a_poll_of_the_front_keeps_nobody_signed_in(front: Stage) -> None:
    """The page's own questions are no activity."""
    front.call("/api/login", "POST", ALICE)
    for _ in range(15):
        front.clock.advance(minutes=1)
        front.call("/api/unread")
    front.clock.advance(minutes=1)
    assert front.call("/api/unread").json()["reason"] == "inactivity"


def test_one_of_my_sessions_is_ended_from_another(front: Stage) -> None:
    """The list names the user's sessions, and a button ends one of them."""
    front.call("/api/login", "POST", ALICE)
    front.call("/api/login", "POST", ALICE, front.elsewhere)
    rows = front.call("/session/list").json()["sessions"]
    other = next(row["id"] for row in rows if not row["current"])
    assert front.call(f"/session/list/{other}/end", "POST").status_code == 204
    assert front.call("/api/me", browser=front.elsewhere).json()["reason"] == "signed_out"
    assert front.call("/api/me").status_code == 200


def test_the_api_shows_its_cookie(front: Stage) -> None:
    """The OpenAPI document names the cookie as the settings do."""
    schemes = front.call("/openapi.json").json()["components"]["securitySchemes"]
    assert schemes["session"]["name"] == "__Host-fastapi_browser"


# --- as its docstring says -------------------------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.parametrize(
    ("name", "path", "status"),
    [("starlette_app", "/about", 200), ("fastapi_browser", "/api/me", 401), ("react_app", "/api/me", 401)],
)
def test_it_runs_with_the_command_it_names(name: str, path: str, status: int, tmp_path: Path) -> None:
    """`uvicorn app:app` in its folder serves it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    environment = {**os.environ, "SESSION_STORE_URL": f"sqlite:///{tmp_path}/sessions.db"}
    with subprocess.Popen(command, cwd=EXAMPLES / name, env=environment) as server:
        try:
            for _ in range(1200):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                        got = answer.status
                except urllib.error.HTTPError as refused:
                    got = refused.code
                    refused.close()
                except urllib.error.URLError:
                    time.sleep(0.05)  # a real server takes its time to start
                    continue
                break
            assert got == status
        finally:
            server.terminate()
