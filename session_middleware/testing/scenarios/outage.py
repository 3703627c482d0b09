"""The store or the authority is down: nobody gets in, nobody is logged out, nothing is lost."""

from __future__ import annotations

import pytest

from session_middleware.authorities.local import LocalAuthority
from session_middleware.core.record import SessionRecord
from session_middleware.testing.scenarios.expect import problem, sent_to_login, served, state, unavailable
from session_middleware.testing.stage import JWT, TOKEN, Stage, login

__all__ = ["OutageScenarios"]


class OutageScenarios:
    """What holds while the store does not answer (L17)."""

    def test_protected_routes_answer_503(self, stage: Stage) -> None:
        """Neither anonymous access nor a redirect to login; cookies stay; afterwards everything is as before (L17)."""
        browser = stage.signed_in()
        before, id = browser.jar.names, state(browser)["id"]
        stage.store.go_down()
        stage.clock.advance(60)
        unavailable(browser.navigate("/me"))
        unavailable(browser.fetch("/me"))
        unavailable(browser.submit("/me"))
        unavailable(browser.htmx("/me"))
        unavailable(browser.fetch("/poll"))
        unavailable(browser.fetch("/fresh"))
        unavailable(browser.fetch("/nowhere"))
        assert browser.jar.names == before
        stage.store.come_back()
        stage.clock.advance(1)  # after so many faults in a row the store is left alone for as long as that
        assert served(browser.navigate("/me"))["id"] == id
        assert {"store_fault", "store_recovered"} <= set(stage.event_names())

    def test_what_a_person_and_a_script_read(self, stage: Stage) -> None:
        """A page that says nobody was signed out, or a problem document (L17)."""
        browser = stage.signed_in()
        stage.store.go_down()
        page = browser.navigate("/me")
        assert page.header("Content-Type") == "text/html; charset=utf-8"
        assert b"not been signed out" in page.body
        answer = browser.fetch("/me")
        assert answer.header("Content-Type") == "application/problem+json"
        assert answer.json["reason"] == "unavailable"

    def test_open_routes_are_served_without_a_user(self, stage: Stage) -> None:
        """Optional routes see UNAVAILABLE and nobody; exempt ones do not ask; the login page is there (L17)."""
        browser = stage.signed_in()
        stage.store.go_down()
        seen = browser.fetch("/open")
        assert seen.status == 200
        assert (seen.json["verdict"], seen.json["subject"], seen.json["is_active"]) == ("UNAVAILABLE", None, False)
        assert browser.fetch("/exempt").json == {"exempt": True}
        assert browser.navigate("/login").status == 200
        assert all(answer.set_cookies == [] for answer in browser.answers[-3:])

    def test_an_anonymous_visitor_does_not_notice(self, stage: Stage) -> None:
        """Who shows no token is known without the store (L17, L27)."""
        visitor = stage.visitor()
        stage.store.go_down()
        sent_to_login(visitor.navigate("/me"), "/login?return_to=/me")

    def test_login_answers_503(self, stage: Stage) -> None:
        """Nobody can sign in, and no cookie is set (L17)."""
        visitor = stage.visitor()
        stage.store.go_down()
        answer = login(visitor)
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        assert visitor.jar.names == set()
        stage.store.come_back()
        served(login(visitor))

    def test_logout_while_down(self, stage: Stage) -> None:
        """The cookies go, the answer is 503 and says so, and the end is stored as soon as it can be (L17)."""
        browser = stage.signed_in()
        kept = browser.twin()
        other = stage.signed_in("bob", browser.driver)
        stage.store.go_down()
        answer = browser.submit("/sign-out")
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        assert browser.jar.names == set()
        stage.store.come_back()
        stage.clock.advance(5)
        served(other.navigate("/me"))
        problem(kept.fetch("/me"), "signed_out")
        kept.driver = stage.app()
        problem(kept.fetch("/me"), "signed_out")

    def test_our_own_logout_while_down(self, stage: Stage) -> None:
        """POST /session/logout does the same (L17)."""
        browser = stage.signed_in()
        kept = browser.twin()
        stage.store.go_down()
        answer = browser.fetch("/session/logout", "POST")
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        assert browser.jar.names == set()
        stage.store.come_back()
        stage.clock.advance(5)
        problem(kept.fetch("/me"), "signed_out")

    def test_our_endpoints_while_down(self, stage: Stage) -> None:
        """status, list, refresh and continue answer 503; the key set is there (L17)."""
        browser = stage.signed_in()
        stage.store.go_down()
        unavailable(browser.fetch("/session/status"))
        unavailable(browser.fetch("/session/list"))
        unavailable(browser.fetch("/session/refresh", "POST"))
        unavailable(browser.fetch("/session/continue", "POST"))
        assert browser.fetch("/session/jwks.json").status == 200

    def test_reads_work_and_writes_fail(self, stage: Stage) -> None:
        """Requests are served and renewal waits; touches are kept and written as soon as that works again (L17)."""
        browser = stage.signed_in(renewal_interval=600)
        token = browser.jar[TOKEN]
        elsewhere = browser.twin(stage.app(renewal_interval=600))
        stage.store.go_down(reads=False)
        stage.clock.advance(600)
        deadline = stage.clock() + 945
        assert served(browser.navigate("/me"))["inactivity_deadline"] == deadline
        assert browser.jar[TOKEN] == token
        assert login(stage.visitor(browser.driver), "bob").status == 503
        assert state(elsewhere)["inactivity_deadline"] != deadline, "it is not stored yet"
        stage.store.come_back()
        served(login(stage.visitor(browser.driver), "bob"))
        assert state(elsewhere)["inactivity_deadline"] == deadline
        stage.clock.advance(300)
        served(browser.navigate("/me"))
        assert browser.jar[TOKEN] != token

    def test_writes_fail_and_the_view_wanted_one(self, stage: Stage) -> None:
        """Claims that cannot be saved are not said to be: 503 instead of the view's 200 (L17)."""
        browser = stage.signed_in()
        stage.store.go_down(reads=False)
        answer = browser.submit('/claims?set={"a":1}')
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        assert browser.submit("/extend?minutes=30").status == 409
        stage.store.come_back()
        assert state(browser)["claims"] == {}

    def test_an_outage_logs_nobody_out(self, stage: Stage) -> None:
        """Silence that ran out while the store was away ends one touch_interval after its return (L17)."""
        browser = stage.signed_in()
        patient = stage.signed_in("bob", browser.driver)
        witness = stage.signed_in("carol", browser.driver)
        stage.clock.advance(600)
        stage.store.go_down()
        unavailable(browser.navigate("/me"))
        stage.clock.advance(3_600)
        unavailable(browser.navigate("/me"))
        stage.store.come_back()
        served(browser.navigate("/me"))
        stage.clock.advance(44)
        served(patient.navigate("/me"))
        stage.clock.advance(1)
        problem(witness.fetch("/me"), "inactivity")

    def test_an_outage_spares_no_absolute_deadline(self, stage: Stage) -> None:
        """Whoever's lifetime ended meanwhile is out (L3, L17)."""
        browser = stage.signed_in(absolute_lifetime=1_200)
        stage.clock.advance(600)
        stage.store.go_down()
        unavailable(browser.navigate("/me"))
        stage.clock.advance(600)
        stage.store.come_back()
        problem(browser.fetch("/me"), "lifetime")

    # --- a stale answer --------------------------------------------------------------------------------------------

    def test_a_stale_answer_where_the_route_allows_it(self, stage: Stage) -> None:
        """A still valid JWT stands in: marked unverified, never fresh, never re-minted, until it is over (L17)."""
        browser = stage.signed_in()
        served(browser.fetch("/stale"))
        jwt = browser.jar[JWT]
        stage.store.go_down()
        stage.clock.advance(200)
        answer = browser.fetch("/stale")
        assert answer.status == 200
        seen = answer.json
        assert (seen["subject"], seen["verdict"]) == ("alice", "UNAVAILABLE")
        assert (seen["is_active"], seen["is_verified"], seen["fresh"]) == (True, False, False)
        assert (answer.set_cookies, browser.jar[JWT]) == ([], jwt)
        unavailable(browser.fetch("/me"))
        stage.clock.advance(100)
        unavailable(browser.fetch("/stale"))
        stage.store.come_back()
        served(browser.fetch("/stale"))

    def test_a_stale_answer_needs_the_jwt(self, stage: Stage) -> None:
        """Without it, or beside another session's, nothing stands in (L9, L17)."""
        browser = stage.signed_in()
        served(browser.fetch("/stale"))
        stage.store.go_down()
        browser.jar.forget(JWT)
        unavailable(browser.fetch("/stale"))

    def test_no_stale_answer_after_a_logout(self, stage: Stage) -> None:
        """A session this process has ended while the store was down is not served from its JWT (L13, L17)."""
        browser = stage.signed_in()
        served(browser.fetch("/stale"))
        kept = browser.twin()
        stage.store.go_down()
        browser.submit("/sign-out")
        unavailable(kept.fetch("/stale"))

    # --- the authority ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("fault", [OSError("no route to host"), TimeoutError(), KeyError("alice")], ids=repr)
    def test_an_authority_that_fails(self, stage: Stage, fault: Exception) -> None:
        """That it cannot be asked is no proof of a logout: 503, cookies stay, and afterwards all is well (L8, L17)."""
        faults = [fault]

        def verify(record: SessionRecord) -> bool:
            if faults:
                raise faults[0]
            return True

        browser = stage.visitor(authority=LocalAuthority(verify=verify))
        served(login(browser))
        unavailable(browser.navigate("/me"))
        assert browser.fetch("/open").json["verdict"] == "UNAVAILABLE"
        faults.clear()
        served(browser.navigate("/me"))
