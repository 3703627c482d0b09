"""Connections to PostgreSQL: lent to one caller at a time, never carried across a fork, found again after an outage."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator
from typing import Final

import psycopg
from psycopg import errors, generators
from psycopg.abc import PQGen
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from session_middleware.errors import SettingsError, StoreUnavailable
from session_middleware.runtime import mutex
from session_middleware.stores.postgres.address import Address
from session_middleware.stores.postgres.faults import fault_of, follows_another, unreachable
from session_middleware.stores.postgres.rows import Parameters, is_standby, version_in
from session_middleware.stores.postgres.schema import SCHEMA_VERSION
from session_middleware.stores.postgres.statements import Statement, Statements
from session_middleware.stores.postgres.waits import BlockingConnection, LoopConnection, TooLong, Waits

__all__ = ["Link", "Links"]

_log: Final = logging.getLogger("session_middleware")

#: Connections that were open when a process was forked: the parent's. Kept, so that nothing closes them here.
_left_behind: list[Link] = []

_FORMATS: Final = tuple((1,) * n for n in range(20))  # all parameters are binary


class Link:
    """One connection, and what is prepared on it."""

    __slots__ = ("connection", "pgconn", "prepared", "used")

    def __init__(self, connection: BlockingConnection | LoopConnection) -> None:
        self.connection = connection
        self.pgconn: PGconn = connection.pgconn
        self.prepared: set[bytes] = set()
        self.used = False

    def is_sound(self) -> bool:
        """Say whether the server has not gone since, as far as this machine knows; asks nobody."""
        try:
            # Twice: a server that goes away may leave a last word before the end.
            self.pgconn.consume_input()
            self.pgconn.consume_input()
        except psycopg.Error:
            return False
        return True


class Links:
    """Lends connections and runs statements on them.

    Args:
        address: of the server.
        statements: to look at what it has, on a new connection.
        waits: how.
        schema: for what errors say.
        timeout: seconds for a place, and for each statement.
        prepare: whether statements are prepared; not behind a pooler that hands each to another connection.
    """

    def __init__(
        self, address: Address, statements: Statements, waits: Waits, *, schema: str, timeout: float, prepare: bool
    ) -> None:
        self._address = address
        self._statements = statements
        self._waits = waits
        self._schema = schema
        self._timeout = timeout
        self._prepare = prepare
        self._begins = False  # whether a statement is sent with its own BEGIN and COMMIT
        self._idle: list[Link] = []
        self._pid = os.getpid()
        self._fork_noticed = mutex()
        self._complaint = ""

    # --- lending ----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def lent(self) -> AsyncIterator[Link]:
        """Lend a connection; whatever goes wrong on it, it is not lent again."""
        await self._take_place()
        try:
            link = await self._link()
            try:
                yield link
            except BaseException:
                self.finish(link)
                raise
            self._take_back(link)
        finally:
            self._waits.places.give()

    async def ask(self, statement: Statement, parameters: Parameters = (), *, again: bool = False) -> PGresult:
        """Run one statement in a transaction of its own; one round trip.

        Args:
            statement: it.
            parameters: its own.
            again: once more where an idle connection turns out to be gone. Only for what may be done twice.
        """
        await self._take_place()
        try:
            while True:
                link = await self._link()
                begins = self._begins
                try:
                    result = await self.run(link, statement, parameters)
                except BaseException as problem:
                    self.finish(link)
                    if isinstance(problem, errors.SerializationFailure) and not (self._prepare or begins):
                        # The database isolates more by default, and behind a pooler nobody has told this session
                        # otherwise. Nothing of the statement has happened, so it is said again, and so from now on.
                        self._begins = True
                        continue
                    if not (again and link.used and isinstance(problem, psycopg.OperationalError)):
                        raise
                    again = False
                else:
                    self._take_back(link)
                    return result
        finally:
            self._waits.places.give()

    async def _take_place(self) -> None:
        if self._pid != os.getpid():
            self._forked()
        try:
            await self._waits.places.take(self._timeout)
        except TimeoutError:
            raise StoreUnavailable(
                f"All connections to {self._address.shown} were in use for {self._timeout:g} s; raise `connections`."
            ) from None

    async def _link(self) -> Link:
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return await self._opened()
            if link.is_sound():
                return link
            self.finish(link)
            self.close()  # the server went away, so the others are no better

    def _take_back(self, link: Link) -> None:
        link.used = True
        self._idle.append(link)

    def finish(self, link: Link) -> None:
        """Close a connection."""
        with contextlib.suppress(psycopg.Error):
            link.pgconn.finish()

    def close(self) -> None:
        """Close the idle connections; the next call opens new ones."""
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was faster
                self.finish(self._idle.pop())

    def _forked(self) -> None:
        with self._fork_noticed:
            if self._pid != os.getpid():
                _left_behind.extend(self._idle)
                self._idle = []
                self._waits.places.anew()
                self._pid = os.getpid()

    # --- opening ----------------------------------------------------------------------------------------------------

    async def _opened(self) -> Link:
        """Open a connection; what keeps us from it is logged once, since a request only learns that there is a fault."""
        try:
            link = await self.opened()
        except (StoreUnavailable, SettingsError) as problem:
            if str(problem) != self._complaint:
                self._complaint = str(problem)
                _log.error("%s", problem)
            raise
        self._complaint = ""
        return link

    async def opened(self) -> Link:
        """Open a connection that is nobody's yet.

        Raises:
            StoreUnavailable: the server cannot be reached, or is a standby.
            SettingsError: it does not have our tables.
        """
        try:
            link = Link(await self._waits.connected(self._address.conninfo))
        except psycopg.Error as problem:
            raise unreachable(self._address, problem) from None
        try:
            await self._look_at(link)
        except BaseException:
            self.finish(link)
            raise
        return link

    async def _look_at(self, link: Link) -> None:
        """Set the server's own timeout, which ends what we no longer wait for; see that it is no standby and has our tables."""
        if self._prepare:
            limit = str(max(1, round(self._timeout * 1000))).encode()
            result = await self._sent(link, self._statements.about, (limit,))
        else:  # behind a pooler a setting would stay for others
            result = await self._sent(link, self._statements.about_only, ())
        if is_standby(result):  # it lags, and takes no end (L13)
            raise follows_another(self._address)
        version = version_in(result)
        if version != SCHEMA_VERSION:
            raise SettingsError(
                "schema",
                self._schema,
                f"is of version {version}, this release reads version {SCHEMA_VERSION}.",
                "Use the release that made it, or make another: session-middleware sessions create-schema.",
            )

    # --- asking -----------------------------------------------------------------------------------------------------

    async def run(self, link: Link, statement: Statement, parameters: Parameters) -> PGresult:
        """Run one statement on a connection; the first time it is also prepared there."""
        if not self._prepare:
            if self._begins:
                say = self._statements
                return (await self.run_all(link, (say.begin, ()), (statement, parameters), (say.commit, ())))[1]
            return await self._sent(link, statement, parameters)
        pgconn = link.pgconn
        if statement.name not in link.prepared:
            pgconn.send_prepare(statement.name, statement.sql)
            await self._answer(link)
            link.prepared.add(statement.name)
        pgconn.send_query_prepared(statement.name, parameters, _FORMATS[len(parameters)], 1)
        return await self._answer(link)

    async def run_all(self, link: Link, *asked: tuple[Statement, Parameters]) -> list[PGresult]:
        """Run statements in one round trip; where one fails the later ones are not run."""
        pgconn, prepare = link.pgconn, self._prepare
        pgconn.enter_pipeline_mode()
        sent = 0
        for statement, parameters in asked:
            formats = _FORMATS[len(parameters)]
            if not prepare:
                pgconn.send_query_params(statement.sql, parameters, None, formats, 1)
            else:
                if statement.name not in link.prepared:
                    pgconn.send_prepare(statement.name, statement.sql)
                    link.prepared.add(statement.name)  # where that fails the connection is closed
                    sent += 1
                pgconn.send_query_prepared(statement.name, parameters, formats, 1)
            sent += 1
        pgconn.pipeline_sync()
        results = [self._checked(result) for result in await self._answers(_piped(pgconn, sent + 1), pgconn)]
        pgconn.exit_pipeline_mode()
        return results

    async def _sent(self, link: Link, statement: Statement, parameters: Parameters) -> PGresult:
        link.pgconn.send_query_params(statement.sql, parameters, None, _FORMATS[len(parameters)], 1)
        return await self._answer(link)

    async def _answer(self, link: Link) -> PGresult:
        pgconn = link.pgconn
        return self._checked((await self._answers(generators.execute(pgconn), pgconn))[-1])

    async def _answers(self, generator: PQGen[list[PGresult]], pgconn: PGconn) -> list[PGresult]:
        try:
            return await self._waits.answered(generator, pgconn.socket, self._timeout)
        except TooLong:
            self.close()  # the others lead to the same silent server
            raise StoreUnavailable(f"{self._address.shown} did not answer within {self._timeout:g} s.") from None

    def _checked(self, result: PGresult) -> PGresult:
        if result.status in (ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED):
            raise fault_of(result, self._address, self._schema) from None
        return result


def _piped(pgconn: PGconn, answers: int) -> PQGen[list[PGresult]]:
    """Send what is buffered and take so many answers, the last of which says that the transaction is over."""
    yield from generators.send(pgconn)
    results: list[PGresult] = []
    for _ in range(answers):
        results += yield from generators.fetch_many(pgconn)
    return results
