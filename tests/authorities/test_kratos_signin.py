"""To Kratos and back: the login route, a new proof where one is demanded, the second factor (L15, L21, L24)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from session_middleware.testing.browser import Answer
from session_middleware.testing.scenarios.expect import problem, served
from tests.authorities.kratos_town import FEW, Town, town


@pytest.fixture(params=FEW)
def place(request: pytest.FixtureRequest) -> Iterator[Town]:
    with town(request.param) as made:
        yield made


def asked(answer: Answer) -> dict[str, str]:
    """Return what a redirect to Kratos asks for."""
    location = answer.header("Location") or ""
    parts = urlsplit(location)
    assert (answer.status, parts.path) == (303, "/self-service/login/browser"), location
    return {name: values[0] for name, values in parse_qs(parts.query).items()}


def test_who_is_not_signed_in_is_led_to_kratos_and_back(place: Town) -> None:
    """A page that needs a session leads to our login route, from there to Kratos, and after the password to the page."""
    identity = place.kratos.add_identity("alice", "correct horse")
    browser = place.browser()
    refused = browser.navigate("/me?x=1")
    assert refused.header("Location") == "/session/login?return_to=/me%3Fx%3D1"
    answer = browser.follow(refused)
    assert asked(answer) == {"return_to": "https://app.example/me?x=1"}
    seen = served(place.at_kratos(browser, answer, identifier="alice", password="correct horse"))
    assert seen["subject"] == identity


@pytest.mark.parametrize("query", ["return_to=https://evil.example/", "return_to=//evil.example", "next=/%5Cevil", ""])
def test_the_way_back_is_always_here(place: Town, query: str) -> None:
    """Whatever the return parameter says, Kratos sends the browser to this app (L15)."""
    answer = place.browser().navigate(f"/session/login?{query}")
    assert asked(answer) == {"return_to": "https://app.example/"}


def test_kratos_may_have_another_address_for_browsers() -> None:
    """Calls go to `public_url`, browsers to `browser_url`; the app may lie below a path."""
    with town("wsgi") as place:
        authority = place.authority(browser_url="https://id.example/kratos", app_url="https://app.example/shop")
        app = place.stage.app(authority=authority, mount="/shop")
        answer = place.browser(place.alice(), driver=app).navigate(
            "/shop/session/login?refresh=true&return_to=/shop/me"
        )
        location = answer.header("Location") or ""
        assert location.startswith("https://id.example/kratos/self-service/login/browser?")
        assert parse_qs(urlsplit(location).query)["return_to"] == ["https://app.example/shop/me"]
        there = place.browser(place.alice(), driver=app).navigate("/shop/session/login")
        assert there.header("Location") == "/shop"


def test_who_is_signed_in_at_kratos_needs_no_page(place: Town) -> None:
    """The login route begins a session at once for who is signed in there, and sends on who is signed in here."""
    alice = place.alice()
    browser = place.browser(alice)
    for _ in range(2):
        answer = browser.navigate("/session/login?return_to=/me")
        assert (answer.status, answer.header("Location")) == (303, "/me")
    assert served(browser.follow(answer))["subject"] == alice.identity
    assert place.stage.store.calls["create"] == 1


def test_a_dead_cookie_is_led_to_the_form(place: Town) -> None:
    """With a cookie that is good for nothing the login route leads to Kratos' form."""
    alice = place.alice()
    browser = place.browser(alice)
    place.kratos.revoke(alice.id)
    answer = browser.navigate("/session/login?return_to=/me")
    assert asked(answer) == {"return_to": "https://app.example/me"}
    served(place.at_kratos(browser, answer, identifier="alice", password="correct horse"))


# --- a new proof ---------------------------------------------------------------------------------------------------


