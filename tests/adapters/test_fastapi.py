"""FastAPI: the session as a dependency, and what it says of itself in OpenAPI."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from starlette.testclient import TestClient

from session_middleware import (
    AsyncSession,
    Session,
    SessionNotAttached,
    Settings,
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.adapters.fastapi import (
    CurrentSession,
    CurrentSyncSession,
    SessionCookie,
    SyncSessionCookie,
    session_from,
)
from tests.adapters.starlette_shop import KEY, Shop, sign_in


def make_shop(app: FastAPI, **settings: Any) -> Shop:
    app.add_route("/sign-in", sign_in, methods=["POST"])
    return Shop(app=app, **settings)


def name_in_thread(session: CurrentSyncSession) -> str:
    return session.subject or ""


async def name_on_loop(session: CurrentSession) -> str:
    return session.subject or ""


def test_the_session_in_every_kind_of_function() -> None:
    """Endpoints and dependencies, `async def` and `def`, take the session that fits them, in included routers too."""
    router = APIRouter()

    @router.get("/names")
    async def names(
        session: CurrentSession,
        one: Annotated[str, Depends(name_in_thread)],
        other: Annotated[str, Depends(name_on_loop)],
    ) -> list[str | None]:
        return [session.subject, one, other]

    @router.get("/thread")
    def thread(session: CurrentSyncSession, other: Annotated[str, Depends(name_on_loop)]) -> dict[str, Any]:
        session.update_claims(seen=True)
        session.save()
        return {"name": session.subject, "other": other, "claims": dict(session.claims)}

    app = FastAPI()
    app.include_router(router, prefix="/api")
    shop = make_shop(app)
    assert shop.status("/api/names") == 401
    shop.sign_in()
    assert shop.call("GET", "/api/names").json == ["alice"] * 3
    assert shop.call("GET", "/api/thread").json == {"name": "alice", "other": "alice", "claims": {"seen": True}}


def depends_on(marker: Any, below: bool = False) -> Shop:
    """Make an app, open to all by itself, with `/order`, which depends on a marked function."""

    @marker
    def checked() -> None: ...

    def between(_: None = Depends(checked)) -> None: ...

    app = FastAPI()
    router = APIRouter(dependencies=[Depends(between if below else checked)])

    @router.get("/order")
    async def order() -> str:
        return "ordered"

    app.include_router(router)
    return make_shop(app, default_policy="optional")


@pytest.mark.parametrize("below", [False, True], ids=["dependency", "dependency of a dependency"])
def test_a_marker_on_a_dependency_is_reported_and_what_it_forbids_is_applied(below: bool) -> None:
    """FastAPI calls it, so whoever marked it means what calls it; that is said, and nothing opens by it (L21)."""
    shop = depends_on(fresh_login_required(within=60), below)
    assert shop.status("/order") == 401
    assert [where for where, _ in shop.problems] == ["/order"]
    shop.sign_in()
    assert shop.status("/order") == 200
    shop.clock.advance(61)
    assert shop.status("/order") == 401

    opened = depends_on(session_exempt, below)
    assert opened.status("/order") == 200
    assert "does nothing" in dict(opened.problems)["/order"]


def test_what_the_marker_of_a_dependency_forbids_holds_on_every_route_of_the_endpoint() -> None:
    """One function below two paths, one of them guarded: the report says that the other is closed as well."""

    @session_required
    def checked() -> None: ...

    async def order() -> str:
        return "ordered"

    app = FastAPI()
    app.add_api_route("/open", order)
    app.add_api_route("/guarded", order, dependencies=[Depends(checked)])
    shop = make_shop(app, default_policy="optional")
    assert [shop.status("/open"), shop.status("/guarded")] == [401, 401]
    ((where, problem),) = shop.problems
    assert (where, "every route of this endpoint" in problem) == ("/guarded", True)


@pytest.mark.parametrize("marker", [session_required, session_optional, no_touch, fresh_login_required(within=60)])
def test_a_marker_as_a_dependency_lets_nobody_in(marker: Any) -> None:
    """FastAPI takes what is to be marked for a parameter of the request; the docs say what it answers."""
    app = FastAPI()
    app.add_api_route("/order", lambda: "ordered", dependencies=[Depends(marker)])
    shop = make_shop(app, default_policy="optional")
    client = TestClient(app, raise_server_exceptions=False)
    assert [client.get(path).status_code in (422, 500) for path in ("/order", "/order?endpoint=x")] == [True, True]
    assert [where for where, _ in shop.problems] == ["/order"]


def test_the_marker_of_an_endpoint_goes_before_that_of_its_dependency() -> None:
    """Who may come in says what stands on the endpoint; what is stricter of the rest counts."""

    @fresh_login_required(within=60)
    @no_touch
    def checked() -> None: ...

    app = FastAPI()

    @app.get("/open", dependencies=[Depends(checked)])
    @session_optional
    async def opened() -> str:
        return "open"

    @app.get("/closed", dependencies=[Depends(checked)])
    @session_required
    async def closed() -> str:
        return "closed"

    shop = make_shop(app)
    assert [shop.status("/open"), shop.status("/closed")] == [200, 401]
    shop.sign_in()
    shop.clock.advance(61)
    assert [shop.status("/open"), shop.status("/closed")] == [200, 401]
    assert [where for where, _ in shop.problems] == ["/open", "/closed"]


def test_the_session_of_a_websocket() -> None:
    """The dependency works in WebSocket endpoints."""
    app = FastAPI()

    @app.websocket("/socket")
    async def talk(websocket: WebSocket, session: CurrentSession) -> None:
        await websocket.accept()
        await websocket.send_text(session.subject or "")
        await websocket.close()

    shop = make_shop(app)
    assert shop.socket("/socket")[0]["type"] == "websocket.http.response.start"
    shop.sign_in()
    assert shop.socket("/socket")[1]["text"] == "alice"


@pytest.mark.filterwarnings("error")
def test_a_function_of_the_wrong_kind_is_told_which_to_take() -> None:
    """A `def` function that takes CurrentSession, or an `async def` one that takes CurrentSyncSession, fails by name."""
    app = FastAPI()

    @app.get("/def")
    @session_optional
    def blocking(session: CurrentSession) -> None:
        raise AssertionError("it must not run")

    @app.get("/async")
    @session_optional
    async def awaiting(session: CurrentSyncSession) -> None:
        raise AssertionError("it must not run")

    def dependency(session: CurrentSession) -> None:
        raise AssertionError("it must not run")

    @app.get("/dependency", dependencies=[Depends(dependency)])
    @session_optional
    async def innocent() -> None:
        raise AssertionError("it must not run")

    shop = make_shop(app)
    with pytest.raises(SessionNotAttached, match=r"blocking is not `async def`; let it take CurrentSyncSession"):
        shop.status("/def")
    with pytest.raises(SessionNotAttached, match=r"awaiting is `async def`; let it take CurrentSession"):
        shop.status("/async")
    with pytest.raises(SessionNotAttached, match=r"dependency is not `async def`"):
        shop.status("/dependency")


def test_without_the_middleware() -> None:
    """Both dependencies say that the middleware is missing."""
    app = FastAPI()

    @app.get("/async")
    async def awaiting(session: CurrentSession) -> None:
        raise AssertionError("it must not run")

    @app.get("/def")
    def blocking(session: CurrentSyncSession) -> None:
        raise AssertionError("it must not run")

    shop = make_shop(app)
    app.user_middleware = []
    for path in ("/async", "/def"):
        with pytest.raises(SessionNotAttached, match="SessionLifetimeMiddleware"):
            shop.status(path)


def test_a_middleware_around_ours_is_told_where_to_stand() -> None:
    """FastAPI puts what is added later outside: the app is wrapped, and the message says what else is wrong."""
    app = FastAPI()

    @app.get("/")
    async def page() -> None:
        raise AssertionError("it must not run")

    shop = make_shop(app)

    @app.middleware("http")
    async def outside(request: Request, call_next: Any) -> Any:
        session_from(request)
        raise AssertionError("there is none yet")

    with pytest.raises(SessionNotAttached, match=r"must stand inside it: .* be added before it"):
        shop.status("/")


def test_an_exempt_path_operation_opens_the_session_itself() -> None:
    """On an exempt route the dependency reads nothing until the endpoint opens it."""
    app = FastAPI()

    @app.get("/exempt")
    @session_exempt
    async def exempt(session: CurrentSession) -> str | None:
        return (await session.open()).subject

    shop = make_shop(app)
    assert shop.call("GET", "/exempt").json is None
    shop.sign_in()
    assert shop.call("GET", "/exempt").json == "alice"


def test_a_dependency_with_yield_keeps_its_session() -> None:
    """The session is still there after a streamed body, when dependencies are closed."""
    app = FastAPI()
    closed: list[str | None] = []

    async def resource(session: CurrentSession) -> Any:
        yield
        closed.append(session.subject)

    @app.get("/stream", dependencies=[Depends(resource)])
    async def stream(session: CurrentSession) -> StreamingResponse:
        async def body() -> Any:
            yield (session.subject or "").encode()

        return StreamingResponse(body())

    shop = make_shop(app)
    shop.sign_in()
    assert shop.call("GET", "/stream").body == b"alice"
    assert closed == ["alice"]


def test_openapi_shows_the_cookie() -> None:
    """A path operation that takes the session shows the cookie as its security scheme, one that does not shows none."""
    app = FastAPI()

    @app.get("/async")
    async def awaiting(session: CurrentSession) -> None: ...

    @app.get("/def")
    def blocking(session: CurrentSyncSession) -> None: ...

    @app.get("/none")
    def none() -> None: ...

    document = app.openapi()
    scheme = document["components"]["securitySchemes"]["session"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "cookie", "__Host-session")
    assert document["paths"]["/async"]["get"]["security"] == [{"session": []}]
    assert document["paths"]["/def"]["get"]["security"] == [{"session": []}]
    assert "security" not in document["paths"]["/none"]["get"]
    assert "parameters" not in document["paths"]["/async"]["get"]


def test_openapi_names_the_cookie_of_the_settings() -> None:
    """A dependency made from the settings names the cookie that they set."""
    settings = Settings(secret_keys=[KEY], cookie_name="shop", insecure_dev=True)
    mine = Annotated[AsyncSession, Depends(SessionCookie(settings))]
    mine_in_thread = Annotated[Session, Depends(SyncSessionCookie(settings))]
    app = FastAPI()

    async def awaiting(session: Any) -> str | None:
        return session.subject  # type: ignore[no-any-return]

    def blocking(session: Any) -> str | None:
        return session.subject  # type: ignore[no-any-return]

    awaiting.__annotations__["session"] = mine
    blocking.__annotations__["session"] = mine_in_thread
    app.get("/async")(awaiting)
    app.get("/def")(blocking)
    assert app.openapi()["components"]["securitySchemes"]["session"]["name"] == "shop"
    shop = make_shop(app, cookie_name="shop", insecure_dev=True)
    shop.sign_in()
    with asyncio.Runner() as runner:
        shop.run = lambda call, *args: runner.run(call(*args))
        assert [shop.call("GET", path).json for path in ("/async", "/def")] == ["alice", "alice"]
