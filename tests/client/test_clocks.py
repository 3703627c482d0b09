"""Sleep, throttled tabs, wrong clocks, pages that come back, and what counts as a sign of the user (M12, M20-M23)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .test_timeline import ASKS, LAPSED

pytestmark = [pytest.mark.slow, pytest.mark.server]


@pytest.mark.parametrize("monotonic", ["stood still", "went on"])
def test_a_laptop_that_slept_past_the_end(person: Any, monotonic: str) -> None:
    """M20: within a second of waking the server has been asked, whether or not the browser's clock ran in the meantime."""
    tab = person.signed_in()
    tab.passes(200)
    person.town.clock.advance(700)
    if monotonic == "stood still":
        person.context.clock.set_system_time(person.town.clock())
        person.context.clock.run_for(1000)
    else:
        person.context.clock.fast_forward(700_000)
    tab.becomes("lapsed")
    tab.shows(LAPSED)


def test_a_laptop_that_slept_and_finds_no_network(person: Any) -> None:
    """M20: nobody reads "60 seconds left" after ten minutes of sleep, though the server cannot be asked."""
    tab = person.signed_in()
    tab.passes(200)
    person.town.faults["/session/status"] = 0
    person.town.clock.advance(700)
    person.context.clock.set_system_time(person.town.clock())
    person.context.clock.run_for(1000)
    tab.becomes("lapsed")
    assert "could not be reached" in tab.dialog.get_by_role("alert").inner_text()
    del person.town.faults["/session/status"]
    tab.page.evaluate("dispatchEvent(new Event('online'))")
    tab.until("session.reason", "inactivity")
    assert tab.dialog.get_by_role("alert").filter(visible=True).count() == 0


def test_a_question_on_its_way_when_the_laptop_slept(person: Any) -> None:
    """M20: its answer, from before the sleep, is not believed; the server is asked anew within a second of waking."""
    tab = person.signed_in()
    tab.passes(20)
    said = tab.page.evaluate("fetch('/session/status').then((answer) => answer.json())")
    held: list[Any] = []

    def hold(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    tab.page.route("**/session/status", hold)
    tab.page.evaluate("dispatchEvent(new Event('focus'))")
    end = time.monotonic() + 60
    while not held:
        assert time.monotonic() < end, "nothing was asked"
        tab.page.wait_for_timeout(5)
    person.town.clock.advance(700)
    person.context.clock.set_system_time(person.town.clock())
    person.context.clock.run_for(1000)
    tab.until("session.reason", "inactivity")
    held[0].fulfill(json=said)
    tab.settle()
    assert tab.state == "lapsed"
    tab.shows(LAPSED)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wrong_clock_has_no_effect(person: Any, hours: int) -> None:
    """M23: only the seconds that the server sent count; the dialog comes when it would have come."""
    tab = person.signed_in()
    tab.passes(100)
    person.context.clock.set_system_time(person.town.clock() + hours * 3600)
    tab.passes(1)  # it is noticed, and the server asked
    tab.passes(138)
    tab.shows_nothing()
    assert tab.left == 61
    tab.passes(1)
    tab.shows(ASKS)


def test_a_throttled_tab_is_right_when_one_returns_to_it(person: Any) -> None:
    """M21: no tick ran for four minutes; at the first look the time left is that of the server."""
    tab = person.signed_in()
    person.town.clock.advance(250)
    person.context.clock.fast_forward(250_000)
    tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    tab.becomes("warning")
    tab.shows(ASKS)
    assert tab.left == 50
    assert "0:50" in tab.dialog.get_by_role("timer").inner_text()


def test_a_page_from_the_back_forward_cache_asks_anew(person: Any) -> None:
    """M22: what was true when the page was left need not be true when it comes back."""
    tab = person.signed_in()
    tab.passes(20)
    asked = person.town.count("GET", "/session/status")
    tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: false}))")
    tab.settle()
    assert person.town.count("GET", "/session/status") == asked
    tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    tab.until("session.remaining()", 280)
    tab.settle()
    assert person.town.count("GET", "/session/status") == asked + 1


