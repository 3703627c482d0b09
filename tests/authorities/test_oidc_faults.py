"""A provider that is slow, down, throttled, or talks nonsense: nobody who is signed in notices, and sign-ins can be repeated (L17)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from session_middleware.testing.browser import Answer as Response
from session_middleware.testing.scenarios.expect import problem, served
from session_middleware.testing.stand_ins._faults import Answer, Faults
from session_middleware.testing.stand_ins.openid import OpenIDStandIn
from tests.authorities.oidc_people import MODES
from tests.authorities.oidc_town import ORIGIN, Town, town_of
from tests.authorities.token_forge import Forge

pytestmark = pytest.mark.slow

FAULTS: dict[str, Callable[[Faults], None]] = {
    "down": lambda faults: faults.set(hang_up=True),
    "slow": lambda faults: faults.set(Answer(503), seconds=3.0),
    "429": lambda faults: faults.set(Answer(429, b"{}", (("Retry-After", "2"),))),
    "500": lambda faults: faults.set(Answer(500, b"oops")),
    "garbage": lambda faults: faults.set(Answer(200, b"<html>bad gateway</html>")),
    "empty": lambda faults: faults.set(Answer(200, b"{}")),
    "another issuer": lambda faults: faults.set(Answer(200, b'{"issuer": "https://evil.example"}')),
}


@pytest.fixture(params=MODES)
def town(request: pytest.FixtureRequest) -> Iterator[Town]:
    """The stand-in and people."""
    with town_of(request.param) as town:
        yield town


def unavailable(answer: Response) -> None:
    """Check that somebody is asked to come back later, and that no cookie was taken away."""
    assert answer.status == 503
    assert answer.header("Retry-After")
    assert not [line for line in answer.set_cookies if "Max-Age=0" in line]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_who_is_signed_in_notices_nothing(town: Town, fault: Callable[[Faults], None]) -> None:
    """A session asks the provider nothing while it lives: its faults are nothing to it."""
    alice = town.person()
    served(alice.sign_in())
    fault(town.provider.faults)
    town.provider.calls.clear()
    for _ in range(100):
        town.stage.clock.advance(3)
        served(alice.app.navigate("/me"))
    assert town.provider.calls == []


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_sign_in_that_cannot_begin(town: Town, fault: Callable[[Faults], None]) -> None:
    """Where the provider was never reached a sign-in is answered with 503, and works as soon as it is back."""
    alice = town.person(timeout=1.0)
    fault(town.provider.faults)
    unavailable(alice.app.navigate("/session/login"))
    assert "authority_fault" in town.stage.event_names()
    town.provider.faults.clear()
    town.stage.clock.advance(5)
    served(alice.sign_in())


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in ("empty", "another issuer")])
def test_a_sign_in_that_cannot_end(town: Town, fault: str) -> None:
    """Where the code cannot be exchanged just now, reloading the page later does it: nothing has been used up."""
    alice = town.person(timeout=1.0)
    arrival = alice.there.visit(alice.to_the_provider())
    FAULTS[fault](town.provider.faults)
    unavailable(alice.arrive(arrival))
    town.provider.faults.clear()
    town.stage.clock.advance(5)
    assert alice.arrive(arrival).header("Location") == "/"
    served(alice.app.navigate("/me"))


@pytest.mark.parametrize(
    ("error", "status"),
    [("temporarily_unavailable", 503), ("server_error", 503), ("invalid_scope", 503), ("unauthorized_client", 503)],
)
def test_a_sign_in_that_the_provider_refuses(town: Town, error: str, status: int) -> None:
    """An error that is not the user's is a fault, and said to the operator."""
    alice = town.person()
    state = alice.there.visit(alice.to_the_provider()).answer["state"]
    assert alice.app.navigate(f"/session/callback?error={error}&state={state}", site="cross-site").status == status
    assert "authority_fault" in town.stage.event_names()


def test_an_answer_without_an_id_token(town: Town) -> None:
    """A provider that gives none was not asked by OpenID Connect, and says nothing of who is there."""
    alice = town.person()
    arrival = alice.there.visit(alice.to_the_provider())
    town.provider.faults.set(Answer(200, b'{"access_token": "a"}'), only="/token")
    unavailable(alice.arrive(arrival))


@pytest.mark.parametrize("query", ["code=a&code=b", "", "code="])
def test_an_answer_that_says_nothing(town: Town, query: str) -> None:
    """An answer without exactly one code is none."""
    alice = town.person()
    state = alice.there.visit(alice.to_the_provider()).answer["state"]
    assert alice.app.navigate(f"/session/callback?state={state}&{query}", site="cross-site").status == 400


def test_metadata_serves_on(town: Town) -> None:
    """What was fetched once serves while the provider's discovery is down, for hours."""
    alice = town.person(settings={"inactivity_timeout": None})
    served(alice.sign_in())
    town.provider.faults.set(hang_up=True, only="/.well-known")
    town.provider.faults.set(Answer(500), only="/jwks")
    town.stage.clock.advance(7_200)
    served(alice.go_on(alice.app.navigate("/session/login?return_to=/me")))


