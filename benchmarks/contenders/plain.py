"""Plain ASGI and WSGI apps: bare and ours; there is no common peer."""

from __future__ import annotations

from typing import Any

from benchmarks.clients import ASGIClient, WSGIClient
from benchmarks.contenders import Contender, ours
from benchmarks.contenders.alice import ALICE, SAID

__all__ = ["make"]


def make(name: str, options: str, counting: bool) -> Contender:
    """Make a contender by name."""
    side, kind, *detail = name.split("-")
    store = ours.store(detail[0], counting) if kind == "ours" else None
    app = _asgi(store) if side == "asgi" else _wsgi(store)
    client = ASGIClient(app) if side == "asgi" else WSGIClient(app)
    return Contender(client, "/me", ours.traffic(store), app)


def _asgi(store: Any) -> Any:
    from session_middleware.adapters.asgi import SessionLifetimeMiddleware, session_from

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = ALICE.encode()
        if store is not None:
            session = session_from(scope)
            if scope["path"] == "/login":
                await session.login(ALICE, **SAID)
            body = (session.subject or "").encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app if store is None else SessionLifetimeMiddleware(app, settings=ours.settings(), store=store)


def _wsgi(store: Any) -> Any:
    from session_middleware.adapters.wsgi import SessionLifetimeMiddleware, session_from

    def app(environ: Any, start_response: Any) -> list[bytes]:
        body = ALICE.encode()
        if store is not None:
            session = session_from(environ)
            if environ["PATH_INFO"] == "/login":
                session.login(ALICE, **SAID)
            body = (session.subject or "").encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    return app if store is None else SessionLifetimeMiddleware(app, settings=ours.settings(), store=store)
