"""Starlette and FastAPI: one line of middleware; routes are judged by the markers on their endpoints.

app = Starlette(routes=[...], middleware=[Middleware(SessionLifetimeMiddleware, settings=Settings(secret_keys=[...]))])

async def profile(request):
    session = session_from(request)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio.from_thread
from starlette.authentication import AuthCredentials, BaseUser
from starlette.requests import HTTPConnection
from starlette.routing import NoMatchFound, Router

from session_middleware.adapters import asgi
from session_middleware.adapters._asgi_connection import KEY, ASGIApp, Connection, Message, Receive, Scope, Send
from session_middleware.adapters._asgi_entrance import Entrance
from session_middleware.adapters._asgi_gate import Gate
from session_middleware.adapters._asgi_thread import refuse_in_thread, session_in_thread
from session_middleware.adapters._emptied import EMPTIED
from session_middleware.adapters._starlette_report import report
from session_middleware.adapters._starlette_routes import gate_default, place_gates, router_behind
from session_middleware.adapters.asgi import attached
from session_middleware.adapters.attach import attach
from session_middleware.authorities.base import Authority
from session_middleware.client import ScriptTag, script_tag
from session_middleware.core.exchange import NO_RULES, RequestFacts, rules_of
from session_middleware.errors import SettingsError
from session_middleware.events import Hook
from session_middleware.runtime import LoopRuntime, this_thread
from session_middleware.session import AsyncSession, Session, async_session_of
from session_middleware.sessions import AsyncSessions
from session_middleware.settings import Settings

__all__ = [
    "SessionLifetimeMiddleware",
    "Visitor",
    "safe_return_to",
    "session_client",
    "session_from",
    "sync_session_from",
]

Request = HTTPConnection | Scope


class Visitor(Connection, BaseUser, AuthCredentials):
    """`request.user` and `request.auth`: who is signed in, with the scope "authenticated".

    Nobody, on an exempt route that has not opened the session. It is the connection itself: one object less for every
    request.

    Attributes:
        emptied: the public id of the session for whose end `request.session` was emptied, in this request or before it.
    """

    __slots__ = ()

    emptied: str | None = None

    @property
    def is_authenticated(self) -> bool:
        return self.is_active or self.stale

    @property
    def display_name(self) -> str:
        return self.identity

    @property
    def identity(self) -> str:
        record = self.record
        return record.subject if record is not None and self.is_authenticated else ""

    @property
    def scopes(self) -> list[str]:  # type: ignore[override]  # not known yet when this is made
        return ["authenticated"] if self.is_authenticated else []

    async def _finish(self, message: Message) -> None:
        if self.created is not None:
            self.gate.judge_at_length(self.scope.get("endpoint"))
        await super()._finish(message)

    def empty_session(self) -> Awaitable[None] | None:
        """Empty `request.session`, where Starlette's SessionMiddleware keeps one, or starsessions (L26)."""
        # Until somebody loads it, starsessions' raises at every touch, and what is loaded later would bring all of it back.
        load = getattr(self.scope.get("session_handler"), "load", None)
        if load is not None:
            return self._empty_loaded(load)
        self._empty()
        return None

    async def _empty_loaded(self, load: Callable[[], Awaitable[None]]) -> None:
        await load()  # once a request: the view's own load_session() then leaves it as it is
        self._empty()

    def _empty(self) -> None:
        session, over, mark = self.scope.get("session"), self.over, self._mark
        if session is None:
            return
        self.emptied = over
        if over is not None and session.get(mark) == over:
            return
        # Another middleware of ours, around this one or inside it, has ends of its own.
        others = {name: kept for name, kept in session.items() if name.startswith(EMPTIED) and name != mark}
        session.clear()
        if others:
            session.update(others)
        if over is not None:
            session[mark] = over  # at once: a SessionMiddleware inside ours writes its cookie before we see the answer

    def noting(self, send: Send) -> Send:
        """Return a `send` for the view: before its response starts, `request.session` says again what it was emptied for.

        Many a page that begins a login clears it.
        """

        async def note_first(message: Message) -> None:
            if message["type"] == "http.response.start":
                session, mark = self.scope.get("session"), self._mark
                if session is not None and not self.deletes and self.over == self.emptied != session.get(mark):
                    session[mark] = self.emptied
            await send(message)

        return note_first

    @property
    def _mark(self) -> str:
        return f"{EMPTIED}:{self.gate.engine.settings.token_cookie}"


