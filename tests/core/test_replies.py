"""Refusals (L15, L17), cache headers (L18) and cookies (L19), byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from session_middleware.core import cookies, replies
from session_middleware.core.caching import finished, merge_vary
from session_middleware.core.lifetime import Verdict
from session_middleware.core.refusal import Refusal, Reply, refuse
from session_middleware.errors import SettingsError
from session_middleware.settings import Settings

from .facts import Facts

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
GONE = Refusal(Verdict.INACTIVITY_TIMEOUT, "inactivity", "/login")
NOBODY = Refusal(Verdict.ANONYMOUS, None, "/login")
DOWN = Refusal(Verdict.UNAVAILABLE, "unavailable", "/login", 5.0)


def header(reply: Reply, name: str) -> str | None:
    return dict(reply.headers).get(name)


def answer(refusal: Refusal, *args: Any, **kw: Any) -> Reply:
    return refuse(Facts(*args, **kw), refusal, "return_to")


def test_a_navigation_is_sent_to_login() -> None:
    """L15: 303 with reason and, for GET, path and query as return parameter."""
    reply = answer(GONE, "GET", "/a", query="b=c&d", mount="/app", sec_fetch_mode="navigate")
    assert (reply.status, header(reply, "Location")) == (
        303,
        "/login?reason=inactivity&return_to=/app/a%3Fb%3Dc%26d",
    )
    assert header(reply, "Cache-Control") == "no-store"
    assert answer(NOBODY, "HEAD", accept="text/html").status == 303
    assert header(answer(NOBODY, "GET", accept="text/html"), "Location") == "/login?return_to=/x"


def test_a_form_post_returns_to_its_page() -> None:
    """L15: other methods return to the path of a same-origin Referer, or nowhere; the body is not replayed."""
    reply = answer(GONE, "POST", sec_fetch_mode="navigate", referer="https://app.example/form?a=1")
    assert (reply.status, header(reply, "Location")) == (303, "/login?reason=inactivity&return_to=/form%3Fa%3D1")
    foreign = answer(NOBODY, "POST", sec_fetch_mode="navigate", referer="https://evil.example/form")
    assert header(foreign, "Location") == "/login"


def test_the_login_url_keeps_its_own_query() -> None:
    """L15: parameters are added to what the login URL has; a fragment stays at the end."""
    reply = refuse(Facts(accept="text/html"), Refusal(Verdict.UNKNOWN, "signed_out", "/in?a=b#top"), "next")
    assert header(reply, "Location") == "/in?a=b&reason=signed_out&next=/x#top"


def test_htmx_is_told_to_redirect() -> None:
    """L15: 401 with HX-Redirect; the return parameter is the page that htmx is on."""
    reply = answer(GONE, "POST", hx_request="true", hx_current_url="https://app.example/page", sec_fetch_mode="cors")
    assert (reply.status, header(reply, "HX-Redirect")) == (401, "/login?reason=inactivity&return_to=/page")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_mode": "cors"},
        {"accept": "application/json"},
        {"sec_fetch_mode": "navigate", "sec_purpose": "prefetch"},
    ],
)
def test_everything_else_gets_a_problem(headers: dict[str, str]) -> None:
    """L15: 401 problem+json with reason and login URL, without return parameter, with a challenge (RFC 9110 §15.5.2)."""
    reply = answer(GONE, "GET", **headers)
    body = json.loads(reply.body)
    assert reply.status == 401
    assert header(reply, "Content-Type") == "application/problem+json"
    assert header(reply, "WWW-Authenticate") == 'Session error="inactivity"'
    assert (body["status"], body["reason"], body["login_url"]) == (401, "inactivity", "/login")
    assert set(body) == {"type", "title", "status", "reason", "login_url"}
    assert header(answer(NOBODY, "GET"), "WWW-Authenticate") == "Session"


def test_unavailable_is_503_and_no_redirect() -> None:
    """L17: 503 with Retry-After for everybody; a page for a person, a problem for a program."""
    page = answer(DOWN, "GET", accept="text/html")
    assert (page.status, header(page, "Retry-After"), header(page, "Location")) == (503, "5", None)
    assert b"not been signed out" in page.body
    problem = answer(DOWN, "POST")
    assert (problem.status, json.loads(problem.body)["reason"]) == (503, "unavailable")
    assert (DOWN.status, GONE.status) == (503, 401)


def test_reply_with_headers() -> None:
    """A reply grows by a copy."""
    assert Reply(200, (("A", "1"),)).with_headers([("B", "2")]).headers == (("A", "1"), ("B", "2"))


def test_vary_is_merged() -> None:
    """L18: each name once, the app's own first, * stays *."""
    assert merge_vary(None, "Cookie") == "Cookie"
    assert merge_vary("Accept, cookie", "Cookie", "Authorization") == "Accept, cookie, Authorization"
    assert merge_vary("*", "Cookie") == "*"


