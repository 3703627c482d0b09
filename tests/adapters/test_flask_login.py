"""Flask-Login, bridged (L23): an app's own login begins and ends our sessions, and `current_user` never knows more."""

from __future__ import annotations

import sys

import flask_login
import pytest
from flask import Flask, abort, request
from flask import session as flask_session
from flask_login import LoginManager, current_user, login_required, login_user

from session_middleware import SettingsError, session_exempt
from session_middleware.adapters._emptied import EMPTIED
from session_middleware.adapters._flask_login import PYTEST_PLUGIN
from session_middleware.adapters.flask import SessionLifetime, session_from
from session_middleware.stores.memory import MemoryStore
from tests.adapters.flask_wiki import HTTPS, KEY, OURS, User, Wiki, drop, move, who


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


@pytest.mark.parametrize("login_first", [True, False], ids=["login manager first", "we first"])
def test_an_open_page_may_be_kept_by_caches(login_first: bool) -> None:
    """A view without a marker is open to all here, and its answer not for one user alone, quiet request or not (L18)."""
    wiki = Wiki(login_first=login_first)
    wiki.app.get("/open")(lambda: "open")
    client = wiki.client("alice")
    wiki.clock.advance(seconds=1)
    for _ in range(2):  # the first is recorded, nothing is due for the second
        headers = client.get("/open", base_url=HTTPS).headers
        assert headers["Vary"] == "Cookie"
        assert "Cache-Control" not in headers


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


def test_each_context_of_one_environ_is_judged_anew() -> None:
    """Flask-SocketIO keeps the environ of a connection and makes a context of it for each event: an end is seen there."""
    wiki = Wiki()
    client = wiki.client("alice")
    environ = client.get("/who", base_url=HTTPS).request.environ
    environ = {name: value for name, value in environ.items() if name.partition(".")[0] in ("wsgi", name)}
    seen = []
    for _ in range(2):
        with wiki.app.request_context(environ):
            seen.append((current_user.get_id(), session_from().subject, session_from().is_active))
        client.post("/logout", base_url=HTTPS)
    assert seen == [("alice", "alice", True), (None, None, False)]


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


def aborting(wiki: Wiki) -> None:
    """Add a view that signs in and then aborts."""

    @wiki.app.post("/abort")
    def view() -> None:
        login_user(User(request.form["user"]), remember=True)
        abort(403)

    wiki.app.register_error_handler(403, lambda problem: (f"no, {current_user.get_id()}", 403))


def test_a_login_before_an_abort_leaves_nobody_signed_in() -> None:
    """`login_user()` and then `abort(403)`: nobody on the error page, at the next request, or remembered (L25)."""
    wiki = Wiki()
    aborting(wiki)
    client = wiki.client()
    answer = client.post("/abort", base_url=HTTPS, data={"user": "alice"})
    assert (answer.status_code, answer.text) == (403, "no, None")
    assert [client.get_cookie(name, domain="app.example") for name in (*OURS, "remember_token")] == [None] * 3
    assert who(client) == "None"
    assert client.get("/private", base_url=HTTPS).status_code == 302
    assert wiki.lifetime.sessions.list("alice") == []


def test_a_login_again_before_an_abort_leaves_the_user_signed_in() -> None:
    """The session that came was not replaced, and Flask's session belongs to it as before, but is not fresh (L25)."""
    wiki = Wiki()
    aborting(wiki)
    client = wiki.client("alice")
    assert client.post("/abort", base_url=HTTPS, data={"user": "alice"}).status_code == 403
    assert who(client) == "alice"
    with client.session_transaction(base_url=HTTPS) as session:
        assert session["_fresh"] is False
    assert len(wiki.lifetime.sessions.list("alice")) == 1


def test_a_login_again_in_a_view_that_answers_an_error_leaves_the_user_signed_in() -> None:
    """The same where the view itself answers with an error page (L25)."""
    wiki = Wiki()

    @wiki.app.post("/error")
    def view() -> tuple[str, int]:
        login_user(User(request.form["user"]))
        return "sorry", 500

    client = wiki.client("alice")
    assert client.post("/error", base_url=HTTPS, data={"user": "alice"}).status_code == 500
    assert who(client) == "alice"
    assert len(wiki.lifetime.sessions.list("alice")) == 1


def test_a_login_as_another_before_an_abort_signs_nobody_in() -> None:
    """Flask's session was emptied for the other user (L26), whose login came to nothing (L25)."""
    wiki = Wiki()
    aborting(wiki)
    client = wiki.client("alice")
    assert client.post("/abort", base_url=HTTPS, data={"user": "bob"}).status_code == 403
    assert who(client) == "None"
    assert wiki.lifetime.sessions.list("bob") == []


@pytest.mark.parametrize("lost", ["cookie", "record"])
def test_another_users_login_finds_nothing_of_one_whose_session_was_lost(lost: str) -> None:
    """Flask's session outlives ours, in a browser that was closed or a month later: the next user sees none of it (L26)."""
    wiki = Wiki()

    @wiki.app.post("/cart")
    def put() -> str:
        flask_session["cart"] = "book"
        return "put"

    @wiki.app.get("/cart")
    def cart() -> str:
        return str(flask_session.get("cart", ""))

    client = wiki.client("alice")
    client.post("/cart", base_url=HTTPS)
    if lost == "cookie":
        drop(client, *OURS)
    else:
        wiki.store.prune(wiki.clock.advance(days=60))
    wiki.login(client, "alice")
    assert who(client, "/cart") == "book", "the same user has come back"
    drop(client, *OURS)
    wiki.login(client, "bob")
    assert (who(client), who(client, "/cart")) == ("bob", "")


