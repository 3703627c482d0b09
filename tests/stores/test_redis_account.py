"""The account that docs/redis.md tells to make is enough for everything, and what it lacks is named."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from session_middleware.core.lifetime import Touch
from session_middleware.errors import StoreUnavailable
from session_middleware.stores.base import Announcements
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.reference_record import reference_record
from tests.stores.redis_server import Server, a_prefix, cluster

pytestmark = pytest.mark.slow

DOCS = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
ACCOUNT = next(line.split() for line in DOCS.splitlines() if line.startswith("    ACL SETUSER"))

RECORD = reference_record(0)
KEY = RECORD.key
AT = RECORD.last_seen_at


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.remove()


@pytest.fixture(params=["standalone", "cluster"])
def url(request: pytest.FixtureRequest, server: Server) -> str:
    """Where nobody but the account signs in; a database of its own where there is one."""
    if request.param == "standalone":
        let_in([server.port])
        return f"redis://app:password@127.0.0.1:{server.port}/5"
    found = cluster()
    let_in([int(port) for port in re.findall(r":(\d+)", found)])
    return found.replace("//", "//app:password@")


def let_in(ports: list[int], *but: str) -> None:
    for port in ports:
        with redis.Redis(port=port, protocol=2) as admin:
            admin.execute_command(*ACCOUNT[:3], "reset", *(word for word in ACCOUNT[3:] if word not in but))


def calls(store: Any) -> list[Callable[[], Any]]:
    """Every method of a store."""
    handle = RECORD.handles[0]
    other = reference_record(1).evolve(handles=RECORD.handles)
    return [
        lambda: store.create(RECORD),
        lambda: store.load(KEY),
        lambda: store.touch(KEY, Touch(AT + 1, AT + 3700, RECORD.keep_until)),
        lambda: store.save(RECORD),
        lambda: store.renew(KEY, 0, 1, AT),
        lambda: store.list(handle, AT),
        lambda: store.create_capped(other, handle, 1, True, AT + 1, RECORD.keep_until),
        lambda: store.end(other.key, "logout", AT, RECORD.keep_until),
        lambda: store.end_before(5.0, 6.0),
        lambda: store.add_once("jti", AT + 60, AT),
        lambda: store.walk(None, 100),
    ]


def hears(listener: Announcements) -> bool:
    listener.ask()
    found = listener.receive(10.0)
    listener.close()
    return bool(found[1])


def test_the_documented_account_is_enough(url: str) -> None:
    """Every call of the blocking store and its announcements work with it, in another database than 0 and in a Cluster."""
    with RedisStore.from_url(url, prefix="session:" + a_prefix()) as store:
        for call in calls(store):
            call()
        assert store.load(KEY).end_reason == "revoked"
        assert hears(store.announcements())


def test_the_documented_account_is_enough_awaited(url: str) -> None:
    """The same for the awaited form."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(url, prefix="session:" + a_prefix()) as store:
            for call in calls(store):
                await call()
            assert (await store.load(KEY)).end_reason == "revoked"
            assert hears(store.announcements())

    asyncio.run(main())


@pytest.mark.parametrize(
    ("without", "call", "says"),
    [
        ("+select", lambda store: store.load(KEY), "may not run SELECT"),
        ("+get", lambda store: store.load(KEY), "may not run GET"),
        ("+set", lambda store: store.create(RECORD), "may not run SET"),
        ("+evalsha", lambda store: store.end_before(5.0, 6.0), "may not run EVALSHA"),
        ("+time", lambda store: store.list("user", AT), "may not run (a command inside our scripts|TIME)"),  # so Valkey
        ("~session:*", lambda store: store.load(KEY), "may not use the store's keys"),
        ("+subscribe", lambda store: store.announcements(), "may not run SUBSCRIBE"),
        ("&__redis__:invalidate", lambda store: store.announcements(), "may not use the channel __redis__:invalidate"),
    ],
)
def test_what_an_account_may_not_do_is_named(server: Server, without: str, call: Any, says: str) -> None:
    """Whatever is missing, the fault says what, and all that the documented account has."""
    let_in([server.port], without)
    with RedisStore.from_url(f"redis://app:password@127.0.0.1:{server.port}/5") as store:
        with pytest.raises(StoreUnavailable, match=says) as caught:
            call(store)
        named = set(re.findall(r"[A-Z]{3,}", str(caught.value).partition("Allow it")[2]))
        assert named == {word[1:].upper() for word in ACCOUNT if word.startswith("+")}
