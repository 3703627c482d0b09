"""One scenario file, every mode: each module of tests/modes with each embedded store."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.testing import AdapterContract
from session_middleware.testing.browser import Driver

MODES = sorted(path.stem for path in (Path(__file__).parent / "modes").glob("*_mode.py"))

#: Asyncio stands for trio at every run, and memory for SQLite, whose own suites hold it to the same promises; the other ways,
#: which see no difference, are slow.
STOOD_FOR = ("asgi_trio_mode", "starlette_trio_mode")


def ways() -> Iterator[Any]:  # Any: what pytest.param returns
    """Return every mode with every embedded store."""
    for mode in MODES:
        for store in ("memory", "sqlite"):
            is_slow = mode in STOOD_FOR or store == "sqlite"
            marks = [pytest.mark.slow] if is_slow else []
            yield pytest.param((mode, store), marks=marks, id=f"{mode.removesuffix('_mode')}-{store}")


class TestScenarios(AdapterContract):
    """Every scenario of the contract, in every mode, over every embedded store."""

    @pytest.fixture(params=ways())
    def way(self, request: pytest.FixtureRequest) -> tuple[str, str]:
        mode, store = request.param
        return mode, store

    @pytest.fixture
    def mode(self, way: tuple[str, str]) -> ModuleType:
        return importlib.import_module(f"tests.modes.{way[0]}")

    @pytest.fixture
    def make(self, mode: ModuleType) -> Callable[..., Driver]:
        return mode.make

    @pytest.fixture
    def make_store(self, way: tuple[str, str], request: pytest.FixtureRequest) -> Callable[[], Any]:
        if way[1] == "memory":
            return MemoryStore
        folder: Path = request.getfixturevalue("tmp_path")  # thousands of folders that nobody needs take seconds
        return lambda: SQLiteStore(folder / "sessions.db")

    @pytest.fixture
    def supports_mount(self, mode: ModuleType) -> bool:
        return getattr(mode, "SUPPORTS_MOUNT", False)

    @pytest.fixture(autouse=True)
    def _blocks_no_loop(self, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        """A write that the detector stops would pass for one that the store does not take, and be kept (L17)."""
        yield
        assert not [one for one in caplog.get_records("call") if "BlockingError" in one.getMessage()]
