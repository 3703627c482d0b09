"""Starlette's and FastAPI's routes: the gate stands before `handle`, so that the endpoint judged is the endpoint run.

Every router ends its search with `await route.handle(scope, receive, send)`, and that route's endpoint is what runs
then. `place_gates` puts our question in front of `handle`, once a process, on the route classes. It asks only where the
scope carries an exchange of ours; the same routes in an app without the middleware notice nothing.

Weighed against it: finding the endpoint before the router does costs a second walk of the routes (147 us at 200 routes)
and may find another one. Wrapping `app` on each route object holds until the next change only: FastAPI's
`include_router` makes new objects from the endpoints whenever a router changes, and a route added between two looks
would run before it is judged.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from types import FunctionType
from typing import Any

from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from session_middleware.adapters._asgi_connection import KEY, ASGIApp, Receive, Scope, Send
from session_middleware.adapters._asgi_gate import Gate
from session_middleware.adapters._starlette_failures import note_failures, take_back
from session_middleware.core.exchange import NO_RULES, RULES_ATTRIBUTE, Exchange, RouteRules, rules_of

__all__ = ["gate_default", "place_gates", "router_behind", "rules_at", "rules_for"]

Handle = Callable[[Any, Scope, Receive, Send], Awaitable[None]]  # Any: the route

#: Says of a route that it only leads to further routes; looked at once.
_LEADS_ON = "__session_leads_on__"

#: Says that a `handle` is gated.
_GATED = "__session_gate__"

#: What an answer gets that is nobody's, 404 or 405: the strictest rule (L21).
NOBODY = RouteRules()

#: What a framework's own file server gets (L21).
STATIC = RouteRules(policy="exempt")

#: How many middlewares around a mounted app are looked through; more than anybody stacks, and an end to any circle.
_LAYERS = 64


def place_gates() -> None:
    """Put the gate before `handle` of every route class there is or will be."""
    waiting: list[type[BaseRoute]] = [BaseRoute]
    while waiting:
        kind = waiting.pop()
        _gate(kind)
        waiting.extend(kind.__subclasses__())
    if not hasattr(BaseRoute.__init_subclass__, _GATED):
        standing = BaseRoute.__init_subclass__

        def gate_new(cls: type[Any], /, **options: Any) -> None:  # Any: a route class, and what its statement is given
            standing(**options)
            _gate(cls)

        setattr(gate_new, _GATED, True)
        setattr(BaseRoute, "__init_subclass__", classmethod(gate_new))  # noqa: B010 # mypy: not assignable


def _gate(kind: type[BaseRoute]) -> None:
    handle: Handle | None = kind.__dict__.get("handle")
    if handle is None or hasattr(handle, _GATED):
        return
    gated = _gate_of(kind)(handle)
    functools.update_wrapper(gated, handle)
    setattr(gated, _GATED, True)
    setattr(kind, "handle", gated)  # noqa: B010 # mypy: methods are not assignable


def _gate_of(kind: type[BaseRoute]) -> Callable[[Handle], Handle]:
    if issubclass(kind, Route):
        return _gated_endpoint
    return _gated_socket if issubclass(kind, WebSocketRoute) else _gated_container


def _gated_endpoint(handle: Handle) -> Handle:
    # Plain functions, here and below: a coroutine more for each request would cost more than what they do.
    def gated(route: Any, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        try:
            x = scope[KEY]
        except KeyError:
            return handle(route, scope, receive, send)
        gate = x.gate
        try:
            rules, protects = gate.ways[route.endpoint]
        except (KeyError, TypeError):  # not asked for yet, or no function
            return _judged(handle, route, x, scope, receive, send)
        if x.judged:
            if x.rules is rules:  # FastAPI's `handle` calls Starlette's
                return handle(route, scope, receive, send)
        # Only what people read: what is posted may begin a session, and where that raises must be seen (L25).
        elif scope["method"] == "GET" and not x.authenticated and "GET" in route.methods:
            recognises = gate.recognises
            if recognises(x):
                x.rules, x.protected, x.judged = rules, protects, True  # what the engine's `open_quietly` does
                return handle(route, scope, receive, send)
        return _judged(handle, route, x, scope, receive, send)

    return gated


def _gated_socket(handle: Handle) -> Handle:
    def gated(route: Any, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        x = scope.get(KEY)
        if x is None:
            return handle(route, scope, receive, send)
        return _judged(handle, route, x, scope, receive, send)

    return gated


def _gated_container(handle: Handle) -> Handle:
    def gated(route: Any, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        x = scope.get(KEY)
        # Not `in route.__dict__`: to ask for that makes the interpreter slow on every route of this class (measured).
        if x is None or getattr(route, _LEADS_ON, False):
            return handle(route, scope, receive, send)
        return _judged(handle, route, x, scope, receive, send)

    return gated


async def _judged(handle: Handle, route: Any, x: Any, scope: Scope, receive: Receive, send: Send) -> None:
    gate: Gate = x.gate
    rules = rules_at(route, scope) if gate.judges_at_endpoint else None
    endpoint = getattr(route, "endpoint", None)
    if rules is not None and rules is getattr(endpoint, RULES_ATTRIBUTE, NO_RULES):
        gate.remember_way(endpoint, rules)
    if rules is not None and not await _may_pass(gate, x, rules, scope, receive, send):
        return
    if rules is not None and x.emptied is not None:
        send = x.noting(send)
    note_failures(scope)
    try:
        await handle(route, scope, receive, send)
    except Exception as fault:
        await take_back(x, scope, fault)
        raise


async def _may_pass(gate: Gate, x: Exchange, rules: RouteRules, scope: Scope, receive: Receive, send: Send) -> bool:
    # A subclass's `handle` calls its parent's, and an endpoint may hand on to another router: each set of rules once.
    if x.judged and x.rules == rules:
        return True
    return await gate.admit(x, rules, scope, receive, send, runs_view=rules is not NOBODY)


def rules_at(route: Any, scope: Scope) -> RouteRules | None:  # Any: a BaseRoute, or FastAPI's context of one
    """Return the rules of what a route runs; None for one that only leads to further routes, which are judged instead."""
    endpoint = getattr(route, "endpoint", None)
    if endpoint is not None:
        method = scope.get("method")
        methods = getattr(route, "methods", None)
        if methods and method is not None and method not in methods:
            # It will answer 405, and that is nobody's endpoint; a preflight that gets so far is judged at that answer.
            return None if method == "OPTIONS" else NO_RULES
        # Nearly always; rules_for says the same.
        if type(endpoint) is FunctionType and "__wrapped__" not in endpoint.__dict__:
            rules: RouteRules = getattr(endpoint, RULES_ATTRIBUTE, NO_RULES)
            return rules
        return rules_for(endpoint, method)
    router = router_behind(getattr(route, "original_router", None) or getattr(route, "app", None))
    if router is not None:
        gate_default(router)
        setattr(route, _LEADS_ON, True)  # FastAPI's copies of a Mount lead to the same app
        return None
    return _rules_of_app(route)


def rules_for(endpoint: Any, method: str | None) -> RouteRules:  # Any: whatever a route takes as its endpoint
    """Return what the markers of an endpoint say; of a class, its own, those of `dispatch` and of the method that will answer.

    Where they differ on who may come in, the one on the method goes before the one on the class.

    Args:
        endpoint: a function, a partial, an ASGI callable or an endpoint class.
        method: of the request; None for a WebSocket.
    """
    rules = rules_of(endpoint) or NO_RULES
    if isinstance(endpoint, type):
        name = "on_connect" if method is None else method.lower()
        if name == "head" and not hasattr(endpoint, name):
            name = "get"
        handler = getattr(endpoint, name, None)
        dispatch = getattr(endpoint, "dispatch", None)
        if handler is None and dispatch is HTTPEndpoint.dispatch:
            return NOBODY
        for own in (rules_of(dispatch), rules_of(handler)):
            if own is not None:
                rules = rules.narrowed(own)
    return rules


def router_behind(app: Any) -> Router | None:  # Any: an ASGI app
    """Return the router that an app leads to, through the middlewares around it; None for any other ASGI app."""
    for _ in range(_LAYERS):
        if isinstance(app, Router):
            return app
        app = app.router if isinstance(app, Starlette) else getattr(app, "app", None)
        if app is None:
            break
    return None


def _rules_of_app(route: Any) -> RouteRules:  # Any: a BaseRoute
    """Return the rules of a mounted app whose inside we cannot see: its own markers; open if it serves static files."""
    app = getattr(route, "app", None)
    if app is None:
        files = getattr(route, "routes", None) or ()  # FastAPI's group of front ends
        if files and all(isinstance(getattr(file, "app", None), StaticFiles) for file in files):
            return STATIC
        return rules_of(route) or NO_RULES
    for _ in range(_LAYERS):
        rules = rules_of(app)
        if rules is not None:
            return rules
        if isinstance(app, StaticFiles):
            return STATIC
        app = getattr(app, "app", None)
        if app is None:
            break
    return NO_RULES


class _GatedDefault:
    """What a router does where no route matches, behind the gate: the strictest rule holds there (L21)."""

    __slots__ = ("default", "rules")

    def __init__(self, default: ASGIApp) -> None:
        self.default = default
        own = getattr(default, "__func__", None) is not Router.not_found
        self.rules = NO_RULES if own else NOBODY  # a catch-all of the app's own is a view like others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        x = scope.get(KEY)
        if x is not None:
            gate = x.gate
            if gate.judges_at_endpoint and not await _may_pass(gate, x, self.rules, scope, receive, send):
                return
        await self.default(scope, receive, send)


def gate_default(router: Router) -> None:
    """Put the gate before a router's `default`, so that a catch-all of the app's own is judged before it runs."""
    if not isinstance(router.default, _GatedDefault):
        router.default = _GatedDefault(router.default)
