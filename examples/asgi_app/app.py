"""A small app in plain ASGI: `uv run python examples/asgi_app/app.py`, then http://localhost:8000/.

Behind a server: `cd examples/asgi_app && uv run uvicorn --workers 2 --factory app:make_app`, SECRET_KEY set, since
without it each process makes a key of its own. Sessions are in sessions.db here, or where SESSION_STORE_URL says.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any
from urllib.parse import parse_qs, quote

from session_middleware import Settings, fresh_login_required, no_touch, session_exempt, session_optional
from session_middleware.adapters.asgi import SessionLifetimeMiddleware, safe_return_to, session_from

Answer = tuple[int, list[tuple[bytes, bytes]], str]
View = Callable[[Any, Any], Awaitable[Answer]]

USERS = {"alice": "wonderland"}  # yours are in a database, and their passwords hashed

#: What holds unless the environment says otherwise, under these names.
DEFAULTS = {
    "SESSION_LIFETIME_COOKIE_NAME": "asgi_app",
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


def page(title: str, body: str, status: int = 200) -> Answer:
    text = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{body}</html>"
    return status, [(b"content-type", b"text/html; charset=utf-8")], text


async def home(scope: Any, receive: Any) -> Answer:
    session = session_from(scope)
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
async def login(scope: Any, receive: Any) -> Answer:
    if scope["method"] != "POST":
        back = quote(safe_return_to(scope))
        return page(
            "Log in",
            f'<form method=post action="/login?return_to={back}"><label>Name <input name=name autocomplete=username>'
            "</label> <label>Password <input name=password type=password autocomplete=current-password></label> "
            "<button>Log in</button></form><p>alice, wonderland</p>",
        )
    body, more = b"", True
    while more and len(body) < 10_000:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    form = parse_qs(body.decode())
    name, password = form.get("name", [""])[0], form.get("password", [""])[0]
    if not secrets.compare_digest(USERS.get(name, "").encode(), password.encode()) or name not in USERS:
        return page("That is not right", '<p><a href="/login">Again</a></p>', 403)
    await session_from(scope).login(name, factors=[{"type": "password"}])
    return 303, [(b"location", safe_return_to(scope).encode())], ""


@session_exempt
async def about(scope: Any, receive: Any) -> Answer:
    return page("About", "<p>For everybody; no cookie is read.</p>")


@no_touch  # the page asks every ten seconds, and that is not the user
async def unread(scope: Any, receive: Any) -> Answer:
    return 200, [(b"content-type", b"application/json")], '{"unread": 0}'


@fresh_login_required(within=300)
async def password(scope: Any, receive: Any) -> Answer:
    return page("Change password", "<p>You logged in within the last five minutes, so here you may.</p>")


async def nothing(scope: Any, receive: Any) -> Answer:
    return page("Nothing here", "", 404)


VIEWS: dict[str, View] = {"/": home, "/login": login, "/about": about, "/unread": unread, "/password": password}


def view_of(scope: Any) -> View:
    return VIEWS.get(scope["path"], nothing)


async def routed(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    status, headers, text = await view_of(scope)(scope, receive)
    body = text.encode()
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def make_app(**options: Any) -> SessionLifetimeMiddleware:
    """Return the app; options are those of SessionLifetimeMiddleware."""
    key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48)
    settings = Settings.from_mapping(DEFAULTS | os.environ, secret_keys=[key])
    return SessionLifetimeMiddleware(routed, settings, endpoint_of=view_of, **options)


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(make_app(), host="127.0.0.1", port=8000)
