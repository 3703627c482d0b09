"""The benchmark of faults: its judge finds what is wrong, and no verdict is wrong in a short run of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from benchmarks.faults.faults import FAULTS
from benchmarks.faults.ledger import Answer, Ended, Ledger, Visit
from benchmarks.faults.proxy import Proxy
from benchmarks.faults.report import shown, table
from benchmarks.faults.run import Way, look_at


def visit(began: float = 0.0) -> Visit:
    return Visit("alice", began, {"__Host-session": "x"})


def answer(kind: str, status: int, began: float = 10.0, took: float = 0.1) -> Answer:
    return Answer(kind, status, began, began + took)


WRONG: dict[str, tuple[str, Callable[[Ledger], object]]] = {
    "a live session refused": ("signed_out", lambda it: it.page(visit(), answer("page", 401), b"", False)),
    "sent to the login": ("signed_out", lambda it: it.page(visit(), answer("page", 303), b"", False)),
    "a cookie deleted": ("signed_out", lambda it: it.page(visit(), answer("page", 503), b"", True)),
    "another's page": ("let_in", lambda it: it.page(visit(), answer("page", 200), b"bob", False)),
    "a cookie of a failed login": ("let_in", lambda it: it.login(answer("login", 503), True)),
    "an ended session": ("let_in", lambda it: it.thief(Ended(visit(), 7.0, True), answer("thief", 200))),
    "an end that was owed": ("let_in", lambda it: it.owed(Ended(visit(), 7.0, False), answer("thief", 200))),
    "a forged token": ("let_in", lambda it: it.forged(answer("forged", 200))),
}

RIGHT: dict[str, Callable[[Ledger], object]] = {
    "her page": lambda it: it.page(visit(), answer("page", 200), b"alice", False),
    "a fault": lambda it: it.page(visit(), answer("page", 503), b"", False),
    "no answer": lambda it: it.page(visit(), answer("page", 0), b"", False),
    "a login": lambda it: it.login(answer("login", 200), True),
    "a login that failed": lambda it: it.login(answer("login", 503), False),
    "an ended session refused": lambda it: it.thief(Ended(visit(), 7.0, True), answer("thief", 401)),
    "within the lease": lambda it: it.thief(Ended(visit(), 9.0, True), answer("thief", 200)),
    "a logout that failed": lambda it: it.thief(Ended(visit(), 7.0, False), answer("thief", 200)),
    "an end that was owed, made up for": lambda it: it.owed(Ended(visit(), 7.0, False), answer("thief", 401)),
    "a forged token refused": lambda it: it.forged(answer("forged", 401)),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_judge_finds_what_is_wrong(what: str) -> None:
    """Each kind of wrong verdict is counted where it belongs."""
    ledger = Ledger(lease=2.0)
    where, happens = WRONG[what]
    happens(ledger)
    assert (len(ledger.let_in), len(ledger.signed_out)) == ((1, 0) if where == "let_in" else (0, 1))


@pytest.mark.parametrize("what", RIGHT)
def test_the_judge_lets_pass_what_is_right(what: str) -> None:
    """What a fault may do to users is no wrong verdict."""
    ledger = Ledger(lease=2.0)
    RIGHT[what](ledger)
    assert (ledger.let_in, ledger.signed_out, ledger.lost) == ([], [], 0)


@pytest.mark.parametrize(("began", "lost"), [(4.0, 1), (7.0, 0)])
def test_what_the_fault_took_away_is_lost_and_not_signed_out(began: float, lost: int) -> None:
    """A session from before a fault that forgets may be gone; a later one may not."""
    ledger = Ledger(lease=0.0, forgets=True, fault_at=5.0)
    ledger.page(visit(began), answer("page", 401), b"", False)
    assert (ledger.lost, len(ledger.signed_out)) == (lost, 1 - lost)


def test_a_fault_s_last_answer_says_when_all_is_normal() -> None:
    """The last answer that a fault is to blame for counts; a refusal of a thief does not."""
    ledger, now = Ledger(lease=0.0), time.monotonic()
    assert ledger.is_normal(1e9)
    for one in (answer("page", 503, now - 5), answer("logout", 0, now - 3), answer("thief", 503, now)):
        ledger.note(one)
    assert ledger.last_bad() == pytest.approx(now - 2.9)
    assert ledger.is_normal(2.0)
    assert not ledger.is_normal(4.0)
    assert ledger.statuses(("page", "logout"), now - 4, now) == {0: 1}


def test_a_late_line_is_no_narrow_one() -> None:
    """Answers that come one after the other on one connection are each late by as much as the proxy is told."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(server.getsockname()[1])
        client = socket.create_connection(("127.0.0.1", proxy.port))
        answering, _ = server.accept()
        proxy.delay = 0.3
        began = time.monotonic()
        for _ in range(5):
            answering.sendall(b"x")
            time.sleep(0.02)  # so that each is carried by itself
        client.settimeout(5)
        assert sum(len(client.recv(1)) for _ in range(5)) == 5
        assert 0.3 <= time.monotonic() - began < 1.2  # five times 0.3 would be 1.5
        for one in (client, answering):
            one.close()
        proxy.close()


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize(
    ("name", "way"),
    [("redis-killed", Way("asgi", 1.0)), ("postgres-frozen", Way("wsgi", None))],
    ids=["redis", "postgres"],
)
def test_no_verdict_is_wrong_while_a_store_fails(name: str, way: Way) -> None:
    """Nobody is let in, nobody is signed out, nothing is lost, and afterwards all is normal (L13, L17)."""
    (fault,) = [one for one in FAULTS if one.name == name]
    seen = look_at(fault, way, crowd=6, warm=1.0, seconds=3.0)
    assert seen.is_right, shown(seen)
    assert seen.lost == 0, shown(seen)
    assert seen.statuses["page"][503] + seen.statuses["login"][503] > 0, shown(seen)
    assert set(seen.statuses["public"]) == {200}, shown(seen)
    assert min(seen.audited) > 0, shown(seen)
    assert seen.fault.title in table([seen])
