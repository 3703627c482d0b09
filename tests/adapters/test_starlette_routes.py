"""The endpoint judged is the endpoint run, wherever it hangs and however it is written (L21)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from session_middleware import (
    SessionEvent,
    Settings,
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.adapters._asgi_connection import KEY
from session_middleware.adapters._hidden_markers import strict
from session_middleware.adapters.starlette import SessionLifetimeMiddleware, session_from
from session_middleware.core.exchange import NO_RULES, RouteRules, rules_of
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.stage import KEY as STAGE_KEY
from tests.adapters.closed_over import HELD, HandsOn
from tests.adapters.starlette_shop import Shop, page, sign_in

# --- random apps -------------------------------------------------------------------------------------------------------

MARKERS: dict[str, Callable[[Any], Any]] = {
    "none": lambda endpoint: endpoint,
    "optional": session_optional,
    "exempt": session_exempt,
    "required": session_required,
    "fresh": fresh_login_required(within=300),
    "no_touch": no_touch,
}
SEGMENTS = ["a", "b", "{value}"]
HOSTS = ["app.example", "shop.example"]


@dataclass(frozen=True)
class Leaf:
    kind: str
    marker: str
    segment: str
    method: str


@dataclass(frozen=True)
class Branch:
    kind: str
    segment: str
    within: tuple[Leaf | Branch, ...]


LEAVES = st.builds(
    Leaf,
    kind=st.sampled_from(["function", "class", "partial", "api", "socket"]),
    marker=st.sampled_from(sorted(MARKERS)),
    segment=st.sampled_from(SEGMENTS),
    method=st.sampled_from(["GET", "POST"]),
)
TREES = st.recursive(
    LEAVES,
    lambda within: st.builds(
        Branch,
        kind=st.sampled_from(["mount", "app", "fastapi", "host", "include", "wrapped"]),
        segment=st.sampled_from(SEGMENTS),
        within=st.lists(within, min_size=1, max_size=3).map(tuple),
    ),
    max_leaves=8,
)


class Reached:
    """Which endpoints ran, and whether each was judged by its own rules before."""

    def __init__(self) -> None:
        self.markers: list[str] = []

    def note(self, scope: Any, marker: str, endpoint: Any) -> None:
        x = scope[KEY]
        assert x.judged, f"an endpoint marked {marker} ran unjudged"
        assert x.rules == (rules_of(endpoint) or NO_RULES), f"an endpoint marked {marker} was judged by other rules"
        self.markers.append(marker)


def make_endpoint(leaf: Leaf, reached: Reached) -> Any:
    if leaf.kind == "socket":

        async def talk(websocket: WebSocket) -> None:
            reached.note(websocket.scope, leaf.marker, talk)
            await websocket.accept()
            await websocket.close()

        return MARKERS[leaf.marker](talk)
    if leaf.kind == "class":

        class Page(HTTPEndpoint):
            async def answer(self, request: Request) -> Response:
                reached.note(request.scope, leaf.marker, Page)
                return PlainTextResponse("here")

            get = post = answer

        return MARKERS[leaf.marker](Page)

    async def view(request: Request) -> Response:
        reached.note(request.scope, leaf.marker, view)
        return PlainTextResponse("here")

    marked = MARKERS[leaf.marker](view)
    return functools.partial(marked) if leaf.kind == "partial" else marked


def add(node: Leaf | Branch, router: Any, reached: Reached, depth: int = 0) -> None:
    """Hang a leaf or a branch with all that is in it into a router of either framework."""
    path = f"/{node.segment}".replace("value", f"value{depth}")
    if isinstance(node, Leaf):
        endpoint = make_endpoint(node, reached)
        if node.kind == "socket":
            router.add_websocket_route(path, endpoint)
        elif node.kind == "api" and isinstance(router, APIRouter):
            router.add_api_route(path, endpoint, methods=[node.method])
        elif node.kind == "class":
            router.add_route(path, endpoint)
        else:
            router.add_route(path, endpoint, methods=[node.method])
        return
    includes = node.kind == "include" and isinstance(router, APIRouter)
    inner: Any = APIRouter() if includes or node.kind == "fastapi" else Router()
    if node.kind == "app":
        inner = Starlette().router
    app = inner
    for below in node.within:
        add(below, inner, reached, depth + 1)
    if node.kind == "app":
        app = Starlette(middleware=[Middleware(GZipMiddleware)])
        app.router.routes.extend(inner.routes)
    elif node.kind == "fastapi":
        app = FastAPI(openapi_url=None)
        app.include_router(inner, prefix="/b")
    elif node.kind == "wrapped":
        app = GZipMiddleware(inner)
    if includes:
        router.include_router(inner, prefix=path)
    elif node.kind == "host":
        router.host("shop.example", app)
    else:
        router.mount(path, app)


def make_shop(trees: list[Leaf | Branch], fast: bool, reached: Reached) -> Shop:
    app: Any = FastAPI(openapi_url=None) if fast else Starlette()
    app.router.add_route("/sign-in", sign_in, methods=["POST"])
    for tree in trees:
        add(tree, app.router, reached)
    return Shop(app=app)


PATHS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=5).map(lambda parts: "/" + "/".join(parts))
VISITS = st.lists(
    st.tuples(st.sampled_from(["GET", "POST", "HEAD", "PUT", "SOCKET"]), PATHS, st.booleans(), st.sampled_from(HOSTS)),
    min_size=10,
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(trees=st.lists(TREES, min_size=1, max_size=4), fast=st.booleans(), visits=VISITS)
def test_whatever_runs_was_judged_by_its_own_marker(trees: list[Any], fast: bool, visits: list[Any]) -> None:
    """In random nested apps each endpoint that runs was judged by its own rules, and closed ones never run for visitors."""
    reached = Reached()
    shop = make_shop(trees, fast, reached)
    shop.sign_in()
    with asyncio.Runner() as runner:
        shop.run = lambda call, *args: runner.run(call(*args))
        for method, path, slash, host in visits:
            target = path + "/" if slash and path != "/" else path
            for cookie in (shop.cookie, ""):
                reached.markers.clear()
                if method == "SOCKET":
                    first = shop.socket(target, cookie=cookie, host=host)[0]
                    refused = first["type"] != "websocket.accept"
                else:
                    answer = shop.call(method, target, cookie=cookie, host=host)
                    refused = answer.status in (401, 404, 405, 307)
                    assert cookie or reached.markers or answer.status == 401
                assert refused == (not reached.markers)
                assert cookie or set(reached.markers) <= {"optional", "exempt"}


# --- what an endpoint can be -------------------------------------------------------------------------------------------


class Marked(HTTPEndpoint):
    @session_optional
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("open")

    def post(self, request: Request) -> Response:
        return PlainTextResponse("closed")


@session_exempt
class Exempt(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("open")

    @session_required
    async def post(self, request: Request) -> Response:
        return PlainTextResponse("closed")


class Callable_:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("here")(scope, receive, send)


class MarkedCall(Callable_):
    @session_optional
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await super().__call__(scope, receive, send)


class Dispatched(HTTPEndpoint):
    """Takes every method itself."""

    @session_optional
    async def dispatch(self) -> None:
        await PlainTextResponse("open")(self.scope, self.receive, self.send)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/marked", 200),
        ("HEAD", "/marked", 200),
        ("POST", "/marked", 401),
        ("PUT", "/marked", 401),
        ("GET", "/exempt", 200),
        ("POST", "/exempt", 401),
        ("GET", "/partial", 200),
        ("GET", "/callable", 200),
        ("GET", "/closed-callable", 401),
        ("GET", "/marked-call", 200),
        ("GET", "/dispatched", 200),
        ("PURGE", "/dispatched", 200),
        ("GET", "/sync", 200),
        ("POST", "/sync", 401),
    ],
)
def test_markers_on_every_kind_of_endpoint(method: str, path: str, status: int) -> None:
    """Classes, their methods, partials, callables and `def` endpoints carry markers; a wrong method is nobody's endpoint."""

    async def three(request: Request, number: int) -> Response:
        return PlainTextResponse(str(number))

    def sync(request: Request) -> Response:
        return PlainTextResponse("here")

    shop = Shop(
        Route("/marked", Marked),
        Route("/exempt", Exempt),
        Route("/partial", functools.partial(session_optional(three), number=3)),
        Route("/callable", session_optional(Callable_())),
        Route("/closed-callable", Callable_()),
        Route("/marked-call", MarkedCall()),
        Route("/dispatched", Dispatched),
        Route("/sync", session_optional(sync)),
    )
    assert shop.status(path, method) == status


