"""The app under a real server with two workers: gunicorn with threads, or uvicorn."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["served"]

_ROOT = Path(__file__).parent.parent.parent

_COMMANDS = {
    "wsgi": "gunicorn -k gthread -w 2 --threads 16 --log-level error -b 127.0.0.1:{port} benchmarks.faults.app:wsgi()",
    "asgi": "uvicorn --workers 2 --log-level error --no-access-log --lifespan off --port {port} "
    "--factory benchmarks.faults.app:asgi",
}


@contextlib.contextmanager
def served(kind: str, store_url: str) -> Iterator[int]:
    """Run the app; return its port.

    Args:
        kind: "wsgi" or "asgi".
        store_url: as SESSION_STORE_URL.

    Raises:
        RuntimeError: it did not start; with what it said.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "SESSION_STORE_URL": store_url,
            "PYTHONPATH": str(_ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_RUNTIME_DIR": folder,  # several gunicorns of one user would share a control socket
        }
        command = [sys.executable, "-m", *_COMMANDS[kind].format(port=port).split()]
        log = Path(folder) / "log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                command, cwd=_ROOT, env=environment, stdout=said, stderr=said, start_new_session=True
            )
        try:
            until = time.monotonic() + 30
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the app did not start: {log.read_text()[-2000:]}")
                time.sleep(0.05)  # until the server answers
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/public")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
