"""Several tabs and windows of one person: they agree on the deadline, and one request does for all (M11-M16)."""

from __future__ import annotations

from typing import Any

import pytest

from .test_timeline import ASKS, LAPSED, OTHER, OUT

pytestmark = [pytest.mark.slow, pytest.mark.server]


def test_the_multi_tab_table(person: Any) -> None:
    """A and B from 0; B goes on at 200; at 240 A shows nothing; at 300 it sends no logout; its deadline is 500 (M11, M14)."""
    a = person.signed_in()
    b = person.tab("/quiet-page")
    person.passes(200, [a, b])
    assert b.page.evaluate("session.continue()")
    a.until("session.remaining()", 300)
    person.passes(40, [a, b])
    a.shows_nothing()
    person.passes(60, [a, b])
    a.shows_nothing()
    assert (a.left, b.left) == (200, 200)
    assert person.town.count("POST", "/session/logout") == 0


def test_two_windows_close_their_dialogs_together(person: Any) -> None:
    """M14: what one window continues, the other shows no longer; no tab asked the server for it."""
    a = person.signed_in()
    with person.context.expect_page() as opened:
        a.page.evaluate("open('/quiet-page', 'second', 'popup,width=400,height=400')")
    b = a.beside(opened.value)
    person.passes(240, [a, b])
    a.shows(ASKS)
    b.shows(ASKS)
    asked = person.town.count("GET", "/session/status")
    a.button("Continue").click()
    b.becomes("active")
    b.shows_nothing()
    assert abs(a.left - b.left) < 1
    assert person.town.count("GET", "/session/status") == asked


def test_a_logout_elsewhere_is_told_and_nothing_is_left(person: Any) -> None:
    """M15: the other tab says so, offers a sign-in, and stays where it is."""
    a = person.signed_in()
    b = person.tab("/quiet-page")
    person.passes(10, [a, b])
    b.page.evaluate("void session.logout()")
    a.becomes("signed_out")
    a.shows(OUT)
    assert a.page.url == f"{person.origin}/"
    assert a.link("Sign in again").is_visible()


def test_two_tabs_that_continue_together_send_one_request(person: Any) -> None:
    """M16: the second waits for the first and finds that nothing is left to do."""
    a = person.signed_in()
    b = person.tab("/quiet-page")
    person.passes(240, [a, b])
    person.town.delays["/session/continue"] = 3.0
    a.button("Continue").click()
    b.button("Continue").click()
    for tab in (a, b):
        tab.becomes("active")
        tab.shows_nothing()
    assert person.town.count("POST", "/session/continue") == 1


def test_an_end_here_is_no_end_while_another_tab_is_active(person: Any) -> None:
    """M11: a tab that heard nothing asks at its deadline, and goes on."""
    a = person.signed_in()
    a.page.evaluate("document.dispatchEvent(new Event('freeze'))")
    person.passes(200, [a])
    a.page.evaluate("fetch('/api').then((answer) => answer.status)")  # a request of the page's own is activity
    person.passes(40, [a])
    a.shows_nothing()
    assert a.left == 275  # asked before the dialog: nobody sees a false warning
    assert person.town.count("POST", "/session/logout") == 0


def test_signed_in_again_in_another_tab(person: Any) -> None:
    """M12: the same user is back; the dialog goes, and what was typed is still there."""
    a = person.signed_in()
    a.page.get_by_label("Text").fill("half a letter")
    person.passes(16, [a])
    person.passes(240, [a])
    person.passes(60, [a])
    a.becomes("lapsed")
    a.shows(LAPSED)
    with person.context.expect_page() as opened:
        a.link("Sign in again").click()
    opened.value.get_by_role("button", name="Go").click()
    opened.value.wait_for_url(f"{person.origin}/")
    a.becomes("active")
    a.shows_nothing()
    assert a.page.get_by_label("Text").input_value() == "half a letter"


def test_somebody_else_signed_in(person: Any) -> None:
    """The page of alice offers to be loaded again, by GET; it does not go on as bob's."""
    a = person.signed_in("alice")
    b = person.tab("/quiet")
    b.sign_in("bob")
    b.page.goto(f"{person.origin}/quiet-page")
    b.settle()
    a.becomes("changed")
    a.shows(OTHER)
    assert not a.page.evaluate("session.continue()")
    assert person.town.count("POST", "/session/continue") == 0
    a.button("Reload the page").click()
    a.page.wait_for_load_state()
    a.settle()
    assert a.state == "active"
    assert person.town.log.count(("GET", "/")) == 2


def test_focus_finds_out_what_nobody_told(person: Any) -> None:
    """M12: ended on the server alone; the next look at the page shows it, by a read and nothing else."""
    a = person.signed_in()
    person.passes(20, [a])
    person.context.clear_cookies()
    a.page.evaluate("dispatchEvent(new Event('focus'))")
    a.becomes("signed_out")
    a.shows(OUT)
    assert person.town.count("POST", "/session/continue") == 0


def test_without_broadcast_channel_and_locks(person: Any) -> None:
    """Where the browser has neither, a storage event tells other tabs, and it holds nothing but an instant."""
    person.context.add_init_script(
        "delete window.BroadcastChannel; Object.defineProperty(navigator, 'locks', {value: undefined});"
    )
    a = person.signed_in()
    b = person.tab("/quiet-page")
    b.page.evaluate("window.kept = []; addEventListener('storage', (event) => kept.push(event.newValue))")
    person.passes(240, [a, b])
    a.button("Continue").click()
    b.becomes("active")
    assert all(value is None or value.isdecimal() for value in b.page.evaluate("kept"))
    assert b.page.evaluate("localStorage.length") == 0


def test_nothing_is_stored(person: Any) -> None:
    """No token and no user id, nowhere a script can store."""
    a = person.signed_in()
    a.passes(240)
    a.button("Continue").click()
    a.becomes("active")
    kept = a.page.evaluate(
        "[localStorage.length, sessionStorage.length, document.cookie, document.documentElement.outerHTML]"
    )
    assert kept[:3] == [0, 0, ""]
    assert "alice" not in kept[3]
    assert a.page.evaluate("indexedDB.databases()") == []


def test_tabs_do_not_keep_each_other_asking(person: Any) -> None:
    """An end is told once: three tabs that know of it are quiet."""
    tabs = [person.signed_in(), person.tab("/quiet-page"), person.tab("/quiet-page")]
    person.passes(240, tabs)
    person.passes(60, tabs)
    for tab in tabs:
        tab.becomes("lapsed")
    person.passes(5, tabs)
    asked = person.town.count("GET", "/session/status")
    for _ in range(20):
        person.passes(1, tabs)
    assert person.town.count("GET", "/session/status") == asked