class SessionLifetimeMiddleware(Entrance):
    """Gives a Starlette or FastAPI app its sessions.

    Args:
        app: what Starlette puts there.
        settings: with `secret_keys`. `login_url` and `fresh_login_url` may be routes' names.
        store: a store, or its URL; by default SESSION_STORE_URL, else the file `sessions.db` here.
        authority: who vouches for a session; the app itself by default.
        clock: a callable returning seconds since the epoch.
        on_event: a callable, or several, that get each `SessionEvent`.

    `request.user` and `request.auth` say who is signed in, unless an AuthenticationMiddleware does.

    Raises:
        SettingsError: something given makes no sense.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        store: Any = None,  # Store | AsyncStore | str | None
        *,
        authority: Authority | None = None,
        clock: Callable[[], float] | None = None,
        on_event: Hook | Iterable[Hook] = (),
    ) -> None:
        place_gates()
        self.app = app
        self.engine = attach(
            settings,
            store,
            runtime=LoopRuntime(),
            authority=authority,
            clock=clock,
            on_event=on_event,
            resolve_login=self._login_url,
        )
        self.sessions = AsyncSessions(self.engine)
        self._gate = Gate(self.engine, app, kind=Visitor, judges_at_endpoint=True, names_user=True)
        self._router: Router | None = None
        self._pages: dict[str, str] = {}  # the paths of the routes that login_url and fresh_login_url name
        self._looked = False

    async def _begins_here(self, scope: Scope, receive: Receive, send: Send) -> bool:
        if not self._looked:
            self._look_at(scope.get("app"), inside_another=KEY in scope)
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return False
        outside: Connection | None = scope.get(KEY)
        if outside is not None and outside.gate is self._gate:  # this app within itself
            await self.app(scope, receive, send)
            return False
        return outside is None or await _let_in(scope, receive, send)

    def _look_at(self, app: object, *, inside_another: bool) -> None:
        """Look at the app once it is whole, when it starts or is first asked: its routes and its other middlewares."""
        self._router = router = router_behind(self.app) or router_behind(app)
        settings = self.engine.settings
        for setting, url in (("login_url", settings.login_url), ("fresh_login_url", settings.fresh_login_url)):
            if isinstance(url, str) and not _is_url(url):
                self._pages[url] = _path_of(setting, url, router)
        if router is not None:
            gate_default(router)
            # Within an app that has our middleware too, a marker on the whole app counts: see `_let_in`.
            report(self.engine, self.app, router, None if inside_another else app)
        self._looked = True

    def _login_url(self, facts: RequestFacts, login: str) -> str:
        login = self._pages.get(login, login)
        return facts.mount + login if login.startswith("/") else login


def _is_url(login: str) -> bool:
    return login.startswith("/") or "://" in login


def _path_of(setting: str, name: str, router: Router | None) -> str:
    try:
        if router is not None:
            return str(router.url_path_for(name))
    except NoMatchFound:
        pass
    raise SettingsError(
        setting, name, "is no route of this app.", "Give the name of a route without parameters, or a path."
    )


async def _let_in(scope: Scope, receive: Receive, send: Send) -> bool:
    """Judge for an app around this one: to it, we are the endpoint, with the markers of the app we belong to."""
    x: Connection = scope[KEY]
    gate = x.gate
    if isinstance(scope.get("user"), Visitor):
        del scope["user"], scope["auth"]  # who is signed in out there; in here that is ours to say
    if not gate.must_judge(x):
        return True
    return await gate.admit(x, rules_of(scope.get("app")) or NO_RULES, scope, receive, send)


def _scope_of(request: Any) -> Scope:  # Any: Request; not isinstance(), which is slow on abstract base classes
    scope: Scope = getattr(request, "scope", request)
    return scope


def session_from(request: Request) -> AsyncSession:
    """Return the session of a request or WebSocket, in asynchronous code.

    Args:
        request: the request, the WebSocket, or its scope.

    Raises:
        SessionNotAttached: it did not pass through the middleware, or this is a `def` endpoint.
    """
    try:
        x: Connection = request.scope[KEY]  # type: ignore[union-attr]  # nearly always a request
    except (AttributeError, KeyError):
        _, x = attached(_scope_of(request))
    if x.thread != this_thread():  # asked here: the call would cost more than the answer
        refuse_in_thread(x)
    return async_session_of(x.gate.engine, x)


def sync_session_from(request: Request) -> Session:
    """Return the session of a request in a `def` endpoint, which Starlette runs in a thread.

    Args:
        request: the request, or its scope.

    Raises:
        SessionNotAttached: it did not pass through the middleware, or this is an `async def` endpoint.
    """
    return session_in_thread(*attached(_scope_of(request)), anyio.from_thread.run)


def safe_return_to(request: Request, default: str = "/") -> str:
    """Return where to go after login: the return parameter if it is a path on this host, else `default` (L15).

    Args:
        request: the request, or its scope.
        default: where to go without one.
    """
    return asgi.safe_return_to(_scope_of(request), default)


def session_client(request: Request, **options: str) -> ScriptTag:
    """Return the tag that loads the browser script; in templates: `{{ session_client(request) }}` (docs/client.md).

    Args:
        request: the request, or its scope.
        options: as `session_middleware.client.script_tag` takes them.

    Raises:
        SessionNotAttached: it did not pass through the middleware.
        SettingsError: there is no such option.
    """
    engine, x = attached(_scope_of(request))
    return script_tag(engine.settings.endpoint_prefix, x.facts.mount, **options)
