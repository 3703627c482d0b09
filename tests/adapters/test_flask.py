"""What is Flask's own: where markers are found, hooks and errors, streaming, keys, the default store (L17, L21, L25, L26)."""

from __future__ import annotations

import functools
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort, redirect, request, stream_with_context, url_for
from flask import session as flask_session
from flask.testing import FlaskClient
from flask.views import MethodView, View

from session_middleware import (
    SessionError,
    SessionNotAttached,
    Settings,
    SettingsError,
    Verdict,
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.adapters.flask import SessionLifetime, safe_return_to, session_from
from session_middleware.errors import ResponseAlreadyStarted, StoreUnavailable
from session_middleware.events import SessionEvent
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing import FakeClock

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
OTHER_KEY = "9f8e7d6c5b4a39281706f5e4d3c2b1a0ff"
HTTPS = "https://app.example"


class Shop:
    """An app with our extension, its store, clock and events."""

    def __init__(self, *, build: Callable[[Flask], None] | None = None, **settings: Any) -> None:
        self.app = Flask("shop")
        self.app.config["SECRET_KEY"] = KEY
        self.store = MemoryStore()
        self.clock = FakeClock()
        self.events: list[SessionEvent] = []
        if build is not None:
            build(self.app)
        self.lifetime = SessionLifetime(
            self.app, Settings(**settings), self.store, clock=self.clock, on_event=self.events.append
        )

        @self.app.route("/sign-in/<subject>", methods=["GET", "POST"])
        @session_optional
        def sign_in(subject: str) -> str:
            session_from().login(subject)
            return "in"

    def client(self, subject: str | None = None) -> FlaskClient:
        client = self.app.test_client()
        if subject is not None:
            assert client.get(f"/sign-in/{subject}", base_url=HTTPS).status_code == 200
        return client

    def status(self, path: str, subject: str | None = None, **given: Any) -> int:
        return self.client(subject).open(path, base_url=HTTPS, **given).status_code

    def lost(self) -> list[tuple[str, str]]:
        return [(e.detail["endpoint"], e.detail["marked"]) for e in self.events if e.name == "marker_unreachable"]


def bare(view: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that forgets functools.wraps."""

    def hiding(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return hiding


def wrapping(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def outer(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return outer


def hello() -> Callable[[], str]:
    """A new view: markers stay on the function they tag."""
    return lambda: "hello"


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


def test_a_marker_on_dispatch_request() -> None:
    """A marker on `dispatch_request` holds for the view."""
    shop = Shop()

    class Marked(View):
        @session_optional
        def dispatch_request(self) -> str:
            return "hello"

    shop.app.add_url_rule("/page", view_func=Marked.as_view("page"))
    assert shop.status("/page") == 200


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


def test_an_app_route_under_our_prefix_is_an_error() -> None:
    """A route that our endpoints would cover is named before a request is served."""
    shop = Shop()
    shop.app.get("/session/mine")(hello())
    with pytest.raises(SettingsError, match="/session/mine"):
        shop.status("/")


# --- hooks, errors and responses ---------------------------------------------------------------------------------------


def test_refusals_come_before_everything_of_the_app() -> None:
    """No hook and no URL preprocessor of the app runs for a request that is refused, those registered first included."""
    ran: list[str] = []

    def build(app: Flask) -> None:
        app.before_request(lambda: ran.append("app"))
        app.url_value_preprocessor(lambda endpoint, values: ran.append("values"))

    shop = Shop(build=build)
    shop.app.get("/closed")(hello())
    assert shop.status("/closed") == 401
    assert ran == []
    assert shop.status("/closed", "alice") == 200
    assert "app" in ran


def test_after_request_hooks_see_refusals_and_our_endpoints() -> None:
    """What the app adds to each response, such as CORS headers, is on ours too."""
    shop = Shop()

    @shop.app.after_request
    def stamp(response: Response) -> Response:
        response.headers["X-App"] = "yes"
        return response

    for path in ("/nothing", "/session/status"):
        assert shop.client().get(path, base_url=HTTPS).headers["X-App"] == "yes"


def test_a_preflight_passes_untouched() -> None:
    """A CORS preflight reaches the app without a session being looked at, at our own endpoints too."""
    shop = Shop()
    shop.app.get("/closed")(hello())
    asked = {"Origin": "https://front.example", "Access-Control-Request-Method": "GET"}
    for path, status in [("/closed", 200), ("/session/status", 204)]:
        answer = shop.client("alice").options(path, base_url=HTTPS, headers=asked)
        assert answer.status_code == status
        assert "Set-Cookie" not in answer.headers
        assert "Vary" not in answer.headers
    assert shop.status("/closed", method="OPTIONS") == 401


def failing(shop: Shop) -> None:
    @shop.app.get("/fails")
    @session_optional
    def fails() -> str:
        session_from().login("bob")
        raise RuntimeError("after the login")


def signed_in(shop: Shop, subject: str = "bob") -> int:
    return len(shop.lifetime.sessions.list(subject))


def test_a_login_in_a_view_that_fails_does_not_stand() -> None:
    """An error page carries no cookie of ours, and the new record is ended (L25)."""
    shop = Shop()
    shop.app.logger.disabled = True
    failing(shop)
    answer = shop.client().get("/fails", base_url=HTTPS)
    assert answer.status_code == 500
    assert "Set-Cookie" not in answer.headers
    assert signed_in(shop) == 0


def test_a_login_in_a_view_whose_error_is_propagated_does_not_stand() -> None:
    """In debug and testing the exception goes to the server; the new record is ended all the same (L25)."""
    shop = Shop()
    shop.app.testing = True
    failing(shop)
    with pytest.raises(RuntimeError, match="after the login"):
        shop.client().get("/fails", base_url=HTTPS)
    assert signed_in(shop) == 0


def test_a_login_in_a_view_whose_error_the_app_renders_does_not_stand() -> None:
    """An app-wide errorhandler(Exception) answers with its page, not with the login of the view that failed (L25)."""
    shop = Shop()
    failing(shop)
    shop.app.register_error_handler(Exception, lambda problem: ("sorry", 500))
    answer = shop.client().get("/fails", base_url=HTTPS)
    assert answer.data == b"sorry"
    assert "Set-Cookie" not in answer.headers
    assert signed_in(shop) == 0


def test_claims_of_a_view_that_fails_are_not_saved() -> None:
    """Claims are saved when a response starts, and a failed view has none (L25)."""
    shop = Shop()
    shop.app.logger.disabled = True

    @shop.app.get("/fails")
    def fails() -> str:
        session_from().update_claims(plan="gold")
        raise RuntimeError

    client = shop.client("alice")
    assert client.get("/fails", base_url=HTTPS).status_code == 500
    with client:
        client.get("/nothing", base_url=HTTPS)
        assert dict(session_from().claims) == {}


def test_an_abort_after_login_keeps_the_login() -> None:
    """abort() is Flask's way to answer: a 4xx with the new cookie is an answer of the app."""
    shop = Shop()

    @shop.app.get("/half")
    @session_optional
    def half() -> str:
        session_from().login("bob")
        abort(409)

    answer = shop.client().get("/half", base_url=HTTPS)
    assert answer.status_code == 409
    assert "__Host-session=" in answer.headers["Set-Cookie"]
    assert signed_in(shop) == 1


class Down(MemoryStore):
    """A store that can be switched off."""

    down = False

    def create(self, *args: Any) -> Any:
        if self.down:
            raise OSError("down")
        return super().create(*args)

    def save(self, *args: Any) -> Any:
        if self.down:
            raise OSError("down")
        return super().save(*args)


def app_with_a_store_that_fails(handler: str) -> tuple[Flask, Down]:
    app, store = Flask("shop"), Down()
    app.config["SECRET_KEY"] = KEY
    SessionLifetime(app, Settings(), store, clock=FakeClock())
    blueprint = Blueprint("blueprint", "blueprint")

    @blueprint.get("/in")
    @session_optional
    def sign_in() -> str:
        session_from().login("alice")
        return "in"

    @blueprint.get("/claims")
    @session_optional
    def claims() -> Response:
        session_from().update_claims(plan="gold")
        return Response(iter([b"saved"]))

    if handler == "app":
        app.register_error_handler(Exception, lambda problem: ("swallowed", 418))
    elif handler == "blueprint":
        blueprint.register_error_handler(Exception, lambda problem: ("swallowed", 418))
    app.register_blueprint(blueprint)
    return app, store


@pytest.mark.parametrize("handler", ["none", "app", "blueprint"])
def test_a_store_that_is_down_is_a_503(handler: str) -> None:
    """A verb that needs the store answers 503 with Retry-After, whatever catches all exceptions in the app (L17)."""
    app, store = app_with_a_store_that_fails(handler)
    store.down = True
    answer = app.test_client().get("/in", base_url=HTTPS)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "Set-Cookie" not in answer.headers


def test_the_app_may_render_an_outage_itself() -> None:
    """An errorhandler for StoreUnavailable itself is the app's word, and stands."""
    app, store = app_with_a_store_that_fails("none")
    app.register_error_handler(StoreUnavailable, lambda problem: ("later", 503))
    store.down = True
    assert app.test_client().get("/in", base_url=HTTPS).data == b"later"


def test_claims_that_cannot_be_saved_replace_the_answer() -> None:
    """Claims are written when the response starts; if that fails, 503 is what goes out, and a stream is closed (L17)."""
    app, store = app_with_a_store_that_fails("none")
    client = app.test_client()
    client.get("/in", base_url=HTTPS)
    store.down = True
    answer = client.get("/claims", base_url=HTTPS)
    assert answer.status_code == 503
    assert b"saved" not in answer.data


def test_an_outage_in_a_hook_after_the_view() -> None:
    """StoreUnavailable raised where Flask has no handler for it any more reaches us, and is a 503 too."""
    shop = Shop(login_url="sign_in_page")
    shop.app.testing = True  # so that Flask passes it on
    shop.app.get("/please", endpoint="sign_in_page")(session_optional(hello()))

    @shop.app.after_request
    def breaks(response: Response) -> Response:
        raise StoreUnavailable("down")

    answer = shop.client().get("/please", base_url=HTTPS)
    assert answer.status_code == 503
    assert shop.client().head("/please", base_url=HTTPS).data == b""


def test_streaming_responses_read_the_session_and_cannot_log_in() -> None:
    """A generator sees the session of its request; after the headers have gone out login() says so."""
    shop = Shop()

    @shop.app.get("/stream")
    def stream() -> Response:
        def chunks() -> Iterator[str]:
            yield str(session_from().subject)
            with pytest.raises(ResponseAlreadyStarted):
                session_from().login("bob")
            yield "."

        return Response(stream_with_context(chunks()))

    assert shop.client("alice").get("/stream", base_url=HTTPS).data == b"alice."


def test_async_views_use_the_blocking_session() -> None:
    """An `async def` view is judged by its marker, and its session is a plain Session."""
    shop = Shop()

    @shop.app.get("/async")
    @session_optional
    async def view() -> str:
        session_from().login("alice")
        return str(session_from().subject)

    @shop.app.get("/closed")
    async def closed() -> str:
        return str(session_from().subject)

    client = shop.client()
    assert client.get("/closed", base_url=HTTPS).status_code == 401
    assert client.get("/async", base_url=HTTPS).data == b"alice"
    assert client.get("/closed", base_url=HTTPS).data == b"alice"


def test_an_app_inside_ours_meets_the_strictest_rule() -> None:
    """What answers inside `wsgi_app` without Flask has no endpoint that could be judged (L21)."""

    def build(app: Flask) -> None:
        flask_app = app.wsgi_app

        def inside(environ: Any, start_response: Any) -> Any:
            if environ["PATH_INFO"] == "/lazy":
                return lazily(start_response)
            if environ["PATH_INFO"] != "/metrics":
                return flask_app(environ, start_response)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"secret"]

        def lazily(start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"secret"

        app.wsgi_app = inside  # type: ignore[method-assign]

    shop = Shop(build=build)
    for path in ("/metrics", "/lazy"):
        refused = shop.client().get(path, base_url=HTTPS)
        assert refused.status_code == 401
        assert b"secret" not in refused.data
        assert shop.client("alice").get(path, base_url=HTTPS).data == b"secret"


def test_an_early_answer_of_a_preprocessor_is_judged() -> None:
    """A converter that aborts while Flask matches the URL cannot answer a stranger."""
    shop = Shop()
    shop.app.get("/items/<int:number>", endpoint="items")(lambda number: str(number))
    assert shop.status("/items/x") == 401


# --- the Flask session (L26) ---------------------------------------------------------------------------------------------


def shop_with_a_basket() -> Shop:
    shop = Shop()

    @shop.app.get("/basket")
    @session_optional
    def basket() -> str:
        flask_session["basket"] = flask_session.get("basket", 0) + 1
        return str(flask_session["basket"])

    @shop.app.get("/out")
    @session_optional
    def out() -> str:
        session_from().logout()
        return "out"

    return shop


def test_the_flask_session_is_cleared_at_logout() -> None:
    """What the app kept for this person goes with the session."""
    client = (shop := shop_with_a_basket()).client("alice")
    assert [client.get("/basket", base_url=HTTPS).data for _ in range(2)] == [b"1", b"2"]
    client.get("/out", base_url=HTTPS)
    assert client.get("/basket", base_url=HTTPS).data == b"1"
    assert shop.client().get("/out", base_url=HTTPS).status_code == 200


def test_the_flask_session_is_cleared_by_our_logout_endpoint() -> None:
    """`POST /session/logout` clears it too: the endpoint answers inside Flask."""
    client = shop_with_a_basket().client("alice")
    client.get("/basket", base_url=HTTPS)
    answer = client.post("/session/logout", base_url=HTTPS, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 204
    assert "Content-Type" not in answer.headers
    assert client.get("/basket", base_url=HTTPS).data == b"1"


def test_the_flask_session_is_cleared_at_a_proven_end() -> None:
    """Once the record says that the session is over, the next person at this browser starts afresh."""
    client = (shop := shop_with_a_basket()).client("alice")
    client.get("/basket", base_url=HTTPS)
    shop.clock.advance(hours=2)
    assert client.get("/basket", base_url=HTTPS).data == b"1"


def test_the_flask_session_stays_without_proof() -> None:
    """A visitor without a session keeps the basket: nothing has ended."""
    client = shop_with_a_basket().client()
    assert [client.get("/basket", base_url=HTTPS).data for _ in range(2)] == [b"1", b"2"]


def test_the_flask_session_is_cleared_when_another_subject_logs_in() -> None:
    """Bob does not find Alice's basket; Alice signing in again keeps it."""
    client = shop_with_a_basket().client("alice")
    client.get("/basket", base_url=HTTPS)
    client.get("/sign-in/alice", base_url=HTTPS)
    assert client.get("/basket", base_url=HTTPS).data == b"2"
    client.get("/sign-in/bob", base_url=HTTPS)
    assert client.get("/basket", base_url=HTTPS).data == b"1"


# --- session_from and safe_return_to -----------------------------------------------------------------------------------------


def test_session_from_takes_the_request_or_finds_it() -> None:
    """Both ways lead to the one session of this request."""
    shop = Shop()

    @shop.app.get("/same")
    @session_optional
    def same() -> str:
        return str(session_from() is session_from(request))

    assert shop.client().get("/same", base_url=HTTPS).data == b"True"


def test_session_from_outside_a_request_or_an_unwrapped_app() -> None:
    """Both mistakes are named."""
    with pytest.raises(SessionNotAttached, match="outside a request"):
        session_from()
    with Flask("plain").test_request_context("/"), pytest.raises(SessionNotAttached, match="not wrapped"):
        session_from()


def test_session_from_in_a_test_request_context() -> None:
    """Code under test may be called without a server around it."""
    shop = Shop()
    with shop.app.test_request_context("/", base_url=HTTPS):
        assert session_from().verdict is Verdict.ANONYMOUS
        session_from().login("alice")
        assert session_from().subject == "alice"


@pytest.mark.parametrize(
    ("query", "to"),
    [
        ("return_to=/a%3Fb%3D1", "/a?b=1"),
        ("return_to=https://evil.example/", "/home"),
        ("return_to=//evil.example/", "/home"),
        ("return_to=/a&return_to=/b", "/home"),
        ("", "/home"),
    ],
)
def test_safe_return_to(query: str, to: str) -> None:
    """Only a path on this host is returned to, else the default (L15)."""
    shop = Shop()
    with shop.app.test_request_context(f"/login?{query}"):
        assert safe_return_to("/home") == safe_return_to("/home", request) == to


# --- set-up ------------------------------------------------------------------------------------------------------------------


def test_settings_come_from_the_apps_config() -> None:
    """Keys with our prefix are settings; Flask's own keys sign and verify."""
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, SECRET_KEY_FALLBACKS=[OTHER_KEY], SESSION_LIFETIME_INACTIVITY_TIMEOUT=900)
    lifetime = SessionLifetime(app, store=MemoryStore())
    assert lifetime.engine.settings.inactivity_timeout == 900
    assert lifetime.engine.settings.secret_keys == (KEY.encode(), OTHER_KEY.encode())


def test_own_secret_keys_in_the_config_win() -> None:
    """SESSION_LIFETIME_SECRET_KEYS stands in for SECRET_KEY."""
    app = Flask("shop")
    app.config.update(SECRET_KEY="short", SESSION_LIFETIME_SECRET_KEYS=[OTHER_KEY])
    assert SessionLifetime(app, store=MemoryStore()).engine.settings.secret_keys == (OTHER_KEY.encode(),)


def test_rotating_flasks_key_logs_nobody_out() -> None:
    """A session signed with what is now a fallback lives on, and is re-issued under the new key (L10)."""
    shop = Shop()
    client = shop.client("alice")
    app = Flask("shop")
    app.config.update(SECRET_KEY=OTHER_KEY, SECRET_KEY_FALLBACKS=[KEY])
    SessionLifetime(app, store=shop.store, clock=shop.clock)
    app.get("/who")(lambda: str(session_from().subject))
    cookies = {name: client.get_cookie(name, "app.example") for name in ("__Host-session", "__Host-session_jwt")}
    sent = "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items() if cookie is not None)
    answer = app.test_client(use_cookies=False).get("/who", base_url=HTTPS, headers={"Cookie": sent})
    assert answer.data == b"alice"
    assert any(line.startswith("__Host-session=") for line in answer.headers.getlist("Set-Cookie"))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, "SECRET_KEY"),
        ({"SECRET_KEY": "dev"}, "SECRET_KEY"),
        ({"SECRET_KEY": KEY, "SECRET_KEY_FALLBACKS": ["old"]}, r"SECRET_KEY_FALLBACKS\[0\]"),
        ({"SECRET_KEY": KEY, "SESSION_LIFETIME_INACTIVITY_TIMEOT": 9}, "SESSION_LIFETIME_INACTIVITY_TIMEOUT"),
    ],
)
def test_unusable_configuration_is_named(config: dict[str, object], named: str) -> None:
    """A missing or weak key, or a misspelt setting, is an error at start-up that names it and never shows a key."""
    app = Flask("shop")
    app.config.update(config)
    with pytest.raises(SettingsError, match=named) as problem:
        SessionLifetime(app, store=MemoryStore())
    assert "'dev'" not in str(problem.value)


