"""What is Django's own about the adapter: settings, markers, threads, and the places where a view is not reached."""

from __future__ import annotations

import asyncio
import functools
import itertools
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest

from tests.modes.django_settings import AUTH, OURS, SESSIONS, configure

configure()

import asgiref.sync  # noqa: E402
from asgiref.testing import ApplicationCommunicator  # noqa: E402
from django.contrib.auth.decorators import login_not_required  # noqa: E402
from django.core.cache import cache  # noqa: E402
from django.core.exceptions import ImproperlyConfigured  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.core.handlers.base import BaseHandler  # noqa: E402
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.shortcuts import resolve_url  # noqa: E402
from django.test import AsyncClient, Client, RequestFactory, override_settings  # noqa: E402
from django.test.utils import setup_test_environment, teardown_test_environment  # noqa: E402
from django.urls import path, register_converter  # noqa: E402
from django.utils.encoding import iri_to_uri  # noqa: E402
from django.views import View  # noqa: E402

from session_middleware import (  # noqa: E402
    SessionNotAttached,
    Settings,
    SettingsError,
    no_touch,
    session_exempt,
    session_optional,
    session_required,
)
from session_middleware.adapters._django_http import RawCookie  # noqa: E402
from session_middleware.adapters._django_setup import current  # noqa: E402
from session_middleware.adapters.django import asessions, session_from, sessions  # noqa: E402
from session_middleware.adapters.django_app import check_project  # noqa: E402
from session_middleware.stores.memory import MemoryStore  # noqa: E402
from session_middleware.stores.sqlite import SQLiteStore  # noqa: E402
from session_middleware.testing import FakeClock  # noqa: E402
from session_middleware.testing.watched_store import WatchedStore  # noqa: E402
from tests.adapters.closed_over import HELD, HandsOn  # noqa: E402
from tests.adapters.django_routes import unwrapped  # noqa: E402

ROUTES = "tests.adapters.django_routes"
BLOCKING = f"{__name__}.BlockingMiddleware"
ANSWERING = f"{__name__}.Answering"
Given = Callable[..., None]


class Answering:
    """A middleware that makes a page of every exception."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse:
        return HttpResponse("sorry")


class BlockingMiddleware:
    """A middleware of the old kind, which Django runs in a thread under ASGI."""

    async_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/from-a-middleware":
            return HttpResponse("a secret page of a middleware")
        return self.get_response(request)


class ElsewhereMiddleware:
    """A middleware that chooses the URLconf, as for a host of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.urlconf = __name__
        return self.get_response(request)


@pytest.fixture
def given() -> Iterator[Given]:
    """Set what SESSION_LIFETIME and other settings say for one test."""
    overrides: list[override_settings] = []

    def given(lifetime: Any = None, **settings: Any) -> None:
        lifetime = {"store": MemoryStore(), "clock": FakeClock()} if lifetime is None else lifetime
        override = override_settings(
            SESSION_LIFETIME=lifetime, **{"ROOT_URLCONF": ROUTES, "MIDDLEWARE": [OURS], **settings}
        )
        override.enable()
        overrides.append(override)

    given()
    yield given
    for override in reversed(overrides):
        override.disable()


def statuses(client: Client, *paths: str) -> list[int]:
    return [client.get(path).status_code for path in paths]


