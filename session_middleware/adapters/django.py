"""Django 5.2 and later, under WSGI and ASGI: one line in MIDDLEWARE, and `session_from(request)` in a view.

MIDDLEWARE = [
    ...
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "session_middleware.adapters.django.SessionLifetimeMiddleware",  # directly after it
]
INSTALLED_APPS += ["session_middleware.adapters.django_app.SessionLifetimeConfig"]  # system checks, client.force_login
SESSION_LIFETIME = {"inactivity_timeout": 900, "store": "sqlite:////var/lib/shop/sessions.db"}  # all of it optional

SESSION_LIFETIME is one dict: `store` (a store, its URL or the dotted path of one or of what makes it), `authority`,
`on_event`, `clock` (objects or dotted paths), and any option of `Settings` by its name; finished `Settings`, or a dict of
options, may stand under `settings` instead. Where it says nothing: `secret_keys` are SECRET_KEY and its fallbacks,
`login_url` is LOGIN_URL, the store is SESSION_STORE_URL (of the settings, else of the environment), else the file
`sessions.db` in BASE_DIR, and the return parameter is `next`.

A request is judged in `process_view`, where Django knows the view. With contrib.auth in MIDDLEWARE its login begins our
sessions and its logout ends them (`_django_auth.py`); views are then open to all unless they say otherwise. Under ASGI
the user is loaded before the view, as there is no later place that could wait for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from session_middleware.adapters import _django_auth as auth
from session_middleware.adapters._django_exchange import KEY, Attached, joined
from session_middleware.adapters._django_failures import is_failure, note_failures
from session_middleware.adapters._django_http import (
    CACHE_PRIVATE,
    body_reader,
    finish,
    is_plain,
    response_of,
    rules_for,
    view_of,
)
from session_middleware.adapters._django_open import events, hold
from session_middleware.adapters._django_setup import Side, current, positions
from session_middleware.adapters._django_view import asession_from, asessions, safe_return_to, session_from, sessions
from session_middleware.adapters._wsgi_body import body_reader as wsgi_body_reader
from session_middleware.adapters._wsgi_body import is_chunked
from session_middleware.core.exchange import ANONYMOUS, NO_RULES, RouteRules
from session_middleware.core.refusal import Reply
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.event_stream import EventStream

__all__ = ["SessionLifetimeMiddleware", "asession_from", "asessions", "safe_return_to", "session_from", "sessions"]

Answer = HttpResponseBase | Awaitable[HttpResponseBase]
View = Callable[..., Any]  # Any: what a view answers

#: How many views are known at most; only tests make ever new URLconfs.
_WAYS: Final = 4096


class SessionLifetimeMiddleware:
    """Django's middleware; everything about it is set by SESSION_LIFETIME.

    Raises:
        SettingsError: SESSION_LIFETIME makes no sense.
        ImproperlyConfigured: it stands before contrib.auth's AuthenticationMiddleware, which would undo its work, or is there
            more than once.
    """

    sync_capable = True
    async_capable = True

    # Django copies the attributes of a middleware to what it wraps around it, after which looking one up in its dict takes
    # four times as long as in a slot (Python 3.11, measured).
    __slots__ = ("__dict__", "_asynchronous", "_bridged", "_setup", "_side", "_ways", "get_response")

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        note_failures()
        self.get_response = get_response
        self._setup = current()
        self._bridged = self._setup.bridged
        theirs, ours = positions()
        if len(ours) > 1:
            raise ImproperlyConfigured(
                "SessionLifetimeMiddleware stands in MIDDLEWARE more than once, so each request would be judged twice. "
                "Keep one, directly after AuthenticationMiddleware."
            )
        if self._bridged and min(ours) < max(theirs):
            raise ImproperlyConfigured(
                "SessionLifetimeMiddleware stands before AuthenticationMiddleware in MIDDLEWARE, so request.user "
                "would be signed in whatever it says. Put it directly after."
            )
        self._ways: dict[View, tuple[RouteRules, bool]] = {}  # view -> its rules, and whether it requires a session
        self._asynchronous = iscoroutinefunction(get_response)
        self._side: Side | None = None  # for blocking code outside a loop
        self.process_view: Callable[..., Any]
        if self._asynchronous:
            markcoroutinefunction(self)
            self.process_view = self._ajudge  # a plain one would cost a thread on each request
        else:
            if not self._setup.is_asynchronous:
                self._side = self._setup.blocking  # an impossible combination is a fault of start-up, not of a request
            self.process_view = self._judge

    # --- the request ---------------------------------------------------------------------------------------------

    def __call__(self, request: HttpRequest) -> Answer:
        """Answer a request, or have it answered."""
        if self._asynchronous:
            return self._acall(request)
        # Under ASGI too, where a middleware inside ours is blocking; then there is a loop, and the views may be async.
        scope = None if request.__class__ is WSGIRequest else getattr(request, "scope", None)
        side = (self._side or self._setup.blocking) if scope is None else self._setup.looping
        x = self._attach(request, side, scope)
        path, prefix = x.path, side.prefix
        if prefix in path and path.startswith(prefix):  # `in` is an operator: asked first, it spares a call
            reply = side.run(side.endpoints.answer(x, _body_reader(request)))
            ours: HttpResponseBase = side.run(self._replied(x, reply))
            return ours
        get_response = self.get_response  # in a local variable first: see Entrance
        try:
            response: HttpResponseBase = get_response(request)
        except BaseException:  # under DEBUG_PROPAGATE_EXCEPTIONS; else Django has made it a response
            side.run(side.engine.abandon(x))
            raise
        if x.judged and (x.quiet or (not x.unknown and x.emptied is None and side.engine.is_settled(x))):
            return self._leave(response, x, side)
        finished: HttpResponseBase = side.run(self._finish(request, x, response))
        return finished

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        side = self._setup.looping
        x = self._attach(request, side, getattr(request, "scope", None))
        path, prefix = x.path, side.prefix
        if prefix in path and path.startswith(prefix):
            reply = await side.endpoints.answer(x, _body_reader(request))
            return await self._replied(x, reply)
        try:
            response: HttpResponseBase = await self.get_response(request)
        except BaseException:  # the client went away, or DEBUG_PROPAGATE_EXCEPTIONS
            await side.engine.abandon(x)
            raise
        if x.judged and (x.quiet or (not x.unknown and x.emptied is None and side.engine.is_settled(x))):
            return self._leave(response, x, side)
        return await self._finish(request, x, response)

    def _attach(self, request: HttpRequest, side: Side, scope: dict[str, Any] | None) -> Attached:
        """Begin. What counts here, and until the view, is how many instructions the interpreter has to read (measured)."""
        x = Attached()
        x.side = side
        x.meta = meta = request.META
        x.method = request.method or "GET"
        x.path = request.path_info or "/"
        x.shown = cookies = meta.get("HTTP_COOKIE", "")
        if scope is not None:
            x.scheme_said = scope.get("scheme") or "http"
            if "," in cookies:
                x.shown = joined(scope)
        clock = side.clock
        x.now = clock()
        x.verdict = ANONYMOUS
        x.rules = NO_RULES
        x.authenticated = x.judged = False
        x.framework = getattr(request, "session", None)
        x.find_user = None
        request._session_lifetime = x  # type: ignore[attr-defined]  # KEY
        if self._bridged:
            auth.attach(request, x)
        return x

    def _leave(self, response: HttpResponseBase, x: Attached, side: Side) -> HttpResponseBase:
        """Finish a response to which nothing is to be added but what L18 asks for."""
        x.closed = True
        store = response.headers._store
        if not x.quiet or "vary" in store or "cache-control" in store:
            finish(response, vary=side.engine.vary(x), protected=x.protected)
        else:
            store["vary"] = side.vary
            if x.protected:
                store["cache-control"] = CACHE_PRIVATE
        if response.__class__ is not HttpResponse and response.streaming:
            hold(response, side.engine, x, side.watching, side.run)
        return response

    # --- the view --------------------------------------------------------------------------------------------------

    def _judge(self, request: HttpRequest, view: View, args: object, kwargs: object) -> HttpResponse | None:
        x: Attached = request._session_lifetime  # type: ignore[attr-defined]  # KEY
        # Who may come in depends on Django's user too, if there is one. Elsewhere blocking code finds out when it asks.
        if self._is_quiet(request, x, view) and not (self._bridged and x.protected):
            return None
        refused: HttpResponse | None = x.side.run(self._open(request, x, self._rules_of(view, request, x)))
        return refused

    async def _ajudge(self, request: HttpRequest, view: View, args: object, kwargs: object) -> HttpResponse | None:
        x: Attached = request._session_lifetime  # type: ignore[attr-defined]  # KEY
        if self._is_quiet(request, x, view):
            if not self._bridged:
                return None
            await auth.settle(request, x)
            if x.is_active:  # else Django no longer accepts this user
                return None
        return await self._open(request, x, self._rules_of(view, request, x))

    def _is_quiet(self, request: HttpRequest, x: Attached, view: View) -> bool:
        """Do what the engine's `open_quietly` does, for a view of which it is known whether it requires a session."""
        try:
            way = self._ways.get(view)
        except TypeError:  # a view without a hash
            return False
        if way is None or x.authenticated or x.method == "OPTIONS" or not x.side.recogniser.quiet(x):
            return False
        x.rules, x.protected = way
        x.judged = True
        return True

    def _rules_of(self, view: View, request: HttpRequest, x: Attached) -> RouteRules:
        rules = rules_for(view, request, bridged=self._bridged)
        if is_plain(view, bridged=self._bridged) and len(self._ways) < _WAYS:
            protects = x.side.engine.protects_quietly(rules)
            if protects is not None:
                self._ways[view] = rules, protects
        return rules

    async def _open(
        self, request: HttpRequest, x: Attached, rules: RouteRules | None, *, runs_view: bool = True
    ) -> HttpResponse | None:
        """Judge a request to a view with these rules; a response means that the view must not run."""
        engine = x.side.engine
        if self._bridged:
            policy = (rules.policy if rules is not None else None) or engine.default_policy
            # Who is signed in depends on Django's user too. Optional views in blocking code find out when they ask.
            early = policy == "required" or (self._asynchronous and policy == "optional")
            if early and not engine.is_exempt(x, runs_view=runs_view):
                await auth.settle(request, x)
        refusal = await engine.open(x, rules, runs_view=runs_view)
        return None if refusal is None else response_of(engine.render(x, refusal), x.method)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer what the engine has an answer for: a store that was down is a 503, not the app's 500 (L17)."""
        if not isinstance(exception, SessionError):
            return None
        x: Attached = request.__dict__[KEY]
        reply = x.side.run(x.side.engine.answer(x, exception))
        return None if reply is None else response_of(reply, x.method)

    # --- the response ----------------------------------------------------------------------------------------------

    async def _finish(self, request: HttpRequest, x: Attached, response: HttpResponseBase) -> HttpResponseBase:
        engine = x.side.engine
        if not x.judged:
            # Answered without our having seen the view: a 404, or another middleware, for which the view's rules hold (L21).
            view = view_of(request)
            rules = None if view is None else rules_for(view, request, bridged=self._bridged)
            refused = await self._open(request, x, rules, runs_view=False)
            if refused is not None:
                response = _instead(response, refused)
        if x.unknown and auth.is_denial(request, x, response):
            response = _instead(response, response_of(engine.unavailable(x), x.method))
        if x.created is not None and not x.adopted and (x.failed or is_failure(response)):
            if self._bridged:
                await auth.take_back(request, x)
            await engine.abandon(x)
        try:
            # Django's handler for WSGI sends what stands here with the first chunk of a stream (PEP 3333), whenever that comes.
            at_once = not response.streaming or engine.runtime.asynchronous
            cookies = await engine.close(x, at_once=at_once)
            if self._bridged:
                await auth.relink(request, x)
            x.note_emptied()
        except StoreUnavailable:
            cookies = []
            response = _instead(response, response_of(engine.unavailable(x), x.method))
        finish(response, vary=engine.vary(x), protected=x.protected, cookies=cookies)
        if response.streaming:
            hold(response, engine, x, x.side.watching, x.side.run)
        return response

    async def _replied(self, x: Attached, reply: Reply) -> HttpResponseBase:
        """Answer with a reply of ours."""
        engine = x.side.engine
        if isinstance(reply, EventStream):
            return await events(engine, x, reply, x.side.watching, x.side.run)
        try:
            cookies = await engine.close(x)
            x.note_emptied()
        except StoreUnavailable:
            cookies, reply = [], engine.unavailable(x)
        response = response_of(reply, x.method)
        finish(response, vary=engine.vary(x), protected=False, cookies=cookies)
        return response


def _body_reader(request: HttpRequest) -> Callable[[int], Any]:
    # Django takes a WSGI request without Content-Length for one without a body.
    if request.__class__ is WSGIRequest and is_chunked(request.META):
        return wsgi_body_reader(request.META)
    return body_reader(request)


def _instead(response: HttpResponseBase, other: HttpResponse) -> HttpResponse:
    """Return another response than the app's, which is closed with it: an open file, say."""
    other._resource_closers.extend(response._resource_closers)  # type: ignore[attr-defined]  # not in the stubs
    return other
