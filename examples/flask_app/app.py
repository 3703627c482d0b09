"""A small Flask app: `cd examples/flask_app && uv run flask --app app run`, then http://localhost:5000/.

Behind a server: `uv run gunicorn --workers 2 'app:create_app()'`, SECRET_KEY set, since without it each process makes a key
of its own. Sessions are in instance/sessions.db, or where SESSION_STORE_URL says. Any setting can be given in the
environment as Flask reads it, FLASK_SESSION_LIFETIME_INACTIVITY_TIMEOUT=60.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from flask import Flask, redirect, render_template_string, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.security import check_password_hash, generate_password_hash

from session_middleware import fresh_login_required, no_touch, session_exempt, session_optional
from session_middleware.adapters.flask import SessionLifetime, safe_return_to, session_from

USERS = {"alice": generate_password_hash("wonderland")}  # yours are in a database

HOME = """<!doctype html><html lang=en><meta charset=utf-8><title>Hello</title>
<h1>Hello {{ session.subject }}</h1>
<p>Silence ends this session {% if session.inactivity_deadline %}at
{{ session.inactivity_deadline.strftime("%H:%M:%S") }} UTC unless you do something{% else %}never{% endif %};
at {{ session.absolute_deadline.strftime("%H:%M:%S") }} UTC it ends in any case.</p>
<p><a href="{{ url_for("password") }}">Change password</a>, <a href="/session/list">my sessions</a>,
<a href="{{ url_for("about") }}">about</a>. Unread: <output id=unread>?</output></p>
<form method=post action=/session/logout><button>Log out</button></form>
<script>
setInterval(async () => {
  const answer = await fetch({{ url_for("unread")|tojson }});
  if (answer.status === 401) location.reload();  // the session has ended: to the login page, and back here after it
  else unread.value = (await answer.json()).unread;
}, 10000);
</script></html>"""

LOGIN = """<!doctype html><html lang=en><meta charset=utf-8><title>Log in</title><h1>Log in</h1>
{% if wrong %}<p role=alert>That is not right.</p>{% endif %}
<form method=post><label>Name <input name=name autocomplete=username></label>
<label>Password <input name=password type=password autocomplete=current-password></label>
<button>Log in</button></form><p>alice, wonderland</p></html>"""


def create_app(**options: Any) -> Flask:
    """Return the app; options are those of SessionLifetime."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48),
        SESSION_LIFETIME_LOGIN_URL="login",  # the name of the route
        SESSION_LIFETIME_COOKIE_NAME="flask_app",
        SESSION_LIFETIME_INACTIVITY_TIMEOUT=15 * 60,
        SESSION_LIFETIME_ABSOLUTE_LIFETIME=8 * 3600,
    )
    app.config.from_prefixed_env()  # FLASK_...
    SessionLifetime(app, **options)

    @app.get("/")
    def home() -> str:
        return render_template_string(HOME, session=session_from())

    @app.route("/login", methods=["GET", "POST"])
    @session_optional
    def login() -> ResponseReturnValue:
        if request.method == "GET":
            return render_template_string(LOGIN, wrong=False)
        name = request.form["name"]
        if name not in USERS or not check_password_hash(USERS[name], request.form["password"]):
            return render_template_string(LOGIN, wrong=True), 403
        session_from().login(name, factors=[{"type": "password"}])
        return redirect(safe_return_to(url_for("home")), 303)

    @app.get("/about")
    @session_exempt
    def about() -> str:
        return "For everybody; no cookie is read."

    @app.get("/unread")
    @no_touch  # the page asks every ten seconds, and that is not the user
    def unread() -> dict[str, int]:
        return {"unread": 0}

    @app.get("/password")
    @fresh_login_required(within=300)
    def password() -> str:
        return "You logged in within the last five minutes, so here you may change your password."

    return app
