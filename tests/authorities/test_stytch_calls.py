"""How often Stytch is asked, and what users notice while it cannot answer: nothing that lasts (L8, L17)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from session_middleware.testing.scenarios.expect import served, unavailable
from session_middleware.testing.stand_ins.stytch import StytchStandIn
from tests.authorities.stytch_shop import FEW, JWT_COOKIE, Shop, shop_of, show
from tests.modes.asgi_mode import ASGIDriver

pytestmark = pytest.mark.slow


@pytest.fixture(params=FEW)
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with shop_of(request.param) as shop:
        yield shop


class TestCounts:
    """How often Stytch is asked."""

    def test_a_thousand_requests_in_five_minutes(self, shop: Shop) -> None:
        """One call for each time that the JWT has grown too old, and one fetch of the keys."""
        browser = shop.browser(shop.alice())
        for _ in range(1_000):
            assert browser.navigate("/me").status == 200
            shop.clock.advance(0.3)
        assert len(shop.stytch.calls_of("jwks")) == 1
        assert len(shop.asked("authenticate")) <= 1 + 300 // 60

    def test_with_answers_that_hold_for_a_minute_alone(self, shop: Shop) -> None:
        """Without trust in the JWT: one call in each verify_interval."""
        browser = shop.browser(shop.alice(), max_token_age=0, set_cookies=False)
        for _ in range(1_000):
            assert browser.navigate("/me").status == 200
            shop.clock.advance(0.3)
        assert len(shop.asked("authenticate")) == 1 + (300 - 1) // 60

    def test_none_while_the_jwt_suffices(self, shop: Shop) -> None:
        """Where Stytch's script renews the JWT every three minutes, a JWT that is believed for five costs no call."""
        held = shop.alice()
        browser = shop.browser(held, max_token_age=300)
        served(browser.navigate("/me"))
        shop.asked()
        for _ in range(10):
            for _ in range(10):
                shop.clock.advance(18)
                assert browser.navigate("/me").status == 200
            show(browser, shop.stytch.new_jwt(held.token))
        assert shop.stytch.calls == []

    def test_a_browser_that_takes_no_cookies_of_stytchs(self, shop: Shop) -> None:
        """A client that keeps showing its old JWT costs one call an interval all the same."""
        held = shop.alice()
        browser = shop.browser(held)
        served(browser.navigate("/me"))
        shop.clock.advance(300)
        shop.asked()
        for _ in range(100):
            show(browser, held)
            assert browser.navigate("/me").status == 200
            shop.clock.advance(0.5)
        assert len(shop.asked()) == 1

    def test_an_hour_of_silence_costs_nothing(self, shop: Shop) -> None:
        """Nobody is asked about a session that nobody uses."""
        browser = shop.browser(shop.alice(120), settings={"inactivity_timeout": 7_200})
        served(browser.navigate("/me"))
        shop.asked()
        shop.clock.advance(hours=1)
        assert shop.stytch.calls == []
        served(browser.navigate("/me"))
        assert len(shop.asked()) == 1


def test_fifty_threads_at_the_moment_of_renewal() -> None:
    """Fifty requests at once with a JWT that has grown too old are one call, and each is served."""
    with shop_of("wsgi") as shop:
        browser = shop.browser(shop.alice())
        served(browser.navigate("/me"))
        shop.clock.advance(150)
        shop.asked()
        shop.stytch.slow(0.5, times=1)
        tabs = [browser.twin() for _ in range(50)]
        together = threading.Barrier(50)

        def ask(n: int) -> int:
            together.wait(20)
            return tabs[n].navigate("/me").status

        with ThreadPoolExecutor(50) as pool:
            statuses = list(pool.map(ask, range(50)))
        assert statuses == [200] * 50
        assert len(shop.asked()) == 1
        assert len({tab.jar[JWT_COOKIE] for tab in tabs}) == 1


def test_fifty_tasks_at_the_moment_of_renewal() -> None:
    """The same on an event loop."""
    with shop_of("asgi") as shop:
        browser = shop.browser(shop.alice())
        served(browser.navigate("/me"))
        shop.clock.advance(150)
        shop.asked()
        shop.stytch.slow(0.5, times=1)
        driver = browser.driver
        cookie = browser.jar.header_for(browser.origin, "/me")
        headers = [("host", "app.example"), ("cookie", cookie), ("sec-fetch-mode", "navigate")]
        assert isinstance(driver, ASGIDriver)
        answers = driver.requests([("GET", "/me", headers, b"")] * 50)
        assert [answer.status for answer in answers] == [200] * 50
        assert len(shop.asked()) == 1


FAULTS: dict[str, Callable[[StytchStandIn], None]] = {
    "slow": lambda stytch: stytch.slow(30),
    "500": lambda stytch: stytch.down(500),
    "503": lambda stytch: stytch.down(503),
    "hung up": lambda stytch: stytch.down(None),
    "429": lambda stytch: stytch.throttle(7),
    "429 without a time": lambda stytch: stytch.throttle(None),
    "401 by mistake": lambda stytch: stytch.refuse_credentials(),
    "a page": lambda stytch: stytch.garble(),
    "half an answer": lambda stytch: stytch.garble(b'{"status_code": 200, "session'),
    "an empty object": lambda stytch: stytch.garble(b"{}"),
    "a list": lambda stytch: stytch.garble(b"[]"),
    "a session without a user": lambda stytch: stytch.garble(b'{"session": {"session_id": "x"}}'),
    "a redirect": lambda stytch: stytch.garble(b"<a href=/>", status=302),
    "a page of 404": lambda stytch: stytch.garble(b"<h1>Not found</h1>", status=404),
    "404 of another kind": lambda stytch: stytch.garble(b'{"error_type": "route_not_found"}', status=404),
    "session_not_found with 400": lambda stytch: stytch.garble(b'{"error_type": "session_not_found"}', status=400),
    "403": lambda stytch: stytch.garble(b'{"error_type": "session_authorization_error"}', status=403),
    "an error of tomorrow": lambda stytch: stytch.garble(b'{"error_type": "teapot"}', status=418),
}

