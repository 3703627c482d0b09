"""Find the settings of an app by MODULE:NAME, for the commands."""

from __future__ import annotations

import importlib
import os
import sys

from session_middleware.errors import SettingsError
from session_middleware.settings import Settings

__all__ = ["described_by", "settings_from"]

_FORMS = "Name Settings, or an app or middleware that has them, as module:name, for example myapp.sessions:settings; or django."


def settings_from(source: str | None) -> Settings:
    """Return the settings that a command is to look at; see `described_by`.

    Raises:
        SettingsError: there are none, or they make no sense.
    """
    return described_by(source)[0]


def described_by(source: str | None) -> tuple[Settings, object | None]:
    """Return the settings that a command is to look at, and the authority of the app, where an app is named.

    Args:
        source: "module:name" of Settings, of anything with an `engine` of ours (a wrapped WSGI or ASGI app, Flask's
            SessionLifetime), or of a Flask app; "django" reads the project that DJANGO_SETTINGS_MODULE names. None reads
            the SESSION_LIFETIME_* variables of the environment.

    Raises:
        SettingsError: there are none, or they make no sense.
    """
    if source is None:
        return Settings.from_mapping(os.environ), None
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
    engine = getattr(found, "engine", None)
    settings = found if isinstance(found, Settings) else getattr(engine, "settings", None)
    if not isinstance(settings, Settings):
        raise SettingsError("--settings", source, f"is {type(found).__name__}, which holds no Settings.", _FORMS)
    return settings, getattr(engine, "authority", None)


def _of_django_project() -> tuple[Settings, object | None]:
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
    return setup.settings, setup.authority
