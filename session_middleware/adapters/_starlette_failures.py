"""What a view of Starlette or FastAPI began before it raised does not stand, whoever answers the exception (L25).

An exception for which the app has a handler is answered inside the route's own `handle`, where nobody outside hears of it.
So a `_Handler` is put before each handler, in the tables that Starlette's ExceptionMiddleware gives its routes by the scope.
What has no handler leaves `handle`, where the gate sees it. It may still be answered then, by a middleware inside ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from session_middleware.adapters._asgi_connection import KEY, Connection, Scope

__all__ = ["note_failures", "take_back"]

#: Where ExceptionMiddleware puts its handlers: a table by exception class and one by status.
_TABLES = "starlette.exception_handlers"


def note_failures(scope: Scope) -> None:
    """Put a `_Handler` before each handler of the app that a request has reached, where there is none yet."""
    for table in scope.get(_TABLES, ()):
        for what, handler in list(table.items()):
            if type(handler) is not _Handler:
                table[what] = _Handler(handler)


async def take_back(x: Connection | None, scope: Scope, fault: Exception) -> None:
    """End the session that a view began which then raised; an exception that is an answer, a redirect say, is no failure.

    Args:
        x: of this request.
        scope: the one that the view was given.
        fault: what it raised.
    """
    if x is None or x.created is None:
        return
    x.gate.judge_at_length(scope.get("endpoint"))
    if not (isinstance(fault, HTTPException) and fault.status_code < 400):
        await x.gate.engine.take_back(x)


class _Handler:
    """An app's exception handler, and what we do before it is called."""

    __slots__ = ("_handler", "_is_async")

    def __init__(self, handler: Callable[[Any, Any], Any]) -> None:  # Any: as Starlette's ExceptionHandler has them
        self._handler = handler
        self._is_async = _is_async(handler)

    async def __call__(self, connection: Any, fault: Exception) -> Any:  # Any: Request | WebSocket, Response | None
        await take_back(connection.scope.get(KEY), connection.scope, fault)
        if self._is_async:
            return await self._handler(connection, fault)
        return await run_in_threadpool(self._handler, connection, fault)


def _is_async(handler: Any) -> bool:  # Any: a function, a partial, an object
    """Say whether Starlette would await a handler and not call it in a thread."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return iscoroutinefunction(handler) or iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004