def test_a_login_that_came_to_nothing_makes_the_flask_session_nobodys() -> None:
    """What a visitor has put there is not the user's whose login failed, but goes with whoever signs in next (L25, L26)."""
    wiki = Wiki()

    @wiki.app.post("/error")
    def view() -> tuple[str, int]:
        flask_session["cart"] = "book"
        login_user(User("bob"))
        return "sorry", 500

    @wiki.app.get("/cart")
    def cart() -> str:
        return str(flask_session.get("cart", ""))

    client = wiki.client()
    assert client.post("/error", base_url=HTTPS).status_code == 500
    wiki.login(client, "alice")
    assert who(client, "/cart") == "book"
    client.post("/error", base_url=HTTPS)
    assert who(client) == "None"


def test_a_login_again_that_came_to_nothing_leaves_the_flask_session_its_users() -> None:
    """The user's session goes on, and another's login later finds nothing of theirs (L25, L26)."""
    wiki = Wiki()

    @wiki.app.post("/error")
    def view() -> tuple[str, int]:
        flask_session["cart"] = "book"
        login_user(User("alice"))
        return "sorry", 500

    @wiki.app.get("/cart")
    def cart() -> str:
        return str(flask_session.get("cart", ""))

    client = wiki.client("alice")
    assert client.post("/error", base_url=HTTPS).status_code == 500
    assert (who(client), who(client, "/cart")) == ("alice", "book")
    drop(client, *OURS)
    wiki.login(client, "bob")
    assert (who(client), who(client, "/cart")) == ("bob", "")


def test_a_page_that_is_not_there_takes_no_adoption_back() -> None:
    """Somebody from before our time comes to a view that aborts: that view began nothing, so they stay signed in (L23)."""
    wiki = Wiki(adopt_existing_until="2099-12-31")

    @wiki.app.get("/gone")
    @login_required
    def gone() -> None:
        abort(404)

    client = wiki.client()
    with client.session_transaction(base_url=HTTPS) as session:
        session.update({"_user_id": "alice", "_fresh": True})
    assert client.get("/gone", base_url=HTTPS).status_code == 404
    assert who(client) == "alice"
    assert len(wiki.lifetime.sessions.list("alice")) == 1


def test_a_cross_site_login_leaves_nothing() -> None:
    """Another site posts the login form: no session begins, here or there (L20)."""
    wiki = Wiki()
    wiki.app.logger.disabled = True
    client = wiki.client()
    sent = {"Sec-Fetch-Site": "cross-site"}
    assert client.post("/login", base_url=HTTPS, data={"user": "alice"}, headers=sent).status_code == 403
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
    with client.session_transaction(base_url=HTTPS) as kept:
        assert list(kept) == [f"{EMPTIED}:__Host-session"], "for which end, and nothing else (L26)"


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


# --- is the user still there? --------------------------------------------------------------------------------------


def test_a_user_who_is_gone_ends_the_session() -> None:
    """A `user_loader` that finds nobody ends our session, for good, as Django's bridge does (L8)."""
    wiki = Wiki()
    client = wiki.client("alice")
    wiki.users.discard("alice")
    assert who(client) == "None"
    assert wiki.lifetime.sessions.list("alice") == []
    assert ("session_ended", "authority") in [(event.name, event.detail.get("reason")) for event in wiki.events]
    wiki.users.add("alice")
    assert who(client) == "None"


def test_a_user_loader_that_fails_ends_nothing() -> None:
    """An exception is a fault of the app: this request fails, and the session lives on (L17)."""
    wiki = Wiki()
    wiki.app.logger.disabled = True
    client = wiki.client("alice")
    found = wiki.manager._user_callback

    def broken(user_id: str) -> User:
        raise OSError("the database is away")

    wiki.manager.user_loader(broken)
    assert client.get("/who", base_url=HTTPS).status_code == 500
    wiki.manager.user_loader(found)
    assert who(client) == "alice"


def test_a_login_that_failed_leaves_nobody_elses_data_to_the_next() -> None:
    """Whose the rest of Flask's session is stays known, so that it goes when another user signs in (L26)."""
    wiki = Wiki()
    wiki.app.config["PROPAGATE_EXCEPTIONS"] = False

    @wiki.app.post("/fails")
    def fails() -> str:
        login_user(User("bob"))
        raise LookupError("a part of the app that is down")

    @wiki.app.route("/note", methods=["GET", "POST"])
    def note() -> str:
        if request.method == "POST":
            flask_session["note"] = "of bob"
        return flask_session.get("note", "")

    for next_one, left in (("bob", "of bob"), ("alice", "")):
        client = wiki.client("bob")
        client.post("/note", base_url=HTTPS)
        drop(client, *OURS)
        assert client.post("/fails", base_url=HTTPS).status_code == 500
        wiki.login(client, next_one)
        assert who(client, "/note") == left
