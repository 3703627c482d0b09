"""A session costs one write in a touch interval on every backend, as the servers themselves count (L5)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import redis

from session_middleware.stores.nearcache import near_cache
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.stage import Stage
from tests.stores.postgres_server import new_schema
from tests.stores.redis_server import Server, wait_until
from tests.test_scenarios_far import closing

pytestmark = pytest.mark.server

#: What changes a key of Redis, as `INFO commandstats` names it.
WRITES = ("cmdstat_set", "cmdstat_evalsha", "cmdstat_eval", "cmdstat_zadd", "cmdstat_del", "cmdstat_expire")

#: Makes PostgreSQL take note of each row of a session that is written.
COUNTED = (
    'CREATE TABLE "{schema}".written (at timestamptz)',
    'CREATE FUNCTION "{schema}".note() RETURNS trigger LANGUAGE plpgsql AS '
    """$$BEGIN INSERT INTO "{schema}".written VALUES (now()); RETURN NULL; END$$""",
    'CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON "{schema}".sessions '
    'FOR EACH ROW EXECUTE FUNCTION "{schema}".note()',
)


@pytest.fixture
def caches() -> Iterator[list[Any]]:
    """Near caches that are stopped at the end."""
    made: list[Any] = []
    yield made
    for near in made:
        near.stop()


def _stage(store: Any, mode: str, caches: list[Any], *, near: bool) -> Stage:
    if near:
        store = near_cache(store)
        caches.append(store)
        store.listen()
        wait_until(lambda: bool(store.state.open), "the near cache")
    make = importlib.import_module(f"tests.modes.{mode}_mode").make
    return Stage(closing(make) if mode == "asgi" else make, store)


def _thousand(stage: Stage, counted: Callable[[], int]) -> int:
    """Make 1,000 requests within one touch interval of a login; return how many writes the server counted."""
    try:
        browser = stage.signed_in(inactivity_timeout=3_600, absolute_lifetime=86_400)
        stage.clock.advance(1)
        before = counted()
        for _ in range(1_000):
            stage.clock.advance(0.05)
            assert browser.fetch("/me").status == 200
        return counted() - before
    finally:
        stage.close()


@pytest.mark.parametrize("near", [False, True], ids=["", "near"])
@pytest.mark.parametrize(("kind", "mode"), [(RedisStore, "wsgi"), (AsyncRedisStore, "asgi")], ids=["wsgi", "asgi"])
def test_a_thousand_requests_are_one_write_to_redis(kind: Any, mode: str, near: bool, caches: list[Any]) -> None:
    """Redis is written to once by 1,000 requests within a touch interval, and read at most once for each."""
    server = Server()
    client = redis.Redis(port=server.port)

    def counted() -> int:
        stats = client.info("commandstats")
        # A script that the server does not know yet is a failed call, and then one that counts.
        return sum(stats[name]["calls"] - stats[name]["failed_calls"] for name in WRITES if name in stats)

    assert _thousand(_stage(kind.from_url(f"{server.url}?timeout=30"), mode, caches, near=near), counted) == 1
    client.close()
    server.remove()


@pytest.mark.parametrize("near", [False, True], ids=["", "near"])
@pytest.mark.parametrize(
    ("kind", "mode"), [(PostgresStore, "wsgi"), (AsyncPostgresStore, "asgi")], ids=["wsgi", "asgi"]
)
def test_a_thousand_requests_are_one_write_to_postgresql(kind: Any, mode: str, near: bool, caches: list[Any]) -> None:
    """PostgreSQL writes one row once for 1,000 requests within a touch interval."""
    url = new_schema()
    address, _, options = url.partition("?schema=")
    schema = options.partition("&")[0]
    with psycopg.connect(address, autocommit=True) as connection:
        for sql in COUNTED:
            connection.execute(sql.format(schema=schema).encode())

        def counted() -> int:
            (written,) = connection.execute(f'SELECT count(*) FROM "{schema}".written'.encode()).fetchone() or (0,)
            return int(written)

        assert _thousand(_stage(kind.from_url(url), mode, caches, near=near), counted) == 1
