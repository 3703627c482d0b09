"""Hooks, errors, outages, streams and the Flask session around ours (L17, L21, L25, L26)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort, redirect, stream_with_context
from flask import session as flask_session
from werkzeug.routing import RequestRedirect
from werkzeug.test import EnvironBuilder

from session_middleware import (
    Settings,
    session_exempt,
    session_optional,
)
from session_middleware.adapters.flask import SessionLifetime, safe_return_to, session_client, session_from
from session_middleware.core.refusal import Reply
from session_middleware.errors import ResponseAlreadyStarted, SessionError, StoreUnavailable
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.watched_store import WatchedStore
from tests.adapters.flask_shop import HTTPS, KEY, Shop, hello

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


def refusing(shop: Shop, fault: Callable[[], object]) -> None:
    """A view that signs bob in and then calls what raises."""

    @shop.app.get("/refuses")
    @session_optional
    def refuses() -> str:
        session_from().login("bob")
        fault()
        return "welcome"


@pytest.mark.parametrize("status", [400, 403, 404, 503])
def test_a_login_before_an_abort_does_not_stand(status: int) -> None:
    """`abort(403)` is no answer of the view's: no cookie, and the session that came lives on (L25)."""
    shop = Shop()
    refusing(shop, lambda: abort(status))
    client = shop.client("alice")
    answer = client.get("/refuses", base_url=HTTPS)
    assert answer.status_code == status
    assert "Set-Cookie" not in answer.headers
    assert "Cookie" in answer.headers["Vary"]
    assert (signed_in(shop), signed_in(shop, "alice")) == (0, 1)
    assert client.get("/session/status", base_url=HTTPS).json["authenticated"] is True


def test_a_login_before_an_exception_that_has_a_handler_does_not_stand() -> None:
    """An errorhandler for it answers, and sees nobody signed in (L25)."""

    def answered(problem: Exception) -> tuple[str, int]:
        return f"for {session_from().subject}", 400

    shop = Shop()
    refusing(shop, lambda: int("x"))
    shop.app.register_error_handler(ValueError, answered)
    answer = shop.client("alice").get("/refuses", base_url=HTTPS)
    assert (answer.status_code, answer.data) == (400, b"for None")
    assert "Set-Cookie" not in answer.headers
    assert (signed_in(shop), signed_in(shop, "alice")) == (0, 1)


@pytest.mark.parametrize("extension_first", [True, False], ids=["extension first", "we first"])
def test_an_extension_that_answers_exceptions_itself(extension_first: bool) -> None:
    """Flask-RESTX answers what its views raise before Flask does: a login there does not stand, an outage is a 503."""

    def answered_by_extension(app: Flask) -> None:
        standing = app.handle_user_exception

        def handle(fault: Exception) -> Any:
            return ("handled", 418) if isinstance(fault, (KeyError, SessionError)) else standing(fault)

        app.handle_user_exception = handle  # type: ignore[method-assign, assignment]

    app = Flask("restful")
    app.config["SECRET_KEY"] = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
    if extension_first:
        answered_by_extension(app)
    lifetime = SessionLifetime(app, store=MemoryStore())
    if not extension_first:
        answered_by_extension(app)

    @app.get("/fail")
    @session_optional
    def fail() -> str:
        session_from().login("alice")
        raise KeyError

    @app.get("/down")
    @session_optional
    def down() -> str:
        raise StoreUnavailable("down")

    @app.get("/misused")
    @session_optional
    def misused() -> str:
        raise SessionError("misused")

    client = app.test_client()
    failed = client.get("/fail", base_url=HTTPS)
    assert (failed.status_code, failed.headers.getlist("Set-Cookie")) == (418, [])
    assert lifetime.sessions.list("alice") == []
    answer = client.get("/down", base_url=HTTPS)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert client.get("/misused", base_url=HTTPS).status_code == 418, "which is the app's to answer"
    app.error_handler_spec[None][None][StoreUnavailable] = lambda fault: ("the app's own", 503)
    assert client.get("/down", base_url=HTTPS).status_code == 418


