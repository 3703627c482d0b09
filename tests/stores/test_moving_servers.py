"""What has moved between real stores keeps every promise, to the last field."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from session_middleware.core.record import SessionRecord
from session_middleware.stores.moving import MovingStore
from session_middleware.stores.postgres import PostgresStore
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing.store_contract import StoreContract
from tests.stores.postgres_server import new_schema
from tests.stores.redis_server import a_prefix, url_of

pytestmark = pytest.mark.slow


class MovedAtOnce(MovingStore):
    """A store whose every session is made in the old store and moved before it is used."""

    def create(self, record: SessionRecord) -> None:
        super().create(record)
        after = None
        while (batch := self.move_some(after, 1000, float("-inf"))).next is not None:
            after = batch.next
        assert batch.failed == ()


class _Moved(StoreContract):
    # One session is a row in each of the stores, so counts of rubbish are others; and histories move all at each step.
    test_pruning_takes_rubbish_only = None
    test_what_was_pruned_is_unknown = None
    test_pruning_is_not_held_up_by_what_was_touched = None
    test_random_histories_agree_with_the_reference = None
    test_logins_sweep = None


class TestFromSQLiteToRedis(_Moved):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], object]:
        url, numbers = url_of("standalone"), itertools.count()
        return lambda: MovedAtOnce(
            SQLiteStore(tmp_path / f"{next(numbers)}.db"), RedisStore.from_url(url, prefix=a_prefix())
        )


class TestFromRedisToPostgres(_Moved):
    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        url = url_of("standalone")
        return lambda: MovedAtOnce(RedisStore.from_url(url, prefix=a_prefix()), PostgresStore.from_url(new_schema()))


class TestFromPostgresToSQLite(_Moved):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], object]:
        numbers = itertools.count()
        return lambda: MovedAtOnce(PostgresStore.from_url(new_schema()), SQLiteStore(tmp_path / f"{next(numbers)}.db"))
