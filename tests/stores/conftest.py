"""What the tests of PostgreSQL share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.stores.postgres_server import new_schema


@pytest.fixture
def url() -> str:
    """The URL of a PostgreSQL store with empty tables of its own."""
    return new_schema()


@pytest.fixture
def sql(url: str) -> Iterator[Callable[..., Any]]:
    """Runs SQL on the tables of `url` as somebody else would."""
    import psycopg

    address, _, options = url.partition("?schema=")
    schema, _, _ = options.partition("&")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {schema}".encode())
        yield connection.execute
