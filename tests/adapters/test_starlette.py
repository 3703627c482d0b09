"""The Starlette adapter beside the routes: sessions in endpoints, request.user, request.session, loops and the hot path."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio
from blockbuster import BlockBuster, BlockingError
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser, requires
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from session_middleware import (
    SessionNotAttached,
    Settings,
    SettingsError,
    fresh_login_required,
    session_exempt,
    session_optional,
)
from session_middleware.adapters import asgi as plain
from session_middleware.adapters.starlette import (
    SessionLifetimeMiddleware,
    safe_return_to,
    session_from,
    sync_session_from,
)
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from tests.adapters.starlette_shop import KEY, Shop, page, sign_in

# --- sessions in endpoints ---------------------------------------------------------------------------------------------


def test_session_from_takes_a_request_or_its_scope() -> None:
    """Both lead to the session of this request."""

    async def view(request: Request) -> Response:
        return PlainTextResponse(f"{session_from(request).subject} {session_from(request.scope).subject}")

    shop = Shop(Route("/", view))
    shop.sign_in()
    assert shop.call("GET", "/").body == b"alice alice"


def test_every_verb_in_a_def_endpoint() -> None:
    """A `def` endpoint runs in a thread, and each verb runs on the loop that serves the request."""

    @session_optional
    def view(request: Request) -> Response:
        session = sync_session_from(request)
        session.login("bob", claims={"n": 1})
        session.update_claims(n=2)
        session.save()
        session.extend(20)
        session.step_up([{"type": "otp"}])
        others = session.end_others()
        shown = {
            "subject": session.subject,
            "n": session.claims["n"],
            "others": others,
            "thread": threading.get_ident(),
        }
        session.logout()
        return JSONResponse(shown)

    shop = Shop(Route("/", view))
    answer = shop.call("GET", "/")
    assert (answer.json["subject"], answer.json["n"], answer.json["others"]) == ("bob", 2, 0)
    assert answer.json["thread"] != threading.get_ident()
    assert all("Max-Age=0" in line for line in answer.set_cookies)


def test_an_exempt_def_endpoint_reads_its_session_when_it_asks() -> None:
    """On an exempt route nothing is read; a `def` endpoint that asks gets the session then."""

    @session_exempt
    def view(request: Request) -> Response:
        return PlainTextResponse(sync_session_from(request).subject or "nobody")

    shop = Shop(Route("/", view))
    assert shop.call("GET", "/").body == b"nobody"
    shop.sign_in()
    assert shop.call("GET", "/").body == b"alice"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("run", ["async", "def"])
def test_the_wrong_accessor_names_the_right_one(run: str) -> None:
    """session_from in a thread and sync_session_from on the loop raise at the call and leave no coroutine behind."""
    said: list[str] = []

    def ask(accessor: Any, request: Request) -> Response:
        with pytest.raises(SessionNotAttached) as refused:
            accessor(request)
        said.append(str(refused.value))
        return PlainTextResponse("")

    async def on_loop(request: Request) -> Response:
        return ask(sync_session_from, request)

    def in_thread(request: Request) -> Response:
        return ask(session_from, request)

    shop = Shop(Route("/", session_optional(on_loop if run == "async" else in_thread)))
    assert shop.status("/") == 200
    assert ("session_from()" if run == "async" else "sync_session_from()") in said[0].split("Use")[-1].split("use")[-1]


@pytest.mark.filterwarnings("error")
def test_a_session_that_strays_to_another_thread_says_so() -> None:
    """A blocking session used on the loop, or in a thread of the app's own, raises and leaves no coroutine behind."""
    kept: list[Any] = []

    @session_optional
    def keep(request: Request) -> Response:
        kept.append(sync_session_from(request))
        thread = threading.Thread(target=stray)
        thread.start()
        thread.join()
        return PlainTextResponse("")

    def stray() -> None:
        with pytest.raises(SessionNotAttached, match="thread of your own"):
            kept[0].logout()

    @session_optional
    async def use(request: Request) -> Response:
        def make() -> None:
            kept.append(sync_session_from(request))

        await asyncio.to_thread(make)
        with pytest.raises(SessionNotAttached, match="session_from"):
            kept[1].logout()
        return PlainTextResponse("")

    shop = Shop(Route("/keep", keep), Route("/use", use))
    assert (shop.status("/keep"), shop.status("/use")) == (200, 200)


