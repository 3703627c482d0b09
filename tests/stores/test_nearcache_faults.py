"""Near caches while their server dies, freezes, is cut off or forgets: nobody is let in who has been signed out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from session_middleware.core.lifetime import Verdict
from session_middleware.testing import FakeClock
from tests.stores.near_servers import NearPostgres, NearRedis, Process
from tests.stores.redis_server import Wire, wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]

LEASE = 1.0

#: What a loaded machine may be late by, seconds.
SLACK = 2.0


@pytest.fixture(params=[NearRedis, NearPostgres], ids=["redis", "postgres"])
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    server = request.param()
    yield server
    server.remove()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def two(server: Any, clock: FakeClock) -> Iterator[tuple[Process, Process]]:
    one, other = (Process(server.store(), clock, lease=LEASE).open() for _ in range(2))
    yield one, other
    one.stop()
    other.stop()


Two = tuple[Process, Process]


def test_a_server_that_is_killed_and_comes_back(server: Any, two: Two) -> None:
    """While it is gone nobody is accepted from memory; when it is back the caches open again without a restart."""
    one, other = two
    jar = one.login()
    other.settled(jar)
    server.kill()
    wait_until(lambda: not other.near.state.open, "the line's end", LEASE + SLACK)
    assert other.verdict(jar) is Verdict.UNAVAILABLE
    server.start()
    survives = isinstance(server, NearPostgres)
    other.ends(jar, Verdict.ACTIVE if survives else Verdict.UNKNOWN)
    wait_until(lambda: one.near.state.open and other.near.state.open, "the near caches", 10.0)
    fresh = one.login()
    other.settled(fresh)
    assert other.near.state.lost >= 1


def test_a_frozen_server(server: Any, two: Two) -> None:
    """Hits stop within the lease though nothing raises; a logout made meanwhile counts when the server goes on."""
    one, other = two
    jar = one.login()
    other.settled(jar)
    third = server.store()
    key = _key(other, jar)
    third.load(key)
    server.freeze()
    frozen = time.monotonic()
    wait_until(lambda: not other.near.state.open, "the lease's end", LEASE + SLACK)
    assert time.monotonic() - frozen <= LEASE + SLACK
    assert other.verdict(jar) is Verdict.UNAVAILABLE
    done: list[bool] = []
    logout = threading.Thread(target=lambda: done.append(_patiently(third, key)))
    logout.start()
    server.thaw()
    logout.join(20)
    assert done == [True]
    wait_until(lambda: other.verdict(jar) is not Verdict.UNAVAILABLE, "the server")
    for process in (other, one):
        process.ends(jar, Verdict.REVOKED)
    third.close()


def _patiently(store: Any, key: bytes) -> bool:
    """End a session, however often that has to be tried; True when it is certain."""
    while True:
        try:
            return store.end(key, "revoked", 1.0, 9e9) or store.load(key).ended_at is not None
        except Exception:
            continue


def test_a_listener_that_is_cut_off(server: Any, two: Two) -> None:
    """The connection that is listened on is ended by the server: what is revoked right then is seen, and hits go on."""
    one, other = two
    jars = [one.login() for _ in range(20)]
    for jar in jars:
        other.settled(jar)
    for jar in jars[:10]:
        server.cut()
        one.request(jar, "logout")
        other.ends(jar, Verdict.REVOKED, LEASE + SLACK)
    wait_until(lambda: other.near.state.open, "the near cache")
    assert other.near.state.lost >= 1
    for jar in jars[10:]:
        other.settled(jar)


def test_everything_is_deleted(server: Any, two: Two) -> None:
    """When all records are deleted by hand (and PostgreSQL told so), nobody is accepted from memory."""
    one, other = two
    jars = [one.login() for _ in range(5)]
    for jar in jars:
        other.settled(jar)
    server.flush()
    for jar in jars:
        for process in (other, one):  # each hears of it by itself
            process.ends(jar, Verdict.UNKNOWN, LEASE + SLACK)
    assert other.near.state.lost == 0


def test_a_line_that_is_cut_half_open(server: Any, clock: FakeClock) -> None:
    """Answers that are swallowed on the way close the cache within the lease, and a logout elsewhere holds."""
    wire = Wire(server.port)
    one = Process(server.store(), clock, lease=LEASE).open()
    other = Process(server.store(wire.port), clock, lease=LEASE).open()
    jar = one.login()
    other.settled(jar)
    wire.swallows = True
    one.request(jar, "logout")
    patience = time.monotonic() + LEASE + SLACK
    wait_until(lambda: not other.near.state.open, "the lease's end", LEASE + SLACK)
    assert other.verdict(jar) is Verdict.UNAVAILABLE
    assert time.monotonic() <= patience + 1.0  # the store's own timeout
    other.stop()
    one.stop()
    wire.close()


def _key(process: Process, jar: str) -> bytes:
    known = process.engine.credentials.read(jar, process.engine.clock())
    assert not isinstance(known, Verdict)
    return known.presented.key
