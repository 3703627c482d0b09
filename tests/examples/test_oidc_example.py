"""The OpenID example: started with its one command, and used as a person in a browser uses it."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from flask import Flask

from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.browser import Answer, Browser
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.openid import OpenIDStandIn
from tests.authorities.oidc_people import Person
from tests.authorities.oidc_visitor import Visitor

FOLDER = Path(__file__).parent.parent.parent / "examples" / "oidc_app"
ORIGIN = "https://app.example"
PATIENCE = 30.0


class FlaskDriver:
    """A Flask app behind its own test client."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        client = self._app.test_client(use_cookies=False)
        got = client.open(target, method=method, headers=headers, data=body, base_url=ORIGIN)
        return Answer(got.status_code, list(got.headers.items()), got.data)

    def close(self) -> None:
        """Nothing runs behind it."""


def example() -> Any:
    spec = importlib.util.spec_from_file_location("oidc_app_example", FOLDER / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where Flask looks for the app's folder
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


class Town:
    """The example, the stand-in, somebody, and a clock."""

    def __init__(self, provider: OpenIDStandIn, person: Person, clock: FakeClock) -> None:
        self.provider, self.person, self.clock = provider, person, clock


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    """Serve the stand-in, and the example in this process, both by a fake clock."""
    module, clock = example(), FakeClock()
    monkeypatch.setitem(sys.modules, "oidc_app_example", module)
    provider = OpenIDStandIn(clock=clock)
    provider.add_client("oidc_app", "s", [f"{ORIGIN}/session/callback"], [f"{ORIGIN}/session/signed-out"])
    with served(provider) as issuer, Visitor(issuer) as visitor:
        authority = module.OIDCAuthority(issuer, "oidc_app", "s", app_url=ORIGIN, scope=module.SCOPE)
        driver = FlaskDriver(module.create_app(authority, store=MemoryStore(), clock=clock))
        yield Town(provider, Person(Browser(driver, clock, origin=ORIGIN), visitor), clock)
        authority.close()


def test_a_person_signs_in_and_out(town: Town) -> None:
    """The home page leads to the provider and back; logout ends both sessions and says so."""
    home = town.person.sign_in("/")
    assert b"Hello alice@example.org" in home.body
    assert b"For everybody" in town.person.app.navigate("/about").body
    answer = town.person.go_on(town.person.app.submit("/session/logout"))
    assert b"You are signed out" in answer.body
    assert town.provider.world.sessions == {}


def test_a_recent_proof(town: Town) -> None:
    """Changing the password takes a proof of the last five minutes, which the provider asks for."""
    town.person.sign_in("/")
    town.clock.advance(minutes=6)
    town.person.there.pages.clear()
    assert b"within the last five minutes" in town.person.sign_in("/password").body
    assert town.person.there.pages == ["login"]


def test_a_token_for_the_providers_api(town: Town) -> None:
    """The page that calls the provider has a token, refreshed when it is due, and shows none of it."""
    town.person.sign_in("/")
    for _ in range(3):
        page = town.person.app.navigate("/calendar").body
        assert b"characters" in page
        assert b"access-" not in page
        town.clock.advance(minutes=10)
    assert town.provider.calls.count("POST /token") == 3


def test_polls_keep_nobody_signed_in(town: Town) -> None:
    """The page's own question is no activity: after a quarter of an hour the session ends all the same."""
    town.person.sign_in("/")
    for _ in range(16):
        town.clock.advance(minutes=1)
        answer = town.person.app.fetch("/unread")
    assert answer.status == 401
    assert b"Hello" in town.person.sign_in("/").body


def test_its_one_command() -> None:
    """It starts, with the stand-in beside it, and sends a visitor there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=FOLDER,
        env={**os.environ, "PORT": str(port), "SESSION_STORE_URL": "memory://"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "sign in by any name" in process.stdout.readline()
        patience = time.monotonic() + PATIENCE
        while True:
            try:
                first = httpx2.get(f"http://localhost:{port}/", headers={"Accept": "text/html"})
                break
            except httpx2.ConnectError:
                assert time.monotonic() < patience
                time.sleep(0.05)
        assert first.headers["Location"] == "/session/login?return_to=/"
        second = httpx2.get(f"http://localhost:{port}/session/login?return_to=/")
        assert "/authorize?response_type=code&client_id=oidc_app" in second.headers["Location"]
        assert b"Any name" in httpx2.get(second.headers["Location"]).content
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)
