"""An ASGI server of one process for tests of connections that stay open: what goes out is kept, nothing waits for real time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import sniffio

from session_middleware import Settings, session_optional
from session_middleware.adapters import asgi as plain
from session_middleware.adapters import starlette as with_starlette
from session_middleware.testing import FakeClock
from session_middleware.watch import Watching

__all__ = ["KEY", "House", "Open"]

KEY = "an open secret of tests 0123456789abcdef"


class Open:
    """One connection, as the server sees it."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []  # what the app received
        self.over: BaseException | bool = False
        self._news = anyio.Event()
        self._give, self._take = anyio.create_memory_object_stream[dict[str, Any]](100)

    async def receive(self) -> dict[str, Any]:
        return await self._take.receive()

    async def send(self, message: Any) -> None:
        if self.over:
            return  # servers close the connection once the app has returned
        self.sent.append(dict(message))
        self._news.set()

    def give(self, message: dict[str, Any]) -> None:
        """Have the server hand a message to the app."""
        self._give.send_nowait(message)

    def say(self, text: str) -> None:
        self.give({"type": "websocket.receive", "text": text})

    def hear(self, message: dict[str, Any]) -> None:
        """Take note of what the app has received."""
        self.told.append(message)
        self._news.set()

    def ended(self, how: BaseException | bool) -> None:
        self.over = how
        self._news.set()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds that a message to the client, or the app's end, brings about."""
        with anyio.fail_after(20):
            while not holds():
                self._news = anyio.Event()
                await self._news.wait()

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def closed(self) -> dict[str, Any] | None:
        return next((message for message in self.sent if message["type"] == "websocket.close"), None)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent if message["type"] == "http.response.body")

    @property
    def is_complete(self) -> bool:
        return any(m["type"] == "http.response.body" and not m.get("more_body") for m in self.sent)

    def close(self) -> None:
        self._give.close()
        self._take.close()


