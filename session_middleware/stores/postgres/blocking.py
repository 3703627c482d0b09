"""PostgresStore: sessions in PostgreSQL, for every process on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.runtime import run_sync
from session_middleware.stores.base import Announcements
from session_middleware.stores.postgres.address import options_of
from session_middleware.stores.postgres.calls import Calls
from session_middleware.stores.postgres.waits import Blocking

__all__ = ["PostgresStore"]


class PostgresStore:
    """Keeps records in PostgreSQL 12 or later; each call is one statement and one round trip, but for `create_capped`.

    The tables are made once, by `session-middleware sessions create-schema` or by a migration of your own (`session-middleware
    schema postgresql` prints the SQL); never by the store.

    `create`, `end`, `end_before` and `add_once` are on the server's disk when they return (synchronous_commit=on, even
    where the database has it off). A touch that only moves deadlines on may be lost with the server's last half second;
    saves, renewals, `extend` and `continue` are as durable as the database is set to make them. None of this brings back
    what had ended. Not promised: after a fail-over to a replica that was behind (asynchronous replication), the last
    writes may be gone, ends included; `synchronous_standby_names` closes that gap.

    A near cache hears of every save, renewal, end and `end_before`, of touches that may shorten a deadline and of those
    that present a token first. It does not hear of `create` (nobody can hold that record yet) nor of plain touches:
    each costs a lock of the whole database and a message to every process, and they only move `last_seen_at` and the
    deadline on. So what holds an older record may find it over too early, or a touch due that was made: a verdict other
    than ACTIVE of a cached record is to be judged again on a loaded one.

    Threads, processes and forks may share a store: connections are opened when they are needed, and each is lent to one
    caller at a time. One whose server has gone is noticed when it is next lent, without a round trip, and replaced. What
    cannot be reached says so in a log entry of `session_middleware`, with the way out and without the password.

    `list` leaves out rows that cannot be read, so that one damaged row does not keep a user from ending the others. A
    touch of such a row raises `RecordUnreadable` and leaves its body as it is, but has moved its times.

    Args:
        conninfo: a URL or key=value string as libpq reads it; of several hosts the one that takes writes is taken. A
            standby is refused, also where `target_session_attrs` asks for one: it may not have heard yet of a logout.
        schema: the PostgreSQL schema of our tables; two apps in one database take two.
        connections: open at most, in each process; for `AsyncPostgresStore` on each event loop.
        timeout: seconds to wait for a free connection, and again for the answer; the server gives up after as long. To
            connect may take two seconds for each host of `conninfo`, or `timeout` if that is more.
        prepare: whether statements are prepared and the server is told the timeout. False behind a pooler that hands a
            connection on after each transaction (PgBouncer in transaction mode).
        announces: whether writes are announced as said above. All processes must agree.

    Raises:
        SettingsError: an argument makes no sense. No argument connects.

    Example:
        >>> PostgresStore("postgresql://app:secret@db.example/app")
        <PostgresStore postgresql://db.example/app>
    """

    #: A network lies between, so an asynchronous app makes every call in a worker thread, or takes AsyncPostgresStore.
    short_calls: frozenset[str] = frozenset()

    def __init__(
        self,
        conninfo: str,
        *,
        schema: str = "session_middleware",
        connections: int = 10,
        timeout: float = 2.0,
        prepare: bool = True,
        announces: bool = True,
    ) -> None:
        self._calls = Calls(
            conninfo,
            Blocking,
            schema=schema,
            connections=connections,
            timeout=timeout,
            prepare=prepare,
            announces=announces,
        )

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the store that a URL names: libpq's own, and in its query also our arguments.

        Args:
            url: `postgresql://user:password@host:5432/database?sslmode=verify-full&schema=shop&prepare=off`

        Raises:
            SettingsError: it cannot be read.
        """
        conninfo, options = options_of(url)
        return cls(conninfo, **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._calls.address.shown}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(self) -> None:
        """See that the server can be reached, is no standby and has our tables.

        Raises:
            StoreUnavailable: there is no connection, or only one to a standby.
            SettingsError: the tables are missing, or not for us.
        """
        run_sync(self._calls.check())

    def close(self) -> None:
        """Close the idle connections; the next call opens new ones."""
        run_sync(self._calls.close())

    # --- the store's promises: see base.py ------------------------------------------------------------------------

    def create(self, record: SessionRecord) -> None:
        run_sync(self._calls.create(record))

    def load(self, key: bytes) -> SessionRecord | None:
        return run_sync(self._calls.load(key))

    def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        return run_sync(self._calls.touch(key, touch))

    def save(self, record: SessionRecord) -> SessionRecord | None:
        return run_sync(self._calls.save(record))

    def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        return run_sync(self._calls.renew(key, generation, to, at))

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        return run_sync(self._calls.end(key, reason, at, keep_until))

    def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        return run_sync(self._calls.list(handle, now))

    def create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        return run_sync(self._calls.create_capped(record, handle, most, evict, now, keep_until))

    def end_before(self, instant: float, at: float) -> None:
        run_sync(self._calls.end_before(instant, at))

    def add_once(self, key: str, until: float, now: float) -> bool:
        return run_sync(self._calls.add_once(key, until, now))

    def prune(self, now: float, limit: int = 1000) -> int:
        return run_sync(self._calls.prune(now, limit))

    def walk(self, after: bytes | None, limit: int) -> tuple[Sequence[bytes], bytes | None]:
        return run_sync(self._calls.walk(after, limit))

    def announcements(self) -> Announcements:
        return self._calls.announcements()

    def check_announces(self) -> None:
        """See that writes are announced.

        Raises:
            SettingsError: the store was made with `announces=False`.
        """
        self._calls.check_announces()
