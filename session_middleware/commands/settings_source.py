"""Find the settings of an app by MODULE:NAME, for the commands."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from session_middleware.errors import SettingsError
from session_middleware.settings import Settings

__all__ = ["Described", "described_by"]

_FORMS = "Name Settings, or an app or middleware that has them, as module:name, for example myapp.sessions:settings; or django."


class Described(NamedTuple):
    """What a command was told to look at.

    Attributes:
        settings: the app's.
        authority: the app's, where an app is named that has one.
        store: opens the app's; None where no app is named.
    """

    settings: Settings
    authority: object | None = None
    store: Callable[[], object] | None = None


def described_by(source: str | None) -> Described:
    """Return the settings that a command is to look at, and authority and store of the app, where an app is named.

    Args:
        source: "module:name" of Settings, of anything with an `engine` of ours (a wrapped WSGI or ASGI app, Flask's
            SessionLifetime), of what stands around one, or of a Flask, Starlette or FastAPI app; "django" reads the
            project that DJANGO_SETTINGS_MODULE names. None reads the SESSION_LIFETIME_* variables of the environment.

    Raises:
        SettingsError: there are none, or they make no sense.
    """
    if source is None:
        return Described(Settings.from_mapping(os.environ))
    if "" not in sys.path:
        sys.path.insert(0, "")  # a console script does not see the working directory, `python -m` does
    if source == "django":
        return _of_django_project()
    module_name, separator, path = source.partition(":")
    if not separator or not module_name or not path:
        raise SettingsError("--settings", source, "names no object.", _FORMS)
    try:
        found: object = importlib.import_module(module_name)
    except SettingsError:
        raise
    except Exception as problem:  # whatever an app raises while it is built: a variable of its environment is not there
        said = f"cannot be imported ({type(problem).__name__}: {problem})."
        raise SettingsError("--settings", source, said, _FORMS) from problem
    for name in path.split("."):
        if not hasattr(found, name):
            raise SettingsError("--settings", source, f"has no {name!r}.", _FORMS)
        found = getattr(found, name)
    found = getattr(found, "extensions", {}).get("session_lifetime", found)  # a Flask app
    engine: Any = _engine_in(found)
    settings = found if isinstance(found, Settings) else getattr(engine, "settings", None)
    if not isinstance(settings, Settings):
        raise SettingsError("--settings", source, f"is {type(found).__name__}, which holds no Settings.", _FORMS)
    return Described(settings, getattr(engine, "authority", None), None if engine is None else lambda: engine.store)


def _engine_in(found: object) -> object | None:
    """Return the engine of ours in an app: of itself, or of a middleware around it. Starlette puts them there at its first request."""
    build = getattr(found, "build_middleware_stack", None)
    layer, seen = found if build is None else build(), set[int]()
    while layer is not None and id(layer) not in seen:
        engine = getattr(layer, "engine", None)
        if isinstance(getattr(engine, "settings", None), Settings):
            return engine
        seen.add(id(layer))
        layer = getattr(layer, "app", None)
    return None


def _of_django_project() -> Described:
    try:
        import django
        from django.core.exceptions import ImproperlyConfigured
    except ImportError as problem:
        raise SettingsError("--settings", "django", "needs Django, which is not installed.", _FORMS) from problem
    try:
        django.setup()
        from session_middleware.adapters._django_setup import current

        setup = current()
    except (ImproperlyConfigured, ImportError) as problem:
        raise SettingsError(
            "--settings", "django", f"cannot be read ({problem}).", "Set DJANGO_SETTINGS_MODULE."
        ) from problem
    return Described(setup.settings, setup.authority, lambda: setup.store)
