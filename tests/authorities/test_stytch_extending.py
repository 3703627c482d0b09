"""Stytch's session is extended with ours, throttled, with claims, and its new JWT goes out with the response (L2, L4, L7)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from session_middleware.testing.browser import Answer
from session_middleware.testing.scenarios.expect import served, state, unavailable
from session_middleware.testing.stage import JWT, TOKEN
from session_middleware.testing.stand_ins.stytch import Call
from tests.authorities.stytch_shop import FEW, JWT_COOKIE, TOKEN_COOKIE, Shop, plant, set_by, shop_of


@pytest.fixture(params=FEW)
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with shop_of(request.param) as shop:
        yield shop


def extensions(calls: list[Call]) -> list[int]:
    """Return by how many minutes each call has extended."""
    return [call.fields["session_duration_minutes"] for call in calls if "session_duration_minutes" in call.fields]


def stytchs(answer: Answer) -> dict[str, str]:
    """Return the cookies of Stytch's that a response sets."""
    return {name: value for name, value in set_by(answer.set_cookies).items() if name.startswith("stytch")}


class TestActivity:
    """What activity does."""

    def test_by_default_it_leaves_stytchs_end_alone(self, shop: Shop) -> None:
        """Without session_duration_minutes no call has a duration, and the session ends as Stytch's login said (L4)."""
        browser = shop.browser(shop.alice(30))
        for _ in range(5):
            served(browser.navigate("/me"))
            shop.clock.advance(minutes=5)
        assert extensions(shop.asked()) == []
        shop.clock.advance(minutes=4.6)
        assert browser.navigate("/me").status == 303

    def test_it_extends_no_oftener_than_the_interval(self, shop: Shop) -> None:
        """A request every minute for two hours extends a 60-minute session once in ten minutes, and it lives."""
        held = shop.alice(60)
        browser = shop.browser(held, session_duration_minutes=60)
        for _ in range(120):
            served(browser.navigate("/me"))
            shop.clock.advance(60)
        assert extensions(shop.asked()) == [60] * 11
        assert shop.stytch.lives(held.token)

    def test_what_is_no_activity_extends_nothing(self, shop: Shop) -> None:
        """Polls and prefetches leave Stytch's end where it is (L6)."""
        browser = shop.browser(shop.alice(60), session_duration_minutes=60)
        served(browser.navigate("/me"))
        shop.asked()
        shop.clock.advance(minutes=11)
        state(browser)
        browser.prefetch("/me")
        assert extensions(shop.asked()) == []
        served(browser.navigate("/me"))
        assert extensions(shop.asked()) == [60]

    def test_it_never_shortens(self, shop: Shop) -> None:
        """A session that Stytch's login gave a month is not cut to an hour by activity."""
        browser = shop.browser(shop.alice(43_200), session_duration_minutes=60)
        for _ in range(4):
            served(browser.navigate("/me"))
            shop.clock.advance(minutes=14)
        assert extensions(shop.asked()) == []

    def test_not_far_beyond_our_own_end(self, shop: Shop) -> None:
        """Where our absolute lifetime is near, Stytch's session is not made to outlive it by an hour (L3)."""
        held = shop.alice(60)
        browser = shop.browser(held, session_duration_minutes=60, settings={"absolute_lifetime": 5_400})
        for _ in range(26):
            served(browser.navigate("/me"))
            shop.clock.advance(200)
        seen = served(browser.navigate("/me"))
        assert extensions(shop.asked()) == [60, 60, 60, 58]
        record = shop.records(seen["subject"])[0]
        assert record.ceiling is not None
        assert 5_430 <= record.ceiling - record.authenticated_at <= 5_490
        shop.clock.advance(199)
        served(browser.navigate("/me"))
        shop.clock.advance(1)
        assert "reason=lifetime" in (browser.navigate("/me").header("Location") or "")

    def test_the_cookies_live_as_long_as_the_session(self, shop: Shop) -> None:
        """An extension writes both cookies anew, with the new end and a new JWT, as Stytch's script does."""
        held = shop.alice(60)
        browser = shop.browser(held, session_duration_minutes=60)
        served(browser.navigate("/me"))
        shop.clock.advance(minutes=10)
        answer = browser.navigate("/me")
        lines = stytchs(answer)
        assert lines[TOKEN_COOKIE] == (
            f"{held.token}; Expires=Fri, 15 Jan 2027 09:10:00 GMT; Path=/; Secure; SameSite=Lax"
        )
        jwt, _, attributes = lines[JWT_COOKIE].partition("; ")
        assert attributes == "Expires=Fri, 15 Jan 2027 09:10:00 GMT; Path=/; Secure; SameSite=Lax"
        assert jwt not in (held.jwt, "")
        assert (browser.jar[TOKEN_COOKIE], browser.jar[JWT_COOKIE]) == (held.token, jwt)

    def test_claims_of_ours_at_stytch(self, shop: Shop) -> None:
        """Named claims go along with each extension, so that they are in Stytch's JWT; a removed one is deleted there."""
        browser = shop.browser(shop.alice(60), session_duration_minutes=60, custom_claims=["plan", "theme"])
        served(browser.navigate("/me"))
        assert browser.submit('/claims?set={"plan":"pro","secret":"ours"}').status == 200
        shop.clock.advance(minutes=10)
        served(browser.navigate("/me"))
        sent = [call.fields["session_custom_claims"] for call in shop.asked() if "session_custom_claims" in call.fields]
        assert sent == [{"plan": "pro", "theme": None}]
        other = shop.browser()
        plant(other, **{TOKEN_COOKIE: browser.jar[TOKEN_COOKIE]})
        assert served(other.navigate("/me"))["claims"]["plan"] == "pro"

    def test_claims_that_stytch_refuses_are_the_operators(self, shop: Shop) -> None:
        """More than 4 KB: nobody is logged out, and the log says whose fault it is (L17)."""
        browser = shop.browser(shop.alice(60), session_duration_minutes=60, custom_claims=["plan"])
        served(browser.navigate("/me"))
        assert browser.submit(f'/claims?set={{"plan":"{"x" * 4_100}"}}').status == 200
        shop.clock.advance(minutes=10)
        served(browser.navigate("/me"))
        faults = [event.detail["fault"] for event in shop.stage.events if event.name == "authority_fault"]
        assert faults == ["refused"]


