"""The tables of the PostgreSQL store: their SQL, for one's own migration or for the command that makes them."""

from __future__ import annotations

import re
from typing import Final

from session_middleware.errors import SettingsError

__all__ = ["SCHEMA_VERSION", "checked_schema", "schema_sql"]

#: Kept in the table `about`; tables of a later version are refused, never guessed at.
SCHEMA_VERSION: Final = 1

#: A name goes into SQL between double quotes and is the channel of notifications, whose names end at 63 bytes.
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")

# Why it looks like this:
# * What touches and renewals move stands in columns that no index covers, so that PostgreSQL can write the new row
#   beside the old one without touching an index (HOT); fillfactor leaves it the room.
# * `kept` is what an end leaves of `body` (L16), written at the same time, so that an end is one statement that needs
#   the key only. `seal` says that both are as one of our versions wrote them; it costs a hash, so writes that would
#   replace them look at it and touches do not.
# * `handles`, `end_reason`: bytea, since text in PostgreSQL holds neither NUL nor half of a surrogate pair.
# * `sweep_at` may be early and never moves with a touch; the sweep looks at a row then and puts it off if it is needed.
# * The index of handles has live sessions only, and is never behind (fastupdate=off), so a list never reads more.
_SQL: Final = """\
CREATE SCHEMA IF NOT EXISTS "{schema}";
CREATE TABLE IF NOT EXISTS "{schema}".about (
    version integer PRIMARY KEY
);
INSERT INTO "{schema}".about VALUES ({version}) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS "{schema}".sessions (
    key bytea PRIMARY KEY,
    authenticated_at double precision NOT NULL,
    last_seen_at double precision NOT NULL,
    inactivity_deadline double precision,
    keep_until double precision NOT NULL,
    renewed_at double precision NOT NULL,
    presented_at double precision,
    ended_at double precision,
    sweep_at bigint NOT NULL,
    generation integer NOT NULL,
    revision integer NOT NULL,
    end_reason bytea,
    seal bytea NOT NULL,
    handles bytea[] NOT NULL,
    kept bytea NOT NULL,
    body bytea NOT NULL
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS sessions_handles ON "{schema}".sessions
    USING gin (handles) WITH (fastupdate = off) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS sessions_sweep_at ON "{schema}".sessions (sweep_at);
CREATE TABLE IF NOT EXISTS "{schema}".epoch (
    id integer PRIMARY KEY CHECK (id = 1),
    instant double precision NOT NULL,
    at double precision NOT NULL
);
CREATE TABLE IF NOT EXISTS "{schema}".once (
    key bytea PRIMARY KEY,
    until double precision NOT NULL
);
CREATE INDEX IF NOT EXISTS once_until ON "{schema}".once (until);
"""


def schema_sql(schema: str = "session_middleware") -> str:
    """Return the SQL that makes the tables; where they are there already it changes nothing.

    Args:
        schema: the PostgreSQL schema they stand in. Whoever uses the store needs USAGE on it, and SELECT, INSERT,
            UPDATE and DELETE on its tables; nothing more.

    Raises:
        SettingsError: no schema can be called so.
    """
    return _SQL.format(schema=checked_schema(schema), version=SCHEMA_VERSION)


def checked_schema(schema: str) -> str:
    """Return the name if a schema may have it.

    Raises:
        SettingsError: it may not.
    """
    if not _NAME.fullmatch(schema):
        raise SettingsError(
            "schema", schema, "cannot be the name of our schema.", "Take small letters, digits and _, 63 at most."
        )
    return schema
