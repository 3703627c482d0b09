"""How the bridge asks Django for a request's user on the loop: in one thread where Django takes two, else as Django does."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from tests.modes.django_settings import AUTH, MESSAGES, OURS, SESSIONS, configure

configure()

from asgiref.sync import SyncToAsync  # noqa: E402
from django.contrib.auth.backends import BaseBackend, ModelBackend  # noqa: E402
from django.contrib.auth.middleware import AuthenticationMiddleware  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore as DbSessions  # noqa: E402
from django.db.models.sql.compiler import SQLCompiler  # noqa: E402
from django.test import AsyncClient  # noqa: E402

from tests.adapters.bridged import Bridged, database  # noqa: E402, F401

ASKED: list[str] = []
HERE = __name__


class OwnBackend(BaseBackend):
    """Knows users by one blocking method, as many a project's does."""

    def get_user(self, user_id: Any) -> User | None:
        ASKED.append("get_user")
        return User.objects.filter(pk=user_id).first()


class AwaitedBackend(ModelBackend):
    """Knows users by what it awaits, and by that alone."""

    def get_user(self, user_id: Any) -> User | None:
        raise AssertionError("asked in a thread")

    async def aget_user(self, user_id: Any) -> User | None:
        ASKED.append("aget_user")
        return await User.objects.filter(pk=user_id).afirst()


class NarrowBackend(ModelBackend):
    """Has a blocking method of its own beside the awaited one of Django's, which is the one that Django asks."""

    def get_user(self, user_id: Any) -> User | None:
        raise AssertionError("asked in a thread")


class OwnMiddleware(AuthenticationMiddleware):
    """Finds the user of a request in a way of its own."""

    def process_request(self, request: Any) -> None:
        super().process_request(request)
        theirs = request.auser

        async def auser() -> Any:
            ASKED.append("auser")
            return await theirs()

        request.auser = auser


class SessionStore(DbSessions):
    """Sessions of a project's own, which are awaited."""

    async def aload(self) -> Any:
        ASKED.append("aload")
        return await super().aload()


class TestTheUser(Bridged):
    """Under ASGI, for a signed-in request of an asynchronous view."""

    def setUp(self) -> None:
        super().setUp()
        ASKED.clear()

    async def signed_in(self) -> AsyncClient:
        client = AsyncClient()
        await client.aforce_login(self.alice)
        for _ in range(2):
            assert (await client.get("/awho")).json()["user"] == "alice"
        ASKED.clear()
        return client

    async def hops(self, client: AsyncClient) -> int:
        counted, call = [0], SyncToAsync.__call__

        async def hop(self: Any, *args: Any, **named: Any) -> Any:
            counted[0] += 1
            return await call(self, *args, **named)

        with patch.object(SyncToAsync, "__call__", hop):
            assert (await client.get("/auser")).json() == {"user": "alice"}
        return counted[0]

    async def test_one_thread_for_the_session_and_its_user(self) -> None:
        """Django's own view takes one for each; ours takes both along."""
        client = await self.signed_in()
        ours = await self.hops(client)
        with self.settings(MIDDLEWARE=[SESSIONS, AUTH, MESSAGES]):
            without = AsyncClient()  # a client keeps the middlewares of its first request
            without.cookies = client.cookies
            bare = await self.hops(without)
        assert ours == bare - 1

    async def test_as_many_queries(self) -> None:
        """Two, as without us, and the user is the one that `auser` of Django's keeps."""
        client = await self.signed_in()
        seen: list[object] = []
        execute = SQLCompiler.execute_sql

        def noted(self: SQLCompiler, *args: Any, **named: Any) -> Any:
            seen.append(self.query)
            return execute(self, *args, **named)

        with patch.object(SQLCompiler, "execute_sql", noted):
            await client.get("/auser")
        assert len(seen) == 2

    async def test_a_backend_that_knows_only_how_to_block(self) -> None:
        """It is asked once, in the same thread."""
        with self.settings(AUTHENTICATION_BACKENDS=[f"{HERE}.OwnBackend"]):
            client = await self.signed_in()
            assert await self.hops(client) > 0
            assert ASKED == ["get_user"]

    async def test_a_backend_that_is_awaited(self) -> None:
        """What a project awaits is awaited; what it has beside that is not asked."""
        for name, asked in (("AwaitedBackend", ["aget_user"]), ("NarrowBackend", [])):
            with self.settings(AUTHENTICATION_BACKENDS=[f"{HERE}.{name}"]):
                client = await self.signed_in()
                assert (await client.get("/awho")).json()["user"] == "alice"
                assert asked == ASKED, name

    async def test_a_backend_that_is_no_longer_in_use(self) -> None:
        """Whoever signed in by it is nobody, and our session ends with that (L8)."""
        client = await self.signed_in()
        with self.settings(AUTHENTICATION_BACKENDS=[f"{HERE}.OwnBackend"]):
            assert (await client.get("/awho")).json() == {"user": "", "subject": None}
        assert ASKED == []

    async def test_a_middleware_of_the_projects(self) -> None:
        """Whoever it finds is the user."""
        with self.settings(MIDDLEWARE=[SESSIONS, f"{HERE}.OwnMiddleware", OURS, MESSAGES]):
            client = await self.signed_in()
            assert (await client.get("/awho")).json()["user"] == "alice"
            assert ASKED == ["auser"]

    async def test_sessions_of_the_projects(self) -> None:
        """They are read as the project reads them."""
        with self.settings(SESSION_ENGINE=HERE):
            client = await self.signed_in()
            assert (await client.get("/awho")).json()["user"] == "alice"
            assert ASKED == ["aload"]

    async def test_a_password_changed_elsewhere(self) -> None:
        """Django finds out in the thread; our session ends with it (L8)."""
        client = await self.signed_in()
        self.alice.set_password("looking-glass-7")
        await self.alice.asave()
        assert (await client.get("/awho")).json() == {"user": "", "subject": None}
        assert self.events[-1] == "session_ended"
