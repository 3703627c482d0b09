"""What stands between a server and one Flask app: judges in `before_request`, finishes where the response starts."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import (
    Flask,
    Request,
    Response,
    current_app,
    got_request_exception,
    has_request_context,
    request,
    stream_with_context,
)
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from session_middleware.adapters._flask_emptying import empty
from session_middleware.adapters._flask_exchange import FlaskExchange, discard
from session_middleware.adapters._flask_login import FlaskLogin, manager_of
from session_middleware.adapters._flask_routes import Routes
from session_middleware.adapters._wsgi_body import read_to_its_end, refuse_endless
from session_middleware.adapters._wsgi_exchange import KEY, OVER, Environ, StartResponse, Write, WSGIExchange, new
from session_middleware.adapters._wsgi_open import HeldParts, is_event_stream, may_belong_to_session, polled
from session_middleware.adapters._wsgi_response import ExcInfo, Headers, LateBody, is_the_servers, says
from session_middleware.core.exchange import RequestFacts, RouteRules
from session_middleware.core.lifetime import Verdict
from session_middleware.core.origin import is_preflight
from session_middleware.core.refusal import Refusal, Reply
from session_middleware.endpoints import Endpoints
from session_middleware.errors import SessionError, SettingsError, StoreUnavailable
from session_middleware.event_stream import EventStream
from session_middleware.runtime import mutex, run_sync
from session_middleware.sessions import Sessions

if TYPE_CHECKING:
    from session_middleware.engine import Engine

__all__ = ["Gate", "current_request"]

#: Return the request that is served in this context. Found once: each look-up through the proxy costs more than the answer.
current_request: Callable[[], Request] = request._get_current_object  # type: ignore[attr-defined]  # not in the stubs


#: What an exchange does not keep of the environ of a request that is over: what holds the environ, and with it the exchange.
_NOT_KEPT: Environ = {KEY: None, "werkzeug.request": None}


class Gate:
    """Takes the place of `app.wsgi_app`; one for each app.

    Attributes:
        sessions: all sessions in the store, for work outside a request.
    """

    def __init__(self, app: Flask, engine: Engine) -> None:
        self.app = app
        self.engine = engine
        self.sessions = Sessions(engine)
        self._endpoints = Endpoints(engine)
        self._own_paths = self._endpoints.prefix.encode().decode("latin-1")  # as PEP 3333 writes a path
        self._says = says(engine.vary_on)
        self._routes = Routes(app, engine.protects_quietly)
        self._bridge: FlaskLogin | None = None
        self._checked = False
        self._mutex = mutex()
        self._inner = app.wsgi_app
        app.wsgi_app = self  # type: ignore[method-assign]  # the place Flask's documentation names for it
        # Not a `before_request` hook: this comes before every one of them, before preprocessors of URL values, which
        # often read a database, and costs less (measured: 3 us).
        self._preprocess = app.preprocess_request
        app.preprocess_request = self._before  # type: ignore[method-assign]  # made to be overridden, says its docstring
        self._handle: Callable[[Exception], Any] = app.handle_user_exception
        app.handle_user_exception = self._raised  # type: ignore[method-assign, assignment]  # gives what Flask's own gives
        app.error_handler_spec[None][None].setdefault(SessionError, self._fault)
        got_request_exception.connect(self._abandon, app)
        self._bridge_login()

    # --- a request ---------------------------------------------------------------------------------------------

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not self._checked:
            self.check()
        x = new(FlaskExchange)
        x.gate = self
        x.says = self._says
        x.begin(self.engine, environ, start_response)
        try:
            inner = self._inner  # in a local variable first: see Entrance
            body: Iterable[bytes] = inner(environ, x.start)
        except BaseException as fault:
            try:
                return self._failed(x, environ, fault)
            finally:
                x.environ = {**environ, **_NOT_KEPT}
        # Environ and exchange must not hold each other any longer. What is sent in parts may still ask something of its
        # request, and so may who looks at a session for the first time now.
        if x.is_whole:
            x.environ = OVER
            return body
        x.environ = {**environ, **_NOT_KEPT}
        if x.held is not None and x.created is None and is_the_servers(body, environ):
            try:
                x.release()  # it is at hand
            except BaseException as fault:
                return self._failed(x, environ, fault)
        if not x.started:
            failed = partial(self._failed, x, environ)
            return self._ending(x, LateBody(body, x, failed, lambda: run_sync(self.engine.abandon(x))))
        if x.instead is not None:
            return x.in_place_of(body)
        return self._ending(x, body)

    def _ending(self, x: FlaskExchange, body: Iterable[bytes]) -> Iterable[bytes]:
        """Have a body end with its session, if it is streamed."""
        if x.is_streamed and may_belong_to_session(x) and not self.owns(x):
            return HeldParts(body, self.engine, x, lambda: is_event_stream(x.headers))
        return body

    def owns(self, x: WSGIExchange) -> bool:
        """Say whether one of our own endpoints answers this request."""
        return self._endpoints.owns(x.path)

    def _failed(self, x: FlaskExchange, environ: Environ, fault: BaseException) -> Iterable[bytes]:
        """The app raised before its response: nothing that the view began may stand (L25)."""
        if isinstance(fault, SessionError) and not x.started:
            with self.app.request_context(environ):  # its URLs may need one, and Flask's own is gone
                reply = run_sync(self.engine.answer(x, fault))
                if reply is not None:
                    x.replace(reply)
                    return x.in_place_of(())
        run_sync(self.engine.abandon(x))
        raise fault

    def _before(self, *context: Any) -> Any:  # Any: what Flask gives and takes here
        """Judge the request by the endpoint that Flask is about to run (L21), then run the app's own hooks."""
        current: Request = current_request()
        environ = current.environ
        x: WSGIExchange = environ.get(KEY) or self.exchange(current)
        if environ.get("PATH_INFO", "").startswith(self._own_paths):
            return self._answer(x, current)
        engine, way, preprocess = x.engine, self._routes.way_of(current), self._preprocess
        if way is not None and not x.authenticated and environ["REQUEST_METHOD"] != "OPTIONS":
            recogniser = engine.recogniser
            if recogniser.quiet(x):
                x.rules, x.protected = way  # what the engine's `open_quietly` does
                x.judged = True
                return preprocess(*context)
        rules = self._routes.rules_for(current)
        # Flask answers OPTIONS by itself unless a view asks for it; a 404 is nobody's view either.
        runs_view = current.url_rule is not None and not getattr(current.url_rule, "provide_automatic_options", False)
        refusal = run_sync(engine.open(x, rules, runs_view=runs_view))
        bridge = self._bridge
        if bridge is not None and x.verdict is Verdict.ANONYMOUS and x.authenticated and bridge.adopt(x):
            refusal = run_sync(engine.open(x, x.rules))
        if refusal is not None:
            return self._response(engine.render(x, refusal))
        return preprocess(*context)

    def _answer(self, x: WSGIExchange, current: Request) -> Response:
        """Answer at one of our own endpoints; the app's `after_request` hooks see it, so its CORS headers are added."""
        if x.method == "OPTIONS" and is_preflight(x):
            x.judged = True
            return self._response(Reply(204, ()))
        reply = run_sync(self._endpoints.answer(x, _body_reader(current)))
        x.judged = True
        if isinstance(reply, EventStream):
            return self.app.response_class(stream_with_context(polled(self.engine, x, reply)), 200, list(reply.headers))
        return self._response(reply)

    def exchange(self, current: Request) -> WSGIExchange:
        """Return the exchange of a request; one that did not come through us begins here (a test's, an event's).

        That is kept in the request: Flask-SocketIO makes a new one of the same environ for each event, and by then the session
        may have ended.
        """
        x: WSGIExchange | None = current.environ.get(KEY) or current.__dict__.get(KEY)
        if x is None:
            if not self._checked:
                self.check()
            made = x = new(FlaskExchange)
            made.gate = self
            made.says = self._says
            made.begin(self.engine, current.environ, _no_server)
            current.__dict__[KEY] = current.environ.pop(KEY)
        return x

    def judge_late(self, x: WSGIExchange) -> Refusal | None:
        """Judge a response that came before `_before`: from a preprocessor of URL values, or an app within (L21)."""
        rules: RouteRules | None = None
        if has_request_context() and current_app._get_current_object() is self.app:  # type: ignore[attr-defined]
            rules = self._routes.rules_for(request)
        return run_sync(self.engine.open(x, rules))

    # --- what Flask calls ----------------------------------------------------------------------------------------

    def _fault(self, fault: SessionError) -> Response:
        """Answer what the engine has an answer for: 503, 403, not the app's error page (L17, L20)."""
        x = self.exchange(request)
        reply = run_sync(x.engine.answer(x, fault))
        if reply is None:
            raise fault
        return self._response(reply)

    def _raised(self, fault: Exception) -> Any:  # Any: what Flask makes of it
        """Have an exception answered that left the view, or a hook before it: what that began does not stand (L25)."""
        return self._raised_to(self._handle, fault)

    def _raised_to(self, handle: Callable[[Exception], Any], fault: Exception) -> Any:  # Any: as above
        if not _is_answer(fault):
            self._take_back()
        is_flasks_own = getattr(handle, "__func__", None) is Flask.handle_user_exception
        if isinstance(fault, SessionError) and not is_flasks_own and self._is_ours_to_answer(fault):
            # An extension that answers everything itself, Flask-RESTX say, would make it a 500.
            reply = run_sync(self.engine.answer(self.exchange(request), fault))
            if reply is not None:
                return self._response(reply)
        return handle(fault)

    def _is_ours_to_answer(self, fault: SessionError) -> bool:
        """Say whether Flask would ask us: the app, or the blueprint of the view, may have an errorhandler of its own."""
        for name in (*request.blueprints, None):
            handlers = self.app.error_handler_spec[name][None]
            for kind in type(fault).__mro__:
                if kind in handlers:
                    return bool(handlers[kind] == self._fault)
        return False

    def _abandon(self, sender: Flask, **detail: object) -> None:
        if has_request_context():
            self._take_back()
            x = self.exchange(request)
            if x.adopted:  # they did not log in here: no fault of the view's signs them out, but what it wrote goes
                x.claim_changes = x.data = None
            else:
                run_sync(self.engine.abandon(x))

    def _take_back(self) -> None:
        x = self.exchange(request)
        if x.created is not None and not x.adopted and not x.closed:
            if self._bridge is not None:
                self._bridge.take_back(x)
            run_sync(self.engine.take_back(x))

    def empty_session(self) -> None:
        """Empty Flask's session (L26)."""
        if not has_request_context():
            return  # the session is used outside its request: there is no Flask session to clear
        empty(lambda: self.exchange(request), self.engine.settings.token_cookie, self._bridge)

    def _response(self, reply: Reply) -> Response:
        response = self.app.response_class(reply.body, reply.status, list(reply.headers))
        if reply.status in (204, 304):
            response.headers.remove("Content-Type")
        return response

    # --- what the developer wrote ----------------------------------------------------------------------------------

    def login_url(self, facts: RequestFacts, url: str) -> str:
        """Return where to sign in: a path below the mount, a whole URL, or the URL of a route (L21)."""
        if self._bridge is not None:
            url = self._bridge.login_url(url)
        if url.startswith("/"):
            return facts.mount + url
        return url if "://" in url else self.app.url_for(url, _external=False)

    def check(self) -> None:
        """Look at the whole app once, before its first request is served.

        Raises:
            SettingsError: a route lies under `endpoint_prefix`, markers contradict each other, or `login_url`,
                `fresh_login_url` or Flask-Login's `refresh_view` names no route.
        """
        with self._mutex:
            if self._checked:
                return
            self._bridge_login()
            self._check_login_url()
            standing: Callable[[Exception], Any] = self.app.handle_user_exception
            if standing != self._raised:
                # An extension that was set up after us would answer exceptions before we hear of them.
                self.app.handle_user_exception = partial(self._raised_to, standing)  # type: ignore[method-assign]
            app_wide = self.app.error_handler_spec[None][None]
            if app_wide.get(SessionError) == self._fault and StoreUnavailable not in app_wide:
                # A blueprint's errorhandler(Exception) would go before it.
                for name in self.app.blueprints:
                    self.app.error_handler_spec[name][None].setdefault(SessionError, self._fault)
            sockets = getattr(self.app.extensions.get("socketio"), "sockio_mw", None)
            if sockets is self._inner:  # its events would see the exchange of the request that opened their connection
                problem = (
                    "SocketIO(app) stands before SessionLifetime(app): its events do not see an end; call it after"
                )
                detail = {"endpoint": "socketio", "marked": "SocketIO", "problem": problem}
                self.engine.announce("marker_unreachable", self.engine.clock(), detail=detail)
            for lost in self._routes.check(self.engine.settings.endpoint_prefix):
                detail = {"endpoint": lost.endpoint, "marked": lost.marked, "problem": lost.problem}
                self.engine.announce("marker_unreachable", self.engine.clock(), detail=detail)
            self._checked = True

    def _bridge_login(self) -> None:
        """Bridge Flask-Login if the app has it; it may be set up before or after us."""
        if self._bridge is None:
            manager = manager_of(self.app)
            if manager is not None:
                self._bridge = FlaskLogin(self.app, manager, self.engine, lambda: self.exchange(request))

    def _check_login_url(self) -> None:
        settings, bridge = self.engine.settings, self._bridge
        url, fresh = settings.login_url, settings.fresh_login_url
        if bridge is not None:
            self._check_page("refresh_view", bridge.refresh_view() if fresh is None else None)
            url = bridge.login_url(url) if isinstance(url, str) else url
        self._check_page("login_url", url)
        self._check_page("fresh_login_url", fresh)

    def _check_page(self, name: str, url: object) -> None:
        if not isinstance(url, str) or url.startswith(("/", ".")) or "://" in url or url in self.app.view_functions:
            return
        near = difflib.get_close_matches(url, list(self.app.view_functions), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Write a path like '/login', or the endpoint of a route."
        raise SettingsError(name, url, "is no route of this app.", hint)


def _is_answer(fault: Exception) -> bool:
    """Say whether an exception is a finished answer and no failure: `abort(redirect("/home"))`, a redirect of the router's."""
    if not isinstance(fault, HTTPException):
        return False
    status = fault.code if fault.response is None else fault.response.status_code
    return status is not None and status < 400


def _no_server(status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
    """Stand for the server's start_response where there is no server: in a request context that a test has made."""
    return discard


def _body_reader(current: Request) -> Callable[[int], Any]:
    async def read_body(limit: int) -> bytes:
        refuse_endless(current.environ)
        try:
            return read_to_its_end(current.stream, limit)
        except RequestEntityTooLarge:
            raise ValueError("the body is too long") from None

    return read_body
