"""The dialog for those who see it, hear it, or use a keyboard; the page's policy; texts, own dialogs, and fetch (M24, M25)."""

from __future__ import annotations

from typing import Any

import pytest

from .checks import axe_finds
from .test_timeline import ASKS, FINAL, LAPSED, OTHER, OUT

pytestmark = [pytest.mark.slow, pytest.mark.server]


def lapsed(person: Any, tab: Any) -> None:
    tab.passes(240)
    tab.passes(60)
    tab.becomes("lapsed")


def final(person: Any, tab: Any) -> None:
    for _ in range(3):
        tab.passes(230)
        assert tab.page.evaluate("session.continue()")
    tab.passes(150)
    tab.becomes("warning")


def out(person: Any, tab: Any) -> None:
    person.context.clear_cookies()
    tab.page.evaluate("session.check()")


def changed(person: Any, tab: Any) -> None:
    tab.sign_in("bob")
    tab.page.evaluate("session.check()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("reach", "title"),
    [(lambda person, tab: tab.passes(240), ASKS), (final, FINAL), (lapsed, LAPSED), (out, OUT), (changed, OTHER)],
    ids=["warning", "final", "lapsed", "signed out", "changed"],
)
def test_axe_finds_nothing(person: Any, reach: Any, title: str, scheme: Any) -> None:
    """M24: in each of its states, in light and dark."""
    tab = person.signed_in()
    tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    reach(person, tab)
    tab.shows(title)
    assert axe_finds(tab.page) == []


def test_it_is_an_alertdialog_with_a_name_and_a_description(person: Any) -> None:
    """M24: the role, what it is called, what it says, and the language of what it says."""
    tab = person.signed_in()
    tab.passes(240)
    found = tab.page.get_by_role("alertdialog", name=ASKS)
    assert found.get_attribute("aria-describedby") == "text time"
    assert found.get_attribute("lang") == "en"
    assert found.evaluate("(dialog) => dialog.matches(':modal')")


#: The text of the dialog's button that has the focus.
FOCUSED = "document.querySelector('session-dialog').shadowRoot.activeElement?.textContent ?? null"


def test_focus_moves_in_and_back(person: Any) -> None:
    """M24: on the first choice; the keyboard reaches the others; after Continue it is where it was."""
    tab = person.signed_in()
    tab.page.get_by_label("Text").focus()
    tab.passes(240)
    tab.until(FOCUSED, "Continue")
    tab.page.keyboard.press("Tab")
    tab.until(FOCUSED, "Log out")
    tab.page.keyboard.press("Shift+Tab")
    tab.until(FOCUSED, "Continue")
    tab.page.keyboard.press("Enter")
    tab.becomes("active")
    tab.until("document.activeElement.id", "text")


def test_focus_stays_inside(person: Any) -> None:
    """M24: Tab reaches the dialog's buttons and the browser's own, and nothing of the page behind."""
    # Beyond the last button a browser takes the focus to its own, and gives it back when it comes to that: whatever a test
    # does next may be before or after it.
    tab = person.signed_in()
    tab.page.get_by_label("Text").focus()
    tab.passes(240)
    tab.until(FOCUSED, "Continue")
    for key in ("Tab", "Tab", "Tab", "Tab", "Tab", "Shift+Tab", "Shift+Tab", "Shift+Tab"):
        tab.page.keyboard.press(key)
        assert tab.page.evaluate("document.activeElement.id") != "text"


def test_focus_is_not_lost_when_the_choices_change(person: Any) -> None:
    """M24: the button that had it is gone, the new first choice has it."""
    tab = person.signed_in()
    lapsed(person, tab)
    tab.until(
        "document.querySelector('session-dialog').shadowRoot.activeElement?.textContent", "Sign in again (new tab)"
    )


def test_escape_is_a_sign_of_life(person: Any) -> None:
    """M24: one simple action is enough to go on."""
    tab = person.signed_in()
    tab.passes(240)
    tab.shows(ASKS)
    tab.page.keyboard.press("Escape")
    tab.becomes("active")
    tab.shows_nothing()
    assert tab.left == 300


def test_the_countdown_is_announced_twice_and_not_each_second(person: Any) -> None:
    """M24: a live region speaks at 30 and at 10 seconds; the timer itself is silent."""
    tab = person.signed_in()
    tab.passes(240)
    tab.shows(ASKS)
    tab.page.evaluate(
        """() => { window.heard = [];
        const region = document.querySelector('session-dialog').shadowRoot.querySelector('[role=status]');
        new MutationObserver(() => heard.push(region.textContent)).observe(region, {childList: true, characterData: true, subtree: true}); }"""
    )
    for _ in range(59):
        tab.passes(1)
    assert tab.page.evaluate("heard") == ["30 seconds left.", "10 seconds left."]
    assert tab.dialog.get_by_role("timer").inner_text() == "Time left: 0:01"
    assert tab.dialog.get_by_role("timer").get_attribute("aria-live") is None  # "off" is what the role means


def test_nothing_moves(person: Any) -> None:
    """prefers-reduced-motion has nothing to reduce: neither animation nor transition, for anybody."""
    tab = person.signed_in()
    tab.page.emulate_media(reduced_motion="no-preference")
    tab.passes(240)
    tab.shows(ASKS)
    assert tab.dialog.evaluate("(dialog) => dialog.getAnimations({subtree: true}).length") == 0
    style = "(dialog) => [getComputedStyle(dialog).animationName, getComputedStyle(dialog).transitionDuration]"
    assert tab.dialog.evaluate(style) == ["none", "0s"]


