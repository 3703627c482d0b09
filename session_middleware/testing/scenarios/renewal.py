"""Renewal of the token: lost responses log nobody out, a thief who comes late is caught."""

from __future__ import annotations

from typing import Any

import pytest

from session_middleware.testing.browser import Browser
from session_middleware.testing.scenarios.expect import problem, served, state
from session_middleware.testing.stage import TOKEN, Stage

__all__ = ["RenewalScenarios"]


def due(stage: Stage, **options: Any) -> Browser:  # Any: settings
    """Return the browser of a user whose next request renews the token."""
    browser = stage.signed_in(**options)
    for _ in range(4):
        stage.clock.advance(720)
        served(browser.navigate("/me"))
    stage.clock.advance(720)
    return browser


class RenewalScenarios:
    """How a session gets its next token (L11)."""

    def test_renewal_at_its_interval(self, stage: Stage) -> None:
        """After renewal_interval, not earlier, activity brings the next token; id and deadlines are no others (L11)."""
        browser = due(stage)
        before, first = state(browser), browser.jar[TOKEN]
        stage.clock.set(stage.clock() - 0.5)
        served(browser.navigate("/me"))
        assert browser.jar[TOKEN] == first
        stage.clock.advance(0.5)
        after = served(browser.navigate("/me"))
        assert browser.jar[TOKEN] != first
        assert after["id"] == before["id"]
        assert after["absolute_deadline"] == before["absolute_deadline"]
        assert after["inactivity_deadline"] == stage.clock() - 0.5 + 945

    def test_what_does_not_renew(self, stage: Stage) -> None:
        """A poll, a prefetch and our endpoints leave the token; the next page renews it (L9, L11)."""
        browser = due(stage)
        first = browser.jar[TOKEN]
        state(browser)
        browser.prefetch("/me")
        browser.fetch("/session/status")
        browser.fetch("/session/refresh", "POST")
        browser.fetch("/session/continue", "POST")
        browser.fetch("/me", "OPTIONS")
        browser.fetch("/exempt-using")
        assert browser.jar[TOKEN] == first
        served(browser.fetch("/me"))
        assert browser.jar[TOKEN] != first

    def test_renewal_can_be_off(self, stage: Stage) -> None:
        """renewal_interval=None keeps one token for life (L11)."""
        browser = due(stage, renewal_interval=None)
        first = browser.jar[TOKEN]
        served(browser.navigate("/me"))
        assert browser.jar[TOKEN] == first

    def test_a_lost_response_logs_nobody_out(self, stage: Stage) -> None:
        """Who presents the previous token gets the same successor, for as long as nobody has presented that (L11)."""
        browser = due(stage)
        lost = browser.twin()
        served(lost.navigate("/me"))
        stage.clock.advance(600)
        served(browser.navigate("/me"))
        assert browser.jar[TOKEN] == lost.jar[TOKEN]
        assert stage.event_names().count("session_renewed") == 1

    def test_parallel_requests_get_one_successor(self, stage: Stage) -> None:
        """Everything a page loads at the renewal moment is served, and all cookies are equal (L9, L11)."""
        browser = due(stage)
        tabs = [browser.twin() for _ in range(12)]
        for tab in tabs:
            served(tab.navigate("/me"))
        assert len({tab.jar[TOKEN] for tab in tabs}) == 1
        assert len({tuple(sorted((c.name, c.value) for c in tab.jar)) for tab in tabs}) == 1
        assert stage.event_names().count("session_renewed") == 1

    @pytest.mark.parametrize("meanwhile", ["renew", "touch"])
    def test_a_renewal_lost_to_another_worker(self, stage: Stage, meanwhile: str) -> None:
        """Of two processes that renew at once one wins, beside whichever write; the other hands out its successor (L11)."""
        browser = due(stage)
        elsewhere = browser.twin(stage.app())
        stage.store.interrupt(meanwhile, stage.renews_meanwhile(state(browser)["id"], 0, 1))
        served(browser.navigate("/me"))
        served(elsewhere.navigate("/me"))
        assert browser.jar[TOKEN] == elsewhere.jar[TOKEN]
        assert ".1." in browser.jar[TOKEN]

    def test_the_grace_begins_with_the_first_presentation(self, stage: Stage) -> None:
        """Within renewal_grace after the successor was presented the previous token is good, afterwards not (L11)."""
        browser = due(stage)
        late = browser.twin()
        served(browser.navigate("/me"))
        stage.clock.advance(300)
        served(browser.navigate("/me"))
        stage.clock.advance(29.5)
        intime = late.twin()
        served(intime.navigate("/me"))
        assert intime.jar[TOKEN] == browser.jar[TOKEN]
        stage.clock.advance(0.5)
        problem(late.fetch("/me"), "signed_out")

    def test_a_replayed_token_ends_the_session(self, stage: Stage) -> None:
        """The previous token after its grace: thief and user are out, and a CRITICAL event says why (L11)."""
        browser = due(stage)
        thief = browser.twin()
        served(browser.navigate("/me"))
        served(browser.navigate("/me"))
        stage.clock.advance(31)
        problem(thief.fetch("/me"), "signed_out")
        problem(browser.fetch("/me"), "signed_out")
        assert "session_replayed" in stage.event_names()
        (event,) = [event for event in stage.events if event.name == "session_replayed"]
        assert event.subject == "alice"
        assert event.level == 50

    def test_a_replayed_token_may_be_refused_only(self, stage: Stage) -> None:
        """on_replay="refuse" leaves the user signed in (L11)."""
        browser = due(stage, on_replay="refuse")
        thief = browser.twin()
        served(browser.navigate("/me"))
        served(browser.navigate("/me"))
        stage.clock.advance(31)
        problem(thief.fetch("/me"), "signed_out")
        served(browser.fetch("/me"))
        assert "session_replayed" in stage.event_names()

    def test_an_older_token_is_replayed_at_once(self, stage: Stage) -> None:
        """Two generations back there is no grace (L11)."""
        browser = due(stage, renewal_interval=600)
        oldest = browser.twin()
        served(browser.navigate("/me"))
        stage.clock.advance(600)
        served(browser.navigate("/me"))
        problem(oldest.fetch("/me"), "signed_out")
        problem(browser.fetch("/me"), "signed_out")

    def test_a_renewal_that_the_store_lost(self, stage: Stage) -> None:
        """A token newer than the record is one that only we can have signed: accepted and recorded (L11)."""
        browser = due(stage)
        lost = browser.twin()
        seen = served(browser.navigate("/me"))
        stage.store.interrupt("load", stage.renews_meanwhile(seen["id"], 1, 0))
        served(browser.navigate("/me"))
        served(lost.navigate("/me"))
        assert lost.jar[TOKEN] == browser.jar[TOKEN]
