"""Behind the stand-in of Ory Kratos, over loopback: every request is vouched for by whoami."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from typing import Any

import httpx2

from session_middleware.authorities.base import Alive, Attached, Shown, Vouch
from session_middleware.authorities.calls import Calls
from session_middleware.authorities.kratos import KratosAuthority
from session_middleware.authorities.kratos.server import Kratos
from session_middleware.authorities.routes import Endpoint
from session_middleware.testing import FakeClock
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.kratos import KratosStandIn

COOKIE = "ory_kratos_session"

#: Seconds: longer than any scenario, whose deadlines are ours.
LIFESPAN = 20 * 365 * 86_400.0

#: Loopback has no TLS, and to read the machine's authorities for each client takes longer than a scenario.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Vouching(KratosAuthority):
    """Vouches for the sessions that stand on it, begins none, and leaves no connection open behind a request."""

    def __init__(self, public_url: str, admin_url: str) -> None:
        super().__init__(
            public_url, admin_url=admin_url, app_url="https://app.example", lifespan=LIFESPAN, verify_interval=0.0
        )
        self._urls = (public_url, admin_url)

    def attach(self, to: Attached) -> None:
        make = httpx2.AsyncClient if to.runtime.asynchronous else httpx2.Client
        client = make(limits=httpx2.Limits(max_keepalive_connections=0), timeout=20.0, verify=NO_TLS)
        public, admin = (Calls(url, client=client, timeout=20.0) for url in self._urls)
        self._kratos = Kratos(public, admin, COOKIE)
        super().attach(to)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return ()

    async def adopt(self, shown: Shown, now: float) -> Vouch:
        return Vouch(Alive.GONE)


class BehindKratos:
    """Everybody signs in at Kratos."""

    cookies = (COOKIE,)

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.kratos = KratosStandIn(lifespan=LIFESPAN, clock=clock)
        self._open = ExitStack()
        self._public = self._open.enter_context(served(self.kratos.public))
        self._admin = self._open.enter_context(served(self.kratos.admin))

    def authority(self) -> KratosAuthority:
        return Vouching(self._public, self._admin)

    def enter(self, subject: str) -> tuple[dict[str, Any], list[str]]:
        people = self.kratos._world.identities
        if subject not in people:
            people[subject] = people.pop(self.kratos.add_identity(subject, "x"))
            people[subject].id = subject  # the scenarios know their people by name
        held = self.kratos.begin_session(subject)
        now = self.clock()
        provider = {"id": held.id, "authenticated_at": now, "ends_at": now + LIFESPAN, "authority": "kratos"}
        return provider, [f"{held.cookie}; Path=/; Secure; HttpOnly"]

    def close(self) -> None:
        self._open.close()


make = BehindKratos
