"""A Redis server for the peers that want one, if this machine has it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.cores import on_core

__all__ = ["redis_server"]


@contextmanager
def redis_server() -> Iterator[bool]:
    """Run a server of our own while measuring; False if there is none to run. Its URL is in BENCHMARK_REDIS_URL."""
    program = shutil.which("redis-server")
    if program is None:
        yield False
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        with on_core(-1):  # with those who ask it
            server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            os.environ["BENCHMARK_REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
            yield True
        finally:
            os.environ.pop("BENCHMARK_REDIS_URL", None)
            server.terminate()
            server.wait()


def _wait_for(port: int) -> None:
    until = time.monotonic() + 5
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
