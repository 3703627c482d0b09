"""A small app in plain WSGI: `uv run python examples/wsgi_app/app.py`, then http://localhost:8000/.

Behind a server: `cd examples/wsgi_app && uv run gunicorn --workers 2 'app:make_app()'`, SECRET_KEY set, since
without it each process makes a key of its own. Sessions are in sessions.db here, or where SESSION_STORE_URL says.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from html import escape
from typing import Any
from urllib.parse import parse_qs, quote
from wsgiref.simple_server import make_server

from session_middleware import Settings, fresh_login_required, no_touch, session_exempt, session_optional
from session_middleware.adapters.wsgi import SessionLifetimeMiddleware, safe_return_to, session_from

Environ = dict[str, Any]
Answer = tuple[str, list[tuple[str, str]], str]

USERS = {"alice": "wonderland"}  # yours are in a database, and their passwords hashed

#: What holds unless the environment says otherwise, under these names.
DEFAULTS = {
    "SESSION_LIFETIME_COOKIE_NAME": "wsgi_app",
    "SESSION_LIFETIME_INACTIVITY_TIMEOUT": 15 * 60,
    "SESSION_LIFETIME_ABSOLUTE_LIFETIME": 8 * 3600,
}

POLL = """<script>
setInterval(async () => {
  const answer = await fetch("/unread");
  if (answer.status === 401) location.reload();  // the session has ended: to the login page, and back here after it
  else unread.value = (await answer.json()).unread;
}, 10000);
</script>"""


def page(title: str, body: str, status: str = "200 OK") -> Answer:
    text = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{body}</html>"
    return status, [("Content-Type", "text/html; charset=utf-8")], text


def home(environ: Environ) -> Answer:
    session = session_from(environ)
    silence = session.inactivity_deadline
    return page(
        f"Hello {escape(str(session.subject))}",
        f"<p>Silence ends this session {f'at {silence:%H:%M:%S} UTC unless you do something' if silence else 'never'}; "
        f"at {session.absolute_deadline:%H:%M:%S} UTC it ends in any case.</p>"
        '<p><a href="/password">Change password</a>, <a href="/session/list">my sessions</a>, <a href="/about">about</a>. '
        "Unread: <output id=unread>?</output></p>"
        f"<form method=post action=/session/logout><button>Log out</button></form>{POLL}",
    )


@session_optional
def login(environ: Environ) -> Answer:
    if environ["REQUEST_METHOD"] != "POST":
        back = quote(safe_return_to(environ))
        return page(
            "Log in",
            f'<form method=post action="/login?return_to={back}"><label>Name <input name=name autocomplete=username>'
            "</label> <label>Password <input name=password type=password autocomplete=current-password></label> "
            "<button>Log in</button></form><p>alice, wonderland</p>",
        )
    form = parse_qs(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode())
    name, password = form.get("name", [""])[0], form.get("password", [""])[0]
    if not secrets.compare_digest(USERS.get(name, "").encode(), password.encode()) or name not in USERS:
        return page("That is not right", '<p><a href="/login">Again</a></p>', "403 Forbidden")
    session_from(environ).login(name, factors=[{"type": "password"}])
    return "303 See Other", [("Location", safe_return_to(environ))], ""


@session_exempt
def about(environ: Environ) -> Answer:
    return page("About", "<p>For everybody; no cookie is read.</p>")


@no_touch  # the page asks every ten seconds, and that is not the user
def unread(environ: Environ) -> Answer:
    return "200 OK", [("Content-Type", "application/json")], '{"unread": 0}'


@fresh_login_required(within=300)
def password(environ: Environ) -> Answer:
    return page("Change password", "<p>You logged in within the last five minutes, so here you may.</p>")


def nothing(environ: Environ) -> Answer:
    return page("Nothing here", "", "404 Not Found")


VIEWS: dict[str, Callable[[Environ], Answer]] = {
    "/": home,
    "/login": login,
    "/about": about,
    "/unread": unread,
    "/password": password,
}


def view_of(environ: Environ) -> Callable[[Environ], Answer]:
    return VIEWS.get(environ.get("PATH_INFO", ""), nothing)


def routed(environ: Environ, start_response: Any) -> Iterable[bytes]:
    status, headers, text = view_of(environ)(environ)
    body = text.encode()
    start_response(status, [*headers, ("Content-Length", str(len(body)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def make_app(**options: Any) -> SessionLifetimeMiddleware:
    """Return the app; options are those of SessionLifetimeMiddleware."""
    key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48)
    settings = Settings.from_mapping(DEFAULTS | os.environ, secret_keys=[key])
    return SessionLifetimeMiddleware(routed, settings, endpoint_of=view_of, **options)


if __name__ == "__main__":
    with make_server("127.0.0.1", 8000, make_app()) as server:
        print("http://localhost:8000/  (alice, wonderland)")
        server.serve_forever()
