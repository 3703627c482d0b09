"""The same scenario file over the stores across a network, on real servers, and with a near cache before each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from session_middleware.stores.nearcache import near_cache
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing import AdapterContract
from session_middleware.testing.browser import Driver
from tests.stores.postgres_server import new_schema
from tests.stores.redis_server import a_prefix, url_of, wait_until

pytestmark = [pytest.mark.server, pytest.mark.slow]

MODES = sorted(path.stem.removesuffix("_mode") for path in (Path(__file__).parent / "modes").glob("*_mode.py"))

STORES: dict[str, Callable[[], Any]] = {
    "redis": lambda: RedisStore.from_url(url_of("standalone"), prefix=a_prefix()),
    "async-redis": lambda: AsyncRedisStore.from_url(url_of("standalone"), prefix=a_prefix()),
    "postgres": lambda: PostgresStore.from_url(new_schema()),
    "async-postgres": lambda: AsyncPostgresStore.from_url(new_schema()),
}

#: An awaited store is for apps on an event loop.
ON_A_LOOP = ("asgi", "asgi_trio", "django_asgi", "fastapi", "starlette", "starlette_trio")

#: A blocking one is for the others; on a loop its calls go through threads, which is one way for all of them.
BLOCKING = (*(mode for mode in MODES if mode not in ON_A_LOOP), "asgi")


def ways() -> list[Any]:  # Any: what pytest.param returns
    """Return the modes with the stores made for them.

    A mode sees of a store only whether its calls are awaited, so all of them play over Redis, and one of each form over
    PostgreSQL. A near cache stands between engine and store and sees nothing of the mode: again one of each form.
    """
    found = []
    for name in STORES:
        awaited = name.startswith("async-")
        ordinary = "asgi" if awaited else "wsgi"
        every = ON_A_LOOP if awaited else BLOCKING
        for mode in every if name.endswith("redis") else (ordinary,):
            nears = ("", "near-") if mode == ordinary else ("",)
            found += [pytest.param((mode, name, bool(near)), id=f"{mode}-{near}{name}") for near in nears]
    return found


def opened(store: Any) -> Any:  # Any: a store of either form, and its near cache
    """Return a near cache that is open from the start."""
    near = near_cache(store)
    near.listen()
    wait_until(lambda: near.state.open, "the near cache")
    return near


@pytest.mark.parametrize("way", ways())
class TestScenariosFar(AdapterContract):
    """Every scenario of the contract over the stores that need a server."""

    @pytest.fixture
    def mode(self, way: tuple[str, str, bool]) -> ModuleType:
        return importlib.import_module(f"tests.modes.{way[0]}_mode")

    @pytest.fixture
    def make(self, mode: ModuleType, way: tuple[str, str, bool]) -> Callable[..., Driver]:
        return closing(mode.make) if way[1].startswith("async-") else mode.make

    @pytest.fixture
    def make_store(self, way: tuple[str, str, bool]) -> Callable[[], Any]:
        _, name, near = way
        return (lambda: opened(STORES[name]())) if near else STORES[name]

    @pytest.fixture
    def supports_mount(self, mode: ModuleType) -> bool:
        return getattr(mode, "SUPPORTS_MOUNT", False)


def closing(make: Callable[..., Any]) -> Callable[..., Any]:  # Any: a driver of ASGI
    """Have a driver close the store's connections on its own loop, before that ends."""

    def made(settings: Any, store: Any, **options: Any) -> Any:  # Any: as a mode's make
        driver = make(settings, store, **options)
        close = driver.close

        def close_both() -> None:
            driver._run(store.store.close)
            close()

        driver.close = close_both
        return driver

    return made
