"""Moving the inactivity deadline on request: by server code, and by the page."""

from __future__ import annotations

import json

import pytest

from session_middleware.testing.scenarios.expect import problem, sent_to_login, served, state
from session_middleware.testing.stage import Stage, login

__all__ = ["ExtendScenarios"]

FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
JSON = (("Content-Type", "application/json"),)

HOSTILE_MINUTES = ["4.99", "0", "-0", "-5", "527040.01", "1e308", "nan", "inf", "-inf"]

#: Bodies of POST continue that must not move anything: headers, body, status.
HOSTILE_BODIES = {
    "too little": (FORM, b"minutes=4", 400),
    "too much": (FORM, b"minutes=15.01", 400),
    "far too much": (FORM, b"minutes=527040", 400),
    "negative": (FORM, b"minutes=-10", 400),
    "given twice": (FORM, b"minutes=10&minutes=12", 400),
    "an exponent": (FORM, b"minutes=1e1", 400),
    "hexadecimal": (FORM, b"minutes=0xA", 400),
    "underscored": (FORM, b"minutes=1_0", 400),
    "other digits": (FORM, "minutes=\u0661\u0660".encode(), 400),
    "text": (FORM, b"minutes=ten", 400),
    "a boolean": (JSON, b'{"minutes": true}', 400),
    "a list": (JSON, b'{"minutes": [10]}', 400),
    "an object": (JSON, b'{"minutes": {"$gt": 5}}', 400),
    "not a number": (JSON, b'{"minutes": NaN}', 400),
    "infinity": (JSON, b'{"minutes": Infinity}', 400),
    "a huge integer": (JSON, b'{"minutes": 1' + b"0" * 400 + b"}", 400),
    "no object": (JSON, b"[10]", 400),
    "broken JSON": (JSON, b'{"minutes": 10', 400),
    "deep JSON": (JSON, b"[" * 20_000, 400),
    "another type": ((("Content-Type", "text/xml"),), b"<minutes>10</minutes>", 400),
    "a huge body": (FORM, b"minutes=10&x=" + b"a" * 70_000, 413),
}