def test_a_route_added_while_the_app_runs_is_judged() -> None:
    """A route that comes, or replaces another, after requests were served is judged from its first request on."""
    shop = Shop(Mount("/part", routes=[Route("/one", page(session_optional))]))
    assert shop.status("/part/one") == 200
    mount = shop.app.routes[1]
    mount.app.routes[0] = Route("/one", session_required(lambda request: PlainTextResponse("closed")))
    mount.app.routes.append(Route("/two", lambda request: PlainTextResponse("closed")))
    assert shop.status("/part/one") == 401
    assert shop.status("/part/two") == 401
    shop.sign_in()
    assert shop.status("/part/two") == 200


def test_a_route_class_of_the_apps_own_is_judged() -> None:
    """A route class written after the middleware was made, with a `handle` of its own, does not run unjudged."""
    shop = Shop()
    assert shop.status("/own") == 401

    class Own(BaseRoute):
        def matches(self, scope: Any) -> tuple[Match, Any]:
            return (Match.FULL if scope["path"] == "/own" else Match.NONE), {}

        async def handle(self, scope: Any, receive: Any, send: Any) -> None:
            ran.append(scope["path"])
            await PlainTextResponse("here")(scope, receive, send)

    ran: list[str] = []
    shop.app.router.routes.append(Own())
    assert shop.status("/own") == 401
    assert ran == []
    shop.sign_in()
    assert shop.status("/own") == 200


