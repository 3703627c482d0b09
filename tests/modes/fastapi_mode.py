"""FastAPI on asyncio: the scenario app as path operations, most of them in routers included three deep."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from session_middleware import (
    SessionError,
    SettingsError,
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.adapters.fastapi import (
    CurrentSession,
    CurrentSyncSession,
    SessionLifetimeMiddleware,
    safe_return_to,
    session_from,
)
from session_middleware.testing.adapter_contract import describe, login_arguments
from tests.modes.asgi_mode import ASGIDriver

NAME = "fastapi"
SUPPORTS_MOUNT = True

#: FastAPI answers HEAD only where it is asked to.
READ = ["GET", "HEAD"]

top, middle, bottom = APIRouter(), APIRouter(), APIRouter()


@bottom.api_route("/me", methods=[*READ, "POST"])
async def me(session: CurrentSession) -> dict[str, Any]:
    return describe(session)


@middle.api_route("/open", methods=READ)
@session_optional
async def open_(session: CurrentSession) -> dict[str, Any]:
    return describe(session)


@bottom.api_route("/exempt", methods=READ)
@session_exempt
async def exempt() -> dict[str, Any]:
    return {"exempt": True}


@bottom.api_route("/exempt-using", methods=READ)
@session_exempt
async def exempt_using(session: CurrentSession) -> dict[str, Any]:
    return describe(await session.open())


@bottom.api_route("/poll", methods=READ)
@no_touch
def poll(session: CurrentSyncSession) -> dict[str, Any]:
    return describe(session)


@top.api_route("/fresh", methods=READ)
@fresh_login_required(within=300)
async def fresh(session: CurrentSession) -> dict[str, Any]:
    return describe(session)


@top.api_route("/stale", methods=READ)
@session_required(on_unavailable="stale")
def stale(session: CurrentSyncSession) -> dict[str, Any]:
    return describe(session)


@bottom.api_route("/login", methods=READ)
async def login_page() -> Response:
    return HTMLResponse("<h1>login</h1>")


@bottom.post("/login")
@session_optional
async def login(request: Request, session: CurrentSession) -> dict[str, Any]:
    await session.login(**login_arguments(request.query_params))
    return describe(session)


@middle.post("/bound-login")
@session_optional(cross_site_login=True)
def bound_login(request: Request, session: CurrentSyncSession) -> dict[str, Any]:
    session.login(**login_arguments(request.query_params))
    return describe(session)


@bottom.post("/step-up")
async def step_up(session: CurrentSession) -> dict[str, Any]:
    await session.step_up([{"type": "otp"}])
    return describe(session)


@bottom.post("/sign-out")
@session_optional
def sign_out(session: CurrentSyncSession) -> dict[str, Any]:
    session.logout()
    return {"ok": True}


@top.post("/extend", response_model=None)
async def extend(minutes: float, session: CurrentSession) -> dict[str, Any] | Response:
    try:
        await session.extend(minutes)
    except SettingsError as problem:
        return JSONResponse({"error": problem.code}, 400)
    except SessionError as problem:
        return JSONResponse({"error": problem.code}, 409)
    return describe(session)


@bottom.post("/claims")
async def claims(request: Request, session: CurrentSession) -> dict[str, Any]:
    session.update_claims(**json.loads(request.query_params["set"]))
    return describe(session)


@bottom.post("/data")
def data(request: Request, session: CurrentSyncSession) -> dict[str, Any]:
    session.data.update(json.loads(request.query_params["set"]))
    return describe(session)


@bottom.post("/end-others")
async def end_others(session: CurrentSession) -> dict[str, Any]:
    return {"ended": await session.end_others()}


@bottom.post("/login-then-fail")
@session_optional
async def login_then_fail(subject: str, session: CurrentSession) -> None:
    await session.login(subject)
    raise RuntimeError("after the login")


@bottom.post("/login-then-refuse")
@session_optional
async def login_then_refuse(subject: str, session: CurrentSession) -> None:
    await session.login(subject)
    raise HTTPException(403)


@bottom.post("/login-then-error")
@session_optional
async def login_then_error(subject: str, session: CurrentSession, response: Response) -> str:
    await session.login(subject)
    response.status_code = 500
    return "sorry"


@bottom.api_route("/fail", methods=READ)
async def fail() -> None:
    raise RuntimeError("as asked")


@bottom.api_route("/headers", methods=READ)
@session_optional
async def headers(request: Request, response: Response) -> dict[str, Any]:
    verdict = session_from(request).verdict.name
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = "public, max-age=60"
    return {"verdict": verdict}


@bottom.api_route("/own-cookie", methods=READ)
async def own_cookie(response: Response, session: CurrentSession) -> dict[str, Any]:
    response.headers.append("Set-Cookie", "app=1")
    return describe(session)


@bottom.api_route("/return-to", methods=READ)
@session_optional
async def return_to(request: Request) -> dict[str, Any]:
    return {"to": safe_return_to(request)}


middle.include_router(bottom)
top.include_router(middle)


def make(settings: Any, store: Any, *, mount: str = "", **options: Any) -> ASGIDriver:
    app = FastAPI(openapi_url=None)
    app.include_router(top)
    app.add_middleware(SessionLifetimeMiddleware, settings=settings, store=store, **options)
    runner = asyncio.Runner()

    def run(call: Any, *args: Any) -> Any:
        return runner.run(call(*args))

    return ASGIDriver(app, run, runner.close, mount)
