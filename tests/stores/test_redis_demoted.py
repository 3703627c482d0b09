"""A planned fail-over: the old master lives on as a replica, its connections stay open, and its name leads to the new one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from session_middleware.core.lifetime import Touch
from session_middleware.errors import StoreUnavailable
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.reference_record import reference_record
from tests.stores.redis_server import Server, Wire, replicates, wait_until

pytestmark = pytest.mark.slow

RECORD = reference_record(0)
KEY = RECORD.key
AT = RECORD.last_seen_at
TOUCH = Touch(AT + 60, AT + 4000, RECORD.keep_until + 60)


@dataclass
class Place:
    url: str
    fail_over: Callable[[], None]
    used: Callable[[], int]  # how many connections of apps the old master has


@pytest.fixture
def place() -> Iterator[Place]:
    """Two servers behind one name."""
    old = Server("--repl-diskless-sync-delay", "0")
    new = Server("--repl-diskless-sync-delay", "0", "--replicaof", f"127.0.0.1 {old.port}")
    wire = Wire(old.port)
    with old.client() as here, new.client() as there:
        wait_until(lambda: replicates(here), "the replica")

        def fail_over() -> None:
            there.execute_command("REPLICAOF", "NO", "ONE")
            here.execute_command("REPLICAOF", "127.0.0.1", new.port)
            wire.lead_to(new.port)
            wait_until(lambda: replicates(there), "the other direction")

        def used() -> int:
            return len(here.client_list(_type="normal")) - 1  # one is ours

        yield Place(f"redis://127.0.0.1:{wire.port}/0", fail_over, used)
    wire.close()
    old.remove()
    new.remove()


WRITES = ["create", "touch", "end"]


@pytest.mark.parametrize("write", WRITES)
def test_the_blocking_store_follows_the_name(place: Place, write: str) -> None:
    """The first write after it is done at the new master, and no connection to the old one is used any more."""
    with RedisStore.from_url(place.url, lease=60) as store:
        store.create(RECORD)
        assert store.load(KEY) == RECORD
        place.fail_over()
        if write == "create":
            store.create(reference_record(1))
        elif write == "touch":
            assert store.touch(KEY, TOUCH) == TOUCH.applied(RECORD)
        else:
            assert store.end(KEY, "logout", AT, RECORD.keep_until) is True
        wait_until(lambda: place.used() == 0, "the old connections' end")
        assert store.load(KEY) is not None
        assert place.used() == 0


@pytest.mark.parametrize("write", WRITES)
def test_the_awaited_store_follows_the_name(place: Place, write: str) -> None:
    """The same for the awaited form, its shared line included."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(place.url, lease=60) as store:
            await asyncio.gather(*(store.create(reference_record(n)) for n in range(5)))
            assert await store.load(KEY) == RECORD
            place.fail_over()
            if write == "create":
                await store.create(reference_record(5))
            elif write == "touch":
                assert await store.touch(KEY, TOUCH) == TOUCH.applied(RECORD)
            else:
                assert await store.end(KEY, "logout", AT, RECORD.keep_until) is True
            await asyncio.to_thread(wait_until, lambda: place.used() == 0, "the old connections' end")
            assert await store.load(KEY) is not None
            assert place.used() == 0

    asyncio.run(main())


def test_a_name_that_leads_to_a_replica_is_said_so() -> None:
    """Where the name leads to a replica and to nothing else, the fault says what to check."""
    replica = Server("--replicaof", "127.0.0.1 1")
    with RedisStore.from_url(replica.url) as store:
        for write in (lambda: store.create(RECORD), lambda: store.end_before(5.0, 6.0)):
            with pytest.raises(StoreUnavailable, match="replica"):
                write()
    replica.remove()
