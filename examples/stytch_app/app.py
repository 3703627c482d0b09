"""A small Flask app whose sessions live at Stytch: `cd examples/stytch_app && uv run flask --app app run`, then
http://localhost:5000/.

It needs no account at Stytch: without STYTCH_PROJECT_ID a stand-in runs beside it, in the same process. With a project of your
own, set STYTCH_PROJECT_ID and STYTCH_SECRET, and sign in with the email and password of one of its users.
"""

from __future__ import annotations

import atexit
import os
import secrets
from contextlib import ExitStack
from typing import Any

import httpx2
from flask import Flask, redirect, render_template_string, request, url_for
from flask.typing import ResponseReturnValue

from session_middleware import fresh_login_required, no_touch, session_exempt
from session_middleware.adapters.flask import SessionLifetime, safe_return_to, session_from
from session_middleware.authorities.stytch import StytchAuthority
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.stytch import StytchStandIn

MINUTES = 30  # how long Stytch's session lasts from a login, and from each extension

HOME = """<!doctype html><html lang=en><meta charset=utf-8><title>Hello</title>
<h1>Hello {{ session.subject }}</h1>
<p>Silence ends this session {% if session.inactivity_deadline %}at
{{ session.inactivity_deadline.strftime("%H:%M:%S") }} UTC unless you do something{% else %}never{% endif %};
at {{ session.absolute_deadline.strftime("%H:%M:%S") }} UTC it ends in any case.</p>
<p>Proved by {% for factor in session.factors %}{{ factor["type"] }} {% endfor %}at Stytch.</p>
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
<form method=post><label>Email <input name=email type=email autocomplete=username></label>
<label>Password <input name=password type=password autocomplete=current-password></label>
<button>Log in</button></form><p>alice@example.com, wonderland</p></html>"""


def stand_in() -> tuple[str, str, str]:
    """Run a Stytch of our own beside the app and return its address, project id and secret."""
    stytch = StytchStandIn()
    stytch.add_user("alice@example.com", password="wonderland")
    running = ExitStack()
    base_url = running.enter_context(served(stytch))
    atexit.register(running.close)
    return base_url, stytch.project_id, stytch.secret


def create_app(project: tuple[str, str, str] | None = None, **options: Any) -> Flask:
    """Return the app; options are those of SessionLifetime."""
    project_id = os.environ.get("STYTCH_PROJECT_ID", "")
    if project is None and project_id:
        kind = "api" if project_id.startswith("project-live-") else "test"
        project = f"https://{kind}.stytch.com", project_id, os.environ["STYTCH_SECRET"]
    base_url, project_id, secret = project or stand_in()

    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48),
        SESSION_LIFETIME_LOGIN_URL="login",  # the name of the route
        SESSION_LIFETIME_COOKIE_NAME="stytch_app",
        SESSION_LIFETIME_INACTIVITY_TIMEOUT=15 * 60,
        SESSION_LIFETIME_ABSOLUTE_LIFETIME=8 * 3600,
    )
    app.config.from_prefixed_env()  # FLASK_...
    authority = StytchAuthority(
        project_id,
        secret,
        base_url=base_url,
        session_duration_minutes=MINUTES,
        cookie_http_only=True,  # no script of Stytch's runs in these pages
    )
    SessionLifetime(app, authority=authority, **options)

    @app.get("/")
    def home() -> str:
        return render_template_string(HOME, session=session_from())

    @app.route("/login", methods=["GET", "POST"])
    @session_exempt  # who signs in proves it anew
    def login() -> ResponseReturnValue:
        if request.method == "GET":
            return render_template_string(LOGIN, wrong=False)
        answer = httpx2.post(
            f"{base_url}/v1/passwords/authenticate",
            auth=(project_id, secret),
            json={
                "email": request.form["email"],
                "password": request.form["password"],
                "session_duration_minutes": MINUTES,  # without it there would be no session at Stytch
            },
            timeout=5,
        )
        if answer.status_code >= 500:
            return "Stytch does not answer. Please try again.", 503
        if answer.status_code != 200:
            return render_template_string(LOGIN, wrong=True), 403
        response = redirect(safe_return_to(url_for("home")), 303)
        found = answer.json()
        for name, value in [("stytch_session", "session_token"), ("stytch_session_jwt", "session_jwt")]:
            response.set_cookie(name, found[value], max_age=MINUTES * 60, secure=True, httponly=True, samesite="Lax")
        return response  # the next request shows them, and a session of ours is begun on them

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
