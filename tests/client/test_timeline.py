"""M1-M27 and the numeric table, on one page: when the dialog comes, what it offers, and what it does."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.server]

ASKS, FINAL, LAPSED, UNSURE, OUT, OTHER = (
    "Are you still there?",
    "Your session is about to end",
    "Your session has ended",
    "Your session may have ended",
    "You are signed out",
    "Somebody else is signed in",
)


def test_the_dialog_comes_a_minute_before_the_end(person: Any) -> None:
    """M1, M3, M4: nothing at 239 s; at 240 s exactly one dialog, with Continue and Log out."""
    tab = person.signed_in()
    assert tab.left == 300
    tab.passes(239)
    tab.shows_nothing()
    tab.passes(1)
    tab.shows(ASKS)
    assert tab.dialog.get_by_role("button").all_inner_texts() == ["Continue", "Log out"]
    assert tab.errors == []


def test_the_numeric_table(person: Any) -> None:
    """Section 3 of the specification, step by step; no logout is ever sent, and the page is where it was (M2, M10, M17, M18)."""
    town, tab = person.town, person.signed_in()
    tab.passes(100)
    assert tab.page.evaluate("session.continue()")
    assert tab.left == 300
    tab.passes(239)
    tab.shows_nothing()
    tab.passes(1)  # 340
    tab.shows(ASKS)
    tab.passes(10)
    tab.button("Continue").click()
    tab.becomes("active")
    tab.shows_nothing()
    assert tab.left == 300
    tab.passes(240)  # 590
    tab.shows(ASKS)
    tab.passes(50)
    tab.button("Continue").click()
    tab.becomes("active")
    assert tab.left == 260  # the age, not the silence
    tab.passes(199)
    tab.shows_nothing()
    tab.passes(1)  # 840
    tab.shows(FINAL)
    assert tab.button("Continue").filter(visible=True).count() == 0
    assert tab.link("Sign in again").get_attribute("href") == f"{person.origin}/login?return_to=%2F"
    tab.passes(59)
    tab.shows(FINAL)
    tab.passes(1)  # 900
    tab.becomes("lapsed")
    tab.shows(LAPSED)
    assert tab.page.url == f"{person.origin}/"
    assert (town.count("POST", "/session/logout"), town.count("POST", "/session/continue")) == (0, 3)
    answer = tab.page.evaluate("fetch('/api').then(async (a) => [a.status, (await a.json()).reason])")
    assert answer == [401, "lifetime"]  # M27
    tab.page.goto(f"{person.origin}/private")
    assert tab.page.url == f"{person.origin}/login?reason=lifetime&return_to=/private"


def test_a_page_that_opens_late_asks_at_once(person: Any) -> None:
    """M5: with less than a minute left, the dialog is there as soon as the page is."""
    tab = person.signed_in()
    tab.passes(280)
    late = person.tab("/quiet")
    late.page.evaluate("import('/session/client.js').then((module) => { window.session = module.session; })")
    late.becomes("warning")
    late.shows(ASKS)
    assert late.left == 20


def test_continue_keeps_what_was_typed(person: Any) -> None:
    """M6: no navigation, the text and the focus are where they were."""
    tab = person.signed_in()
    tab.page.get_by_label("Text").fill("half a letter")
    tab.passes(16)  # typing was activity: it is reported, and silence begins then
    tab.passes(240)
    tab.shows(ASKS)
    tab.button("Continue").click()
    tab.becomes("active")
    tab.shows_nothing()
    assert tab.page.get_by_label("Text").input_value() == "half a letter"
    assert tab.page.evaluate("document.activeElement.id") == "text"
    assert person.town.log.count(("GET", "/")) == 1


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_continue_that_fails_is_no_end(person: Any, status: int) -> None:
    """M8: the dialog stays and says so, the session is not declared over, and the next try succeeds."""
    tab = person.signed_in()
    tab.passes(240)
    person.town.faults["/session/continue"] = status
    tab.button("Continue").click()
    tab.dialog.get_by_role("alert").filter(has_text="could not be reached").wait_for()
    assert tab.state == "warning"
    tab.shows(ASKS)
    del person.town.faults["/session/continue"]
    tab.button("Continue").click()
    tab.becomes("active")
    tab.shows_nothing()


def until_nobody_knows(person: Any) -> Any:
    """Bring a tab past the end that it knows of; the session is alive by another page, and the server cannot be reached."""
    tab = person.signed_in()
    tab.passes(240)
    tab.page.evaluate("fetch('/api')")
    tab.settle()
    person.town.faults["/session/status"] = person.town.faults["/session/continue"] = 503
    tab.passes(61)
    tab.becomes("lapsed")
    tab.shows(UNSURE)
    return tab


def test_a_server_that_cannot_be_reached_ends_nothing(person: Any) -> None:
    """M8, M10: at the end it says that the server could not be reached, and asks on, about every 10 s, until it can be."""
    tab = until_nobody_knows(person)
    assert "could not be reached" in tab.dialog.get_by_role("alert").inner_text()
    assert tab.page.evaluate("session.reason") is None
    asked = person.town.count("GET", "/session/status")
    tab.passes(60)
    assert 4 <= person.town.count("GET", "/session/status") - asked <= 7
    tab.shows(UNSURE)
    person.town.faults.clear()
    tab.passes(12)
    tab.becomes("active")
    tab.shows_nothing()
    assert person.town.count("POST", "/session/logout") == 0


def test_continue_can_be_tried_again_past_the_end(person: Any) -> None:
    """M8: while the server cannot be reached it fails and says so; then the session goes on, with its whole time."""
    tab = until_nobody_knows(person)
    assert tab.dialog.get_by_role("button").all_inner_texts() == ["Continue", "Close"]
    tab.button("Continue").click()
    tab.settle()
    assert "could not be reached" in tab.dialog.get_by_role("alert").inner_text()
    tab.shows(UNSURE)
    person.town.faults.clear()
    tab.button("Continue").click()
    tab.becomes("active")
    tab.shows_nothing()
    assert tab.left == 300


def test_an_end_that_nobody_could_tell_of_is_told_later(person: Any) -> None:
    """M7, M8: where the session was over indeed, the text changes and a sign-in is offered once the server can be asked."""
    tab = until_nobody_knows(person)
    person.town.clock.advance(300)  # the server's alone
    person.town.faults.clear()
    tab.button("Continue").click()
    tab.until("session.reason", "inactivity")
    tab.shows(LAPSED)
    assert tab.link("Sign in again").is_visible()


def test_continue_after_the_end_offers_a_sign_in(person: Any) -> None:
    """M7: the session ended meanwhile; the text changes, the page stays."""
    tab = person.signed_in()
    tab.passes(240)
    tab.shows(ASKS)
    person.town.clock.advance(100)  # the server's alone
    tab.button("Continue").click()
    tab.becomes("lapsed")
    tab.shows(LAPSED)
    assert tab.link("Sign in again").is_visible()
    assert tab.page.evaluate("session.reason") == "inactivity"
    assert tab.page.url == f"{person.origin}/"


def test_log_out_ends_the_session_and_lands(person: Any) -> None:
    """M9: the session is over on the server, and the browser is on a page that says so."""
    tab = person.signed_in()
    tab.passes(240)
    tab.button("Log out").click()
    tab.page.wait_for_url("**/session/signed-out")
    assert person.town.count("POST", "/session/logout") == 1
    tab.page.goto(f"{person.origin}/quiet")
    assert tab.page.evaluate("fetch('/session/status').then((a) => a.json())")["authenticated"] is False


def test_the_end_untouched_changes_the_text_and_nothing_else(person: Any) -> None:
    """M10: no logout call, no navigation; a login is offered, and the page can be had back by Close."""
    tab = person.signed_in()
    cookies = person.context.cookies()
    tab.passes(240)
    tab.passes(60)
    tab.becomes("lapsed")
    tab.shows(LAPSED)
    assert person.town.count("POST", "/session/logout") == 0
    assert person.context.cookies() == cookies
    tab.button("Close").click()
    tab.shows_nothing()
    tab.passes(30)
    tab.shows_nothing()


def test_a_landing_page_only_when_the_server_says_so(person: Any) -> None:
    """M13: with the option, a session that is over leads there; a server that does not answer leads nowhere."""
    person.town.options = {"landing": "/quiet?ended"}
    tab = person.signed_in()
    tab.passes(240)
    person.town.faults["/session/status"] = 500
    tab.passes(60)
    tab.becomes("lapsed")
    assert tab.page.url == f"{person.origin}/"
    del person.town.faults["/session/status"]
    tab.page.evaluate("dispatchEvent(new Event('focus'))")
    tab.page.wait_for_url("**/quiet?ended")


def test_asking_keeps_nothing_alive(person: Any) -> None:
    """M19: status a hundred times, and the session still ends on time."""
    tab = person.signed_in()
    for _ in range(20):
        tab.passes(10)
        tab.page.evaluate("Promise.all([1, 2, 3, 4, 5].map(() => session.check()))")
    assert tab.left == 100


def test_the_endpoints_take_a_post_of_this_site_only(person: Any) -> None:
    """M26: GET changes nothing, an answer is never stored."""
    tab = person.signed_in()
    statuses = tab.page.evaluate(
        "Promise.all(['continue', 'logout'].map((n) => fetch(`/session/${n}`).then((a) => a.status)))"
    )
    assert statuses == [405, 200]  # the second is the page that asks first
    answer = tab.page.evaluate(
        "fetch('/session/continue', {method: 'POST'}).then((a) => a.headers.get('cache-control'))"
    )
    assert "no-store" in answer
    assert tab.page.evaluate("session.check()") == "active"


def test_an_answer_of_somebody_else_is_no_end(person: Any) -> None:
    """M8: a proxy that answers in our place (200 with a page of its own, 401 of its own) signs nobody out."""
    tab = person.signed_in()
    tab.passes(240)
    tab.shows(ASKS)
    person.town.faults["/session/continue"] = 401
    tab.button("Continue").click()
    tab.dialog.get_by_role("alert").filter(has_text="could not be reached").wait_for()
    assert tab.state == "warning"
    person.town.faults["/session/status"] = 200
    tab.page.evaluate("session.check()")
    assert tab.state == "warning"
    person.town.faults.clear()
    tab.button("Continue").click()
    tab.becomes("active")
