"""What a process knows of `end_before`: for how long it counts, and which of two answers."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis.exceptions

from session_middleware.runtime import run_sync
from session_middleware.stores.redis.epoch import KnownEpoch
from session_middleware.testing.reference_record import reference_record

RECORD = reference_record(0)


class Down:
    """A link to a server that is down."""

    async def get(self, name: bytes) -> Any:
        raise redis.exceptions.ConnectionError


def test_its_lease_counts_from_the_question() -> None:
    """What was asked longer ago than the lease counts no more, however late the answer came; what was not, still does."""
    for ago, counts in ((1.5, True), (2.5, False)):
        epoch = KnownEpoch(b"epoch", 2.0)
        epoch.answered(epoch.packed(5.0, 6.0), time.monotonic() - ago)
        if counts:
            assert run_sync(epoch.instant(Down())) == 5.0  # type: ignore[arg-type]
        else:
            with pytest.raises(redis.exceptions.ConnectionError):
                run_sync(epoch.instant(Down()))  # type: ignore[arg-type]


def test_an_answer_that_was_overtaken_moves_nothing_back() -> None:
    """Of two answers the later instant counts, whichever comes first: who was signed out stays signed out."""
    epoch = KnownEpoch(b"epoch", 2.0)
    at = RECORD.authenticated_at
    epoch.answered(epoch.packed(at + 1, at + 2), time.monotonic())
    epoch.answered(epoch.packed(at - 1, at), time.monotonic())
    assert epoch.after(RECORD).ended_at == at + 2
