"""RedisStore and AsyncRedisStore keep every promise on one server, behind a Sentinel and in a Cluster."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.store_contract import StoreContract
from tests.stores.redis_server import a_prefix, url_of

KINDS = ["standalone", "cluster", "sentinel"]


class TestRedisStore(StoreContract):
    histories = 15

    @pytest.fixture(params=KINDS)
    def make_store(self, request: pytest.FixtureRequest) -> Callable[[], object]:
        url = url_of(request.param)
        return lambda: RedisStore.from_url(url, prefix=a_prefix())


class TestAsyncRedisStore(StoreContract):
    histories = 15

    @pytest.fixture(params=KINDS)
    def make_store(self, request: pytest.FixtureRequest) -> Callable[[], object]:
        url = url_of(request.param)
        return lambda: AsyncRedisStore.from_url(url, prefix=a_prefix())
