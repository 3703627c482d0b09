"""The lives of these tests make a warning each second step; nobody reads them here."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from session_middleware.reach.retrying import Retrying


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    log = logging.getLogger("session_middleware")
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(before)


@pytest.fixture(autouse=True)
def _nothing_happens_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process does beside its requests goes by the time of day, and these lives by a clock of their own."""
    monkeypatch.setattr(Retrying, "begin", lambda self: None)
