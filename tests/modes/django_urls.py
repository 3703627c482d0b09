"""The scenario app of plain Django views."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from session_middleware import session_optional
from tests.modes import django_views as views


@session_optional
def login_route(request: HttpRequest) -> HttpResponse:
    return views.login(request) if request.method == "POST" else views.login_page(request)


NAMES = (
    "me shown exempt login step_up sign_out extend claims data end_others login_then_fail login_then_refuse login_then_error fail "
    "headers own_cookie"
)

urlpatterns = views.routes(
    {
        **{name: getattr(views, name) for name in NAMES.split()},
        "exempt_using": views.shown,
        "return_to": views.return_to,
    },
    login_route,
)
