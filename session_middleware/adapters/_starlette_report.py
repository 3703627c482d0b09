"""What is reported when a Starlette or FastAPI app starts: markers that do nothing, and things in the wrong place (L21)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import MethodType
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Router

from session_middleware.adapters._hidden_markers import hidden_marker, identity, strict, what_may_hide
from session_middleware.adapters._starlette_routes import router_behind
from session_middleware.core.exchange import NO_RULES, RULES_ATTRIBUTE, RouteRules, rules_given_by, rules_of
from session_middleware.engine import Engine

__all__ = ["report"]

_NOT_ON_ROUTERS = "a marker on a router or on an app with routes does nothing; mark its endpoints"
_NOT_ON_ROUTES = "a marker on a route does nothing; mark its endpoint"

#: What reaches all there is; nothing in it is hidden by the endpoint that holds it.
_CONTAINERS = (Starlette, Router, BaseRoute)

#: What HTTPEndpoint and WebSocketEndpoint answer with.
_METHODS = ("dispatch", "get", "head", "post", "put", "patch", "delete", "options", "on_connect")


def report(engine: Engine, app: Any, router: Router, whole: object) -> None:  # Any: an ASGI app
    """Announce `marker_unreachable` for everything in an app that its author will not have meant.

    Args:
        engine: whose event it is.
        app: what stands inside our middleware.
        router: the app's router.
        whole: the app that our middleware was added to, if it says so.
    """
    for where, problem in _problems(engine, app, router, whole):
        engine.announce("marker_unreachable", engine.clock(), detail={"where": where, "problem": problem})


def _problems(engine: Engine, app: Any, router: Router, whole: object) -> Iterator[tuple[str, str]]:
    if _stands_around_cors(app):
        yield (
            "middleware",
            "SessionLifetimeMiddleware stands outside CORSMiddleware, so our own answers lack CORS headers; "
            "add CORSMiddleware outside it (with add_middleware: after it)",
        )
    if any(rules_of(each) is not None for each in (whole, app)):
        yield "app", _NOT_ON_ROUTERS
    if rules_of(router) is not None:
        yield "router", _NOT_ON_ROUTERS
    for included in _included(router):
        if rules_of(included) is not None:
            first = next((getattr(route, "path", "") for route in included.routes), "")
            yield f"included router of {first}", _NOT_ON_ROUTERS
    prefix = engine.settings.endpoint_prefix
    routes = list(walk(router))
    reachable = {identity(getattr(route, "endpoint", None)) for _, route in routes}
    for path, route in routes:
        if path == prefix or path.startswith(prefix + "/"):
            yield path, f"this route is never reached: {prefix}/* answers first; change endpoint_prefix or the route"
        endpoint = getattr(route, "endpoint", None)
        if endpoint is None:
            yield from _of_container(path, route)
            continue
        if rules_of(getattr(route, "original_route", route)) is not None:
            yield path, _NOT_ON_ROUTES
        if _keeps_a_session_inside(route):
            yield (
                path,
                "SessionMiddleware stands on this one route, where the end of a session comes too early to empty request.session; "
                "put it on the app or on a Mount",
            )
        for function in (endpoint, *_methods_of(endpoint)):
            if rules_of(function) is None:
                yield from _of_endpoint(path, function, reachable)
        yield from _of_dependencies(path, endpoint, route, reachable)


def _of_endpoint(path: str, endpoint: Any, reachable: set[int]) -> Iterator[tuple[str, str]]:
    found = hidden_marker(endpoint, lambda: reachable, _CONTAINERS)
    if found is None:
        return
    acts = "only what the marker forbids is applied"
    if not _put(strict(found[1]), endpoint):
        acts = "as the endpoint takes no attributes, nothing of the marker is applied; put it outermost"
    yield path, f"a decorator without functools.wraps hides the marked function; {acts}"


def _put(rules: RouteRules, endpoint: Any) -> bool:
    """Put rules on an endpoint; False: it takes no attributes."""
    try:
        # A bound method takes no attributes, and shows those of its function.
        takes = endpoint.__func__ if isinstance(endpoint, MethodType) else endpoint
        setattr(takes, RULES_ATTRIBUTE, rules)
    except (AttributeError, TypeError):  # an object with slots, say
        return False
    return True


def _of_dependencies(path: str, endpoint: Any, route: Any, reachable: set[int]) -> Iterator[tuple[str, str]]:
    """Have what markers on FastAPI's dependencies forbid apply to the endpoint that depends on them."""
    forbids = NO_RULES
    marked = given = False
    for call in _dependencies(getattr(route, "dependant", None)):
        given = given or rules_given_by(call) is not None
        # One that is an endpoint as well acts as that.
        rules = None if identity(call) in reachable else rules_of(call)
        if rules is not None:
            marked, forbids = True, forbids.merged(strict(rules))
    if given:
        yield (
            path,
            "a marker is no dependency: FastAPI asks each request for its argument and answers 422 or 500; mark the endpoint",
        )
    if marked:
        acts = "this one does nothing"
        if forbids != NO_RULES and _put(forbids.narrowed(rules_of(endpoint) or NO_RULES), endpoint):
            acts = "what this one forbids is applied on every route of this endpoint, where its own say nothing else"
        yield path, f"a marker on a dependency; {acts}: mark the endpoint"


