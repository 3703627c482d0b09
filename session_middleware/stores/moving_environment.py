"""What the environment says of a move: which store sessions come from, or go to."""

from __future__ import annotations

import os
from typing import Any, Final

from session_middleware.errors import SettingsError
from session_middleware.runtime import is_awaited
from session_middleware.stores import masked, store_from_url
from session_middleware.stores.moving import AsyncMovingStore, MovingStore

__all__ = ["MOVE_FROM", "MOVE_TO", "moving_as_configured"]

MOVE_TO: Final = "SESSION_STORE_MOVE_TO"
MOVE_FROM: Final = "SESSION_STORE_MOVE_FROM"


def moving_as_configured(store: Any, *, asynchronous: bool, url: str | None = None) -> Any:  # Any: Store | AsyncStore
    """Return the store, or it and another as one where the environment says that sessions are moving.

    `SESSION_STORE_MOVE_TO` names the store they go to while `SESSION_STORE_URL` is still the one logins are made in;
    `SESSION_STORE_MOVE_FROM` the one they come from when `SESSION_STORE_URL` is already the new one.

    Args:
        store: the one that SESSION_STORE_URL names.
        asynchronous: whether the app runs on an event loop.
        url: what SESSION_STORE_URL says, wherever it was set; None where it is not set.

    Raises:
        SettingsError: both are set, or one names no store that can be used.
    """
    to, source = os.environ.get(MOVE_TO), os.environ.get(MOVE_FROM)
    if to and source:
        raise SettingsError(
            MOVE_FROM,
            masked(source),
            f"stands beside {MOVE_TO}.",
            "Set the one that docs/moving.md names for your step.",
        )
    if to:
        return _both(store, _named(MOVE_TO, to, asynchronous, url), create_in_new=False, asynchronous=asynchronous)
    if source:
        return _both(_named(MOVE_FROM, source, asynchronous, url), store, create_in_new=True, asynchronous=asynchronous)
    return store


def _both(old: Any, new: Any, *, create_in_new: bool, asynchronous: bool) -> Any:  # Any: Store | AsyncStore
    awaited = asynchronous and (is_awaited(old) or is_awaited(new))
    return (AsyncMovingStore if awaited else MovingStore)(old, new, create_in_new=create_in_new)


def _named(variable: str, url: str, asynchronous: bool, used: str | None) -> Any:  # Any: Store | AsyncStore
    if url == used:
        raise SettingsError(variable, masked(url), "is the store of SESSION_STORE_URL.", "Name the other one.")
    if url == "memory://":
        raise SettingsError(variable, url, "would be another store in each process.", "Name one that all share.")
    try:
        return store_from_url(url, asynchronous=asynchronous)
    except SettingsError as problem:
        if problem.field != "SESSION_STORE_URL":
            raise
        # Of our variable: the message names the one to look at.
        raise SettingsError(variable, problem.value, "names no store that can be used.", problem.fix) from problem
