"""A project that signs people in as Django does: contrib.auth's views, its decorators, its admin."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin
from django.contrib.auth import aauthenticate, alogin, alogout, aupdate_session_auth_hash
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_not_required, login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from session_middleware import fresh_login_required, session_exempt, session_required
from session_middleware.adapters.django import asession_from, session_from


def who(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username(), "subject": session_from(request).subject})


def user_only(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username()})


def public(request: HttpRequest) -> HttpResponse:
    return HttpResponse("for everybody")


@session_exempt
def exempt_user(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username()})


@login_required
def private(request: HttpRequest) -> HttpResponse:
    return HttpResponse("private")


@login_required(redirect_field_name="continue")
def private_by_another_name(request: HttpRequest) -> HttpResponse:
    return HttpResponse("private")


@login_required(login_url="https://sign-in.example/now", redirect_field_name="continue")
def private_from_elsewhere(request: HttpRequest) -> HttpResponse:
    return HttpResponse("private")


class Nameless(LoginRequiredMixin, View):
    redirect_field_name = None

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("private")


def redirects(request: HttpRequest) -> HttpResponse:
    """Send those who are not signed in where the query says."""
    if request.user.is_authenticated:
        return HttpResponse("private")
    return HttpResponseRedirect(request.GET["to"])


@session_required
def ours(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"hello {session_from(request).subject}")


@fresh_login_required(within=300)
def fresh(request: HttpRequest) -> HttpResponse:
    return HttpResponse("fresh")


@login_not_required
def landing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("landing")


def boom(request: HttpRequest) -> HttpResponse:
    assert request.user.is_authenticated
    raise RuntimeError("as asked")


def step_up(request: HttpRequest) -> HttpResponse:
    session_from(request).step_up([{"type": "otp"}])
    _wait()
    return who(request)


@method_decorator(login_required, name="dispatch")
class Page(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("page")


async def awho(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    return JsonResponse({"user": user.get_username(), "subject": asession_from(request).subject})


async def auser(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": (await request.auser()).get_username()})


@session_required
async def aours(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"hello {asession_from(request).subject}")


async def alogin_view(request: HttpRequest) -> HttpResponse:
    user = await aauthenticate(request, username=request.POST["username"], password=request.POST["password"])
    await alogin(request, user)
    return await awho(request)


async def alogout_view(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return await awho(request)


async def apassword(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    user.set_password(request.POST["password"])
    await user.asave()
    await aupdate_session_auth_hash(request, user)
    return await awho(request)


def note(request: HttpRequest) -> HttpResponse:
    request.session["notes"] = request.session.get("notes", 0) + 1
    return JsonResponse({"notes": request.session["notes"]})


async def anote(request: HttpRequest) -> HttpResponse:
    await asession_from(request).open()
    await request.session.aset("notes", await request.session.aget("notes", 0) + 1)
    return JsonResponse({"notes": await request.session.aget("notes")})


def ours_out(request: HttpRequest) -> HttpResponse:
    session_from(request).logout()
    return HttpResponse("out")


def ours_in(request: HttpRequest) -> HttpResponse:
    session_from(request).login("somebody else")
    return HttpResponse("in")


async def aours_out(request: HttpRequest) -> HttpResponse:
    await asession_from(request).logout()
    return HttpResponse("out")


async def aours_in(request: HttpRequest) -> HttpResponse:
    await asession_from(request).login("somebody else")
    return HttpResponse("in")


#: What other requests do while one of the slow views runs, once each.
meanwhile: list[Callable[[], object]] = []


def _wait() -> None:
    while meanwhile:
        meanwhile.pop()()


def slow(request: HttpRequest) -> HttpResponse:
    name = request.user.get_username()
    _wait()
    return JsonResponse({"user": name})


def slow_note(request: HttpRequest) -> HttpResponse:
    request.session["notes"] = request.session.get("notes", 0) + 1
    _wait()
    return JsonResponse({"notes": request.session["notes"]})


@session_exempt
def start_exempt(request: HttpRequest) -> HttpResponse:
    request.session["state"] = "s"
    return HttpResponse("go")


def start_clear(request: HttpRequest) -> HttpResponse:
    request.session.clear()
    return start_exempt(request)


def start_flush(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return start_exempt(request)


def started(request: HttpRequest) -> HttpResponse:
    """Take what began the login, as the second half of one does."""
    return JsonResponse({"state": request.session.pop("state", None)})


urlpatterns = [
    path("start-exempt", start_exempt),
    path("start-clear", start_clear),
    path("start-flush", start_flush),
    path("started", started),
    path("slow", slow),
    path("slow-note", slow_note),
    path("ours-out", ours_out),
    path("ours-in", ours_in),
    path("aours-out", aours_out),
    path("aours-in", aours_in),
    path("note", note),
    path("anote", anote),
    path("who", who),
    path("user", user_only),
    path("public", public),
    path("exempt-user", exempt_user),
    path("private", private),
    path("private-by-another-name", private_by_another_name),
    path("private-from-elsewhere", private_from_elsewhere),
    path("nameless", Nameless.as_view()),
    path("redirects", redirects),
    path("ours", ours),
    path("fresh", fresh),
    path("landing", landing),
    path("boom", boom),
    path("step-up", step_up, name="step-up"),
    path("page", Page.as_view()),
    path("auser", auser),
    path("awho", awho),
    path("aours", aours),
    path("alogin", alogin_view),
    path("alogout", alogout_view),
    path("apassword", apassword),
    path("accounts/login/", auth_views.LoginView.as_view(template_name="admin/login.html", next_page="/who")),
    path("accounts/logout/", auth_views.LogoutView.as_view(next_page="/public")),
    path("accounts/password/", auth_views.PasswordChangeView.as_view(success_url="/who")),
    path("admin/", admin.site.urls),
]
