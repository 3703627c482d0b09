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

HISTORIES = "test_random_histories_agree_with_the_reference"

#: Tests that repeat a promise which a quick one keeps as well: beginning of the node id, part of the parameters.
REPEATED = (
    # The reference against itself, and stores that pass each call on to it, over again.
    (f"tests/stores/test_memory.py::TestReferenceStore::{HISTORIES}", ""),
    (f"tests/stores/test_memory.py::TestDocstringExample::{HISTORIES}", ""),
    (f"tests/stores/test_moving.py::TestBeforeTheMove::{HISTORIES}", ""),
    (f"tests/stores/test_moving.py::TestAfterTheMove::{HISTORIES}", ""),
    (f"tests/stores/test_moving.py::TestDuringTheMove::{HISTORIES}", "loop"),
    # A blocking store does the same on a loop, in one of its threads: MemoryStore and the moving one are there at every run.
    (f"tests/stores/test_sqlite.py::TestSQLiteStore::{HISTORIES}", "loop"),
    ("tests/stores/test_postgres.py::TestPostgresStore::", "loop"),
    ("tests/stores/test_redis.py::TestRedisStore::", "loop"),
    # Over a provider, one loop and one thread do the same in the same engine; test_oidc_everywhere plays both at every run.
    ("tests/authorities/test_oidc_pushed.py::", "wsgi_mode"),
    ("tests/authorities/test_oidc_sign_in.py::", "wsgi_mode"),
    ("tests/authorities/test_oidc_logout.py::", "wsgi_mode"),
    ("tests/authorities/test_auth0.py::", "wsgi_mode"),
    ("tests/authorities/test_kratos_extension.py::", "wsgi"),
    ("tests/authorities/test_kratos_counts.py::", "wsgi"),
    ("tests/authorities/test_kratos_everywhere.py::", "trio"),
    # Another store, or another place for Django's sessions, under the same lives.
    ("tests/model/test_lives.py::", "SQLiteLives"),
    ("tests/test_testing_kit.py::TestPlugin::test_django_with_users", "signed_cookies"),
    ("tests/adapters/test_wsgi.py::test_a_request_leaves_nothing_for_the_garbage_collector", "ReferenceStore"),
    ("tests/adapters/test_quiet_requests.py::test_a_quiet_request_is_answered_like_any_other", "on_fastapi"),
    # What each of the adapters is built on is there at every run, and so are the code of the README and of frameworks.
    ("tests/test_layout.py::test_who_came_first_does_not_make_later_requests_slow", "django"),
    ("tests/test_layout.py::test_who_came_first_does_not_make_later_requests_slow", "fastapi"),
    *(("tests/test_docs.py::test_the_code_of_a_document_runs", name) for name in ("stytch", "oidc", "kratos", "auth0")),
    # A Redis is one at every run, and asyncio stands for trio in races; the command of the benchmarks is no part of the package.
    ("tests/stores/test_redis_announcements.py::test_every_write_is_announced", "cluster"),
    ("tests/stores/test_redis_announcements.py::test_every_write_is_announced", "sentinel"),
    ("tests/test_races.py::", "-trio"),
    ("tests/test_benchmarks.py::test_a_process_of_several_contenders_answers_for_each", ""),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to CI what takes seconds in each mode, but for a few modes, and what repeats a promise."""
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if item.originalname in IN_THOUSANDS:
            mode = item.callspec.id.partition("-")[0].removesuffix("_mode")
            if mode not in FEW:
                item.add_marker(pytest.mark.slow)
        name, _, parameters = item.nodeid.partition("[")
        if any(name.startswith(beginning) and part in parameters for beginning, part in REPEATED):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Look for calls that block a loop no longer than the test that asked for it."""
    mode = sys.modules.get("tests.modes.asgi_mode")
    if mode is not None:
        mode.DETECTOR.deactivate()
