"""A small Starlette app: `cd examples/starlette_app && uv run uvicorn app:app`, then http://localhost:8000/.

The signing key comes from SECRET_KEY; without it, each process makes one for itself, so set it for `--workers 2`. Sessions
are in sessions.db here, or where SESSION_STORE_URL says.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from html import escape
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from session_middleware import Settings, fresh_login_required, no_touch, session_exempt, session_optional
from session_middleware.adapters.starlette import (
    SessionLifetimeMiddleware,
    safe_return_to,
    session_from,
    sync_session_from,
)


def digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


SALT = secrets.token_bytes(16)
USERS = {"alice": digest("wonderland", SALT)}  # yours are in a database, each with a salt of its own

#: What holds unless the environment says otherwise, under these names.
DEFAULTS = {
    "SESSION_LIFETIME_LOGIN_URL": "login",  # the name of the route
    "SESSION_LIFETIME_COOKIE_NAME": "starlette_app",
    "SESSION_LIFETIME_INACTIVITY_TIMEOUT": 15 * 60,
    "SESSION_LIFETIME_ABSOLUTE_LIFETIME": 8 * 3600,
}

HOME = """<!doctype html><html lang=en><meta charset=utf-8><title>Hello</title>
<h1>Hello {name}</h1>
<p>Silence ends this session {silence};
at {age:%H:%M:%S} UTC it ends in any case.</p>
<p><a href=/password>Change password</a>, <a href=/session/list>my sessions</a>, <a href=/about>about</a>.
Unread: <output id=unread>?</output></p>
<form method=post action=/session/logout><button>Log out</button></form>
<script>
setInterval(async () => {{
  const answer = await fetch("/unread");
  if (answer.status === 401) location.reload();  // the session has ended: to the login page, and back here after it
  else unread.value = (await answer.json()).unread;
}}, 10000);
</script></html>"""

LOGIN = """<!doctype html><html lang=en><meta charset=utf-8><title>Log in</title><h1>Log in</h1>
{problem}<form method=post><label>Name <input name=name autocomplete=username></label>
<label>Password <input name=password type=password autocomplete=current-password></label>
<button>Log in</button></form><p>alice, wonderland</p></html>"""

WRONG = "<p role=alert>That is not right.</p>"


async def home(request: Request) -> Response:
    session = session_from(request)
    silence = session.inactivity_deadline
    return HTMLResponse(
        HOME.format(
            name=escape(request.user.display_name),
            silence=f"at {silence:%H:%M:%S} UTC unless you do something" if silence else "never",
            age=session.absolute_deadline,
        )
    )


@session_optional
async def login(request: Request) -> Response:
    if request.method != "POST":
        return HTMLResponse(LOGIN.format(problem=""))
    fields = dict(parse_qsl((await request.body()).decode()))
    name = fields.get("name", "")
    given = await run_in_threadpool(digest, fields.get("password", ""), SALT)
    if not hmac.compare_digest(given, USERS.get(name, b"")):
        return HTMLResponse(LOGIN.format(problem=WRONG), 403)
    await session_from(request).login(name, factors=[{"type": "password"}])
    return RedirectResponse(safe_return_to(request), 303)


@session_exempt
async def about(request: Request) -> Response:
    return PlainTextResponse("For everybody; no cookie is read.")


@no_touch  # the page asks every ten seconds, and that is not the user
async def unread(request: Request) -> Response:
    return JSONResponse({"unread": 0})


@fresh_login_required(within=300)
def password(request: Request) -> Response:  # a `def` endpoint runs in a thread, and has a session that blocks
    at = sync_session_from(request).authenticated_at
    return PlainTextResponse(f"You logged in at {at:%H:%M:%S} UTC, so here you may change your password.")


def create_app(**options: Any) -> Starlette:
    """Return the app; options are those of SessionLifetimeMiddleware."""
    key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48)
    settings = Settings.from_mapping(DEFAULTS | os.environ, secret_keys=[key])
    routes = [
        Route("/", home),
        Route("/login", login, methods=["GET", "POST"]),
        Route("/about", about),
        Route("/unread", unread),
        Route("/password", password),
    ]
    return Starlette(routes=routes, middleware=[Middleware(SessionLifetimeMiddleware, settings=settings, **options)])


app = create_app()
