"""ProviderSession: what names a session at a provider, and what does not (L3, L24)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from session_middleware.core.provider import (
    KEPT,
    ProviderSession,
    handle_mark,
    handle_mark_key,
    is_mark,
    mark_of,
    provider_handle,
    provider_mark,
)
from session_middleware.errors import SettingsError
from session_middleware.settings import Limits
from session_middleware.testing.reference_record import reference_record


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": None}, "id"),
        ({"authority": ""}, "authority"),
        ({"authenticated_at": None}, "authenticated_at"),
        ({"authenticated_at": float("nan")}, "authenticated_at"),
        ({"authenticated_at": True}, "authenticated_at"),
        ({"authenticated_at": datetime(2026, 1, 1)}, "authenticated_at"),  # that is the point
        ({"ends_at": "tomorrow"}, "ends_at"),
    ],
)
def test_nonsense_is_refused(given: dict[str, Any], field: str) -> None:
    """The error names the field."""
    with pytest.raises(SettingsError) as caught:
        ProviderSession(**({"id": "sid", "authenticated_at": 1.0} | given))
    assert caught.value.field == field


def test_times_are_instants() -> None:
    """Aware datetimes and seconds are the same thing."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    session = ProviderSession("sid", at, ends_at=at)
    assert session == ProviderSession("sid", at.timestamp(), ends_at=at.timestamp())
    assert (session.proven_at, session.ceiling) == (at.timestamp(), at.timestamp())


def test_a_mark_is_kept_for_as_long_as_its_proof_may_begin_a_session() -> None:
    """L24: whoever extends the provider's session, and whatever limits come later; a session of no provider leaves none."""
    record = reference_record(0)
    assert mark_of(record, 5.0) is None
    adopted = record.evolve(provider_session="sid", authority="provider")
    century = Limits(None, 100 * 365 * 86_400.0)
    for changes, keep_until in (
        ({"ceiling": None}, 5.0 + KEPT),
        ({"ceiling": 100.0}, 5.0 + record.limits.absolute_lifetime),
        ({"ceiling": 10.0 + KEPT}, 10.0 + KEPT),
        ({"ceiling": 1.0, "limits": Limits(None, 600.0)}, 605.0),
        ({"limits": century}, 5.0 + century.absolute_lifetime),
    ):
        mark = mark_of(adopted.evolve(**changes), 5.0)
        assert mark is not None
        assert (mark.keep_until, mark.last_seen_at, mark.handles) == (keep_until, 5.0, ())
        assert mark.authenticated_at == keep_until, "no end_before reaches it"
        assert mark.key == ProviderSession("sid", 1.0).mark_key
    ahead = provider_mark("provider", "sid", 5.0, proven_at=9.0)
    assert (ahead.created_at, ahead.renewed_at) == (5.0, 5.0), "a store sweeps by it"
    assert (ahead.last_seen_at, ahead.keep_until) == (9.0, 9.0 + KEPT), "a proof by a clock ahead ends too (L1)"
    assert ProviderSession("sid", 1.0, authority="other").mark_key != ProviderSession("sid", 1.0).mark_key
    assert provider_handle("a", "b") != provider_handle("a", "c")


def test_a_mark_of_all_that_stands_under_a_handle() -> None:
    """It is kept as long as one whose provider session may end at any time, and no provider session has its key."""
    mark = handle_mark("a user", 5.0)
    assert (mark.key, mark.last_seen_at, mark.keep_until) == (handle_mark_key("a user"), 5.0, 5.0 + KEPT)
    assert is_mark(mark)
    assert mark.handles == ()
    assert len({mark.key, handle_mark_key("another"), ProviderSession("a user", 1.0).mark_key}) == 3
