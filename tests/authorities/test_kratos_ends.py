"""What ends here ends at Kratos: logout in two steps, revocation by id, lists; and never somebody else's session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from session_middleware import Settings
from session_middleware.authorities.base import NOTHING_SHOWN, Attached, Shown
from session_middleware.authorities.kratos import KratosAuthority
from session_middleware.errors import SettingsError
from session_middleware.runtime import ThreadRuntime, run_sync
from session_middleware.sessions import Sessions
from session_middleware.testing.scenarios.expect import problem, served
from session_middleware.testing.stage import KEY
from session_middleware.testing.stand_ins.kratos import KratosCredential
from tests.authorities.kratos_town import COOKIE, FEW, Town, town

REVOKE = "DELETE /admin/sessions/{id}"
TWO_STEPS = ["GET /self-service/logout/browser", "GET /self-service/logout"]


@pytest.fixture(params=FEW)
def place(request: pytest.FixtureRequest) -> Iterator[Town]:
    with town(request.param) as made:
        yield made


def lives(place: Town, held: KratosCredential) -> bool:
    session = place.kratos.session(held.id)
    return session is not None and session["active"]


def alone(place: Town) -> KratosAuthority:
    """Return an authority with admin rights that no app uses."""
    authority = place.authority()
    authority.attach(Attached(ThreadRuntime(), place.clock, lambda purpose: (b"key",)))
    return authority


@pytest.mark.parametrize("admin", [False, True])
def test_logout_takes_kratos_two_steps(place: Town, admin: bool) -> None:
    """A logout ends Kratos' session as its holder would, and Kratos' own Set-Cookie removes its cookie."""
    alice = place.alice()
    browser = place.browser(alice, authority=place.authority(admin=admin))
    served(browser.navigate("/me"))
    since = len(place.kratos.calls)
    answer = browser.submit("/session/logout")
    assert answer.status == 303
    assert place.paths(since)[-2:] == TWO_STEPS
    assert not lives(place, alice)
    assert COOKIE not in browser.jar
    assert not [name for name in browser.jar.names if name.startswith("__Host-")]
    problem(browser.fetch("/me"), None)


def test_logout_of_an_api_client(place: Town) -> None:
    """A token is given back to Kratos as a token."""
    alice = place.alice()
    token = [("X-Session-Token", alice.token)]
    client = place.browser(authority=place.authority(admin=False, api_clients=True))
    served(client.fetch("/me", headers=token))
    client.fetch("/session/logout", "POST", headers=token)
    assert place.paths()[-1] == "DELETE /self-service/logout/api"
    assert not lives(place, alice)
    problem(client.fetch("/me", headers=token), None)


def test_a_logout_ends_no_other_session(place: Town) -> None:
    """Where the browser shows another session of Kratos by now, that one is left alone; ours is ended by its id."""
    alice = place.alice()
    bob = place.kratos.begin_session(place.kratos.add_identity("bob", "x"))
    served(place.browser(alice).navigate("/me"))
    record = place.record(alice.identity)
    assert record is not None
    authority = alone(place)
    name, _, value = bob.cookie.partition("=")
    run_sync(authority.end(record, Shown({name: value}), "logout", place.clock()))
    assert (lives(place, alice), lives(place, bob)) == (False, True)


@pytest.mark.parametrize("admin", [False, True])
def test_an_end_from_another_device(place: Town, admin: bool) -> None:
    """Ended from another device, Kratos' session is revoked by its id; without admin rights it lives, and lets nobody in."""
    alice = place.alice()
    laptop = place.kratos.begin_session(alice.identity)
    authority = place.authority(admin=admin)
    phone = place.browser(alice, authority=authority)
    other = place.browser(laptop, driver=phone.driver)
    served(phone.navigate("/me"))
    served(other.navigate("/me"))
    assert other.fetch("/session/list/end-others", "POST").status in (204, 303)
    assert lives(place, alice) is not admin
    assert (REVOKE in place.paths()) is admin
    place.clock.advance(10)
    assert phone.fetch("/me").status == 401  # its mark stands where Kratos' session could not be ended (L24)
    served(other.fetch("/me"))


def test_an_end_that_cannot_be_told_is_told_later(place: Town) -> None:
    """A logout while Kratos is down is one here at once, and at Kratos as soon as it answers (L17)."""
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    place.kratos.faults.be_down()
    assert browser.submit("/session/logout").status == 303
    assert lives(place, alice)
    place.kratos.faults.clear()
    place.clock.advance(6)
    place.browser(driver=browser.driver).fetch("/open")
    assert not lives(place, alice)


