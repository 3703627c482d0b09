"""Django's settings for every test of this process: they can be configured only once.

Tests and modes lay their own over them with `override_settings`, and read them while a handler is being made.
"""

from __future__ import annotations

import logging
from typing import Any

import django
from django.conf import settings

from session_middleware.stores.memory import MemoryStore

OURS = "session_middleware.adapters.django.SessionLifetimeMiddleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
MESSAGES = "django.contrib.messages.middleware.MessageMiddleware"


def configure() -> None:
    """Configure Django, once per process."""
    if settings.configured:
        return
    settings.configure(
        SECRET_KEY="a secret key of the tests, long enough and varied: 0123456789abcdef",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        DEBUG=False,
        ROOT_URLCONF="tests.modes.django_urls",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "django.contrib.staticfiles",
            "session_middleware.adapters.django_app.SessionLifetimeConfig",
        ],
        MIDDLEWARE=[OURS],
        SESSION_LIFETIME={"store": MemoryStore()},
        STATIC_URL="/static/",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        LOGGING_CONFIG=None,
    )
    django.setup()
    logging.getLogger("django.request").setLevel(logging.CRITICAL)  # 4xx and 5xx are what the tests are about


def lifetime(given: Any, store: Any, *, clock: Any, on_event: Any = (), authority: Any = None) -> dict[str, Any]:
    """Return SESSION_LIFETIME for the arguments that every mode gets."""
    return {"settings": given, "store": store, "clock": clock, "on_event": on_event, "authority": authority}
