"""A real app on a real server for the browser script: uvicorn in a thread, a clock that the tests move, a log of requests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from session_middleware import Settings, fresh_login_required, no_touch, session_exempt, session_optional
from session_middleware.adapters.starlette import (
    SessionLifetimeMiddleware,
    safe_return_to,
    session_client,
    session_from,
)
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock

KEY = "client suite key 0f6a1b2c3d4e5f60718293a4b5c6d7e8"

#: The table of M1-M27: silence 300 s, age 900 s, so that a touch is due every 15 s.
SILENCE, AGE = 300, 900

#: As strict as a policy gets: no style but what script constructs, and no sink for text that would become code.
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

#: Browsers ask for an icon where a page names none, and such a request is activity.
NO_ICON = '<link rel="icon" href="data:,">'

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A form</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
[icon][tag]<script type="module" src="/page.js"></script></head>
<body><main><h1>A form</h1><form method="post" action="/save"><label>Text <textarea id="text" name="text"></textarea></label>
<button>Save</button></form></main></body></html>"""

#: Finds the script's object as a page that imports the module would, and counts what the policy forbade.
PAGE_SCRIPT = b"""
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
const tag = document.querySelector('script[src*="client.js"]');
if (tag) window.session = (await import(tag.src)).session;
"""


class Town:
    """The app, its server and what reached it.

    Attributes:
        clock: what the server reads; None: real time.
        log: method and path of each request, in order.
        delays: seconds that requests for a path wait before they are answered.
        faults: status that is answered for a path instead; 0 cuts the connection.
        options: what the pages' script tag is given.
        policy: the pages' Content-Security-Policy.
        events: whether pages listen to `GET events`. Off where a test moves the clocks to the second: the server's goes
            first, so that what the server says in between looks older than it is.
        streams: how many `GET events` are open.
        most_streams: the most that were open at once.
    """

    def __init__(self, clock: FakeClock | None = None, *, authority: Any = None, **settings: Any) -> None:
        self.clock = clock
        self.policy = POLICY
        self.log: list[tuple[str, str]] = []
        self.delays: dict[str, float] = {}
        self.faults: dict[str, int] = {}
        self.options: dict[str, str] = {}
        self.events = False
        self._cuts: set[asyncio.Future[None]] = set()
        self.streams = self.most_streams = 0
        limits = {"inactivity_timeout": SILENCE, "absolute_lifetime": AGE, **settings}
        routes = [
            Route("/", session_optional(self.page)),
            Route("/quiet-page", session_optional(no_touch(self.quiet_page))),
            Route("/private", self.private),
            Route("/page.js", session_exempt(self.page_script)),
            Route("/quiet", session_exempt(self.quiet)),
            Route("/login", session_optional(self.login), methods=["GET", "POST"]),
            Route("/api", self.api, methods=["GET", "POST"]),
            Route("/fresh", fresh_login_required(within=5)(self.fresh)),
        ]
        middleware = [
            Middleware(
                SessionLifetimeMiddleware,
                settings=Settings(secret_keys=[KEY], **limits),
                store=MemoryStore(),
                clock=clock or time.time,
                **({} if authority is None else {"authority": authority}),
            )
        ]

        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            yield
            if authority is not None:
                await authority.aclose()  # its connections belong to this loop

        self.app = Starlette(routes=routes, middleware=middleware, lifespan=lifespan)

    # --- pages -----------------------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        tag = session_client(request, **({} if self.events else {"events": "off"}), **self.options)
        return HTMLResponse(
            PAGE.replace("[icon]", NO_ICON).replace("[tag]", tag), headers={"Content-Security-Policy": self.policy}
        )

    async def quiet_page(self, request: Request) -> Response:
        return await self.page(request)

    async def private(self, request: Request) -> Response:
        return await self.page(request)

    async def page_script(self, request: Request) -> Response:
        return Response(PAGE_SCRIPT, media_type="text/javascript")

    async def quiet(self, request: Request) -> Response:
        return HTMLResponse(f"<!doctype html>{NO_ICON}<title>Nothing here</title>")

    async def login(self, request: Request) -> Response:
        if request.method == "POST":
            await session_from(request).login(request.query_params.get("user", "alice"))
            return RedirectResponse(safe_return_to(request), 303)
        query = request.url.query.replace("&", "&amp;").replace('"', "&quot;")
        page = f'<!doctype html>{NO_ICON}<title>Sign in</title><form method="post" action="/login?{query}"><button>Go</button></form>'
        return HTMLResponse(page)

    async def api(self, request: Request) -> Response:
        return JSONResponse({"user": session_from(request).subject})

    async def fresh(self, request: Request) -> Response:
        return JSONResponse({"fresh": True})

    # --- the server ------------------------------------------------------------------------------------------------

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            self.log.append((scope["method"], path))
            if path in self.delays:
                await asyncio.sleep(self.delays[path])
            status = self.faults.get(path)
            if status is not None:
                if status == 0:
                    return  # uvicorn cuts the connection of an app that does not answer
                await send({"type": "http.response.start", "status": status, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
            if path == "/session/events":
                await self._listened_to(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _listened_to(self, scope: Any, receive: Any, send: Any) -> None:
        self.streams += 1
        self.most_streams = max(self.streams, self.most_streams)
        cut = asyncio.get_running_loop().create_future()
        self._cuts.add(cut)
        served = asyncio.ensure_future(self.app(scope, receive, send))
        try:
            await asyncio.wait({served, cut}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            served.cancel()
            self._cuts.discard(cut)
            self.streams -= 1

    def cut_streams(self) -> None:
        """Break each open `GET events`, as a proxy or a restart of the server does."""
        for cut in list(self._cuts):
            cut.get_loop().call_soon_threadsafe(cut.set_result, None)

    def runs(self, port: int = 0) -> contextlib.AbstractContextManager[str]:
        """Serve until the block ends; gives the origin."""
        return serving(self, port)

    def count(self, method: str, path: str) -> int:
        return self.log.count((method, path))


@contextlib.contextmanager
def serving(app: Any, port: int = 0) -> Iterator[str]:  # Any: an ASGI app, as uvicorn takes it
    """Serve an app from a thread until the block ends; gives the origin."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    config = uvicorn.Config(
        app, log_level="critical", lifespan="on", ws="none", loop="asyncio", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://localhost:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
