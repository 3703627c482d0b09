"""Django under ASGI: the scenario app as asynchronous views."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.test.utils import override_settings

from tests.modes.asgi_mode import ASGIDriver
from tests.modes.django_settings import OURS, configure, lifetime

NAME = "django-asgi"
SUPPORTS_MOUNT = True

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class Handler(ASGIHandler):
    """Django's handler, with the routes of this mode whatever ROOT_URLCONF says by then."""

    async def get_response_async(self, request: HttpRequest) -> Any:
        request.urlconf = "tests.modes.django_async_urls"
        return await super().get_response_async(request)


def served(app: ASGIApp) -> ASGIApp:
    """Serve a Django app as uvicorn does: the client stays until it is answered, and names of headers are lowered."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def stay() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect":
                await asyncio.Event().wait()
            return message

        async def lowered(message: Any) -> None:
            if "headers" in message:
                message["headers"] = [(name.lower(), value) for name, value in message["headers"]]
            await send(message)

        await app(scope, stay, lowered)

    return application


def make(
    settings: Any, store: Any, *, clock: Any, on_event: Any = (), authority: Any = None, mount: str = ""
) -> ASGIDriver:
    configure()
    given = settings if settings.return_param else settings.replace(return_param="return_to")
    mapping = lifetime(given, store, clock=clock, on_event=on_event, authority=authority)
    with override_settings(MIDDLEWARE=[OURS], SESSION_LIFETIME=mapping):
        handler = Handler()
    runner = asyncio.Runner()

    def run(call: Any, *args: Any) -> Any:
        return runner.run(call(*args))

    return ASGIDriver(served(handler), run, runner.close, mount)
