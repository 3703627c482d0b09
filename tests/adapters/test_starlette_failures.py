"""Starlette and FastAPI: what leaves an endpoint as an exception is no login, whoever answers the exception (L25)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from session_middleware import session_optional
from session_middleware.adapters.fastapi import CurrentSession
from session_middleware.adapters.starlette import session_from, sync_session_from
from tests.adapters.starlette_shop import Shop, page, sign_in
from tests.authorities.desk import Desk, Stay


class Refused(Exception):
    """What the apps here have a handler for."""


@session_optional
async def fails(request: Request) -> Response:
    """Sign bob in, unless told not to, and raise what is asked for."""
    if "quietly" not in request.query_params:
        await session_from(request).login("bob")
    await raises(request.query_params["how"])
    return PlainTextResponse("welcome")


async def raises(how: str) -> None:
    if how.isdigit():
        raise HTTPException(int(how), headers={"location": "/home"})
    if how == "refused":
        raise Refused
    if how == "bug":
        raise RuntimeError("a bug")


def async_endpoint() -> Any:
    return session_optional(fails)


def blocking_endpoint() -> Any:
    @session_optional
    def view(request: Request) -> Response:
        sync_session_from(request).login("bob")
        how = request.query_params["how"]
        raise HTTPException(int(how)) if how.isdigit() else Refused

    return view


def class_endpoint() -> Any:
    @session_optional
    class View(HTTPEndpoint):
        async def post(self, request: Request) -> Response:
            return await fails(request)

    return View


async def sorry(request: Request, fault: Exception) -> Response:
    return PlainTextResponse(f"sorry, {request.user.display_name or 'nobody'}", 400)


def sorry_in_thread(request: Request, fault: Exception) -> Response:
    return PlainTextResponse(f"sorry, {request.user.display_name or 'nobody'}", 400)


async def through(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    return response


async def catches(request: Request, call_next: Any) -> Response:
    """Answer what nobody else has answered, as many apps do; not with an error page, which would be no login anyway."""
    try:
        response: Response = await call_next(request)
    except RuntimeError:
        return PlainTextResponse("caught", 400)
    return response


class Swallows:
    """Stands for the server, which logs what an app raises after its response."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(RuntimeError):
            await self.app(scope, receive, send)


def make(
    endpoint: Any = None,
    *,
    handler: Any = sorry,
    inside: Callable[..., Any] | None = None,
    outside: tuple[Middleware, ...] = (),
    mount: Callable[[Any, Any], Any] | None = None,
) -> Shop:
    """Make an app with `/fails`, in which alice is signed in."""
    view = Route("/fails", endpoint or async_endpoint(), methods=["POST"])
    route = view if mount is None else mount(view, handler)
    app = Starlette(
        routes=[Route("/sign-in", sign_in, methods=["POST"]), Route("/page", page()), route],
        exception_handlers={Refused: handler},
    )
    after = [] if inside is None else [Middleware(BaseHTTPMiddleware, dispatch=inside)]
    shop = Shop(app=app, before=list(outside), after=after)
    shop.sign_in()
    return shop


def live(shop: Shop) -> list[str]:
    return sorted(record.subject for record in shop.store._records.values() if record.ended_at is None)


def did_not_stand(shop: Shop, status: int, target: str) -> bytes:
    """Fail the login of somebody known, and check that alice alone is signed in; return what was answered."""
    shop.clock.advance(1)
    for _ in range(2):  # from here on she is recognised at once
        assert shop.call("GET", "/page").status == 200
    answer = shop.call("POST", target)
    assert (answer.status, answer.set_cookies) == (status, [])
    assert "Cookie" in (answer.header("Vary") or "")
    assert live(shop) == ["alice"]
    assert shop.events[-1].detail["reason"] == "abandoned"
    assert shop.call("GET", "/session/status").json["authenticated"] is True
    return answer.body


@pytest.mark.parametrize("inside", [None, through], ids=["bare", "BaseHTTPMiddleware"])
@pytest.mark.parametrize("endpoint", [async_endpoint, blocking_endpoint, class_endpoint])
def test_a_login_before_an_exception_with_a_handler_does_not_stand(endpoint: Any, inside: Any) -> None:
    """HTTPException and the app's own, from every kind of endpoint, however often it is asked."""
    shop = make(endpoint(), inside=inside)
    for _ in range(3):
        did_not_stand(shop, 403, "/fails?how=403")
        did_not_stand(shop, 400, "/fails?how=refused")


