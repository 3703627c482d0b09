"""Flask-Login, bridged (L23): defaults, freshness, Flask sessions from before our time, an app's own tests."""

from __future__ import annotations

import sys
import types
from datetime import timedelta
from typing import Any

import pytest
from flask import Blueprint, Flask, request
from flask import session as flask_session
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from flask.testing import FlaskClient
from flask_login import FlaskLoginClient, confirm_login, current_user, login_required, login_user, logout_user

from session_middleware import SettingsError, Verdict, fresh_login_required, session_required
from session_middleware.adapters._flask_login import LINK, PYTEST_PLUGIN
from session_middleware.adapters.flask import safe_return_to, session_from
from session_middleware.stores.memory import MemoryStore
from tests.adapters.flask_wiki import HTTPS, OURS, User, Wiki, drop, move, who


@pytest.fixture(autouse=True)
def no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own plugin is not active in these tests unless one says so."""
    monkeypatch.delitem(sys.modules, PYTEST_PLUGIN, raising=False)


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


@pytest.mark.parametrize(
    ("refresh_view", "page"),
    [
        (None, "/login"),
        ("confirm", "/confirm"),
        ("/sure", "/sure"),
        ("https://id.example/sure", "https://id.example/sure"),
    ],
)
def test_its_refresh_view_is_where_people_prove_it_again(refresh_view: str | None, page: str) -> None:
    """The login view of every tutorial sends back who is signed in; Flask-Login names another one for that (L15)."""
    wiki = Wiki()
    wiki.manager.refresh_view = refresh_view
    wiki.app.get("/delete")(fresh_login_required(within=300)(lambda: "deleted"))
    client = wiki.client("alice")
    assert who(client, "/delete") == "deleted"
    wiki.clock.advance(minutes=6)
    answer = client.get("/delete", base_url=HTTPS, headers={"Accept": "text/html"})
    assert answer.headers["Location"] == f"{page}?reason=fresh_login&next=/delete"
    if refresh_view == "confirm":
        client.post("/confirm", base_url=HTTPS)
        assert who(client, "/delete") == "deleted"


def test_a_setting_goes_before_its_refresh_view() -> None:
    """`fresh_login_url` is taken as given; a misspelt `refresh_view` is named where it would be used."""
    wiki = Wiki(fresh_login_url="/sure")
    wiki.manager.refresh_view = "confrim"
    wiki.app.get("/delete")(fresh_login_required(within=300)(lambda: "deleted"))
    client = wiki.client("alice")
    wiki.clock.advance(minutes=6)
    answer = client.get("/delete", base_url=HTTPS, headers={"Accept": "text/html"})
    assert answer.headers["Location"] == "/sure?reason=fresh_login&next=/delete"
    wiki = Wiki()
    wiki.manager.refresh_view = "confrim"
    with pytest.raises(SettingsError, match=r"refresh_view.*Did you mean 'confirm'"):
        who(wiki.client())


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


@pytest.mark.parametrize("changes", ["step_up", "login"])
def test_a_view_that_began_before_our_session_got_a_new_id(changes: str) -> None:
    """It saves the link that it read over the new one; the user stays signed in, and the link is written anew (L12, L23)."""
    wiki = Wiki()
    meanwhile = [lambda: beside.post("/change", base_url=HTTPS)]

    @wiki.app.post("/change")
    @login_required
    def change() -> str:
        if changes == "step_up":
            session_from().step_up([{"type": "otp"}])
        else:
            session_from().login("alice")
        return "changed"

    @wiki.app.get("/slow")
    @login_required
    def slow() -> str:
        flask_session["basket"] = ["book"]
        meanwhile.pop()()
        return "slow"

    client, beside = wiki.client("alice"), wiki.app.test_client()
    beside._cookies = client._cookies  # two tabs of one browser
    assert client.get("/slow", base_url=HTTPS).text == "slow"
    old = link_of(client)
    assert who(client) == "alice"
    new = link_of(client)
    assert new == session_id(wiki)
    assert new != old
    assert who(client) == "alice"
    drop(client, *OURS)
    assert who(client) == "None"


@pytest.mark.parametrize("verb", ["step_up", "confirm_login"])
def test_two_step_ups_of_one_browser_at_once(verb: str) -> None:
    """A double click: one of them goes on, and whichever answer comes last, the user stays signed in (L12, L23)."""
    wiki = Wiki()
    meanwhile = [lambda: beside.post("/change", base_url=HTTPS)]

    @wiki.app.post("/change")
    @login_required
    def change() -> str:
        if verb == "step_up":
            session_from().step_up([{"type": "otp"}])
        else:
            confirm_login()
        while meanwhile:
            meanwhile.pop()()
        return str(current_user.get_id())

    client, beside = wiki.client("alice"), wiki.app.test_client()
    beside._cookies = client._cookies  # two tabs of one browser
    assert client.post("/change", base_url=HTTPS).text == "alice"
    assert who(client) == "alice"
    assert link_of(client) == session_id(wiki)


def test_step_ups_in_a_row_that_nobody_asks_the_user_of() -> None:
    """Where `current_user` is not looked at between them, the link follows all the same, and stands in each (L12, L23)."""
    wiki = Wiki()

    @wiki.app.post("/prove")
    def prove() -> str:
        session_from().step_up([{"type": "otp"}])
        return str(current_user.get_id()) if "ask" in request.args else "proved"

    client = wiki.client("alice")
    for _ in range(3):
        assert client.post("/prove", base_url=HTTPS).text == "proved"
    assert client.post("/prove?ask", base_url=HTTPS).text == "alice"
    assert who(client) == "alice"
    assert link_of(client) == session_id(wiki)


def session_id(wiki: Wiki) -> str:
    """Return the id of Alice's only session."""
    [only] = wiki.lifetime.sessions.list("alice")
    return only.id