def test_a_prerendered_page_waits_until_it_is_seen(person: Any) -> None:
    """A page that the browser makes ahead of its user asks for nothing; once seen, it begins."""
    person.context.add_init_script("Object.defineProperty(document, 'prerendering', {value: true, configurable: true})")
    tab = person.tab("/quiet")
    tab.sign_in()
    tab.page.goto(f"{person.origin}/")
    tab.until("Boolean(window.session)")
    tab.page.evaluate("fetch('/quiet')")
    assert person.town.count("GET", "/session/status") == 0
    tab.page.evaluate("document.dispatchEvent(new Event('prerenderingchange'))")
    tab.becomes("active")


def test_focus_closes_a_dialog_that_is_no_longer_true(person: Any) -> None:
    """M12: the session went on without this tab's hearing of it; a look at the page, by a read, closes the dialog."""
    tab = person.signed_in()
    tab.passes(240)
    tab.shows(ASKS)
    tab.page.evaluate("fetch('/api')")
    tab.settle()
    tab.page.evaluate("dispatchEvent(new Event('focus'))")
    tab.becomes("active")
    tab.shows_nothing()
    assert person.town.count("POST", "/session/continue") == 0


# --- the user's activity ---------------------------------------------------------------------------------------------


def reports(person: Any) -> int:
    return int(person.town.count("POST", "/session/continue"))


def test_a_user_who_types_is_reported_once_in_a_touch_interval(person: Any) -> None:
    """Four minutes of typing are one report each 15 s and keep the session; then silence ends it on time."""
    tab = person.signed_in()
    for _ in range(24):
        tab.page.get_by_label("Text").press("a")
        tab.passes(10)
    assert 12 <= reports(person) <= 16
    sent = reports(person)
    tab.passes(15)  # the last key, at its interval's end
    assert reports(person) <= sent + 1
    left = tab.left
    assert left is not None
    tab.passes(left - 61)
    tab.shows_nothing()
    tab.passes(1)
    tab.shows(ASKS)


def test_the_last_sign_of_the_user_counts(person: Any) -> None:
    """A key in the middle of an interval is reported at its end: silence is never counted from before it (L5)."""
    tab = person.signed_in()
    tab.passes(10)
    tab.page.get_by_label("Text").press("a")
    tab.settle()
    assert reports(person) == 0
    tab.passes(5)
    assert reports(person) == 1
    assert tab.left == 300


def test_timers_and_scripts_are_no_user(person: Any) -> None:
    """Events that a script dispatches, and a page left alone, are reported to nobody."""
    tab = person.signed_in()
    for _ in range(12):
        tab.page.evaluate(
            "for (const kind of ['pointerdown', 'keydown', 'wheel']) window.dispatchEvent(new Event(kind))"
        )
        tab.passes(20)
    assert reports(person) == 0
    tab.shows(ASKS)


def test_a_mouse_over_the_dialog_is_no_answer(person: Any) -> None:
    """Once the dialog asks, only a choice counts."""
    tab = person.signed_in()
    tab.passes(240)
    tab.shows(ASKS)
    for place in range(5):
        tab.page.mouse.move(10 + place * 20, 10)
        tab.passes(5)
    assert reports(person) == 0
    tab.shows(ASKS)


def test_reports_can_be_turned_off(person: Any) -> None:
    """data-activity="off": the page's own requests are all the activity there is."""
    person.town.options = {"activity": "off"}
    tab = person.signed_in()
    tab.page.get_by_label("Text").press("a")
    tab.passes(20)
    tab.page.get_by_label("Text").press("a")
    tab.passes(20)
    assert reports(person) == 0


def test_a_page_that_opened_without_a_network_begins_later(person: Any) -> None:
    """The first question failed: it is asked again, and the dialog comes on time."""
    tab = person.tab("/quiet")
    tab.sign_in()
    person.town.faults["/session/status"] = 503
    tab.page.goto(f"{person.origin}/")
    tab.until("Boolean(window.session)")
    tab.page.evaluate("session.check()")
    assert tab.state == "unknown"
    del person.town.faults["/session/status"]
    person.passes(30)
    tab.becomes("active")
    tab.passes(210)
    tab.shows(ASKS)