def test_fresh_login(place: Town) -> None:
    """A route that wants a fresh proof gets it by refresh=true: the same Kratos session, proven anew (L12, L21)."""
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    place.clock.advance(301)
    answer = browser.follow(browser.navigate("/fresh"))
    assert asked(answer) == {"return_to": "https://app.example/fresh", "refresh": "true"}
    seen = served(place.at_kratos(browser, answer, password="correct horse"))
    assert seen["authenticated_at"] == place.clock()
    record = place.record(alice.identity)
    assert record is not None
    assert record.provider_session == alice.id


def test_fresh_login_of_an_api_client(place: Town) -> None:
    """A client's token stays the same at a new proof; a route that wants one asks whoami at once."""
    alice = place.alice()
    token = [("X-Session-Token", alice.token)]
    client = place.browser(authority=place.authority(api_clients=True))
    served(client.fetch("/me", headers=token))
    place.clock.advance(301)
    problem(client.fetch("/fresh", headers=token), "fresh_login")
    flow = place.here.frontend.create_native_login_flow(refresh=True, x_session_token=alice.token)
    typed = {"method": "password", "identifier": "alice", "password": "correct horse"}
    place.here.browser.request("POST", flow.ui.action, json=typed, headers=dict(token))
    place.clock.advance(1)
    served(client.fetch("/fresh", headers=token))


@pytest.mark.parametrize("reason", ["lifetime", "inactivity", "fresh_login"])
def test_reasons_that_demand_a_new_proof(place: Town, reason: str) -> None:
    """After an end by a deadline Kratos is to ask for the password, whatever it remembers (L24)."""
    answer = place.browser(place.alice()).navigate(f"/session/login?reason={reason}&return_to=/me")
    assert asked(answer)["refresh"] == "true"


def test_silence_may_be_forgiven(place: Town) -> None:
    """With silent_sso Kratos' memory begins a session again after silence (L24)."""
    browser = place.browser(place.alice(), silent_sso=True)
    answer = browser.navigate("/session/login?reason=inactivity&return_to=/me")
    assert answer.header("Location") == "/me"


# --- after a deadline of ours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("admin", [False, True])
def test_after_our_timeout_kratos_lets_nobody_in_by_memory(place: Town, shared: bool, admin: bool) -> None:
    """Silence ends ours; Kratos' session is ended with it, or stays for other apps; here only a new proof counts (L24)."""
    alice = place.alice()
    browser = place.browser(alice, authority=place.authority(admin=admin, shared=shared))
    served(browser.navigate("/me"))
    place.clock.advance(1200)
    answer = browser.navigate("/me")
    assert answer.header("Location") == "/session/login?reason=inactivity&return_to=/me"
    assert place.kratos.session(alice.id)["active"] is shared
    answer = browser.follow(answer)
    seen = served(place.at_kratos(browser, answer, identifier="alice", password="correct horse"))
    assert seen["authenticated_at"] == place.clock()
    assert (place.record(alice.identity).provider_session == alice.id) is shared


def test_without_the_reason_kratos_memory_is_no_way_round(place: Town) -> None:
    """Whoever opens the login route without its reason, or after the browser was closed, is asked for a proof all the same."""
    alice = place.alice()
    browser = place.browser(alice, authority=place.authority(shared=True))
    served(browser.navigate("/me"))
    place.clock.advance(1200)
    problem(browser.fetch("/me"), "inactivity")
    again = place.browser(driver=browser.driver)
    place.show(again, place.kratos.credential(alice.id))
    refused = again.navigate("/me")
    assert refused.status == 303
    answer = again.follow(refused)
    assert asked(answer)["refresh"] == "true"
    served(place.at_kratos(again, answer, password="correct horse"))


def test_a_session_that_another_app_extends_is_no_way_round(place: Town) -> None:
    """What ended here by silence does not begin again by memory when Kratos' session has outlived its first end (L24)."""
    alice = place.alice()
    browser = place.browser(alice, authority=place.authority(shared=True))
    served(browser.navigate("/me"))
    place.clock.advance(1200)
    problem(browser.fetch("/me"), "inactivity")
    for _ in range(4):
        place.kratos._world.extend(alice.id)  # as an app does that shares it
        place.clock.advance(1800)
        again = place.browser(place.kratos.credential(alice.id), driver=browser.driver)
        problem(again.fetch("/me"), None)
    again.jar.take([f"{place.kratos.credential(alice.id).cookie}; Path=/"], again.origin, "/")
    answer = again.follow(again.navigate("/me"))
    served(place.at_kratos(again, answer, password="correct horse"))


