"""Where sessions are kept here: real servers of their own, and what can be done to them."""

from __future__ import annotations

import os
import signal
from typing import Protocol

from benchmarks.faults.proxy import Proxy
from session_middleware.stores.postgres import create_schema
from tests.stores.postgres_server import PostgresServer, new_server
from tests.stores.redis_server import Server, behind_a_sentinel, in_a_cluster, replicates, wait_until

__all__ = ["Place", "Postgres", "Redis", "RedisCluster", "RedisSentinel"]


class Place(Protocol):
    """Servers, as long as a fault is looked at.

    Attributes:
        url: what the app gets as SESSION_STORE_URL.
        forgets: whether what is done to it takes sessions away.
    """

    url: str
    forgets: bool

    def remove(self) -> None:
        """Stop the servers and delete what they wrote."""
        ...


class Redis:
    """A Redis that keeps its data on disk, with a replica, behind a proxy."""

    forgets = False

    def __init__(self) -> None:
        kept = ("--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0")
        self.server = Server(*kept)
        self.replica = Server("--replicaof", f"127.0.0.1 {self.server.port}")
        with self.server.client() as client:
            wait_until(lambda: replicates(client), "the replica")
        self.proxy = Proxy(self.server.port)
        self.url = f"redis://127.0.0.1:{self.proxy.port}/0"

    def remove(self) -> None:
        self.proxy.close()
        self.server.remove()
        self.replica.remove()

    def kill(self) -> None:
        """kill -9."""
        self.server.stop()

    def start(self) -> None:
        """Start it again with what is on disk."""
        self.server.start()
        with self.server.client() as client:
            wait_until(lambda: bool(client.ping()), "Redis")

    def freeze(self) -> None:
        os.kill(self.server.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.server.process.pid, signal.SIGCONT)

    def fill(self) -> None:
        """Leave it no memory for anything new."""
        with self.server.client() as client:
            client.config_set("maxmemory", 1_000_000)

    def drain(self) -> None:
        with self.server.client() as client:
            client.config_set("maxmemory", 0)

    def read_only(self) -> None:
        """Lead the app to the replica, which takes no writes."""
        self.proxy.lead_to(self.replica.port)

    def writable(self) -> None:
        self.proxy.lead_to(self.server.port)

    def flush(self) -> None:
        """Delete everything."""
        self.forgets = True
        with self.server.client() as client:
            client.flushall()


class RedisCluster:
    """Three masters, each with a replica; one master dies for good."""

    forgets = True  # Redis promises nothing else: its replication is asynchronous

    def __init__(self) -> None:
        self._servers, self.url = in_a_cluster("--appendonly", "yes")

    def remove(self) -> None:
        for server in self._servers:
            server.remove()

    def lose_master(self) -> None:
        """kill -9 a master; its replica takes over."""
        self._servers[0].stop()


class RedisSentinel:
    """A master with a replica, and a Sentinel; the master dies for good."""

    forgets = True  # as for a Cluster

    def __init__(self) -> None:
        self._servers, self.url = behind_a_sentinel()

    def remove(self) -> None:
        for server in reversed(self._servers):
            server.remove()

    def lose_master(self) -> None:
        """kill -9 the master; the Sentinel makes the replica one."""
        self._servers[0].stop()


#: What a server says whose disk is full, said to every row that a statement would write.
_FULL_DISK = """
CREATE FUNCTION session_middleware.full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON session_middleware.sessions
FOR EACH ROW EXECUTE FUNCTION session_middleware.full_disk();
"""


class Postgres:
    """A PostgreSQL behind a proxy."""

    forgets = False

    def __init__(self) -> None:
        self.server: PostgresServer = new_server()
        create_schema(self.server.url())
        self.proxy = Proxy(self.server.port)
        self.url = f"postgresql://sessions@127.0.0.1:{self.proxy.port}/postgres"

    def remove(self) -> None:
        self.proxy.close()
        self.server.remove()

    def kill(self) -> None:
        """Stop it as a crash does: without a word to anybody, to be recovered from its log."""
        self.server.stop(signal.SIGQUIT)

    def start(self) -> None:
        self.server.start()

    def freeze(self) -> None:
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()

    def fill(self) -> None:
        """Let every write fail as on a full disk."""
        self._run(_FULL_DISK)

    def drain(self) -> None:
        self._run("DROP FUNCTION session_middleware.full_disk CASCADE")

    def read_only(self) -> None:
        """Take no writes, with the error that a replica gives."""
        self._run("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")

    def writable(self) -> None:
        self._run(
            "SET default_transaction_read_only = off",
            "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()",
        )

    def flush(self) -> None:
        """Delete everything, and say so as an operator should."""
        self.forgets = True
        self._run("DELETE FROM session_middleware.sessions", "SELECT pg_notify('session_middleware', '')")

    def _run(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())
