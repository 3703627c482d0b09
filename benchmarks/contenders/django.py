"""Django, one configuration a process: the bare handler, ours, and contrib.sessions with its backends.

The database is SQLite as one would tune it: WAL, synchronous NORMAL, a connection that stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import path
from django.utils.decorators import sync_and_async_middleware

from benchmarks.clients import ASGIClient, WSGIClient
from benchmarks.contenders import SECRET, Contender, minimum, ours
from benchmarks.contenders.alice import ALICE, KEPT, SAID

__all__ = ["make", "make_together"]

View = Callable[[HttpRequest], Any]
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
MINIMUM = "benchmarks.contenders.django.minimal"
OURS = "session_middleware.adapters.django.SessionLifetimeMiddleware"

#: Django finds the routes here; a contender sets them.
urlpatterns: list[Any] = []


def make(name: str, options: str, counting: bool) -> Contender:
    """Make a contender by name; the option is the side of Django, "wsgi" or "asgi"."""
    words = name.split("-")
    with_auth = words[0] == "auth"
    on_loop, with_redis = options == "asgi", words[-1] == "redis"
    store = ours.store(words[-1], counting, asynchronous=on_loop) if "ours" in words else None
    engine = "cache" if with_auth else words[0]
    has_sessions = with_auth or engine in ("signed_cookies", "cache", "db")
    folder = ours.folder()
    settings.configure(
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS=["app.example"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
        MIDDLEWARE=[
            *([SESSIONS] if has_sessions else []),
            *([AUTHENTICATION] if with_auth else []),
            *([OURS] if store is not None else []),
            *([MINIMUM] if engine == "minimum" else []),
        ],
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine if has_sessions else 'cache'}",
        SESSION_SAVE_EVERY_REQUEST="save" in words,
        SESSION_COOKIE_SECURE=True,
        CACHES={"default": _cache(with_redis)},
        SESSION_LIFETIME={"store": store},
        LOGIN_URL="/login",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / "db.sqlite3"),
                "CONN_MAX_AGE": None,
                "OPTIONS": {
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                    "transaction_mode": "IMMEDIATE",
                },
            }
        },
        USE_TZ=True,
    )
    django.setup()
    if has_sessions:
        _tables()
    if with_auth:
        views = _with_auth(options)
    elif store is not None:
        views = _ours(options)
    elif engine == "minimum":
        _client[:] = [ours.redis_client(asynchronous=on_loop)] if with_redis else []
        views = _minimum(options)
    elif with_redis and on_loop:
        views = _peer_awaited()
    else:
        views = _peer(options) if has_sessions else _bare(options)
    me, login = views
    urlpatterns[:] = [path("me", me), path("login", login)]
    if store is not None:
        traffic = ours.traffic(store)
    else:
        traffic = _counted(engine) if counting and has_sessions else lambda: (0, 0)
    return _contender(options, traffic)


def make_together(names: Sequence[str], options: str) -> dict[str, Contender]:
    """Make the bridge in one process with the app that it stands in front of, which a handler reads when it is made.

    Ours changes Django itself only where a user logs in or out and where a view raises.
    """
    bare, *others = names
    made = {bare: make(bare, options, counting=False)}
    for name in others:
        store = ours.store(name.rpartition("-")[2], counting=False, asynchronous=options == "asgi")
        override_settings(
            MIDDLEWARE=[SESSIONS, AUTHENTICATION, OURS],
            SESSION_LIFETIME={"store": store},
        ).enable()
        made[name] = _contender(options)
    return made


def _contender(side: str, traffic: Callable[[], tuple[int, int]] = lambda: (0, 0)) -> Contender:
    app: Any
    if side == "wsgi":
        app = get_wsgi_application()
        return Contender(WSGIClient(app), "/me", traffic, app)
    app = get_asgi_application()
    return Contender(ASGIClient(app), "/me", traffic, app)


def _cache(with_redis: bool) -> dict[str, str]:
    if with_redis:
        return {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ["BENCHMARK_REDIS_URL"],
        }
    return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


def _tables() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _on(side: str, view: View) -> View:
    """Return a view for this side of Django: as it is, or as a coroutine function."""
    if side == "wsgi":
        return view

    async def on_loop(request: HttpRequest) -> Any:
        return view(request)

    return on_loop


def _bare(side: str) -> tuple[View, View]:
    def me(request: HttpRequest) -> HttpResponse:
        return HttpResponse(ALICE)

    return _on(side, me), _on(side, me)


def _peer(side: str) -> tuple[View, View]:
    def me(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.session["user"])

    def login(request: HttpRequest) -> HttpResponse:
        request.session.update(KEPT)
        return HttpResponse("welcome")

    # In memory, a read needs no thread: what is measured is their middleware, at its best.
    return _on(side, me), _on(side, login)


def _peer_awaited() -> tuple[View, View]:
    """Views that wait for a server as Django's pages say: on a loop, by the session's awaited methods."""

    async def me(request: HttpRequest) -> HttpResponse:
        return HttpResponse(await request.session.aget("user"))

    async def login(request: HttpRequest) -> HttpResponse:
        await request.session.aupdate(KEPT)
        return HttpResponse("welcome")

    return me, login


#: The client of the minimum with one GET, in its one process.
_client: list[Any] = []


@sync_and_async_middleware
def minimal(get_response: Any) -> Any:  # Any: what Django gives and takes
    """The hand-written minimum as Django's middleware: in memory, or with one GET."""
    known, client = minimum.Known(), _client[0] if _client else None

    def began(request: Any, held: bytes | None) -> None:
        is_signed_in = (
            known.is_signed_in(request.META.get("HTTP_COOKIE")) if client is None else not minimum.has_ended(held)
        )
        if is_signed_in:
            request.minimum = ALICE

    def finished(response: Any) -> Any:
        response.headers["Vary"] = "Cookie"
        response.headers["Cache-Control"] = "private, no-cache"
        return response

    def blocking(request: Any) -> Any:
        began(request, None if client is None else client.get(minimum.KEY))
        return finished(get_response(request))

    async def awaited(request: Any) -> Any:
        began(request, None if client is None else await client.get(minimum.KEY))
        return finished(await get_response(request))

    return awaited if iscoroutinefunction(get_response) else blocking


