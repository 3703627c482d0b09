"""What the server says by itself (`GET events`): one connection for a browser, and pages that know at once."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from .browsing import PATIENCE
from .test_timeline import ASKS, LAPSED, OTHER, OUT

pytestmark = [pytest.mark.slow, pytest.mark.server]

#: Pages that do not hear of it by the script in another tab.
ELSEWHERE = {"Sec-Fetch-Site": "same-origin", "Accept": "application/json"}


#: Notes in a page whether it has heard how things stand since its stream opened: pages are ahead of what is on its way.
HEARS = """(() => {
  const Known = EventSource;
  window.EventSource = class extends Known {
    constructor(url) {
      super(url);
      this.addEventListener("message", () => { window.hears = true; });
      this.addEventListener("error", () => { window.hears = false; });
    }
    close() {
      window.hears = false;
      super.close();
    }
  };
})()"""


@pytest.fixture(autouse=True)
def listening(person: Any) -> None:
    """Pages listen; how often the server is asked counts from here."""
    person.context.add_init_script(HEARS)
    person.town.events = True
    person.town.most_streams = person.town.streams


def wait_for(person: Any, says: Callable[[], object], wanted: object = True) -> None:
    """Wait until something is so, while the browsers' timers of less than a second run."""
    end = time.monotonic() + PATIENCE
    ran = 0
    while (found := says()) != wanted:
        assert time.monotonic() < end, f"{found!r}, not {wanted!r}"
        if ran < 1000:
            ran += 50
            person.context.clock.run_for(50)
        else:
            person.context.pages[0].wait_for_timeout(20)
    if ran:
        person.town.clock.advance(ran / 1000)


def asked(person: Any) -> int:
    return int(person.town.count("GET", "/session/events"))


def listens(person: Any, times: int = 1) -> None:
    """Wait until the browser has its stream open, for the so many'th time, and has heard by it."""
    wait_for(person, lambda: (person.town.streams, asked(person)), (1, times))
    wait_for(person, lambda: any(page.evaluate("window.hears === true") for page in person.context.pages))


def from_elsewhere(person: Any, path: str) -> None:
    """Post with the session's cookie from outside of the browser, so that no tab can tell the others of it."""
    cookies = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in person.context.cookies())
    request = urllib.request.Request(person.origin + path, method="POST", headers={**ELSEWHERE, "Cookie": cookies})
    with urllib.request.urlopen(request) as answer:
        assert answer.status in (200, 204)


def three(person: Any) -> list[Any]:
    tabs = [person.signed_in(), person.tab("/quiet-page"), person.tab("/quiet-page")]
    listens(person)
    return tabs


# --- one connection ----------------------------------------------------------------------------------------------------


def test_three_tabs_have_one_connection(person: Any) -> None:
    """The first tab has the stream, however long the others are open."""
    tabs = three(person)
    person.passes(60, tabs)
    assert (person.town.most_streams, asked(person)) == (1, 1)


def test_another_tab_takes_over(person: Any) -> None:
    """The tab that had the stream is closed: the next one opens its own, and hears."""
    tabs = three(person)
    tabs[0].page.close()
    listens(person, 2)
    from_elsewhere(person, "/session/logout")
    for tab in tabs[1:]:
        wait_for(person, lambda tab=tab: tab.state, "signed_out")


@pytest.mark.parametrize(
    ("leave", "come_back"),
    [
        ("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))",
         "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"),
        ("document.dispatchEvent(new Event('freeze'))", "document.dispatchEvent(new Event('resume'))"),
    ],
    ids=["back/forward cache", "frozen"],
)  # fmt: skip
def test_a_page_that_is_put_away_gives_the_stream_up(person: Any, leave: str, come_back: str) -> None:
    """M22: it is neither kept from the cache nor in the others' way; back again it waits for its turn."""
    a, b = person.signed_in(), person.tab("/quiet-page")
    listens(person)
    a.page.evaluate(leave)
    listens(person, 2)
    a.page.evaluate(come_back)
    a.settle()
    assert asked(person) == 2
    b.page.close()
    listens(person, 3)


def test_where_nothing_is_to_be_heard_nothing_is_asked(person: Any) -> None:
    """No stream without a session, with data-events="off", or in a browser without Web Locks."""
    person.tab("/")
    person.passes(60)
    assert asked(person) == 0
    tab = person.signed_in()
    listens(person)
    person.town.events = False
    tab.page.reload()
    tab.settle()
    person.passes(60)
    assert asked(person) == 1
    person.town.events = True
    tab.page.add_init_script("Object.defineProperty(navigator, 'locks', {value: undefined})")
    tab.page.reload()
    tab.settle()
    person.passes(60)
    assert (asked(person), tab.errors) == (1, [])


def test_a_server_without_events_is_not_asked_for_them(person: Any) -> None:
    """Status says that there are none (WSGI without sse=True): no page sends a request in vain."""

    def without(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "events": False})

    person.context.route("**/session/status", without)
    tab = person.signed_in()
    person.passes(60, [tab])
    assert (asked(person), tab.state) == (0, "active")


# --- what is heard -----------------------------------------------------------------------------------------------------


