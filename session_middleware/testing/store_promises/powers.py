"""What the small powers of a store promise, where it has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from session_middleware.stores.base import AddsOnce, Prunes, Recognises, Walks
from session_middleware.testing.driven import Driven
from session_middleware.testing.store_promises.records import BEGAN, CROWD, LONG_AFTER, a_record, a_touch, needs

__all__ = ["Powers"]


class Powers:
    """Recognises, AddsOnce, Prunes and Walks."""

    # --- Recognises -------------------------------------------------------------------------------------------------

    def test_nothing_is_recognised_after_a_write(self, store: Driven) -> None:
        """A record that a touch, save, renewal or end has replaced is no longer recognised."""
        needs(store, Recognises)
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
        needs(store, Recognises)
        store.create(a_record())
        assert store.holds(store.load(a_record().key).evolve(claims={"role": "admin"})) is False

    # --- AddsOnce ---------------------------------------------------------------------------------------------------

    def test_a_value_is_added_once_until_its_time_has_passed(self, store: Driven) -> None:
        """The first caller gets True, others False until `until`; then the value is new again."""
        needs(store, AddsOnce)
        assert store.add_once("state", BEGAN + 60, BEGAN) is True
        assert store.add_once("state", BEGAN + 999, BEGAN + 59.5) is False
        assert store.add_once("other", BEGAN + 60, BEGAN + 59.5) is True
        assert store.add_once("state", BEGAN + 120, BEGAN + 60) is True
        assert store.add_once("state", BEGAN + 999, BEGAN + 61) is False

    def test_a_value_is_new_again_however_many_others_have_run_out(self, store: Driven) -> None:
        """A value whose time has passed is new at that instant, also behind others that ran out earlier."""
        needs(store, AddsOnce)
        for n in range(20):
            assert store.add_once(f"jti {n}", BEGAN + 10 + n, BEGAN) is True
        assert store.add_once("jti 19", BEGAN + 99, BEGAN + 29) is True

    def test_one_adds_a_value_in_a_race(self, store: Driven) -> None:
        """Of many callers with one value exactly one gets True."""
        needs(store, AddsOnce)
        answers = store.together(*(("add_once", "jti", BEGAN + 60, BEGAN) for _ in range(CROWD)))
        assert answers.count(True) == 1

    # --- Prunes -----------------------------------------------------------------------------------------------------

    def test_pruning_takes_rubbish_only(self, store: Driven) -> None:
        """Pruning deletes a record from keep_until on, at its limit, ended ones by theirs, and none before."""
        needs(store, Prunes)
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
        needs(store, Prunes)
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
        needs(store, Prunes)
        for n in range(20):
            store.create(a_record(n))
            store.touch(a_record(n).key, a_touch(1000))
        store.create(a_record(99, keep_until=BEGAN + 90_001.0))
        assert store.prune(BEGAN + 90_010, 5) == 1

    def test_logins_sweep(self, store: Driven) -> None:
        """New sessions take away old rubbish, so that a store needs no one to call prune."""
        needs(store, Prunes)
        for n in range(20):
            store.create(a_record(n))
        for n in range(20, 40):
            store.create(a_record(n, renewed_at=BEGAN + 99_999, keep_until=LONG_AFTER))
        assert store.prune(BEGAN + 99_999) < 20

    def test_a_time_far_ahead_sweeps_nobody_away(self, store: Driven) -> None:
        """L1: what a clock that is ahead has seen ends no session of others, whatever is created or touched by it."""
        others = [a_record(n) for n in range(3)]
        for record in others:
            store.create(record)
        for n in range(3, 6):
            record = a_record(n, last_seen_at=BEGAN + 3 * 86_400.0, keep_until=LONG_AFTER)
            store.create(record)
            store.touch(record.key, a_touch(4 * 86_400.0))
        assert [store.load(record.key) for record in others] == others

    # --- Walks ------------------------------------------------------------------------------------------------------

    def test_a_walk_finds_what_is_held(self, store: Driven) -> None:
        """Every record is found, alive or ended, however large the batches, and nothing that is not held."""
        needs(store, Walks)
        held = {a_record(n).key for n in range(25)}
        assert _walked(store, 10) == set()
        for n in range(25):
            store.create(a_record(n))
        store.end(a_record(3).key, "logout", BEGAN, LONG_AFTER)
        for limit in (1, 10, 25, 1000):
            assert _walked(store, limit) == held

    def test_a_walk_is_not_led_astray_by_writes(self, store: Driven) -> None:
        """What is held all along is found, also if each batch is written to, and others come, before the next."""
        needs(store, Walks)
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
