"""The Django example: its checks, its own tests, and a person with a browser before its development server."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from session_middleware.testing.browser import Answer, Browser

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent.parent.parent / "examples" / "django_project"


def manage(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "manage.py", *arguments]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Everything that the example writes lies in a folder of the test."""
    root = str(PROJECT.parent.parent)
    return {
        **os.environ,
        "PYTHONPATH": root,
        "PYTHONDONTWRITEBYTECODE": "1",
        "SHOP_DATABASE": str(tmp_path / "db.sqlite3"),
        "SESSION_STORE_URL": f"sqlite:///{tmp_path / 'sessions.db'}",
    }


class ServerDriver:
    """Sends requests to a server on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def close(self) -> None:
        pass


@pytest.fixture
def browser(environment: dict[str, str]) -> Iterator[Browser]:
    """A browser before the example's development server."""
    manage(environment, "migrate", "--verbosity", "0")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "manage.py", "runserver", "--noreload", "--nothreading", f"127.0.0.1:{port}"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, server)
        yield Browser(ServerDriver(port), time.time, origin=f"http://localhost:{port}")
    finally:
        server.terminate()
        server.wait(timeout=20)


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):  # a connection is refused at once, so that this is a wait for a server and not for a time
        assert server.poll() is None, "the server stopped"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            server_is_starting()
        else:
            return
    raise AssertionError("the server did not start")


def server_is_starting() -> None:
    """Give the processor to the server."""
    subprocess.run([sys.executable, "-S", "-c", ""], check=True)


def submit(browser: Browser, page: str, **fields: str) -> Answer:
    """Fill in the form of a page, its CSRF token included."""
    found = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', browser.navigate(page).body)
    assert found is not None
    pairs = {**fields, "csrfmiddlewaretoken": found[1].decode()}
    return browser.submit(page, "&".join(f"{name}={value}" for name, value in pairs.items()).encode(), page=page)


def test_its_checks_and_its_own_tests_pass(environment: dict[str, str]) -> None:
    """The project's test suite from before is green, and no check has anything to say."""
    assert "no issues" in manage(environment, "check")
    said = manage({**environment, "SESSION_STORE_URL": "memory://"}, "test", "--verbosity", "1")
    assert "Ran 4 tests" in said


@pytest.mark.server
def test_a_person_uses_it(browser: Browser) -> None:
    """Login, the protected page with its deadlines, poll, fresh page, my sessions, admin, logout."""
    first = browser.navigate("/")
    assert (first.status, first.header("Location")) == (302, "/login?next=/")
    assert browser.navigate("/about").header("Vary") is None
    answer = submit(browser, "/login", username="alice", password="wonderland", next="/")
    assert (answer.status, answer.header("Location")) == (302, "/")
    home = browser.follow(answer)
    assert b"Hello alice" in home.body
    shown = [time.strftime("%H:%M", time.gmtime(time.time() + seconds)) for seconds in (8 * 3600, 8 * 3600 - 60)]
    found = re.findall(rb"at\s+(\d\d:\d\d):\d\d\s+UTC", home.body)
    assert len(found) == 2
    assert found[1].decode() in shown, "the hard age, in UTC as the page says"
    assert browser.fetch("/unread").json == {"unread": 0}
    assert set(browser.fetch("/deadlines").json) == {"inactivity", "absolute"}
    assert browser.navigate("/password").status == 200
    assert browser.navigate("/admin/").status == 200
    assert browser.navigate("/session/list").status == 200
    thief = browser.twin()
    token = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', home.body)
    assert token is not None
    out = browser.submit("/logout", b"csrfmiddlewaretoken=" + token[1])
    assert (out.status, out.header("Location")) == (302, "/about")
    assert [b.navigate("/").status for b in (browser, thief)] == [302, 302]
    assert thief.navigate("/admin/").status == 302
