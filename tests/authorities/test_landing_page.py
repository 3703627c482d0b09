"""The page after a logout warns of the provider where it may still know the user, and only there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from session_middleware.testing.browser import Browser
from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stage import Stage

from .desk import Desk
from .oidc_people import MODES
from .oidc_town import Town, town_of
from .test_adoption import FEW, guest, stage_of

WARNING = "may still be signed in at the identity provider"


@pytest.fixture(params=FEW, ids=lambda name: name.removesuffix("_mode"))
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    yield from stage_of(request.param)


def landing(browser: Browser) -> str:
    """Return the page that a person lands on after a logout."""
    answer = browser.navigate("/session/signed-out")
    assert answer.status == 200
    text = answer.body.decode()
    assert "You are signed out" in text
    return text


def test_a_provider_that_ended_its_session(stage: Stage) -> None:
    """Its cookie is gone with it, so nobody is warned of a sign-in that is over; by a form or by a script."""
    desk = Desk()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    answer = browser.submit("/session/logout")
    assert (answer.status, answer.header("Location")) == (303, "/session/signed-out")
    assert desk.stays["stay-1"].over
    assert WARNING not in landing(browser)
    other = guest(stage, desk, "stay-2", driver=browser.driver)
    served(other.navigate("/me"))
    assert other.fetch("/session/logout", "POST").status == 204
    assert WARNING not in landing(other)


def test_a_provider_that_could_not_be_told(stage: Stage) -> None:
    """While its session may live on the page says so, and names the provider."""
    desk = Desk()
    browser = guest(stage, desk)
    served(browser.navigate("/me"))
    desk.fault = RuntimeError("down")
    browser.submit("/session/logout")
    assert f"{WARNING} (desk)" in landing(browser)


def test_two_credentials_at_once(stage: Stage) -> None:
    """Cookies of which nobody knows which one counts are a reason to warn."""
    desk = Desk()
    browser = guest(stage, desk)
    browser.cookie_header = "stay=stay-1; stay=stay-2"
    assert WARNING in landing(browser)


@pytest.mark.parametrize("mode", MODES)
def test_a_provider_that_shows_nothing_to_the_app(mode: str) -> None:
    """What an OpenID provider keeps in the browser the app cannot see: it warns, by the provider's host."""
    with town_of(mode) as town:
        assert isinstance(town, Town)
        alice = town.person()
        served(alice.sign_in())
        alice.app.submit("/session/logout")
        assert f"{WARNING} (127.0.0.1). " in landing(alice.app)
