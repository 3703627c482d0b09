"""Durable writes and the replicas they wait for: one that is silent, gone or not there yet keeps nobody from signing out."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import redis

from session_middleware.errors import SettingsError
from session_middleware.runtime import run_sync
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.stores.redis.calls import RedisCalls
from session_middleware.testing.reference_record import reference_record
from tests.stores.redis_server import Server, in_a_cluster, replicates, wait_until

pytestmark = pytest.mark.slow

RECORD = reference_record(0)
KEY = RECORD.key
AT = RECORD.last_seen_at


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server("--repl-diskless-sync-delay", "0")
    yield server
    server.remove()


@pytest.fixture
def replica(server: Server) -> Iterator[Server]:
    """A replica of `server` that has all it has."""
    replica = Server("--replicaof", f"127.0.0.1 {server.port}")
    with server.client() as client:
        wait_until(lambda: replicates(client), "the replica")
    yield replica
    replica.remove()


# --- one that is silent -----------------------------------------------------------------------------------------------


def test_a_short_timeout_outlasts_the_wait_for_a_silent_replica(server: Server, replica: Server) -> None:
    """With a timeout of 0.3 s logins and logouts are stored while the only replica is silent, and no call fails."""
    with RedisStore.from_url(f"{server.url}?timeout=0.3") as store:
        store.create(RECORD)
        os.kill(replica.process.pid, signal.SIGSTOP)
        store.create(reference_record(1))
        assert store.end(KEY, "logout", AT, RECORD.keep_until) is True
        assert store.load(KEY).end_reason == "logout"
        assert store.unconfirmed == 2


def test_the_end_of_all_sessions_and_one_time_values_wait_for_replicas(server: Server, replica: Server) -> None:
    """end_before and add_once are as durable as a logout: where the replica is silent, the store counts it (L13)."""
    with RedisStore.from_url(f"{server.url}?timeout=0.3") as store:
        store.end_before(5.0, 6.0)
        assert store.add_once("jti", AT + 60, AT) is True
        assert store.unconfirmed == 0
        os.kill(replica.process.pid, signal.SIGSTOP)
        store.end_before(7.0, 8.0)
        assert store.unconfirmed == 1
        assert store.add_once("another", AT + 60, AT) is True
        assert store.unconfirmed == 2


def test_an_end_is_stored_where_the_server_does_not_know_the_script(server: Server, replica: Server) -> None:
    """After a restart or a fail-over no script is known; a silent replica does not keep the server from being told it."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(server.url, timeout=0.6, replica_wait=0.5) as store:
            await store.create(RECORD)
            with server.client() as client:
                client.script_flush()
            os.kill(replica.process.pid, signal.SIGSTOP)
            began = time.monotonic()
            assert await store.end(KEY, "logout", AT, RECORD.keep_until) is True
            assert time.monotonic() - began < 0.9  # waited for once
            assert store.unconfirmed == 1

    asyncio.run(main())


def test_a_wait_that_the_timeout_would_cut_short_is_refused() -> None:
    """replica_wait not below the timeout, of the URL or of a client, is a SettingsError with both values and what to give."""
    refused: list[Any] = [
        lambda: RedisStore.from_url("redis://localhost", timeout=0.5, replica_wait=0.5),
        lambda: AsyncRedisStore.from_url("redis+cluster://localhost?timeout=0.4", replica_wait=0.5),
        lambda: RedisStore(redis.Redis(socket_timeout=0.3), replica_wait=0.5),
        lambda: AsyncRedisStore(redis.asyncio.RedisCluster("127.0.0.1", socket_timeout=0.3), replica_wait=0.5),
        lambda: RedisStore(lambda: redis.Redis(socket_timeout=0.3), replica_wait=0.5).load(KEY),
    ]
    for make in refused:
        with pytest.raises(SettingsError, match=r"replica_wait=0\.5.*timeout of 0\.[345] s.*Give replica_wait=0\.\d"):
            make()
    RedisStore(redis.Redis(socket_timeout=0.3))  # left out, it fits by itself


class Lost:
    """A link whose connection is lost in the middle of every trip: the answers that are missing are faults."""

    one_place = True
    timeout = None

    async def replicas(self, key: bytes) -> int:
        return 1

    async def together(self, key: bytes, commands: Sequence[Any]) -> list[Any]:
        return [redis.exceptions.TimeoutError() for _ in commands]

    async def get(self, name: bytes) -> None:
        return None


def test_a_fault_in_the_place_of_an_answer_is_a_fault() -> None:
    """A login, an end, an end of all and a one-time value whose answer was lost raise; none counts as unconfirmed."""
    link: Any = Lost()
    calls = RedisCalls(lambda: link, prefix=b"session:", lease=2.0, replicas=1, replica_wait=0.1)
    for call in (
        calls.create(RECORD),
        calls.end(KEY, "logout", AT, RECORD.keep_until),
        calls.end_before(5.0, 6.0),
        calls.add_once("jti", AT + 60, AT),
    ):
        with pytest.raises(redis.exceptions.TimeoutError):
            run_sync(call)
    assert calls.unconfirmed == 0


# --- one that is not there --------------------------------------------------------------------------------------------


def test_a_replica_that_is_still_copying_is_not_waited_for() -> None:
    """One that has come a moment ago and has nothing yet cannot confirm; logins do not wait for it."""
    server = Server("--repl-diskless-sync-delay", "60")
    replica = Server("--replicaof", f"127.0.0.1 {server.port}")
    with server.client() as client, RedisStore.from_url(server.url) as store:
        wait_until(lambda: bool(client.info("replication")["connected_slaves"]), "the replica")
        began = time.monotonic()
        store.create(RECORD)
        assert time.monotonic() - began < 0.4
        assert store.unconfirmed == 0
    server.remove()
    replica.remove()


def replicas_go(servers: list[Server], unconfirmed: Callable[[], int], create: Callable[[Any], None]) -> None:
    """Play the same with either form: replicas that answer, that are silent, that are gone."""
    masters = [server.client() for server in servers[:3]]
    create(reference_record(0))
    assert unconfirmed() == 0
    for server in servers[3:]:
        os.kill(server.process.pid, signal.SIGSTOP)
    create(reference_record(1))
    assert unconfirmed() == 1
    for server in servers[3:]:
        server.stop()
    wait_until(lambda: not any(one.info("replication")["connected_slaves"] for one in masters), "the replicas' end")
    for n in range(2, 20):
        create(reference_record(n))
    assert unconfirmed() == 1
    for one in masters:
        one.close()


@pytest.fixture
def place() -> Iterator[tuple[list[Server], str]]:
    """A Cluster of the test's own: three masters, then their replicas."""
    place = in_a_cluster()
    yield place
    for server in place[0]:
        server.remove()


def test_in_a_cluster_replicas_that_are_gone_are_not_waited_for(place: tuple[list[Server], str]) -> None:
    """A write waits for the replica of its own master: a silent one is counted, one that is gone costs nothing (L13)."""
    with RedisStore.from_url(place[1]) as store:
        replicas_go(place[0], lambda: store.unconfirmed, store.create)


def test_in_a_cluster_the_awaited_store_waits_alike(place: tuple[list[Server], str]) -> None:
    """The same for the awaited form."""
    with asyncio.Runner() as runner:
        store = AsyncRedisStore.from_url(place[1])
        replicas_go(place[0], lambda: store.unconfirmed, lambda record: runner.run(store.create(record)))
        runner.run(store.close())