def _dependencies(dependant: Any) -> Iterator[Any]:  # Any: FastAPI's, and what it calls
    """Yield all that FastAPI calls before an endpoint, what that depends on included; None where a route has no such thing."""
    for each in getattr(dependant, "dependencies", ()):
        yield from what_may_hide(each.call)
        yield from _dependencies(each)


def _included(router: Router, above: tuple[Router, ...] = ()) -> Iterator[Router]:
    """Yield the routers that FastAPI includes, at any depth; whoever asks for routes is shown theirs only."""
    for route in router.routes:
        included = getattr(route, "original_router", None)
        below = included or router_behind(getattr(route, "app", None))
        if isinstance(below, Router) and not any(below is each for each in (*above, router)):
            if included is not None:
                yield below
            yield from _included(below, (*above, router))


def _methods_of(endpoint: Any) -> Iterator[Any]:
    """Yield what an endpoint class answers with; of any other endpoint nothing."""
    if isinstance(endpoint, type):
        yield from (method for name in _METHODS if (method := getattr(endpoint, name, None)) is not None)


def _of_container(path: str, route: Any) -> Iterator[tuple[str, str]]:
    app = getattr(route, "app", None)
    router = router_behind(app)
    if router is not None and any(rules_of(part) is not None for part in (route, app, router)):
        yield path, _NOT_ON_ROUTERS


def _stands_around_cors(app: Any) -> bool:
    for _ in range(64):
        if isinstance(app, CORSMiddleware):
            return True
        if app is None or isinstance(app, Router):
            return False
        app = getattr(app, "app", None) or getattr(app, "middleware_stack", None)
    return False


def _keeps_a_session_inside(route: Any) -> bool:
    """Say whether a route has a SessionMiddleware to itself: Starlette's or starsessions', both of that name."""
    app = getattr(route, "app", None)
    for _ in range(64):
        if app is None or type(app).__name__ == "SessionMiddleware":
            break
        app = getattr(app, "app", None)
    return app is not None


def walk(router: Router, prefix: str = "", above: tuple[Router, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every route with its whole path below the app, those of mounts, hosts and included routers too."""
    contexts = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", iter)
    for route in contexts(router.routes):
        path = prefix + (getattr(route, "path", None) or "")
        yield path, route
        if getattr(route, "endpoint", None) is None:
            below = router_behind(getattr(route, "app", None))
            if below is not None and not any(below is each for each in (*above, router)):
                yield from walk(below, path, (*above, router))
