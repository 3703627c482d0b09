"""One request or WebSocket of an ASGI app; every ASGI adapter is built on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from session_middleware.adapters._asgi_open import OpenConnection, OpenSocket, OpenStream
from session_middleware.core.caching import finished
from session_middleware.core.exchange import Exchange, RequestFacts
from session_middleware.core.refusal import Reply
from session_middleware.errors import StoreUnavailable
from session_middleware.runtime import Interruptible

if TYPE_CHECKING:
    from session_middleware.adapters._asgi_gate import Gate
    from session_middleware.engine import Engine

__all__ = ["KEY", "NOT_OPEN", "OVER", "ASGIApp", "Connection", "Message", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]  # Any: ASGI puts anything there
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Where a scope holds its Connection.
KEY = "session_middleware.exchange"


class Connection(Exchange):
    """One request or WebSocket: an exchange that is its own facts (RequestFacts), and what its app receives and sends by.

    `send` finishes the response at its start, and is the server's own afterwards. One object for all three: each that is
    made for every request costs a twentieth of what we may add to one (measured). An `Entrance` makes them.

    Attributes:
        gate: what it passes through.
        scope: of the request; an empty one once it is over.
        full_path: as the server gave it.
        root_path: as the server gave it: where the app is mounted.
        server_receive: the server's.
        server_send: the server's, or what stands before it.
        thread: whose event loop serves it.
        started: whether the response has started.
        open: what watches it while it stays open.
    """

    # `_head` and `_wait` are set where they are needed: most requests have no use for them.
    __slots__ = (
        "_head",
        "_wait",
        "full_path",
        "gate",
        "open",
        "root_path",
        "scope",
        "server_receive",
        "server_send",
        "started",
        "thread",
    )

    gate: Gate
    scope: Scope
    full_path: str
    root_path: str
    server_receive: Receive
    server_send: Send
    thread: int
    started: bool
    open: OpenConnection | None
    _head: Message
    _wait: Interruptible

    # An `__init__` that does anything would take as long as all that it has to do (measured); see Entrance.
    if TYPE_CHECKING:

        def __init__(self) -> None: ...
    else:
        __init__ = object.__init__

    @property
    def facts(self) -> RequestFacts:  # type: ignore[override]  # nobody gives it others
        return self

    @property
    def websocket(self) -> bool:
        return bool(self.scope["type"] == "websocket")

    @property
    def method(self) -> str:
        return "GET" if self.websocket else str(self.scope["method"])

    @property
    def path(self) -> str:
        return _below(self.full_path, self.root_path)

    @property
    def cookies(self) -> str:
        shown = self.shown
        return shown if isinstance(shown, str) else shown.decode("latin-1")

    @property
    def mount(self) -> str:
        return self.root_path.rstrip("/")

    @property
    def target(self) -> str:
        path, mount = self.full_path, self.root_path
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
        send = self.server_send
        if self.started:
            if "more_body" in message and message["more_body"] and self.open is None:
                self._stays_open(OpenStream)
                send = self.server_send
            return send(message)
        if not self.quiet or not self.judged or message["type"] != "http.response.start":
            instead = self._unsettled(message)
            if instead is not None:
                return instead
        self.started = self.closed = True
        # A new message with a new list: the app may send the same ones to the next client, or give an iterator.
        headers = [*message.get("headers", ())]
        for name, _ in headers:
            if name in _CACHING:
                headers = _finished(headers, self.gate.engine, protected=self.protected)
                break
        else:
            headers += self.gate.says[self.protected]
        self._head = message = {**message, "headers": headers}
        return send(message)

    def _unsettled(self, message: Message) -> Awaitable[None] | None:
        """Send a message that no response of a recognised session begins with; None: it may begin as one of those does."""
        if message["type"] not in _STARTS:
            return self.server_send(message)
        self.started = True
        if self.closed:  # a refusal of ours, given at the endpoint: it is finished already
            return self.server_send(message)
        if self.gate.must_judge(self) or not self.gate.engine.is_settled(self):
            return self._finish(message)
        self.closed = True
        if message["type"] == "websocket.accept":
            return self._accept(message)
        if self.was_looked_at:
            return None
        self._head = message
        return self.server_send(message)

    async def __call__(self) -> Message:
        """Be the `receive` that the app is given: a message of the server's, or word that the connection is over.

        The connection itself, since a bound method for each request would cost a fiftieth of what we add to one (measured).
        """
        held = self.open
        if held is not None and held.verdict is not None:
            return held.disconnect()
        self._wait = wait = Interruptible()
        message = await wait.run(self.server_receive)
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

    def opened_late(self) -> None:
        # A stream is asked at each of its parts; and a handshake that was denied has a head.
        if self.open is None and self.websocket and getattr(self, "_head", None) is None:
            self._stays_open(OpenSocket)

    async def _accept(self, message: Message) -> None:
        """Accept a WebSocket, which belongs to its session from here on."""
        self._stays_open(OpenSocket)
        await self.server_send(message)

    def _stays_open(self, kind: type[OpenConnection]) -> None:
        if self.record is None or self.deadlines is None or not (self.is_active or self.stale):
            return
        self.open = held = kind(self, self.server_send, getattr(self, "_head", None))
        self.server_send = held.send
        held.leave = self.gate.watching.join(self, held)

    async def _finish(self, message: Message) -> None:
        gate = self.gate
        engine = gate.engine
        if gate.must_judge(self):
            # Answered without reaching a judged endpoint: the strictest rule holds, and the answer is not sent (L21).
            refusal = await engine.open(self, runs_view=False)
            if refusal is not None:
                await self.instead(engine.render(self, refusal))
                return
        if message.get("status", 0) >= 500:
            await engine.take_back(self)  # an error page is what a framework makes of a view that raised (L25)
        try:
            cookies = await engine.close(self)
        except StoreUnavailable:
            await self.instead(engine.unavailable(self))
            return
        if message["type"] == "websocket.accept":
            await self._accept(message)
            return
        headers = list(message.get("headers", ()))
        if self.was_looked_at:
            headers = _finished(headers, engine, protected=self.protected, cookies=cookies)
        self._head = message = {**message, "headers": headers}  # new ones: the app's may be sent to others as well
        await self.server_send(message)

    async def instead(self, reply: Reply) -> None:
        """Answer with a reply of ours; nothing that the app sends goes out any more."""
        send, self.server_send, self.started = self.server_send, drop, True
        await self.gate.reply(self, reply, self.scope, None, send)


#: A request that sends nothing yet, which nobody has to watch.
NOT_OPEN: OpenConnection | None = None


async def drop(message: Message) -> None:
    """Stand for the server's `send` where the app's answer must not go out."""


async def gone() -> Message:
    """Stand for the server's `receive` once the request is over."""
    return {"type": "http.disconnect"}


#: What a connection has instead of its scope, the server's `receive` and its `send` once the request is over. Otherwise these
#: and the connection would hold each other in a circle that waits for the garbage collector, which costs more than all the
#: rest (measured).
OVER: tuple[Scope, Receive, Send] = ({"type": "http", "method": "GET", "scheme": "https", "headers": ()}, gone, drop)


def _below(path: str, mount: str) -> str:
    """Return a path as it reads below a mount; some servers leave the mount out of it."""
    if mount and path.startswith(mount) and (len(path) == len(mount) or path[len(mount)] == "/"):
        path = path[len(mount) :]
    return path or "/"


_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


def _finished(
    headers: Iterable[tuple[bytes, bytes]], engine: Engine, *, protected: bool, cookies: Sequence[str] = ()
) -> list[tuple[bytes, bytes]]:
    """Return the app's headers with what L18 asks for."""
    text = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    done = finished(text, vary=engine.vary_on, protected=protected, cookies=cookies)
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in done]


#: As ASGI wants names, and as Django's handler sends them; no `lower()` for each header of each response.
_CACHING = frozenset({b"vary", b"Vary", b"cache-control", b"Cache-Control"})
