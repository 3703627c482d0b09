"""Where markers are found in a Flask app, and what becomes of those that do not reach it (L21)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from flask import Blueprint, Flask, request
from flask.views import MethodView, View

from session_middleware import (
    SettingsError,
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.adapters.flask import SessionLifetime
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.stage import KEY
from tests.adapters.closed_over import HELD, HandsOn
from tests.adapters.flask_shop import HTTPS, Shop, bare, hello, wrapping

# --- markers (L21) -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["above", "below"])
def test_a_marker_acts_above_and_below_a_decorator(order: str) -> None:
    """A marker holds on either side of a decorator that uses functools.wraps."""
    shop = Shop()

    def view() -> str:
        return "hello"

    marked = session_optional(wrapping(view)) if order == "above" else wrapping(session_optional(view))
    shop.app.add_url_rule("/page", "page", marked)
    assert shop.status("/page") == 200
    assert shop.lost() == []


def test_a_marker_above_the_route_decorator_acts() -> None:
    """`@app.get` returns the function itself, so a marker above it tags the registered view."""
    shop = Shop()

    @session_optional
    @shop.app.get("/page")
    def page() -> str:
        return "hello"

    assert shop.status("/page") == 200


def test_markers_in_blueprints_three_deep() -> None:
    """The endpoint run is judged by its own markers wherever its blueprint hangs."""
    shop = Shop()
    inner, middle, outer = (Blueprint(name, name, url_prefix=f"/{name}") for name in ("inner", "middle", "outer"))
    inner.get("/open")(session_optional(lambda: "open"))
    inner.get("/closed", endpoint="closed")(lambda: "closed")
    middle.register_blueprint(inner)
    outer.register_blueprint(middle)
    shop.app.register_blueprint(outer)
    assert shop.status("/outer/middle/inner/open") == 200
    assert shop.status("/outer/middle/inner/closed") == 401
    assert shop.status("/outer/middle/inner/closed", "alice") == 200


class Plain(View):
    def dispatch_request(self) -> str:
        return "hello"


@pytest.mark.parametrize("by", ["host", "subdomain"])
def test_the_host_decides_which_endpoint_is_judged(by: str) -> None:
    """One path on two hosts has two endpoints, among 200 others, with GET and with HEAD."""
    if by == "host":
        app = Flask(__name__, host_matching=True, static_host="files.app.example")
    else:
        app = Flask(__name__, subdomain_matching=True)
        app.config["SERVER_NAME"] = "app.example"
    app.config["SECRET_KEY"] = KEY
    SessionLifetime(app, store=MemoryStore())

    def at(name: str) -> dict[str, Any]:
        return {"host": f"{name}.app.example"} if by == "host" else {"subdomain": name}

    app.add_url_rule("/page", "open", session_optional(lambda: "open"), **at("open"))
    app.add_url_rule("/page", "closed", lambda: "closed", **at("closed"))
    for number in range(200):
        view = session_optional(lambda: "open") if number % 2 else (lambda: "closed")
        app.add_url_rule(f"/{number}", f"route {number}", view, **at("many"))
    client = app.test_client()
    for name, path, status in (
        *(("open", "/page", 200), ("closed", "/page", 401), ("other", "/page", 401)),
        *(("many", "/199", 200), ("many", "/198", 401), ("many", "/1", 200)),
    ):
        url = f"https://{name}.app.example"
        assert client.get(path, base_url=url).status_code == status
        assert client.head(path, base_url=url).status_code == status


def test_a_marker_on_a_view_class() -> None:
    """A marker on a class holds for its view, and for subclasses."""
    shop = Shop()

    @session_optional
    class Marked(Plain):
        pass

    class Child(Marked):
        pass

    shop.app.add_url_rule("/marked", view_func=Marked.as_view("marked"))
    shop.app.add_url_rule("/child", view_func=Child.as_view("child"))
    shop.app.add_url_rule("/plain", view_func=Plain.as_view("plain"))
    assert [shop.status(path) for path in ("/marked", "/child", "/plain")] == [200, 200, 401]


def test_a_marker_among_the_decorators_of_a_view_class() -> None:
    """`decorators` is where Flask's documentation puts decorators of a class; markers act there."""
    shop = Shop()

    class Decorated(Plain):
        decorators = [session_optional, wrapping]  # noqa: RUF012  # Flask declares it so

    shop.app.add_url_rule("/page", view_func=Decorated.as_view("page"))
    assert shop.status("/page") == 200


