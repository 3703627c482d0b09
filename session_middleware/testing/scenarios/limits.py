"""Which limits hold: a cut applies at once, a raise to sessions begun afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from session_middleware.settings import Limits
from session_middleware.testing.scenarios.expect import problem, served, state
from session_middleware.testing.stage import Stage, login

__all__ = ["LimitsScenarios"]


class LimitsScenarios:
    """How limits change under a living session."""

    def test_a_cut_of_silence_applies_at_the_next_request(self, stage: Stage) -> None:
        """A release with a shorter inactivity_timeout ends silent sessions by it; nothing is written (L2)."""
        browser, began = stage.signed_in(), stage.clock()
        old, new = browser.driver, stage.app(inactivity_timeout=300)
        stage.store.forget_calls()
        browser.driver = new
        stage.clock.advance(200)
        assert state(browser)["inactivity_deadline"] == began + 300 + 15, "last seen + configured + touch_interval"
        assert stage.store.writes == 0
        browser.driver = old
        assert state(browser)["inactivity_deadline"] == began + 900, "a cut is computed, never written back"
        browser.driver = new
        stage.clock.set(began + 315)
        problem(browser.fetch("/me"), "inactivity")

    def test_a_cut_does_not_spare_an_extended_session(self, stage: Stage) -> None:
        """Where configured < stored, extended or not (L2)."""
        browser = stage.signed_in()
        served(browser.submit("/extend?minutes=120"))
        extended = stage.clock()
        browser.driver = stage.app(inactivity_timeout=300)
        assert state(browser)["inactivity_deadline"] == extended + 315

    def test_a_raise_applies_to_new_sessions_only(self, stage: Stage) -> None:
        """A session keeps the limits of its login where the settings grow (L2)."""
        browser = stage.signed_in(inactivity_timeout=300, absolute_lifetime=3_600)
        began = stage.clock()
        grown = browser.driver = stage.app()
        stage.clock.advance(100)
        seen = served(browser.navigate("/me"))
        assert seen["inactivity_deadline"] == stage.clock() + 300 + 45
        assert seen["absolute_deadline"] == began + 3_600
        seen = served(login(browser))
        assert seen["inactivity_deadline"] == stage.clock() + 900
        assert seen["absolute_deadline"] == stage.clock() + 28_800
        assert browser.driver is grown

    def test_as_many_sessions_as_may_be(self, stage: Stage) -> None:
        """With max_sessions a further login ends the oldest session; one in the same browser takes its own place (L12)."""
        app = stage.app(max_sessions=2)
        first = stage.signed_in(driver=app)
        stage.clock.advance(1)
        second = stage.signed_in(driver=app)
        stage.clock.advance(1)
        other = stage.signed_in("bob", driver=app)
        served(login(second))
        served(first.navigate("/me"))
        stage.clock.advance(1)
        third = stage.signed_in(driver=app)
        problem(first.fetch("/me"), "signed_out")
        for browser in (second, third, other):
            served(browser.navigate("/me"))
        ended = [event for event in stage.events if event.detail.get("reason") == "max_sessions"]
        assert [event.subject for event in ended] == ["alice"]

    def test_no_more_sessions_than_may_be(self, stage: Stage) -> None:
        """With on_max_sessions="refuse" the login is refused, and nobody who is signed in is touched (L12)."""
        app = stage.app(max_sessions=1, on_max_sessions="refuse")
        first = stage.signed_in(driver=app)
        late = stage.visitor(app)
        answer = login(late)
        assert answer.status == 409, answer
        assert not late.jar.names
        problem(late.fetch("/me"), None)
        served(login(first))
        served(first.submit("/step-up"))
        served(first.navigate("/me"))
        assert first.submit("/sign-out").status == 200
        served(login(late))

    def test_a_cut_of_the_absolute_lifetime(self, stage: Stage) -> None:
        """The hard age is the smaller of stored and configured (L2, L3)."""
        browser, began = stage.signed_in(), stage.clock()
        browser.driver = stage.app(absolute_lifetime=1_200)
        stage.clock.advance(600)
        assert served(browser.navigate("/me"))["absolute_deadline"] == began + 1_200
        stage.clock.set(began + 1_200)
        problem(browser.fetch("/me"), "lifetime")

    def test_limits_for_one_user(self, stage: Stage) -> None:
        """A limits= function decides at login, by subject and claims (L2)."""

        def limits(subject: str, claims: Mapping[str, Any]) -> Limits:
            return Limits(300, 1_800) if claims.get("role") == "admin" else Limits(900, 28_800)

        app, began = stage.app(limits=limits), stage.clock()
        boss, alice = stage.visitor(app), stage.visitor(app)
        seen = served(login(boss, "boss", claims={"role": "admin"}))
        assert (seen["inactivity_deadline"], seen["absolute_deadline"]) == (began + 300, began + 1_800)
        seen = served(login(alice))
        assert (seen["inactivity_deadline"], seen["absolute_deadline"]) == (began + 900, began + 28_800)

    def test_a_cut_for_one_user_acts_within_a_touch_interval(self, stage: Stage) -> None:
        """The limits= function is asked again at each touch (L2)."""
        suspects: set[str] = set()
        browser = stage.signed_in(
            limits=lambda subject, claims: Limits(300 if subject in suspects else 900, 28_800),
        )
        served(browser.navigate("/me"))
        suspects.add("alice")
        stage.clock.advance(45)
        seen = served(browser.navigate("/me"))
        assert seen["inactivity_deadline"] == stage.clock() + 300 + 45
        stage.clock.advance(345)
        problem(browser.fetch("/me"), "inactivity")

    def test_claims_move_the_limits_of_their_session(self, stage: Stage) -> None:
        """A claim set in between is seen by the limits= function within a touch interval (L2)."""
        browser = stage.signed_in(
            limits=lambda subject, claims: Limits(300 if claims.get("kiosk") else 900, 28_800),
        )
        assert browser.submit('/claims?set={"kiosk":true}').status == 200
        stage.clock.advance(45)
        assert served(browser.navigate("/me"))["inactivity_deadline"] == stage.clock() + 345

    def test_a_login_may_be_stricter_but_not_looser(self, stage: Stage) -> None:
        """login(limits=) is capped by the configured limits (L2)."""
        app, began = stage.app(), stage.clock()
        seen = served(login(stage.visitor(app), limits=[300, 3_600]))
        assert (seen["inactivity_deadline"], seen["absolute_deadline"]) == (began + 300, began + 3_600)
        seen = served(login(stage.visitor(app), limits=[90_000, 900_000]))
        assert (seen["inactivity_deadline"], seen["absolute_deadline"]) == (began + 900, began + 28_800)

    def test_a_login_sets_the_first_deadline(self, stage: Stage) -> None:
        """login(minutes=) sets it exactly; activity may raise it again (L7)."""
        browser = stage.visitor()
        assert served(login(browser, minutes=5))["inactivity_deadline"] == stage.clock() + 300
        stage.clock.advance(299)
        assert served(browser.navigate("/me"))["inactivity_deadline"] == stage.clock() + 945
