"""Cross-site rules (L20), WebSocket origins (ASVS 4.4.2), and paths that are safe to return to (L15)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_middleware.core.origin import is_cross_site, is_foreign, is_preflight, may_change_state, path_of, safe_path
from session_middleware.settings import Settings

from .facts import Facts

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
PLAIN = Settings(secret_keys=[KEY])
TRUSTING = Settings(secret_keys=[KEY], trusted_origins=["https://Other.example"])
ALLOWING = Settings(secret_keys=[KEY], csrf_without_headers="allow")
HEADER = Settings(secret_keys=[KEY], transport="header")

CHANGES: list[tuple[dict[str, str], Settings, bool]] = [
    ({"sec_fetch_site": "same-origin"}, PLAIN, True),
    ({"sec_fetch_site": "same-site"}, PLAIN, False),
    ({"sec_fetch_site": "none"}, PLAIN, False),
    ({"sec_fetch_site": "cross-site"}, PLAIN, False),
    ({"sec_fetch_site": "cross-site", "origin": "https://app.example"}, PLAIN, False),
    ({"sec_fetch_site": "cross-site", "origin": "https://other.example"}, TRUSTING, True),
    ({"origin": "https://app.example"}, PLAIN, True),
    ({"origin": "https://APP.example:443"}, PLAIN, True),
    ({"origin": "https://app.example:8443"}, PLAIN, False),
    ({"origin": "http://app.example"}, PLAIN, False),
    ({"origin": "null"}, PLAIN, False),
    ({"origin": "https://evil.example"}, PLAIN, False),
    ({"origin": "https://app.example.evil.example"}, PLAIN, False),
    ({"origin": "ftp://app.example"}, PLAIN, False),
    ({"origin": "https://other.example"}, TRUSTING, True),
    ({}, PLAIN, False),
    ({}, ALLOWING, True),
    ({"authorization": "Session v1"}, HEADER, True),
    ({"authorization": "Basic x"}, HEADER, False),
    ({"authorization": "Session v1"}, PLAIN, False),
]


@pytest.mark.parametrize(("headers", "settings", "allowed"), CHANGES)
def test_who_may_change_state(headers: dict[str, str], settings: Settings, allowed: bool) -> None:
    """L20: Sec-Fetch-Site first, Origin where it is missing, neither is refused."""
    assert may_change_state(Facts("POST", **headers), settings) is allowed


def test_http_behind_a_tls_proxy() -> None:
    """L20: a proxy that speaks http to us does not make an https Origin foreign."""
    assert may_change_state(Facts("POST", scheme="http", origin="https://app.example"), PLAIN)
    assert may_change_state(Facts("POST", scheme="http", host="localhost:8000", origin="http://localhost:8000"), PLAIN)
    assert not may_change_state(Facts("POST", host="", origin="https://app.example"), PLAIN)


@pytest.mark.parametrize(
    ("facts", "cross"),
    [
        (Facts("POST", sec_fetch_site="cross-site"), True),
        (Facts("POST", sec_fetch_site="same-site"), False),
        (Facts("POST", origin="https://evil.example"), True),
        (Facts("POST", origin="https://app.example"), False),
        (Facts("GET", origin="https://evil.example"), False),
        (Facts("POST"), False),
    ],
)
def test_login_csrf_is_seen(facts: Facts, cross: bool) -> None:
    """L20: login inside a request that another site made is told apart."""
    assert is_cross_site(facts, PLAIN) is cross


def test_trusted_origins_are_not_cross_site() -> None:
    """L20: trusted_origins are trusted here as well."""
    assert not is_cross_site(Facts("POST", origin="https://other.example", sec_fetch_site="cross-site"), TRUSTING)


def test_websocket_origins() -> None:
    """ASVS 4.4.2: a foreign Origin is refused; a client without one is no browser."""
    assert is_foreign(Facts(websocket=True, scheme="wss", origin="https://evil.example"), PLAIN)
    assert not is_foreign(Facts(websocket=True, scheme="wss", origin="https://app.example"), PLAIN)
    assert not is_foreign(Facts(websocket=True), PLAIN)


def test_preflights() -> None:
    """L21: a preflight has both headers."""
    assert is_preflight(Facts("OPTIONS", origin="https://a", access_control_request_method="PUT"))
    assert not is_preflight(Facts("OPTIONS", origin="https://a"))
    assert not is_preflight(Facts("OPTIONS"))


HOSTILE = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "/\tevil",
    "/\r\nSet-Cookie: a=b",
    "/a\x00b",
    " /a",
    "",
    "a/b",
    "?x",
    "/" + "a" * 3000,
    "/\ud800",
    "/\u2028x",
    5,
    None,
    b"/a",
    ["/a"],
]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda v: repr(v)[:20])
def test_hostile_return_paths(value: Any) -> None:
    """L15: the return parameter is a path on this host or nothing."""
    assert safe_path(value) is None


@given(st.text(max_size=60).map(lambda text: "/" + text))
def test_a_safe_path_never_leaves_the_host(value: str) -> None:
    """L15: whatever passes resolves to this host and is plain ASCII without control characters."""
    path = safe_path(value)
    if path is not None:
        assert urlsplit(urljoin("https://app.example/login", path)).netloc == "app.example"
        assert path.isascii()
        assert path.isprintable()
        assert " " not in path


def test_paths_of_pages_of_ours() -> None:
    """L15: a Referer or HX-Current-URL counts only where it is a page of this host."""
    facts = Facts()
    assert path_of("https://app.example/a%20b?c=d#e", facts) == "/a%20b?c=d"
    assert path_of("https://app.example", facts) == "/"
    assert path_of("http://app.example/a", facts) == "/a"
    for url in (
        None,
        "",
        "/a",
        "https://evil.example/a",
        "data:x",
        "https://[::1",
        "https://app.example/\\x",
        "x" * 3000,
    ):
        assert path_of(url, facts) is None
    assert path_of("https://app.example/a", Facts(host="")) is None
    assert path_of("https://app.example//evil.example", facts) is None


def test_who_names_no_host_is_nobodys_page() -> None:
    """L15, L20: an Origin or URL without a host is not ours, not even where the request names none either."""
    nameless = Facts("POST", host="", origin="https://")
    assert not may_change_state(nameless, Settings(secret_keys=[KEY]))
    assert path_of("https:///x", nameless) is None
