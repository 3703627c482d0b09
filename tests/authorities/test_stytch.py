"""Sessions that stand on Stytch's: adopted once, both shown, ended together, and by proof only (L2, L3, L8, L24)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import httpx2
import pytest

from session_middleware.authorities.base import Attached, Shown, Vouch
from session_middleware.authorities.stytch import StytchAuthority
from session_middleware.core.record import SessionRecord
from session_middleware.core.tokens import derive
from session_middleware.runtime import LoopRuntime
from session_middleware.testing import AuthorityContract, FakeClock
from session_middleware.testing.reference_record import reference_record
from session_middleware.testing.scenarios.expect import served, unavailable
from session_middleware.testing.stage import KEY, TOKEN
from session_middleware.testing.stand_ins import served as serving
from session_middleware.testing.stand_ins.stytch import Credentials, StytchStandIn
from tests.authorities.stytch_shop import FEW, JWT_COOKIE, MODES, TOKEN_COOKIE, Shop, plant, set_by, shop_of, show


@pytest.fixture(params=MODES)
def everywhere(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with shop_of(request.param) as shop:
        yield shop


@pytest.fixture(params=FEW)
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with shop_of(request.param) as shop:
        yield shop


class TestContract(AuthorityContract):
    """StytchAuthority keeps the contract, by the session JWT while that suffices and by asking Stytch."""

    @pytest.fixture
    def stytch(self) -> Iterator[tuple[StytchStandIn, str]]:
        stytch = StytchStandIn(clock=FakeClock(reference_record(0).created_at))
        with serving(stytch) as base_url:
            yield stytch, base_url

    @pytest.fixture(params=[0.0, 60.0], ids=["asking", "by-jwt"])
    def authority(self, request: pytest.FixtureRequest, stytch: tuple[StytchStandIn, str]) -> StytchAuthority:
        # By JWT a session that was revoked is believed for a while, so there the one that is gone shows none.
        return StytchAuthority(stytch[0].project_id, stytch[0].secret, base_url=stytch[1], max_token_age=request.param)

    @pytest.fixture
    def held(self) -> dict[str, Credentials]:
        return {}

    @pytest.fixture
    def alive(self, stytch: tuple[StytchStandIn, str], held: dict[str, Credentials]) -> SessionRecord:
        return recorded(*stytch, held)

    @pytest.fixture
    def gone(self, stytch: tuple[StytchStandIn, str], held: dict[str, Credentials]) -> SessionRecord:
        record = recorded(*stytch, held)
        token = held[record.provider_session or ""].token
        stytch[0].end_session(token)
        held[record.provider_session or ""] = Credentials(token, "")
        return record

    @pytest.fixture
    def shows(self, held: dict[str, Credentials]) -> Callable[[SessionRecord], Shown]:
        def shown(record: SessionRecord) -> Shown:
            credentials = held[record.provider_session or ""]
            values = {TOKEN_COOKIE: credentials.token, JWT_COOKIE: credentials.jwt}
            return Shown({name: value for name, value in values.items() if value})

        return shown

    @pytest.fixture(params=[500, 503, None], ids=str)
    def cut_off(
        self, request: pytest.FixtureRequest, stytch: tuple[StytchStandIn, str], alive: SessionRecord
    ) -> StytchAuthority:
        stytch[0].down(request.param)  # once `alive` has been adopted
        return StytchAuthority(stytch[0].project_id, stytch[0].secret, base_url=stytch[1], verify_interval=0)


def recorded(stytch: StytchStandIn, base_url: str, held: dict[str, Credentials]) -> SessionRecord:
    """Return the record of a session that was adopted from Stytch."""
    credentials = stytch.start_session(stytch.add_user())
    vouch = asyncio.run(adopted(stytch, base_url, credentials))
    assert vouch.login is not None
    held[vouch.login.provider.id] = credentials
    return reference_record(0).evolve(
        subject=vouch.login.subject,
        authority="stytch",
        provider_session=vouch.login.provider.id,
        sealed=vouch.login.sealed,
        ceiling=vouch.login.provider.ceiling,
    )


async def adopted(stytch: StytchStandIn, base_url: str, credentials: Credentials) -> Vouch:
    authority = StytchAuthority(stytch.project_id, stytch.secret, base_url=base_url)
    clock = FakeClock(reference_record(0).created_at)
    authority.attach(Attached(LoopRuntime(), clock, lambda purpose: (derive(KEY.encode(), purpose),)))
    try:
        return await authority.adopt(Shown({TOKEN_COOKIE: credentials.token}), clock())
    finally:
        await authority.aclose()


class TestAdoption:
    """What Stytch's credential begins."""

    def test_a_stytch_session_begins_one_of_ours(self, everywhere: Shop) -> None:
        """One call adopts it, with Stytch's user, times, factors and claims; then its JWT suffices (L3, L24)."""
        user = everywhere.stytch.add_user("alice@example.com")
        held = everywhere.alice(user=user, claims={"plan": "free"}, factors=["password", "totp"], roles=["editor"])
        everywhere.clock.advance(30)
        browser = everywhere.browser(held)
        seen = served(browser.navigate("/me"))
        assert (seen["subject"], seen["claims"]) == (user, {"plan": "free", "roles": ["editor"]})
        assert seen["authenticated_at"] == everywhere.clock() - 30
        assert len(everywhere.asked()) == 1
        record = everywhere.records(user)[0]
        assert [factor["type"] for factor in record.factors] == ["password", "totp"]
        assert record.ceiling == everywhere.clock() - 30 + 3_600
        assert served(browser.navigate("/me"))["id"] == seen["id"]
        assert everywhere.asked() == []
        assert everywhere.stage.store.calls["create"] == 1

    def test_it_is_the_session_object_of_stytchs_page(self, shop: Shop) -> None:
        """`POST /session/refresh` answers with the fields that Stytch's own answer has, filled with what Stytch says."""
        held = shop.alice(claims={"plan": "free"})
        browser = shop.browser(held)
        served(browser.navigate("/me"))
        shop.stytch.calls.clear()
        session = browser.fetch("/session/refresh", "POST").json["session"]
        assert set(session) == {
            "attributes",
            "authentication_factors",
            "custom_claims",
            "expires_at",
            "last_accessed_at",
            "session_id",
            "started_at",
            "user_id",
        }
        project = (shop.stytch.project_id, shop.stytch.secret)
        query = {"user_id": session["user_id"]}
        [there] = httpx2.get(f"{shop.base_url}/v1/sessions", params=query, auth=project).json()["sessions"]
        named = ("authentication_factors", "custom_claims", "user_id")
        assert {name: session[name] for name in named} == {name: there[name] for name in named}
        assert session["started_at"][:19] == there["started_at"][:19]
        assert set(session["attributes"]) <= {"ip_address", "user_agent"}
        assert session["session_id"] != there["session_id"]  # ours: one Stytch session may have several in time

    @pytest.mark.parametrize("cookie", [TOKEN_COOKIE, JWT_COOKIE])
    def test_either_credential_alone_will_do(self, shop: Shop, cookie: str) -> None:
        """The token alone or the JWT alone proves; an expired JWT too, as long as the session lives."""
        held = shop.alice()
        shop.clock.advance(minutes=10)
        browser = shop.browser()
        plant(browser, **{cookie: held.token if cookie == TOKEN_COOKIE else held.jwt})
        served(browser.navigate("/me"))
        named = {TOKEN_COOKIE: "session_token", JWT_COOKIE: "session_jwt"}[cookie]
        assert [set(call.fields) for call in shop.asked()] == [{named}]
        assert JWT_COOKIE in browser.jar.names

    def test_nobody_is_adopted_from_a_dead_session(self, shop: Shop) -> None:
        """Revoked, run out or never there: to the login page, and not asked about at every request."""
        held = shop.alice(5)
        shop.clock.advance(minutes=5)
        browser = shop.browser(held)
        shop.asked()
        for _ in range(5):
            assert browser.navigate("/me").status == 303
        assert len(shop.asked()) == 1
        assert TOKEN not in browser.jar

    def test_the_lifetime_counts_from_the_beginning_there(self, shop: Shop) -> None:
        """A session that began at Stytch seven hours ago has one of eight hours left here (L3)."""
        held = shop.alice(527_040)
        shop.clock.advance(hours=7)
        browser = shop.browser(held)
        served(browser.navigate("/me"))
        for _ in range(5):
            shop.clock.advance(minutes=11)
            served(browser.navigate("/me"))
        shop.clock.advance(minutes=5)
        refused = browser.navigate("/me")
        assert (refused.status, "reason=lifetime" in (refused.header("Location") or "")) == (303, True)
        assert not shop.stytch.lives(held.token)

    def test_a_session_ends_with_stytchs(self, shop: Shop) -> None:
        """Stytch's expires_at bounds ours, 30 s early (L2)."""
        browser = shop.browser(shop.alice(10))
        served(browser.navigate("/me"))
        shop.clock.advance(569)
        served(browser.navigate("/me"))
        shop.clock.advance(1)
        assert browser.navigate("/me").status == 303

    def test_an_extension_elsewhere_is_followed(self, shop: Shop) -> None:
        """Where Stytch's own script has extended the session, ours lives on past the end that was recorded (L2)."""
        held = shop.alice(10)
        browser = shop.browser(held)
        served(browser.navigate("/me"))
        shop.stytch.extend_session(held.token, 60)
        show(browser, shop.stytch.new_jwt(held.token))
        for _ in range(3):
            shop.clock.advance(minutes=5)
            served(browser.navigate("/me"))

    def test_ours_alone_lets_nobody_in(self, shop: Shop) -> None:
        """Our token without Stytch's cookies is half a proof: refused, and nothing has ended (L24)."""
        browser = shop.browser(shop.alice())
        served(browser.navigate("/me"))
        thief = browser.twin()
        thief.jar.forget(TOKEN_COOKIE)
        thief.jar.forget(JWT_COOKIE)
        assert thief.fetch("/me").status == 401
        served(browser.navigate("/me"))

    def test_a_password_shown_once_more(self, shop: Shop) -> None:
        """A first factor that is shown again on the same Stytch session makes ours fresh; a second factor does not (L3)."""
        held = shop.alice()
        browser = shop.browser(held)
        served(browser.navigate("/me"))
        for factor, status in [("totp", 401), ("password", 200)]:
            shop.clock.advance(minutes=6)
            assert browser.fetch("/fresh").status == 401
            shop.stytch.add_factor(held.token, factor)
            show(browser, shop.stytch.new_jwt(held.token))
            assert browser.fetch("/fresh").status == status
        assert served(browser.navigate("/me"))["authenticated_at"] == shop.clock()

    def test_another_user_signs_in(self, shop: Shop) -> None:
        """Where the cookies name another user, our session ends and a new one begins with nothing carried over (L24)."""
        browser = shop.browser(shop.alice(claims={"plan": "free"}))
        before = served(browser.navigate("/me"))
        bob = shop.stytch.add_user("bob@example.com")
        show(browser, shop.stytch.start_session(bob))
        after = served(browser.navigate("/me"))
        assert (after["subject"], after["claims"]) == (bob, {})
        assert after["id"] != before["id"]
        assert shop.records(before["subject"]) == []


