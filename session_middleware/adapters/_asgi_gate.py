"""What stands between a server and an ASGI app: judges, lets through, answers at our own endpoints, finishes responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import FunctionType

from session_middleware.adapters._asgi_connection import ASGIApp, Connection, Receive, Scope, Send
from session_middleware.adapters._asgi_open import CLOSE_CODE
from session_middleware.core.caching import PRIVATE, finished
from session_middleware.core.exchange import Exchange, RouteRules
from session_middleware.core.refusal import Refusal, Reply
from session_middleware.endpoints import Endpoints
from session_middleware.engine import Engine
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.event_stream import EventStream, Feed
from session_middleware.runtime import Interruptible
from session_middleware.watch import Watching

__all__ = ["Gate"]

#: How many endpoints are remembered; an app that makes functions as it runs must not fill the memory.
_WAYS = 10_000

#: What begins a session. Of an endpoint that names one of them it need not be learnt that it does.
_BEGINS = frozenset({"login", "step_up"})

_CACHE_PRIVATE = (b"cache-control", PRIVATE.encode())


class Gate:
    """One app's.

    `SessionLifetimeMiddleware` judges every request to one app by one set of rules; adapters of frameworks with routes
    judge at the endpoint, by calling `admit` there.
    """

    def __init__(
        self,
        engine: Engine,
        inner: ASGIApp,
        *,
        kind: type[Connection] = Connection,
        judges_at_endpoint: bool = False,
        names_user: bool = False,
    ) -> None:
        self.engine = engine
        self.inner = inner  # what is behind it
        self.kind = kind  # what its connections are
        self.endpoints = Endpoints(engine)
        self.watching = Watching(engine)
        self.counts_messages = engine.settings.socket_activity == "message"
        self.judges_at_endpoint = judges_at_endpoint
        self.names_user = names_user  # in scope["user"] and scope["auth"], where Starlette looks
        self.prefix = self.endpoints.prefix
        self.clock = engine.clock
        self.recognises = engine.recogniser.quiet
        #: For each function that serves as an endpoint: its rules, and whether a session is required there. Only functions
        #: at which recognising a session is all there is to judge; filled as they are first asked for.
        self.ways: dict[FunctionType, tuple[RouteRules, bool]] = {}
        #: Functions that have begun a session. They stay out of `ways`: where one raises must be seen (L25), and the short
        #: way does not look.
        self.begins: set[FunctionType] = set()
        vary = (b"vary", engine.vary_on.encode())
        #: What a response says where a session was looked at: of any route, and of one that requires a session (L18).
        self.says = ((vary,), (vary, _CACHE_PRIVATE))

    def remember_way(self, endpoint: object, rules: RouteRules) -> None:
        """Remember the rules of a function that serves as an endpoint, if recognising a session is all there is to judge."""
        if type(endpoint) is not FunctionType or len(self.ways) >= _WAYS:
            return
        if endpoint not in self.begins and _BEGINS.isdisjoint(endpoint.__code__.co_names):
            protects = self.engine.protects_quietly(rules)
            if protects is not None:
                self.ways[endpoint] = rules, protects

    def judge_at_length(self, endpoint: object) -> None:
        """Have the long way taken from now on to a function that has begun a session."""
        if type(endpoint) is FunctionType and len(self.begins) < _WAYS:
            self.begins.add(endpoint)
            self.ways.pop(endpoint, None)

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
        held = connection.open
        if held is not None and held.absorbs(fault):
            return True
        if isinstance(fault, SessionError) and not connection.started:
            reply = await self.engine.answer(connection, fault)
            if reply is not None:
                await connection.instead(reply)
                return True
        if connection.created is not None and not connection.closed:
            await self.engine.abandon(connection)  # what it began does not stand (L25)
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