class TestOnRequest:
    """`session.extend(minutes)` and `POST continue`."""

    def test_ours_has_exactly_so_many_minutes(self, shop: Shop) -> None:
        """extend(60) has Stytch's session live a little longer, for ours ends 30 s before it (L2, L7)."""
        browser = shop.browser(shop.alice(20))
        served(browser.navigate("/me"))
        shop.asked()
        assert browser.submit("/extend?minutes=60").status == 200
        assert extensions(shop.asked()) == [61]
        record = shop.records(served(browser.navigate("/me"))["subject"])[0]
        assert record.ceiling == shop.clock() + 3_660
        assert record.inactivity_deadline == shop.clock() + 3_600

    def test_stytchs_is_never_shortened(self, shop: Shop) -> None:
        """extend(5) shortens ours alone, so that later activity may raise it again; Stytch is asked all the same (L7)."""
        browser = shop.browser(shop.alice(60))
        served(browser.navigate("/me"))
        shop.asked()
        assert browser.submit("/extend?minutes=5").status == 200
        calls = shop.asked()
        assert (len(calls), extensions(calls)) == (1, [])
        record = shop.records(state(browser)["subject"])[0]
        assert record.ceiling == shop.clock() + 3_600
        assert record.inactivity_deadline == shop.clock() + 300
        shop.clock.advance(60)
        assert shop.records(served(browser.navigate("/me"))["subject"])[0].inactivity_deadline == shop.clock() + 945

    def test_the_longest(self, shop: Shop) -> None:
        """Stytch takes 366 days and not a minute more."""
        browser = shop.browser(shop.alice(60), settings={"absolute_lifetime": 400 * 86_400})
        served(browser.navigate("/me"))
        shop.asked()
        assert browser.submit("/extend?minutes=527040").status == 200
        assert extensions(shop.asked()) == [527_040]

    def test_a_button_does_not_shorten_either(self, shop: Shop) -> None:
        """A session that Stytch's login gave a month keeps it when the user continues."""
        browser = shop.browser(shop.alice(43_200), session_duration_minutes=60, settings={"absolute_lifetime": None})
        served(browser.navigate("/me"))
        shop.asked()
        assert browser.fetch("/session/continue", "POST").status == 200
        assert extensions(shop.asked()) == []

    def test_continue_extends_by_what_is_configured(self, shop: Shop) -> None:
        """The button of a warning extends Stytch's session by session_duration_minutes, not by our window."""
        browser = shop.browser(shop.alice(60), session_duration_minutes=60)
        served(browser.navigate("/me"))
        shop.clock.advance(minutes=14)
        shop.asked()
        assert browser.fetch("/session/continue", "POST").status == 200
        assert extensions(shop.asked()) == [60]

    def test_continue_without_a_duration_is_ours_alone(self, shop: Shop) -> None:
        """Where Stytch's end is left alone, continuing moves our deadline and asks nobody."""
        browser = shop.browser(shop.alice(60), max_token_age=300)
        served(browser.navigate("/me"))
        shop.clock.advance(minutes=4)
        shop.asked()
        assert browser.fetch("/session/continue", "POST").status == 200
        assert shop.asked() == []

    def test_what_has_ended_there_is_not_extended(self, shop: Shop) -> None:
        """A session that was revoked at Stytch ends here when it is to be extended (L7)."""
        held = shop.alice(60)
        browser = shop.browser(held)
        served(browser.navigate("/me"))
        shop.stytch.end_session(held.token)
        assert browser.submit("/extend?minutes=30").status >= 400
        assert browser.fetch("/me").status == 401
        assert shop.records("anybody") == []

    def test_a_token_that_a_login_has_just_set(self, shop: Shop) -> None:
        """An app that signs somebody in may set the token alone: the JWT of the session before does not hold on to it."""
        bob = shop.stytch.add_user("bob@example.com")
        browser = shop.browser(shop.alice(60))
        served(browser.navigate("/me"))
        plant(browser, **{TOKEN_COOKIE: shop.stytch.start_session(bob, 20).token})
        assert served(browser.navigate("/me"))["subject"] == bob


