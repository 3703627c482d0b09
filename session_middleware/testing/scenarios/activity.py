"""What counts as activity, what it moves, and how seldom it is written."""

from __future__ import annotations

import pytest

from session_middleware.testing.browser import Answer, Browser
from session_middleware.testing.scenarios.expect import problem, served, state
from session_middleware.testing.stage import Stage

__all__ = ["ActivityScenarios"]

#: Requests of a signed-in user that are not activity, and what they are answered with.
NO_ACTIVITY = {
    "a poll marked no_touch": ("GET", "/poll", (), 200),
    "a poll that says so": ("GET", "/me", (("Session-Activity", "none"),), 200),
    "a prefetch": ("GET", "/me", (("Sec-Purpose", "prefetch"),), 200),
    "a prerender": ("GET", "/me", (("Sec-Purpose", "prefetch;prerender"),), 200),
    "an old prefetch": ("GET", "/me", (("Purpose", "prefetch"),), 200),
    "an exempt view": ("GET", "/exempt", (), 200),
    "an exempt view that looks": ("GET", "/exempt-using", (), 200),
    "status": ("GET", "/session/status", (), 200),
    "refresh": ("POST", "/session/refresh", (), 200),
    "my sessions": ("GET", "/session/list", (), 200),
    "the key set": ("GET", "/session/jwks.json", (), 200),
}


class ActivityScenarios:
    """How activity keeps a session alive."""

    @pytest.mark.parametrize("gap", [1, 30, 44.5, 45, 46, 600])
    def test_never_early_and_at_most_one_touch_interval_late(self, stage: Stage, gap: float) -> None:
        """However the last activity falls, silence ends the session within touch_interval after its time (L5)."""
        browser = stage.signed_in()
        for step in (100, gap):
            stage.clock.advance(step)
            served(browser.navigate("/me"))
        last = stage.clock()
        stage.clock.set(last + 899.5)
        shown = state(browser)["inactivity_deadline"]
        assert last + 900 <= shown <= last + 945
        stage.clock.set(shown - 0.25)
        state(browser)
        stage.clock.set(shown)
        problem(browser.fetch("/poll"), "inactivity")

    @pytest.mark.parametrize("what", list(NO_ACTIVITY))
    def test_what_is_not_activity(self, stage: Stage, what: str) -> None:
        """Such a request moves no deadline: the session ends as if it had not been made (L6)."""
        method, target, headers, status = NO_ACTIVITY[what]
        browser, began = stage.signed_in(), stage.clock()
        stage.clock.advance(400)
        assert browser.fetch(target, method, headers=headers).status == status
        assert state(browser)["inactivity_deadline"] == began + 900
        stage.clock.advance(500)
        problem(browser.fetch("/poll"), "inactivity")

    def test_options_is_not_activity_and_sets_no_cookie(self, stage: Stage) -> None:
        """OPTIONS of a signed-in user touches nothing and gets no cookie, even where a JWT would be due (L6, L18)."""
        browser, began = stage.signed_in(), stage.clock()
        stage.clock.advance(400)
        assert browser.fetch("/me", "OPTIONS").set_cookies == []
        assert state(browser)["inactivity_deadline"] == began + 900

    def test_a_refused_request_is_not_activity(self, stage: Stage) -> None:
        """A page that asks for a fresh login refuses and does not keep the session alive (L6)."""
        browser, began = stage.signed_in(), stage.clock()
        stage.clock.advance(400)
        problem(browser.fetch("/fresh"), "fresh_login")
        assert state(browser)["inactivity_deadline"] == began + 900

    def test_a_view_that_fails_was_activity(self, stage: Stage) -> None:
        """Activity is recorded when the request opens, before the view (L6)."""
        browser = stage.signed_in()
        stage.clock.advance(400)
        assert browser.navigate("/fail").status == 500
        assert state(browser)["inactivity_deadline"] == stage.clock() + 945

    def test_a_post_is_activity(self, stage: Stage) -> None:
        """Forms keep a session alive like pages do (L6)."""
        browser = stage.signed_in()
        stage.clock.advance(400)
        served(browser.submit("/me"))
        assert state(browser)["inactivity_deadline"] == stage.clock() + 945

    def test_activity_of_the_user_alone(self, stage: Stage) -> None:
        """activity="user": scripts that read do not count; navigations and unsafe methods do (L6)."""
        browser, began = stage.signed_in(activity="user"), stage.clock()
        stage.clock.advance(100)
        served(browser.fetch("/me"))
        assert state(browser)["inactivity_deadline"] == began + 900
        stage.clock.advance(100)
        served(browser.navigate("/me"))
        assert state(browser)["inactivity_deadline"] == stage.clock() + 945
        stage.clock.advance(100)
        served(browser.fetch("/me", "POST"))
        assert state(browser)["inactivity_deadline"] == stage.clock() + 945

    def test_without_rolling_only_extend_moves_the_deadline(self, stage: Stage) -> None:
        """rolling=False: activity is recorded and moves nothing (L4)."""
        browser, began = stage.signed_in(rolling=False), stage.clock()
        stage.clock.advance(400)
        served(browser.navigate("/me"))
        assert state(browser)["inactivity_deadline"] == began + 900
        served(browser.submit("/extend?minutes=15"))
        assert state(browser)["inactivity_deadline"] == stage.clock() + 900
        stage.clock.advance(900)
        problem(browser.fetch("/me"), "inactivity")

    def test_without_a_limit_by_silence(self, stage: Stage) -> None:
        """inactivity_timeout=None: only the absolute lifetime ends the session (L5)."""
        browser, began = stage.signed_in(inactivity_timeout=None), stage.clock()
        stage.clock.advance(28_799)
        assert state(browser)["inactivity_deadline"] is None
        stage.clock.set(began + 28_800)
        problem(browser.fetch("/me"), "lifetime")

    def test_a_thousand_requests_a_second_apart(self, stage: Stage) -> None:
        """They write at most 18 times and set at most 12 cookies, under the default settings (L5, L9)."""
        browser = stage.signed_in(inactivity_timeout="default", absolute_lifetime=None)
        stage.store.forget_calls()
        cookies = 0
        for _ in range(1_000):
            stage.clock.advance(1)
            cookies += len(_served_bare(browser).set_cookies)
        assert stage.store.writes <= 18
        assert cookies <= 12

    def test_a_thousand_requests_within_a_touch_interval(self, stage: Stage) -> None:
        """After the first of them there is no write and no cookie (L5, L9)."""
        browser = stage.signed_in(inactivity_timeout="default", absolute_lifetime=None)
        stage.clock.advance(1)
        _served_bare(browser)
        stage.store.forget_calls()
        for _ in range(1_000):
            stage.clock.advance(0.058)
            assert _served_bare(browser).set_cookies == []
        assert stage.store.writes == 0

    def test_requests_at_the_instant_of_the_login_write_nothing(self, stage: Stage) -> None:
        """The login has recorded this instant already (L5)."""
        browser = stage.signed_in()
        stage.store.forget_calls()
        for _ in range(10):
            assert _served_bare(browser).set_cookies == []
        assert stage.store.writes == 0


def _served_bare(browser: Browser) -> Answer:
    answer = browser.navigate("/me")
    assert answer.status == 200
    return answer
