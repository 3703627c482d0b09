"""Plain ASGI on trio: the same app as on asyncio, so that nothing of ours leans on one event loop."""

from __future__ import annotations

from typing import Any

import trio

from tests.modes.asgi_mode import ASGIDriver, wrapped

NAME = "asgi-trio"
SUPPORTS_MOUNT = True


def make(settings: Any, store: Any, *, mount: str = "", **options: Any) -> ASGIDriver:
    def stop() -> None:
        """Nothing runs between requests."""

    return ASGIDriver(wrapped(settings, store, **options), trio.run, stop, mount)
