"""Starlette on trio: the same app as on asyncio, its `def` endpoints in trio's threads."""

from __future__ import annotations

from typing import Any

import trio

from tests.modes.asgi_mode import ASGIDriver
from tests.modes.starlette_mode import application

NAME = "starlette-trio"
SUPPORTS_MOUNT = True


def make(settings: Any, store: Any, *, mount: str = "", **options: Any) -> ASGIDriver:
    def stop() -> None:
        """Nothing runs between requests."""

    return ASGIDriver(application(settings, store, **options), trio.run, stop, mount)
