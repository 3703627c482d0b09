"""The tables, made on request; never by a store."""

from __future__ import annotations

import psycopg

from session_middleware.errors import StoreUnavailable
from session_middleware.stores.postgres.address import Address, options_of
from session_middleware.stores.postgres.schema import schema_sql

__all__ = ["create_schema"]


def create_schema(url: str) -> str:
    """Make the tables that a URL's store needs; where they are there already, change nothing.

    Args:
        url: as for `PostgresStore.from_url`; of a user who may create a schema.

    Returns:
        The name of the schema.

    Raises:
        StoreUnavailable: there is no connection, or the server refused; the message says why.
        SettingsError: the URL cannot be read.
    """
    conninfo, options = options_of(url)
    address, schema = Address(conninfo, 2), str(options.get("schema", "session_middleware"))
    sql = schema_sql(schema)
    try:
        with psycopg.connect(address.conninfo) as connection:
            connection.execute(sql.encode())
    except psycopg.Error as problem:
        raise StoreUnavailable(
            f"{address.shown}: the tables could not be made: {address.without_secrets(str(problem))}."
        ) from None
    return schema
