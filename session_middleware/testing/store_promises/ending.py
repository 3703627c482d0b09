"""What a store promises of ends: they are final, and what has ended is on no list (L13, L16)."""

from __future__ import annotations

from typing import Any

from session_middleware.core.record import handle_of
from session_middleware.stores.base import EndsBefore, Recognises
from session_middleware.testing.driven import Driven
from session_middleware.testing.store_promises.records import BEGAN, CROWD, FULL, LONG_AFTER, a_record, a_touch, needs

__all__ = ["Ending"]


class Ending:
    """end, list, and the power EndsBefore."""

    # --- end --------------------------------------------------------------------------------------------------------

    def test_an_end_keeps_hash_subject_times_and_reason_only(self, store: Driven) -> None:
        """An ended record keeps what `SessionRecord.ended` names and nothing of the person beside it (L16)."""
        record = a_record(**FULL)
        store.create(record)
        assert store.end(record.key, "logout", BEGAN + 60, BEGAN + 86_460) is True
        ended = store.load(record.key)
        assert ended == record.ended("logout", BEGAN + 60, BEGAN + 86_460)
        assert (dict(ended.claims), dict(ended.data), ended.factors, dict(ended.attributes)) == ({}, {}, (), {})
        assert (ended.provider_session, ended.stamp, ended.actor, dict(ended.extra)) == (None, None, None, {})

    def test_an_ended_session_ends_once(self, store: Driven) -> None:
        """Ending what has ended answers False and leaves the first reason and time."""
        store.create(a_record())
        store.end(a_record().key, "logout", BEGAN + 60, BEGAN + 86_460)
        assert store.end(a_record().key, "revoked", BEGAN + 90, BEGAN + 99_999) is False
        assert store.load(a_record().key) == a_record().ended("logout", BEGAN + 60, BEGAN + 86_460)

    def test_one_end_wins_a_race(self, store: Driven) -> None:
        """Of many ends exactly one answers True, and its time stands."""
        store.create(a_record())
        answers = store.together(*(("end", a_record().key, "logout", BEGAN + n, LONG_AFTER) for n in range(CROWD)))
        assert answers.count(True) == 1
        assert store.load(a_record().key).ended_at == BEGAN + answers.index(True)

    def test_the_missing_stay_missing(self, store: Driven) -> None:
        """Touch, save, renew and end of a key that is not held answer None or False and make no row (L13)."""
        key = a_record().key
        assert store.touch(key, a_touch(60)) is None
        assert store.save(a_record()) is None
        assert store.renew(key, 0, 1, BEGAN) is None
        assert store.end(key, "logout", BEGAN, LONG_AFTER) is False
        assert store.load(key) is None
        assert list(store.list(a_record().handles[0], BEGAN)) == []

    def test_the_dead_stay_dead(self, store: Driven) -> None:
        """Touch, save and renew of an ended session answer None and change nothing (L13)."""
        store.create(a_record())
        store.end(a_record().key, "logout", BEGAN + 60, BEGAN + 86_460)
        ended = store.load(a_record().key)
        assert store.touch(a_record().key, a_touch(90, exact=True)) is None
        assert store.save(a_record(claims={"role": "admin"})) is None
        assert store.save(ended) is None
        assert store.renew(a_record().key, 0, 1, BEGAN + 90) is None
        assert store.load(a_record().key) == ended

    def test_an_end_after_other_writes_takes_effect(self, store: Driven) -> None:
        """End needs only the key: whatever touch, save and renew did before, the session is dead (L13)."""
        store.create(a_record())
        store.touch(a_record().key, a_touch(90))
        store.save(a_record(claims={"role": "admin"}))
        held = store.renew(a_record().key, 0, 1, BEGAN + 90)
        assert store.end(a_record().key, "logout", BEGAN + 60, BEGAN + 86_460) is True
        assert store.load(a_record().key) == held.ended("logout", BEGAN + 60, BEGAN + 86_460)

    def test_an_end_wins_every_race(self, store: Driven) -> None:
        """Among touches, saves and renewals at the same time an end takes effect and is not undone (L13)."""
        for n in range(4):
            key = a_record(n).key
            store.create(a_record(n))
            calls: list[tuple[Any, ...]] = [
                call
                for step in range(8)
                for call in (
                    ("touch", key, a_touch(step)),
                    ("save", a_record(n, claims={"step": step}, revision=step)),
                    ("renew", key, step, step + 1, BEGAN + step),
                )
            ]
            calls.insert(6 * n, ("end", key, "logout", BEGAN + 60, BEGAN + 86_460))
            assert store.together(*calls)[6 * n] is True
            ended = store.load(key)
            assert (ended.ended_at, ended.end_reason, dict(ended.claims)) == (BEGAN + 60, "logout", {})

    # --- list -------------------------------------------------------------------------------------------------------

    def test_a_list_has_the_live_records_of_the_handle(self, store: Driven) -> None:
        """A list has each live record that carries the handle, as it now stands, once, and no other."""
        ours = [a_record(n, handles=("ours", f"own {n}")) for n in range(4)]
        for record in (*ours, a_record(9, handles=("theirs",))):
            store.create(record)
        store.end(ours[0].key, "logout", BEGAN, LONG_AFTER)
        touched = store.touch(ours[1].key, a_touch(60))
        found = {record.key: record for record in store.list("ours", BEGAN + 60)}
        assert len(store.list("ours", BEGAN + 60)) == 3
        assert found == {record.key: record for record in (touched, ours[2], ours[3])}
        assert list(store.list("own 2", BEGAN)) == [ours[2]]

    def test_a_handle_that_nobody_carries_lists_nothing(self, store: Driven) -> None:
        """An unknown handle is an empty list, no error."""
        store.create(a_record())
        assert list(store.list(handle_of("subject", "nobody"), BEGAN)) == []

    # --- EndsBefore -------------------------------------------------------------------------------------------------

    def test_an_epoch_ends_what_began_before_it(self, store: Driven) -> None:
        """After end_before a session that was authenticated earlier reads as revoked, one of that instant lives on."""
        needs(store, EndsBefore)
        old, new = a_record(0, **FULL), a_record(1, authenticated_at=BEGAN + 10)
        store.create(old)
        store.create(new)
        store.end_before(BEGAN + 10, BEGAN + 20)
        assert store.load(old.key) == old.ended("revoked", BEGAN + 20, old.keep_until)
        assert store.load(new.key) == new
        assert list(store.list(old.handles[0], BEGAN + 20)) == []
        assert list(store.list(new.handles[0], BEGAN + 20)) == [new]

    def test_nothing_revives_what_an_epoch_ended(self, store: Driven) -> None:
        """Touch, save, renew, end and holds find a session before the epoch not alive, and leave it so (L13)."""
        needs(store, EndsBefore)
        key = a_record().key
        store.create(a_record())
        held = store.load(key)
        store.end_before(BEGAN + 10, BEGAN + 20)
        if isinstance(store.store, Recognises):
            assert store.holds(held) is False
        assert store.touch(key, a_touch(60, exact=True)) is None
        assert store.save(a_record(authenticated_at=BEGAN + 99)) is None
        assert store.renew(key, 0, 1, BEGAN + 60) is None
        assert store.end(key, "logout", BEGAN + 60, LONG_AFTER) is False
        assert store.load(key) == a_record().ended("revoked", BEGAN + 20, a_record().keep_until)

    def test_an_epoch_only_grows(self, store: Driven) -> None:
        """An earlier instant than one given before changes nothing; a later one ends more."""
        needs(store, EndsBefore)
        for n in range(3):
            store.create(a_record(n, authenticated_at=BEGAN + 10 * n))
        for instant, alive in ((10, [1, 2]), (5, [1, 2]), (20, [2]), (10, [2])):
            store.end_before(BEGAN + instant, BEGAN + 50)
            assert [n for n in range(3) if store.load(a_record(n).key).ended_at is None] == alive

    def test_sessions_after_an_epoch_live_as_others(self, store: Driven) -> None:
        """A session begun after the epoch is created, touched, saved, renewed, listed and ended as ever."""
        needs(store, EndsBefore)
        store.end_before(BEGAN, BEGAN)
        store.create(a_record())
        touched = store.touch(a_record().key, a_touch(60))
        assert touched == a_touch(60).applied(a_record())
        assert store.save(touched).revision == 1
        assert store.renew(a_record().key, 0, 1, BEGAN + 60).generation == 1
        assert len(store.list(a_record().handles[0], BEGAN)) == 1
        assert store.end(a_record().key, "logout", BEGAN + 60, LONG_AFTER) is True

    def test_an_epoch_goes_by_what_was_saved(self, store: Driven) -> None:
        """An epoch compares the authentication time of the last save, for every method alike."""
        needs(store, EndsBefore)
        store.create(a_record())
        saved = store.save(a_record(authenticated_at=BEGAN + 30))
        store.end_before(BEGAN + 20, BEGAN + 40)
        assert store.load(saved.key) == saved
        assert list(store.list(saved.handles[0], BEGAN)) == [saved]
        store.end_before(BEGAN + 31, BEGAN + 40)
        assert store.load(saved.key).end_reason == "revoked"
        assert list(store.list(saved.handles[0], BEGAN)) == []

    def test_an_epoch_leaves_the_reason_of_earlier_ends(self, store: Driven) -> None:
        """What had ended before keeps its own reason and time."""
        needs(store, EndsBefore)
        store.create(a_record())
        store.end(a_record().key, "logout", BEGAN + 5, LONG_AFTER)
        store.end_before(BEGAN + 10, BEGAN + 20)
        assert store.load(a_record().key) == a_record().ended("logout", BEGAN + 5, LONG_AFTER)
