"""ASGI: a request for which nothing is due is answered as it is by an app whose store recognises nothing (design §6)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router
from starlette.testclient import TestClient

from session_middleware import Settings, fresh_login_required, no_touch, session_exempt, session_optional
from session_middleware.adapters import _asgi_gate, asgi
from session_middleware.adapters.starlette import SessionLifetimeMiddleware, session_from
from session_middleware.core.record import SessionRecord
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock

SETTINGS = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"])


class Recognising(MemoryStore):
    """A store that counts what it recognises."""

    def __init__(self) -> None:
        super().__init__()
        self.recognised = 0

    def holds(self, record: SessionRecord) -> bool:
        known = super().holds(record)
        self.recognised += known
        return known


class Forgetful(MemoryStore):
    """A store that recognises nothing."""

    def holds(self, record: SessionRecord) -> bool:
        return False


async def who(request: Request) -> Response:
    return PlainTextResponse(str(session_from(request).subject))


async def opened(request: Request) -> Response:
    return PlainTextResponse(str((await session_from(request).open()).subject))


async def optional(request: Request) -> Response:
    return await who(request)


async def fresh(request: Request) -> Response:
    return await who(request)


async def poll(request: Request) -> Response:
    return await who(request)


async def says_of_caches(request: Request) -> Response:
    return PlainTextResponse("cached", headers={"Vary": "Accept", "Cache-Control": "max-age=60"})


async def in_parts(request: Request) -> Response:
    async def parts() -> Any:
        yield b"one"
        yield b"two"

    return StreamingResponse(parts())


async def changes(request: Request) -> Response:
    session_from(request).update_claims(tier="gold")
    return PlainTextResponse(session_from(request).claims["tier"])


async def login(request: Request) -> Response:
    await session_from(request).login("alice")
    return PlainTextResponse("welcome")


class Page(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return await who(request)

    @session_optional
    async def put(self, request: Request) -> Response:
        return await who(request)


PATHS: dict[str, Any] = {  # Any: endpoints
    "/who": who,
    "/opened": session_exempt(opened),
    "/optional": session_optional(optional),
    "/fresh": fresh_login_required(within=300)(fresh),
    "/poll": no_touch(poll),
    "/says": says_of_caches,
    "/parts": in_parts,
    "/changes": changes,
    "/class": Page,
}


def on_starlette(store: MemoryStore, clock: FakeClock) -> Any:
    routes = [Route(path, endpoint, methods=None) for path, endpoint in PATHS.items()]
    return Starlette(
        routes=[
            Route("/login", session_optional(login), methods=["POST"]),
            *routes,
            Mount("/deep", Router([Mount("/er", Router(routes))])),
        ],
        middleware=[Middleware(SessionLifetimeMiddleware, settings=SETTINGS, store=store, clock=clock)],
    )


def on_fastapi(store: MemoryStore, clock: FakeClock) -> Any:
    app = FastAPI(middleware=[Middleware(SessionLifetimeMiddleware, settings=SETTINGS, store=store, clock=clock)])
    app.post("/login")(session_optional(login))
    router = APIRouter()
    for path, endpoint in PATHS.items():
        if endpoint is Page:
            router.add_route(path, endpoint)
        else:
            router.get(path, response_model=None)(endpoint)
    app.include_router(router)
    app.include_router(router, prefix="/deep/er")
    return app


def plain(store: MemoryStore, clock: FakeClock) -> Any:
    """One app behind one marker: what the paths say is for the others."""

    @session_optional
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await Router()(scope, receive, send)
            return
        session = asgi.session_from(scope)
        if scope["method"] == "POST" and scope["path"] == "/login":
            await session.login("alice")
        await PlainTextResponse(str(session.subject))(scope, receive, send)

    return asgi.SessionLifetimeMiddleware(app, SETTINGS, store, clock=clock)


def visits(make: Callable[[MemoryStore, FakeClock], Any], store: MemoryStore) -> list[Any]:
    """Sign in and visit every page three times with each method; return what can be seen of each answer."""
    clock = FakeClock()
    seen = []
    with TestClient(make(store, clock), base_url="https://app.example", follow_redirects=False) as client:
        assert client.post("/login").status_code == 200
        clock.advance(1)
        client.get("/who")  # records that time has moved (L5)
        for below, path, method in itertools.product(
            ("", "/deep/er"), [*PATHS, "/none"], ("GET", "HEAD", "OPTIONS", "PUT")
        ):
            for _ in range(3):
                answer = client.request(method, below + path)
                seen.append(
                    (
                        below + path,
                        method,
                        answer.status_code,
                        answer.text,
                        sorted(answer.headers.get("vary", "").lower().split(", ")),
                        answer.headers.get("cache-control"),
                        "set-cookie" in answer.headers,
                    )
                )
    return seen


@pytest.mark.parametrize("make", [on_starlette, on_fastapi, plain])
def test_a_quiet_request_is_answered_like_any_other(make: Callable[..., Any]) -> None:
    """L18, L21: whichever way a signed-in request goes, status, body and what is said of caches are the same."""
    store = Recognising()
    assert visits(make, store) == visits(make, Forgetful())
    assert store.recognised > 30


def test_more_endpoints_than_are_remembered_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """L21: an endpoint whose rules are not remembered is judged by them all the same."""
    monkeypatch.setattr(_asgi_gate, "_WAYS", 1)
    assert visits(on_starlette, Recognising()) == visits(on_starlette, Forgetful())


@pytest.mark.parametrize("make", [on_starlette, plain])
def test_cookie_headers_are_read_as_one(make: Callable[..., Any]) -> None:
    """RFC 9113 §8.2.3: a client of HTTP/2 may split its cookies; two tokens that differ are refused in any order (L10)."""
    store = MemoryStore()
    with TestClient(make(store, FakeClock()), base_url="https://app.example") as client:
        client.post("/login")
        cookies = [(f"{name}={value}").encode() for name, value in client.cookies.items()]
        client.cookies.clear()
        stranger = cookies[0][:-4] + b"AAAA"

        def shown(*each: bytes) -> str:
            return client.get("/optional", headers=[(b"cookie", one) for one in each]).text

        assert shown(*cookies) == "alice"
        assert shown(b"theme=dark", *cookies, b"lang=de") == "alice"
        assert shown(b"; ".join(cookies)) == "alice"
        assert shown(*cookies, stranger) == "None"
        assert shown(stranger, *cookies) == "None"
        assert shown(b"theme=dark") == "None"
