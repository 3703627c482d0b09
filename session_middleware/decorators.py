"""Markers: they tag the endpoint and return it unchanged, so order does not matter and sync or async is the same.

@session_exempt
def health(request): ...

@fresh_login_required(within=300)
async def change_password(request): ...
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Literal, TypeVar, overload

from session_middleware.core.exchange import GIVEN_ATTRIBUTE, RULES_ATTRIBUTE, RouteRules
from session_middleware.errors import SettingsError
from session_middleware.settings import seconds

__all__ = ["fresh_login_required", "no_touch", "session_exempt", "session_optional", "session_required"]

E = TypeVar("E")


def _mark(endpoint: E, rules: RouteRules) -> E:
    target = getattr(endpoint, "__func__", endpoint)  # a bound method keeps its attributes on the function
    standing = getattr(target, "__dict__", {}).get(RULES_ATTRIBUTE)  # a subclass does not rewrite its parent's rules
    try:
        if not callable(target):  # a Flask blueprint, say: nobody would ask it
            raise TypeError
        setattr(target, RULES_ATTRIBUTE, rules if standing is None else standing.merged(rules))
    except (AttributeError, TypeError):
        raise SettingsError(
            "marker", endpoint, "cannot be marked.", "Mark the function or the class that handles the request."
        ) from None
    return endpoint


def session_exempt(endpoint: E) -> E:
    """Leave a route alone: no cookie is read and no store is called unless the view itself uses the session (L21)."""
    return _mark(endpoint, RouteRules(policy="exempt"))


@overload
def session_required(endpoint: E, /) -> E: ...
@overload
def session_required(*, on_unavailable: Literal["refuse", "stale"] | None = None) -> Callable[[E], E]: ...
def session_required(
    endpoint: E | None = None, /, *, on_unavailable: Literal["refuse", "stale"] | None = None
) -> E | Callable[[E], E]:
    """Let nobody in without a live session; everyone else is sent to login (L15, L21).

    Args:
        endpoint: the endpoint, when used without arguments.
        on_unavailable: "stale" serves this route from a still valid session JWT while the store is down (L17).
    """
    rules = RouteRules(policy="required", on_unavailable=_outage(on_unavailable))
    return _marker(rules) if endpoint is None else _mark(endpoint, rules)


@overload
def session_optional(endpoint: E, /) -> E: ...
@overload
def session_optional(*, cross_site_login: bool = False) -> Callable[[E], E]: ...
def session_optional(endpoint: E | None = None, /, *, cross_site_login: bool = False) -> E | Callable[[E], E]:
    """Serve a route with or without a session (L21).

    Args:
        endpoint: the endpoint, when used without arguments.
        cross_site_login: True lets this view call `login()` in a request that another site made; only for a view
            that proves the request in its own way, such as a provider's callback with a bound state (L20).
    """
    rules = RouteRules(policy="optional", cross_site_login=cross_site_login)
    return _marker(rules) if endpoint is None else _mark(endpoint, rules)


def fresh_login_required(*, within: timedelta | float) -> Callable[[E], E]:
    """Ask for a login within the last `within` (seconds or `timedelta`); activity does not count (L3, L21)."""
    return _marker(RouteRules(policy="required", fresh_within=seconds("within", within, least=1.0)))


def no_touch(endpoint: E) -> E:
    """Do not count requests to this route as activity: for polls that would keep an abandoned page signed in (L6)."""
    return _mark(endpoint, RouteRules(touch=False))


def _marker(rules: RouteRules) -> Callable[[E], E]:
    def marker(endpoint: E) -> E:
        return _mark(endpoint, rules)

    setattr(marker, GIVEN_ATTRIBUTE, rules)
    return marker


def _outage(value: Literal["refuse", "stale"] | None) -> Literal["refuse", "stale"] | None:
    if value not in (None, "refuse", "stale"):
        raise SettingsError("on_unavailable", value, "is not known.", "Give 'refuse' or 'stale'.")
    return value


for _marker_without_arguments in (session_exempt, session_required, session_optional, no_touch):
    # What it gives is read from what it marked: written a second time, the two could differ.
    _marked = _marker_without_arguments(lambda: None)
    setattr(_marker_without_arguments, GIVEN_ATTRIBUTE, getattr(_marked, RULES_ATTRIBUTE))
