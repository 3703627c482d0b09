"""The views of the shop. The markers of `session_middleware` are all that was added."""

from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse_lazy

from session_middleware import fresh_login_required, no_touch, session_exempt, session_required
from session_middleware.adapters.django import asession_from, session_from


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """A protected page: Django's own decorator protects it, our session says when it ends."""
    return render(request, "shop/home.html", {"session": session_from(request)})


@session_exempt
def about(request: HttpRequest) -> HttpResponse:
    """For everybody; no cookie is read."""
    return render(request, "shop/about.html")


@no_touch  # a page asks every ten seconds, and that is not the user
@login_required
def unread(request: HttpRequest) -> JsonResponse:
    """Answer a poll."""
    return JsonResponse({"unread": 0})


@fresh_login_required(within=300)
class Password(auth_views.PasswordChangeView):
    """Django's own view; it needs a login of the last five minutes, and ends all other sessions."""

    template_name = "shop/password.html"
    success_url = reverse_lazy("home")


@session_required
async def deadlines(request: HttpRequest) -> JsonResponse:
    """An asynchronous view."""
    session = asession_from(request)
    return JsonResponse({"inactivity": session.inactivity_deadline, "absolute": session.absolute_deadline})
