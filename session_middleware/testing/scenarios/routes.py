"""Markers and policies: which route asks for a session, and which one is left alone."""

from __future__ import annotations

import pytest

from session_middleware.testing.browser import Browser
from session_middleware.testing.scenarios.expect import problem, sent_to_login, served, varies_on
from session_middleware.testing.stage import Stage, login

__all__ = ["RouteScenarios"]

PREFLIGHT = (("Origin", "https://elsewhere.test"), ("Access-Control-Request-Method", "POST"))


def preflight(browser: Browser, target: str) -> None:
    """Check that a CORS preflight runs no view: what answers is the framework, or we refuse as for GET."""
    answer = browser.plain(target, "OPTIONS", headers=PREFLIGHT)
    assert answer.status in (200, 204, 401, 404, 405)
    assert b"verdict" not in answer.body, "a view has run"
    assert answer.set_cookies == []


class RouteScenarios:
    """What the markers of a route mean (L21)."""

    def test_what_is_open_to_all(self, stage: Stage) -> None:
        """Optional and exempt routes, the login page, and our endpoints (L21)."""
        visitor = stage.visitor()
        seen = visitor.fetch("/open").json
        assert (seen["verdict"], seen["subject"], seen["is_active"], seen["id"]) == ("ANONYMOUS", None, False, None)
        assert (seen["claims"], seen["data"], seen["inactivity_deadline"]) == ({}, None, None)
        assert visitor.fetch("/exempt").json == {"exempt": True}
        assert visitor.fetch("/exempt-using").json["verdict"] == "ANONYMOUS"
        assert visitor.navigate("/login?reason=inactivity").status == 200
        assert visitor.fetch("/session/status").json["authenticated"] is False

    @pytest.mark.parametrize("target", ["/me", "/poll", "/fresh", "/stale", "/own-cookie", "/fail"])
    def test_what_asks_for_a_session(self, stage: Stage, target: str) -> None:
        """Everything else, marked or not; the view does not run (L21)."""
        visitor = stage.visitor()
        problem(visitor.fetch(target), None)
        sent_to_login(visitor.navigate(target), f"/login?return_to={target}")

    def test_the_login_page_of_someone_signed_in(self, stage: Stage) -> None:
        """The login URL is open in any case, also with a dead session (L21)."""
        browser = stage.signed_in()
        assert browser.navigate("/login").status == 200
        stage.clock.advance(900)
        assert browser.navigate("/login").status == 200

    def test_what_is_not_there(self, stage: Stage) -> None:
        """An undetermined endpoint gets the strictest rule: 404 for who is signed in, a refusal for others (L21)."""
        browser = stage.signed_in()
        assert browser.fetch("/nowhere").status == 404
        assert browser.navigate("/nowhere").status == 404
        visitor = stage.visitor(browser.driver)
        problem(visitor.fetch("/nowhere"), None)
        sent_to_login(visitor.navigate("/nowhere"), "/login?return_to=/nowhere")

    @pytest.mark.parametrize("target", ["/Login", "/login/", "//login", "/login/x", "/loginx", "/exempt/", "/open/x"])
    def test_near_misses_of_open_paths(self, stage: Stage, target: str) -> None:
        """Only the very path of an open route is open (L21)."""
        answer = stage.visitor().fetch(target)
        assert answer.status == 401

    def test_exempt_paths(self, stage: Stage) -> None:
        """exempt_paths are exact, or a prefix where they end in /*; they are left alone (L21)."""
        browser = stage.signed_in(exempt_paths=["/nowhere", "/static/*"])
        visitor = stage.visitor(browser.driver)
        stage.store.forget_calls()
        for target in ("/nowhere", "/static/a.css", "/static/", "/static/deep/er"):
            for each in (visitor, browser):
                answer = each.fetch(target)
                assert answer.status == 404
                assert "cookie" not in varies_on(answer)
        assert stage.store.total == 0
        for target in ("/nowhere/x", "/nowherex", "/static", "/staticx", "/x/static/a"):
            problem(visitor.fetch(target), None)

    def test_exempt_paths_of_views(self, stage: Stage) -> None:
        """Who is known at the first glance is left alone there, too: what anybody gets may be cached (L18, L21)."""
        browser = stage.signed_in(exempt_paths=["/return-to"])
        stage.clock.advance(61)  # a touch is written, and then nothing is due
        for _ in range(2):
            assert browser.fetch("/me").status == 200
        stage.store.forget_calls()
        for each in (browser, stage.visitor(browser.driver)):
            answer = each.fetch("/return-to")
            assert answer.status == 200
            assert "cookie" not in varies_on(answer)
            assert answer.header("Cache-Control") is None
        assert stage.store.total == 0

    def test_the_default_policy_may_be_optional(self, stage: Stage) -> None:
        """default_policy="optional" opens what is unmarked; required markers hold (L21)."""
        visitor = stage.visitor(default_policy="optional")
        assert visitor.fetch("/me").json["verdict"] == "ANONYMOUS"
        assert visitor.fetch("/nowhere").status == 404
        problem(visitor.fetch("/fresh"), None)
        problem(visitor.fetch("/stale"), None)

    @pytest.mark.parametrize("target", ["/me", "/poll", "/fresh", "/stale", "/nowhere"])
    def test_a_preflight_is_no_way_in(self, stage: Stage, target: str) -> None:
        """OPTIONS with Origin and Access-Control-Request-Method runs no view that asks for a session (L21)."""
        visitor = stage.visitor()
        stage.store.forget_calls()
        preflight(visitor, target)
        assert stage.store.total == 0

    @pytest.mark.parametrize("headers", [(), PREFLIGHT[:1], PREFLIGHT[1:]], ids=["bare", "origin", "method"])
    def test_other_options_requests_are_judged(self, stage: Stage, headers: tuple[tuple[str, str], ...]) -> None:
        """An OPTIONS request that is no preflight is no way around the session (L21)."""
        problem(stage.visitor().plain("/me", "OPTIONS", headers=headers), None)

    def test_freshness_after_a_login(self, stage: Stage) -> None:
        """A signed-in user who is no longer fresh is sent to login with that reason, and is signed in still (L21)."""
        browser = stage.signed_in()
        stage.clock.advance(300)
        document = problem(browser.fetch("/fresh"), "fresh_login")
        assert document["login_url"] == "/login"
        served(browser.fetch("/me"))
        served(login(browser))
        served(browser.fetch("/fresh"))

    def test_head_is_judged_like_get(self, stage: Stage) -> None:
        """HEAD of an open route is open, of a protected one refused (L21)."""
        browser = stage.signed_in()
        visitor = stage.visitor(browser.driver)
        assert visitor.fetch("/open", "HEAD").status == 200
        assert visitor.fetch("/exempt", "HEAD").status == 200
        assert visitor.fetch("/me", "HEAD").status == 401
        assert browser.fetch("/me", "HEAD").status == 200
