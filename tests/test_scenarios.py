"""One scenario file, every mode: each module of tests/modes with each embedded store."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing import AdapterContract
from session_middleware.testing.browser import Driver

MODES = sorted(path.stem for path in (Path(__file__).parent / "modes").glob("*_mode.py"))


class TestScenarios(AdapterContract):
    """Every scenario of the contract, in every mode, over every embedded store."""

    @pytest.fixture(params=MODES, ids=lambda name: name.removesuffix("_mode"))
    def mode(self, request: pytest.FixtureRequest) -> ModuleType:
        return importlib.import_module(f"tests.modes.{request.param}")

    @pytest.fixture
    def make(self, mode: ModuleType) -> Callable[..., Driver]:
        return mode.make

    @pytest.fixture(params=["memory", "sqlite"])
    def make_store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
        return MemoryStore if request.param == "memory" else lambda: SQLiteStore(tmp_path / "sessions.db")

    @pytest.fixture
    def supports_mount(self, mode: ModuleType) -> bool:
        return getattr(mode, "SUPPORTS_MOUNT", False)
