"""Kratos slow, down, throttled, garbled, mistaken or off the clock: 503 at most, and nobody is logged out (L17)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from session_middleware.testing.browser import Browser
from session_middleware.testing.scenarios.expect import problem, unavailable
from session_middleware.testing.scenarios.expect import served as served_page
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins._kratos_faults import KratosFaults
from session_middleware.testing.stand_ins.kratos import KratosCredential, KratosStandIn
from tests.authorities.kratos_town import FEW, PATIENCE, Town, town

pytestmark = pytest.mark.slow


@pytest.fixture(params=FEW)
def place(request: pytest.FixtureRequest) -> Iterator[Town]:
    with town(request.param) as made:
        yield made


def signed_in(place: Town, **options: object) -> tuple[KratosCredential, Browser]:
    """Return somebody who is signed in, whose session is due to be asked about."""
    alice = place.alice()
    browser = place.browser(alice, authority=place.authority(**options))
    served_page(browser.navigate("/me"))
    place.clock.advance(10)
    return alice, browser


def down(faults: KratosFaults) -> None:
    faults.be_down()


def slow(faults: KratosFaults) -> None:
    faults.be_slow(30.0)


def throttled(faults: KratosFaults) -> None:
    faults.limit_rate(5)


def garbled(faults: KratosFaults) -> None:
    faults.garble()


def half_a_session(faults: KratosFaults) -> None:
    faults.garble(b'{"id": "x", "active": true, "expires_at": "0001-01-01T00:00:00Z"}')


def outage(faults: KratosFaults) -> None:
    faults.fail(503)


def forbidden(faults: KratosFaults) -> None:
    faults.fail(403)


def missing(faults: KratosFaults) -> None:
    faults.fail(404)


def without_database(faults: KratosFaults) -> None:
    faults.lose_database()


ALL = [down, slow, throttled, garbled, half_a_session, outage, forbidden, missing, without_database]


@pytest.mark.parametrize("admin", [False, True], ids=["public", "admin"])
@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("mode", ["asgi", pytest.param("wsgi", marks=pytest.mark.slow)])
def test_a_fault_is_no_logout(mode: str, fault: object, admin: bool) -> None:
    """While Kratos cannot be asked the answer is 503, for minutes if need be; afterwards the session goes on."""
    with town(mode) as place:
        alice, browser = signed_in(place, admin=admin, timeout=1.0 if fault is slow else PATIENCE)
        fault(place.kratos.faults)  # type: ignore[operator]
        for _ in range(1 if fault is slow else 12):
            unavailable(browser.fetch("/me"))
            assert browser.navigate("/me").status == 503
            place.clock.advance(10)
        place.kratos.faults.clear()
        place.clock.advance(2)
        assert served_page(browser.fetch("/me"))["subject"] == alice.identity
        assert {event.name for event in place.stage.events} & {"session_ended"} == set()


@pytest.mark.parametrize("offset", [-30.0, 30.0])
def test_a_clock_that_is_off(place: Town, offset: float) -> None:
    """With its clock 30 s off either way Kratos' sessions begin, are extended and last as long as they should (L1)."""
    place.kratos.set_clock_off(offset)
    alice = place.alice()
    browser = place.browser(alice)
    served_page(browser.navigate("/me"))
    for _ in range(150):
        place.clock.advance(60)
        served_page(browser.navigate("/me"))
    assert place.kratos.count("/admin/", method="PATCH") in (4, 5)


def test_without_a_session_a_fault_is_no_login_page(place: Town) -> None:
    """Who shows a cookie of Kratos' while Kratos is down is not sent to sign in (L17)."""
    alice = place.alice()
    browser = place.browser(alice)
    place.kratos.faults.be_down()
    unavailable(browser.fetch("/me"))
    assert browser.navigate("/session/login?return_to=/me").status == 503
    place.kratos.faults.clear()
    place.clock.advance(2)
    served_page(browser.fetch("/me"))


@pytest.mark.parametrize("wrong", ["the public listener", "another Kratos"])
def test_an_admin_url_that_leads_elsewhere_ends_nobody(place: Town, wrong: str) -> None:
    """Where the admin address is wrong nothing is extended and the operator is told; 404s from there prove nothing."""
    with served(KratosStandIn(clock=place.clock).admin) as other:
        elsewhere = place.here.public_url if wrong == "the public listener" else other
        alice, browser = signed_in(place, admin_url=elsewhere)
        for _ in range(55):
            place.clock.advance(60)
            served_page(browser.navigate("/me"))
        place.kratos.faults.deny_by_mistake()
        place.clock.advance(10)
        served_page(browser.navigate("/me"))
        assert place.record(alice.identity) is not None
        faults = {event.detail["fault"] for event in place.stage.events if event.name == "authority_fault"}
        assert faults == {"garbage" if wrong == "the public listener" else "credentials"}


# --- a 401 that may be a mistake -------------------------------------------------------------------------------------


