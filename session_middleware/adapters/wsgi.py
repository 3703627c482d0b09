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
from urllib.parse import quote

from session_middleware.adapters._wsgi_open import HeldParts, belongs_to_session, is_event_stream, polled
from session_middleware.adapters._wsgi_response import ExcInfo, Headers, LateBody, LateStart, StartResponse, Write
from session_middleware.adapters.attach import attach
from session_middleware.authorities.base import Authority
from session_middleware.core.caching import finished
from session_middleware.core.exchange import Exchange, rules_of
from session_middleware.core.origin import return_path
from session_middleware.core.refusal import Reply
from session_middleware.endpoints import Endpoints
from session_middleware.engine import Engine
from session_middleware.errors import SessionError, SessionNotAttached, StoreUnavailable
from session_middleware.event_stream import EventStream
from session_middleware.events import Hook
from session_middleware.runtime import ThreadRuntime, run_sync
from session_middleware.session import Session, Sessions
from session_middleware.settings import Settings

__all__ = ["SessionLifetimeMiddleware", "WSGIFacts", "safe_return_to", "session_from"]

Environ = dict[str, Any]  # Any: WSGI puts anything there (PEP 3333)
WSGIApp = Callable[[Environ, Any], Iterable[bytes]]  # Any: start_response, whose type varies with the server's stubs

KEY = "session_middleware.exchange"

#: A `refusal=` of the app's own may answer any status, 419 for example, and PEP 3333 wants a phrase behind each.
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _native(text: str) -> str:
    """Decode what PEP 3333 calls a native string: bytes in the guise of Latin-1."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


class WSGIFacts:
    """RequestFacts of a WSGI request."""

    __slots__ = ("_environ", "cookies")

    websocket = False

    def __init__(self, environ: Environ) -> None:
        self._environ = environ
        self.cookies: str = environ.get("HTTP_COOKIE", "")

    @property
    def method(self) -> str:
        method: str = self._environ["REQUEST_METHOD"]
        return method

    @property
    def path(self) -> str:
        return _native(self._environ.get("PATH_INFO", "")) or "/"

    @property
    def mount(self) -> str:
        return _native(self._environ.get("SCRIPT_NAME", "")).rstrip("/")

    @property
    def target(self) -> str:
        environ = self._environ
        whole = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        query = environ.get("QUERY_STRING", "")
        path = quote(whole.encode("latin-1", "replace"), safe="/:;,@&=+$!*'()~")
        return f"{path or '/'}?{query}" if query else path or "/"

    @property
    def scheme(self) -> str:
        return str(self._environ.get("wsgi.url_scheme", "http"))

    @property
    def host(self) -> str:
        return str(self._environ.get("HTTP_HOST", ""))

    @property
    def client(self) -> str | None:
        return self._environ.get("REMOTE_ADDR") or None

    def header(self, name: str) -> str | None:
        key = "CONTENT_TYPE" if name == "content-type" else "HTTP_" + name.upper().replace("-", "_")
        value: str | None = self._environ.get(key)
        return value


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
        self.sessions = Sessions(self.engine)
        self._rules = rules_of(app)
        self._endpoint_of = endpoint_of

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        engine = self.engine
        x = engine.begin(WSGIFacts(environ))
        environ[KEY] = (engine, x)
        if self.endpoints.owns(x.facts.path):
            reply = run_sync(self.endpoints.answer(x, _body_reader(environ)))
            if isinstance(reply, EventStream):
                cookies = run_sync(engine.close(x))  # of ours none (L9), but a provider's may be due
                start_response("200 OK", finished(reply.headers, vary=engine.vary(x), protected=False, cookies=cookies))
                return polled(engine, x, reply)
            return _send(self, x, reply, start_response, environ)
        rules = self._rules if self._endpoint_of is None else rules_of(self._endpoint_of(environ)) or self._rules
        refusal = run_sync(engine.open(x, rules))
        if refusal is not None:
            return _send(self, x, engine.render(x, refusal), start_response, environ)
        responder = _Responder(engine, x, start_response)
        try:
            body = self.app(environ, responder)
            if responder.held is not None and type(body) in (list, tuple):  # nothing in there can fail
                responder.begin()
            if not responder.started:
                failed = partial(self._failed, x, responder, start_response, environ)
                body = LateBody(body, responder, failed, lambda: run_sync(engine.abandon(x)))
            elif type(body) in (list, tuple) or _is_the_servers(body, environ):
                return body
            if belongs_to_session(x):
                return HeldParts(body, engine, x, lambda: is_event_stream(responder.headers))
            return body
        except BaseException as problem:
            return self._failed(x, responder, start_response, environ, problem)

    def _failed(
        self,
        x: Exchange,
        responder: _Responder,
        start_response: StartResponse,
        environ: Environ,
        problem: BaseException,
    ) -> Iterable[bytes]:
        """The app raised: nothing it began may stand (L25); a store that was down is a 503, not the app's 500 (L17)."""
        if isinstance(problem, SessionError) and not responder.started:
            reply = run_sync(self.engine.answer(x, problem))
            if reply is not None:
                return _send(self, x, reply, start_response, environ)
        run_sync(self.engine.abandon(x))
        raise problem