def test_a_blueprint_answers_an_outage_itself_beside_such_an_extension() -> None:
    """Its errorhandler is the app's word, too, where a subclass of Flask or an extension hears of exceptions first."""

    class Watching(Flask):
        def handle_user_exception(self, e: Exception) -> Any:
            return super().handle_user_exception(e)

    app = Watching("watching")
    app.config["SECRET_KEY"] = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
    SessionLifetime(app, store=MemoryStore())
    pages = Blueprint("pages", "pages")

    @pages.get("/down")
    @session_optional
    def down() -> str:
        raise StoreUnavailable("down")

    pages.register_error_handler(StoreUnavailable, lambda problem: ("later", 503))
    app.register_blueprint(pages)
    assert app.test_client().get("/down", base_url=HTTPS).data == b"later"


def test_a_handler_may_sign_in_itself() -> None:
    """What answers an exception is the app's answer, its login included (L25)."""

    def answered(problem: Exception) -> str:
        session_from().login("carol")
        return "welcome"

    shop = Shop()
    refusing(shop, lambda: int("x"))
    shop.app.register_error_handler(ValueError, answered)
    answer = shop.client("alice").get("/refuses", base_url=HTTPS)
    assert "Set-Cookie" in answer.headers
    assert [signed_in(shop, name) for name in ("alice", "bob", "carol")] == [0, 0, 1]


def elsewhere() -> None:
    raise RequestRedirect("/home")


@pytest.mark.parametrize("fault", [lambda: abort(redirect("/home")), elsewhere])
def test_a_login_before_an_aborted_redirect_stands(fault: Callable[[], object]) -> None:
    """`abort(redirect("/home"))` is an answer in the form of an exception (L25)."""
    shop = Shop()
    refusing(shop, fault)
    answer = shop.client("alice").get("/refuses", base_url=HTTPS)
    assert answer.status_code in (302, 308)
    assert answer.headers["Location"].endswith("/home")
    assert "Set-Cookie" in answer.headers
    assert (signed_in(shop), signed_in(shop, "alice")) == (1, 0)


def test_a_login_before_an_aborted_error_page_does_not_stand() -> None:
    """A finished response with a status of 400 or more is a failure like any (L25)."""
    shop = Shop()
    refusing(shop, lambda: abort(Response("no", 409)))
    answer = shop.client().get("/refuses", base_url=HTTPS)
    assert (answer.status_code, signed_in(shop)) == (409, 0)
    assert "Set-Cookie" not in answer.headers


def streaming(shop: Shop, chunks: Callable[[], Iterator[str]]) -> None:
    @shop.app.get("/streams")
    @session_optional
    def streams() -> Response:
        session_from().login("bob")
        return Response(stream_with_context(chunks()))


def test_a_login_whose_stream_fails_before_its_first_chunk_does_not_stand() -> None:
    """Nothing has been sent yet, so no cookie has: the new record is ended, the session that came lives on (L25)."""

    def chunks() -> Iterator[str]:
        if shop:
            raise RuntimeError("before the first chunk")
        yield ""

    shop = Shop()
    streaming(shop, chunks)
    with pytest.raises(RuntimeError, match="before the first chunk"):
        shop.client("alice").get("/streams", base_url=HTTPS)
    assert (signed_in(shop), signed_in(shop, "alice")) == (0, 1)


def test_a_login_whose_stream_fails_later_stands() -> None:
    """The headers went out with the first chunk, and the cookie among them (L25)."""

    def chunks() -> Iterator[str]:
        yield "first"
        raise RuntimeError("after the first chunk")

    shop = Shop()
    streaming(shop, chunks)
    answer = shop.client().get("/streams", base_url=HTTPS, buffered=False)
    assert "__Host-session=" in str(answer.headers)
    with pytest.raises(RuntimeError, match="after the first chunk"):
        b"".join(answer.response)
    answer.close()
    assert signed_in(shop) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_store_that_fails_when_a_login_goes_out(method: str) -> None:
    """The cookie cannot be vouched for: a 503 goes out in place of the answer, its login page named by route (L17, L25)."""
    store = WatchedStore(MemoryStore())
    shop = Shop(store=store)

    @shop.app.get("/in")
    @session_optional
    def goes_in() -> str:
        session_from().login("bob")
        store.go_down(writes=False)
        return "in"

    answer = shop.client().open("/in", method=method, base_url=HTTPS)
    assert answer.status_code == 503
    assert "Set-Cookie" not in answer.headers
    assert answer.data != b"in"
    store.come_back()
    assert signed_in(shop) == 0


