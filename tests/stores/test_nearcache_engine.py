"""Two processes with a near cache each before one real server: what one does counts in the other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from session_middleware.core.lifetime import Verdict
from session_middleware.runtime import run_sync
from session_middleware.stores.postgres import PostgresStore
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.redis.epoch import KnownEpoch
from session_middleware.testing import FakeClock
from session_middleware.testing.reference_record import reference_record
from tests.stores.forked import in_child
from tests.stores.near_servers import Process
from tests.stores.postgres_server import new_schema
from tests.stores.redis_server import a_prefix, url_of, wait_until

pytestmark = pytest.mark.server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["redis", "postgres"])
def two(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[tuple[Process, Process]]:
    """Two processes before one server; what one writes the other hears."""
    if request.param == "redis":
        url, prefix = url_of("standalone"), a_prefix()
        stores: list[Any] = [RedisStore.from_url(url, prefix=prefix, lease=60.0) for _ in range(2)]
    else:
        url = new_schema()
        stores = [PostgresStore.from_url(url) for _ in range(2)]
    one, other = (Process(store, clock, jwt_claims=["n"]).open() for store in stores)
    yield one, other
    one.stop()
    other.stop()


Two = tuple[Process, Process]


def test_a_logout_counts_in_the_other(two: Two) -> None:
    """A session that the other process holds near is refused there soon after it was signed out here."""
    one, other = two
    jar = one.login()
    other.settled(jar)
    one.request(jar, "logout")
    assert one.verdict(jar) is Verdict.REVOKED
    other.ends(jar, Verdict.REVOKED)


def test_end_all_counts_in_the_other(two: Two) -> None:
    """Every session of a subject that is ended here is refused there; others stay."""
    one, other = two
    jars, stays = [one.login() for _ in range(3)], one.login("bob")
    for jar in [*jars, stays]:
        other.settled(jar)
    assert run_sync(one.engine.end_all("alice", one.engine.clock())) == 3
    for jar in jars:
        other.ends(jar, Verdict.REVOKED)
    assert other.verdict(stays) is Verdict.ACTIVE


def test_end_before_counts_in_the_other(two: Two, clock: FakeClock) -> None:
    """Everything begun before an instant is refused there soon after, also what the store reads only now and then."""
    one, other = two
    jar = one.login()
    other.settled(jar)
    clock.advance(10)
    later = one.login()
    other.settled(later)
    run_sync(one.engine.end_before(clock() - 5, clock()))
    other.ends(jar, Verdict.REVOKED)
    one.ends(jar, Verdict.REVOKED)
    assert other.verdict(later) is Verdict.ACTIVE
    other.settled(later)


def test_an_end_before_that_nobody_heard(two: Two, clock: FakeClock) -> None:
    """What was ended while the line was down is not held on the next line, whatever the store had read before."""
    one, other = two
    jar = one.login()
    other.settled(jar)
    real = other.counted.announcements

    def late() -> Any:
        run_sync(one.engine.end_before(clock() + 1, clock()))
        return real()

    other.counted.announcements = late  # type: ignore[method-assign]
    line = other.near._line
    assert line is not None
    line.close()
    wait_until(lambda: other.near.state.lost >= 1 and other.near.state.open, "the next line")
    assert other.verdict(jar) is Verdict.REVOKED


def test_an_answer_from_before_a_doubt_counts_for_nobody() -> None:
    """After `doubt` only what is asked later is known; an older answer on its way is still believed where it ends more."""
    epoch = KnownEpoch(b"epoch", 60.0)
    asked = time.monotonic()
    epoch.answered(None, asked)
    assert epoch.is_known(asked)
    epoch.doubt()
    epoch.answered(KnownEpoch.packed(5.0, 6.0), asked)
    assert not epoch.is_known(time.monotonic())
    assert epoch.after(reference_record(0).evolve(authenticated_at=4.0)).ended_at == 6.0
    later = time.monotonic()
    epoch.answered(None, later)
    assert epoch.is_known(later)


def test_claims_count_in_the_other(two: Two) -> None:
    """Claims that are changed here are seen there soon, although it holds the record."""
    one, other = two
    jar = one.login()
    other.settled(jar)

    def seen() -> Any:
        x = other.engine.begin(_facts(jar))
        run_sync(other.engine.open(x))
        return None if x.record is None else x.record.claims.get("n")

    assert seen() is None
    x = one.engine.begin(_facts(jar))
    run_sync(one.engine.open(x))
    one.engine.change_claims(x, {"n": 7})
    run_sync(one.engine.save(x))
    wait_until(lambda: seen() == 7, "the claim", 5.0)


def test_an_extension_that_shortens_counts_in_the_other(two: Two, clock: FakeClock) -> None:
    """A deadline that was brought forward here holds there."""
    one, other = two
    jar = one.login()
    other.settled(jar)
    key, due = _key(other, jar), clock() + 300
    one.request(jar, "extend", 5)
    wait_until(lambda: other.near.load(key).inactivity_deadline == due, "the deadline", 5.0)
    clock.advance(minutes=6)
    assert other.verdict(jar) is Verdict.INACTIVITY_TIMEOUT


def test_a_replayed_token_is_found_by_the_other(two: Two, clock: FakeClock) -> None:
    """A token renewed here, presented once, is refused there after the grace when its predecessor comes back."""
    one, other = two
    old = one.login()
    other.settled(old)
    for _ in range(2):
        clock.advance(minutes=40)
        _, new = one.request(old)
    assert new != old
    assert other.verdict(old) is Verdict.ACTIVE  # nobody has presented the new one yet
    assert one.verdict(new) is Verdict.ACTIVE
    other.settled(new)
    assert other.verdict(old) is Verdict.ACTIVE
    clock.advance(31)
    other.ends(old, Verdict.REPLAYED)
    one.ends(new, Verdict.REPLAYED)


def test_a_newer_token_than_the_other_holds(two: Two, clock: FakeClock) -> None:
    """The successor is accepted there at once, although its announcement may not have come, and changes nothing."""
    one, other = two
    old = one.login()
    clock.advance(minutes=50)
    one.request(old)
    clock.advance(minutes=9.5)
    other.settled(old)
    held = other.near.load(_key(other, old))
    other.near._forget = lambda key: None  # type: ignore[method-assign]  # deaf
    clock.advance(40)
    _, new = one.request(old)
    assert new != old
    assert other.verdict(new) is Verdict.ACTIVE
    there = one.near.store.load(_key(one, new))
    assert held is not None
    assert there.generation == held.generation + 1


def test_silence_is_judged_by_what_was_done_elsewhere(two: Two, clock: FakeClock) -> None:
    """A process that holds an old deadline does not end a session that was used elsewhere meanwhile."""
    one, other = two
    jar = one.login()
    other.settled(jar)
    for _ in range(3):  # PostgreSQL does not announce these
        clock.advance(minutes=25)
        assert one.verdict(jar) is Verdict.ACTIVE
    assert other.verdict(jar) is Verdict.ACTIVE
    clock.advance(minutes=62)
    other.ends(jar, Verdict.INACTIVITY_TIMEOUT)
    one.ends(jar, Verdict.INACTIVITY_TIMEOUT)


def test_processes_that_both_hold_a_record_touch_it_once_an_interval(two: Two, clock: FakeClock) -> None:
    """L5: also where a touch is told to nobody (PostgreSQL): whoever comes second finds it written."""
    one, other = two
    jar = one.login()
    for _ in range(3):
        for process in (one, other):
            process.settled(jar)
        for process in (one, other):
            process.counted.forget_calls()
        clock.advance(61)
        for _ in range(2):
            for process in (other, one):
                assert process.verdict(jar) is Verdict.ACTIVE
        assert one.counted.writes + other.counted.writes == 1


def test_a_thousand_requests_cost_one_write_and_no_trip(two: Two, clock: FakeClock) -> None:
    """Within one touch interval both processes together write once, and ask nobody once they hold the record."""
    one, other = two
    jar = one.login()
    clock.advance(61)
    for process in (one, other):
        process.counted.forget_calls()
    assert one.verdict(jar) is Verdict.ACTIVE  # the touch
    writes = one.counted.writes
    for process in (other, one):
        process.settled(jar)
        writes += process.counted.writes
    assert writes == 1
    for process in (one, other):
        process.counted.forget_calls()
    for n in range(1000):
        assert (one, other)[n % 2].verdict(jar) is Verdict.ACTIVE
        clock.advance(0.05)
    assert one.counted.total + other.counted.total == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # what is tested is just that
def test_a_forked_child_listens_on_its_own_connection(two: Two) -> None:
    """As under a pre-forking server: the child hears of a logout, and its parent's connection survives the child."""
    one, other = two
    jars = [one.login() for _ in range(3)]
    for jar in jars:
        other.settled(jar)
    line = other.near._line

    def child() -> None:
        other.open()
        other.settled(jars[0])
        one.request(jars[0], "logout")
        other.ends(jars[0], Verdict.REVOKED)
        other.stop()

    assert in_child(child) == ""
    other.ends(jars[0], Verdict.REVOKED)
    one.request(jars[1], "logout")
    other.ends(jars[1], Verdict.REVOKED)
    other.settled(jars[2])
    assert other.near._line is line
    assert other.near.state.lost == 0


def _facts(jar: str) -> Any:
    from tests.core.facts import Facts

    return Facts(cookies=jar, sec_fetch_site="same-origin")


def _key(process: Process, jar: str) -> bytes:
    known = process.engine.credentials.read(jar, process.engine.clock())
    assert not isinstance(known, Verdict)
    return known.presented.key