class _Responder(LateStart):
    """The start_response that the app is given."""

    __slots__ = ("_start",)

    def __init__(self, engine: Engine, x: Exchange, start: StartResponse) -> None:
        super().__init__(engine, x)
        self._start = start

    def send(self, status: str, headers: Headers, exc_info: ExcInfo | None) -> Write:
        engine, x = self._engine, self._x
        if not x.closed:
            if engine.is_settled(x):
                x.closed = True
            else:
                self.cookies = run_sync(engine.close(x))
        self.started = True
        headers = finished(headers, vary=engine.vary(x), protected=x.protected, cookies=self.cookies)
        self.headers = headers
        if exc_info is None:
            return self._start(status, headers)
        return self._start(status, headers, exc_info)


def _is_the_servers(body: object, environ: Environ) -> bool:
    """Say whether this is a file that the server sends by itself (PEP 3333, "Optional Platform-Specific File Handling")."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


def _send(
    middleware: SessionLifetimeMiddleware, x: Exchange, reply: Reply, start_response: StartResponse, environ: Environ
) -> Iterable[bytes]:
    """Answer with a whole reply of ours."""
    try:
        cookies = run_sync(middleware.engine.close(x))
    except StoreUnavailable:
        cookies, reply = [], middleware.engine.unavailable(x)
    headers = finished(reply.headers, vary=middleware.engine.vary(x), protected=False, cookies=cookies)
    bodiless = reply.status in (204, 304)
    if not bodiless:
        headers.append(("Content-Length", str(len(reply.body))))
    start_response(f"{reply.status} {_PHRASES.get(reply.status, 'Unknown')}", headers)
    return [] if bodiless or environ["REQUEST_METHOD"] == "HEAD" else [reply.body]


def _body_reader(environ: Environ) -> Callable[[int], Any]:
    async def read_body(limit: int) -> bytes:
        try:
            length = int(environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            raise ValueError("Content-Length is not a number") from None
        if not 0 <= length <= limit:
            raise ValueError("the body is too long")
        body: bytes = environ["wsgi.input"].read(length) if length else b""
        return body

    return read_body


def attached(environ: Environ) -> tuple[Any, Exchange]:
    """Return engine and exchange of a request.

    Raises:
        SessionNotAttached: the request did not pass through the middleware.
    """
    pair = environ.get(KEY)
    if pair is None:
        raise SessionNotAttached(
            "This request did not pass through SessionLifetimeMiddleware. Wrap the app: "
            "app = SessionLifetimeMiddleware(app, settings=...)."
        )
    return pair  # type: ignore[no-any-return]  # put there by the middleware


def session_from(environ: Environ) -> Session:
    """Return the session of a WSGI request.

    Raises:
        SessionNotAttached: the request did not pass through the middleware.
    """
    engine, x = attached(environ)
    if x.session is None:
        x.session = Session(engine, x)
    session: Session = x.session
    return session


def safe_return_to(environ: Environ, default: str = "/") -> str:
    """Return where to go after login: the return parameter if it is a path on this host, else `default` (L15)."""
    engine, _ = attached(environ)
    return return_path(environ.get("QUERY_STRING", ""), engine.return_param, default)
