"""The session that the tests of a store go through, and when."""

from __future__ import annotations

from typing import Any, Final

import pytest

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.settings import Limits
from session_middleware.testing.driven import Driven
from session_middleware.testing.reference_record import reference_record

__all__ = ["BEGAN", "CROWD", "FULL", "LONG_AFTER", "a_record", "a_touch", "needs"]

#: Callers at once in the races.
CROWD: Final = 32

#: When the session of the tests began, and an instant at which all they leave is rubbish.
BEGAN: Final = reference_record(0).created_at
LONG_AFTER: Final = BEGAN + 1e8


def a_record(n: int = 0, **changes: Any) -> SessionRecord:  # Any: fields of the record
    """Return the n-th record of the tests, all begun at BEGAN."""
    times: dict[str, Any] = {
        "created_at": BEGAN,
        "authenticated_at": BEGAN,
        "last_seen_at": BEGAN,
        "inactivity_deadline": BEGAN + 3600.0,
        "keep_until": BEGAN + 90_000.0,
        "renewed_at": BEGAN,
    }
    return reference_record(n).evolve(**(times | changes))


def a_touch(seconds: float, **changes: Any) -> Touch:  # Any: fields of the touch
    """Return a touch so many seconds after BEGAN."""
    at = BEGAN + seconds
    fields: dict[str, Any] = {"last_seen_at": at, "inactivity_deadline": at + 3600.0, "keep_until": at + 90_000.0}
    return Touch(**(fields | changes))


FULL: Final[dict[str, Any]] = {
    "generation": 3,
    "presented_at": BEGAN + 0.125,
    "revision": 2,
    "fresh_at": BEGAN + 7.5,
    "ceiling": BEGAN + 5000.0,
    "persistent": True,
    "claims": {"näme": "Zoë \U0001f600 \ud800", "list": [1, 2.5, None, True, {"deep": []}]},
    "data": {"cart": {"7": 1}},
    "factors": ({"kind": "password", "at": BEGAN}, {"kind": "totp", "at": BEGAN + 1}),
    "attributes": {"user_agent": "Mozilla/5.0", "address": "2001:db8::1"},
    "handles": ("one", "two", "three", "four"),
    "limits": Limits(None, 86_400.5),
    "inactivity_deadline": None,
    "authority": "oidc",
    "provider_session": "sid-1",
    "stamp": "digest",
    "actor": "admin-1",
    "before": ("the id before two step-ups", "the id before one"),
    "proven_at": BEGAN + 0.5,
    "extra": {"zz": {"of": "a later version"}, "yy": 1},
}


def needs(store: Driven, power: type) -> None:
    """Skip a test of a power that the store does not have."""
    if not isinstance(store.store, power):
        pytest.skip(f"{type(store.store).__name__} does not have the power {power.__name__}")