@pytest.mark.parametrize(("shared", "ended"), [(False, True), (True, False)])
def test_timeouts_and_sessions_shared_with_other_apps(place: Town, shared: bool, ended: bool) -> None:
    """A deadline of ours ends Kratos' session, unless other apps use it too; no late refusal deletes a cookie (L26)."""
    alice = place.alice()
    browser = place.browser(alice, authority=place.authority(shared=shared))
    served(browser.navigate("/me"))
    place.clock.advance(1200)
    answer = browser.fetch("/me")
    problem(answer, "inactivity")
    assert answer.set_cookies == []
    assert lives(place, alice) is not ended


def test_a_logout_ends_what_is_shared_too(place: Town) -> None:
    """Who signs out is signed out everywhere."""
    alice = place.alice()
    browser = place.browser(alice, authority=place.authority(shared=True))
    served(browser.navigate("/me"))
    browser.submit("/session/logout")
    assert not lives(place, alice)


def test_all_sessions_at_kratos_are_listed_and_ended(place: Town) -> None:
    """With admin rights a user's live sessions are known, seen here or not, and ended at once."""
    alice = place.alice()
    other, over = (place.kratos.begin_session(alice.identity) for _ in range(2))
    place.kratos.revoke(over.id)
    authority = alone(place)
    listed: Any = run_sync(authority.list(alice.identity, place.clock()))
    assert {each.id: each.ceiling - place.clock() for each in listed} == {alice.id: 3600, other.id: 3600}
    run_sync(authority.end_all(alice.identity, place.clock()))
    assert run_sync(authority.list(alice.identity, place.clock())) == []
    run_sync(authority.end_all(alice.identity, place.clock()))  # nothing is left to end, which is no fault


def test_lists_need_admin_rights(place: Town) -> None:
    """Without the admin listener nobody's sessions can be listed, and the error says what is missing."""
    authority = place.authority(admin=False)
    for verb in (authority.list, authority.end_all):
        with pytest.raises(SettingsError, match="admin_url"):
            run_sync(verb("somebody", place.clock()))


def test_an_admin_token_is_sent_and_its_refusal_is_the_operators() -> None:
    """Ory Network's admin listener wants a token; a wrong one is a fault, and logs nobody out (L17)."""
    with town("wsgi", admin_token="ory_pat_right") as place:
        alice = place.alice()
        browser = place.browser(alice, authority=place.authority(admin_token="ory_pat_right"))
        served(browser.navigate("/me"))
        place.kratos.faults.deny_by_mistake(times=2)
        place.clock.advance(10)
        assert browser.fetch("/me").status == 503  # the row lives, so nothing is proven
        served(browser.navigate("/me"))
        blind = place.browser(alice, authority=place.authority(admin_token="ory_pat_wrong"))
        served(blind.navigate("/me"))
        place.kratos.faults.deny_by_mistake(times=2)
        place.clock.advance(10)
        assert blind.fetch("/me").status == 503
        served(blind.fetch("/me"))
        assert [event.detail for event in place.stage.events if event.name == "authority_fault"] == [
            {"fault": "unconfirmed"},
            {"fault": "credentials"},
        ]


def test_nothing_shown_and_no_admin_rights_leave_it_to_the_browser(place: Town) -> None:
    """What cannot be ended is said to be so, not claimed."""
    alice = place.alice()
    authority = place.authority(admin=False)
    browser = place.browser(alice, authority=authority)
    served(browser.navigate("/me"))
    record = place.record(alice.identity)
    assert record is not None
    assert run_sync(authority.end(record, NOTHING_SHOWN, "revoked", place.clock())) is None


def test_a_user_of_the_apps_own_is_none_of_kratos(place: Town) -> None:
    """A subject that is no UUID is nobody's at Kratos: it is not asked, since it would call that a fault of ours."""
    authority = alone(place)
    place.kratos.calls.clear()
    assert run_sync(authority.list("carol", place.clock())) == []
    run_sync(authority.end_all("carol", place.clock()))
    assert not place.kratos.calls


def test_whoever_is_banned_is_out_at_kratos(place: Town) -> None:
    """`Sessions.end_all` ends at Kratos what was never seen here too."""
    alice = place.alice()
    elsewhere = place.kratos.begin_session(alice.identity)
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    settings = Settings(secret_keys=[KEY])
    sessions = Sessions(settings, place.stage.store, authority=place.authority(), clock=place.clock)
    assert {each.id for each in sessions.list_at_provider(alice.identity)} == {alice.id, elsewhere.id}
    assert sessions.end_all(alice.identity) == 1
    assert not lives(place, alice)
    assert not lives(place, elsewhere)
    assert browser.fetch("/me").status == 401
