"""A Starlette or FastAPI app under test, called as a server would, by a visitor and by somebody signed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from session_middleware import SessionEvent, Settings, session_optional
from session_middleware.adapters.starlette import SessionLifetimeMiddleware, session_from
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.browser import Answer

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"

Messages = list[dict[str, Any]]


def page(marker: Callable[[Any], Any] | None = None) -> Any:
    """Return a new endpoint with this marker: markers tag what they are given, so none is shared."""

    async def hello(request: Request) -> Response:
        return PlainTextResponse("hello")

    return hello if marker is None else marker(hello)


@session_optional
async def sign_in(request: Request) -> Response:
    await session_from(request).login(request.query_params.get("subject", "alice"))
    return PlainTextResponse("welcome")


class Shop:
    """One app with a clock, the events it sends, and the cookies of who is signed in.

    Args:
        routes: of a Starlette app; `POST /sign-in` is added.
        app: another app instead; the middleware is added to it.
        before: middlewares around ours, `after`: those inside it.
        settings: of the middleware.
    """

    def __init__(
        self,
        *routes: Any,
        app: Any = None,
        before: list[Middleware] | None = None,
        after: list[Middleware] | None = None,
        store: Any = None,
        run: Callable[..., Any] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = FakeClock()
        self.events: list[SessionEvent] = []
        self.store = store or MemoryStore()
        self.run = run or (lambda call, *args: asyncio.run(call(*args)))
        self.cookie = ""
        self.ours = Middleware(
            SessionLifetimeMiddleware,
            settings=Settings(secret_keys=[KEY], **settings),
            store=self.store,
            clock=self.clock,
            on_event=self.events.append,
        )
        if app is None:
            app = Starlette(routes=[Route("/sign-in", sign_in, methods=["POST"]), *routes])
        app.user_middleware = [*(before or []), self.ours, *(after or [])]
        self.app = app

    @property
    def problems(self) -> list[tuple[str, str]]:
        """What was reported at start-up: where, and the beginning of the problem."""
        found = [event.detail for event in self.events if event.name == "marker_unreachable"]
        return [(detail["where"], detail["problem"]) for detail in found]

    def sign_in(self, path: str = "/sign-in", subject: str = "alice") -> Answer:
        answer = self.call("POST", f"{path}?subject={subject}")
        assert answer.status == 200
        self.cookie = "; ".join(line.partition(";")[0] for line in answer.set_cookies)
        return answer

    def status(self, path: str, method: str = "GET", **headers: str) -> int:
        return self.call(method, path, **headers).status

    def call(self, method: str, target: str, *, cookie: str | None = None, mount: str = "", **headers: str) -> Answer:
        """Make one request; underscores in the names of headers stand for hyphens."""
        path, _, query = target.partition("?")
        sent = {"host": "app.example", **{name.replace("_", "-"): value for name, value in headers.items()}}
        cookie = self.cookie if cookie is None else cookie
        if cookie:
            sent["cookie"] = cookie
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": mount + path,
            "raw_path": (mount + path).encode(),
            "query_string": query.encode(),
            "root_path": mount,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
            "client": ("192.0.2.7", 50_000),
            "server": ("app.example", 443),
            "extensions": {},
            "state": {},
        }
        messages = self.run(self._talk, scope, [{"type": "http.request", "body": b"", "more_body": False}])
        start, *rest = messages
        got = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
        return Answer(start["status"], got, b"".join(part.get("body", b"") for part in rest))

    def socket(self, path: str, *, denial: bool = True, cookie: str | None = None, **headers: str) -> Messages:
        """Open a WebSocket; return what the app sent."""
        cookie = self.cookie if cookie is None else cookie
        sent = {"host": "app.example", **headers, **({"cookie": cookie} if cookie else {})}
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "wss",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "client": ("192.0.2.7", 50_000),
            "server": ("app.example", 443),
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}} if denial else {},
            "state": {},
        }
        messages: Messages = self.run(self._talk, scope, [{"type": "websocket.connect"}])
        return messages

    async def _talk(self, scope: dict[str, Any], waiting: Messages) -> Messages:
        sent: Messages = []

        async def receive() -> dict[str, Any]:
            if not waiting and scope["type"] == "http":
                await anyio.sleep_forever()  # the client stays until it has its answer
            return waiting.pop(0) if waiting else {"type": "websocket.disconnect", "code": 1000}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent
