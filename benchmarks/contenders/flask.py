"""Flask: the bare app, ours, Flask's cookie session and Flask-Session."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import Flask, Response, request, session

from benchmarks.clients import WSGIClient
from benchmarks.contenders import SECRET, Contender, minimum, ours
from benchmarks.contenders.alice import ALICE, KEPT, SAID

__all__ = ["make"]

Traffic = Callable[[], tuple[int, int]]


def make(name: str, options: str, counting: bool) -> Contender:
    """Make a contender by name."""
    app = Flask("benchmark")
    app.config.update(SECRET_KEY=SECRET, SESSION_COOKIE_SECURE=True)
    traffic: Traffic = lambda: (0, 0)  # noqa: E731 # the type says what it is
    if name == "bare":
        _bare(app)
    elif name == "get-redis":
        _get(app)
    elif name.startswith("minimum"):
        _minimum(app, with_redis=name == "minimum-redis")
    elif name.startswith("ours-"):
        traffic = _ours(app, name.removeprefix("ours-"), counting)
    else:
        _peer(app, permanent=name == "cookie-permanent")
        if name.startswith("flask-session-"):
            traffic = _server_side(app, name.removeprefix("flask-session-"))
    return Contender(WSGIClient(app), "/me", traffic, app)


def _route(app: Flask, me: Callable[[], str], login: Callable[[], Any]) -> None:
    app.add_url_rule("/me", "me", me)
    app.add_url_rule("/login", "login", login, methods=["POST"])


def _bare(app: Flask) -> None:
    def me() -> str:
        return ALICE

    _route(app, me, me)


def _get(app: Flask) -> None:
    """An app that does nothing but one GET of as many bytes as a session of ours has in Redis."""
    client = ours.redis_client(asynchronous=False)

    def me() -> str:
        client.get("minimum")
        return ALICE

    def login() -> str:
        client.set("minimum", bytes(ours.RECORD_BYTES))
        return "welcome"

    _route(app, me, login)


def _minimum(app: Flask, *, with_redis: bool) -> None:
    """The hand-written minimum around the whole app: in memory, or with one GET."""
    client = ours.redis_client(asynchronous=False) if with_redis else None
    known, inner = minimum.Known(), app.wsgi_app

    def me() -> str:
        subject: str = request.environ["minimum"]
        return subject

    def login() -> Response:
        if client is not None:
            client.set(minimum.KEY, minimum.record(ours.RECORD_BYTES))
        answer = Response("welcome")
        for line in minimum.COOKIES:
            answer.headers.add("Set-Cookie", line)
        return answer

    def around(environ: Any, start_response: Any) -> Any:
        def finished(status: str, headers: list[tuple[str, str]], fault: Any = None) -> Any:
            headers += [("Vary", "Cookie"), ("Cache-Control", "private, no-cache")]
            return start_response(status, headers, fault)

        if client is None:
            signed_in = known.is_signed_in(environ.get("HTTP_COOKIE"))
        else:
            signed_in = not minimum.has_ended(client.get(minimum.KEY))
        if signed_in:
            environ["minimum"] = ALICE
        return inner(environ, finished)

    app.wsgi_app = around  # type: ignore[method-assign]
    _route(app, me, login)


def _ours(app: Flask, kind: str, counting: bool) -> Traffic:
    from session_middleware.adapters.flask import SessionLifetime, session_from

    def me() -> str:
        return session_from().subject or ""

    def login() -> str:
        session_from().login(ALICE, **SAID)
        return "welcome"

    _route(app, me, login)

    store = ours.store(kind, counting)
    SessionLifetime(app, ours.settings(), store)
    return ours.traffic(store)


def _peer(app: Flask, *, permanent: bool) -> None:
    app.config["PERMANENT_SESSION_LIFETIME"] = timedelta(hours=1)

    def me() -> str:
        user: str = session["user"]
        return user

    def login() -> str:
        session.update(KEPT)
        if permanent:
            session.permanent = True
        return "welcome"

    _route(app, me, login)


def _server_side(app: Flask, kind: str) -> Traffic:
    from flask_session import Session  # type: ignore[import-untyped]

    if kind == "redis":
        from redis import Redis

        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(os.environ["BENCHMARK_REDIS_URL"]))
    else:
        from cachelib.file import FileSystemCache

        app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=FileSystemCache(str(ours.folder())))
    Session(app)
    side: Any = app.session_interface
    read, write, calls = side._retrieve_session_data, side._upsert_session, [0, 0]

    def counted_read(*args: Any) -> Any:
        calls[0] += 1
        return read(*args)

    def counted_write(*args: Any) -> Any:
        calls[0] += 1
        calls[1] += 1
        return write(*args)

    side._retrieve_session_data, side._upsert_session = counted_read, counted_write
    return lambda: (calls[0], calls[1])
