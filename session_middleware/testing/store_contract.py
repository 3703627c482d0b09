"""StoreContract: every promise of `stores/base.py` as a test; a store is right if it passes.

Five lines test a store of your own:

    class TestDictStore(StoreContract):
        @pytest.fixture
        def make_store(self):
            return DictStore

Optional powers (Recognises, EndsBefore, AddsOnce, Prunes, Caps, Walks) are found by what the store can do, and then tested too. No
test sleeps or reads a clock; nothing is rubbish before its `keep_until`, which the tests choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.errors import SettingsError
from session_middleware.settings import Limits
from session_middleware.stores.base import AddsOnce, Caps, EndsBefore, Prunes, Recognises, Walks
from session_middleware.testing.driven import Driven
from session_middleware.testing.reference_record import reference_record

__all__ = ["StoreContract"]

#: Callers at once in the races.
CROWD: Final = 32

#: When the session of the tests began, and an instant at which all they leave is rubbish.
BEGAN: Final = reference_record(0).created_at
LONG_AFTER: Final = BEGAN + 1e8


def a_record(n: int = 0, **changes: Any) -> SessionRecord:  # Any: fields of the record
    """Return the n-th record of the tests, all begun at BEGAN."""
    times: dict[str, Any] = {
        "created_at": BEGAN,
        "authenticated_at": BEGAN,
        "last_seen_at": BEGAN,
        "inactivity_deadline": BEGAN + 3600.0,
        "keep_until": BEGAN + 90_000.0,
        "renewed_at": BEGAN,
    }
    return reference_record(n).evolve(**(times | changes))


def a_touch(seconds: float, **changes: Any) -> Touch:  # Any: fields of the touch
    """Return a touch so many seconds after BEGAN."""
    at = BEGAN + seconds
    fields: dict[str, Any] = {"last_seen_at": at, "inactivity_deadline": at + 3600.0, "keep_until": at + 90_000.0}
    return Touch(**(fields | changes))


FULL: Final[dict[str, Any]] = {
    "generation": 3,
    "presented_at": BEGAN + 0.125,
    "revision": 2,
    "fresh_at": BEGAN + 7.5,
    "ceiling": BEGAN + 5000.0,
    "persistent": True,
    "claims": {"näme": "Zoë \U0001f600 \ud800", "list": [1, 2.5, None, True, {"deep": []}]},
    "data": {"cart": {"7": 1}},
    "factors": ({"kind": "password", "at": BEGAN}, {"kind": "totp", "at": BEGAN + 1}),
    "attributes": {"user_agent": "Mozilla/5.0", "address": "2001:db8::1"},
    "handles": ("one", "two", "three", "four"),
    "limits": Limits(None, 86_400.5),
    "inactivity_deadline": None,
    "authority": "oidc",
    "provider_session": "sid-1",
    "stamp": "digest",
    "actor": "admin-1",
    "extra": {"zz": {"of": "a later version"}, "yy": 1},
}


class StoreContract:
    """Inherit it, override the fixture `make_store`, done.

    `make_store` is called without arguments and returns a new, empty store: blocking or asynchronous. If the store has
    a `close`, it is called at the end.
    """

    #: Random histories compared with the reference; fewer where each call crosses a network.
    histories: int = 40

    @pytest.fixture
    def make_store(self) -> Callable[[], Any]:  # Any: a Store or an AsyncStore
        """Override: return a callable that returns a new, empty store each time."""
        raise NotImplementedError("Override the fixture make_store: return what makes a new, empty store.")

    @pytest.fixture(params=["threads", "loop"])
    def open_store(self, request: pytest.FixtureRequest, make_store: Callable[[], Any]) -> Callable[[], Driven]:
        """How the store is run: as a WSGI app does, and as an ASGI app does."""

        def opened() -> Driven:
            try:
                return Driven(make_store(), on_loop=request.param == "loop")
            except SettingsError:
                pytest.skip("an asynchronous store runs on a loop only")

        return opened

    @pytest.fixture
    def store(self, open_store: Callable[[], Driven]) -> Iterator[Driven]:
        """The store under test."""
        store = open_store()
        yield store
        store.finish()

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

    # --- all histories ----------------------------------------------------------------------------------------------

    def test_random_histories_agree_with_the_reference(self, open_store: Callable[[], Driven]) -> None:
        """Whatever is done in whatever order, the store answers as the one in base.py's docstring."""
        pytest.importorskip("hypothesis", reason="compares random histories")
        from session_middleware.testing.store_machine import compare_with_reference

        compare_with_reference(open_store, self.histories)

    # --- Recognises -------------------------------------------------------------------------------------------------

    def test_nothing_is_recognised_after_a_write(self, store: Driven) -> None:
        """A record that a touch, save, renewal or end has replaced is no longer recognised."""
        _needs(store, Recognises)
        key = a_record().key
        store.create(a_record())
        writes: list[Callable[[], Any]] = [
            lambda: store.touch(key, a_touch(60)),
            lambda: store.save(a_record(claims={"role": "admin"})),
            lambda: store.renew(key, 0, 1, BEGAN + 60),
            lambda: store.end(key, "logout", BEGAN + 60, LONG_AFTER),
        ]
        for write in writes:
            before = store.load(key)
            write()
            assert store.holds(before) is False
        assert store.holds(store.load(key)) is False

    def test_a_changed_copy_is_not_recognised(self, store: Driven) -> None:
        """A copy with other claims than what is held is not recognised."""
        _needs(store, Recognises)
        store.create(a_record())
        assert store.holds(store.load(a_record().key).evolve(claims={"role": "admin"})) is False

    # --- EndsBefore -------------------------------------------------------------------------------------------------

    def test_an_epoch_ends_what_began_before_it(self, store: Driven) -> None:
        """After end_before a session that was authenticated earlier reads as revoked, one of that instant lives on."""
        _needs(store, EndsBefore)
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
        _needs(store, EndsBefore)
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
        _needs(store, EndsBefore)
        for n in range(3):
            store.create(a_record(n, authenticated_at=BEGAN + 10 * n))
        for instant, alive in ((10, [1, 2]), (5, [1, 2]), (20, [2]), (10, [2])):
            store.end_before(BEGAN + instant, BEGAN + 50)
            assert [n for n in range(3) if store.load(a_record(n).key).ended_at is None] == alive

    def test_sessions_after_an_epoch_live_as_others(self, store: Driven) -> None:
        """A session begun after the epoch is created, touched, saved, renewed, listed and ended as ever."""
        _needs(store, EndsBefore)
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
        _needs(store, EndsBefore)
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
        _needs(store, EndsBefore)
        store.create(a_record())
        store.end(a_record().key, "logout", BEGAN + 5, LONG_AFTER)
        store.end_before(BEGAN + 10, BEGAN + 20)
        assert store.load(a_record().key) == a_record().ended("logout", BEGAN + 5, LONG_AFTER)

    # --- AddsOnce ---------------------------------------------------------------------------------------------------

    def test_a_value_is_added_once_until_its_time_has_passed(self, store: Driven) -> None:
        """The first caller gets True, others False until `until`; then the value is new again."""
        _needs(store, AddsOnce)
        assert store.add_once("state", BEGAN + 60, BEGAN) is True
        assert store.add_once("state", BEGAN + 999, BEGAN + 59.5) is False
        assert store.add_once("other", BEGAN + 60, BEGAN + 59.5) is True
        assert store.add_once("state", BEGAN + 120, BEGAN + 60) is True
        assert store.add_once("state", BEGAN + 999, BEGAN + 61) is False

    def test_a_value_is_new_again_however_many_others_have_run_out(self, store: Driven) -> None:
        """A value whose time has passed is new at that instant, also behind others that ran out earlier."""
        _needs(store, AddsOnce)
        for n in range(20):
            assert store.add_once(f"jti {n}", BEGAN + 10 + n, BEGAN) is True
        assert store.add_once("jti 19", BEGAN + 99, BEGAN + 29) is True

    def test_one_adds_a_value_in_a_race(self, store: Driven) -> None:
        """Of many callers with one value exactly one gets True."""
        _needs(store, AddsOnce)
        answers = store.together(*(("add_once", "jti", BEGAN + 60, BEGAN) for _ in range(CROWD)))
        assert answers.count(True) == 1

    # --- Prunes -----------------------------------------------------------------------------------------------------

    def test_pruning_takes_rubbish_only(self, store: Driven) -> None:
        """Pruning deletes a record from keep_until on, at its limit, ended ones by theirs, and none before."""
        _needs(store, Prunes)
        for n in range(5):
            store.create(a_record(n))
        store.touch(a_record(0).key, a_touch(60))
        store.end(a_record(1).key, "logout", BEGAN, BEGAN + 86_400)
        assert store.prune(BEGAN + 86_399.5) == 0
        assert store.prune(BEGAN + 86_400) == 1
        assert store.prune(BEGAN + 90_000, 2) == 2
        assert store.prune(BEGAN + 90_000) == 1
        assert store.prune(BEGAN + 90_000) == 0
        assert [n for n in range(5) if store.load(a_record(n).key)] == [0]
        assert store.prune(BEGAN + 90_060) == 1

    def test_what_was_pruned_is_unknown(self, store: Driven) -> None:
        """A pruned session is on no list, cannot be written, and its key is free."""
        _needs(store, Prunes)
        store.create(a_record())
        before = store.load(a_record().key)
        assert store.prune(LONG_AFTER) == 1
        assert store.load(a_record().key) is None
        assert store.touch(a_record().key, a_touch(60)) is None
        assert list(store.list(a_record().handles[0], BEGAN)) == []
        store.create(a_record(claims={"another": "life"}))
        assert store.load(a_record().key) == a_record(claims={"another": "life"})
        if isinstance(store.store, Recognises):
            assert store.holds(before) is False

    def test_pruning_is_not_held_up_by_what_was_touched(self, store: Driven) -> None:
        """Rubbish behind many records that live longer than they first were to is found in one call."""
        _needs(store, Prunes)
        for n in range(20):
            store.create(a_record(n))
            store.touch(a_record(n).key, a_touch(1000))
        store.create(a_record(99, keep_until=BEGAN + 90_001.0))
        assert store.prune(BEGAN + 90_010, 5) == 1

    def test_logins_sweep(self, store: Driven) -> None:
        """New sessions take away old rubbish, so that a store needs no one to call prune."""
        _needs(store, Prunes)
        for n in range(20):
            store.create(a_record(n))
        for n in range(20, 40):
            store.create(a_record(n, last_seen_at=BEGAN + 99_999, keep_until=LONG_AFTER))
        assert store.prune(BEGAN + 99_999) < 20

    # --- Caps -------------------------------------------------------------------------------------------------------

    def test_room_is_no_reason_to_end_anybody(self, store: Driven) -> None:
        """While there is room create_capped does what create does, to the last field, and ends nobody."""
        _needs(store, Caps)
        for n in range(3):
            record = a_record(n, **FULL)
            assert list(_capped(store, record, "two", 3, evict=n % 2 == 1)) == []
            assert store.load(record.key) == record
        assert {record.key for record in store.list("three", BEGAN)} == {a_record(n).key for n in range(3)}

    def test_where_there_is_no_room_nothing_is_created(self, store: Driven) -> None:
        """Without evict a full house answers None, holds nothing of the new session and leaves the others alive."""
        _needs(store, Caps)
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
        _needs(store, Caps)
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
        _needs(store, Caps)
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
        _needs(store, Caps)
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
        _needs(store, Caps)
        store.create(a_record(0, **({"handles": ("ours",)} | alive)))
        assert _capped(store, a_record(1, handles=("ours",)), "ours", 1, evict=False, at=BEGAN + 60) is None

    def test_the_ended_take_no_room(self, store: Driven) -> None:
        """A session that has ended is not counted, and its reason and time stay."""
        _needs(store, Caps)
        store.create(a_record(0, handles=("ours",)))
        store.end(a_record(0).key, "logout", BEGAN + 5, LONG_AFTER)
        ended = store.load(a_record(0).key)
        assert list(_capped(store, a_record(1, handles=("ours",)), "ours", 1, evict=True)) == []
        assert store.load(a_record(0).key) == ended

    def test_who_an_epoch_ended_takes_no_room(self, store: Driven) -> None:
        """A session from before `end_before` is not counted and keeps the epoch's end."""
        _needs(store, Caps)
        _needs(store, EndsBefore)
        store.create(a_record(0, handles=("ours",)))
        store.end_before(BEGAN + 1, BEGAN + 2)
        new = a_record(1, handles=("ours",), authenticated_at=BEGAN + 3)
        assert list(_capped(store, new, "ours", 1, evict=True)) == []
        assert store.load(a_record(0).key).ended_at == BEGAN + 2

    def test_a_key_that_is_held_ends_nobody(self, store: Driven) -> None:
        """Creating a key that is held is a fault here too, and nobody has then been ended."""
        _needs(store, Caps)
        store.create(a_record(0, handles=("ours",)))
        with pytest.raises(Exception):  # noqa: B017, PT011  # which one is the store's own affair
            _capped(store, a_record(0, handles=("ours",), subject="mallory"), "ours", 1, evict=True)
        assert store.load(a_record(0).key) == a_record(0, handles=("ours",))

    def test_no_more_than_there_is_room_for_win_a_race(self, store: Driven) -> None:
        """Of many callers at once without evict exactly as many succeed as there is room for."""
        _needs(store, Caps)
        ours = [a_record(n, handles=("ours",), authenticated_at=BEGAN + n) for n in range(CROWD)]
        until = BEGAN + 86_400
        answers = store.together(*(("create_capped", record, "ours", 5, False, BEGAN, until) for record in ours))
        made = [record.key for record, answer in zip(ours, answers, strict=True) if answer is not None]
        assert len(made) == 5
        assert {record.key for record in store.list("ours", BEGAN)} == set(made)
        assert [record.key for record in ours if store.load(record.key) is not None] == made

    def test_a_race_leaves_as_many_as_are_allowed(self, store: Driven) -> None:
        """Of many callers at once with evict all succeed, each loser is ended once, and `most` are left alive."""
        _needs(store, Caps)
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

    # --- Walks ------------------------------------------------------------------------------------------------------

    def test_a_walk_finds_what_is_held(self, store: Driven) -> None:
        """Every record is found, alive or ended, however large the batches, and nothing that is not held."""
        _needs(store, Walks)
        held = {a_record(n).key for n in range(25)}
        assert _walked(store, 10) == set()
        for n in range(25):
            store.create(a_record(n))
        store.end(a_record(3).key, "logout", BEGAN, LONG_AFTER)
        for limit in (1, 10, 25, 1000):
            assert _walked(store, limit) == held

    def test_a_walk_is_not_led_astray_by_writes(self, store: Driven) -> None:
        """What is held all along is found, also if each batch is written to, and others come, before the next."""
        _needs(store, Walks)
        held = [a_record(n) for n in range(40)]
        for record in held:
            store.create(record)
        found: set[bytes] = set()
        new, after = 100, None
        while True:
            keys, after = store.walk(after, 7)
            found.update(keys)
            for key in keys:
                store.touch(key, a_touch(60))
                store.end(key, "logout", BEGAN + 60, LONG_AFTER)
            if after is None:
                break
            store.create(a_record(new))
            new += 1
        assert {record.key for record in held} <= found


def _walked(store: Driven, limit: int) -> set[bytes]:
    """Return all keys that a walk finds."""
    keys, after = store.walk(None, limit)
    found = set(keys)
    while after is not None:
        keys, after = store.walk(after, limit)
        found.update(keys)
    return found


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


def _needs(store: Driven, power: type) -> None:
    """Skip a test of a power that the store does not have."""
    if not isinstance(store.store, power):
        pytest.skip(f"{type(store.store).__name__} does not have the power {power.__name__}")
