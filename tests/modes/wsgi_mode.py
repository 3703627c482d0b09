"""Plain WSGI: the scenario app as a bare callable with a table of routes, judged on both sides of the middleware."""

from __future__ import annotations

import io
import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes
from wsgiref.validate import validator

from session_middleware import (
    SessionError,
    SettingsError,
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.adapters.wsgi import SessionLifetimeMiddleware, safe_return_to, session_from
from session_middleware.testing.adapter_contract import Answer, describe, login_arguments

with warnings.catch_warnings():  # WebOb, below WebTest, imports `cgi`, which 3.11 and 3.12 deprecate
    warnings.simplefilter("ignore", DeprecationWarning)
    from webtest.lint import middleware as lint

NAME = "wsgi"
SUPPORTS_MOUNT = True

Environ = dict[str, Any]
Response = tuple[int, list[tuple[str, str]], bytes]


def as_json(document: object, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    return status, [("Content-Type", "application/json"), *headers], json.dumps(document).encode()


def query_of(environ: Environ) -> dict[str, str]:
    return dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))


def shown(environ: Environ) -> Response:
    return as_json(describe(session_from(environ)))


def me(environ: Environ) -> Response:
    return shown(environ)


@session_optional
def open_(environ: Environ) -> Response:
    return shown(environ)


@session_exempt
def exempt(environ: Environ) -> Response:
    return as_json({"exempt": True})


@session_exempt
def exempt_using(environ: Environ) -> Response:
    return shown(environ)


@no_touch
def poll(environ: Environ) -> Response:
    return shown(environ)


@fresh_login_required(within=300)
def fresh(environ: Environ) -> Response:
    return shown(environ)


@session_required(on_unavailable="stale")
def stale(environ: Environ) -> Response:
    return shown(environ)


def login_page(environ: Environ) -> Response:
    return 200, [("Content-Type", "text/html; charset=utf-8")], b"<h1>login</h1>"


@session_optional
def login(environ: Environ) -> Response:
    session_from(environ).login(**login_arguments(query_of(environ)))
    return shown(environ)


@session_optional(cross_site_login=True)
def bound_login(environ: Environ) -> Response:
    session_from(environ).login(**login_arguments(query_of(environ)))
    return shown(environ)


def step_up(environ: Environ) -> Response:
    session_from(environ).step_up([{"type": "otp"}])
    return shown(environ)


@session_optional
def sign_out(environ: Environ) -> Response:
    session_from(environ).logout()
    return as_json({"ok": True})


def extend(environ: Environ) -> Response:
    try:
        session_from(environ).extend(float(query_of(environ)["minutes"]))
    except SettingsError as problem:
        return as_json({"error": problem.code}, 400)
    except SessionError as problem:
        return as_json({"error": problem.code}, 409)
    return shown(environ)


def claims(environ: Environ) -> Response:
    session_from(environ).update_claims(**json.loads(query_of(environ)["set"]))
    return shown(environ)


def data(environ: Environ) -> Response:
    session_from(environ).data.update(json.loads(query_of(environ)["set"]))
    return shown(environ)


def end_others(environ: Environ) -> Response:
    return as_json({"ended": session_from(environ).end_others()})


@session_optional
def login_then_fail(environ: Environ) -> Response:
    session_from(environ).login(query_of(environ)["subject"])
    raise RuntimeError("after the login")


@session_optional
def login_then_refuse(environ: Environ) -> Response:
    session_from(environ).login(query_of(environ)["subject"])
    raise PermissionError("after the login")


@session_optional
def login_then_error(environ: Environ) -> Response:
    session_from(environ).login(query_of(environ)["subject"])
    return as_json({"error": "sorry"}, 500)


def fail(environ: Environ) -> Response:
    raise RuntimeError("as asked")


@session_optional
def headers(environ: Environ) -> Response:
    session = session_from(environ)
    return as_json(
        {"verdict": session.verdict.name},
        headers=[("Vary", "Accept-Encoding"), ("Cache-Control", "public, max-age=60")],
    )


def own_cookie(environ: Environ) -> Response:
    return as_json(describe(session_from(environ)), headers=[("Set-Cookie", "app=1")])


