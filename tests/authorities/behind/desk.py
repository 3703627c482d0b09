"""Behind the toy provider."""

from __future__ import annotations

from typing import Any

from session_middleware.authorities.base import Alive, Extended, Shown, Vouch
from session_middleware.testing import FakeClock
from tests.authorities.desk import Desk, Stay


class Vouching(Desk):
    """Vouches for the sessions that stand on it, and begins none."""

    async def adopt(self, shown: Shown, now: float) -> Vouch:
        return Vouch(Alive.GONE)


class BehindDesk:
    """Everybody signs in at the desk."""

    cookies = ("stay", "stay_extended")

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.desk, self.count = clock, Vouching(), 0
        self.desk.extension = Extended(None)

    def authority(self) -> Desk:
        return self.desk

    def enter(self, subject: str) -> tuple[dict[str, Any], list[str]]:
        self.count += 1
        id = f"stay-{self.count}"
        self.desk.stays[id] = Stay(subject, self.clock())
        provider = {"id": id, "authenticated_at": self.clock(), "authority": "desk"}
        return provider, [f"stay={id}; Path=/; Secure"]

    def close(self) -> None:
        """Nothing runs."""


make = BehindDesk
