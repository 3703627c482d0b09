"""RedisStore when something is wrong: with what is stored, the server, the line, the client or the account."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import ANY

import pytest
import redis
import trio
from redis.cache import CacheConfig
from redis.cluster import LoadBalancingStrategy
from redis.connection import CacheProxyConnection

from session_middleware.core.lifetime import Touch
from session_middleware.errors import RecordUnreadable, SettingsError, StoreUnavailable
from session_middleware.runtime import run_sync
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.reference_record import reference_record
from tests.stores.redis_server import Server, Wire, a_prefix, cluster, replicates, standalone, url_of, wait_until

pytestmark = pytest.mark.slow

RECORD = reference_record(0)
KEY = RECORD.key
AT = RECORD.last_seen_at
TOUCH = Touch(AT + 60, AT + 4000, RECORD.keep_until + 60)


@pytest.fixture
def prefix() -> str:
    return a_prefix()


@pytest.fixture
def client() -> Iterator[Any]:  # Any: redis.Redis, whose answers are typed for both its forms
    with standalone().client() as client:
        yield client


@pytest.fixture
def store(client: Any, prefix: str) -> RedisStore:
    return RedisStore(client, prefix=prefix)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the test's own, to be mistreated."""
    server = Server()
    yield server
    server.remove()


def name_of(prefix: str, key: bytes = KEY) -> bytes:
    return prefix.encode() + b"r:" + key


# --- what is stored ---------------------------------------------------------------------------------------------------


def spoilt(value: bytes) -> dict[str, bytes]:
    return {
        "nothing": b"",
        "garbage": b"\x01" + b"garbage" * 40,
        "text": b"{}",
        "truncated": value[:-1],
        "truncated in the pulse": value[:50],
        "longer": value + b"x",
        "a later version": b"\x02" + value[1:],
    }


@pytest.mark.parametrize("how", spoilt(b""))
def test_what_is_no_record_is_left_as_it_is(store: RedisStore, client: Any, prefix: str, how: str) -> None:
    """Whatever is called on a key that holds no record raises RecordUnreadable and changes no byte."""
    store.create(RECORD)
    value = spoilt(client.get(name_of(prefix)))[how]
    client.set(name_of(prefix), value)
    calls: list[Callable[[], object]] = [
        lambda: store.load(KEY),
        lambda: store.touch(KEY, TOUCH),
        lambda: store.save(RECORD),
        lambda: store.renew(KEY, 0, 1, AT),
        lambda: store.end(KEY, "logout", AT, RECORD.keep_until),
    ]
    for call in calls:
        with pytest.raises(RecordUnreadable):
            call()
        assert client.get(name_of(prefix)) == value
    with pytest.raises(KeyError):
        store.create(RECORD)
    assert client.get(name_of(prefix)) == value


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("field", ["last_seen_at", "inactivity_deadline", "keep_until", "presented_at"])
def test_a_time_that_is_none_is_no_record(
    store: RedisStore, client: Any, prefix: str, field: str, wrong: float
) -> None:
    """A stored time that is not a number or infinite is RecordUnreadable for every call, and stays as it is."""
    store.create(RECORD)
    value = client.get(name_of(prefix))
    at = {"last_seen_at": 29, "inactivity_deadline": 37, "keep_until": 45, "presented_at": 61}[field]
    value = value[:at] + struct.pack(">d", wrong) + value[at + 8 :]
    client.set(name_of(prefix), value)
    for call in (
        lambda: store.load(KEY),
        lambda: store.touch(KEY, TOUCH),
        lambda: store.save(RECORD),
        lambda: store.renew(KEY, 0, 1, AT),
        lambda: store.end(KEY, "logout", AT, RECORD.keep_until),
    ):
        with pytest.raises(RecordUnreadable):
            call()
    assert client.get(name_of(prefix)) == value


def test_another_type_under_a_key_is_left_as_it_is(store: RedisStore, client: Any, prefix: str) -> None:
    """A key that holds a list of something else is no record either."""
    client.rpush(name_of(prefix), "a")
    for call in (lambda: store.load(KEY), lambda: store.touch(KEY, TOUCH), lambda: store.end(KEY, "logout", 1.0, 2.0)):
        with pytest.raises(RecordUnreadable):
            call()
    assert client.lrange(name_of(prefix), 0, -1) == [b"a"]


