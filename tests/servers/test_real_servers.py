"""A whole life over real HTTP: two workers on one SQLite file, short limits, real seconds (L3, L5, L9, L11, L13)."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from session_middleware.testing.browser import Answer, Browser

pytestmark = [pytest.mark.slow, pytest.mark.server]

ROOT = Path(__file__).parent.parent.parent

KEY = {"SESSION_LIFETIME_SECRET_KEYS": "server suite key 0f6a1b2c3d4e5f60718293a4b5c6d7e8"}

#: Seconds, so that a whole life fits into half a minute.
SHORT = {
    "SESSION_LIFETIME_INACTIVITY_TIMEOUT": "4",
    "SESSION_LIFETIME_ABSOLUTE_LIFETIME": "16",
    "SESSION_LIFETIME_TOUCH_INTERVAL": "0.5",
    "SESSION_LIFETIME_RENEWAL_INTERVAL": "3",
    "SESSION_LIFETIME_RENEWAL_GRACE": "1",
    "SESSION_LIFETIME_JWT_LIFETIME": "10",
}

SERVERS: dict[str, list[str]] = {
    "gunicorn-sync": ["gunicorn", "-w", "2", "-b", "127.0.0.1:{port}", "tests.servers.apps:wsgi()"],
    "gunicorn-gthread": [
        *["gunicorn", "-k", "gthread", "--threads", "4", "-w", "2"],
        *["-b", "127.0.0.1:{port}", "tests.servers.apps:wsgi()"],
    ],
    "gunicorn-gevent": ["gunicorn", "-k", "gevent", "-w", "2", "-b", "127.0.0.1:{port}", "tests.servers.apps:wsgi()"],
    "uvicorn": ["uvicorn", "--workers", "2", "--port", "{port}", "--factory", "tests.servers.apps:asgi"],
    "hypercorn": ["hypercorn", "-w", "2", "-b", "127.0.0.1:{port}", "tests.servers.apps:asgi()"],
}


class HTTPDriver:
    """Sends each request over a connection of its own, so that any worker may answer."""

    def __init__(self, port: int) -> None:
        self.port = port

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in [*headers, ("Content-Length", str(len(body))), ("Connection", "close")]:
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def close(self) -> None: ...


class Server:
    """A running server with two workers."""

    def __init__(self, name: str, folder: Path, limits: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.slow_file = folder / "slow"
        self._command = [part.format(port=self.port) for part in SERVERS[name]]
        self._environment = {
            **os.environ,
            **KEY,
            **limits,
            "SESSION_STORE_URL": f"sqlite:///{folder / 'sessions.db'}",
            "SLOW_FILE": str(self.slow_file),
            "PYTHONPATH": str(ROOT),
        }
        self.log = folder / "server.log"
        self.run()
        self.driver = HTTPDriver(self.port)

    def run(self) -> None:
        """Start it, or start it again, as a service manager does when it stops."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self._command],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def browser(self) -> Browser:
        return Browser(self.driver, time.time, origin=f"http://localhost:{self.port}")

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


def until(true: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(params=list(SERVERS))
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Server]]:
    """Return what starts the server of this parameter with some limits, and stop it afterwards."""
    for name in request.param.split("-"):
        if name in ("gunicorn", "uvicorn", "hypercorn", "gevent") and importlib.util.find_spec(name) is None:
            if os.environ.get("SESSION_TESTS_REQUIRE_SERVERS"):
                pytest.fail(f"{name} is not installed, and this run must not skip a server suite")
            pytest.skip(f"{name} is not installed")
    started: list[Server] = []

    def begin(limits: dict[str, str]) -> Server:
        made = Server(request.param, tmp_path, limits)
        started.append(made)

        def answers() -> bool:
            assert made.process.poll() is None, made.log.read_text()
            try:
                return made.browser().fetch("/exempt").status == 200
            except OSError:
                return False

        until(answers, 30, "the server's start")
        return made

    yield begin
    for made in started:
        made.stop()