class TestSettings:
    """SESSION_LIFETIME, and what Django knows already."""

    def test_options_arguments_and_dotted_paths_in_one_dict(self, given: Given) -> None:
        """Options by name, beside the arguments of the adapter; objects or the paths of them."""
        given(
            {
                "INACTIVITY_TIMEOUT": 600,
                "store": "session_middleware.stores.memory.MemoryStore",
                "clock": "time.time",
                "limits": f"{__name__}.strict",
                "on_event": "builtins.repr",
            }
        )
        setup = current()
        assert setup.settings.inactivity_timeout == 600
        assert isinstance(setup.store, MemoryStore)
        assert setup.settings.limits is strict
        assert setup.blocking.engine.hooks == (repr,)

    def test_finished_settings_or_a_dict_of_options(self, given: Given) -> None:
        """Under `settings`; keys come from SECRET_KEY where they give none."""
        for settings in (Settings(inactivity_timeout=600), {"inactivity_timeout": 600}):
            given({"settings": settings, "store": MemoryStore()}, SECRET_KEY="k" * 24 + "0123456789abcdef")
            assert current().settings.inactivity_timeout == 600
            assert current().settings.secret_keys == (b"k" * 24 + b"0123456789abcdef",)

    def test_secret_key_and_its_fallbacks(self, given: Given) -> None:
        """The first signs, all verify (L10): a session outlives the rotation of SECRET_KEY."""
        lifetime = {"store": MemoryStore()}
        given(lifetime)
        client = Client()
        client.post("/login")
        old = current().settings.secret_keys[0]
        given(
            lifetime, SECRET_KEY="another key, as long and as varied: 0123456789", SECRET_KEY_FALLBACKS=[old.decode()]
        )
        client.handler._middleware_chain = None
        assert client.get("/plain").json() == {"subject": "alice"}

    @pytest.mark.parametrize(
        ("lifetime", "settings", "words"),
        [
            ({"inactivity_timout": 600}, {}, "Did you mean 'inactivity_timeout'?"),
            ({"stroe": "memory://"}, {}, "Did you mean 'store'?"),
            ({"settings": {"absolut_lifetime": 1}}, {}, "Did you mean 'absolute_lifetime'?"),
            ({"settings": Settings(), "rolling": False}, {}, "stands beside finished settings"),
            ({"settings": 5}, {}, "neither Settings nor a dict"),
            ({"clock": "time.tiem"}, {}, "cannot be imported"),
            (["memory://"], {}, "is not a dict"),
            ({}, {"SECRET_KEY": "short"}, "SECRET_KEY"),
            ({"login_url": asyncio.sleep, "store": "memory://"}, {}, "plain def"),
        ],
    )
    def test_nonsense_is_refused_at_start_up(self, given: Given, lifetime: Any, settings: Any, words: str) -> None:
        """With field, value and fix, by the middleware and by `manage.py check` alike."""
        given(lifetime, **settings)
        with pytest.raises(SettingsError, match=words.replace("?", r"\?")):
            Client().get("/plain")
        (error,) = check_project()
        assert error.id == "session_middleware.E002"

    def test_the_default_store_lies_in_base_dir(
        self, given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A SQLite file beside manage.py, unless SESSION_STORE_URL says otherwise."""
        monkeypatch.delenv("SESSION_STORE_URL", raising=False)
        given({}, BASE_DIR=tmp_path)
        store = current().store
        assert isinstance(store, SQLiteStore)
        store.close()
        assert (tmp_path / "sessions.db").exists()

    def test_the_store_url_of_djangos_settings(self, given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
        """SESSION_STORE_URL there goes before the environment's; a store in SESSION_LIFETIME goes before both."""
        monkeypatch.setenv("SESSION_STORE_URL", "redis://nobody:1/0")
        given({}, SESSION_STORE_URL="memory://")
        assert isinstance(current().store, MemoryStore)
        store = MemoryStore()
        given({"store": store}, SESSION_STORE_URL="memory://")
        assert current().store is store

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("mysql://me:hunter2@db/app", "SESSION_STORE_URL='***'"),
            (5, "SESSION_STORE_URL='int': is not a URL in text"),
        ],
    )
    def test_a_store_url_that_makes_no_sense(self, given: Given, url: object, says: str) -> None:
        """It is refused at the first request, by its name and without a password."""
        given({}, SESSION_STORE_URL=url)
        with pytest.raises(SettingsError) as refused:
            Client().get("/plain")
        assert says in str(refused.value)
        assert "hunter2" not in str(refused.value)

    def test_tests_leave_the_developers_sessions_alone(
        self, given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In Django's test environment the default store is in memory, one for all readings, though it was another before."""
        monkeypatch.setenv("SESSION_STORE_URL", f"sqlite:///{tmp_path}/sessions.db")
        given({})
        with current().store as before:
            assert isinstance(before, SQLiteStore)
        setup_test_environment()
        try:
            store = current().store
            assert isinstance(store, MemoryStore)
            assert Client().post("/login").status_code == 200
            assert len(sessions().list("alice")) == 1
            given({"inactivity_timeout": 60}, SESSION_STORE_URL="redis://nobody:1/0")
            assert current().store is store
        finally:
            teardown_test_environment()
        given({}, SESSION_STORE_URL=None)
        with current().store as after:
            assert isinstance(after, SQLiteStore)

    def test_a_store_that_was_given_is_that_of_tests_too(self, given: Given) -> None:
        """Whoever names one in SESSION_LIFETIME says where sessions are; it is not opened anew, either."""
        given({"store": "memory://"})
        before = current()
        setup_test_environment()
        try:
            assert current() is before
        finally:
            teardown_test_environment()

    def test_login_url_is_djangos(self, given: Given) -> None:
        """A path or the name of a route, and open to all; our own `login_url` wins."""
        client = Client(headers={"accept": "text/html"})
        given(LOGIN_URL="sign-in")
        assert client.get("/plain").headers["Location"] == "/login-page?next=/plain"
        assert client.get("/login-page").status_code == 200
        given({"store": MemoryStore(), "login_url": "/enter"}, LOGIN_URL="sign-in")
        assert Client(headers={"accept": "text/html"}).get("/plain").headers["Location"] == "/enter?next=/plain"
        given({"store": MemoryStore(), "settings": Settings()}, LOGIN_URL="sign-in")
        assert Client(headers={"accept": "text/html"}).get("/plain").headers["Location"] == "/login-page?next=/plain"

    @pytest.mark.parametrize("url", ["/вход/", "/log in/", "sign-in-here"])
    def test_a_login_url_of_any_letters(self, given: Given, url: str) -> None:
        """It goes out percent-encoded, as Django's own redirects do, and the page is open (L15, L21); sync and async."""
        given(LOGIN_URL=url, ROOT_URLCONF=__name__)
        page = {"accept": "text/html"}
        sent = resolve_url(url)
        here = unquote(sent)

        async def under_asgi() -> list[Any]:
            return [(await self.asked("/marked"))[0][b"Location"].decode(), (await self.asked(here))[1]]

        refused = Client().get("/marked", headers=page)
        under_wsgi = [refused.headers["Location"], Client().get(here, headers=page).content]
        expected = [f"{iri_to_uri(sent)}?next=/marked", b"sign in here"]
        assert under_wsgi == expected
        assert asyncio.run(under_asgi()) == expected

    async def asked(self, path: str) -> tuple[dict[bytes, bytes], bytes]:
        """Ask for a page under ASGI; Django's own client there garbles letters in paths."""
        scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"accept", b"text/html")]}
        app = ApplicationCommunicator(ASGIHandler(), {**scope, "query_string": b"", "server": ("testserver", 80)})
        await app.send_input({"type": "http.request"})
        start, body = await app.receive_output(), await app.receive_output()
        await app.wait()
        return dict(start["headers"]), body["body"]

    @pytest.mark.parametrize("url", [None, 5])
    def test_a_login_url_that_is_no_text_is_named(self, given: Given, url: Any) -> None:
        """Instead of a route of that name, which nobody has."""
        given(LOGIN_URL=url)
        with pytest.raises(SettingsError, match=f"LOGIN_URL={url}: "):
            Client().get("/plain")

    def test_an_async_only_store_is_refused_under_wsgi(self, given: Given) -> None:
        """It would have nothing to wait with."""
        given({"store": f"{__name__}.AwaitedStore"})
        with pytest.raises(SettingsError, match="asynchronous"):
            Client().get("/plain")
        with pytest.raises(SettingsError, match="asynchronous"):
            sessions()


