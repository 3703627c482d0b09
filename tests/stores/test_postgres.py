"""PostgresStore and AsyncPostgresStore keep every promise of a store, each call in one round trip."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio
from psycopg.pq import TransactionStatus

from session_middleware.core.lifetime import Touch
from session_middleware.errors import StoreUnavailable
from session_middleware.runtime import run_sync
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from session_middleware.testing.reference_record import reference_record
from session_middleware.testing.store_contract import StoreContract
from tests.stores.postgres_server import counted_trips, new_schema, postgres_server

pytestmark = pytest.mark.server

RECORD = reference_record(0)
KEY = RECORD.key


class TestPostgresStore(StoreContract):
    histories = 12

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return lambda: PostgresStore.from_url(new_schema())


@pytest.mark.slow
class TestPostgresStoreBehindAPooler(StoreContract):
    """Without prepared statements everything is as it was."""

    histories = 6

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return lambda: PostgresStore.from_url(new_schema() + "&prepare=off&announces=off")


class TestAsyncPostgresStore(StoreContract):
    histories = 12

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return lambda: AsyncPostgresStore.from_url(new_schema())


@pytest.fixture
def store(url):
    with PostgresStore.from_url(url) as store:
        yield store


# --- one statement, one round trip ------------------------------------------------------------------------------------

CALLS = {
    "create": lambda store: store.create(reference_record(1)),
    "load": lambda store: store.load(KEY),
    "touch": lambda store: store.touch(KEY, Touch(1e9, 2e9, 3e9)),
    "touch exactly": lambda store: store.touch(KEY, Touch(1e9, 2e9, 3e9, exact=True)),
    "touch and present": lambda store: store.touch(KEY, Touch(1e9, 2e9, 3e9, presented_generation=0, presented_at=1e9)),
    "save": lambda store: store.save(RECORD),
    "save of an older revision": lambda store: store.save(RECORD.evolve(revision=7)),
    "renew": lambda store: store.renew(KEY, 0, 1, 1e9),
    "end": lambda store: store.end(KEY, "logout", 1e9, 2e9),
    "end of nobody": lambda store: store.end(b"nobody", "logout", 1e9, 2e9),
    "list": lambda store: store.list(RECORD.handles[0], 0.0),
    "walk": lambda store: store.walk(None, 10),
    "end_before": lambda store: store.end_before(1e9, 1e9),
    "add_once": lambda store: store.add_once("jti", 2e9, 1e9),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_is_one_statement(url, call):
    """The server logs one statement for each call, by the name it was prepared under."""
    with PostgresStore.from_url(url + "&options=-c%20log_statement%3Dall") as store:
        store.create(RECORD)
        before = len(postgres_server().log())
        CALLS[call](store)
        said = postgres_server().log()[before:]
    assert said.count("LOG:  execute") == said.count("LOG:  execute session_") == 1


@pytest.mark.parametrize(("call", "trips"), [*((call, 1) for call in CALLS), ("create_capped", 2)])
def test_a_call_is_one_round_trip(store, call, trips, monkeypatch):
    """Each call waits for the server once; create_capped, which asks and then writes, twice."""
    calls = {**CALLS, "create_capped": _capped}
    store.create(RECORD)
    for name, warm_up in CALLS.items():  # each statement is prepared once on each connection
        if name != "create":
            warm_up(store)
    counted = counted_trips(store, monkeypatch)
    calls[call](store)
    assert len(counted) == trips


def _capped(store):
    return store.create_capped(reference_record(3), reference_record(3).handles[0], 2, True, 1e9, 2e9)


def test_what_must_be_durable_is_so_even_where_the_database_is_not(url, sql):
    """create, end, end_before and add_once wait for the disk though synchronous_commit is off; a touch does not (L13)."""

    def flushed(call):
        before = sql("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
        call()
        return sql("SELECT pg_current_wal_flush_lsn() > %s::pg_lsn", (before,)).fetchone()[0]

    with PostgresStore.from_url(url + "&options=-c%20synchronous_commit%3Doff") as store:
        store.load(KEY)
        assert flushed(lambda: store.create(RECORD))
        # The server flushes by itself five times a second, and that may fall between two of our questions.
        touches = [Touch(RECORD.last_seen_at + 60 * n, None, 3e9) for n in range(1, 20)]
        assert not all(flushed(lambda touch=touch: store.touch(KEY, touch)) for touch in touches)
        assert flushed(lambda: store.end(KEY, "logout", 1e9, 9e9))
        assert flushed(lambda: store.end_before(1e9, 1e9))
        assert flushed(lambda: store.add_once("jti", 2e9, 1e9))


@pytest.mark.parametrize("query", ["", "&options=-c%20default_transaction_isolation%3Dserializable"])
def test_behind_a_pooler_nothing_of_ours_stays_with_the_servers_connection(url, query):
    """With prepare=off no call leaves a setting or a prepared statement to whoever is given that connection next."""
    with PostgresStore.from_url(url + "&prepare=off" + query) as store:
        store.create(RECORD)
        store._calls.links._begins = bool(query)
        for call in (*(call for name, call in CALLS.items() if name != "create"), _capped, PostgresStore.check):
            call(store)
        (link,) = store._calls.links._idle
        left = "SELECT name FROM pg_prepared_statements UNION ALL SELECT name FROM pg_settings WHERE source = 'session'"
        assert link.connection.execute(left).fetchall() == []
        assert link.connection.info.transaction_status == TransactionStatus.IDLE


# --- threads, forks, loops --------------------------------------------------------------------------------------------


def test_threads_come_and_go_without_leaving_connections(store):
    """A thread per request opens no connection per request."""
    store.create(RECORD)
    for _ in range(20):
        thread = threading.Thread(target=store.load, args=(KEY,))
        thread.start()
        thread.join()
    assert len(store._calls.links._idle) == 1


def test_a_process_opens_no_more_connections_than_it_may(url, sql):
    """Forty callers at once share three connections and all are served."""
    with PostgresStore.from_url(url + "&connections=3&application_name=counted") as store:
        store.create(RECORD)
        with ThreadPoolExecutor(40) as pool:
            assert list(pool.map(lambda _: store.load(KEY), range(200))) == [RECORD] * 200
        count = sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted'").fetchone()[0]
        assert 1 <= count <= 3


def test_a_caller_that_waits_too_long_for_a_connection_is_told_so(url):
    """When all connections are in use for longer than the timeout the error says which number to raise."""
    with PostgresStore.from_url(url + "&connections=1&timeout=0.5") as store:
        places = store._calls.links._waits.places
        run_sync(places.take(10.0))
        with pytest.raises(StoreUnavailable, match="raise `connections`"):
            store.load(KEY)
        places.give()
        assert store.load(KEY) is None


def test_a_task_that_waits_too_long_for_a_connection_is_told_so(url):
    """The same on a loop, whose other tasks go on meanwhile."""

    async def main():
        async with AsyncPostgresStore.from_url(url + "&connections=1&timeout=0.5") as store:
            places = store._calls.links._waits.places
            await places.take(10.0)
            with pytest.raises(StoreUnavailable, match="raise `connections`"):
                await store.load(KEY)
            places.give()
            assert await store.load(KEY) is None

    asyncio.run(main())


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_opens_its_own_connection_and_leaves_the_parents_alone(store):
    """After a fork parent and child use the store side by side, and the parent keeps its connection."""
    store.create(RECORD)
    (inherited,) = store._calls.links._idle
    server_process = inherited.pgconn.backend_pid
    child = os.fork()
    if child == 0:
        try:
            ended = store.end(KEY, "logout", 1.0, 9e9)
            os._exit(0 if ended and inherited not in store._calls.links._idle else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.load(KEY).end_reason == "logout"
    assert [link.pgconn.backend_pid for link in store._calls.links._idle] == [server_process]


def test_two_loops_share_a_store(url):
    """A second loop, after the first or beside it in another thread, uses the store as the first did."""
    store = AsyncPostgresStore.from_url(url + "&connections=2")
    asyncio.run(store.create(RECORD))

    async def many():
        return await asyncio.gather(*(store.load(KEY) for _ in range(20)))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: asyncio.run(many()), range(2))) == [[RECORD] * 20] * 2
    asyncio.run(store.close())


def test_on_trio_the_calls_are_those_of_the_blocking_form(url):
    """What the URL gives an app on trio works there: calls run in threads, no more at once than connections."""
    store = AsyncPostgresStore.from_url(url + "&connections=2")

    async def main():
        await store.check()
        await store.create(RECORD)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(store.load, KEY)
        assert await store.load(KEY) == RECORD
        assert await store.end(KEY, "logout", 1e9, 9e9)

    trio.run(main)
    asyncio.run(store.close())


def test_a_logout_whose_request_goes_away_is_stored(url, sql):
    """Cancelling the caller of `end` does not cancel the statement under way (L13)."""

    async def main():
        async with AsyncPostgresStore.from_url(url) as store:
            await store.create(RECORD)
            sql("BEGIN")
            sql("SELECT FROM sessions FOR UPDATE")  # so that the end waits
            ending = asyncio.ensure_future(store.end(KEY, "logout", 1e9, 9e9))
            waiters = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while not sql(waiters).fetchone()[0]:  # noqa: ASYNC110  # the server sets no event
                await asyncio.sleep(0)
            ending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ending
            sql("COMMIT")
            sql("SELECT FROM sessions FOR UPDATE")  # behind the end in the row's queue
            assert (await store.load(KEY)).end_reason == "logout"

    asyncio.run(main())


@pytest.mark.parametrize("level", ["serializable", "repeatable%5C%20read"])
@pytest.mark.parametrize("pooler", ["", "&prepare=off"])
def test_a_database_that_isolates_more_does_not_make_races_faults(url, level, pooler):
    """Where the database isolates more by default, one of many renewals still wins and the others find out politely."""
    isolated = f"{url}&options=-c%20default_transaction_isolation%3D{level}{pooler}"
    with PostgresStore.from_url(isolated) as store, ThreadPoolExecutor(16) as pool:
        store.create(RECORD)
        for n in range(10):
            answers = list(pool.map(lambda _, n=n: store.renew(KEY, n, n + 1, 1e9), range(16)))
            assert len([answer for answer in answers if answer is not None]) == 1
        new = [reference_record(m).evolve(handles=("h",)) for m in range(1, 17)]
        at = RECORD.created_at
        answers = list(pool.map(lambda record: store.create_capped(record, "h", 3, False, at, 9e9), new))
        assert len([answer for answer in answers if answer is not None]) == 3
        for n in range(10):
            later = RECORD.last_seen_at + n + 1
            touches = pool.map(lambda m, at=later: store.touch(KEY, Touch(at + m / 100, None, 9e9)), range(16))
            assert None not in list(touches)
            won = pool.map(lambda _, n=n: store.add_once(f"jti {n}", 2e9, 1e9), range(16))
            assert sum(won) == 1
        assert store.load(KEY).last_seen_at == later + 0.15
        assert sum(pool.map(lambda _: store.end(KEY, "logout", 1e9, 9e9), range(16))) == 1


def test_a_lost_race_behind_a_pooler_costs_a_round_trip_once(url, sql, monkeypatch):
    """Once a stricter isolation has shown, calls say their own within the same round trip, and no race is lost by it."""
    isolated = f"{url}&prepare=off&options=-c%20default_transaction_isolation%3Dserializable"
    counted = []

    def lost_race(store, at):
        sql("BEGIN")
        sql("UPDATE sessions SET renewed_at = renewed_at + 1")
        late = pool.submit(store.touch, KEY, Touch(at, None, 9e9))
        while not sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()[0]:
            pass  # the server sets no event
        counted.clear()
        sql("COMMIT")
        return late.result().last_seen_at

    with PostgresStore.from_url(isolated) as store, ThreadPoolExecutor(1) as pool:
        store.create(RECORD)
        assert lost_race(store, RECORD.last_seen_at + 1) == RECORD.last_seen_at + 1
        waits = store._calls.links._waits
        answered = waits.answered

        async def counting(*arguments):
            counted.append(arguments)
            return await answered(*arguments)

        monkeypatch.setattr(waits, "answered", counting)
        assert lost_race(store, RECORD.last_seen_at + 2) == RECORD.last_seen_at + 2
        assert counted == []  # nothing after the answer that was waited for
        assert store.end(KEY, "logout", 1e9, 9e9)
        assert len(counted) == 1