def test_a_damaged_body_is_no_record(store: RedisStore, client: Any, prefix: str) -> None:
    """Bytes changed inside the body raise RecordUnreadable, whichever they are, or leave the record readable."""
    store.create(RECORD)
    value = client.get(name_of(prefix))
    unreadable = 0
    for at in range(90, len(value)):
        client.set(name_of(prefix), value[:at] + bytes([value[at] ^ 0x55]) + value[at + 1 :])
        try:
            store.load(KEY)
        except RecordUnreadable:
            unreadable += 1
    assert unreadable > 50


def test_a_damaged_record_keeps_nobody_from_listing_the_others(store: RedisStore, client: Any, prefix: str) -> None:
    """A list leaves out what cannot be read, and leaves it where it is."""
    other = reference_record(1).evolve(handles=RECORD.handles)
    store.create(RECORD)
    store.create(other)
    client.set(name_of(prefix), b"garbage")
    assert list(store.list(RECORD.handles[0], AT)) == [other]
    assert client.get(name_of(prefix)) == b"garbage"
    assert client.zcard(prefix.encode() + b"h:" + RECORD.handles[0].encode()) == 2


def test_a_small_value_that_unpacks_to_much_is_no_record(store: RedisStore, client: Any, prefix: str) -> None:
    """A body written by somebody else cannot fill the memory of who reads it."""
    import zlib

    store.create(RECORD)
    pulse = client.get(name_of(prefix))[:77]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -12)
    bomb = deflater.compress(b" " * 50_000_000) + deflater.flush()
    client.set(name_of(prefix), pulse[:2] + struct.pack(">BHII", 0, 0, len(bomb), 0) + pulse[13:] + bomb)
    with pytest.raises(RecordUnreadable):
        store.load(KEY)


def test_large_bodies_come_back(store: RedisStore) -> None:
    """A body of several megabytes is held as it is."""
    record = RECORD.evolve(data={"long": "x" * 3_000_000})
    store.create(record)
    assert store.load(KEY) == record


def test_what_is_no_epoch_is_named(store: RedisStore, client: Any, prefix: str) -> None:
    """Something else under the epoch's key is an error that names the key, on every read."""
    client.set(prefix + "epoch", "x")
    for _ in range(2):
        with pytest.raises(RecordUnreadable, match="epoch"):
            store.load(KEY)


# --- what is kept in the process ----------------------------------------------------------------------------------------


def test_nothing_is_remembered_of_a_session_that_has_ended(store: RedisStore, client: Any, prefix: str) -> None:
    """Neither after an end here, nor once an end or a removal elsewhere has been read (L16)."""
    known = store._calls._known
    for gone in ("ended here", "ended elsewhere", "removed"):
        store.create(RECORD)
        assert store.load(KEY) == RECORD
        assert KEY in known
        if gone == "ended here":
            store.end(KEY, "logout", AT, RECORD.keep_until)
            assert KEY not in known
        elif gone == "ended elsewhere":
            with RedisStore(client, prefix=prefix) as other:
                other.end(KEY, "logout", AT, RECORD.keep_until)
        else:
            client.delete(name_of(prefix, KEY))
        store.load(KEY)
        assert KEY not in known, gone
        client.delete(name_of(prefix, KEY))


# --- lists after a crash ----------------------------------------------------------------------------------------------


def test_a_list_forgets_entries_that_have_outlived_their_records(store: RedisStore, client: Any, prefix: str) -> None:
    """What a crash between record and list left, or what Redis let expire, is gone after the next list."""
    entries = prefix.encode() + b"h:" + RECORD.handles[0].encode()
    for n in range(3):
        store.create(reference_record(n).evolve(handles=RECORD.handles))
    store.end(KEY, "logout", AT, RECORD.keep_until)
    client.zadd(entries, {KEY: 4e9})  # the end's second half did not happen
    client.delete(name_of(prefix, reference_record(1).key))  # expired
    assert [record.key for record in store.list(RECORD.handles[0], AT)] == [reference_record(2).key]
    assert client.zrange(entries, 0, -1) == [reference_record(2).key]


