"""Desk: the smallest provider with a credential of its own, to test what the engine does with a provider's answers.

Its cookie is the name of a stay; everything about a stay can be changed behind the app's back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from session_middleware.authorities.base import (
    Alive,
    Attached,
    EndedThere,
    Extended,
    Extension,
    NeedsBrowser,
    NotExtended,
    ProviderLogin,
    Shown,
    Vouch,
)
from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord


@dataclass
class Stay:
    """A session at the desk."""

    guest: str
    proven_at: float
    ends_at: float | None = None
    over: bool = False


class Desk:
    """Vouches for whoever shows the cookie `stay`."""

    name = "desk"
    cookies: tuple[str, ...] = ("stay",)
    headers: tuple[str, ...] = ()
    knows_users = True

    def __init__(self, interval: float | None = 0.0) -> None:
        self.verify_interval = interval
        self.stays: dict[str, Stay] = {}
        self.calls: list[str] = []
        self.fault: Exception | None = None
        self.relay: tuple[str, ...] = ()
        self.extends_by: float | None = None
        self.extension: Extension | None = None
        self.ask_for: tuple[tuple[str, str], ...] = ()

    def attach(self, to: Attached) -> None:
        self.attached = to

    def __copy__(self) -> Desk:  # Django attaches copies, and there is one desk
        return self

    def credential(self, shown: Shown) -> str | None:
        return shown.cookies.get("stay") or shown.headers.get("x-stay")

    async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
        if record.provider_session is None or record.authority != self.name:
            return Vouch(Alive.ALIVE)
        return self._answer("verify", shown, now)

    async def adopt(self, shown: Shown, now: float) -> Vouch:
        return self._answer("adopt", shown, now)

    def _answer(self, call: str, shown: Shown, now: float) -> Vouch:
        self.calls.append(call)
        if self.fault is not None:
            raise self.fault
        id = self.credential(shown)
        if self.ask_for or id is None:
            return Vouch(Alive.NOT_SHOWN, ask_for=self.ask_for)
        stay = self.stays.get(id)
        if stay is None or stay.over or (stay.ends_at is not None and now >= stay.ends_at):
            return Vouch(Alive.GONE)
        provider = ProviderSession(id, stay.proven_at, stay.ends_at, self.name)
        login = ProviderLogin(stay.guest, provider, claims={"room": 7}, factors=({"type": "key"},), moves=True)
        return Vouch(Alive.ALIVE, login, self.relay)

    def extension_due(self, record: SessionRecord, now: float) -> bool:
        return self.extends_by is not None and (record.ceiling or now) - now < self.extends_by

    async def extend(self, record: SessionRecord, shown: Shown, now: float, minutes: float | None) -> Extension:
        self.calls.append("extend")
        if self.fault is not None:
            raise self.fault
        if self.extension is not None:
            return self.extension
        assert record.provider_session is not None
        stay = self.stays[record.provider_session]
        if stay.over:
            return NotExtended(gone=True)
        stay.ends_at = now + (minutes * 60 if minutes is not None else self.extends_by or 600)
        return Extended(stay.ends_at, ("stay_extended=1; Path=/; Secure",))

    async def end(self, record: SessionRecord, shown: Shown, reason: str, now: float) -> EndedThere | None:
        self.calls.append(f"end {reason}")
        if self.fault is not None:
            raise self.fault
        assert record.provider_session is not None
        self.stays[record.provider_session].over = True
        return EndedThere(("stay=; Max-Age=0; Path=/; Secure",))

    async def list(self, subject: str, now: float) -> Sequence[ProviderSession]:
        self.calls.append(f"list {subject}")
        if self.fault is not None:
            raise self.fault
        found = [(id, stay) for id, stay in self.stays.items() if stay.guest == subject and not stay.over]
        return [ProviderSession(id, stay.proven_at, stay.ends_at, self.name) for id, stay in found]

    async def end_all(self, subject: str, now: float) -> None:
        self.calls.append(f"end all of {subject}")
        if self.fault is not None:
            raise self.fault
        for stay in self.stays.values():
            stay.over = stay.over or stay.guest == subject


class HeaderDesk(Desk):
    """The same for API clients: the stay comes in a header."""

    cookies = ()
    headers = ("x-stay",)


__all__ = ["Desk", "HeaderDesk", "NeedsBrowser", "Stay"]