@pytest.mark.parametrize("admin", [False, True], ids=["public", "admin"])
@pytest.mark.parametrize("mode", FEW)
def test_one_401_by_mistake_is_not_noticed(mode: str, admin: bool) -> None:
    """whoami is asked again at once, and its second answer stands."""
    with town(mode) as place:
        _, browser = signed_in(place, admin=admin)
        before = place.kratos.count("/sessions/whoami")
        place.kratos.faults.deny_by_mistake()
        served_page(browser.fetch("/me"))
        assert place.kratos.count("/sessions/whoami") == before + 2


def test_a_first_request_survives_one_401(place: Town) -> None:
    """At adoption whoami is asked again too."""
    alice = place.alice()
    place.kratos.faults.deny_by_mistake()
    assert served_page(place.browser(alice).fetch("/me"))["subject"] == alice.identity


def test_mistakes_for_long_end_nothing_where_the_row_lives(place: Town) -> None:
    """With admin rights a row that lives is never ended here, however long whoami denies it."""
    alice, browser = signed_in(place)
    place.kratos.faults.deny_by_mistake(times=None)
    for _ in range(3):
        unavailable(browser.fetch("/me"))
        place.clock.advance(10)
    problem(browser.fetch("/me"), "signed_out")  # this credential shows nothing any more: sign in again
    assert place.record(alice.identity) is not None
    place.kratos.faults.clear()
    served_page(browser.fetch("/me"))


def test_without_admin_rights_an_end_takes_30_seconds_of_the_same_answer(place: Town) -> None:
    """Until then the session cannot be checked; then Kratos' refusal of a second factor is the proof."""
    alice, browser = signed_in(place, admin=False)
    place.kratos.revoke(alice.id)
    for _ in range(3):
        unavailable(browser.fetch("/me"))
        place.clock.advance(9.9)
        assert place.record(alice.identity) is not None
    unavailable(browser.fetch("/me"))
    place.clock.advance(0.4)
    problem(browser.fetch("/me"), "signed_out")
    assert place.record(alice.identity) is None
    assert "GET /self-service/login/browser" in place.paths()


def test_without_admin_rights_another_answer_begins_the_30_seconds_anew(place: Town) -> None:
    """One good answer, or one fault, in between, and what was said before counts for nothing."""
    alice, browser = signed_in(place, admin=False)
    for between in ("good", "fault"):
        place.kratos.faults.deny_by_mistake(times=None)
        unavailable(browser.fetch("/me"))
        place.clock.advance(20)
        place.kratos.faults.clear()
        if between == "fault":
            place.kratos.faults.fail(503, times=1)
        assert browser.fetch("/me").status == (200 if between == "good" else 503)
        place.clock.advance(10)
        place.kratos.faults.deny_by_mistake(times=None)
        unavailable(browser.fetch("/me"))
        place.kratos.faults.clear()
    served_page(browser.fetch("/me"))
    assert place.record(alice.identity) is not None


def test_without_admin_rights_a_long_pause_proves_nothing(place: Town) -> None:
    """Two mistakes with a quiet quarter of an hour in between are two mistakes."""
    alice, browser = signed_in(place, admin=False)
    place.kratos.faults.deny_by_mistake(times=2)
    unavailable(browser.fetch("/me"))
    place.clock.advance(600)
    place.kratos.faults.deny_by_mistake(times=2)
    unavailable(browser.fetch("/me"))
    served_page(browser.fetch("/me"))
    assert place.record(alice.identity) is not None


def test_without_admin_rights_whoami_alone_proves_nothing(place: Town) -> None:
    """Where whoami denies a session for which Kratos begins a login flow, nobody is let in and nothing is ended."""
    alice, browser = signed_in(place, admin=False)
    place.kratos.faults.deny_by_mistake(times=None)
    for _ in range(4):
        unavailable(browser.fetch("/me"))
        place.clock.advance(7.5 + 2)
    problem(browser.fetch("/me"), "signed_out")
    assert place.record(alice.identity) is not None
    place.kratos.faults.clear()
    served_page(browser.fetch("/me"))


def test_an_api_client_without_admin_rights(place: Town) -> None:
    """A token's end is proven the same way, by the flow for API clients."""
    alice = place.alice()
    token = [("X-Session-Token", alice.token)]
    client = place.browser(authority=place.authority(admin=False, api_clients=True))
    served_page(client.fetch("/me", headers=token))
    place.kratos.revoke(alice.id)
    place.clock.advance(10)
    unavailable(client.fetch("/me", headers=token))
    place.clock.advance(30)
    problem(client.fetch("/me", headers=token), "signed_out")
    assert "GET /self-service/login/api" in place.paths()
    assert place.record(alice.identity) is None


def test_a_cookie_that_is_good_for_nothing_any_more(place: Town) -> None:
    """A cookie that Kratos cannot read although its row lives leads to Kratos' login in the end, and ends nothing."""
    alice, browser = signed_in(place)
    place.kratos._world._key = b"another key, as after a change of secrets.cookie"
    unavailable(browser.fetch("/me"))
    place.clock.advance(30)
    problem(browser.fetch("/me"), "signed_out")
    assert place.record(alice.identity) is not None