@pytest.mark.parametrize("declared", ["for all methods", "by method"])
def test_a_marker_among_the_method_decorators_of_a_resource(declared: str) -> None:
    """Flask-RESTful and Flask-RESTX apply `method_decorators` anew in each request: a marker there acts from the first one."""
    shop = Shop()

    class Resource(MethodView):
        method_decorators: Any = (
            [fresh_login_required(within=60), wrapping]
            if declared == "for all methods"
            else {"post": [fresh_login_required(within=60)], "get": [session_optional, wrapping]}
        )

        def get(self) -> str:
            return "read"

        def post(self) -> str:
            return "written"

    class Open(MethodView):
        method_decorators = (session_optional, no_touch)

        def get(self) -> str:
            return "read"

    shop.app.add_url_rule("/resource", view_func=Resource.as_view("resource"))
    shop.app.add_url_rule("/open", view_func=Open.as_view("open"))
    same_site = {"Sec-Fetch-Site": "same-origin"}
    client = shop.client("alice")

    def statuses() -> list[int]:
        asked = [("GET", "/resource"), ("HEAD", "/resource"), ("POST", "/resource")]
        return [
            client.open(path, base_url=HTTPS, method=method, headers=same_site).status_code for method, path in asked
        ]

    assert shop.status("/resource") == (401 if declared == "for all methods" else 200)
    assert shop.status("/resource", method="POST", headers=same_site) == 401
    assert shop.status("/open") == 200
    assert statuses() == [200, 200, 200]
    shop.clock.advance(minutes=2)
    assert statuses() == ([401, 401, 401] if declared == "for all methods" else [200, 200, 401])


def test_a_method_decorator_that_contradicts_its_method_is_an_error() -> None:
    """At the start: applied in a request it would make each one a 500."""

    class Resource(MethodView):
        method_decorators = [session_optional]  # noqa: RUF012  # Flask-RESTful declares it so

        @session_required
        def get(self) -> str:
            return "read"

    shop = Shop()
    shop.app.add_url_rule("/resource", view_func=Resource.as_view("resource"))
    with pytest.raises(SettingsError, match="contradict"):
        shop.app.test_client().get("/resource")


@pytest.mark.parametrize("strange", [None, 5, "text", [None, 5], {"get": 5}, Mock()])
def test_method_decorators_may_be_anything(strange: object) -> None:
    """The name is not ours: what stands under it otherwise is left alone."""
    shop = Shop()

    class Resource(MethodView):
        method_decorators = strange

        @session_optional
        def get(self) -> str:
            return "read"

    shop.app.add_url_rule("/resource", view_func=Resource.as_view("resource"))
    assert shop.status("/resource") == 200


def test_a_marker_on_dispatch_request() -> None:
    """A marker on `dispatch_request` holds for the view."""
    shop = Shop()

    class Marked(View):
        @session_optional
        def dispatch_request(self) -> str:
            return "hello"

    shop.app.add_url_rule("/page", view_func=Marked.as_view("page"))
    assert shop.status("/page") == 200


def test_a_marker_on_the_call_of_an_object() -> None:
    """An object with `__call__` may be a view; a marker there opens what needs a session, and closes what does not."""

    class Page:
        @session_optional
        def __call__(self) -> str:
            return "hello"

    class Own(Page):
        @session_required
        def __call__(self) -> str:
            return "hello"

    def build(app: Flask) -> None:
        app.add_url_rule("/page", "page", Page())
        app.add_url_rule("/own", "own", Own())

    assert [Shop(build=build).status(path) for path in ("/page", "/own")] == [200, 401]
    assert Shop(build=build, default_policy="optional").status("/own") == 401