def test_a_login_that_cannot_be_listed_fails(store: RedisStore, client: Any, prefix: str) -> None:
    """Where something else stands in the place of a user's list, a login says so: nobody would find that session to end it."""
    client.set(prefix.encode() + b"h:" + RECORD.handles[0].encode(), "x")
    with pytest.raises(RecordUnreadable):
        store.create(RECORD)


def test_an_end_stands_whatever_becomes_of_the_list(store: RedisStore, client: Any, prefix: str) -> None:
    """The session has ended once its record says so; a list that cannot be written to makes no fault of it."""
    entries = prefix.encode() + b"h:" + RECORD.handles[0].encode()
    store.create(RECORD)
    client.set(entries, "x")
    assert store.end(KEY, "logout", AT, RECORD.keep_until) is True
    assert store.load(KEY).end_reason == "logout"


def test_places_reserved_by_a_crash_are_free_again(store: RedisStore, client: Any, prefix: str) -> None:
    """A place that was reserved is counted until its time is over; one that was to make room counts again then."""
    handle = RECORD.handles[0]
    entries = prefix.encode() + b"h:" + handle.encode()
    new = reference_record(1).evolve(handles=RECORD.handles)
    client.zadd(entries, {b"crashed": -(time.time() + 60)})
    assert store.create_capped(new, handle, 1, False, AT, AT + 100) is None
    client.zadd(entries, {b"crashed": -(time.time() - 1)})
    assert store.create_capped(new, handle, 1, False, AT, AT + 100) == []
    client.zadd(entries, {new.key: 1e10 + time.time() - 1})
    assert store.create_capped(RECORD, handle, 1, False, AT, AT + 100) is None


def test_a_login_that_fails_gives_its_place_back(store: RedisStore, client: Any, prefix: str) -> None:
    """create_capped that finds its key held under another handle leaves the list as it was."""
    handle = "ours"
    entries = prefix.encode() + b"h:ours"
    old = reference_record(1).evolve(handles=(handle,))
    store.create(old)
    before = client.zrange(entries, 0, -1, withscores=True)
    client.set(name_of(prefix), b"held")
    with pytest.raises(KeyError):
        store.create_capped(RECORD.evolve(handles=(handle,)), handle, 1, True, AT, AT + 100)
    assert client.zrange(entries, 0, -1, withscores=True) == before
    assert store.load(old.key) == old


# --- keys expire ------------------------------------------------------------------------------------------------------


def test_keys_stay_for_the_record_s_own_time_and_an_hour(store: RedisStore, client: Any, prefix: str) -> None:
    """What a key has left to live follows from the record's times, never from a clock, and moves with them (L16).

    It counts from `renewed_at`, so a key may stay for as long as that is past; no key goes early.
    """
    name = name_of(prefix)

    def left() -> int:
        return round(client.pttl(name) / 1000) - 3600

    store.create(RECORD)
    assert left() == 90_000
    store.touch(KEY, Touch(AT + 60, AT + 7200, AT + 7200 + 86_400))
    assert left() == 7200 + 86_400
    store.touch(KEY, Touch(AT + 30, AT + 60, AT + 90))  # late, and moves nothing
    assert left() == 7200 + 86_400
    store.save(RECORD)
    store.renew(KEY, 0, 1, AT)
    assert left() == 7200 + 86_400
    store.touch(KEY, Touch(AT + 100, AT + 400, AT + 500, exact=True))
    assert left() == 500
    store.end(KEY, "logout", AT + 200, AT + 200 + 86_400)
    assert left() == 86_400


def test_no_key_goes_early_for_a_clock_that_is_ahead(store: RedisStore, client: Any, prefix: str) -> None:
    """L1: whatever instants a clock that is ahead has recorded, a key stays for as long as its record is to be kept."""
    name, ahead, keep = name_of(prefix), AT + 30 * 86_400.0, AT + 31 * 86_400.0

    def left() -> float:
        return client.pttl(name) / 1000 - 3600

    store.create(RECORD.evolve(last_seen_at=ahead, keep_until=keep))
    assert left() > keep - AT - 5
    assert client.ttl(prefix.encode() + b"h:" + RECORD.handles[0].encode()) > keep - AT
    store.touch(KEY, Touch(ahead, None, keep))
    assert left() > keep - AT - 5
    store.renew(KEY, 0, 1, ahead)
    store.touch(KEY, Touch(AT + 60, None, keep))
    assert left() > keep - AT - 65


