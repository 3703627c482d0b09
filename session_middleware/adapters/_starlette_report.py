"""What is reported when a Starlette or FastAPI app starts: markers that do nothing, and things in the wrong place (L21)."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Router

from session_middleware.adapters._starlette_routes import router_behind, rules_for
from session_middleware.core.exchange import rules_of
from session_middleware.engine import Engine

__all__ = ["report"]

#: How deep a decorated function is looked into for a marker that its decorators hide.
_DEPTH = 8


def report(engine: Engine, app: Any, router: Router) -> None:  # Any: an ASGI app
    """Announce `marker_unreachable` for everything in an app that its author will not have meant.

    Args:
        engine: whose event it is.
        app: what stands inside our middleware.
        router: the app's router.

    Raises:
        SettingsError: the markers of an endpoint contradict each other.
    """
    for where, problem in _problems(engine, app, router):
        engine.announce("marker_unreachable", engine.clock(), detail={"where": where, "problem": problem})


def _problems(engine: Engine, app: Any, router: Router) -> Iterator[tuple[str, str]]:
    if _stands_around_cors(app):
        yield (
            "middleware",
            "SessionLifetimeMiddleware stands outside CORSMiddleware, so our own answers lack CORS headers; "
            "add CORSMiddleware outside it (with add_middleware: after it)",
        )
    if rules_of(router) is not None:
        yield "router", "a marker on a router does nothing; mark its endpoints"
    prefix = engine.settings.endpoint_prefix
    for path, route in walk(router.routes):
        if path == prefix or path.startswith(prefix + "/"):
            yield path, f"this route is never reached: {prefix}/* answers first; change endpoint_prefix or the route"
        endpoint = getattr(route, "endpoint", None)
        if endpoint is None:
            yield from _of_container(path, route)
            continue
        for method in getattr(route, "methods", None) or (None,):
            rules_for(endpoint, method)  # raises where the markers of class and method contradict each other
        if rules_of(endpoint) is None and _hides_marker(endpoint, _DEPTH):
            yield path, "a decorator above the marker hides it; let it use functools.wraps, or put the marker on top"


def _of_container(path: str, route: Any) -> Iterator[tuple[str, str]]:
    app = getattr(route, "app", None)
    router = router_behind(app)
    if router is not None and any(rules_of(part) is not None for part in (route, app, router)):
        yield path, "a marker on a router or mounted app with routes does nothing; mark its endpoints"


def _stands_around_cors(app: Any) -> bool:
    for _ in range(64):
        if isinstance(app, CORSMiddleware):
            return True
        if app is None or isinstance(app, Router):
            return False
        app = getattr(app, "app", None) or getattr(app, "middleware_stack", None)
    return False


def walk(routes: Sequence[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every route with its whole path below the app, those of mounts, hosts and included routers too."""
    contexts = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", iter)
    for route in contexts(routes):
        path = prefix + (getattr(route, "path", None) or "")
        yield path, route
        if getattr(route, "endpoint", None) is None:
            router = router_behind(getattr(route, "app", None))
            if router is not None:
                yield from walk(router.routes, path)


def _hides_marker(endpoint: Any, depth: int) -> bool:
    """Say whether a function that a decorator closed over, or a partial calls, carries a marker."""
    if depth == 0:
        return False
    inner = [cell.cell_contents for cell in getattr(endpoint, "__closure__", None) or () if _filled(cell)]
    if isinstance(endpoint, functools.partial):
        inner.append(endpoint.func)
    return any(callable(part) and (rules_of(part) is not None or _hides_marker(part, depth - 1)) for part in inner)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that is bound later
        return False
