"""Signed-in sessions that end when they should, for every kind of Python web app."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from session_middleware.authorities.local import LocalAuthority
    from session_middleware.core.jwt_key import JwtKey
    from session_middleware.core.lifetime import Verdict
    from session_middleware.core.provider import ProviderSession
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
    from session_middleware.session import AsyncSession, Session
    from session_middleware.sessions import AsyncSessions, SessionInfo, Sessions
    from session_middleware.settings import Limits, Settings

__all__ = [
    "AsyncSession",
    "AsyncSessions",
    "InvalidToken",
    "JwtKey",
    "Limits",
    "LocalAuthority",
    "ProviderSession",
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

#: Where each name lives. Imported when asked for: pytest imports this package at every start, for its plugin, in the
#: suites of everybody who has it installed.
_HOMES = {
    "authorities.local": ("LocalAuthority",),
    "core.jwt_key": ("JwtKey",),
    "core.lifetime": ("Verdict",),
    "core.provider": ("ProviderSession",),
    "decorators": ("fresh_login_required", "no_touch", "session_exempt", "session_optional", "session_required"),
    "errors": (
        "InvalidToken",
        "RecordUnreadable",
        "ResponseAlreadyStarted",
        "SessionError",
        "SessionNotAttached",
        "SettingsError",
        "StoreUnavailable",
    ),
    "events": ("SessionEvent",),
    "session": ("AsyncSession", "Session"),
    "sessions": ("AsyncSessions", "SessionInfo", "Sessions"),
    "settings": ("Limits", "Settings"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:  # Any: a module's attribute, as PEP 562 has it; type checkers see the imports above
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
