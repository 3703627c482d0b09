"""Login, step-up, logout: a new id each time, nothing carried over, no way back."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from session_middleware.core.tokens import key_of
from session_middleware.testing.browser import Browser
from session_middleware.testing.scenarios.expect import problem, sent_to_login, served, state, varies_on
from session_middleware.testing.stage import JWT, TOKEN, Stage, login

__all__ = ["IdentityScenarios"]


def begun_at(browser: Browser) -> str:
    """Return when this user's session began, as the refresh endpoint shows it."""
    return str(browser.fetch("/session/refresh", "POST").json["session"]["started_at"])


def sessions_of(browser: Browser) -> int:
    """Return how many sessions a user has, as the list endpoint shows it."""
    return len(browser.fetch("/session/list").json["sessions"])


class IdentityScenarios:
    """How a user comes and goes."""

    def test_login_again_as_the_same_user(self, stage: Stage) -> None:
        """A full re-authentication: a new id, the old token dead at once, claims, data and beginning kept (L12)."""
        browser = stage.visitor()
        first = served(login(browser, claims={"role": "editor", "plan": "free"}))
        served(browser.submit('/data?set={"cart":[1]}'))
        began, old = begun_at(browser), browser.twin()
        stage.clock.advance(600)
        served(browser.navigate("/me"))
        second = served(login(browser, claims={"plan": "paid"}))
        assert second["id"] != first["id"]
        assert second["authenticated_at"] == stage.clock()
        assert second["absolute_deadline"] == stage.clock() + 28_800
        assert second["inactivity_deadline"] == stage.clock() + 900
        assert second["claims"] == {"role": "editor", "plan": "paid"}
        assert second["data"] == {"cart": [1]}
        assert begun_at(browser) == began
        problem(old.fetch("/me"), "signed_out")
        served(browser.fetch("/me"))

    def test_whatever_ends_a_session_says_so_once(self, stage: Stage) -> None:
        """Replaced by a login or a step-up, abandoned by an app that failed, left by logout: one event each (L12, L25)."""
        browser = stage.visitor()
        alice = served(login(browser))["id"]
        bob = served(login(browser, "bob"))["id"]
        stepped = served(browser.submit("/step-up"))["id"]
        assert browser.submit("/login-then-fail?subject=carol").status == 500
        assert browser.submit("/sign-out").status == 200
        ended = [event for event in stage.events if event.name == "session_ended"]
        known = {alice: "alice", bob: "bob", stepped: "stepped"}
        assert [(known.get(event.session_id, "new"), event.subject, event.detail["reason"]) for event in ended] == [
            ("alice", "alice", "replaced"),
            ("bob", "bob", "replaced"),
            ("new", "carol", "abandoned"),
            ("stepped", "bob", "logout"),
        ]
        made = [
            str(event.session_id) for event in stage.events if event.name in ("session_created", "session_stepped_up")
        ]
        assert sorted(made) == sorted(str(event.session_id) for event in ended)

    def test_login_as_another_user_carries_nothing_over(self, stage: Stage) -> None:
        """Claims, data and beginning of the session before are gone, and its token is dead (L12)."""
        browser = stage.visitor()
        served(login(browser, claims={"role": "admin"}))
        served(browser.submit('/data?set={"cart":[1]}'))
        began, old = begun_at(browser), browser.twin()
        stage.clock.advance(60)
        seen = served(login(browser, "bob"))
        assert (seen["subject"], seen["claims"], seen["data"]) == ("bob", {}, {})
        assert begun_at(browser) != began
        problem(old.fetch("/me"), "signed_out")

    def test_an_id_from_outside_is_never_adopted(self, stage: Stage) -> None:
        """Session fixation: a token planted before the login is worth nothing after it (L12)."""
        mallory = stage.signed_in("mallory")
        victim = mallory.twin()
        seen = served(login(victim, "alice"))
        assert seen["subject"] == "alice"
        assert victim.jar[TOKEN] != mallory.jar[TOKEN]
        problem(mallory.fetch("/me"), "signed_out")
        served(victim.fetch("/me"))

    def test_login_over_an_ended_session(self, stage: Stage) -> None:
        """What is over carries nothing over (L12)."""
        browser = stage.visitor()
        served(login(browser, claims={"role": "admin"}))
        stage.clock.advance(900)
        assert served(login(browser))["claims"] == {}

    def test_step_up(self, stage: Stage) -> None:
        """A further factor makes the session fresh under a new id; both deadlines stay; the old token is dead (L12)."""
        browser = stage.visitor()
        first = served(login(browser, claims={"role": "editor"}))
        served(browser.submit('/data?set={"cart":[1]}'))
        stage.clock.advance(600)
        problem(browser.fetch("/fresh"), "fresh_login")
        before, old = served(browser.navigate("/me")), browser.twin()
        assert before["fresh"] is False
        after = served(browser.submit("/step-up"))
        assert after["id"] != first["id"]
        assert after["fresh"] is True
        for name in ("authenticated_at", "absolute_deadline", "inactivity_deadline", "claims"):
            assert after[name] == before[name]
        assert after["data"] == {"cart": [1]}
        served(browser.fetch("/fresh"))
        problem(old.fetch("/me"), "signed_out")
        stage.clock.advance(300)
        problem(browser.fetch("/fresh"), "fresh_login")

    def test_fresh_counts_from_the_login(self, stage: Stage) -> None:
        """fresh_login_required(within=300): exactly 300 s after the login it asks again, whatever the activity (L3)."""
        browser = stage.signed_in()
        stage.clock.advance(299.5)
        served(browser.navigate("/fresh"))
        stage.clock.advance(0.5)
        sent_to_login_again = browser.navigate("/fresh")
        assert sent_to_login_again.status == 303
        assert sent_to_login_again.header("Location") == "/login?reason=fresh_login&return_to=/fresh"
        served(browser.navigate("/me"))
        served(login(browser))
        served(browser.navigate("/fresh"))

    # --- out ---------------------------------------------------------------------------------------------------

    def test_logout_cannot_be_undone(self, stage: Stage) -> None:
        """Cookies kept from before, whatever they are used for, open nothing (L13)."""
        browser = stage.signed_in()
        kept = browser.twin()
        assert browser.submit("/sign-out").status == 200
        assert browser.jar.names == set()
        for target, method in [("/me", "GET"), ("/extend?minutes=60", "POST"), ("/session/continue", "POST")]:
            problem(kept.fetch(target, method), "signed_out")
        problem(kept.fetch("/session/refresh", "POST"), "signed_out")
        assert kept.fetch("/open").json["verdict"] == "REVOKED"
        assert all(answer.set_cookies == [] for answer in kept.answers)

    def test_logout_twice(self, stage: Stage) -> None:
        """Signing out with a dead session is no error and removes its cookies (L26)."""
        browser = stage.signed_in()
        kept = browser.twin()
        browser.submit("/sign-out")
        assert kept.submit("/sign-out").status == 200
        assert kept.jar.names == set()
        assert stage.visitor(browser.driver).submit("/sign-out").status == 200

    def test_logout_deletes_the_cookies_with_their_own_attributes(self, stage: Stage) -> None:
        """A browser removes a __Host- cookie only on the attributes it was set with (L19, L26)."""
        browser = stage.signed_in()
        lines = browser.submit("/sign-out").set_cookies
        ending = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; Secure; HttpOnly; SameSite=Lax"
        assert sorted(lines) == sorted([f"{TOKEN}=; {ending}", f"{JWT}=; {ending}"])

    @pytest.mark.parametrize("path", ["/step-up", "/login?subject=alice"])
    def test_a_logout_on_its_way_beside_a_new_token(self, stage: Stage, path: str) -> None:
        """Signed out is signed out: where the session has gone on under another id meanwhile, that one ends (L12, L13)."""
        browser = stage.signed_in()
        stranger = stage.signed_in("alice", browser.driver)
        late = browser.twin()
        for _ in range(2):
            assert browser.submit(path).status == 200
        assert late.fetch("/session/logout", "POST").status == 204
        problem(browser.fetch("/me"), "signed_out")
        served(stranger.navigate("/me"))

    def test_end_others(self, stage: Stage) -> None:
        """A user ends all their other sessions and keeps this one; nobody else is touched (L25)."""
        laptop = stage.signed_in()
        phone, tablet = stage.signed_in("alice", laptop.driver), stage.signed_in("alice", laptop.driver)
        bob = stage.signed_in("bob", laptop.driver)
        assert laptop.submit("/end-others").json == {"ended": 2}
        served(laptop.fetch("/me"))
        served(bob.fetch("/me"))
        problem(phone.fetch("/me"), "signed_out")
        sent_to_login(tablet.navigate("/me"), "/login?reason=signed_out&return_to=/me")

    # --- an end that comes in between ------------------------------------------------------------------------------

    def test_no_cookie_after_an_end_in_between(self, stage: Stage) -> None:
        """A response due to rotate the JWT sets no cookie if the session ended while the view ran (L13)."""
        browser = stage.signed_in()
        seen = state(browser)
        stage.clock.advance(400)
        before = stage.store.calls["load"]
        assert browser.navigate("/me").set_cookies
        last = stage.store.calls["load"] - before  # the look at the record before a cookie goes out
        stage.clock.advance(400)
        stage.store.interrupt("load", stage.ends_meanwhile(seen["id"]), skip=last - 1)
        answer = browser.navigate("/me")
        assert (answer.status, answer.set_cookies) == (200, [])
        problem(browser.fetch("/me"), "signed_out")

    @pytest.mark.parametrize("method", ["touch", "renew"])
    def test_an_end_between_reading_and_writing_wins(self, stage: Stage, method: str) -> None:
        """A touch or a renewal finds the session ended: the request is refused and nothing revives it (L13)."""
        browser = stage.signed_in(renewal_interval=300)
        seen = state(browser)
        stage.clock.advance(400)
        stage.store.interrupt(method, stage.ends_meanwhile(seen["id"]))
        problem(browser.fetch("/me"), "signed_out")
        problem(browser.fetch("/me"), "signed_out")

    def test_a_login_that_is_ended_before_it_is_answered(self, stage: Stage) -> None:
        """The new session ended before the response started: no cookie goes out for it (L13)."""
        browser = stage.visitor()

        def everything_ends() -> Generator[tuple[Any, ...], Any, None]:
            from session_middleware.core.record import handle_of

            for record in (yield "list", handle_of("subject", "alice"), stage.clock()):
                yield "end", record.key, "revoked", stage.clock(), stage.clock() + 86_400.0

        # What stands on a provider session is first held against the mark of its end.
        stage.store.interrupt("load", everything_ends, skip=0 if stage.behind is None else 1)
        assert login(browser).set_cookies == []
        assert browser.jar.names == set()

    # --- writes beside each other ----------------------------------------------------------------------------------

    def test_claims_of_two_tabs(self, stage: Stage) -> None:
        """Two browsers of one session write different claims and data: both stay; None removes (L14)."""
        one = stage.signed_in()
        two = one.twin()
        served(one.submit('/claims?set={"a":1,"gone":true}'))
        served(two.submit('/claims?set={"b":2,"gone":null}'))
        served(one.submit('/data?set={"x":1}'))
        served(two.submit('/data?set={"y":[2]}'))
        for browser in (one, two):
            seen = served(browser.fetch("/me"))
            assert seen["claims"] == {"a": 1, "b": 2}
            assert seen["data"] == {"x": 1, "y": [2]}

    @pytest.mark.parametrize("what", ["claims", "data"])
    def test_another_writer_in_between(self, stage: Stage, what: str) -> None:
        """Compare-and-swap: a write that came between reading and writing is kept, name by name (L14)."""
        browser = stage.signed_in()
        key = key_of(state(browser)["id"])

        def other() -> Generator[tuple[Any, ...], Any, None]:
            record = yield "load", key
            yield "save", record.evolve(**{what: {**getattr(record, what), "theirs": 1}})

        stage.store.interrupt("save", other)
        assert browser.submit(f'/{what}?set={{"ours":2}}').status == 200
        assert served(browser.fetch("/me"))[what] == {"theirs": 1, "ours": 2}

    def test_a_slow_reader_loses_nothing(self, stage: Stage) -> None:
        """A touch or a renewal beside a write of claims keeps it (L14)."""
        one = stage.signed_in(renewal_interval=60)
        two = one.twin()
        stage.clock.advance(100)
        served(two.submit('/claims?set={"a":1}'))
        served(one.navigate("/me"))
        stage.clock.advance(100)
        served(two.navigate("/me"))
        assert served(one.fetch("/me"))["claims"] == {"a": 1}

    # --- a login that comes to nothing -----------------------------------------------------------------------------

    def test_login_then_fail(self, stage: Stage) -> None:
        """The view logs in and raises: no cookie, and the record is ended (L25)."""
        browser = stage.visitor()
        answer = browser.submit("/login-then-fail?subject=alice")
        assert answer.status == 500
        assert browser.jar.names == set()
        other = stage.signed_in("alice", browser.driver)
        assert sessions_of(other) == 1

    def test_login_then_fail_beside_a_live_session(self, stage: Stage) -> None:
        """The session that came with the request lives on (L25)."""
        browser = stage.signed_in()
        before = browser.jar[TOKEN]
        assert browser.submit("/login-then-fail?subject=bob").status == 500
        assert browser.jar[TOKEN] == before
        assert served(browser.fetch("/me"))["subject"] == "alice"
        assert sessions_of(stage.signed_in("bob", browser.driver)) == 1

    def test_login_then_refuse(self, stage: Stage) -> None:
        """What leaves the view as an exception is no login, also where the framework has an answer for it (L25)."""
        browser = stage.visitor()
        answer = browser.submit("/login-then-refuse?subject=alice")
        assert answer.status in (403, 500)  # 500 where there is no framework
        assert answer.set_cookies == []
        problem(browser.fetch("/me"), None)
        ended = [event for event in stage.events if event.name == "session_ended"]
        assert [(event.subject, event.detail["reason"]) for event in ended] == [("alice", "abandoned")]
        assert sessions_of(stage.signed_in("alice", browser.driver)) == 1

    def test_login_then_an_error_page(self, stage: Stage) -> None:
        """An error page is what a framework inside makes of a view that raised, so no login goes out with one (L25)."""
        browser = stage.signed_in()
        before = browser.jar[TOKEN]
        answer = browser.submit("/login-then-error?subject=bob")
        assert (answer.status, answer.set_cookies, browser.jar[TOKEN]) == (500, [], before)
        assert served(browser.fetch("/me"))["subject"] == "alice"
        assert sessions_of(stage.signed_in("bob", browser.driver)) == 1

    def test_login_then_refuse_beside_a_live_session(self, stage: Stage) -> None:
        """The session that came with the request was not replaced, time and again (L25)."""
        browser = stage.signed_in()
        before = browser.jar[TOKEN]
        for _ in range(3):
            answer = browser.submit("/login-then-refuse?subject=bob")
            assert answer.set_cookies == []
            assert "cookie" in varies_on(answer) or answer.status == 500
            assert served(browser.fetch("/me"))["subject"] == "alice"
        assert browser.jar[TOKEN] == before
        assert sessions_of(browser) == 1
        assert sessions_of(stage.signed_in("bob", browser.driver)) == 1

    def test_a_login_without_sense(self, stage: Stage) -> None:
        """Minutes out of range are the app's mistake: nothing is stored, no cookie set (L7)."""
        browser = stage.visitor()
        stage.store.forget_calls()
        assert login(browser, minutes=4).status == 500
        assert browser.jar.names == set()
        assert stage.store.writes == 0

    def test_claims_that_fit_no_cookie(self, stage: Stage) -> None:
        """Listed claims over 4096 bytes are refused at the login, before anything is stored (L19)."""
        browser = stage.visitor(jwt_claims=["note"])
        stage.store.forget_calls()
        assert login(browser, claims={"note": "x" * 4_000}).status == 500
        assert browser.jar.names == set()
        assert stage.store.writes == 0
        served(login(browser, claims={"note": "short"}))
        assert browser.submit('/claims?set={"note":"' + "x" * 4_000 + '"}').status == 500
        assert state(browser)["claims"] == {"note": "short"}
