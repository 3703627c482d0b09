"""A login that stands on a session at an identity provider: its times count, and it cannot undo our end."""

from __future__ import annotations

from typing import Any

import pytest

from session_middleware.testing.browser import Answer, Browser
from session_middleware.testing.scenarios.expect import problem, served
from session_middleware.testing.stage import Stage, login

__all__ = ["ProviderScenarios"]


def adopted(browser: Browser, at: float, id: str = "sid-1", subject: str = "alice", **more: Any) -> Answer:
    """Log in on a provider session whose user proved who they are at an instant."""
    return login(browser, subject, provider={"id": id, "authenticated_at": at, **more})


def refused(answer: Answer) -> None:
    """Check that the login was refused, and that no cookie went out."""
    assert answer.status == 403
    assert b"provider_session_ended" in answer.body or b"sign in again at the provider" in answer.body
    assert not answer.set_cookies


class ProviderScenarios:
    """What a provider's session may do here, and what it may not."""

    def test_the_absolute_lifetime_counts_from_the_proof(self, stage: Stage) -> None:
        """Not from the moment we adopted the provider's session (L3); its own end caps ours, 30 s early (L2)."""
        browser = stage.visitor()
        seen = served(adopted(browser, stage.clock() - 3_600))
        assert seen["authenticated_at"] == stage.clock() - 3_600
        assert seen["absolute_deadline"] == stage.clock() - 3_600 + 28_800
        assert not seen["fresh"]
        ends = stage.clock() + 600
        seen = served(adopted(stage.visitor(browser.driver), stage.clock(), "sid-2", ends_at=ends))
        assert seen["absolute_deadline"] == ends - 30
        assert seen["fresh"]

    def test_an_authentication_too_old_begins_nothing(self, stage: Stage) -> None:
        """Older than a session may become, or at a provider session that is over (L2, L3)."""
        browser = stage.visitor()
        refused(adopted(browser, stage.clock() - 28_800))
        refused(adopted(browser, stage.clock() - 60, ends_at=stage.clock() + 30))
        problem(browser.fetch("/me"), None)
        assert stage.store.calls["create"] == 0

    @pytest.mark.parametrize("end", ["logout", "silence", "age", "operator", "unnoticed silence"])
    def test_a_provider_session_cannot_bring_back_what_ended(self, stage: Stage, end: str) -> None:
        """Only a proof after the end begins a new session; another provider session is free to (L24)."""
        browser = stage.visitor(inactivity_timeout=None) if end == "age" else stage.visitor()
        began = stage.clock()
        served(adopted(browser, began))
        stage.clock.advance(300)
        if end == "logout":
            assert browser.submit("/sign-out").status == 200
        elif end == "operator":
            session = served(browser.navigate("/me"))["id"]
            other = stage.signed_in(driver=browser.driver)
            assert other.fetch(f"/session/list/{session}", "DELETE").status == 204
        else:
            stage.clock.advance(28_800 if end == "age" else 1_000)
            if end != "unnoticed silence":
                problem(browser.fetch("/me"), "lifetime" if end == "age" else "inactivity")
        ended = stage.clock()
        stage.clock.advance(60)
        refused(adopted(stage.visitor(browser.driver), began))
        refused(adopted(stage.visitor(browser.driver), began + 1))
        if end != "age":
            served(adopted(stage.visitor(browser.driver), began, "sid-2"))
        served(adopted(stage.visitor(browser.driver), ended + 1))

    def test_a_login_over_it_is_no_end_of_it(self, stage: Stage) -> None:
        """A second tab that comes from the provider, or a step-up, goes on with the same provider session (L12, L24)."""
        browser, at = stage.visitor(), stage.clock()
        served(adopted(browser, at))
        stage.clock.advance(60)
        served(adopted(browser, at))
        served(browser.submit("/step-up"))
        stage.clock.advance(60)
        served(adopted(stage.visitor(browser.driver), at))
        assert browser.submit("/sign-out").status == 200
        refused(adopted(stage.visitor(browser.driver), at))

    def test_another_user_of_the_provider(self, stage: Stage) -> None:
        """Where the provider names another user, the session ends and a new one begins (L24)."""
        browser, at = stage.visitor(), stage.clock()
        served(adopted(browser, at))
        seen = served(adopted(browser, at, subject="bob"))
        assert (seen["subject"], seen["claims"]) == ("bob", {})
        ended = [event for event in stage.events if event.name == "session_ended"]
        assert [(event.subject, event.detail["reason"]) for event in ended] == [("alice", "replaced")]

    def test_the_later_of_two_ends_counts(self, stage: Stage) -> None:
        """Two browsers on one provider session: whichever ends last, a proof must be later than that (L24)."""
        one, at = stage.visitor(), stage.clock()
        two = stage.visitor(one.driver)
        served(adopted(one, at))
        served(adopted(two, at))
        stage.clock.advance(60)
        assert one.submit("/sign-out").status == 200
        between = stage.clock() + 30
        stage.clock.advance(60)
        served(two.navigate("/me"))
        assert two.submit("/sign-out").status == 200
        refused(adopted(stage.visitor(one.driver), between))
        served(adopted(stage.visitor(one.driver), stage.clock() + 1))

    @pytest.mark.parametrize("reads", [False, True], ids=["writes", "all"])
    def test_an_end_that_the_store_missed(self, stage: Stage, reads: bool) -> None:
        """The mark of a logout during an outage is written when the store is back, like the end itself (L17, L24)."""
        browser, at = stage.visitor(), stage.clock()
        served(adopted(browser, at))
        served(browser.navigate("/me"))
        stage.store.go_down(reads=reads)
        assert browser.submit("/sign-out").status == 503
        if not reads:
            refused(adopted(stage.visitor(browser.driver), at))
        stage.store.come_back()
        stage.clock.advance(2)
        served(login(stage.visitor(browser.driver), "bob"))
        refused(adopted(stage.visitor(stage.app()), at))
