"""Flask: the scenario app with functions, a class-based view and a blueprint three deep."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Flask, Response, abort, jsonify, make_response, request
from flask.views import MethodView

from session_middleware import (
    SessionError,
    SettingsError,
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.adapters.flask import SessionLifetime, safe_return_to, session_from
from session_middleware.testing.adapter_contract import describe, login_arguments
from tests.modes.wsgi_mode import WSGIDriver, judged

NAME = "flask"
SUPPORTS_MOUNT = True


def shown() -> Response:
    return jsonify(describe(session_from()))


def me() -> Response:
    return shown()


@session_optional
def open_() -> Response:
    return shown()


@session_exempt
def exempt() -> Response:
    return jsonify(exempt=True)


@session_exempt
def exempt_using() -> Response:
    return shown()


@no_touch
def poll() -> Response:
    return shown()


@fresh_login_required(within=300)
def fresh() -> Response:
    return shown()


@session_required(on_unavailable="stale")
def stale() -> Response:
    return shown()


class Login(MethodView):
    """GET is unmarked, and open because it is the login URL; POST has its own marker."""

    def get(self) -> str:
        return "<h1>login</h1>"

    @session_optional
    def post(self) -> Response:
        session_from().login(**login_arguments(request.args))
        return shown()


@session_optional(cross_site_login=True)
def bound_login() -> Response:
    session_from().login(**login_arguments(request.args))
    return shown()


def step_up() -> Response:
    session_from().step_up([{"type": "otp"}])
    return shown()


@session_optional
def sign_out() -> Response:
    session_from().logout()
    return jsonify(ok=True)


def extend() -> Response | tuple[Response, int]:
    try:
        session_from().extend(float(request.args["minutes"]))
    except SettingsError as problem:
        return jsonify(error=problem.code), 400
    except SessionError as problem:
        return jsonify(error=problem.code), 409
    return shown()


def claims() -> Response:
    session_from().update_claims(**json.loads(request.args["set"]))
    return shown()


def data() -> Response:
    session_from().data.update(json.loads(request.args["set"]))
    return shown()


def end_others() -> Response:
    return jsonify(ended=session_from().end_others())


@session_optional
def login_then_fail() -> Response:
    session_from().login(request.args["subject"])
    raise RuntimeError("after the login")


@session_optional
def login_then_refuse() -> Response:
    session_from().login(request.args["subject"])
    abort(403)


@session_optional
def login_then_error() -> Response:
    session_from().login(request.args["subject"])
    return Response("sorry", 500)


def fail() -> Response:
    raise RuntimeError("as asked")


@session_optional
def headers() -> Response:
    response = jsonify(verdict=session_from().verdict.name)
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = "public, max-age=60"
    return response


def own_cookie() -> Response:
    response = make_response(shown())
    response.headers.add("Set-Cookie", "app=1")
    return response


@session_optional
def return_to() -> Response:
    return jsonify(to=safe_return_to())


def scenario_app() -> Flask:
    app = Flask("scenario", static_folder=None)
    app.logger.disabled = True  # the failures are asked for
    outer, middle, inner = (Blueprint(name, name) for name in ("outer", "middle", "inner"))
    for path, view in [("/open", open_), ("/exempt", exempt), ("/exempt-using", exempt_using), ("/poll", poll)]:
        inner.get(path)(view)
    for path, view in [("/fresh", fresh), ("/stale", stale)]:
        middle.get(path)(view)
    middle.register_blueprint(inner)
    outer.register_blueprint(middle)
    outer.add_url_rule("/login", view_func=Login.as_view("login"))
    app.route("/me", methods=["GET", "POST"])(me)
    for path, view in [("/fail", fail), ("/headers", headers), ("/own-cookie", own_cookie), ("/return-to", return_to)]:
        app.get(path)(view)
    for path, view in [
        ("/bound-login", bound_login),
        ("/step-up", step_up),
        ("/sign-out", sign_out),
        ("/extend", extend),
        ("/claims", claims),
        ("/data", data),
        ("/end-others", end_others),
        ("/login-then-fail", login_then_fail),
        ("/login-then-refuse", login_then_refuse),
        ("/login-then-error", login_then_error),
    ]:
        app.post(path)(view)
    app.register_blueprint(outer)
    return app


def make(
    settings: Any, store: Any, *, clock: Any, on_event: Any = (), authority: Any = None, mount: str = ""
) -> WSGIDriver:
    app = scenario_app()
    app.wsgi_app = judged(app.wsgi_app)  # type: ignore[method-assign]  # Flask's own side, judged too
    SessionLifetime(app, settings, store, clock=clock, on_event=on_event, authority=authority)
    return WSGIDriver(judged(app), mount)
