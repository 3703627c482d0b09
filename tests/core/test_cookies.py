"""Set-Cookie lines of a provider: one for each cookie goes out."""

from __future__ import annotations

from session_middleware.core.caching import finished
from session_middleware.core.cookies import relayed


def test_the_last_line_for_a_cookie_stands() -> None:
    """A cookie written twice goes out once, as it was written last (L18)."""
    first, other, last = "a=1; Path=/; Secure", "b=2", "a=3; secure; path=/"
    assert relayed([first, other, last]) == [other, last]


def test_cookies_of_another_place_are_other_cookies() -> None:
    """One name under two domains or paths is two cookies: a provider may remove both."""
    lines = ["a=; Max-Age=0; Path=/", "a=; Max-Age=0; Path=/; Domain=app.example", "a=; Max-Age=0; Path=/old"]
    assert relayed(lines) == lines


def test_nothing_is_lost() -> None:
    """No lines give no lines."""
    assert relayed([]) == []


def test_the_apps_own_cookie_stands() -> None:
    """Where the app sets a cookie that a provider sets too, the app's goes out; ours replaces the app's (L18)."""
    ours, theirs = ["__Host-session=new"], relayed(["their=old; Path=/", "other=1"])
    app = [("Set-Cookie", "their=login"), ("set-cookie", "__Host-session=stale"), ("X-App", "1")]
    done = finished(app, vary="Cookie", protected=True, cookies=[*ours, *theirs])
    assert [value for name, value in done if name.lower() == "set-cookie"] == [
        "their=login",
        "__Host-session=new",
        "other=1",
    ]
    assert all(type(value) is str for _, value in done)  # PEP 3333