def taking_back(app: Flask) -> None:
    """Put an app around Flask's, inside ours, that answers anew where it does not like the answer."""
    flask_app = app.wsgi_app

    def around(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            start_response(status, headers)
            try:
                raise RuntimeError
            except RuntimeError:
                return start_response("500 Sorry", [("Content-Type", "text/plain")], sys.exc_info())

        return flask_app(environ, start if environ["PATH_INFO"] == "/in" else start_response)

    app.wsgi_app = around  # type: ignore[method-assign]


def test_an_answer_that_is_taken_back_takes_its_login_along() -> None:
    """start_response again, with exc_info: the cookie of the first answer is not on the second (PEP 3333, L25)."""
    shop = Shop(build=taking_back)
    shop.app.get("/in")(session_optional(lambda: session_from().login("bob") or "in"))
    client = shop.client("alice")
    answers: list[tuple[Any, ...]] = []
    environ = EnvironBuilder("/in", base_url=HTTPS).get_environ()
    client._add_cookies_to_wsgi(environ)  # its own server takes an answer with exc_info for a fault of the app
    body: Any = shop.app.wsgi_app(environ, lambda *answer: answers.append(answer))
    assert b"".join(body) == b"in"
    body.close()
    ((status, headers, _),) = answers
    assert status == "500 Sorry"
    assert "Set-Cookie" not in dict(headers)
    assert (signed_in(shop), signed_in(shop, "alice")) == (0, 1)


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


def test_a_refusal_of_the_apps_own_with_an_unusual_status() -> None:
    """`refusal=` may answer any status, in Flask and where an app inside ours is stopped."""

    def build(app: Flask) -> None:
        flask_app = app.wsgi_app

        def inside(environ: Any, start_response: Any) -> Any:
            if environ["PATH_INFO"] != "/metrics":
                return flask_app(environ, start_response)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"secret"]

        app.wsgi_app = inside  # type: ignore[method-assign]

    shop = Shop(build=build, refusal=lambda facts, refusal: Reply(499, (("Content-Type", "text/plain"),), b"no"))
    for path in ("/metrics", "/nothing"):
        answer = shop.client().get(path, base_url=HTTPS)
        assert (answer.status_code, answer.data) == (499, b"no")


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


def test_what_the_app_keeps_after_an_end_stays() -> None:
    """Our dead cookie stays until the next login, for which the app keeps something, such as a token against CSRF (L26)."""
    client = (shop := shop_with_a_basket()).client("alice")
    client.get("/basket", base_url=HTTPS)
    shop.clock.advance(hours=2)
    assert [client.get("/basket", base_url=HTTPS).data for _ in range(3)] == [b"1", b"2", b"3"]
    client.get("/sign-in/alice", base_url=HTTPS)
    assert client.get("/basket", base_url=HTTPS).data == b"4"
    shop.clock.advance(hours=2)
    assert [client.get("/basket", base_url=HTTPS).data for _ in range(2)] == [b"1", b"2"], "another end"


def test_an_end_gives_no_flask_session_to_an_app_without_one() -> None:
    """Nothing is noted in a Flask session that nobody uses, so no cookie of Flask's goes out."""
    client = (shop := shop_with_a_basket()).client("alice")
    shop.clock.advance(hours=2)
    assert client.get("/", base_url=HTTPS).headers.getlist("Set-Cookie") == []


@pytest.mark.parametrize("before", ["a page", "the sign-in itself"])
def test_what_an_exempt_page_keeps_for_the_login_is_there_at_the_next(before: str) -> None:
    """A form's token, say, that nobody judges: it is gone once at most, and not at all after a page that told of the end (L26)."""
    shop = shop_with_a_basket()

    @shop.app.get("/form")
    @session_exempt
    def form() -> str:
        flask_session["token"] = "t"
        return "form"

    @shop.app.post("/enter")
    @session_optional
    def enter() -> str:
        return str(flask_session.get("token", "none"))

    client = shop.client("alice")

    def try_it() -> bytes:
        client.get("/form", base_url=HTTPS)
        return client.post("/enter", base_url=HTTPS).data

    client.get("/basket", base_url=HTTPS)
    shop.clock.advance(hours=2)
    if before == "a page":
        assert client.get("/", base_url=HTTPS).status_code == 401
        assert [try_it() for _ in range(3)] == [b"t"] * 3
    else:
        assert [try_it() for _ in range(3)] == [b"none", b"t", b"t"]


