"""A slot of a Cluster that has moved or is moving while a durable write is on its way to its old master."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.stores.redis.cluster import ClusterLink
from session_middleware.testing.reference_record import reference_record
from tests.stores.redis_server import a_prefix, cluster

pytestmark = pytest.mark.slow

RECORD = reference_record(0)
KEY = RECORD.key
AT = RECORD.last_seen_at


@pytest.fixture
def masters() -> Iterator[list[Any]]:
    """Clients of the Cluster's masters, in the order of their slots."""
    clients = [redis.Redis(port=int(port), protocol=2) for port in re.findall(r":(\d+)", cluster())]
    yield clients
    for client in clients:
        client.close()


@pytest.fixture(params=["blocking", "awaited"])
def play(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Calls a method of a store whose master says that it has a replica, so that writes go out together with a WAIT."""
    import asyncio

    async def one(link: Any, key: bytes) -> int:
        return 1

    monkeypatch.setattr(ClusterLink, "replicas", one)
    with asyncio.Runner() as runner:
        if request.param == "blocking":
            store: Any = RedisStore.from_url(cluster(), prefix=a_prefix(), replica_wait=0.01)
            run: Any = lambda answer: answer  # noqa: E731  # as runner.run below
        else:
            store = AsyncRedisStore.from_url(cluster(), prefix=a_prefix(), replica_wait=0.01)
            run = runner.run

        def call(method: str, *arguments: Any) -> Any:
            return run(getattr(store, method)(*arguments))

        call.store = store  # type: ignore[attr-defined]
        yield call
        run(store.close())


def name_in(play: Any) -> bytes:
    return bytes(play.store._prefix) + b"r:" + KEY


def test_a_write_finds_the_new_master_of_its_slot(
    play: Any, masters: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent to a master that has the slot no more is done where it is now; login and logout see no fault."""
    node = ClusterLink._node

    async def another(link: Any, key: bytes) -> Any:
        right = await node(link, key)
        return next(each for each in link._client.get_primaries() if each.name != right.name)

    monkeypatch.setattr(ClusterLink, "_node", another)
    play("create", RECORD)
    assert play("load", KEY) == RECORD
    assert play("end", KEY, "logout", AT, RECORD.keep_until) is True
    assert play("load", KEY).end_reason == "logout"


def test_a_write_follows_a_slot_that_is_on_its_way(play: Any, masters: list[Any]) -> None:
    """While a slot moves, a login and a logout go where its keys already are."""
    slot = key_slot(name_in(play))
    at = next(n for n, end in enumerate((5461, 10_923, 16_384)) if slot < end)
    old, new = masters[at], masters[at - 1]
    old_id, new_id = (client.execute_command("CLUSTER MYID") for client in (old, new))
    new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
    old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
    try:
        play("create", RECORD)
        assert play("end", KEY, "logout", AT, RECORD.keep_until) is True
        assert play("load", KEY).end_reason == "logout"
    finally:
        asking = new.pipeline(transaction=False)
        asking.execute_command("ASKING")
        asking.execute_command("DEL", name_in(play))
        assert asking.execute() == [True, 1]
        for client in (new, old):
            client.execute_command("CLUSTER SETSLOT", slot, "STABLE")
