"""A PostgreSQL server that restarts, falls silent or refuses: found again at once, and said in words that help."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from session_middleware.__main__ import main
from session_middleware.errors import SettingsError, StoreUnavailable
from session_middleware.runtime import run_sync
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore, create_schema, schema_sql
from session_middleware.testing.reference_record import reference_record
from tests.stores.postgres_server import new_server, postgres_server

pytestmark = [pytest.mark.server, pytest.mark.slow]

RECORD = reference_record(0)
KEY = RECORD.key


@pytest.fixture(scope="module")
def server():
    """A server that these tests may stop."""
    server = new_server()
    create_schema(server.url())
    yield server
    server.remove()


@pytest.fixture
def own_url(server):
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("TRUNCATE session_middleware.sessions")
    return server.url()


# --- a server that goes away ------------------------------------------------------------------------------------------

AFTER_A_RESTART = {
    "load": lambda store: store.load(KEY) == RECORD,
    "end": lambda store: store.end(KEY, "logout", 1e9, 9e9),
    "save": lambda store: store.save(RECORD).revision == 1,
}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("call", AFTER_A_RESTART)
def test_the_first_call_after_a_restart_succeeds(server, own_url, call, how):
    """A restart, or a crash, fails no call: the connections that went with it are noticed before they are used."""
    with PostgresStore.from_url(own_url) as store:
        store.create(RECORD)
        server.stop(how)
        server.start()
        assert AFTER_A_RESTART[call](store)


def test_tasks_survive_a_restart_too(server, own_url):
    """The same on a loop, with several idle connections."""

    async def main():
        async with AsyncPostgresStore.from_url(own_url) as store:
            await store.create(RECORD)
            await asyncio.gather(*(store.load(KEY) for _ in range(5)))
            server.stop()
            server.start()
            assert await asyncio.gather(*(store.load(KEY) for _ in range(5))) == [RECORD] * 5
            assert await store.end(KEY, "logout", 1e9, 9e9)

    asyncio.run(main())


def test_a_read_is_repeated_where_the_connection_breaks_under_it(server, own_url, monkeypatch):
    """A load whose connection turns out to be gone is made once more; so is a list."""
    with PostgresStore.from_url(own_url) as store:
        store.create(RECORD)
        for read in (lambda: store.load(KEY), lambda: store.list(RECORD.handles[0], 0.0)[0]):
            link = store._calls.links._idle[-1]
            monkeypatch.setattr(type(link), "is_sound", lambda self: True)
            with psycopg.connect(own_url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 1000)", (link.pgconn.backend_pid,))
            assert read() == RECORD


def test_a_server_that_is_down_is_a_fault_at_once_and_reached_when_it_is_back(server, own_url):
    """While the server is down calls fail within moments; once it is up they succeed, without a restart of ours."""
    with PostgresStore.from_url(own_url) as store:
        store.create(RECORD)
        server.stop()
        try:
            began = time.monotonic()
            for _ in range(10):
                with pytest.raises(StoreUnavailable, match="Check that the server runs"):
                    store.load(KEY)
            assert time.monotonic() - began < 10  # a time limit is 2 s for each
        finally:
            server.start()
        assert store.load(KEY) == RECORD


def test_a_server_that_falls_silent_holds_up_nobody_for_long(server, own_url):
    """A frozen server fails a call after the timeout; when it goes on, calls succeed again."""
    with PostgresStore.from_url(own_url + "?timeout=1") as store:
        store.create(RECORD)
        server.freeze()
        try:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match=r"did not answer within 1 s"):
                store.load(KEY)
            assert time.monotonic() - began < 10
        finally:
            server.thaw()
        assert store.load(KEY) == RECORD


def test_one_silent_connection_is_the_last_that_is_tried(server, own_url):
    """Where connections fall silent and the server still takes new ones, one call fails and not one for each of them."""
    with PostgresStore.from_url(own_url + "?timeout=1") as store, ThreadPoolExecutor(3) as pool:
        store.create(RECORD)
        together = threading.Barrier(3)

        async def lend():
            async with store._calls.links.lent() as link:
                together.wait()
                return link.pgconn.backend_pid

        silent = list(pool.map(lambda _: run_sync(lend()), range(3)))
        assert len(set(silent)) == len(store._calls.links._idle) == 3
        for pid in silent:
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable, match=r"did not answer within 1 s"):
                store.load(KEY)
            assert store.load(KEY) == RECORD
        finally:
            for pid in silent:
                os.kill(pid, signal.SIGCONT)


def test_a_server_that_falls_silent_leaves_the_loop_free(server, own_url):
    """The same on a loop, whose other tasks go on."""

    async def main():
        turns = 0
        async with AsyncPostgresStore.from_url(own_url + "?timeout=1") as store:
            await store.create(RECORD)
            server.freeze()
            try:
                loading = asyncio.ensure_future(store.load(KEY))
                while not loading.done():  # each turn is the thing that is counted
                    await asyncio.sleep(0)
                    turns += 1
                with pytest.raises(StoreUnavailable, match="did not answer"):
                    await loading
            finally:
                server.thaw()
            assert turns > 100
            assert await store.load(KEY) == RECORD

    asyncio.run(main())


def test_the_server_gives_up_what_takes_too_long(url, sql):
    """A write that waits for somebody's lock ends on the server too, and is not made later."""
    with PostgresStore.from_url(url + "&timeout=1") as store:
        store.create(RECORD)
        sql("BEGIN")
        sql("SELECT FROM sessions FOR UPDATE")
        with pytest.raises(StoreUnavailable):
            store.renew(KEY, 0, 1, 1e9)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while sql(waiting).fetchone()[0]:  # the server's own timer
            pass
        sql("COMMIT")
        assert store.load(KEY) == RECORD


