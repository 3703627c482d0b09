"""Django's streamed responses end with their session, under WSGI and under ASGI; its pages get events too (L6, L13, L17)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.test.utils import override_settings

from session_middleware import Settings
from session_middleware.adapters._django_open import _fed
from session_middleware.adapters._django_setup import current
from session_middleware.core.lifetime import Verdict
from session_middleware.event_stream import EventStream
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from tests.modes.django_settings import OURS, configure, lifetime

from . import django_streams
from .driver import KEY, Open
from .test_events import told, with_provider
from .test_streams_of_threads import Answer, Shop
from .test_streams_of_threads import told as told_parts

URLS = "tests.open.django_streams"


class WSGI(WSGIHandler):
    def get_response(self, request: HttpRequest) -> Any:
        request.urlconf = URLS
        return super().get_response(request)


class ASGI(ASGIHandler):
    async def get_response_async(self, request: HttpRequest) -> Any:
        request.urlconf = URLS
        return await super().get_response_async(request)


class Project:
    """The project in one process."""

    def __init__(self, kind: type, **settings: Any) -> None:
        configure()
        self.clock = FakeClock()
        self.events: list[Any] = []
        given = {"inactivity_timeout": 300, "absolute_lifetime": 900, "return_param": "return_to", **settings}
        mapping = lifetime(
            Settings(secret_keys=[KEY], **given), MemoryStore(), clock=self.clock, on_event=self.events.append
        )
        with override_settings(MIDDLEWARE=[OURS], SESSION_LIFETIME=mapping):
            self.handler = kind()
            self.setup = current()

    def reasons(self) -> list[str]:
        return [event.detail["reason"] for event in self.events if event.name == "connection_closed"]

    def ask(self, path: str, cookies: str = "", **more: Any) -> Answer:
        environ = Shop.environ(None, path, cookies)  # type: ignore[arg-type]  # looks at nothing of a shop
        return Answer(self.handler, {**environ, **more})

    def login(self) -> str:
        answer = self.ask("/login")
        answer.read()
        return "; ".join(value.partition(";")[0] for name, value in answer.headers if name == "Set-Cookie")

    async def ask_async(self, path: str, cookies: str = "") -> Open:
        connection = Open()
        connection.give({"type": "http.request", "body": b"", "more_body": False})
        await self.handler(scope(path, cookies), connection.receive, connection.send)
        connection.close()
        return connection

    async def login_async(self) -> str:
        answer = await self.ask_async("/alogin")
        lines = [value.decode() for name, value in answer.sent[0]["headers"] if name.lower() == b"set-cookie"]
        return "; ".join(line.partition(";")[0] for line in lines)


def scope(path: str, cookies: str) -> dict[str, Any]:
    headers = [(b"host", b"app.example"), (b"cookie", cookies.encode())]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "https",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("203.0.113.7", 1),
        "server": ("app.example", 443),
    }


@pytest.fixture(autouse=True)
def streams() -> Iterator[None]:
    """Let no stream of one test meet another."""
    django_streams.closed.clear()
    yield
    django_streams.between = django_streams.release = None


@pytest.mark.parametrize("kind", ["events", "text"])
def test_a_stream_under_wsgi_ends_with_silence(kind: str) -> None:
    """Events end where they are, any other body is broken off, and the view's generator is closed."""
    project = Project(WSGI)
    django_streams.between = lambda: project.clock.advance(seconds=10)
    answer = project.ask(f"/stream/{kind}", project.login())
    assert answer.read() == [b"%d\n" % number for number in range(1, 31)]
    assert answer.broken is (kind == "text")
    assert django_streams.closed == ["parts"]
    assert project.reasons() == ["inactivity"]


def test_a_stream_for_which_nothing_was_due_stops_too() -> None:
    """A request that is recognised at once, without a question to any rule, is as bound to its session."""
    project = Project(WSGI)
    django_streams.between = lambda: project.clock.advance(seconds=10)
    cookies = project.login()
    project.clock.advance(seconds=1)
    project.ask("/stream/text", cookies).read(1)  # is recorded; nothing is due for the next
    answer = project.ask("/stream/text", cookies)
    assert answer.read(2) == [b"1\n", b"2\n"]
    project.ask("/logout", cookies).read()
    assert answer.read() == []
    assert answer.broken


def test_a_stream_under_wsgi_that_opens_its_session_late() -> None:
    """On an exempt view that may be while its parts are made: from then on it belongs to that session (L21)."""
    project = Project(WSGI)
    django_streams.between = lambda: project.clock.advance(seconds=10)
    cookies = project.login()
    answer = project.ask("/exempt", cookies)
    assert answer.read(4) == [b"1\n", b"2\n", b"True", b"True"]
    project.ask("/logout", cookies).read()
    assert answer.read() == []
    assert answer.broken


def test_a_file_is_the_servers() -> None:
    """A FileResponse keeps the file that the server may send by itself."""
    project = Project(WSGI)
    given: list[Any] = []

    def wrapper(file: Any, size: int) -> Any:
        given.append(file)
        return iter(lambda: file.read(size), b"")

    cookies = project.login()
    body = project.handler(
        {**Shop.environ(None, "/file", cookies), "wsgi.file_wrapper": wrapper},  # type: ignore[arg-type]
        lambda *_: lambda part: None,
    )
    assert b"Django project whose views stream" in b"".join(body)
    given[0].close()


