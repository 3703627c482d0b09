"""What goes wrong with PostgreSQL, in words that name the way out and never a secret."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import errors
from psycopg.pq.abc import PGresult

from session_middleware.errors import RecordUnreadable, SettingsError, StoreUnavailable
from session_middleware.stores.postgres.address import Address
from session_middleware.stores.postgres.statements import UNREADABLE

__all__ = ["fault_of", "follows_another", "unreachable"]

_TOO_MANY: Final = (
    "Lower `connections` (?connections=5: each process opens so many), or raise the limit: max_connections of the server, "
    "CONNECTION LIMIT of the role or the database."
)

#: What libpq says when it cannot connect, and the way out; by the words, since libpq tells no code. Of 53300 there are
#: several, and PgBouncer's own.
_HINTS: Final = (
    ("too many", _TOO_MANY),
    ("connection slots", _TOO_MANY),
    ("no more connections allowed", _TOO_MANY),
    ("password", "Check the user and the password in SESSION_STORE_URL."),
    ("does not support SSL", "Give the server a certificate, or write sslmode=prefer if the network is yours alone."),
    ("does not match host name", "Connect by a name that the server's certificate has."),
    ("invalid", "Correct it in SESSION_STORE_URL."),
    ("certificate", "Name the authority that signed the server's certificate: sslrootcert=/path/ca.pem."),
    ("no encryption", "The server takes encrypted connections only: write sslmode=require, or better verify-full."),
    ("pg_hba.conf", "Let this user and address in: a line in the server's pg_hba.conf."),
    ("does not exist", "Make it (createdb, createuser), or name another in SESSION_STORE_URL."),
    ("read-only", "No server of those named takes writes: check that the primary runs, and that it is named."),
)
_HINT: Final = "Check that the server runs, and host and port in SESSION_STORE_URL."


def unreachable(address: Address, problem: psycopg.Error) -> StoreUnavailable:
    """Return what to say where libpq could not connect."""
    text = address.without_secrets(str(problem)).rstrip(".")
    hint = next((hint for word, hint in _HINTS if word in text), _HINT)
    return StoreUnavailable(f"No connection to {address.shown}: {text}. {hint}")


def follows_another(address: Address) -> StoreUnavailable:
    """Return what to say of a standby."""
    return StoreUnavailable(
        f"{address.shown} is a standby, which may not have heard yet of a logout. Name the primary, or all servers and "
        "target_session_attrs=read-write."
    )


def fault_of(result: PGresult, address: Address, schema: str) -> Exception:
    """Return what to raise for a result that is an error."""
    problem = errors.error_from_result(result)
    text = problem.diag.message_primary or ""
    if isinstance(problem, errors.InvalidTextRepresentation) and UNREADABLE in text:
        return RecordUnreadable(
            "What the store holds under this key is no record of a version we read, or damaged; it is left as it is."
        )
    if isinstance(problem, (errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedColumn)):
        return SettingsError(
            "schema",
            schema,
            f"is not in {address.shown}, or not whole.",
            "Make it once: session-middleware sessions create-schema --store URL "
            "(or run what `session-middleware schema postgresql` prints).",
        )
    if isinstance(problem, errors.InsufficientPrivilege):
        return SettingsError(
            "schema",
            schema,
            f"may not be used by this user ({text}).",
            f'GRANT USAGE ON SCHEMA "{schema}", and SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN it.',
        )
    if isinstance(problem, errors.UniqueViolation):
        return KeyError("a session with this key exists; ids are random, so this is a fault")
    if isinstance(problem, errors.ReadOnlySqlTransaction):
        return StoreUnavailable(
            f"{address.shown} takes no writes. Name all servers and target_session_attrs=read-write."
        )
    if isinstance(problem, (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement)):
        return SettingsError(
            "prepare", True, "does not work behind this pooler.", "Write prepare=False, or ?prepare=off in the URL."
        )
    if isinstance(problem, errors.QueryCanceled):
        return StoreUnavailable(f"{address.shown} gave up a statement that took too long ({text}).")
    return problem
