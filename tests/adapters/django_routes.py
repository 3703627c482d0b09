"""Views marked in every way that Django has, three URLconfs deep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from django.contrib.staticfiles.views import serve as static_file
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.static import serve

from session_middleware import ResponseAlreadyStarted, no_touch, session_exempt, session_optional, session_required
from session_middleware.adapters.django import asession_from, session_from


def plain(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"subject": session_from(request).subject})


def kept(request: HttpRequest) -> HttpResponse:
    return HttpResponse("kept", headers={"vary": "Accept", "cache-control": "no-store"})


async def aplain(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"subject": asession_from(request).subject})


@session_optional
def login(request: HttpRequest) -> HttpResponse:
    session_from(request).login("alice", persistent="keep" in request.GET)
    return plain(request)


@session_optional
async def alogin(request: HttpRequest) -> HttpResponse:
    await asession_from(request).login("alice")
    return await aplain(request)


@session_exempt
async def wrong_in_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse(session_from(request).subject)


@session_exempt
def wrong_in_blocking(request: HttpRequest) -> HttpResponse:
    return HttpResponse(asession_from(request).subject)


@session_optional
def missing(request: HttpRequest) -> HttpResponse:
    session_from(request).login("alice")
    raise Http404


def stream(request: HttpRequest) -> HttpResponse:
    session = session_from(request)

    def parts() -> Any:
        try:
            session.login("bob")
        except ResponseAlreadyStarted:
            yield b"too late"

    return StreamingHttpResponse(parts())


async def astream(request: HttpRequest) -> HttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield b"part"

    return StreamingHttpResponse(parts())


def unwrapped(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A decorator that forgets functools.wraps."""

    def inner(request: HttpRequest) -> HttpResponse:
        return view(request)

    return inner


class Both(View):
    """Its GET is marked otherwise than its POST."""

    @session_optional
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("get")

    def post(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("post")


@session_exempt
class Whole(View):
    """Marked as a class, and one method more strictly."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("get")

    @session_required
    def post(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("post")


@method_decorator([session_exempt, no_touch], name="dispatch")
class Dispatched(View):
    """Marked through `method_decorator`."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("get")


class Asynchronous(View):
    """An asynchronous class-based view."""

    @session_optional
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("get")


inner = [
    path("plain", plain),
    path("open", session_optional(plain.__class__(plain.__code__, plain.__globals__, "opened"))),
    path("both", Both.as_view()),
    path("whole", Whole.as_view()),
    path("dispatched", Dispatched.as_view()),
    path("asynchronous", Asynchronous.as_view()),
    path("around", session_exempt(Both.as_view())),
]
middle = [path("inner/", include((inner, "inner")))]

urlpatterns = [
    path("plain", plain),
    path("aplain", aplain),
    path("login", login),
    path("kept", kept),
    path("alogin", alogin),
    path("login-page", plain, name="sign-in"),
    path("wrong-in-async", wrong_in_async),
    path("wrong-in-blocking", wrong_in_blocking),
    path("missing", missing),
    path("stream", stream),
    path("astream", astream),
    path("middle/", include((middle, "middle"))),
    path("static/<path:path>", static_file, {"insecure": True}),
    path("media/<path:path>", serve, {"document_root": "/nowhere"}),
]
