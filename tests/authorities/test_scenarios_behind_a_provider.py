"""The whole scenario file with each provider's authority in place of the local one, through every adapter."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import AdapterContract, FakeClock
from session_middleware.testing.browser import Driver
from session_middleware.testing.stage import Behind

HERE = Path(__file__).parent
MODES = sorted(path.stem for path in (HERE.parent / "modes").glob("*_mode.py"))
PROVIDERS = sorted(path.stem for path in (HERE / "behind").glob("[a-z]*.py"))
#: The toy provider, since real ones are played through every adapter; the first of these at every run, the rest is slow.
WITH_DESK = ("wsgi_mode", "asgi_mode")
ORDINARY = {("wsgi_mode", "desk")}
#: Adapters on another loop; what an authority does there is no adapter's, so one of them and one provider tell.
ON_TRIO = {"asgi_trio_mode": ["kratos"], "starlette_trio_mode": []}


def pairs() -> Iterator[Any]:  # Any: what pytest.param returns
    for mode in MODES:
        for provider in PROVIDERS:
            if provider == "desk" and mode not in WITH_DESK:
                continue
            if provider != "desk" and provider not in ON_TRIO.get(mode, PROVIDERS):
                continue
            marks = [] if (mode, provider) in ORDINARY else [pytest.mark.slow]
            yield pytest.param((mode, provider), marks=marks, id=f"{mode.removesuffix('_mode')}-{provider}")


class TestBehindAProvider(AdapterContract):
    """Every scenario: people sign in at the provider, and each request is vouched for by it."""

    @pytest.fixture(params=pairs())
    def pair(self, request: pytest.FixtureRequest) -> tuple[str, str]:
        mode, provider = request.param
        return mode, provider

    @pytest.fixture
    def mode(self, pair: tuple[str, str]) -> ModuleType:
        return importlib.import_module(f"tests.modes.{pair[0]}")

    @pytest.fixture
    def make(self, mode: ModuleType) -> Callable[..., Driver]:
        made: Callable[..., Driver] = mode.make
        return made

    @pytest.fixture
    def make_store(self) -> Callable[[], Any]:
        return MemoryStore

    @pytest.fixture
    def supports_mount(self, mode: ModuleType) -> bool:
        return getattr(mode, "SUPPORTS_MOUNT", False)

    @pytest.fixture
    def behind(self, pair: tuple[str, str]) -> Iterator[Callable[[FakeClock], Behind]]:
        module = importlib.import_module(f"tests.authorities.behind.{pair[1]}")
        made: list[Any] = []

        def make(clock: FakeClock) -> Behind:
            made.append(module.make(clock))
            behind: Behind = made[-1]
            return behind

        yield make
        for each in made:
            each.close()
