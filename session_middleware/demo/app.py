"""The demo's WSGI app: one small view for each rule, marked as an app of yours would mark them."""

from __future__ import annotations

import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from html import escape
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from session_middleware.adapters.wsgi import SessionLifetimeMiddleware, safe_return_to, session_from
from session_middleware.core.cookies import find
from session_middleware.decorators import fresh_login_required, no_touch, session_exempt, session_optional
from session_middleware.demo.visitors import Thief, Visitor
from session_middleware.errors import SessionError
from session_middleware.events import SessionEvent
from session_middleware.settings import Settings
from session_middleware.stores.base import Store

__all__ = ["FRESH_WITHIN", "Demo"]

Environ = dict[str, Any]  # Any: WSGI puts anything there (PEP 3333)
StartResponse = Any  # its type varies with the server's stubs
Response = tuple[str, list[tuple[str, str]], bytes]
View = Callable[[Environ], Response]

#: Seconds since login within which the "fresh" page opens.
FRESH_WITHIN = 30

#: The users of the demo; there are no passwords because there is nothing to protect.
USERS = ("alice", "bob")


#: Paths that change something, so that merely opening them must not (RFC 9110 §9.2.1).
CHANGES = frozenset({"/extend", "/end-others", "/other", "/thief"})


class Demo:
    """The whole demo as one WSGI callable; `endpoint_of` tells the middleware which view, with its markers, will run."""

    def __init__(self, settings: Settings, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.events: deque[tuple[int, SessionEvent]] = deque(maxlen=200)
        self._numbered = 0
        self.other = Visitor(self, "Another browser (simulated by the demo)")
        self.thief = Thief(self, settings.token_cookie)

        self._views: dict[str, View] = {
            "/": self.home,
            "/login": self.login,
            "/who": self.who,
            "/page": self.page,
            "/poll": self.poll,
            "/fresh": self.fresh,
            "/extend": self.extend,
            "/end-others": self.end_others,
            "/other": self.other_browser,
            "/thief": self.thief_acts,
            "/events": self.recent,
        }
        self.app = SessionLifetimeMiddleware(
            self._serve, settings, store, clock=clock, on_event=self._note, endpoint_of=self._view_of
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self.app(environ, start_response)

    def _view_of(self, environ: Environ) -> View:
        return self._views.get(environ.get("PATH_INFO", ""), _nothing_here)

    def _serve(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        view = self._view_of(environ)
        if environ["PATH_INFO"] in CHANGES and environ["REQUEST_METHOD"] != "POST":
            status, headers, body = _json({"error": "POST it"}, "405 Method Not Allowed")
        else:
            status, headers, body = view(environ)
        start_response(status, headers)
        return [body]

    def _note(self, event: SessionEvent) -> None:
        self._numbered += 1
        self.events.append((self._numbered, event))

    # --- pages -------------------------------------------------------------------------------------------------

    @session_optional
    def home(self, environ: Environ) -> Response:
        return self._html()

    @session_optional
    def login(self, environ: Environ) -> Response:
        if environ["REQUEST_METHOD"] != "POST":
            return self._html()
        subject = _asked(environ, "subject")
        if subject not in USERS:
            return _json({"error": f"the users here are {' and '.join(USERS)}"}, "400 Bad Request")
        session = session_from(environ)
        session.login(subject, factors=[{"type": "demo"}])
        return _json({**self._describe(environ), "to": safe_return_to(environ)})

    @session_optional
    @no_touch
    def who(self, environ: Environ) -> Response:
        return _json(self._describe(environ))

    def page(self, environ: Environ) -> Response:
        session = session_from(environ)
        if environ.get("HTTP_SEC_FETCH_MODE") != "navigate":
            return _json(self._describe(environ))
        body = (
            "<!doctype html><html lang=en><meta charset=utf-8><title>A protected page</title>"
            "<style>:root{color-scheme:light dark}body{font:1rem/1.5 system-ui;max-width:40rem;margin:3rem auto;"
            "padding:0 1rem}</style><h1>A protected page</h1>"
            f"<p>You are {escape(session.subject or '')}. Silence ends the session at {session.inactivity_deadline:%H:%M:%S}"
            f" UTC unless you do something; at {session.absolute_deadline:%H:%M:%S} UTC it ends in any case.</p>"
            '<p><a href="/page">Again</a> · <a href="/">Back to the demo</a></p></html>'
        )
        return "200 OK", [("Content-Type", "text/html; charset=utf-8")], body.encode()

    @no_touch
    def poll(self, environ: Environ) -> Response:
        return _json(self._describe(environ))

    @fresh_login_required(within=FRESH_WITHIN)
    def fresh(self, environ: Environ) -> Response:
        return _json(self._describe(environ))

    def extend(self, environ: Environ) -> Response:
        session = session_from(environ)
        try:
            session.extend(5)
        except SessionError as problem:
            return _json({"error": str(problem)}, "409 Conflict")
        return _json(self._describe(environ))

    def end_others(self, environ: Environ) -> Response:
        return _json({"ended": session_from(environ).end_others()})

    # --- the others, and what happened -------------------------------------------------------------------------

    @session_exempt
    def other_browser(self, environ: Environ) -> Response:
        """Let the second browser sign in or ask for a page."""
        if _asked(environ, "do") == "login":
            subject = _asked(environ, "subject")
            return _json(self.other.ask("POST", f"/login?subject={subject}"))
        return _json(self.other.ask("GET", "/page"))

    @session_exempt
    def thief_acts(self, environ: Environ) -> Response:
        """Copy this request's cookies for the thief, or let the thief use the copy, or a forgery."""
        what = _asked(environ, "do")
        if what == "steal":
            return _json({"stolen": self.thief.steal(environ.get("HTTP_COOKIE", ""))})
        return _json(self.thief.forge() if what == "forge" else self.thief.replay())

    @session_exempt
    def recent(self, environ: Environ) -> Response:
        after = _asked(environ, "after")
        seen = int(after) if after.isdecimal() and len(after) < 10 else 0
        rows = [
            {
                "n": number,
                "at": event.at,
                "name": event.name,
                "level": event.level,
                "subject": event.subject,
                "session": (event.session_id or "")[:6],
                "detail": dict(event.detail),
            }
            for number, event in list(self.events)
            if number > seen
        ]
        return _json({"events": rows, "last": self._numbered})

    def _describe(self, environ: Environ) -> dict[str, Any]:
        session = session_from(environ)
        if not session.is_active:
            return {"subject": None, "verdict": session.verdict.name, "reason": session.reason}
        token = find(environ.get("HTTP_COOKIE", ""), self.settings.token_cookie)
        return {
            "subject": session.subject,
            "verdict": session.verdict.name,
            "session": (session.id or "")[:6],
            # The third field of v1.<id>.<generation>.<MAC>, as this request presented it.
            "generation": token[0].split(".")[2] if token and token[0].count(".") == 3 else None,
        }

    def _html(self) -> Response:
        nonce = secrets.token_urlsafe(16)
        page = files("session_middleware.demo").joinpath("page.html").read_text("utf-8")
        limits = {
            "silence": self.settings.default_limits.inactivity_timeout,
            "age": self.settings.default_limits.absolute_lifetime,
            "touch": self.settings.timing.touch_interval,
            "renewal": self.settings.timing.renewal_interval,
            "grace": self.settings.timing.renewal_grace,
            "jwt": self.settings.timing.jwt_lifetime,
            "fresh": FRESH_WITHIN,
            "cookie": self.settings.token_cookie,
        }
        for name, value in limits.items():
            page = page.replace(f"[{name}]", f"{value:g}" if isinstance(value, (int, float)) else str(value))
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
            "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", policy)]
        return "200 OK", headers, page.replace("[nonce]", nonce).encode()


def _nothing_here(environ: Environ) -> Response:
    return _json({"error": "there is nothing at this address"}, "404 Not Found")


def _asked(environ: Environ, name: str) -> str:
    query: str = environ.get("QUERY_STRING", "")
    return parse_qs(query).get(name, [""])[0]


def _json(document: dict[str, Any], status: str = "200 OK") -> Response:
    return status, [("Content-Type", "application/json")], json.dumps(document).encode()
