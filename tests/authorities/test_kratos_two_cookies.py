"""Two Kratos cookies in one browser: what a change of domain leaves behind, or another host has planted (L10, L24)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from session_middleware.testing.browser import Answer, Browser
from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stand_ins.kratos import KratosCredential
from tests.authorities.kratos_operations import check_calls
from tests.authorities.kratos_town import COOKIE, FEW, Town, town


@pytest.fixture(params=FEW)
def place(request: pytest.FixtureRequest) -> Iterator[Town]:
    with town(request.param) as made:
        yield made


class Twice:
    """A browser that holds Kratos' cookie for its host and one for the domain above it.

    Args:
        browser: with cookies of ours, and none of Kratos'.
        values: of the two, as the browser sends them: no order is right or wrong.
    """

    def __init__(self, browser: Browser, *values: str) -> None:
        self.browser, self.values = browser, values

    def opens(self, target: str = "/me", method: str = "navigate") -> Answer:
        ours = self.browser.jar.header_for(self.browser.origin, "/")
        theirs = [f"{COOKIE}={value}" for value in self.values]
        self.browser.cookie_header = "; ".join(part for part in (*theirs, ours) if part)
        answer: Answer = getattr(self.browser, method)(target)
        return answer


def value_of(held: KratosCredential) -> str:
    return held.cookie.partition("=")[2]


@pytest.mark.parametrize("first", [True, False], ids=["the dead one first", "the live one first"])
def test_one_of_a_session_that_is_over(place: Town, first: bool) -> None:
    """The one that Kratos knows counts, in whatever order they come; so who signs in anew is not led in circles."""
    old, alice = place.alice(), place.kratos.begin_session(place.kratos.add_identity("alice", "x"))
    place.kratos.revoke(old.id)
    values = [value_of(old), value_of(alice)] if first else [value_of(alice), value_of(old)]
    twice = Twice(place.browser(), *values)
    assert served(twice.opens())["subject"] == alice.identity
    place.clock.advance(60)
    served(twice.opens())
    check_calls(place.kratos.calls)


def test_two_that_both_live(place: Town) -> None:
    """Nobody knows who is meant: nobody is let in, and the login route says so in place of a circle."""
    alice, bob = place.alice(), place.kratos.begin_session(place.kratos.add_identity("bob", "x"))
    twice = Twice(place.browser(), value_of(alice), value_of(bob))
    answer = twice.opens()
    assert (answer.status, answer.header("Location")) == (303, "/session/login?return_to=/me")
    page = twice.opens("/session/login?return_to=/me")
    assert page.status == 409
    assert b"two different sign-ins" in page.body


def test_two_of_the_same_session(place: Town) -> None:
    """An old and a new value of one session are no riddle."""
    alice = place.alice()
    browser = place.browser(alice, inactivity_timeout=None)
    served(browser.navigate("/me"))
    place.clock.advance(1900)
    served(browser.navigate("/me"))  # extends it, which brings a new value
    assert browser.jar[COOKIE] != value_of(alice)
    twice = Twice(place.browser(), value_of(alice), browser.jar[COOKIE])
    assert served(twice.opens())["subject"] == alice.identity


def test_one_that_was_planted_beside_it(place: Town) -> None:
    """A session of ours goes on with the one it stands on, whatever lies beside it; and logs out that one alone."""
    alice, mallory = place.alice(), place.kratos.begin_session(place.kratos.add_identity("mallory", "x"))
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    for values in ((value_of(mallory), value_of(alice)), (value_of(alice), value_of(mallory))):
        place.clock.advance(60)
        assert served(Twice(browser, *values).opens())["subject"] == alice.identity
    assert Twice(browser, value_of(mallory), value_of(alice)).opens("/sign-out", "submit").status == 200
    sessions = {held.id: place.kratos.session(held.id)["active"] for held in (alice, mallory)}  # type: ignore[index]
    assert sessions == {alice.id: False, mallory.id: True}


def test_two_that_are_both_dead(place: Town) -> None:
    """They lead to Kratos' form like one, and begin nothing."""
    alice, bob = place.alice(), place.kratos.begin_session(place.kratos.add_identity("bob", "x"))
    for held in (alice, bob):
        place.kratos.revoke(held.id)
    twice = Twice(place.browser(), value_of(alice), value_of(bob))
    assert twice.opens().status == 303
    assert (twice.opens("/session/login").header("Location") or "").startswith(place.here.public_url)


@pytest.mark.parametrize("admin", [True, False])
def test_an_end_is_proven_for_each(place: Town, admin: bool) -> None:
    """Where none of them shows the session any more it is over, by the same proof as with one."""
    alice, other = place.alice(), place.kratos.begin_session(place.kratos.add_identity("alice", "x"))
    place.kratos.revoke(other.id)
    browser = place.browser(alice, authority=place.authority(admin=admin))
    served(browser.navigate("/me"))
    twice = Twice(browser, value_of(other), value_of(alice))
    place.clock.advance(60)
    served(twice.opens())
    place.kratos.revoke(alice.id)
    for _ in range(5):
        place.clock.advance(11)
        status = twice.opens("/me", "fetch").status
    assert status == 401
    assert "session_ended" in place.stage.event_names()


def test_more_than_anybody_has(place: Town) -> None:
    """A pile of them is asked about by nobody."""
    twice = Twice(place.browser(), *(f"value-{n}" for n in range(5)))
    place.kratos.calls.clear()
    assert twice.opens("/me", "fetch").status == 401
    assert not place.kratos.calls
