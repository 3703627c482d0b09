"""An app with Flask-Login, wrapped: `cd examples/flask_login_existing && uv run flask --app app run`.

The app is as such apps are: LoginManager, `login_user`, `@login_required`, "remember me". What we added stands between the
two lines below, and on three routes. Now its sessions end by silence and by age, a logout ends them on every copy of the
cookies, a remember cookie alone signs nobody in, and a user sees and ends their sessions at /session/list.

Behind a server: `uv run gunicorn --workers 2 'app:create_app()'`, SECRET_KEY set, since without it each process makes a key
of its own. Sessions are in instance/sessions.db, or where SESSION_STORE_URL says. Any setting can be given in the
environment as Flask reads it, FLASK_SESSION_LIFETIME_INACTIVITY_TIMEOUT=60.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from flask import Flask, flash, redirect, render_template_string, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)
from werkzeug.security import check_password_hash, generate_password_hash

from session_middleware import fresh_login_required, no_touch, session_exempt
from session_middleware.adapters.flask import SessionLifetime, safe_return_to, session_from

PAGE = """<!doctype html><html lang=en><meta charset=utf-8><title>Wiki</title>
{% for message in get_flashed_messages() %}<p role=status>{{ message }}</p>{% endfor %}
{{ body|safe }}
{% if current_user.is_authenticated %}<form method=post action="{{ url_for("logout") }}"><button>Log out</button></form>
{% endif %}</html>"""

HOME = """<h1>Hello {{ current_user.id }}</h1>
<p>Silence ends this session {% if session.inactivity_deadline %}at
{{ session.inactivity_deadline.strftime("%H:%M:%S") }} UTC unless you do something{% else %}never{% endif %};
at {{ session.absolute_deadline.strftime("%H:%M:%S") }} UTC it ends in any case.</p>
<p><a href="{{ url_for("password") }}">Change password</a>, <a href="/session/list">my sessions</a>,
<a href="{{ url_for("about") }}">about</a>. Unread: <output id=unread>?</output></p>
<script>
setInterval(async () => {
  const answer = await fetch({{ url_for("unread")|tojson }});
  if (answer.redirected) location.reload();  // Flask-Login sends a script, too, to the login page
  else unread.value = (await answer.json()).unread;
}, 10000);
</script>"""

LOGIN = """<h1>Log in</h1><form method=post><label>Name <input name=name autocomplete=username></label>
<label>Password <input name=password type=password autocomplete=current-password></label>
<label><input name=remember type=checkbox> Remember me</label> <button>Log in</button></form><p>alice, wonderland</p>"""

PASSWORD = """<h1>Change password</h1><form method=post>
<label>New password <input name=new type=password autocomplete=new-password></label><button>Change</button></form>"""


class User(UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    def __init__(self, id: str, password: str) -> None:
        self.id = id
        self.hash = generate_password_hash(password)


def create_app(**options: Any) -> Flask:
    """Return the app; options are those of SessionLifetime."""
    app = Flask(__name__)
    app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48)
    users = {"alice": User("alice", "wonderland")}  # yours are in a database
    manager = LoginManager(app)
    manager.login_view = "login"
    manager.user_loader(users.get)

    # --- added: from here ---
    app.config["SESSION_LIFETIME_INACTIVITY_TIMEOUT"] = 15 * 60
    app.config["SESSION_LIFETIME_ABSOLUTE_LIFETIME"] = 8 * 3600
    app.config["SESSION_LIFETIME_COOKIE_NAME"] = "wiki"
    # app.config["SESSION_LIFETIME_ADOPT_EXISTING_UNTIL"] = "2026-11-22"  # on this day nobody has to log in again
    app.config.from_prefixed_env()  # FLASK_...
    SessionLifetime(app, **options)
    # --- to here ---

    def page(body: str, **values: Any) -> str:
        return render_template_string(PAGE, body=render_template_string(body, **values))

    @app.route("/login", methods=["GET", "POST"])
    def login() -> ResponseReturnValue:
        if request.method == "POST":
            user = users.get(request.form["name"])
            if user is not None and check_password_hash(user.hash, request.form["password"]):
                login_user(user, remember="remember" in request.form)
                return redirect(safe_return_to(url_for("home")), 303)
            flash("That is not right.")
        return page(LOGIN)

    @app.post("/logout")
    def logout() -> ResponseReturnValue:
        logout_user()
        flash("You are logged out, everywhere this session was.")
        return redirect(url_for("login"), 303)

    @app.get("/")
    @login_required
    def home() -> str:
        return page(HOME, session=session_from())

    @app.route("/password", methods=["GET", "POST"])
    @fresh_login_required(within=300)  # Flask-Login's own asks whether, not when
    @login_required
    def password() -> ResponseReturnValue:
        if request.method == "GET":
            return page(PASSWORD)
        current_user.hash = generate_password_hash(request.form["new"])
        ended = session_from().end_others()  # whoever knew the old password is out; this session stays
        flash(f"Changed. Other sessions ended: {ended}.")
        return redirect(url_for("home"), 303)

    @app.get("/about")
    @session_exempt
    def about() -> str:
        return "For everybody; no cookie is read."

    @app.get("/unread")
    @no_touch  # the page asks every ten seconds, and that is not the user
    @login_required
    def unread() -> dict[str, int]:
        return {"unread": 0}

    return app