def link_of(client: FlaskClient) -> str:
    """Return what the browser's Flask session names as its session of ours."""
    with client.session_transaction(base_url=HTTPS) as held:
        return str(held[LINK])


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


def old_client(wiki: Wiki, user: str = "alice", *, browser: str = "one") -> FlaskClient:
    """A browser that signed in before we were installed; Flask-Login tells browsers apart by `_id`."""
    client = wiki.app.test_client()
    with client.session_transaction(base_url=HTTPS) as held:
        held.update(_user_id=user, _fresh=True, _id=browser)
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
    late = old_client(wiki, browser="late")
    wiki.clock.advance(hours=15, minutes=59)
    assert who(old_client(wiki, browser="two")) == "alice"
    wiki.clock.advance(minutes=1)
    assert who(late) == "None"


def test_our_own_required_marker_adopts_too() -> None:
    """A view that we protect is served to an adopted session at its first request."""
    wiki = Wiki(adopt_existing_until="2099-12-31")
    wiki.app.get("/ours")(session_required(lambda: str(session_from().subject)))
    assert who(old_client(wiki), "/ours") == "alice"


@pytest.mark.parametrize("fails", ["raises", "answers"])
def test_a_view_that_fails_keeps_the_adopted_session(fails: str) -> None:
    """Whom we have adopted did not log in in that view: its fault signs nobody out (L25)."""
    wiki = Wiki(adopt_existing_until="2099-12-31")

    @wiki.app.get("/fails")
    def fail() -> tuple[str, int]:
        assert current_user.is_authenticated
        assert fails == "answers"
        return "sorry", 500

    client = old_client(wiki)
    assert client.get("/fails", base_url=HTTPS).status_code == 500
    assert who(client) == "alice"


def test_what_a_view_wrote_before_it_failed_is_not_saved_for_whom_was_adopted() -> None:
    """The session stays, and what the view wrote is half of something, as in any other (L25)."""
    wiki = Wiki(adopt_existing_until="2099-12-31")

    @wiki.app.get("/fails")
    def fail() -> str:
        assert current_user.is_authenticated
        session_from().update_claims(half=True)
        session_from().data["half"] = True
        raise RuntimeError("as asked")

    @wiki.app.get("/written")
    def written() -> dict[str, object]:
        return {"subject": session_from().subject, "claims": dict(session_from().claims), "data": session_from().data}

    client = old_client(wiki)
    assert client.get("/fails", base_url=HTTPS).status_code == 500
    assert client.get("/written", base_url=HTTPS).json == {"subject": "alice", "claims": {}, "data": {}}


def test_a_linked_session_is_never_adopted_again() -> None:
    """Once linked, the Flask session counts only with its session of ours."""
    wiki = Wiki(adopt_existing_until="2099-12-31")
    client = old_client(wiki)
    assert who(client) == "alice"
    drop(client, *OURS)
    assert who(client) == "None"


def test_a_copy_of_an_adopted_session_is_never_adopted() -> None:
    """A signed cookie copied before the adoption does not know of the link; the store knows whose it was (L23)."""
    wiki = Wiki(adopt_existing_until="2027-01-15")
    client, copy, parallel = old_client(wiki), old_client(wiki), old_client(wiki)
    assert who(client) == "alice"
    assert who(copy) == "None"
    client.post("/logout", base_url=HTTPS)
    assert who(parallel) == "None"
    assert wiki.lifetime.sessions.list("alice") == []
    assert who(old_client(wiki, "bob")) == "bob", "another user with the same browser is another session"


