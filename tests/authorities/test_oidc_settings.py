"""Settings of an OpenID authority that make no sense, and what a provider must not say of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from session_middleware import SettingsError
from session_middleware.authorities.oidc import OIDCAuthority, SharedSignals
from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stand_ins._faults import Answer
from tests.authorities.oidc_town import ORIGIN, SECRET, Town, town_of
from tests.authorities.token_forge import ABSENT

GOOD: dict[str, Any] = {"issuer": "https://id.example", "client_id": "shop", "client_secret": SECRET, "app_url": ORIGIN}


@pytest.fixture
def town() -> Iterator[Town]:
    """The stand-in and people."""
    with town_of("wsgi_mode") as town:
        yield town


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("base_url", {"issuer": "http://id.example"}),
        ("base_url", {"issuer": "id.example"}),
        ("base_url", {"issuer": "https://id.example/?x=1"}),
        ("client_id", {"client_id": ""}),
        ("client_secret", {"client_secret": ""}),
        ("app_url", {"app_url": "shop.example"}),
        ("app_url", {"app_url": "http://shop.example"}),
        ("app_url", {"app_url": "https://shop.example/?x"}),
        ("app_url", {"app_url": 7}),
        ("authentication", {"authentication": "private_key_jwt"}),
        ("authentication", {"authentication": "none"}),
        ("authentication", {"authentication": "client_secret_post", "client_secret": None}),
        ("response_mode", {"response_mode": "fragment"}),
        ("algorithms", {"algorithms": ["HS256"]}),
        ("algorithms", {"algorithms": "none"}),
        ("algorithms", {"algorithms": []}),
        ("max_age", {"max_age": -1}),
        ("max_age", {"max_age": True}),
        ("max_age", {"max_age": "1 h"}),
        ("parameters", {"parameters": {"prompt": "none"}}),
        ("parameters", {"parameters": {"a b": "c"}}),
        ("parameters", {"parameters": {"audience": 7}}),
        ("passes", {"passes": ["redirect_uri"]}),
        ("name", {"name": ""}),
        ("name", {"name": "x" * 65}),
        ("timeout", {"timeout": 0}),
    ],
)
def test_a_value_that_makes_no_sense(field: str, change: dict[str, Any]) -> None:
    """It is refused when the authority is made; the error names it and what to write, and no secret."""
    with pytest.raises(SettingsError) as caught:
        OIDCAuthority(**{**GOOD, **change})
    assert caught.value.field == field
    assert caught.value.fix
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("audience", {"audience": ""}),
        ("jwks_uri", {"issuer": "https://signals.example"}),
        ("jwks_uri", {"jwks_uri": "https://signals.example/keys"}),
        ("base_url", {"issuer": "https://signals.example", "jwks_uri": "http://signals.example/keys"}),
        ("base_url", {"issuer": "https://signals.example", "jwks_uri": "keys"}),
    ],
)
def test_signals_that_make_no_sense(field: str, change: dict[str, Any]) -> None:
    """So is a transmitter that cannot be."""
    with pytest.raises(SettingsError) as caught:
        SharedSignals(**{"audience": "shop", **change})
    assert caught.value.field == field


def test_its_name() -> None:
    """Two clients of a provider are two authorities: each may see another `sid`; the same one has the same name for ever."""
    one, same, other, elsewhere = (
        OIDCAuthority(**{**GOOD, **change}).name
        for change in ({}, {"scope": "openid"}, {"client_id": "wiki"}, {"issuer": "https://other.example"})
    )
    assert one == same
    assert len({one, other, elsewhere}) == 3
    assert OIDCAuthority(**GOOD, name="id").name == "id"


def test_development_on_one_machine() -> None:
    """Plain http is for this machine; beyond it only where that is said."""
    OIDCAuthority(**{**GOOD, "issuer": "http://localhost:9000", "app_url": "http://127.0.0.1:5000"})
    OIDCAuthority(**{**GOOD, "issuer": "http://id.test", "app_url": "http://app.test", "insecure_dev": True})


def test_a_public_client(town: Town) -> None:
    """An app without a secret proves itself by the PKCE verifier alone."""
    town.provider.add_client("shop", None, [f"{ORIGIN}/session/callback"])
    authority = OIDCAuthority(
        town.issuer, "shop", app_url=ORIGIN, client=town.authority()._provider.calls._connections.own
    )
    alice = town.person(at=town.stage.app(authority=authority))
    assert served(alice.sign_in())["subject"] == "alice"


@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post"])
def test_a_secret_with_any_characters(town: Town, way: str) -> None:
    """`:`, `%`, `+` and letters of any script get through either way of authenticating (RFC 6749 §2.3.1)."""
    secret = "a:b %41+ é€&="
    town.provider.add_client("shop", secret, [f"{ORIGIN}/session/callback"])
    client = town.authority()._provider.calls._connections.own
    authority = OIDCAuthority(town.issuer, "shop", secret, app_url=ORIGIN, authentication=way, client=client)  # type: ignore[arg-type]
    alice = town.person(at=town.stage.app(authority=authority))
    assert served(alice.sign_in())["subject"] == "alice"


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"])
@pytest.mark.parametrize("url", ["javascript:alert(1)", "ftp://id.example/x", "/relative", 7, "http://[", "https://"])
def test_an_address_that_is_none(town: Town, name: str, url: Any) -> None:
    """What a discovery document calls an endpoint must be an address as well protected as the issuer's own."""
    said = {"issuer": town.issuer, **{key: town.issuer + path for key, path in town.provider.endpoints().items()}}
    town.provider.faults.set(Answer(200, json.dumps({**said, name: url}).encode()), only="/.well-known")
    assert town.person().app.navigate("/session/login").status == 503


