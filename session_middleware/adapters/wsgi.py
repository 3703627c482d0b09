"""Plain WSGI: wrap any WSGI callable.

application = SessionLifetimeMiddleware(application, settings=Settings(secret_keys=[...]))

def application(environ, start_response):
    session = session_from(environ)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any

from session_middleware.adapters._wsgi_body import body_reader
from session_middleware.adapters._wsgi_exchange import (
    KEY,
    OVER,
    Environ,
    StartResponse,
    Write,
    WSGIExchange,
    WSGIFacts,
    new,
)
from session_middleware.adapters._wsgi_open import HeldParts, is_event_stream, may_belong_to_session, polled
from session_middleware.adapters._wsgi_response import ExcInfo, Headers, LateBody, LateStart, is_the_servers, says
from session_middleware.adapters.attach import attach
from session_middleware.authorities.base import Authority
from session_middleware.core.caching import finished
from session_middleware.core.exchange import NO_RULES, rules_of
from session_middleware.core.origin import return_path
from session_middleware.core.refusal import Reply
from session_middleware.endpoints import Endpoints
from session_middleware.errors import SessionError, SessionNotAttached, StoreUnavailable
from session_middleware.event_stream import EventStream
from session_middleware.events import Hook
from session_middleware.runtime import ThreadRuntime, run_sync
from session_middleware.session import Session
from session_middleware.sessions import Sessions
from session_middleware.settings import Settings

__all__ = ["SessionLifetimeMiddleware", "WSGIFacts", "safe_return_to", "session_from"]

WSGIApp = Callable[[Environ, Any], Iterable[bytes]]  # Any: start_response, whose type varies with the server's stubs

#: A `refusal=` of the app's own may answer any status, 419 for example, and PEP 3333 wants a phrase behind each.
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class SessionLifetimeMiddleware:
    """Wraps a WSGI app.

    Args:
        app: the app. Markers (`session_optional` ...) on it apply to all of it; `exempt_paths` opens parts of it.
        settings: with `secret_keys`.
        store: a blocking store, or its URL; by default SESSION_STORE_URL, else the file `sessions.db` here.
        authority: who vouches for a session; the app itself by default.
        clock: a callable returning seconds since the epoch.
        on_event: a callable, or several, that get each `SessionEvent`.
        endpoint_of: for an app with routes of its own: returns the marked endpoint that will serve this environ, or
            None; without markers on it, the app's own apply.

    Raises:
        SettingsError: something given makes no sense.
    """

    def __init__(
        self,
        app: WSGIApp,
        settings: Settings,
        store: Any = None,  # Store | str | None
        *,
        authority: Authority | None = None,
        clock: Callable[[], float] | None = None,
        on_event: Hook | Iterable[Hook] = (),
        endpoint_of: Callable[[Environ], object] | None = None,
    ) -> None:
        self.app = app
        self.engine = attach(
            settings, store, runtime=ThreadRuntime(), authority=authority, clock=clock, on_event=on_event
        )
        self.endpoints = Endpoints(self.engine)
        self._own_paths = self.endpoints.prefix.encode().decode("latin-1")  # as PEP 3333 writes a path
        self._says = says(self.engine.vary_on)
        self.sessions = Sessions(self.engine)
        self._rules = rules_of(app)
        self._endpoint_of = endpoint_of

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        engine = self.engine
        x = new(_Answered)
        x.says = self._says
        x.begin(engine, environ, start_response)
        try:
            body = self._serve(x, environ)
        except BaseException:
            x.environ = {**environ, KEY: None}
            raise
        # Environ and exchange must not hold each other any longer. What is sent in parts may still ask something of its
        # request, and so may who looks at a session for the first time now.
        x.environ = OVER if x.quiet and type(body) in (list, tuple) else {**environ, KEY: None}
        return body

    def _serve(self, x: _Answered, environ: Environ) -> Iterable[bytes]:
        engine = self.engine
        if environ.get("PATH_INFO", "").startswith(self._own_paths):
            reply = run_sync(self.endpoints.answer(x, body_reader(environ)))
            if not isinstance(reply, EventStream):
                return _send(self, x, reply)
            cookies = run_sync(engine.close(x))  # of ours none (L9), but a provider's may be due
            headers = finished(reply.headers, vary=engine.vary(x), protected=False, cookies=cookies)
            x.server_start("200 OK", headers)
            return polled(engine, x, reply)
        rules = self._rules if self._endpoint_of is None else rules_of(self._endpoint_of(environ)) or self._rules
        if environ["REQUEST_METHOD"] == "OPTIONS" or not engine.open_quietly(x, rules or NO_RULES):
            refusal = run_sync(engine.open(x, rules))
            if refusal is not None:
                return _send(self, x, engine.render(x, refusal))
        try:
            body = self.app(environ, x.start)
            if x.held is not None and _is_at_hand(body, x, environ):
                x.release()
            if not x.started:
                body = LateBody(body, x, partial(self._failed, x), lambda: run_sync(engine.abandon(x)))
            elif type(body) in (list, tuple) or is_the_servers(body, environ):
                return body
            if may_belong_to_session(x):
                return HeldParts(body, engine, x, lambda: is_event_stream(x.headers))
            return body
        except BaseException as problem:
            return self._failed(x, problem)

    def _failed(self, x: _Answered, problem: BaseException) -> Iterable[bytes]:
        """The app raised: nothing it began may stand (L25); a store that was down is a 503, not the app's 500 (L17)."""
        if isinstance(problem, SessionError) and not x.started:
            reply = run_sync(self.engine.answer(x, problem))
            if reply is not None:
                return _send(self, x, reply)
        run_sync(self.engine.abandon(x))
        raise problem


