"""One connection of an ASGI app, and the gate between the server and the app; every ASGI adapter is built on these two."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote

from session_middleware.adapters._asgi_open import CLOSE_CODE, OpenConnection, OpenSocket, OpenStream
from session_middleware.core.caching import PRIVATE, finished
from session_middleware.core.exchange import Exchange, RouteRules
from session_middleware.core.refusal import Refusal, Reply
from session_middleware.endpoints import Endpoints
from session_middleware.engine import Engine
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.event_stream import EventStream, Feed
from session_middleware.runtime import Interruptible, this_thread
from session_middleware.watch import Watching

__all__ = ["KEY", "ASGIApp", "Connection", "Gate", "Message", "Receive", "Scope", "Send", "drop", "gone"]

Scope = MutableMapping[str, Any]  # Any: ASGI puts anything there
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Where a scope holds its exchange, whose facts are the Connection.
KEY = "session_middleware.exchange"

_CACHE_PRIVATE = (b"cache-control", PRIVATE.encode())


class Connection:
    """One request or WebSocket: its facts (RequestFacts), its exchange, and the `send` that its app is given.

    `send` finishes the response at its start, and is the server's own afterwards. One object for all three: each that is
    made for every request costs a twentieth of what we may add to one (measured).

    Attributes:
        thread: whose event loop serves it.
    """

    # `_head` and `_wait` are set where they are needed: most requests have no use for them.
    __slots__ = (
        "_full_path",
        "_head",
        "_receive",
        "_root_path",
        "_send",
        "_wait",
        "cookies",
        "gate",
        "method",
        "open",
        "path",
        "scope",
        "started",
        "thread",
        "websocket",
        "x",
    )

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self.gate = gate
        self.scope = scope
        # Both are read now: a router inside writes the root_path of its mounts into this same dict, and "below the
        # mount" means below ours (L21).
        path: str = scope["path"]
        root_path: str = scope.get("root_path", "")
        self._full_path = path
        self._root_path = root_path
        self.path = _below(path, root_path) if root_path or not path else path
        self.websocket: bool = scope["type"] == "websocket"
        self.method: str = "GET" if self.websocket else scope["method"]
        cookie: bytes | None = None
        for name, value in scope["headers"]:  # a loop takes half as long as making a dict of them (measured)
            if name == b"cookie":
                cookie = value if cookie is None else cookie + b"; " + value  # HTTP/2 may split them (RFC 9113 §8.2.3)
        self.cookies = "" if cookie is None else cookie.decode("latin-1")
        self.thread: int = this_thread()
        self._receive = receive
        self._send = send
        self.started = False
        self.open: OpenConnection | None = None
        self.x = Exchange(self, gate.engine.clock())  # what engine.begin does, without the call

    @property
    def mount(self) -> str:
        return self._root_path.rstrip("/")

    @property
    def target(self) -> str:
        path, mount = self._full_path, self._root_path
        if mount and not (path == mount or path.startswith(mount + "/")):
            path = mount + path  # servers from before root_path was part of path
        query = self.scope.get("query_string", b"").decode("latin-1")
        encoded = quote(path.encode("utf-8", "surrogatepass"), safe="/:;,@&=+$!*'()~") or "/"
        return f"{encoded}?{query}" if query else encoded

    @property
    def scheme(self) -> str:
        return str(self.scope.get("scheme", "http"))

    @property
    def host(self) -> str:
        return self.header("host") or ""

    @property
    def client(self) -> str | None:
        client = self.scope.get("client")
        return str(client[0]) if client else None

    def header(self, name: str) -> str | None:
        wanted = name.encode("latin-1")
        for key, value in self.scope["headers"]:
            if key == wanted:
                text: str = value.decode("latin-1")
                return text
        return None

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the app's to the server."""
        # A plain function: a coroutine for each message would cost more than what is done here (measured).
        if self.started or message["type"] not in _STARTS:
            if message.get("more_body") and self.open is None:
                self._stays_open(OpenStream)
            return self._send(message)
        self.started = True
        x = self.x
        if not x.quiet:
            if x.closed:  # a refusal of ours, given at the endpoint: it is finished already
                return self._send(message)
            if self.gate.must_judge(x) or not self.gate.engine.is_settled(x):
                return self._finish(message)
        x.closed = True
        if self.websocket and message["type"] == "websocket.accept":
            return self._accept(message)
        self._head = message
        if x.authenticated:
            headers = message.get("headers", ())
            for name, _ in headers:
                if name in _CACHING:  # names are in lower case (ASGI, HTTP connection scope)
                    message["headers"] = _finished(headers, self.gate.engine, protected=x.protected)
                    break
            else:  # not appended to: the list is the app's own
                vary = self.gate.vary
                message["headers"] = [*headers, vary, _CACHE_PRIVATE] if x.protected else [*headers, vary]
        return self._send(message)

    async def receive(self) -> Message:
        """Give the app a message of the server's, or tell it that the connection is over."""
        held = self.open
        if held is not None and held.verdict is not None:
            return held.disconnect()
        self._wait = wait = Interruptible()
        message = await wait.run(self._receive)
        if message is None:
            assert self.open is not None
            return self.open.disconnect()
        if message["type"] == "websocket.receive" and self.gate.counts_messages and self.open is not None:
            await self.open.sign_of_life()
            if self.open.verdict is not None:
                return self.open.disconnect()
        return message

    def interrupt(self) -> None:
        """End the app's wait for a message, if it waits for one."""
        wait: Interruptible | None = getattr(self, "_wait", None)
        if wait is not None:
            wait.interrupt()

    async def _accept(self, message: Message) -> None:
        """Accept a WebSocket, which belongs to its session from here on."""
        self._stays_open(OpenSocket)
        await self._send(message)

    def _stays_open(self, kind: type[OpenConnection]) -> None:
        x = self.x
        if x.record is None or x.deadlines is None or not (x.is_active or x.stale):
            return
        self.open = held = kind(self, self._send, getattr(self, "_head", None))
        self._send = held.send
        held.leave = self.gate.watching.join(x, held)

    async def _finish(self, message: Message) -> None:
        gate, x = self.gate, self.x
        engine = gate.engine
        if gate.must_judge(x):
            # Answered without reaching a judged endpoint: the strictest rule holds, and the answer is not sent (L21).
            refusal = await engine.open(x, runs_view=False)
            if refusal is not None:
                await self.instead(engine.render(x, refusal))
                return
        try:
            cookies = await engine.close(x)
        except StoreUnavailable:
            await self.instead(engine.unavailable(x))
            return
        if self.websocket and message["type"] == "websocket.accept":
            await self._accept(message)
            return
        self._head = message
        headers = message.get("headers", ())
        if x.authenticated:
            headers = _finished(headers, engine, protected=x.protected, cookies=cookies)
        message["headers"] = headers
        await self._send(message)

    async def instead(self, reply: Reply) -> None:
        """Answer with a reply of ours; nothing that the app sends goes out any more."""
        send, self._send, self.started = self._send, drop, True
        await self.gate.reply(self.x, reply, self.scope, None, send)


