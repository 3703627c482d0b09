"""The Django app: system checks that say what is misplaced before a request does, and `client.force_login` in tests.

INSTALLED_APPS += ["session_middleware.adapters.django_app.SessionLifetimeConfig"]

docs/django.md says what they report.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import AppConfig
from django.conf import settings as conf
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.urls import get_resolver

from session_middleware.adapters._django_http import class_rules, hides_marker, registered, routes
from session_middleware.adapters._django_setup import OURS, Setup, positions
from session_middleware.errors import SettingsError

__all__ = ["SessionLifetimeConfig", "check_project"]

CORS = "corsheaders.middleware.CorsMiddleware"

METHODS = ("get", "post", "put", "patch", "delete", "options")


class SessionLifetimeConfig(AppConfig):
    """The app's configuration; it has no models."""

    name = "session_middleware.adapters.django_app"
    label = "session_middleware"
    verbose_name = "Session lifetime"

    def ready(self) -> None:
        """Register the checks, and listen to contrib.auth's logins."""
        checks.register(check_project, checks.Tags.security)
        from session_middleware.adapters import _django_auth  # noqa: F401  # connects its receivers


def check_project(app_configs: object = None, **_: object) -> list[checks.CheckMessage]:
    """Report what is misplaced (L21, L23)."""
    try:
        theirs, ours = positions()
    except ImportError:
        return []  # Django says so itself
    if not ours:
        return [
            checks.Warning(
                "SessionLifetimeMiddleware is not in MIDDLEWARE, so no session ends.",
                hint=f"Add '{OURS}' directly after AuthenticationMiddleware.",
                id="session_middleware.W005",
            )
        ]
    try:
        setup = Setup()
    except (SettingsError, ImproperlyConfigured) as problem:
        return [checks.Error(str(problem), id="session_middleware.E002")]
    found = list(_order(theirs, ours))
    if setup.settings.token_cookie == conf.SESSION_COOKIE_NAME:
        found.append(
            checks.Error(
                f"cookie_name and SESSION_COOKIE_NAME are both {conf.SESSION_COOKIE_NAME!r}.",
                hint="Rename one of them.",
                id="session_middleware.E003",
            )
        )
    if getattr(conf, "ROOT_URLCONF", None):
        found += _views(setup.settings.endpoint_prefix)
    return found


def _order(theirs: list[int], ours: list[int]) -> Iterator[checks.CheckMessage]:
    if len(ours) > 1:
        yield checks.Error(
            "SessionLifetimeMiddleware is in MIDDLEWARE more than once, so no server starts.",
            hint="Keep one, directly after AuthenticationMiddleware.",
            id="session_middleware.E005",
        )
    if theirs and min(ours) < max(theirs):
        yield checks.Error(
            "SessionLifetimeMiddleware stands before AuthenticationMiddleware, so request.user would be signed in "
            "whatever it says.",
            hint="Put it directly after.",
            id="session_middleware.E001",
        )
    elif theirs and min(ours) != max(theirs) + 1:
        yield checks.Warning(
            f"{conf.MIDDLEWARE[max(theirs) + 1]} stands between AuthenticationMiddleware and SessionLifetimeMiddleware, "
            "and sees users whose sessions have ended.",
            hint="Put SessionLifetimeMiddleware directly after AuthenticationMiddleware.",
            id="session_middleware.W001",
        )
    if CORS in conf.MIDDLEWARE and list(conf.MIDDLEWARE).index(CORS) > min(ours):
        yield checks.Warning(
            "CorsMiddleware stands inside SessionLifetimeMiddleware: scripts of other origins cannot read its refusals.",
            hint="Put CorsMiddleware first.",
            id="session_middleware.W004",
        )


def _views(prefix: str) -> Iterator[checks.CheckMessage]:
    for route, view in routes(get_resolver().url_patterns, "/"):
        if (route + "/").startswith(prefix + "/"):
            yield checks.Warning(
                f"The route {route!r} is never reached: requests under {prefix + '/'!r} are answered by the middleware.",
                hint="Move it, or set endpoint_prefix.",
                id="session_middleware.W002",
            )
        if hides_marker(view):
            acts = (
                "only what it forbids is applied"
                if hides_marker(view, registered)
                else "nothing of it is applied here, as the marked view has a route of its own"
            )
            yield checks.Warning(
                f"The view of {route!r} has a marker, but a decorator around it hides it: {acts}.",
                hint="Use functools.wraps in the decorator, or put the marker outermost.",
                id="session_middleware.W003",
            )
        yield from _contradictions(route, view)


def _contradictions(route: str, view: Any) -> Iterator[checks.CheckMessage]:  # Any: a callable with attributes
    holder: Any = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if holder is None:
        return
    for method in METHODS:
        try:
            class_rules(view, holder, method)
        except SettingsError as problem:
            yield checks.Error(f"{method.upper()} {route}: {problem}", id="session_middleware.E004")
