"""The connection on which PostgreSQL says which records were written (LISTEN), for a near cache."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import generators, waiting
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from session_middleware.errors import StoreUnavailable
from session_middleware.runtime import mutex
from session_middleware.stores.postgres.address import Address
from session_middleware.stores.postgres.waits import TooLong, within

__all__ = ["PostgresAnnouncements"]


class PostgresAnnouncements:
    """Announcements of one schema; see `stores.base.Announcements`.

    A question is an empty statement. PostgreSQL hands a listener all that was committed before, and only then says that
    it is ready for more; so its answer proves what it must.

    Args:
        address: of the server itself: a pooler that hands a connection on after each transaction cannot listen.
        schema: whose writes.
        timeout: seconds that the server has to say that we are listening.

    Raises:
        StoreUnavailable: there is no connection.
    """

    def __init__(self, address: Address, schema: str, timeout: float) -> None:
        self._shown = address.shown
        self._mutex = mutex()  # libpq takes one caller at a time
        self._due = 0  # questions put to us
        self._under_way = 0  # those of them that the statement on its way answers
        self._closed = False
        try:
            self._connection = psycopg.Connection[Any].connect(address.conninfo, autocommit=True)
        except psycopg.Error as problem:
            text = address.without_secrets(str(problem))
            raise StoreUnavailable(f"No connection to {address.shown} to listen on: {text}.") from None
        self._pgconn = self._connection.pgconn
        try:
            self._answered(f'LISTEN "{schema}"', timeout, ExecStatus.COMMAND_OK)
            server = self._answered("SELECT pg_backend_pid()", timeout, ExecStatus.TUPLES_OK).get_value(0, 0)
        except (psycopg.Error, TooLong) as problem:
            self._connection.close()
            raise self._lost(problem) from None
        if server is None or int(server) != self._pgconn.backend_pid:
            # Through a pooler LISTEN and every question are answered, and nothing is ever announced.
            self._connection.close()
            raise StoreUnavailable(
                f"At {address.shown} a pooler answers, which does not pass on what is announced. Give the address of the "
                "server itself, or do without a near cache."
            )
        # A socket that another thread waits for cannot be closed under it, but it can be shut down.
        self._socket = socket.socket(fileno=os.dup(self._pgconn.socket))

    def _answered(self, statement: str, timeout: float, due: ExecStatus) -> PGresult:
        """Wait for the answer to a statement."""
        self._pgconn.send_query(statement.encode())
        (answer,) = waiting.wait(within(timeout, generators.execute(self._pgconn)), self._pgconn.socket, 0.1)
        if answer.status != due:
            raise psycopg.OperationalError(answer.get_error_message())
        return answer

    def ask(self) -> None:
        with self._mutex:
            self._due += 1
            if not self._under_way:
                self._send()

    def _send(self) -> None:
        """Send one statement for all questions that are due."""
        if self._closed:
            raise StoreUnavailable(f"The connection to {self._shown} to listen on is closed.")
        try:
            self._pgconn.send_query(b"")
            self._pgconn.flush()
        except psycopg.Error as problem:
            raise self._lost(problem) from None
        self._under_way = self._due

    def receive(self, seconds: float) -> tuple[Sequence[bytes], int]:
        until = time.monotonic() + seconds
        while True:
            with self._mutex:
                found = self._heard()
            left = until - time.monotonic()
            if found[0] or found[1] or left <= 0:
                return found
            self._wait(left)

    def _wait(self, seconds: float) -> None:
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            poll.poll(seconds * 1000)
        else:  # Windows
            select.select([self._socket], [], [], seconds)

    def _heard(self) -> tuple[Sequence[bytes], int]:
        """Return what has arrived, without waiting."""
        if self._closed:
            raise StoreUnavailable(f"The connection to {self._shown} to listen on is closed.")
        answered = 0
        try:
            self._pgconn.flush()
            self._pgconn.consume_input()
            while self._under_way and not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is not None:
                    if result.status == ExecStatus.FATAL_ERROR:
                        raise psycopg.OperationalError(result.get_error_message())
                    continue
                answered, self._due, self._under_way = answered + self._under_way, self._due - self._under_way, 0
                if self._due:
                    self._send()
            keys = []
            while (notice := self._pgconn.notifies()) is not None:
                keys.append(bytes.fromhex(notice.extra.decode()))
        except (psycopg.Error, ValueError) as problem:
            raise self._lost(problem) from None
        return keys, answered

    def _lost(self, problem: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"The connection to {self._shown} to listen on is lost ({type(problem).__name__}).")

    def close(self) -> None:
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._connection.close()
            self._socket.close()
