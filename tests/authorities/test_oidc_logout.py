"""Logout at a real OpenID provider, begun here and told by it (RP-Initiated Logout 1.0, Back-Channel Logout 1.0)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from session_middleware.testing.browser import FORM, Answer, Browser
from session_middleware.testing.scenarios.expect import problem, served
from session_middleware.testing.stage import Stage
from tests.authorities.oidc_peer import Peer
from tests.authorities.oidc_people import Person, authority_at

pytestmark = pytest.mark.server


def tell(app: Browser, token: str) -> Answer:
    """Bring a logout token to an application, as a provider does: without cookies."""
    body = urlencode({"logout_token": token}).encode()
    told = Browser(app.driver, app.clock, origin=app.origin)
    return told.plain("/session/backchannel-logout", "POST", body, headers=[("Content-Type", FORM)])


def sign_out(person: Person, body: bytes = b"") -> Answer:
    """Press the button "Sign out"."""
    return person.app.submit("/session/logout", body)


def asked_of(answer: Answer) -> dict[str, Any]:
    """The parameters of the redirect to the provider."""
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.header("Location") or "").query).items()}


def test_sign_out_here_and_there(stage: Stage, peer: Peer, person: Callable[..., Person]) -> None:
    """Logout ends our session at once, and the browser goes on to the provider, which ends its own and sends it back."""
    alice = person()
    served(alice.sign_in())
    answer = sign_out(alice)
    problem(alice.app.fetch("/me"), None)
    assert asked_of(answer)["id_token_hint"].count(".") == 2
    answer = alice.go_on(answer)
    assert (answer.status, alice.there.pages[-1]) == (200, "logout")
    assert b"You are signed out" in answer.body
    alice.there.pages.clear()
    served(alice.sign_in())
    assert alice.there.pages == ["login", "consent"]
    peer.wait_for("delivered shop")


def test_where_to_after_it(person: Callable[..., Person], peer: Peer) -> None:
    """A return URL of our list goes on to the provider, which has a list of its own; another one is not asked for."""
    alice = person(settings={"logout_urls": [f"{peer.shop.origin}/"]})
    served(alice.sign_in())
    answer = sign_out(alice, urlencode({"return_to": f"{peer.shop.origin}/"}).encode())
    arrival = alice.there.visit(answer.header("Location") or "")
    assert arrival.url == f"{peer.shop.origin}/"
    answer = sign_out(alice, urlencode({"return_to": "https://evil.example/"}).encode())
    assert asked_of(answer)["post_logout_redirect_uri"] == f"{peer.shop.origin}/session/signed-out"


def test_without_the_id_token(person: Callable[..., Person]) -> None:
    """Where the ID token is not kept, the session's id there is the hint."""
    alice = person(keep_id_token=False)
    served(alice.sign_in())
    asked = asked_of(sign_out(alice))
    assert "id_token_hint" not in asked
    assert asked["client_id"] == "shop"
    assert asked["logout_hint"]


def test_an_id_token_that_is_too_long_for_a_url(person: Callable[..., Person], monkeypatch: pytest.MonkeyPatch) -> None:
    """With all the groups of a large company in it: a server would answer 414, and nobody could sign out there."""
    alice = person()
    served(alice.sign_in())
    monkeypatch.setattr("session_middleware.authorities.oidc.authority.HINT_LIMIT", 100)
    asked = asked_of(sign_out(alice))
    assert "id_token_hint" not in asked
    assert asked["logout_hint"]


def test_sign_out_here_alone(person: Callable[..., Person]) -> None:
    """The provider's session may be left alone; it cannot bring ours back without a new proof (L24)."""
    alice = person(sign_out_there=False)
    served(alice.sign_in())
    answer = alice.app.follow(sign_out(alice))
    assert b"You are signed out" in answer.body
    alice.there.pages.clear()
    served(alice.sign_in())
    assert alice.there.pages == ["login"]


def test_the_provider_tells_both_applications(stage: Stage, peer: Peer, person: Callable[..., Person]) -> None:
    """Who signs out at one application is signed out of the other, whose session has another id there."""
    at_shop, at_wiki = person(), person(application=peer.wiki)
    at_wiki.there = at_shop.there
    served(at_shop.sign_in())
    served(at_wiki.sign_in())
    alice_at_home = person(like=at_wiki, application=peer.wiki)
    served(alice_at_home.sign_in())
    at_shop.go_on(sign_out(at_shop))
    peer.wait_for("delivered shop")
    peer.wait_for("delivered wiki")
    served(at_wiki.app.navigate("/me"))
    for one, application in ((at_shop, peer.shop), (at_wiki, peer.wiki)):
        (token,) = application.logout.tokens
        answer = tell(one.app, token)
        assert answer.status in (200, 204)
        assert answer.header("Cache-Control") == "no-store"
        assert not answer.set_cookies
    problem(at_wiki.app.fetch("/me"), "signed_out")
    served(alice_at_home.app.navigate("/me"))  # another session of the same user there
    ended = [(event.subject, event.detail["reason"]) for event in stage.events if event.name == "session_ended"]
    assert ended == [("alice", "logout"), ("alice", "provider_logout")]


def test_a_token_of_another_application(peer: Peer, person: Callable[..., Person]) -> None:
    """A logout token is for one application: brought to another it is refused."""
    at_shop, at_wiki = person(), person(application=peer.wiki)
    at_wiki.there = at_shop.there
    served(at_shop.sign_in())
    served(at_wiki.sign_in())
    at_shop.go_on(sign_out(at_shop))
    peer.wait_for("delivered shop")
    assert tell(at_wiki.app, peer.shop.logout.tokens[0]).status == 400
    served(at_wiki.app.navigate("/me"))


def test_a_sign_in_that_is_on_its_way(peer: Peer, person: Callable[..., Person]) -> None:
    """A logout told between the provider's answer and ours counts: that answer begins no session (L24)."""
    alice = person()
    other = person(like=alice)
    served(alice.sign_in())
    late = alice.there.visit(alice.to_the_provider())
    alice.go_on(sign_out(alice))
    peer.wait_for("delivered shop")
    assert tell(alice.app, peer.shop.logout.tokens[0]).status in (200, 204)
    answer = alice.arrive(late)
    assert "/session/login?prompt=login" in (answer.header("Location") or "") or answer.status == 400
    problem(alice.app.fetch("/me"), None)
    assert other.app.navigate("/me").status == 303


def test_a_provider_that_cannot_be_reached(stage: Stage, peer: Peer, person: Callable[..., Person]) -> None:
    """A process that never reached the provider logs out here all the same (L17)."""
    alice = person()
    served(alice.sign_in())
    cut_off = authority_at(peer, stage)  # of another worker, that has fetched nothing yet
    cut_off._provider.calls.base_url = "http://127.0.0.1:9"
    alice.app.driver = stage.app(authority=cut_off)
    answer = alice.app.follow(sign_out(alice))
    assert b"You are signed out" in answer.body
    problem(alice.app.fetch("/me"), None)
    assert "authority_fault" in stage.event_names()