def test_the_entries_of_a_subject_outlive_its_sessions(store: RedisStore, client: Any, prefix: str) -> None:
    """They stay for the longest life of a session and a week, and a touch beyond that moves them."""
    entries = prefix.encode() + b"h:" + RECORD.handles[0].encode()
    store.create(RECORD)
    week = 7 * 86_400
    assert client.ttl(entries) == pytest.approx(90_000 + week + 3600, abs=2)
    store.touch(KEY, TOUCH)
    assert client.ttl(entries) == pytest.approx(90_000 + week + 3600, abs=2)
    store.touch(KEY, Touch(AT + 60, AT + 3600, AT + 90_000 + 2 * week))
    assert client.ttl(entries) >= 90_000 + 2 * week


def test_a_value_added_once_expires(store: RedisStore, client: Any, prefix: str) -> None:
    """What is added once stays as long as it was to, by the caller's times, and an hour."""
    store.add_once("jti", AT + 600, AT)
    (name,) = client.keys(prefix + "o:*")
    assert client.ttl(name) == pytest.approx(600 + 3600, abs=2)


# --- end_before in another process ------------------------------------------------------------------------------------


def test_end_before_is_seen_elsewhere_within_the_lease(client: Any, prefix: str) -> None:
    """Another process sees a session from before the epoch as revoked once the lease is over, and not much earlier."""
    here, there = RedisStore(client, prefix=prefix), RedisStore(client, prefix=prefix, lease=0.2)
    here.create(RECORD)
    assert there.load(KEY) == RECORD
    here.end_before(AT + 1, AT + 2)
    assert here.load(KEY).ended_at == AT + 2
    asked = time.monotonic()
    wait_until(lambda: there.load(KEY).ended_at is not None, "the epoch")
    assert time.monotonic() - asked < 1.5  # the default is 2 s
    assert there.touch(KEY, TOUCH) is None
    assert list(there.list(RECORD.handles[0], AT)) == []


# --- the server and the line ------------------------------------------------------------------------------------------


def test_a_store_can_be_made_before_its_server(server: Server) -> None:
    """An app starts while Redis is down; calls fail until it is there, and then no more, without a restart."""
    server.stop()
    with RedisStore.from_url(server.url) as store:
        with pytest.raises(StoreUnavailable, match="Check that it runs"):
            store.load(KEY)
        server.start()
        store.create(RECORD)
        assert store.load(KEY) == RECORD


def test_calls_succeed_again_after_a_restart(server: Server) -> None:
    """After a restart, scripts lost, every method works at once: connections that have died are noticed before use."""
    with RedisStore.from_url(server.url) as store:
        store.create(RECORD)
        store.touch(KEY, TOUCH)
        server.stop()
        server.start()
        assert store.touch(KEY, TOUCH) is None
        store.create(RECORD)
        assert store.renew(KEY, 0, 1, AT).generation == 1
        assert store.end(KEY, "logout", AT, RECORD.keep_until) is True


def test_a_line_that_swallows_answers_is_given_up_in_time(server: Server) -> None:
    """A call that gets no answer fails after the timeout, and what was sent is not sent again."""
    wire = Wire(server.port)
    with RedisStore.from_url(f"redis://127.0.0.1:{wire.port}/0?timeout=0.3") as store:
        store.create(RECORD)
        store.touch(KEY, Touch(AT, AT, AT))  # now the server knows the script
        wire.swallows, before = True, wire.trips
        began = time.monotonic()
        with pytest.raises(redis.exceptions.TimeoutError):
            store.touch(KEY, TOUCH)
        assert 0.2 < time.monotonic() - began < 2.0
        assert wire.trips - before == 1
        wire.swallows = False
        assert store.load(KEY) == TOUCH.applied(RECORD)  # it had arrived
    wire.close()


