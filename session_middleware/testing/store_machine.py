"""Compares a store with the reference store over random histories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.stores.base import AddsOnce, Caps, EndsBefore, Prunes, Recognises
from session_middleware.testing.driven import Driven
from session_middleware.testing.reference_record import reference_record
from session_middleware.testing.reference_store import ReferenceStore

__all__ = ["compare_with_reference"]

#: Rubbish may be dropped at any time, so nothing becomes rubbish before a sweep that drops all of it and starts an era.
_ERA: Final = 1e6

_sessions = st.integers(0, 2)
_instants = st.integers(0, 24).map(lambda quarter: quarter / 4)
_maybe = st.none() | _instants
_counters = st.integers(0, 3)
_words = st.dictionaries(st.sampled_from(["name", "rôle"]), st.text(max_size=3) | st.integers() | st.none(), max_size=2)
_handles = st.lists(st.sampled_from(["one", "two"]), unique=True).map(tuple)


def compare_with_reference(open_store: Callable[[], Driven], examples: int = 40) -> None:
    """Run random histories against a store and the reference; fail where they differ.

    Args:
        open_store: returns a new, empty store each time.
        examples: how many histories.
    """

    class Machine(_Histories):
        def __init__(self) -> None:
            super().__init__(open_store())

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,  # a store may be slow; how slow is no matter of right and wrong
            derandomize=True,
            database=None,
            suppress_health_check=[*HealthCheck],  # pyright: ignore[reportArgumentType]  # an enum class is iterable; its stub hides it
        ),
    )


class _Histories(RuleBasedStateMachine):
    def __init__(self, store: Driven) -> None:
        super().__init__()
        self.store = store
        self.reference = ReferenceStore()
        self.era = 0.0
        self.returned: list[SessionRecord] = []

    def teardown(self) -> None:
        self.store.finish()

    def _key(self, session: int) -> bytes:
        return reference_record(session).key

    def _both(self, method: str, *args: Any) -> None:  # Any: the arguments of the method
        got, due = getattr(self.store, method)(*args), getattr(self.reference, method)(*args)
        assert got == due, f"{method} answered {got!r}, not {due!r}"
        if isinstance(got, SessionRecord):
            self.returned.append(got)

    @rule(
        session=_sessions,
        at=_instants,
        seen=_instants,
        deadline=_maybe,
        keep=_instants,
        handles=_handles,
        claims=_words,
    )
    def create(
        self,
        session: int,
        at: float,
        seen: float,
        deadline: float | None,
        keep: float,
        handles: tuple[str, ...],
        claims: dict[str, Any],  # Any: values of the json module
    ) -> None:
        if self._key(session) in self.reference.rows:
            return  # a fault, see the contract's own test
        self._both("create", self._new(session, at, seen, deadline, keep, handles, claims))

    @precondition(lambda self: isinstance(self.store.store, Caps))
    @rule(
        session=_sessions,
        at=_instants,
        seen=_instants,
        deadline=_maybe,
        keep=_instants,
        handles=_handles,
        handle=st.sampled_from(["one", "two"]),
        most=st.integers(1, 2),
        evict=st.booleans(),
        now=_instants,
        until=_instants,
    )
    def create_capped(
        self,
        session: int,
        at: float,
        seen: float,
        deadline: float | None,
        keep: float,
        handles: tuple[str, ...],
        handle: str,
        most: int,
        evict: bool,
        now: float,
        until: float,
    ) -> None:
        if self._key(session) in self.reference.rows:
            return  # a fault, see the contract's own test
        record = self._new(session, at, seen, deadline, keep, tuple({handle, *handles}), {})
        args = (record, handle, most, evict, self.era + now, self.era + _ERA + until)
        got, due = self.store.create_capped(*args), self.reference.create_capped(*args)
        if due is None:
            assert got is None
            return
        assert len(got) == len(due)
        assert {record.key: record for record in got} == {record.key: record for record in due}
        self.returned.extend(got)

    def _new(
        self,
        session: int,
        at: float,
        seen: float,
        deadline: float | None,
        keep: float,
        handles: tuple[str, ...],
        claims: dict[str, Any],  # Any: values of the json module
    ) -> SessionRecord:
        return reference_record(session).evolve(
            created_at=self.era + at,
            # No two alike: which of two of one instant is the older, create_capped leaves open.
            authenticated_at=self.era + at + session / 1024,
            last_seen_at=self.era + seen,
            inactivity_deadline=None if deadline is None else self.era + deadline,
            keep_until=self.era + _ERA + keep,
            renewed_at=self.era + at,
            handles=handles,
            claims=claims,
        )

    @rule(
        session=_sessions,
        seen=_instants,
        deadline=_maybe,
        keep=_instants,
        exact=st.booleans(),
        presented=st.none() | _counters,
        at=_instants,
    )
    def touch(
        self,
        session: int,
        seen: float,
        deadline: float | None,
        keep: float,
        exact: bool,
        presented: int | None,
        at: float,
    ) -> None:
        touch = Touch(
            last_seen_at=self.era + seen,
            inactivity_deadline=None if deadline is None else self.era + deadline,
            keep_until=self.era + _ERA + keep,
            exact=exact,
            presented_generation=presented,
            presented_at=None if presented is None else self.era + at,
        )
        self._both("touch", self._key(session), touch)

    @rule(session=_sessions, revision=_counters, claims=_words, data=_words, extra=_words)
    def save(
        self, session: int, revision: int, claims: dict[str, Any], data: dict[str, Any], extra: dict[str, Any]
    ) -> None:  # Any: values of the json module
        based_on = self.reference.rows.get(self._key(session), reference_record(session))
        if based_on.ended_at is None:
            self._both("save", based_on.evolve(revision=revision, claims=claims, data=data, extra=extra))

    @rule(session=_sessions, claims=_words)
    def save_what_was_loaded(self, session: int, claims: dict[str, Any]) -> None:  # Any: values of the json module
        held = self.store.load(self._key(session))
        if held is not None:
            self._both("save", held.evolve(claims=claims))

    @rule(session=_sessions, generation=_counters, at=_instants)
    def renew(self, session: int, generation: int, at: float) -> None:
        self._both("renew", self._key(session), generation, generation + 1, self.era + at)

    @rule(session=_sessions, reason=st.sampled_from(["logout", "replayed"]), at=_instants, keep=_instants)
    def end(self, session: int, reason: str, at: float, keep: float) -> None:
        self._both("end", self._key(session), reason, self.era + at, self.era + _ERA + keep)

    @rule(handle=st.sampled_from(["one", "two", "three"]), now=_instants)
    def list_handle(self, handle: str, now: float) -> None:
        got = self.store.list(handle, self.era + now)
        due = {record.key: record for record in self.reference.list(handle, self.era + now)}
        assert len(got) == len(due)
        assert {record.key: record for record in got} == due
        self.returned.extend(got)

    @precondition(lambda self: isinstance(self.store.store, EndsBefore))
    @rule(instant=_instants, at=_instants)
    def end_before(self, instant: float, at: float) -> None:
        self._both("end_before", self.era + instant, self.era + at)

    @precondition(lambda self: isinstance(self.store.store, AddsOnce))
    @rule(key=st.sampled_from(["a", "b"]), until=_instants, now=_instants)
    def add_once(self, key: str, until: float, now: float) -> None:
        # Time does not go back here: a store may drop what has run out at the latest instant it was given.
        self.era += now
        self._both("add_once", key, self.era + until, self.era)

    @precondition(lambda self: isinstance(self.store.store, Prunes))
    @rule()
    def sweep(self) -> None:
        self._both("prune", self.era, 1000)
        self.era += 2 * _ERA
        while self.store.prune(self.era, 1000):
            pass
        self.reference.prune(self.era, 1000)

    @invariant()
    def hold_the_same(self) -> None:
        for session in range(3):
            self._both("load", self._key(session))

    @invariant()
    def recognise_only_what_is_held(self) -> None:
        if isinstance(self.store.store, Recognises):
            for record in self.returned[-12:]:
                if self.store.holds(record):
                    assert self.reference.alive(record.key) == record
