"""Real Redis or Valkey servers for tests: one alone, a Cluster of three masters, a master with a replica and a Sentinel.

Each is started when a test first asks for it, once per run, on free ports of the loopback, without touching the disk
outside a temporary folder, and stopped at the end.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

_prefixes = itertools.count()

#: In the URLs of stores: what a busy machine takes long for is not to look like a server that is down.
_PATIENT = "timeout=30"


class Server:
    """A running redis-server.

    Args:
        options: as on its command line.
        conf: text of a configuration file, which makes it a Sentinel.
    """

    def __init__(self, *options: str, conf: str = "", port: int | None = None) -> None:
        program = _program()
        self.port = port or free_port()
        self._options, self._conf = options, conf
        self.folder = Path(tempfile.mkdtemp(prefix="session-tests-redis-"))
        self._command = [program, "--port", str(self.port), "--dir", str(self.folder)]
        if conf:
            path = self.folder / "sentinel.conf"
            path.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n{conf}")
            self._command = [program, str(path), "--sentinel"]
        else:
            self._command += ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *options]
        atexit.register(self.remove)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, protocol=2)

    def start(self) -> None:
        """Start it, or start it again on the same port."""
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._answers, f"redis-server on port {self.port}: {(self.folder / 'log').read_text()[-500:]}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(1) != b""
        except OSError:
            return False

    def stop(self) -> None:
        """Kill it; what it held is gone."""
        self.process.kill()
        self.process.wait()

    def remove(self) -> None:
        """Stop it for good."""
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_until(done: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for a real server to do something."""
    patience = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < patience, f"still waiting for {what}"
        time.sleep(0.01)  # between two looks at a real server


def replicates(client: redis.Redis) -> bool:
    """Say whether a replica has what is now written: one that has just come is connected a second before it follows."""
    client.set("written", "1")
    return bool(client.wait(1, 1000))


def free_port() -> int:
    """Return a port that is free, and the one above it by 10,000 too, which a Cluster speaks on."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            if port > 55_000:
                port -= 10_000
            try:
                other.bind(("127.0.0.1", port + 10_000))
                if port != one.getsockname()[1]:
                    with socket.socket() as third:
                        third.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def a_prefix() -> str:
    """Return a prefix that no other test uses: a store of its own."""
    return f"t{os.getpid()}-{next(_prefixes)}:"


@functools.cache
def standalone() -> Server:
    """One server."""
    return Server()


@functools.cache
def cluster() -> str:
    """Three masters; returns the URL."""
    nodes = [Server("--cluster-enabled", "yes", "--cluster-node-timeout", "2000") for _ in range(3)]
    clients = [node.client() for node in nodes]
    bounds = (0, 5461, 10_923, 16_384)
    for at, client in enumerate(clients):
        client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[at], bounds[at + 1] - 1)
        client.execute_command("CLUSTER SET-CONFIG-EPOCH", at + 1)
        client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)

    def agreed() -> bool:
        return all(
            client.cluster("INFO")["cluster_state"] == "ok" and len(client.cluster("NODES")) == 3 for client in clients
        )

    wait_until(agreed, "the Cluster")
    for client in clients:
        client.close()
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


@functools.cache
def sentinel() -> str:
    """A master with a replica and a Sentinel that watches them; returns the URL."""
    master = Server("--repl-diskless-sync-delay", "0")
    Server("--replicaof", f"127.0.0.1 {master.port}")
    with master.client() as client:
        wait_until(lambda: bool(client.info("replication")["connected_slaves"]), "the replica")
        wait_until(lambda: replicates(client), "the replica's confirmation")
    watcher = Server(
        conf=f"sentinel monitor main 127.0.0.1 {master.port} 1\nsentinel down-after-milliseconds main 5000\n"
    )
    with watcher.client() as client:
        wait_until(lambda: bool(client.sentinel_slaves("main")), "the Sentinel")
    return f"redis+sentinel://127.0.0.1:{watcher.port}/main"


def behind_a_sentinel() -> tuple[list[Server], str]:
    """A master, a replica and a Sentinel that puts it in the master's place; returns them in this order, and the URL."""
    master = Server("--repl-diskless-sync-delay", "0")
    replica = Server("--replicaof", f"127.0.0.1 {master.port}")
    with master.client() as client:
        wait_until(lambda: replicates(client), "the replica")
    watcher = Server(
        conf=f"sentinel monitor main 127.0.0.1 {master.port} 1\nsentinel down-after-milliseconds main 1000\n"
    )
    with watcher.client() as client:
        wait_until(lambda: bool(client.sentinel_slaves("main")), "the Sentinel")
    return [master, replica, watcher], f"redis+sentinel://127.0.0.1:{watcher.port}/main"


