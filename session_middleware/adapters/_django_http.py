"""Django's views as rules, and its responses as places for headers and cookies of ours."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Sequence
from dataclasses import replace
from http.cookies import Morsel
from types import FunctionType
from typing import Any, Final

from django.conf import settings as conf
from django.core.exceptions import ViewDoesNotExist
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, get_resolver, get_urlconf

from session_middleware.adapters._django_ninja import operations_of
from session_middleware.adapters._hidden_markers import hidden_marker, identity, strict
from session_middleware.core.caching import PRIVATE, finished, merge_vary
from session_middleware.core.cookies import sent_beside
from session_middleware.core.exchange import NO_RULES, RouteRules, rules_of
from session_middleware.core.refusal import Reply

__all__ = [
    "CACHE_PRIVATE",
    "body_reader",
    "cookie",
    "finish",
    "hides_marker",
    "is_plain",
    "registered",
    "response_of",
    "routes",
    "rules_for",
    "view_of",
]


#: What L18 adds to a response of a route that requires a session, in the form in which Django keeps headers: setting one the
#: public way checks its encoding for about 3 us, and this is a constant of ours.
CACHE_PRIVATE: Final = ("Cache-Control", PRIVATE)


def body_reader(request: HttpRequest) -> Callable[[int], Any]:
    """Return what reads at most so many bytes of the body for an endpoint of ours."""

    async def read_body(limit: int) -> bytes:
        try:
            body: bytes = request.read(limit + 1)
        except OSError:
            raise ValueError("the client went away") from None
        if len(body) > limit:
            raise ValueError("the body is too long")
        return body

    return read_body


# --- markers ---------------------------------------------------------------------------------------------------------

#: Rules by view and, for class-based views, method; they stand in the URLconf for as long as the process runs.
_known: dict[tuple[object, str | None, bool], RouteRules] = {}
_OPEN = RouteRules(policy="exempt")


def rules_for(view: Any, request: HttpRequest, *, bridged: bool) -> RouteRules:  # Any: a callable with attributes
    """Return what the markers say of the view that is about to run.

    On class-based views the one nearer to what runs wins: class, then `dispatch` and decorators around `as_view()`, then
    the method. Django's own `login_not_required` opens a view where its login is bridged (L21).
    """
    holder = getattr(view, "view_class", None) or getattr(view, "cls", None)  # `cls`: view sets of REST framework
    key = (view, None if holder is None else request.method, bridged)
    try:
        rules = _known.get(key)
    except TypeError:  # a view without a hash
        return _rules_for(view, holder, request, bridged) or _static_rules(view, request)
    if rules is None:
        operations = operations_of(view) if holder is None else None
        if operations is not None:
            return _rules_of_operation(view, operations.get(request.method or "GET"), request, bridged)
        rules = _rules_for(view, holder, request, bridged)
        if rules is None:  # depends on the path
            return _static_rules(view, request)
        if len(_known) > 4096:  # only tests make ever new URLconfs
            _known.clear()
        _known[key] = rules
    return rules


def _rules_of_operation(view: Any, marked: Any, request: HttpRequest, bridged: bool) -> RouteRules:  # Any: as above
    """Return the rules of the function that answers this method on a path of django-ninja's; without one it answers 405."""
    if marked is None:
        return NO_RULES
    key = (view, request.method, bridged)
    rules = _known.get(key)
    if rules is None:
        rules = _known[key] = rules_of(marked) or _hidden_in(marked) or NO_RULES
    return rules


def view_of(request: HttpRequest) -> Any:  # Any: a callable with attributes
    """Return the view of a request that something else has answered, a cache perhaps; None where nobody can know it."""
    match = request.resolver_match
    if match is None:  # nobody has looked yet
        try:
            match = get_resolver(getattr(request, "urlconf", None)).resolve(request.path_info)
        except Exception:  # no such route, or a converter of the project's fails
            return None
    return match.func


def is_plain(view: Any, *, bridged: bool) -> bool:  # Any: a callable with attributes
    """Say whether a view is a function whose rules are known and the same for every request."""
    return view.__class__ is FunctionType and (view, None, bridged) in _known


def _rules_for(view: Any, holder: Any, request: HttpRequest, bridged: bool) -> RouteRules | None:  # Any: as above
    """Return the rules of a view; None if it is one that serves static files."""
    if holder is None:
        rules = rules_of(view) or _hidden_in(view) or NO_RULES
    else:
        rules = class_rules(view, holder, (request.method or "GET").lower())
    if rules.policy is None:
        if bridged and getattr(view, "login_required", True) is False:
            return replace(rules, policy="optional")
        if getattr(view, "__module__", "") in ("django.contrib.staticfiles.views", "django.views.static"):
            return None
    return rules


def _static_rules(view: Any, request: HttpRequest) -> RouteRules:  # Any: a callable with attributes
    """Open Django's own view of static files; `django.views.static` serves uploads too, and those stay as they are."""
    if view.__module__ == "django.contrib.staticfiles.views":
        return _OPEN
    prefix = conf.STATIC_URL
    return _OPEN if prefix and request.path.startswith(str(prefix)) else NO_RULES


