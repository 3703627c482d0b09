"""OpenIDStandIn: an OpenID provider for those who develop and test offline, in a few hundred lines and without Node.

It does what a sign-in needs: discovery, keys, code flow with PKCE, `prompt`, `max_age`, refresh tokens that rotate, logout with
and without the browser. Names are passwords: whoever writes "alice" into its form is alice. Our own tests also run against a
certified provider; this one is there for faults, for clocks that a test moves, and for examples that start with one command.
"""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from html import escape
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit
from wsgiref.types import StartResponse

from session_middleware.testing.stand_ins._faults import Answer, Faults
from session_middleware.testing.stand_ins._openid_world import Client, World

__all__ = ["OpenIDStandIn"]

COOKIE: Final = "stand_in_session"

Fields = Mapping[str, str]


class OpenIDStandIn:
    """One OpenID provider as a WSGI callable; serve it with `served` and give its URL to `OIDCAuthority` as issuer.

    Args:
        clock: seconds since the epoch; give it the same `FakeClock` as the app. `clock_offset` is added to it.
        idle: seconds of silence after which its session ends; each visit of the browser begins them anew.
        lifetime: seconds after which it ends in any case.

    Attributes:
        calls: method and path of each request, in order.
        clock_offset: seconds by which its clock is ahead.
        faults: what goes wrong from now on.
        world: what it knows: `world.claims[subject]` adds claims to ID tokens, `world.rotate_keys()` changes its key.

    Example:
        >>> provider = OpenIDStandIn()
        >>> provider.add_client("shop", "a secret", ["https://shop.example/session/callback"])
    """

    logout_typ = "logout+jwt"
    slash = ""

    def __init__(
        self, *, clock: Callable[[], float] = time.time, idle: float = 3_600.0, lifetime: float = 86_400.0
    ) -> None:
        self.calls: list[str] = []
        self.clock_offset = 0.0
        self.faults = Faults()
        self.world = World(lambda: clock() + self.clock_offset, idle, lifetime)
        self.clients: dict[str, Client] = {}
        self.base_url = ""
        self._cookies: dict[str, str] = {}  # of those who sign in by `sign_in`
        self._lock = threading.RLock()

    def add_client(
        self, id: str, secret: str | None, redirect_uris: Iterable[str], logout_uris: Iterable[str] = ()
    ) -> None:
        """Register an application."""
        self.clients[id] = Client(secret, tuple(redirect_uris), tuple(logout_uris))

    @property
    def issuer(self) -> str:
        """Its issuer identifier, once it has been asked anything."""
        return self.base_url + self.slash

    def logout_tokens(self, sid: str, **claims: Any) -> dict[str, str]:
        """End a session as an operator would; return what is told to each application that used it."""
        with self._lock:
            session = self.world.end(sid)
            if session is None:
                return {}
            return {
                client: self.world.logout_token(self.issuer, client, session, self.logout_typ, **claims)
                for client in session.clients
            }

    def sign_in(self, url: str, subject: str) -> str:
        """Do in one step what somebody does in a browser of theirs: open a sign-in, write a name; for tests of an app.

        Args:
            url: where the app's login route leads.
            subject: the name; the same name is the same browser, so `prompt=none` finds its session.

        Returns:
            Where the browser goes then: the app's callback, with the answer in its query.
        """
        environ = {"HTTP_COOKIE": f"{COOKIE}={self._cookies[subject]}"} if subject in self._cookies else {}
        query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        with self._lock:
            answer = self._authorize(environ, query, "")
            if answer.status == 200:
                answer = self._login(environ, {}, urlencode({"request": urlencode(query), "login": subject}))
        for name, value in answer.headers:
            if name == "Set-Cookie":
                self._cookies[subject] = value.partition(";")[0].partition("=")[2]
        return dict(answer.headers)["Location"]

    # --- requests ----------------------------------------------------------------------------------------------

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length).decode() if length else ""
        self.base_url = self.base_url or f"http://{environ['HTTP_HOST']}"
        self.calls.append(f"{method} {path}")
        answer = self.faults.through(path, lambda: self._answered(method, path, environ, body))
        phrase = HTTPStatus(answer.status).phrase
        start_response(f"{answer.status} {phrase}", list(answer.headers))
        return [answer.body]

    def _answered(self, method: str, path: str, environ: Mapping[str, Any], body: str) -> Answer:
        query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
        route = self.routes().get((method, path))
        with self._lock:
            if route is not None:
                return route(environ, query, body)
            return self.elsewhere(method, path, environ, query, body)

    def routes(self) -> dict[tuple[str, str], Callable[[Mapping[str, Any], Fields, str], Answer]]:
        """What it answers: by method and path."""
        return {
            ("GET", "/.well-known/openid-configuration"): self._discovery,
            ("GET", "/jwks"): self._jwks,
            ("GET", "/authorize"): self._authorize,
            ("POST", "/login"): self._login,
            ("POST", "/token"): self._token,
            ("POST", "/revoke"): self._revoke,
            ("GET", "/logout"): self._logout,
        }

    def elsewhere(self, method: str, path: str, environ: Mapping[str, Any], query: Fields, body: str) -> Answer:
        """Answer what no route names."""
        return as_json({"error": "not_found"}, 404)

    def endpoints(self) -> dict[str, str]:
        """The addresses in the discovery document, by name."""
        return {
            "authorization_endpoint": "/authorize",
            "token_endpoint": "/token",
            "jwks_uri": "/jwks",
            "end_session_endpoint": "/logout",
            "revocation_endpoint": "/revoke",
        }

    def _discovery(self, environ: Mapping[str, Any], query: Fields, body: str) -> Answer:
        named = {name: self.base_url + path for name, path in self.endpoints().items()}
        return as_json({"issuer": self.issuer, **named, "response_modes_supported": ["query", "form_post"]})

    def _jwks(self, environ: Mapping[str, Any], query: Fields, body: str) -> Answer:
        return as_json(self.world.jwks())

    # --- signing in --------------------------------------------------------------------------------------------

    def _authorize(self, environ: Mapping[str, Any], query: Fields, body: str) -> Answer:
        client = self.clients.get(query.get("client_id", ""))
        if client is None or query.get("redirect_uri") not in client.redirect_uris:
            return page("Unknown application", "<p>Register its client id and redirect URI.</p>", 400)
        session = self.world.session_of(_cookie(environ))
        prompts, age = query.get("prompt", "").split(), query.get("max_age")
        stale = session is None or "login" in prompts
        if session is not None and age is not None and self.world.clock() >= session.auth_time + float(age):
            stale = True
        if not stale and session is not None:
            return self._answer_to(query, {"code": self.world.code_for(session, query["client_id"], query)})
        if "none" in prompts:
            return self._answer_to(query, {"error": "login_required"})
        hint = escape(query.get("login_hint", ""))
        return page(
            "Sign in at the stand-in",
            f'<form method="post" action="/login"><input type="hidden" name="prompt" value="login">'
            f'<input type="hidden" name="request" value="{escape(urlencode(query))}">'
            f'<p><label>Any name <input type="text" name="login" value="{hint}" required autofocus></label></p>'
            "<p><button>Sign in</button></p></form>",
        )

    def _login(self, environ: Mapping[str, Any], query: Fields, body: str) -> Answer:
        form = dict(parse_qsl(body, keep_blank_values=True))
        asked = dict(parse_qsl(form.get("request", ""), keep_blank_values=True))
        client = self.clients.get(asked.get("client_id", ""))
        if client is None or asked.get("redirect_uri") not in client.redirect_uris or not form.get("login"):
            return page("This form is none of ours", "", 400)
        session, cookie = self.world.sign_in(form["login"], _cookie(environ))
        answer = self._answer_to(asked, {"code": self.world.code_for(session, asked["client_id"], asked)})
        line = ("Set-Cookie", f"{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax")
        return Answer(answer.status, answer.body, (*answer.headers, line))

    def _answer_to(self, asked: Fields, fields: Fields) -> Answer:
        said = {**fields, "state": asked.get("state", "")}
        target = asked["redirect_uri"]
        if asked.get("response_mode") != "form_post":
            return Answer(303, b"", (("Location", f"{target}{'&' if '?' in target else '?'}{urlencode(said)}"),))
        hidden = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in said.items()
        )
        return page(
            "Going back",
            f'<form method="post" action="{escape(target)}">{hidden}<button>Go on</button></form>'
            "<script>document.forms[0].submit()</script>",
        )

    # --- tokens ------------------------------------------------------------------------------------------------

    def _token(self, environ: Mapping[str, Any], query: Fields, body: str) -> Answer:
        form = dict(parse_qsl(body, keep_blank_values=True))
        client = self.authenticated(environ, form)
        if client is None:
            return as_json({"error": "invalid_client"}, 401)
        return self.granted(client, form)

    def _revoke(self, environ: Mapping[str, Any], query: Fields, body: str) -> Answer:
        form = dict(parse_qsl(body, keep_blank_values=True))
        if self.authenticated(environ, form) is None:
            return as_json({"error": "invalid_client"}, 401)
        grant = self.world.refresh_tokens.get(form.get("token", ""))
        if grant is not None:
            self.world.revoke_family(grant.family)
        return Answer(200)

    def granted(self, client: str, form: Fields) -> Answer:
        """Answer a grant of a client that has proved who it is."""
        if form.get("grant_type") == "authorization_code":
            grant = self.world.redeem(
                form.get("code", ""), client, form.get("code_verifier", ""), form.get("redirect_uri", "")
            )
        elif form.get("grant_type") == "refresh_token":
            grant = self.world.refresh(form.get("refresh_token", ""), client)
        else:
            return as_json({"error": "unsupported_grant_type"}, 400)
        if grant is None:
            return as_json({"error": "invalid_grant"}, 400)
        return as_json(self.world.tokens(grant, self.issuer))

    def authenticated(self, environ: Mapping[str, Any], form: Fields) -> str | None:
        """Return the client that a token request comes from."""
        basic = environ.get("HTTP_AUTHORIZATION", "")
        if basic.startswith("Basic "):
            id, _, secret = (unquote_plus(text) for text in b64decode(basic[6:]).decode().partition(":"))
            given: str | None = secret
        else:
            id, given = form.get("client_id", ""), form.get("client_secret")
        client = self.clients.get(id)
        return id if client is not None and client.secret == given else None

    # --- logout ------------------------------------------------------------------------------------------------

    def _logout(self, environ: Mapping[str, Any], query: Fields, body: str) -> Answer:
        client = self.clients.get(query.get("client_id", ""))
        target = query.get("post_logout_redirect_uri")
        if target is not None and (client is None or target not in client.logout_uris):
            return page("This address is not registered", "", 400)
        self.forget(environ)
        if target is None:
            return page("You are signed out of the stand-in", "")
        state = query.get("state")
        return Answer(303, b"", (("Location", target + (f"?{urlencode({'state': state})}" if state else "")),))

    def forget(self, environ: Mapping[str, Any]) -> None:
        """End the session of a browser."""
        sid = self.world.browsers.pop(_cookie(environ) or "", None)
        if sid is not None:
            self.world.end(sid)


def as_json(document: object, status: int = 200) -> Answer:
    """A JSON answer."""
    return Answer(status, json.dumps(document).encode(), (("Content-Type", "application/json"),))


def page(title: str, content: str, status: int = 200) -> Answer:
    """A page for a person."""
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>{content}</html>'
    )
    return Answer(status, text.encode(), (("Content-Type", "text/html; charset=utf-8"),))


def _cookie(environ: Mapping[str, Any]) -> str | None:
    held = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(COOKIE)
    return None if held is None else held.value