def test_events_under_wsgi() -> None:
    """204 unless `sse=True`; then the state, and the end."""
    project = Project(WSGI)
    answer = project.ask("/session/events", project.login())
    assert answer.status.startswith("204")
    answer.read()
    project = Project(WSGI, sse=True)
    cookies = project.login()
    answer = project.ask("/session/events", cookies)
    assert dict(answer.headers)["Content-Type"].startswith("text/event-stream")
    assert told_parts(answer.read(1))[0]["authenticated"] is True


async def until_a_logout(project: Project, path: str, before: bytes) -> Open:
    """Return a stream of which so much came before the user logged out elsewhere, and which is over."""
    cookies = await project.login_async()
    django_streams.release = anyio.Event()
    stream = Open()
    stream.give({"type": "http.request", "body": b"", "more_body": False})

    async def serve() -> None:
        how: BaseException | bool = True
        try:
            await project.handler(scope(path, cookies), stream.receive, stream.send)
        except BaseException as fault:
            how = fault
        stream.ended(how)

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        await stream.until(lambda: stream.body == before)
        await project.ask_async("/alogout", cookies)
        await stream.until(lambda: stream.over)
    stream.close()
    assert stream.over is True, stream.over
    assert stream.body == before
    assert project.reasons() == ["signed_out"]
    return stream


@pytest.mark.parametrize("kind", ["events", "text"])
def test_a_stream_under_asgi_ends_with_a_logout(kind: str) -> None:
    """An idle asynchronous stream ends at once, though its view waits for something else."""

    async def main() -> None:
        stream = await until_a_logout(Project(ASGI), f"/astream/{kind}", b"1\n")
        assert stream.is_complete is (kind == "events")

    anyio.run(main)
    assert django_streams.closed == ["cancelled", "aparts"]


def test_a_stream_under_asgi_that_opens_its_session_late() -> None:
    """On an exempt view that may be while its parts are made (L21)."""

    async def main() -> None:
        stream = await until_a_logout(Project(ASGI), "/aexempt", b"1\nTrue")
        assert not stream.is_complete

    anyio.run(main)


def test_a_stream_that_nobody_ends() -> None:
    """It goes on to its own end, and is forgotten."""

    async def main() -> None:
        project = Project(ASGI)
        cookies = await project.login_async()
        django_streams.release = anyio.Event()
        django_streams.release.set()
        answer = await project.ask_async("/astream/text", cookies)
        assert answer.body == b"1\n2\n"
        assert answer.is_complete
        assert project.reasons() == []

    anyio.run(main)


def test_a_blocking_stream_under_asgi() -> None:
    """Django reads it whole before it sends anything, so there is nothing to end."""

    async def main() -> None:
        project = Project(ASGI)
        django_streams.between = lambda: None
        with pytest.warns(Warning, match="must consume synchronous iterators"):
            answer = await project.ask_async("/stream/text", await project.login_async())
        assert answer.body.startswith(b"1\n2\n")

    anyio.run(main)


def test_events_under_asgi() -> None:
    """The state at once, and the end with its reason."""

    async def main() -> None:
        project = Project(ASGI)
        cookies = await project.login_async()
        stream = Open()
        stream.give({"type": "http.request", "body": b"", "more_body": False})

        async def serve() -> None:
            await project.handler(scope("/session/events", cookies), stream.receive, stream.send)
            stream.ended(True)

        async with anyio.create_task_group() as group:
            group.start_soon(serve)
            await stream.until(lambda: told(stream))
            assert told(stream)[0]["authenticated"] is True
            await project.ask_async("/alogout", cookies)
            await stream.until(lambda: stream.over)
        stream.close()
        assert (told(stream)[-1]["authenticated"], told(stream)[-1]["reason"]) == (False, "signed_out")
        assert stream.is_complete

    anyio.run(main)


def test_a_cookie_of_the_providers_goes_out_with_the_stream() -> None:
    """What the provider renews while it is asked reaches the browser here too."""
    project = Project(WSGI, sse=True)
    cookies = project.login()
    with_provider(project.setup.blocking.engine)
    answer = project.ask("/session/events", cookies)
    answer.read(1)
    assert any(name == "Set-Cookie" and value.startswith("provider=renewed") for name, value in answer.headers)


def test_the_last_event_is_not_lost_while_another_goes_out() -> None:
    """A session that ends while an event is being sent is told of before the stream ends."""

    class Held:
        def join(self, x: Any, feed: Any, *, beats: bool) -> Any:
            self.feed = feed
            return lambda: None

    async def main() -> None:
        held, reply = Held(), EventStream(b"first", lambda x: b"state")
        parts = _fed(None, reply, held)  # type: ignore[arg-type]  # neither is looked at
        assert await anext(parts) == b"first"
        held.feed.beat()
        assert await anext(parts) == b":\n\n"
        held.feed.over(Verdict.REVOKED)
        assert [part async for part in parts] == [b"state"]

    anyio.run(main)