def test_an_endpoint_that_hands_on_to_another_router() -> None:
    """Behind an open endpoint, a closed one of a router it hands on to is judged by its own marker."""
    inner = Router(
        [Route("/in/fresh", page(fresh_login_required(within=60))), Route("/in/open", page(session_optional))]
    )

    class HandsOn:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await inner(scope, receive, send)

    shop = Shop(Route("/in/{rest}", session_optional(HandsOn())))
    assert shop.status("/in/open") == 200
    assert shop.status("/in/fresh") == 401


def test_the_same_router_without_the_middleware() -> None:
    """Routes that are also served by an app without the middleware answer there as if we were not there."""
    routes = [Route("/page", session_required(lambda request: PlainTextResponse("here")))]
    assert Shop(*routes).status("/page") == 401
    unwrapped = Shop(*routes)
    unwrapped.app.user_middleware = []
    assert unwrapped.status("/page") == 200


# --- what is no endpoint -----------------------------------------------------------------------------------------------


def test_a_default_of_the_apps_own_is_judged_before_it_runs() -> None:
    """A router's own catch-all, on top or in a mount, does not run for visitors."""
    ran: list[str] = []

    async def catch_all(scope: Any, receive: Any, send: Any) -> None:
        ran.append(scope["path"])
        await PlainTextResponse("caught")(scope, receive, send)

    shop = Shop(Mount("/part", app=Router([Route("/page", page())], default=catch_all)))
    shop.app.router.default = catch_all
    assert shop.status("/nowhere") == 401
    assert shop.status("/part/nowhere") == 401
    assert ran == []
    shop.sign_in()
    assert shop.call("GET", "/nowhere").body == b"caught"
    assert shop.call("GET", "/part/nowhere").body == b"caught"


@pytest.mark.parametrize("path", ["/nowhere", "/page/", "/part", "/part/page/nowhere"])
def test_undetermined_endpoints_get_the_strictest_rule(path: str) -> None:
    """Unknown paths and slash redirects tell a visitor nothing; who is signed in gets the framework's answer."""
    shop = Shop(Route("/page", page(session_optional)), Mount("/part", routes=[Route("/page", page(session_optional))]))
    assert shop.status(path) == 401
    shop.sign_in()
    assert shop.status(path) in (307, 404)


def test_a_middleware_that_answers_by_itself() -> None:
    """What a middleware inside answers reaches nobody whom the strictest rule keeps out."""

    class Answers:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] == "/secret":
                await PlainTextResponse("the secret")(scope, receive, send)
            elif scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
            else:
                await self.app(scope, receive, send)

    shop = Shop(after=[Middleware(Answers)])
    answer = shop.call("GET", "/secret")
    assert (answer.status, b"secret" in answer.body) == (401, False)
    assert [message["type"] for message in shop.socket("/secret")] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    shop.sign_in()
    assert shop.call("GET", "/secret").body == b"the secret"


def test_what_a_middleware_inside_answers_of_somebody_is_private() -> None:
    """L18: what was said of a session that has been recognised without a look at the store is kept by no shared cache either."""

    class Answers:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] == "/mine":
                session = await session_from(scope).open()
                await PlainTextResponse(f"secret of {session.subject}")(scope, receive, send)
            else:
                await self.app(scope, receive, send)

    shop = Shop(Route("/page", page()), after=[Middleware(Answers)])
    shop.sign_in()
    shop.clock.advance(100)  # until it has been touched once, each request is looked at in full
    for _ in range(3):
        assert shop.status("/page") == 200
        answer = shop.call("GET", "/mine")
        assert (answer.body, answer.header("cache-control")) == (b"secret of alice", "private, no-cache")


