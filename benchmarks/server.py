"""Requests a second over real sockets: uvicorn with 32 connections, and gunicorn's gthread worker with 8 threads.

Uvicorn is started in two ways: as the README says, and with the C parts of `uvicorn[standard]` and no log. The less a server
does itself, the more of its time is what stands in front of the app.

Server and client have a core each. The client is a few lines around epoll, since it must never be what is waited for;
each of its connections asks again as soon as it has the whole answer. Servers all run; one at a time is asked, in turns.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.bars import Row
from benchmarks.clients import HEADERS, Jar
from benchmarks.contenders import VISITS
from benchmarks.cores import on_core
from benchmarks.redis_server import redis_server
from benchmarks.rounds import Spread, ratio

__all__ = ["load", "rows"]

CONNECTIONS = 32

#: How often the servers are started: two processes of the same app differ by as much as what is measured.
LAUNCHES = 5

#: The least share of the bare app's requests a second that is to be reached under uvicorn. 0.9 is about where the
#: hand-written minimum is, which keeps no rule (0.91 to 0.95); the rows "with the hand-written minimum" say how far the rules
#: themselves are from it.
BARS = {"ours-memory": 0.9, "ours-near-redis": 0.9, "ours-redis": 0.45}

#: What is served by uvicorn as the README starts it.
PLAIN = ("ours-memory", "ours-near-redis", "ours-redis", "minimum", "session-middleware")

#: What is served by uvicorn with its C parts.
STANDARD = (
    "ours-memory",
    "ours-sqlite",
    "ours-near-redis",
    "ours-redis",
    "nothing",  # a middleware that hands everything on
    "headers",  # no middleware: an app that sends the two headers of L18, and requests with two cookies
    "minimum",
    "minimum-redis",
    "session-middleware",
    "starsessions-redis",
)

#: What we may add of what Starlette's SessionMiddleware adds: the bar of the same app in one process, held to under a server.
OF_PEER = 0.2


def rows(quick: bool) -> list[Row]:
    """Measure; the bars are on ours under uvicorn."""
    # Short turns, so that what else the machine does meanwhile disturbs all of a round alike.
    rounds, seconds = (8, 0.1) if quick else (50, 0.15)
    found: list[Row] = []
    with redis_server() as has_redis:
        for kind, served in (("plain", PLAIN), ("standard", STANDARD)):
            names = ["bare", *(name for name in served if has_redis or not name.endswith("redis"))]
            rates, spent = _rates("starlette", names, rounds, seconds, CONNECTIONS, kind, launches=LAUNCHES)
            server = "uvicorn as the README starts it" if kind == "plain" else "uvicorn[standard] without a log"
            found.extend(_of_uvicorn(f"{server}, {CONNECTIONS} connections", rates, spent))
    rates, _ = _rates("flask", ["bare", "ours-memory", "ours-sqlite"], 2 * rounds, seconds, 8, "gthread")
    for name in ("ours-memory", "ours-sqlite"):
        share = _share(rates[name], rates["bare"])
        found.append(Row(f"gunicorn gthread, 8 threads: Flask with {name} / bare", f"{share.text(2)} x", "", None))
    return found


def _of_uvicorn(
    server: str, rates: Mapping[str, Sequence[float]], spent: Mapping[str, Sequence[float]]
) -> Iterator[Row]:
    """Yield what is said of each contender: its share of the bare app's requests a second, and its time."""
    for name in rates:
        if name != "bare":
            share, bar = _share(rates[name], rates["bare"]), BARS.get(name)
            yield Row(
                f"{server}: Starlette with {name} / bare",
                f"{share.text(2)} x",
                "" if bar is None else f"≥ {bar:g} x",
                None if bar is None else share.median >= bar,
            )
    for name in ("ours-memory", "ours-near-redis"):
        if name in rates:
            share = _share(rates[name], rates["minimum"])
            yield Row(
                f"{server}: Starlette with {name} / with the hand-written minimum", f"{share.text(2)} x", "", None
            )
            yield _beside_peer(server, name, rates)
    for name in rates:
        # Whoever waits for whom on two cores decides requests a second; this does not depend on it.
        yield Row(f"{server}: CPU time a request, {name}", f"{Spread.of(spent[name]).text(1)} us", "", None)


