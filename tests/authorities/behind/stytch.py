"""Behind Stytch, over loopback."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx2

from session_middleware.authorities.base import Alive, Attached, Shown, Vouch
from session_middleware.authorities.stytch import StytchAuthority
from session_middleware.core.record import SessionRecord
from session_middleware.testing import FakeClock
from session_middleware.testing.stand_ins import served
from session_middleware.testing.stand_ins.stytch import StytchStandIn
from tests.authorities.stytch_shop import JWT_COOKIE, PATIENCE, TOKEN_COOKIE

#: No connection is kept: some modes run each request on a loop of its own, which leaves no time to close one.
LIMITS = httpx2.Limits(max_keepalive_connections=0)

#: Loopback has no TLS, and to read the machine's authorities for each client takes longer than a scenario.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Vouching(StytchAuthority):
    """Vouches for the sessions that stand on Stytch's, and begins none."""

    def attach(self, to: Attached) -> None:
        kind = httpx2.AsyncClient if to.runtime.asynchronous else httpx2.Client
        self._options = replace(
            self._options, client=kind(limits=LIMITS, timeout=PATIENCE, verify=NO_TLS), timeout=PATIENCE
        )
        super().attach(to)

    async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
        """Some scenarios last longer than the 366 days that Stytch allows, so its end is not followed here."""
        vouch = await super().verify(record, shown, now)
        return vouch if vouch.login is None else replace(vouch, login=replace(vouch.login, moves=False))

    async def adopt(self, shown: Shown, now: float) -> Vouch:
        return Vouch(Alive.GONE)


class BehindStytch:
    """Everybody signs in at Stytch."""

    cookies = (TOKEN_COOKIE, JWT_COOKIE)

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.stytch = StytchStandIn(clock=clock)
        self.users: set[str] = set()
        self.running = ExitStack()
        self.base_url = self.running.enter_context(served(self.stytch))

    def authority(self) -> StytchAuthority:
        return Vouching(self.stytch.project_id, self.stytch.secret, base_url=self.base_url)

    def enter(self, subject: str) -> tuple[dict[str, Any], list[str]]:
        if subject not in self.users:
            self.users.add(self.stytch.add_user(id=subject))
        held = self.stytch.start_session(subject, 527_040)
        provider = {
            "id": self.stytch.id_of(held.token),
            "authenticated_at": self.clock(),
            "authority": "stytch",
        }
        lines = [f"{TOKEN_COOKIE}={held.token}; Path=/; Secure", f"{JWT_COOKIE}={held.jwt}; Path=/; Secure"]
        return provider, lines

    def close(self) -> None:
        """Stop the stand-in."""
        self.running.close()


make = BehindStytch
