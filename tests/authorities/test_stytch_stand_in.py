"""The stand-in of Stytch, driven by the official client: its shapes are what that client's typed models accept."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
import warnings
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import jwt as pyjwt
import pydantic
import pytest
import requests
import stytch
from stytch.core.response_base import StytchError

from session_middleware.testing import FakeClock
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.stytch import StytchStandIn

Client = TypeVar("Client", stytch.Client, stytch.B2BClient)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def project(clock: FakeClock) -> StytchStandIn:
    return StytchStandIn(clock=clock)


@pytest.fixture
def b2b_project(clock: FakeClock) -> StytchStandIn:
    return StytchStandIn(clock=clock, b2b=True)


@contextlib.contextmanager
def connected(project: StytchStandIn, kind: type[Client], base_url: str, secret: str = "") -> Iterator[Client]:
    """The official client of one kind of project, meeting the stand-in at a URL."""
    with requests.Session() as connections, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="BasicAuth is deprecated", category=DeprecationWarning)  # its own
        yield kind(
            project.project_id,
            secret or project.secret,
            environment=f"{base_url}/",
            suppress_warnings=True,
            sync_session=connections,
        )


@pytest.fixture
def client(project: StytchStandIn) -> Iterator[stytch.Client]:
    """The official client of a consumer project."""
    with served(project) as base_url, connected(project, stytch.Client, base_url) as client:
        yield client


@pytest.fixture
def b2b(b2b_project: StytchStandIn) -> Iterator[stytch.B2BClient]:
    """The official client of a B2B project."""
    with served(b2b_project) as base_url, connected(b2b_project, stytch.B2BClient, base_url) as client:
        yield client


def refused(status: int, error_type: str, call: Any, *args: Any, **kwargs: Any) -> None:
    """Assert that a call of the official client is refused in these words."""
    with pytest.raises(StytchError) as told:
        call(*args, **kwargs)
    assert (told.value.details.status_code, told.value.details.error_type) == (status, error_type)
    assert told.value.details.error_message
    assert told.value.details.error_url


def claims_of(project: StytchStandIn, jwt: str, base_url: str) -> dict[str, Any]:
    keys = pyjwt.PyJWKClient(f"{base_url}v1/sessions/jwks/{project.project_id}")
    key = keys.get_signing_key_from_jwt(jwt)
    options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    return dict(pyjwt.decode(jwt, key.key, ["RS256"], audience=project.project_id, options=options))


class TestConsumer:
    """A consumer project."""

    def test_authenticate(self, project: StytchStandIn, client: stytch.Client, clock: FakeClock) -> None:
        """A session is found by its token and by its JWT, whole; each time with a new JWT, the token the same."""
        user = project.add_user("alice@example.com")
        attributes = {"ip_address": "203.0.113.1", "user_agent": "Firefox"}
        token, jwt = project.start_session(user, 60, ["magic_link", "totp"], attributes=attributes, roles=["editor"])
        clock.advance(minutes=1)
        by_token = client.sessions.authenticate(session_token=token)
        clock.advance(minutes=10)
        by_jwt = client.sessions.authenticate(session_jwt=jwt)
        session = by_jwt.session
        assert session.session_id == by_token.session.session_id
        assert (session.user_id, by_jwt.user.user_id) == (user, user)
        assert by_jwt.user.emails[0].email == "alice@example.com"
        assert [(f.type.value, f.delivery_method.value) for f in session.authentication_factors] == [
            ("magic_link", "email"),
            ("totp", "authenticator_app"),
        ]
        assert session.started_at is not None
        assert session.started_at.timestamp() == pytest.approx(clock() - 660)
        assert session.last_accessed_at is not None
        assert session.last_accessed_at.timestamp() == pytest.approx(clock())
        assert session.attributes is not None
        assert session.attributes.ip_address == "203.0.113.1"
        assert session.roles == ["editor"]
        assert by_token.session_token == by_jwt.session_token == token
        assert len({jwt, by_token.session_jwt, by_jwt.session_jwt}) == 3

    def test_a_duration_counts_from_now(self, project: StytchStandIn, client: stytch.Client, clock: FakeClock) -> None:
        """Without a duration the expiry stays; with one it is so many minutes from now, a shorter one too."""
        token, _ = project.start_session(project.add_user(), 60)

        def left(minutes: int | None) -> float:
            answer = client.sessions.authenticate(session_token=token, session_duration_minutes=minutes)
            assert answer.session.expires_at is not None
            return answer.session.expires_at.timestamp() - clock()

        clock.advance(minutes=20)
        assert left(None) == pytest.approx(40 * 60)
        assert left(527_040) == pytest.approx(366 * 86_400)
        assert left(5) == pytest.approx(300)

    @pytest.mark.parametrize("minutes", [4, 527_041, 0, -5])
    def test_a_duration_out_of_range(self, project: StytchStandIn, client: stytch.Client, minutes: int) -> None:
        """A duration is 5 to 527040 minutes."""
        token, _ = project.start_session(project.add_user())
        ask = client.sessions.authenticate
        refused(400, "invalid_session_duration_minutes", ask, session_token=token, session_duration_minutes=minutes)

    @pytest.mark.parametrize("minutes", ["60", 60.0, True])
    def test_a_duration_is_an_integer(self, project: StytchStandIn, client: stytch.Client, minutes: Any) -> None:
        """Text, a fraction or a truth value is no duration."""
        token, _ = project.start_session(project.add_user())
        ask = client.sessions.authenticate
        refused(400, "invalid_session_duration_minutes", ask, session_token=token, session_duration_minutes=minutes)

    def test_an_ended_session_cannot_be_extended(
        self, project: StytchStandIn, client: stytch.Client, clock: FakeClock
    ) -> None:
        """At its expiry a session is not found any more, by token or JWT, with a duration or without."""
        token, jwt = project.start_session(project.add_user(), 5)
        clock.advance(299)
        client.sessions.authenticate(session_token=token)
        clock.advance(1)
        refused(404, "session_not_found", client.sessions.authenticate, session_token=token)
        refused(404, "session_not_found", client.sessions.authenticate, session_jwt=jwt)
        refused(
            404, "session_not_found", client.sessions.authenticate, session_token=token, session_duration_minutes=60
        )

    def test_revoke(self, project: StytchStandIn, client: stytch.Client) -> None:
        """A session is revoked by id, token or JWT, and a second time it is not found."""
        user = project.add_user()
        sessions = [project.start_session(user) for _ in range(3)]
        ids = [client.sessions.authenticate(session_token=token).session.session_id for token, _ in sessions]
        assert client.sessions.revoke(session_id=ids[0]).status_code == 200
        client.sessions.revoke(session_token=sessions[1].token)
        assert [s.session_id for s in client.sessions.get(user).sessions] == ids[2:]
        client.sessions.revoke(session_jwt=sessions[2].jwt)
        assert client.sessions.get(user).sessions == []
        for (token, _), id in zip(sessions, ids, strict=True):
            refused(404, "session_not_found", client.sessions.authenticate, session_token=token)
            refused(404, "session_not_found", client.sessions.revoke, session_id=id)

    def test_a_jwt_holds_five_minutes_whatever_happens(self, project: StytchStandIn, client: stytch.Client) -> None:
        """A JWT is good for 300 s, also of a session that ends sooner or later or has been revoked."""
        user = project.add_user()
        token, jwt = project.start_session(user, 527_040)
        client.sessions.revoke(session_token=token)
        claims = claims_of(project, jwt, client.api_base.base_url)
        assert claims["exp"] - claims["iat"] == 300
        assert claims["nbf"] == claims["iat"]
        assert claims["iss"] == f"stytch.com/{project.project_id}"
        assert claims["aud"] == [project.project_id]
        assert claims["sub"] == user

    def test_the_client_reads_the_jwt(self) -> None:
        """The client's own local check accepts a JWT, with the session's fields and its custom claims."""
        real = StytchStandIn()  # the client compares with the machine's clock
        with served(real) as base_url, connected(real, stytch.Client, base_url) as local:
            user = real.add_user()
            attributes = {"ip_address": "", "user_agent": ""}
            _, jwt = real.start_session(user, 60, attributes=attributes, roles=[], claims={"plan": "free"})
            session = local.sessions.authenticate_jwt(jwt).session
            assert (session.user_id, session.custom_claims) == (user, {"plan": "free"})
            assert session.expires_at is not None
            assert session.expires_at.timestamp() == pytest.approx(time.time() + 3_600, abs=60)
            assert real.calls_of("authenticate") == []
            assert local.sessions.authenticate_jwt(jwt, max_token_age_seconds=0).session.user_id == user
            assert len(real.calls_of("authenticate")) == 1

    def test_members_that_a_jwt_may_lack(self) -> None:
        """Without roles the client's local check falls over, as it does over the vendor's own sandbox JWT."""
        real = StytchStandIn()
        with served(real) as base_url, connected(real, stytch.Client, base_url) as local:
            _, jwt = real.start_session(real.add_user(), attributes={"ip_address": "", "user_agent": ""})
            with pytest.raises(KeyError, match="roles"):
                local.sessions.authenticate_jwt_local(jwt)

    def test_old_jwts(self, clock: FakeClock) -> None:
        """A JWT of an older project says neither when its session ends nor what roles there are."""
        old = StytchStandIn(clock=clock, old_jwts=True)
        _, jwt = old.start_session(old.add_user(), roles=["editor"])
        inner = pyjwt.decode(jwt, options={"verify_signature": False})["https://stytch.com/session"]
        assert inner.keys() == {"id", "started_at", "last_accessed_at", "authentication_factors"}

    def test_an_expired_jwt_is_accepted_by_authenticate(
        self, project: StytchStandIn, client: stytch.Client, clock: FakeClock
    ) -> None:
        """A JWT past its exp brings a new one while its session lives."""
        _, jwt = project.start_session(project.add_user(), 60)
        clock.advance(minutes=59)
        fresh = client.sessions.authenticate(session_jwt=jwt).session_jwt
        assert claims_of(project, fresh, client.api_base.base_url)["iat"] == int(clock())

    def test_times(self, project: StytchStandIn, client: stytch.Client) -> None:
        """The API writes nanoseconds, a JWT whole seconds."""
        token, jwt = project.start_session(project.add_user())
        answer = requests.post(
            f"{client.api_base.base_url}v1/sessions/authenticate",
            json={"session_token": token},
            auth=(project.project_id, project.secret),
            timeout=10,
        ).json()
        assert answer["session"]["started_at"] == "2027-01-15T08:00:00.000000001Z"
        inner = claims_of(project, jwt, client.api_base.base_url)["https://stytch.com/session"]
        assert inner["started_at"] == "2027-01-15T08:00:00Z"
        assert inner["expires_at"] == "2027-01-15T09:00:00Z"

    def test_two_keys_are_served_during_a_rotation(self, project: StytchStandIn, client: stytch.Client) -> None:
        """After a rotation old and new JWTs verify by their kid; once the old key is retired, only new ones do."""
        token, old = project.start_session(project.add_user())
        project.rotate_keys()
        new = client.sessions.authenticate(session_jwt=old).session_jwt
        base_url = client.api_base.base_url
        assert claims_of(project, old, base_url)["sub"] == claims_of(project, new, base_url)["sub"]
        kids = [pyjwt.get_unverified_header(jwt)["kid"] for jwt in (new, old)]
        jwks = requests.get(f"{base_url}v1/sessions/jwks/{project.project_id}", timeout=10).json()["keys"]
        assert [key["kid"] for key in jwks] == kids
        assert jwks[0].keys() == {"kty", "use", "key_ops", "alg", "kid", "x5c", "x5t#S256", "n", "e"}
        project.retire_keys()
        with pytest.raises(pyjwt.PyJWKClientError):
            claims_of(project, old, base_url)
        refused(400, "unable_to_parse_session_jwt", client.sessions.authenticate, session_jwt=old)
        client.sessions.authenticate(session_token=token)

    def test_custom_claims(self, project: StytchStandIn, client: stytch.Client) -> None:
        """Claims are kept only with a duration; reserved names are ignored, null deletes, objects are merged."""
        token, _ = project.start_session(project.add_user(), claims={"a": 1, "b": {"x": 1, "y": 2}})
        ask = client.sessions.authenticate
        assert ask(session_token=token, session_custom_claims={"c": 3}).session.custom_claims == {
            "a": 1,
            "b": {"x": 1, "y": 2},
        }
        claims = {"a": None, "b": {"x": None, "z": 3}, "sub": "mallory", "exp": 0}
        answer = ask(session_token=token, session_duration_minutes=60, session_custom_claims=claims)
        assert answer.session.custom_claims == {"b": {"y": 2, "z": 3}}
        decoded = claims_of(project, answer.session_jwt, client.api_base.base_url)
        assert decoded["b"] == {"y": 2, "z": 3}
        assert decoded["sub"] == answer.session.user_id
        assert "a" not in decoded

    def test_claims_have_a_limit(self, project: StytchStandIn, client: stytch.Client) -> None:
        """4 KB of claims are kept, and make a JWT that no cookie holds; one byte more is refused."""
        token, _ = project.start_session(project.add_user())

        def ask(length: int) -> str:
            claims = {"a": "x" * (length - len('{"a":""}'))}
            answer = client.sessions.authenticate(
                session_token=token, session_duration_minutes=60, session_custom_claims=claims
            )
            return answer.session_jwt

        assert len(ask(4_096)) > 4_096
        refused(400, "custom_claims_too_large", ask, 4_097)

    def test_claims_are_an_object(self, project: StytchStandIn, client: stytch.Client) -> None:
        """Claims that are no object are refused, and the session stays as it was."""
        token, _ = project.start_session(project.add_user())
        claims: Any = ["a"]
        ask = client.sessions.authenticate
        arguments = {"session_token": token, "session_duration_minutes": 5, "session_custom_claims": claims}
        refused(400, "invalid_argument", ask, **arguments)
        answer = ask(session_token=token).session
        assert answer.expires_at is not None
        assert answer.started_at is not None
        assert (answer.expires_at - answer.started_at).total_seconds() == 3_600

    def test_a_session_is_named_once(self, project: StytchStandIn, client: stytch.Client) -> None:
        """A token and a JWT together, or neither, are refused, to authenticate and to revoke."""
        token, jwt = project.start_session(project.add_user())
        both = {"session_token": token, "session_jwt": jwt}
        refused(400, "too_many_session_arguments", client.sessions.authenticate, **both)
        refused(400, "no_session_arguments", client.sessions.authenticate)
        refused(400, "too_many_session_revoke_arguments", client.sessions.revoke, **both)
        refused(400, "no_session_revoke_arguments", client.sessions.revoke)

    def test_what_is_no_credential(self, project: StytchStandIn, client: stytch.Client) -> None:
        """A malformed token or JWT is an error of its own; a well-formed token of nobody is not found."""
        ask = client.sessions.authenticate
        _, jwt = project.start_session(project.add_user())
        refused(400, "invalid_session_token", ask, session_token="short")
        refused(404, "session_not_found", ask, session_token="x" * 44)
        refused(400, "unable_to_parse_session_jwt", ask, session_jwt="a.b.c")
        refused(400, "unable_to_parse_session_jwt", ask, session_jwt=jwt[:-4] + "AAAA")
        refused(404, "user_not_found", client.sessions.get, "user-test-nobody")

    def test_only_its_own_secret(self, project: StytchStandIn, client: stytch.Client) -> None:
        """Another secret is refused by the words that a wrong password is refused by."""
        token, _ = project.start_session(project.add_user("a@example.com", password="correct"))
        base_url = client.api_base.base_url.rstrip("/")
        with connected(project, stytch.Client, base_url, "wrong") as other:
            refused(401, "unauthorized_credentials", other.sessions.authenticate, session_token=token)
        refused(401, "unauthorized_credentials", client.passwords.authenticate, "a@example.com", "wrong")
        assert project.lives(token)

    def test_a_password_login(self, project: StytchStandIn, client: stytch.Client) -> None:
        """A login with a duration begins a session; without one there is none at all."""
        user = project.add_user("a@example.com", password="correct")
        none = client.passwords.authenticate("a@example.com", "correct")
        assert (none.user_id, none.session, none.session_token, none.session_jwt) == (user, None, "", "")
        some = client.passwords.authenticate("a@example.com", "correct", session_duration_minutes=30)
        assert some.session is not None
        assert project.lives(some.session_token)
        refused(404, "email_not_found", client.passwords.authenticate, "b@example.com", "correct")

    def test_a_factor_of_tomorrow(self, project: StytchStandIn, client: stytch.Client) -> None:
        """A factor may have members and types that no client knows; the official one falls over it."""
        token, _ = project.start_session(project.add_user(), 60, [{"type": "palm", "palm_factor": {"hand": "left"}}])
        with pytest.raises(pydantic.ValidationError, match="palm"):
            client.sessions.authenticate(session_token=token)


class TestB2B:
    """A B2B project."""

    def test_authenticate_list_and_revoke(self, b2b_project: StytchStandIn, b2b: stytch.B2BClient) -> None:
        """A member's session names its organization; all of a member's end with one call, and nobody else's."""
        acme = b2b_project.add_organization("acme")
        alice = b2b_project.add_member(acme, "alice@example.com")
        bob = b2b_project.add_member(acme, "bob@example.com")
        sessions = [b2b_project.start_session(alice) for _ in range(3)]
        other = b2b_project.start_session(bob)
        answer = b2b.sessions.authenticate(session_jwt=sessions[0].jwt, session_duration_minutes=30)
        session = answer.member_session
        assert (session.member_id, session.organization_id, session.organization_slug) == (alice, acme, "acme")
        assert (answer.member.email_address, answer.organization.organization_slug) == ("alice@example.com", "acme")
        assert (session.expires_at - session.last_accessed_at).total_seconds() == 1_800
        assert len(b2b.sessions.get(acme, alice).member_sessions) == 3
        b2b.sessions.revoke(member_session_id=session.member_session_id)
        assert len(b2b.sessions.get(acme, alice).member_sessions) == 2
        b2b.sessions.revoke(member_id=alice)
        assert b2b.sessions.get(acme, alice).member_sessions == []
        assert b2b_project.lives(other.token)
        refused(404, "session_not_found", b2b.sessions.authenticate, session_token=sessions[1].token)
        refused(
            400, "too_many_session_revoke_arguments", b2b.sessions.revoke, member_id=alice, session_token=other.token
        )
        globex = b2b_project.add_organization("globex")
        refused(404, "member_not_found", b2b.sessions.get, globex, alice)

    def test_a_member_alone(self, b2b_project: StytchStandIn, b2b: stytch.B2BClient) -> None:
        """A member is found without naming the organization."""
        acme = b2b_project.add_organization("acme")
        alice = b2b_project.add_member(acme)
        assert b2b.organizations.members.dangerously_get(alice).organization.organization_id == acme
        refused(404, "member_not_found", b2b.organizations.members.dangerously_get, "member-test-nobody")

    def test_the_client_reads_the_jwt(self) -> None:
        """The client's own local check finds member, organization and slug in a JWT."""
        real = StytchStandIn(b2b=True)
        acme = real.add_organization("acme")
        alice = real.add_member(acme)
        with served(real) as base_url, connected(real, stytch.B2BClient, base_url) as local:
            found = local.sessions.authenticate_jwt(real.start_session(alice).jwt).member_session
        assert (found.member_id, found.organization_id, found.organization_slug) == (alice, acme, "acme")
        assert real.calls_of("authenticate") == []

    def test_exchange(self, b2b_project: StytchStandIn, b2b: stytch.B2BClient) -> None:
        """Who meets another organization's demands has a session there."""
        acme, globex = b2b_project.add_organization("acme"), b2b_project.add_organization("globex")
        alice = b2b_project.add_member(acme, "alice@example.com")
        there = b2b_project.add_member(globex, "alice@example.com")
        token, _ = b2b_project.start_session(alice)
        answer = b2b.sessions.exchange("globex", session_token=token)
        assert (answer.member_authenticated, answer.member_id) == (True, there)
        assert answer.member_session is not None
        assert answer.member_session.organization_id == globex
        assert (answer.member_session.expires_at - answer.member_session.started_at).total_seconds() == 3_600
        assert b2b_project.lives(answer.session_token)
        refused(404, "organization_not_found", b2b.sessions.exchange, "nobody", session_token=token)
        initech = b2b_project.add_organization("initech")
        refused(404, "member_not_found", b2b.sessions.exchange, initech, session_token=token)

    @pytest.mark.parametrize(
        ("demand", "missing"),
        [({"mfa_required": True}, "mfa_required"), ({"allowed_auth_methods": ["sso"]}, "primary_required")],
    )
    def test_exchange_without_what_is_demanded(
        self, b2b_project: StytchStandIn, b2b: stytch.B2BClient, demand: dict[str, Any], missing: str
    ) -> None:
        """Who lacks a factor gets 200 and no session: an intermediate token, and what is missing."""
        acme, globex = b2b_project.add_organization("acme"), b2b_project.add_organization("globex", **demand)
        alice = b2b_project.add_member(acme, "alice@example.com")
        b2b_project.add_member(globex, "alice@example.com", password="correct")
        answer = b2b.sessions.exchange(globex, session_token=b2b_project.start_session(alice).token)
        assert answer.status_code == 200
        assert not answer.member_authenticated
        assert (answer.session_token, answer.session_jwt, answer.member_session) == ("", "", None)
        assert answer.intermediate_session_token
        assert answer.intermediate_session_token_expires_at is not None
        assert getattr(answer, missing) is not None
        login = b2b.passwords.authenticate(globex, "alice@example.com", "correct")
        assert (login.member_authenticated, login.session_token) == (False, "")

    def test_exchange_with_what_is_demanded(self, b2b_project: StytchStandIn, b2b: stytch.B2BClient) -> None:
        """A second factor, or one of the methods allowed, is enough."""
        acme = b2b_project.add_organization("acme")
        globex = b2b_project.add_organization("globex", mfa_required=True, allowed_auth_methods=["sso", "password"])
        alice = b2b_project.add_member(acme, "alice@example.com")
        b2b_project.add_member(globex, "alice@example.com")
        token, _ = b2b_project.start_session(alice, 60, ["password", "totp"])
        assert b2b.sessions.exchange(globex, session_token=token).member_authenticated

    def test_a_password_login_without_a_duration(self, b2b_project: StytchStandIn, b2b: stytch.B2BClient) -> None:
        """A B2B login without a duration begins a session of 60 minutes."""
        acme = b2b_project.add_organization("acme")
        b2b_project.add_member(acme, "alice@example.com", password="correct")
        session = b2b.passwords.authenticate(acme, "alice@example.com", "correct").member_session
        assert session is not None
        assert (session.expires_at - session.started_at).total_seconds() == 3_600

    def test_a_project_has_one_kind(
        self, b2b_project: StytchStandIn, b2b: stytch.B2BClient, project: StytchStandIn, client: stytch.Client
    ) -> None:
        """Calls of the other kind of project are refused."""
        with connected(b2b_project, stytch.Client, b2b.api_base.base_url.rstrip("/")) as wrong:
            refused(400, "invalid_consumer_endpoint", wrong.sessions.authenticate, session_token="x" * 44)
        with connected(project, stytch.B2BClient, client.api_base.base_url.rstrip("/")) as wrong_b2b:
            refused(400, "invalid_b2b_endpoint", wrong_b2b.sessions.authenticate, session_token="x" * 44)


