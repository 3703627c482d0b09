"""Signed-in sessions that end when they should, for every kind of Python web app."""

from session_middleware.authorities.local import LocalAuthority
from session_middleware.core.lifetime import Verdict
from session_middleware.decorators import (
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.errors import (
    InvalidToken,
    RecordUnreadable,
    ResponseAlreadyStarted,
    SessionError,
    SessionNotAttached,
    SettingsError,
    StoreUnavailable,
)
from session_middleware.events import SessionEvent
from session_middleware.session import AsyncSession, AsyncSessions, Session, SessionInfo, Sessions
from session_middleware.settings import Limits, Settings

__all__ = [
    "AsyncSession",
    "AsyncSessions",
    "InvalidToken",
    "Limits",
    "LocalAuthority",
    "RecordUnreadable",
    "ResponseAlreadyStarted",
    "Session",
    "SessionError",
    "SessionEvent",
    "SessionInfo",
    "SessionNotAttached",
    "Sessions",
    "Settings",
    "SettingsError",
    "StoreUnavailable",
    "Verdict",
    "fresh_login_required",
    "no_touch",
    "session_exempt",
    "session_optional",
    "session_required",
]
