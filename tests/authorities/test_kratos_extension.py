"""Activity here extends the session at Kratos: with admin rights by us, without them by the user, and never a dead one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from session_middleware.testing.browser import Browser
from session_middleware.testing.scenarios.expect import problem, served
from session_middleware.testing.stand_ins._kratos_wire import Problem
from tests.authorities.kratos_town import COOKIE, FEW, Town, town

EXTEND = "PATCH /admin/sessions/{id}/extend"


@pytest.fixture(params=FEW)
def place(request: pytest.FixtureRequest) -> Iterator[Town]:
    with town(request.param) as made:
        yield made


def left(place: Town, id: str) -> float:
    """Return the seconds that Kratos' session has left."""
    session = place.kratos.session(id)
    assert session is not None
    return datetime.fromisoformat(session["expires_at"]).timestamp() - place.clock()


def busy(place: Town, browser: Browser, minutes: int) -> None:
    """Let somebody click every minute."""
    for _ in range(minutes):
        place.clock.advance(60)
        served(browser.navigate("/me"))


def kratos_lines(browser: Browser) -> list[str]:
    return [line for line in browser.answers[-1].set_cookies if line.startswith(f"{COOKIE}=")]


@pytest.mark.parametrize("faster", [False, True], ids=["200", "204"])
@pytest.mark.parametrize("mode", FEW)
def test_activity_extends_the_session_when_due(mode: str, faster: bool) -> None:
    """Half of the lifespan gone, the next activity extends it to a whole one, and ours may go on as long (L2, L4)."""
    with town(mode, faster_session_extend=faster) as place:
        alice = place.alice()
        browser = place.browser(alice)
        served(browser.navigate("/me"))
        busy(place, browser, 30)
        assert EXTEND not in place.paths()
        busy(place, browser, 1)
        assert place.paths().count(EXTEND) == 1
        assert left(place, alice.id) == 3600
        record = place.record(alice.identity)
        assert record is not None
        assert record.ceiling == place.clock() + 3600


def test_kratos_cookie_is_handed_on_unchanged(place: Town) -> None:
    """The cookie that whoami sets after the extension reaches the browser byte for byte, and is good on its own."""
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    busy(place, browser, 31)
    [line] = kratos_lines(browser)
    # As Kratos writes it; a proxy that rewrites a cookie breaks it sooner or later.
    expires = "Expires=Fri, 15 Jan 2027 09:31:00 GMT; Max-Age=3600"
    assert line.partition("; ")[2] == f"Path=/; {expires}; HttpOnly; SameSite=Lax"
    assert browser.jar[COOKIE] == line.partition(";")[0].partition("=")[2] != alice.cookie.partition("=")[2]
    place.clock.advance(30)
    served(browser.navigate("/me"))
    assert kratos_lines(browser) == []


def test_a_busy_session_outlives_kratos_lifespan(place: Town) -> None:
    """Three lifespans of clicking are one session: two extensions an hour and as many cookies keep it alive."""
    alice = place.alice()
    browser = place.browser(alice)
    first = served(browser.navigate("/me"))
    busy(place, browser, 180)
    assert served(browser.navigate("/me"))["id"] == first["id"]
    assert place.paths().count(EXTEND) == 5


def test_our_absolute_lifetime_is_above_every_extension(place: Town) -> None:
    """Kratos would extend for ever; ours ends when its hard age is reached, counted from the proof at Kratos (L3)."""
    alice = place.alice()
    browser = place.browser(alice, absolute_lifetime=7200)
    served(browser.navigate("/me"))
    busy(place, browser, 119)
    place.clock.advance(60)
    problem(browser.fetch("/me"), "lifetime")


def test_an_extension_that_comes_too_early_is_recognised(place: Town) -> None:
    """Success without effect is seen by looking again, and not repeated with every click."""
    place.kratos._world.earliest_possible_extend = 600.0
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    busy(place, browser, 49)
    early = place.paths().count(EXTEND)
    assert 0 < early < 15
    assert left(place, alice.id) == 660
    busy(place, browser, 3)
    assert left(place, alice.id) > 3400