class TestFaults:
    """What goes wrong on request."""

    def test_down(self, project: StytchStandIn, client: stytch.Client) -> None:
        """While it is down nothing is done; then all is as it was."""
        token, _ = project.start_session(project.add_user())
        for status in (500, 503):
            project.down(status)
            refused(status, "internal_server_error", client.sessions.revoke, session_token=token)
        project.down(None)
        with pytest.raises(requests.ConnectionError):
            client.sessions.revoke(session_token=token)
        project.recover()
        assert project.lives(token)
        client.sessions.authenticate(session_token=token)
        assert [call.path for call in project.calls] == ["/v1/sessions/revoke"] * 3 + ["/v1/sessions/authenticate"]

    def test_throttled(self, project: StytchStandIn, client: stytch.Client) -> None:
        """429 says how long to wait."""
        project.throttle(12, times=2)
        refused(429, "too_many_requests", client.sessions.authenticate, session_token="x" * 44)
        answer = requests.post(f"{client.api_base.base_url}v1/sessions/authenticate", json={}, timeout=10)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "12")
        refused(404, "session_not_found", client.sessions.authenticate, session_token="x" * 44)

    def test_credentials_refused_by_mistake(self, project: StytchStandIn, client: stytch.Client) -> None:
        """A right secret may be refused; the session does not suffer."""
        token, _ = project.start_session(project.add_user())
        project.refuse_credentials(times=1)
        refused(401, "unauthorized_credentials", client.sessions.authenticate, session_token=token)
        client.sessions.authenticate(session_token=token)

    def test_garbage(self, project: StytchStandIn, client: stytch.Client) -> None:
        """A proxy's page or half an answer comes with 200."""
        for body in (b"<html>", b'{"status_code": 200', b"{}"):
            project.garble(body, times=1)
            with pytest.raises((StytchError, pydantic.ValidationError)):
                client.sessions.authenticate(session_token="x" * 44)

    def test_a_fault_of_one_call(self, project: StytchStandIn, client: stytch.Client) -> None:
        """A fault may concern the key set alone."""
        token, jwt = project.start_session(project.add_user())
        project.down(only="jwks")
        client.sessions.authenticate(session_token=token)
        with pytest.raises(pyjwt.PyJWKClientConnectionError):
            claims_of(project, jwt, client.api_base.base_url)

    def test_slow(self, project: StytchStandIn, client: stytch.Client) -> None:
        """What is asked is done although the answer comes too late."""
        token, _ = project.start_session(project.add_user())
        project.slow(30)
        with pytest.raises(requests.Timeout):
            requests.post(
                f"{client.api_base.base_url}v1/sessions/revoke",
                json={"session_token": token},
                auth=(project.project_id, project.secret),
                timeout=0.2,
            )
        assert not project.lives(token)
        project.recover()

    def test_a_clock_of_its_own(self, project: StytchStandIn, client: stytch.Client, clock: FakeClock) -> None:
        """Its clock may be ahead of the app's."""
        project.clock_offset = 30
        token, jwt = project.start_session(project.add_user(), 5)
        assert claims_of(project, jwt, client.api_base.base_url)["iat"] == clock() + 30
        project.clock_offset = -30
        clock.advance(320)
        assert project.lives(token)

    @pytest.mark.parametrize(
        ("body", "error_type"), [(b"[]", "invalid_argument"), (b"{", "invalid_argument"), (b"", "no_session_arguments")]
    )
    def test_a_malformed_body(
        self, project: StytchStandIn, client: stytch.Client, body: bytes, error_type: str
    ) -> None:
        """A body that is no JSON object is refused in the API's form."""
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(client.api_base.base_url).port, timeout=10)
        shown = b64encode(f"{project.project_id}:{project.secret}".encode()).decode()
        connection.request("POST", "/v1/sessions/authenticate", body, {"Authorization": f"Basic {shown}"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        connection.close()
        assert (answer.status, told["status_code"], told["error_type"]) == (400, 400, error_type)
        assert told["request_id"]

    def test_unknown_calls(self, project: StytchStandIn, client: stytch.Client) -> None:
        """Another project's key set and another route are not found."""
        base_url = client.api_base.base_url
        auth = (project.project_id, project.secret)
        other = requests.get(f"{base_url}v1/sessions/jwks/project-test-other", timeout=10)
        assert (other.status_code, other.json()["error_type"]) == (404, "project_not_found")
        nowhere = requests.get(f"{base_url}v2/sessions", auth=auth, timeout=10)
        assert (nowhere.status_code, nowhere.json()["error_type"]) == (404, "route_not_found")

    def test_an_rbac_check_is_refused(self, project: StytchStandIn, client: stytch.Client) -> None:
        """What it cannot check it does not grant."""
        token, _ = project.start_session(project.add_user())
        check = {"resource_id": "document", "action": "read"}
        ask = client.sessions.authenticate
        refused(400, "invalid_argument", ask, session_token=token, authorization_check=check)

    def test_secrets_stay_out_of_a_repr(self, project: StytchStandIn, client: stytch.Client) -> None:
        """Neither the stand-in nor a recorded call shows a token or the secret."""
        token, _ = project.start_session(project.add_user())
        client.sessions.authenticate(session_token=token)
        shown = repr(project) + repr(project.calls)
        assert project.calls[0].fields["session_token"] == token
        assert token not in shown
        assert project.secret not in shown

    def test_arranging_needs_a_session(self, project: StytchStandIn, clock: FakeClock) -> None:
        """An arrangement that names nothing is told, without the token."""
        with pytest.raises(ValueError, match="No session"):
            project.end_session("x" * 44)
        token, jwt = project.start_session(project.add_user())
        clock.advance(1)
        renewed = project.new_jwt(token)
        assert (renewed.token == token, renewed.jwt == jwt) == (True, False)
        project.end_session(token)
        assert not project.lives(token)