def _minimum(side: str) -> tuple[View, View]:
    def me(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.minimum)  # type: ignore[attr-defined]

    def entered() -> HttpResponse:
        answer = HttpResponse("welcome")
        for line in minimum.COOKIES:
            name, _, value = line.partition(";")[0].partition("=")
            answer.set_cookie(name, value, secure=True, httponly=True)
        return answer

    def login(request: HttpRequest) -> HttpResponse:
        if _client:
            _client[0].set(minimum.KEY, minimum.record(ours.RECORD_BYTES))
        return entered()

    async def alogin(request: HttpRequest) -> HttpResponse:
        if _client:
            await _client[0].set(minimum.KEY, minimum.record(ours.RECORD_BYTES))
        return entered()

    return (me, login) if side == "wsgi" else (_on(side, me), alogin)


def _ours(side: str) -> tuple[View, View]:
    from session_middleware.adapters.django import asession_from, session_from

    def me(request: HttpRequest) -> HttpResponse:
        return HttpResponse(session_from(request).subject)

    def login(request: HttpRequest) -> HttpResponse:
        session_from(request).login(ALICE, **SAID)
        return HttpResponse("welcome")

    async def ame(request: HttpRequest) -> HttpResponse:
        return HttpResponse(asession_from(request).subject)

    async def alogin(request: HttpRequest) -> HttpResponse:
        await asession_from(request).login(ALICE, **SAID)
        return HttpResponse("welcome")

    return (me, login) if side == "wsgi" else (ame, alogin)


def _with_auth(side: str) -> tuple[View, View]:
    """Views of an app that knows contrib.auth alone; ours, where it is installed, bridges that login."""
    from django.contrib.auth import alogin, login
    from django.contrib.auth.models import User

    user = User.objects.create_user("alice", password=None)

    def me(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.user.get_username())

    def enter(request: HttpRequest) -> HttpResponse:
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        return HttpResponse("welcome")

    async def ame(request: HttpRequest) -> HttpResponse:
        return HttpResponse((await request.auser()).get_username())

    async def aenter(request: HttpRequest) -> HttpResponse:
        await alogin(request, user, backend="django.contrib.auth.backends.ModelBackend")
        return HttpResponse("welcome")

    return (me, enter) if side == "wsgi" else (ame, aenter)


def _counted(kind: str) -> Callable[[], tuple[int, int]]:
    """Count what a backend of contrib.sessions asks of a cache or a database."""
    calls = [0, 0]
    if kind == "db":
        from django.db import connection

        def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            calls[0] += 1
            calls[1] += sql.startswith(("INSERT", "UPDATE", "DELETE"))
            return execute(sql, params, many, context)

        connection.execute_wrappers.append(note)
    elif kind == "cache":
        from django.core.cache import caches

        cache: Any = caches["default"]
        for method in ("get", "set", "add", "delete"):
            setattr(cache, method, _noted(getattr(cache, method), calls, method != "get"))
    return lambda: (calls[0], calls[1])


def _noted(call: Callable[..., Any], calls: list[int], writes: bool) -> Callable[..., Any]:
    def noted(*args: Any, **named: Any) -> Any:
        calls[0] += 1
        calls[1] += writes
        return call(*args, **named)

    return noted
