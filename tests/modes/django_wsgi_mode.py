"""Django under WSGI: the scenario app as plain views."""

from __future__ import annotations

from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.test.utils import override_settings

from tests.modes.django_settings import OURS, configure, lifetime
from tests.modes.wsgi_mode import WSGIDriver, judged

NAME = "django-wsgi"
SUPPORTS_MOUNT = True


class Handler(WSGIHandler):
    """Django's handler, with the routes of this mode whatever ROOT_URLCONF says by then."""

    def get_response(self, request: HttpRequest) -> Any:
        request.urlconf = "tests.modes.django_urls"
        return super().get_response(request)


def make(
    settings: Any, store: Any, *, clock: Any, on_event: Any = (), authority: Any = None, mount: str = ""
) -> WSGIDriver:
    configure()
    given = settings if settings.return_param else settings.replace(return_param="return_to")
    mapping = lifetime(given, store, clock=clock, on_event=on_event, authority=authority)
    with override_settings(MIDDLEWARE=[OURS], SESSION_LIFETIME=mapping):
        handler = Handler()
    return WSGIDriver(judged(handler), mount)
