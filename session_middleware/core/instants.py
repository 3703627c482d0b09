"""Instants as an app gives them."""

from __future__ import annotations

from datetime import datetime

from session_middleware.errors import SettingsError

__all__ = ["epoch"]


def epoch(name: str, instant: datetime | float) -> float:
    """Return an instant in seconds since the epoch.

    Args:
        name: what the instant is called where it was given.
        instant: an aware datetime, or seconds since the epoch.

    Raises:
        SettingsError: it is neither.
    """
    if isinstance(instant, datetime):
        if instant.tzinfo is None:
            raise SettingsError(name, instant, "has no time zone.", "Give datetime.now(timezone.utc) or seconds.")
        return instant.timestamp()
    if isinstance(instant, bool) or not isinstance(instant, (int, float)) or not abs(instant) < 1e12:
        raise SettingsError(name, instant, "is no instant.", "Give an aware datetime or seconds since the epoch.")
    return float(instant)
