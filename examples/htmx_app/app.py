"""A small Flask app with htmx: `cd examples/htmx_app && uv run flask --app app run`, then http://localhost:5000/.

Where a request of htmx is refused because the session is over, the dialog says so and the page stays as it is; the poll does
not keep the session alive. The browser fetches htmx itself from a CDN. Behind a server set SECRET_KEY, since without it each
process makes a key of its own.
"""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from typing import Any

from flask import Flask, redirect, render_template_string, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.security import check_password_hash, generate_password_hash

from session_middleware import fresh_login_required, session_exempt, session_optional
from session_middleware.adapters.flask import SessionLifetime, safe_return_to, session_from

USERS = {"alice": generate_password_hash("wonderland")}  # yours are in a database

HTMX = "https://cdn.jsdelivr.net/npm/htmx.org@4.0.1/dist/htmx.min.js"
HTMX_HASH = "sha384-Qp9rdC8H7EqOoX+nR0P3RPG2Noji+qdwJlGpfzwQJsfOpp3sGwIdSP9xO3+UlEhn"

HOME = """<!doctype html><html lang=en><head><meta charset=utf-8><title>Notes</title>
<meta name=viewport content="width=device-width"><meta name=color-scheme content="light dark"><link rel=icon href="data:,">
{{ session_client() }}
<script src="{{ htmx }}" integrity="{{ htmx_hash }}" crossorigin=anonymous></script>
<script type=module>
import { session } from "{{ url_for("home") }}session/client.js";

// The server answers 401 with HX-Redirect, which would lead to the login page and lose what was typed.
document.addEventListener("htmx:before:response", (event) => {
  const { status, raw } = event.detail.ctx.response;
  if (status !== 401) return;
  event.preventDefault();
  raw.json().then((problem) => session.refused(problem));
});
</script></head><body>
<h1>Notes of {{ session.subject }}</h1>
<form hx-post="{{ url_for("add") }}" hx-target="#notes" hx-swap="beforeend">
<label>A note <input name=text required></label> <button>Add</button></form>
<ul id=notes>{% for note in notes %}<li>{{ note }}{% endfor %}</ul>
<p>Unread: <output hx-get="{{ url_for("unread") }}" hx-trigger="load, every 10s"
  hx-headers='{"Session-Activity": "none"}'>?</output></p>
<p><a href="{{ url_for("password") }}">Change password</a>, <a href="/session/list">my sessions</a>,
<a href="{{ url_for("about") }}">about</a></p>
<form method=post action=/session/logout><button>Log out</button></form>
</body></html>"""

LOGIN = """<!doctype html><html lang=en><meta charset=utf-8><title>Log in</title><link rel=icon href="data:,"><h1>Log in</h1>
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
        SESSION_LIFETIME_COOKIE_NAME="htmx_app",
        SESSION_LIFETIME_INACTIVITY_TIMEOUT=15 * 60,
        SESSION_LIFETIME_ABSOLUTE_LIFETIME=8 * 3600,
    )
    app.config.from_prefixed_env()  # FLASK_...
    SessionLifetime(app, **options)
    notes: dict[str | None, list[str]] = defaultdict(list)  # yours are in a database

    @app.get("/")
    def home() -> str:
        session = session_from()
        mine = notes[session.subject]
        return render_template_string(HOME, session=session, notes=mine, htmx=HTMX, htmx_hash=HTMX_HASH)

    @app.post("/notes")
    def add() -> str:
        text = request.form["text"]
        notes[session_from().subject].append(text)
        return render_template_string("<li>{{ text }}", text=text)

    @app.get("/unread")  # not marked: its request says by itself that it is no activity
    def unread() -> str:
        return "0"

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

    @app.get("/password")
    @fresh_login_required(within=300)
    def password() -> str:
        return "You logged in within the last five minutes, so here you may change your password."

    return app