def test_a_logout_elsewhere_is_seen_at_once(person: Any) -> None:
    """M15: nobody looked at the page, no tab told it, and it says so within a second; the stream is not asked for again."""
    tabs = three(person)
    from_elsewhere(person, "/session/logout")
    for tab in tabs:
        wait_for(person, lambda tab=tab: tab.state, "signed_out")
        tab.shows(OUT)
        assert tab.page.evaluate("location.pathname").startswith("/")
    wait_for(person, lambda: person.town.streams, 0)
    seen = asked(person)
    person.passes(120)
    assert asked(person) == seen


def test_a_continue_elsewhere_closes_the_dialog(person: Any) -> None:
    """M11, M14: the deadline moved on the server; no tab asks for it."""
    tabs = three(person)
    person.passes(245, tabs)
    for tab in tabs:
        tab.shows(ASKS)
    before = person.town.count("GET", "/session/status")
    from_elsewhere(person, "/session/continue")
    for tab in tabs:
        wait_for(person, lambda tab=tab: tab.state, "active")
        tab.shows_nothing()
        assert tab.left > 290
    assert person.town.count("GET", "/session/status") == before


def test_somebody_else_signs_in_where_no_script_runs(person: Any) -> None:
    """A page without our script signs bob in: the page of alice learns it from the server, and offers to be loaded again."""
    tab = person.signed_in()
    listens(person)
    plain = person.tab("/quiet")
    plain.sign_in("bob")
    wait_for(person, lambda: tab.state, "changed")
    tab.shows(OTHER)


def test_a_new_session_of_the_same_user_is_no_end(person: Any) -> None:
    """Alice signs in again where no script runs: her other pages go on, and listen to the new session."""
    tab = person.signed_in()
    listens(person)
    tab.page.evaluate("() => { window.told = []; session.onchange = () => told.push(session.state); }")
    plain = person.tab("/quiet")
    plain.sign_in()
    wait_for(person, lambda: asked(person) >= 2)
    listens(person, asked(person))
    assert set(tab.page.evaluate("told")) <= {"active"}
    from_elsewhere(person, "/session/logout")
    wait_for(person, lambda: tab.state, "signed_out")


def test_listening_is_no_activity(person: Any) -> None:
    """M19: with a stream open the session ends by silence when it would have ended."""
    tab = person.signed_in()
    listens(person)
    person.passes(245, [tab])
    tab.shows(ASKS)
    person.passes(60, [tab])
    tab.becomes("lapsed")
    tab.shows(LAPSED)


# --- without a stream, and back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [204, 401, 404, 503])
def test_where_there_are_no_events_the_page_asks_as_before(person: Any, status: int) -> None:
    """Refused: one tab of three has asked; the dialog comes, and a focus finds out what happened."""
    person.town.faults["/session/events"] = status
    tabs = [person.signed_in(), person.tab("/quiet-page"), person.tab("/quiet-page")]
    wait_for(person, lambda: asked(person) > 0)
    person.passes(2, tabs)
    first = asked(person)
    assert first <= 2  # a page that was left at once may have asked, too
    person.passes(23, tabs)
    assert asked(person) == first
    person.passes(220, tabs)
    for tab in tabs:
        tab.shows(ASKS)
    assert asked(person) <= first + 3  # after at least 30, 60 and 120 s
    from_elsewhere(person, "/session/logout")
    tabs[0].page.evaluate("dispatchEvent(new Event('focus'))")
    tabs[0].becomes("signed_out")


def test_a_store_that_comes_back_is_listened_to_again(person: Any) -> None:
    """503 for a while: a minute later the stream is open."""
    person.town.faults["/session/events"] = 503
    tab = person.signed_in()
    wait_for(person, lambda: tab.page.evaluate("window.hears"), False)  # refused, and the page knows: its pause begins
    del person.town.faults["/session/events"]
    person.passes(60, [tab])
    listens(person, 2)


def test_a_stream_that_breaks_is_opened_again(person: Any) -> None:
    """A proxy cuts the connection: the browser connects anew, and hears what happened meanwhile."""
    tab = person.signed_in()
    listens(person)
    person.passes(245, [tab])
    tab.shows(ASKS)
    person.town.cut_streams()
    wait_for(person, lambda: person.town.streams, 0)
    from_elsewhere(person, "/session/continue")
    listens(person, 2)
    wait_for(person, lambda: tab.state, "active")
    tab.shows_nothing()


def test_a_session_that_begins_again_is_listened_to(person: Any) -> None:
    """After the end the stream is closed; once the same user is back it is open at once."""
    tab = person.signed_in()
    listens(person)
    from_elsewhere(person, "/session/logout")
    wait_for(person, lambda: (tab.state, person.town.streams), ("signed_out", 0))
    seen = asked(person)
    tab.sign_in()
    tab.page.evaluate("dispatchEvent(new Event('focus'))")
    tab.becomes("active")
    tab.shows_nothing()
    listens(person, seen + 1)


def test_after_sleep_the_stream_is_a_new_one(person: Any) -> None:
    """M20: what the old connection brings may be ten minutes old."""
    tab = person.signed_in()
    listens(person)
    person.town.clock.advance(100)
    person.context.clock.set_system_time(person.town.clock())
    person.context.clock.run_for(1000)
    listens(person, 2)
    assert tab.left is not None
    assert tab.left <= 200