# --- mounted apps ------------------------------------------------------------------------------------------------------


async def opaque(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("inside")(scope, receive, send)


def test_an_app_that_cannot_be_looked_into_is_judged_at_its_mount() -> None:
    """A mounted ASGI callable has the rules of its own marker, or the default; a wrapper hides no marker."""

    async def marked(scope: Any, receive: Any, send: Any) -> None:
        await opaque(scope, receive, send)

    shop = Shop(
        Mount("/closed", app=opaque),
        Mount("/open", app=session_optional(marked)),
        Mount("/wrapped", app=GZipMiddleware(marked)),
        Host("shop.example", app=opaque),
    )
    assert shop.status("/closed/x") == 401
    assert shop.status("/open/x") == 200
    assert shop.status("/wrapped/x") == 200
    assert shop.status("/x", host="shop.example") == 401
    shop.sign_in()
    assert shop.status("/closed/x") == 200


def test_static_files_are_open(tmp_path: Any) -> None:
    """A mount of StaticFiles is open, wrapped or not, and reads no cookie; a marker on it closes it."""
    (tmp_path / "a.css").write_text("a {}")
    private = session_required(StaticFiles(directory=tmp_path))
    shop = Shop(
        Mount("/static", app=StaticFiles(directory=tmp_path)),
        Mount("/fonts", app=CORSMiddleware(StaticFiles(directory=tmp_path), allow_origins=["*"])),
        Mount("/private", app=private),
    )
    assert shop.call("GET", "/static/a.css").header("vary") is None
    assert shop.status("/fonts/a.css") == 200
    assert shop.status("/private/a.css") == 401
    assert shop.status("/static/missing.css") == 404


def test_an_app_with_a_middleware_of_its_own() -> None:
    """A mounted app with its own session middleware has its own session; ours around it judges it as one endpoint."""
    inner = Shop(Route("/who", session_optional(who())), cookie_name="inner")
    outer = Shop(Mount("/open", app=session_optional(inner.app)), Mount("/closed", app=GZipMiddleware(opaque)))
    assert outer.status("/open/who") == 200
    outer.sign_in()
    answer = outer.call("POST", "/open/sign-in?subject=bob")
    cookies = "; ".join([outer.cookie, *(line.partition(";")[0] for line in answer.set_cookies)])
    assert "__Host-inner" in cookies
    assert outer.call("GET", "/open/who", cookie=cookies).body == b"bob"
    assert outer.call("GET", "/open/who").body == b""


def test_an_app_mounted_within_itself() -> None:
    """An app that hangs in itself is served by one exchange."""
    shop = Shop(Route("/who", who()))
    shop.app.router.mount("/again", shop.app)
    shop.sign_in()
    assert shop.call("GET", "/again/again/who").body == b"alice"


def who() -> Any:
    async def show_user(request: Request) -> Response:
        assert request.user.display_name == (session_from(request).subject or "")
        return PlainTextResponse(request.user.display_name)

    return show_user


# --- FastAPI -----------------------------------------------------------------------------------------------------------


def test_included_routers_three_deep_and_changed_later() -> None:
    """Plain routes, WebSockets, mounts and hosts in included routers are judged, those added afterwards too."""
    deep, middle, top = APIRouter(), APIRouter(), APIRouter()
    deep.add_route("/plain", page(session_optional))
    deep.add_api_route("/api", session_optional(saying()))
    deep.add_api_route("/closed", lambda: "closed")
    deep.mount("/mount", Router([Route("/open", page(session_optional)), Route("/closed", Callable_())]))
    deep.mount("/opaque", opaque)
    deep.add_websocket_route("/socket", session_optional(echo()))
    deep.add_websocket_route("/closed-socket", lambda websocket: websocket.accept())
    middle.include_router(deep, prefix="/deep")
    top.include_router(middle, prefix="/middle")
    app = FastAPI(openapi_url=None)
    app.include_router(top, prefix="/top")
    shop = Shop(app=app)
    at = "/top/middle/deep"
    expected = {"/plain": 200, "/api": 200, "/closed": 401, "/mount/open": 200, "/mount/closed": 401, "/opaque": 401}
    assert {path: shop.status(at + path) for path in expected} == expected
    assert shop.socket(at + "/socket")[0]["type"] == "websocket.accept"
    assert shop.socket(at + "/closed-socket")[0]["type"] == "websocket.http.response.start"
    deep.add_api_route("/later", session_optional(saying()))
    deep.add_route("/later-closed", lambda request: PlainTextResponse("closed"))
    assert {path: shop.status(at + path) for path in expected} == expected
    assert (shop.status(at + "/later"), shop.status(at + "/later-closed")) == (200, 401)


def saying() -> Any:
    async def say() -> str:
        return "said"

    return say


def echo() -> Any:
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(session_from(websocket).subject or "nobody")
        await websocket.close()

    return talk


def test_a_front_end_of_fastapi_is_open(tmp_path: Any) -> None:
    """`FastAPI.frontend` serves static files, and those are open; the path operations beside it are not."""
    (tmp_path / "index.html").write_text("<h1>front</h1>")
    app = FastAPI(openapi_url=None)
    app.add_api_route("/api", saying())
    app.router.frontend("/", directory=tmp_path)
    shop = Shop(app=app)
    assert shop.call("GET", "/index.html").body == b"<h1>front</h1>"
    assert shop.status("/api") == 401


# --- WebSockets --------------------------------------------------------------------------------------------------------


class Socket(WebSocketEndpoint):
    async def on_connect(self, websocket: WebSocket) -> None:
        await websocket.accept()


def test_websockets_are_refused_before_accept_and_get_no_cookie() -> None:
    """A refused handshake never reaches accept; an accepted one carries no cookie, even where a JWT is due (L15, L18)."""
    shop = Shop(
        WebSocketRoute("/echo", echo()),
        WebSocketRoute("/class", Socket),
        WebSocketRoute("/open", session_optional(echo())),
    )
    refusal, _ = shop.socket("/echo")
    assert (refusal["type"], refusal["status"]) == ("websocket.http.response.start", 401)
    assert shop.socket("/class", denial=False) == [{"type": "websocket.close", "code": 4401, "reason": ""}]
    assert shop.socket("/open")[1]["text"] == "nobody"
    shop.sign_in()
    shop.clock.advance(200)  # the JWT is due, but a handshake gets none
    accept, text, _ = shop.socket("/echo")
    assert not [name for name, _ in accept.get("headers", ()) if name == b"set-cookie"]
    assert text["text"] == "alice"
    assert shop.socket("/echo", origin="https://evil.example")[0]["status"] == 401


# --- what is reported when the app starts ---------------------------------------------------------------------------------


def hiding(view: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapper(request: Request) -> Any:
        return await view(request)

    return wrapper


def test_a_hidden_marker_is_reported_and_only_what_it_forbids_is_applied() -> None:
    """A decorator without functools.wraps hides a marker: that is said, and nothing opens by it."""
    shop = Shop(Route("/hidden", hiding(page(session_optional))), default_policy="optional")
    shop.status("/")
    assert [where for where, _ in shop.problems] == ["/hidden"]
    closed = Shop(Route("/hidden", hiding(page(session_required))), default_policy="optional")
    assert closed.status("/hidden") == 401
    handed_on = Shop(Route("/hidden", hiding(HandsOn(page(session_required)))), default_policy="optional")
    assert handed_on.status("/hidden") == 401


def test_a_marker_hidden_on_a_method_of_an_endpoint_class_still_forbids() -> None:
    """A decorator without functools.wraps around `get`; what the class says of the other methods stays."""

    def hiding_method(method: Any) -> Any:
        async def wrapper(self: Any, request: Request) -> Any:
            return await method(self, request)

        return wrapper

    @session_optional
    class Endpoint(HTTPEndpoint):
        @hiding_method
        @session_required
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("closed")

        async def post(self, request: Request) -> Response:
            return PlainTextResponse("open")

    shop = Shop(Route("/page", Endpoint))
    assert (shop.status("/page"), shop.status("/page", "POST")) == (401, 200)
    assert [where for where, _ in shop.problems] == ["/page"]


def test_a_marker_hidden_in_an_object_still_forbids() -> None:
    """A decorator that is a class keeps its function in an attribute."""

    class Counting:
        def __init__(self, view: Any) -> None:
            self.view = view

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await (await self.view(Request(scope, receive)))(scope, receive, send)

    shop = Shop(Route("/page", Counting(page(session_required))), default_policy="optional")
    assert shop.status("/page") == 401
    assert [where for where, _ in shop.problems] == ["/page"]


def test_a_marker_hidden_on_dispatch_still_forbids() -> None:
    """`dispatch` answers for every method, so what a decorator hides there holds for all of them."""

    def hiding_dispatch(method: Any) -> Any:
        async def wrapper(self: Any) -> None:
            await method(self)

        return wrapper

    class Endpoint(HTTPEndpoint):
        @hiding_dispatch
        @session_required
        async def dispatch(self) -> None:
            await super().dispatch()

        async def get(self, request: Request) -> Response:
            return PlainTextResponse("closed")

    shop = Shop(Route("/page", Endpoint), default_policy="optional")
    assert shop.status("/page") == 401
    assert [where for where, _ in shop.problems] == ["/page"]


def test_a_marker_on_a_method_goes_before_the_one_on_dispatch() -> None:
    """The method stands nearer to what runs."""

    class Endpoint(HTTPEndpoint):
        @session_optional
        async def dispatch(self) -> None:
            await super().dispatch()

        @session_required
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("closed")

        async def post(self, request: Request) -> Response:
            return PlainTextResponse("open")

    shop = Shop(Route("/page", Endpoint))
    assert (shop.status("/page"), shop.status("/page", "POST")) == (401, 200)


@pytest.mark.parametrize("held", [Starlette(), Router(), Route("/", page())], ids=["app", "router", "route"])
def test_what_the_app_holds_is_not_hidden_by_an_endpoint_that_holds_the_app(held: Any) -> None:
    """It reaches all there is, and what an endpoint does with it nobody knows."""
    held.report = session_required(page())

    async def holds(request: Request) -> Response:
        return PlainTextResponse(str(held))

    shop = Shop(Route("/holds", holds), default_policy="optional")
    assert shop.status("/holds") == 200
    assert shop.problems == []


def test_a_hidden_marker_forbids_and_never_allows() -> None:
    """No touch, no stale answer, no entry; what would open something is dropped."""
    allows = RouteRules(policy="exempt", touch=False, on_unavailable="stale", cross_site_login=True)
    assert strict(allows) == RouteRules(touch=False)
    forbids = RouteRules(policy="required", fresh_within=300, on_unavailable="refuse")
    assert strict(forbids) == forbids


def test_a_marker_hidden_on_a_bound_method_still_forbids() -> None:
    """A bound method takes no attributes, its function does; what is said of it in the report is so."""

    def hiding_method(method: Any) -> Any:
        async def wrapper(self: Any, request: Request) -> Any:
            return await method(self, request)

        return wrapper

    class Pages:
        @hiding_method
        @fresh_login_required(within=300)
        async def account(self, request: Request) -> Response:
            return PlainTextResponse("closed")

    shop = Shop(Route("/account", Pages().account), default_policy="optional")
    assert shop.status("/account") == 401
    ((where, problem),) = shop.problems
    assert (where, problem.rpartition("; ")[2]) == ("/account", "only what the marker forbids is applied")


def test_a_hidden_marker_that_cannot_be_applied_is_reported_as_such() -> None:
    """An object with slots takes no attribute: the default rule holds, and the report does not say otherwise."""

    class Counting:
        __slots__ = ("func",)

        def __init__(self, func: Any) -> None:
            self.func = func

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await (await self.func(Request(scope, receive)))(scope, receive, send)

    shop = Shop(Route("/page", Counting(page(session_optional))))
    assert shop.status("/page") == 401
    ((_, problem),) = shop.problems
    assert problem.endswith("as the endpoint takes no attributes, nothing of the marker is applied; put it outermost")


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_an_endpoint_may_hold_anything(held: object) -> None:
    """A proxy that cannot be asked now, a client of a database that answers to any name."""

    @session_optional
    async def opened(request: Request) -> Response:
        return PlainTextResponse("open")

    async def holds(request: Request) -> Response:
        return PlainTextResponse(str(id(held)))

    shop = Shop(Route("/open", opened), Route("/holds", holds))
    assert shop.status("/open") == 200
    assert shop.status("/holds") == 401
    assert shop.problems == []


def test_functions_that_use_each_other_are_looked_at_once() -> None:
    """Those of an app factory may, and to follow every way through them would take forever."""
    looks = []

    class Helper:
        @property
        def __wrapped__(self) -> None:
            looks.append(self)

        def __call__(self) -> None: ...

    helpers = [Helper(), Helper(), Helper()]
    for helper in helpers:
        vars(helper).update({f"helper_{number}": each for number, each in enumerate(helpers)})
    first = helpers[0]

    async def uses_one(request: Request) -> Response:
        return PlainTextResponse(str(first))

    Shop(Route("/", uses_one)).status("/")
    assert len(looks) == len(helpers)


def test_what_stands_in_the_wrong_place_is_reported() -> None:
    """Routes below endpoint_prefix, markers on routers, and CORSMiddleware on the wrong side are named at start-up."""
    inner = session_optional(Router([Route("/x", page())]))
    shop = Shop(
        Route("/session/status", page()),
        Mount("/part", app=inner),
        Mount("/session", routes=[Route("/deep", page())]),
        after=[Middleware(CORSMiddleware, allow_origins=["*"])],
    )
    shop.status("/")
    where = [place for place, _ in shop.problems]
    assert where == ["middleware", "/session/status", "/part", "/session", "/session/deep"]
    before = len(shop.events)
    shop.status("/")
    assert not [event for event in shop.events[before:] if event.name == "marker_unreachable"], "once is enough"


@fresh_login_required(within=60)
def guard() -> None: ...


def calls_guard(user: Annotated[None, Depends(guard)]) -> None: ...


def test_a_marker_on_or_as_a_dependency_is_reported() -> None:
    """FastAPI calls dependencies when the route was judged already; `Depends(session_required)` is a guard in name only."""

    def plain() -> None: ...

    app = FastAPI(openapi_url=None)
    app.add_api_route("/in-order", saying(), dependencies=[Depends(plain), Depends(plain)])
    app.add_api_route("/calls", saying(), dependencies=[Depends(plain), Depends(calls_guard)])
    app.add_api_route("/is-one", saying(), dependencies=[Depends(session_required())])
    shop = Shop(app=app)
    shop.status("/")
    assert [where for where, _ in shop.problems] == ["/calls", "/is-one"]
    assert "mark the endpoint" in shop.problems[0][1]


def test_a_view_that_is_also_a_dependency_is_in_order() -> None:
    """A marked endpoint that another one depends on has a route of its own, where its marker acts."""

    @session_optional
    def shown() -> str:
        return "shown"

    app = FastAPI(openapi_url=None)
    app.add_api_route("/shown", shown)
    app.add_api_route("/more", saying(), dependencies=[Depends(shown)])
    shop = Shop(app=app)
    assert (shop.status("/shown"), shop.status("/more"), shop.problems) == (200, 401, [])


def test_a_marker_on_the_class_whose_methods_are_endpoints() -> None:
    """As in the views of sqladmin: it holds for each, one on a method goes before, and the second request is no other."""

    @session_required
    class Desk:
        async def page(self, request: Request) -> Response:
            return PlainTextResponse("page")

        @session_optional
        async def sign_in(self, request: Request) -> Response:
            return PlainTextResponse("sign in")

    desk = Desk()
    shop = Shop(Route("/page", desk.page), Route("/form", desk.sign_in), default_policy="optional")
    for _ in range(2):
        assert (shop.status("/page"), shop.status("/form")) == (401, 200)
    shop.sign_in()
    for _ in range(2):
        assert (shop.status("/page"), shop.status("/form")) == (200, 200)


def test_a_marker_on_the_class_of_a_wrapped_method() -> None:
    """A decorator with functools.wraps around such a method hides nothing: what is said of class and method holds."""

    @session_required
    class Desk:
        @no_touch
        async def count(self, request: Request) -> Response:
            return PlainTextResponse("count")

    count = Desk().count

    @functools.wraps(count)
    async def around(request: Request) -> Response:
        return await count(request)

    shop = Shop(Route("/count", around), default_policy="optional")
    assert [shop.status("/count") for _ in range(2)] == [401, 401]
    assert shop.problems == []


def marked_app() -> Any:
    return session_required(FastAPI())


def marked_router() -> Any:
    app = FastAPI()
    session_required(app.router)
    return app


def marked_route() -> Any:
    return Starlette(routes=[session_required(Route("/secret", page()))])


def included(marked: APIRouter) -> Any:
    """An app that includes a router by way of another, which is mounted in a third."""
    between, inner, app = APIRouter(), FastAPI(), FastAPI()
    between.include_router(marked, prefix="/in")
    inner.include_router(between)
    app.mount("/part", inner)
    return app


def marked_and_included() -> Any:
    router = session_required(APIRouter())
    router.get("/secret")(page())
    return included(router)


def marked_dependency() -> Any:
    @session_required
    def checked() -> None: ...

    def by_way_of(value: None = Depends(checked)) -> None: ...

    router = APIRouter(dependencies=[Depends(by_way_of)])
    router.get("/secret")(page())
    return included(router)


@pytest.mark.parametrize(
    ("make", "where", "says"),
    [
        (marked_app, "app", "mark its endpoints"),
        (marked_router, "router", "mark its endpoints"),
        (marked_route, "/secret", "mark its endpoint"),
        (marked_and_included, "included router of /secret", "mark its endpoints"),
        (marked_dependency, "/part/in/secret", "mark the endpoint"),
    ],
)
def test_a_marker_beside_the_endpoint_is_reported(make: Callable[[], Any], where: str, says: str) -> None:
    """On the app, a router, a route or a dependency it would forbid nothing, and whoever wrote it believes that it does."""
    shop = Shop(app=make(), default_policy="optional")
    shop.status("/")
    ((found, problem),) = shop.problems
    assert (found, says in problem) == (where, True)


def test_a_marker_on_an_app_within_one_that_has_our_middleware_too_is_in_order() -> None:
    """It acts there: to the app around, the one inside is an endpoint."""
    events: list[SessionEvent] = []
    settings = Settings(secret_keys=[STAGE_KEY], default_policy="optional")
    ours = Middleware(SessionLifetimeMiddleware, settings=settings, store=MemoryStore(), on_event=events.append)
    inner = session_required(Starlette(routes=[Route("/secret", page())], middleware=[ours]))
    shop = Shop(app=Starlette(routes=[Mount("/in", inner)]), default_policy="optional")
    assert shop.status("/in/secret") == 401
    assert [event for event in events if event.name == "marker_unreachable"] == []


def test_a_marker_on_a_whole_app_that_we_stand_around_is_reported() -> None:
    """The same where the app is wrapped instead of given our middleware."""
    events: list[SessionEvent] = []
    app = session_required(Starlette(routes=[Route("/secret", page())]))
    settings = Settings(secret_keys=[STAGE_KEY], default_policy="optional")
    wrapped = SessionLifetimeMiddleware(app, settings=settings, store=MemoryStore(), on_event=events.append)
    assert TestClient(wrapped).get("/secret").status_code == 200
    assert [event.detail["where"] for event in events if event.name == "marker_unreachable"] == ["app"]


def test_a_session_middleware_on_one_route_is_reported() -> None:
    """The route is judged before its own middlewares run: what those keep is not there yet to be emptied (L26)."""
    kept = Middleware(SessionMiddleware, secret_key="x" * 40)
    routes = [Route("/one", page(), middleware=[kept]), Mount("/all", routes=[Route("/of", page())], middleware=[kept])]
    shop = Shop(*routes, after=[kept])
    shop.status("/")
    assert [where for where, _ in shop.problems] == ["/one"]


def test_nothing_is_reported_of_an_app_that_is_in_order() -> None:
    """An app with CORSMiddleware outside, decorators that keep markers, and endpoints that use each other is in order."""

    @session_optional
    async def shown(request: Request) -> Response:
        return PlainTextResponse("shown")

    @functools.wraps(shown)
    async def wrapping(request: Request) -> Response:
        return await shown(request)

    async def uses_another(request: Request) -> Response:
        return await shown(request)

    shop = Shop(
        Route("/shown", shown),
        Route("/wrapping", wrapping),
        Route("/uses", uses_another),
        before=[Middleware(CORSMiddleware, allow_origins=["*"])],
    )
    assert shop.status("/wrapping") == 200
    assert shop.problems == []


@pytest.mark.parametrize("side", ["before", "after"])
def test_cors_on_both_sides(side: str) -> None:
    """A preflight passes untouched, and a refusal given at an endpoint carries CORS headers on either side."""
    cors = Middleware(CORSMiddleware, allow_origins=["https://front.example"], allow_credentials=True)
    shop = Shop(Route("/page", page()), **{side: [cors]})  # type: ignore[arg-type]
    origin = {"origin": "https://front.example"}
    assert shop.status("/page", "OPTIONS", access_control_request_method="GET", **origin) == 200
    answer = shop.call("GET", "/page", **origin)
    assert (answer.status, answer.header("access-control-allow-origin")) == (401, "https://front.example")


def test_base_http_middleware_inside() -> None:
    """BaseHTTPMiddleware between us and the routes changes nothing: refusals, sessions and logins work through it."""

    async def stamp(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-stamp"] = "1"
        return response

    shop = Shop(Route("/who", who()), after=[Middleware(BaseHTTPMiddleware, dispatch=stamp)])
    refused = shop.call("GET", "/who")
    assert (refused.status, refused.header("x-stamp")) == (401, "1")
    shop.sign_in()
    answer = shop.call("GET", "/who")
    assert (answer.body, answer.header("vary"), answer.header("x-stamp")) == (b"alice", "Cookie", "1")