def test_credentials_that_are_refused(town: Town) -> None:
    """That the provider refuses the application is the operator's business, and said to them by name."""
    alice = town.person()
    town.provider.add_client("shop", "changed", [f"{ORIGIN}/session/callback"])
    arrival = alice.there.visit(alice.to_the_provider())
    unavailable(alice.arrive(arrival))
    faults = [event.detail for event in town.stage.events if event.name == "authority_fault"]
    assert faults == [{"fault": "credentials"}]


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "another"},
        {"aud": "another"},
        {"aud": ["shop", "another"]},
        {"aud": ["shop", "another"], "azp": "another"},
        {"iss": "https://evil.example"},
        {"sub": None},
        {"sub": ""},
        {"exp": 1},
        {"exp": 1_800_000_000},  # this very instant: no leeway (L1)
        {"nonce": None},
        {"nonce": ""},
        {"iat": 4_000_000_000},
        {"auth_time": None},
        {"auth_time": "yesterday"},
        {"auth_time": 4_000_000_000},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"events": {}},
        {"sid": 7},
    ],
    ids=str,
)
def test_an_id_token_that_is_wrong(town: Town, change: dict[str, object]) -> None:
    """It begins no session, and says so as a mistake of this sign-in (Core §3.1.3.7)."""
    alice = town.person()
    town.provider.world.claims["alice"] = change
    assert alice.sign_in().status == 400
    problem(alice.app.fetch("/me"), None)
    assert town.stage.store.calls["create"] == 0


def test_an_id_token_that_is_signed_wrong(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ID token that is unsigned, signed with what everybody knows, or with another key, begins no session."""
    alice = town.person()
    world = town.provider.world
    other = OpenIDStandIn().world.keys[0]
    forge = Forge(world.keys[0], issuer=town.issuer, audience="shop", now=town.stage.clock())
    stranger = Forge(other, issuer=town.issuer, audience="shop", now=town.stage.clock())
    for made in (
        lambda claims, typ: forge.unsigned(claims, {}),
        lambda claims, typ: forge.with_public_key_as_secret(claims, {}),
        lambda claims, typ: stranger.signed(claims, {"kid": forge.key.kid}),
        lambda claims, typ: forge.signed(claims, {"typ": "logout+jwt"}),
        lambda claims, typ: forge.signed(claims, {"jku": "https://evil.example/keys"}),
    ):
        monkeypatch.setattr(world, "signed", made)
        assert alice.sign_in().status == 400
    monkeypatch.undo()
    served(alice.sign_in())


def test_keys_that_change_in_the_middle(town: Town) -> None:
    """A key that is new since the last sign-in is fetched for the first token that names it."""
    served(town.person(at=(driver := town.app())).sign_in())
    town.provider.world.rotate_keys()
    town.stage.clock.advance(11)
    served(town.person("bob", at=driver).sign_in())


@pytest.mark.parametrize("offset", [-30, 0, 30])
def test_an_old_proof_is_none_whatever_the_clocks_say(town: Town, offset: int) -> None:
    """What clocks may differ by is no time in which the provider's memory passes for a new proof (L24)."""
    town.provider.clock_offset = offset
    alice = town.person(sign_out_there=False)
    served(alice.sign_in())
    town.stage.clock.advance(10)
    alice.app.submit("/session/logout")
    town.stage.clock.advance(1)
    url = alice.to_the_provider("/session/login?prompt=login&return_to=/me")
    arrival = alice.there.visit(url.replace("prompt=login", "x=1").replace("max_age=0", "y=1"))
    assert alice.there.pages == ["login"]
    assert alice.arrive(arrival).status == 403
    served(alice.go_on(alice.app.navigate("/session/login?prompt=login&return_to=/me")))


@pytest.mark.parametrize("offset", [-30, 0, 30])
def test_a_memory_of_before_the_end(town: Town, offset: int) -> None:
    """A proof of before our end begins no session after it, though the provider's clock calls it later (L24)."""
    town.provider.clock_offset = offset
    alice = town.person(sign_out_there=False)
    began = served(alice.sign_in())["authenticated_at"]
    assert abs(began - town.stage.clock()) <= 30
    town.stage.clock.advance(10)
    alice.app.submit("/session/logout")
    town.stage.clock.advance(1)
    served(alice.go_on(alice.app.navigate("/session/login?return_to=/me")))
    assert alice.there.pages == ["login", "login"]


@pytest.mark.parametrize("offset", [-30, 30])
def test_a_clock_that_is_off(town: Town, offset: int) -> None:
    """Half a minute between its clock and ours keeps nobody out, from a fresh login neither."""
    town.provider.clock_offset = offset
    alice = town.person()
    served(alice.sign_in())
    town.stage.clock.advance(301)
    served(alice.go_on(alice.app.navigate("/fresh")))
    assert alice.app.submit("/sign-out").status == 200
    town.stage.clock.advance(1)
    served(alice.go_on(alice.app.navigate("/session/login?return_to=/me")))


def test_nothing_secret_is_said(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """Neither logs nor events nor answers show the client's secret, a code, a token or a verifier."""
    caplog.set_level("DEBUG")
    alice = town.person(scope="openid offline_access")
    arrival = alice.there.visit(alice.to_the_provider())
    town.provider.faults.set(Answer(500), only="/token", times=1)
    alice.arrive(arrival)
    town.provider.faults.clear()
    town.stage.clock.advance(5)
    alice.arrive(arrival)
    (refresh,) = town.provider.world.refresh_tokens
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("session_middleware"))
    assert "authority_fault" in ours
    said = ours + repr(town.stage.events) + repr(town.authority()) + repr(town.authority()._provider)
    for secret in ("a secret", arrival.answer["code"], refresh, "access-", "code_verifier"):
        assert secret not in said
