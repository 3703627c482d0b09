"""Flask-Login, bridged (L23): an app's own login begins and ends our sessions, and `current_user` never knows more."""

from __future__ import annotations

import sys
import types
from datetime import timedelta
from typing import Any

import flask_login
import pytest
from flask import Blueprint, Flask, request
from flask import session as flask_session
from flask.testing import FlaskClient
from flask_login import FlaskLoginClient, LoginManager, UserMixin, current_user, login_required, login_user, logout_user

from session_middleware import Settings, SettingsError, Verdict, session_exempt, session_required
from session_middleware.adapters._flask_login import LINK, PYTEST_PLUGIN
from session_middleware.adapters.flask import SessionLifetime, safe_return_to, session_from
from session_middleware.events import SessionEvent
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock

# Flask-Login 0.6.3 writes its remember cookie with datetime.utcnow(), which Python 3.12 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
HTTPS = "https://app.example"


class User(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    def __init__(self, id: str) -> None:
        self.id = id


class Store(MemoryStore):
    """A store that can be switched off."""

    down = False

    def load(self, *args: Any) -> Any:
        if self.down:
            raise OSError("down")
        return super().load(*args)

    def create(self, *args: Any) -> Any:
        if self.down:
            raise OSError("down")
        return super().create(*args)

    def end(self, *args: Any) -> Any:
        if self.down:
            raise OSError("down")
        return super().end(*args)

    def holds(self, record: Any) -> bool:
        return not self.down and super().holds(record)


class Wiki:
    """An app that has used Flask-Login for years; nothing in its views knows of us."""

    def __init__(self, *, login_first: bool = True, **settings: Any) -> None:
        self.app = app = Flask("wiki")
        app.config["SECRET_KEY"] = KEY
        self.users = {"alice", "bob"}
        self.store, self.clock = Store(), FakeClock()
        self.events: list[SessionEvent] = []
        self.manager = LoginManager()
        self.manager.login_view = "login"
        self.manager.user_loader(lambda id: User(id) if id in self.users else None)

        def wrap() -> SessionLifetime:
            return SessionLifetime(app, Settings(**settings), self.store, clock=self.clock, on_event=self.events.append)

        if login_first:
            self.manager.init_app(app)
            self.lifetime = wrap()
        else:
            self.lifetime = wrap()
            self.manager.init_app(app)

        @app.route("/login", methods=["GET", "POST"])
        def login() -> str:
            if request.method == "POST":
                user = User(request.form["user"])
                assert login_user(user, remember="remember" in request.form, fresh="stale" not in request.form)
            return "login"

        @app.get("/who")
        def who() -> str:
            return str(current_user.get_id())

        @app.get("/private")
        @login_required
        def private() -> str:
            return f"private of {current_user.get_id()}"

        @app.get("/sensitive")
        @flask_login.fresh_login_required
        def sensitive() -> str:
            return "sensitive"

        @app.post("/confirm")
        def confirm() -> str:
            flask_login.confirm_login()
            return str(current_user.get_id())

        @app.post("/logout")
        def logout() -> str:
            logout_user()
            return str(current_user.get_id())

    def client(self, user: str | None = None, **form: str) -> FlaskClient:
        client = self.app.test_client()
        if user is not None:
            self.login(client, user, **form)
        return client

    def login(self, client: FlaskClient, user: str, **form: str) -> None:
        assert client.post("/login", base_url=HTTPS, data={"user": user, **form}).status_code == 200


def who(client: FlaskClient, path: str = "/who", **given: Any) -> str:
    return client.get(path, base_url=HTTPS, **given).text


def drop(client: FlaskClient, *names: str) -> None:
    for name in names:
        client.delete_cookie(name, domain="app.example")


def move(name: str, source: FlaskClient, target: FlaskClient) -> None:
    cookie = source.get_cookie(name, "app.example")
    assert cookie is not None
    target.set_cookie(name, cookie.value, domain="app.example")


OURS = ("__Host-session", "__Host-session_jwt")


@pytest.fixture(autouse=True)
def no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own plugin is not active in these tests unless one says so."""
    monkeypatch.delitem(sys.modules, PYTEST_PLUGIN, raising=False)


# --- logins begin and end sessions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("login_first", [True, False], ids=["login manager first", "we first"])
def test_a_login_begins_our_session(login_first: bool) -> None:
    """`login_user` in an unchanged view begins our session, whichever extension was set up first."""
    wiki = Wiki(login_first=login_first)
    client = wiki.client("alice")
    assert who(client, "/private") == "private of alice"
    assert [info.attributes["address"] for info in wiki.lifetime.sessions.list("alice")] == ["127.0.0.1"]


def test_the_session_ends_by_silence_and_by_age() -> None:
    """The bridged login has our deadlines: an hour of silence, a day in all."""
    wiki = Wiki()
    client = wiki.client("alice")
    wiki.clock.advance(minutes=61)
    assert who(client) == "None"
    wiki.login(client, "alice")
    for _ in range(47):
        wiki.clock.advance(minutes=30)
        assert who(client) == "alice"
    wiki.clock.advance(minutes=30)
    assert who(client) == "None"


def test_logout_ends_our_session_everywhere() -> None:
    """`logout_user` ends the record: a copy of all cookies is worth nothing afterwards."""
    wiki = Wiki()
    client, thief = wiki.client("alice"), wiki.client()
    for name in ("session", *OURS):
        move(name, client, thief)
    assert who(thief) == "alice"
    answer = client.post("/logout", base_url=HTTPS)
    assert answer.text == "None"
    assert all(client.get_cookie(name, "app.example") is None for name in ("session", *OURS))
    assert who(thief) == "None"
    assert wiki.lifetime.sessions.list("alice") == []


def test_our_logout_signs_out_of_flask_login() -> None:
    """`POST /session/logout` clears the Flask session and has the remember cookie removed."""
    wiki = Wiki()
    client = wiki.client("alice", remember="1")
    assert client.get_cookie("remember_token", "app.example") is not None
    assert client.post("/session/logout", base_url=HTTPS, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 204
    assert client.get_cookie("remember_token", "app.example") is None
    assert who(client) == "None"


def test_logout_user_removes_the_remember_cookie() -> None:
    """Flask-Login's own removal of its cookie still happens though its session is cleared."""
    wiki = Wiki()
    client = wiki.client("alice", remember="1")
    client.post("/logout", base_url=HTTPS)
    assert client.get_cookie("remember_token", "app.example") is None


def test_another_user_at_the_same_browser() -> None:
    """Bob's login ends Alice's session and leaves nothing of hers in the Flask session."""
    wiki = Wiki()

    @wiki.app.get("/note")
    def note() -> str:
        flask_session["notes"] = flask_session.get("notes", 0) + 1
        return str(flask_session["notes"])

    client = wiki.client("alice")
    who(client, "/note")
    wiki.login(client, "alice")
    assert who(client, "/note") == "2"
    wiki.login(client, "bob")
    assert who(client, "/private") == "private of bob"
    assert who(client, "/note") == "1"
    assert wiki.lifetime.sessions.list("alice") == []


def test_a_login_view_may_begin_the_session_itself() -> None:
    """`session_from().login(...)` with claims before `login_user` is kept: the bridge links it and begins no other."""
    wiki = Wiki()

    @wiki.app.post("/rich-login")
    def rich_login() -> str:
        session_from().login("alice", claims={"plan": "gold"})
        login_user(User("alice"))
        return "in"

    @wiki.app.get("/plan")
    @login_required
    def plan() -> str:
        return str(session_from().claims["plan"])

    client = wiki.client()
    client.post("/rich-login", base_url=HTTPS)
    assert who(client, "/plan") == "gold"
    assert [event.name for event in wiki.events] == ["session_created"]


def test_remember_me_means_a_persistent_session_of_ours() -> None:
    """The box in the login form makes our cookie, and the Flask session with the link, outlive the browser."""
    wiki = Wiki()
    client = wiki.client("alice", remember="1")
    for name in ("session", "__Host-session"):
        cookie = client.get_cookie(name, "app.example")
        assert cookie is not None
        assert (cookie.max_age or cookie.expires) is not None
    plain = wiki.client("alice").get_cookie("__Host-session", "app.example")
    assert plain is not None
    assert plain.max_age is None


def test_strong_protection_is_not_weakened_by_remember_me() -> None:
    """Flask-Login protects a permanent session less, so under `strong` it stays a browser session."""
    wiki = Wiki()
    wiki.manager.session_protection = "strong"
    client = wiki.client("alice", remember="1")
    cookie = client.get_cookie("session", "app.example")
    assert cookie is not None
    assert cookie.expires is None
    assert who(client) == "alice"
    assert who(client, headers={"User-Agent": "another"}) == "None"


def test_a_login_that_cannot_be_stored_leaves_nothing() -> None:
    """The store is down at login: 503, and neither our cookie nor a Flask session with the user goes out (L17, L25)."""
    wiki = Wiki(adopt_existing_until="2099-12-31")
    client = wiki.client()
    wiki.store.down = True
    answer = client.post("/login", base_url=HTTPS, data={"user": "alice"})
    assert answer.status_code == 503
    wiki.store.down = False
    assert who(client) == "None"


def test_a_cross_site_login_leaves_nothing() -> None:
    """Another site posts the login form: no session begins, here or there (L20)."""
    wiki = Wiki()
    wiki.app.logger.disabled = True
    client = wiki.client()
    sent = {"Sec-Fetch-Site": "cross-site"}
    assert client.post("/login", base_url=HTTPS, data={"user": "alice"}, headers=sent).status_code == 500
    assert who(client) == "None"
    assert wiki.lifetime.sessions.list("alice") == []


# --- the framework never knows more than we do -----------------------------------------------------------------------


def test_without_our_cookie_nobody_is_signed_in() -> None:
    """Only Flask's `session` cookie is left: anonymous, and it stays so."""
    client = Wiki().client("alice")
    drop(client, *OURS)
    assert [who(client), who(client)] == ["None", "None"]
    assert client.get("/private", base_url=HTTPS).status_code == 302


def test_a_remember_cookie_is_never_a_login() -> None:
    """Only `remember_token` is left: anonymous, and nothing of it enters the Flask session."""
    client = Wiki(adopt_existing_until="2099-12-31").client("alice", remember="1")
    drop(client, "session", *OURS)
    assert [who(client), who(client)] == ["None", "None"]
    assert client.get_cookie("session", "app.example") is None


def test_a_remember_cookie_does_not_stand_in_for_a_deleted_user() -> None:
    """Alice's account is gone and her browser holds Bob's remember cookie: nobody is signed in."""
    wiki = Wiki()
    client, bob = wiki.client("alice"), wiki.client("bob", remember="1")
    move("remember_token", bob, client)
    wiki.users.remove("alice")
    assert [who(client), who(client)] == ["None", "None"]


@pytest.mark.parametrize("kept", ["alice", "bob"])
def test_a_session_of_ours_of_another_user(kept: str) -> None:
    """Our cookie of one user beside the Flask session of another is nobody's, whichever of them came first."""
    wiki = Wiki()
    alice, bob = wiki.client("alice"), wiki.client("bob")
    target, source = (alice, bob) if kept == "alice" else (bob, alice)
    for name in OURS:
        move(name, source, target)
    assert who(target) == "None"


def test_another_session_of_the_same_user() -> None:
    """The link names this very session: Alice's cookie of ours from her phone does not fit her laptop's Flask session."""
    wiki = Wiki()
    laptop, phone = wiki.client("alice"), wiki.client("alice")
    for name in OURS:
        move(name, phone, laptop)
    assert who(laptop) == "None"
    assert who(phone) == "alice"


def test_our_session_without_a_flask_session() -> None:
    """Flask's cookie is gone: ours alone does not make Flask-Login know a user."""
    client = Wiki().client("alice")
    drop(client, "session")
    assert who(client) == "None"


def test_a_forged_user_id_in_a_linked_flask_session() -> None:
    """Even with a valid link, the Flask session's user must be the subject of our session."""
    wiki = Wiki()
    client = wiki.client("alice")
    with client.session_transaction(base_url=HTTPS) as held:
        held["_user_id"] = "bob"
    assert who(client) == "None"


def test_a_mismatch_flushes_nothing() -> None:
    """Without proof by the record the Flask session stays: the right cookie makes it count again."""
    wiki = Wiki()
    client, stash = wiki.client("alice"), wiki.client()
    for name in OURS:
        move(name, client, stash)
    drop(client, *OURS)
    assert who(client) == "None"
    for name in OURS:
        move(name, stash, client)
    assert who(client) == "alice"


def test_a_proven_end_flushes_the_flask_session() -> None:
    """The record says that it is over: the Flask session goes with it."""
    wiki = Wiki()
    client = wiki.client("alice")
    (session,) = wiki.lifetime.sessions.list("alice")
    wiki.lifetime.sessions.end(session.id)
    assert who(client) == "None"
    assert client.get_cookie("session", "app.example") is None


def test_an_outage_signs_nobody_in_and_nobody_out() -> None:
    """The store is down: a public page has no user, a protected one is 503 and no login redirect, nothing is lost (L17)."""
    wiki = Wiki()
    client = wiki.client("alice")
    wiki.store.down = True
    assert who(client) == "None"
    assert client.get("/private", base_url=HTTPS).status_code == 503
    wiki.store.down = False
    assert who(client, "/private") == "private of alice"


def test_an_outage_at_logout_clears_the_browser() -> None:
    """Logout while the store is down: 503, the cookies go, and the end is retried (L17)."""
    wiki = Wiki()
    client = wiki.client("alice")
    wiki.store.down = True
    assert client.post("/logout", base_url=HTTPS).status_code == 503
    assert all(client.get_cookie(name, "app.example") is None for name in ("session", *OURS))
    wiki.store.down = False
    assert who(client) == "None"


def test_current_user_on_an_exempt_route() -> None:
    """A view that asks for `current_user` uses the session, so it is read there too."""
    wiki = Wiki()
    wiki.app.get("/exempt")(session_exempt(lambda: str(current_user.get_id())))
    client = wiki.client("alice")
    assert who(client, "/exempt") == "alice"
    drop(client, *OURS)
    assert who(client, "/exempt") == "None"


def test_users_of_a_request_loader_are_untouched() -> None:
    """An API token signs in as before, also beside cookies that no longer count."""
    wiki = Wiki()
    wiki.manager.request_loader(lambda request: User("robot") if request.headers.get("X-Token") == "42" else None)
    client = wiki.client("alice", remember="1")
    drop(client, *OURS)
    seen: list[str] = []
    connected = flask_login.user_loaded_from_request.connected_to(lambda sender, user: seen.append(user.id), wiki.app)
    with connected:
        assert who(client, "/private", headers={"X-Token": "42"}) == "private of robot"
    assert seen == ["robot"]
    assert who(client) == "None"
    assert wiki.lifetime.sessions.list("robot") == []


def test_an_ended_session_does_not_hide_a_token() -> None:
    """A token beside the cookies of a session that is over still signs in."""
    wiki = Wiki()
    wiki.manager.request_loader(lambda request: User("robot") if request.headers.get("X-Token") == "42" else None)
    client = wiki.client("alice")
    wiki.clock.advance(hours=2)
    assert who(client, "/private", headers={"X-Token": "42"}) == "private of robot"


def test_our_logout_shows_at_once() -> None:
    """After session.logout() the rest of the view sees nobody, though `current_user` was known before."""
    wiki = Wiki()

    @wiki.app.post("/out")
    def out() -> str:
        before = current_user.get_id()
        session_from().logout()
        return f"{before} {current_user.get_id()}"

    assert wiki.client("alice").post("/out", base_url=HTTPS).text == "alice None"


def test_users_of_a_header_loader_are_untouched() -> None:
    """Flask-Login 0.6 has a deprecated loader for one header; it goes on."""
    wiki = Wiki()
    wiki.manager._header_callback = lambda value: User("robot") if value == "42" else None
    assert who(wiki.client(), headers={"Authorization": "42"}) == "robot"
    assert who(wiki.client()) == "None"


def test_without_any_loader_the_mistake_is_named() -> None:
    """As in Flask-Login itself, a manager without loaders is an error at first use."""
    wiki = Wiki()
    wiki.manager._user_callback = None
    wiki.app.testing = True
    with pytest.raises(SettingsError, match="user_loader"):
        who(wiki.client())


def test_a_flask_login_without_what_we_guard_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of Flask-Login that finds its user in another way would be unguarded, so it is refused."""
    monkeypatch.setattr(LoginManager, "_load_user", None)
    with pytest.raises(SettingsError, match="_load_user"):
        Wiki()


def test_something_else_called_login_manager_is_left_alone() -> None:
    """Only Flask-Login's LoginManager is bridged."""
    app = Flask("wiki")
    app.config["SECRET_KEY"] = KEY
    app.login_manager = object()  # type: ignore[attr-defined]
    assert SessionLifetime(app, store=MemoryStore()).engine.default_policy == "required"


# --- defaults of a bridged app -----------------------------------------------------------------------------------------


def test_the_apps_own_decorators_decide_by_default() -> None:
    """Unmarked views are open, `@login_required` redirects in its own way, with `next`."""
    wiki = Wiki()
    client = wiki.client()
    assert who(client) == "None"
    assert client.get("/private", base_url=HTTPS).headers["Location"] == "/login?next=%2Fprivate"


def test_our_markers_send_to_the_login_view() -> None:
    """`login_view` is where our refusals lead, with `next`, which safe_return_to reads."""
    wiki = Wiki()
    wiki.app.get("/ours")(session_required(lambda: "ours"))
    wiki.app.get("/back", endpoint="back")(lambda: safe_return_to("/home"))
    client = wiki.client()
    answer = client.get("/ours", base_url=HTTPS, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=/ours")
    assert who(client, "/back?next=/ours") == "/ours"


def test_the_login_view_of_a_blueprint() -> None:
    """A blueprint with a login page of its own is refused to that page, and the page is open."""
    wiki = Wiki(default_policy="required")
    admin = Blueprint("admin", "admin", url_prefix="/admin")
    admin.get("/page")(session_required(lambda: "page"))
    admin.get("/login", endpoint="login")(lambda: "admin login")
    wiki.manager.blueprint_login_views = {"admin": "admin.login"}
    wiki.app.register_blueprint(admin)
    answer = wiki.client().get("/admin/page", base_url=HTTPS, headers={"Accept": "text/html"})
    assert answer.headers["Location"] == "/admin/login?next=/admin/page"
    assert who(wiki.client(), "/admin/login") == "admin login"


def test_settings_win_over_what_flask_login_says() -> None:
    """`default_policy`, `return_param` and a `login_url` of its own are taken as given."""
    wiki = Wiki(default_policy="required", return_param="back", login_url="/sign-in")
    answer = wiki.client().get("/who", base_url=HTTPS, headers={"Accept": "text/html"})
    assert answer.headers["Location"] == "/sign-in?back=/who"


def test_a_login_view_that_is_no_route_is_named() -> None:
    """A misspelt `login_view` is an error before a request is served."""
    wiki = Wiki()
    wiki.manager.login_view = "logn"
    with pytest.raises(SettingsError, match="Did you mean 'login'"):
        who(wiki.client())


# --- freshness and new ids -------------------------------------------------------------------------------------------------


def test_confirm_login_is_fresh_in_both() -> None:
    """`confirm_login` serves Flask-Login's own decorator, is a step-up of ours, and the user stays signed in."""
    wiki = Wiki()
    wiki.app.get("/fresh")(lambda: str(session_from().is_fresh(300)))
    client = wiki.client("alice", stale="1")
    wiki.clock.advance(minutes=10)
    assert client.get("/sensitive", base_url=HTTPS).status_code == 401
    assert who(client, "/fresh") == "False"
    assert client.post("/confirm", base_url=HTTPS).text == "alice"
    assert who(client, "/sensitive") == "sensitive"
    assert who(client, "/fresh") == "True"


def test_confirm_login_without_a_session_confirms_nothing() -> None:
    """Nobody is signed in, so there is nobody to confirm."""
    wiki = Wiki()
    client = wiki.client()
    assert client.post("/confirm", base_url=HTTPS).text == "None"
    assert client.get_cookie("__Host-session", "app.example") is None


@pytest.mark.parametrize("verb", ["step_up", "login"])
def test_the_link_follows_a_new_id(verb: str) -> None:
    """step_up() and a login of the same user mint a new id; `current_user` stays, in this request and the next."""
    wiki = Wiki()

    @wiki.app.post("/again")
    def again() -> str:
        session = session_from()
        session.step_up([{"type": "otp"}]) if verb == "step_up" else session.login("alice")
        return str(current_user.get_id())

    client = wiki.client("alice")
    (before,) = wiki.lifetime.sessions.list("alice")
    assert client.post("/again", base_url=HTTPS).text == "alice"
    (after,) = wiki.lifetime.sessions.list("alice")
    assert before.id != after.id
    assert who(client) == "alice"


def test_the_link_does_not_follow_for_a_stranger() -> None:
    """A login of ours beside an unlinked Flask session of the same name does not make that session count."""
    wiki = Wiki()

    @wiki.app.post("/only-ours")
    def only_ours() -> str:
        session_from().login("alice")
        return str(current_user.get_id())

    client = wiki.client()
    with client.session_transaction(base_url=HTTPS) as held:
        held["_user_id"] = "alice"
    assert client.post("/only-ours", base_url=HTTPS).text == "None"
    assert who(client) == "None"


def test_a_failed_login_of_the_same_user_is_no_login() -> None:
    """login_user in a view that then raises: no cookie, no session, and the half-made Flask session counts for nothing."""
    wiki = Wiki()
    wiki.app.logger.disabled = True

    @wiki.app.post("/broken")
    def broken() -> str:
        login_user(User("alice"))
        raise RuntimeError

    client = wiki.client()
    assert client.post("/broken", base_url=HTTPS).status_code == 500
    assert who(client) == "None"
    assert wiki.lifetime.sessions.list("alice") == []


def test_a_password_change_keeps_this_session_and_ends_the_others() -> None:
    """`end_others()` in the view that changes the password."""
    wiki = Wiki()

    @wiki.app.post("/password")
    @login_required
    def password() -> str:
        return str(session_from().end_others())

    here, there = wiki.client("alice"), wiki.client("alice")
    assert here.post("/password", base_url=HTTPS).text == "1"
    assert (who(here), who(there)) == ("alice", "None")


# --- Flask sessions from before our time --------------------------------------------------------------------------------------


def old_client(wiki: Wiki, user: str = "alice") -> FlaskClient:
    """A browser that signed in before we were installed."""
    client = wiki.app.test_client()
    with client.session_transaction(base_url=HTTPS) as held:
        held.update(_user_id=user, _fresh=True)
    return client


def test_an_old_session_is_not_adopted_by_default() -> None:
    """Without `adopt_existing_until` everybody signs in once more."""
    wiki = Wiki()
    assert who(old_client(wiki)) == "None"


def test_an_old_session_is_adopted_until_the_day() -> None:
    """Until the end of that day (UTC) an unlinked Flask session gets a session of ours, and lives by its rules."""
    wiki = Wiki(adopt_existing_until="2027-01-15")  # the fake clock's day, 08:00
    client = old_client(wiki)
    assert who(client, "/private") == "private of alice"
    assert len(wiki.lifetime.sessions.list("alice")) == 1
    assert who(client) == "alice"
    assert len(wiki.lifetime.sessions.list("alice")) == 1
    late = old_client(wiki)
    wiki.clock.advance(hours=15, minutes=59)
    assert who(old_client(wiki)) == "alice"
    wiki.clock.advance(minutes=1)
    assert who(late) == "None"


def test_our_own_required_marker_adopts_too() -> None:
    """A view that we protect is served to an adopted session at its first request."""
    wiki = Wiki(adopt_existing_until="2099-12-31")
    wiki.app.get("/ours")(session_required(lambda: str(session_from().subject)))
    assert who(old_client(wiki), "/ours") == "alice"


def test_a_linked_session_is_never_adopted_again() -> None:
    """Once linked, the Flask session counts only with its session of ours."""
    wiki = Wiki(adopt_existing_until="2099-12-31")
    client = old_client(wiki)
    assert who(client) == "alice"
    drop(client, *OURS)
    assert who(client) == "None"


def test_what_is_not_adopted() -> None:
    """No user there any more, a preflight, a cross-site form: no session of ours begins."""
    wiki = Wiki(adopt_existing_until="2099-12-31")
    assert who(old_client(wiki, "ghost")) == "None"
    old_client(wiki).options("/who", base_url=HTTPS)
    sent = {"Sec-Fetch-Site": "cross-site"}
    client = old_client(wiki)
    client.post("/login", base_url=HTTPS, data={}, headers=sent)
    assert client.post("/confirm", base_url=HTTPS, headers=sent).text == "None"
    assert wiki.lifetime.sessions.list("alice") == []


def test_an_outage_at_adoption_is_a_503() -> None:
    """A session that cannot be stored cannot begin: 503, and it is adopted later (L17)."""
    wiki = Wiki(adopt_existing_until="2099-12-31")
    client = old_client(wiki)
    wiki.store.down = True
    assert client.get("/private", base_url=HTTPS).status_code == 503
    wiki.store.down = False
    assert who(client) == "alice"


# --- an app's own tests ---------------------------------------------------------------------------------------------------------


def under_the_plugin(wiki: Wiki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PYTEST_PLUGIN, types.ModuleType(PYTEST_PLUGIN))
    wiki.app.testing = True
    wiki.app.test_client_class = FlaskLoginClient


def test_flask_login_client_under_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """`app.test_client(user=...)` signs in as before, though Flask-Login sends no signal for it; over http as well."""
    wiki = Wiki()
    under_the_plugin(wiki, monkeypatch)
    with wiki.app.test_client(user=User("alice")) as client:
        assert client.get("/private").text == "private of alice"
        assert client.get("/private").text == "private of alice"
        assert session_from().verdict is Verdict.ACTIVE
        client.post("/logout")
        assert client.get("/who").text == "None"
    with wiki.app.test_client() as anonymous:
        assert anonymous.get("/who").text == "None"


@pytest.mark.parametrize("missing", ["plugin", "testing"])
def test_flask_login_client_needs_plugin_and_testing(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a server, `app.testing` left on alone adopts nothing; nor does the plugin without it."""
    wiki = Wiki()
    under_the_plugin(wiki, monkeypatch)
    if missing == "plugin":
        monkeypatch.delitem(sys.modules, PYTEST_PLUGIN)
    else:
        wiki.app.testing = False
    with wiki.app.test_client(user=User("alice")) as client:
        assert client.get("/who").text == "None"


def test_login_user_in_a_test_request_context() -> None:
    """A unit test may sign a user in without a request being served."""
    wiki = Wiki()
    with wiki.app.test_request_context(base_url=HTTPS):
        login_user(User("alice"), remember=True, duration=timedelta(days=1))
        assert current_user.get_id() == "alice"
        assert flask_session[LINK] == session_from().id
        logout_user()
        assert session_from().verdict is Verdict.ANONYMOUS
        assert LINK not in flask_session
