"""What a session costs: round trips and bytes of memory, counted at a real server, never timed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_middleware.core.lifetime import Touch
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.reference_record import reference_record
from tests.stores.redis_server import Server, Wire, a_prefix, standalone

RECORD = reference_record(0)
KEY = RECORD.key
TOUCH = Touch(RECORD.last_seen_at + 60, RECORD.last_seen_at + 4000, RECORD.keep_until + 60)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire(standalone().port)
    yield wire
    wire.close()


def calls(store: Any) -> list[tuple[str, Callable[[], Any], int]]:
    """What a session goes through, and the trips of each."""
    return [
        ("create", lambda: store.create(RECORD), 1),
        ("load", lambda: store.load(KEY), 1),
        ("touch", lambda: store.touch(KEY, TOUCH), 1),
        ("save", lambda: store.save(RECORD), 1),
        ("renew", lambda: store.renew(KEY, 0, 1, RECORD.last_seen_at), 1),
        ("load", lambda: store.load(KEY), 1),
        ("list", lambda: store.list(RECORD.handles[0], RECORD.last_seen_at), 2),
        ("add_once", lambda: store.add_once("state", 2.0, 1.0), 1),
        ("end_before", lambda: store.end_before(1.0, 2.0), 1),
        ("end, and the entry in the list", lambda: store.end(KEY, "logout", RECORD.last_seen_at, RECORD.keep_until), 2),
        ("end of what has ended", lambda: store.end(KEY, "logout", RECORD.last_seen_at, RECORD.keep_until), 1),
    ]


def warm(store: Any) -> list[Callable[[], Any]]:
    """Let the server learn the scripts and the store the epoch, and connect: a line for reads, others for the rest."""
    other = reference_record(1)
    return [
        lambda: store.load(KEY),
        lambda: store.load(KEY),
        lambda: store.create(other),
        lambda: store.touch(other.key, TOUCH),
        lambda: store.renew(other.key, 0, 1, 1.0),
        lambda: store.save(other),
        lambda: store.list("", 0),
        lambda: store.add_once("another", 2.0, 1.0),
        lambda: store.end_before(0.0, 0.0),
        lambda: store.end(other.key, "logout", 1.0, 2.0),
    ]


def test_every_call_is_one_trip(wire: Wire) -> None:
    """A load, touch, save, renew and create are one trip each; an end takes another for the list of the subject."""
    with RedisStore.from_url(f"redis://127.0.0.1:{wire.port}", prefix=a_prefix(), lease=60) as store:
        for call in warm(store):
            call()
        for name, call, trips in calls(store):
            before = wire.trips
            call()
            assert (name, wire.trips - before) == (name, trips)


def test_every_awaited_call_is_one_trip(wire: Wire) -> None:
    """The same for the awaited form."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(f"redis://127.0.0.1:{wire.port}", prefix=a_prefix(), lease=60) as store:
            for call in warm(store):
                await call()
            for name, call, trips in calls(store):
                before = wire.trips
                await call()
                assert (name, wire.trips - before) == (name, trips)

    asyncio.run(main())


def test_a_load_that_reads_the_epoch_is_one_trip(wire: Wire) -> None:
    """Whether end_before was called is read with the record, once within the lease."""
    with RedisStore.from_url(f"redis://127.0.0.1:{wire.port}", prefix=a_prefix()) as store:
        store.load(KEY)
        before = wire.trips
        store._calls._epoch._due = -1.0
        store.load(KEY)
        assert wire.trips - before == 1


def test_a_load_is_one_get() -> None:
    """A thousand loads are a thousand GETs and nothing else, as the server counts them."""
    server = Server()
    with server.client() as client, RedisStore.from_url(server.url, lease=60) as store:
        store.create(RECORD)
        store.load(KEY)
        client.config_resetstat()
        for _ in range(1000):
            store.load(KEY)
        counted = {name: stat["calls"] for name, stat in client.info("commandstats").items()}
    server.remove()
    assert counted.pop("cmdstat_get") == 1000
    assert set(counted) <= {"cmdstat_config|resetstat", "cmdstat_info"}


def test_a_session_takes_at_most_540_bytes_and_720_with_its_entry() -> None:
    """The reference record takes at most 540 bytes of Redis, its key included, and 720 with the list of its subject."""
    with standalone().client() as client, RedisStore(client, prefix="session:") as store:
        for n in range(50):
            record = reference_record(1000 + n)
            store.create(record)
            alone = client.memory_usage(b"session:r:" + record.key, samples=0)
            entry = client.memory_usage(b"session:h:" + record.handles[0].encode(), samples=0)
            assert alone <= 540
            assert alone + entry <= 720


def test_writes_leave_no_room_unused() -> None:
    """A record that was touched, saved and renewed is no larger than one just created."""
    with standalone().client() as client, RedisStore(client, prefix=(prefix := a_prefix())) as store:
        store.create(RECORD)
        name = prefix.encode() + b"r:" + KEY
        before = client.memory_usage(name, samples=0)
        store.touch(KEY, TOUCH)
        store.save(RECORD)
        store.renew(KEY, 0, 1, 1.0)
        assert client.memory_usage(name, samples=0) == before
        store.end(KEY, "logout", RECORD.last_seen_at, RECORD.keep_until)
        assert client.memory_usage(name, samples=0) < before


def test_a_login_within_a_number_of_sessions_is_few_trips(wire: Wire) -> None:
    """create_capped is four trips for the first session of a subject, then five, and two for each that makes room."""
    with RedisStore.from_url(f"redis://127.0.0.1:{wire.port}", prefix=a_prefix(), lease=60) as store:
        for call in warm(store):
            call()
        store.create_capped(reference_record(8), reference_record(8).handles[0], 1, True, 1.0, 2.0)  # learns a script
        for n, trips in ((2, 4), (3, 5), (4, 7)):
            record = reference_record(n).evolve(handles=("ours",))
            before = wire.trips
            assert store.create_capped(record, "ours", 2, True, record.last_seen_at, record.keep_until) is not None
            assert wire.trips - before == trips
