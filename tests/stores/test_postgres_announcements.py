"""What PostgreSQL says to a near cache: which writes it hears of, and what an answer proves."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from session_middleware.core.lifetime import Touch
from session_middleware.errors import SettingsError, StoreUnavailable
from session_middleware.stores.base import Announces
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from session_middleware.stores.postgres.waits import TooLong
from session_middleware.testing.reference_record import reference_record

pytestmark = pytest.mark.server

RECORD = reference_record(0)
KEY = RECORD.key

HEARD = {
    "save": lambda store: store.save(RECORD),
    "renew": lambda store: store.renew(KEY, 0, 1, 1e9),
    "end": lambda store: store.end(KEY, "logout", 1e9, 9e9),
    "exact touch": lambda store: store.touch(KEY, Touch(1e9, 1e9, 9e9, exact=True)),
    "first presentation": lambda store: store.touch(
        KEY, Touch(1e9, None, 9e9, presented_generation=0, presented_at=1e9)
    ),
}
UNHEARD = {
    "load": lambda store: store.load(KEY),
    "create": lambda store: store.create(reference_record(1)),
    "plain touch": lambda store: store.touch(KEY, Touch(RECORD.last_seen_at + 60, None, 9e9)),
    "save of an older revision": lambda store: store.save(RECORD.evolve(revision=7)),
    "renewal of another generation": lambda store: store.renew(KEY, 7, 8, 1e9),
    "end of nobody": lambda store: store.end(b"nobody", "logout", 1e9, 9e9),
}


@pytest.fixture
def store(url):
    with PostgresStore.from_url(url) as store:
        store.create(RECORD)
        yield store


@pytest.fixture
def heard(store):
    announcements = store.announcements()
    yield announcements
    announcements.close()


def everything(announcements):
    """Return all keys announced so far."""
    announcements.ask()
    keys, answered = [], 0
    while not answered:
        more, answered = announcements.receive(5.0)
        keys += more
    assert answered == 1
    return keys


@pytest.mark.parametrize("write", HEARD)
def test_what_may_shorten_or_change_a_session_is_announced(store, heard, write):
    """A near cache hears the key of each write that it must not miss, once the writer has its answer."""
    assert HEARD[write](store)
    assert everything(heard) == [KEY]


@pytest.mark.parametrize("call", UNHEARD)
def test_what_only_moves_a_deadline_on_is_not_announced(store, heard, call):
    """Reads, creates, plain touches and writes that changed nothing are not heard of."""
    UNHEARD[call](store)
    assert everything(heard) == []


def test_an_epoch_is_announced_as_all_records(store, heard):
    """end_before is heard as the empty key; an earlier instant than before changes nothing and is not heard."""
    store.end_before(1e9, 1e9)
    assert everything(heard) == [b""]
    store.end_before(1e8, 1e9)
    assert everything(heard) == []


def test_an_evicted_session_is_announced(store, heard):
    """Room made for a login is heard of by the key of the one that went."""
    handle = RECORD.handles[0]
    new = reference_record(1).evolve(handles=(handle,))
    assert store.create_capped(new, handle, 1, True, RECORD.created_at, 9e9) == [RECORD]
    assert everything(heard) == [KEY]


def test_another_schema_is_not_heard(store, heard, url):
    """Two apps in one database do not hear each other."""
    from tests.stores.postgres_server import new_schema

    with PostgresStore.from_url(new_schema()) as other:
        other.create(RECORD)
        other.end(KEY, "logout", 1e9, 9e9)
    assert everything(heard) == []


def test_an_answer_comes_after_all_that_was_announced_before(store, heard):
    """Whatever was written before the question is heard no later than with its answer."""
    for n in range(50):
        store.renew(KEY, n, n + 1, 1e9)
        assert KEY in everything(heard)


def test_questions_put_together_are_all_answered(store, heard):
    """Several questions get as many answers, however they are carried."""
    for _ in range(5):
        heard.ask()
    answered = 0
    while answered < 5:
        answered += heard.receive(5.0)[1]
    assert answered == 5
    assert heard.receive(0.0) == ([], 0)


def test_waiting_ends_with_the_time_given(heard):
    """Where nothing is said receive returns nothing after the time it was given."""
    began = time.monotonic()
    assert heard.receive(0.05) == ([], 0)
    assert 0.04 < time.monotonic() - began < 2.0


def test_closing_ends_a_wait_in_another_thread(store):
    """A thread that waits for announcements returns or raises when they are closed; so does every later call."""
    announcements = store.announcements()
    problems = []

    def wait():
        try:
            announcements.receive(60.0)
        except StoreUnavailable as problem:
            problems.append(problem)

    thread = threading.Thread(target=wait)
    thread.start()
    announcements.close()
    thread.join(10.0)
    assert not thread.is_alive()
    assert len(problems) == 1
    announcements.close()
    for call in (announcements.ask, lambda: announcements.receive(0.0)):
        with pytest.raises(StoreUnavailable, match="closed"):
            call()


def test_a_lost_connection_raises(heard, sql):
    """Where the server has gone receive raises, so that the cache knows."""
    sql("SELECT pg_terminate_backend(%s, 1000)", (heard._pgconn.backend_pid,))
    with pytest.raises(StoreUnavailable, match="lost"):
        heard.receive(5.0)


def test_both_forms_give_the_blocking_listener(url, heard, store):
    """The asynchronous form announces and listens as the blocking one does."""
    other = AsyncPostgresStore.from_url(url)
    assert isinstance(other, Announces)
    listening = other.announcements()
    store.end(KEY, "logout", 1e9, 9e9)
    assert everything(listening) == everything(heard) == [KEY]
    listening.close()


def test_a_store_that_announces_nothing_says_so(url):
    """With announces=False no write is announced, and nobody is let listen in vain."""
    with PostgresStore.from_url(url) as listener, PostgresStore.from_url(url + "&announces=off") as quiet:
        listening = listener.announcements()
        quiet.create(RECORD)
        quiet.end(KEY, "logout", 1e9, 9e9)
        quiet.end_before(1e9, 1e9)
        assert everything(listening) == []
        listening.close()
        with pytest.raises(SettingsError, match="announces"):
            quiet.announcements()


def test_nobody_to_listen_to_is_a_fault_without_a_password():
    """Where there is no server the error says where, and shows no password."""
    store = PostgresStore("postgresql://app:geheim@127.0.0.1:1/app")
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1") as caught:
        store.announcements()
    assert "geheim" not in str(caught.value)


def test_a_listener_is_connected_without_a_transaction(heard, sql):
    """A listener that kept a transaction open would hold up the server's cleaning."""
    row = sql("SELECT state FROM pg_stat_activity WHERE pid = %s", (heard._pgconn.backend_pid,)).fetchone()
    assert row == ("idle",)
    assert isinstance(heard._connection, psycopg.Connection)


def test_a_server_that_never_says_that_we_listen_is_a_fault(url, monkeypatch):
    """A connection on which LISTEN is not answered in time is given up, so that the cache can try another."""

    def never(generator, *rest):
        raise TooLong

    with PostgresStore.from_url(url) as store:
        monkeypatch.setattr("session_middleware.stores.postgres.announcements.waiting.wait", never)
        with pytest.raises(StoreUnavailable, match="lost"):
            store.announcements()
