"""From what a developer gives an adapter to an engine: the same defaults and the same errors in every framework."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from session_middleware.authorities.base import Authority
from session_middleware.authorities.routes import Endpoint, Serves
from session_middleware.engine import Engine
from session_middleware.errors import SettingsError
from session_middleware.events import Hook
from session_middleware.runtime import Runtime
from session_middleware.settings import Settings
from session_middleware.settings.kinds import check_function, listed

__all__ = ["attach", "default_store", "store_url"]

_OF_EVERY_STORE = ("create", "load", "touch", "save", "renew", "end", "list")
_OF_EVERY_AUTHORITY = ("name", "verify_interval", "verify")


def default_store(
    folder: str | Path | None = None, *, asynchronous: bool = False, url: object = None
) -> Any:  # Store | AsyncStore
    """Return the store of an app that names none: SESSION_STORE_URL, else the SQLite file `sessions.db` in a folder.

    While sessions move, SESSION_STORE_MOVE_TO or SESSION_STORE_MOVE_FROM names the other one (docs/moving.md).

    Args:
        folder: of the file; the working directory by default.
        asynchronous: whether the app runs on an event loop.
        url: what the framework's own configuration has as SESSION_STORE_URL; where it has none, the environment's counts.

    Raises:
        SettingsError: the URL names no store, or the folder cannot be written to.
    """
    from session_middleware.stores import store_from_url

    url = store_url(url)
    store: Any  # Store | AsyncStore
    if url:
        store = store_from_url(url, asynchronous=asynchronous)
    else:
        from session_middleware.stores.sqlite import SQLiteStore

        store = SQLiteStore(Path(folder or Path.cwd()) / "sessions.db")
    if not any(os.environ.get(name) for name in ("SESSION_STORE_MOVE_TO", "SESSION_STORE_MOVE_FROM")):
        return store
    from session_middleware.stores.moving_environment import moving_as_configured

    return moving_as_configured(store, asynchronous=asynchronous, url=url)


def store_url(configured: object) -> str | None:
    """Return what SESSION_STORE_URL says: in the framework's own configuration, else in the environment.

    Args:
        configured: what the configuration has under this name; nothing, or empty text, says nothing.

    Raises:
        SettingsError: it is no text.
    """
    if configured is None or configured == "":
        return os.environ.get("SESSION_STORE_URL") or None
    if isinstance(configured, str):
        return configured
    raise SettingsError(
        "SESSION_STORE_URL",
        type(configured).__name__,  # an object of a client may show a password
        "is not a URL in text.",
        "Write one, such as 'sqlite:////var/lib/app/sessions.db'; a store you have made is given as `store`.",
    )


def attach(
    settings: Settings,
    store: Any,  # Store | AsyncStore | None
    *,
    runtime: Runtime,
    authority: Authority | None = None,
    clock: Callable[[], float] | None = None,
    on_event: Hook | Iterable[Hook] = (),
    folder: str | Path | None = None,
    url: object = None,
    **options: Any,  # the rest of Engine's arguments
) -> Engine:
    """Make the engine of an app; `folder` and `url` are the default store's.

    Raises:
        SettingsError: something given makes no sense.
    """
    if not isinstance(settings, Settings):
        raise SettingsError(
            "settings", type(settings).__name__, "is not Settings.", "Give Settings(secret_keys=[...], ...)."
        )
    hooks = _hooks(on_event)
    if clock is not None:
        _check_clock(clock)
    if authority is not None:
        _check_authority(authority)
    if isinstance(store, str):
        from session_middleware.stores import store_from_url

        store = store_from_url(store, asynchronous=runtime.asynchronous)
    elif store is None:
        store = default_store(folder, asynchronous=runtime.asynchronous, url=url)
    else:
        _check_store(store)
    if options.get("resolve_login") is None:
        _check_page("login_url", settings.login_url)
        _check_page("fresh_login_url", settings.fresh_login_url)
    _check_below_prefix("login_url", settings.login_url, settings, authority)
    _check_below_prefix("fresh_login_url", settings.fresh_login_url, settings, authority)
    return Engine(
        settings,
        store,
        authority=authority,
        runtime=runtime,
        clock=clock or time.time,
        on_event=hooks,
        **options,
    )


def _hooks(on_event: Hook | Iterable[Hook]) -> tuple[Hook, ...]:
    fix = "Give a function that takes a SessionEvent, or a list of them."
    hooks = (on_event,) if callable(on_event) else listed("on_event", on_event, fix)
    for hook in hooks:
        check_function("on_event", hook, fix)
    return hooks


def _check_clock(clock: Callable[[], float]) -> None:
    fix = "Give one that returns seconds since the epoch, such as time.time."
    check_function("clock", clock, fix)
    now: object = clock()
    if isinstance(now, bool) or not isinstance(now, (int, float)):
        raise SettingsError("clock", now, "is what it answers, and no number.", fix)


def _check_authority(authority: object) -> None:
    fix = "Give one, such as LocalAuthority(...)."
    if isinstance(authority, type):
        raise SettingsError("authority", authority.__name__, "is a class.", fix)
    lacks = [name for name in _OF_EVERY_AUTHORITY if not hasattr(authority, name)]
    if lacks:
        raise SettingsError("authority", authority, f"is no authority: it has no {', '.join(lacks)}.", fix)
    if not callable(getattr(authority, "verify", None)):
        raise SettingsError("authority", authority, "is no authority: its verify cannot be called.", fix)


def _check_store(store: object) -> None:
    """Refuse what is no store; it would be taken for one that is down, for ever."""
    fix = "Give a store, such as SQLiteStore('sessions.db'), or its URL, such as 'sqlite:///sessions.db'."
    if isinstance(store, type):
        raise SettingsError("store", store.__name__, "is a class.", fix)
    lacks = [name for name in _OF_EVERY_STORE if not callable(getattr(store, name, None))]
    if lacks:
        raise SettingsError("store", type(store).__name__, f"is no store: it has no {', '.join(lacks)}.", fix)


def _check_page(name: str, url: object) -> None:
    """Refuse the name of a route where nobody knows routes: a browser would take it for a path beside each page."""
    if isinstance(url, str) and not url.startswith(("/", "http://", "https://")):
        raise SettingsError(name, url, "is no path, and this adapter knows no names of routes.", "Write '/login'.")


def _check_below_prefix(name: str, url: object, settings: Settings, authority: Authority | None) -> None:
    """Refuse a page among our own endpoints, where nothing of the app is reached, but for a route of the authority's."""
    prefix = f"{settings.endpoint_prefix}/"
    if not isinstance(url, str) or not url.startswith(prefix):
        return
    theirs: Iterable[Endpoint] = authority.endpoints if isinstance(authority, Serves) else ()
    if re.split("[?#]", url, maxsplit=1)[0] not in {prefix + route.path for route in theirs if route.method == "GET"}:
        raise SettingsError(
            name,
            url,
            f"lies under endpoint_prefix ({settings.endpoint_prefix!r}), where nobody can sign in.",
            "Move the page, or set endpoint_prefix to a path of its own.",
        )
