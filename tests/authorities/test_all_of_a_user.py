"""`Sessions` and the sessions of a user at the provider, those never seen here among them (L8, L24)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from session_middleware import SessionError, Settings, SettingsError
from session_middleware.errors import StoreUnavailable
from session_middleware.runtime import run_sync
from session_middleware.sessions import AsyncSessions, Sessions
from session_middleware.testing.scenarios.expect import served
from session_middleware.testing.stage import KEY, Stage

from .desk import Desk, Stay
from .test_adoption import FEW, guest, problem, stage_of


@pytest.fixture(params=FEW, ids=lambda name: name.removesuffix("_mode"))
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    yield from stage_of(request.param)


def outside(stage: Stage, authority: Any, **more: Any) -> Sessions:
    """Return what an operator's task does things with, over the store of the stage."""
    settings = Settings(secret_keys=[KEY], inactivity_timeout=900, absolute_lifetime=28_800)
    return Sessions(settings, stage.store, authority=authority, clock=stage.clock, **more)


def alive(desk: Desk) -> set[str]:
    """Return the stays that go on."""
    return {id for id, stay in desk.stays.items() if not stay.over}


def test_a_user_who_is_banned_is_out_at_the_provider_too(stage: Stage) -> None:
    """`end_all` ends what was never seen here too: else its credential would begin a session a moment later."""
    desk = Desk()
    here = guest(stage, desk)
    served(here.navigate("/me"))
    unseen = guest(stage, desk, "stay-2", driver=here.driver)  # holds a credential, and has not come yet
    guest(stage, desk, "stay-3", "bob", driver=here.driver)
    assert outside(stage, desk).end_all("alice") == 1
    assert alive(desk) == {"stay-3"}
    problem(here.fetch("/me"), "signed_out")
    desk.stays["stay-2"].over = False  # a provider that takes its time, as Auth0 does
    problem(unseen.fetch("/me"), None)


def test_all_but_one(stage: Stage) -> None:
    """The session that is kept keeps its own at the provider; every other one ends there, and can begin none here (L24)."""
    desk = Desk()
    here = guest(stage, desk)
    kept = served(here.navigate("/me"))["id"]
    other = guest(stage, desk, "stay-2", driver=here.driver)
    served(other.navigate("/me"))
    unseen = guest(stage, desk, "stay-3", driver=here.driver)
    assert outside(stage, desk).end_all("alice", except_id=kept) == 1
    assert alive(desk) == {"stay-1"}
    served(here.navigate("/me"))
    desk.stays["stay-3"].over = False  # a provider that takes its time
    problem(unseen.fetch("/me"), None)


def test_the_others_of_a_session(stage: Stage) -> None:
    """The button "sign out all others" and `end_others` reach those at the provider that never came here."""
    desk = Desk()
    here = guest(stage, desk)
    served(here.navigate("/me"))
    desk.stays["stay-2"] = Stay("alice", stage.clock())
    assert here.fetch("/session/list/end-others", "POST").status == 204
    assert alive(desk) == {"stay-1"}
    served(here.navigate("/me"))


@pytest.mark.parametrize("keep", [False, True])
def test_a_provider_that_does_not_answer(stage: Stage, keep: bool) -> None:
    """Ours end all the same, and whoever asked is told that the provider's have not; the same again does it (L17)."""
    desk = Desk()
    here = guest(stage, desk)
    kept = served(here.navigate("/me"))["id"]
    other = guest(stage, desk, "stay-2", driver=here.driver)
    served(other.navigate("/me"))
    desk.stays["stay-3"] = Stay("alice", stage.clock())
    sessions = outside(stage, desk)
    desk.fault = RuntimeError("down")
    with pytest.raises(StoreUnavailable, match="have ended here"):
        sessions.end_all("alice", except_id=kept if keep else None)
    desk.fault = None
    assert "stay-3" in alive(desk)
    problem(other.fetch("/me"), "signed_out")
    assert sessions.end_all("alice", except_id=kept if keep else None) == 0
    assert alive(desk) == ({"stay-1"} if keep else set())


