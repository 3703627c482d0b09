"""Sessions in PostgreSQL 12 or later.

`store` holds the two public forms; `calls` what each method does, once for both; `statements` the SQL, `schema` the
tables and `rows` how a record lies there; `address`, `links` and `waits` how connections are found, lent and awaited;
`faults` what an operator is told; `announcements` what PostgreSQL announces.
"""

from session_middleware.stores.postgres.store import AsyncPostgresStore, PostgresStore, create_schema, schema_sql

__all__ = ["AsyncPostgresStore", "PostgresStore", "create_schema", "schema_sql"]
