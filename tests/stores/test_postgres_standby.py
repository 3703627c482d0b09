"""A standby of PostgreSQL is never read: it may not have heard yet of a logout that the primary has acknowledged (L13)."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from session_middleware.errors import StoreUnavailable
from session_middleware.runtime import run_sync
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore, create_schema
from session_middleware.stores.postgres.address import Address
from session_middleware.testing.reference_record import reference_record
from tests.stores.postgres_server import counted_trips, new_server

pytestmark = [pytest.mark.server, pytest.mark.slow]

RECORD = reference_record(0)
KEY = RECORD.key


@pytest.fixture(scope="module")
def primary():
    server = new_server()
    create_schema(server.url())
    with PostgresStore.from_url(server.url()) as store:
        store.create(RECORD)
    yield server
    server.remove()


@pytest.fixture(scope="module")
def standby(primary):
    server = primary.standby()
    yield server
    server.remove()


def both(primary, standby, query=""):
    """Return the URL of both servers, the standby first."""
    return f"postgresql://sessions@127.0.0.1:{standby.port},127.0.0.1:{primary.port}/postgres{query}"


@pytest.mark.parametrize("query", ["", "?prepare=off"])
def test_of_several_servers_the_one_that_takes_writes_is_taken(primary, standby, query):
    """Without target_session_attrs a URL of several servers leads to the primary wherever it stands, for both forms."""
    with PostgresStore.from_url(both(primary, standby, query)) as store:
        assert store.load(KEY) == RECORD
        (link,) = store._calls.links._idle
        assert link.connection.info.port == primary.port

    async def main():
        async with AsyncPostgresStore.from_url(both(primary, standby, query)) as store:
            assert await store.load(KEY) == RECORD
            assert store._calls.links._idle[0].connection.info.port == primary.port

    asyncio.run(main())


def test_while_the_primary_is_down_the_standby_is_not_read(primary, standby):
    """A store made while the primary restarts does not settle on the standby; it finds the primary when it is back."""
    with PostgresStore.from_url(both(primary, standby)) as store:
        primary.stop()
        try:
            with pytest.raises(StoreUnavailable, match="check that the primary runs"):
                store.load(KEY)
        finally:
            primary.start()
        assert store.load(KEY) == RECORD


@pytest.mark.parametrize("attributes", ["", "target_session_attrs=any", "target_session_attrs=any&prepare=off"])
def test_a_standby_is_refused_however_it_was_chosen(standby, attributes):
    """Named alone, or asked for: check and every call say that it is a standby, and where to connect."""
    with PostgresStore.from_url(standby.url(query=attributes)) as store:
        for call in (store.check, lambda: store.load(KEY), lambda: store.list(RECORD.handles[0], 0.0)):
            with pytest.raises(StoreUnavailable, match=r"is a standby.*Name the primary"):
                call()


def test_a_new_connection_is_looked_at_in_one_round_trip(primary, monkeypatch):
    """To see whether a server is a standby costs no round trip of its own."""
    with PostgresStore.from_url(primary.url()) as store:
        counted = counted_trips(store, monkeypatch)
        run_sync(store._calls.links.opened())
        assert len(counted) == 1


@pytest.mark.parametrize(
    ("text", "environment", "due"),
    [
        ("postgresql://one,two/db", {}, "read-write"),
        ("host=one,two dbname=db", {}, "read-write"),
        ("hostaddr=127.0.0.1,127.0.0.2", {}, "read-write"),
        ("dbname=db", {"PGHOST": "one,two"}, "read-write"),
        ("postgresql://one/db", {"PGHOST": "one,two"}, None),
        ("postgresql://one/db", {}, None),
        ("postgresql://one,two/db?target_session_attrs=primary", {}, "primary"),
        ("postgresql://one,two/db", {"PGTARGETSESSIONATTRS": "primary"}, None),
    ],
)
def test_what_the_user_chose_is_left_alone(text, environment, due, monkeypatch):
    """Only where several servers are named and nothing is said of which to take, the one that takes writes is."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = psycopg.conninfo.conninfo_to_dict(Address(text, 2).conninfo)
    assert found.get("target_session_attrs") == due
