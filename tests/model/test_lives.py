"""The engine against an independent model of L1-L14 and L25-L26 (L24 has its own, test_provider_lives.py), over random lives of sessions."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from session_machine import SessionLives, SkewedLives, SQLiteLives

QUICK = settings(
    deadline=None,
    derandomize=True,  # a red run here is a change of the code, not of the dice
    stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
    database=None,
)
#: The same dice each time unless asked for others: what a random run finds is a task of its own, not a red CI of whoever
#: changed something else. `SESSION_TESTS_RANDOM=1 pytest -m slow tests/model` explores.
RANDOM = bool(os.environ.get("SESSION_TESTS_RANDOM"))
DEEP = settings(QUICK, derandomize=not RANDOM, stateful_step_count=100, print_blob=True)
MANY = 5 if RANDOM else 1

#: What lives are made of; a machine that no longer gets there proves nothing.
EVENTS = {
    *("ACTIVE", "ANONYMOUS", "UNKNOWN", "TAMPERED", "INACTIVITY_TIMEOUT", "LIFETIME_EXCEEDED", "REVOKED", "REPLAYED"),
    *("JWT minted", "JWT given again", "token re-issued", "answered", "lost", "raises"),
    *("login", "step_up", "extend", "continue_", "claims", "data", "end_others", "logout", "taken along"),
    *("end_all", "end_one", "end_before", "redeploy", "change_limits", "change_limits_of_one"),
}


@pytest.mark.parametrize(("machine", "examples"), [(SessionLives, 100), (SkewedLives, 40), (SQLiteLives, 20)])
def test_engine_and_model_agree(machine: type[SessionLives], examples: int) -> None:
    """Verdicts, deadlines, cookies and records are those of the model, whatever happens to a session."""
    machine.seen.clear()
    run_state_machine_as_test(machine, settings=settings(QUICK, max_examples=examples))  # type: ignore[no-untyped-call]
    assert {"ACTIVE", "INACTIVITY_TIMEOUT", "REVOKED", "JWT minted", "lost"} <= set(machine.seen)


@pytest.mark.slow
@pytest.mark.parametrize(("machine", "examples"), [(SessionLives, 400), (SkewedLives, 200), (SQLiteLives, 30)])
def test_engine_and_model_agree_in_many_long_lives(machine: type[SessionLives], examples: int) -> None:
    """The same over longer lives, and everything that can happen did happen."""
    machine.seen.clear()
    run_state_machine_as_test(machine, settings=settings(DEEP, max_examples=examples * MANY))  # type: ignore[no-untyped-call]
    if machine is SessionLives:  # the others live too few lives to meet everything
        assert set(machine.seen) >= EVENTS
