"""What Redis announces: every write by anybody, on every master, and answers that prove nothing came before them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from session_middleware.core.lifetime import Touch
from session_middleware.errors import SettingsError, StoreUnavailable
from session_middleware.stores.base import Announcements, Announces
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.reference_record import reference_record
from tests.stores.redis_server import Server, a_prefix, in_a_cluster, standalone, url_of, wait_until

KEY = reference_record(0).key


@pytest.fixture(params=["standalone", "cluster", "sentinel"])
def url(request: pytest.FixtureRequest) -> str:
    return url_of(request.param)


@pytest.fixture
def store(url: str) -> Iterator[RedisStore]:
    with RedisStore.from_url(url, prefix=a_prefix()) as store:
        yield store


@pytest.fixture
def listener(store: RedisStore) -> Iterator[Announcements]:
    listener = store.announcements()
    yield listener
    listener.close()


def told(listener: Announcements) -> list[bytes]:
    """Ask, and return what was announced until the answer came."""
    listener.ask()
    keys: list[bytes] = []
    patience = time.monotonic() + 10
    while time.monotonic() < patience:
        found, answered = listener.receive(1.0)
        keys += found
        if answered:
            return keys
    raise AssertionError("no answer")


def test_every_write_is_announced(store: RedisStore, listener: Announcements) -> None:
    """create, touch, save, renew and end each announce the record's key, to whoever listens, before the next answer."""
    record = reference_record(0)
    touch = Touch(record.last_seen_at + 60, None, record.keep_until)
    writes: list[Callable[[], Any]] = [
        lambda: store.create(record),
        lambda: store.touch(KEY, touch),
        lambda: store.save(record),
        lambda: store.renew(KEY, 0, 1, record.last_seen_at),
        lambda: store.end(KEY, "logout", record.last_seen_at, record.keep_until),
    ]
    assert told(listener) == []
    for write in writes:
        write()
        assert set(told(listener)) == {KEY}


def test_reads_announce_nothing(store: RedisStore, listener: Announcements) -> None:
    """A load, a list and writes that find nothing announce no key."""
    store.load(KEY)
    store.list("nobody", 0)
    store.touch(KEY, Touch(1.0, None, 2.0))
    store.end(KEY, "logout", 1.0, 2.0)
    assert told(listener) == []


def test_records_of_every_master_are_announced(store: RedisStore, listener: Announcements) -> None:
    """Keys that live on different masters of a Cluster are all announced on the one object."""
    records = [reference_record(n) for n in range(30)]
    for record in records:
        store.create(record)
    assert set(told(listener)) == {record.key for record in records}


def test_end_before_announces_everything(store: RedisStore, listener: Announcements) -> None:
    """end_before may change any record, so it announces the key that stands for all."""
    store.end_before(5.0, 6.0)
    assert told(listener) == [b""]


def test_another_prefix_is_not_announced(url: str, listener: Announcements) -> None:
    """What a store with another prefix writes is nobody else's news."""
    with RedisStore.from_url(url, prefix=a_prefix()) as other:
        other.create(reference_record(0))
    assert told(listener) == []


def test_questions_are_counted(listener: Announcements) -> None:
    """As many answers come as questions were asked, once all masters have answered, and none without."""
    assert listener.receive(0.0) == ([], 0)
    for _ in range(3):
        listener.ask()
    answers = 0
    patience = time.monotonic() + 10
    while answers < 3 and time.monotonic() < patience:
        answers += listener.receive(1.0)[1]
    assert answers == 3
    assert listener.receive(0.0) == ([], 0)


@pytest.mark.slow
def test_a_cluster_with_another_master_is_a_lost_connection() -> None:
    """Where a master has joined that nobody listens to, the next question has no answer: receive raises, and says so."""
    servers, url = in_a_cluster()
    new = Server("--cluster-enabled", "yes")
    record = reference_record(0)
    with RedisStore.from_url(url, lease=60) as store:
        listener = store.announcements()
        store.create(record)
        assert told(listener) == [KEY]
        join_and_take(servers, new, b"session:r:" + KEY)
        with pytest.raises(redis.exceptions.ConnectionError, match="other masters"):
            told(listener)
        with pytest.raises(redis.exceptions.ConnectionError):
            listener.receive(0.0)
        listener = store.announcements()
        assert store.end(KEY, "logout", record.last_seen_at, record.keep_until) is True
        assert told(listener) == [KEY]
        listener.close()
    for server in (*servers, new):
        server.remove()