def test_what_the_provider_knows(stage: Stage) -> None:
    """An operator sees the sessions of a user at the provider, and ends one of them by its id there, here too."""
    desk = Desk()
    here = guest(stage, desk)
    served(here.navigate("/me"))
    desk.stays["stay-2"] = Stay("alice", stage.clock() - 60, stage.clock() + 600)
    sessions = outside(stage, desk)
    found = {each.id: (each.proven_at, each.ceiling, each.authority) for each in sessions.list_at_provider("alice")}
    assert found["stay-2"] == (stage.clock() - 60, stage.clock() + 600, "desk")
    assert set(found) == {"stay-1", "stay-2"}
    assert len(sessions.list("alice")) == 1
    assert sessions.end_at_provider("stay-2") == 0
    assert sessions.end_at_provider("stay-1") == 1
    assert [each.id for each in sessions.list_at_provider("alice")] == []
    problem(here.fetch("/me"), "signed_out")
    desk.stays["stay-1"].over = False
    problem(here.fetch("/me"), "signed_out")  # its mark is left (L24)


@pytest.mark.parametrize("verb", ["list_at_provider", "end_at_provider"])
def test_a_provider_that_cannot_be_asked(stage: Stage, verb: str) -> None:
    """A fault is one, with an event, and no empty list; where nobody can be asked at all the error says so."""
    desk, events = Desk(), []
    sessions = outside(stage, desk, on_event=(lambda event: events.append(event.name),))
    desk.fault = RuntimeError("down")
    with pytest.raises(StoreUnavailable, match="provider"):
        getattr(sessions, verb)("alice")
    assert events == ["authority_fault"]
    with pytest.raises(SessionError, match="LocalAuthority") as caught:
        getattr(outside(stage, None), verb)("alice")
    assert caught.value.code == "not_supported"


def test_a_provider_that_may_not_be_asked_about_users(stage: Stage) -> None:
    """Without rights to ask about users ours end, each is told to the provider by its own id, and nothing more is asked."""
    desk = Desk()
    desk.knows_users = False
    here = guest(stage, desk)
    served(here.navigate("/me"))
    desk.stays["stay-2"] = Stay("alice", stage.clock())
    sessions = outside(stage, desk)
    assert sessions.end_all("alice") == 1
    assert desk.stays["stay-1"].over
    assert not desk.stays["stay-2"].over
    with pytest.raises(SessionError, match="Desk"):
        sessions.list_at_provider("alice")


def test_nobody(stage: Stage) -> None:
    """An empty id is nobody's, and no address of all users either: it is refused, and the provider is not asked."""
    desk = Desk()
    sessions = outside(stage, desk)
    for ask, field in (
        (sessions.end_all, "subject"),
        (sessions.list_at_provider, "subject"),
        (sessions.end_at_provider, "id"),
    ):
        with pytest.raises(SettingsError) as caught:
            ask("")
        assert caught.value.field == field
    assert desk.calls == []


def test_awaited(stage: Stage) -> None:
    """`AsyncSessions` has the same verbs, awaited."""
    desk = Desk()
    desk.stays |= {"stay-1": Stay("alice", stage.clock()), "stay-2": Stay("alice", stage.clock())}
    here = guest(stage, desk)
    served(here.navigate("/me"))
    engine = outside(stage, desk)._engine  # driven in place: no call of it waits
    sessions = AsyncSessions(engine)
    assert {each.id for each in run_sync(sessions.list_at_provider("alice"))} == {"stay-1", "stay-2"}
    assert run_sync(sessions.end_at_provider("stay-2")) == 0
    assert run_sync(sessions.end_all("alice")) == 1
    assert all(stay.over for stay in desk.stays.values())
