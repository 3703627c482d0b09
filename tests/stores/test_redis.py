"""RedisStore and AsyncRedisStore keep every promise on one server, behind a Sentinel and in a Cluster."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.reference_record import reference_record
from session_middleware.testing.store_contract import StoreContract
from tests.stores.redis_server import a_prefix, url_of

KINDS = ["standalone", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("cluster", "sentinel"))]


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_with_the_signs_of_a_pattern_walks_its_own_keys_only(kind: str) -> None:
    """A walk takes the prefix literally, so stores side by side do not find each other's keys."""
    prefix = a_prefix()
    with (
        RedisStore.from_url(url_of(kind), prefix=prefix + "[a-c]*?\\:") as one,
        RedisStore.from_url(url_of(kind), prefix=prefix + "b:") as other,
    ):
        one.create(reference_record(1))
        other.create(reference_record(2))
        keys, after = one.walk(None, 100_000)
        while after is not None:
            more, after = one.walk(after, 100_000)
            keys = [*keys, *more]
        assert list(keys) == [reference_record(1).key]
