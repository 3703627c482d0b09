"""Members of organizations: their claims, all of a member's sessions, and the way to another organization."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from session_middleware.authorities.stytch import StytchAuthority
from session_middleware.errors import SettingsError
from session_middleware.runtime import run_sync
from session_middleware.testing.browser import Browser
from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stand_ins.stytch import Credentials
from tests.authorities.stytch_shop import FEW, JWT_COOKIE, TOKEN_COOKIE, Shop, shop_of

INTERMEDIATE_COOKIE = "stytch_intermediate_session_token"


class Town(Shop):
    """A B2B project with two organizations and alice, a member of both."""

    acme: str
    globex: str
    alice_of_acme: str
    alice_of_globex: str

    def settle(self, **demand: Any) -> Town:
        self.acme = self.stytch.add_organization("acme")
        self.globex = self.stytch.add_organization("globex", **demand)
        self.alice_of_acme = self.stytch.add_member(self.acme, "alice@example.com")
        self.alice_of_globex = self.stytch.add_member(self.globex, "alice@example.com")
        return self

    def visitor(self, minutes: int = 60, factors: Any = ("password",), **options: Any) -> tuple[Browser, Credentials]:
        """Return the browser of alice at acme, signed in here too."""
        held = self.stytch.start_session(self.alice_of_acme, minutes, factors)
        browser = self.browser(held, **options)
        served(browser.navigate("/me"))
        return browser, held


@pytest.fixture(params=FEW)
def town(request: pytest.FixtureRequest) -> Iterator[Town]:
    with shop_of(request.param, b2b=True) as shop:
        shop.__class__ = Town
        assert isinstance(shop, Town)
        yield shop


class TestMembers:
    """A member's session."""

    def test_its_subject_and_claims(self, town: Town) -> None:
        """The subject is the member, the organization stands in the claims, by the API and by the JWT."""
        browser, _ = town.settle().visitor()
        for _ in range(2):
            seen = served(browser.navigate("/me"))
            assert seen["subject"] == town.alice_of_acme
            assert seen["claims"] == {"organization_id": town.acme, "organization_slug": "acme"}
            town.clock.advance(61)
        assert {call.path for call in town.stytch.calls} == {
            "/v1/b2b/sessions/authenticate",
            f"/v1/b2b/sessions/jwks/{town.stytch.project_id}",
        }

    def test_custom_claims_do_not_name_another_organization(self, town: Town) -> None:
        """Whoever may write custom claims cannot put a member into another organization, or give roles (L24)."""
        town.settle()
        claims = {"organization_id": town.globex, "roles": ["admin"], "plan": "free"}
        held = town.stytch.start_session(town.alice_of_acme, claims=claims)
        seen = served(town.browser(held).navigate("/me"))
        assert seen["claims"] == {"organization_id": town.acme, "organization_slug": "acme", "plan": "free"}

    def test_a_logout_ends_the_session_there(self, town: Town) -> None:
        """The session is revoked by its id, and other sessions of the member live on."""
        browser, held = town.settle().visitor()
        other = town.stytch.start_session(town.alice_of_acme)
        assert browser.submit("/sign-out").status == 200
        assert not town.stytch.lives(held.token)
        assert town.stytch.lives(other.token)


class TestAllOfAMember:
    """`list` and `end_all`, as an operator's code calls them."""

    @pytest.mark.parametrize("b2b", [True, False])
    def test_list_and_end_all(self, b2b: bool) -> None:
        """All sessions are known, also those never seen here; ending all ends nobody else's."""
        with shop_of("wsgi", b2b=b2b) as shop:
            stytch = shop.stytch
            acme = stytch.add_organization("acme") if b2b else ""
            add = (lambda: stytch.add_member(acme)) if b2b else stytch.add_user
            alice, bob = add(), add()
            held = [stytch.start_session(alice) for _ in range(3)]
            other = stytch.start_session(bob)
            authority = shop.authority()
            shop.stage.app(authority=authority)
            found = run_sync(authority.list(alice, shop.clock()))
            assert len({session.id for session in found}) == 3
            assert {(session.authority, session.proven_at) for session in found} == {("stytch", shop.clock())}
            run_sync(authority.end_all(alice, shop.clock()))
            assert not any(stytch.lives(token) for token, _ in held)
            assert stytch.lives(other.token)
            assert list(run_sync(authority.list(alice, shop.clock()))) == []
            assert list(run_sync(authority.list("nobody", shop.clock()))) == []


