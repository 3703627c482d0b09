"""The app whose users are watched: a page for who is signed in, a login, a logout, a page for everybody."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from session_middleware import Settings, session_exempt, session_optional
from session_middleware.stores import store_from_url

__all__ = ["asgi", "wsgi"]

#: Touches and renewals come often, so that many fall into a fault; nobody is silent for long enough to be signed out.
SETTINGS = Settings(
    secret_keys=["faults key 0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"],
    inactivity_timeout=900,
    absolute_lifetime=3600,
    touch_interval=1,
    renewal_interval=4,
    renewal_grace=2,
)


def wsgi() -> Any:  # Any: a WSGI app
    """Return the app over SESSION_STORE_URL, for a synchronous server."""
    from session_middleware.adapters.wsgi import SessionLifetimeMiddleware, session_from

    def me(environ: dict[str, Any]) -> str:
        return str(session_from(environ).subject)

    @session_optional
    def login(environ: dict[str, Any]) -> str:
        session_from(environ).login(parse_qs(environ["QUERY_STRING"])["subject"][0])
        return "signed in"

    @session_optional
    def logout(environ: dict[str, Any]) -> str:
        session_from(environ).logout()
        return "signed out"

    @session_exempt
    def public(environ: dict[str, Any]) -> str:
        return "everybody"

    routes = {"/me": me, "/login": login, "/logout": logout, "/public": public}

    def endpoint_of(environ: dict[str, Any]) -> Callable[[dict[str, Any]], str] | None:
        return routes.get(environ["PATH_INFO"])

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        view = endpoint_of(environ)
        body = b"nothing here" if view is None else view(environ).encode()
        status = "404 Not Found" if view is None else "200 OK"
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    store = store_from_url(os.environ["SESSION_STORE_URL"])
    return SessionLifetimeMiddleware(application, SETTINGS, store, endpoint_of=endpoint_of)


def asgi() -> Any:  # Any: an ASGI app
    """Return the same for asyncio."""
    from session_middleware.adapters.asgi import SessionLifetimeMiddleware, session_from

    async def me(scope: Any) -> str:  # Any: an ASGI scope
        return str(session_from(scope).subject)

    @session_optional
    async def login(scope: Any) -> str:
        await session_from(scope).login(parse_qs(scope["query_string"].decode())["subject"][0])
        return "signed in"

    @session_optional
    async def logout(scope: Any) -> str:
        await session_from(scope).logout()
        return "signed out"

    @session_exempt
    async def public(scope: Any) -> str:
        return "everybody"

    routes = {"/me": me, "/login": login, "/logout": logout, "/public": public}

    def endpoint_of(scope: Any) -> Any:
        return routes.get(scope["path"])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        view = endpoint_of(scope)
        body = b"nothing here" if view is None else (await view(scope)).encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 404 if view is None else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    store = store_from_url(os.environ["SESSION_STORE_URL"], asynchronous=True)
    return SessionLifetimeMiddleware(application, SETTINGS, store, endpoint_of=endpoint_of)
