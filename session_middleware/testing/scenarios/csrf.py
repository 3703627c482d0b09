"""Requests that another site makes in the user's name."""

from __future__ import annotations

import pytest

from session_middleware.testing.browser import Browser
from session_middleware.testing.scenarios.expect import problem, served, state
from session_middleware.testing.stage import Stage, login

__all__ = ["CsrfScenarios"]

#: Our state-changing endpoints.
CHANGING = [
    ("/session/continue", "POST"),
    ("/session/logout", "POST"),
    ("/session/list/end-others", "POST"),
    ("/session/list/{id}/end", "POST"),
    ("/session/list/{id}", "DELETE"),
]
READING = [("/session/status", "GET"), ("/session/list", "GET"), ("/session/refresh", "POST")]

HTTPS, HTTP = "https://app.example", "http://app.example"


def bound_login(browser: Browser, site: str) -> int:
    """Post the login form of a view that proves the request itself."""
    return browser.submit("/bound-login?subject=alice", site=site).status


class CsrfScenarios:
    """Who may change a session (L20)."""

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
    @pytest.mark.parametrize(("target", "method"), CHANGING)
    def test_only_the_same_origin_changes_anything(self, stage: Stage, target: str, method: str, site: str) -> None:
        """A state-changing endpoint refuses everything but same-origin, and nothing happens (L20)."""
        browser = stage.signed_in()
        seen = state(browser)
        answer = browser.fetch(target.replace("{id}", seen["id"]), method, site=site)
        assert answer.status == 403
        assert answer.set_cookies == []
        assert state(browser) == seen
        assert "csrf_blocked" in stage.event_names()

    @pytest.mark.parametrize(
        ("headers", "allowed"),
        [
            ((("Origin", HTTPS),), True),
            ((("Origin", HTTPS + ":443"),), True),
            ((("Origin", "https://APP.example"),), True),
            ((("Origin", "https://evil.test"),), False),
            ((("Origin", "https://app.example.evil.test"),), False),
            ((("Origin", "https://app.example:8443"),), False),
            ((("Origin", "null"),), False),
            ((), False),
            ((("Referer", HTTPS + "/"),), False),
        ],
    )
    def test_without_fetch_metadata(self, stage: Stage, headers: tuple[tuple[str, str], ...], allowed: bool) -> None:
        """An older browser's Origin must be this host; with neither header it is refused (L20)."""
        browser = stage.signed_in()
        answer = browser.plain("/session/continue", "POST", headers=headers)
        assert answer.status == (200 if allowed else 403)

    def test_without_any_header_where_allowed(self, stage: Stage) -> None:
        """csrf_without_headers="allow" lets old tools in, and no other site (L20)."""
        browser = stage.signed_in(csrf_without_headers="allow")
        assert browser.plain("/session/continue", "POST").status == 200
        assert browser.fetch("/session/continue", "POST", site="cross-site").status == 403
        assert browser.plain("/session/continue", "POST", headers=[("Origin", "https://evil.test")]).status == 403

    def test_a_trusted_origin(self, stage: Stage) -> None:
        """trusted_origins lists other pages of ours (L20)."""
        browser = stage.signed_in(trusted_origins=["https://elsewhere.test"])
        assert browser.fetch("/session/continue", "POST", site="cross-site").status == 200
        assert browser.fetch("/session/continue", "POST", site="same-site").status == 403

    @pytest.mark.parametrize(("target", "method"), READING)
    def test_reading_from_another_site(self, stage: Stage, target: str, method: str) -> None:
        """status, list and refresh refuse cross-site, and serve the same site (L20)."""
        browser = stage.signed_in()
        assert browser.fetch(target, method, site="cross-site").status == 403
        assert browser.fetch(target, method, site="same-site").status == 200
        assert browser.fetch(target, method, site="same-origin").status == 200

    def test_login_from_another_site(self, stage: Stage) -> None:
        """Login CSRF: a form of another site signs nobody in (L20)."""
        browser = stage.visitor()
        stage.store.forget_calls()
        assert browser.submit("/login?subject=mallory", site="cross-site").status == 403
        assert browser.jar.names == set()
        assert stage.store.writes == 0
        assert "csrf_blocked" in stage.event_names()

    def test_login_from_another_site_replaces_nobody(self, stage: Stage) -> None:
        """Neither is a user who is signed in replaced by it (L20)."""
        browser = stage.signed_in()
        assert browser.submit("/login?subject=mallory", site="cross-site").status == 403
        assert state(browser)["subject"] == "alice"

    @pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
    def test_login_from_this_site(self, stage: Stage, site: str) -> None:
        """A form of this site, of a sibling, or typed by hand signs in (L20)."""
        browser = stage.visitor()
        assert browser.submit("/login?subject=alice", site=site).status == 200
        assert state(browser)["subject"] == "alice"

    def test_login_without_fetch_metadata(self, stage: Stage) -> None:
        """An older browser says by Origin that another site asks; a tool says nothing and is served (L20)."""
        browser = stage.visitor()
        crossed = browser.plain("/login?subject=mallory", "POST", headers=[("Origin", "https://evil.test")])
        assert crossed.status == 403
        assert browser.plain("/login?subject=alice", "POST").status == 200

    def test_a_view_that_proves_the_request_itself(self, stage: Stage) -> None:
        """@session_optional(cross_site_login=True) is for a provider's callback (L20)."""
        browser = stage.visitor()
        assert bound_login(browser, "cross-site") == 200
        assert state(browser)["subject"] == "alice"

    def test_a_link_of_another_site_to_a_page_of_ours(self, stage: Stage) -> None:
        """Ordinary links work: a page is served to whoever is signed in, wherever they come from (L20)."""
        browser = stage.signed_in()
        served(browser.navigate("/me", site="cross-site"))
        problem(stage.visitor(browser.driver).fetch("/me", site="cross-site"), None)

    def test_an_image_tag_signs_nobody_out(self, stage: Stage) -> None:
        """A GET of the logout address asks and changes nothing (L20)."""
        browser = stage.signed_in()
        assert browser.fetch("/session/logout", site="cross-site").status == 200
        assert state(browser)["subject"] == "alice"

    def test_a_login_over_the_api_of_a_trusted_origin(self, stage: Stage) -> None:
        """A front on a trusted origin signs its users in (L20)."""
        browser = stage.visitor(trusted_origins=["https://elsewhere.test"])
        assert browser.submit("/login?subject=alice", site="cross-site").status == 200
        served(login(browser))
