"""A life from the first login to the last logout, and the two clocks that end it."""

from __future__ import annotations

from session_middleware.testing.scenarios.expect import problem, sent_to_login, served, state
from session_middleware.testing.stage import JWT, TOKEN, Stage, login

__all__ = ["LifeScenarios"]


class LifeScenarios:
    """How sessions begin, live and end."""

    def test_a_whole_life(self, stage: Stage) -> None:
        """Login, activity, JWT rotation, renewal, silence, back by the return address, login, logout (L3-L5, L9, L11)."""
        clock, browser = stage.clock, stage.visitor()
        refused = browser.navigate("/me?tab=1&q=a%20b")
        sent_to_login(refused, "/login?return_to=/me%3Ftab%3D1%26q%3Da%2520b")
        page = browser.follow(refused)
        assert (page.status, page.body) == (200, b"<h1>login</h1>")

        began = clock()
        first = served(login(browser))
        assert first["subject"] == "alice"
        assert first["authenticated_at"] == began
        assert first["inactivity_deadline"] == began + 900
        assert first["absolute_deadline"] == began + 28_800
        assert first["fresh"] is True
        assert browser.jar.names == {TOKEN, JWT}
        token, jwt = browser.jar[TOKEN], browser.jar[JWT]

        clock.advance(150)
        served(browser.navigate("/me"))
        assert browser.jar[JWT] == jwt, "a JWT with half of its life left is not rotated"
        clock.advance(1)
        served(browser.navigate("/me"))
        assert browser.jar[JWT] != jwt
        assert browser.jar[TOKEN] == token

        while clock() < began + 3_451:
            clock.advance(300)
            served(browser.navigate("/me"))
        assert browser.jar[TOKEN] == token
        clock.set(began + 3_600)
        seen = served(browser.navigate("/me"))
        assert browser.jar[TOKEN] != token, "after renewal_interval the session has its next token"
        assert seen["id"] == first["id"]
        assert seen["absolute_deadline"] == first["absolute_deadline"]
        assert seen["inactivity_deadline"] == clock() + 900 + 45
        assert "session_renewed" in stage.event_names()

        clock.advance(945)
        before = browser.jar.names
        sent_to_login(browser.navigate("/me?tab=2"), "/login?reason=inactivity&return_to=/me%3Ftab%3D2")
        assert browser.jar.names == before, "a refusal deletes no cookie"

        again = served(login(browser))
        assert again["id"] != first["id"]
        assert again["authenticated_at"] == clock()
        assert browser.submit("/sign-out").json == {"ok": True}
        assert browser.jar.names == set()
        sent_to_login(browser.navigate("/me"), "/login?return_to=/me")

    def test_exactly_on_time_after_login(self, stage: Stage) -> None:
        """Nobody came back after the login: silence ends the session exactly at inactivity_timeout (L5)."""
        browser = stage.signed_in()
        stage.clock.advance(899.5)
        state(browser)
        stage.clock.advance(0.5)
        problem(browser.fetch("/poll"), "inactivity")

    def test_activity_does_not_move_the_absolute_deadline(self, stage: Stage) -> None:
        """Someone who never rests is asked to sign in again after absolute_lifetime, to the second (L3)."""
        browser, began = stage.signed_in(), stage.clock()
        while stage.clock() < began + 28_200:
            stage.clock.advance(600)
            assert served(browser.navigate("/me"))["absolute_deadline"] == began + 28_800
        stage.clock.set(began + 28_799.5)
        seen = served(browser.navigate("/me"))
        assert seen["inactivity_deadline"] == began + 28_800, "no deadline is shown beyond the absolute one (L4)"
        stage.clock.advance(0.5)
        sent_to_login(browser.navigate("/me"), "/login?reason=lifetime&return_to=/me")

    def test_nothing_but_a_login_moves_the_authentication_time(self, stage: Stage) -> None:
        """Activity, extend, continue, refresh, status, step-up and renewal leave the absolute deadline (L3)."""
        browser, began = stage.signed_in(), stage.clock()
        asked = [
            ("GET", "/me"),
            ("POST", "/session/continue"),
            ("POST", "/extend?minutes=300"),
            ("POST", "/session/refresh"),
            ("GET", "/session/status"),
            ("POST", "/step-up"),
            ("GET", "/me"),
        ]
        for method, target in asked:
            stage.clock.advance(700)
            answer = browser.fetch(target, method)
            assert answer.status == 200, answer.body.decode()
            seen = state(browser)
            assert seen["authenticated_at"] == began
            assert seen["absolute_deadline"] == began + 28_800
        assert "session_renewed" in stage.event_names()

    def test_the_earlier_deadline_names_the_reason(self, stage: Stage) -> None:
        """Where both deadlines have passed, the earlier one is the reason (L16)."""
        silent = stage.signed_in(inactivity_timeout=900, absolute_lifetime=1_000)
        old = stage.signed_in(inactivity_timeout=900, absolute_lifetime=900)
        stage.clock.advance(2_000)
        problem(silent.fetch("/me"), "inactivity")
        problem(old.fetch("/me"), "lifetime")

    def test_an_end_is_for_good(self, stage: Stage) -> None:
        """A clock set back or a raised limit does not revive a session that was refused by a deadline (L16)."""
        browser = stage.signed_in()
        stage.clock.advance(900)
        problem(browser.fetch("/me"), "inactivity")
        stage.clock.set(stage.clock() - 600)
        problem(browser.fetch("/me"), "inactivity")
        browser.driver = stage.app(inactivity_timeout=9_000)
        problem(browser.fetch("/me"), "inactivity")

    def test_an_ended_session_is_remembered_for_a_day(self, stage: Stage) -> None:
        """For ended_retention the reason is known, afterwards only that the session is over (L16)."""
        browser = stage.signed_in()
        stage.clock.advance(900)
        problem(browser.fetch("/me"), "inactivity")
        stage.clock.advance(86_399)
        problem(browser.fetch("/me"), "inactivity")
        stage.clock.advance(1)
        problem(browser.fetch("/me"), "signed_out")

    def test_the_app_vouches_on_each_request(self, stage: Stage) -> None:
        """A user the app no longer vouches for is out with the next request, and stays out (L8)."""
        from session_middleware.authorities.local import LocalAuthority

        banned: set[str] = set()
        authority = LocalAuthority(verify=lambda record: record.subject not in banned)
        browser = stage.signed_in(authority=authority)
        served(browser.fetch("/me"))
        banned.add("alice")
        problem(browser.fetch("/me"), "signed_out")
        banned.clear()
        problem(browser.fetch("/me"), "signed_out")
