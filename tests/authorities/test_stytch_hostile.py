"""What is no credential of Stytch's, or not the one a session stands on; and options that make no sense."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from session_middleware.authorities.stytch import StytchAuthority
from session_middleware.errors import SettingsError
from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stage import TOKEN
from session_middleware.testing.stand_ins.stytch import StytchStandIn
from tests.authorities.stytch_shop import FEW, JWT_COOKIE, TOKEN_COOKIE, Shop, plant, shop_of


@pytest.fixture(params=FEW)
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with shop_of(request.param) as shop:
        yield shop


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


STRANGER = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def forged(jwt: str, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> str:
    """Return a JWT like this one, under a key of ours."""
    first = json.loads(_decoded(jwt.split(".")[0])) | (header or {})
    second = json.loads(_decoded(jwt.split(".")[1])) | (claims or {})
    signed = f"{part(first)}.{part(second)}"
    return f"{signed}.{part(STRANGER.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


#: What comes in place of the JWT; {} stands for a good one.
JWTS = {
    "empty parts": "..",
    "two parts": "a.b",
    "five parts": "a.b.c.d.e",
    "not base64": "!!.!!.!!",
    "no JSON": f"{part(b'x')}.{part(b'y')}.{part(b'z')}",
    "alg none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part({'sub': 'alice'})}.",
    "HS256 of nobody": f"{part({'alg': 'HS256', 'kid': 'x'})}.{part({'sub': 'alice'})}.{part(b'x' * 32)}",
    "deep": f"{part({'alg': 'RS256'})}.{part(b'[' * 3_000)}.{part(b'x')}",
    "long": "a." + "b" * 9_000 + ".c",
    "line break": "a.b.c%0d%0aSet-Cookie: x=y",
}


class TestJwts:
    """What comes in the cookie of the JWT."""

    @pytest.mark.parametrize("jwt", JWTS.values(), ids=JWTS)
    def test_nobody_is_adopted_by_what_is_no_jwt(self, shop: Shop, jwt: str) -> None:
        """It is refused here: Stytch is not asked, and nobody let in."""
        browser = shop.browser()
        browser.cookie_header = f"{JWT_COOKIE}={jwt}"
        answer = browser.fetch("/me")
        assert (answer.status, answer.set_cookies) == (401, [])
        assert shop.asked() == []

    @pytest.mark.parametrize(
        "header", [{}, {"kid": "unknown"}, {"alg": "RS512"}, {"jku": "https://evil.example/"}, {"crit": ["x"]}], ids=str
    )
    def test_one_that_somebody_else_signed(self, shop: Shop, header: dict[str, Any]) -> None:
        """Under a key that is not the project's it lets nobody in, whatever its header says."""
        held = shop.alice()
        browser = shop.browser()
        plant(browser, **{JWT_COOKIE: forged(held.jwt, header)})
        assert browser.fetch("/me").status == 401
        assert TOKEN not in browser.jar
        assert shop.stage.store.calls["create"] == 0

    def test_the_public_key_as_a_secret(self, shop: Shop) -> None:
        """HS256 under what the key set publishes is refused: RS256 alone is taken (RFC 8725 §3.1)."""
        held = shop.alice()
        served(shop.browser(held).navigate("/me"))
        shop.asked()
        kid = json.loads(_decoded(held.jwt.split(".")[0]))["kid"]
        keys = httpx2.get(f"{shop.base_url}/v1/sessions/jwks/{shop.stytch.project_id}").json()["keys"]
        signed = f"{part({'alg': 'HS256', 'kid': kid, 'typ': 'JWT'})}.{held.jwt.split('.')[1]}"
        mac = hmac.digest(keys[0]["n"].encode(), signed.encode(), "sha256")
        browser = shop.browser()
        plant(browser, **{JWT_COOKIE: f"{signed}.{part(mac)}"})
        assert browser.fetch("/me").status == 401
        assert shop.asked() == []

    def test_one_of_another_project(self, shop: Shop) -> None:
        """A JWT for another project is none for this one, though the same key signed it."""
        other = StytchStandIn("project-test-other", clock=shop.clock)
        other._keys = shop.stytch._keys
        other._sessions._keys = shop.stytch._keys
        held = other.start_session(other.add_user())
        browser = shop.browser()
        plant(browser, **{JWT_COOKIE: held.jwt})
        assert browser.fetch("/me").status == 401
        assert shop.asked() == []

    def test_the_jwt_of_another_user_beside_our_session(self, shop: Shop) -> None:
        """A JWT that names another session does not stand for this one; Stytch is asked about the token (L24)."""
        alice = shop.alice()
        bob = shop.stytch.start_session(shop.stytch.add_user("bob@example.com"))
        browser = shop.browser(alice, verify_interval=0)
        seen = served(browser.navigate("/me"))
        plant(browser, **{JWT_COOKIE: bob.jwt})
        shop.asked()
        assert served(browser.navigate("/me"))["id"] == seen["id"]
        assert len(shop.asked()) == 1

    def test_a_stolen_session_of_ours_beside_ones_own(self, shop: Shop) -> None:
        """Our token of alice with mallory's Stytch cookies is mallory's session and nothing of alice's; she goes on (L24)."""
        alice = shop.browser(shop.alice(claims={"plan": "pro"}))
        subject = served(alice.navigate("/me"))["subject"]
        mallory = shop.stytch.add_user("mallory@example.com")
        thief = alice.twin()
        held = shop.stytch.start_session(mallory)
        plant(thief, **{TOKEN_COOKIE: held.token, JWT_COOKIE: held.jwt})
        seen = served(thief.navigate("/me"))
        assert (seen["subject"], seen["claims"]) == (mallory, {})
        assert served(alice.navigate("/me"))["subject"] == subject