def test_a_read_only_server_is_a_fault_that_names_the_setting(url):
    """A primary that is read-only serves reads; a write says how to find the server that takes it."""
    with PostgresStore.from_url(url) as store:
        store.create(RECORD)
    with PostgresStore.from_url(url + "&options=-c%20default_transaction_read_only%3Don") as store:
        assert store.load(KEY) == RECORD
        with pytest.raises(StoreUnavailable, match="target_session_attrs=read-write"):
            store.end(KEY, "logout", 1e9, 9e9)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://app:s3cr/et@127.0.0.1/app",
        "postgresql://app:12/s3cret@127.0.0.1/app",
        "postgresql://app:s3@cret@127.0.0.1/app",
        "postgresql://app:s3cret@127.0.0.1:543x/app",
        "postgresql://app:s3cret@127.0.0.1/app?sslmodus=require",
        "postgresql://app:s3cret%zz@127.0.0.1/app",
        "postgresql://app:s3cret@[127.0.0.1/app",
        "password=s3cret host",
    ],
)
def test_an_address_that_makes_no_sense_is_refused_without_the_password(address):
    """A mistake in the URL is an error at construction that names the form and shows no piece of the password."""
    for form in (PostgresStore, AsyncPostgresStore):
        with pytest.raises(SettingsError, match="Write postgresql://") as caught:
            form.from_url(address)
        assert not [piece for piece in ("s3", "cret", "et@", "543x") if piece in str(caught.value)]


@pytest.mark.parametrize(
    ("query", "due"), [("", "2"), ("timeout=0.5", "2"), ("timeout=5", "5"), ("timeout=5&connect_timeout=9", "9")]
)
def test_to_connect_takes_no_longer_than_was_said(query, due):
    """A host that never answers is given up after two seconds, or `timeout` if that is more, or what the URL says."""
    for form in (PostgresStore, AsyncPostgresStore):
        address = form.from_url(f"postgresql://db.example/app?{query}")._calls.address
        assert psycopg.conninfo.conninfo_to_dict(address.conninfo)["connect_timeout"] == due


