"""The testing kit itself: the clock, the browser, the contracts as users inherit them, the pytest plugin."""

from __future__ import annotations

import asyncio
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from werkzeug.middleware.proxy_fix import ProxyFix

import session_middleware.testing
from session_middleware import LocalAuthority, Settings
from session_middleware.adapters.flask import SessionLifetime
from session_middleware.authorities.base import NOTHING_SHOWN, Alive, Authority, Shown, Vouch
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SessionNotAttached
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing import AdapterContract, AuthorityContract, FakeClock, SignIn
from session_middleware.testing.browser import Answer, Browser
from session_middleware.testing.cookie_jar import CookieJar
from session_middleware.testing.driven import Driven
from session_middleware.testing.reference_record import reference_record
from session_middleware.testing.stage import KEY
from session_middleware.testing.watched_store import StoreDown, WatchedStore
from tests.fresh_python import printed_by
from tests.modes import asgi_mode, flask_mode, wsgi_mode

ORIGIN = "https://app.example"


class TestFakeClock:
    """A clock that moves only when it is told to."""

    def test_it_stands_still(self) -> None:
        """Reading it does not move it."""
        clock = FakeClock(1000.0)
        assert [clock(), clock()] == [1000.0, 1000.0]

    def test_it_advances(self) -> None:
        """Every unit counts, and the new instant comes back."""
        clock = FakeClock(0.0)
        assert clock.advance(1, minutes=1, hours=1, days=1) == 1 + 60 + 3_600 + 86_400
        assert clock() == 90_061.0

    @pytest.mark.parametrize("step", [-1, float("nan"), float("inf")])
    def test_it_does_not_go_back_by_mistake(self, step: float) -> None:
        """advance() refuses what is no step forward, and leaves the time."""
        clock = FakeClock(1000.0)
        with pytest.raises(ValueError, match="goes forward"):
            clock.advance(step)
        assert clock() == 1000.0

    def test_it_goes_back_when_asked(self) -> None:
        """set() takes any instant, in seconds or as an aware datetime."""
        clock = FakeClock(1000.0)
        assert clock.set(500) == clock() == 500.0
        assert clock.set(datetime(2027, 1, 15, 8, tzinfo=UTC)) == 1_800_000_000.0 == FakeClock()()

    @pytest.mark.parametrize("instant", [datetime(2027, 1, 15), float("nan")])  # that is the point
    def test_it_refuses_what_is_no_instant(self, instant: Any) -> None:
        """A datetime without a time zone would mean another instant on every machine."""
        with pytest.raises(ValueError, match="aware datetime"):
            FakeClock(instant)

    def test_threads_may_move_it(self) -> None:
        """No step of several threads is lost."""
        clock = FakeClock(0.0)
        threads = [threading.Thread(target=lambda: [clock.advance(1) for _ in range(500)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert clock() == 4000.0


class TestCookieJar:
    """A browser's storage, held to RFC 6265bis."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def jar(self, clock: FakeClock) -> CookieJar:
        return CookieJar(clock)

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("__Host-a=1; Path=/", "the prefix asks for Secure"),
            ("__host-a=1; Path=/", "the prefix asks for Secure"),
            ("__Secure-a=1", "the prefix asks for Secure"),
            ("__Host-a=1; Secure", "__Host- asks for Path=/ and no Domain"),
            ("__Host-a=1; Secure; Path=/x", "__Host- asks for Path=/ and no Domain"),
            ("__Host-a=1; Secure; Path=/; Domain=app.example", "__Host- asks for Path=/ and no Domain"),
            ("a=1; Domain=evil.test", "app.example may not set it for evil.test"),
            ("a=1; Partitioned", "Partitioned asks for Secure"),
            ("a=1; SameSite=None", "SameSite=None asks for Secure"),
            ("a=" + "x" * 4096, "over 4096 bytes"),
            ("a=1\x01", "a control character"),
            ("=1", "no name"),
            ("a", "no name"),
        ],
    )
    def test_what_a_browser_drops(self, jar: CookieJar, line: str, why: str) -> None:
        """Each of these is not stored, and the jar says why."""
        jar.take([line], ORIGIN, "/")
        assert jar.names == set()
        assert jar.dropped == [f"{line.partition('=')[0]}: {why}"]

    def test_secure_only_where_it_is_secure(self, jar: CookieJar) -> None:
        """Secure cookies are set and sent over https and on this machine alone."""
        jar.take(["a=1; Secure"], "http://app.example", "/")
        assert jar.dropped == ["a: Secure over plain http"]
        jar.take(["b=1; Secure"], ORIGIN, "/")
        assert jar.header_for(ORIGIN, "/") == "b=1"
        assert jar.header_for("http://app.example", "/") == ""
        jar.take(["c=1; Secure"], "http://localhost:8000", "/")
        assert jar.header_for("http://localhost:8000", "/") == "c=1"

    def test_when_it_is_over(self, jar: CookieJar, clock: FakeClock) -> None:
        """Max-Age wins over Expires, is capped at 400 days, and zero or less removes."""
        jar.take(["a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], ORIGIN, "/")
        clock.advance(59)
        assert "a" in jar
        clock.advance(1)
        assert "a" not in jar
        jar.take([f"b=1; Max-Age={10**9}", "c=1; Expires=Fri, 15 Jan 2027 08:02:00 GMT"], ORIGIN, "/")
        assert jar.cookie("b").expires == clock() + 400 * 86_400
        assert jar.cookie("c").expires == FakeClock()() + 120
        jar.take(["b=; Max-Age=0", "c=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], ORIGIN, "/")
        assert jar.names == set()

    def test_only_the_same_cookie_is_removed(self, jar: CookieJar) -> None:
        """A deletion with another Path leaves the cookie: the mistake that makes a logout do nothing."""
        jar.take(["a=1; Path=/"], ORIGIN, "/account/x")
        jar.take(["a=; Max-Age=0; Path=/account"], ORIGIN, "/account/x")
        assert jar["a"] == "1"

    def test_where_it_is_sent(self, jar: CookieJar) -> None:
        """Path and Domain match as the standard says, the longer path first."""
        jar.take(["a=1; Path=/", "b=2; Path=/shop", "c=3"], ORIGIN, "/shop/cart")
        assert jar.header_for(ORIGIN, "/shop/x") == "b=2; c=3; a=1"
        assert jar.header_for(ORIGIN, "/shopping") == "a=1"
        assert jar.header_for("https://www.app.example", "/") == ""
        jar.take(["d=4; Domain=.app.example; Path=/"], ORIGIN, "/")
        assert jar.header_for("https://www.app.example", "/") == "d=4"

    def test_closing_the_browser(self, jar: CookieJar) -> None:
        """Cookies without an end are gone, the others stay."""
        jar.take(["a=1", "b=1; Max-Age=60"], ORIGIN, "/")
        jar.drop_session_cookies()
        assert jar.names == {"b"}

    def test_one_name_set_twice(self, jar: CookieJar) -> None:
        """It is a fault of the server, and not a matter of taste."""
        with pytest.raises(AssertionError, match="sets a cookie twice"):
            jar.take(["a=1", "a=2; Path=/x"], ORIGIN, "/")


class Echo:
    """A driver that keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, str]]] = []

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        self.sent.append((method, target, dict(headers)))
        return Answer(200, [("Set-Cookie", "a=1")])

    def close(self) -> None:
        pass


