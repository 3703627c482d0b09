"""The verbs of a session, and sessions as such: what they refuse, and that nothing is stored then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Verdict
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.errors import SessionError, SettingsError, StoreUnavailable
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


# --- claims and data once the response has started -------------------------------------------------------------------


def _started(house: House) -> Session:
    """Return the session of a request whose response has started; nobody else holds its exchange."""
    x, _ = house.opened()
    house.closed(x)
    return Session(house.engine, x)


def _late(session: Session) -> None:
    session.update_claims(role="late")
    session.data["x"] = 1


def _kept(house: House) -> tuple[dict[str, Any], dict[str, Any]]:
    x, _ = house.opened()
    assert x.record is not None
    return dict(x.record.claims), dict(x.record.data)


def _lost(house: House) -> list[str]:
    return [event.detail["names"] for event in house.events if event.name == "changes_lost"]


def test_what_is_written_after_the_response_has_started_is_stored_by_save() -> None:
    """L25: in a stream, on a socket, in a background task, `save()` writes at once."""
    house = House()
    house.login()
    session = _started(house)
    _late(session)
    session.save()
    assert _kept(house) == ({"role": "late"}, {"x": 1})
    session.data["x"] = 2
    session.save()
    assert _kept(house)[1] == {"x": 2}
    del session
    assert _lost(house) == []


def test_what_nobody_saved_after_the_response_had_started_is_told() -> None:
    """L25: it is lost, for no response is left to save it with; an event of level ERROR names it, and shows no value."""
    house = House()
    house.login()
    session = _started(house)
    _late(session)
    session.save()
    session.update_claims(role="later", team="b")
    session.data["y"] = "a secret"
    del session.data["x"]
    assert _lost(house) == []
    del session
    assert _lost(house) == ["role, team, x, y"]
    assert "a secret" not in str(house.events)
    assert house.events[-1].subject == "alice"
    assert _kept(house) == ({"role": "late"}, {"x": 1})


def test_data_taken_before_the_response_and_written_after_it_is_told_too() -> None:
    """L25: the dict is the same one before and after."""
    house = House()
    house.login()
    x, _ = house.opened()
    data = Session(house.engine, x).data
    data["x"] = 1
    house.closed(x)
    data["y"] = 2
    del x
    assert (_lost(house), _kept(house)[1]) == (["y"], {"x": 1})


def test_a_late_write_to_empty_data_is_told_too() -> None:
    """L25: also where the dict was empty when it was taken."""
    house = House()
    house.login()
    session = _started(house)
    data = session.data
    data["x"] = 1
    del session
    assert _lost(house) == ["x"]


def test_nothing_is_lost_with_a_session_that_has_ended() -> None:
    """L13: dead wins; what was to be kept in it is no loss."""
    house = House()
    house.login()
    session = _started(house)
    _late(session)
    (record,) = house.store.store.list(handle_of("subject", "alice"), house.now)

    def end() -> Any:
        yield "end", record.key, "revoked", house.now, house.now + 60

    house.store.interrupt("save", end)
    session.save()
    assert session.verdict is Verdict.REVOKED
    del session
    assert _lost(house) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_save_that_failed_may_be_tried_again(when: str) -> None:
    """L17: what the store did not take is still to be saved, claims as well as data."""
    house = House()
    house.login()
    x, _ = house.opened()
    session = Session(house.engine, x)
    if when == "after":
        house.closed(x)
    _late(session)
    house.store.go_down(reads=False)
    with pytest.raises(StoreUnavailable):
        session.save()
    house.store.come_back()
    assert session.claims == {"role": "late"}
    session.save()
    assert _kept(house) == ({"role": "late"}, {"x": 1})


def test_what_is_only_read_after_the_response_has_started_is_no_loss() -> None:
    """A template that is streamed reads data and claims; no event."""
    house = House()
    house.login(data={"x": 1}, claims={"role": "a"})
    session = _started(house)
    assert (session.data, session.claims) == ({"x": 1}, {"role": "a"})
    del session
    house.request(lambda session: session.data.get("x"))
    assert _lost(house) == []


def test_a_dict_of_data_that_a_view_holds_stays_the_sessions() -> None:
    """L14: `save()` does not leave the view with a dict that nobody looks at any more."""
    house = House()
    house.login(data={"gone": 1, "kept": [1]})

    def view(session: Session) -> None:
        data = session.data
        data["x"] = 1
        del data["gone"]
        session.save()
        data["y"] = 2
        data["kept"].append(2)

    house.request(view)
    assert _kept(house)[1] == {"kept": [1, 2], "x": 1, "y": 2}


@pytest.mark.parametrize(
    ("goes_over", "kept"),
    [
        (lambda session: session.step_up([{"type": "otp"}]), {"before": 1, "after": 2}),
        (lambda session: session.login("alice"), {"before": 1, "after": 2}),
        (lambda session: session.login("bob"), {}),
    ],
    ids=["step_up", "login", "login of another"],
)
def test_a_dict_of_data_goes_over_with_its_user(goes_over: Callable[[Session], None], kept: dict[str, int]) -> None:
    """L12, L14: what a view writes to it after `step_up()` or `login()` is saved; another user is given nothing."""
    house = House()
    house.login(data={"gone": 0})

    def view(session: Session) -> None:
        data = session.data
        data["before"] = 1
        del data["gone"]
        goes_over(session)
        data["after"] = 2

    house.request(view)
    assert _kept(house)[1] == kept


def test_what_a_login_brings_stands_in_the_dict_that_a_view_holds() -> None:
    """L14: else the next save would take what `login(data=)` has just stored for something that the view removed."""
    house = House()
    house.login(data={"held": 1})

    def view(session: Session) -> None:
        data = session.data
        session.login("alice", data={"brought": 2})
        assert data == {"held": 1, "brought": 2}
        data["after"] = 3

    house.request(view)
    assert _kept(house)[1] == {"held": 1, "brought": 2, "after": 3}


def test_a_late_save_keeps_what_another_request_wrote_meanwhile() -> None:
    """L14: name by name, against the data that the view was given, not against what others have made of it since."""
    house = House()
    house.login(data={"a": 1, "b": 1, "c": 1})
    session = _started(house)
    session.data["a"] = 2
    house.request(lambda other: other.data.update(b=2, new=1))
    house.request(lambda other: other.data.pop("c"))
    session.touch()
    session.save()
    assert _kept(house)[1] == {"a": 2, "b": 2, "new": 1}
    assert session.data == {"a": 2, "b": 2, "new": 1}


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


@pytest.mark.parametrize("first", ["login", "step_up"])
def test_a_new_id_remembers_the_one_that_the_browser_knows(first: str) -> None:
    """L12, L23: also after two verbs in one request, since nobody ever held the id in between; another user's is no former id."""
    house = House()
    assert only_record(house.login()).before == ()
    known = only_record(house.request()).public_id

    def twice(session: Session) -> None:
        if first == "login":
            session.login("alice")
        session.step_up([{"type": "otp"}])

    assert only_record(house.request(twice)).before == (known,)
    assert only_record(house.login("bob")).before == ()


def only_record(x: Exchange) -> SessionRecord:
    assert x.record is not None
    return x.record