def test_a_question_mark_in_a_password_is_no_query():
    """libpq takes a bare ? in a password; our options are then still found behind the last one."""
    store = PostgresStore.from_url("postgresql://app:s3cr?et@db.example/app?schema=shop&sslmode=require")
    assert repr(store) == "<PostgresStore postgresql://db.example/app>"
    assert store._calls.schema == "shop"
    assert PostgresStore.from_url("postgresql://app:s3cr?et@db.example/app")._calls.schema == "session_middleware"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("schema=Robert'); DROP TABLE", "small letters"),
        ("schema=", "small letters"),
        ("prepare=maybe", "prepare=off"),
        ("announces=2", "announces=off"),
        ("connections=ten", "connections=2"),
        ("connections=0", "at least 1"),
        ("timeout=0", r"2\.0"),
        ("timeout=nan", r"2\.0"),
        ("timeout=soon", "timeout=2"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(query, says):
    """Our options in the URL are checked when the store is made."""
    with pytest.raises(SettingsError, match=says):
        PostgresStore.from_url(f"postgresql://127.0.0.1/app?{query}")


@pytest.mark.parametrize(
    ("user", "more", "says"),
    [
        ("locked:geheim", "", "Check the user and the password"),
        ("sessions:geheim", "database=nowhere", "Make it"),
        ("nobody:geheim", "", "Make it"),
        ("unwanted:geheim", "", "pg_hba.conf"),
        ("encrypted:geheim", "", "sslmode=require"),
        ("sessions:geheim", "sslmode=require", "certificate"),
        ("sessions:geheim", "port=1", "Check that the server runs"),
    ],
)
def test_a_connection_that_is_refused_says_what_to_do(user, more, says, caplog):
    """Wrong password, user, database, encryption or port: the error and the log name the way out, not the password."""
    server = postgres_server()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for name in ("locked", "unwanted", "encrypted"):
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone():
                connection.execute(f"CREATE USER {name} PASSWORD 'another'".encode())
    database = "nowhere" if more == "database=nowhere" else "postgres"
    port = 1 if more == "port=1" else server.port
    query = more if more.startswith("sslmode") else ""
    address = f"postgresql://{user}@127.0.0.1:{port}/{database}?{query}"
    with PostgresStore.from_url(address) as store, caplog.at_level(logging.ERROR, "session_middleware"):
        for call in (store.check, lambda: store.load(KEY), lambda: store.load(KEY)):
            with pytest.raises(StoreUnavailable, match=says) as caught:
                call()
            assert "geheim" not in str(caught.value)
        (entry,) = caplog.records  # once, however many requests meet it
        assert says in entry.getMessage()
        assert "geheim" not in caplog.text
        assert "geheim" not in repr(store)


@pytest.fixture(scope="module")
def small():
    """A server that takes four connections, one of them of a superuser's, one of the role and one to the database."""
    server = new_server("max_connections = 4\nsuperuser_reserved_connections = 1\n")
    with psycopg.connect(server.url(), autocommit=True) as admin:
        for command in (
            "CREATE ROLE one LOGIN CONNECTION LIMIT 1",
            "CREATE ROLE many LOGIN",
            "CREATE DATABASE narrow CONNECTION LIMIT 1",
        ):
            admin.execute(command.encode())
    yield server
    server.remove()


@pytest.mark.parametrize(
    ("user", "database", "taken", "says"),
    [
        ("one", "postgres", 1, "too many connections for role"),
        ("many", "narrow", 1, "too many connections for database"),
        ("many", "postgres", 3, "remaining connection slots"),
        ("sessions", "postgres", 4, "too many clients already"),
    ],
)
def test_too_many_connections_are_a_fault_that_names_the_number(small, user, database, taken, says):
    """Where the role, the database or the server has no connection left, the error says which number to change."""
    url = small.url(user, database)
    with contextlib.ExitStack() as held, PostgresStore.from_url(url) as store:
        for _ in range(taken):
            held.enter_context(psycopg.connect(url))
        with pytest.raises(StoreUnavailable, match=f"{says}.*ower `connections`") as caught:
            store.load(KEY)
    assert "Check that the server runs" not in str(caught.value)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_missing_tables_are_an_error_that_names_the_command():
    """Without the tables every call says how to make them, and makes none itself."""
    url = postgres_server().url(query="schema=missing")
    with PostgresStore.from_url(url) as store:
        for call in (store.check, lambda: store.load(KEY), lambda: store.create(RECORD)):
            with pytest.raises(SettingsError, match="session-middleware sessions create-schema"):
                call()
    with psycopg.connect(postgres_server().url()) as connection:
        assert connection.execute("SELECT to_regnamespace('missing')").fetchone() == (None,)


def test_a_later_versions_tables_are_refused(url, sql):
    """Tables of another version are not guessed at."""
    sql("UPDATE about SET version = 99")
    with PostgresStore.from_url(url) as store, pytest.raises(SettingsError, match="of version 99"):
        store.load(KEY)


def test_making_the_tables_again_changes_nothing(url):
    """The command may be run at each deployment."""
    with PostgresStore.from_url(url) as store:
        store.create(RECORD)
        create_schema(url)
        assert store.load(KEY) == RECORD
        store.check()


def test_a_migration_of_ones_own_makes_the_same_tables(sql):
    """What the command prints is what create-schema runs; a user with the rights it names can use the store."""
    sql(schema_sql("by_hand").encode())
    sql("DROP USER IF EXISTS clerk")
    sql("CREATE USER clerk")
    url = postgres_server().url(user="clerk", query="schema=by_hand")
    with PostgresStore.from_url(url) as store:
        with pytest.raises(SettingsError, match="GRANT USAGE"):
            store.load(KEY)
        sql("GRANT USAGE ON SCHEMA by_hand TO clerk")
        sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA by_hand TO clerk")
        store.create(RECORD)
        assert store.end(KEY, "logout", 1e9, 9e9)
        assert store.create_capped(reference_record(1), "h", 1, True, 1e9, 2e9) == []
        store.end_before(1e9, 1e9)
        assert store.add_once("jti", 2e9, 1e9)
        assert store.prune(9e9) > 0
    with pytest.raises(StoreUnavailable, match="the tables could not be made"):
        create_schema(postgres_server().url(user="clerk", query="schema=another"))


def test_the_commands_make_and_print_the_tables(capsys):
    """create-schema makes the tables once and may be repeated; schema prints them; the other verbs then work."""
    url = postgres_server().url(query="schema=commanded")
    with psycopg.connect(postgres_server().url()) as connection:
        connection.execute("DROP SCHEMA IF EXISTS commanded CASCADE")
    assert main(["sessions", "list", "alice", "--store", url]) == 1
    assert "session-middleware sessions create-schema" in capsys.readouterr().err
    for _ in range(2):
        assert main(["sessions", "create-schema", "--store", url]) == 0
    assert main(["sessions", "end-before", "now", "--store", url]) == 0
    assert main(["sessions", "create-schema", "--store", "sqlite:///sessions.db"]) == 1
    assert "needs no tables made" in capsys.readouterr().err
    assert main(["schema", "postgresql", "--name", "commanded"]) == 0
    assert capsys.readouterr().out == schema_sql("commanded")
