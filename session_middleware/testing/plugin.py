"""pytest plugin: a fake clock, and clients that are signed in, for the tests of an app.

It comes with the package (entry point `pytest11`) and does nothing until a test asks for one of its fixtures.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from session_middleware.testing.clock import FakeClock
    from session_middleware.testing.signed_in import SignIn

__all__ = ["session_clock", "signed_in"]

#: Where assertions of ours stand; pytest explains them as it does a test's own.
_ASSERTING = (
    *("scenarios", "browser", "cookie_jar", "stage"),
    *("store_contract", "store_promises", "store_machine", "authority_contract"),
)

for _name in (f"{__package__}.{_name}" for _name in _ASSERTING):
    if _name not in sys.modules:  # else it is too late, and pytest would warn
        pytest.register_assert_rewrite(_name)


@pytest.fixture
def session_clock() -> FakeClock:
    """A clock that stands still until the test moves it; give it to the app: `create_app(clock=session_clock)`."""
    from session_middleware.testing.clock import FakeClock

    return FakeClock()


@pytest.fixture
def signed_in() -> SignIn:
    """Make clients of an app that are signed in, without going through its login.

    `client = signed_in(app, "alice")`; see `session_middleware.testing.SignIn` for what else it can do.
    """
    from session_middleware.testing.signed_in import SignIn

    return SignIn()
