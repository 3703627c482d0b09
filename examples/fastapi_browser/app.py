"""A FastAPI API with a browser front: `cd examples/fastapi_browser && uv run uvicorn app:app`, then http://localhost:8000/.

The front is files in `front/`; it talks to the API under /api and to our endpoints under /session. The signing key comes
from SECRET_KEY; without it, each process makes one for itself, so set it for `--workers 2`. Sessions are in sessions.db here,
or where SESSION_STORE_URL says.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from session_middleware import (
    AsyncSession,
    Session,
    Settings,
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
)
from session_middleware.adapters.fastapi import SessionCookie, SessionLifetimeMiddleware, SyncSessionCookie
from session_middleware.adapters.starlette import safe_return_to

#: What holds unless the environment says otherwise, under these names.
DEFAULTS = {
    "SESSION_LIFETIME_LOGIN_URL": "/",  # the front asks for the password itself
    "SESSION_LIFETIME_COOKIE_NAME": "fastapi_browser",
    "SESSION_LIFETIME_INACTIVITY_TIMEOUT": 15 * 60,
    "SESSION_LIFETIME_ABSOLUTE_LIFETIME": 8 * 3600,
    "SESSION_LIFETIME_EXEMPT_PATHS": ["/docs", "/openapi.json"],
}
SETTINGS = Settings.from_mapping(
    DEFAULTS | os.environ, secret_keys=[os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48)]
)

# With the default cookie name, CurrentSession and CurrentSyncSession are these.
MySession = Annotated[AsyncSession, Depends(SessionCookie(SETTINGS))]
MySyncSession = Annotated[Session, Depends(SyncSessionCookie(SETTINGS))]


def digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


SALT = secrets.token_bytes(16)
USERS = {"alice": digest("wonderland", SALT)}  # yours are in a database, each with a salt of its own

api = APIRouter(prefix="/api")


class Credentials(BaseModel):
    name: str
    password: str


class Profile(BaseModel):
    name: str
    inactivity_deadline: datetime | None  # None: silence ends no session
    absolute_deadline: datetime


class LoggedIn(BaseModel):
    go_to: str


def profile_of(session: AsyncSession) -> Profile:
    assert session.subject is not None
    assert session.absolute_deadline is not None
    return Profile(
        name=session.subject,
        inactivity_deadline=session.inactivity_deadline,
        absolute_deadline=session.absolute_deadline,
    )


@api.post("/login")
@session_optional
def login(
    credentials: Credentials, session: MySyncSession, request: Request
) -> LoggedIn:  # `def`: hashing takes its time
    if not hmac.compare_digest(digest(credentials.password, SALT), USERS.get(credentials.name, b"")):
        raise HTTPException(403, "That is not right.")
    session.login(credentials.name, factors=[{"type": "password"}])
    return LoggedIn(go_to=safe_return_to(request))  # who opened a page of the API was sent to the front to log in


@api.get("/me")
async def me(session: MySession) -> Profile:
    return profile_of(session)


@api.get("/unread")
@no_touch  # the page asks every ten seconds, and that is not the user
async def unread() -> dict[str, int]:
    return {"unread": 0}


@api.post("/password")
@fresh_login_required(within=300)
async def password(session: MySession) -> dict[str, str]:
    return {"changed": f"for {session.subject}, who logged in within the last five minutes"}


@api.get("/about")
@session_exempt
async def about() -> dict[str, str]:
    return {"about": "For everybody; no cookie is read."}


def create_app(**options: Any) -> FastAPI:
    """Return the app; options are those of SessionLifetimeMiddleware."""
    app = FastAPI(title="Sessions behind a browser front")
    app.add_middleware(SessionLifetimeMiddleware, settings=SETTINGS, **options)
    app.include_router(api)
    app.mount("/", StaticFiles(directory=Path(__file__).parent / "front", html=True))  # open, as static files are
    return app


app = create_app()
