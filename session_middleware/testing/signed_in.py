"""SignIn: a client of an app's own tests that is signed in, in each framework's own test client.

The session is begun by the app's own engine in its own store, and the client gets the cookies that a login would set.
"""

from __future__ import annotations

import asyncio  # beside runtime/ only here and in driven.py: a test owns the loop that a server owns otherwise
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

from session_middleware.adapters.wsgi import WSGIFacts
from session_middleware.core import lifetime
from session_middleware.core.exchange import Exchange
from session_middleware.core.record import SessionRecord
from session_middleware.engine import Engine
from session_middleware.errors import SessionNotAttached
from session_middleware.runtime import run_sync
from session_middleware.settings import seconds

__all__ = ["SignIn"]

T = TypeVar("T")

#: What a browser sends with what a page of the app itself asks for (L20).
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}

#: By which page the session was begun.
LOGIN_PAGE = {
    "REQUEST_METHOD": "POST",
    "PATH_INFO": "/",
    "wsgi.url_scheme": "https",
    "HTTP_HOST": "localhost",
    "HTTP_USER_AGENT": "session_middleware.testing",
    "REMOTE_ADDR": "127.0.0.1",
}

#: What is missing, and what to write.
_WRAP = "has no SessionLifetimeMiddleware: wrap the app, or add it to its middlewares."
_WRAP_FLASK = "has no sessions of ours: write SessionLifetime(app), or call init_app(app)."


class SignIn:
    """Makes signed-in clients; the fixture `signed_in` is one.

    Example:
        >>> from flask import Flask
        >>> from session_middleware import Settings
        >>> from session_middleware.adapters.flask import SessionLifetime, session_from
        >>> from session_middleware.stores.memory import MemoryStore
        >>> app = Flask("shop")
        >>> _ = SessionLifetime(app, Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"]), MemoryStore())
        >>> @app.get("/")
        ... def page():
        ...     return f"Hello {session_from().subject}"
        >>> client = SignIn()(app, "alice")
        >>> client.get("/").text
        'Hello alice'
    """

    def __call__(
        self,
        app: Any = None,  # an app of any framework, or a Django test client
        subject: Any = "alice",  # text, or a user of the framework
        *,
        claims: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        factors: Sequence[Mapping[str, Any]] = (),
        age: timedelta | float = 0.0,
        idle: timedelta | float = 0.0,
    ) -> Any:  # the framework's own test client
        """Return a test client of an app whose user signed in `age` ago and was last active `idle` ago.

        Args:
            app: what the session belongs to, and so which client comes back: a Flask app (`app.test_client()`), a
                Starlette or FastAPI app or any ASGI app behind our middleware (Starlette's `TestClient`), a WSGI app
                behind our middleware (werkzeug's `Client`), or for Django a test client or its class
                (`django.test.Client`, the default; `django.test.AsyncClient`).
            subject: who is signed in: the text given to `session.login`, or a user of Django or Flask-Login. With the
                logins of these two bridged (L23), the framework's own session is made too.
            claims: as for `session.login`.
            data: as for `session.login`.
            factors: as for `session.login`.
            age: seconds or `timedelta` since the login.
            idle: seconds or `timedelta` since the last activity; no activity at all if it is `age` or more.

        Raises:
            SessionNotAttached: the app has no sessions of ours.
        """
        if app is None and not _in_django_project():
            raise SessionNotAttached("No app was given, and this is no Django project. Write signed_in(app, subject).")
        family = _family(app)
        if family not in _FAMILIES:
            raise SessionNotAttached(f"{app!r} is no app, and no Django test client, that SignIn knows.")
        since, silent = seconds("age", age), seconds("idle", idle)
        login = {"claims": claims, "data": data, "factors": factors}
        return _FAMILIES[family](app, subject, lambda engine: _begun(engine, _id_of(subject), login, since, silent))


Begin = Callable[[Engine], tuple[SessionRecord, dict[str, str]]]


def _family(app: Any) -> str:
    kind = app if isinstance(app, type) else type(app)
    roots = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if app is None or ("django" in roots and hasattr(kind, "force_login")):
        return "django"
    for name in ("flask", "starlette"):
        if name in roots:
            return name
    if not (hasattr(app, "engine") or hasattr(app, "app")):
        return ""
    return "asgi" if _engine_behind(app).runtime.asynchronous else "wsgi"  # a middleware around ours may be of any kind


def _in_django_project() -> bool:
    try:
        from django.conf import ENVIRONMENT_VARIABLE, settings
    except ImportError:
        return False
    return settings.configured or ENVIRONMENT_VARIABLE in os.environ


def _id_of(subject: Any) -> str:
    """Return the text by which the framework's bridge knows a user."""
    if isinstance(subject, str):
        return subject
    if hasattr(subject, "get_id"):  # Flask-Login
        return str(subject.get_id())
    return str(getattr(subject, "pk", subject))


