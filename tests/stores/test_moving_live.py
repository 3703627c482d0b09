"""The real thing: an app under load outgrows SQLite for Redis and Redis for PostgreSQL, and nobody notices."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from session_middleware import Settings
from session_middleware.adapters.wsgi import SessionLifetimeMiddleware, session_from
from session_middleware.core.record import handle_of
from session_middleware.demo.visitors import Visitor
from session_middleware.stores import store_from_url
from session_middleware.stores.moving import MovingStore
from tests.stores.postgres_server import new_schema
from tests.stores.redis_server import a_prefix, url_of

SETTINGS = Settings(
    secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"],
    exempt_paths=["/in"],
    touch_interval=1,
    renewal_interval=2,
    renewal_grace=1,
)
WORKERS, USERS, IDLE = 2, 4, 400


def counting(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """An app that counts in the claims of the session, so that every request is a write that could be lost."""
    session = session_from(environ)
    if environ["PATH_INFO"] == "/in":
        session.login(environ["QUERY_STRING"])
    elif environ["PATH_INFO"] == "/out":
        session.logout()
    elif environ["PATH_INFO"] == "/count":
        session.update_claims(count=session.claims.get("count", 0) + 1)
    elif environ["PATH_INFO"] == "/out-everywhere":
        session.end_others()
    count = session.claims.get("count", 0)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"count": count, "who": session.subject}).encode()]


class Deployment:
    """Workers of one app, replaced one after the other while requests come in; each request goes to any of them."""

    def __init__(self, store: Any) -> None:
        self._workers = [self._worker(store) for _ in range(WORKERS)]

    def _worker(self, store: Any) -> SessionLifetimeMiddleware:
        return SessionLifetimeMiddleware(counting, SETTINGS, store)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return random.choice(self._workers)(environ, start_response)

    def roll_out(self, store: Any, load: Load) -> None:
        """Replace the workers, letting everybody act on each mixture."""
        for at in range(WORKERS):
            self._workers[at] = self._worker(store)
            load.goes_on()


class Load:
    """Users who log in, count, log out and come back, for as long as it lasts."""

    def __init__(self, app: Deployment) -> None:
        self._app = app
        self._stop = threading.Event()
        self.faults: list[str] = []
        self.gone: list[dict[str, str]] = []  # cookies of those who have logged out
        self.rounds = [0] * USERS
        self.requests = 0
        self._threads = [threading.Thread(target=self._lives, args=(n,)) for n in range(USERS)]
        for thread in self._threads:
            thread.start()

    def _lives(self, n: int) -> None:
        try:
            while not self._stop.is_set():
                self._visit(n)
                self.rounds[n] += 1
        except Exception as fault:
            self.faults.append(f"user {n}: {fault!r}")

    def _visit(self, n: int) -> None:
        me, phone = Visitor(self._app, "laptop"), Visitor(self._app, "phone")
        for browser in (me, phone):
            self._expect(browser, "POST", f"/in?user-{n}", 200)
        for count in range(1, random.randrange(4, 10)):
            answer = self._expect(me, "GET", "/count", 200)
            if answer["count"] != count:
                self.faults.append(f"user {n}: counted {answer['count']} for {count}")
                return
            self._expect(phone, "GET", "/", 200)
        if n % 2:
            self._expect(me, "POST", "/out-everywhere", 200)
        else:
            self._leave(phone, "/out")
        self._expect(phone, "GET", "/", 401)
        self._leave(me, "/out")

    def _leave(self, browser: Visitor, target: str) -> None:
        cookies = dict(browser.cookies)
        self._expect(browser, "POST", target, 200)
        browser.cookies = cookies  # as a thief would keep them
        self._expect(browser, "GET", "/", 401)
        self.gone.append(cookies)
        del self.gone[:-200]

    def _expect(self, browser: Visitor, method: str, target: str, status: int) -> dict[str, Any]:
        answer = browser.ask(method, target)
        self.requests += 1
        if answer["status"] != status:
            self.faults.append(f"{method} {target}: {answer['status']} for {status}")
            raise AssertionError(self.faults[-1])
        return answer

    def goes_on(self) -> None:
        """Wait until everybody has lived through two whole rounds from here."""
        before = list(self.rounds)
        while not self.faults and any(now < then + 2 for now, then in zip(self.rounds, before, strict=True)):
            self._stop.wait(0.01)
        assert self.faults == []

    def waits(self) -> None:
        """Leave the processor to everybody else for a moment."""
        self._stop.wait(0.01)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def moved(source: str, target: str) -> str:
    """Run the command as an operator does, in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "session_middleware", "sessions", "move", source, target],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_nobody_is_signed_out_and_nobody_comes_back(tmp_path: Path) -> None:
    """Users at work and users asleep keep their sessions and counts from SQLite to Redis to PostgreSQL; who left is out."""
    urls = [f"sqlite:///{tmp_path / 'sessions.db'}", f"{url_of('standalone')}&prefix={a_prefix()}", new_schema()]
    stores: list[Any] = [store_from_url(url) for url in urls]
    app = Deployment(stores[0])
    asleep = [Visitor(app, "asleep") for _ in range(IDLE)]
    for n, visitor in enumerate(asleep):
        visitor.ask("POST", f"/in?idle-{n}")
        assert visitor.ask("GET", "/count")["count"] == 1
    load = Load(app)
    try:
        for at in (0, 1):
            old, new = stores[at], stores[at + 1]
            app.roll_out(MovingStore(old, new), load)
            app.roll_out(MovingStore(old, new, create_in_new=True), load)
            said = moved(urls[at], urls[at + 1])
            assert "All live sessions of FROM are in TO." in said
            load.goes_on()
            app.roll_out(new, load)
    finally:
        load.stop()
    assert load.faults == []
    assert all(visitor.ask("GET", "/count")["count"] == 2 for visitor in asleep)
    for cookies in load.gone:
        thief = Visitor(app, "thief")
        thief.cookies = cookies
        assert thief.ask("GET", "/")["status"] == 401
    assert load.requests > 500
    for store in stores:
        store.close()


def killed(source: str, target: str, how: signal.Signals, has_begun: Callable[[], bool], load: Load) -> str:
    """Run the command and end it with a signal once it has moved somebody; return what it said."""
    command = [sys.executable, "-W", "error", "-m", "session_middleware", "sessions", "move", source, target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            while process.poll() is None and not has_begun():
                load.waits()
            process.send_signal(how)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    return said


@pytest.mark.slow
def test_a_command_that_is_killed_again_and_again_costs_nothing(tmp_path: Path) -> None:
    """Whatever ends the command, and wherever it was: the next one goes on from there, and nobody notices."""
    urls = [f"sqlite:///{tmp_path / 'sessions.db'}", f"{url_of('standalone')}&prefix={a_prefix()}", new_schema()]
    stores: list[Any] = [store_from_url(url) for url in urls]
    app = Deployment(stores[0])
    asleep = [Visitor(app, "asleep") for _ in range(IDLE)]
    handles = [handle_of("subject", f"idle-{n}") for n in range(IDLE)]
    for n, visitor in enumerate(asleep):
        visitor.ask("POST", f"/in?idle-{n}")
        assert visitor.ask("GET", "/count")["count"] == 1
    load, in_the_middle = Load(app), 0
    try:
        for at in (0, 1):
            old, new = stores[at], stores[at + 1]
            app.roll_out(MovingStore(old, new), load)
            app.roll_out(MovingStore(old, new, create_in_new=True), load)
            there: set[str] = set()

            def has_begun(new: Any = new, there: set[str] = there) -> bool:
                found = {handle for handle in handles if handle not in there and new.list(handle, time.time())}
                there.update(found)
                return bool(found)

            for how in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                said = killed(urls[at], urls[at + 1], how, has_begun, load)
                assert "Traceback" not in said
                in_the_middle += "All live sessions" not in said
                load.goes_on()
            assert "All live sessions of FROM are in TO." in moved(urls[at], urls[at + 1])
            load.goes_on()
            app.roll_out(new, load)
    finally:
        load.stop()
    assert load.faults == []
    assert in_the_middle > 2, "signals came too late"
    assert all(visitor.ask("GET", "/count")["count"] == 2 for visitor in asleep)
    for cookies in load.gone:
        thief = Visitor(app, "thief")
        thief.cookies = cookies
        assert thief.ask("GET", "/")["status"] == 401
    for store in stores:
        store.close()


@pytest.mark.slow
def test_the_command_may_run_while_workers_still_log_in_to_the_old_store(tmp_path: Path) -> None:
    """Nobody is signed out and no count is lost where the command is run before step 2 is everywhere."""
    urls = [f"sqlite:///{tmp_path / 'sessions.db'}", f"sqlite:///{tmp_path / 'new.db'}"]
    old, new = (store_from_url(url) for url in urls)
    app = Deployment(MovingStore(old, new))
    load = Load(app)
    try:
        load.goes_on()
        done = subprocess.run(
            [sys.executable, "-m", "session_middleware", "sessions", "move", *urls],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        load.goes_on()
    finally:
        load.stop()
    assert load.faults == []
    assert "round 1: " in done.stdout
    assert done.stderr == ""
