"""A master dies: calls fail until another has taken over, then succeed again by themselves, and nobody has been signed out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.reference_record import reference_record
from tests.stores.redis_server import Server, replicates, wait_until

pytestmark = pytest.mark.slow

RECORDS = [reference_record(n) for n in range(20)]

#: A URL, and what kills a master.
Place = tuple[str, Callable[[], None]]


def behind_a_sentinel() -> tuple[list[Server], str]:
    master = Server("--repl-diskless-sync-delay", "0")
    replica = Server("--replicaof", f"127.0.0.1 {master.port}")
    with master.client() as client:
        wait_until(lambda: replicates(client), "the replica")
    watcher = Server(
        conf=f"sentinel monitor main 127.0.0.1 {master.port} 1\nsentinel down-after-milliseconds main 1000\n"
    )
    with watcher.client() as client:
        wait_until(lambda: bool(client.sentinel_slaves("main")), "the Sentinel")
    return [master, replica, watcher], f"redis+sentinel://127.0.0.1:{watcher.port}/main"


def in_a_cluster() -> tuple[list[Server], str]:
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0")
    servers = [Server(*options) for _ in range(6)]
    clients: list[Any] = [server.client() for server in servers]
    bounds = (0, 5461, 10_923, 16_384)
    for at, client in enumerate(clients):
        if at < 3:
            client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[at], bounds[at + 1] - 1)
        client.execute_command("CLUSTER SET-CONFIG-EPOCH", at + 1)
        client.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port)
    wait_until(lambda: all(len(client.cluster("NODES")) == 6 for client in clients), "the Cluster")
    for master, replica in zip(clients[:3], clients[3:], strict=True):
        replica.execute_command("CLUSTER REPLICATE", master.execute_command("CLUSTER MYID"))
    wait_until(lambda: all(client.cluster("INFO")["cluster_state"] == "ok" for client in clients), "the Cluster")
    for client in clients:
        wait_until(lambda client=client: all(len(slot) > 3 for slot in client.cluster("SLOTS")), "the replicas")
    for client in clients[:3]:
        wait_until(lambda client=client: bool(client.execute_command("WAIT", 1, 1000)), "the replicas")
    for client in clients:
        client.close()
    return servers, "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers[:3])


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
            except redis.exceptions.RedisError:
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
                except redis.exceptions.RedisError:
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
        with pytest.raises(redis.exceptions.RedisError):
            listener.receive(10.0)
        patience = time.monotonic() + 30
        while time.monotonic() < patience:
            try:
                store.load(RECORDS[0].key)
                listener = store.announcements()
                break
            except redis.exceptions.RedisError:
                time.sleep(0.1)
        for record in RECORDS:
            store.create(record)
        told: set[bytes] = set()
        wait_until(lambda: told.update(listener.receive(0.5)[0]) or len(told) == len(RECORDS), "the announcements")
        assert told == {record.key for record in RECORDS}
        listener.close()
