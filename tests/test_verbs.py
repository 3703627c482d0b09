"""The verbs of a session, and sessions as such: what they refuse, and that nothing is stored then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from session_middleware.core.lifetime import Verdict
from session_middleware.errors import SessionError, SettingsError
from session_middleware.runtime import run_sync
from session_middleware.session import Session
from session_middleware.sessions import AsyncSessions, Sessions
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore

from .test_engine import House


@pytest.mark.parametrize("verb", [lambda s: s.login("bob"), lambda s: s.step_up([{"kind": "totp"}])])
@pytest.mark.parametrize("request_of", [{"websocket": True, "scheme": "wss"}, {"method": "OPTIONS"}])
@pytest.mark.parametrize("signed_in", [False, True])
def test_no_session_is_made_whose_cookie_cannot_go_out(
    verb: Callable[[Session], Any], request_of: dict[str, Any], signed_in: bool
) -> None:
    """L18: where no cookie is set, login() and step_up() say so, store nothing and leave what stands."""
    house = House()
    if signed_in:
        house.login()
    house.store.forget_calls()
    x, refusal = house.opened(facts=house.facts(**request_of))
    assert refusal is None
    with pytest.raises(SessionError, match="cookie") as caught:
        verb(Session(house.engine, x))
    assert caught.value.code == "no_cookie"
    assert house.store.writes == 0
    assert x.verdict is (Verdict.ACTIVE if signed_in else Verdict.ANONYMOUS)
    assert house.closed(x) == []


def test_a_login_made_elsewhere_is_never_later_than_now() -> None:
    """L3: a provider, or a database, whose clock is ahead of ours does not lengthen the session."""
    house = House()
    x, _ = house.opened()
    run_sync(house.engine.login(x, "alice", authenticated_at=house.now + 500))
    assert x.record is not None
    assert x.record.authenticated_at == house.now
    x, _ = house.opened()
    run_sync(house.engine.login(x, "alice", authenticated_at=house.now - 500))
    assert x.record.authenticated_at == house.now - 500


def test_a_login_that_nobody_saw_is_not_fresh_until_a_step_up() -> None:
    """L3: an adopted login is no proof at all, however long ago one is asked for; a step-up is."""
    house = House()
    x, _ = house.opened()
    run_sync(house.engine.login(x, "alice", fresh=False))
    session = Session(house.engine, x)
    assert (session.is_active, session.is_fresh(86_400)) == (True, False)
    session.step_up([{"type": "otp"}])
    assert session.is_fresh(1)


NONSENSE: list[tuple[str, Any]] = [
    ("stamp", 3),
    ("stamp", b"digest"),
    ("actor", 7),
    ("claims", "role"),
    ("claims", []),
    ("claims", {"role": {5: 1}}),
    ("data", [("a", 1)]),
    ("data", {5: 1}),
    ("factors", "otp"),
    ("factors", {"type": "otp"}),
    ("factors", [5]),
    ("limits", 600),
    ("limits", {"absolute_lifetime": 600}),
    ("provider", "x"),
    ("persistent", "no"),
    ("subject", 5),
]


@pytest.mark.parametrize("store", [MemoryStore, SQLiteStore], ids=["memory", "sqlite"])
@pytest.mark.parametrize(("name", "value"), NONSENSE, ids=[f"{n}-{type(v).__name__}" for n, v in NONSENSE])
def test_a_login_with_nonsense_is_refused_before_anything_is_stored(
    name: str, value: Any, store: Any, tmp_path: Path
) -> None:
    """Bad input: on every store the same error, which names the argument; what stood goes on."""
    house = House(store=store(tmp_path / "s.db") if store is SQLiteStore else store())
    house.login("bob")
    house.store.forget_calls()
    x, _ = house.opened()
    arguments = {"subject": "alice", name: value}
    with pytest.raises(SettingsError) as caught:
        Session(house.engine, x).login(**arguments)
    assert caught.value.field == name
    assert house.store.writes == 0
    assert (x.verdict, x.record and x.record.subject) == (Verdict.ACTIVE, "bob")


@pytest.mark.parametrize("factors", ["otp", {"type": "otp"}, None, [5], [{5: 1}]])
def test_a_step_up_with_nonsense_is_refused(factors: Any) -> None:
    """Bad input: a word is no list of factors; nothing is stored, and the session is no fresher."""
    house = House()
    house.login()
    house.store.forget_calls()
    x, _ = house.opened()
    with pytest.raises(SettingsError) as caught:
        Session(house.engine, x).step_up(factors)
    assert (caught.value.field, house.store.writes) == ("factors", 0)


def test_data_reads_back_alike_from_every_store(tmp_path: Path) -> None:
    """L14: what a store in memory gives back is what one in a file does; a key that JSON would change is refused."""
    for store in (MemoryStore(), SQLiteStore(tmp_path / "s.db")):
        house = House(store=store)
        house.login()
        house.request(lambda session: session.data.update(pair=(1, 2)))
        x, _ = house.opened()
        assert Session(house.engine, x).data == {"pair": [1, 2]}
        with pytest.raises(SettingsError, match="<the key 5>"):
            house.request(lambda session: session.data.update({5: 1}))  # type: ignore[dict-item]  # what an app may do


# --- sessions as such ------------------------------------------------------------------------------------------------

OUTSIDE: list[tuple[str, tuple[Any, ...], str]] = [
    ("list", (5,), "subject"),
    ("list", (None,), "subject"),
    ("end_all", (5,), "subject"),
    ("end_all", ("",), "subject"),
    ("end_all", ("alice", 5), "except_id"),
    ("end", (5,), "id"),
    ("end", (None,), "id"),
    ("list_at_provider", (5,), "subject"),
    ("end_at_provider", (5,), "id"),
]


@pytest.mark.parametrize(("verb", "given", "field"), OUTSIDE)
@pytest.mark.parametrize("kind", [Sessions, AsyncSessions])
def test_a_ban_of_nobody_is_refused(verb: str, given: tuple[Any, ...], field: str, kind: Any) -> None:
    """Bad input: `end_all(5)` would leave the sessions of "5" alive and say nothing."""
    house = House()
    house.login("5")
    ask = getattr(kind(house.engine), verb)
    with pytest.raises(SettingsError) as caught:
        ask(*given) if kind is Sessions else run_sync(ask(*given))
    assert caught.value.field == field
    assert [info.id for info in Sessions(house.engine).list("5")]