@pytest.mark.parametrize("handler", [sorry, sorry_in_thread])
def test_the_handler_sees_nobody_signed_in(handler: Any) -> None:
    """Its page is not greeting a user whose login came to nothing; `def` handlers run in a thread as ever."""
    assert did_not_stand(make(handler=handler), 400, "/fails?how=refused") == b"sorry, nobody"


def test_what_the_view_wrote_to_the_session_goes_with_it() -> None:
    """Claims and data are of the session that came to nothing: none of them is kept for alice, and their page is served (L25)."""

    @session_optional
    async def writes(request: Request) -> Response:
        session = session_from(request)
        await session.login("bob")
        session.update_claims(role="admin")
        session.data["half"] = 1
        raise Refused

    shop = make(writes)
    did_not_stand(shop, 400, "/fails")
    (alice,) = [record for record in shop.store._records.values() if record.ended_at is None]
    assert (alice.claims, alice.data) == ({}, {})


def test_a_middleware_that_answers_exceptions() -> None:
    """What no handler takes may still be answered inside our middleware."""
    shop = make(inside=catches)
    for _ in range(3):
        assert did_not_stand(shop, 400, "/fails?how=bug") == b"caught"


def test_an_endpoint_that_was_known_to_begin_no_session() -> None:
    """Who is recognised takes a short way to endpoints that begin nothing; it is left as soon as one does."""
    shop = make(inside=catches)
    for _ in range(3):
        shop.call("POST", "/fails?how=403&quietly")
    did_not_stand(shop, 403, "/fails?how=403")
    assert shop.call("POST", "/fails?how=403&quietly", cookie="-").status == 403
    did_not_stand(shop, 400, "/fails?how=bug")
    assert shop.call("POST", "/fails?how=none").status == 200
    assert live(shop) == ["bob"]


def test_the_first_login_of_an_endpoint_that_began_none() -> None:
    """A form is posted: what raises there is heard of from the first time on, whoever answers it."""
    shop = make(inside=catches)
    for _ in range(3):
        shop.call("POST", "/fails?how=403&quietly")
    assert did_not_stand(shop, 400, "/fails?how=bug") == b"caught"


async def hands_on(request: Request) -> Response:
    """Log in by way of another function."""
    return await fails(request)


def get_shop(endpoint: Any) -> Shop:
    """An app with `/fails`, which signs in on GET as a provider's callback does, and is known to begin no session."""
    routes = [Route("/sign-in", sign_in, methods=["POST"]), Route("/fails", session_optional(endpoint))]
    after = [Middleware(BaseHTTPMiddleware, dispatch=catches)]
    shop = Shop(app=Starlette(routes=routes, exception_handlers={Refused: sorry}), after=after)
    shop.sign_in()
    shop.clock.advance(61)  # a touch is written, and then nothing is due
    for _ in range(3):
        assert shop.call("GET", "/fails?how=403&quietly").status == 403
    return shop


def test_an_endpoint_that_names_a_login_is_watched_on_get_too() -> None:
    """A callback is no form. It takes the long way from the start, also where nobody has signed in by it yet."""
    shop = get_shop(fails)
    assert shop.call("GET", "/fails?how=bug").set_cookies == []
    assert live(shop) == ["alice"]


def test_an_endpoint_that_logs_in_by_way_of_another_function() -> None:
    """On GET that is known once it has begun a session, whatever became of that one."""
    shop = get_shop(hands_on)
    shop.call("GET", "/fails?how=none")
    shop.sign_in()
    shop.clock.advance(61)
    for _ in range(3):
        assert shop.call("GET", "/fails?how=403&quietly").status == 403
    assert shop.call("GET", "/fails?how=bug").set_cookies == []
    assert live(shop) == ["alice", "bob"]


def test_a_successful_login_is_remembered_of_its_endpoint() -> None:
    """A login over a live session takes the endpoint off the short way, too."""
    shop = make(inside=catches)
    for _ in range(3):
        shop.call("POST", "/fails?how=403&quietly")
    shop.sign_in("/fails", subject="bob&how=none")
    shop.sign_in()
    did_not_stand(shop, 400, "/fails?how=bug")