def done(headers: list[tuple[str, str]], **kw: Any) -> list[tuple[str, str]]:
    return finished(headers, **{"vary": "Cookie", "protected": True, "cookies": (), **kw})


def test_cache_headers() -> None:
    """L18: private, no-cache on a protected route; no-store with a cookie; the app's own where it is as strict."""
    assert done([]) == [("Vary", "Cookie"), ("Cache-Control", "private, no-cache")]
    assert done([], protected=False) == [("Vary", "Cookie")]
    assert done([("Cache-Control", "public")]) == [("Vary", "Cookie"), ("Cache-Control", "public")]
    assert done([("X", "y")], vary="") == [("X", "y")]
    cookie = "__Host-session=v; Path=/"
    assert dict(done([("cache-control", "public")], cookies=[cookie]))["Cache-Control"] == "private, no-store"
    assert dict(done([("cache-control", "no-store")], cookies=[cookie]))["Cache-Control"] == "no-store"
    assert dict(done([("cache-control", "public, no-store")], cookies=[cookie]))["Cache-Control"] == "private, no-store"
    two = [("Vary", "A"), ("Vary", "B"), ("Cache-Control", "private"), ("Cache-Control", "max-age=5")]
    assert done(two) == [("Vary", "A, B, Cookie"), ("Cache-Control", "private, max-age=5")]


def test_one_set_cookie_per_name() -> None:
    """L18: ours wins over one the app set under the same name; others stay."""
    headers = [("Set-Cookie", "__Host-session=theirs"), ("Set-Cookie", "other=1")]
    lines = [v for n, v in done(headers, cookies=["__Host-session=ours; Path=/"]) if n == "Set-Cookie"]
    assert lines == ["other=1", "__Host-session=ours; Path=/"]


def made(**given: Any) -> Settings:
    return Settings(secret_keys=[KEY], **given)


def test_cookie_attributes() -> None:
    """L19: __Host-, Secure, HttpOnly, SameSite, Path=/ and no Max-Age by default; each setting shows."""
    assert cookies.set_line(made(), "n", "v", None) == "n=v; Path=/; Secure; HttpOnly; SameSite=Lax"
    assert cookies.set_line(made(insecure_dev=True), "n", "v", 5) == "n=v; Max-Age=5; Path=/; HttpOnly; SameSite=Lax"
    other = made(cookie_domain="a.example", cookie_samesite="Strict")
    assert cookies.set_line(other, "n", "v", None) == "n=v; Path=/; Domain=a.example; Secure; HttpOnly; SameSite=Strict"
    chips = made(cookie_partitioned=True, cookie_samesite="None")
    assert cookies.delete_line(chips, "n") == (
        "n=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; Secure; HttpOnly; SameSite=None; Partitioned"
    )


def test_max_age_is_bounded() -> None:
    """L19: seconds to the absolute deadline, at most 400 days, never negative."""
    assert cookies.max_age(100.9, 1.0) == 99
    assert cookies.max_age(1e12, 0.0) == 400 * 86400
    assert cookies.max_age(5.9, 5.0) == 1  # 0 would delete it (L26)


def test_cookies_are_found_by_their_exact_name() -> None:
    """L10, L19: case counts, a prefix is not the name, equal values count once, different ones are both seen."""
    header = "a=1; __Host-session=x; __host-session=y; __Host-session_jwt=z;__Host-session=w; __Host-session=x; junk"
    assert cookies.find(header, "__Host-session") == ["x", "w"]
    assert cookies.find(header, "__Host-session_jwt") == ["z"]
    assert cookies.find("b=__Host-session", "__Host-session") == []
    assert cookies.find("__Host-session", "__Host-session") == []
    assert cookies.find("", "__Host-session") == []
    assert cookies.find("s=a=b", "s") == ["a=b"]


def test_a_cookie_over_the_limit_is_an_error() -> None:
    """L19, ASVS 3.3.5: over 4096 bytes is refused before anything is stored."""
    cookies.check_size("n", "v" * 4094)
    with pytest.raises(SettingsError, match="4096"):
        cookies.check_size("n", "v" * 4095)


@pytest.mark.parametrize("sent", [{"sec_fetch_mode": "cors"}, {"hx_request": "true"}], ids=["fetch", "htmx"])
def test_a_script_that_accepts_html_is_no_person(sent: dict[str, str]) -> None:
    """L15: what the browser says of a request goes before what the page's script put into Accept."""
    facts = Facts("GET", accept="text/html", **sent)
    assert not replies.is_for_a_person(facts)
    assert replies.done(facts, "/").status == 204
    assert replies.done(Facts("POST", accept="text/html"), "/").status == 303