def test_a_clash_with_flasks_own_cookie_is_named() -> None:
    """Without the prefix our cookie would have the name of Flask's; they would overwrite each other."""
    with pytest.raises(SettingsError, match="SESSION_COOKIE_NAME"):
        Shop(insecure_dev=True)
    assert Shop(insecure_dev=True, cookie_name="signed_in").status("/sign-in/alice") == 200


def test_the_default_store_is_a_file_in_the_instance_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a store, `sessions.db` is made in `instance_path`, a folder only this user may enter."""
    monkeypatch.delenv("SESSION_STORE_URL", raising=False)
    app = Flask("shop", instance_path=str(tmp_path / "deep" / "instance"))
    app.config["SECRET_KEY"] = KEY
    lifetime = SessionLifetime(app)
    with lifetime.engine.store as store:
        assert isinstance(store, SQLiteStore)
        assert (tmp_path / "deep" / "instance" / "sessions.db").exists()
        assert stat.S_IMODE((tmp_path / "deep" / "instance").stat().st_mode) == 0o700


def test_an_unusable_instance_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no folder can be made, the error says which setting helps."""
    monkeypatch.delenv("SESSION_STORE_URL", raising=False)
    (tmp_path / "file").write_text("")
    app = Flask("shop", instance_path=str(tmp_path / "file" / "instance"))
    app.config["SECRET_KEY"] = KEY
    with pytest.raises(SettingsError, match="SESSION_STORE_URL"):
        SessionLifetime(app)


