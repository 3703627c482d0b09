"""Plain ASGI: wrap any ASGI callable.

application = SessionLifetimeMiddleware(application, settings=Settings(secret_keys=[...]))

async def application(scope, receive, send):
    session = session_from(scope)

A plain function that the app runs in a thread takes `sync_session_from(scope)`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from session_middleware.adapters._asgi_connection import KEY, ASGIApp, Connection, Receive, Scope, Send
from session_middleware.adapters._asgi_entrance import Entrance
from session_middleware.adapters._asgi_gate import Gate
from session_middleware.adapters._asgi_thread import refuse_in_thread, session_in_thread
from session_middleware.adapters.attach import attach
from session_middleware.authorities.base import Authority
from session_middleware.core.exchange import NO_RULES, RouteRules, rules_of
from session_middleware.core.origin import return_path
from session_middleware.engine import Engine
from session_middleware.errors import SessionNotAttached
from session_middleware.events import Hook
from session_middleware.runtime import LoopRuntime, run_on, this_loop
from session_middleware.session import AsyncSession, Session, async_session_of
from session_middleware.sessions import AsyncSessions
from session_middleware.settings import Settings

__all__ = [
    "SessionLifetimeMiddleware",
    "attached",
    "not_attached",
    "safe_return_to",
    "session_from",
    "sync_session_from",
]

#: Where a scope holds the event loop that serves it.
LOOP = "session_middleware.loop"


class SessionLifetimeMiddleware(Entrance):
    """Wraps an ASGI app.

    Args:
        app: the app. Markers (`session_optional` ...) on it apply to all of it; `exempt_paths` opens parts of it.
        settings: with `secret_keys`.
        store: a store, or its URL; by default SESSION_STORE_URL, else the file `sessions.db` here.
        authority: who vouches for a session; the app itself by default.
        clock: a callable returning seconds since the epoch.
        on_event: a callable, or several, that get each `SessionEvent`.
        endpoint_of: for an app with routes of its own: returns the marked endpoint that will serve this scope, or
            None; without markers on it, the app's own apply.

    Raises:
        SettingsError: something given makes no sense.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        store: Any = None,  # Store | AsyncStore | str | None
        *,
        authority: Authority | None = None,
        clock: Callable[[], float] | None = None,
        on_event: Hook | Iterable[Hook] = (),
        endpoint_of: Callable[[Scope], object] | None = None,
    ) -> None:
        self.app = app
        self.engine = attach(
            settings, store, runtime=LoopRuntime(), authority=authority, clock=clock, on_event=on_event
        )
        self.sessions = AsyncSessions(self.engine)
        self._gate = Gate(self.engine, self._judged)
        self._rules: RouteRules | None = rules_of(app)
        self._endpoint_of = endpoint_of

    async def _begins_here(self, scope: Scope, receive: Receive, send: Send) -> bool:
        if scope["type"] in ("http", "websocket"):
            return True
        await self.app(scope, receive, send)
        return False

    def _judged(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope[LOOP] = this_loop()  # a plain function in a thread cannot find it
        rules = self._rules if self._endpoint_of is None else rules_of(self._endpoint_of(scope)) or self._rules
        x: Connection = scope[KEY]
        if scope["type"] == "http" and scope["method"] != "OPTIONS" and self.engine.open_quietly(x, rules or NO_RULES):
            return self.app(scope, receive, send)
        return self._asked(x, rules or NO_RULES, scope, receive, send)

    async def _asked(self, x: Connection, rules: RouteRules, scope: Scope, receive: Receive, send: Send) -> None:
        if await self._gate.admit(x, rules, scope, receive, send):
            await self.app(scope, receive, send)


def not_attached() -> SessionNotAttached:
    """Return the error of a connection that the middleware has not seen."""
    return SessionNotAttached(
        "This request did not pass through SessionLifetimeMiddleware, or has not yet. Wrap the app with it; code in another "
        "middleware must stand inside it: after it in `middleware=`, and with `add_middleware` or `@app.middleware` be added "
        "before it."
    )


def attached(scope: Scope) -> tuple[Engine, Connection]:
    """Return engine and exchange of a connection.

    Raises:
        SessionNotAttached: it did not pass through the middleware.
    """
    x: Connection | None = scope.get(KEY)
    if x is None:
        raise not_attached() from None  # whoever asks may have looked in vain already
    return x.gate.engine, x


def session_from(scope: Scope) -> AsyncSession:
    """Return the session of an ASGI connection, in asynchronous code.

    Raises:
        SessionNotAttached: it did not pass through the middleware, or this is a plain function in a thread.
    """
    engine, x = attached(scope)
    refuse_in_thread(x)
    return async_session_of(engine, x)


def sync_session_from(scope: Scope) -> Session:
    """Return the session of an ASGI connection in a plain function that the app runs in a thread.

    Its verbs run on the loop that serves the connection, while the thread waits.

    Raises:
        SessionNotAttached: it did not pass through this middleware, or this is the event loop.
    """
    engine, x = attached(scope)
    loop = scope.get(LOOP)
    if loop is None:
        raise SessionNotAttached(
            "This request passed through another middleware of ours. Use the sync_session_from() of the module that "
            "your SessionLifetimeMiddleware comes from."
        )
    return session_in_thread(engine, x, partial(run_on, loop))


def safe_return_to(scope: Scope, default: str = "/") -> str:
    """Return where to go after login: the return parameter if it is a path on this host, else `default` (L15)."""
    engine, _ = attached(scope)
    query = scope.get("query_string", b"").decode("latin-1")
    return return_path(query, engine.return_param, default)
