"""Set-Cookie lines of a provider: one for each cookie goes out."""

from __future__ import annotations

from session_middleware.core.cookies import last_of_each


def test_the_last_line_for_a_cookie_stands() -> None:
    """A cookie written twice goes out once, as it was written last (L18)."""
    first, other, last = "a=1; Path=/; Secure", "b=2", "a=3; secure; path=/"
    assert last_of_each([first, other, last]) == [other, last]


def test_cookies_of_another_place_are_other_cookies() -> None:
    """One name under two domains or paths is two cookies: a provider may remove both."""
    lines = ["a=; Max-Age=0; Path=/", "a=; Max-Age=0; Path=/; Domain=app.example", "a=; Max-Age=0; Path=/old"]
    assert last_of_each(lines) == lines


def test_nothing_is_lost() -> None:
    """No lines give no lines."""
    assert last_of_each([]) == []
