"""AdapterContract: every rule that shows in a browser, as scenarios that run the same in every framework.

An adapter of your own is right if it passes. Build the scenario app (`testing/scenario_app.py` lists its routes) in your
framework, behind a `Driver`, and inherit:

    class TestMyAdapter(AdapterContract):
        @pytest.fixture
        def make(self):
            return lambda settings, store, *, clock, on_event=(), authority=None: MyDriver(...)

        @pytest.fixture
        def make_store(self):
            return MemoryStore

No scenario sleeps or reads a clock of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_middleware.runtime import run_sync
from session_middleware.testing.browser import Answer, Browser, Driver
from session_middleware.testing.clock import FakeClock
from session_middleware.testing.scenario_app import describe, login_arguments
from session_middleware.testing.scenarios.activity import ActivityScenarios
from session_middleware.testing.scenarios.credentials import CredentialScenarios
from session_middleware.testing.scenarios.csrf import CsrfScenarios
from session_middleware.testing.scenarios.endpoints import EndpointScenarios
from session_middleware.testing.scenarios.extend import ExtendScenarios
from session_middleware.testing.scenarios.headers import HeaderScenarios
from session_middleware.testing.scenarios.identity import IdentityScenarios
from session_middleware.testing.scenarios.life import LifeScenarios
from session_middleware.testing.scenarios.limits import LimitsScenarios
from session_middleware.testing.scenarios.mounted import MountedScenarios
from session_middleware.testing.scenarios.outage import OutageScenarios
from session_middleware.testing.scenarios.providers import ProviderScenarios
from session_middleware.testing.scenarios.refusal import RefusalScenarios
from session_middleware.testing.scenarios.renewal import RenewalScenarios
from session_middleware.testing.scenarios.routes import RouteScenarios
from session_middleware.testing.stage import Behind, Stage

__all__ = ["AdapterContract", "Answer", "Browser", "Driver", "describe", "login_arguments"]


class AdapterContract(
    LifeScenarios,
    ActivityScenarios,
    LimitsScenarios,
    ExtendScenarios,
    RenewalScenarios,
    CredentialScenarios,
    IdentityScenarios,
    RefusalScenarios,
    OutageScenarios,
    HeaderScenarios,
    CsrfScenarios,
    RouteScenarios,
    EndpointScenarios,
    MountedScenarios,
    ProviderScenarios,
):
    """Inherit it, override the fixtures `make` and `make_store`, done."""

    @pytest.fixture
    def make(self) -> Callable[..., Driver]:
        """Override: return `make(settings, store, *, clock, on_event=(), authority=None) -> Driver`."""
        raise NotImplementedError("Override the fixture make: return what builds the scenario app behind a Driver.")

    @pytest.fixture
    def make_store(self) -> Callable[[], Any]:  # Any: a Store or an AsyncStore
        """Override: return a callable that returns a new, empty store each time; it is closed if it can be."""
        raise NotImplementedError("Override the fixture make_store: return what makes a new, empty store.")

    @pytest.fixture
    def supports_mount(self) -> bool:
        """Override: True if `make` takes `mount="/path"` and serves the app below it (SCRIPT_NAME, root_path)."""
        return False

    @pytest.fixture
    def behind(self) -> Callable[[FakeClock], Behind] | None:
        """Override: return what makes the provider that people sign in at; None: the app vouches itself."""
        return None

    @pytest.fixture
    def stage(
        self,
        make: Callable[..., Driver],
        make_store: Callable[[], Any],
        behind: Callable[[FakeClock], Behind] | None,
    ) -> Iterator[Stage]:
        """A clock, a watched store, and what makes apps and browsers."""
        store = make_store()
        stage = Stage(make, store, behind)
        yield stage
        stage.close()
        close = getattr(store, "close", None)
        if close is not None:
            closed = close()
            if inspect.iscoroutine(closed):  # its loops have ended with their drivers; there is nothing to wait for
                run_sync(closed)
