"""Apps for real servers: the scenario app behind plain WSGI and plain ASGI, its limits from the environment.

Outside the middleware stands what a test needs to see of the server: which process answered, and a slow request.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from session_middleware.settings import Settings
from session_middleware.stores import store_from_url


def _settings() -> Settings:
    return Settings.from_mapping(os.environ, login_url="/login")


def _begun() -> None:
    """Tell the test which process has begun the slow request."""
    Path(os.environ["SLOW_FILE"]).write_text(str(os.getpid()))


def wsgi() -> Any:
    from session_middleware.adapters.wsgi import SessionLifetimeMiddleware
    from tests.modes.wsgi_mode import application, endpoint_of

    store = store_from_url(os.environ["SESSION_STORE_URL"])
    inner = SessionLifetimeMiddleware(application, _settings(), store, endpoint_of=endpoint_of)

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/me" and environ["QUERY_STRING"] == "slow":
            _begun()
            time.sleep(30)  # until it is killed

        def start(status: str, headers: Any, *rest: Any) -> Any:
            return start_response(status, [*headers, ("X-Worker", str(os.getpid()))], *rest)

        return inner(environ, start)

    return app


def asgi() -> Any:
    from session_middleware.adapters.asgi import SessionLifetimeMiddleware
    from tests.modes.asgi_mode import application, endpoint_of

    store = store_from_url(os.environ["SESSION_STORE_URL"])
    inner = SessionLifetimeMiddleware(application, _settings(), store, endpoint_of=endpoint_of)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] == "http" and scope["path"] == "/me" and scope["query_string"] == b"slow":
            _begun()
            await asyncio.sleep(30)  # until it is killed

        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-worker", str(os.getpid()).encode())]
            await send(message)

        await inner(scope, receive, marked)

    return app