def test_the_store_url_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SESSION_STORE_URL is taken, and no instance folder is made."""
    monkeypatch.setenv("SESSION_STORE_URL", "memory://")
    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    app.config["SECRET_KEY"] = KEY
    assert isinstance(SessionLifetime(app).engine.store, MemoryStore)
    assert not (tmp_path / "instance").exists()


def test_one_extension_for_several_apps() -> None:
    """`init_app` wraps each app on its own; outside an app context the one meant must be said."""
    lifetime = SessionLifetime(store=MemoryStore())
    with pytest.raises(SessionNotAttached, match="wraps 0 apps"):
        _ = lifetime.sessions
    apps = [Flask("one"), Flask("two")]
    for app in apps:
        app.config["SECRET_KEY"] = KEY
        lifetime.init_app(app)
    with pytest.raises(SessionNotAttached, match="wraps 2 apps"):
        _ = lifetime.sessions
    with apps[0].app_context():
        first = lifetime.engine
    with apps[1].app_context():
        assert lifetime.engine is not first
    with pytest.raises(SettingsError, match="already"):
        lifetime.init_app(apps[0])


def test_sessions_outside_a_request() -> None:
    """A ban: the sessions of a user are listed and ended without a request."""
    shop = Shop()
    shop.app.get("/closed")(hello())
    client = shop.client("alice")
    (mine,) = shop.lifetime.sessions.list("alice")
    assert shop.lifetime.sessions.end(mine.id)
    assert client.get("/closed", base_url=HTTPS).status_code == 401


def test_url_for_still_builds_as_before() -> None:
    """We add no routes to the app: its URL map stays its own."""
    shop = Shop()
    assert {rule.endpoint for rule in shop.app.url_map.iter_rules()} == {"static", "sign_in"}
    with shop.app.test_request_context():
        assert redirect(url_for("sign_in", subject="a")).location == "/sign-in/a"


def test_a_cross_site_login_is_the_apps_error() -> None:
    """login() inside a request that another site made raises; no session begins (L20)."""
    shop = Shop()
    shop.app.testing = True
    with pytest.raises(SessionError, match="another site"):
        shop.client().post("/sign-in/alice", base_url=HTTPS, headers={"Sec-Fetch-Site": "cross-site"})
    assert signed_in(shop, "alice") == 0