def strict(subject: str, claims: Any) -> Any:
    """A function that SESSION_LIFETIME names."""


class AwaitedStore(MemoryStore):
    """A store that can only be awaited."""

    async def load(self, key: bytes) -> None:  # type: ignore[override]  # that is the point
        return None


class TestMarkers:
    """The endpoint judged is the endpoint run (L21)."""

    @pytest.mark.parametrize("where", ["function", "get", "dispatch"])
    def test_a_hidden_marker_still_forbids(self, where: str, given: Given) -> None:
        """Behind a decorator without functools.wraps it is not known what runs; so nothing opens, and what is closed stays so.

        REST framework's `api_view` is one: it puts the function into a class.
        """
        path = f"/hidden-required/{where}"
        given({"store": MemoryStore(), "default_policy": "optional"}, ROOT_URLCONF=__name__)
        assert Client().get(path).status_code == 401
        assert Client().post(path).status_code == (200 if where == "get" else 401)
        given({"store": MemoryStore()}, ROOT_URLCONF=__name__)
        assert Client().get("/hidden").status_code == 401

    def test_a_marker_on_the_class_of_a_wrapped_method(self, given: Given) -> None:
        """The views of a ModelAdmin are functions around its methods: a marker on that class holds, and is no hidden one."""
        given({"store": MemoryStore(), "default_policy": "optional"}, ROOT_URLCONF=__name__)
        assert statuses(Client(), "/class-of-method/closed", "/class-of-method/open") == [401, 200]
        given({"store": MemoryStore()}, ROOT_URLCONF=__name__)
        assert statuses(Client(), "/class-of-method/closed", "/class-of-method/open") == [401, 200]

    def test_a_marker_on_a_wrapped_method_leaves_that_on_its_class_standing(self, given: Given) -> None:
        """`no_touch` on one method of a closed ModelAdmin says nothing of who may come in: it opened that page."""
        given({"store": MemoryStore(), "default_policy": "optional"}, ROOT_URLCONF=__name__)
        assert statuses(Client(), "/class-of-method/closed-poll") == [401]

    @pytest.mark.parametrize("whose", ["request", "project"])
    def test_a_view_that_chooses_another_stays_open(self, whose: str, given: Given) -> None:
        """A start page that shows the visitor's own page to whom is signed in: that one has a route, and its marker acts there.

        In any URLconf: a request may have one of its own.
        """
        options = {"store": MemoryStore(), "default_policy": "optional"}
        if whose == "request":
            given(options, MIDDLEWARE=[f"{__name__}.own_urlconf", OURS])
        else:
            given(options, ROOT_URLCONF=__name__)
        assert statuses(Client(), "/closed", "/chooses") == [401, 200]

    def test_every_way_to_mark_a_view(self, given: Given) -> None:
        """Functions, classes, methods, `dispatch`, around `as_view()`; three URLconfs deep; the nearer one wins."""
        client = Client()
        below = "/middle/inner/"
        names = ("plain", "open", "both", "whole", "dispatched", "asynchronous", "around")
        assert statuses(client, *(below + name for name in names)) == [401, 200, 200, 200, 200, 200, 200]
        posts = [client.post(below + name).status_code for name in ("both", "whole", "around")]
        assert posts == [401, 401, 200]
        assert client.head(below + "both").status_code == 200

    def test_static_files_are_open_and_uploads_are_not(self, given: Given) -> None:
        """Django's own view for the one; the other view serves both, and only the one below STATIC_URL is open."""
        answers = [Client().get(p) for p in ("/static/admin/css/base.css", "/static/nothing.css", "/media/upload.pdf")]
        assert [a.status_code for a in answers] == [200, 404, 401]
        assert "Vary" not in answers[0].headers
        answers[0].close()

    def test_what_a_view_says_of_caches_stands(self, given: Given) -> None:
        """A view's own Vary and Cache-Control are merged and kept (L18), where nothing else was due as well."""
        clock = FakeClock()
        given({"store": MemoryStore(), "clock": clock})
        client = Client()
        client.post("/login")
        clock.advance(seconds=1)
        for _ in range(2):  # the first is recorded, nothing is due for the second
            answer = client.get("/kept")
            assert (answer.headers["Vary"], answer.headers["Cache-Control"]) == ("Accept, Cookie", "no-store")
        plain = client.get("/plain")
        assert (plain.headers["Vary"], plain.headers["Cache-Control"]) == ("Cookie", "private, no-cache")

    def test_what_no_view_answers_is_judged_all_the_same(self, given: Given) -> None:
        """A 404 and another middleware's answer are replaced for strangers, and sent to whoever is signed in."""
        given(MIDDLEWARE=[OURS, BLOCKING])
        client = Client()
        answers = [client.get("/nowhere"), client.get("/from-a-middleware")]
        assert [a.status_code for a in answers] == [401, 401]
        assert b"secret" not in answers[1].content
        client.post("/login")
        assert statuses(client, "/nowhere", "/from-a-middleware") == [404, 200]

    def test_a_view_that_another_middleware_guarded_is_judged_by_its_own_markers(self, given: Given) -> None:
        """Django's CSRF check answers before we are asked; an optional view's 403 stays what it is."""
        given(MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware", OURS])
        client = Client(enforce_csrf_checks=True)
        assert client.post("/login").status_code == 403
        assert client.post("/plain").status_code == 401


class TestAnswersFromACache:
    """What a cache answers in a view's place is judged by the view's own markers (L21), under WSGI and ASGI."""

    UPDATE = "django.middleware.cache.UpdateCacheMiddleware"
    FETCH = "django.middleware.cache.FetchFromCacheMiddleware"

    @pytest.fixture(autouse=True)
    def empty(self) -> Iterator[None]:
        cache.clear()
        yield
        cache.clear()

    def twice(self, target: str) -> list[list[Any]]:
        """Return what strangers are answered, twice on either kind of server."""

        async def under_asgi() -> list[Any]:
            cache.clear()
            return [await AsyncClient().get(target) for _ in range(2)]

        return [
            [(answer.status_code, answer.content) for answer in answers]
            for answers in ([Client().get(target) for _ in range(2)], asyncio.run(under_asgi()))
        ]

    def test_an_open_view_stays_open(self, given: Given) -> None:
        """Exempt, optional, class-based; by the URLconf that a middleware had chosen, too."""
        given(MIDDLEWARE=[self.UPDATE, OURS, self.FETCH], ROOT_URLCONF=__name__)
        for kind in ("exempt", "optional", "class"):
            for first, second in self.twice(f"/counted/{kind}"):
                assert (first[0], second) == (200, first), kind  # the view has not run again
        given(MIDDLEWARE=[self.UPDATE, OURS, f"{__name__}.ElsewhereMiddleware", self.FETCH])
        for first, second in self.twice("/counted/exempt"):
            assert (first[0], second) == (200, first)

    def test_a_login_not_required_view_stays_open(self, given: Given) -> None:
        """As it is with contrib.auth, where every other view is closed."""
        given(
            {"store": MemoryStore(), "default_policy": "required"},
            MIDDLEWARE=[self.UPDATE, SESSIONS, AUTH, OURS, self.FETCH],
            ROOT_URLCONF=__name__,
        )
        for first, second in self.twice("/counted/not-required"):
            assert (first[0], second) == (200, first)

    def test_a_required_view_stays_closed(self, given: Given) -> None:
        """What it answered to whoever is signed in is for nobody else, though the cache would give it to all."""
        given(MIDDLEWARE=[OURS, self.UPDATE, self.FETCH], ROOT_URLCONF=__name__)

        async def under_asgi() -> list[Any]:
            cache.clear()
            member = AsyncClient()
            await member.post("/sign-in")
            return [await client.get("/counted/required") for client in (member, AsyncClient(), member)]

        member = Client()
        member.post("/sign-in")
        under_wsgi = [client.get("/counted/required") for client in (member, Client(), member)]
        for first, stranger, again in (under_wsgi, asyncio.run(under_asgi())):
            assert (first.status_code, again.content) == (200, first.content)  # it is the cache that answers
            assert (stranger.status_code, first.content in stranger.content) == (401, False)

    def test_where_no_view_can_be_found_the_strictest_rule_holds(self, given: Given) -> None:
        """No route, or one whose converter raises: strangers are told the same of both."""
        given(ROOT_URLCONF=__name__)
        for target in ("/nowhere", "/raising/1"):
            for answers in self.twice(target):
                assert [status for status, _ in answers] == [401, 401], target


class TestResponses:
    """Where a response starts."""

    def test_streams(self, given: Given) -> None:
        """A streamed response has started when the middleware has seen it."""
        client = Client()
        client.post("/login")
        answer = client.get("/stream")
        assert (b"".join(answer.streaming_content), answer.headers["Cache-Control"]) == (
            b"too late",
            "private, no-cache",
        )

    def test_a_404_raised_after_a_login_signs_nobody_in(self, given: Given) -> None:
        """Any exception is not an answer (L25), those that Django has pages for included."""
        client = Client()
        answer = client.post("/missing")
        assert (answer.status_code, dict(answer.cookies)) == (404, {})
        assert sessions().list("alice") == []

    @pytest.mark.parametrize("within", [True, False])
    def test_an_exception_that_another_middleware_answers_signs_nobody_in(self, within: bool, given: Given) -> None:
        """A middleware inside ours is asked before us what it makes of an exception; that is no login either (L25)."""
        given(MIDDLEWARE=[OURS, ANSWERING] if within else [ANSWERING, OURS])
        answer = Client().post("/missing")
        assert (answer.status_code, dict(answer.cookies)) == (200, {})
        assert sessions().list("alice") == []

    def test_the_same_on_the_loop(self, given: Given) -> None:
        """Under ASGI the middlewares are asked in a thread."""
        given(MIDDLEWARE=[OURS, ANSWERING])
        answer = asyncio.run(AsyncClient().post("/missing"))
        assert (answer.status_code, dict(answer.cookies)) == (200, {})

    def test_exceptions_are_noted_in_one_place_however_often_a_project_is_set_up(self, given: Given) -> None:
        """Each of a project's tests may load its middlewares anew; one place around the other would be ever deeper calls."""
        Client().post("/missing")
        noted = BaseHandler.process_exception_by_middleware
        given()
        Client().post("/missing")
        assert BaseHandler.process_exception_by_middleware is noted

    def test_claims_and_data_of_a_view_that_fails_are_not_saved(self, given: Given) -> None:
        """L25: as on every other framework; a 404 is an answer that the view chose, with what it wrote before."""
        given(ROOT_URLCONF=__name__)
        client = Client(raise_request_exception=False)
        client.post("/sign-in")
        assert client.get("/write-then/RuntimeError").status_code == 500
        assert client.get("/written").json() == [{}, {}]
        assert client.get("/write-then/Http404").status_code == 404
        assert client.get("/written").json() == [{"half": 1}, {"half": 2}]

    def test_cookies_survive_pickling(self) -> None:
        """Caches pickle responses."""
        line = "__Host-session=v; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=None; Partitioned"
        cookie = pickle.loads(pickle.dumps(RawCookie(line)))
        assert cookie.output() == f"Set-Cookie: {line}"
        assert (cookie.key, cookie.value, cookie["max-age"], cookie["secure"]) == ("__Host-session", "v", "60", True)

    def test_our_endpoints_need_no_route(self, given: Given) -> None:
        """Status, logout with its cookies, and what is not there."""
        client = Client(headers={"sec-fetch-site": "same-origin"})
        client.post("/login")
        assert client.get("/session/status").json()["authenticated"] is True
        assert client.post("/session/continue", {"minutes": 10}, content_type="application/json").status_code == 200
        assert client.post("/session/continue", b"x" * 70_000, content_type="application/json").status_code == 413
        assert client.post("/session/logout").cookies["__Host-session"]["max-age"] == "0"
        assert client.get("/session/status").json()["authenticated"] is False
        assert client.get("/session/nothing").status_code == 404

    def test_propagated_exceptions_end_what_was_begun(self, given: Given) -> None:
        """Under DEBUG_PROPAGATE_EXCEPTIONS there is no response at all."""
        given(DEBUG_PROPAGATE_EXCEPTIONS=True, ROOT_URLCONF=__name__)
        with pytest.raises(RuntimeError, match="as asked"):
            Client().post("/login-then-fail")
        assert sessions().list("alice") == []


class TestAccessors:
    """`session_from` and `asession_from`, each in its place."""

    def test_the_wrong_one_names_the_right_one(self, given: Given) -> None:
        """At the call, under WSGI."""
        with pytest.raises(SessionNotAttached, match=r"asession_from\(request\) here"):
            Client().get("/wrong-in-async")
        with pytest.raises(SessionNotAttached, match=r": write session_from\(request\) here"):
            Client().get("/wrong-in-blocking")

    def test_the_wrong_one_names_the_right_one_under_asgi(self, given: Given) -> None:
        """At the call, under ASGI."""

        async def both() -> None:
            with pytest.raises(SessionNotAttached, match=r"asession_from\(request\) here"):
                await AsyncClient().get("/wrong-in-async")
            with pytest.raises(SessionNotAttached, match=r": write session_from\(request\) here"):
                await AsyncClient().get("/wrong-in-blocking")
            with pytest.raises(SessionNotAttached, match=r"asessions\(\) here"):
                sessions()

        asyncio.run(both())

    def test_a_request_that_did_not_pass(self, given: Given) -> None:
        """Says what is missing."""
        with pytest.raises(SessionNotAttached, match="Add 'session_middleware"):
            session_from(RequestFactory().get("/"))

    def test_both_kinds_of_views_on_both_kinds_of_servers(self, given: Given) -> None:
        """One session, whoever looks at it."""

        async def under_asgi() -> list[Any]:
            client = AsyncClient()
            return [
                (await client.post("/alogin")).json(),
                (await client.get("/plain")).json(),
                (await client.post("/login")).json(),
                (await client.get("/aplain")).json(),
                len(await asessions().list("alice")),
            ]

        client = Client()
        under_wsgi = [
            client.post("/alogin").json(),
            client.get("/plain").json(),
            client.post("/login").json(),
            client.get("/aplain").json(),
            len(sessions().list("alice")),
        ]
        alice = {"subject": "alice"}
        assert under_wsgi == [alice, alice, alice, alice, 1]
        assert asyncio.run(under_asgi()) == [alice, alice, alice, alice, 2]

    def test_under_asgi_with_a_blocking_middleware_inside(self, given: Given) -> None:
        """Django then runs our middleware in a thread, and asynchronous views on the loop; the session is one."""
        given(MIDDLEWARE=[OURS, BLOCKING])

        async def life() -> list[Any]:
            client, here = AsyncClient(), {"sec-fetch-site": "same-origin"}
            strangers = [(await client.get(path)).status_code for path in ("/plain", "/aplain", "/nowhere")]
            await client.post("/alogin")
            views = [(await client.get(path)).json()["subject"] for path in ("/plain", "/aplain")]
            return [*strangers, *views, (await client.post("/session/logout", headers=here)).status_code]

        assert asyncio.run(life()) == [401, 401, 401, "alice", "alice", 204]


class TestThreads:
    """No thread hop of ours under ASGI."""

    def hops(self, monkeypatch: pytest.MonkeyPatch, *targets: str) -> list[int]:
        counted = [0]
        sync_to_async, to_thread = asgiref.sync.SyncToAsync.__call__, asyncio.to_thread

        async def hop(self: Any, *args: Any, **kwargs: Any) -> Any:
            counted[0] += 1
            return await sync_to_async(self, *args, **kwargs)

        async def thread(*args: Any, **kwargs: Any) -> Any:
            counted[0] += 1
            return await to_thread(*args, **kwargs)

        async def ask() -> list[int]:
            client, seen = AsyncClient(), []
            for target in targets:
                counted[0] = 0
                answer = await (client.post if target == "/alogin" else client.get)(target)
                assert answer.status_code == 200
                seen.append(counted[0])
            return seen

        with monkeypatch.context() as patch:
            patch.setattr(asgiref.sync.SyncToAsync, "__call__", hop)
            patch.setattr(asyncio, "to_thread", thread)
            return asyncio.run(ask())

    def test_as_many_as_without_us(self, given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
        """Login, a quiet request, one that writes: each as many hops as the bare app, which has one of Django's own."""
        clock, store = FakeClock(), WatchedStore(MemoryStore())
        given({"store": store, "clock": clock}, ROOT_URLCONF=__name__, MIDDLEWARE=[])
        bare = self.hops(monkeypatch, "/abare", "/abare", "/abare")
        given({"store": store, "clock": clock})
        ours = self.hops(monkeypatch, "/alogin", "/aplain", "/astream")
        assert ours[:2] == bare[:2]
        assert store.calls["create"] == 1


class TestChecks:
    """What is misplaced is said before a request meets it."""

    def ids(self) -> list[str]:
        return [message.id for message in check_project()]

    def test_nothing_to_say(self, given: Given) -> None:
        """In a project that is right, with and without contrib.auth."""
        assert self.ids() == []
        given(MIDDLEWARE=[SESSIONS, AUTH, OURS])
        assert self.ids() == []

    def test_before_contrib_auth(self, given: Given) -> None:
        """Django's user would be signed in whatever we say: an error, and no server starts."""
        given(MIDDLEWARE=[OURS, SESSIONS, AUTH])
        assert self.ids() == ["session_middleware.E001"]
        with pytest.raises(ImproperlyConfigured, match="directly after"):
            Client().get("/plain")

    def test_twice(self, given: Given) -> None:
        """Each request would be judged by both: an error, and no server starts, with and without contrib.auth."""
        for stack in ([SESSIONS, AUTH, OURS, OURS], [OURS, OURS]):
            given(MIDDLEWARE=stack)
            assert self.ids() == ["session_middleware.E005"]
            with pytest.raises(ImproperlyConfigured, match="more than once"):
                Client().get("/plain")

    def test_order(self, given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
        """Something in between; CORS headers inside, not outside; not there at all."""
        cors = ModuleType("corsheaders.middleware")
        monkeypatch.setattr(cors, "CorsMiddleware", type("CorsMiddleware", (), {}), raising=False)
        monkeypatch.setitem(sys.modules, "corsheaders", ModuleType("corsheaders"))
        monkeypatch.setitem(sys.modules, "corsheaders.middleware", cors)
        given(MIDDLEWARE=[SESSIONS, AUTH, OURS, "corsheaders.middleware.CorsMiddleware"])
        assert self.ids() == ["session_middleware.W004"]
        given(MIDDLEWARE=["corsheaders.middleware.CorsMiddleware", SESSIONS, AUTH, OURS])
        assert self.ids() == []
        given(MIDDLEWARE=[SESSIONS, AUTH, BLOCKING, OURS])
        assert self.ids() == ["session_middleware.W001"]
        given(MIDDLEWARE=[SESSIONS, AUTH])
        assert self.ids() == ["session_middleware.W005"]

    def test_routes(self, given: Given) -> None:
        """A route under our prefix, a marker that a decorator hides; views that hold anything else are in order."""
        given(ROOT_URLCONF=__name__)
        assert self.ids() == ["session_middleware.W002", *["session_middleware.W003"] * 7]
        said = {each.msg.split("'")[1]: each.msg for each in check_project()}
        assert said["/hidden-required/action"].endswith("only what it forbids is applied.")
        assert said["/chooses"].endswith("nothing of it is applied here, as the marked view has a route of its own.")

    def test_one_cookie_name_for_two(self, given: Given) -> None:
        """Each would overwrite the other."""
        given({"store": MemoryStore(), "insecure_dev": True, "cookie_name": "sessionid"})
        assert self.ids() == ["session_middleware.E003"]


# --- routes that only this file needs --------------------------------------------------------------------------------


@session_optional
def login_then_fail(request: HttpRequest) -> HttpResponse:
    session_from(request).login("alice")
    raise RuntimeError("as asked")


def write_then(request: HttpRequest, fault: str) -> HttpResponse:
    session = session_from(request)
    session.update_claims(half=1)
    session.data["half"] = 2
    raise {"Http404": Http404, "RuntimeError": RuntimeError}[fault]


def written(request: HttpRequest) -> HttpResponse:
    session = session_from(request)
    return JsonResponse([dict(session.claims), session.data], safe=False)


async def abare(request: HttpRequest) -> HttpResponse:
    return HttpResponse("bare")


@session_required
def marked(request: HttpRequest) -> HttpResponse:
    return HttpResponse("marked")


def counted(request: HttpRequest, kind: str) -> HttpResponse:
    """Answer otherwise each time."""
    return HttpResponse(f"{kind} {next(numbers)}")


class Counted(View):
    """A class-based view, open to GET alone."""

    @session_exempt
    def get(self, request: HttpRequest) -> HttpResponse:
        return counted(request, "class")


def hiding(method: Callable[..., HttpResponse]) -> Any:
    def inner(*given: Any, **named: Any) -> HttpResponse:
        return method(*given, **named)

    return inner


class HidesGet(View):
    @hiding
    @session_required
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("get")

    def post(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("post")


class HidesDispatch(View):
    @hiding
    @session_required
    def dispatch(self, request: HttpRequest) -> HttpResponse:  # type: ignore[override]
        return HttpResponse("dispatched")


def own_urlconf(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        request.urlconf = __name__
        return get_response(request)

    return middleware


class HidesAction:
    """A view set as REST framework has them: it says by what method it answers."""

    http_method_names = ("get",)

    @hiding
    @session_required
    def listed(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("listed")


def of_view_set(request: HttpRequest) -> HttpResponse:
    return HttpResponse("listed")


of_view_set.cls = HidesAction  # type: ignore[attr-defined]  # as REST framework does
of_view_set.actions = {"get": "listed"}  # type: ignore[attr-defined]  # as above


def with_a_class(request: HttpRequest) -> HttpResponse:
    return HttpResponse("open")


with_a_class.cls = object  # type: ignore[attr-defined]  # somebody else's, which says nothing of methods

closed = session_required(lambda request: HttpResponse("closed"))


def marked_as(marker: Callable[[Any], Any], kind: str) -> Any:
    return marker(lambda request: counted(request, kind))


class Raising:
    """A converter of a path that asks a database, say."""

    regex = "[0-9]"

    def to_python(self, value: str) -> str:
        raise Http404

    def to_url(self, value: str) -> str:
        return value


register_converter(Raising, "raising")

numbers = itertools.count()


@session_optional
def sign_in(request: HttpRequest) -> HttpResponse:
    session_from(request).login("alice")
    return HttpResponse("in")


def sign_in_here(request: HttpRequest) -> HttpResponse:
    return HttpResponse("sign in here")


class Desk:
    """Has its views registered one by one, wrapped as `ModelAdmin.get_urls` does it."""

    def wrapped(self, name: str = "page") -> Callable[..., HttpResponse]:
        view: Callable[..., HttpResponse] = getattr(self, name)

        @functools.wraps(view)
        def wrapper(request: HttpRequest) -> HttpResponse:
            return view(request)

        return wrapper

    def page(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("page")

    @no_touch
    def poll(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("poll")


@session_required
class ClosedDesk(Desk):
    """Closed as a whole."""


@session_optional
class OpenDesk(Desk):
    """Open as a whole."""


urlpatterns = [
    path("class-of-method/closed", ClosedDesk().wrapped()),
    path("class-of-method/closed-poll", ClosedDesk().wrapped("poll")),
    path("class-of-method/open", OpenDesk().wrapped()),
    path("counted/exempt", marked_as(session_exempt, "exempt")),
    path("counted/optional", marked_as(session_optional, "optional")),
    path("counted/required", marked_as(session_required, "required")),
    path("counted/not-required", marked_as(login_not_required, "not required")),
    path("counted/class", Counted.as_view()),
    path("raising/<raising:key>", counted),
    path("sign-in", sign_in),
    path("вход/", sign_in_here),
    path("log in/", sign_in_here),
    path("здесь", sign_in_here, name="sign-in-here"),
    path("marked", marked),
    path("login-then-fail", login_then_fail),
    path("abare", abare),
    path("session/mine", abare),
    path("write-then/<fault>", write_then),
    path("written", written),
    path("hidden", unwrapped(marked)),
    path("hidden-required/function", unwrapped(session_required(lambda request: HttpResponse("function")))),
    path("hidden-required/action", of_view_set),
    path("with-a-class", with_a_class),
    path("closed", closed),
    path("chooses", unwrapped(closed)),
    path("hidden-required/get", HidesGet.as_view()),
    path("hidden-required/dispatch", HidesDispatch.as_view()),
    path("hidden-deeper", unwrapped(HandsOn(marked))),
    *(path(f"holds/{name}", unwrapped(held)) for name, held in HELD.items()),
]
