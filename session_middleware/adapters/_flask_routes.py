"""Which rules hold for a Flask endpoint: markers on functions, classes and methods, and the ones that got lost (L21)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from flask import Flask, Request
from flask.sansio.scaffold import Scaffold
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from session_middleware.adapters._hidden_markers import hidden_marker, identity, strict
from session_middleware.core.exchange import NO_RULES, RouteRules, rules_given_by, rules_of
from session_middleware.errors import SettingsError

__all__ = ["Lost", "Routes"]

#: Flask's own pages of files: open in any case (L21).
STATIC: Final = RouteRules(policy="exempt")


@dataclass(frozen=True, slots=True)
class Lost:
    """A marker that does not reach Flask.

    Attributes:
        endpoint: where it was found.
        marked: the name of the marked function.
        problem: why it does not act.
    """

    endpoint: str
    marked: str
    problem: str


@dataclass(slots=True)
class _Judged:
    """The rules of one endpoint; those of a method, where it has its own, go before.

    Attributes:
        way: the rules, and whether they require a session, where that is all there is to them.
    """

    view: object
    rules: RouteRules
    by_method: dict[str, RouteRules] = field(default_factory=dict)
    lost: Lost | None = None
    way: tuple[RouteRules, bool] | None = None


class Routes:
    """Finds the rules for a request from the view function that Flask will run.

    Args:
        app: the app.
        protects: says whether rules require a session; None where there is more to it than to recognise one.
    """

    def __init__(self, app: Flask, protects: Callable[[RouteRules], bool | None]) -> None:
        self._app = app
        self._protects = protects
        self._judged: dict[str, _Judged] = {}

    def rules_for(self, request: Request) -> RouteRules:
        """Return the rules of the endpoint that this request reaches; the strictest where none is determined.

        Raises:
            SettingsError: the endpoint's markers contradict each other.
        """
        rule = request.url_rule
        if rule is None:
            return self._rules_of_redirect(request)
        judged = self._of(rule.endpoint)
        if judged.by_method:
            return judged.by_method.get(request.method, judged.rules)
        return judged.rules

    def way_of(self, request: Request) -> tuple[RouteRules, bool] | None:
        """Return `rules_for` and whether they require a session, where that is known and all there is to them."""
        rule = request.url_rule
        if rule is None:
            return None
        endpoint = rule.endpoint
        judged = self._judged.get(endpoint)
        if judged is None or judged.view is not self._app.view_functions.get(endpoint):
            return None  # read first
        return judged.way

    def check(self, prefix: str) -> list[Lost]:
        """Look at every route before the first request; return the markers that do not act.

        Raises:
            SettingsError: markers contradict each other, or a route lies under `endpoint_prefix`.
        """
        for rule in self._app.url_map.iter_rules():
            if rule.rule == prefix or rule.rule.startswith(prefix + "/"):
                raise SettingsError(
                    "endpoint_prefix",
                    prefix,
                    f"covers the app's own route {rule.rule!r} ({rule.endpoint}), which could never be reached.",
                    "Move that route, or set endpoint_prefix to a path of its own.",
                )
        judged = [self._of(endpoint) for endpoint in self._app.view_functions]
        found = [each.lost for each in judged if each.lost is not None]
        if rules_of(self._app) is not None:
            found.append(Lost("app", self._app.name, "a marker on the app does nothing; mark its views"))
        return found + [
            Lost(place, _name(hook), f"the function is a {place} of the app, not a view; a marker acts on views only")
            for place, hook in _hooks(self._app)
            if rules_of(hook) is not None
        ]

    def _of(self, endpoint: str) -> _Judged:
        view = self._app.view_functions.get(endpoint)
        judged = self._judged.get(endpoint)
        if judged is None or judged.view is not view:  # a test may have put another view in its place
            judged = self._read(endpoint, view)
            if not judged.by_method:
                protects = self._protects(judged.rules)
                if protects is not None:
                    judged.way = judged.rules, protects
            self._judged[endpoint] = judged
        return judged

    def _read(self, endpoint: str, view: Any) -> _Judged:
        if self._is_static(endpoint):
            return _Judged(view, STATIC)
        own = rules_of(view)
        view_class = getattr(view, "view_class", None)
        if not isinstance(view_class, type):
            view_class = None  # a mock has one, too
        if view_class is not None:
            own = _merged(own, rules_of(view_class))
            own = _narrowed(own, rules_of(getattr(view_class, "dispatch_request", None)))
        rules = own or NO_RULES
        judged = _Judged(view, rules)
        for method, handler in _handlers(view_class):
            narrow = rules_of(handler) or self._hidden_in(endpoint, handler, judged)
            narrow = _merged(narrow, _given_around(view_class, method))
            if narrow is not None:
                judged.by_method[method] = _narrowed(own, narrow) or narrow
        if "GET" in judged.by_method and not hasattr(view_class, "head"):
            judged.by_method["HEAD"] = judged.by_method["GET"]
        for whole in (view, getattr(view_class, "dispatch_request", None)):
            hidden = None if rules_of(whole) is not None else self._hidden_in(endpoint, whole, judged)
            if hidden is not None:
                judged.rules = _narrowed(judged.rules, hidden) or hidden
                judged.by_method = {m: _narrowed(rules, hidden) or hidden for m, rules in judged.by_method.items()}
        return judged

    def _hidden_in(self, endpoint: str, function: object, judged: _Judged) -> RouteRules | None:
        """Return what a hidden marker forbids, never what it allows: the endpoint is not determined for sure (L21)."""
        found = hidden_marker(function, self._reachable, (Scaffold,))  # the app and its blueprints reach all there is
        if found is None:
            return None
        marked, rules = found
        judged.lost = Lost(
            endpoint,
            _name(marked),
            "a decorator without functools.wraps hides the marked function; only what the marker forbids is applied",
        )
        return strict(rules)

    def _reachable(self) -> set[int]:
        return {identity(each) for each in self._app.view_functions.values()}

    def _is_static(self, endpoint: str) -> bool:
        if endpoint == "static":
            return self._app.has_static_folder
        blueprint, _, name = endpoint.rpartition(".")
        return (
            name == "static" and blueprint in self._app.blueprints and self._app.blueprints[blueprint].has_static_folder
        )

    def _rules_of_redirect(self, request: Request) -> RouteRules:
        """Judge a redirect to the canonical address (`/about` to `/about/`) by the rules of where it leads."""
        redirect = request.routing_exception
        if not isinstance(redirect, RequestRedirect):
            return NO_RULES
        parts = urlsplit(redirect.new_url)
        mount, path = request.root_path, unquote(parts.path)
        adapter = self._app.create_url_adapter(request)
        if adapter is None or parts.netloc != request.host or not path.startswith(mount):
            return NO_RULES
        try:
            endpoint, _ = adapter.match(path_info=path[len(mount) :])
        except HTTPException:
            return NO_RULES
        judged = self._of(endpoint)
        return judged.by_method.get(request.method, judged.rules)


def _merged(one: RouteRules | None, other: RouteRules | None) -> RouteRules | None:
    return one.merged(other) if one is not None and other is not None else one or other


def _narrowed(broad: RouteRules | None, narrow: RouteRules | None) -> RouteRules | None:
    return broad.narrowed(narrow) if broad is not None and narrow is not None else broad or narrow


def _given_around(view_class: object, method: str) -> RouteRules | None:
    """Return what markers among the `method_decorators` of a resource say of one of its methods.

    Flask-RESTful and Flask-RESTX put them around the method in each request, when it has been judged long since.
    """
    around = getattr(view_class, "method_decorators", None)
    if isinstance(around, Mapping):
        around = around.get(method.lower())
    found = None
    for decorator in around if isinstance(around, list | tuple) else ():
        found = _merged(found, rules_given_by(decorator))
    return found


def _handlers(view_class: Any) -> Iterator[tuple[str, object]]:
    if view_class is None:
        return
    for method in getattr(view_class, "methods", None) or ():
        handler = getattr(view_class, method.lower(), None)
        if handler is not None:
            yield method.upper(), handler


def _hooks(app: Flask) -> Iterator[tuple[str, object]]:
    by_blueprint: tuple[tuple[str, Mapping[Any, Iterable[Callable[..., Any]]]], ...] = (
        ("before_request", app.before_request_funcs),
        ("after_request", app.after_request_funcs),
        ("teardown_request", app.teardown_request_funcs),
    )
    for place, functions in by_blueprint:
        for group in functions.values():
            yield from ((place, function) for function in group)
    for by_code in app.error_handler_spec.values():
        for handlers in by_code.values():
            yield from (("errorhandler", handler) for handler in handlers.values())


def _name(function: object) -> str:
    named = inspect.unwrap(function) if callable(function) else function
    return str(getattr(named, "__qualname__", type(named).__name__))
