"""AsyncRedisStore.close after something went wrong: no connection outlives it, whatever the client has lost sight of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import TimeoutError

from session_middleware.stores.redis import AsyncRedisStore
from session_middleware.testing.reference_record import reference_record
from tests.stores.redis_server import a_prefix, cluster, wait_until


@pytest.fixture
def masters() -> Iterator[list[Any]]:  # Any: redis.Redis, whose answers are typed for both its forms
    """A client of each master of the Cluster."""
    with redis.RedisCluster.from_url(cluster().partition(",")[0].replace("+cluster", ""), protocol=2) as known:
        clients = [redis.Redis(host=node.host, port=node.port, protocol=2) for node in known.get_primaries()]
    yield clients
    for client in clients:
        client.close()


def connected(masters: list[Any]) -> int:
    return sum(int(client.info("clients")["connected_clients"]) for client in masters)


def test_a_call_that_was_given_up_leaves_no_connection_to_a_cluster(masters: list[Any]) -> None:
    """One node falls silent; the connections to the others are closed too, which redis-py forgets to do then."""
    before = connected(masters)

    async def main() -> None:
        store = AsyncRedisStore.from_url(cluster(), prefix=a_prefix(), timeout=0.3)
        keys = [reference_record(n).key for n in range(12)]
        await asyncio.gather(*(store.load(key) for key in keys))
        assert connected(masters) > before
        masters[0].execute_command("CLIENT", "PAUSE", 600, "ALL")
        answers = await asyncio.gather(*(store.load(key) for key in keys), return_exceptions=True)
        assert any(isinstance(answer, TimeoutError) for answer in answers)
        await store.close()
        await asyncio.to_thread(wait_until, lambda: connected(masters) <= before, "connections to be closed", 5)

    asyncio.run(main())
