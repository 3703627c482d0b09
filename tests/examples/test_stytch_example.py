"""The Stytch example, used as a person in a browser uses it, against the stand-in."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from werkzeug.test import Client, TestResponse

from session_middleware.authorities.base import Attached
from session_middleware.authorities.stytch import StytchAuthority
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.stytch import StytchStandIn

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "stytch_app" / "app.py"
PERSON = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def example() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("stytch_app_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where Flask looks for the app's folder
    spec.loader.exec_module(module)
    made = []

    class Closed(StytchAuthority):
        """Can be closed: an app keeps its connections for as long as its process lives."""

        def attach(self, to: Attached) -> None:
            made.append(self)
            super().attach(to)

    module.StytchAuthority = Closed  # type: ignore[attr-defined]
    yield module
    for authority in made:
        authority.close()
    del sys.modules[spec.name]


class Stage:
    """The example with a fake clock, Stytch beside it, and one browser."""

    def __init__(self, example: ModuleType, stytch: StytchStandIn, base_url: str, clock: FakeClock) -> None:
        self.stytch, self.clock = stytch, clock
        project = (base_url, stytch.project_id, stytch.secret)
        app = example.create_app(project, store=MemoryStore(), clock=clock)
        self.browser: Client = app.test_client()

    def open(self, path: str) -> TestResponse:
        return self.browser.get(path, base_url="https://app.example", headers=PERSON)

    def submit(self, path: str, **fields: str) -> TestResponse:
        return self.browser.post(path, base_url="https://app.example", data=fields, headers=PERSON)

    def log_in(self, back: str = "/", password: str = "wonderland") -> TestResponse:
        return self.submit(f"/login?return_to={back}", email="alice@example.com", password=password)

    def stytchs(self) -> str:
        cookie = self.browser.get_cookie("stytch_session", domain="app.example")
        assert cookie is not None
        return cookie.value


@pytest.fixture
def stage(example: ModuleType) -> Iterator[Stage]:
    clock = FakeClock()
    stytch = StytchStandIn(clock=clock)
    stytch.add_user("alice@example.com", password="wonderland")
    with served(stytch) as base_url:
        yield Stage(example, stytch, base_url, clock)


def test_a_login_at_stytch_leads_back_to_the_page(stage: Stage) -> None:
    """A visitor is sent to the login page, signs in at Stytch, and comes back signed in here too."""
    refused = stage.open("/?tab=2")
    assert (refused.status_code, refused.headers["Location"]) == (303, "/login?return_to=/%3Ftab%3D2")
    assert stage.log_in(password="wrong").status_code == 403
    answer = stage.log_in(back="/%3Ftab%3D2")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/?tab=2")
    home = stage.open("/?tab=2")
    assert home.status_code == 200
    assert "Proved by password" in home.text


def test_activity_extends_both(stage: Stage) -> None:
    """Somebody who does something every ten minutes is in for eight hours, though Stytch's session has thirty minutes."""
    stage.log_in()
    for _ in range(48):
        assert stage.open("/").status_code == 200
        stage.clock.advance(minutes=10)
    assert "reason=lifetime" in stage.open("/").headers["Location"]


def test_silence_ends_both(stage: Stage) -> None:
    """After fifteen minutes of silence, polls included, the session is over here and at Stytch."""
    stage.log_in()
    stage.open("/")
    token = stage.stytchs()
    for _ in range(14):
        stage.clock.advance(minutes=1)
        assert stage.open("/unread").status_code == 200
    stage.clock.advance(minutes=2)
    assert "reason=inactivity" in stage.open("/").headers["Location"]
    assert not stage.stytch.lives(token)


def test_a_fresh_login(stage: Stage) -> None:
    """Changing the password asks for it once more after five minutes, and a login at Stytch is the answer."""
    stage.log_in()
    assert stage.open("/password").status_code == 200
    stage.clock.advance(minutes=6)
    assert "reason=fresh_login" in stage.open("/password").headers["Location"]
    stage.log_in(back="/password")
    assert stage.open("/password").status_code == 200


def test_a_logout_ends_both(stage: Stage) -> None:
    """The button ends the session at Stytch too, and its cookies are gone."""
    stage.log_in()
    stage.open("/")
    token = stage.stytchs()
    assert stage.submit("/session/logout").status_code == 303
    assert not stage.stytch.lives(token)
    assert stage.browser.get_cookie("stytch_session", domain="app.example") is None
    assert stage.open("/").status_code == 303


def test_while_stytch_is_down(stage: Stage) -> None:
    """Nobody is signed out, and the login page says what is wrong."""
    stage.log_in()
    stage.open("/")
    stage.stytch.down(503)
    assert stage.open("/").status_code == 200
    assert stage.log_in().status_code == 503
    stage.clock.advance(minutes=3)
    assert stage.open("/").status_code == 503
    stage.stytch.recover()
    stage.clock.advance(10)
    assert stage.open("/").status_code == 200


def test_it_runs_without_an_account(example: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With nothing configured a Stytch of its own runs beside it."""
    closing = []
    monkeypatch.setattr(example.atexit, "register", closing.append)
    monkeypatch.delenv("STYTCH_PROJECT_ID", raising=False)
    browser = example.create_app(store=MemoryStore()).test_client()
    sent = {"email": "alice@example.com", "password": "wonderland"}
    try:
        answer = browser.post("/login", base_url="https://app.example", data=sent, headers=PERSON)
        assert answer.status_code == 303
        assert browser.get("/", base_url="https://app.example", headers=PERSON).status_code == 200
    finally:
        closing[0]()


def test_a_project_of_ones_own(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names a project; a missing secret is an error at start-up."""
    monkeypatch.setenv("STYTCH_PROJECT_ID", "project-live-1")
    monkeypatch.delenv("STYTCH_SECRET", raising=False)
    with pytest.raises(KeyError, match="STYTCH_SECRET"):
        example.create_app(store=MemoryStore())
    monkeypatch.setenv("STYTCH_SECRET", "secret")
    assert example.create_app(store=MemoryStore()).name == "stytch_app_example"