def test_told_when_extension_begins_it_is_never_too_early() -> None:
    """`extend_when_left` says what Kratos' earliest_possible_extend says, and then one call is one extension."""
    with town("wsgi", earliest_possible_extend=600.0) as place:
        alice = place.alice()
        browser = place.browser(alice, authority=place.authority(extend_when_left=600))
        served(browser.navigate("/me"))
        busy(place, browser, 51)
        assert place.paths().count(EXTEND) == 1
        assert left(place, alice.id) == 3600


def test_the_loser_of_a_race_goes_on(place: Town) -> None:
    """A 404 because another request extends the session is no end: it is found extended, and the cookie comes all the same."""
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    place.kratos.lose_races()
    busy(place, browser, 31)
    assert len(kratos_lines(browser)) == 1
    record = place.record(alice.identity)
    assert record is not None
    assert record.ceiling == place.clock() + 3600


def test_extended_by_another_app_it_is_not_extended_again(place: Town) -> None:
    """Where another app was first, ours follows with what whoami says, and makes no call of its own."""
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    busy(place, browser, 30)
    place.kratos._world.extend(alice.id)
    busy(place, browser, 1)
    assert EXTEND not in place.paths()
    assert len(kratos_lines(browser)) == 1


def test_one_cookie_where_two_answers_of_kratos_bring_one(place: Town) -> None:
    """A request that learns of another app's extension and extends too relays the later of both cookies (L18)."""
    alice = place.alice()
    browser = place.browser(alice, inactivity_timeout=3600)
    served(browser.navigate("/me"))
    place.clock.advance(1000)
    place.kratos._world.extend(alice.id)
    place.clock.advance(1900)
    served(browser.navigate("/me"))
    [line] = kratos_lines(browser)
    assert "Max-Age=3600" in line
    place.clock.advance(3000)
    served(browser.navigate("/me"))


@pytest.mark.parametrize("end", ["revoke", "clean up"])
def test_what_is_over_is_not_brought_back(place: Town, end: str) -> None:
    """Kratos would extend an expired row back to life: it is looked at first, and ours ends instead."""
    alice = place.alice()
    browser = place.browser(alice, verify_interval=300)
    served(browser.navigate("/me"))
    busy(place, browser, 30)
    if end == "revoke":
        place.kratos.revoke(alice.id)
    else:
        del place.kratos._world.rows[alice.id]
    place.clock.advance(61)
    problem(browser.fetch("/me"), "signed_out")
    assert EXTEND not in place.paths()
    assert place.record(alice.identity) is None


def test_an_extension_that_fails_waits(place: Town) -> None:
    """While the admin listener is down requests are served, the extension is tried again later, and nobody is out (L17)."""
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    busy(place, browser, 30)
    place.kratos.faults.be_down(only="/admin/")
    busy(place, browser, 5)
    place.kratos.faults.clear()
    busy(place, browser, 1)
    assert left(place, alice.id) == 3600


@pytest.mark.parametrize("end", ["revoke", "delete"])
def test_what_ends_while_it_is_extended(place: Town, end: str) -> None:
    """A session that is revoked between our look and our extension is over; the extension's success says nothing."""
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    busy(place, browser, 30)
    extend = place.kratos._world.extend

    def end_instead(id: str) -> None:
        if end == "revoke":
            extend(id)
            place.kratos.revoke(id)
        else:
            place.kratos._world.rows.clear()
            raise Problem(404)

    place.kratos._world.extend = end_instead
    place.clock.advance(60)
    problem(browser.fetch("/me"), "signed_out")
    assert place.record(alice.identity) is None


def test_a_mistaken_401_after_an_extension(place: Town) -> None:
    """Where whoami fails after the extension the row says how long it lives; its cookie comes with the next answer."""
    alice = place.alice()
    browser = place.browser(alice, verify_interval=100)
    served(browser.navigate("/me"))
    for _ in range(15):
        place.clock.advance(120)
        served(browser.navigate("/me"))
    place.clock.advance(30)  # within the interval: the extension's is the only whoami
    place.kratos.faults.deny_by_mistake()
    served(browser.navigate("/me"))
    assert left(place, alice.id) == 3600
    assert kratos_lines(browser) == []
    place.clock.advance(100)
    served(browser.navigate("/me"))
    assert len(kratos_lines(browser)) == 1


