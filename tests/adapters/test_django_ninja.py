"""Markers on operations of django-ninja, which shows Django one view for all methods of a path (L21)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tests.modes.django_settings import OURS, configure

configure()

from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.test import AsyncClient, Client, override_settings  # noqa: E402
from django.urls import path  # noqa: E402
from ninja import NinjaAPI, Router  # noqa: E402
from ninja.errors import HttpError  # noqa: E402

from session_middleware import no_touch, session_exempt, session_optional, session_required  # noqa: E402
from session_middleware.adapters.django import session_from  # noqa: E402
from session_middleware.adapters.django_app import check_project  # noqa: E402
from session_middleware.stores.memory import MemoryStore  # noqa: E402
from session_middleware.testing import FakeClock  # noqa: E402

Handler = Callable[[HttpRequest], str]


@pytest.fixture(params=["optional", "required"])
def policy(request: pytest.FixtureRequest) -> Iterator[str]:
    lifetime = {"store": MemoryStore(), "clock": FakeClock(), "default_policy": request.param}
    with override_settings(SESSION_LIFETIME=lifetime, ROOT_URLCONF=__name__, MIDDLEWARE=[OURS]):
        yield request.param


def test_each_operation_is_judged_by_its_own_markers(policy: str) -> None:
    """Of one path the one method is open and the other is not, below a router too; the rest is what the policy says."""
    client, unmarked = Client(), 401 if policy == "required" else 200
    for _ in range(2):  # the second time they are known
        assert [client.get("/api/page").status_code, client.post("/api/page").status_code] == [401, 200]
        assert [client.get("/api/below/deep").status_code, client.get("/api/unmarked").status_code] == [401, unmarked]
    assert client.put("/api/page").status_code == (401 if policy == "required" else 405)


def test_of_two_operations_the_one_that_runs_is_judged(policy: str) -> None:
    """Where a path has two for one method, ninja runs the first: what the second says opens nothing."""
    answer = Client().get("/api/twice")
    assert (answer.status_code, b"closed" in answer.content) == (401, False)


@pytest.mark.parametrize("kind", ["own", "ninja"])
def test_a_login_before_an_exception_that_ninja_answers_does_not_stand(policy: str, kind: str) -> None:
    """L25: as of every other view that raises, whoever makes an answer of that, and whatever its status."""
    client = Client()
    answer = client.post(f"/api/fails/{kind}")
    assert (answer.status_code, list(answer.cookies)) == (403, [])
    assert client.post("/api/fails/never").cookies.keys() >= {"__Host-session"}


def test_operations_that_are_awaited(policy: str) -> None:
    """The same under ASGI."""

    async def statuses() -> list[int]:
        client = AsyncClient()
        return [(await client.get("/api/later")).status_code, (await client.post("/api/later")).status_code]

    assert asyncio.run(statuses()) == [401, 200]


def test_a_hidden_marker_on_an_operation_is_applied_and_reported(policy: str) -> None:
    """As on any view: what it forbids."""
    assert Client().get("/api/hidden").status_code == 401
    assert [(each.id, "/api/hidden" in each.msg) for each in check_project()] == [("session_middleware.W003", True)]


# --- the API ---------------------------------------------------------------------------------------------------------


def unwrapped(view: Handler) -> Handler:
    def around(request: HttpRequest) -> str:
        return view(request)

    return around


class Locked(Exception):
    """Nobody signs in to this account."""


api, below = NinjaAPI(), Router()


@api.exception_handler(Locked)
def locked(request: HttpRequest, fault: Locked) -> HttpResponse:
    return HttpResponse(status=403)


@api.post("/fails/{kind}")
@session_optional
def fails(request: HttpRequest, kind: str) -> str:
    session_from(request).login("alice")
    if kind == "own":
        raise Locked
    if kind == "ninja":
        raise HttpError(403, "locked")
    return "signed in"


@api.get("/page")
@session_required
@no_touch
def closed(request: HttpRequest) -> str:
    return "closed"


@session_optional
@api.post("/page")
def open_to_all(request: HttpRequest) -> str:
    return "open"


@api.get("/unmarked")
def unmarked(request: HttpRequest) -> str:
    return "unmarked"


@api.get("/hidden")
@unwrapped
@session_required
def hidden(request: HttpRequest) -> str:
    return "hidden"


@api.get("/twice")
@session_required
def closed_first(request: HttpRequest) -> str:
    return "closed"


@api.get("/twice")
@session_optional
def open_second(request: HttpRequest) -> str:
    return "open"


@api.get("/later")
@session_required
async def closed_later(request: HttpRequest) -> str:
    return "closed"


@api.post("/later")
@session_exempt
async def open_later(request: HttpRequest) -> str:
    return "open"


@below.get("/deep")
@session_required
def deep(request: HttpRequest) -> str:
    return "closed"


api.add_router("/below", below)
urlpatterns = [path("api/", api.urls)]
