"""What a store promises of records that are alive: they come back, are touched, saved and renewed (L5, L11, L14)."""

from __future__ import annotations

from typing import Any

import pytest

from session_middleware.core.lifetime import Touch
from session_middleware.testing.driven import Driven
from session_middleware.testing.store_promises.records import BEGAN, CROWD, FULL, a_record, a_touch

__all__ = ["Writing"]


class Writing:
    """create, load, touch, save and renew."""

    # --- create and load --------------------------------------------------------------------------------------------

    def test_an_unknown_key_is_not_found(self, store: Driven) -> None:
        """A key that nobody created loads as None."""
        assert store.load(b"\x00" * 32) is None

    @pytest.mark.parametrize("changes", [{}, FULL, {"claims": {"long": "x" * 100_000}, "handles": ()}])
    def test_a_record_comes_back_as_it_went_in(self, store: Driven, changes: dict[str, Any]) -> None:
        """Every field of a record is loaded as it was created, to the last bit of a float."""
        record = a_record(**changes)
        assert store.create(record) is None
        assert store.load(record.key) == record

    def test_a_key_is_created_once(self, store: Driven) -> None:
        """Creating a key that is held is a fault and leaves what is held."""
        store.create(a_record())
        with pytest.raises(Exception):  # noqa: B017, PT011  # which one is the store's own affair
            store.create(a_record(subject="mallory"))
        assert store.load(a_record().key) == a_record()

    def test_a_key_is_created_once_in_a_race(self, store: Driven) -> None:
        """Records of many callers are all kept."""
        store.together(*(("create", a_record(n)) for n in range(CROWD)))
        assert store.together(*(("load", a_record(n).key) for n in range(CROWD))) == [a_record(n) for n in range(CROWD)]

    def test_keys_are_compared_whole(self, store: Driven) -> None:
        """Keys that differ in the last byte only are different keys."""
        one, other = a_record(key=b"k" * 31 + b"1"), a_record(1, key=b"k" * 31 + b"2")
        store.create(one)
        assert store.load(other.key) is None
        store.create(other)
        assert (store.load(one.key), store.load(other.key)) == (one, other)

    # --- touch ------------------------------------------------------------------------------------------------------

    def test_a_touch_is_applied_and_answered(self, store: Driven) -> None:
        """A touch returns the record as it then stands, and as it is loaded."""
        store.create(a_record())
        due = a_touch(60).applied(a_record())
        assert store.touch(a_record().key, a_touch(60)) == due
        assert store.load(a_record().key) == due

    @pytest.mark.parametrize("order", [(60, 90), (90, 60)])
    def test_touches_in_either_order_leave_the_later_times(self, store: Driven, order: tuple[int, int]) -> None:
        """A touch that arrives late moves nothing back."""
        store.create(a_record())
        for seconds in order:
            store.touch(a_record().key, a_touch(seconds))
        assert store.load(a_record().key) == a_touch(90).applied(a_record())

    def test_touches_in_a_race_leave_the_latest_times(self, store: Driven) -> None:
        """Of many touches at once the latest times stand."""
        store.create(a_record())
        store.together(*(("touch", a_record().key, a_touch(seconds)) for seconds in range(CROWD)))
        assert store.load(a_record().key) == a_touch(CROWD - 1).applied(a_record())

    @pytest.mark.parametrize("exact", [False, True])
    @pytest.mark.parametrize("recorded", [None, BEGAN + 3600.0])
    @pytest.mark.parametrize("deadline", [None, BEGAN + 300.0, BEGAN + 7200.0])
    @pytest.mark.parametrize("keep", [BEGAN + 86_700.0, BEGAN + 93_600.0])
    def test_a_touch_does_what_touch_applied_says(
        self, store: Driven, exact: bool, recorded: float | None, deadline: float | None, keep: float
    ) -> None:
        """An exact touch may shorten, another may not; None leaves the deadline; no deadline stays none."""
        record = a_record(inactivity_deadline=recorded)
        store.create(record)
        touch = Touch(BEGAN + 60, deadline, keep, exact=exact)
        assert store.touch(record.key, touch) == touch.applied(record)
        assert store.load(record.key) == touch.applied(record)

    def test_the_first_presentation_is_recorded_once(self, store: Driven) -> None:
        """presented_at is set by the first touch that presents the record's generation, by no later one (L11)."""
        store.create(a_record(generation=2))
        for seconds, due in ((60, BEGAN + 60), (90, BEGAN + 60)):
            touch = a_touch(seconds, presented_generation=2, presented_at=BEGAN + seconds)
            assert store.touch(a_record().key, touch).presented_at == due
        assert store.load(a_record().key).presented_at == BEGAN + 60

    @pytest.mark.parametrize("presented", [None, 1, 3])
    def test_another_generation_records_no_presentation(self, store: Driven, presented: int | None) -> None:
        """A touch that presents another generation than the record's leaves presented_at unset (L11)."""
        store.create(a_record(generation=2))
        touch = a_touch(60, presented_generation=presented, presented_at=BEGAN + 60)
        assert store.touch(a_record().key, touch).presented_at is None
        assert store.load(a_record().key).presented_at is None

    # --- save -------------------------------------------------------------------------------------------------------

    def test_a_save_replaces_the_body_and_counts(self, store: Driven) -> None:
        """A save returns the new body one revision on, and so it is loaded (L14)."""
        store.create(a_record())
        new = a_record(claims={"role": "admin"}, data={"n": 1}, fresh_at=BEGAN + 5, extra={"zz": 1})
        assert store.save(new) == new.evolve(revision=1)
        assert store.load(new.key) == new.evolve(revision=1)

    def test_a_save_of_an_older_revision_is_refused(self, store: Driven) -> None:
        """Of two saves from the same revision the second finds None and changes nothing (L14)."""
        store.create(a_record())
        first = store.save(a_record(claims={"by": "first"}))
        assert store.save(a_record(claims={"by": "second"})) is None
        assert store.load(a_record().key) == first

    def test_a_save_keeps_the_pulse_and_handles_held(self, store: Driven) -> None:
        """What touch and renew wrote while a view worked is not overwritten by its save (L14)."""
        store.create(a_record())
        store.touch(a_record().key, a_touch(60))
        held = store.renew(a_record().key, 0, 1, BEGAN + 70)
        saved = store.save(a_record(claims={"role": "admin"}, handles=("stolen",)))
        assert saved == held.evolve(claims={"role": "admin"}, revision=1)
        assert store.load(a_record().key) == saved
        assert list(store.list("stolen", BEGAN)) == []

    def test_no_save_is_lost_in_a_race(self, store: Driven) -> None:
        """Of many saves from one revision exactly one succeeds, and it is the one that is held (L14)."""
        store.create(a_record())
        answers = store.together(*(("save", a_record(claims={"by": n})) for n in range(CROWD)))
        winners = [answer for answer in answers if answer is not None]
        assert len(winners) == 1
        assert store.load(a_record().key) == winners[0]

    # --- renew ------------------------------------------------------------------------------------------------------

    def test_a_renewal_moves_the_generation_only(self, store: Driven) -> None:
        """A renewal sets generation and renewed_at, forgets the presentation and moves no deadline (L11)."""
        record = a_record(generation=4, presented_at=BEGAN + 1)
        store.create(record)
        due = record.evolve(generation=5, renewed_at=BEGAN + 3600, presented_at=None)
        assert store.renew(record.key, 4, 5, BEGAN + 3600) == due
        assert store.load(record.key) == due

    @pytest.mark.parametrize("generation", [3, 5])
    def test_a_renewal_of_another_generation_is_refused(self, store: Driven, generation: int) -> None:
        """A renewal from a generation that is not the record's finds None and changes nothing (L11)."""
        store.create(a_record(generation=4))
        assert store.renew(a_record().key, generation, 9, BEGAN + 60) is None
        assert store.load(a_record().key) == a_record(generation=4)

    def test_one_renewal_wins_a_race(self, store: Driven) -> None:
        """Of many renewals from one generation exactly one succeeds (L11)."""
        store.create(a_record())
        answers = store.together(*(("renew", a_record().key, 0, 1, BEGAN + n) for n in range(CROWD)))
        winners = [answer for answer in answers if answer is not None]
        assert len(winners) == 1
        assert store.load(a_record().key) == winners[0]
