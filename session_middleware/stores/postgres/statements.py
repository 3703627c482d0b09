"""What is said to PostgreSQL: every statement of the store."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import BODY_VERSION

__all__ = ["UNREADABLE", "Statement", "Statements"]

#: How an error begins by which a statement refuses to replace what nobody can read.
UNREADABLE: Final = "unreadable session record "

#: Rows looked at per create, so that a table that grows by logins also shrinks by them.
SWEEP_PER_CREATE: Final = 4

#: Rows looked at in one go by `prune`: a few milliseconds, in which only rubbish is locked.
SWEEP_BATCH: Final = 500

#: What `rows.record_in` reads, in this order.
_FIELDS: Final = (
    "last_seen_at, inactivity_deadline, keep_until, renewed_at, generation, presented_at, revision, ended_at, "
    "end_reason, handles, body"
)

#: Evaluated in the transaction of the statement itself, which ends after it: one round trip, also behind a pooler.
#: What an operator has made stronger stays so.
_DURABLE: Final = (
    "CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') "
    "THEN set_config('synchronous_commit', 'on', true) END"
)
_QUICK: Final = "set_config('synchronous_commit', 'off', true)"


class Statement:
    """One statement and the name it is prepared under."""

    __slots__ = ("name", "sql")

    def __init__(self, sql: str) -> None:
        self.sql = sql.encode()
        self.name = b"session_" + sha256(self.sql).hexdigest()[:16].encode()


class Statements:
    """The statements for the tables of one schema.

    Args:
        schema: its name, checked.
        announces: whether writes that a near cache must hear of tell it (see `PostgresStore`).
    """

    def __init__(self, schema: str, *, announces: bool) -> None:
        sessions, epoch, once = (f'"{schema}".{table}' for table in ("sessions", "epoch", "once"))
        # A session of before the epoch has ended; no row in `epoch` is no epoch.
        after_epoch = f"NOT EXISTS (SELECT FROM {epoch} e WHERE e.instant > s.authenticated_at)"
        alive = f"s.key = $1 AND s.ended_at IS NULL AND {after_epoch}"
        told = f", pg_notify('{schema}', encode(s.key, 'hex'))" if announces else ""
        told_all = f", pg_notify('{schema}', '')" if announces else ""

        self.load = Statement(
            f"SELECT {_FIELDS}, e.at FROM {sessions} s "
            f"LEFT JOIN {epoch} e ON e.instant > s.authenticated_at AND s.ended_at IS NULL WHERE s.key = $1"
        )
        listing = (
            f"SELECT {_FIELDS}, s.key FROM {sessions} s WHERE s.handles @> ARRAY[$1::bytea] "
            f"AND s.ended_at IS NULL AND {after_epoch} AND s.keep_until > $2::float8"
        )
        self.list = Statement(listing)
        # What a login may have to end (`create_capped`): a row whose end would fail keeps nobody from signing in, and a login
        # that the epoch has ended as it begins takes nobody's place.
        begins = f"NOT EXISTS (SELECT FROM {epoch} e WHERE e.instant > $3::float8)"
        self.rivals = Statement(f"{listing} AND {_SEALED} AND {begins}")
        self.create = Statement(
            f"WITH {_sweep(sessions, SWEEP_PER_CREATE, '$17', '$18')} "
            f"INSERT INTO {sessions} AS s (key, seal, kept, body, handles, authenticated_at, last_seen_at, "
            "inactivity_deadline, keep_until, renewed_at, presented_at, ended_at, end_reason, generation, revision, "
            f"sweep_at) VALUES ({', '.join(f'${n}' for n in range(1, 17))}) RETURNING {_DURABLE}"
        )
        # `Touch.applied`, in SQL; `greatest` passes over NULL.
        touched = (
            f"UPDATE {sessions} s SET last_seen_at = greatest(s.last_seen_at, $2::float8), "
            "presented_at = coalesce(s.presented_at, CASE WHEN s.generation = $5::int4 THEN $6::float8 END), "
        )
        rolled = (
            "inactivity_deadline = CASE WHEN s.inactivity_deadline IS NOT NULL "
            "THEN greatest(s.inactivity_deadline, $3::float8) END, "
            f"keep_until = greatest(s.keep_until, $4::float8) WHERE {alive} RETURNING {_FIELDS}"
        )
        self.touch = Statement(f"{touched}{rolled}, {_QUICK}")
        self.present = Statement(f"{touched}{rolled}, {_QUICK}{told}")
        self.touch_exactly = Statement(
            f"{touched}inactivity_deadline = coalesce($3::float8, s.inactivity_deadline), keep_until = $4::float8, "
            f"sweep_at = least(s.sweep_at, $7::int8) WHERE {alive} RETURNING {_FIELDS}{told}"
        )
        self.save = Statement(
            f"UPDATE {sessions} s SET revision = s.revision + 1, seal = $3, kept = $4, body = $5, "
            f"authenticated_at = $6 WHERE {alive} AND s.revision = $2 AND {_SOUND} RETURNING {_FIELDS}{told}"
        )
        self.renew = Statement(
            f"UPDATE {sessions} s SET generation = $3, renewed_at = $4, presented_at = NULL "
            f"WHERE {alive} AND s.generation = $2 AND {_SOUND} RETURNING {_FIELDS}{told}"
        )
        self.end = Statement(
            f"UPDATE {sessions} s SET end_reason = $2, ended_at = $3, keep_until = $4, sweep_at = $5, "
            f"presented_at = NULL, seal = {_seal('s.kept')}, kept = '', body = s.kept "
            f"WHERE {alive} AND {_SOUND} RETURNING {_DURABLE}{told}"
        )
        self.end_before = Statement(
            f"INSERT INTO {epoch} AS e VALUES (1, $1, $2) ON CONFLICT (id) DO UPDATE "
            f"SET instant = excluded.instant, at = excluded.at WHERE e.instant < excluded.instant "
            f"RETURNING {_DURABLE}{told_all}"
        )
        self.add_once = Statement(
            f"WITH gone AS (DELETE FROM {once} WHERE key IN (SELECT key FROM {once} WHERE until <= $3::float8 "
            f"AND key <> $1 ORDER BY until LIMIT {SWEEP_PER_CREATE} FOR UPDATE SKIP LOCKED)) "
            f"INSERT INTO {once} AS o VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET until = excluded.until "
            f"WHERE o.until <= $3 RETURNING {_DURABLE}"
        )
        self.prune = Statement(
            f"WITH {_sweep(sessions, SWEEP_BATCH, '$1', '$2', '$3::int8')}, "
            f"forgotten AS (DELETE FROM {once} WHERE key IN (SELECT key FROM {once} WHERE until <= $2::float8 "
            f"ORDER BY until LIMIT {SWEEP_BATCH} FOR UPDATE SKIP LOCKED)) "
            "SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM later)"
        )
        self.walk = Statement(f"SELECT s.key FROM {sessions} s WHERE s.key > $1 ORDER BY s.key LIMIT $2::int8")
        # A stricter isolation would turn a lost race into a fault.
        self.about = Statement(
            "SELECT max(version), pg_is_in_recovery(), set_config('default_transaction_isolation', 'read committed', false), "
            "set_config('statement_timeout', encode($1, 'escape'), false), "
            f"set_config('plan_cache_mode', 'force_generic_plan', false) FROM \"{schema}\".about"
        )
        self.about_only = Statement(f'SELECT max(version), pg_is_in_recovery() FROM "{schema}".about')
        self.begin = Statement("BEGIN ISOLATION LEVEL READ COMMITTED")
        self.lock = Statement("SELECT pg_advisory_xact_lock($1)")
        self.commit = Statement("COMMIT")

    def touching(self, touch: Touch) -> Statement:
        """Return the statement that makes this touch.

        A plain touch is not announced: it moves deadlines later only, so whoever holds an older record finds the
        session ended too early at worst, and looks again. An exact one may shorten (L7), and a first presentation
        starts the grace of the token before it (L11); those must be heard of.
        """
        if touch.exact:
            return self.touch_exactly
        return self.touch if touch.presented_generation is None else self.present


def _sweep(sessions: str, batch: int, second: str, now: str, most: str = "ALL") -> str:
    """Return the clauses that delete rubbish, and put off what is needed longer than it was to be; none waits.

    The batch is no parameter: a planner that does not know it reads the whole table.
    """
    return (
        f"found AS (SELECT key, keep_until FROM {sessions} WHERE sweep_at <= {second}::int8 "
        f"ORDER BY sweep_at LIMIT {batch} FOR UPDATE SKIP LOCKED), "
        f"due AS (SELECT key, keep_until FROM found LIMIT {most}), "
        f"gone AS (DELETE FROM {sessions} s USING due WHERE s.key = due.key AND due.keep_until <= {now}::float8 "
        "RETURNING 1), "
        f"later AS (UPDATE {sessions} s SET sweep_at = floor(least(due.keep_until, 4e18))::int8 FROM due "
        f"WHERE s.key = due.key AND due.keep_until > {now}::float8 "
        "AND floor(least(due.keep_until, 4e18))::int8 > s.sweep_at RETURNING 1)"
    )


def _seal(content: str, version: int = BODY_VERSION) -> str:
    return f"substr(sha256('\\x{version:02x}'::bytea || {content}), 1, 4)"


#: Whether a row is as one of our versions wrote it. Readers accept this version of bodies and the one before.
_SEALED: Final = f"s.seal IN ({_seal('s.kept || s.body')}, {_seal('s.kept || s.body', BODY_VERSION - 1)})"

# The cast fails for a row whose seal is not ours, and with it the statement; in PostgreSQL there is no shorter way to
# tell "not alive" from "not readable" in one statement.
_SOUND: Final = (
    f"CASE WHEN {_SEALED} THEN true ELSE ('{UNREADABLE}' || encode(substr(s.key, 1, 4), 'hex'))::boolean END"
)