class ExtendScenarios:
    """How a session is kept alive on purpose."""

    def test_extend_sets_the_exact_instant(self, stage: Stage) -> None:
        """extend(minutes) sets now + minutes; it may shorten, and later activity may raise it again (L7)."""
        browser = stage.signed_in()
        stage.clock.advance(100)
        assert served(browser.submit("/extend?minutes=30"))["inactivity_deadline"] == stage.clock() + 1_800
        assert state(browser)["inactivity_deadline"] == stage.clock() + 1_800
        assert served(browser.submit("/extend?minutes=5"))["inactivity_deadline"] == stage.clock() + 300
        stage.clock.advance(299)
        assert served(browser.navigate("/me"))["inactivity_deadline"] == stage.clock() + 945

    def test_an_extended_session_ends_exactly_on_time(self, stage: Stage) -> None:
        """After extend there is no touch interval on top (L5, L7)."""
        browser = stage.signed_in()
        served(browser.submit("/extend?minutes=30"))
        stage.clock.advance(1_799.5)
        state(browser)
        stage.clock.advance(0.5)
        problem(browser.fetch("/poll"), "inactivity")

    def test_extend_is_capped_by_the_absolute_deadline(self, stage: Stage) -> None:
        """The largest extension ends with the absolute lifetime (L3, L7)."""
        browser, began = stage.signed_in(), stage.clock()
        assert served(browser.submit("/extend?minutes=527040"))["inactivity_deadline"] == began + 28_800
        stage.clock.advance(28_800)
        problem(browser.fetch("/me"), "lifetime")

    @pytest.mark.parametrize("minutes", HOSTILE_MINUTES)
    def test_extend_refuses_what_is_out_of_range(self, stage: Stage, minutes: str) -> None:
        """Anything but 5..527040 is refused and moves nothing (L7)."""
        browser, began = stage.signed_in(), stage.clock()
        answer = browser.submit(f"/extend?minutes={minutes}")
        assert (answer.status, answer.json) == (400, {"error": "settings"})
        assert state(browser)["inactivity_deadline"] == began + 900

    def test_an_ended_session_cannot_be_extended(self, stage: Stage) -> None:
        """Neither by the server's code nor by the page (L7)."""
        browser = stage.signed_in()
        stage.clock.advance(900)
        sent_to_login(browser.submit("/extend?minutes=30", page="/form"), "/login?reason=inactivity&return_to=/form")
        problem(browser.fetch("/session/continue", "POST"), "inactivity")
        problem(browser.fetch("/poll"), "inactivity")

    def test_a_session_that_ends_meanwhile_is_not_extended(self, stage: Stage) -> None:
        """The end that comes between the view and its write wins (L7, L13)."""
        browser = stage.signed_in()
        stage.store.interrupt("touch", stage.ends_meanwhile(state(browser)["id"]))
        answer = browser.submit("/extend?minutes=30")
        assert (answer.status, answer.json, answer.set_cookies) == (409, {"error": "ended"}, [])
        problem(browser.fetch("/me"), "signed_out")

    def test_continue_takes_the_window_of_the_policy(self, stage: Stage) -> None:
        """POST continue sets exactly now + the inactivity_timeout in force and says what is left (L5, L7)."""
        browser, began = stage.signed_in(), stage.clock()
        stage.clock.advance(600)
        answer = browser.fetch("/session/continue", "POST")
        assert answer.status == 200
        left = answer.json
        assert (left["authenticated"], left["inactivity_left"], left["absolute_left"]) == (True, 900, 28_200)
        assert state(browser)["inactivity_deadline"] == began + 1_500
        stage.clock.set(began + 1_500)
        problem(browser.fetch("/poll"), "inactivity")

    def test_continue_leaves_a_longer_session(self, stage: Stage) -> None:
        """What the app has given for longer stands when the browser script reports its user (L4, L7)."""
        browser, began = stage.visitor(), stage.clock()
        served(login(browser, minutes="120"))
        stage.clock.advance(600)
        assert browser.fetch("/session/continue", "POST").json["inactivity_left"] == 6_600
        stage.clock.advance(6_599)
        assert state(browser)["inactivity_deadline"] == began + 7_200

    @pytest.mark.parametrize(("headers", "body"), [(FORM, b"minutes=10"), (JSON, b'{"minutes": 10}')])
    def test_continue_for_less(self, stage: Stage, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        """A page may ask for fewer minutes than the policy's (L7)."""
        browser = stage.signed_in()
        assert browser.fetch("/session/continue", "POST", body, headers=headers).json["inactivity_left"] == 600
        assert state(browser)["inactivity_deadline"] == stage.clock() + 600

    @pytest.mark.parametrize("body", [b"", b"minutes=", b"minutes=%20"])
    def test_continue_with_a_blank_field(self, stage: Stage, body: bytes) -> None:
        """A blank field takes the policy's window (L7)."""
        browser = stage.signed_in()
        stage.clock.advance(60)
        assert browser.fetch("/session/continue", "POST", body, headers=FORM).json["inactivity_left"] == 900

    @pytest.mark.parametrize("what", list(HOSTILE_BODIES))
    def test_continue_refuses_what_would_widen_the_policy(self, stage: Stage, what: str) -> None:
        """Neither a page nor a thief widens the policy: a clear refusal, nothing moves, nobody is signed out (L7)."""
        headers, body, status = HOSTILE_BODIES[what]
        browser, began = stage.signed_in(), stage.clock()
        answer = browser.fetch("/session/continue", "POST", body, headers=headers)
        assert answer.status == status
        assert json.loads(answer.body)["status"] == status
        assert state(browser)["inactivity_deadline"] == began + 900

    def test_continue_may_be_given_more_room(self, stage: Stage) -> None:
        """max_continue is the bound where it is set (L7)."""
        browser = stage.signed_in(max_continue=3_600)
        answer = browser.fetch("/session/continue", "POST", b"minutes=60", headers=FORM)
        assert answer.json["inactivity_left"] == 3_600
        assert browser.fetch("/session/continue", "POST", b"minutes=60.5", headers=FORM).status == 400