class Item(MethodView):
    init_every_request = False

    @session_optional
    def get(self) -> str:
        return "get"

    def post(self) -> str:
        return "post"

    @fresh_login_required(within=300)
    def delete(self) -> str:
        return "deleted"


def test_markers_on_the_methods_of_a_view_class() -> None:
    """Each HTTP method of a MethodView is judged by the marker on its own function; HEAD by that of `get`."""
    shop = Shop()
    shop.app.add_url_rule("/item", view_func=Item.as_view("item"))
    anonymous = [shop.status("/item", method=method) for method in ("GET", "HEAD", "POST", "DELETE")]
    assert anonymous == [200, 200, 401, 401]
    client = shop.client("alice")
    assert client.delete("/item", base_url=HTTPS).status_code == 200
    shop.clock.advance(minutes=6)
    assert client.post("/item", base_url=HTTPS).status_code == 200
    assert client.delete("/item", base_url=HTTPS).status_code == 401


def test_a_method_goes_before_its_class() -> None:
    """Where class and method differ on who may come in, the method's marker is the narrower and holds."""
    shop = Shop()

    @fresh_login_required(within=300)
    class Mixed(MethodView):
        @session_optional
        def get(self) -> str:
            return "get"

        @no_touch
        def post(self) -> str:
            return "post"

    shop.app.add_url_rule("/mixed", view_func=Mixed.as_view("mixed"))
    client = shop.client("alice")
    shop.clock.advance(minutes=6)
    assert shop.status("/mixed") == 200
    assert client.post("/mixed", base_url=HTTPS).status_code == 401


def test_contradicting_markers_are_an_error() -> None:
    """Two markers that cannot both hold are named before a request is served."""
    shop = Shop()

    @session_optional
    class Marked(Plain):
        decorators = [session_required]  # noqa: RUF012  # Flask declares it so

    shop.app.add_url_rule("/page", view_func=Marked.as_view("page"))
    with pytest.raises(SettingsError, match="contradict"):
        shop.status("/page")


def test_a_replaced_view_is_judged_by_its_own_markers() -> None:
    """The endpoint judged is the endpoint run, also when a test puts another view in its place."""
    shop = Shop()
    shop.app.add_url_rule("/page", "page", hello())
    assert shop.status("/page") == 401
    shop.app.view_functions["page"] = session_optional(lambda: "open")
    assert shop.status("/page") == 200


def test_unmatched_requests_meet_the_strictest_rule() -> None:
    """404 and 405 tell a stranger nothing; who is signed in sees them."""
    shop = Shop()
    shop.app.get("/page")(session_optional(hello()))
    assert shop.status("/nothing") == shop.status("/page", method="POST") == 401
    assert shop.status("/nothing", "alice") == 404
    assert shop.status("/page", "alice", method="POST") == 405


def test_a_redirect_to_the_canonical_address_is_judged_by_where_it_leads() -> None:
    """`/about` redirects a stranger to the open `/about/`; that a closed page exists is not said."""
    shop = Shop()
    shop.app.get("/about/", endpoint="about")(session_optional(lambda: "about"))
    shop.app.get("/closed/", endpoint="closed")(hello())
    answer = shop.client().get("/about", base_url=HTTPS)
    assert answer.status_code == 308
    assert answer.headers["Location"] == "https://app.example/about/"
    assert shop.status("/closed") == 401
    assert shop.status("/closed", "alice") == 308


def test_static_files_are_open(tmp_path: Path) -> None:
    """Files of the app and of its blueprints are served to anybody, untouched."""
    (tmp_path / "a.txt").write_text("file")
    shop = Shop()
    shop.app.static_folder = str(tmp_path)
    shop.app.register_blueprint(Blueprint("docs", "docs", static_folder=str(tmp_path), static_url_path="/docs-files"))
    for path in ("/static/a.txt", "/docs-files/a.txt"):
        with shop.client().get(path, base_url=HTTPS) as answer:
            assert answer.status_code == 200
            assert "Cookie" not in answer.headers.get("Vary", "")


