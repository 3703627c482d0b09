"""What happens rarely, reported without a bar; and the verdict on a session seen before, which has one."""

from __future__ import annotations

import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bars import Row, at_most
from benchmarks.clients import ASGIClient
from benchmarks.contenders import ours
from benchmarks.contenders.alice import ALICE, SAID
from benchmarks.rounds import Spread
from session_middleware.core.exchange import NO_RULES
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.watched_store import WatchedStore

__all__ = ["rows"]


def rows(quick: bool) -> list[Row]:
    """Measure each; `quick` asks fewer times."""
    times = 40 if quick else 400
    return [
        *_verdict(times),
        *_occasions(times),
        *_flood(times * 10),
        Row(
            "first request after a fork, SQLiteStore / the next (plain WSGI)", _after_fork(3 if quick else 15), "", None
        ),
        Row("memory per 100,000 sessions, MemoryStore", _memory(10_000 if quick else 100_000), "", None),
        Row("the same, and 16,384 Cookie headers remembered", _memory(20_000 if quick else 100_000, True), "", None),
    ]


def _app(store: Any, clock: Callable[[], float] | None = None) -> Any:
    from session_middleware.adapters.asgi import SessionLifetimeMiddleware, session_from

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/login":
            await session_from(scope).login(ALICE, **SAID)
        body = (session_from(scope).subject or "").encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body})

    return SessionLifetimeMiddleware(app, settings=ours.settings(), store=store, clock=clock)


async def _unused(message: Any) -> None:
    """Stand for a server's `send` that nothing is sent to."""


async def _unasked() -> Any:
    """Stand for a server's `receive` that nobody waits for."""


def _verdict(times: int) -> list[Row]:
    """Time the verdict alone: a Cookie header whose token and JWT were verified before, its facts at hand."""
    app = _app(MemoryStore())
    client = ASGIClient(app)
    client.call("POST", "/login")
    client.burst("/", 10)
    engine = app.engine

    from session_middleware.adapters._asgi_connection import Connection

    cookies = client.jar.header.encode()
    medians = []
    for _ in range(times):
        each = []
        for _ in range(50):
            x = Connection()  # reading the request is not the verdict
            x.shown, x.now, x.authenticated = cookies, engine.clock(), False
            began = time.perf_counter()
            passed = engine.open_quietly(x, NO_RULES)
            each.append(time.perf_counter() - began)
            if not passed:
                raise RuntimeError("the session is not recognised")
        medians.append(statistics.median(each) * 1e6)
    client.close()
    return [at_most("verdict on a session JWT seen before", statistics.median(medians), 2, "us")]


def _occasions(times: int) -> list[Row]:
    """Time what a request costs when something is due, on plain ASGI, for both stores."""
    found = []
    for kind in ("memory", "sqlite"):
        clock = FakeClock()
        client = ASGIClient(_app(ours.store(kind, False), clock))
        logins, quiet, touches, rotations, renewals = [], [], [], [], []
        for _ in range(times // 4):
            client.jar.forget()
            client.call("POST", "/login")
            logins.append(client.took)
            clock.advance(1)
            client.burst("/", 2)  # the first after the login records that time has moved (L5)
            quiet += client.burst("/", 4)
            clock.advance(61)
            touches += client.burst("/", 1)
            clock.advance(300)
            rotations += client.burst("/", 1)
            for _ in range(11):  # to just under an hour, with no silence that matters
                clock.advance(290)
                client.burst("/", 2)
            clock.advance(300)
            renewals += client.burst("/", 1)
        for what, seconds in (
            ("quiet request", quiet),
            ("request with a touch", touches),
            ("request with a touch and a new JWT", rotations),
            ("request with touch, new JWT and renewal", renewals),
            ("login", logins),
        ):
            text = Spread.of(one * 1e6 for one in seconds).text(0)
            found.append(Row(f"plain ASGI, {kind}: {what}", f"{text} us", "", None))
        client.close()
    return found


def _flood(times: int) -> list[Row]:
    """Refuse again and again: nobody signed in, and a forged token each time."""
    store = WatchedStore(MemoryStore())
    client = ASGIClient(_app(store))
    with Path(os.devnull).open("w") as nowhere:
        logger, handler = logging.getLogger("session_middleware"), logging.StreamHandler(nowhere)
        logger.addHandler(handler)  # forged tokens are logged, which is a part of what they cost
        try:
            return _flooded(client, store, times)
        finally:
            logger.removeHandler(handler)


def _flooded(client: ASGIClient, store: WatchedStore, times: int) -> list[Row]:
    found = []
    for what, cookie in (("nobody signed in", ""), ("forged tokens", "__Host-session=forged{}.AAAA")):
        seconds = []
        for n in range(times):
            client.jar.header = cookie.format(n)
            status, _ = client.call("GET", "/")
            seconds.append(client.took)
            if status != 401:
                raise RuntimeError(f"answered {status}")
        text = Spread.of(one * 1e6 for one in seconds).text(0)
        found.append(Row(f"401, {what}: plain ASGI, {store.total} store calls", f"{text} us", "", None))
    return found


_FORK = """
import os, time
from benchmarks.contenders import make
contender = make("plainwsgi", "wsgi-ours-sqlite")
contender.sign_in()
contender.client.burst("/me", 50)
read, write = os.pipe()
if os.fork() == 0:
    first = contender.client.burst("/me", 1)[0]
    second = contender.client.burst("/me", 1)[0]
    os.write(write, f"{first * 1e6} {second * 1e6}".encode())
    os._exit(0)
os.wait()
print(os.read(read, 100).decode())
"""


def _after_fork(times: int) -> str:
    pairs = [_python(_FORK).split() for _ in range(times)]
    first, second = (Spread.of(float(pair[n]) for pair in pairs) for n in (0, 1))
    return f"{first.text(0)} us / {second.text(0)} us"


_MEMORY = """
import resource, sys
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.reference_record import reference_record
sessions, with_headers = int(sys.argv[1]), sys.argv[2] == "True"
store = MemoryStore()
for n in range(100):
    store.create(reference_record(n))
if with_headers:
    from benchmarks import costs
    client = costs.ASGIClient(costs._app(store))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if with_headers:
    for _ in range(min(sessions, 16_384)):
        client.jar.forget()
        client.call("POST", "/login")
        client.burst("/", 1)
    sessions -= 16_384
for n in range(100, sessions):
    store.create(reference_record(n))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def _memory(sessions: int, with_headers: bool = False) -> str:
    megabytes = float(_python(_MEMORY, str(sessions), str(with_headers)))
    return f"{megabytes:.0f} MiB" + ("" if sessions == 100_000 else f" for {sessions:,}")


def _python(program: str, *arguments: str) -> str:
    """Run a program in a process of its own and return what it prints."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ)).stdout
