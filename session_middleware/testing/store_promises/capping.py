"""What a store promises that holds a subject to a number of sessions (ASVS 7.1.2)."""

from __future__ import annotations

from typing import Any

import pytest

from session_middleware.core.record import SessionRecord
from session_middleware.settings import Limits
from session_middleware.stores.base import Caps, EndsBefore
from session_middleware.testing.driven import Driven
from session_middleware.testing.store_promises.records import BEGAN, CROWD, FULL, LONG_AFTER, a_record, a_touch, needs

__all__ = ["Capping"]


class Capping:
    """The power Caps."""

    # --- Caps -------------------------------------------------------------------------------------------------------

    def test_room_is_no_reason_to_end_anybody(self, store: Driven) -> None:
        """While there is room create_capped does what create does, to the last field, and ends nobody."""
        needs(store, Caps)
        for n in range(3):
            record = a_record(n, **FULL)
            assert list(_capped(store, record, "two", 3, evict=n % 2 == 1)) == []
            assert store.load(record.key) == record
        assert {record.key for record in store.list("three", BEGAN)} == {a_record(n).key for n in range(3)}

    def test_where_there_is_no_room_nothing_is_created(self, store: Driven) -> None:
        """Without evict a full house answers None, holds nothing of the new session and leaves the others alive."""
        needs(store, Caps)
        ours = [a_record(n, handles=("ours",)) for n in range(3)]
        for record in ours[:2]:
            store.create(record)
        assert _capped(store, ours[2], "ours", 2, evict=False) is None
        assert store.load(ours[2].key) is None
        assert {record.key: record for record in store.list("ours", BEGAN)} == {r.key: r for r in ours[:2]}
        store.create(ours[2])
        assert store.load(ours[2].key) == ours[2]

    def test_room_is_made_by_ending_the_oldest(self, store: Driven) -> None:
        """With evict those authenticated first come back as they were, and are then ended with reason "revoked"."""
        needs(store, Caps)
        ours = [
            a_record(n, **(FULL | {"handles": ("ours",), "authenticated_at": BEGAN + at}))
            for n, at in enumerate((30, 10, 40, 20))
        ]
        for record in ours:
            store.create(record)
        as_it_was = store.touch(ours[1].key, a_touch(60, last_seen_at=BEGAN + 5000))
        new = a_record(9, handles=("ours",), authenticated_at=BEGAN + 50)
        evicted = _capped(store, new, "ours", 3, evict=True, at=BEGAN + 70, keep_until=BEGAN + 86_470)
        assert {record.key: record for record in evicted} == {ours[1].key: as_it_was, ours[3].key: ours[3]}
        assert len(evicted) == 2
        for record in (as_it_was, ours[3]):
            assert store.load(record.key) == record.ended("revoked", BEGAN + 70, BEGAN + 86_470)
        assert {record.key for record in store.list("ours", BEGAN + 70)} == {ours[0].key, ours[2].key, new.key}
        assert [store.load(record.key) for record in (ours[0], ours[2], new)] == [ours[0], ours[2], new]

    def test_only_the_new_session_is_never_the_one_to_go(self, store: Driven) -> None:
        """A session that was authenticated before all others (at a provider) still replaces one of them."""
        needs(store, Caps)
        store.create(a_record(0, handles=("ours",)))
        old = a_record(1, handles=("ours",), authenticated_at=BEGAN - 500)
        assert list(_capped(store, old, "ours", 1, evict=True)) == [a_record(0, handles=("ours",))]
        assert list(store.list("ours", BEGAN)) == [old]

    @pytest.mark.parametrize(
        "over",
        [
            {"inactivity_deadline": BEGAN + 60},
            {"authenticated_at": BEGAN + 60 - 86_400},
            {"ceiling": BEGAN + 90},
            {"keep_until": BEGAN + 60},
            {"handles": ("theirs",)},
        ],
    )
    def test_who_is_over_takes_no_room(self, store: Driven, over: dict[str, Any]) -> None:
        """A session whose recorded end is reached, or which is another's, is neither counted nor ended."""
        needs(store, Caps)
        limits: dict[str, Any] = {"limits": Limits(3600, 86_400), "handles": ("ours",)}
        record, new = a_record(0, **(limits | over)), a_record(1, **limits)
        store.create(record)
        assert list(_capped(store, new, "ours", 1, evict=False, at=BEGAN + 60)) == []
        assert store.load(record.key) in (record, None)  # None: rubbish, from keep_until on

    @pytest.mark.parametrize(
        "alive", [{"inactivity_deadline": BEGAN + 60.5}, {"inactivity_deadline": None}, {"ceiling": BEGAN + 90.5}]
    )
    def test_who_is_not_over_takes_room(self, store: Driven, alive: dict[str, Any]) -> None:
        """A session counts until the instant of its recorded end, by silence or by age."""
        needs(store, Caps)
        store.create(a_record(0, **({"handles": ("ours",)} | alive)))
        assert _capped(store, a_record(1, handles=("ours",)), "ours", 1, evict=False, at=BEGAN + 60) is None

    def test_the_ended_take_no_room(self, store: Driven) -> None:
        """A session that has ended is not counted, and its reason and time stay."""
        needs(store, Caps)
        store.create(a_record(0, handles=("ours",)))
        store.end(a_record(0).key, "logout", BEGAN + 5, LONG_AFTER)
        ended = store.load(a_record(0).key)
        assert list(_capped(store, a_record(1, handles=("ours",)), "ours", 1, evict=True)) == []
        assert store.load(a_record(0).key) == ended

    def test_who_an_epoch_ended_takes_no_room(self, store: Driven) -> None:
        """A session from before `end_before` is not counted and keeps the epoch's end."""
        needs(store, Caps)
        needs(store, EndsBefore)
        store.create(a_record(0, handles=("ours",)))
        store.end_before(BEGAN + 1, BEGAN + 2)
        new = a_record(1, handles=("ours",), authenticated_at=BEGAN + 3)
        assert list(_capped(store, new, "ours", 1, evict=True)) == []
        assert store.load(a_record(0).key).ended_at == BEGAN + 2

    @pytest.mark.parametrize("evict", [False, True])
    def test_what_an_epoch_has_ended_as_it_begins_takes_nobodys_place(self, store: Driven, evict: bool) -> None:
        """A login by a proof from before `end_before` is stored as one that has ended, and everybody else stays."""
        needs(store, Caps)
        needs(store, EndsBefore)
        store.end_before(BEGAN + 1, BEGAN + 2)
        standing = a_record(0, handles=("ours",), authenticated_at=BEGAN + 3)
        store.create(standing)
        assert list(_capped(store, a_record(1, handles=("ours",)), "ours", 1, evict=evict, at=BEGAN + 4)) == []
        assert store.load(a_record(1).key).ended_at == BEGAN + 2
        assert store.load(standing.key) == standing

    def test_a_key_that_is_held_ends_nobody(self, store: Driven) -> None:
        """Creating a key that is held is a fault here too, and nobody has then been ended."""
        needs(store, Caps)
        store.create(a_record(0, handles=("ours",)))
        with pytest.raises(Exception):  # noqa: B017, PT011  # which one is the store's own affair
            _capped(store, a_record(0, handles=("ours",), subject="mallory"), "ours", 1, evict=True)
        assert store.load(a_record(0).key) == a_record(0, handles=("ours",))

    def test_no_more_than_there_is_room_for_win_a_race(self, store: Driven) -> None:
        """Of many callers at once without evict exactly as many succeed as there is room for."""
        needs(store, Caps)
        ours = [a_record(n, handles=("ours",), authenticated_at=BEGAN + n) for n in range(CROWD)]
        until = BEGAN + 86_400
        answers = store.together(*(("create_capped", record, "ours", 5, False, BEGAN, until) for record in ours))
        made = [record.key for record, answer in zip(ours, answers, strict=True) if answer is not None]
        assert len(made) == 5
        assert {record.key for record in store.list("ours", BEGAN)} == set(made)
        assert [record.key for record in ours if store.load(record.key) is not None] == made

    def test_a_race_leaves_as_many_as_are_allowed(self, store: Driven) -> None:
        """Of many callers at once with evict all succeed, each loser is ended once, and `most` are left alive."""
        needs(store, Caps)
        ours = {
            record.key: record
            for record in (a_record(n, handles=("ours",), authenticated_at=BEGAN + n) for n in range(CROWD))
        }
        until = BEGAN + 86_400
        answers = store.together(*(("create_capped", one, "ours", 5, True, BEGAN, until) for one in ours.values()))
        evicted = [record for answer in answers for record in answer]
        alive = {record.key for record in store.list("ours", BEGAN)}
        assert len(alive) == 5
        assert len(evicted) == CROWD - 5
        assert {record.key for record in evicted} == ours.keys() - alive
        assert all(ours[record.key] == record for record in evicted)
        assert all(store.load(record.key) == record.ended("revoked", BEGAN, until) for record in evicted)


def _capped(
    store: Driven,
    record: SessionRecord,
    handle: str,
    most: int,
    *,
    evict: bool,
    at: float = BEGAN,
    keep_until: float = BEGAN + 86_400,
) -> Any:  # Any: a sequence of records, or None
    """Call create_capped, whose many arguments are positional as in every store call."""
    return store.create_capped(record, handle, most, evict, at, keep_until)