#: What comes in place of the token.
TOKENS = {
    "short": "x",
    "spaces": "a b c d e f g h i j k l m n o p",
    "quoted": '"' + "x" * 44 + '"',
    "path": "../" * 15,
    "not ASCII": "ü" * 44,
    "very long": "x" * 4_000,
    "JSON": '{"$gt":""}' + "x" * 34,
}


class TestTokens:
    """What comes in the cookie of the token."""

    @pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
    def test_what_cannot_be_one_is_not_asked_about(self, shop: Shop, token: str) -> None:
        """It is refused here, and Stytch hears nothing of it."""
        browser = shop.browser()
        browser.cookie_header = f"{TOKEN_COOKIE}={token}".encode().decode("latin-1")
        assert browser.fetch("/me").status == 401
        assert shop.stytch.calls == []

    def test_two_tokens(self, shop: Shop) -> None:
        """Two different values under one name are none: a cookie may have been planted from a sibling domain (L10)."""
        alice, bob = shop.alice(), shop.stytch.start_session(shop.stytch.add_user())
        browser = shop.browser()
        browser.cookie_header = f"{TOKEN_COOKIE}={alice.token}; {TOKEN_COOKIE}={bob.token}"
        assert browser.fetch("/me").status == 401
        assert shop.stytch.calls == []

    def test_one_unknown_token_after_another(self, shop: Shop) -> None:
        """Each is asked about once and lets nobody in; nothing is stored about them."""
        browser = shop.browser()
        for n in range(10):
            plant(browser, **{TOKEN_COOKIE: f"{n:044}"})
            for _ in range(3):
                assert browser.fetch("/me").status == 401
        assert len(shop.asked()) == 10
        assert shop.stage.store.calls["create"] == 0

    def test_a_dead_token_beside_our_session(self, shop: Shop) -> None:
        """A client that keeps showing one costs a call in two seconds, not one for each request."""
        browser = shop.browser(shop.alice(), verify_interval=0)
        served(browser.navigate("/me"))
        plant(browser, **{TOKEN_COOKIE: "t" * 44})
        shop.asked()
        for _ in range(20):
            assert browser.fetch("/me").status == 401
            shop.clock.advance(0.5)
        assert len(shop.asked()) == 5

    def test_what_stytch_calls_malformed_ends_nothing(self, shop: Shop) -> None:
        """That a credential cannot be read is no proof of an end (L24)."""
        held = shop.alice()
        browser = shop.browser(held, max_token_age=0, verify_interval=0)
        served(browser.navigate("/me"))
        shop.stytch.garble(b'{"error_type": "invalid_session_token"}', status=400)
        assert browser.fetch("/me").status == 401
        shop.stytch.recover()
        shop.clock.advance(2)
        served(browser.navigate("/me"))

    def test_an_answer_cannot_split_the_response(self, shop: Shop) -> None:
        """What would begin an attribute or a line in Set-Cookie is not written."""
        now = "2027-01-15T08:00:00Z"
        session = {"session_id": "s", "user_id": "u", "started_at": now, "expires_at": "2027-01-15T09:00:00Z"}
        said = {"session": session, "session_token": "x; Domain=evil\r\nX: y", "session_jwt": "a.b.c; Path=/x"}
        shop.stytch.garble(json.dumps(said).encode())
        browser = shop.browser()
        plant(browser, **{TOKEN_COOKIE: "t" * 44})
        answer = browser.navigate("/me")
        served(answer)
        assert not any(line.startswith("stytch") for line in answer.set_cookies)


