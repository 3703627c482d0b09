"""Login flows of the Kratos stand-in, walked by a browser and by the official client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ory_kratos_client as official
import pytest

from tests.authorities.kratos_visitor import Visitor
from tests.authorities.kratos_world import HOUR, NOWHERE, World, at, password, totp, world


@pytest.fixture
def here() -> Iterator[World]:
    with world(lifespan=24 * HOUR, allowed_return_urls=["https://app.example/in"]) as made:
        yield made


@pytest.fixture
def alice(here: World) -> Any:
    return here.kratos.begin_session(here.kratos.add_identity("alice@example.org", "correct horse"))


def test_a_browser_signs_in(here: World) -> None:
    """A wrong password shows the form again; the right one leads to return_to with the session's cookie."""
    identity = here.kratos.add_identity("alice", "correct horse")
    browser = Visitor(here)
    page = browser.open("/self-service/login/browser?return_to=https://app.example/in/home")
    page = browser.fill_in(page, identifier="alice", password="wrong")
    assert b"credentials are invalid" in page.data
    done = browser.fill_in(page, identifier="alice", password="correct horse")
    assert (done.status, done.headers["Location"]) == (303, "https://app.example/in/home")
    assert browser.whoami().identity.id == identity


def test_who_is_signed_in_is_sent_on(here: World, alice: Any) -> None:
    """Without refresh a signed-in browser goes straight to return_to, and a program is told so."""
    done = Visitor(here, alice.cookie).open("/self-service/login/browser?return_to=https://app.example/in/home")
    assert done.headers["Location"] == "https://app.example/in/home"
    with pytest.raises(official.exceptions.BadRequestException, match="session_already_available"):
        here.frontend.create_native_login_flow(x_session_token=alice.token)


def test_a_refresh_keeps_the_session_and_renews_its_times(here: World, alice: Any) -> None:
    """The same id and token, a new authenticated_at and expiry, issued_at as it was, and a new cookie."""
    here.clock.advance(hours=5)
    browser = Visitor(here, alice.cookie)
    page = browser.open("/self-service/login/browser?refresh=true&return_to=https://app.example/in/home")
    done = browser.fill_in(page, password="correct horse")
    assert done.headers["Location"] == "https://app.example/in/home"
    assert browser.cookies["ory_kratos_session"] != alice.cookie.partition("=")[2]
    session = here.frontend.to_session(x_session_token=alice.token)
    assert session.id == alice.id
    assert [at(here, t) for t in (session.expires_at, session.authenticated_at, session.issued_at)] == [
        24 * HOUR,
        0,
        -5 * HOUR,
    ]


def test_somebody_else_at_a_refresh_gets_a_session_of_their_own(here: World, alice: Any) -> None:
    """Another user signs in at the refresh: a new session, while the old row lives on."""
    bob = here.kratos.add_identity("bob", "battery staple")
    browser = Visitor(here, alice.cookie)
    page = browser.open("/self-service/login/browser?refresh=true")
    browser.fill_in(page, identifier="bob", password="battery staple")
    session = browser.whoami()
    assert session.identity.id == bob
    assert session.id != alice.id
    assert here.frontend.to_session(cookie=alice.cookie).id == alice.id


def test_a_program_refreshes_by_token(here: World, alice: Any) -> None:
    """The API flow with refresh=true keeps session and token; without a session refresh is silently false."""
    here.clock.advance(hours=5)
    flow = here.frontend.create_native_login_flow(refresh=True, x_session_token=alice.token)
    done = here.frontend.update_login_flow(flow.id, password("alice@example.org", "correct horse"), alice.token)
    assert (done.session.id, done.session_token) == (alice.id, alice.token)
    assert at(here, done.session.authenticated_at) == 0
    assert here.frontend.create_native_login_flow(refresh=True).refresh is False


def test_the_second_factor(here: World) -> None:
    """After the password Kratos leads on to the second factor, and from there to return_to; the level is aal2 then."""
    here.kratos.add_identity("bob", "x", totp_code="123456")
    browser = Visitor(here)
    page = browser.open("/self-service/login/browser?return_to=https://app.example/in/home")
    page = browser.fill_in(page, identifier="bob", password="x")
    assert b"totp_code" in page.data
    page = browser.fill_in(page, totp_code="000000")
    assert b"credentials are invalid" in page.data
    done = browser.fill_in(page, totp_code="123456")
    assert done.headers["Location"] == "https://app.example/in/home"
    session = browser.whoami()
    assert session.authenticator_assurance_level == "aal2"
    assert [method.method for method in session.authentication_methods] == ["password", "totp"]


def test_a_program_passes_the_second_factor(here: World) -> None:
    """An API client passes it with its token; without a session aal2 cannot be asked for."""
    bob = here.kratos.begin_session(here.kratos.add_identity("bob", "x", totp_code="123456"))
    flow = here.frontend.create_native_login_flow(aal="aal2", x_session_token=bob.token)
    done = here.frontend.update_login_flow(flow.id, totp("123456"), bob.token)
    assert (done.session.id, done.session.authenticator_assurance_level) == (bob.id, "aal2")
    with pytest.raises(official.exceptions.UnauthorizedException, match="session_aal1_required"):
        here.frontend.create_native_login_flow(aal="aal2")


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("https://app.example/in", True),
        ("https://app.example/in/deeper?x=1", True),
        ("https://app.example/", False),
        ("http://app.example/in", False),
        ("https://evil.example/in", False),
        ("https://a.wild.example/x", True),
        ("https://wild.example.evil.example/x", False),
    ],
)
def test_return_to_must_be_allowed(target: str, allowed: bool) -> None:
    """Scheme and host must be those of an entry, a leading * stands for hosts below, and the path begins alike."""
    with world(allowed_return_urls=["https://app.example/in", "https://*.wild.example"]) as here:
        ask = here.frontend.create_browser_login_flow
        if allowed:
            assert ask(return_to=target).return_to == target
        else:
            with pytest.raises(official.exceptions.BadRequestException, match="self_service_flow_return_to_forbidden"):
                ask(return_to=target)


def test_a_browser_flow_is_bound_to_its_browser(here: World) -> None:
    """Without the anti-CSRF cookie a browser's form is refused, and the browser is led to the error page."""
    here.kratos.add_identity("alice", "x")
    page = Visitor(here).open("/self-service/login/browser")
    refused = Visitor(here).fill_in(page, identifier="alice", password="x")
    assert b"security_csrf_violation" in refused.data


def test_a_flow_is_over_after_an_hour(here: World) -> None:
    """A flow that expired is a 410; one that is unknown a 404."""
    flow = here.frontend.create_native_login_flow()
    here.clock.advance(hours=1)
    with pytest.raises(official.ApiException) as late:
        here.frontend.update_login_flow(flow.id, password("alice", "x"))
    with pytest.raises(official.ApiException) as unknown:
        here.frontend.update_login_flow(NOWHERE, password("alice", "x"))
    assert (late.value.status, unknown.value.status) == (410, 404)


def test_a_disabled_person_cannot_sign_in(here: World) -> None:
    """Who was disabled is told so at login."""
    here.kratos.disable(here.kratos.add_identity("alice", "x"))
    flow = here.frontend.create_native_login_flow()
    with pytest.raises(official.exceptions.UnauthorizedException, match="identity_disabled"):
        here.frontend.update_login_flow(flow.id, password("alice", "x"))
