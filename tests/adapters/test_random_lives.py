"""Random lives of two browsers in an app with a login of its own: it never knows more than we do (L23), nor keeps more (L26).

Who should be signed in is kept beside the app, by what a user and an operator know: who has logged in, out, been silent for
too long, been ended. Where somebody has meddled with the cookies it need not say yes any more, but must not say a wrong name.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import flask_login
import pytest
from flask import Flask, jsonify
from flask import session as flask_session
from flask_login import LoginManager, UserMixin, current_user
from werkzeug.test import Client

from tests.modes.django_settings import AUTH, OURS, SESSIONS, configure

configure()

from django.contrib.auth import login, logout  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.test.utils import override_settings  # noqa: E402
from django.urls import path  # noqa: E402

from session_middleware import Settings  # noqa: E402
from session_middleware.adapters import django as in_django  # noqa: E402
from session_middleware.adapters import flask as in_flask  # noqa: E402
from session_middleware.stores.memory import MemoryStore  # noqa: E402
from session_middleware.testing import FakeClock  # noqa: E402
from tests.adapters.bridged import TOKEN, database  # noqa: E402, F401
from tests.adapters.flask_wiki import HTTPS, KEY  # noqa: E402

SILENCE, AGE, STEPS = 900, 4 * 3600, 25
LIMITS: dict[str, Any] = {"inactivity_timeout": SILENCE, "absolute_lifetime": AGE, "renewal_interval": None}
BACKEND = "django.contrib.auth.backends.ModelBackend"


class World:
    """An app of one framework.

    Attributes:
        app: as a server runs it.
        clock: the app's.
        names: what users are called -> their subject.
        end_all: what an operator does.
        theirs: the framework's cookie.
    """

    def __init__(
        self, app: Any, clock: FakeClock, names: dict[str, str], end_all: Callable[[str], object], theirs: str
    ) -> None:
        self.app, self.clock, self.names, self.end_all, self.theirs = app, clock, names, end_all, theirs


# --- Django -----------------------------------------------------------------------------------------------------------


def _session_verb(session: Any, verb: str, subject: str) -> None:
    """Do what all views of both apps that call us do."""
    if verb == "in":
        session.login(subject)
    elif verb == "out":
        session.logout()
    elif session.is_active:
        session.end_others() if verb == "others" else session.step_up([{"type": "otp"}])


def who(request: HttpRequest) -> JsonResponse:
    user = str(request.user.pk) if request.user.is_authenticated else None
    return JsonResponse(
        {"user": user, "ours": in_django.session_from(request).subject, "note": request.session.get("note")}
    )


def note(request: HttpRequest) -> JsonResponse:
    request.session["note"] = str(request.user.pk) if request.user.is_authenticated else "nobody"
    return JsonResponse({})


def sign_in(request: HttpRequest, name: str, fails: bool = False) -> JsonResponse:
    login(request, User.objects.get(username=name), backend=BACKEND)
    if fails:
        raise LookupError(name)
    return JsonResponse({})


def sign_out(request: HttpRequest) -> JsonResponse:
    logout(request)
    return JsonResponse({})


def ours(request: HttpRequest, verb: str, name: str) -> JsonResponse:
    session = in_django.session_from(request)
    before = session.subject
    _session_verb(session, verb, str(User.objects.get(username=name).pk))
    return JsonResponse({"of": before})


urlpatterns = [
    path("who", who),
    path("note", note),
    path("in/<name>", sign_in),
    path("fails/<name>", sign_in, {"fails": True}),
    path("out", sign_out),
    path("ours/<verb>/<name>", ours),
]


@pytest.fixture(params=["signed_cookies", "cache"])
def django(request: pytest.FixtureRequest) -> Iterator[World]:
    """A project with contrib.auth, whose sessions live in a cookie, or on the server."""
    clock = FakeClock()
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[SESSIONS, AUTH, OURS],
        SESSION_ENGINE=f"django.contrib.sessions.backends.{request.param}",
        SESSION_LIFETIME={"store": MemoryStore(), "clock": clock, **LIMITS},
        ALLOWED_HOSTS=["*"],
        DEBUG_PROPAGATE_EXCEPTIONS=False,
    ):
        people = [User.objects.create(username=name) for name in ("alice", "bob")]
        subjects = {person.username: str(person.pk) for person in people}
        yield World(get_wsgi_application(), clock, subjects, lambda pk: in_django.sessions().end_all(pk), "sessionid")
        for person in people:
            person.delete()


# --- Flask ------------------------------------------------------------------------------------------------------------


class Person(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    def __init__(self, id: str) -> None:
        self.id = id


@pytest.fixture
def flask() -> World:
    """An app with Flask-Login."""
    app, manager, clock = Flask(__name__), LoginManager(), FakeClock()
    app.config.update(SECRET_KEY=KEY, PROPAGATE_EXCEPTIONS=False)
    manager.init_app(app)
    manager.user_loader(Person)
    lifetime = in_flask.SessionLifetime(app, Settings(**LIMITS), MemoryStore(), clock=clock)

    @app.get("/who")
    def who() -> Any:
        return jsonify(user=current_user.get_id(), ours=in_flask.session_from().subject, note=flask_session.get("note"))

    @app.post("/note")
    def note() -> Any:
        flask_session["note"] = current_user.get_id() or "nobody"
        return {}

    @app.post("/in/<name>")
    def sign_in(name: str) -> Any:
        flask_login.login_user(Person(name), remember=True)
        return {}

    @app.post("/fails/<name>")
    def fails(name: str) -> Any:
        flask_login.login_user(Person(name))
        raise LookupError(name)

    @app.post("/out")
    def sign_out() -> Any:
        flask_login.logout_user()
        return {}

    @app.post("/ours/<verb>/<name>")
    def ours(verb: str, name: str) -> Any:
        session = in_flask.session_from()
        before = session.subject
        _session_verb(session, verb, name)
        return {"of": before}

    return World(app, clock, {"alice": "alice", "bob": "bob"}, lifetime.sessions.end_all, "session")


# --- lives ------------------------------------------------------------------------------------------------------------

ACTS = [
    *(["in"] * 8 + ["out", "note", "note", "note", "fails", "fails", "end all", "ours/in", "ours/out", "ours/others"]),
    *(
        "ours/step",
        "ours/step",
        "a minute",
        "ten minutes",
        "ten minutes",
        "an hour",
        "swap",
        "drop ours",
        "drop theirs",
    ),
]


class Lives:
    """Two browsers, and what is known of them.

    Attributes:
        signed_in: the subject of each; None: nobody, or somebody of whom the framework has not heard.
        sure: of each, whether its cookies are what the app made of them.
        acts: what was done, for who reads a failure.
    """

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._random = world, random.Random(seed)
        self._browsers = [Client(world.app) for _ in range(2)]
        self.signed_in: list[str | None] = [None, None]
        self._since = [0.0, 0.0]
        self.sure = [True, True]
        self.acts: list[tuple[str, int, str]] = []

    def act(self) -> None:
        """Do one thing, and take note of what comes of it."""
        act, at, name = self._random.choice(ACTS), self._random.randrange(2), self._random.choice(["alice", "bob"])
        self.acts.append((act, at, name))
        world, subject = self._world, self._world.names[name]
        if act == "in":
            self._ask(at, f"/in/{name}")
            self.signed_in[at], self._since[at], self.sure[at] = subject, world.clock(), True
        elif act == "fails":
            self._ask(at, f"/fails/{name}")
            # Of a login over somebody else's session the framework's own part cannot be undone.
            self.sure[at] = self.sure[at] and self.signed_in[at] == subject
        elif act in ("out", "ours/out"):
            self._ask(at, f"/{act}/{name}" if "/" in act else "/out")
            self.signed_in[at], self.sure[at] = None, True
        elif act == "ours/in":
            self._ask(at, f"/{act}/{name}")
            self.signed_in[at], self.sure[at] = (
                None,
                False,
            )  # the framework has not heard of it, but may know the same user
        elif act == "ours/others":
            of = self._ask(at, f"/{act}/{name}")["of"]
            if self.signed_in[1 - at] == of:
                self.signed_in[1 - at] = None
                self.sure[1 - at] = self.sure[1 - at] and self.sure[at]
        elif act in ("note", "ours/step"):
            self._ask(at, "/note" if act == "note" else f"/{act}/{name}")
        elif act == "end all":
            world.end_all(subject)
            self.signed_in = [None if each == subject else each for each in self.signed_in]
        elif act == "swap":
            held = [browser.get_cookie(TOKEN, "app.example") for browser in self._browsers]
            for browser, cookie in zip(self._browsers, reversed(held), strict=True):
                browser.delete_cookie(TOKEN, domain="app.example")
                if cookie is not None:
                    browser.set_cookie(TOKEN, cookie.value, domain="app.example")
            self.sure = [False, False]
        elif act.startswith("drop"):
            self._browsers[at].delete_cookie(TOKEN if act == "drop ours" else world.theirs, domain="app.example")
            self.sure[at] = False
        else:
            world.clock.advance({"a minute": 60, "ten minutes": 600, "an hour": 3600}[act])
            if act == "an hour":
                self.signed_in = [None, None]

    def judge(self) -> None:
        """Ask each browser who it is."""
        for at, expected in enumerate(self.signed_in):
            if expected is not None and self._world.clock() >= self._since[at] + AGE:
                self.signed_in[at] = expected = None
            said = self._browsers[at].get("/who", base_url=HTTPS).json
            assert said is not None
            assert said["user"] in (None, said["ours"]), (self.acts, at, said)
            if self.sure[at]:
                assert said["user"] == expected, (self.acts, at, said)
                assert said["note"] in (None, "nobody", said["user"]), (self.acts, at, said)

    def _ask(self, at: int, target: str) -> Any:
        answer = self._browsers[at].post(target, base_url=HTTPS, headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == (500 if target.startswith("/fails") else 200), (self.acts, answer)
        return answer.json if answer.status_code == 200 else None


def lived(world: World, seeds: range) -> int:
    """Live so many lives; return how often somebody was signed in, of whom it was sure."""
    found = 0
    for seed in seeds:
        world.clock.advance(2 * AGE)
        lives = Lives(world, seed)
        for _ in range(STEPS):
            lives.act()
            lives.judge()
            found += sum(bool(who) and sure for who, sure in zip(lives.signed_in, lives.sure, strict=True))
    return found


def test_lives_with_contrib_auth(django: World) -> None:
    """Django's user is who we say, and its session keeps nothing of whom it was before."""
    assert lived(django, range(40)) > 100


def test_lives_with_flask_login(flask: World) -> None:
    """The same of Flask-Login, with "remember me"."""
    assert lived(flask, range(80)) > 200


@pytest.mark.slow
def test_long_lives_with_contrib_auth(django: World) -> None:
    """Many more."""
    assert lived(django, range(1000, 1400)) > 1000


@pytest.mark.slow
def test_long_lives_with_flask_login(flask: World) -> None:
    """Many more."""
    assert lived(flask, range(1000, 1800)) > 2000
