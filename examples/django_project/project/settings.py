"""The settings of a small shop, as `startproject` writes them."""

import os
from pathlib import Path

from session_middleware import Settings

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("SECRET_KEY", "django-insecure-only-for-this-example-0123456789-abcdefghijklmnop")
DEBUG = os.environ.get("DEBUG", "1") == "1"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# --- added: from here ---
INSTALLED_APPS += ["session_middleware.adapters.django_app.SessionLifetimeConfig"]
MIDDLEWARE.insert(
    MIDDLEWARE.index("django.contrib.auth.middleware.AuthenticationMiddleware") + 1,
    "session_middleware.adapters.django.SessionLifetimeMiddleware",
)
SESSION_LIFETIME_DEFAULTS = {  # the environment may say otherwise, under these names
    "SESSION_LIFETIME_INACTIVITY_TIMEOUT": 15 * 60,
    "SESSION_LIFETIME_ABSOLUTE_LIFETIME": 8 * 3600,
    "SESSION_LIFETIME_COOKIE_NAME": "shop",
    "SESSION_LIFETIME_LOGOUT_URLS": ["/", "/about"],
    # "SESSION_LIFETIME_ADOPT_EXISTING_UNTIL": "2026-11-22",  # on this day nobody who logged in lately has to do it again
}
SESSION_LIFETIME = {"settings": Settings.from_mapping(SESSION_LIFETIME_DEFAULTS | os.environ)}
# --- to here ---

TEMPLATES = [
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
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", str(BASE_DIR / "shop.db")),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
TIME_ZONE = "UTC"
USE_TZ = True
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "about"
