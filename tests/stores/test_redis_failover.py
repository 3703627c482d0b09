"""A master dies: calls fail until another has taken over, then succeed again by themselves, and nobody has been signed out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from session_middleware.errors import StoreUnavailable
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.reference_record import reference_record
from tests.stores.redis_server import behind_a_sentinel, in_a_cluster, wait_until

pytestmark = pytest.mark.slow

RECORDS = [reference_record(n) for n in range(20)]

#: As redis-py says it, or, where no Sentinel knows a master yet, as an operator reads it.
UNREACHABLE = (redis.exceptions.RedisError, StoreUnavailable)

#: A URL, and what kills a master.
Place = tuple[str, Callable[[], None]]


@pytest.fixture(params=[behind_a_sentinel, in_a_cluster])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Servers of the test's own, the first of which is a master."""
    servers, url = request.param()
    yield url, servers[0].stop
    for server in servers:
        server.remove()


def test_the_blocking_store_finds_the_new_master(place: Place) -> None:
    """Every session that a replica confirmed is there, alive, after the fail-over, and can be ended."""
    url, die = place
    with RedisStore.from_url(url, replica_wait=1.5) as store:
        for record in RECORDS:
            store.create(record)
        assert store.unconfirmed == 0
        die()
        failures = 0
        patience = time.monotonic() + 30
        while failures < 1000 and time.monotonic() < patience:
            try:
                found = [store.load(record.key) for record in RECORDS]
                break
            except UNREACHABLE:
                failures += 1
                time.sleep(0.02)
        assert failures > 0
        assert found == RECORDS
        for record in RECORDS:
            assert store.end(record.key, "logout", record.last_seen_at, record.keep_until) is True
        assert {store.load(record.key).end_reason for record in RECORDS} == {"logout"}


def test_the_awaited_store_finds_the_new_master(place: Place) -> None:
    """The same for the awaited form."""
    url, die = place

    async def main() -> None:
        async with AsyncRedisStore.from_url(url, replica_wait=1.5) as store:
            for record in RECORDS:
                await store.create(record)
            assert store.unconfirmed == 0
            die()
            failures = 0
            patience = time.monotonic() + 30
            while failures < 1000 and time.monotonic() < patience:
                try:
                    found = await asyncio.gather(*(store.load(record.key) for record in RECORDS))
                    break
                except UNREACHABLE:
                    failures += 1
                    await asyncio.sleep(0.02)
            assert failures > 0
            assert found == RECORDS
            for record in RECORDS:
                assert await store.end(record.key, "logout", record.last_seen_at, record.keep_until) is True

    asyncio.run(main())


def test_who_listens_learns_that_a_master_is_gone(place: Place) -> None:
    """Announcements stop with an error, and come again from the new master."""
    url, die = place
    with RedisStore.from_url(url) as store:
        listener = store.announcements()
        die()
        with pytest.raises(UNREACHABLE):
            listener.receive(10.0)
        patience = time.monotonic() + 30
        while time.monotonic() < patience:
            try:
                store.load(RECORDS[0].key)
                listener = store.announcements()
                break
            except UNREACHABLE:
                time.sleep(0.1)
        for record in RECORDS:
            store.create(record)
        told: set[bytes] = set()
        wait_until(lambda: told.update(listener.receive(0.5)[0]) or len(told) == len(RECORDS), "the announcements")
        assert told == {record.key for record in RECORDS}
        listener.close()
