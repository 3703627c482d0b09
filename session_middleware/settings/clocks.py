"""The checks of what is timed: the presets, the two clocks, and the intervals that must fit into them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from session_middleware.errors import SettingsError
from session_middleware.settings.choices import Put, choice
from session_middleware.settings.durations import AAL, AAL3_OVERALL, EXTEND_MIN_MINUTES, Limits, Timing, seconds
from session_middleware.settings.kinds import check_function

if TYPE_CHECKING:
    from session_middleware.settings.options import Settings

__all__ = ["FILLED_IN", "check_clocks"]

#: The options that follow from others where they are left out.
FILLED_IN = ("inactivity_timeout", "absolute_lifetime", "touch_interval")


def check_clocks(settings: Settings, put: Put) -> None:
    """Check the two clocks and everything that is timed by them, and fill in what follows from them (L2-L5, L7, L22)."""
    choice(settings, "aal", None, "aal1", "aal2", "aal3")
    choice(settings, "rolling", True, False)
    overall, silence = AAL[settings.aal or "aal2"]

    given_silence = settings.inactivity_timeout
    if given_silence == "default":
        timeout = silence
    elif given_silence is None:
        timeout = None
    else:
        timeout = seconds("inactivity_timeout", given_silence, least=1.0)

    given_age = settings.absolute_lifetime
    absolute = overall if given_age is None else seconds("absolute_lifetime", given_age, least=1.0)
    asked = timeout
    if timeout is not None and timeout > absolute:
        if given_silence != "default":
            raise SettingsError(
                "inactivity_timeout",
                timeout,
                f"is longer than absolute_lifetime ({absolute:g} s) and could never be reached.",
                "Shorten it, or give None for no limit by silence.",
            )
        timeout = absolute  # the default silence under a short absolute lifetime

    usual_touch = 60.0 if timeout is None else min(60.0, timeout / 20)
    interval = settings.touch_interval
    touch = usual_touch if interval is None else seconds("touch_interval", interval)
    if asked is not None and touch >= asked:  # one that only the age cuts short is refused nothing
        raise SettingsError(
            "touch_interval",
            interval,
            f"is not shorter than inactivity_timeout ({asked:g} s), so silence could not be told from activity.",
            f"Give at most {asked / 2:g}, or leave it out for {usual_touch:g}.",
        )
    if settings.aal is not None and given_silence == "default" and timeout is not None and asked is not None:
        # L22: the preset's figure is what is promised, so the touch interval counts inside it
        timeout = min(timeout, asked - touch)

    persistent = settings.persistent_limits
    if persistent is not None and not isinstance(persistent, Limits):
        raise SettingsError("persistent_limits", persistent, "is not Limits.", "Give Limits(...).")
    ages = [("absolute_lifetime", absolute)]
    if persistent is not None:
        ages.append(("persistent_limits", persistent.absolute_lifetime))
    for name, age in ages:
        if settings.aal == "aal3" and age > AAL3_OVERALL:
            raise SettingsError(
                name, age, "is beyond what aal3 allows (NIST SP 800-63B-4 §2.3.3: 12 hours).", "Give at most 43200."
            )

    grace = seconds("renewal_grace", settings.renewal_grace, least=1.0)
    renewal = settings.renewal_interval
    if renewal is not None:
        renewal = seconds("renewal_interval", renewal, least=1.0)
        if renewal <= grace:
            raise SettingsError(
                "renewal_interval",
                renewal,
                f"is not longer than renewal_grace ({grace:g} s).",
                "Give at least twice the grace, or None to turn renewal off.",
            )
    most = settings.max_continue
    if most is not None:
        most = seconds("max_continue", most, least=EXTEND_MIN_MINUTES * 60.0)
        if most > absolute:
            raise SettingsError(
                "max_continue", most, f"is longer than absolute_lifetime ({absolute:g} s).", "Give at most that."
            )
    if settings.verify_interval is not None:
        put("verify_interval", seconds("verify_interval", settings.verify_interval))
    if settings.limits is not None:
        check_function("limits", settings.limits, "Give (subject, claims) -> Limits.")

    timing = Timing(
        touch_interval=touch,
        rolling=bool(settings.rolling),
        renewal_interval=renewal,
        renewal_grace=grace,
        jwt_lifetime=seconds("jwt_lifetime", settings.jwt_lifetime, least=10.0, most=3_600.0),
        ended_retention=seconds("ended_retention", settings.ended_retention, least=60.0),
        max_continue=most,
        clock_skew=seconds("clock_skew", settings.clock_skew, most=300.0),
        retry_after=seconds("retry_after", settings.retry_after, least=1.0),
    )
    put("inactivity_timeout", timeout)
    put("absolute_lifetime", absolute)
    put("default_limits", Limits(timeout, absolute))
    put("timing", timing)
    for each in fields(timing):
        put(each.name, getattr(timing, each.name))