def test_a_view_that_is_only_called_static_is_not_open() -> None:
    """The exemption belongs to Flask's own static endpoint, not to its name."""
    shop = Shop()
    blueprint = Blueprint("docs", "docs")
    blueprint.get("/docs", endpoint="static")(hello())
    shop.app.register_blueprint(blueprint)
    assert shop.status("/docs") == 401


@pytest.mark.parametrize("login_url", ["/sign-in-page", "pages.sign_in_page"])
def test_the_login_url_is_open_as_path_and_as_route_name(login_url: str) -> None:
    """People without a session reach the page they are sent to, whichever way it is named."""
    shop = Shop(login_url=login_url)
    pages = Blueprint("pages", "pages")
    pages.get("/sign-in-page", endpoint="sign_in_page")(lambda: "please sign in")
    shop.app.register_blueprint(pages)
    shop.app.get("/closed")(hello())
    answer = shop.client().get("/closed?a=1", base_url=HTTPS, headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/sign-in-page?return_to=/closed%3Fa%3D1"
    assert shop.status("/sign-in-page") == 200


def test_the_page_to_prove_it_again_has_an_address_of_its_own() -> None:
    """`fresh_login_url` may be the endpoint of a route too; a misspelt one is an error with a hint (L15)."""
    shop = Shop(fresh_login_url="sure")
    shop.app.get("/are-you-sure", endpoint="sure")(lambda: "your password, please")
    shop.app.get("/delete")(fresh_login_required(within=300)(lambda: "deleted"))
    client = shop.client("alice")
    shop.clock.advance(minutes=6)
    answer = client.get("/delete", base_url=HTTPS + "/shop", headers={"Accept": "text/html"})
    assert answer.headers["Location"] == "/shop/are-you-sure?reason=fresh_login&return_to=/shop/delete"
    with pytest.raises(SettingsError, match=r"fresh_login_url.*Did you mean 'sign_in'"):
        Shop(fresh_login_url="sing_in").status("/")


def test_the_login_url_may_be_of_another_host() -> None:
    """L15, L21: a whole URL is no route's name, and goes out as it is."""
    shop = Shop(login_url="https://accounts.example/sign-in")
    answer = shop.client().get("/session/list", base_url=HTTPS)
    assert answer.json is not None
    assert answer.json["login_url"] == "https://accounts.example/sign-in"


def test_a_login_url_that_is_no_route_is_named() -> None:
    """A misspelt route name is an error with a hint, before a request is served."""
    shop = Shop(login_url="sing_in")
    with pytest.raises(SettingsError, match="Did you mean 'sign_in'"):
        shop.status("/")


def test_a_route_name_resolves_at_our_own_endpoints_and_below_a_mount() -> None:
    """The refusal of one of our endpoints names the login page too, mount included."""
    shop = Shop(login_url="sign_in_page")
    shop.app.get("/please", endpoint="sign_in_page")(hello())
    answer = shop.client().get("/session/list", base_url=HTTPS + "/shop")
    assert answer.json is not None
    assert answer.json["login_url"] == "/shop/please"


# --- markers that do not act -----------------------------------------------------------------------------------------


def test_a_hidden_marker_is_reported_and_opens_nothing() -> None:
    """A marker below a decorator without functools.wraps is reported once; what it would allow is not allowed."""
    shop = Shop()
    shop.app.add_url_rule("/page", "page", bare(session_optional(hello_again := hello())))
    assert shop.status("/page") == shop.status("/page") == 401
    assert shop.lost() == [("page", hello_again.__qualname__)]


def test_a_hidden_marker_still_forbids() -> None:
    """What a hidden marker forbids holds all the same: the strictest rule where the endpoint is not sure."""
    shop = Shop(default_policy="optional")

    def view() -> str:
        return "hello"

    shop.app.add_url_rule("/page", "page", bare(bare(fresh_login_required(within=300)(view))))
    assert shop.status("/page") == 401
    client = shop.client("alice")
    shop.clock.advance(minutes=6)
    assert client.get("/page", base_url=HTTPS).status_code == 401
    assert [endpoint for endpoint, _ in shop.lost()] == ["page"]


def test_of_two_hidden_markers_the_one_that_forbids_holds() -> None:
    """Whatever the names are by which the decorator holds the page and what it shows to others: their order says nothing."""

    def members(view: Callable[[], str], away: Callable[[], str]) -> Callable[[], str]:
        return lambda: view() if request.args else away()

    shop = Shop(default_policy="optional")
    away = session_exempt(hello())
    shop.app.add_url_rule("/page", "page", members(session_required(hello()), away))
    shop.app.add_url_rule("/turned", "turned", members(away, session_required(hello())))
    assert (shop.status("/page"), shop.status("/turned")) == (401, 401)


def test_a_page_that_chooses_a_bound_method_stays_open() -> None:
    """It is another object each time it is asked for, and the page with a route of its own all the same."""

    class Pages:
        @session_required
        def account(self) -> str:
            return "closed"

        @bare
        @session_required
        def orders(self) -> str:
            return "closed"

    pages = Pages()
    shop = Shop(default_policy="optional")
    shop.app.add_url_rule("/account", "account", pages.account)
    shop.app.add_url_rule("/orders", "orders", pages.orders)
    shop.app.add_url_rule("/", "start", bare(pages.account))
    assert [shop.status(path) for path in ("/account", "/orders")] == [401, 401]
    assert [endpoint for endpoint, _ in shop.lost()] == ["orders"]


def test_a_marker_hidden_in_a_decorator_object_is_found() -> None:
    """A decorator that is a class hides a function in an attribute; it is found there."""

    class Counting:
        def __init__(self, view: Callable[[], str]) -> None:
            self.view = view

        def __call__(self) -> str:
            return self.view()

    shop = Shop()
    shop.app.add_url_rule("/page", "page", Counting(session_exempt(lambda: "x")))
    assert shop.status("/page") == 401
    assert len(shop.lost()) == 1


def test_a_hidden_marker_is_reported_by_the_name_of_its_function() -> None:
    """Also where a partial stands between; what the app holds beside it is not hidden by a view that holds the app."""

    def view(number: int) -> str:
        return str(number)

    shop = Shop(default_policy="optional")
    app: Any = shop.app
    app.report = session_required(hello())
    shop.app.add_url_rule("/page", "page", bare(functools.partial(session_required(view), 3)))
    shop.app.add_url_rule("/holds", "holds", lambda: str(app))
    assert (shop.status("/page"), shop.status("/holds")) == (401, 200)
    assert shop.lost() == [("page", view.__qualname__)]


def test_a_marker_hidden_on_a_method_of_a_view_class_still_forbids() -> None:
    """A decorator without functools.wraps around `get` or `dispatch_request`; other methods are as they were."""

    @session_optional
    class Methods(MethodView):
        @bare
        @session_required
        def get(self) -> str:
            return "closed"

        def post(self) -> str:
            return "open"

    class Whole(View):
        @bare
        @session_required
        def dispatch_request(self) -> str:
            return "closed"

    def build(app: Flask) -> None:
        app.add_url_rule("/methods", view_func=Methods.as_view("methods"))
        app.add_url_rule("/whole", view_func=Whole.as_view("whole"))

    shop = Shop(build=build, default_policy="optional")
    assert [shop.status("/methods", method=method) for method in ("GET", "HEAD", "POST")] == [401, 401, 200]
    assert shop.status("/whole") == 401
    assert [endpoint for endpoint, _ in shop.lost()] == ["methods", "whole"]


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_a_view_may_hold_anything(held: object) -> None:
    """A proxy that only works within a request (`request`, imported in an app factory) and a client of a database."""
    shop = Shop()
    shop.app.add_url_rule("/page", "page", session_optional(lambda: "hello"))
    shop.app.add_url_rule("/holds", "holds", lambda: str(id(held)))
    assert shop.status("/page") == 200
    assert shop.status("/holds") == 401
    assert shop.lost() == []


def test_a_marker_behind_an_object_that_hands_on_any_name_is_found() -> None:
    """L21: what it forbids is applied, as behind any other decorator without functools.wraps."""
    shop = Shop(default_policy="optional")
    shop.app.add_url_rule("/page", "page", bare(HandsOn(session_required(lambda: "x"))))
    assert shop.status("/page") == 401
    assert len(shop.lost()) == 1


def test_a_mock_may_stand_for_a_view() -> None:
    """Tests put one there; whatever name it is asked for, it is no class-based view."""
    shop = Shop()
    shop.app.add_url_rule("/page", "page", session_optional(lambda: "hello"))
    shop.app.view_functions["page"] = Mock(return_value="mocked")
    assert shop.status("/page") == 401
    shop.app.view_functions["page"] = session_optional(Mock(return_value="mocked"))
    assert shop.status("/page") == 200


def test_a_registered_view_used_by_another_is_not_lost() -> None:
    """A view that calls another registered view does not hide its marker."""
    shop = Shop()
    open_page = session_optional(lambda: "open")
    shop.app.add_url_rule("/open", "open", open_page)
    shop.app.add_url_rule("/calls", "calls", bare(open_page))
    assert shop.status("/open") == 200
    assert shop.status("/calls") == 401
    assert shop.lost() == []


def test_a_marker_on_a_hook_is_reported() -> None:
    """A marker on a function that is no view can do nothing, and that is said."""
    shop = Shop()

    @shop.app.before_request
    @session_exempt
    def count() -> None:
        return None

    @shop.app.errorhandler(404)
    @session_optional
    def missing(problem: Exception) -> tuple[str, int]:
        return "missing", 404

    shop.status("/")
    assert {endpoint for endpoint, _ in shop.lost()} == {"before_request", "errorhandler"}


def test_a_marker_on_the_app_or_a_blueprint_is_reported() -> None:
    """Neither is asked: on the app that is said at start-up, and a blueprint takes none at all."""
    shop = Shop(default_policy="optional")
    session_required(shop.app)
    shop.status("/")
    assert shop.lost() == [("app", "shop")]
    with pytest.raises(SettingsError, match="cannot be marked"):
        session_required(Blueprint("part", "part"))


def test_an_app_route_under_our_prefix_is_an_error() -> None:
    """A route that our endpoints would cover is named before a request is served."""
    shop = Shop()
    shop.app.get("/session/mine")(hello())
    with pytest.raises(SettingsError, match="/session/mine"):
        shop.status("/")


@pytest.mark.parametrize(
    ("path", "target"), [("/a%20b", None), ("/away", "https://other.example/"), ("/lost", "/nothing")]
)
def test_redirects_by_the_url_map(path: str, target: str | None) -> None:
    """A redirect to an open page is open, its name with a space included; one that leads away or nowhere is not."""
    shop = Shop()
    shop.app.get("/a b/", endpoint="spaced")(session_optional(hello()))
    if target is not None:
        shop.app.add_url_rule(path, "moved", session_optional(hello()), redirect_to=target)
    assert shop.status(path) == (308 if target is None else 401)


@pytest.mark.parametrize("stands", ["before", "after"])
def test_sockets_set_up_before_us_are_reported(stands: str) -> None:
    """Flask-SocketIO must wrap what we have wrapped: inside ours its events would see an exchange that is over (L21)."""

    class Sockets:
        def __init__(self, app: Flask) -> None:
            inner = app.wsgi_app
            self.sockio_mw = lambda environ, start_response: inner(environ, start_response)
            app.wsgi_app = self.sockio_mw  # type: ignore[method-assign]
            app.extensions["socketio"] = self

    shop = Shop(build=Sockets if stands == "before" else None)
    if stands == "after":
        Sockets(shop.app)
    assert shop.status("/nowhere") == 401
    assert shop.lost() == ([("socketio", "SocketIO")] if stands == "before" else [])
