"""What somebody without a live session is told: 303 to login, 401 or 503 problem+json, or a closed socket (L15, L17)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from session_middleware.core.exchange import RequestFacts, is_prefetch
from session_middleware.core.lifetime import Verdict
from session_middleware.core.origin import path_of, safe_path

__all__ = ["Refusal", "Reply", "problem_body", "refuse"]

Headers = tuple[tuple[str, str], ...]

#: Sent with everything we render ourselves (ASVS 3.4).
HARDENING: Headers = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
)
#: Goes with a redirect, whose body is empty: wsgiref.validate wants a type, and some frameworks would add their own.
EMPTY: tuple[str, str] = ("Content-Type", "text/plain; charset=utf-8")
PAGE_HARDENING: Headers = (
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
)

_TITLES = {
    "inactivity": "The session ended after a time without activity.",
    "lifetime": "The session reached its longest lifetime.",
    "signed_out": "The session has ended.",
    "fresh_login": "This needs a recent sign-in.",
    "unavailable": "Sessions cannot be checked right now.",
    "csrf": "This request was made by another site.",
    None: "Sign in to continue.",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response: status, headers in order, body."""

    status: int
    headers: Headers
    body: bytes = b""

    def with_headers(self, more: Sequence[tuple[str, str]]) -> Reply:
        return Reply(self.status, (*self.headers, *more), self.body)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served.

    Attributes:
        verdict: what is known about the session.
        reason: the word for it outside; None for somebody who never signed in.
        login_url: where to sign in; path, or URL of a provider.
        retry_after: seconds, for a refusal that is nobody's fault (L17).
    """

    verdict: Verdict
    reason: str | None
    login_url: str
    retry_after: float | None = None

    @property
    def status(self) -> int:
        """503 where nothing is known, 401 otherwise (a navigation is answered with 303)."""
        return 503 if self.retry_after is not None else 401


def is_navigation(facts: RequestFacts) -> bool:
    """Say whether a person is waiting for a page (L15)."""
    if facts.header("hx-request") == "true" or is_prefetch(facts):
        return False
    mode = facts.header("sec-fetch-mode")
    if mode is not None:
        return mode == "navigate"
    return facts.method in ("GET", "HEAD") and "text/html" in (facts.header("accept") or "")


def refuse(facts: RequestFacts, refusal: Refusal, return_param: str) -> Reply:
    """Render a refusal for this kind of request (L15): never 307 or 308, always no-store."""
    vary = ("Vary", "Cookie, Accept, Sec-Fetch-Mode, HX-Request")
    if refusal.retry_after is not None:
        return _unavailable(facts, refusal, vary)
    if facts.header("hx-request") == "true":
        location = _with_return(refusal, path_of(facts.header("hx-current-url"), facts), return_param)
        return _problem(refusal, (("HX-Redirect", location), vary))
    if is_navigation(facts):
        back = safe_path(facts.target) if facts.method in ("GET", "HEAD") else path_of(facts.header("referer"), facts)
        return Reply(303, (("Location", _with_return(refusal, back, return_param)), EMPTY, *HARDENING, vary))
    return _problem(refusal, (vary,))


def _with_return(refusal: Refusal, back: str | None, return_param: str) -> str:
    pairs = []
    if refusal.reason is not None:
        pairs.append(f"reason={refusal.reason}")
    if back is not None:
        pairs.append(f"{return_param}={quote(back, safe='/')}")
    if not pairs:
        return refusal.login_url
    path, hash_mark, fragment = refusal.login_url.partition("#")
    return f"{path}{'&' if '?' in path else '?'}{'&'.join(pairs)}{hash_mark}{fragment}"


def problem_body(status: int, reason: str | None, login_url: str | None) -> bytes:
    """Write a problem document (RFC 9457)."""
    return json.dumps(
        {
            "type": f"urn:session-middleware:{reason or 'login_required'}",
            "title": _TITLES.get(reason, _TITLES[None]),
            "status": status,
            "reason": reason,
            "login_url": login_url,
        }
    ).encode()


def _problem(refusal: Refusal, more: Headers) -> Reply:
    challenge = "Session" if refusal.reason is None else f'Session error="{refusal.reason}"'
    return Reply(
        401,
        (("Content-Type", "application/problem+json"), ("WWW-Authenticate", challenge), *HARDENING, *more),
        problem_body(401, refusal.reason, refusal.login_url),
    )


def _unavailable(facts: RequestFacts, refusal: Refusal, vary: tuple[str, str]) -> Reply:
    assert refusal.retry_after is not None
    after = ("Retry-After", str(max(1, round(refusal.retry_after))))
    if is_navigation(facts):
        page = (
            b"<!doctype html><html lang=en><meta charset=utf-8><title>One moment</title>"
            b"<p>Your session cannot be checked right now. You have not been signed out. Please try again shortly.</p></html>"
        )
        headers = (("Content-Type", "text/html; charset=utf-8"), after, *HARDENING, *PAGE_HARDENING, vary)
        return Reply(503, headers, page)
    headers = (("Content-Type", "application/problem+json"), after, *HARDENING, vary)
    return Reply(503, headers, problem_body(503, "unavailable", None))
