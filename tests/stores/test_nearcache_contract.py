"""A near cache keeps every promise of a store, before each store that can announce, on real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_middleware.__main__ import main
from session_middleware.stores.base import (
    AddsOnce,
    Announces,
    Caches,
    Caps,
    EndsBefore,
    Prunes,
    ReadsAhead,
    Recognises,
    Walks,
)
from session_middleware.stores.nearcache import near_cache
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.store_contract import StoreContract
from session_middleware.testing.watched_store import WatchedStore
from tests.stores.postgres_server import new_schema
from tests.stores.redis_server import a_prefix, url_of, wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]


_made: list[Any] = []  # near caches of the test that runs


def opened(store: Any) -> Any:  # Any: a store of either form, and its near cache
    """Return a near cache that is open: what the contract reads twice it reads near."""
    near = near_cache(store)
    _made.append(near)
    near.listen()
    wait_until(lambda: near.state.open, "the near cache")
    return near


@pytest.fixture(autouse=True)
def _stopped() -> Iterator[None]:
    """The contract makes more stores than it closes, and one that listens goes on until it is told."""
    yield
    while _made:
        _made.pop().stop()


KINDS = ["standalone", "cluster", "sentinel"]


class TestNearRedis(StoreContract):
    histories = 10

    @pytest.fixture(params=KINDS)
    def make_store(self, request: pytest.FixtureRequest) -> Callable[[], object]:
        url = url_of(request.param)
        return lambda: opened(RedisStore.from_url(url, prefix=a_prefix()))


class TestNearAsyncRedis(StoreContract):
    histories = 10

    @pytest.fixture(params=KINDS)
    def make_store(self, request: pytest.FixtureRequest) -> Callable[[], object]:
        url = url_of(request.param)
        return lambda: opened(AsyncRedisStore.from_url(url, prefix=a_prefix()))


class TestNearPostgres(StoreContract):
    histories = 8

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return lambda: opened(PostgresStore.from_url(new_schema()))


class TestNearAsyncPostgres(StoreContract):
    histories = 8

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return lambda: opened(AsyncPostgresStore.from_url(new_schema()))


@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
def test_a_watched_store_keeps_every_power(kind: Any) -> None:
    """The testing kit's WatchedStore is recognised by each protocol by which the store in it is, near cache or not."""
    powers = (Caches, Recognises, Announces, ReadsAhead, EndsBefore, AddsOnce, Prunes, Caps, Walks)
    store = kind.from_url(url_of("standalone"), prefix=a_prefix())
    for one in (store, near_cache(store)):
        assert [power for power in powers if isinstance(WatchedStore(one), power)] == [
            power for power in powers if isinstance(one, power)
        ]


def test_the_commands_take_the_same_url(capsys: pytest.CaptureFixture[str]) -> None:
    """A SESSION_STORE_URL with near_cache= serves the command line, too, which needs no cache."""
    url = new_schema() + "&near_cache=2"
    assert main(["sessions", "create-schema", "--store", url]) == 0
    main(["sessions", "list", "alice", "--store", url])
    said = capsys.readouterr()
    assert "is ready" in said.out
    assert "near_cache" not in said.err