def test_an_awaited_call_is_given_up_in_time(server: Server) -> None:
    """The same for the awaited form."""

    async def main() -> None:
        wire = Wire(server.port)
        async with AsyncRedisStore.from_url(f"redis://127.0.0.1:{wire.port}/0", timeout=0.3) as store:
            await store.create(RECORD)
            wire.swallows, before = True, wire.trips
            with pytest.raises(redis.exceptions.TimeoutError):
                await store.touch(KEY, TOUCH)
            assert wire.trips - before == 1
        wire.close()

    asyncio.run(main())


def test_people_can_sign_out_of_a_full_server(server: Server) -> None:
    """Out of memory a login fails, and touches, ends and the end of all sessions succeed."""
    with server.client() as client, RedisStore(client) as store:
        store.create(RECORD)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        with pytest.raises(redis.exceptions.ResponseError, match="maxmemory"):
            store.create(reference_record(1))
        assert store.touch(KEY, TOUCH) == TOUCH.applied(RECORD)
        assert store.end(KEY, "logout", AT, RECORD.keep_until) is True
        assert store.load(KEY).end_reason == "logout"
        for instant in (AT, AT + 1):  # the first one makes the key
            store.end_before(instant, AT + 2)
            assert client.get("session:epoch") == struct.pack(">dd", instant, AT + 2)
        assert client.ttl("session:epoch") == -1
        client.config_set("maxmemory", "0")
        assert store.load(reference_record(1).key) is None


def test_a_server_that_evicts_is_warned_of(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """check() says in the log which policy to set, where a full memory would sign people out and in again, and only there."""
    stores = [RedisStore.from_url(server.url), AsyncRedisStore.from_url(server.url)]

    def warned() -> list[str]:
        caplog.clear()
        stores[0].check()
        asyncio.run(_checked_and_closed(stores[1]))
        return [record.getMessage() for record in caplog.records]

    with server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert warned() == []  # no memory is too much
        client.config_set("maxmemory", "100mb")
        said = warned()
        assert len(said) == 2
        assert all("allkeys-lru" in each and "noeviction" in each for each in said)
        client.execute_command("ACL", "SETUSER", "default", "-info")
        assert warned() == []  # who may not ask is not told
        client.execute_command("ACL", "SETUSER", "default", "+info")
        client.config_set("maxmemory-policy", "noeviction")
        assert warned() == []
    server.stop()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        stores[0].check()
    stores[0].close()


async def _checked_and_closed(store: Any) -> None:
    await store.check()
    await store.close()


@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
def test_every_master_is_checked(kind: str) -> None:
    """check() reaches a Cluster's masters and the one behind a Sentinel, with either form."""
    with RedisStore.from_url(url_of(kind)) as store:
        store.check()
    asyncio.run(_checked_and_closed(AsyncRedisStore.from_url(url_of(kind))))


def test_a_replica_that_does_not_answer_is_counted_and_no_error(server: Server) -> None:
    """An end waits for a replica, and where that is late it stands all the same and the store says so (L13)."""
    with server.client() as client, RedisStore(client, replica_wait=1.5) as store:
        client.config_set("repl-diskless-sync-delay", "0")
        replica = Server("--replicaof", f"127.0.0.1 {server.port}")
        wait_until(lambda: replicates(client), "the replica")
        store.create(RECORD)
        store.create(reference_record(1))
        assert store.unconfirmed == 0
        with replica.client() as copy:
            assert copy.exists(b"session:r:" + KEY) == 1  # at once: the create waited for it
        os.kill(replica.process.pid, signal.SIGSTOP)
        assert store.end(KEY, "logout", AT, RECORD.keep_until) is True
        assert store.unconfirmed == 1
        assert store.load(KEY).end_reason == "logout"
        with RedisStore(client, replicas=0) as careless:
            assert careless.end(reference_record(1).key, "logout", AT, AT + 9) is True
            assert careless.unconfirmed == 0
        os.kill(replica.process.pid, signal.SIGCONT)
    replica.remove()


def test_a_replica_that_is_gone_is_waited_for_once(server: Server) -> None:
    """After a replica has gone, the first write that misses it asks anew, and the ones after it do not wait."""
    with server.client() as client, RedisStore(client, replica_wait=1.5) as store:
        client.config_set("repl-diskless-sync-delay", "0")
        replica = Server("--replicaof", f"127.0.0.1 {server.port}")
        wait_until(lambda: replicates(client), "the replica")
        store.create(RECORD)
        replica.remove()
        wait_until(lambda: not client.info("replication")["connected_slaves"], "the end of the replica")
        for n in range(1, 5):
            store.create(reference_record(n))
        assert store.unconfirmed == 1


# --- accounts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", [":hunter2@", "app:hunter2@", "app:@"])
def test_a_wrong_password_is_named_and_not_shown(server: Server, account: str) -> None:
    """Whoever is not let in reads what to check, and never the password."""
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "default", "on", ">right")
    with RedisStore.from_url(f"redis://{account}127.0.0.1:{server.port}/0") as store:
        with pytest.raises(StoreUnavailable, match="password") as caught:
            store.load(KEY)
        assert "hunter2" not in f"{caught.value!r}{caught.value.__cause__!r}{store!r}"


