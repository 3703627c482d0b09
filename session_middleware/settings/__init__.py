"""Settings: every option, its unit, its default and its check, in one frozen object for all frameworks."""

from session_middleware.settings.durations import (
    AAL3_OVERALL,
    COOKIE_MAX_AGE,
    EXTEND_MAX_MINUTES,
    EXTEND_MIN_MINUTES,
    Duration,
    Limits,
    Timing,
    seconds,
)
from session_middleware.settings.options import DEFAULT_LOGIN_URL, Policy, Settings

__all__ = [
    "AAL3_OVERALL",
    "COOKIE_MAX_AGE",
    "DEFAULT_LOGIN_URL",
    "EXTEND_MAX_MINUTES",
    "EXTEND_MIN_MINUTES",
    "Duration",
    "Limits",
    "Policy",
    "Settings",
    "Timing",
    "seconds",
]