@pytest.mark.parametrize("shared", [False, True])
def test_a_proof_that_is_older_than_a_session_may_get(place: Town, shared: bool) -> None:
    """Whoever proved who they are longer ago than the absolute lifetime is asked again, and does not go round in circles."""
    alice = place.alice()
    authority = place.authority(shared=shared)
    browser = place.browser(alice, authority=authority, absolute_lifetime=1800, inactivity_timeout=900)
    place.clock.advance(1800)
    refused = browser.navigate("/me")
    assert refused.status == 303
    answer = browser.follow(refused)
    seen = served(place.at_kratos(browser, answer, identifier="alice", password="correct horse"))
    assert seen["authenticated_at"] == place.clock()


# --- the second factor ---------------------------------------------------------------------------------------------


@pytest.fixture
def bob(place: Town) -> str:
    return place.kratos.add_identity("bob", "x", totp_code="123456")


def test_the_second_factor_is_asked_for_where_kratos_demands_it(place: Town, bob: str) -> None:
    """A session that lacks its second factor is led to it, and begins ours when that has been proved."""
    browser = place.browser(place.kratos.begin_session(bob))
    answer = browser.follow(browser.navigate("/me"))
    assert asked(answer) == {"return_to": "https://app.example/me", "aal": "aal2", "refresh": "true"}
    seen = served(place.at_kratos(browser, answer, totp_code="123456"))
    assert seen["subject"] == bob
    record = place.record(bob)
    assert record is not None
    assert [factor["type"] for factor in record.factors] == ["password", "totp"]
    assert [factor["aal"] for factor in record.factors] == ["aal1", "aal2"]


def test_a_script_is_told_to_ask_for_the_second_factor(place: Town, bob: str) -> None:
    """A script gets a 401 whose login URL asks for the second factor."""
    refused = place.browser(place.kratos.begin_session(bob)).fetch("/me")
    assert (refused.status, refused.json["reason"]) == (401, "fresh_login")
    assert refused.json["login_url"] == "/session/login?aal=aal2"


def test_who_enrols_a_second_factor_keeps_the_session(place: Town) -> None:
    """Where Kratos begins to demand a second factor the session here is held up, not ended, and goes on after it."""
    alice = place.alice()
    browser = place.browser(alice)
    served(browser.navigate("/me"))
    place.kratos._world.identities[alice.identity].totp_code = "123456"
    place.clock.advance(10)
    answer = browser.follow(browser.navigate("/me"))
    assert place.record(alice.identity) is not None
    seen = served(place.at_kratos(browser, answer, totp_code="123456"))
    assert seen["subject"] == alice.identity


def test_an_app_may_ask_for_the_second_factor() -> None:
    """With required_aal: aal1 a link to the login route with aal=aal2 steps up; the record knows both factors."""
    with town("wsgi", required_aal="aal1") as place:
        bob = place.kratos.add_identity("bob", "x", totp_code="123456")
        browser = place.browser(place.kratos.begin_session(bob))
        served(browser.navigate("/me"))
        place.clock.advance(60)
        answer = browser.navigate("/session/login?aal=aal2&return_to=/me")
        served(place.at_kratos(browser, answer, totp_code="123456"))
        record = place.record(bob)
        assert record is not None
        assert [factor["type"] for factor in record.factors] == ["password", "totp"]


def test_an_unknown_level_is_not_passed_on(place: Town) -> None:
    """Only assurance levels that Kratos knows reach it."""
    assert "aal" not in asked(place.browser().navigate("/session/login?aal=aal9"))