def test_without_the_middleware() -> None:
    """Asking for a session where the middleware is missing says what is missing."""
    with pytest.raises(SessionNotAttached, match="SessionLifetimeMiddleware"):
        session_from({"type": "http"})
    with pytest.raises(SessionNotAttached, match="SessionLifetimeMiddleware"):
        sync_session_from({"type": "http"})


def test_streams_and_background_tasks_keep_their_session() -> None:
    """A response body and a background task that run after the headers went out still read the session."""
    later: list[str | None] = []

    async def view(request: Request) -> Response:
        async def body() -> Any:
            yield (session_from(request).subject or "").encode()

        async def task() -> None:
            later.append(session_from(request).subject)

        return StreamingResponse(body(), background=BackgroundTask(task))

    shop = Shop(Route("/", view))
    shop.sign_in()
    assert shop.call("GET", "/").body == b"alice"
    assert later == ["alice"]


def test_after_the_response_the_session_can_still_be_read() -> None:
    """A middleware around ours may name the user in its log when all is over."""
    logged: list[Any] = []

    class Log:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)
            if scope["type"] == "http":
                logged.append((scope["user"].display_name, session_from(scope).subject))

    shop = Shop(Route("/", page()), before=[Middleware(Log)])
    shop.sign_in()
    shop.call("GET", "/")
    assert logged[-1] == ("alice", "alice")


# --- request.user and request.auth ---------------------------------------------------------------------------------------


def test_request_user_and_requires() -> None:
    """request.user and request.auth say who is signed in, so Starlette's own `requires` works."""

    @session_optional
    async def who(request: Request) -> Response:
        user = request.user
        return JSONResponse([user.is_authenticated, user.display_name, user.identity, request.auth.scopes])

    @session_optional
    @requires("authenticated")
    async def closed(request: Request) -> Response:
        return PlainTextResponse("in")

    shop = Shop(Route("/who", who), Route("/closed", closed))
    assert shop.call("GET", "/who").json == [False, "", "", []]
    assert shop.status("/closed") == 403
    shop.sign_in()
    assert shop.call("GET", "/who").json == [True, "alice", "alice", ["authenticated"]]
    assert shop.status("/closed") == 200


def test_request_user_is_nobody_where_the_session_was_not_opened() -> None:
    """An exempt page shows nobody rather than failing, and reads nothing."""

    @session_exempt
    async def view(request: Request) -> Response:
        return PlainTextResponse(str(request.user.is_authenticated))

    shop = Shop(Route("/", view))
    shop.sign_in()
    answer = shop.call("GET", "/")
    assert (answer.body, answer.header("vary")) == (b"False", None)