class TestBrowser:
    """It sends what browsers send."""

    @pytest.mark.parametrize(
        ("act", "expected"),
        [
            (lambda b: b.navigate("/x"), ("GET", "none", "navigate", None, None)),
            (lambda b: b.fetch("/x"), ("GET", "same-origin", "cors", None, ORIGIN + "/")),
            (lambda b: b.fetch("/x", "DELETE"), ("DELETE", "same-origin", "cors", ORIGIN, ORIGIN + "/")),
            (
                lambda b: b.submit("/x", page="/form"),
                ("POST", "same-origin", "navigate", ORIGIN, ORIGIN + "/form"),
            ),
            (
                lambda b: b.submit("/x", site="cross-site"),
                ("POST", "cross-site", "navigate", "https://elsewhere.test", "https://elsewhere.test/"),
            ),
            (lambda b: b.plain("/x", "POST"), ("POST", None, None, None, None)),
        ],
        ids=["navigate", "fetch", "delete", "submit", "cross-site", "plain"],
    )
    def test_headers(self, act: Any, expected: tuple[Any, ...]) -> None:
        """Method, Sec-Fetch-Site and -Mode, Origin and Referer of each kind of request."""
        driver = Echo()
        act(Browser(driver, FakeClock()))
        method, _, headers = driver.sent[0]
        names = ("Sec-Fetch-Site", "Sec-Fetch-Mode", "Origin", "Referer")
        assert (method, *(headers.get(name) for name in names)) == expected
        assert headers["Host"] == "app.example"

    def test_cookies(self) -> None:
        """What a response sets goes with the next request, and a twin goes its own way."""
        driver = Echo()
        browser = Browser(driver, FakeClock())
        browser.navigate("/")
        twin = browser.twin()
        twin.navigate("/")
        assert driver.sent[1][2]["Cookie"] == "a=1"
        twin.jar.forget()
        assert browser.jar.names == {"a"}

    def test_no_fetch_metadata_on_plain_http(self) -> None:
        """Browsers send it to trustworthy origins only."""
        driver = Echo()
        Browser(driver, FakeClock(), origin="http://app.example").navigate("/")
        Browser(driver, FakeClock(), origin="http://localhost:8000").navigate("/")
        assert ["Sec-Fetch-Mode" in headers for _, _, headers in driver.sent] == [False, True]