def mounted(view: Any, handler: Any) -> Any:
    return Mount("/", Starlette(routes=[view], exception_handlers={Refused: handler}))


def test_an_app_in_a_mount_answers_for_itself() -> None:
    """Its own handlers, and its own page for what has none, which comes before the exception goes on."""
    shop = make(mount=mounted)
    did_not_stand(shop, 403, "/fails?how=403")
    did_not_stand(shop, 400, "/fails?how=refused")
    with pytest.raises(RuntimeError, match="a bug"):
        shop.call("POST", "/fails?how=bug")
    assert live(shop) == ["alice"]


def test_the_page_of_a_mounted_app_for_its_bugs_carries_no_cookie() -> None:
    """ServerErrorMiddleware of the app in the mount sends a 500 and raises; the server has that response by then."""
    shop = make(mount=mounted, outside=(Middleware(Swallows),))
    did_not_stand(shop, 500, "/fails?how=bug")


def test_an_exception_that_is_a_redirect_is_an_answer() -> None:
    """`raise HTTPException(303, headers={"Location": ...})` answers, and the login before it stands."""
    shop = make()
    answer = shop.call("POST", "/fails?how=303")
    assert answer.status == 303
    assert len(answer.set_cookies) == 2
    assert live(shop) == ["bob"]


def test_a_handler_may_sign_in_itself() -> None:
    """What answers an exception is the app's answer."""

    async def welcome(request: Request, fault: Exception) -> Response:
        await session_from(request).login("carol")
        return PlainTextResponse("welcome")

    shop = make(handler=welcome)
    assert len(shop.call("POST", "/fails?how=refused").set_cookies) == 2
    assert live(shop) == ["carol"]


def test_dependencies_of_fastapi() -> None:
    """A dependency that raises after the endpoint, before its answer, and one that signs in before an endpoint raises."""

    async def first_in(session: CurrentSession) -> None:
        await session.login("bob")

    async def last_out(session: CurrentSession) -> Any:
        await session.login("bob")
        yield
        raise Refused

    app = FastAPI(exception_handlers={Refused: sorry})
    app.add_route("/sign-in", sign_in, methods=["POST"])
    app.add_route("/page", page())

    @app.post("/after", dependencies=[Depends(last_out, scope="function")])
    @session_optional
    async def after() -> str:
        return "welcome"

    @app.post("/before", dependencies=[Depends(first_in)])
    @session_optional
    async def before() -> str:
        raise HTTPException(409)

    shop = Shop(app=app)
    shop.sign_in()
    for _ in range(2):
        did_not_stand(shop, 400, "/after")
        did_not_stand(shop, 409, "/before")


def test_an_error_page_takes_no_adoption_back() -> None:
    """Somebody whom the provider knows begins at a page that is not there: the view began nothing (L24)."""
    shop = Shop(Route("/fails", async_endpoint()))
    desk = Desk()
    desk.stays["stay-1"] = Stay("alice", shop.clock(), None)
    shop.ours.kwargs["authority"] = desk
    answer = shop.call("GET", "/fails?how=404&quietly", cookie="stay=stay-1")
    assert (answer.status, len(answer.set_cookies)) == (404, 2)
    assert live(shop) == ["alice"]


def test_a_handler_is_wrapped_once() -> None:
    """However many requests come by: one around the other would be a deeper call with each of them."""
    tables: list[Any] = []

    async def shows(request: Request) -> Response:
        tables.append(dict(request.scope["starlette.exception_handlers"][0]))
        return PlainTextResponse()

    shop = Shop(app=Starlette(routes=[Route("/shows", session_optional(shows))], exception_handlers={Refused: sorry}))
    for _ in range(2):
        assert shop.status("/shows") == 200
    assert tables[0][Refused] is tables[1][Refused] is not sorry


def test_handlers_are_left_alone_in_apps_without_us() -> None:
    """An app that is served with and without our middleware answers the same."""
    app = Starlette(routes=[Route("/", lambda request: int("x"))], exception_handlers={ValueError: sorry_plain})
    shop = Shop(Mount("/app", app))
    shop.sign_in()
    assert shop.call("GET", "/app/").body == b"sorry"
    shop.app = app
    assert shop.call("GET", "/").body == b"sorry"


def sorry_plain(request: Request, fault: Exception) -> Response:
    return PlainTextResponse("sorry", 400)
