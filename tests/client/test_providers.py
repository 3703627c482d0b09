"""Continue where the session stands on a provider's: extended by the server, in a hidden frame, or on the provider's page."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from session_middleware.testing import FakeClock
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.kratos import KratosStandIn
from session_middleware.testing.stand_ins.openid import OpenIDStandIn
from session_middleware.testing.stand_ins.stytch import StytchStandIn

from .test_timeline import ASKS

pytestmark = [pytest.mark.slow, pytest.mark.server]

HERE = "Continue at the sign-in page"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def at(chromium: Any, clock: FakeClock, authority: Callable[[str], Any], port: int | None = None) -> Iterator[Any]:
    """Serve the town behind an authority, which is told where the town is, and give somebody with a browser."""
    from .browsing import Person
    from .town import Town

    port = port or free_port()
    town = Town(clock, authority=authority(f"http://localhost:{port}"))
    with town.runs(port) as origin:
        context = chromium.new_context()
        try:
            yield Person(context, town, origin)
        finally:
            context.close()


@contextmanager
def at_openid(chromium: Any, host: str) -> Iterator[Any]:
    """An OpenID provider whose sessions `continue` prolongs too; by `host` it is of the app's own site or of another."""
    from session_middleware.authorities.oidc import OIDCAuthority

    clock = FakeClock()
    provider = OpenIDStandIn(clock=clock, idle=300)
    with served(provider) as address:
        issuer = address.replace("127.0.0.1", host)

        def authority(app_url: str) -> OIDCAuthority:
            provider.add_client("shop", "a secret", [f"{app_url}/session/callback"])
            return OIDCAuthority(issuer, "shop", "a secret", app_url=app_url, continue_there=True)

        with at(chromium, clock, authority) as person:
            person.town.policy += f"; frame-src 'self' {issuer}"
            person.provider = provider
            yield person


def signed_in_at_openid(person: Any) -> Any:
    tab = person.tab("/quiet")
    tab.page.goto(f"{person.origin}/private")
    tab.page.get_by_label("Any name").fill("alice")
    tab.page.get_by_role("button", name="Sign in").click()
    tab.page.wait_for_url(f"{person.origin}/private")
    tab.settle()
    return tab


def seen_there(person: Any) -> float:
    """When the browser last was at the provider."""
    (session,) = person.provider.world.sessions.values()
    return float(session.seen_at)


def test_openid_goes_on_without_a_page(chromium: Any) -> None:
    """M6: Continue also prolongs the provider's session, in a hidden frame; nothing is seen of it and nothing is lost."""
    with at_openid(chromium, "localhost") as person:
        tab = signed_in_at_openid(person)
        other = person.tab("/quiet-page")
        person.passes(240, [tab, other])
        tab.shows(ASKS)
        other.shows(ASKS)
        before = seen_there(person)
        tab.button("Continue").click()
        tab.becomes("active")
        other.becomes("active")
        for each in (tab, other):
            each.shows_nothing()
            assert (each.left, each.errors) == (300, [])
        assert seen_there(person) == before + 240
        assert tab.page.evaluate("[location.pathname, document.querySelectorAll('iframe').length]") == ["/private", 0]
        assert tab.page.evaluate("violations") == []


def test_openid_of_another_site_is_visited(chromium: Any) -> None:
    """Its cookies do not reach a frame: the session here goes on, and its page is offered, where they do."""
    with at_openid(chromium, "127.0.0.1") as person:
        tab = signed_in_at_openid(person)
        tab.passes(240)
        before = seen_there(person)
        tab.button("Continue").click()
        tab.shows("Please sign in again")
        assert (tab.state, tab.left) == ("active", 300)
        assert seen_there(person) == before
        with person.context.expect_page() as opened:
            tab.link(HERE).click()
        opened.value.wait_for_url(f"{person.origin}/")
        assert seen_there(person) == before + 240
        tab.shows_nothing()
        assert tab.page.evaluate("session.check()") == "active"


def test_openid_where_the_policy_forbids_frames(chromium: Any) -> None:
    """Without the provider in frame-src its page is offered too; Close puts that aside."""
    with at_openid(chromium, "localhost") as person:
        person.town.policy = person.town.policy.partition("; frame-src")[0]
        tab = signed_in_at_openid(person)
        tab.passes(240)
        tab.button("Continue").click()
        tab.shows("Please sign in again")
        tab.button("Close").click()
        tab.shows_nothing()
        assert (tab.state, tab.left) == ("active", 300)


def test_openid_whose_session_is_over_is_visited(chromium: Any) -> None:
    """The provider wants the user: no login page hides in a frame, and ours is not ended by it."""
    with at_openid(chromium, "localhost") as person:
        tab = signed_in_at_openid(person)
        tab.passes(240)
        (sid,) = person.provider.world.sessions
        asked = person.provider.calls.count("GET /authorize")
        person.provider.world.end(sid)
        tab.button("Continue").click()
        tab.shows("Please sign in again")
        assert (tab.state, tab.left) == ("active", 300)
        assert person.provider.calls.count("GET /authorize") == asked + 1  # a login page is for windows
        with person.context.expect_page() as opened:
            tab.link(HERE).click()
        opened.value.get_by_label("Any name").wait_for()


