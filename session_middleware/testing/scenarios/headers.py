"""Cache headers and cookie attributes, exactly."""

from __future__ import annotations

import re
from typing import Any

import pytest

from session_middleware.testing.scenarios.expect import served, state, varies_on
from session_middleware.testing.stage import JWT, TOKEN, Stage, login

__all__ = ["HeaderScenarios"]

ATTRIBUTES = "; Path=/; Secure; HttpOnly; SameSite=Lax"


class HeaderScenarios:
    """What a response with a session carries (L18, L19)."""

    def test_a_protected_page(self, stage: Stage) -> None:
        """Vary: Cookie and private, no-cache, where the app said nothing (L18)."""
        browser = stage.signed_in()
        for _ in range(2):  # the general way and the quick one
            answer = browser.navigate("/me")
            assert varies_on(answer) == {"cookie"}
            assert answer.header("Cache-Control") == "private, no-cache"

    def test_a_page_that_sets_a_cookie(self, stage: Stage) -> None:
        """Set-Cookie of ours goes with private, no-store (L18)."""
        browser = stage.visitor()
        answer = login(browser)
        assert answer.header("Cache-Control") == "private, no-store"
        stage.clock.advance(200)
        answer = browser.navigate("/me")
        assert len(answer.set_cookies) == 1
        assert answer.header("Cache-Control") == "private, no-store"
        assert browser.submit("/sign-out").header("Cache-Control") == "private, no-store"

    def test_an_open_page(self, stage: Stage) -> None:
        """An optional route varies on the cookie and keeps its freedom to be cached (L18)."""
        browser = stage.signed_in()
        for visitor in (browser, stage.visitor(browser.driver)):
            answer = visitor.fetch("/open")
            assert varies_on(answer) == {"cookie"}
            assert answer.header("Cache-Control") is None

    def test_headers_of_the_app_are_kept(self, stage: Stage) -> None:
        """Its Vary is merged, its Cache-Control stands, unless a cookie of ours goes out (L18)."""
        browser = stage.signed_in()
        for _ in range(2):
            answer = browser.fetch("/headers")
            assert varies_on(answer) == {"accept-encoding", "cookie"}
            assert answer.header("Cache-Control") == "public, max-age=60"
        stage.clock.advance(200)
        answer = browser.fetch("/headers")
        assert len(answer.set_cookies) == 1
        assert answer.header("Cache-Control") == "private, no-store"
        assert varies_on(answer) == {"accept-encoding", "cookie"}

    def test_an_exempt_page(self, stage: Stage) -> None:
        """An exempt view that does not use the session has nothing of ours on it, JWT due or not (L18, L21)."""
        browser = stage.signed_in()
        stage.clock.advance(200)
        stage.store.forget_calls()
        answer = browser.fetch("/exempt")
        assert answer.set_cookies == []
        assert "cookie" not in varies_on(answer)
        assert answer.header("Cache-Control") is None
        assert stage.store.total == 0

    def test_an_exempt_page_that_looks(self, stage: Stage) -> None:
        """An exempt view that uses the session varies on its cookie (L18, L21)."""
        browser = stage.signed_in()
        answer = browser.fetch("/exempt-using")
        assert served(answer)["subject"] == "alice"
        assert varies_on(answer) == {"cookie"}

    def test_a_cookie_of_the_app(self, stage: Stage) -> None:
        """The app's own cookie passes beside ours, each once (L18)."""
        browser = stage.signed_in()
        stage.clock.advance(200)
        answer = browser.navigate("/own-cookie")
        names = sorted(line.partition("=")[0] for line in answer.set_cookies)
        assert names == [JWT, "app"]
        assert "app" in browser.jar.names

    # --- cookies -----------------------------------------------------------------------------------------------

    def test_the_attributes_of_a_session_cookie(self, stage: Stage) -> None:
        """__Host-, Secure, HttpOnly, SameSite=Lax, Path=/, no Max-Age; gone when the browser closes (L19)."""
        browser = stage.visitor()
        lines = dict(line.split("=", 1) for line in login(browser).set_cookies)
        assert set(lines) == {TOKEN, JWT}
        assert re.fullmatch(r"v1\.[\w-]{32}\.0\.[\w-]{43}" + re.escape(ATTRIBUTES), lines[TOKEN])
        assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+" + re.escape(ATTRIBUTES), lines[JWT])
        browser.restart()
        assert browser.jar.names == set()

    def test_a_persistent_session(self, stage: Stage) -> None:
        """login(persistent=True): Max-Age is the time to the absolute deadline, so that a touch sets no cookie (L19)."""
        browser = stage.visitor()
        for line in login(browser, persistent="1").set_cookies:
            assert line.endswith(f"; Max-Age=28800{ATTRIBUTES}")
        browser.restart()
        served(browser.navigate("/me"))
        stage.clock.advance(200)
        (line,) = browser.navigate("/me").set_cookies
        assert line.endswith(f"; Max-Age=28600{ATTRIBUTES}")
        browser.restart()
        assert state(browser)["subject"] == "alice"

    def test_a_very_long_persistent_session(self, stage: Stage) -> None:
        """Max-Age is at most 400 days, as browsers have it (L19)."""
        browser = stage.visitor(inactivity_timeout=None, absolute_lifetime=500 * 86_400)
        for line in login(browser, persistent="1").set_cookies:
            assert f"; Max-Age={400 * 86_400};" in line

    def test_persistent_by_setting(self, stage: Stage) -> None:
        """persistent=True in the settings, and a login that says otherwise (L19)."""
        browser = stage.signed_in(persistent=True)
        browser.restart()
        assert browser.jar.names == {TOKEN, JWT}
        login(browser, persistent="0")
        browser.restart()
        assert browser.jar.names == set()

    @pytest.mark.parametrize(
        ("options", "prefix", "attributes"),
        [
            ({"cookie_samesite": "Strict"}, "__Host-", "; Path=/; Secure; HttpOnly; SameSite=Strict"),
            (
                {"cookie_samesite": "None", "cookie_partitioned": True},
                "__Host-",
                "; Path=/; Secure; HttpOnly; SameSite=None; Partitioned",
            ),
            (
                {"cookie_domain": "app.example"},
                "__Secure-",
                "; Path=/; Domain=app.example; Secure; HttpOnly; SameSite=Lax",
            ),
            ({"insecure_dev": True, "cookie_name": "visit"}, "", "; Path=/; HttpOnly; SameSite=Lax"),
        ],
        ids=["strict", "partitioned", "domain", "insecure"],
    )
    def test_cookie_settings(self, stage: Stage, options: dict[str, Any], prefix: str, attributes: str) -> None:
        """The settings choose prefix and attributes, and a logout removes what a login set (L19, L26)."""
        name = f"{prefix}{options.get('cookie_name', 'session')}"
        browser = stage.visitor(**options)
        for line in login(browser).set_cookies:
            assert line.startswith(name)
            assert line.endswith(attributes)
        assert browser.jar.names == {name, f"{name}_jwt"}
        served(browser.navigate("/me"))
        browser.submit("/sign-out")
        assert browser.jar.names == set()

    def test_cookies_are_deleted_only_by_logout(self, stage: Stage) -> None:
        """No refusal of any kind removes a cookie (L26)."""
        browser = stage.signed_in()
        names = browser.jar.names
        stage.clock.advance(900)
        for answer in (
            browser.navigate("/me"),
            browser.fetch("/me"),
            browser.submit("/me"),
            browser.htmx("/me"),
            browser.prefetch("/me"),
            browser.fetch("/session/status"),
            browser.fetch("/session/refresh", "POST"),
            browser.fetch("/open"),
        ):
            assert answer.set_cookies == []
        assert browser.jar.names == names

    def test_a_header_instead_of_a_cookie(self, stage: Stage) -> None:
        """transport="header": the token is taken from Authorization, and then never from a cookie (L18, L19)."""
        alice = stage.signed_in()
        bare = stage.visitor(transport="header")
        bare.beside = alice.beside.copy()  # what a provider wants to see beside it
        sent = [("Authorization", f"Session {alice.jar[TOKEN]}")]
        answer = bare.fetch("/me", headers=sent)
        assert served(answer)["subject"] == "alice"
        assert varies_on(answer) == {"cookie", "authorization"}
        broken = alice.twin(bare.driver)
        assert broken.fetch("/open", headers=[("Authorization", "Session x")]).json["verdict"] == "TAMPERED"

    def test_a_header_counts_only_where_it_is_asked_for(self, stage: Stage) -> None:
        """By default Authorization is the app's own business (L19)."""
        alice = stage.signed_in()
        bare = stage.visitor(alice.driver)
        sent = [("Authorization", f"Session {alice.jar[TOKEN]}")]
        assert bare.fetch("/open", headers=sent).json["verdict"] == "ANONYMOUS"
