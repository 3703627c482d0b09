"""The scenario app as Django views, plain and asynchronous."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.urls import URLPattern, path

from session_middleware import (
    SessionError,
    SettingsError,
    fresh_login_required,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.adapters.django import asession_from, safe_return_to, session_from
from session_middleware.testing.scenario_app import describe, login_arguments


def shown(request: HttpRequest) -> HttpResponse:
    return JsonResponse(describe(session_from(request)))


def me(request: HttpRequest) -> HttpResponse:
    return shown(request)


@session_exempt
def exempt(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"exempt": True})


def login_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<h1>login</h1>")


def login(request: HttpRequest) -> HttpResponse:
    session_from(request).login(**login_arguments(request.GET.dict()))
    return shown(request)


def step_up(request: HttpRequest) -> HttpResponse:
    session_from(request).step_up([{"type": "otp"}])
    return shown(request)


@session_optional
def sign_out(request: HttpRequest) -> HttpResponse:
    session_from(request).logout()
    return JsonResponse({"ok": True})


def extend(request: HttpRequest) -> HttpResponse:
    try:
        session_from(request).extend(float(request.GET["minutes"]))
    except SettingsError as problem:
        return JsonResponse({"error": problem.code}, status=400)
    except SessionError as problem:
        return JsonResponse({"error": problem.code}, status=409)
    return shown(request)


def claims(request: HttpRequest) -> HttpResponse:
    session_from(request).update_claims(**json.loads(request.GET["set"]))
    return shown(request)


def data(request: HttpRequest) -> HttpResponse:
    session_from(request).data.update(json.loads(request.GET["set"]))
    return shown(request)


def end_others(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"ended": session_from(request).end_others()})


@session_optional
def login_then_fail(request: HttpRequest) -> HttpResponse:
    session_from(request).login(request.GET["subject"])
    raise RuntimeError("after the login")


@session_optional
def login_then_refuse(request: HttpRequest) -> HttpResponse:
    session_from(request).login(request.GET["subject"])
    raise PermissionDenied


@session_optional
def login_then_error(request: HttpRequest) -> HttpResponse:
    session_from(request).login(request.GET["subject"])
    return HttpResponse("sorry", status=500)


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("as asked")


@session_optional
def headers(request: HttpRequest) -> HttpResponse:
    verdict = session_from(request).verdict.name
    return JsonResponse(
        {"verdict": verdict}, headers={"Vary": "Accept-Encoding", "Cache-Control": "public, max-age=60"}
    )


def own_cookie(request: HttpRequest) -> HttpResponse:
    response = shown(request)
    response.set_cookie("app", "1", path=None)
    return response


@session_optional
def return_to(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"to": safe_return_to(request)})


# --- the same, asynchronous ------------------------------------------------------------------------------------------


async def ashown(request: HttpRequest) -> HttpResponse:
    return JsonResponse(describe(asession_from(request)))


async def ame(request: HttpRequest) -> HttpResponse:
    return await ashown(request)


@session_exempt
async def aexempt(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"exempt": True})


@session_exempt
async def aexempt_using(request: HttpRequest) -> HttpResponse:
    await asession_from(request).open()
    return await ashown(request)


async def alogin_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<h1>login</h1>")


async def alogin(request: HttpRequest) -> HttpResponse:
    await asession_from(request).login(**login_arguments(request.GET.dict()))
    return await ashown(request)


async def astep_up(request: HttpRequest) -> HttpResponse:
    await asession_from(request).step_up([{"type": "otp"}])
    return await ashown(request)


@session_optional
async def asign_out(request: HttpRequest) -> HttpResponse:
    await asession_from(request).logout()
    return JsonResponse({"ok": True})


async def aextend(request: HttpRequest) -> HttpResponse:
    try:
        await asession_from(request).extend(float(request.GET["minutes"]))
    except SettingsError as problem:
        return JsonResponse({"error": problem.code}, status=400)
    except SessionError as problem:
        return JsonResponse({"error": problem.code}, status=409)
    return await ashown(request)


async def aclaims(request: HttpRequest) -> HttpResponse:
    asession_from(request).update_claims(**json.loads(request.GET["set"]))
    return await ashown(request)


async def adata(request: HttpRequest) -> HttpResponse:
    asession_from(request).data.update(json.loads(request.GET["set"]))
    return await ashown(request)


async def aend_others(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"ended": await asession_from(request).end_others()})


@session_optional
async def alogin_then_fail(request: HttpRequest) -> HttpResponse:
    await asession_from(request).login(request.GET["subject"])
    raise RuntimeError("after the login")


@session_optional
async def alogin_then_refuse(request: HttpRequest) -> HttpResponse:
    await asession_from(request).login(request.GET["subject"])
    raise PermissionDenied


@session_optional
async def alogin_then_error(request: HttpRequest) -> HttpResponse:
    await asession_from(request).login(request.GET["subject"])
    return HttpResponse("sorry", status=500)


async def afail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("as asked")


@session_optional
async def aheaders(request: HttpRequest) -> HttpResponse:
    verdict = asession_from(request).verdict.name
    return JsonResponse(
        {"verdict": verdict}, headers={"Vary": "Accept-Encoding", "Cache-Control": "public, max-age=60"}
    )


async def aown_cookie(request: HttpRequest) -> HttpResponse:
    response = await ashown(request)
    response.set_cookie("app", "1", path=None)
    return response


@session_optional
async def areturn_to(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"to": safe_return_to(request)})


# --- the routes ------------------------------------------------------------------------------------------------------

View = Callable[..., Any]


def again(view: View) -> View:
    """Return the same view as another function, so that it can be marked otherwise."""
    if view.__name__.startswith("a"):

        @functools.wraps(view)
        async def acopy(request: HttpRequest) -> HttpResponse:
            return await view(request)

        return acopy

    @functools.wraps(view)
    def copy(request: HttpRequest) -> HttpResponse:
        return view(request)

    return copy


def only(methods: str, view: View) -> View:
    """Serve these methods, HEAD where GET is one of them, and no other: OPTIONS is not the view's to answer."""
    allowed = {*methods.split(), *({"HEAD"} if "GET" in methods else ())}
    if view.__name__.startswith("a"):

        @functools.wraps(view)
        async def aserved(request: HttpRequest) -> HttpResponse:
            return await view(request) if request.method in allowed else HttpResponseNotAllowed(sorted(allowed))

        return aserved

    @functools.wraps(view)
    def served(request: HttpRequest) -> HttpResponse:
        return view(request) if request.method in allowed else HttpResponseNotAllowed(sorted(allowed))

    return served