def in_a_cluster(*more: str) -> tuple[list[Server], str]:
    """Three masters, then the replica of each, with more options of redis-server; returns them and the URL."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0")
    servers = [Server(*options, *more) for _ in range(6)]
    clients: list[Any] = [server.client() for server in servers]
    bounds = (0, 5461, 10_923, 16_384)
    for at, client in enumerate(clients):
        if at < 3:
            client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[at], bounds[at + 1] - 1)
        client.execute_command("CLUSTER SET-CONFIG-EPOCH", at + 1)
        client.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port)
    wait_until(lambda: all(len(client.cluster("NODES")) == 6 for client in clients), "the Cluster")
    for master, replica in zip(clients[:3], clients[3:], strict=True):
        replica.execute_command("CLUSTER REPLICATE", master.execute_command("CLUSTER MYID"))
    wait_until(lambda: all(client.cluster("INFO")["cluster_state"] == "ok" for client in clients), "the Cluster")
    for client in clients:
        wait_until(lambda client=client: all(len(slot) > 3 for slot in client.cluster("SLOTS")), "the replicas")
    for client in clients[:3]:
        wait_until(lambda client=client: bool(client.execute_command("WAIT", 1, 1000)), "the replicas")
    for client in clients:
        client.close()
    return servers, "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers[:3])


def url_of(kind: str) -> str:
    """Return a store's URL of a kind of Redis, started if need be; skip the test where there is none."""
    _program()
    url = standalone().url if kind == "standalone" else cluster() if kind == "cluster" else sentinel()
    return f"{url}?{_PATIENT}"


def _program() -> str:
    """Return the server to start: what SESSION_TESTS_REDIS_SERVER names (a path), or what is installed."""
    named = os.environ.get("SESSION_TESTS_REDIS_SERVER")
    program = shutil.which(named) if named else shutil.which("redis-server") or shutil.which("valkey-server")
    if named and program is None:
        pytest.fail(f"SESSION_TESTS_REDIS_SERVER={named} is no program")
    if program is None:
        if os.environ.get("SESSION_TESTS_REQUIRE_SERVERS") == "1":
            pytest.fail("redis-server is not installed, and SESSION_TESTS_REQUIRE_SERVERS=1 asks for it")
        pytest.skip("needs redis-server or valkey-server in PATH")
    return program


class Wire:
    """A proxy before a server that counts round trips and can stop answering.

    A trip is what comes from a client after the server has answered, or at first; several clients count alike.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.trips = 0
        self.swallows = False  # whether answers are lost from now on, as on a line that is cut half-open
        self._sockets = [self._listening]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def lead_to(self, port: int) -> None:
        """Take new connections to another server, as a name does that stands for the master; those there are stay."""
        self._server = port

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                self._sockets += [client, server]
                asking = [True]  # shared by the two directions: whether the server has answered since
                for pair, counts in (((client, server), True), ((server, client), False)):
                    thread = threading.Thread(target=self._carry, args=(*pair, asking, counts))
                    self._threads.append(thread)
                    thread.start()

    def _carry(self, source: socket.socket, target: socket.socket, asking: list[bool], counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if counts and asking[0]:
                    self.trips += 1
                asking[0] = not counts
                if counts or not self.swallows:
                    target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut all lines."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for one in self._sockets:
            one.close()
