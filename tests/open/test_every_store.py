"""Open connections over every store, on real servers: an end elsewhere reaches them, an abandoned screen is signed out."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.nearcache import near_cache
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.stores.sqlite import SQLiteStore
from tests.stores.postgres_server import new_schema
from tests.stores.redis_server import a_prefix, url_of

from .driver import House
from .test_connections import closed
from .test_events import told

REMOTE = [pytest.mark.server]
FAR = ["redis", "async-redis", "postgres", "async-postgres"]
STORES = [
    pytest.param("memory"),
    pytest.param("sqlite"),
    *(pytest.param(near + name, marks=REMOTE) for near in ("", "near-") for name in FAR),
]


@asynccontextmanager
async def two_processes(name: str, folder: Path, **settings: Any) -> AsyncIterator[tuple[House, House]]:
    """The same app twice, each with a store of its own on the same data."""
    kind = name.removeprefix("near-")
    where: Any = {"memory": MemoryStore, "sqlite": lambda: folder / "sessions.db"}.get(kind)
    if kind.endswith("redis"):
        prefix = a_prefix()
        form: Any = AsyncRedisStore if kind.startswith("async") else RedisStore

        def one() -> Any:
            return form.from_url(url_of("standalone"), prefix=prefix)
    elif kind.endswith("postgres"):
        schema = new_schema()
        form = AsyncPostgresStore if kind.startswith("async") else PostgresStore

        def one() -> Any:
            return form.from_url(schema)
    elif kind == "sqlite":

        def one() -> Any:
            return SQLiteStore(where())
    else:
        only = MemoryStore()

        def one() -> Any:
            return only

    stores = [near_cache(one()) if name.startswith("near-") else one() for _ in range(2)]
    here = House(stores[0], **settings)
    there = House(stores[1], clock=here.clock, **settings)
    try:
        yield here, there
    finally:
        for store in stores:
            close = getattr(store, "close", None)
            if close is not None:
                waiting = close()
                if inspect.isawaitable(waiting):
                    await waiting


@pytest.mark.parametrize("name", STORES)
def test_an_end_elsewhere_arrives(name: str, tmp_path: Path) -> None:
    """L13: a logout in another process closes socket and events here; nothing polls where the store announces."""

    async def main() -> None:
        async with two_processes(name, tmp_path, inactivity_timeout=300, absolute_lifetime=900) as (here, there):
            cookies, other = await here.login(), await here.login()
            async with (
                here.open("/socket", cookies, kind="websocket") as socket,
                here.open("/session/events", cookies) as stream,
                here.open("/socket", other, kind="websocket") as untouched,
            ):
                await stream.until(lambda: told(stream))
                await here.turn(1)
                await there.ask("/logout", cookies)
                if name in ("memory", "sqlite"):
                    await here.turn(1)  # no announcement: the wheel finds it
                assert await closed(socket) == (4401, "signed_out")
                await stream.until(lambda: stream.over)
                assert told(stream)[-1]["reason"] == "signed_out"
                assert untouched.closed is None

    anyio.run(main)


@pytest.mark.parametrize("name", STORES)
def test_what_is_extended_elsewhere_lives_on(name: str, tmp_path: Path) -> None:
    """L5: a deadline moved in another process counts here, also where touches are announced to nobody (PostgreSQL)."""

    async def main() -> None:
        async with two_processes(name, tmp_path, inactivity_timeout=300, absolute_lifetime=900) as (here, there):
            cookies = await here.login()
            async with here.open("/socket", cookies, kind="websocket") as socket:
                await here.turn(250)
                assert (await there.ask("/use", cookies)).body == b"ACTIVE"
                await here.turn(100)
                assert socket.closed is None
                await here.turn(216)
                assert await closed(socket) == (4401, "inactivity")

    anyio.run(main)


@pytest.mark.parametrize("name", STORES)
def test_an_abandoned_screen(name: str, tmp_path: Path) -> None:
    """A page that polls every 10 s and holds a WebSocket and a stream of events ends at its inactivity limit (L6)."""

    async def main() -> None:
        limits = {"inactivity_timeout": 300, "absolute_lifetime": 36_000, "activity": "user"}
        async with two_processes(name, tmp_path, **limits) as (here, there):
            cookies = await here.login()
            fetch = [(b"sec-fetch-mode", b"cors"), (b"sec-fetch-site", b"same-origin")]
            async with (
                here.open("/socket", cookies, kind="websocket") as socket,
                here.open("/session/events", cookies) as stream,
            ):
                await stream.until(lambda: told(stream))
                for number in range(29):
                    await here.turn(10)
                    answer = await (here, there)[number % 2].ask("/use", cookies, headers=fetch)
                    assert answer.body == b"ACTIVE"
                    before = socket.kinds.count("websocket.send")
                    socket.say("ping")
                    await socket.until(lambda before=before: socket.kinds.count("websocket.send") > before)  # type: ignore[misc]
                assert socket.closed is None
                await here.turn(10)
                assert await closed(socket) == (4401, "inactivity")
                await stream.until(lambda: stream.over)
                assert told(stream)[-1]["reason"] == "inactivity"
            assert (await there.ask("/use", cookies, headers=fetch)).body == b"INACTIVITY_TIMEOUT"

    anyio.run(main)
