"""What a duration is, and what is made of durations: the two clocks of a session, and how often we act."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from session_middleware.errors import SettingsError

__all__ = [
    "AAL",
    "AAL3_OVERALL",
    "COOKIE_MAX_AGE",
    "EXTEND_MAX_MINUTES",
    "EXTEND_MIN_MINUTES",
    "Duration",
    "Limits",
    "Timing",
    "seconds",
]

Duration = timedelta | float | int

#: Bounds of `session.extend(minutes)` (L7; the range Stytch documents for `session_duration_minutes`).
EXTEND_MIN_MINUTES, EXTEND_MAX_MINUTES = 5, 527_040

#: Browsers cap cookie lifetimes at 400 days (RFC 6265bis §5.5).
COOKIE_MAX_AGE = 400 * 86_400

#: NIST SP 800-63B-4 §2.1.3, §2.2.3, §2.3.3: (overall, silence) in seconds; touch_interval is counted inside (L22).
AAL: dict[str, tuple[float, float | None]] = {
    "aal1": (30 * 86_400.0, None),
    "aal2": (86_400.0, 3_600.0),
    "aal3": (12 * 3_600.0, 900.0),
}
#: The one figure of the table above that is a SHALL, so that more is refused and not only warned about.
AAL3_OVERALL = 12 * 3_600.0


def seconds(name: str, value: object, *, least: float = 0.0, most: float = math.inf) -> float:
    """Read a duration given as `timedelta` or as seconds.

    Args:
        name: the setting, for the message.
        value: a `timedelta` or a number of seconds.
        least: the smallest value allowed, in seconds.
        most: the largest value allowed, in seconds.

    Returns:
        Seconds as a float.

    Raises:
        SettingsError: it is no duration, not finite, or out of range.
    """
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # a whole number beyond any float
            number = math.inf
    else:
        raise SettingsError(name, value, "is not a duration.", "Give a timedelta or a number of seconds.")
    if not math.isfinite(number) or number < least or number > most:
        limit = f"between {least:g} and {most:g}" if most != math.inf else f"of at least {least:g}"
        raise SettingsError(name, value, "is out of range.", f"Give a finite number of seconds {limit}.")
    return number


@dataclass(frozen=True, slots=True)
class Limits:
    """The two clocks of a session (L2).

    Args:
        inactivity_timeout: seconds or `timedelta` of silence that end the session; None means no limit by silence.
        absolute_lifetime: seconds or `timedelta` since authentication after which it ends in any case.

    Raises:
        SettingsError: a value is no positive duration.
    """

    inactivity_timeout: float | None
    absolute_lifetime: float

    def __init__(self, inactivity_timeout: Duration | None, absolute_lifetime: Duration) -> None:
        silence = None if inactivity_timeout is None else seconds("inactivity_timeout", inactivity_timeout, least=1.0)
        object.__setattr__(self, "inactivity_timeout", silence)
        object.__setattr__(self, "absolute_lifetime", seconds("absolute_lifetime", absolute_lifetime, least=1.0))

    def capped(self, other: Limits) -> Limits:
        """Return the smaller of each limit (L2)."""
        mine, theirs = self.inactivity_timeout, other.inactivity_timeout
        silence = mine if theirs is None else theirs if mine is None else min(mine, theirs)
        if silence == mine and self.absolute_lifetime <= other.absolute_lifetime:
            return self
        return Limits(silence, min(self.absolute_lifetime, other.absolute_lifetime))


@dataclass(frozen=True, slots=True)
class Timing:
    """The checked durations in float seconds, as the core takes them; made by Settings."""

    touch_interval: float
    rolling: bool
    renewal_interval: float | None
    renewal_grace: float
    jwt_lifetime: float
    ended_retention: float
    max_continue: float | None
    clock_skew: float
    retry_after: float
