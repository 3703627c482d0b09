"""Where sessions are while Django's tests run: in memory, as the tests' database is not the developer's either.

The default store would be: a file, or what SESSION_STORE_URL names. Users of the tests have the numbers of real ones, so a
test that signs somebody in, out, or out everywhere would do so to a developer at the next browser window.
"""

from __future__ import annotations

import sys
from typing import Final

from session_middleware.stores.memory import MemoryStore

__all__ = ["TEST_STORE", "is_test_run"]

#: One for the process, and so for every reading of the settings that a test overrides.
TEST_STORE: Final = MemoryStore()


def is_test_run() -> bool:
    """Say whether `setup_test_environment` has run in this process, as Django's test runner and pytest-django have it run.

    What it leaves in public (`mail.outbox`, the e-mail backend, "testserver" in ALLOWED_HOSTS) a project in service may have
    too, and its sessions must never be in memory by that; so this asks for the note by which Django itself knows.
    """
    utils = sys.modules.get("django.test.utils")  # who has not imported it has set nothing up
    return hasattr(getattr(utils, "_TestState", None), "saved_data")
