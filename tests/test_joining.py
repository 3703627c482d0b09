"""One login that a framework knows from before our time is one session of ours, however many requests show it (L23)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.runtime import run_sync

from .test_engine import House

PROOF = "their session"


def shown(house: House, subject: str = "alice", proof: str = PROOF) -> tuple[Exchange, bool]:
    """Show that login in a request of a browser that has nothing of ours."""
    x, _ = house.opened()
    return x, run_sync(house.engine.adopt_login(x, proof, subject, authenticated_at=house.now - 60))


def record_of(x: Exchange) -> SessionRecord:
    assert x.record is not None
    return x.record


def test_requests_at_once_get_one_session() -> None:
    """The second gets the cookie of the first; the login counts from when it was, and is not fresh (L3)."""
    house = House()
    (first, began), (second, joined) = shown(house), shown(house)
    assert (began, joined) == (True, True)
    assert record_of(first).key == record_of(second).key
    assert record_of(first).authenticated_at == house.now - 60
    assert record_of(first).fresh_at == 0.0
    assert run_sync(house.engine.close(first))[0] == run_sync(house.engine.close(second))[0]
    assert house.engine.is_of_login(record_of(first), PROOF)
    assert not house.engine.is_of_login(record_of(first), "another")


def test_another_process_at_the_same_instant() -> None:
    """Where it creates the record between our look and our write, ours joins it."""
    elsewhere, house = House(), House()
    theirs = record_of(shown(elsewhere)[0])

    def between() -> Iterator[Any]:
        yield "create", theirs

    house.store.interrupt("create", between)
    x, joined = shown(house)
    assert joined
    assert x.created is None
    assert record_of(x).key == theirs.key


@pytest.mark.parametrize(("seconds", "subject"), [(30, "alice"), (0, "bob")], ids=["too late", "another user"])
def test_who_does_not_join(seconds: float, subject: str) -> None:
    """A copy that comes when no lost response explains it, and who is somebody else there: nobody is signed in."""
    house = House()
    shown(house)
    house.now += seconds
    x, joined = shown(house, subject)
    assert not joined
    assert x.verdict is Verdict.ANONYMOUS
    assert x.record is None


def test_what_has_ended_is_not_begun_again() -> None:
    """The same request that would have joined is told so."""
    house = House()
    first, _ = shown(house)
    run_sync(house.engine.logout(first))
    with pytest.raises(SessionError) as caught:
        shown(house)
    assert caught.value.code == "login_ended"


def test_a_store_that_is_down() -> None:
    """Nothing is begun, and the next request may (L17)."""
    house = House()
    house.store.go_down(reads=False)
    with pytest.raises(StoreUnavailable):
        shown(house)
    house.store.come_back()
    house.now += 1
    assert shown(house)[1]
