"""FastAPI: the session as a dependency, typed, and shown in the app's OpenAPI document.

app = FastAPI()
app.add_middleware(SessionLifetimeMiddleware, settings=Settings(secret_keys=[...]))

@app.get("/profile")
async def profile(session: CurrentSession) -> dict[str, str | None]:
    return {"user": session.subject}

Who may come in is said by the markers (`session_optional` ...), below the route decorator; the middleware is Starlette's.
"""

from __future__ import annotations

import functools
import inspect
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends
from fastapi.openapi.models import APIKey, APIKeyIn
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection

from session_middleware.adapters.asgi import attached
from session_middleware.adapters.starlette import (
    SessionLifetimeMiddleware,
    safe_return_to,
    session_from,
    sync_session_from,
)
from session_middleware.errors import SessionNotAttached
from session_middleware.session import AsyncSession, Session
from session_middleware.settings import Settings

__all__ = [
    "CurrentSession",
    "CurrentSyncSession",
    "SessionCookie",
    "SessionLifetimeMiddleware",
    "SyncSessionCookie",
    "safe_return_to",
    "session_from",
    "sync_session_from",
]

S = TypeVar("S", AsyncSession, Session)

_COOKIE = "Set by the sign-in; the browser sends it."


class _Cookie(SecurityBase, Generic[S]):
    """A dependency that gives the session, and a security scheme (a cookie) in OpenAPI."""

    def __init__(self, settings: Settings | None = None) -> None:
        name = "__Host-session" if settings is None else settings.token_cookie
        self.model = APIKey.model_validate({"in": APIKeyIn.cookie, "name": name, "description": _COOKIE})
        self.scheme_name = "session"

    def _refuse(self, connection: HTTPConnection, *, blocking: bool, say: str) -> None:
        """Refuse to be given to a function of the other kind: its calls would block the loop, or never be awaited."""
        for call in _takers(getattr(connection.scope.get("route"), "dependant", None), self):
            if _runs_on_loop(call) == blocking:
                name = getattr(call, "__qualname__", repr(call))
                raise SessionNotAttached(f"{name} is {'' if blocking else 'not '}`async def`; let it take {say}.")


class SessionCookie(_Cookie[AsyncSession]):
    """Gives the `AsyncSession` of a request or WebSocket to `async def` functions; `CurrentSession` is short for it.

    Args:
        settings: names the cookie in OpenAPI, where it is not the default one:
            `MySession = Annotated[AsyncSession, Depends(SessionCookie(settings))]`.

    Raises:
        SessionNotAttached: when called, if a `def` function takes it, or the middleware is missing.
    """

    async def __call__(self, connection: HTTPConnection) -> AsyncSession:
        self._refuse(connection, blocking=False, say="CurrentSyncSession")
        return session_from(connection)


class SyncSessionCookie(_Cookie[Session]):
    """Gives the `Session` of a request to `def` functions; `CurrentSyncSession` is short for it.

    Args:
        settings: as for `SessionCookie`.

    Raises:
        SessionNotAttached: when called, if an `async def` function takes it, or the middleware is missing.
    """

    def __call__(self, connection: HTTPConnection) -> Session:
        attached(connection.scope)
        self._refuse(connection, blocking=True, say="CurrentSession")
        return sync_session_from(connection)


def _takers(dependant: Any, dependency: object) -> list[Any]:  # Any: FastAPI's tree of a route's dependencies
    if dependant is None:
        return []
    found = [dependant.call] if any(below.call is dependency for below in dependant.dependencies) else []
    for below in dependant.dependencies:
        found += _takers(below, dependency)
    return found


def _runs_on_loop(call: Any) -> bool:  # Any: whatever FastAPI calls: a function, a partial, a class, an instance
    while isinstance(call, functools.partial):
        call = call.func
    if not inspect.isroutine(call) and not inspect.isclass(call):
        call = type(call).__call__
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


#: The session of a request, in `async def` endpoints and dependencies.
CurrentSession = Annotated[AsyncSession, Depends(SessionCookie())]

#: The session of a request, in `def` endpoints and dependencies, which FastAPI runs in threads.
CurrentSyncSession = Annotated[Session, Depends(SyncSessionCookie())]