@pytest.mark.parametrize("side", ["before", "after"])
def test_an_authentication_middleware_keeps_its_user(side: str) -> None:
    """An AuthenticationMiddleware of the app's own, on either side, is who says request.user."""

    class Backend(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> Any:
            return AuthCredentials(["theirs"]), SimpleUser("theirs")

    async def who(request: Request) -> Response:
        return JSONResponse([request.user.display_name, request.auth.scopes])

    shop = Shop(Route("/", session_optional(who)), **{side: [Middleware(AuthenticationMiddleware, backend=Backend())]})  # type: ignore[arg-type]
    assert shop.call("GET", "/").json == ["theirs", ["theirs"]]


class Says:
    """A middleware of the app's own that names a user, and no more."""

    def __init__(self, app: Any, **named: Any) -> None:
        self.app, self.named = app, named

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope |= self.named
        await self.app(scope, receive, send)


async def _who(request: Request) -> Response:
    try:
        granted = request.auth.scopes
    except AssertionError as fault:
        granted = str(fault).partition(" ")[0]
    return JSONResponse([request.user.display_name, granted])


@pytest.mark.parametrize(
    ("side", "named", "said"),
    [
        ("before", {"user": SimpleUser("theirs")}, ["theirs", "AuthenticationMiddleware"]),
        ("after", {"user": SimpleUser("theirs")}, ["theirs", ["authenticated"]]),
        ("after", {"auth": AuthCredentials(["theirs"])}, ["alice", ["theirs"]]),
    ],
)
def test_who_is_named_outside_is_not_mixed_with_ours(side: str, named: Any, said: Any) -> None:
    """A user whom a middleware outside ours names has no credentials of ours; one inside may replace either."""
    shop = Shop(Route("/", session_optional(_who)), **{side: [Middleware(Says, **named)]})  # type: ignore[arg-type]
    shop.sign_in()
    assert shop.call("GET", "/").json == said


def test_an_app_within_another_says_who_is_signed_in_there() -> None:
    """Of two middlewares of ours, `request.auth` too is the inner one's within its app."""
    inner = Starlette(routes=[Route("/", session_optional(_who))])
    inner.add_middleware(
        SessionLifetimeMiddleware,
        settings=Settings(secret_keys=[KEY], cookie_name="inner", endpoint_prefix="/inner-session"),
        store=MemoryStore(),
    )
    shop = Shop(Route("/out", session_optional(_who)), Mount("/in", inner))
    shop.sign_in()
    assert shop.call("GET", "/out").json == ["alice", ["authenticated"]]
    assert shop.call("GET", "/in/").json == ["", []]


def test_an_app_within_one_of_plain_asgi_can_ask_who_is_named_outside() -> None:
    """Plain ASGI names nobody; what is named around it is still there: nobody, as no endpoint out there was judged."""
    inner = plain.SessionLifetimeMiddleware(
        Starlette(routes=[Route("/", _who)]),
        settings=Settings(
            secret_keys=[KEY], cookie_name="inner", endpoint_prefix="/inner-session", default_policy="optional"
        ),
        store=MemoryStore(),
    )
    shop = Shop(Mount("/in", inner))
    shop.sign_in()
    assert shop.call("GET", "/in/").json == ["", []]


# --- request.session (L26) -----------------------------------------------------------------------------------------------


async def put(request: Request) -> Response:
    request.session["cart"] = "book"
    return PlainTextResponse("put")


async def get(request: Request) -> Response:
    return PlainTextResponse(request.session.get("cart", ""))


@session_optional
async def sign_out(request: Request) -> Response:
    await session_from(request).logout()
    return PlainTextResponse(request.session.get("cart", ""))


async def prove(request: Request) -> Response:
    await session_from(request).step_up([{"type": "otp"}])
    return PlainTextResponse()


@session_optional
async def look(request: Request) -> Response:
    return PlainTextResponse(request.session.get("cart", ""))


@session_optional
async def start(request: Request) -> Response:
    request.session.clear()
    request.session["cart"] = "state"
    return PlainTextResponse()


@session_optional
async def fill(request: Request) -> Response:
    request.session["cart"] = "pen"
    return PlainTextResponse()


@session_optional
async def start_and_out(request: Request) -> Response:
    await start(request)
    await session_from(request).logout()
    return PlainTextResponse()


class Carts(Shop):
    """A shop whose carts Starlette's SessionMiddleware keeps, and one browser."""

    def __init__(self, side: str = "after", inside: list[Middleware] | None = None) -> None:
        kept = Middleware(SessionMiddleware, secret_key="x" * 40, session_cookie="cart")
        super().__init__(
            Route("/put", put),
            Route("/get", get),
            Route("/out", sign_out),
            Route("/look", look),
            Route("/prove", prove, methods=["POST"]),
            Route("/fill", fill),
            Route("/start", start),
            Route("/start-and-out", start_and_out),
            **{side: [kept, *(inside or [])]},  # type: ignore[arg-type]
        )
        self.jar: dict[str, str] = {}

    def visit(self, method: str, path: str) -> bytes:
        answer = self.call(method, path, cookie="; ".join(f"{name}={value}" for name, value in self.jar.items()))
        for line in answer.set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            self.jar[name] = value
        return answer.body


@pytest.mark.parametrize("side", ["before", "after"])
def test_request_session_is_cleared_when_the_session_is_over(side: str) -> None:
    """request.session is the app's own until logout, a proven end, or another subject's login (L26)."""
    shop = Carts(side)
    shop.visit("POST", "/sign-in")
    shop.visit("GET", "/put")
    shop.visit("POST", "/sign-in")
    assert shop.visit("GET", "/get") == b"book", "the same user signed in again"
    assert shop.visit("GET", "/out") == b""
    shop.visit("POST", "/sign-in")
    shop.visit("GET", "/put")
    shop.visit("POST", "/sign-in?subject=bob")
    assert shop.visit("GET", "/get") == b""
    shop.visit("GET", "/put")
    shop.clock.advance(2 * 3600)
    assert shop.visit("GET", "/look") == b"", "silence ended it, proven by the record"


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("path", ["/prove", "/sign-in"])
def test_a_poll_beside_a_new_token_leaves_request_session_alone(side: str, path: str) -> None:
    """A request that was on its way while the session went on under another id is refused, and empties nothing (L12, L26)."""
    shop = Carts(side)
    shop.visit("POST", "/sign-in")
    shop.visit("GET", "/put")
    late = dict(shop.jar)
    shop.visit("POST", path)
    now, shop.jar = shop.jar, late
    assert shop.visit("GET", "/look") == b"book"
    shop.jar = {**now, "cart": shop.jar["cart"]}  # its answer reaches the same browser
    assert shop.visit("GET", "/get") == b"book"


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_logout_leaves_nothing_in_request_session(side: str) -> None:
    """What it was emptied for is noted of an end alone; after a logout no cookie of ours comes back (L26)."""
    shop = Carts(side)
    shop.visit("POST", "/sign-in")
    shop.visit("GET", "/put")
    shop.visit("GET", "/out")
    assert shop.jar["cart"] == "null", "as SessionMiddleware removes its cookie"


@pytest.mark.parametrize("side", ["before", "after"])
def test_what_the_app_keeps_after_an_end_stays(side: str) -> None:
    """Our dead cookie stays until the next login, for which the app keeps something, such as an OpenID `state` (L26)."""
    shop = Carts(side)
    for _ in range(2):
        shop.visit("POST", "/sign-in")
        shop.visit("GET", "/put")
        shop.clock.advance(2 * 3600)
        assert shop.visit("GET", "/look") == b"", "emptied, for each end"
        shop.visit("GET", "/fill")
        assert shop.visit("GET", "/look") == b"pen"


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_page_that_clears_request_session_does_not_have_it_emptied_again(side: str) -> None:
    """Many a page that begins a login clears it first; what it keeps then is there when the login comes back (L26)."""
    shop = Carts(side)
    shop.visit("POST", "/sign-in")
    shop.visit("GET", "/put")
    shop.clock.advance(2 * 3600)
    assert shop.visit("GET", "/look") == b""
    for _ in range(2):
        shop.visit("GET", "/start")
        assert shop.visit("GET", "/look") == b"state"
    shop.visit("GET", "/start-and-out")
    assert shop.jar["cart"] == "null", "a logout notes nothing"


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_login_that_clears_request_session_notes_nothing(side: str) -> None:
    """Somebody is signed in: what is noted is of an end that stands (L26)."""

    @session_optional
    async def enter(request: Request) -> Response:
        await session_from(request).login("alice")
        request.session.clear()
        return PlainTextResponse()

    shop = Carts(side)
    shop.app.router.routes.append(Route("/enter", enter, methods=["POST"]))
    shop.visit("POST", "/sign-in")
    shop.visit("GET", "/put")
    shop.clock.advance(2 * 3600)
    shop.visit("POST", "/enter")
    assert shop.jar["cart"] == "null"


def test_two_middlewares_empty_one_request_session_once_each() -> None:
    """Customers and staff, say: where both sessions are over, neither empties what the app keeps again and again (L26)."""
    staff = Middleware(
        SessionLifetimeMiddleware,
        settings=Settings(secret_keys=[KEY], cookie_name="staff", inactivity_timeout=5400),
        store=MemoryStore(),
    )
    shop = Carts(inside=[staff])
    staff.kwargs["clock"] = shop.clock
    shop.ours.kwargs["settings"] = Settings(secret_keys=[KEY], default_policy="optional")
    customers_in = Route("/sign-in", sign_in, methods=["POST"])
    outside = Starlette(routes=[customers_in], middleware=[shop.ours])
    for app in (outside, shop.app):
        whole, shop.app = shop.app, app
        shop.visit("POST", "/sign-in")
        shop.app = whole
    assert {"__Host-session", "__Host-staff"} <= shop.jar.keys()
    shop.visit("GET", "/fill")
    shop.clock.advance(3600 + 120)
    assert shop.visit("GET", "/look") == b"", "the customer's is over"
    shop.visit("GET", "/fill")
    assert shop.visit("GET", "/look") == b"pen"
    shop.clock.advance(5400 + 120)
    assert shop.visit("GET", "/look") == b"", "that of the staff, too"
    shop.visit("GET", "/fill")
    assert [shop.visit("GET", "/look") for _ in range(2)] == [b"pen", b"pen"]
    kept = Middleware(SessionMiddleware, secret_key="x" * 40, session_cookie="cart")
    whole, shop.app = shop.app, Starlette(routes=[customers_in, Route("/fill", fill)], middleware=[kept, shop.ours])
    shop.visit("POST", "/sign-in")
    shop.visit("POST", "/sign-in?subject=bob")  # for whom it is emptied of what was alice's
    shop.visit("GET", "/fill")
    shop.app = whole
    assert shop.visit("GET", "/look") == b"pen", "the end of alice's session with the staff is long known"


class Guarded:
    """What starsessions puts into the scope until a session is loaded: it raises at every touch."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("not loaded")


class LoadedWhenAsked:
    """Keeps one browser's session as starsessions does: on the server, and read when the view asks for it."""

    stored: ClassVar[dict[str, Any]] = {}

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.is_loaded = scope, False
        scope["session"], scope["session_handler"] = Guarded(), self
        await self.app(scope, receive, send)
        if self.is_loaded:
            self.stored.clear()
            self.stored.update(scope["session"])

    async def load(self) -> None:
        if not self.is_loaded:
            self.scope["session"], self.is_loaded = dict(self.stored), True


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_session_that_is_loaded_when_asked_is_emptied_too(side: str) -> None:
    """starsessions loads request.session where the view says so; an end before that empties it, and breaks no page (L26)."""

    @session_optional
    async def cart(request: Request) -> Response:
        await request.scope["session_handler"].load()
        if "put" in request.query_params:
            request.session["cart"] = request.query_params["put"]
        return PlainTextResponse(request.session.get("cart", ""))

    shop = Shop(Route("/cart", cart), Route("/plain", page(session_optional)), **{side: [Middleware(LoadedWhenAsked)]})  # type: ignore[arg-type]
    LoadedWhenAsked.stored.clear()
    for subject in ("alice", "bob"):
        shop.sign_in(subject=subject)
        assert shop.call("GET", "/cart?put=book").body == b"book"
    shop.sign_in(subject="alice")
    assert shop.call("GET", "/cart").body == b"", "another user has signed in"
    shop.call("GET", "/cart?put=book")
    shop.clock.advance(2 * 3600)
    assert shop.status("/plain") == 200, "silence ended it"
    assert shop.call("GET", "/cart").body == b""
    shop.call("GET", "/cart?put=pen")
    assert shop.call("GET", "/cart").body == b"pen", "kept for the next login"


# --- where people are sent -----------------------------------------------------------------------------------------------


def test_login_url_by_route_name_below_mounts() -> None:
    """A route name leads to its path, in nested routers and below root_path; that page is open to all."""
    routes = [Mount("/account", name="account", routes=[Route("/in/", page(), name="enter")]), Route("/page", page())]
    shop = Shop(*routes, login_url="account:enter")
    refused = shop.call("GET", "/page", mount="/base", accept="text/html")
    assert (refused.status, refused.header("location")) == (303, "/base/account/in/?return_to=/base/page")
    assert shop.call("GET", "/account/in/", mount="/base").status == 200
    assert shop.call("GET", "/account/in/").status == 200


def test_fresh_login_url_by_route_name() -> None:
    """Who is signed in and has to prove it again is sent to a page of its own, everybody else to the login page."""
    pages = Mount(
        "/account", name="account", routes=[Route("/in/", page(), name="in"), Route("/sure", page(), name="sure")]
    )
    shop = Shop(
        pages,
        Route("/delete", page(fresh_login_required(within=300))),
        login_url="account:in",
        fresh_login_url="account:sure",
    )
    assert shop.call("GET", "/delete", accept="text/html").header("location") == "/account/in/?return_to=/delete"
    shop.sign_in()
    shop.clock.advance(301)
    refused = shop.call("GET", "/delete", accept="text/html", mount="/base")
    assert refused.header("location") == "/base/account/sure?reason=fresh_login&return_to=/base/delete"
    with pytest.raises(SettingsError, match="fresh_login_url='sure'"):
        Shop(fresh_login_url="sure").status("/")


def test_login_url_that_is_no_route_is_an_error_at_start_up() -> None:
    """A name that no route has is refused when the app starts, and names the setting."""
    with pytest.raises(SettingsError, match="login_url='enter'"):
        Shop(login_url="enter").status("/")


def test_a_login_url_of_any_letters() -> None:
    """ASGI sends bytes: what a function says goes out percent-encoded, and that page is open to all (L15, L21)."""
    shop = Shop(Route("/вход", page()), Route("/page", page()), login_url=lambda facts: "/вход")
    refused = shop.call("GET", "/page", accept="text/html")
    assert (refused.status, refused.header("location")) == (303, "/%D0%B2%D1%85%D0%BE%D0%B4?return_to=/page")
    assert shop.call("GET", "/вход").status == 200


def test_paths_are_judged_below_root_path_and_not_below_inner_mounts() -> None:
    """exempt_paths are read below the server's mount, whatever mounts the router goes through (L21)."""
    shop = Shop(
        Mount("/part", routes=[Route("/free", page()), Route("/part/free", page())]), exempt_paths=["/part/free"]
    )
    assert shop.call("GET", "/part/free", mount="/base").status == 200
    assert shop.call("GET", "/part/part/free", mount="/base").status == 401
    assert shop.status("/part/part/free") == 401


def test_safe_return_to() -> None:
    """Only a path on this host is returned to."""

    async def view(request: Request) -> Response:
        return PlainTextResponse(safe_return_to(request, "/home"))

    shop = Shop(Route("/", session_optional(view)))
    assert shop.call("GET", "/?return_to=/page").body == b"/page"
    assert shop.call("GET", "/?return_to=//evil.example").body == b"/home"


# --- loops and threads -----------------------------------------------------------------------------------------------------


def test_on_trio(tmp_path: Path) -> None:
    """The adapter runs on trio, `def` endpoints and a blocking store included."""

    def blocking(request: Request) -> Response:
        session = sync_session_from(request)
        session.extend(30)
        return PlainTextResponse(session.subject)

    store = SQLiteStore(tmp_path / "sessions.db")
    shop = Shop(Route("/", blocking), store=store, run=trio.run)
    shop.sign_in()
    assert shop.call("GET", "/").body == b"alice"
    assert shop.status("/", cookie="") == 401
    store.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_nothing_blocks_the_loop(kind: str, tmp_path: Path) -> None:
    """Under a blocking-call detector a whole life runs; SQLite's short reads are made in place, and are all that is let pass."""
    store = SQLiteStore(tmp_path / "sessions.db") if kind == "sqlite" else None
    shop = Shop(Route("/", page()), Route("/out", sign_out_only), store=store)
    detector = BlockBuster()
    for function in detector.functions.values():
        function.can_block_in("session_middleware/stores/sqlite.py", {"load", "holds"})
    with asyncio.Runner() as runner:
        shop.run = lambda call, *args: runner.run(call(*args))
        shop.status("/")  # what is imported or opened once
        detector.activate()
        try:
            shop.sign_in()
            for _ in range(3):
                assert shop.status("/") == 200
                shop.clock.advance(400)
            assert shop.status("/out") == 200
            assert shop.status("/") == 401
        finally:
            detector.deactivate()
    # A touch that blocks would be taken for one that the store does not take, and kept (L17).
    assert [event for event in shop.events if event.name == "store_fault"] == []
    if store is not None:
        store.close()


@session_optional
async def sign_out_only(request: Request) -> Response:
    await session_from(request).logout()
    return PlainTextResponse("out")


def test_the_detector_detects() -> None:
    """The detector of the test above does raise where something blocks the loop."""

    async def blocks() -> None:
        time.sleep(0)  # noqa: ASYNC251 # what is to be detected

    detector = BlockBuster()
    detector.activate()
    try:
        with pytest.raises(BlockingError):
            asyncio.run(blocks())
    finally:
        detector.deactivate()


def test_a_request_leaves_nothing_for_the_garbage_collector() -> None:
    """Signed in, anonymous or refused: no request leaves a circle of objects, nor holds on to its scope."""
    shop = Shop(Route("/", page()), Route("/open", page(session_optional)))
    shop.sign_in()
    with asyncio.Runner() as runner:
        shop.run = lambda call, *args: runner.run(call(*args))
        for path, cookie in [("/", shop.cookie), ("/open", ""), ("/", "")] * 2:
            shop.call("GET", path, cookie=cookie)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for path, cookie in [("/", shop.cookie), ("/open", ""), ("/", "")]:
                shop.call("GET", path, cookie=cookie)
            gc.collect()
            ours = [each for each in gc.garbage if type(each).__module__.startswith("session_middleware")]
            assert ours == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()


# --- as a server sees it ---------------------------------------------------------------------------------------------------


def test_lifespan_passes_and_settings_are_checked_at_start_up() -> None:
    """Lifespan messages go to the app, and a wrong setting stops it from starting."""

    async def lifespan(app: Any) -> list[str]:
        sent: list[str] = []
        waiting = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> Any:
            return waiting.pop(0)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
        return sent

    assert asyncio.run(lifespan(Shop().app)) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(SettingsError):
        asyncio.run(lifespan(Shop(login_url="nowhere").app))


def test_wrapped_around_the_whole_app() -> None:
    """SessionLifetimeMiddleware(app, ...) around a Starlette app judges its endpoints as well."""
    shop = Shop()
    app = Starlette(routes=[Route("/page", page()), Route("/open", page(session_optional)), Route("/in", sign_in)])
    shop.app = SessionLifetimeMiddleware(app, **shop.ours.kwargs)
    assert (shop.status("/page"), shop.status("/open"), shop.status("/nowhere")) == (401, 200, 401)


def test_an_endpoint_that_raises_leaves_no_session() -> None:
    """A login does not stand if the endpoint raises after it, through BaseHTTPMiddleware too (L25)."""

    @session_optional
    async def broken(request: Request) -> Response:
        await session_from(request).login("alice")
        raise RuntimeError("after the login")

    async def through(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    shop = Shop(Route("/", broken), after=[Middleware(BaseHTTPMiddleware, dispatch=through)])
    with pytest.raises(RuntimeError, match="after the login"):
        shop.call("GET", "/")
    assert [event.name for event in shop.events] == ["session_created", "session_ended"]
    assert [record.ended_at is not None for record in shop.store._records.values()] == [True]


@pytest.mark.parametrize("saves", [True, False], ids=["saved", "forgotten"])
@pytest.mark.parametrize("where", ["background", "stream"])
def test_what_is_written_once_the_response_has_started_is_saved_or_told(where: str, saves: bool) -> None:
    """L25: in a background task as in a stream `save()` stores it; without, an event says what was lost, with the request."""

    async def late(request: Request) -> None:
        session = session_from(request)
        session.update_claims(role="late")
        session.data["x"] = 1
        if saves:
            await session.save()

    async def view(request: Request) -> Response:
        async def parts() -> Any:
            yield "a"
            await late(request)
            yield "b"

        if where == "stream":
            return StreamingResponse(parts())
        return PlainTextResponse("ab", background=BackgroundTask(late, request))

    async def kept(request: Request) -> Response:
        session = session_from(request)
        return JSONResponse({"claims": dict(session.claims), "data": session.data})

    shop = Shop(Route("/", view), Route("/kept", kept))
    shop.sign_in()
    assert shop.call("GET", "/").body == b"ab"
    held = shop.call("GET", "/kept").json
    gc.collect()
    lost = [event.detail["names"] for event in shop.events if event.name == "changes_lost"]
    if saves:
        assert (held["claims"]["role"], held["data"], lost) == ("late", {"x": 1}, [])
    else:
        assert ("role" in held["claims"], held["data"], lost) == (False, {}, ["role, x"])
