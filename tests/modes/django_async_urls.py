"""The scenario app of asynchronous Django views."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from session_middleware import session_optional
from tests.modes import django_views as views
from tests.modes.django_urls import NAMES


@session_optional
async def login_route(request: HttpRequest) -> HttpResponse:
    return await (views.alogin(request) if request.method == "POST" else views.alogin_page(request))


urlpatterns = views.routes(
    {
        **{name: getattr(views, f"a{name}") for name in NAMES.split()},
        "exempt_using": views.aexempt_using,
        "return_to": views.areturn_to,
    },
    login_route,
)