def _beside_peer(server: str, name: str, rates: Mapping[str, Sequence[float]]) -> Row:
    """Return the row of how much longer a request takes, as a share of how much longer it takes with Starlette's own."""
    times = {each: [1 / rate for rate in found] for each, found in rates.items()}
    share = Spread.of(ratio(times, name, "session-middleware", "bare"))
    title = f"{server}: what Starlette with {name} adds / with session-middleware"
    return Row(title, f"{share.text(2)} x", f"≤ {OF_PEER:g} x", share.median <= OF_PEER)


def _share(mine: Sequence[float], bare: Sequence[float]) -> Spread:
    return Spread.of(a / b for a, b in zip(mine, bare, strict=True))


def _rates(
    group: str, names: Sequence[str], rounds: int, seconds: float, connections: int, kind: str, launches: int = 1
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return requests a second, and microseconds of the server's CPU time a request, of each round of each launch."""
    rates: dict[str, list[float]] = {name: [] for name in names}
    spent: dict[str, list[float]] = {name: [] for name in names}
    order = random.Random(1)
    for _ in range(launches):
        with contextlib.ExitStack() as stack:
            servers = {name: stack.enter_context(_served(group, name, kind)) for name in names}
            ports = {name: port for name, (port, _) in servers.items()}
            requests = {name: _signed_in(port) for name, port in ports.items()}
            stack.enter_context(on_core(1))
            for name in names:
                load(ports[name], requests[name], connections, seconds / 2)  # warm up
            for _ in range(rounds):
                for name in order.sample(list(names), len(names)):
                    before = _cpu_seconds(servers[name][1])
                    rate = load(ports[name], requests[name], connections, seconds)
                    rates[name].append(rate)
                    spent[name].append((_cpu_seconds(servers[name][1]) - before) / (rate * seconds) * 1e6)
    return rates, spent


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, all its threads; 0 where the system does not say (Linux alone does)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        total += int(task.read_text().split()[0])
    return total / 1e9


@contextlib.contextmanager
def _served(group: str, name: str, kind: str) -> Iterator[tuple[int, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with on_core(0):  # inherited by the server
        command = [sys.executable, "-m", "benchmarks.serve", group, name, str(port), kind]
        # Its log is written, as it would be, and read by nobody.
        log = subprocess.DEVNULL if kind == "plain" else None
        process = subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise RuntimeError(f"{name} is not served") from None
                time.sleep(0.05)  # until the server answers
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _request(method: str, path: str, cookies: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in HEADERS.items())]
    if method == "POST":
        lines += ["content-length: 0", "x-forwarded-proto: https"]  # cookies are set as behind a proxy
    if cookies:
        lines.append(f"cookie: {cookies}")
    return "\r\n".join([*lines, "", ""]).encode()


def _signed_in(port: int) -> bytes:
    """Sign in; return the request for the page of whoever has."""
    jar = Jar()
    for method, path in (("POST", "/login"), ("GET", "/me")):
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(_request(method, path, jar.header))
            answer = b""
            while not _is_whole(answer):
                answer += connection.recv(65536)
        lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        jar.take(line.partition(":")[2].strip() for line in lines if line.lower().startswith("set-cookie:"))
        if " 200 " not in lines[0] + " ":
            raise RuntimeError(f"{method} {path}: {lines[0]}")
    if not jar.header:
        jar.put(VISITS)  # the bare app is asked what the others are asked
    return _request("GET", "/me", jar.header)


def _is_whole(answer: bytes) -> bool:
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return len(body) >= int(line[15:])
    return False


def load(port: int, request: bytes, connections: int, seconds: float) -> float:
    """Ask again and again over some connections; return the requests answered a second.

    Raises:
        RuntimeError: an answer was not the page.
    """
    poll = select.epoll()
    held: dict[int, socket.socket] = {}
    parts: dict[int, bytes] = {}
    try:
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port), 5)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            held[connection.fileno()] = connection
            parts[connection.fileno()] = b""
            poll.register(connection, select.EPOLLIN)
            connection.sendall(request)
        answered, began = 0, time.perf_counter()
        until = began + seconds
        while (now := time.perf_counter()) < until:
            for number, _ in poll.poll(1):
                connection = held[number]
                answer = parts[number] + connection.recv(65536)
                if not answer.endswith(b"alice"):
                    if _is_whole(answer) or not answer:
                        raise RuntimeError(f"not the page: {answer[:200]!r}")
                    parts[number] = answer
                    continue
                parts[number] = b""
                answered += 1
                connection.send(request)
        return answered / (now - began)
    finally:
        poll.close()
        for connection in held.values():
            connection.close()
