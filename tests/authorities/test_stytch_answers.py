"""What Stytch says of a session, whole, old or broken, as it is read."""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.parse import quote

import pytest

from session_middleware.authorities.calls import ProviderFault
from session_middleware.authorities.stytch import StytchAuthority
from session_middleware.authorities.stytch.session import B2B, CONSUMER, StytchSession
from session_middleware.errors import SettingsError
from session_middleware.runtime import run_sync
from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stage import JWT
from tests.authorities.stytch_shop import TOKEN_COOKIE, plant, shop_of, show

#: The session of the vendor's page on refreshing one, without its factor and claims.
SESSION: dict[str, Any] = {
    "session_id": "session-test-fe6c042b-6286-479f-8a4f-b046a6c46509",
    "user_id": "user-test-16d9ba61-97a1-4ba4-9720-b03761dc50c6",
    "started_at": "2021-08-09T07:41:52Z",
    "last_accessed_at": "2021-08-09T07:41:52Z",
    "expires_at": "2021-08-10T07:41:52Z",
    "attributes": {"ip_address": "203.0.113.1", "user_agent": "Mozilla/5.0"},
    "authentication_factors": [],
    "custom_claims": {"claim1": "value1"},
}


def read(**changes: Any) -> StytchSession | None:
    return StytchSession.from_api(CONSUMER, {**SESSION, **changes})


class TestReading:
    """One answer."""

    def test_a_whole_one(self) -> None:
        """All that is documented is read; what is optional may be missing."""
        session = read()
        assert session is not None
        assert (session.id, session.subject) == (SESSION["session_id"], SESSION["user_id"])
        assert (session.started_at, session.expires_at) == (1_628_494_912.0, 1_628_581_312.0)
        assert session.claims == {"claim1": "value1", "roles": None}
        bare = {name: SESSION[name] for name in ("session_id", "user_id", "started_at", "expires_at")}
        assert StytchSession.from_api(CONSUMER, bare) is not None

    def test_nanoseconds_and_other_zones(self) -> None:
        """A time is read down to the second, whatever its digits and its zone; both forms of one session are equal."""
        for text in (
            "2021-08-09T07:41:52.935673870Z",
            "2021-08-09T09:41:52.999999999+02:00",
            "2021-08-09T07:41:52+00:00",
        ):
            session = read(started_at=text)
            assert session is not None
            assert session.started_at == 1_628_494_912.0

    @pytest.mark.parametrize("name", ["session_id", "user_id"])
    @pytest.mark.parametrize("value", [None, "", 7, [], {}], ids=repr)
    def test_without_an_id_or_a_user_it_is_none(self, name: str, value: Any) -> None:
        """Whose session it is must be said, as text."""
        assert read(**{name: value}) is None

    @pytest.mark.parametrize("name", ["started_at", "expires_at"])
    @pytest.mark.parametrize("value", [None, "", 7, [], {}, "yesterday", "2021-08-09T07:41:52", "2021" * 20], ids=repr)
    def test_without_its_times_it_is_none(self, name: str, value: Any) -> None:
        """Two times with a zone are needed; nothing is guessed."""
        assert read(**{name: value}) is None

    @pytest.mark.parametrize("value", [None, "x", 7, [None, "x", 7], {}], ids=repr)
    def test_odd_optional_members(self, value: Any) -> None:
        """A member of another type than documented counts as missing, and does not make a good session bad."""
        for name in ("authentication_factors", "custom_claims", "roles", "attributes"):
            session = read(**{name: value})
            assert session is not None
            assert session.factors == ()

    @pytest.mark.parametrize("value", [None, [], "x", 7])
    def test_what_is_no_object(self, value: Any) -> None:
        """Neither an answer nor a JWT holds a session then."""
        assert StytchSession.from_api(CONSUMER, value) is None
        assert StytchSession.from_claims(CONSUMER, {"https://stytch.com/session": value, "sub": "u"}) is None

    def test_a_member_without_an_organization(self) -> None:
        """A B2B session that names no organization is none."""
        member = {**SESSION, "member_session_id": "s", "member_id": "m"}
        assert StytchSession.from_api(B2B, member) is None
        assert StytchSession.from_api(B2B, {**member, "organization_id": "o"}) is not None
        claims = {"https://stytch.com/session": {**SESSION, "id": "s"}, "sub": "m"}
        assert StytchSession.from_claims(B2B, claims) is None
        named = {**claims, "https://stytch.com/organization": {"organization_id": "o", "slug": 7}}
        session = StytchSession.from_claims(B2B, named)
        assert session is not None
        assert session.claims == {"roles": None, "organization_id": "o", "organization_slug": None}

    def test_factors_of_tomorrow(self) -> None:
        """A type of factor that nobody knows yet is kept, and proves nothing alone."""
        factor = {"type": "palm", "last_authenticated_at": "2021-08-09T08:00:00Z"}
        session = read(authentication_factors=[factor])
        assert session is not None
        assert (session.factors, session.proven_at) == ((factor,), session.started_at)

    @pytest.mark.parametrize(("kind", "counts"), [("password", True), ("totp", False), ("impersonated", False)])
    def test_when_the_user_proved_who_they_are(self, kind: str, counts: bool) -> None:
        """At the beginning, or with a first factor later (L3)."""
        factors = [{"type": kind, "last_authenticated_at": "2021-08-09T08:00:00Z"}, {"type": "otp"}]
        session = read(authentication_factors=factors)
        assert session is not None
        assert session.proven_at == (1_628_496_000.0 if counts else session.started_at)


