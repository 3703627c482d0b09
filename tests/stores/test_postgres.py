"""PostgresStore and AsyncPostgresStore keep every promise of a store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from session_middleware.testing.store_contract import StoreContract
from tests.stores.postgres_server import new_schema

pytestmark = pytest.mark.server


class TestPostgresStore(StoreContract):
    histories = 12

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return lambda: PostgresStore.from_url(new_schema())


class TestAsyncPostgresStore(StoreContract):
    histories = 12

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return lambda: AsyncPostgresStore.from_url(new_schema())