def test_a_click_late_in_an_idle_hour_is_enough(place: Town) -> None:
    """An extension is due however much of the session is gone, up to the 30 seconds that ours ends earlier (L2)."""
    alice = place.alice()
    browser = place.browser(alice, inactivity_timeout=7200)
    served(browser.navigate("/me"))
    place.clock.advance(3560)
    served(browser.navigate("/me"))
    assert left(place, alice.id) == 3600


def test_verbs_extend_there_first(place: Town) -> None:
    """session.extend(minutes) asks Kratos where its session is too short, and asks nothing where it is long enough (L7)."""
    alice = place.alice()
    browser = place.browser(alice, inactivity_timeout=3600)
    served(browser.navigate("/me"))
    since = len(place.kratos.calls)
    assert served(browser.submit("/extend?minutes=20"))["inactivity_deadline"] == place.clock() + 1200
    assert place.paths(since) == []
    place.clock.advance(1200 - 1)
    assert served(browser.submit("/extend?minutes=55"))["inactivity_deadline"] == place.clock() + 3300
    assert EXTEND in place.paths(since)


# --- without admin rights ------------------------------------------------------------------------------------------


def test_without_admin_rights_the_user_extends(place: Town) -> None:
    """`continue` says where to go; the user proves who they are there, and the same Kratos session begins anew (L12)."""
    alice = place.alice()
    browser = place.browser(alice, authority=place.authority(admin=False), inactivity_timeout=3600)
    first = served(browser.navigate("/me"))
    place.clock.advance(600)
    assert "continue_url" not in browser.fetch("/session/continue", "POST").json
    place.clock.advance(1800)
    served(browser.navigate("/me"))
    said = browser.fetch("/session/continue", "POST").json
    assert said["continue_url"] == "https://app.example/session/login?refresh=true"
    assert said["inactivity_left"] == 1200 - 30  # as long as Kratos' session lasts, and no longer (L2)
    answer = browser.navigate("/session/login?refresh=true&return_to=/me")
    location = answer.header("Location") or ""
    assert location.startswith(f"{place.here.public_url}/self-service/login/browser?")
    assert "refresh=true" in location
    seen = served(place.at_kratos(browser, answer, password="correct horse"))
    record = place.record(alice.identity)
    assert record is not None
    assert (record.provider_session, record.ceiling) == (alice.id, place.clock() + 3600)
    assert seen["id"] != first["id"]
    assert seen["authenticated_at"] == place.clock()
    assert all(not path.startswith("PATCH") for path in place.paths())


def test_without_admin_rights_activity_asks_nothing_more(place: Town) -> None:
    """Clicking moves our deadlines as far as Kratos' session goes; then it is over for want of a new proof (L2)."""
    alice = place.alice()
    browser = place.browser(alice, authority=place.authority(admin=False))
    served(browser.navigate("/me"))
    busy(place, browser, 59)
    place.clock.advance(31)
    problem(browser.fetch("/me"), "lifetime")
    assert set(place.paths()) <= {
        "GET /sessions/whoami",
        "GET /self-service/logout/browser",
        "GET /self-service/logout",
    }


def test_an_api_client_extends_by_its_own_flow(place: Town) -> None:
    """With a token the login route leads to the API flow; the token stays, and the new proof is seen."""
    alice = place.alice()
    token = [("X-Session-Token", alice.token)]
    client = place.browser(authority=place.authority(admin=False, api_clients=True))
    served(client.fetch("/me", headers=token))
    place.clock.advance(600)
    answer = client.fetch("/session/login?refresh=true", headers=token)
    location = answer.header("Location") or ""
    assert location.startswith(f"{place.here.public_url}/self-service/login/api?")
    flow: Any = place.here.get(location, accept="application/json").json()  # as a client that dropped the header would
    assert flow["refresh"] is False
    flow = place.here.browser.request("GET", location, headers=dict(token)).json()
    assert flow["refresh"] is True
    typed = {"method": "password", "identifier": "alice", "password": "correct horse"}
    place.here.browser.request("POST", flow["ui"]["action"], json=typed, headers=dict(token))
    place.clock.advance(10)
    assert served(client.fetch("/me", headers=token))["authenticated_at"] == place.clock() - 10
