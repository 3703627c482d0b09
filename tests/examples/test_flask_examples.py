"""The two Flask examples, used as a person in a browser uses them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
NAMES = ["flask_app", "flask_login_existing"]
PERSON = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}
SCRIPT = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}


def back_parameter(name: str) -> str:
    return "return_to" if name == "flask_app" else "next"


class Stage:
    """An example with a fake clock, and one browser."""

    def __init__(self, name: str) -> None:
        spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / name / "app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where Flask looks for the app's folder
        try:
            spec.loader.exec_module(module)
            self.clock = FakeClock()
            self.app = module.create_app(store=MemoryStore(), clock=self.clock)
        finally:
            del sys.modules[spec.name]
        self.back = back_parameter(name)
        self.browser = self.app.test_client()

    def open(self, path: str) -> TestResponse:
        return self.browser.get(path, base_url="https://app.example", headers=PERSON)

    def call(self, path: str) -> TestResponse:
        return self.browser.get(path, base_url="https://app.example", headers=SCRIPT)

    def submit(self, path: str, **fields: str) -> TestResponse:
        return self.browser.post(path, base_url="https://app.example", data=fields, headers=PERSON)

    def log_in(self, back: str = "/", **fields: str) -> TestResponse:
        sent = {"name": "alice", "password": "wonderland", **fields}
        return self.submit(f"/login?{self.back}={back}", **sent)


@pytest.fixture(params=NAMES)
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param)


def test_login_leads_back_to_the_page(stage: Stage) -> None:
    """A visitor is sent to the login page, and from there back to where they wanted to go."""
    refused = stage.open("/?tab=2")
    assert refused.status_code in (302, 303)
    assert refused.headers["Location"].startswith(f"/login?{stage.back}=")
    assert "wonderland" in stage.open(refused.headers["Location"]).text
    answer = stage.submit(refused.headers["Location"], name="alice", password="wonderland")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?tab=2")
    home = stage.open("/?tab=2")
    assert "Hello alice" in home.text
    assert "08:15:00 UTC" in home.text or "08:15:45 UTC" in home.text
    assert "16:00:00 UTC" in home.text


@pytest.mark.parametrize("fields", [{"password": "wrong"}, {"name": "mallory"}])
def test_a_wrong_password_begins_no_session(stage: Stage, fields: dict[str, str]) -> None:
    """Nothing is kept of a failed login."""
    assert "That is not right" in stage.log_in(**fields).text
    assert stage.open("/").status_code in (302, 303)


def test_a_hostile_return_path_is_not_followed(stage: Stage) -> None:
    """The login leads only to a path on this host."""
    assert stage.log_in("https://evil.example/").headers["Location"] == "/"


def test_a_poll_keeps_nobody_signed_in(stage: Stage) -> None:
    """The page's own questions are no activity; the user's are."""
    stage.log_in()
    for _ in range(15):
        stage.clock.advance(minutes=1)
        stage.call("/unread")
    stage.clock.advance(minutes=1)
    refused = stage.call("/unread")
    assert refused.status_code in (302, 401)
    assert stage.open("/").status_code in (302, 303)


def test_a_password_change_needs_a_recent_login(stage: Stage) -> None:
    """Five minutes after the login the page asks for it again; then it opens."""
    stage.log_in()
    assert stage.open("/password").status_code == 200
    stage.clock.advance(minutes=6)
    refused = stage.open("/password")
    assert refused.headers["Location"] == f"/login?reason=fresh_login&{stage.back}=/password"
    stage.log_in("/password")
    assert stage.open("/password").status_code == 200


def test_the_exempt_page_is_for_everybody(stage: Stage) -> None:
    """A page for everybody is open, and may be cached as the app likes."""
    answer = stage.open("/about")
    assert answer.status_code == 200
    assert "Cache-Control" not in answer.headers
    if stage.back == "return_to":  # Flask-Login looks at the Flask session on each request, so there Flask adds Vary
        assert "Vary" not in answer.headers


def test_my_sessions_and_logout(stage: Stage) -> None:
    """A user sees this session in the list; after the logout it is over."""
    stage.log_in()
    assert "this" in stage.open("/session/list").text.lower()
    assert stage.submit("/session/logout").status_code == 303
    assert stage.open("/").status_code in (302, 303)


def test_the_existing_apps_own_logout_and_password_change() -> None:
    """Its views are as they were: logout ends our session; a password change ends the others and keeps this one."""
    stage = Stage("flask_login_existing")
    stage.log_in(remember="1")
    here = stage.browser
    stage.browser = elsewhere = stage.app.test_client()
    stage.log_in()
    stage.browser = here
    assert stage.submit("/password", new="looking-glass").headers["Location"] == "/"
    assert "Other sessions ended: 1." in stage.open("/").text
    stage.browser = elsewhere
    assert stage.open("/").status_code == 302
    stage.browser = here
    assert stage.submit("/logout").headers["Location"] == "/login"
    assert "You are logged out" in stage.open("/login").text
    assert stage.open("/").status_code == 302
    assert stage.log_in(password="looking-glass").headers["Location"] == "/"


@pytest.mark.parametrize("name", [*NAMES, "htmx_app"])  # the last is played in a browser, tests/client
def test_flask_finds_the_app(name: str, tmp_path: Path) -> None:
    """`flask --app app` works in the example's folder, with the store that SESSION_STORE_URL names."""
    environment = {**os.environ, "SESSION_STORE_URL": f"sqlite:///{tmp_path}/sessions.db"}
    command = [sys.executable, "-m", "flask", "--app", "app", "routes"]
    done = subprocess.run(command, cwd=EXAMPLES / name, env=environment, capture_output=True, text=True, check=True)
    assert "/password" in done.stdout
    assert (tmp_path / "sessions.db").exists()