class TestExchange:
    """`POST /session/organization`."""

    def go(self, browser: Browser, organization: str, **more: str) -> Any:
        fields = "&".join(f"{name}={value}" for name, value in {"organization_id": organization, **more}.items())
        return browser.submit("/session/organization", fields.encode())

    def test_to_another_organization(self, town: Town) -> None:
        """Who is authenticated there has a new session of both, with nothing carried over, and goes where it was asked."""
        browser, held = town.settle().visitor()
        assert browser.submit('/claims?set={"color":"red"}').status == 200
        before = served(browser.navigate("/me"))
        answer = self.go(browser, "globex", return_to="/account")
        assert (answer.status, answer.header("Location")) == (303, "/account")
        assert browser.jar[TOKEN_COOKIE] != held.token
        after = served(browser.navigate("/me"))
        assert after["subject"] == town.alice_of_globex
        assert after["claims"] == {"organization_id": town.globex, "organization_slug": "globex"}
        assert after["id"] != before["id"]
        assert town.records(town.alice_of_acme) == []
        assert len(town.stytch.calls_of("exchange")) == 1

    @pytest.mark.parametrize(
        ("demand", "missing"),
        [({"mfa_required": True}, "mfa_required"), ({"allowed_auth_methods": ["sso"]}, "primary_required")],
    )
    def test_not_without_what_it_demands(self, town: Town, demand: dict[str, Any], missing: str) -> None:
        """Without `member_authenticated` no session is begun: the intermediate token goes into its cookie, ours stays."""
        browser, held = town.settle(**demand).visitor(organization_login_path="/login/organization")
        answer = self.go(browser, town.globex, return_to="/account")
        assert answer.status == 303
        assert answer.header("Location") == f"/login/organization?reason={missing}&return_to=/account"
        assert browser.jar[INTERMEDIATE_COOKIE].startswith("intermediate-session-token")
        assert browser.jar.cookie(INTERMEDIATE_COOKIE).expires == pytest.approx(town.clock() + 600)
        assert browser.jar[TOKEN_COOKIE] == held.token
        assert served(browser.navigate("/me"))["subject"] == town.alice_of_acme
        assert town.records(town.alice_of_globex) == []

    def test_not_without_a_page_to_show_it_on(self, town: Town) -> None:
        """Without a page for it such a member is refused, and stays signed in where they are."""
        browser, _ = town.settle(mfa_required=True).visitor()
        answer = self.go(browser, town.globex)
        assert answer.status == 403
        assert INTERMEDIATE_COOKIE not in browser.jar
        assert served(browser.navigate("/me"))["subject"] == town.alice_of_acme

    def test_with_a_second_factor(self, town: Town) -> None:
        """Who has shown what is demanded is let in."""
        browser, _ = town.settle(mfa_required=True).visitor(factors=["password", "totp"])
        assert self.go(browser, town.globex).status == 303
        assert served(browser.navigate("/me"))["subject"] == town.alice_of_globex

    @pytest.mark.parametrize("organization", ["nowhere", "organization-test-0000", "initech"])
    def test_not_where_one_is_no_member(self, town: Town, organization: str) -> None:
        """An organization that is not there, or not theirs, is refused alike."""
        browser, _ = town.settle().visitor()
        town.stytch.add_organization("initech")
        assert self.go(browser, organization).status == 403
        assert served(browser.navigate("/me"))["subject"] == town.alice_of_acme

    def test_what_the_form_must_say(self, town: Town) -> None:
        """A form without an organization is refused, and nobody is asked; so is a request of another site (L20)."""
        browser, _ = town.settle().visitor()
        town.stytch.calls.clear()
        for body in (
            b"",
            b"organization_id=",
            b"organization_id=a&organization_id=b",
            b"organization_id=" + b"x" * 300,
        ):
            assert browser.submit("/session/organization", body).status == 400
        other = browser.submit("/session/organization", b"organization_id=globex", site="cross-site")
        assert other.status == 403
        assert town.stytch.calls == []

    def test_it_needs_a_session(self, town: Town) -> None:
        """A visitor who is not signed in exchanges nothing."""
        town.settle()
        visitor = town.browser()
        assert self.go(visitor, town.globex).status == 401
        assert town.stytch.calls_of("exchange") == []

    def test_never_to_another_host(self, town: Town) -> None:
        """Where to go afterwards is a path of this host (L15)."""
        browser, _ = town.settle().visitor()
        assert self.go(browser, town.globex, return_to="https://evil.example/").header("Location") == "/"

    def test_while_stytch_is_down(self, town: Town) -> None:
        """503, and the session stays as it is (L17)."""
        browser, held = town.settle().visitor()
        town.stytch.down(503, only="exchange")
        assert self.go(browser, town.globex).status == 503
        assert browser.jar[TOKEN_COOKIE] == held.token
        assert JWT_COOKIE in browser.jar
        town.stytch.recover()
        assert self.go(browser, town.globex).status == 303

    def test_an_answer_that_contradicts_itself(self, town: Town) -> None:
        """Tokens beside `member_authenticated: false` are not used; an answer that does not say so is a fault."""
        browser, held = town.settle().visitor()
        there = town.stytch.start_session(town.alice_of_globex)
        query = {"organization_id": town.globex, "member_id": town.alice_of_globex}
        project = (town.stytch.project_id, town.stytch.secret)
        [session] = httpx2.get(f"{town.base_url}/v1/b2b/sessions", params=query, auth=project).json()["member_sessions"]
        whole = {"member_session": session, "session_token": there.token, "session_jwt": there.jwt}
        for more, status in (({}, 503), ({"intermediate_session_token": "i" * 30}, 403)):
            for said in (False, None, "true", 1):
                body = json.dumps({"member_authenticated": said, **whole, **more})
                town.stytch.garble(body.encode(), only="exchange")
                assert self.go(browser, town.globex).status == (status if said is False else 503)
                town.stytch.recover()
                town.clock.advance(5)
        assert browser.jar[TOKEN_COOKIE] == held.token
        assert town.records(town.alice_of_globex) == []

    def test_no_route_where_no_cookies_are_written(self, town: Town) -> None:
        """Without the new session's cookies the browser would go on showing the old ones."""
        browser, _ = town.settle().visitor(set_cookies=False)
        assert self.go(browser, town.globex).status == 404
        assert town.stytch.calls_of("exchange") == []

    def test_a_consumer_project_has_no_such_route(self) -> None:
        """There are organizations in B2B projects only."""
        with shop_of("wsgi") as shop:
            browser = shop.browser(shop.alice())
            served(browser.navigate("/me"))
            assert self.go(browser, "acme").status == 404


def test_a_page_for_members_needs_members() -> None:
    """organization_login_path without b2b=True, or as another host's address, is refused at start-up."""
    for path, b2b in [("/login", False), ("//evil.example", True), ("login", True), ("/a?b", True)]:
        with pytest.raises(SettingsError, match="organization_login_path"):
            StytchAuthority("project-test-1", "secret", b2b=b2b, organization_login_path=path)
