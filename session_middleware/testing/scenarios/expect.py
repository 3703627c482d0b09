"""What scenarios expect of an answer: served, sent to login, or refused with a problem document."""

from __future__ import annotations

from typing import Any

from session_middleware.testing.browser import Answer, Browser

__all__ = ["problem", "sent_to_login", "served", "state", "unavailable", "varies_on"]


def served(answer: Answer) -> dict[str, Any]:  # Any: JSON
    """Check that a view answered for a live session, and return what it saw."""
    assert answer.status == 200, f"{answer.status} {answer.headers} {answer.body[:300]!r}"
    _said_once(answer)
    seen: dict[str, Any] = answer.json
    assert seen["verdict"] == "ACTIVE"
    assert seen["is_active"]
    assert seen["is_verified"]
    return seen


def state(browser: Browser) -> dict[str, Any]:  # Any: JSON
    """Return what a view sees of the session without this being activity (L6)."""
    return served(browser.fetch("/poll"))


def sent_to_login(answer: Answer, location: str) -> None:
    """Check a refusal of a navigation (L15): 303 to exactly this address, not stored, no cookie touched (L26)."""
    assert answer.status == 303
    assert answer.header("Location") == location
    _not_stored(answer)


def problem(answer: Answer, reason: str | None) -> dict[str, Any]:  # Any: JSON
    """Check a refusal of a script (L15): 401 problem document without return parameter, no cookie touched (L26).

    One that only asks for a fresh login may rotate the JWT of the session, which lives (L9).
    """
    assert answer.status == 401
    assert answer.header("Content-Type") == "application/problem+json"
    challenge = "Session" if reason is None else f'Session error="{reason}"'
    assert answer.header("WWW-Authenticate") == challenge
    assert answer.header("Location") is None
    _not_stored(answer, cookies=reason == "fresh_login")
    document: dict[str, Any] = answer.json
    assert set(document) == {"type", "title", "status", "reason", "login_url"}
    assert (document["status"], document["reason"]) == (401, reason)
    return document


def unavailable(answer: Answer) -> None:
    """Check the answer of a route that needs a session while nothing is known about it (L17)."""
    assert answer.status == 503
    assert answer.header("Retry-After") == "5"
    assert answer.header("Location") is None
    _not_stored(answer)


def varies_on(answer: Answer) -> set[str]:
    """Return the names in Vary, in lower case."""
    return {name.strip().lower() for name in (answer.header("Vary") or "").split(",") if name.strip()}


def _said_once(answer: Answer) -> None:
    """Check that no header of L18 stands there twice: caches differ in which of two they believe."""
    names = [name.lower() for name, _ in answer.headers]
    assert names.count("vary") <= 1, answer.headers
    assert names.count("cache-control") <= 1, answer.headers


def _not_stored(answer: Answer, *, cookies: bool = False) -> None:
    _said_once(answer)
    assert answer.header("Cache-Control") == "no-store"
    assert "cookie" in varies_on(answer)
    assert cookies or answer.set_cookies == []
