"""Several processes do what they like through near caches while their lines are cut; what they saw is checked."""

from __future__ import annotations

import multiprocessing
import random
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from tests.stores.near_history import Event, around, judge, live
from tests.stores.near_servers import NearPostgres, NearRedis
from tests.stores.redis_server import Server

LEASE = 1.0
PROCESSES = 4
SECONDS = 25.0


def event(kind: str, began: float, *, accepted: bool = True, session: str = "s") -> Event:
    return Event(kind, session, "alice", began, began + 0.1, accepted)


def test_the_judge_finds_what_is_wrong() -> None:
    """A request accepted too late, and one refused too early, are found; what lies within the lease is a lag."""
    login, logout = event("login", 0.0), event("logout", 5.0)
    fine = judge(
        [login, event("request", 1.0), logout, event("request", 5.4), event("request", 9, accepted=False)], 1.0
    )
    assert (fine.late, fine.early) == ([], [])
    assert fine.lags == [pytest.approx(0.3)]
    late = event("request", 6.2)
    assert judge([login, logout, late], 1.0).late == [late]
    early = event("request", 4.0, accepted=False)
    assert judge([login, early, logout], 1.0).early == [early]
    everywhere = event("end_all", 5.0, session="alice")
    assert judge([login, everywhere, late], 1.0).late == [late]
    refused = event("logout", 5.0, accepted=False)
    assert judge([login, refused, late], 1.0).late == []
    after = event("login", 5.05)
    assert judge([after, everywhere, late], 1.0).late == []
    overlapping = Event(
        "login", "s", "alice", 4.0, 5.3, True
    )  # in the store when all were ended, acknowledged after that
    soon = event("request", 5.5, accepted=False)
    assert judge([overlapping, everywhere, soon], 1.0).early == []
    assert judge([event("login", 5.2), everywhere, soon], 1.0).early == [soon]
    assert around([everywhere, login, event("end_all", 5.0, session="bob"), soon], soon) == [login, everywhere, soon]


def _cut_some(near: NearRedis | NearPostgres, chance: random.Random) -> int:
    """Cut all connections that are listened on, or any one connection, commands' included; return how many cuts that was."""
    if chance.random() < 0.25:
        near.cut()
        return 1
    return near.cut_one(chance)


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("kind", [NearRedis, NearPostgres])
def test_nobody_is_accepted_later_than_the_lease(kind: Callable[[], Any]) -> None:
    """Logins, requests, renewals, logouts and end_all of four processes, connections cut at random: no end comes too late."""
    near, server, over = kind(), Server(), threading.Event()
    url = "redis://127.0.0.1:{}/0" if kind is NearRedis else "postgresql://sessions@127.0.0.1:{}/postgres"
    cuts = 0

    def cut() -> None:
        nonlocal cuts
        chance = random.Random(7)
        while not over.wait(chance.uniform(0.05, 0.6)):
            cuts += _cut_some(near, chance)

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
            jobs = [
                pool.submit(live, url.format(near.port), server.port, number, SECONDS, LEASE)
                for number in range(PROCESSES)
            ]
            told = [job.result() for job in jobs]
    finally:
        over.set()
        cutting.join()
        server.remove()
        near.remove()
    history = [event for part, _ in told for event in part]
    found = judge(history, LEASE)
    unavailable = sum(event.verdict == "UNAVAILABLE" for event in history)
    requests = sum(figures["requests"] for _, figures in told)
    trips = sum(figures["trips"] for _, figures in told)
    lags = found.lags
    summary = (
        f"{requests:.0f} requests ({unavailable} answered 503), {trips:.0f} trips, {len(lags)} sessions ended, {cuts} cuts, "
        f"{sum(figures['lost'] for _, figures in told):.0f} lines lost; last accepted after the end: "
        f"p50 {lags[len(lags) // 2] * 1e3:.2f} ms, p99 {lags[int(len(lags) * 0.99)] * 1e3:.2f} ms, "
        f"worst {lags[-1] * 1e3:.2f} ms"
    )
    print(summary)
    for finding in (*found.late, *found.early):
        print("\n".join(("What was done to it:", *map(str, around(history, finding)))))
    assert found.late == [], summary
    assert found.early == [], summary
    assert len(lags) > 200, summary
    assert cuts > 40, summary
    assert trips < requests, summary
