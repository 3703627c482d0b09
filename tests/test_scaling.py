"""The benchmark of scaling: its arithmetic, and a short run of it on real servers."""

from __future__ import annotations

import pytest

from benchmarks.scaling import Load, Measured, _places, measure, report, worked_out

CALLS = ("check", "touch", "login", "end")

PLAIN = Measured("Redis", 500.0, 300.0, dict.fromkeys(CALLS, 10.0), dict.fromkeys(CALLS, 9000.0), {})


def test_a_load_says_how_many_calls_come() -> None:
    """A tenth in use, a request each ten seconds, a touch each minute, a login and an end a day."""
    rates = Load(864_000).rates(near=False)
    assert rates == {"check": 8640.0, "touch": 1440.0, "login": 10.0, "end": 10.0}
    assert Load(864_000).rates(near=True)["check"] == 1440.0


def test_room_and_processors_are_worked_out() -> None:
    """Room is for the living and the ended; processors for every call."""
    room, busy, log = worked_out(PLAIN, Load(864_000), near=False)
    assert (room, log) == (864_000 * 800, 0)
    assert busy == pytest.approx((8640 + 1440 + 10 + 10) * 10e-6)


def test_the_tables_say_what_that_is() -> None:
    """As many masters as room or processors ask for, and no fewer than a Cluster takes."""
    other = Measured("PostgreSQL", 600.0, 400.0, PLAIN.took, PLAIN.rate, dict.fromkeys(CALLS, 100.0))
    text = report([PLAIN, other, PLAIN])
    assert "| Redis | 1 million | 11,690 | 0.7 GiB | 0.12 | 3 masters of 1 GiB" in text
    assert "| Redis | 100 million | 1,168,981 | 74.5 GiB | 11.69 | 24 masters of 4 GiB" in text
    assert "| PostgreSQL | 1 million | 11,690 | 0.9 GiB | 0.12 | 2 processors, 1.2 MB of log a second |" in text


@pytest.mark.slow
@pytest.mark.server
def test_every_store_is_measured() -> None:
    """A session takes some room and every call some time, on real servers."""
    with _places() as places:
        for place in places:
            seen = measure(place, 1500)
            assert 100 < seen.alive < 2000, seen
            assert 0 < seen.ended < 1500, seen
            assert set(seen.took) == set(CALLS)
            assert sum(seen.took.values()) > 0, seen
            assert min(seen.rate.values()) > 0, seen
            assert bool(seen.log) is (seen.name == "PostgreSQL")
