"""A small Flask app that signs people in at an OpenID provider: `uv run python app.py`, then http://localhost:5000/.

It needs no provider: a stand-in runs beside it, where every name is a password. With one of your own, set OIDC_ISSUER,
OIDC_CLIENT_ID and OIDC_CLIENT_SECRET, or AUTH0_DOMAIN in place of the issuer (docs/oidc.md says what to enter there).
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from flask import Flask, render_template_string, url_for

from session_middleware import fresh_login_required, no_touch, session_exempt
from session_middleware.adapters.flask import SessionLifetime, session_from
from session_middleware.authorities.auth0 import Auth0Authority
from session_middleware.authorities.oidc import OIDCAuthority
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.openid import OpenIDStandIn

SCOPE = "openid profile email offline_access"

HOME = """<!doctype html><html lang=en><meta charset=utf-8><title>Hello</title>
<h1>Hello {{ session.claims["email"] }}</h1>
<p>Silence ends this session {% if session.inactivity_deadline %}at
{{ session.inactivity_deadline.strftime("%H:%M:%S") }} UTC unless you do something{% else %}never{% endif %};
at {{ session.absolute_deadline.strftime("%H:%M:%S") }} UTC it ends in any case. You proved who you are at
{{ session.authenticated_at.strftime("%H:%M:%S") }}.</p>
<p><a href="{{ url_for("password") }}">Change password</a>, <a href="/session/list">my sessions</a>,
<a href="{{ url_for("calendar") }}">my calendar at the provider</a>,
<a href="/session/login?prompt=none&return_to=/">go on with the provider's session</a>,
<a href="{{ url_for("about") }}">about</a>. Unread: <output id=unread>?</output></p>
<form method=post action=/session/logout><button>Log out</button></form>
<script>
setInterval(async () => {
  const answer = await fetch({{ url_for("unread")|tojson }});
  if (answer.status === 401) location.reload();  // the session has ended: to the provider, and back here after it
  else unread.value = (await answer.json()).unread;
}, 10000);
</script></html>"""


def create_app(authority: OIDCAuthority, **options: Any) -> Flask:
    """Return the app; options are those of SessionLifetime."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48),
        SESSION_LIFETIME_COOKIE_NAME="oidc_app",
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

    @app.get("/calendar")
    def calendar() -> str:
        token = session_from().provider_token()  # goes into an Authorization header, never to a page
        return f"A call to the provider's API would carry a token of {len(token)} characters, refreshed when it is due."

    return app


def main() -> None:
    """Serve the app, and the stand-in unless there is a provider."""
    port = int(os.environ.get("PORT", "5000"))
    app_url, client_id = f"http://localhost:{port}", os.environ.get("OIDC_CLIENT_ID", "oidc_app")
    secret = os.environ.get("OIDC_CLIENT_SECRET", "a secret of the stand-in")
    if domain := os.environ.get("AUTH0_DOMAIN"):
        create_app(Auth0Authority(domain, client_id, secret, app_url=app_url, scope=SCOPE)).run(port=port)
    elif issuer := os.environ.get("OIDC_ISSUER"):
        create_app(OIDCAuthority(issuer, client_id, secret, app_url=app_url, scope=SCOPE)).run(port=port)
    else:
        provider = OpenIDStandIn()
        provider.add_client(client_id, secret, [f"{app_url}/session/callback"], [f"{app_url}/session/signed-out"])
        with served(provider, port=int(os.environ.get("OIDC_PORT", "0"))) as issuer:
            print(f"A stand-in of an OpenID provider at {issuer}: sign in by any name.", flush=True)
            create_app(OIDCAuthority(issuer, client_id, secret, app_url=app_url, scope=SCOPE)).run(port=port)


if __name__ == "__main__":
    main()