def test_the_right_password_is_let_in(server: Server) -> None:
    """User and password of the URL are those that Redis is given, percent-encoded or not."""
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "a@b", "on", ">p:/w", "~*", "&*", "+@all")
        admin.execute_command("ACL", "SETUSER", "default", "off")
    with RedisStore.from_url(f"redis://a%40b:p%3A%2Fw@127.0.0.1:{server.port}/0") as store:
        assert store.load(KEY) is None


def test_an_account_with_too_few_rights_is_told_which(server: Server) -> None:
    """An account that may not run scripts gets an error that names the commands."""
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-@scripting", "-info")
    with RedisStore.from_url(f"redis://app:pw@127.0.0.1:{server.port}") as store:
        assert store.load(KEY) is None
        with pytest.raises(StoreUnavailable, match="EVALSHA"):
            store.touch(KEY, TOUCH)


# --- clients ----------------------------------------------------------------------------------------------------------


def test_clients_that_would_go_wrong_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that decode, keep answers, read from replicas, are of the other form or none are refused, with what to give."""
    manager = redis.Sentinel([("127.0.0.1", 1)])
    # redis-py makes such a client for Redis from 7.4 on, and for no Valkey; it is refused before it tracks anything.
    monkeypatch.setattr(CacheProxyConnection, "MIN_ALLOWED_VERSION", "6.0.0")
    monkeypatch.setattr(CacheProxyConnection, "DEFAULT_SERVER_NAME", ANY)
    host, port = cluster().partition("//")[2].split(",")[0].split(":")
    clients_cache: Any = redis.RedisCluster(host, int(port), protocol=3, cache_config=CacheConfig())
    refused: list[tuple[type, Any, str]] = [
        (RedisStore, redis.Redis(decode_responses=True), "decode_responses=False"),
        (AsyncRedisStore, redis.asyncio.Redis(decode_responses=True), "decode_responses=False"),
        (RedisStore, redis.asyncio.Redis(), "AsyncRedisStore"),
        (AsyncRedisStore, redis.Redis(), "RedisStore"),
        (
            AsyncRedisStore,
            redis.asyncio.RedisCluster("127.0.0.1", load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN),
            "masters",
        ),
        (RedisStore, manager.slave_for("main"), "master_for"),
        (RedisStore, clients_cache, "without cache_config"),
        (RedisStore, manager, "master_for"),
        (RedisStore, "redis://localhost", "redis.Redis"),
    ]
    for store, client, fix in refused:
        with pytest.raises(SettingsError, match=fix):
            store(client)


@pytest.mark.parametrize("options", [{"prefix": ""}, {"lease": 0}, {"replicas": -1}, {"replica_wait": 0}])
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    """A value that makes no sense is a SettingsError that says what to give."""
    for store in (RedisStore, AsyncRedisStore):
        with pytest.raises(SettingsError, match=r"Give|Write"):
            store.from_url("redis://localhost", **options)


def test_on_trio_the_calls_are_those_of_the_blocking_form(prefix: str) -> None:
    """What the URL gives an app on trio works there: calls run in threads, and what is told of the store is true."""
    store = AsyncRedisStore.from_url(standalone().url, prefix=prefix)

    async def main() -> None:
        await store.create(RECORD)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(store.load, KEY)
        store.read_anew()
        assert await store.load(KEY) == RECORD
        assert await store.end(KEY, "logout", AT, RECORD.keep_until)
        assert not await store.list(RECORD.handles[0], AT)

    trio.run(main)
    assert store.unconfirmed == 0
    asyncio.run(store.close())


def test_on_trio_an_awaited_client_alone_is_refused() -> None:
    """A store made from an awaited client cannot block; the error says what to give."""

    async def main() -> None:
        with pytest.raises(SettingsError, match="listening="):
            await AsyncRedisStore(redis.asyncio.Redis()).load(KEY)

    trio.run(main)


def test_without_a_loop_the_awaited_form_is_refused() -> None:
    """Synchronous code that drives it is told which form to take."""
    with pytest.raises(SettingsError, match="Use RedisStore"):
        run_sync(AsyncRedisStore.from_url(standalone().url).load(KEY))


def test_each_event_loop_has_its_own_connections(prefix: str) -> None:
    """One store serves two event loops in two threads, and one after the other."""
    store = AsyncRedisStore.from_url(standalone().url, prefix=prefix)
    together = threading.Barrier(2)

    async def work(n: int) -> object:
        together.wait(10)
        await store.create(reference_record(n))
        found = await asyncio.gather(*(store.load(reference_record(n).key) for _ in range(20)))
        await store.close()
        return found == [reference_record(n)] * 20

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda n: asyncio.run(work(n)), range(2))) == [True, True]

    async def again() -> object:
        async with store:
            return await store.load(KEY)

    assert asyncio.run(again()) == RECORD


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Python's own word for what is not closed
def test_loops_that_end_without_a_close_hold_no_connection(prefix: str, server: Server) -> None:
    """A task queue that calls asyncio.run for each job and never closes the store uses up neither files nor server."""
    store = AsyncRedisStore.from_url(server.url, prefix=prefix)
    gc.disable()  # so that what is counted below was freed there and not on the way
    try:
        for _ in range(5):
            assert asyncio.run(store.load(KEY)) is None
    finally:
        gc.enable()
    gc.collect()
    with server.client() as client:
        wait_until(lambda: len(client.client_list(_type="normal")) <= 2, "the connections of four loops to go")
    del store
    gc.collect()  # the fifth, while its warning is not an error


def test_a_client_that_was_given_serves_one_event_loop(prefix: str) -> None:
    """A single awaited client used from a second loop is an error that says what to give instead."""
    store = AsyncRedisStore(redis.asyncio.Redis(port=standalone().port), prefix=prefix)

    async def work() -> object:
        found = await store.load(KEY)
        await store.close()
        return found

    async def keep_first_loop_alive() -> None:
        assert await work() is None
        with ThreadPoolExecutor(1) as pool, pytest.raises(SettingsError, match="from_url"):
            pool.submit(asyncio.run, work()).result()

    asyncio.run(keep_first_loop_alive())


def test_threads_share_a_store(prefix: str) -> None:
    """Many threads at once get their own answers, more of them than there are connections."""
    with RedisStore.from_url(f"{standalone().url}?max_connections=3", prefix=prefix) as store:
        records = [reference_record(n) for n in range(64)]
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(store.create, records))
            assert list(pool.map(lambda record: store.load(record.key), records)) == records


def _load_in_child(store: RedisStore, out: Any) -> None:
    out.put([store.load(reference_record(n % 2).key) == reference_record(n % 2) for n in range(200)])


@pytest.mark.parametrize("kind", ["standalone", "cluster", "sentinel"])
def test_a_fork_gets_connections_of_its_own(prefix: str, kind: str) -> None:
    """Parent and children of a pre-forking server never read each other's answers."""
    context = multiprocessing.get_context("fork")
    with RedisStore.from_url(url_of(kind), prefix=prefix) as store:
        store.create(RECORD)
        store.create(reference_record(1))
        out = context.SimpleQueue()
        children = [context.Process(target=_load_in_child, args=(store, out)) for _ in range(3)]
        for child in children:
            child.start()
        assert all(store.load(reference_record(n % 2).key) == reference_record(n % 2) for n in range(200))
        assert [all(out.get()) for _ in children] == [True] * 3
        for child in children:
            child.join()
            assert child.exitcode == 0
