"""Ten thousand open WebSockets: `python -m benchmarks.sockets [--number N] [--write-docs]`.

One uvicorn worker holds a WebSocket for each of N sessions, in Redis (with and without a near cache) or in a SQLite file;
beside it the same app bare. What is reported: memory per socket, processor time while nothing happens, how long after the
revoker's OK a session's socket is closed while others stay, and how long it takes to close all the rest at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.redis_server import redis_server
from benchmarks.table import markdown, write
from session_middleware import Settings
from session_middleware.adapters.asgi import SessionLifetimeMiddleware
from session_middleware.engine import Engine
from session_middleware.sessions import Sessions
from session_middleware.stores import store_from_url

__all__ = ["Measured", "measure", "report"]

DOCS: Final = Path(__file__).parent.parent / "docs" / "connections.md"

#: What is measured, and the bar of the ends: p99 in seconds.
KINDS: Final = ("bare", "redis", "redis, near cache", "sqlite")
BAR: Final = 1.0

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_SETTINGS: Final = Settings(secret_keys=["a secret of benchmarks 0123456789abcdef"], insecure_dev=True)


@dataclass(frozen=True)
class Measured:
    """What one kind takes.

    Attributes:
        kind: one of `KINDS`.
        number: of sockets.
        memory: bytes per open socket.
        idle: share of a processor while nothing happens.
        ends: seconds from the revoker's OK to the socket's end, sorted; empty for the bare app.
        strays: sockets that were closed though their session lives.
        all_at_once: seconds until the rest were closed after one `end_before`.
    """

    kind: str
    number: int
    memory: float
    idle: float
    ends: Sequence[float] = ()
    strays: int = 0
    all_at_once: float = 0.0

    @property
    def p99(self) -> float:
        """99 % of the ends took no longer."""
        return self.ends[min(len(self.ends) - 1, int(len(self.ends) * 0.99))] if self.ends else 0.0


# --- the server ------------------------------------------------------------------------------------------------------


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Accept, and wait until the client goes."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


def serve(kind: str, url: str, port: int) -> None:
    """Run the worker."""
    import uvicorn

    served: Any = app
    if kind != "bare":
        served = SessionLifetimeMiddleware(app, _SETTINGS, store_from_url(url, asynchronous=True))
    uvicorn.run(served, port=port, access_log=False, log_level="critical", lifespan="off", ws_ping_interval=None)


@contextmanager
def worker(kind: str, url: str) -> Iterator[tuple[int, int]]:
    """Run a worker; yield its port and its process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    run = subprocess.Popen([sys.executable, "-m", "benchmarks.sockets", "--serve", kind, url, str(port)])
    try:
        patience = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > patience or run.poll() is not None:
                    raise
                time.sleep(0.05)  # until the server answers
        yield port, run.pid
    finally:
        run.kill()
        run.wait()


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _busy(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


# --- the clients -----------------------------------------------------------------------------------------------------


class Client(asyncio.Protocol):
    """One WebSocket that listens for its end."""

    def __init__(self, cookies: str) -> None:
        self._cookies = cookies
        self.opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.closed_at: float | None = None
        self.code = 0
        self._head = b""

    def connection_made(self, transport: Any) -> None:
        self.transport: Any = transport
        transport.write(
            b"GET /socket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            b"Cookie: " + self._cookies.encode() + b"\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self._head += data
            if b"\r\n\r\n" not in self._head:
                return
            self.opened.set_result(self._head.startswith(b"HTTP/1.1 101"))
            data = self._head.partition(b"\r\n\r\n")[2]
        if data and data[0] == 0x88 and self.closed_at is None:
            self.closed_at = time.monotonic()
            self.code = int.from_bytes(data[2:4])
            self.transport.write(b"\x88\x80\0\0\0\0")

    def connection_lost(self, fault: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_result(False)
        if self.closed_at is None:
            self.closed_at = time.monotonic()


async def _open(port: int, jars: Sequence[str]) -> list[Client]:
    loop, found = asyncio.get_running_loop(), []
    for begin in range(0, len(jars), 100):
        some = jars[begin : begin + 100]
        made = [loop.create_connection(lambda jar=jar: Client(jar), "127.0.0.1", port) for jar in some]  # type: ignore[misc]
        clients = [client for _, client in await asyncio.gather(*made)]
        if not all(await asyncio.gather(*(client.opened for client in clients))):
            refused = next(client for client in clients if not client.opened.result())
            raise RuntimeError(f"A WebSocket was refused: {refused._head[:200]!r}")
        found += clients
    return found


class _Facts:
    method, path, mount, target, scheme, host = "POST", "/login", "", "/login", "http", "127.0.0.1"
    websocket, cookies, client = False, "", "127.0.0.1"

    def header(self, name: str) -> str | None:
        return "same-origin" if name == "sec-fetch-site" else None


async def _sign_in(url: str, number: int) -> tuple[list[str], list[str]]:
    """Begin so many sessions; return their Cookie headers and ids."""
    from session_middleware.runtime import LoopRuntime

    store = store_from_url(url.partition("?")[0], asynchronous=True)
    engine = Engine(_SETTINGS, store, runtime=LoopRuntime())
    jars, ids = [], []
    for each in range(number):
        x = engine.begin(_Facts())
        await engine.login(x, f"user {each}")
        assert x.created is not None
        ids.append(x.created.public_id)
        jars.append("; ".join(line.partition(";")[0] for line in await engine.close(x)))
    close = getattr(store, "close", None)
    if close is not None:
        waiting = close()
        if waiting is not None:
            await waiting
    return jars, ids


# --- measuring -------------------------------------------------------------------------------------------------------


async def measure(kind: str, url: str, number: int, revoked: int, idle_seconds: float) -> Measured:
    """Open the sockets, wait, revoke some of the sessions one by one, then all that are left."""
    jars, ids = (await _sign_in(url, number + 1)) if kind != "bare" else ([""] * (number + 1), [])
    with worker(kind, url) as (port, pid):
        first = await _open(port, jars[-1:])
        await asyncio.sleep(2)
        before = _memory(pid)
        clients = await _open(port, jars[:number])
        await asyncio.sleep(3)  # what the handshakes left is cleared away
        memory = (_memory(pid) - before) / number
        busy, since = _busy(pid), time.monotonic()
        await asyncio.sleep(idle_seconds)
        idle = (_busy(pid) - busy) / (time.monotonic() - since)
        ends, strays, all_at_once = [], 0, 0.0
        if kind != "bare":
            sessions = Sessions(_SETTINGS, store_from_url(url.partition("?")[0]))
            chosen = random.Random(7).sample(range(number), revoked)
            said: dict[int, float] = {}
            for one in chosen:
                assert await asyncio.to_thread(sessions.end, ids[one])
                said[one] = time.monotonic()
                await asyncio.sleep(0.02)
            await asyncio.sleep(4)
            for one in chosen:
                closed = clients[one].closed_at
                if closed is None or clients[one].code != 4401:
                    raise RuntimeError(f"A socket outlived its session, or ended with {clients[one].code}.")
                ends.append(max(0.0, closed - said[one]))
            strays = sum(1 for one, client in enumerate(clients) if client.closed_at is not None and one not in said)
            await asyncio.to_thread(sessions.end_before, time.time())
            since = time.monotonic()
            # An event of each would be one thing more to wait for.
            while any(client.closed_at is None for client in clients) and time.monotonic() < since + 60:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            all_at_once = max(client.closed_at or since + 60 for client in clients) - since
        for client in (*first, *clients):
            client.transport.abort()
    return Measured(kind, number, memory, idle, sorted(ends), strays, all_at_once)


def report(found: Sequence[Measured]) -> str:
    """Return the table."""
    rows = []
    for each in found:
        ends = ["-"] * 4
        if each.ends:
            middle = statistics.median(each.ends)
            ends = [
                f"{middle * 1000:.0f} ms",
                f"{each.p99 * 1000:.0f} ms",
                str(each.strays),
                f"{each.all_at_once:.1f} s",
            ]
        rows.append([each.kind, f"{each.memory / 1024:.1f} KiB", f"{each.idle * 100:.1f} %", *ends])
    head = [
        "store",
        "memory per socket",
        "processor, idle",
        "revoked elsewhere: p50",
        "p99",
        "others closed",
        "all at once",
    ]
    title = f"{found[0].number:,} WebSockets, each with a session of its own, on one uvicorn worker:"
    return f"{title}\n\n{markdown(head, rows)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sockets", description=__doc__)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--revoke", type=int, default=200)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "URL", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve[0], options.serve[1], int(options.serve[2]))
        return 0
    found = []
    with redis_server() as has_redis, tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            if kind.startswith("redis") and not has_redis:
                print(f"{kind}: no redis-server here", file=sys.stderr)
                continue
            url = f"sqlite:///{folder}/sessions.db"
            if kind.startswith("redis"):
                url = os.environ["BENCHMARK_REDIS_URL"] + ("?near_cache=2" if "near" in kind else "")
            found.append(asyncio.run(measure(kind, url, options.number, options.revoke, options.idle)))
            print(found[-1].kind, "measured", file=sys.stderr)
    text = report(found)
    print(text)
    if options.write_docs:
        write(DOCS, text)
    return int(any(each.ends and (each.p99 > BAR or each.strays) for each in found))


if __name__ == "__main__":
    sys.exit(main())
