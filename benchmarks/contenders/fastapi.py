"""FastAPI: the bare app, ours and Starlette's SessionMiddleware."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse

from benchmarks.clients import ASGIClient
from benchmarks.contenders import Contender
from benchmarks.contenders import starlette as on_starlette

__all__ = ["make"]


def make(name: str, options: str, counting: bool) -> Contender:
    """Make a contender by name; with the option "200" its page is the last of 200 routes in four included routers."""
    kind, _, detail = name.partition("-")
    (view, enter), middleware, traffic = on_starlette.MADE[kind](detail, counting)

    async def me(request: Request) -> Any:
        return await view(request)

    async def login(request: Request) -> Any:
        return await enter(request)

    async def other() -> Any:
        return PlainTextResponse("other")

    app = FastAPI(middleware=middleware)
    if options != "200":
        app.get("/me")(me)
        app.post("/login")(login)
        return Contender(ASGIClient(app), "/me", traffic, app)
    app.post("/login")(login)
    for part in range(4):
        router = APIRouter(prefix=f"/part{part}")
        for n in range(50):
            router.get(f"/page{n}")(me if (part, n) == (3, 49) else other)
        app.include_router(router)
    return Contender(ASGIClient(app), "/part3/page49", traffic, app)