def by_every_worker(browser: Browser, target: str) -> list[int]:
    """Ask until two different processes have answered; return the statuses of all answers."""
    workers: set[str | None] = set()
    statuses: list[int] = []

    def asked() -> bool:
        answer = browser.fetch(target)
        workers.add(answer.header("X-Worker"))
        statuses.append(answer.status)
        return len(workers) >= 2

    until(asked, 15, "an answer by both workers")
    return statuses


def test_a_whole_life(start: Callable[[dict[str, str]], Server]) -> None:
    """Login, activity, rotation, renewal, silence, login again, the absolute end, logout: as each rule says, in seconds."""
    server = start(SHORT)
    alice = server.browser()
    assert alice.navigate("/me?a=b").header("Location") == "/login?return_to=/me%3Fa%3Db"
    assert alice.submit("/login?subject=alice").status == 200
    began = time.time()
    first_token, first_jwt = alice.jar["__Host-session"], alice.jar["__Host-session_jwt"]

    assert set(by_every_worker(alice, "/me")) == {200}
    while time.time() - began < 6.5:  # activity keeps it alive beyond one inactivity timeout
        assert alice.fetch("/me").status == 200
        time.sleep(0.4)
    assert alice.jar["__Host-session"] != first_token, "renewed"
    assert alice.jar["__Host-session_jwt"] != first_jwt, "rotated"

    assert alice.fetch("/session/continue", "POST").status == 200
    last = time.time()
    left = alice.fetch("/session/status").json["inactivity_left"]
    assert 2 <= left <= 4
    while time.time() - last < 4.8:  # polls that do not count do not keep it alive
        alice.fetch("/poll")
        time.sleep(0.2)
    over = alice.navigate("/me")
    assert over.header("Location") == "/login?reason=inactivity&return_to=/me"

    assert alice.submit("/login?subject=alice").status == 200
    again = time.time()
    while (answer := alice.fetch("/me")).status == 200:
        assert time.time() - again < 18, "the absolute lifetime did not end it"
        time.sleep(0.3)
    assert time.time() - again >= 15.9
    assert answer.json["reason"] == "lifetime"

    assert alice.submit("/login?subject=alice").status == 200
    thief = alice.twin()
    assert set(by_every_worker(thief, "/me")) == {200}
    assert alice.submit("/sign-out").status == 200
    assert "__Host-session" not in alice.jar
    assert set(by_every_worker(thief, "/me")) == {401}, "logout is seen by every worker on the next request (L13)"


def test_a_killed_worker_loses_nothing(start: Callable[[dict[str, str]], Server]) -> None:
    """kill -9 in the middle of a request: what was acknowledged before is there, and the session goes on."""
    server = start({})
    alice, bob = server.browser(), server.browser()
    assert alice.submit("/login?subject=alice").status == 200
    assert alice.fetch('/claims?set={"a":1}', "POST").status == 200

    def slow() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # its worker is killed
            alice.twin().fetch("/me?slow")

    asking = threading.Thread(target=slow)
    asking.start()
    until(lambda: server.slow_file.exists() and server.slow_file.read_text(), 10, "the slow request")
    assert bob.submit("/login?subject=bob").status == 200
    os.kill(int(server.slow_file.read_text()), signal.SIGKILL)
    asking.join(25)

    def persistently(browser: Browser) -> Answer:
        """Ask until there is an answer: a new worker takes a moment, and hypercorn stops as a whole (it is restarted)."""
        answers: list[Answer] = []

        def answered() -> bool:
            if server.process.poll() is not None:
                server.run()
            with contextlib.suppress(OSError, http.client.HTTPException):
                answers.append(browser.fetch("/me"))
            return bool(answers)

        until(answered, 20, "an answer after the kill")
        return answers[0]

    for browser, subject, claims in [(alice, "alice", {"a": 1}), (bob, "bob", {})] * 2:
        answer = persistently(browser)
        assert answer.status == 200, answer.body
        assert (answer.json["subject"], answer.json["claims"]) == (subject, claims)
