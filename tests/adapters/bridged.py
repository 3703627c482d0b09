"""A project with contrib.auth, bridged, as the tests of the bridge begin it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from tests.modes.django_settings import AUTH, MESSAGES, OURS, SESSIONS, configure

configure()

from django.contrib.auth.models import User  # noqa: E402
from django.test import Client, TestCase  # noqa: E402
from django.test.utils import override_settings, setup_databases, teardown_databases  # noqa: E402

from session_middleware.stores.memory import MemoryStore  # noqa: E402
from session_middleware.testing import FakeClock  # noqa: E402
from session_middleware.testing.watched_store import WatchedStore  # noqa: E402

LOGIN = "/accounts/login/"
TOKEN = "__Host-session"


@pytest.fixture(scope="module", autouse=True)
def database() -> Iterator[None]:
    """A database of this module's own, in memory."""
    names = setup_databases(verbosity=0, interactive=False)
    yield
    teardown_databases(names, verbosity=0)


class Bridged(TestCase):
    """A project with contrib.auth, our middleware directly after its own, and a clock that stands."""

    lifetime: ClassVar[dict[str, Any]] = {}
    middleware = (SESSIONS, AUTH, OURS, MESSAGES)

    def setUp(self) -> None:
        self.clock = FakeClock()
        self.store = WatchedStore(MemoryStore())
        self.events: list[str] = []
        given = {
            "store": self.store,
            "clock": self.clock,
            "on_event": lambda event: self.events.append(event.name),
            "inactivity_timeout": 900,
            **self.lifetime,
        }
        override = override_settings(
            MIDDLEWARE=list(self.middleware), SESSION_LIFETIME=given, ROOT_URLCONF="tests.adapters.django_auth_urls"
        )
        override.enable()
        self.addCleanup(override.disable)
        self.alice = User.objects.create_superuser("alice", password="wonderland")
        self.bob = User.objects.create_user("bob", password="builder")

    def sign_in(self, name: str = "alice", password: str = "wonderland") -> Client:
        client = Client()
        answer = client.post(LOGIN, {"username": name, "password": password})
        assert answer.status_code == 302, answer.content
        return client

    def user(self, client: Client) -> str:
        return client.get("/who").json()["user"]