def routes(views: dict[str, View], login_route: View) -> list[URLPattern]:
    """Return the routes of the scenario app over these views, by their plain names."""
    return [
        path("me", only("GET POST", views["me"])),
        path("open", only("GET", session_optional(again(views["shown"])))),
        path("exempt", only("GET", views["exempt"])),
        path("exempt-using", only("GET", session_exempt(again(views["exempt_using"])))),
        path("poll", only("GET", no_touch(again(views["shown"])))),
        path("fresh", only("GET", fresh_login_required(within=300)(again(views["shown"])))),
        path("stale", only("GET", session_required(on_unavailable="stale")(again(views["shown"])))),
        path("login", login_route),
        path("bound-login", only("POST", session_optional(cross_site_login=True)(again(views["login"])))),
        path("step-up", only("POST", views["step_up"])),
        path("sign-out", only("POST", views["sign_out"])),
        path("extend", only("POST", views["extend"])),
        path("claims", only("POST", views["claims"])),
        path("data", only("POST", views["data"])),
        path("end-others", only("POST", views["end_others"])),
        path("login-then-fail", only("POST", views["login_then_fail"])),
        path("login-then-refuse", only("POST", views["login_then_refuse"])),
        path("login-then-error", only("POST", views["login_then_error"])),
        path("fail", only("GET", views["fail"])),
        path("headers", only("GET", views["headers"])),
        path("own-cookie", only("GET", views["own_cookie"])),
        path("return-to", only("GET", views["return_to"])),
    ]
