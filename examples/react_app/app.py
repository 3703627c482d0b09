"""A FastAPI app with a React front: `cd examples/react_app && uv run uvicorn app:app`, then http://localhost:8000/.

The front draws its own dialog: `front/session.js` has the hooks, `front/app.js` uses them. There is no build step; the browser
fetches React from a CDN, by an import map. The signing key comes from SECRET_KEY; without it, each process makes one for
itself, so set it for `--workers 2`. Sessions are in sessions.db here, or where SESSION_STORE_URL says.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException
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

#: What holds unless the environment says otherwise, under these names.
DEFAULTS = {
    "SESSION_LIFETIME_LOGIN_URL": "/",  # the front asks for the password itself
    "SESSION_LIFETIME_COOKIE_NAME": "react_app",
    "SESSION_LIFETIME_INACTIVITY_TIMEOUT": 15 * 60,
    "SESSION_LIFETIME_ABSOLUTE_LIFETIME": 8 * 3600,
}
SETTINGS = Settings.from_mapping(
    DEFAULTS | os.environ, secret_keys=[os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48)]
)

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


@api.post("/login")
@session_optional
def login(credentials: Credentials, session: MySyncSession) -> dict[str, str]:  # `def`: hashing takes its time
    if not hmac.compare_digest(digest(credentials.password, SALT), USERS.get(credentials.name, b"")):
        raise HTTPException(403, "That is not right.")
    session.login(credentials.name, factors=[{"type": "password"}])
    return {"name": credentials.name}


@api.get("/me")
@no_touch
async def me(session: MySession) -> dict[str, str | None]:
    return {"name": session.subject}


@api.get("/unread")  # not marked: its request says by itself that it is no activity
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
    app = FastAPI(title="React, and a session that ends", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(SessionLifetimeMiddleware, settings=SETTINGS, **options)
    app.include_router(api)
    app.mount("/", StaticFiles(directory=Path(__file__).parent / "front", html=True))  # open, as static files are
    return app


app = create_app()
