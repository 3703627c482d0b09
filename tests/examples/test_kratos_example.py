"""The Kratos example: started with its one command, and used as a person in a browser uses it."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.stand_ins import served

FOLDER = Path(__file__).parent.parent.parent / "examples" / "kratos_app"
PERSON = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}
PATIENCE = 30.0


class Person:
    """Somebody with a browser: one jar for 127.0.0.1, whatever the port; redirects followed, forms filled in."""

    def __init__(self, app_url: str) -> None:
        self.app_url = app_url
        self.cookies: dict[str, str] = {}
        self._http = urllib3.PoolManager(timeout=PATIENCE)

    def __enter__(self) -> Person:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.clear()

    def open(self, path: str, **form: str) -> urllib3.BaseHTTPResponse:
        """Open a page of the app, or post a form to it, and go where that leads."""
        url = path if "://" in path else self.app_url + path
        method, fields = ("POST", form) if form else ("GET", None)
        for _ in range(12):
            answer = self._send(method, url, fields)
            for line in answer.headers.getlist("Set-Cookie"):
                name, _, value = line.partition(";")[0].partition("=")
                self.cookies[name] = value
            if answer.status not in (302, 303):
                return answer
            to = answer.headers["Location"]
            url, method, fields = to if "://" in to else self.app_url + to, "GET", None
        raise AssertionError(f"led round in circles: {url}")

    def _send(self, method: str, url: str, fields: dict[str, str] | None) -> urllib3.BaseHTTPResponse:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items() if value)
        headers = {**PERSON, "Cookie": cookie}
        more: dict[str, Any] = {} if fields is None else {"fields": fields, "encode_multipart": False}
        return self._http.request(method, url, headers=headers, redirect=False, **more)

    def fill_in(self, page: urllib3.BaseHTTPResponse, **typed: str) -> urllib3.BaseHTTPResponse:
        """Fill in the form of a page of Kratos' and send it."""
        text = page.data.decode()
        action = re.search(r'action="([^"]*)"', text)
        assert action is not None, text
        fields = {name: unescape(value) for name, value in re.findall(r'name="([^"]*)" value="([^"]*)"', text)}
        return self.open(unescape(action[1]), **(fields | typed))


def example() -> Any:
    spec = importlib.util.spec_from_file_location("kratos_app_example", FOLDER / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where Flask looks for the app's folder
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def person(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    """Serve the example and its stand-in on free ports, both by a fake clock."""
    module = example()
    monkeypatch.setitem(sys.modules, "kratos_app_example", module)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    app_url = f"http://127.0.0.1:{port}"
    kratos = module.stand_in(app_url, clock=clock)
    with served(kratos.public) as public_url, served(kratos.admin) as admin_url:
        authority = module.authority_of(public_url, admin_url, app_url)
        app = module.create_app(authority, store=MemoryStore(), clock=clock)
        with served(app, port=port), Person(app_url) as made:
            yield made
        authority.close()


def sign_in(person: Person, path: str = "/") -> urllib3.BaseHTTPResponse:
    return person.fill_in(person.open(path), identifier="alice", password="wonderland")


def test_a_person_signs_in_and_comes_back(person: Person) -> None:
    """The home page leads to Kratos' form, and that back to the home page with the session's deadlines."""
    page = person.open("/")
    assert b"Sign in at the Kratos stand-in" in page.data
    assert b"credentials are invalid" in person.fill_in(page, identifier="alice", password="wrong").data
    home = sign_in(person).data.decode()
    assert "Hello alice@example.org" in home
    assert "Proved by password at Kratos" in " ".join(home.split())
    assert "08:15:00 UTC" in home
    assert "08:29:30 UTC" in home  # the end of Kratos' session, less 30 seconds, until it is extended


def test_clicking_extends_the_session_at_kratos(person: Person, clock: FakeClock) -> None:
    """Twenty minutes of clicking move both deadlines; a quarter of an hour of silence ends it."""
    sign_in(person)
    for _ in range(20):
        clock.advance(minutes=1)
        home = person.open("/").data.decode()
    assert "08:45:30 UTC" in home  # extended at 08:16, for half an hour
    clock.advance(minutes=16)
    assert b"Sign in at the Kratos stand-in" in person.open("/").data
    assert b"Hello alice" in sign_in(person).data


def test_a_second_factor(person: Person) -> None:
    """Who has a second factor is asked for it on the way in."""
    page = person.fill_in(person.open("/"), identifier="bob", password="builder")
    home = person.fill_in(page, totp_code="123456").data.decode()
    assert "Hello bob@example.org" in home
    assert "Proved by password totp at Kratos" in " ".join(home.split())


def test_a_sensitive_page_wants_a_recent_proof(person: Person, clock: FakeClock) -> None:
    """After five minutes Kratos asks for the password again, and leads to the page."""
    sign_in(person)
    clock.advance(minutes=6)
    page = person.open("/password")
    assert b"Sign in" in page.data
    assert b"within the last five minutes" in person.fill_in(page, password="wonderland").data


def test_logout_is_one_at_kratos_too(person: Person) -> None:
    """After the logout both know nobody, and the way in is Kratos' form."""
    sign_in(person)
    assert person.open("/session/logout", now="yes").status == 200
    assert not person.cookies["ory_kratos_session"]
    assert b"Sign in at the Kratos stand-in" in person.open("/").data


def test_the_page_for_everybody(person: Person) -> None:
    """The exempt page reads no cookie."""
    answer = person.open("/about")
    assert (answer.status, answer.headers.get("Vary")) == (200, None)


@pytest.mark.server
def test_its_one_command(tmp_path: Path) -> None:
    """`python app.py` starts the app and the stand-in, and a person gets in."""
    ports = [_three_free(), 0]
    ports[1] = ports[0] + 1  # and the admin listener has the one after that
    environment = {
        **os.environ,
        "PORT": str(ports[0]),
        "KRATOS_PORT": str(ports[1]),
        "SESSION_STORE_URL": f"sqlite:///{tmp_path}/sessions.db",
    }
    command = [sys.executable, "app.py"]
    said = tmp_path / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(command, cwd=FOLDER, env=environment, stdout=output, stderr=output)
    try:
        app_url = f"http://127.0.0.1:{ports[0]}"
        _wait_for(urlsplit(app_url).port or 0, process, said)
        with Person(app_url) as person:
            assert b"Hello alice@example.org" in sign_in(person).data
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _three_free() -> int:
    """Return the first of three free ports in a row, below those that systems give out to whoever asks for any."""
    for first in random.sample(range(20_000, 32_000, 3), 100):
        try:
            for port in range(first, first + 3):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first
    raise AssertionError("no ports are free")


def _wait_for(port: int, process: subprocess.Popen[bytes], said: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, f"it ended: {said.read_text()[-2000:]}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)  # a real server's real start
        else:
            return
    raise AssertionError("it did not start")