class TestEnds:
    """How both sessions end."""

    def test_a_logout_ends_both(self, everywhere: Shop) -> None:
        """A logout revokes Stytch's session, removes its cookies, and its JWT brings nobody back (L24, L26)."""
        held = everywhere.alice()
        browser = everywhere.browser(held)
        served(browser.navigate("/me"))
        left_behind = browser.twin()
        answer = browser.submit("/sign-out")
        assert answer.status == 200
        assert not everywhere.stytch.lives(held.token)
        assert not browser.jar.names & {TOKEN, TOKEN_COOKIE, JWT_COOKIE}
        assert left_behind.navigate("/me").status == 303
        left_behind.jar.forget(TOKEN)
        assert left_behind.navigate("/me").status == 303

    def test_my_other_sessions(self, shop: Shop) -> None:
        """Who ends their other sessions here ends them at Stytch too, and not the one in use."""
        user = shop.stytch.add_user("alice@example.com")
        phone, laptop = shop.alice(user=user), shop.alice(user=user)
        app = shop.app()
        here, there = shop.browser(laptop, app), shop.browser(phone, app)
        served(there.navigate("/me"))
        served(here.navigate("/me"))
        assert here.submit("/session/list/end-others").status in (200, 204, 303)
        assert (shop.stytch.lives(phone.token), shop.stytch.lives(laptop.token)) == (False, True)
        assert there.fetch("/me").status == 401
        served(here.navigate("/me"))

    @pytest.mark.parametrize("error", ["session_not_found", "invalid_session_id"])
    def test_an_end_of_what_is_not_there(self, shop: Shop, error: str) -> None:
        """That Stytch knows no such session is as good as its end, and is not told again and again."""
        browser = shop.browser(shop.alice())
        served(browser.navigate("/me"))
        status = 404 if error == "session_not_found" else 400
        shop.stytch.garble(b'{"error_type": "%s"}' % error.encode(), status=status, only="revoke")
        assert browser.submit("/sign-out").status == 200
        for _ in range(3):
            shop.clock.advance(10)
            browser.navigate("/about")
        assert len(shop.asked("revoke")) == 1

    def test_only_a_logout_removes_cookies(self, shop: Shop) -> None:
        """At a deadline Stytch's session is revoked, and no cookie touched: a login may have been made meanwhile (L26)."""
        held = shop.alice()
        browser = shop.browser(held)
        served(browser.navigate("/me"))
        shop.clock.advance(minutes=16)
        refused = browser.navigate("/me")
        assert (refused.status, refused.set_cookies) == (303, [])
        assert not shop.stytch.lives(held.token)

    def test_a_session_revoked_at_stytch(self, shop: Shop) -> None:
        """It is noticed once its JWT is no longer believed, and ends ours for good."""
        held = shop.alice()
        browser = shop.browser(held)
        served(browser.navigate("/me"))
        shop.stytch.end_session(held.token)
        shop.clock.advance(59)
        served(browser.navigate("/me"))
        shop.clock.advance(61)
        assert browser.fetch("/me").json["reason"] == "signed_out"
        ended = [event for event in shop.stage.events if event.name == "session_ended"]
        assert [event.detail["reason"] for event in ended] == ["authority"]
        assert browser.fetch("/me").status == 401

    def test_revoking_at_once(self, shop: Shop) -> None:
        """With max_token_age=0 and verify_interval=0 the next request notices."""
        held = shop.alice()
        browser = shop.browser(held, max_token_age=0, verify_interval=0)
        served(browser.navigate("/me"))
        shop.stytch.end_session(held.token)
        assert browser.fetch("/me").json["reason"] == "signed_out"

    def test_another_dead_token_ends_nothing(self, shop: Shop) -> None:
        """That some token is unknown proves nothing about a session that stands on another one (L24)."""
        held = shop.alice()
        browser = shop.browser(held, max_token_age=0, verify_interval=0)
        served(browser.navigate("/me"))
        plant(browser, **{TOKEN_COOKIE: "x" * 44})
        assert browser.fetch("/me").status == 401
        show(browser, held)
        served(browser.navigate("/me"))

    def test_a_jwt_alone_proves_an_end(self, shop: Shop) -> None:
        """A browser that holds the JWT alone: Stytch's word about the session in it counts."""
        held = shop.alice()
        browser = shop.browser(max_token_age=0, verify_interval=0, set_cookies=False)
        plant(browser, **{JWT_COOKIE: held.jwt})
        served(browser.navigate("/me"))
        shop.stytch.end_session(held.token)
        assert browser.fetch("/me").status == 401
        assert "session_ended" in shop.stage.event_names()

    def test_the_apps_own_login_is_left_alone(self, shop: Shop) -> None:
        """A session that the app's own login made is not asked about, and nothing is revoked with it."""
        browser = shop.stage.signed_in("carol", shop.app())
        served(browser.navigate("/me"))
        assert browser.submit("/sign-out").status == 200
        assert shop.stytch.calls == []

    def test_an_end_that_stytch_missed(self, shop: Shop) -> None:
        """A logout while Stytch is down stands here at once, and is told there when it answers again."""
        held = shop.alice()
        browser = shop.browser(held)
        served(browser.navigate("/me"))
        shop.stytch.down(503)
        assert browser.submit("/sign-out").status == 200
        assert shop.stytch.lives(held.token)
        shop.stytch.recover()
        shop.clock.advance(10)
        browser.navigate("/about")
        assert not shop.stytch.lives(held.token)

    def test_nobody_new_while_stytch_is_down(self, shop: Shop) -> None:
        """Who shows a credential is told 503 by an outage, not sent to sign in (L17)."""
        browser = shop.browser(shop.alice())
        shop.stytch.down(503)
        unavailable(browser.navigate("/me"))
        shop.stytch.recover()
        served(browser.navigate("/me"))


def test_set_by_reads_lines() -> None:
    """The helper that the suites read cookies with reads them."""
    assert set_by(["a=b; Path=/", "c="]) == {"a": "b; Path=/", "c": ""}