class TestOddProjects:
    """Answers of a whole project."""

    @pytest.mark.parametrize("mode", ["asgi", "wsgi"])
    def test_old_jwts(self, mode: str) -> None:
        """A JWT that does not say when its session ends is believed like any other; its end is not guessed."""
        with shop_of(mode, old_jwts=True) as shop:
            browser = shop.browser(shop.alice(30))
            seen = served(browser.navigate("/me"))
            shop.asked()
            shop.clock.advance(30)
            assert served(browser.navigate("/me"))["id"] == seen["id"]
            assert shop.asked() == []
            assert shop.records(seen["subject"])[0].ceiling == shop.clock() - 30 + 1_800

    @pytest.mark.parametrize(
        "body",
        [b"{}", b'{"sessions": {}}', b'{"sessions": [{}]}', b'{"sessions": [null]}'],
    )
    def test_a_list_that_is_none(self, body: bytes) -> None:
        """A list that lacks what is documented is a fault, not an empty list."""
        with shop_of("wsgi") as shop:
            authority = shop.authority()
            shop.stage.app(authority=authority)
            shop.stytch.garble(body)
            with pytest.raises(ProviderFault) as told:
                run_sync(authority.list("user-test-1", shop.clock()))
            assert told.value.kind == "garbage"

    def test_a_member_of_nowhere(self) -> None:
        """A member without an organization is a fault; nobody is taken for unknown by it."""
        with shop_of("wsgi", b2b=True) as shop:
            authority = shop.authority()
            shop.stage.app(authority=authority)
            shop.stytch.garble(b'{"member": {}}')
            with pytest.raises(ProviderFault):
                run_sync(authority.list("member-test-1", shop.clock()))

    @pytest.mark.parametrize("kind", ["asgi", "wsgi"])
    def test_an_exchange_of_nobodys_token(self, kind: str) -> None:
        """A member whose session has just been revoked elsewhere begins none in another organization."""
        with shop_of(kind, b2b=True) as shop:
            acme, globex = shop.stytch.add_organization("acme"), shop.stytch.add_organization("globex")
            alice = shop.stytch.add_member(acme, "alice@example.com")
            shop.stytch.add_member(globex, "alice@example.com")
            held = shop.stytch.start_session(alice)
            browser = shop.browser(held)
            served(browser.navigate("/me"))
            shop.stytch.end_session(held.token)
            assert browser.submit("/session/organization", b"organization_id=globex").status == 403

    def test_the_apps_own_login_on_a_stytch_session(self) -> None:
        """A callback view that calls login(provider=...) itself: vouched for, extended and ended as if it were adopted."""
        with shop_of("wsgi") as shop:
            held = shop.alice()
            browser = shop.browser(max_token_age=0, verify_interval=0, session_duration_minutes=60)
            provider = {
                "id": shop.stytch.id_of(held.token),
                "authenticated_at": shop.clock(),
                "ends_at": shop.clock() + 3_600,
                "authority": "stytch",
            }
            answer = browser.submit(f"/login?subject={shop.stytch.user_of(held.token)}&provider={_json(provider)}")
            assert answer.status == 200
            assert JWT in browser.jar
            show(browser, held)
            seen = served(browser.navigate("/me"))
            shop.clock.advance(minutes=10)
            assert served(browser.navigate("/me"))["id"] == seen["id"]
            assert [call.fields.get("session_duration_minutes") for call in shop.asked()] == [None, None, 60]
            shop.stytch.end_session(held.token)
            assert browser.fetch("/me").status == 401
            assert "session_ended" in shop.stage.event_names()

    def test_the_apps_own_login_beside_a_token_alone(self) -> None:
        """Without a JWT nobody knows whose a dead token was: refused, and nothing ends."""
        with shop_of("wsgi") as shop:
            held = shop.alice()
            browser = shop.browser(max_token_age=0, verify_interval=0)
            provider = {"id": shop.stytch.id_of(held.token), "authenticated_at": shop.clock(), "authority": "stytch"}
            browser.submit(f"/login?subject={shop.stytch.user_of(held.token)}&provider={_json(provider)}")
            plant(browser, **{TOKEN_COOKIE: "t" * 44})
            assert browser.fetch("/me").status == 401
            show(browser, held)
            served(browser.navigate("/me"))


def _json(value: Any) -> str:
    return quote(json.dumps(value))


def test_without_joserfc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is named at start-up, not by the first request."""
    monkeypatch.setitem(sys.modules, "joserfc.jwk", None)
    with pytest.raises(SettingsError, match=r"session-middleware\[stytch\]"):
        StytchAuthority("project-test-1", "secret")


def test_nothing_shows_a_secret() -> None:
    """The authority, its calls and its options print without the project's secret."""
    authority = StytchAuthority("project-test-1", "s3cret-value")
    with shop_of("wsgi") as shop:
        made = shop.authority()
        shop.stage.app(authority=made)
        shown = repr(authority) + repr(authority._options) + repr(made._api) + repr(shop.stytch)
        assert "s3cret-value" not in shown
        assert shop.stytch.secret not in shown
        assert made._options.basic not in shown