def join_and_take(servers: list[Server], new: Server, name: bytes) -> None:
    """Let a server join a Cluster of three masters and take the slot of a key, with what is there."""
    ours: list[Any] = [server.client() for server in (*servers, new)]
    ours[-1].execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port)
    wait_until(lambda: all(len(one.cluster("NODES")) == len(ours) for one in ours), "the new master")
    wait_until(lambda: ours[-1].cluster("INFO")["cluster_state"] == "ok", "the new master")
    slot = key_slot(name)
    at = next(n for n, end in enumerate((5461, 10_923, 16_384)) if slot < end)
    old, taker = (one.execute_command("CLUSTER MYID") for one in (ours[at], ours[-1]))
    ours[-1].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old)
    ours[at].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", taker)
    ours[at].execute_command("MIGRATE", "127.0.0.1", new.port, name, 0, 2000)
    for one in (ours[-1], *ours[:3]):
        one.execute_command("CLUSTER SETSLOT", slot, "NODE", taker)
    for one in ours:
        one.close()


def test_closing_wakes_who_waits(store: RedisStore, listener: Announcements) -> None:
    """close() from another thread ends a receive that would have waited for a minute."""
    out: list[object] = []

    def wait() -> None:
        try:
            out.append(listener.receive(60.0))
        except Exception as problem:
            out.append(problem)

    thread = threading.Thread(target=wait)
    thread.start()
    listener.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(out) == 1


def test_an_awaited_store_gives_the_blocking_listener(url: str) -> None:
    """AsyncRedisStore announces on the same kind of connection."""
    prefix = a_prefix()
    listener = AsyncRedisStore.from_url(url, prefix=prefix).announcements()
    with RedisStore.from_url(url, prefix=prefix) as store:
        store.create(reference_record(0))
    assert told(listener) == [KEY]
    listener.close()


def test_an_awaited_store_of_a_client_needs_a_blocking_one() -> None:
    """Without `listening` the error says what to give, and with it announcements come."""
    server, prefix = standalone(), a_prefix()
    awaited = redis.asyncio.Redis(port=server.port)
    assert isinstance(AsyncRedisStore(awaited), Announces)
    with pytest.raises(SettingsError, match="give listening="):
        AsyncRedisStore(awaited).announcements()
    with server.client() as client:
        listener = AsyncRedisStore(awaited, listening=client, prefix=prefix).announcements()
        RedisStore(client, prefix=prefix).create(reference_record(0))
        assert told(listener) == [KEY]
        listener.close()


def test_what_redis_itself_does_is_announced() -> None:
    """A key that is deleted by hand and a database that is flushed are announced too."""
    server = Server()
    with server.client() as client, RedisStore(client) as store:
        listener = store.announcements()
        store.create(reference_record(0))
        assert told(listener) == [KEY]
        client.delete(b"session:r:" + KEY)
        assert told(listener) == [KEY]
        client.flushall()
        assert b"" in told(listener)
        listener.close()
    server.remove()


def test_a_server_that_stops_is_a_lost_connection() -> None:
    """receive raises when the server is gone; a new object announces once it is back."""
    server = Server()
    with RedisStore.from_url(server.url) as store:
        listener = store.announcements()
        server.stop()
        with pytest.raises(redis.exceptions.ConnectionError):
            listener.receive(10.0)
        listener.close()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            store.announcements()
        server.start()
        listener = store.announcements()
        store.create(reference_record(0))
        assert told(listener) == [KEY]
        listener.close()
    server.remove()


def test_an_account_that_may_not_listen_is_told_so() -> None:
    """A server that refuses CLIENT TRACKING gives an error that names what the account needs."""
    server = Server()
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-client")
    store = RedisStore.from_url(f"redis://app:pw@127.0.0.1:{server.port}")
    with pytest.raises(StoreUnavailable, match="CLIENT"):
        store.announcements()
    server.remove()
