"""An OpenID provider behind every adapter: one life in each, and the whole scenario file."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from session_middleware.authorities.auth0 import Auth0Authority
from session_middleware.authorities.oidc import OIDCAuthority
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import AdapterContract, FakeClock
from session_middleware.testing.browser import Driver
from session_middleware.testing.scenarios.expect import problem, served
from session_middleware.testing.stage import Behind
from tests.authorities.oidc_town import ORIGIN, Auth0Town, Town, town_of

MODES = sorted(path.stem for path in (Path(__file__).parent.parent / "modes").glob("*_mode.py"))

#: One that blocks and one on a loop; the others are for the slow run.
FEW = ["asgi_mode", "wsgi_mode"]

#: The same adapters on another loop, where a life is enough to tell.
ON_TRIO = ["asgi_trio_mode", "starlette_trio_mode"]

EVERY = [mode if mode in FEW else pytest.param(mode, marks=pytest.mark.slow) for mode in MODES if mode not in ON_TRIO]


@pytest.fixture(params=MODES)
def town(request: pytest.FixtureRequest) -> Iterator[Town]:
    """The stand-in, and an application in one way of running it."""
    with town_of(request.param) as town:
        yield town


def test_a_life(town: Town) -> None:
    """Signing in, silence, a fresh proof, a second tab, a logout that the provider tells, and one of our own."""
    alice = town.person(response_mode="form_post")
    seen = served(alice.sign_in("/me?tab=2"))
    assert seen["subject"] == "alice"
    town.stage.clock.advance(301)
    anew = served(alice.sign_in("/fresh"))
    assert (anew["subject"], anew["authenticated_at"]) == ("alice", town.stage.clock())
    tab = alice.app.twin()
    (sid,) = town.provider.world.sessions
    assert town.tell(alice.app.driver, town.provider.logout_tokens(sid)["shop"]).status == 200
    problem(tab.fetch("/me"), "signed_out")
    town.stage.clock.advance(60)
    served(alice.sign_in())
    town.stage.clock.advance(901)
    assert "reason=inactivity" in (alice.app.navigate("/me").header("Location") or "")
    served(alice.sign_in())
    answer = alice.go_on(alice.app.submit("/session/logout"))
    assert b"You are signed out" in answer.body
    assert town.provider.world.sessions == {}
    problem(alice.app.fetch("/me"), None)


def test_the_provider_is_down(town: Town) -> None:
    """Who is in stays in, and who is not is asked to come back later."""
    alice = town.person()
    served(alice.sign_in())
    town.provider.faults.set(hang_up=True)
    town.stage.clock.advance(800)
    served(alice.app.navigate("/me"))
    bob = town.person("bob")
    assert bob.app.follow(bob.app.navigate("/me")).status == 503


def test_below_a_mount(town: Town) -> None:
    """Where the application lies below a path, so do its routes, and the provider sends the browser back there."""
    mode = importlib.import_module(town.stage._make.__module__)
    if not mode.SUPPORTS_MOUNT:
        pytest.skip("this way of running knows no mount")
    town.provider.add_client("shop", "a secret: 100% + more", [f"{ORIGIN}/shop/session/callback"])
    driver = town.stage.app(authority=town.authority(app_url=f"{ORIGIN}/shop"), mount="/shop")
    alice = town.person(at=driver)
    assert served(alice.sign_in("/shop/me"))["subject"] == "alice"
    assert alice.app.answers[-2].header("Location") == "/shop/me"


class _Silent(OIDCAuthority):
    """The scenarios have a login page of their own."""

    endpoints = ()

    async def logout_url(self, *_: Any) -> None:
        """And a logout that leads to our landing page."""


class _SilentAuth0(Auth0Authority):
    endpoints = ()

    async def logout_url(self, *_: Any) -> None:
        """As above."""


class _Place:
    """A provider that people are said to have signed in at."""

    cookies: tuple[str, ...] = ()

    def __init__(self, clock: FakeClock) -> None:
        self._clock, self._count = clock, 0

    def authority(self) -> OIDCAuthority:
        return _Silent("https://id.example", "shop", "a secret", app_url=ORIGIN)

    def enter(self, subject: str) -> tuple[dict[str, Any], list[str]]:
        self._count += 1
        said = {"id": f"sid-{self._count}", "authenticated_at": self._clock(), "authority": self.authority().name}
        return said, []


class _Auth0Place(_Place):
    def authority(self) -> OIDCAuthority:
        return _SilentAuth0("example.eu.auth0.com", "shop", "a secret", app_url=ORIGIN)


class TestScenarios(AdapterContract):
    """Every scenario with a login that stands on an OpenID provider's session."""

    @pytest.fixture(params=EVERY)
    def mode(self, request: pytest.FixtureRequest) -> ModuleType:
        return importlib.import_module(f"tests.modes.{request.param}")

    @pytest.fixture
    def make(self, mode: ModuleType) -> Callable[..., Driver]:
        made: Callable[..., Driver] = mode.make
        return made

    @pytest.fixture
    def make_store(self) -> Callable[[], Any]:
        return MemoryStore

    @pytest.fixture
    def supports_mount(self, mode: ModuleType) -> bool:
        return bool(mode.SUPPORTS_MOUNT)

    @pytest.fixture
    def behind(self) -> Callable[[FakeClock], Behind]:
        return _Place


@pytest.mark.slow
class TestAuth0Scenarios(TestScenarios):
    """The same with Auth0's preset, which adds nothing that a mode could see, so in two of them."""

    @pytest.fixture(params=FEW)
    def mode(self, request: pytest.FixtureRequest) -> ModuleType:
        return importlib.import_module(f"tests.modes.{request.param}")

    @pytest.fixture
    def behind(self) -> Callable[[FakeClock], Behind]:
        return _Auth0Place


def test_auth0_in_one_life() -> None:
    """The preset in the same way: `/v2/logout`, and a logout token that says JWT."""
    with town_of("wsgi_mode", Auth0Town) as town:
        alice = town.person()
        served(alice.sign_in())
        (sid,) = town.provider.world.sessions
        assert town.tell(alice.app.driver, town.provider.logout_tokens(sid)["shop"]).status == 200
        problem(alice.app.fetch("/me"), "signed_out")
