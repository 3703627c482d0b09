"""Starlette on asyncio: the scenario app as routes, functions and classes, `def` and `async def`, some in a mount."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route, Router

from session_middleware import (
    SessionError,
    SettingsError,
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.adapters.starlette import (
    SessionLifetimeMiddleware,
    safe_return_to,
    session_from,
    sync_session_from,
)
from session_middleware.testing.adapter_contract import describe, login_arguments
from tests.modes.asgi_mode import ASGIDriver

NAME = "starlette"
SUPPORTS_MOUNT = True


async def shown(request: Request) -> Response:
    return JSONResponse(describe(session_from(request)))


async def me(request: Request) -> Response:
    return await shown(request)


@session_optional
async def open_(request: Request) -> Response:
    return await shown(request)


@session_exempt
async def exempt(request: Request) -> Response:
    return JSONResponse({"exempt": True})


@session_exempt
async def exempt_using(request: Request) -> Response:
    return JSONResponse(describe(await session_from(request).open()))


@no_touch
def poll(request: Request) -> Response:
    return JSONResponse(describe(sync_session_from(request)))


class Fresh(HTTPEndpoint):
    @fresh_login_required(within=300)
    async def get(self, request: Request) -> Response:
        return await shown(request)


@session_required(on_unavailable="stale")
async def stale(request: Request) -> Response:
    return await shown(request)


class Login(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return HTMLResponse("<h1>login</h1>")

    @session_optional
    async def post(self, request: Request) -> Response:
        await session_from(request).login(**login_arguments(request.query_params))
        return await shown(request)


@session_optional(cross_site_login=True)
def bound_login(request: Request) -> Response:
    session = sync_session_from(request)
    session.login(**login_arguments(request.query_params))
    return JSONResponse(describe(session))


async def step_up(request: Request) -> Response:
    await session_from(request).step_up([{"type": "otp"}])
    return await shown(request)


@session_optional
def sign_out(request: Request) -> Response:
    sync_session_from(request).logout()
    return JSONResponse({"ok": True})


async def extend(request: Request) -> Response:
    try:
        await session_from(request).extend(float(request.query_params["minutes"]))
    except SettingsError as problem:
        return JSONResponse({"error": problem.code}, 400)
    except SessionError as problem:
        return JSONResponse({"error": problem.code}, 409)
    return await shown(request)


async def claims(request: Request) -> Response:
    session_from(request).update_claims(**json.loads(request.query_params["set"]))
    return await shown(request)


def data(request: Request) -> Response:
    session = sync_session_from(request)
    session.data.update(json.loads(request.query_params["set"]))
    return JSONResponse(describe(session))


async def end_others(request: Request) -> Response:
    return JSONResponse({"ended": await session_from(request).end_others()})


@session_optional
async def login_then_fail(request: Request) -> Response:
    await session_from(request).login(request.query_params["subject"])
    raise RuntimeError("after the login")


@session_optional
async def login_then_refuse(request: Request) -> Response:
    await session_from(request).login(request.query_params["subject"])
    raise HTTPException(403)


@session_optional
async def login_then_error(request: Request) -> Response:
    await session_from(request).login(request.query_params["subject"])
    return Response("sorry", 500)


async def fail(request: Request) -> Response:
    raise RuntimeError("as asked")


@session_optional
async def headers(request: Request) -> Response:
    verdict = session_from(request).verdict.name
    own = {"Vary": "Accept-Encoding", "Cache-Control": "public, max-age=60"}
    return JSONResponse({"verdict": verdict}, headers=own)


async def own_cookie(request: Request) -> Response:
    response = await shown(request)
    response.headers.append("Set-Cookie", "app=1")
    return response


@session_optional
async def return_to(request: Request) -> Response:
    return JSONResponse({"to": safe_return_to(request)})


def post(path: str, view: Callable[..., Any]) -> Route:
    return Route(path, view, methods=["POST"])


ROUTES = [
    Route("/me", me, methods=["GET", "POST"]),
    Route("/open", open_),
    Route("/exempt", exempt),
    Route("/exempt-using", exempt_using),
    Route("/poll", poll),
    Route("/fresh", Fresh),
    Route("/stale", stale),
    Route("/login", Login),
    post("/bound-login", bound_login),
    post("/step-up", step_up),
    post("/sign-out", sign_out),
    post("/extend", extend),
    Mount(
        "",
        Router(
            [
                post("/claims", claims),
                post("/data", data),
                post("/end-others", end_others),
                post("/login-then-fail", login_then_fail),
                post("/login-then-refuse", login_then_refuse),
                post("/login-then-error", login_then_error),
                Route("/fail", fail),
                Route("/headers", headers),
                Route("/own-cookie", own_cookie),
                Route("/return-to", return_to),
            ]
        ),
    ),
]


def application(settings: Any, store: Any, **options: Any) -> Starlette:
    middleware = [Middleware(SessionLifetimeMiddleware, settings=settings, store=store, **options)]
    return Starlette(routes=ROUTES, middleware=middleware)


def make(settings: Any, store: Any, *, mount: str = "", **options: Any) -> ASGIDriver:
    runner = asyncio.Runner()

    def run(call: Any, *args: Any) -> Any:
        return runner.run(call(*args))

    return ASGIDriver(application(settings, store, **options), run, runner.close, mount)
