"""One life of a session at Kratos, through every adapter: in by its form, kept by clicking, proved anew, out for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from session_middleware.testing.scenarios.expect import problem, served
from tests.authorities.kratos_town import COOKIE, Town, town

MODES = sorted(path.stem.removesuffix("_mode") for path in (Path(__file__).parent.parent / "modes").glob("*_mode.py"))


@pytest.fixture(params=MODES)
def place(request: pytest.FixtureRequest) -> Iterator[Town]:
    with town(request.param) as made:
        yield made


def test_a_life(place: Town) -> None:
    """Signing in, an interval, an extension with its cookie, a fresh proof, a second tab, logout."""
    identity = place.kratos.add_identity("alice", "correct horse")
    browser = place.browser()
    answer = browser.follow(browser.navigate("/me"))
    seen = served(place.at_kratos(browser, answer, identifier="alice", password="correct horse"))
    assert seen["subject"] == identity
    first = browser.jar[COOKIE]

    since = len(place.kratos.calls)
    for _ in range(31):
        place.clock.advance(60)
        assert served(browser.navigate("/me"))["id"] == seen["id"]
    assert place.paths(since).count("PATCH /admin/sessions/{id}/extend") == 1
    assert browser.jar[COOKIE] != first

    answer = browser.follow(browser.navigate("/fresh"))
    anew = served(place.at_kratos(browser, answer, password="correct horse"))
    assert (anew["subject"], anew["authenticated_at"]) == (identity, place.clock())

    tab = browser.twin()
    assert browser.submit("/session/logout").status == 303
    assert COOKIE not in browser.jar
    problem(tab.fetch("/me"), "signed_out")
    problem(browser.fetch("/me"), None)


def test_kratos_is_down(place: Town) -> None:
    """While it is down nobody is let in and nobody is out; afterwards all is as it was."""
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    place.kratos.faults.be_down()
    place.clock.advance(10)
    assert browser.fetch("/me").status == 503
    assert browser.navigate("/me").status == 503
    place.kratos.faults.clear()
    place.clock.advance(2)
    assert served(browser.fetch("/me"))["subject"] == alice.identity