def test_an_adopted_session_is_not_fresh() -> None:
    """Nobody saw when its user last proved who they are: not fresh, with us, with Flask-Login or in the JWT (L3)."""
    wiki = Wiki(adopt_existing_until="2027-01-15")
    wiki.app.get("/fresh", endpoint="fresh")(lambda: str(session_from().is_fresh(86_000)))
    wiki.app.get("/jwt", endpoint="jwt")(
        lambda: str("auth_time" in wiki.lifetime.engine.verify_jwt(session_from().jwt or ""))
    )
    client = old_client(wiki)
    assert (who(client, "/fresh"), who(client, "/jwt")) == ("False", "False")
    assert client.get("/sensitive", base_url=HTTPS).status_code == 401
    assert client.post("/confirm", base_url=HTTPS).text == "alice"
    assert (who(client, "/fresh"), who(client, "/jwt")) == ("True", "True")
    assert who(client, "/sensitive") == "sensitive"


class Forgetful:
    """A store without the power to add a value once."""

    def __init__(self) -> None:
        inner = MemoryStore()
        self.short_calls = inner.short_calls
        for name in ("create", "load", "touch", "save", "renew", "end", "list"):
            setattr(self, name, getattr(inner, name))


class OnServer(SecureCookieSessionInterface):
    """Keeps Flask's sessions on the server, as Flask-Session does; the cookie carries an id."""

    class Held(dict[str, Any], SessionMixin):
        sid = ""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def open_session(self, app: Flask, request: Any) -> Any:
        held = self.Held()
        held.sid = request.cookies.get("session", "") or str(len(self.rows))
        held.update(self.rows.get(held.sid, {}))
        return held

    def save_session(self, app: Flask, session: Any, response: Any) -> None:
        self.rows[session.sid] = dict(session)
        response.set_cookie("session", session.sid)


def test_with_a_store_that_cannot_take_note_no_cookie_is_adopted() -> None:
    """Where the store has no `add_once`, a session that lives in a cookie signs in again; one on the server is adopted."""
    wiki = Wiki(adopt_existing_until="2027-01-15", store=Forgetful())
    assert who(old_client(wiki)) == "None"
    wiki.app.session_interface = OnServer()
    assert who(old_client(wiki)) == "alice"


def test_copies_of_a_session_on_the_server_see_the_link() -> None:
    """There two browsers that look alike are both adopted, and a copy of the first one's cookie is worth nothing."""
    wiki = Wiki(adopt_existing_until="2027-01-15")
    wiki.app.session_interface = OnServer()
    client, copy = old_client(wiki), wiki.app.test_client()
    move("session", client, copy)
    assert who(client) == "alice"
    assert who(copy) == "None"
    assert who(old_client(wiki)) == "alice"


@pytest.mark.parametrize("last", ["outer", "inner"])
def test_parallel_first_requests_on_the_server_get_the_same_session(last: str) -> None:
    """Whichever answer the browser keeps, and whichever Flask session is saved last, it is signed in: there is one session."""
    wiki = Wiki(adopt_existing_until="2027-01-15")
    wiki.app.session_interface = OnServer()
    inner: list[str] = []

    @wiki.app.get("/slow")
    def slow() -> str:
        if last == "inner":
            assert current_user.is_authenticated
        inner.append(who(beside))
        return str(current_user.get_id() if last == "inner" else "not asked")

    client, beside = old_client(wiki), wiki.app.test_client()
    move("session", client, beside)
    outer = client.get("/slow", base_url=HTTPS).text  # which saves the Flask session as it read it
    assert (outer, inner) == ("alice" if last == "inner" else "not asked", ["alice"])
    assert who(beside) == "alice"
    assert who(beside, "/private") == "private of alice"
    assert len(wiki.lifetime.sessions.list("alice")) == 1


def test_what_was_adopted_on_the_server_and_has_ended_is_not_adopted_again() -> None:
    """Also where its link was lost, and however long ago that was (L16, L23)."""
    wiki = Wiki(adopt_existing_until="2027-01-31")
    wiki.app.session_interface = OnServer()
    client = old_client(wiki)
    copy = wiki.app.test_client()
    move("session", client, copy)
    assert who(client) == "alice"
    wiki.lifetime.sessions.end_all("alice")
    with copy.session_transaction(base_url=HTTPS) as held:
        del held[LINK]
    assert who(copy) == "None"
    wiki.clock.advance(days=2)
    assert who(copy) == "None"


def test_a_session_of_ours_beside_another_one_on_the_server() -> None:
    """One that was not begun on that Flask session does not vouch for it (L23)."""
    wiki = Wiki(adopt_existing_until="2027-01-15")
    wiki.app.session_interface = OnServer()
    client, other = old_client(wiki), old_client(wiki)
    assert who(client) == "alice"
    move("session", other, client)
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
    assert who(client) == "alice", "the next request of our own may"


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