def test_a_provider_that_says_no_time(town: Town) -> None:
    """Without `auth_time` nobody signs in; where that is allowed, the sign-in counts, and nothing there is a fresh proof."""
    town.provider.world.claims["alice"] = {"auth_time": None}
    assert town.person().sign_in().status == 400
    signed = town.provider.world.signed
    town.provider.world.signed = lambda claims, typ: signed(  # type: ignore[method-assign]
        {name: value for name, value in claims.items() if name != "auth_time"}, typ
    )
    assert town.person().sign_in().status == 400
    alice = town.person(require_auth_time=False)
    seen = served(alice.sign_in())
    assert seen["authenticated_at"] == town.stage.clock()
    town.stage.clock.advance(301)
    assert alice.sign_in("/fresh").status == 403


def test_a_provider_without_a_session_id(town: Town) -> None:
    """Without `sid` the session is known by the user and the time of the proof; logout by user finds it."""
    signed = town.provider.world.signed
    town.provider.world.signed = lambda claims, typ: signed(  # type: ignore[method-assign]
        {name: value for name, value in claims.items() if name != "sid"}, typ
    )
    alice = town.person()
    served(alice.sign_in())
    served(alice.go_on(alice.app.navigate("/session/login?prompt=none&return_to=/me")))
    token = town.forge(alice).logout(sid=ABSENT)
    assert town.tell(alice.app.driver, token).status == 200
    assert alice.app.fetch("/me").status == 401


def test_how_old_a_proof_may_be(town: Town) -> None:
    """With `max_age` a proof that is older sends the user to sign in there; a provider that ignores it changes nothing."""
    alice = town.person(max_age=600)
    served(alice.sign_in())
    town.stage.clock.advance(700)
    alice.there.pages.clear()
    served(alice.go_on(alice.app.navigate("/session/login?return_to=/me")))
    assert alice.there.pages == ["login"]
    town.stage.clock.advance(700)
    url = alice.to_the_provider().replace("max_age=600", "x=1")
    answer = alice.arrive(alice.there.visit(url))
    assert "prompt=login" in (answer.header("Location") or "")


def test_a_long_way_back(town: Town) -> None:
    """A page with a long query is come back to; one that is longer than any path leads to the first page."""
    alice = town.person()
    path = "/me?q=" + "x" * 1_500
    served(alice.sign_in(path))
    assert alice.app.answers[-2].header("Location") == path
    answer = alice.go_on(alice.app.navigate("/session/login?return_to=/me?q=" + "x" * 20_000))
    assert answer.status in (200, 404)
