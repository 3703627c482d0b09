"""Which cookies are credentials of ours, under which key, and what it costs to refuse the others."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from session_middleware.core.jwt import JwtKey
from session_middleware.core.tokens import key_of
from session_middleware.testing.browser import Answer, Browser, Driver
from session_middleware.testing.scenarios.expect import problem, sent_to_login, served, state, unavailable
from session_middleware.testing.stage import JWT, KEY, OTHER_KEY, TOKEN, Stage, login

__all__ = ["CredentialScenarios"]

B64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

#: A good token made bad.
FORGERIES: dict[str, Callable[[str], str]] = {
    "not a token": lambda token: "alice",
    "no MAC": lambda token: token.rpartition(".")[0],
    "an empty MAC": lambda token: token.rpartition(".")[0] + ".",
    "another id": lambda token: token[:3] + ("B" if token[3] == "A" else "A") + token[4:],
    "another generation": lambda token: token.replace(".0.", ".1."),
    "a padded generation": lambda token: token.replace(".0.", ".00."),
    "another version": lambda token: "v2" + token[2:],
    "another MAC": lambda token: token[:-5] + ("B" if token[-5] == "A" else "A") + token[-4:],
    "another encoding of the MAC": lambda token: token[:-1] + B64[B64.index(token[-1]) ^ 1],
    "padding": lambda token: token + "=",
    "something behind it": lambda token: token + ".",
    "quotes": lambda token: f'"{token}"',
    "percent-encoded": lambda token: token.replace(".", "%2E"),
    "oversized": lambda token: token + "A" * 6_000,
    "bytes beyond ASCII": lambda token: token[:-1] + "\u00e9",
}


def sends(browser: Browser, cookie: str) -> Browser:
    """Return a browser that sends this Cookie header, whatever it is told to keep."""
    other = browser.twin()
    other.cookie_header = cookie
    return other


class Splitting:
    """Sends each cookie in a header line of its own, in order or the other way round."""

    def __init__(self, driver: Driver, order: int) -> None:
        self.driver, self.order = driver, order

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        sent = [pair for pair in headers if pair[0] != "Cookie"]
        for name, value in headers:
            if name == "Cookie":
                sent += [(name, each) for each in value.split("; ")[:: self.order]]
        return self.driver.request(method, target, sent, body)

    def close(self) -> None:
        self.driver.close()


class CredentialScenarios:
    """How a request shows whose it is."""

    def test_an_empty_cookie_is_nobodys(self, stage: Stage) -> None:
        """What a client kept of a deleted cookie, its name, is no forgery: nobody is signed in, and nothing said (L10)."""
        browser = stage.visitor()
        browser.cookie_header = f"{TOKEN}="
        stage.store.forget_calls()
        problem(browser.fetch("/me"), None)
        assert stage.store.total == 0
        assert "session_tampered" not in stage.event_names()

    @pytest.mark.parametrize("what", list(FORGERIES))
    def test_a_forged_token_costs_no_store_call(self, stage: Stage, what: str) -> None:
        """Forged, malformed and oversized tokens are refused before the store is asked (L10)."""
        browser = stage.signed_in()
        forged = sends(browser, f"{TOKEN}={FORGERIES[what](browser.jar[TOKEN])}")
        stage.store.forget_calls()
        problem(forged.fetch("/me"), "signed_out")
        sent_to_login(forged.navigate("/me"), "/login?reason=signed_out&return_to=/me")
        assert forged.fetch("/open").json["verdict"] == "TAMPERED"
        assert stage.store.total == 0
        assert "session_tampered" in stage.event_names()
        served(browser.fetch("/me"))

    def test_anonymous_requests_cost_nothing(self, stage: Stage) -> None:
        """Without a token of ours there is no store call, no cookie, no record; other cookies are not ours (L27)."""
        visitor = stage.visitor()
        stranger = sends(visitor, "session=abc; __Host-other=1; theme=dark; __host-session=x")
        for browser in (visitor, stranger):
            problem(browser.fetch("/me"), None)
            assert browser.fetch("/open").json["verdict"] == "ANONYMOUS"
            assert browser.navigate("/login").status == 200
            assert browser.fetch("/exempt-using").json["verdict"] == "ANONYMOUS"
            assert browser.fetch("/session/status").json["authenticated"] is False
            assert all(answer.set_cookies == [] for answer in browser.answers)
        assert stage.store.total == 0

    @pytest.mark.parametrize("order", [1, -1])
    def test_two_tokens_are_tampered(self, stage: Stage, order: int) -> None:
        """Two cookies of our name with different values are refused whatever their order; no store call (L10)."""
        alice = stage.signed_in()
        mallory = stage.signed_in("mallory", alice.driver)
        pair = [f"{TOKEN}={alice.jar[TOKEN]}", f"{TOKEN}={mallory.jar[TOKEN]}"][::order]
        stage.store.forget_calls()
        both = sends(alice, "; ".join(pair))
        problem(both.fetch("/me"), "signed_out")
        assert stage.store.total == 0
        served(alice.fetch("/me"))

    @pytest.mark.parametrize("beside", [TOKEN, JWT])
    def test_a_login_ends_what_was_tampered_with(self, stage: Stage, beside: str) -> None:
        """The sessions that came with a login end with it, whichever of them the visitor was (L12)."""
        alice = stage.signed_in()
        mallory = stage.signed_in("mallory", alice.driver)
        thief = alice.twin()
        both = sends(alice, f"{TOKEN}={alice.jar[TOKEN]}; {beside}={mallory.jar[beside]}")
        problem(both.fetch("/me"), "signed_out")
        assert login(both, "alice").status == 200
        problem(thief.fetch("/me"), "signed_out")

    def test_equal_tokens_count_once(self, stage: Stage) -> None:
        """A proxy or a browser that sends a cookie twice does no harm (L10)."""
        alice = stage.signed_in()
        token = f"{TOKEN}={alice.jar[TOKEN]}"
        assert served(sends(alice, f"{token}; {token}").fetch("/me"))["subject"] == "alice"
        assert served(sends(alice, f"a=1;{token};b=2").fetch("/me"))["subject"] == "alice"

    def test_a_token_beside_another_sessions_jwt(self, stage: Stage) -> None:
        """A JWT must belong to the session of the token beside it (L9)."""
        alice = stage.signed_in()
        mallory = stage.signed_in("mallory", alice.driver)
        mixed = sends(alice, f"{TOKEN}={alice.jar[TOKEN]}; {JWT}={mallory.jar[JWT]}")
        problem(mixed.fetch("/me"), "signed_out")

    def test_a_jwt_alone_authenticates_nobody(self, stage: Stage) -> None:
        """Without its token a session JWT is worth nothing here (L9)."""
        alice = stage.signed_in()
        alice.jar.forget(TOKEN)
        assert alice.fetch("/open").json["verdict"] == "ANONYMOUS"
        problem(alice.fetch("/me"), None)

    def test_a_lost_jwt_is_replaced_by_the_one_already_minted(self, stage: Stage) -> None:
        """A missing or unreadable JWT cookie is answered with the same JWT, without a new signature (L9)."""
        browser = stage.signed_in()
        jwt = browser.jar[JWT]
        browser.jar.forget(JWT)
        served(browser.navigate("/me"))
        assert browser.jar[JWT] == jwt
        browser.jar.put(JWT, "broken.broken.broken")
        served(browser.navigate("/me"))
        assert browser.jar[JWT] == jwt

    def test_rotation_of_the_secret_key(self, stage: Stage) -> None:
        """A new key goes to the end of the list, then to the front, then the old one goes: nobody is logged out (L10)."""
        browser = stage.signed_in(secret_keys=[KEY])
        away = browser.twin()
        first = browser.jar[TOKEN]
        browser.driver = stage.app(secret_keys=[KEY, OTHER_KEY])
        seen = served(browser.navigate("/me"))
        assert browser.jar[TOKEN] == first
        browser.driver = stage.app(secret_keys=[OTHER_KEY, KEY])
        jwt = browser.jar[JWT]
        assert served(browser.navigate("/me"))["id"] == seen["id"]
        assert browser.jar[TOKEN] != first, "a token under a later key is re-issued under the first"
        assert browser.jar[JWT] != jwt, "so is the JWT"
        again = browser.navigate("/me")
        assert again.set_cookies == []
        browser.driver = away.driver = stage.app(secret_keys=[OTHER_KEY])
        assert served(browser.navigate("/me"))["id"] == seen["id"]
        problem(away.fetch("/me"), "signed_out")

    def test_rotation_of_the_jwt_key(self, stage: Stage) -> None:
        """A JWT under a later key is rotated, before it is due by time, and the token stays as it is (L9)."""
        old, new = JwtKey.hs256(KEY.encode()), JwtKey.hs256(OTHER_KEY.encode())
        browser = stage.signed_in(jwt_keys=[old])
        token, jwt = browser.jar[TOKEN], browser.jar[JWT]
        browser.driver = stage.app(jwt_keys=[old, new])
        assert browser.navigate("/me").set_cookies == []
        browser.driver = stage.app(jwt_keys=[new, old])
        served(browser.navigate("/me"))
        assert browser.jar[JWT] != jwt
        assert browser.jar[TOKEN] == token
        assert browser.navigate("/me").set_cookies == []

    @pytest.mark.parametrize("order", [1, -1])
    def test_cookies_in_several_lines(self, stage: Stage, order: int) -> None:
        """HTTP/2 may split the Cookie header, also where a value has a comma in it; together they are one (RFC 9113)."""
        browser = stage.signed_in()
        browser.driver = Splitting(browser.driver, order)
        browser.jar.take(["theme=dark,wide; Path=/"], browser.origin, "/")
        seen = served(browser.navigate("/me"))
        assert (seen["subject"], browser.answers[-1].set_cookies) == ("alice", [])

    def test_the_token_of_another_app(self, stage: Stage) -> None:
        """The same keys under another cookie name make other tokens (L10, L19)."""
        browser = stage.signed_in(cookie_name="shop")
        assert browser.jar.names == {"__Host-shop", "__Host-shop_jwt"}
        other = stage.visitor()
        problem(sends(other, f"{TOKEN}={browser.jar['__Host-shop']}").fetch("/me"), "signed_out")

    def test_a_token_without_a_record(self, stage: Stage) -> None:
        """A good token that the store does not know is refused as signed out (L16)."""
        browser = stage.signed_in()
        stage.clock.advance(900 + 86_400 + 28_800)
        problem(browser.fetch("/me"), "signed_out")
        assert served(login(browser))["subject"] == "alice"

    def test_the_record_of_another_session(self, stage: Stage) -> None:
        """Copied under the key of a token it makes nobody its user: 503, and the log names record and fix (L8, L17)."""
        alice = stage.signed_in()
        bob = stage.signed_in("bob", alice.driver)
        mine, theirs = (key_of(state(browser)["id"]) for browser in (alice, bob))

        def copy() -> Generator[tuple[Any, ...], Any, None]:  # Any: the store's methods, by name
            record = yield "load", theirs
            yield "save", record.evolve(key=mine)

        stage.clock.advance(100)
        stage.store.interrupt("load", copy)
        assert served(bob.navigate("/me"))["subject"] == "bob"
        unavailable(alice.navigate("/me"))
        assert TOKEN in alice.jar.names
        told = [event.detail for event in stage.events if event.name == "store_fault"][-1]
        assert told["record"] == mine.hex()
        assert "another session" in told["problem"]
        assert "delete it" in told["fix"]
        assert served(bob.navigate("/me"))["subject"] == "bob"
        assert served(login(alice))["subject"] == "alice"
