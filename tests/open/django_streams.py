"""URLs of a Django project whose views stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from session_middleware import session_exempt, session_optional
from session_middleware.adapters.django import asession_from, session_from

#: What a test's streams do between two parts, and whether they were closed.
between: Any = None
release: Any = None
closed: list[str] = []


def parts() -> Iterator[bytes]:
    try:
        for number in range(1, 100):
            yield b"%d\n" % number
            between()
    finally:
        closed.append("parts")


async def aparts() -> AsyncIterator[bytes]:
    try:
        yield b"1\n"
        await release.wait()
        yield b"2\n"
    except anyio.get_cancelled_exc_class():
        closed.append("cancelled")
        raise
    finally:
        closed.append("aparts")


@session_optional
def login(request: HttpRequest) -> HttpResponse:
    session_from(request).login("alice")
    return HttpResponse("in")


def logout(request: HttpRequest) -> HttpResponse:
    session_from(request).logout()
    return HttpResponse("out")


def stream(request: HttpRequest, kind: str) -> StreamingHttpResponse:
    return StreamingHttpResponse(parts(), content_type="text/event-stream" if kind == "events" else "text/plain")


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(Path(__file__).open("rb"), content_type="text/plain")


@session_optional
async def alogin(request: HttpRequest) -> HttpResponse:
    await asession_from(request).login("alice")
    return HttpResponse("in")


async def alogout(request: HttpRequest) -> HttpResponse:
    await asession_from(request).logout()
    return HttpResponse("out")


@session_exempt
def exempt(request: HttpRequest) -> StreamingHttpResponse:
    def opening() -> Iterator[bytes]:
        for number, part in enumerate(parts(), 1):
            yield part if number < 3 else str(session_from(request).is_active).encode()

    return StreamingHttpResponse(opening(), content_type="text/plain")


@session_exempt
async def aexempt(request: HttpRequest) -> StreamingHttpResponse:
    async def opening() -> AsyncIterator[bytes]:
        yield b"1\n"
        session = await asession_from(request).open()
        yield str(session.is_active).encode()
        await release.wait()
        yield b"2\n"

    return StreamingHttpResponse(opening(), content_type="text/plain")


async def astream(request: HttpRequest, kind: str) -> StreamingHttpResponse:
    return StreamingHttpResponse(aparts(), content_type="text/event-stream" if kind == "events" else "text/plain")


urlpatterns = [
    path("login", login),
    path("logout", logout),
    path("file", file),
    path("alogin", alogin),
    path("alogout", alogout),
    path("exempt", exempt),
    path("aexempt", aexempt),
    path("stream/<kind>", stream),
    path("astream/<kind>", astream),
]
