"""The contract of authorities: the toy provider keeps it, and one that breaks a promise is caught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from session_middleware.authorities.base import (
    Alive,
    EndedThere,
    Extended,
    Extension,
    ProviderLogin,
    Shown,
    Vouch,
)
from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord
from session_middleware.testing import AuthorityContract
from session_middleware.testing.reference_record import reference_record

from .desk import Desk, Stay

ALIVE = reference_record(0).evolve(authority="desk", provider_session="stay-1", subject="alice")
GONE = ALIVE.evolve(provider_session="stay-2")


def shows(record: SessionRecord) -> Shown:
    return Shown({"stay": str(record.provider_session)})


def desk_of(kind: type[Desk] = Desk) -> Desk:
    desk = kind()
    desk.stays = {"stay-1": Stay("alice", ALIVE.created_at), "stay-2": Stay("alice", ALIVE.created_at, over=True)}
    return desk


class TestDesk(AuthorityContract):
    """The toy provider."""

    @pytest.fixture
    def authority(self) -> Desk:
        return desk_of()

    @pytest.fixture
    def alive(self) -> SessionRecord:
        return ALIVE

    @pytest.fixture
    def gone(self) -> SessionRecord:
        return GONE

    @pytest.fixture
    def shows(self) -> Any:
        return shows

    @pytest.fixture
    def cut_off(self) -> Desk:
        desk = desk_of()
        desk.fault = RuntimeError("down")
        return desk


class Wrong(Desk):
    """Breaks every promise about what only some can do."""

    def credential(self, shown: Shown) -> str | None:
        return "everybody"

    async def adopt(self, shown: Shown, now: float) -> Vouch:
        login = ProviderLogin("alice", ProviderSession("stay-1", now, authority="desk"))
        return Vouch(Alive.ALIVE, login)  # whatever is shown, and also while it is down

    async def extend(self, record: SessionRecord, shown: Shown, now: float, minutes: float | None) -> Extension:
        return Extended(now + 600)

    async def end(self, record: SessionRecord, shown: Shown, reason: str, now: float) -> EndedThere | None:
        stay = self.stays.pop(str(record.provider_session), None)
        assert stay is not None or self.fault is not None, "there is no such stay"
        return EndedThere()

    async def list(self, subject: str, now: float) -> Sequence[ProviderSession]:
        return []

    async def end_all(self, subject: str, now: float) -> None:
        """Nothing ends."""


PROMISES: dict[str, Any] = {
    "adopts anything": lambda contract, wrong, down: contract.test_what_it_adopts(wrong, ALIVE, GONE, shows),
    "adopts while it is down": lambda contract, wrong, down: contract.test_a_fault_adopts_nobody(down, ALIVE, shows),
    "extends what is over": lambda contract, wrong, down: contract.test_what_is_over_is_not_extended(
        wrong, GONE, shows
    ),
    "ends once": lambda contract, wrong, down: contract.test_an_end_may_be_told_twice(wrong, ALIVE, shows),
    "claims an end": lambda contract, wrong, down: contract.test_an_end_that_cannot_be_told(down, ALIVE),
    "lists nobody": lambda contract, wrong, down: contract.test_all_of_a_user(wrong, ALIVE),
    "lists nobody while it is down": lambda contract, wrong, down: contract.test_a_fault_is_no_empty_list(down, ALIVE),
}


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
def test_a_broken_promise_is_found(promise: Any) -> None:
    """Each of them fails its own test of the contract."""
    wrong, down = desk_of(Wrong), desk_of(Wrong)
    down.fault = RuntimeError("down")
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        promise(AuthorityContract(), wrong, down)