def _below(path: str, mount: str) -> str:
    """Return a path as it reads below a mount; some servers leave the mount out of it."""
    if mount and path.startswith(mount) and (len(path) == len(mount) or path[len(mount)] == "/"):
        path = path[len(mount) :]
    return path or "/"


async def drop(message: Message) -> None:
    """Stand for the server's `send` where the app's answer must not go out."""


async def gone() -> Message:
    """Stand for the server's `receive` once the request is over."""
    return {"type": "http.disconnect"}


class Over:
    """The facts of every request that is over: none.

    An exchange is given these at the end. Otherwise scope, exchange and connection would hold each other in a circle
    that waits for the garbage collector, which costs more than all the rest (measured).
    """

    method, path, mount, target, scheme, host = "GET", "/", "", "/", "https", ""
    websocket, cookies, client = False, "", None

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    @property
    def thread(self) -> int:
        return this_thread()

    def header(self, name: str) -> str | None:
        return None


class Gate:
    """What stands between a server and an app: judges, lets through, and finishes the response.

    `SessionLifetimeMiddleware` judges every request to one app by one set of rules; adapters of frameworks with routes
    judge at the endpoint, by calling `admit` there.
    """

    def __init__(self, engine: Engine, *, judges_at_endpoint: bool = False) -> None:
        self.engine = engine
        self.endpoints = Endpoints(engine)
        self.watching = Watching(engine)
        self.counts_messages = engine.settings.socket_activity == "message"
        self.judges_at_endpoint = judges_at_endpoint
        self.over = Over(self)
        self.prefix = self.endpoints.prefix
        self.vary = (b"vary", engine.vary_on.encode())

    def must_judge(self, x: Exchange) -> bool:
        """Say whether a response is about to go out that no judged endpoint gave."""
        return self.judges_at_endpoint and not x.judged

    async def admit(
        self, x: Exchange, rules: RouteRules, scope: Scope, receive: Receive, send: Send, *, runs_view: bool = True
    ) -> bool:
        """Judge a request to an endpoint with these rules; False: it has been answered with a refusal."""
        refusal = await self.engine.open(x, rules, runs_view=runs_view)
        if refusal is not None:
            await self.refuse(x, refusal, scope, receive, send)
        return refusal is None

    async def recover(self, connection: Connection, fault: BaseException) -> bool:
        """Clear up after an app that raised; True: it has been answered, and the fault is dealt with (L17, L20)."""
        x, held = connection.x, connection.open
        if held is not None and held.absorbs(fault):
            return True
        if isinstance(fault, SessionError) and not connection.started:
            reply = await self.engine.answer(x, fault)
            if reply is not None:
                await connection.instead(reply)
                return True
        if x.created is not None and not x.closed:
            await self.engine.abandon(x)  # what it began does not stand (L25)
        return False

    async def refuse(self, x: Exchange, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a refusal."""
        await self.reply(x, self.engine.render(x, refusal), scope, receive, send)

    async def reply(self, x: Exchange, reply: Reply, scope: Scope, receive: Receive | None, send: Send) -> None:
        """Answer with a whole reply of ours; a WebSocket is refused before accept (L15).

        Args:
            x: the exchange; it is closed.
            reply: what to answer.
            scope: the connection.
            receive: for a WebSocket, what will give its connect message; None where the app has read that already.
            send: where to.
        """
        engine = self.engine
        try:
            cookies = await engine.close(x)
        except StoreUnavailable:
            cookies, reply = [], engine.unavailable(x)
        headers = finished(reply.headers, vary=engine.vary(x), protected=False, cookies=cookies)
        prefix = "http"
        if scope["type"] == "websocket":
            if receive is not None:
                await receive()  # websocket.connect
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": CLOSE_CODE, "reason": ""})
                return
            prefix = "websocket.http"
        if reply.status not in (204, 304):
            headers.append(("Content-Length", str(len(reply.body))))
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": f"{prefix}.response.start", "status": reply.status, "headers": raw})
        body = b"" if scope.get("method") == "HEAD" else reply.body
        await send({"type": f"{prefix}.response.body", "body": body})

    async def answer(self, x: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to one of our own endpoints."""
        reply = await self.endpoints.answer(x, _body_reader(receive))
        if isinstance(reply, EventStream):
            await self._stream(x, reply, receive, send)
        else:
            await self.reply(x, reply, scope, receive, send)

    async def _stream(self, x: Exchange, reply: EventStream, receive: Receive, send: Send) -> None:
        """Send events until the client goes away or the session ends."""
        cookies = await self.engine.close(x)  # of ours none (L9), but a provider's may be due
        headers = finished(reply.headers, vary=self.engine.vary(x), protected=False, cookies=cookies)
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        wait = Interruptible()
        feed = Feed(lambda: reply.event(x), lambda: wait.interrupt())
        leave = self.watching.join(x, feed, beats=True)
        try:
            await send({"type": "http.response.start", "status": reply.status, "headers": raw})
            await send({"type": "http.response.body", "body": reply.body, "more_body": True})
            while True:
                text = feed.take()
                if feed.is_over:
                    await send({"type": "http.response.body", "body": text, "more_body": False})
                    return
                if text:
                    await send({"type": "http.response.body", "body": text, "more_body": True})
                    continue
                message = await wait.run(receive)
                if message is not None and message["type"] == "http.disconnect":
                    return
        finally:
            leave()


_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


def _finished(
    headers: Iterable[tuple[bytes, bytes]], engine: Engine, *, protected: bool, cookies: Sequence[str] = ()
) -> list[tuple[bytes, bytes]]:
    """Return the app's headers with what L18 asks for."""
    text = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    done = finished(text, vary=engine.vary_on, protected=protected, cookies=cookies)
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in done]


_CACHING = frozenset({b"vary", b"cache-control"})


def _body_reader(receive: Receive) -> Callable[[int], Awaitable[bytes]]:
    async def read_body(limit: int) -> bytes:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ValueError("the client went away")
            part: bytes = message.get("body", b"")
            body += part
            if len(body) > limit:
                raise ValueError("the body is too long")
            if not message.get("more_body", False):
                return body

    return read_body
