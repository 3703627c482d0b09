"""A small Flask app whose sessions live at Ory Kratos: `uv run python app.py`, then http://127.0.0.1:5000/.

It needs no Kratos: a stand-in runs beside it, its public listener on port 4433 and its admin listener on 4434, as Kratos has
them. With a Kratos of your own, set KRATOS_PUBLIC_URL and KRATOS_ADMIN_URL (docs/kratos.md says what its configuration needs).
Both are reached as 127.0.0.1, because Kratos' cookie is for one host, whatever the port.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from flask import Flask, render_template_string, url_for

from session_middleware import fresh_login_required, no_touch, session_exempt
from session_middleware.adapters.flask import SessionLifetime, session_from
from session_middleware.authorities.kratos import KratosAuthority
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.kratos import KratosStandIn

LIFESPAN = 30 * 60  # session.lifespan; short, so that an extension is soon to be seen

HOME = """<!doctype html><html lang=en><meta charset=utf-8><title>Hello</title>
<h1>Hello {{ session.claims["email"] }}</h1>
<p>Silence ends this session {% if session.inactivity_deadline %}at
{{ session.inactivity_deadline.strftime("%H:%M:%S") }} UTC unless you do something{% else %}never{% endif %};
at {{ session.absolute_deadline.strftime("%H:%M:%S") }} UTC it ends in any case.</p>
<p>Proved by {% for factor in session.factors %}{{ factor["type"] }} {% endfor %}at Kratos.</p>
<p><a href="{{ url_for("password") }}">Change password</a>, <a href="/session/list">my sessions</a>,
<a href="{{ url_for("about") }}">about</a>. Unread: <output id=unread>?</output></p>
<form method=post action=/session/logout><button>Log out</button></form>
<script>
setInterval(async () => {
  const answer = await fetch({{ url_for("unread")|tojson }});
  if (answer.status === 401) location.reload();  // the session has ended: to Kratos, and back here after it
  else unread.value = (await answer.json()).unread;
}, 10000);
</script></html>"""


def create_app(authority: KratosAuthority, **options: Any) -> Flask:
    """Return the app; options are those of SessionLifetime."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48),
        SESSION_LIFETIME_COOKIE_NAME="kratos_app",
        SESSION_LIFETIME_INACTIVITY_TIMEOUT=15 * 60,
        SESSION_LIFETIME_ABSOLUTE_LIFETIME=8 * 3600,
    )
    app.config.from_prefixed_env()  # FLASK_...
    SessionLifetime(app, authority=authority, **options)

    @app.get("/")
    def home() -> str:
        return render_template_string(HOME, session=session_from())

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
        return f"You proved who you are within the last five minutes. Back to {url_for('home')}."

    return app


def authority_of(public_url: str, admin_url: str | None, app_url: str) -> KratosAuthority:
    """Return what asks Kratos; claims are what the app wants to know of its users."""
    return KratosAuthority(
        public_url,
        admin_url=admin_url,
        app_url=app_url,
        lifespan=LIFESPAN,
        claims=lambda session: {"email": session["identity"]["traits"]["email"]},
    )


def stand_in(app_url: str, **options: Any) -> KratosStandIn:
    """Return a Kratos with two people: alice with a password, and bob, who has a second factor."""
    kratos = KratosStandIn(lifespan=LIFESPAN, allowed_return_urls=[app_url], **options)
    kratos.add_identity("alice", "wonderland", traits={"email": "alice@example.org"})
    kratos.add_identity("bob", "builder", totp_code="123456", traits={"email": "bob@example.org"})
    return kratos


def main() -> None:
    """Serve the app, and the stand-in unless there is a Kratos."""
    port, kratos_port = int(os.environ.get("PORT", "5000")), int(os.environ.get("KRATOS_PORT", "4433"))
    app_url = f"http://127.0.0.1:{port}"
    public_url, admin_url = os.environ.get("KRATOS_PUBLIC_URL"), os.environ.get("KRATOS_ADMIN_URL")
    if public_url is not None:
        create_app(authority_of(public_url, admin_url, app_url)).run(port=port)
        return
    kratos = stand_in(app_url)
    with served(kratos.public, port=kratos_port) as public_url, served(kratos.admin, port=kratos_port + 1) as admin_url:
        print(f"A stand-in of Kratos at {public_url}: alice, wonderland; bob, builder, and then 123456.", flush=True)
        create_app(authority_of(public_url, admin_url, app_url)).run(port=port)


if __name__ == "__main__":
    main()