class House:
    """An app under an adapter, one process of it."""

    def __init__(self, store: Any, *, kind: str = "asgi", clock: FakeClock | None = None, **settings: Any) -> None:
        self.clock = clock or FakeClock()
        self.settings = Settings(secret_keys=[KEY], default_policy="required", **settings)
        self.events: list[Any] = []
        self.release = anyio.Event()  # what an idle app waits for
        self.seen: list[str] = []
        self.kind = kind
        given: dict[str, Any] = {"clock": self.clock, "on_event": self.events.append}
        if kind == "asgi":
            self.app: Any = plain.SessionLifetimeMiddleware(session_optional(self.serve), self.settings, store, **given)
        else:
            self.app = with_starlette.SessionLifetimeMiddleware(self._starlette(), self.settings, store, **given)
        self.engine = self.app.engine
        self.seconds = 0.0  # of the clock that is never set
        self.app._gate.watching = self.watching = Watching(self.engine, lambda: self.seconds)
        self.connections: list[Open] = []

    @property
    def on_trio(self) -> bool:
        return sniffio.current_async_library() == "trio"

    async def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, and the wheel turn."""
        self.clock.advance(seconds=seconds)
        self.seconds += seconds
        await self.watching.here().turn()

    # --- the app -----------------------------------------------------------------------------------------------------

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        """A plain ASGI app; connections are known to tests by `scope["test"]`."""
        session = plain.session_from(scope)
        path = scope["path"]
        if path == "/login":
            await session.login("alice")
            await answer(send, b"in")
        elif path == "/logout":
            await session.logout()
            await answer(send, b"out")
        elif path == "/use":
            await answer(send, session.verdict.name.encode())
        else:
            await self.hold(path, session, scope, receive, send)

    async def hold(self, path: str, session: Any, scope: Any, receive: Any, send: Any) -> None:
        here: Open = scope["test"]

        async def told() -> dict[str, Any]:
            message: dict[str, Any] = await receive()
            here.hear(message)
            return message

        if scope["type"] == "websocket":
            await told()
            await send({"type": "websocket.accept"})
            while (message := await told())["type"] == "websocket.receive":
                if message["text"] == "user":
                    await session.touch()
                elif message["text"] == "extend":
                    await session.extend(60)
                elif message["text"] == "open":
                    await session.open()
                elif message["text"] == "deaf":
                    await self.release.wait()
                    await send({"type": "websocket.send", "text": "too late"})
                await send({"type": "websocket.send", "text": f"{message['text']} {session.is_active}"})
            return
        if path == "/then-work":
            await answer_in_parts(send)
            await self.release.wait()  # a background task, which the client does not wait for
            here.hear({"type": "work done"})
            return
        kind = b"text/event-stream" if path == "/events" else b"application/x-ndjson"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": b"1\n", "more_body": True})
        if path == "/listening":
            while (await told())["type"] != "http.disconnect":
                pass
            return
        await self.release.wait()
        await send({"type": "http.response.body", "body": b"2\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"3\n", "more_body": False})

    def _starlette(self) -> Any:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import PlainTextResponse, Response, StreamingResponse
        from starlette.routing import Route, WebSocketRoute
        from starlette.websockets import WebSocket, WebSocketDisconnect

        session_from = with_starlette.session_from

        @session_optional
        async def login(request: Request) -> Response:
            await session_from(request).login("alice")
            return PlainTextResponse("in")

        async def logout(request: Request) -> Response:
            await session_from(request).logout()
            return PlainTextResponse("out")

        @session_optional
        async def use(request: Request) -> Response:
            return PlainTextResponse(session_from(request).verdict.name)

        class Parts:
            """No generator: trio complains of one that a disconnect leaves behind, which is Starlette's to close."""

            def __init__(self, release: anyio.Event) -> None:
                self.release, self.sent = release, 0

            def __aiter__(self) -> Parts:
                return self

            async def __anext__(self) -> bytes:
                self.sent += 1
                if self.sent == 2:
                    await self.release.wait()
                if self.sent == 3:
                    raise StopAsyncIteration
                return b"%d\n" % self.sent

        async def stream(request: Request) -> Response:
            kind = "text/event-stream" if request.url.path == "/events" else "application/x-ndjson"
            return StreamingResponse(Parts(self.release), media_type=kind)

        async def socket(websocket: WebSocket) -> None:
            here: Open = websocket.scope["test"]
            await websocket.accept()
            session = session_from(websocket)
            try:
                while True:
                    text = await websocket.receive_text()
                    here.hear({"type": "websocket.receive", "text": text})
                    if text == "user":
                        await session.touch()
                    elif text == "extend":
                        await session.extend(60)
                    elif text == "open":
                        await session.open()
                    elif text == "deaf":
                        await self.release.wait()
                    await websocket.send_text(f"{text} {session.is_active}")
            except WebSocketDisconnect as gone:
                here.hear({"type": "websocket.disconnect", "code": gone.code, "reason": gone.reason})

        routes = [
            Route("/login", login),
            Route("/logout", logout),
            Route("/use", use),
            WebSocketRoute("/socket", socket),
            WebSocketRoute("/exempt", socket),
        ]
        routes += [Route(path, stream) for path in ("/events", "/stream", "/listening")]
        return Starlette(routes=routes)

    # --- the server --------------------------------------------------------------------------------------------------

    def scope(
        self, path: str, cookies: str, *, kind: str = "http", headers: Iterable[Any] = (), version: str = "2.3"
    ) -> Any:
        raw = [(b"host", b"app.example"), (b"accept", b"*/*"), *headers]
        if cookies:
            raw.append((b"cookie", cookies.encode()))
        scope: dict[str, Any] = {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": version},
            "http_version": "1.1",
            "scheme": "https" if kind == "http" else "wss",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": raw,
            "client": ("203.0.113.7", 1234),
            "server": ("app.example", 443),
        }
        if kind == "http":
            scope["method"] = "GET"
        else:
            scope["subprotocols"] = []
        return scope

    async def ask(self, path: str, cookies: str = "", **scope: Any) -> Open:
        """Make a request and wait for its end."""
        connection = Open()
        connection.give({"type": "http.request", "body": b"", "more_body": False})
        whole = {**self.scope(path, cookies, **scope), "test": connection}
        try:
            await self.app(whole, connection.receive, connection.send)
        finally:
            connection.close()
        return connection

    async def login(self) -> str:
        """Sign in, and return the Cookie header."""
        answer = await self.ask("/login")
        lines = [value.decode() for name, value in answer.sent[0]["headers"] if name == b"set-cookie"]
        return "; ".join(line.partition(";")[0] for line in lines)

    @asynccontextmanager
    async def open(self, path: str, cookies: str, *, kind: str = "http", **scope: Any) -> AsyncIterator[Open]:
        """Open a connection that stays; at the end the client goes away."""
        connection = Open()
        first = {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": b""}
        connection.give(first)

        async def serve() -> None:
            how: BaseException | bool = True
            try:
                whole = {**self.scope(path, cookies, kind=kind, **scope), "test": connection}
                await self.app(whole, connection.receive, connection.send)
            except Exception as fault:
                how = fault
            connection.ended(how)

        async with anyio.create_task_group() as group:
            group.start_soon(serve)
            await connection.until(lambda: connection.sent)
            yield connection
            gone = (
                {"type": "websocket.disconnect", "code": 1001} if kind == "websocket" else {"type": "http.disconnect"}
            )
            connection.give(gone)
            self.release.set()
            with anyio.fail_after(20):
                await connection.until(lambda: connection.over)
        connection.close()


async def answer_in_parts(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"1\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"2\n"})


async def answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
