"""A whole life over real HTTP, in real seconds: two workers on one SQLite file, short limits (L3, L5, L7, L9, L11, L13).

What must hold is derived from instants taken around each request, not from how long a pause was meant to be: a request
sent before a deadline may be answered after it, and a loaded machine makes any pause longer.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.servers.people import Person
from tests.servers.running import Server, until

SILENCE, AGE = 5.0, 18.0

#: Seconds, so that a whole life fits into twenty of them.
SHORT = {
    "INACTIVITY_TIMEOUT": str(SILENCE),
    "ABSOLUTE_LIFETIME": str(AGE),
    "TOUCH_INTERVAL": "0.5",
    "RENEWAL_INTERVAL": "3",
    "RENEWAL_GRACE": "1",
    "JWT_LIFETIME": "10",
}

#: No session of the second part may end by itself, however long a server takes to come back.
LONG = {"INACTIVITY_TIMEOUT": "900", "ABSOLUTE_LIFETIME": "3600"}

NewPerson = Callable[[Server], Person]


def lives(server: Server, person: NewPerson, prefix: str) -> None:
    """Lead a whole life, then one in which a worker is killed.

    Args:
        server: one that is not running yet.
        person: makes somebody with a browser of their own.
        prefix: what stands before the names of settings in this app's environment.
    """
    with server.runs({prefix + name: value for name, value in SHORT.items()}):
        _whole_life(server, person)
    with server.runs({prefix + name: LONG.get(name, value) for name, value in SHORT.items()}):
        _killed_worker(server, person)


def _whole_life(server: Server, person: NewPerson) -> None:
    alice, steady = person(server), person(server)
    alice.comes()
    logged_in = steady.comes()
    token, jwt = alice.token, alice.jwt
    for worker in server.workers():
        with server.only(worker):
            assert alice.opens(), "signed in at one worker is signed in at the other"

    # Activity keeps her signed in beyond one inactivity timeout, renews the token (L11) and rotates the JWT (L9).
    begun = time.time()
    while alice.token == token or alice.jwt == jwt or time.time() < begun + SILENCE + 0.5:
        assert time.time() < logged_in[0] + AGE, "neither renewed nor rotated within a whole life"
        assert alice.opens()
        assert steady.opens()
        time.sleep(0.3)

    # Continue, then silence: polls are answered and keep nobody signed in. It ends on time, to the second (L5, L7).
    before = time.time()
    state = alice.browser.fetch("/session/continue", "POST").json
    after = time.time()
    assert SILENCE - 1 <= state["inactivity_left"] <= SILENCE
    _ends(lambda: (steady.opens(), alice.polls())[1], before + SILENCE, after + SILENCE)
    assert alice.why() == "inactivity"
    alice.comes("inactivity")

    # Whatever she does, the age ends it (L3), counted from the login.
    _ends(lambda: (alice.opens(), steady.opens())[1], logged_in[0] + AGE, logged_in[1] + AGE)
    assert steady.why() == "lifetime"

    # Logout at one worker is seen by the other on the next request, by a copy of the cookies too (L13).
    bob = person(server)  # a login in a browser of its own: on a slow machine alice may have been silent meanwhile
    bob.comes()
    thief = bob.twin()
    first, second = server.workers()
    with server.only(second):
        assert thief.opens()
    with server.only(first):
        bob.logs_out()
        assert bob.token is None
    for worker in (second, first):
        with server.only(worker):
            assert not thief.opens()
            assert thief.why() == "signed_out"


def _ends(asked: Callable[[], bool], earliest: float, latest: float) -> None:
    """Ask until refused: nothing sent after `latest` is answered, nothing refused before `earliest`."""
    while True:
        sent = time.time()
        answered = asked()
        if not answered:
            assert time.time() >= earliest, f"ended {earliest - time.time():.2f} s early"
            return
        assert sent < latest, f"alive {sent - latest:.2f} s after its end"
        time.sleep(0.2)


def _killed_worker(server: Server, person: NewPerson) -> None:
    """kill -9 in the middle of a request: what was acknowledged before is there, and life goes on."""
    alice, at_home, late = person(server), person(server), person(server)
    alice.comes()
    at_home.comes()
    login = late.browser.navigate(late.ways.page)
    page = late.browser.follow(login)
    server.killed_in(lambda: late.logs_in(page, login.header("Location") or ""))
    for one in (alice, at_home, alice, at_home):
        assert _persistently(server, one), "an acknowledged session is lost"
    server.recovered()  # until then the other worker may have answered, of a hypercorn that was about to stop
    late.comes()
    with contextlib.closing(sqlite3.connect(server.database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _persistently(server: Server, one: Person) -> bool:
    """Open the page, however often that takes: a new worker takes a moment, and hypercorn stops as a whole."""
    answers: list[bool] = []

    def answered() -> bool:
        server.restarted()
        with contextlib.suppress(OSError, http.client.HTTPException):
            answers.append(one.opens())
        return bool(answers)

    until(answered, "an answer after the kill")
    return answers[0]


class SideBySide:
    """Lives led at the same time, since each spends most of its time waiting.

    Args:
        request: of the fixture; only what its selected tests ask for begins.
        lead: leads the life of a name, in a folder.
        folder: where each gets a folder.
    """

    def __init__(self, request: pytest.FixtureRequest, lead: Callable[[str, Path], None], folder: Path) -> None:
        names = [item.callspec.params["name"] for item in request.session.items if item.path == request.path]
        self._pool = ThreadPoolExecutor(len(names))
        self._lives: dict[str, Future[None]] = {}
        for name in names:
            (folder / name).mkdir()
            self._lives[name] = self._pool.submit(lead, name, folder / name)

    def end(self, name: str) -> None:
        """Wait for the end of a life; raise what went wrong in it."""
        self._lives[name].result()

    def close(self) -> None:
        self._pool.shutdown()


def needs(missing: str | None) -> None:
    """Skip where something is missing, or fail where the run must not skip a server suite."""
    if missing is None:
        return
    if os.environ.get("SESSION_TESTS_REQUIRE_SERVERS"):
        pytest.fail(f"{missing}, and this run must not skip a server suite")
    pytest.skip(missing)
