"""Our own endpoints, as a page's script and a person meet them."""

from __future__ import annotations

import pytest

from session_middleware.testing.scenarios.expect import problem, sent_to_login, served, state
from session_middleware.testing.stage import JWT, TOKEN, Stage, login

__all__ = ["EndpointScenarios"]


class EndpointScenarios:
    """What stands under endpoint_prefix."""

    def test_status(self, stage: Stage) -> None:
        """Seconds left, or why there are none; never stored, sets nothing, moves nothing (L5, L6, L9)."""
        browser = stage.signed_in()
        stage.clock.advance(400.5)
        answer = browser.fetch("/session/status")
        said = answer.json
        assert {name: said[name] for name in ("authenticated", "reason", "inactivity_left", "absolute_left")} == {
            "authenticated": True,
            "reason": None,
            "inactivity_left": 499,
            "absolute_left": 28_399,
        }
        assert (said["warn_before"], len(said["user"]), said["login_url"]) == (60, 1, "/login")
        assert answer.set_cookies == []
        assert answer.header("Cache-Control") == "no-store"
        stage.clock.advance(499.5)
        gone = browser.fetch("/session/status").json
        assert (gone["authenticated"], gone["reason"], gone["inactivity_left"]) == (False, "inactivity", None)
        assert stage.visitor(browser.driver).fetch("/session/status").json["reason"] is None

    def test_the_browser_script(self, stage: Stage) -> None:
        """Kept for good under its hash, asked for again otherwise; no session is looked at, so no Vary: Cookie (L18)."""
        browser = stage.signed_in()
        plain = browser.fetch("/session/client.js")
        assert (plain.status, plain.header("Content-Type")) == (200, "text/javascript; charset=utf-8")
        assert (plain.header("Cache-Control"), plain.header("X-Content-Type-Options")) == ("no-cache", "nosniff")
        assert "Cookie" not in (plain.header("Vary") or "")
        tag = plain.header("ETag") or ""
        named = browser.fetch(f"/session/client.js?v={tag[1:-1]}")
        assert named.header("Cache-Control") == "public, max-age=31536000, immutable"
        assert browser.fetch("/session/client.js?v=other").header("Cache-Control") == "no-cache"
        again = browser.fetch("/session/client.js", headers=[("If-None-Match", tag)])
        assert (again.status, again.body) == (304, b"")
        assert [a.set_cookies for a in (plain, named, again)] == [[], [], []]

    def test_refresh(self, stage: Stage) -> None:
        """Rotates the JWT when due and answers the session without a token; no activity (L9)."""
        browser = stage.signed_in()
        id, token, jwt = state(browser)["id"], browser.jar[TOKEN], browser.jar[JWT]
        stage.clock.advance(200)
        answer = browser.fetch("/session/refresh", "POST")
        assert answer.status == 200
        session = answer.json["session"]
        assert (session["session_id"], session["user_id"]) == (id, "alice")
        assert browser.jar[JWT] != jwt
        assert browser.jar[TOKEN] == token
        assert token not in answer.body.decode()
        assert browser.jar[JWT] not in answer.body.decode()
        problem(stage.visitor(browser.driver).fetch("/session/refresh", "POST"), None)

    def test_the_key_set(self, stage: Stage) -> None:
        """Symmetric keys never appear in it; anybody may read it without the store (L9)."""
        visitor = stage.visitor()
        answer = visitor.fetch("/session/jwks.json", site="cross-site")
        assert (answer.status, answer.json) == (200, {"keys": []})
        assert stage.store.total == 0

    def test_my_sessions(self, stage: Stage) -> None:
        """A user's own sessions, the one that asks marked; tokens are not among it (L10)."""
        laptop = stage.signed_in()
        stage.clock.advance(30)
        phone = stage.signed_in("alice", laptop.driver)
        stage.signed_in("bob", laptop.driver)
        rows = phone.fetch("/session/list").json["sessions"]
        assert [set(row) for row in rows] == [{"id", "current", "created_at", "last_seen_at", "attributes"}] * 2
        assert {row["id"]: row["current"] for row in rows} == {state(laptop)["id"]: False, state(phone)["id"]: True}
        assert all("Firefox" in row["attributes"]["user_agent"] for row in rows)
        problem(stage.visitor(laptop.driver).fetch("/session/list"), None)

    @pytest.mark.parametrize(("method", "suffix"), [("DELETE", ""), ("POST", "/end")])
    def test_ending_one_of_my_sessions(self, stage: Stage, method: str, suffix: str) -> None:
        """One of mine ends at once; someone else's is not found and lives on (L25)."""
        laptop = stage.signed_in()
        phone, bob = stage.signed_in("alice", laptop.driver), stage.signed_in("bob", laptop.driver)
        lost, theirs = state(phone)["id"], state(bob)["id"]
        assert laptop.fetch(f"/session/list/{lost}{suffix}", method).status == 204
        problem(phone.fetch("/me"), "signed_out")
        assert laptop.fetch(f"/session/list/{theirs}{suffix}", method).status == 404
        served(bob.fetch("/me"))
        assert laptop.fetch(f"/session/list/{lost}{suffix}", method).status == 404
        served(laptop.fetch("/me"))

    def test_ending_this_session_from_the_list(self, stage: Stage) -> None:
        """Ending the one that asks is a logout: its cookies go (L26)."""
        browser = stage.signed_in()
        assert browser.fetch(f"/session/list/{state(browser)['id']}", "DELETE").status == 204
        assert browser.jar.names == set()

    def test_ending_the_others(self, stage: Stage) -> None:
        """Only the session that asks is left (L25)."""
        laptop = stage.signed_in()
        phone = stage.signed_in("alice", laptop.driver)
        assert laptop.fetch("/session/list/end-others", "POST").status == 204
        problem(phone.fetch("/me"), "signed_out")
        assert len(laptop.fetch("/session/list").json["sessions"]) == 1

    def test_logout_of_a_script(self, stage: Stage) -> None:
        """204, the cookies go, the session is over everywhere (L13, L26)."""
        browser = stage.signed_in()
        kept = browser.twin()
        answer = browser.fetch("/session/logout", "POST")
        assert (answer.status, answer.body) == (204, b"")
        assert browser.jar.names == set()
        problem(kept.fetch("/me"), "signed_out")

    def test_logout_of_a_person(self, stage: Stage) -> None:
        """303 to a listed address, else to our page that says it happened (L26)."""
        browser = stage.signed_in(logout_urls=["/", "https://elsewhere.test/bye"])
        answer = browser.submit("/session/logout", b"return_to=https%3A%2F%2Felsewhere.test%2Fbye")
        assert (answer.status, answer.header("Location")) == (303, "https://elsewhere.test/bye")
        assert browser.jar.names == set()
        login(browser)
        answer = browser.submit("/session/logout", b"return_to=https%3A%2F%2Fevil.test%2F")
        assert (answer.status, answer.header("Location")) == (303, "/session/signed-out")
        page = browser.follow(answer)
        assert (page.status, page.header("Content-Type")) == (200, "text/html; charset=utf-8")
        assert "redirect_blocked" in stage.event_names()

    def test_logout_confirms_first(self, stage: Stage) -> None:
        """A GET shows a button and ends nothing (L20)."""
        browser = stage.signed_in()
        page = browser.navigate("/session/logout")
        assert page.status == 200
        assert b"<form" in page.body
        served(browser.fetch("/me"))

    def test_the_wrong_method_and_nothing_there(self, stage: Stage) -> None:
        """405 names the methods; an unknown endpoint is 404 and never reaches the app (L21)."""
        browser = stage.signed_in()
        answer = browser.fetch("/session/continue")
        assert answer.status == 405
        assert "POST" in (answer.header("Allow") or "")
        assert browser.fetch("/session/nothing").status == 404
        assert browser.fetch("/session/").status == 404

    def test_another_prefix(self, stage: Stage) -> None:
        """endpoint_prefix moves them all; the old place is the app's (L21)."""
        browser = stage.signed_in(endpoint_prefix="/api/v1/session")
        assert browser.fetch("/api/v1/session/status").json["authenticated"] is True
        assert browser.fetch("/session/status").status == 404
        sent_to_login(stage.visitor(browser.driver).navigate("/session/status"), "/login?return_to=/session/status")

    def test_they_are_open_and_judge_for_themselves(self, stage: Stage) -> None:
        """A dead session gets its reason from them, in the form of the request (L15, L16)."""
        browser = stage.signed_in()
        stage.clock.advance(900)
        problem(browser.fetch("/session/list"), "inactivity")
        sent_to_login(browser.navigate("/session/list"), "/login?reason=inactivity&return_to=/session/list")
        problem(browser.fetch("/session/list/end-others", "POST"), "inactivity")
