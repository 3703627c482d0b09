"""How our own endpoints answer: JSON, a page, a problem, "done"; for a person or for a script."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from session_middleware.core import pages
from session_middleware.core.exchange import RequestFacts
from session_middleware.core.record import SessionRecord
from session_middleware.core.refusal import EMPTY, HARDENING, PAGE_HARDENING, Headers, Reply, is_navigation

__all__ = [
    "NEGOTIATED",
    "as_json",
    "as_page",
    "done",
    "gone_elsewhere",
    "is_for_a_person",
    "key_set",
    "problem",
    "rfc3339",
    "session_object",
    "session_row",
    "wrong_method",
]

#: Goes with every answer that differs between a person and a script.
NEGOTIATED: Final[Headers] = (("Vary", "Accept, Sec-Fetch-Mode"),)

_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?=[/?]|\Z)", re.ASCII)
_LATEST: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second RFC 3339 can write


def rfc3339(instant: float) -> str:
    """Write an instant in whole seconds, UTC."""
    at = datetime.fromtimestamp(min(max(math.floor(instant), 0), _LATEST), UTC)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def session_row(record: SessionRecord, current: bool) -> dict[str, Any]:  # Any: JSON values
    """Return one of a user's sessions as lists show it."""
    return {
        "id": record.public_id,
        "current": current,
        "created_at": rfc3339(record.created_at),
        "last_seen_at": rfc3339(record.last_seen_at),
        "attributes": dict(record.attributes),
    }


def session_object(
    record: SessionRecord, ends_at: float, claims: Mapping[str, Any]
) -> dict[str, Any]:  # Any: JSON values
    """Return a session in the shape that Stytch's "Refresh session" answers, without any token."""
    return {
        "attributes": {
            "ip_address": record.attributes.get("address"),
            "user_agent": record.attributes.get("user_agent"),
        },
        "authentication_factors": [dict(factor) for factor in record.factors],
        "custom_claims": dict(claims),
        "expires_at": rfc3339(ends_at),
        "last_accessed_at": rfc3339(record.last_seen_at),
        "session_id": record.public_id,
        "started_at": rfc3339(record.created_at),
        "user_id": record.subject,
    }


def as_json(document: Mapping[str, Any]) -> Reply:  # Any: JSON values
    """Return a document that nobody may store."""
    return Reply(200, (("Content-Type", "application/json"), *HARDENING), json.dumps(document).encode())


def key_set(document: Mapping[str, Any]) -> Reply:  # Any: JSON values
    """Return public keys, which anybody may keep for five minutes."""
    headers = (
        ("Content-Type", "application/jwk-set+json"),  # RFC 7517 §8.5.2
        ("Cache-Control", "public, max-age=300"),
        *(pair for pair in HARDENING if pair[0] != "Cache-Control"),
    )
    return Reply(200, headers, json.dumps(document).encode())


def as_page(page: bytes, status: int = 200, form_target: str | None = None) -> Reply:
    """Return a page that nobody may store.

    Args:
        page: the HTML.
        status: of the response.
        form_target: where the answer to the page's form may redirect to; browsers that hold `form-action` against
            redirects too (CSP3 §6.4.2) would block another origin else.
    """
    hardening = PAGE_HARDENING
    elsewhere = _ORIGIN.match(form_target or "")
    if elsewhere is not None:
        hardening = tuple(
            (name, value.replace("form-action 'self'", f"form-action 'self' {elsewhere[0]}"))
            for name, value in hardening
        )
    return Reply(status, (("Content-Type", "text/html; charset=utf-8"), *HARDENING, *hardening), page)


def is_for_a_person(facts: RequestFacts) -> bool:
    """Say whether a person waits for a page: as L15 says, and for a form sent by a browser without Sec-Fetch-Mode."""
    if facts.header("sec-fetch-mode") is not None or facts.header("hx-request") == "true":
        return is_navigation(facts)
    return "text/html" in (facts.header("accept") or "")


def done(facts: RequestFacts, location: str) -> Reply:
    """Return 303 to a page for a person, 204 for a script."""
    if is_for_a_person(facts):
        return Reply(303, (("Location", location), EMPTY, *HARDENING, *NEGOTIATED))
    return Reply(204, (*HARDENING, *NEGOTIATED))


def gone_elsewhere(facts: RequestFacts, url: str) -> Reply:
    """Return 303 to the provider's own logout for a person; a script is told where to send its user."""
    if is_for_a_person(facts):
        return Reply(303, (("Location", url), EMPTY, *HARDENING, *NEGOTIATED))
    return as_json({"logout_url": url}).with_headers(NEGOTIATED)


def problem(
    facts: RequestFacts, status: int, reason: str, title: str, detail: str | None = None, more: Headers = ()
) -> Reply:
    """Return a problem as a page for a person, as a document for a script (RFC 9457)."""
    if is_for_a_person(facts):
        return as_page(pages.problem(title, detail), status).with_headers((*more, *NEGOTIATED))
    document = {
        "type": f"urn:session-middleware:{reason}",
        "title": title,
        "status": status,
        "reason": reason,
        "login_url": None,
    }
    if detail is not None:
        document["detail"] = detail
    headers = (("Content-Type", "application/problem+json"), *HARDENING, *more, *NEGOTIATED)
    return Reply(status, headers, json.dumps(document).encode())


def wrong_method(facts: RequestFacts, methods: Mapping[str, object]) -> Reply:
    """Return 405 with the methods there are; OPTIONS asks for just those (RFC 9110 §9.3.7)."""
    names = {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    allow = ("Allow", ", ".join(sorted(names)))
    if facts.method == "OPTIONS":
        return Reply(204, (allow, *HARDENING))
    return problem(facts, 405, "method", "This address does not take this method.", None, (allow,))
