"""Starlette: the bare app, ours, SessionMiddleware and starsessions."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, Router

from benchmarks.clients import ASGIClient
from benchmarks.contenders import SECRET, Contender, minimum, ours
from benchmarks.contenders.alice import ALICE, KEPT, SAID

__all__ = ["make"]

View = Callable[[Request], Awaitable[Response]]


def make(name: str, options: str, counting: bool) -> Contender:
    """Make a contender by name; with the option "200" its page is the last of 200 routes in four routers."""
    kind, _, detail = name.partition("-")
    views, middleware, traffic = MADE[kind](detail, counting)
    me, login = views
    app = Starlette(routes=_routes(me, login, options == "200"), middleware=middleware)
    path = "/part3/page49" if options == "200" else "/me"
    return Contender(ASGIClient(app), path, traffic, app)


def _routes(me: View, login: View, many: bool) -> list[Any]:
    if not many:
        return [Route("/me", me), Route("/login", login, methods=["POST"])]

    async def other(request: Request) -> Response:
        return PlainTextResponse("other")

    def page(part: int, n: int) -> Route:
        return Route(f"/page{n}", me if (part, n) == (3, 49) else other)

    parts = [Mount(f"/part{part}", Router([page(part, n) for n in range(50)])) for part in range(4)]
    return [Route("/login", login, methods=["POST"]), *parts]


Made = tuple[tuple[View, View], list[Middleware], Callable[[], tuple[int, int]]]


def _nothing() -> tuple[int, int]:
    return 0, 0


def _bare(detail: str, counting: bool) -> Made:
    async def me(request: Request) -> Response:
        return PlainTextResponse(ALICE)

    return (me, me), [], _nothing


def _ours(detail: str, counting: bool) -> Made:
    from session_middleware.adapters.starlette import SessionLifetimeMiddleware, session_from

    async def me(request: Request) -> Response:
        return PlainTextResponse(session_from(request).subject)

    async def login(request: Request) -> Response:
        await session_from(request).login(ALICE, **SAID)
        return PlainTextResponse("welcome")

    store = ours.store(detail, counting, asynchronous=True)
    middleware = [Middleware(SessionLifetimeMiddleware, settings=ours.settings(), store=store)]
    return (me, login), middleware, ours.traffic(store)


class _Minimum:
    """The hand-written minimum as a middleware: in memory, or with one GET."""

    def __init__(self, app: Any, client: Any = None) -> None:  # Any: an ASGI app, a client of redis-py
        self.app, self.client = app, client
        self.known = minimum.Known()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        cookie = b""
        for name, value in scope["headers"]:
            if name == b"cookie":
                cookie = value
        if self.client is None:
            signed_in = self.known.is_signed_in(cookie)
        else:
            signed_in = not minimum.has_ended(await self.client.get(minimum.KEY))
        if signed_in:
            scope["minimum"] = ALICE

        def finished(message: Any) -> Any:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *minimum.SAYS]
            return send(message)

        await self.app(scope, receive, finished)


class _Nothing:
    """A middleware that hands everything on: what it costs to be one."""

    def __init__(self, app: Any) -> None:  # Any: an ASGI app
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def _nothing_at_all(detail: str, counting: bool) -> Made:
    async def me(request: Request) -> Response:
        return PlainTextResponse(ALICE)

    async def login(request: Request) -> Response:
        answer = PlainTextResponse("welcome")
        for line in minimum.COOKIES:
            answer.headers.append("set-cookie", line)
        return answer

    return (me, login), [Middleware(_Nothing)], _nothing


def _headers(detail: str, counting: bool) -> Made:
    """An app that adds by itself what a response must say to caches (L18), and does nothing else: no middleware either."""

    async def me(request: Request) -> Response:
        answer = PlainTextResponse(ALICE)
        answer.raw_headers += minimum.SAYS
        return answer

    (_, login), _, _ = _nothing_at_all(detail, counting)
    return (me, login), [], _nothing


def _minimum(detail: str, counting: bool) -> Made:
    client = ours.redis_client(asynchronous=True) if detail == "redis" else None

    async def me(request: Request) -> Response:
        return PlainTextResponse(request.scope["minimum"])

    async def login(request: Request) -> Response:
        if client is not None:
            await client.set(minimum.KEY, minimum.record(ours.RECORD_BYTES))
        answer = PlainTextResponse("welcome")
        for line in minimum.COOKIES:
            answer.headers.append("set-cookie", line)
        return answer

    return (me, login), [Middleware(_Minimum, client=client)], _nothing


def _get(detail: str, counting: bool) -> Made:
    """An app that does nothing but await one GET of as many bytes as a session of ours has in Redis."""
    client = ours.redis_client(asynchronous=True)

    async def me(request: Request) -> Response:
        await client.get("minimum")
        return PlainTextResponse(ALICE)

    async def login(request: Request) -> Response:
        await client.set("minimum", bytes(ours.RECORD_BYTES))
        return PlainTextResponse("welcome")

    return (me, login), [], lambda: (0, 0)


async def _peer_me(request: Request) -> Response:
    return PlainTextResponse(request.session["user"])


async def _peer_login(request: Request) -> Response:
    request.session.update(KEPT)
    return PlainTextResponse("welcome")


def _session(detail: str, counting: bool) -> Made:
    return (_peer_me, _peer_login), [Middleware(SessionMiddleware, secret_key=SECRET, https_only=True)], _nothing


def _starsessions(detail: str, counting: bool) -> Made:
    from starsessions import InMemoryStore, SessionAutoloadMiddleware
    from starsessions import SessionMiddleware as StarSessionMiddleware
    from starsessions.stores.base import SessionStore

    store: SessionStore
    if detail == "redis":
        from starsessions.stores.redis import RedisStore

        store = RedisStore(os.environ["BENCHMARK_REDIS_URL"])
    else:
        store = InMemoryStore()
    calls = [0, 0]
    if counting:
        read, write = store.read, store.write

        async def counted_read(*args: Any, **named: Any) -> bytes:
            calls[0] += 1
            return await read(*args, **named)

        async def counted_write(*args: Any, **named: Any) -> str:
            calls[0] += 1
            calls[1] += 1
            return await write(*args, **named)

        store.read, store.write = counted_read, counted_write  # type: ignore[method-assign]
    middleware = [
        Middleware(StarSessionMiddleware, store=store, lifetime=3600, rolling=True),
        Middleware(SessionAutoloadMiddleware),
    ]
    return (_peer_me, _peer_login), middleware, lambda: (calls[0], calls[1])


MADE = {"bare": _bare, "ours": _ours, "minimum": _minimum, "session": _session, "starsessions": _starsessions}
MADE["get"] = _get
MADE["nothing"] = _nothing_at_all
MADE["headers"] = _headers
