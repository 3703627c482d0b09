"""What every test of this repository shares."""

from __future__ import annotations

import sys

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

# Both judge the machine and not the code: with a second suite beside it a strategy is slow now and then.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

#: Scenarios of a thousand requests, and the modes that an ordinary run plays them in: one of each kind.
IN_THOUSANDS = {"test_a_thousand_requests_a_second_apart", "test_a_thousand_requests_within_a_touch_interval"}
FEW = {"wsgi", "asgi", "starlette", "flask", "django_wsgi"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what takes seconds in each mode to CI, but for a few modes."""
    for item in items:
        if isinstance(item, pytest.Function) and item.originalname in IN_THOUSANDS:
            mode = item.callspec.id.partition("-")[0].removesuffix("_mode")
            if mode not in FEW:
                item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Look for calls that block a loop no longer than the test that asked for it."""
    mode = sys.modules.get("tests.modes.asgi_mode")
    if mode is not None:
        mode.DETECTOR.deactivate()