def test_a_page_that_clears_the_flask_session_does_not_have_it_emptied_again() -> None:
    """Many a page that begins a login clears it first; what it keeps then is there when the login comes back (L26)."""
    shop = shop_with_a_basket()

    @shop.app.get("/start")
    @session_optional
    def start() -> str:
        flask_session.clear()
        flask_session["state"] = "s"
        return "go"

    @shop.app.get("/back")
    @session_optional
    def back() -> str:
        return str(flask_session.pop("state", "none"))

    client = shop.client("alice")
    for _ in range(2):
        client.get("/basket", base_url=HTTPS)
        shop.clock.advance(hours=2)
        client.get("/", base_url=HTTPS)
        for _ in range(3):
            client.get("/start", base_url=HTTPS)
            assert client.get("/back", base_url=HTTPS).data == b"s"
        client.get("/sign-in/alice", base_url=HTTPS)


def test_a_logout_after_an_end_leaves_no_flask_session() -> None:
    """Our dead cookie goes, so nothing is noted for it (L26)."""
    client = (shop := shop_with_a_basket()).client("alice")
    client.get("/basket", base_url=HTTPS)
    shop.clock.advance(hours=2)
    client.get("/out", base_url=HTTPS)
    assert {cookie.key for cookie in client._cookies.values()} == set()


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


def test_a_lazy_app_inside_ours_that_fails() -> None:
    """A body that logs in and raises before it answers leaves nothing, and is closed (L25)."""
    closed: list[bool] = []

    def build(app: Flask) -> None:
        flask_app = app.wsgi_app

        def inside(environ: Any, start_response: Any) -> Any:
            return lazily(environ) if environ["PATH_INFO"] == "/lazy" else flask_app(environ, start_response)

        def lazily(environ: Any) -> Iterator[bytes]:
            try:
                session_from(app.request_class(environ)).login("bob")
                raise RuntimeError("too late")
                yield b""
            finally:
                closed.append(True)

        app.wsgi_app = inside  # type: ignore[method-assign]

    shop = Shop(build=build)
    with pytest.raises(RuntimeError, match="too late"):
        shop.client("alice").get("/lazy", base_url=HTTPS)
    assert closed == [True]
    assert signed_in(shop) == 0


@pytest.mark.parametrize(("limit", "size", "status"), [(None, 9, 200), (None, 70_000, 413), (5, 9, 413)])
def test_bodies_at_our_endpoints(limit: int | None, size: int, status: int) -> None:
    """A form reaches `POST continue`; one that is too long for us, or for Flask's own limit, is 413."""
    shop = Shop()
    shop.app.config["MAX_CONTENT_LENGTH"] = limit
    client = shop.client("alice")
    body = b"minutes=7".ljust(size, b"&")
    sent = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/session/continue", base_url=HTTPS, data=body, headers=sent)
    assert answer.status_code == status
    if status == 200:
        assert answer.json is not None
        assert answer.json["inactivity_left"] == 7 * 60


@pytest.mark.parametrize(
    ("vary", "control"), [("Vary", "Cache-Control"), ("vary", "cache-control"), ("VARY", "Cache-CONTROL")]
)
def test_what_a_view_says_of_caches_stands(vary: str, control: str) -> None:
    """A view's own Vary and Cache-Control are merged and kept, in whatever case it writes them (L18)."""
    shop = Shop()
    shop.app.get("/kept")(lambda: Response("kept", headers=[(vary, "Accept"), (control, "no-store")]))
    client = shop.client("alice")
    shop.clock.advance(seconds=1)
    for _ in range(2):  # the first is recorded, nothing is due for the second
        headers = client.get("/kept", base_url=HTTPS).headers
        assert headers.getlist("Vary") == ["Accept, Cookie"]
        assert headers.getlist("Cache-Control") == ["no-store"]


def test_a_request_that_is_over_can_still_be_asked() -> None:
    """Where a test keeps the context of its request, that request still says where to go after login, and who was there."""
    shop = Shop()
    shop.app.get("/kept")(hello())
    with shop.client("alice") as client:
        shop.clock.advance(seconds=1)
        for _ in range(2):  # the first is recorded, nothing is due for the second
            client.get("/kept?return_to=/basket", base_url=HTTPS, environ_overrides={"SCRIPT_NAME": "/shop"})
        assert safe_return_to() == "/basket"
        assert "/shop/session/client.js" in session_client()
        assert session_from().subject == "alice"