def test_the_policy_forbids_nothing_that_it_does(person: Any) -> None:
    """Strict CSP and Trusted Types: no violation, no error, and the dialog has its style."""
    tab = person.signed_in()
    tab.passes(240)
    tab.shows(ASKS)
    tab.button("Continue").click()
    tab.becomes("active")
    lapsed(person, tab)
    assert tab.page.evaluate("violations") == []
    assert tab.errors == []
    width = "document.querySelector('session-dialog').shadowRoot.querySelector('dialog').getBoundingClientRect().width"
    assert tab.page.evaluate(width) == 448


def test_texts_are_translated_by_attributes(person: Any) -> None:
    """The tag's own words, in the page's language."""
    person.town.options = {"text_warning_title": "Noch da?", "text_continue": "Weiter", "text_left": "Noch {time}"}
    tab = person.signed_in()
    tab.passes(240)
    tab.shows("Noch da?")
    assert tab.button("Weiter").is_visible()
    assert tab.dialog.get_by_role("timer").inner_text() == "Noch 1:00"
    assert tab.dialog.get_attribute("lang") is None


def test_a_dialog_of_ones_own(person: Any) -> None:
    """data-dialog="off": ours never shows; onchange and "change" tell the page, which asks and answers by itself."""
    person.town.options = {"dialog": "off"}
    tab = person.signed_in()
    tab.page.evaluate(
        """() => { window.told = []; session.onchange = (s) => told.push(s.state);
        session.addEventListener('change', () => told.push('event')); }"""
    )
    tab.passes(240)
    tab.becomes("warning")
    tab.shows_nothing()
    assert sorted(tab.page.evaluate("told")) == ["event", "warning"]
    assert tab.left == 60
    assert tab.page.evaluate("session.continue()")
    assert tab.left == 300


def test_a_refused_fetch_becomes_the_dialog(person: Any) -> None:
    """session.fetch: a 401 of ours is shown, and still the caller's to handle; any other answer is left alone."""
    tab = person.signed_in()
    assert tab.page.evaluate("session.fetch('/api').then((a) => a.json())") == {"user": "alice"}
    person.town.faults["/api"] = 401  # somebody else's 401
    assert tab.page.evaluate("session.fetch('/api').then((a) => a.status)") == 401
    tab.shows_nothing()
    del person.town.faults["/api"]
    person.context.clear_cookies()
    assert tab.page.evaluate("session.fetch('/api').then(async (a) => [a.status, (await a.json()).status])") == [
        401,
        401,
    ]
    tab.shows(OUT)


def test_a_fetch_that_wants_a_fresh_login_asks_for_one(person: Any) -> None:
    """fresh_login_required: the session lives, and the dialog asks for a sign-in."""
    tab = person.signed_in()
    tab.passes(10)
    assert tab.page.evaluate("session.fetch('/fresh').then((a) => a.status)") == 401
    tab.shows("Please sign in again")
    assert tab.state == "active"
    tab.button("Close").click()
    tab.shows_nothing()


def test_a_page_without_a_session_is_left_alone(person: Any) -> None:
    """Nobody is signed in: no dialog, and nothing is asked again."""
    tab = person.tab()
    assert tab.state == "signed_out"
    tab.passes(1000)
    tab.shows_nothing()
    assert person.town.count("GET", "/session/status") == 1


def test_two_copies_of_the_module_are_one_session(person: Any) -> None:
    """An import without the hash finds the object of the tag; there is one dialog."""
    tab = person.signed_in()
    assert tab.page.evaluate("import('/session/client.js').then((module) => module.default === session)")
    tab.passes(240)
    tab.shows(ASKS)


def test_the_server_ends_the_session_without_the_script(person: Any) -> None:
    """M25: the script is blocked; the end is the same."""
    person.context.route("**/client.js*", lambda route: route.abort())
    tab = person.tab("/quiet")
    tab.sign_in()
    tab.page.goto(f"{person.origin}/")
    person.passes(300)
    assert tab.page.evaluate("fetch('/api').then((a) => a.status)") == 401


def test_a_listener_that_fails_hurts_nobody(person: Any) -> None:
    """The page's own fault is reported as such; the dialog comes, and does not blame the network."""
    tab = person.signed_in()
    tab.page.evaluate("() => { session.onchange = () => { throw new Error('a fault of the page'); }; }")
    tab.passes(240)
    tab.shows(ASKS)
    assert tab.page.evaluate("session.failure") == ""
    assert tab.errors == ["a fault of the page"]


def test_where_only_the_provider_can_go_on(person: Any) -> None:
    """POST continue answers with continue_url: the dialog leads there, and to an address of the web only."""
    tab = person.signed_in()
    tab.passes(240)
    tab.shows(ASKS)
    answer = tab.page.evaluate("fetch('/session/status').then((a) => a.json())")
    tab.page.route("**/session/continue", lambda route: route.fulfill(json=answer))
    for url, leads_to in [
        ("https://idp.example/go?x=1", "https://idp.example/go?x=1"),
        ("javascript:alert(1)", "/session/"),
    ]:
        answer["continue_url"] = url
        tab.page.evaluate("void session.continue()")
        tab.until("session.continueUrl?.replace(location.origin, '')", leads_to)
        link = tab.link("Continue at the sign-in page")
        assert link.get_attribute("href").removeprefix(person.origin) == leads_to
        assert tab.button("Continue").filter(visible=True).count() == 0
        assert tab.state == "warning"
