"""A server with two workers, started by its own command: which processes work, one of them alone, one killed mid-request."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from session_middleware.testing.browser import Answer, Browser

ROOT = Path(__file__).parent.parent.parent

KEY = "server suite key 0f6a1b2c3d4e5f60718293a4b5c6d7e8"

#: Seconds that a machine with other things to do may take for what takes none on an idle one.
PATIENCE = 60


def until(true: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


class HTTPDriver:
    """Sends each request over a connection of its own, so that any worker may answer."""

    def __init__(self, port: int, timeout: float = PATIENCE) -> None:
        self.port = port
        self.timeout = timeout

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in [*headers, ("Content-Length", str(len(body))), ("Connection", "close")]:
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def close(self) -> None: ...


class Server:
    """A server, its two workers and the SQLite file they share.

    Args:
        command: a module of Python and its arguments; `{port}` stands for the port.
        cwd: where it runs.
        folder: where it may write.
        environment: what it is told beside what this process was.
    """

    def __init__(self, command: Sequence[str], cwd: Path, folder: Path, environment: Mapping[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.driver = HTTPDriver(self.port)
        self.database = folder / "sessions.db"
        self.log = folder / "server.log"
        self._command = [sys.executable, "-m", *(part.format(port=self.port) for part in command)]
        self._cwd = cwd
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SESSION_STORE_URL": f"sqlite:///{self.database}",
            "XDG_RUNTIME_DIR": str(folder),  # several gunicorns of one user would share a control socket
            **environment,
        }

    def manage(self, *arguments: str) -> None:
        """Run `manage.py` where and as the server will run."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=self._cwd, env=self._environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def browser(self) -> Browser:
        return Browser(self.driver, time.time, origin=f"http://localhost:{self.port}")

    # --- its life ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def runs(self, limits: Mapping[str, str]) -> Iterator[None]:
        """Run it with limits, from when both workers serve until the block ends."""
        self._environment.update(limits)
        self._start()
        try:
            until(self._has_started, "the server's start")
            yield
        finally:
            self._stop()

    def restarted(self) -> None:
        """Start it again if it has stopped, as a service manager does."""
        if self.process.poll() is not None:
            self._stop()
            self._start()

    def recovered(self) -> None:
        """Wait until two workers serve after one was killed: it was replaced or, where all of them stop, all were."""

        def recovered() -> bool:
            self.restarted()
            return self._serves()

        until(recovered, "the server's recovery")

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self._cwd, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def _stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def _has_started(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return self._serves()

    def _serves(self) -> bool:
        workers = self.workers()
        if len(workers) != 2:
            return False
        hurried = HTTPDriver(self.port, 2)  # uvicorn replaces a worker that stands still for five seconds
        try:
            for worker in [None, *workers]:
                with self.only(worker) if worker else contextlib.nullcontext():
                    hurried.request("GET", "/", [("Host", f"localhost:{self.port}")])
        except OSError:
            return False
        return True

    # --- its workers ---------------------------------------------------------------------------------------------

    def workers(self) -> list[int]:
        """Return the processes that answer: children of the one started, but for multiprocessing's own."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = []
        for pid in map(int, children.read_text().split()):
            with contextlib.suppress(OSError):
                if _state(pid) not in "ZX" and b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    @contextlib.contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Have one worker answer whatever comes: the others stand still meanwhile."""
        everyone = self.workers()
        assert worker in everyone, "the server has replaced this worker"
        others = [pid for pid in everyone if pid != worker]
        for pid in others:
            _signal(pid, signal.SIGSTOP)
        try:
            until(lambda: all(_state(pid) in "TZX" for pid in others), "the others' standing still")
            yield
        finally:
            for pid in others:
                _signal(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def written_by_nobody(self) -> Iterator[None]:
        """Hold the file's write lock, so that a request that must write stays where it is."""
        connection = sqlite3.connect(self.database, timeout=PATIENCE, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
        finally:
            connection.close()  # undoes the transaction

    def killed_in(self, asks: Callable[[], object]) -> None:
        """kill -9 a worker in the middle of a request that must write: taken up by it, and not answered."""

        def ask() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):  # its worker is killed
                asks()

        victim = self.workers()[0]
        asking = threading.Thread(target=ask)
        with self.written_by_nobody(), self.only(victim):
            asking.start()
            until(self._has_taken_up, "the request's arrival")
            asking.join(0.5)  # to where it must write; if that takes longer, it is killed on the way there
            assert asking.is_alive(), "the request was answered"
            os.kill(victim, signal.SIGKILL)
            until(lambda: _state(victim) in "ZX", "the worker's end")
        asking.join(PATIENCE)
        assert not asking.is_alive(), "the request hangs"

    def _has_taken_up(self) -> bool:
        """Say whether a worker has accepted a connection: one that waits in the queue has no inode (proc(5))."""
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[1].endswith(f":{self.port:04X}") and cells[3] == "01" and cells[9] != "0":
                return True
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # its server may have replaced it
        os.kill(pid, number)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # gone before it was looked for, or while it was read
        return "X"