BAD: dict[str, Any] = {
    "project_id": ["", "live", None],
    "secret": ["", None],
    "base_url": ["http://stytch.example", "ftp://x", "https://user:secret@stytch.example", "nonsense"],
    "token_cookie": ["", "a b", "a;b", "stytch_session_jwt"],
    "jwt_cookie": ["", "a=b"],
    "cookie_domain": ["a b", "; Secure", ""],
    "session_duration_minutes": [4, 527_041, 60.0, "60", True],
    "extend_interval": [0, -1, 3_600, True],
    "custom_claims": [[""], [1], "plan"],
    "max_token_age": [-1, 301, "60", True],
    "timeout": [0, -1, 61, "3"],
    "verify_interval": [-1, float("inf"), float("nan"), "60", None],
    "name": ["", " stytch", "x" * 65, None],
    "b2b": [None, "yes"],
    "insecure_dev": ["false"],
    "set_cookies": ["no", 1],
    "cookie_http_only": [0],
    "organization_login_path": ["/login"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values], ids=str
)
def test_options_that_make_no_sense(name: str, value: Any) -> None:
    """A bad option is refused at start-up, by its name, and no secret is told."""
    options: dict[str, Any] = {"project_id": "project-test-1", "secret": "s3cret-value", "session_duration_minutes": 60}
    with pytest.raises(SettingsError) as told:
        StytchAuthority(**{**options, name: value})
    assert told.value.code == name or name in str(told.value)
    assert "s3cret-value" not in str(told.value)
    assert "user:secret" not in str(told.value)


def test_where_a_project_lives() -> None:
    """A live project is asked at the live address, any other at the one for tests, unless another is given."""
    for project, address in [
        ("project-live-1", "https://api.stytch.com"),
        ("project-test-1", "https://test.stytch.com"),
    ]:
        assert StytchAuthority(project, "s")._options.calls().base_url == address
    own = StytchAuthority("project-live-1", "s", base_url="https://login.shop.example/")
    assert own._options.issuers == ("stytch.com/project-live-1", "https://login.shop.example")


def test_a_client_of_the_apps_own(shop: Shop) -> None:
    """For proxies and certificates: it is used for every call, with the project's credentials."""
    kinds: dict[str, Any] = {"asgi": httpx2.AsyncClient, "wsgi": httpx2.Client}
    mode = "asgi" if hasattr(shop.app(), "_run") else "wsgi"
    client = kinds[mode](headers={"X-Through": "proxy"})
    browser = shop.browser(shop.alice(), client=client)
    served(browser.navigate("/me"))
    if mode == "wsgi":
        client.close()
    else:
        browser.driver._run(client.aclose)  # type: ignore[attr-defined]