def _begun(
    engine: Engine, subject: str, login: Mapping[str, Any], age: float, idle: float
) -> tuple[SessionRecord, dict[str, str]]:
    """Begin a session and return its record and its cookies."""
    now = engine.clock()

    async def begin() -> tuple[SessionRecord, dict[str, str]]:
        x = Exchange(WSGIFacts(dict(LOGIN_PAGE)), now - max(age, idle))
        await engine.login(x, subject, **login)
        record, configured = x.created, x.configured
        assert record is not None
        pairs = (line.partition(";")[0].partition("=") for line in await engine.close(x))
        cookies = {name: value for name, _, value in pairs}
        if idle < age:
            touch = lifetime.touch(record, now - idle, configured, engine.settings.timing)
            if touch is not None:
                record = await engine.reach.touch(record, touch) or record
        return record, cookies

    return _run(begin, engine)


def _run(call: Callable[[], Coroutine[Any, Any, T]], engine: Engine) -> T:
    if not engine.runtime.asynchronous:
        return run_sync(call())
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(call())
    with ThreadPoolExecutor(1) as beside:  # an async test is running on this thread's loop
        return beside.submit(asyncio.run, call()).result()


def _engine_behind(app: Any, advice: str = _WRAP) -> Engine:
    """Return the engine of the middleware of ours that an app is wrapped in, or that stands in its stack.

    Raises:
        SessionNotAttached: there is none; the advice says what to write.
    """
    looked_at: list[Any] = []
    step = app
    while step is not None and all(step is not each for each in looked_at):
        looked_at.append(step)
        engine = getattr(step, "engine", None)
        if isinstance(engine, Engine):
            return engine
        if hasattr(step, "build_middleware_stack"):
            if step.middleware_stack is None:
                step.middleware_stack = step.build_middleware_stack()
            step = step.middleware_stack
        else:
            step = getattr(step, "app", None)
    raise SessionNotAttached(f"{app!r} {advice}")


# --- the clients of each framework -----------------------------------------------------------------------------------


def _flask(app: Any, subject: Any, begin: Begin) -> Any:
    from session_middleware.adapters._flask_login import LINK, manager_of
    from session_middleware.adapters.flask import EXTENSION

    gate = app.extensions.get(EXTENSION)
    engine = gate.engine if gate is not None else _engine_behind(app.wsgi_app, _WRAP_FLASK)
    record, cookies = begin(engine)
    client = app.test_client()
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    host = (app.config["SERVER_NAME"] or "localhost").partition(":")[0]
    for name, value in cookies.items():
        client.set_cookie(name, value, domain=host, secure=True, httponly=True, samesite="Lax")
    if gate is not None and manager_of(app) is not None:
        with client.session_transaction() as session:
            session.update({"_user_id": record.subject, "_fresh": True, LINK: record.public_id})
    return client


def _starlette(app: Any, subject: Any, begin: Begin) -> Any:
    from starlette.testclient import TestClient

    _, cookies = begin(_engine_behind(app))
    client = TestClient(app, base_url="https://testserver", headers=SAME_ORIGIN)
    for name, value in cookies.items():
        # The domain under which http.cookiejar keeps what a host without a dot sets: else a renewed cookie would
        # stand beside this one.
        client.cookies.set(name, value, domain="testserver.local")
    return client


def _wsgi(app: Any, subject: Any, begin: Begin) -> Any:
    from werkzeug.test import Client

    def same_origin(environ: dict[str, Any], start_response: Any) -> Any:  # Any: as PEP 3333 has them
        environ.setdefault("HTTP_SEC_FETCH_SITE", "same-origin")
        return app(environ, start_response)

    _, cookies = begin(_engine_behind(app))
    client: Any = Client(same_origin)
    for name, value in cookies.items():
        client.set_cookie(name, value, domain="localhost", secure=True, httponly=True, samesite="Lax")
    return client


def _django(app: Any, subject: Any, begin: Begin) -> Any:
    from django.test import Client

    from session_middleware.adapters._django_setup import current
    from session_middleware.adapters._django_user import LINK, ONCE

    setup = current()
    client = Client if app is None else app
    if isinstance(client, type):
        client = client(headers=SAME_ORIGIN)
    if setup.bridged and not isinstance(subject, str):
        client.force_login(subject)
    record, cookies = begin(setup.any_side().engine)
    if setup.bridged and not isinstance(subject, str):
        session = client.session
        session.pop(ONCE, None)
        session[LINK] = record.public_id
        session.save()
        _put(client, session)
    for name, value in cookies.items():
        client.cookies[name] = value
    return client


def _put(client: Any, session: Any) -> None:
    """Give a client the cookie of its Django session; with signed cookies it is the session itself."""
    from django.conf import settings

    client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key


_FAMILIES: dict[str, Callable[[Any, Any, Begin], Any]] = {
    "flask": _flask,
    "starlette": _starlette,
    "asgi": _starlette,
    "wsgi": _wsgi,
    "django": _django,
}
