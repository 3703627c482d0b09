"""Real servers whose announcements a test can cut off, and engines that stand for processes before them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from typing import Any

from session_middleware.core.exchange import RouteRules
from session_middleware.core.lifetime import Verdict
from session_middleware.engine import Engine
from session_middleware.errors import SessionError
from session_middleware.runtime import ThreadRuntime, run_sync
from session_middleware.settings import Settings
from session_middleware.stores.nearcache import NearCache
from session_middleware.stores.postgres import PostgresStore, create_schema
from session_middleware.stores.redis import RedisStore
from session_middleware.testing.watched_store import WatchedStore
from tests.core.facts import Facts
from tests.stores.postgres_server import PostgresServer, new_server
from tests.stores.redis_server import Server, wait_until

#: What may ask for a session: everybody, so that a verdict is an answer and no refusal.
OPEN = RouteRules(policy="optional")

SECRET = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"


class NearRedis:
    """A Redis of its own, with no data at first."""

    def __init__(self) -> None:
        self.server = Server()

    @property
    def port(self) -> int:
        return self.server.port

    def store(self, port: int | None = None) -> RedisStore:
        """Return a store of its own, as another process would; through a proxy if its port is given."""
        return RedisStore.from_url(f"redis://127.0.0.1:{port or self.port}/0", timeout=1.0)

    def kill(self) -> None:
        """Stop the server at once."""
        self.server.stop()

    def start(self) -> None:
        """Start it again."""
        self.server.start()

    def freeze(self) -> None:
        """Let it fall silent, connections open."""
        os.kill(self.server.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.server.process.pid, signal.SIGCONT)

    def cut(self) -> None:
        """End the connections that are listened on, and no others."""
        with self.server.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    def cut_one(self, chance: random.Random) -> int:
        """End any one connection, whatever it is used for; return how many that was."""
        with self.server.client() as client:
            own = str(client.client_id())
            others = [each["id"] for each in client.client_list() if each["id"] != own]
            if others:
                client.execute_command("CLIENT", "KILL", "ID", chance.choice(others))
        return len(others[:1])

    def flush(self) -> None:
        """Delete everything, by another way than ours."""
        with self.server.client() as client:
            client.flushall()

    def remove(self) -> None:
        self.server.remove()


#: The question of a listener is an empty statement.
_CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE backend_type = 'client backend' AND (query LIKE 'LISTEN%' OR query = '')"
)


#: Any connection but this one; of those that are there, the one that a number from 0 to 1 says.
_CUT_ONE = (
    "SELECT pg_terminate_backend(pid) FROM (SELECT pid, row_number() OVER () - 1 AS place, count(*) OVER () AS of "
    "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS each "
    "WHERE place = floor({} * of)"
)


class NearPostgres:
    """A PostgreSQL of its own, with empty tables."""

    def __init__(self) -> None:
        self.server: PostgresServer = new_server()
        create_schema(self.server.url())

    @property
    def port(self) -> int:
        port: int = self.server.port
        return port

    def store(self, port: int | None = None) -> PostgresStore:
        return PostgresStore(f"postgresql://sessions@127.0.0.1:{port or self.port}/postgres", timeout=1.0)

    def kill(self) -> None:
        self.server.stop(signal.SIGQUIT)

    def start(self) -> None:
        self.server.start()

    def freeze(self) -> None:
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()

    def cut(self) -> None:
        self._run(_CUT)

    def cut_one(self, chance: random.Random) -> int:
        """As NearRedis."""
        self._run(_CUT_ONE.format(chance.random()))
        return 1

    def flush(self) -> None:
        self._run("DELETE FROM session_middleware.sessions")
        self._run("SELECT pg_notify('session_middleware', '')")

    def _run(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def remove(self) -> None:
        self.server.remove()


class Process:
    """An engine with a near cache, as one process of several has them; calls to the store itself are counted.

    Args:
        store: before which the cache stands.
        clock: of the engine.
        lease: of the cache, seconds.
        settings: of the engine, besides its key.
    """

    def __init__(self, store: Any, clock: Any, *, lease: float = 1.0, **settings: Any) -> None:
        self.counted = WatchedStore(store)
        self.near = NearCache(self.counted, lease=lease)
        self.fault: SessionError | None = None  # what the last verb raised
        self.engine = Engine(
            Settings(secret_keys=[SECRET], **settings), self.near, runtime=ThreadRuntime(), clock=clock
        )

    def open(self) -> Process:
        """Wait until the cache is open."""
        self.near.listen()
        wait_until(lambda: self.near.state.open, "the near cache")
        return self

    def request(self, jar: str, verb: str | None = None, *args: Any, **named: Any) -> tuple[Verdict, str]:
        """Make a request, and call a verb in it; return the verdict at its start and the browser's cookies after it."""

        async def exchange() -> tuple[Verdict, list[str]]:
            x = self.engine.begin(Facts(cookies=jar, sec_fetch_site="same-origin"))
            if not self.engine.open_quietly(x, OPEN):
                await self.engine.open(x, OPEN)
            verdict = x.verdict
            if verb is not None:
                try:
                    await getattr(self.engine, verb)(x, *args, **named)
                except SessionError as fault:
                    faults.append(fault)
            return verdict, await self.engine.close(x)

        faults: list[SessionError] = []
        verdict, lines = run_sync(exchange())
        self.fault = next(iter(faults), None)
        cookies = dict(part.split("=", 1) for part in jar.split("; ") if part)
        cookies |= dict(line.partition(";")[0].split("=", 1) for line in lines)
        return verdict, "; ".join(f"{name}={value}" for name, value in cookies.items())

    def verdict(self, jar: str) -> Verdict:
        """Make a request and return its verdict."""
        return self.request(jar)[0]

    def login(self, subject: str = "alice") -> str:
        """Sign in; return the browser's cookies."""
        return self.request("", "login", subject)[1]

    def settled(self, jar: str) -> None:
        """Make requests until one costs no call to the store: the record is held here."""

        def asks_nobody() -> bool:
            nonlocal jar
            self.counted.forget_calls()
            verdict, jar = self.request(jar)
            assert verdict is Verdict.ACTIVE
            return not self.counted.total

        wait_until(asks_nobody, "a request that asks nobody")

    def ends(self, jar: str, verdict: Verdict, seconds: float = 30.0) -> None:
        """Wait until a request here finds this verdict, and see that it stays."""
        wait_until(lambda: self.verdict(jar) is verdict, f"the verdict {verdict}", seconds)
        assert self.verdict(jar) is verdict

    def stop(self) -> None:
        self.near.close()
        self.counted.store.close()


@contextlib.contextmanager
def stopped_at_the_end(*processes: Process) -> Iterator[None]:
    """Stop processes whatever happens."""
    try:
        yield
    finally:
        for process in processes:
            process.stop()
