"""An app for real servers, run as `python -m tests.open.served SERVER PORT STORE_URL`: a WebSocket and two endless streams."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from session_middleware import Settings, session_optional
from session_middleware.adapters.starlette import SessionLifetimeMiddleware, session_from
from session_middleware.stores import store_from_url

from .driver import KEY


@session_optional
async def login(request: Request) -> Response:
    await session_from(request).login("alice")
    return PlainTextResponse("in")


async def logout(request: Request) -> Response:
    await session_from(request).logout()
    return PlainTextResponse("out")


async def idle() -> AsyncIterator[bytes]:
    yield b"1\n"
    await asyncio.Event().wait()


async def stream(request: Request) -> Response:
    return StreamingResponse(idle(), media_type=request.query_params["type"])


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect as gone:
        print(f"app heard {gone.code} {gone.reason}", flush=True)


def make(url: str) -> Starlette:
    settings = Settings(
        secret_keys=[KEY], insecure_dev=True, inactivity_timeout=3, touch_interval=1, absolute_lifetime=60
    )
    routes = [
        Route("/login", login),
        Route("/logout", logout),
        Route("/stream", stream),
        WebSocketRoute("/socket", socket),
    ]
    store = store_from_url(url, asynchronous=True)
    return Starlette(routes=routes, middleware=[Middleware(SessionLifetimeMiddleware, settings=settings, store=store)])


def main(server: str, port: str, url: str) -> None:
    app: Any = make(url)
    if server == "uvicorn":
        import uvicorn

        uvicorn.run(app, port=int(port), log_level="info", lifespan="off")
        return
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main(*sys.argv[1:])
