"""Sessions in PostgreSQL 12 or later.

`blocking` and `awaited` are the two public forms; `calls` what each method does, once for both; `statements` the SQL,
`schema` and `making` the tables and `rows` how a record lies there; `address`, `links` and `waits` how connections are
found, lent and awaited; `faults` what an operator is told; `announcements` what PostgreSQL announces.
"""

try:
    import psycopg  # noqa: F401  # asked for here, once for all of this package
except ImportError as problem:
    raise ImportError("PostgresStore needs psycopg 3: pip install 'session-middleware[postgres]'") from problem

from session_middleware.stores.postgres.awaited import AsyncPostgresStore
from session_middleware.stores.postgres.blocking import PostgresStore
from session_middleware.stores.postgres.making import create_schema
from session_middleware.stores.postgres.schema import schema_sql

__all__ = ["AsyncPostgresStore", "PostgresStore", "create_schema", "schema_sql"]
