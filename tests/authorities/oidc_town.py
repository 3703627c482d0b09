"""An application that signs people in at the stand-in of an OpenID provider, both by one clock that a test moves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from session_middleware.authorities.auth0 import Auth0Authority
from session_middleware.authorities.oidc import OIDCAuthority
from session_middleware.testing.browser import FORM, Answer, Browser, Driver
from session_middleware.testing.stage import Stage
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.auth0 import Auth0StandIn
from session_middleware.testing.stand_ins.openid import OpenIDStandIn
from tests.authorities.oidc_people import Person, client_for, stage_of
from tests.authorities.oidc_visitor import Visitor
from tests.authorities.token_forge import Forge

ORIGIN = "https://app.example"
SECRET = "a secret: 100% + more"


class Town:
    """The stand-in, an application, and people.

    Attributes:
        provider: the stand-in.
        stage: clock, store, events and applications.
    """

    def __init__(self, stage: Stage, provider: OpenIDStandIn, issuer: str) -> None:
        self.stage, self.provider, self.issuer = stage, provider, issuer
        self._visitors: list[Visitor] = []

    def authority(self, **more: Any) -> OIDCAuthority:
        """Return the application's authority."""
        options = {"client": client_for(self.stage), "app_url": ORIGIN, "timeout": 20.0, **more}
        return OIDCAuthority(self.issuer, "shop", SECRET, **options)

    def app(self, settings: dict[str, Any] | None = None, **more: Any) -> Driver:
        """Start a worker of the application."""
        return self.stage.app(authority=self.authority(**more), **(settings or {}))

    def person(self, login: str = "alice", *, at: Driver | None = None, **more: Any) -> Person:
        """Return somebody with a browser of their own."""
        self._visitors.append(Visitor(self.issuer.rstrip("/"), login))
        return Person(self._outsider(at or self.app(**more)), self._visitors[-1])

    def forge(self, person: Person | None = None, **more: Any) -> Forge:
        """Return what signs tokens with the stand-in's key, about a person's session there."""
        sid = None
        if person is not None:
            sid = next(s.sid for s in self.provider.world.sessions.values() if s.subject == person.there.login)
        said = {"sid": sid or "sid-of-alice", **more}
        return Forge(self.provider.world.keys[0], issuer=self.issuer, audience="shop", now=self.stage.clock(), **said)

    def tell(self, at: Driver, token: str) -> Answer:
        """Bring a logout token to the application, as a provider does."""
        body = urlencode({"logout_token": token}).encode()
        return self._outsider(at).plain("/session/backchannel-logout", "POST", body, headers=[("Content-Type", FORM)])

    def push(self, at: Driver, token: str, kind: str = "application/secevent+jwt") -> Answer:
        """Push a security event token, as a transmitter does."""
        headers = [("Content-Type", kind), ("Accept", "application/json")]
        return self._outsider(at).plain("/session/security-events", "POST", token.encode(), headers=headers)

    def _outsider(self, at: Driver) -> Browser:
        return Browser(at, self.stage.clock, origin=ORIGIN)

    def close(self) -> None:
        """Close every browser and every application."""
        for visitor in self._visitors:
            visitor.__exit__()
        self.stage.close()


class Auth0Town(Town):
    """The same at an Auth0 tenant."""

    provider: Auth0StandIn

    def authority(self, **more: Any) -> Auth0Authority:
        """Return the application's authority."""
        options = {"client": client_for(self.stage), "app_url": ORIGIN, "timeout": 20.0, **more}
        return Auth0Authority(self.issuer, "shop", SECRET, **options)


@contextmanager
def town_of(mode: str, kind: type[Town] = Town, **more: Any) -> Iterator[Any]:
    """Open a town for one way of running the application."""
    stage = stage_of(mode)
    provider = (Auth0StandIn if kind is Auth0Town else OpenIDStandIn)(clock=stage.clock, **more)
    provider.add_client("shop", SECRET, [f"{ORIGIN}/session/callback"], [f"{ORIGIN}/session/signed-out"])
    with served(provider) as url:
        provider.base_url = url
        town = kind(stage, provider, provider.issuer)
        try:
            yield town
        finally:
            provider.faults.clear()
            town.close()