def class_rules(view: Any, holder: type, method: str) -> RouteRules:  # Any: a callable with attributes
    """Return the rules of one method of a class-based view."""
    actions: dict[str, str] = getattr(view, "actions", None) or {}
    handler = getattr(holder, actions.get(method, method), None)
    if handler is None and method == "head":
        handler = getattr(holder, actions.get("get", "get"), None)
    found = NO_RULES
    for marked in (holder, getattr(holder, "dispatch", None), view, handler):
        rules = rules_of(marked) or _hidden_in(marked)
        if rules is not None:
            found = found.narrowed(rules)
    return found


def _hidden_in(view: Any) -> RouteRules | None:  # Any: a callable, or None
    """Return what a marker forbids that a decorator without functools.wraps hides, never what it allows (L21)."""
    found = hidden_marker(view, registered)
    return None if found is None else strict(found[1])


def hides_marker(view: Any, reachable: Callable[[], Collection[int]] = frozenset) -> bool:  # Any: as above
    """Say whether a decorator hides a marker on a view, or on a method of a class-based one.

    Args:
        view: what a route names.
        reachable: returns the identities of views whose own markers do not count here.
    """
    holder = getattr(view, "view_class", None) or getattr(view, "cls", None)
    actions: dict[str, str] = getattr(view, "actions", None) or {}
    operations = operations_of(view)
    # Others than Django and REST framework set `cls` on views, too; then it says nothing of methods.
    names = () if holder is None else ("dispatch", *getattr(holder, "http_method_names", ()))
    methods = [getattr(holder, actions.get(name, name), None) for name in names]
    methods += () if operations is None else operations.values()
    return any(rules_of(each) is None and hidden_marker(each, reachable) is not None for each in (view, *methods))


def registered() -> set[int]:
    """Return the identities of all views that have a route of their own, in the URLconf in force."""
    return {identity(view) for _, view in routes(get_resolver(get_urlconf()).url_patterns, "/")}


def routes(patterns: list[Any], so_far: str) -> Iterator[tuple[str, Any]]:  # Any: patterns of any kind, views
    """Yield every route with its view, those of included URLconfs too."""
    for pattern in patterns:
        route = so_far + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            try:
                yield route.rstrip("$"), pattern.callback
            except (ViewDoesNotExist, ImportError):
                continue  # Django's own check names it


# --- responses -------------------------------------------------------------------------------------------------------


class RawCookie(Morsel[str]):
    """A Set-Cookie line of ours, sent exactly as the core wrote it; Django's test client reads it as any other.

    http.cookies orders attributes its own way, and before Python 3.14 it knows no Partitioned.
    """

    def __init__(self, line: str = "=") -> None:
        super().__init__()
        self._line = line
        pair, *attributes = line.split(";")
        name, _, value = pair.partition("=")
        if name:
            self.set(name, value, value)
        for attribute in attributes:
            key, equals, text = attribute.strip().partition("=")
            if self.isReservedKey(key):
                self[key] = text if equals else True  # flags are kept as http.cookies does

    def output(self, attrs: Container[str] | None = None, header: str = "Set-Cookie:") -> str:
        return f"{header} {self._line}" if header else self._line

    def OutputString(self, attrs: Container[str] | None = None) -> str:  # the name in http.cookies
        return self._line

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "line": self._line}  # type: ignore[dict-item]  # more than typeshed's

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._line = state.pop("line")
        super().__setstate__(state)  # type: ignore[misc]  # not in typeshed


def cookie(response: HttpResponseBase, line: str) -> None:
    """Send one of our Set-Cookie lines with a response, in place of any the app set under that name (L18)."""
    morsel = RawCookie(line)
    response.cookies[morsel.key] = morsel


def finish(response: HttpResponseBase, *, vary: str, protected: bool, cookies: Sequence[str] = ()) -> None:
    """Give a response its cookies and what L18 asks of its cache headers."""
    if not vary:
        return
    headers = response.headers
    store = headers._store
    if not cookies and "cache-control" not in store:
        standing = store.get("vary")
        if protected:
            store["cache-control"] = CACHE_PRIVATE
        store["vary"] = ("Vary", vary if standing is None else merge_vary(standing[1], *vary.split(", ")))
        return
    cookies = sent_beside(cookies, response.cookies)
    held = [(name, headers[name]) for name in ("Vary", "Cache-Control") if name in headers]
    for name, value in finished(held, vary=vary, protected=protected, cookies=cookies):
        if name == "Set-Cookie":
            cookie(response, value)
        else:
            headers[name] = value


def response_of(reply: Reply, method: str) -> HttpResponse:
    """Return a whole reply of ours as a response of Django."""
    bodiless = reply.status in (204, 304)
    response = HttpResponse(b"" if bodiless or method == "HEAD" else reply.body, status=reply.status)
    if bodiless:
        del response.headers["Content-Type"]
    for name, value in reply.headers:
        if name.lower() == "set-cookie":
            cookie(response, value)
        elif name.lower() == "vary":
            response.headers["Vary"] = merge_vary(response.headers.get("Vary"), *value.split(", "))
        else:
            response.headers[name] = value
    if not bodiless:
        response.headers["Content-Length"] = str(len(reply.body))
    return response