class TestWatchedStore:
    """It has the powers of the store behind it, and no others."""

    def test_powers(self) -> None:
        """Optional powers are seen by isinstance, as the engine asks."""
        from session_middleware.stores.base import AddsOnce, Recognises

        class Plain:
            def load(self, key: bytes) -> None:
                return None

        assert isinstance(WatchedStore(MemoryStore()), Recognises)
        assert isinstance(WatchedStore(MemoryStore()), AddsOnce)
        assert not isinstance(WatchedStore(Plain()), Recognises)

    def test_down_and_back(self) -> None:
        """Calls fail while it is down, and are counted all the same."""
        store: Any = WatchedStore(MemoryStore())
        store.go_down(writes=False)
        with pytest.raises(StoreDown):
            store.load(b"x")
        assert store.end(b"x", "revoked", 0.0, 1.0) is False
        store.come_back()
        assert store.load(b"x") is None
        assert (store.calls["load"], store.writes, store.total) == (2, 1, 3)

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_interruptions(self, asynchronous: bool) -> None:
        """Another process acts just before the call that was named, once."""
        heard: list[str] = []

        class Blocking:
            def load(self, key: bytes) -> str:
                heard.append(key.decode())
                return key.decode()

        class Awaited:
            async def load(self, key: bytes) -> str:
                return Blocking().load(key)

        def meanwhile() -> Any:
            answer = yield "load", b"theirs"
            heard.append(f"got {answer}")

        store: Any = WatchedStore(Awaited() if asynchronous else Blocking())
        store.interrupt("load", meanwhile, skip=1)
        for key in (b"1", b"2", b"3"):
            if asynchronous:
                asyncio.run(store.load(key))
            else:
                store.load(key)
        assert heard == ["1", "theirs", "got theirs", "2", "3"]


class TestLocalAuthority(AuthorityContract):
    """The authority that comes with the package keeps the contract, with a plain hook and with an awaited one."""

    @pytest.fixture(params=["plain", "blocking", "awaited"])
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def authority(self, kind: str) -> LocalAuthority:
        return local(kind, lambda record: record.subject != "mallory")

    @pytest.fixture
    def gone(self, alive: SessionRecord) -> SessionRecord:
        return alive.evolve(subject="mallory")

    @pytest.fixture
    def cut_off(self, kind: str) -> LocalAuthority:
        return local(kind, lambda record: bool(1 / 0))


def local(kind: str, verify: Any) -> LocalAuthority:
    if kind == "awaited":

        async def awaited(record: SessionRecord) -> bool:
            await asyncio.sleep(0)
            return bool(verify(record))

        return LocalAuthority(verify=awaited)
    return LocalAuthority(verify=verify, blocking=kind == "blocking")


class TestAuthorityContract:
    """The contract catches what it is there to catch."""

    class Wrong:
        """An authority that takes silence for a logout."""

        name = "wrong"
        verify_interval: float | None = 0.0

        async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
            return Vouch(Alive.GONE)

    def test_silence_taken_for_a_logout(self) -> None:
        """The rule most often broken: a provider that does not answer must log nobody out (L17)."""
        contract, record = AuthorityContract(), reference_record(0)
        wrong: Authority = self.Wrong()
        for promise in (
            contract.test_not_knowing_is_no_logout,
            contract.test_nobody_is_logged_out_by_a_fault,
            contract.test_it_vouches_for_who_is_there,
            contract.test_who_is_there_is_let_in,
        ):
            with pytest.raises(AssertionError):
                promise(wrong, record, lambda _: NOTHING_SHOWN)