class _Answered(LateStart):
    """One request, and the start_response that the app is given."""

    __slots__ = ()

    def send(self, status: str, headers: Headers, exc_info: ExcInfo | None) -> Write:
        engine = self.engine
        if not self.closed:
            if engine.is_settled(self):
                self.closed = True
            else:
                self.set_cookies = run_sync(engine.close(self))
        self.started = True
        self.headers = headers = finished(
            headers, vary=engine.vary(self), protected=self.protected, cookies=self.set_cookies
        )
        if exc_info is None:
            return self.server_start(status, headers)
        return self.server_start(status, headers, exc_info)


def _is_at_hand(body: object, x: _Answered, environ: Environ) -> bool:
    """Say whether an answer that is held may start: nothing in its body can fail, or take its time."""
    return type(body) in (list, tuple) or (x.created is None and is_the_servers(body, environ))


def _send(middleware: SessionLifetimeMiddleware, x: _Answered, reply: Reply) -> Iterable[bytes]:
    """Answer with a whole reply of ours."""
    try:
        cookies = run_sync(middleware.engine.close(x))
    except StoreUnavailable:
        cookies, reply = [], middleware.engine.unavailable(x)
    headers = finished(reply.headers, vary=middleware.engine.vary(x), protected=False, cookies=cookies)
    bodiless = reply.status in (204, 304)
    if not bodiless:
        headers.append(("Content-Length", str(len(reply.body))))
    x.server_start(f"{reply.status} {_PHRASES.get(reply.status, 'Unknown')}", headers)
    return [] if bodiless or x.method == "HEAD" else [reply.body]


def attached(environ: Environ) -> WSGIExchange:
    """Return the exchange of a request.

    Raises:
        SessionNotAttached: the request did not pass through the middleware.
    """
    x: WSGIExchange | None = environ.get(KEY)
    if x is None:
        raise SessionNotAttached(
            "This request did not pass through SessionLifetimeMiddleware. Wrap the app: "
            "app = SessionLifetimeMiddleware(app, settings=...)."
        )
    return x


def session_from(environ: Environ) -> Session:
    """Return the session of a WSGI request.

    Raises:
        SessionNotAttached: the request did not pass through the middleware.
    """
    x = attached(environ)
    return Session(x.engine, x)


def safe_return_to(environ: Environ, default: str = "/") -> str:
    """Return where to go after login: the return parameter if it is a path on this host, else `default` (L15)."""
    engine = attached(environ).engine
    return return_path(environ.get("QUERY_STRING", ""), engine.return_param, default)