KINDS = {
    "slow": "timeout",
    "500": "outage",
    "503": "outage",
    "hung up": "connection",
    "429": "throttled",
    "429 without a time": "throttled",
    "401 by mistake": "credentials",
    "404 of another kind": "refused",
    "session_not_found with 400": "refused",
    "403": "refused",
    "an error of tomorrow": "refused",
}


class TestFaults:
    """What users notice."""

    @pytest.mark.parametrize("fault", FAULTS)
    def test_nobody_is_logged_out(self, shop: Shop, fault: str) -> None:
        """503 while Stytch must be asked and cannot be, the fault is told by its kind, and all goes on afterwards."""
        held = shop.alice()
        browser = shop.browser(held, timeout=1.0)
        before = served(browser.navigate("/me"))
        cookies = browser.jar.names
        shop.clock.advance(150)
        FAULTS[fault](shop.stytch)
        for _ in range(2):
            unavailable(browser.navigate("/me"))
        told = [event.detail["fault"] for event in shop.stage.events if event.name == "authority_fault"]
        assert told[0] == KINDS.get(fault, "garbage")
        assert shop.records(before["subject"])
        assert browser.jar.names == cookies
        shop.stytch.recover()
        shop.clock.advance(10)
        assert served(browser.navigate("/me"))["id"] == before["id"]
        assert shop.stytch.lives(held.token)

    @pytest.mark.parametrize("fault", ["slow", "503", "hung up", "429", "401 by mistake", "a page"])
    def test_the_jwt_goes_on_serving(self, shop: Shop, fault: str) -> None:
        """While its JWT is believed a session needs no Stytch, so a short outage is not noticed."""
        browser = shop.browser(shop.alice(), timeout=1.0)
        served(browser.navigate("/me"))
        FAULTS[fault](shop.stytch)
        for _ in range(5):
            shop.clock.advance(11)
            served(browser.navigate("/me"))

    def test_retry_after_is_kept(self, shop: Shop) -> None:
        """Who is told to wait 7 s does not ask before they have passed."""
        browser = shop.browser(shop.alice())
        served(browser.navigate("/me"))
        shop.clock.advance(150)
        shop.stytch.throttle(7, times=1)
        shop.asked()
        for _ in range(6):
            unavailable(browser.navigate("/me"))
            shop.clock.advance(1)
        assert len(shop.asked()) == 1
        shop.clock.advance(2)
        served(browser.navigate("/me"))

    def test_keys_that_rotate(self, shop: Shop) -> None:
        """New JWTs verify as soon as their key is fetched, old ones on; a key that was retired costs a call."""
        held = shop.alice()
        browser = shop.browser(held, max_token_age=300, verify_interval=0)
        served(browser.navigate("/me"))
        shop.clock.advance(20)
        shop.stytch.rotate_keys()
        served(browser.navigate("/me"))
        show(browser, shop.stytch.new_jwt(held.token))
        shop.asked()
        served(browser.navigate("/me"))
        assert [call.path.rpartition("/sessions/")[2][:4] for call in shop.stytch.calls] == ["jwks"]
        shop.stytch.retire_keys()
        served(browser.navigate("/me"))
        assert shop.asked() == []

    def test_keys_out_of_reach(self, shop: Shop) -> None:
        """Without keys no JWT can be read here, and Stytch is asked instead."""
        shop.stytch.down(only="jwks")
        browser = shop.browser(shop.alice())
        served(browser.navigate("/me"))
        shop.clock.advance(61)
        served(browser.navigate("/me"))
        assert len(shop.asked()) == 2

    @pytest.mark.parametrize("seconds", [30, -30])
    def test_a_clock_that_is_wrong(self, shop: Shop, seconds: float) -> None:
        """Thirty seconds either way: adopted, served for half an hour, ended by its end (L1)."""
        shop.stytch.clock_offset = seconds
        held = shop.alice(40)
        browser = shop.browser(held)
        for _ in range(30):
            served(browser.navigate("/me"))
            shop.clock.advance(60)
        assert "authority_fault" not in shop.stage.event_names()
        assert len(shop.asked()) <= 31
        shop.clock.advance(minutes=10)
        assert browser.navigate("/me").status == 303

    def test_an_unknown_fault_names_no_secret(self, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
        """Neither token, JWT nor secret is in what is logged or told."""
        held = shop.alice()
        browser = shop.browser(held, timeout=1.0)
        served(browser.navigate("/me"))
        shop.clock.advance(150)
        for fault in FAULTS.values():
            shop.stytch.recover()
            fault(shop.stytch)
            browser.navigate("/me")
            shop.clock.advance(10)
        said = caplog.text + repr(shop.stage.events) + repr(shop.made)
        assert all(secret not in said for secret in (held.token, held.jwt, shop.stytch.secret))
