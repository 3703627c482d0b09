"""Apps for real servers: the scenario app behind plain WSGI and plain ASGI, its limits from the environment."""

from __future__ import annotations

import os
from typing import Any

from session_middleware.settings import Settings
from session_middleware.stores import store_from_url


def _settings() -> Settings:
    return Settings.from_mapping(os.environ, login_url="/login")


def wsgi() -> Any:
    from session_middleware.adapters.wsgi import SessionLifetimeMiddleware
    from tests.modes.wsgi_mode import application, endpoint_of

    store = store_from_url(os.environ["SESSION_STORE_URL"])
    return SessionLifetimeMiddleware(application, _settings(), store, endpoint_of=endpoint_of)


def asgi() -> Any:
    from session_middleware.adapters.asgi import SessionLifetimeMiddleware
    from tests.modes.asgi_mode import application, endpoint_of

    async def scenarios(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await application(scope, receive, send)

    store = store_from_url(os.environ["SESSION_STORE_URL"])
    return SessionLifetimeMiddleware(scenarios, _settings(), store, endpoint_of=endpoint_of)