@pytest.mark.parametrize("on_loop", [False, True])
def test_a_store_without_a_method_is_named(on_loop: bool) -> None:
    """Whoever tests a store of their own is told what it lacks, by itself and among calls side by side."""
    store = Driven(object(), on_loop=on_loop)
    with pytest.raises(AttributeError, match="object has no method renew"):
        store.renew(b"key", 1, 2, 3.0)
    with pytest.raises(AttributeError, match="object has no method end"):
        store.together(("end", b"key", "logout", 1.0, 2.0))
    store.finish()


# --- signed_in -----------------------------------------------------------------------------------------------------------


def settings(**more: Any) -> Settings:
    return Settings(secret_keys=[KEY], inactivity_timeout=900, default_policy="required", **more)


class Around:
    """An ASGI middleware as most are."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class TestSignedIn:
    """A client of an app's own tests, in every framework."""

    @pytest.fixture(params=["memory", "sqlite"])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        if request.param == "memory":
            yield MemoryStore()
        else:
            store = SQLiteStore(tmp_path / "sessions.db")
            yield store
            store.close()

    def test_flask(self, signed_in: SignIn, session_clock: FakeClock, store: Any) -> None:
        """A Flask app gives its test client; the session lives by the app's rules and clock."""
        from flask import Flask

        from session_middleware.adapters.flask import SessionLifetime, session_from

        app = Flask("shop")
        SessionLifetime(app, settings(), store, clock=session_clock)

        @app.route("/", methods=["GET", "POST"])
        def page() -> dict[str, Any]:
            session = session_from()
            return {"subject": session.subject, "claims": dict(session.claims)}

        client = signed_in(app, "alice", claims={"role": "editor"})
        assert client.get("/").json == {"subject": "alice", "claims": {"role": "editor"}}
        session_clock.advance(600)
        assert client.post("/session/continue").status_code == 200
        session_clock.advance(600)
        assert client.get("/").status_code == 200
        session_clock.advance(945)
        assert client.get("/").status_code == 401
        assert signed_in(app, "bob").get("/").json["subject"] == "bob"
        assert app.test_client().get("/").status_code == 401

    def test_flask_login(self, signed_in: SignIn, session_clock: FakeClock) -> None:
        """With Flask-Login bridged, current_user is who signed in, and only that (L23)."""
        import flask_login
        from flask import Flask

        from session_middleware.adapters.flask import SessionLifetime

        class User(flask_login.UserMixin):
            def __init__(self, id: str) -> None:
                self.id = id

        app = Flask("shop")
        app.config["SECRET_KEY"] = KEY
        app.testing = True
        manager = flask_login.LoginManager(app)
        manager.user_loader(User)
        SessionLifetime(app, Settings(secret_keys=[KEY], inactivity_timeout=900), MemoryStore(), clock=session_clock)

        @app.get("/")
        @flask_login.login_required
        def page() -> str:
            return str(flask_login.current_user.id)

        for who in ("alice", User("alice")):
            client = signed_in(app, who)
            assert client.get("/").text == "alice"
            session_clock.advance(900)
            assert client.get("/").status_code == 401

    def test_starlette(self, signed_in: SignIn, session_clock: FakeClock, store: Any) -> None:
        """A Starlette app gives Starlette's TestClient, and renewed cookies replace the first ones."""
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.responses import JSONResponse
        from starlette.routing import Route

        from session_middleware.adapters.starlette import SessionLifetimeMiddleware, session_from

        async def page(request: Request) -> JSONResponse:
            return JSONResponse({"subject": session_from(request).subject})

        lifetime = Middleware(
            SessionLifetimeMiddleware, settings=settings(renewal_interval=600), store=store, clock=session_clock
        )
        app = Starlette(routes=[Route("/", page)], middleware=[lifetime])
        client = signed_in(app)
        for _ in range(3):
            assert client.get("/").json() == {"subject": "alice"}
            session_clock.advance(700)
        assert len(list(client.cookies.jar)) == 2
        assert client.post("/session/logout").status_code == 204
        assert client.get("/").status_code == 401

    def test_fastapi_in_an_async_test(self, signed_in: SignIn, store: Any) -> None:
        """A loop that runs already is no hindrance."""
        from fastapi import FastAPI

        from session_middleware.adapters.starlette import SessionLifetimeMiddleware, session_from

        app = FastAPI()
        app.add_middleware(SessionLifetimeMiddleware, settings=settings(), store=store)

        @app.get("/")
        async def page(request: Request) -> str | None:
            return session_from(request).subject

        async def test() -> Any:
            return signed_in(app, "alice")

        assert asyncio.run(test()).get("/").json() == "alice"

    def test_plain_asgi(self, signed_in: SignIn, session_clock: FakeClock, store: Any) -> None:
        """Any ASGI app behind our middleware."""
        client = signed_in(asgi_mode.wrapped(settings(), store, clock=session_clock), "alice", data={"cart": [1]})
        assert client.get("/me").json()["data"] == {"cart": [1]}

    def test_plain_wsgi(self, signed_in: SignIn, session_clock: FakeClock, store: Any) -> None:
        """Any WSGI app behind our middleware gives werkzeug's Client."""
        client = signed_in(wsgi_mode.wrapped(settings(), store, clock=session_clock), "alice")
        assert client.get("/me").json["subject"] == "alice"
        assert client.post("/session/logout").status_code == 204
        assert client.get("/me").status_code == 401

    def test_middlewares_around_ours(self, signed_in: SignIn, session_clock: FakeClock, store: Any) -> None:
        """What stands around the middleware says nothing of its own kind; our engine knows whether there is a loop."""
        blocking = ProxyFix(wsgi_mode.wrapped(settings(), store, clock=session_clock))
        assert signed_in(blocking, "alice").get("/me").json["subject"] == "alice"
        looping = Around(asgi_mode.wrapped(settings(), store, clock=session_clock))
        assert signed_in(looping, "alice").get("/me").json()["subject"] == "alice"
        flask = flask_mode.scenario_app()
        SessionLifetime(flask, settings(), store, clock=session_clock)
        assert signed_in(ProxyFix(flask.wsgi_app), "alice").get("/me").json["subject"] == "alice"

    def test_age(self, signed_in: SignIn, session_clock: FakeClock, store: Any) -> None:
        """`age` is the time since the login: such a session is not fresh, and ends with its lifetime (L3)."""
        app = asgi_mode.wrapped(settings(absolute_lifetime=28_800), store, clock=session_clock)
        old = signed_in(app, age=28_000)
        seen = old.get("/me").json()
        assert seen["authenticated_at"] == session_clock() - 28_000
        assert seen["absolute_deadline"] == seen["inactivity_deadline"] == session_clock() + 800
        assert old.get("/fresh").json()["reason"] == "fresh_login"
        assert signed_in(app).get("/fresh").status_code == 200
        session_clock.advance(800)
        assert old.get("/me").json()["reason"] == "lifetime"
        assert signed_in(app, age=28_800).get("/me").json()["reason"] == "lifetime"

    def test_idle(self, signed_in: SignIn, session_clock: FakeClock, store: Any) -> None:
        """`idle` is the time since the last activity: the session ends by its own rules (L5)."""
        app = asgi_mode.wrapped(settings(), store, clock=session_clock)
        seen = signed_in(app, age=3_600, idle=600).get("/poll").json()
        assert seen["inactivity_deadline"] == session_clock() - 600 + 945
        assert signed_in(app, idle=899).get("/poll").status_code == 200
        assert signed_in(app, idle=900).get("/poll").json()["reason"] == "inactivity"

    def test_an_app_without_sessions(self, signed_in: SignIn) -> None:
        """It says what is missing."""
        from flask import Flask
        from starlette.applications import Starlette

        with pytest.raises(SessionNotAttached, match="has no SessionLifetimeMiddleware"):
            signed_in(Starlette())
        with pytest.raises(SessionNotAttached, match=r"<Flask 'bare'>.* write SessionLifetime\(app\)"):
            signed_in(Flask("bare"))  # a middleware is what Flask's users do not have
        with pytest.raises(SessionNotAttached, match="is no app"):
            signed_in(42)

    def test_no_app_outside_a_django_project(self, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever forgot the app is told so, and not what Django misses."""
        from django.conf import LazySettings

        monkeypatch.setattr("django.conf.settings", LazySettings())
        monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
        with pytest.raises(SessionNotAttached, match=r"No app was given.*signed_in\(app, subject\)"):
            signed_in(subject="alice")


DJANGO_SUITE = """
import django, pytest
from django.conf import settings
from pathlib import Path

settings.configure(
    SECRET_KEY="a key for tests only: 0f6a1b2c3d4e5f60718293a4b5c6d7e8",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    SESSION_ENGINE="django.contrib.sessions.backends.%(backend)s",
    MIDDLEWARE=%(middleware)r,
    SESSION_LIFETIME={"store": "memory://", "inactivity_timeout": 900},
)
django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from session_middleware.adapters.django import asession_from, session_from

def page(request):
    return HttpResponse(f"{session_from(request).subject} {getattr(request, 'user', None)}")

urlpatterns = [path("", page)]
call_command("migrate", verbosity=0)
"""

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "session_middleware.adapters.django.SessionLifetimeMiddleware",
]


class TestPlugin:
    """The fixtures as an app's suite meets them."""

    @pytest.mark.parametrize("backend", ["db", "signed_cookies"])
    def test_django_with_users(self, pytester: pytest.Pytester, backend: str) -> None:
        """A user of contrib.auth is signed in with both sessions, on both kinds of client (L23)."""
        suite = DJANGO_SUITE % {"backend": backend, "middleware": MIDDLEWARE}
        pytester.makepyfile(
            suite
            + """
@pytest.fixture
def alice():
    return User.objects.get_or_create(username="alice")[0]

def test_client(signed_in, alice):
    client = signed_in(None, alice)
    assert client.get("/").content.decode() == f"{alice.pk} alice"
    assert signed_in(Client, alice, age=3600).get("/").content.decode() == f"{alice.pk} alice"
    assert signed_in(Client(), alice, idle=900).get("/").content.decode() == "None AnonymousUser"

def test_async_client(signed_in, alice):
    import asyncio
    client = signed_in(AsyncClient, alice)
    response = asyncio.run(client.get("/"))
    assert response.content.decode() == f"{alice.pk} alice"

def test_who_is_not_signed_in():
    assert Client().get("/").content.decode() == "None AnonymousUser"
"""
        )
        pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=3)

    def test_django_without_users(self, pytester: pytest.Pytester) -> None:
        """Without contrib.auth in the way, a subject is all there is."""
        suite = DJANGO_SUITE % {"backend": "db", "middleware": MIDDLEWARE[2:]}
        pytester.makepyfile(
            suite
            + """
def test_client(signed_in):
    assert signed_in(subject="alice").get("/").content.decode() == "alice None"
    assert Client().get("/").status_code == 401
"""
        )
        pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)

    def test_who_merely_has_it_installed(self, pytester: pytest.Pytester) -> None:
        """No fixture acts by itself, nothing warns, and nothing of ours but the plugin is imported."""
        pytester.makepyfile(
            """
import sys

def test_nothing():
    ours = {name for name in sys.modules if name.startswith("session_middleware")}
    assert ours == {"session_middleware", "session_middleware.testing", "session_middleware.testing.plugin"}
"""
        )
        result = pytester.runpytest_subprocess("-W", "error", "--strict-markers", "--setup-show")
        result.assert_outcomes(passed=1)
        result.stdout.no_fnmatch_line("*session_clock*")
        result.stdout.no_fnmatch_line("*warning*")

    def test_its_fixtures_are_found(self, pytester: pytest.Pytester) -> None:
        """`pytest --fixtures` explains them."""
        result = pytester.runpytest_subprocess("--fixtures")
        result.stdout.fnmatch_lines(["session_clock -- *", "signed_in -- *"])


def test_every_scenario_names_its_rules() -> None:
    """Each says in its docstring what it holds an adapter to, and together they cover every rule a browser can see."""
    scenarios = {
        name: getattr(AdapterContract, name).__doc__ or "" for name in dir(AdapterContract) if name[:5] == "test_"
    }
    assert [name for name, text in scenarios.items() if not re.search(r"\b(L\d+|RFC \d+)\b", text)] == []
    named = {int(number) for text in scenarios.values() for number in re.findall(r"\bL(\d+)\b", text)}
    # L1 is in all of them, L22 is about settings, L23 about bridged logins, L24 about providers.
    assert named >= set(range(2, 22)) | {25, 26, 27}


def test_importing_the_kit_is_cheap() -> None:
    """`session_middleware.testing` imports neither pytest nor hypothesis until a contract is asked for."""
    script = (
        "import sys, session_middleware.testing as t; t.FakeClock; print({'pytest', 'hypothesis'} & set(sys.modules))"
    )
    assert printed_by(script).strip() == "set()"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        session_middleware.testing.nothing  # noqa: B018  # that is the point