def test_a_real_openid_provider_goes_on_without_a_page(chromium: Any) -> None:
    """npm's oidc-provider of the same site: `prompt=none` in the frame, seen from there as a visit that it answers."""
    pytest.importorskip("joserfc")
    from session_middleware.authorities.oidc import OIDCAuthority
    from tests.authorities.oidc_peer import Peer

    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    peer = Peer(session_seconds=300, shop=origin)
    clock = FakeClock(peer.now())

    def authority(app_url: str) -> OIDCAuthority:
        return OIDCAuthority(
            peer.issuer, peer.shop.id, peer.shop.secret, app_url=origin, scope="openid email", continue_there=True
        )

    try:
        with at(chromium, clock, authority, port) as person:
            person.origin = origin
            person.town.policy += f"; frame-src 'self' {peer.issuer}"
            tab = person.tab("/quiet")
            tab.page.goto(f"{origin}/private")
            tab.page.locator("input[name=login]").fill("alice")
            tab.page.locator("input[name=password]").fill("anything")
            tab.page.locator("button[type=submit]").click()
            tab.page.get_by_role("button", name="Continue").click()  # to consent
            tab.page.wait_for_url(f"{origin}/private")
            tab.settle()
            for _ in range(2):  # 480 s: without the first visit the second would find nobody signed in there
                tab.passes(240)
                peer.advance(240)
                tab.shows(ASKS)
                tab.button("Continue").click()
                tab.becomes("active")
                tab.shows_nothing()
                assert tab.left == 300
            assert tab.page.evaluate("violations") == []
    finally:
        peer.stop()


def test_kratos_without_admin_rights_is_visited(chromium: Any) -> None:
    """Its session ends: Continue leads to its page, and once the password was given there, the dialog goes."""
    from session_middleware.authorities.kratos import KratosAuthority

    clock = FakeClock()

    def authority(app_url: str) -> KratosAuthority:
        there = public_url.replace("127.0.0.1", "localhost")  # Kratos and the app share its cookie
        return KratosAuthority(public_url, browser_url=there, app_url=app_url, lifespan=400, verify_interval=0)

    port = free_port()
    kratos = KratosStandIn(lifespan=400, clock=clock, allowed_return_urls=[f"http://localhost:{port}"])
    alice = kratos.begin_session(kratos.add_identity("alice", "wonderland"))
    with served(kratos.public) as public_url, at(chromium, clock, authority, port) as person:
        name, _, value = alice.cookie.partition("=")
        person.context.add_cookies([{"name": name, "value": value, "url": person.origin}])
        tab = person.tab("/private")
        tab.passes(245)
        tab.shows(ASKS)
        tab.button("Continue").click()
        tab.becomes("active")
        assert tab.left == 124  # Kratos' end, less 30 s, a second after it began; only its page moves it
        tab.passes(70)
        tab.shows(ASKS)
        tab.button("Continue").click()
        with person.context.expect_page() as opened:
            tab.link(HERE).click()
        opened.value.get_by_label("Identifier").fill("alice")
        opened.value.get_by_label("Password").fill("wonderland")
        opened.value.get_by_role("button", name="Sign in").click()
        opened.value.wait_for_url(f"{person.origin}/")
        tab.becomes("active")
        tab.shows_nothing()
        assert tab.left is not None
        assert tab.left > 200


def test_stytch_is_extended_by_the_server(chromium: Any) -> None:
    """Continue extends Stytch's session in the same request; the dialog goes, and the browser holds the new JWT."""
    from session_middleware.authorities.stytch import StytchAuthority

    clock = FakeClock()
    stytch = StytchStandIn(clock=clock)
    alice = stytch.start_session(stytch.add_user("alice@example.com"), minutes=5)
    with served(stytch) as base_url:

        def authority(app_url: str) -> StytchAuthority:
            return StytchAuthority(
                stytch.project_id, stytch.secret, base_url=base_url, session_duration_minutes=5, cookie_http_only=True
            )

        with at(chromium, clock, authority) as person:
            held = {"stytch_session": alice.token, "stytch_session_jwt": alice.jwt}
            person.context.add_cookies(
                [{"name": name, "value": value, "url": person.origin} for name, value in held.items()]
            )
            tab = person.tab("/private")
            tab.passes(215)  # its end, less 30 s, is nearer than that by silence
            tab.shows(ASKS)
            tab.button("Continue").click()
            tab.becomes("active")
            tab.shows_nothing()
            assert tab.left == 270
            assert [call.path for call in stytch.calls][-1] == "/v1/sessions/authenticate"
            now = {cookie["name"]: cookie["value"] for cookie in person.context.cookies()}
            assert now["stytch_session_jwt"] != alice.jwt