@session_optional
def return_to(environ: Environ) -> Response:
    return as_json({"to": safe_return_to(environ)})


ROUTES: dict[tuple[str, str], Callable[[Environ], Response]] = {
    ("GET", "/me"): me,
    ("POST", "/me"): me,
    ("GET", "/open"): open_,
    ("GET", "/exempt"): exempt,
    ("GET", "/exempt-using"): exempt_using,
    ("GET", "/poll"): poll,
    ("GET", "/fresh"): fresh,
    ("GET", "/stale"): stale,
    ("GET", "/login"): login_page,
    ("POST", "/login"): login,
    ("POST", "/bound-login"): bound_login,
    ("POST", "/step-up"): step_up,
    ("POST", "/sign-out"): sign_out,
    ("POST", "/extend"): extend,
    ("POST", "/claims"): claims,
    ("POST", "/data"): data,
    ("POST", "/end-others"): end_others,
    ("POST", "/login-then-fail"): login_then_fail,
    ("POST", "/login-then-refuse"): login_then_refuse,
    ("POST", "/login-then-error"): login_then_error,
    ("GET", "/fail"): fail,
    ("GET", "/headers"): headers,
    ("GET", "/own-cookie"): own_cookie,
    ("GET", "/return-to"): return_to,
}


def endpoint_of(environ: Environ) -> Callable[[Environ], Response] | None:
    method = environ["REQUEST_METHOD"]
    return ROUTES.get(("GET" if method == "HEAD" else method, environ["PATH_INFO"]))


def application(environ: Environ, start_response: Any) -> Iterable[bytes]:
    view = endpoint_of(environ)
    try:
        status, sent, body = view(environ) if view else (404, [("Content-Type", "text/plain")], b"nothing here")
    except PermissionError:  # an error page, as PEP 3333 has them
        start_response("403 Forbidden", [("Content-Type", "text/plain"), ("Content-Length", "2")], sys.exc_info())
        return [b"no"]
    start_response(f"{status} {HTTPStatus(status).phrase}", [*sent, ("Content-Length", str(len(body)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def judged(app: Any) -> Any:
    """Put both judges around a WSGI app, wsgiref.validate and WebTest's lint; a violation fails the test."""
    return validator(lint(app))


class WSGIDriver:
    """Calls a WSGI app as a server does."""

    def __init__(self, app: Any, mount: str = "") -> None:
        self.app = app
        self.mount = mount

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        started: list[Any] = []

        def start_response(status: str, sent: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            started[:] = [int(status.split(" ")[0]), list(sent)]
            return lambda chunk: None

        try:
            chunks = self.app(self._environ(method, target, headers, body), start_response)
            try:
                received = b"".join(chunks)
            finally:
                if hasattr(chunks, "close"):
                    chunks.close()
        except AssertionError:
            raise  # a judge's, not the app's
        except Exception:
            return Answer(500, [], traceback.format_exc().encode())
        return Answer(started[0], started[1], received)

    def close(self) -> None:
        pass

    def _environ(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> Environ:
        path, _, query = target.partition("?")
        assert path.startswith(self.mount), "the target lies outside the mount"
        environ: Environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": self.mount,
            "PATH_INFO": unquote_to_bytes(path[len(self.mount) :]).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "app.example",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.7",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        if body or method in ("POST", "PUT", "PATCH"):
            environ["CONTENT_LENGTH"] = str(len(body))
        for name, value in headers:
            key = name.upper().replace("-", "_")
            key = key if key == "CONTENT_TYPE" else "HTTP_" + key
            joint = "; " if key == "HTTP_COOKIE" else ", "
            environ[key] = environ[key] + joint + value if key in environ else value
        return environ


def wrapped(
    settings: Any, store: Any, *, clock: Any, on_event: Any = (), authority: Any = None, app: Any = application
) -> SessionLifetimeMiddleware:
    return SessionLifetimeMiddleware(
        app,
        settings,
        store,
        clock=clock,
        on_event=on_event,
        authority=authority,
        endpoint_of=endpoint_of,
    )


def make(settings: Any, store: Any, *, mount: str = "", **options: Any) -> WSGIDriver:
    return WSGIDriver(judged(wrapped(settings, store, app=judged(application), **options)), mount)