class TestRotation:
    """The new JWT that each answer of Stytch's has."""

    def test_it_goes_out_with_the_response(self, shop: Shop) -> None:
        """A JWT that is no longer believed is replaced in the browser, and the next requests need no call."""
        held = shop.alice(60)
        browser = shop.browser(held)
        served(browser.navigate("/me"))
        shop.clock.advance(121)
        shop.asked()
        answer = browser.navigate("/me")
        assert set(stytchs(answer)) == {TOKEN_COOKIE, JWT_COOKIE}
        assert answer.header("Cache-Control") == "private, no-store"
        assert len(shop.asked()) == 1
        for _ in range(5):
            shop.clock.advance(10)
            assert stytchs(browser.navigate("/me")) == {}
        assert shop.asked() == []

    def test_a_token_that_was_not_shown_is_not_given_away(self, shop: Shop) -> None:
        """Who holds a JWT gets a new JWT and never the session token, which lives longer."""
        held = shop.alice(60)
        browser = shop.browser()
        plant(browser, **{JWT_COOKIE: held.jwt})
        assert set(stytchs(browser.navigate("/me"))) == {JWT_COOKIE}

    def test_one_that_no_cookie_holds_is_left_out(self, shop: Shop) -> None:
        """4 KB of custom claims make a JWT that browsers drop; the token suffices then."""
        held = shop.alice(60, claims={"much": "x" * 4_000})
        browser = shop.browser()
        plant(browser, **{TOKEN_COOKIE: held.token})
        assert set(stytchs(browser.navigate("/me"))) == {TOKEN_COOKIE}
        served(browser.navigate("/me"))

    def test_names_domain_and_visibility(self, shop: Shop) -> None:
        """The cookies are written as they are configured."""
        held = shop.alice(60)
        browser = shop.browser(
            token_cookie="my_token", jwt_cookie="my_jwt", cookie_domain="app.example", cookie_http_only=True
        )
        plant(browser, my_token=held.token)
        lines = set_by(browser.navigate("/me").set_cookies)
        assert set(lines) == {TOKEN, JWT, "my_token", "my_jwt"}
        for name in ("my_token", "my_jwt"):
            assert lines[name].endswith("; Path=/; Domain=app.example; Secure; HttpOnly; SameSite=Lax")

    def test_none_are_written_where_something_else_does(self, shop: Shop) -> None:
        """With set_cookies=False Stytch's cookies are read only, at the logout too."""
        held = shop.alice(60)
        browser = shop.browser(held, set_cookies=False)
        served(browser.navigate("/me"))
        shop.clock.advance(150)
        served(browser.navigate("/me"))
        assert browser.submit("/sign-out").status == 200
        assert all(not stytchs(answer) for answer in browser.answers)
        assert not shop.stytch.lives(held.token)


def test_an_extension_during_an_outage(shop: Shop) -> None:
    """Activity is served while Stytch is down and its JWT is believed; the extension comes when it is back (L17)."""
    browser = shop.browser(shop.alice(60), session_duration_minutes=60, max_token_age=300, verify_interval=300)
    served(browser.navigate("/me"))
    shop.clock.advance(minutes=4.5)
    served(browser.navigate("/me"))
    shop.clock.advance(minutes=6)
    shop.stytch.down(503)
    unavailable(browser.navigate("/me"))
    shop.stytch.recover()
    shop.clock.advance(6)
    served(browser.navigate("/me"))
    assert extensions(shop.asked()) == [60]
