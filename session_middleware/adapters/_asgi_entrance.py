"""Where a connection comes in: what every ASGI middleware of ours is, whatever the app inside is built with."""

from __future__ import annotations

from session_middleware.adapters._asgi_connection import KEY, NOT_OPEN, OVER, Receive, Scope, Send
from session_middleware.adapters._asgi_gate import Gate
from session_middleware.core.exchange import ANONYMOUS, NO_RULES
from session_middleware.runtime import this_thread

__all__ = ["Entrance"]


class Entrance:
    """An ASGI middleware."""

    _gate: Gate
    _looked = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection.

        What counts here is how many instructions the interpreter has to read, and how often C calls Python: under a server,
        whose own work displaces ours from the processor's caches and its memory of branches, each takes three times as long
        as in a loop of nothing else (measured). So what is seldom asked for is worked out when it is, nothing here has an
        `__init__`, and this is one function.
        """
        if (scope["type"] != "http" or KEY in scope or not self._looked) and not await self._begins_here(
            scope, receive, send
        ):
            return
        # What is called stands in a local variable first: the interpreter finds methods of a class faster than callables
        # that an object holds (measured).
        gate = self._gate
        kind, clock = gate.kind, gate.clock
        scope[KEY] = x = kind()
        x.gate = gate
        x.scope = scope
        # Read now: a router inside writes the root_path of its mounts into this same dict, and "below the mount" means
        # below ours (L21).
        x.full_path = path = scope["path"]
        x.root_path = scope.get("root_path", "")
        cookie = b""
        for name, value in scope["headers"]:  # a dict of them has to hash each name, which the server has just made
            if name == b"cookie":
                cookie = cookie + b"; " + value if cookie else value  # HTTP/2 may split them (RFC 9113 §8.2.3)
        x.shown = cookie
        x.thread = this_thread()
        x.now = clock()
        x.server_receive = receive
        x.server_send = send
        x.verdict = ANONYMOUS
        x.rules = NO_RULES
        x.authenticated = x.judged = x.started = False
        x.open = NOT_OPEN
        if gate.names_user and "user" not in scope and "auth" not in scope:
            scope["user"] = scope["auth"] = x
        try:
            if gate.prefix in path and gate.endpoints.owns(x.path) and scope["type"] == "http":
                await gate.answer(x, scope, receive, send)
            else:
                inner = gate.inner
                await inner(scope, x, x.send)
        except BaseException as fault:
            if not await gate.recover(x, fault):
                raise
        finally:
            if x.open is not None:
                await x.open.finish()
            x.scope, x.server_receive, x.server_send = OVER

    async def _begins_here(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Say whether this is a connection that begins here; anything else has been seen to."""
        raise NotImplementedError
