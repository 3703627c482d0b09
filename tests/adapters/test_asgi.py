"""Plain ASGI: when a response has started (L25), and the session of a plain function in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from session_middleware import Settings, session_exempt, session_optional
from session_middleware.adapters import starlette
from session_middleware.adapters.asgi import SessionLifetimeMiddleware, session_from, sync_session_from
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SessionNotAttached
from session_middleware.testing import FakeClock
from session_middleware.testing.reference_store import ReferenceStore


class Site:
    """A plain ASGI app with sessions."""

    def __init__(self, app: Any, marker: Any = session_optional) -> None:
        self.store = ReferenceStore()
        settings = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"])
        self.app = SessionLifetimeMiddleware(marker(app), settings, self.store, clock=FakeClock())

    def get(self, cookie: bytes = b"") -> list[dict[str, Any]]:
        """Return what the app sends in answer to a request, and raise what it raises."""
        return asyncio.run(self.answered([], cookie))

    async def answered(self, sent: list[dict[str, Any]], cookie: bytes = b"", **more: Any) -> list[dict[str, Any]]:
        """Make a request on this loop, with more in its scope; the messages are put into `sent`."""
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "method": "GET",
            "scheme": "https",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"app.example"), *([(b"cookie", cookie)] if cookie else [])],
            **more,
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent

    def record(self) -> SessionRecord:
        """Return the one record."""
        (record,) = self.store.rows.values()
        return record


def cookies_of(sent: list[dict[str, Any]]) -> bytes:
    """Return what a browser would send after an answer."""
    lines = [value for name, value in sent[0]["headers"] if name == b"set-cookie"]
    return b"; ".join(line.partition(b";")[0] for line in lines)


@pytest.mark.parametrize("path", ["/training/session/status", "/sessions/status", "/session"])
def test_only_what_begins_with_our_prefix_is_ours(path: str) -> None:
    """L21: an address of the app's that holds our prefix further on reaches the app."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"the app"})

    sent = asyncio.run(Site(app).answered([], path=path, raw_path=path.encode()))
    assert sent[-1]["body"] == b"the app"


@pytest.mark.parametrize("status", [200, 500])
def test_who_gave_up_looking_has_looked(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """L18: what a view shows after a time limit around `open()` is not what a cache may give to those who are signed in."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = session_from(scope)
        if scope["method"] == "POST":
            await session.login("alice")
        else:
            with pytest.raises(asyncio.CancelledError):
                await session.open()
        await send(
            {"type": "http.response.start", "status": status if scope["method"] == "GET" else 200, "headers": []}
        )
        await send({"type": "http.response.body", "body": b""})

    async def broken_off(*given: object, **named: object) -> None:
        raise asyncio.CancelledError

    site = Site(app, session_exempt)
    cookie = cookies_of(asyncio.run(site.answered([], method="POST")))
    monkeypatch.setattr(site.app.engine.reach, "load", broken_off)
    assert (b"vary", b"Cookie") in site.get(cookie)[0]["headers"]


@pytest.mark.parametrize("headers", [[], [(b"vary", b"Origin")]], ids=["plain", "vary"])
def test_a_message_that_the_app_keeps_stays_its_own(headers: list[tuple[bytes, bytes]]) -> None:
    """L9, L13, L18: what is added for one client is not in what the app sends the next one; it may send a constant."""
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    before = {**start, "headers": list(headers)}
    logs_in = True

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if logs_in:
            await session_from(scope).login("alice")
        await send(start)
        await send({"type": "http.response.body", "body": b""})

    site = Site(app)
    cookie = cookies_of(site.get())
    assert cookie
    assert start == before
    logs_in = False
    for asked in (b"", cookie, cookie, cookie):  # nobody, recognised the long way, and quietly
        site.get(asked)
        assert start == before


@pytest.mark.parametrize("signed_in", [False, True])
@pytest.mark.parametrize("given", [iter, tuple, list])
def test_headers_may_be_any_iterable(given: Callable[[Any], Any], signed_in: bool) -> None:
    """ASGI: `headers` is an iterable, which may be there once only; Sanic sends a generator."""
    own = [(b"x-app", b"1"), (b"set-cookie", b"theirs=1"), (b"vary", b"Origin")]

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if not scope["headers"][1:] and signed_in:
            await session_from(scope).login("alice")
        await send({"type": "http.response.start", "status": 200, "headers": given(own)})
        await send({"type": "http.response.body", "body": b""})

    site = Site(app)
    answers = [site.get()]
    answers += [site.get(cookies_of(answers[0]) if signed_in else b"") for _ in range(3)]
    for answer in answers:
        headers = list(answer[0]["headers"])
        assert {own[0], own[1]} <= set(headers)
        assert [value for name, value in headers if name == b"vary"] == [b"Origin, Cookie"]


def test_names_in_capitals_are_the_same_headers() -> None:
    """L18: Django's ASGI handler sends them so; its Vary is merged, and its Cache-Control stays the only one."""
    logs_in = True

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if logs_in:
            await session_from(scope).login("alice")
        own = [(b"Vary", b"Accept"), (b"Cache-Control", b"private, max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b""})

    site = Site(app)
    cookie = cookies_of(site.get())
    logs_in = False
    for asked in (b"", cookie, cookie, cookie):  # nobody, recognised the long way, and quietly
        headers = sorted((name.lower(), value) for name, value in site.get(asked)[0]["headers"])
        assert headers == [(b"cache-control", b"private, max-age=60"), (b"vary", b"Accept, Cookie")]


@pytest.mark.parametrize("starts", [False, True])
def test_a_login_stands_once_the_response_has_started(starts: bool) -> None:
    """L25: the start message takes the cookie along, and the session stands whatever follows; without one it ends."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await session_from(scope).login("alice")
        if starts:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    site, sent = Site(app), []
    with pytest.raises(ZeroDivisionError):
        asyncio.run(site.answered(sent))
    cookies = [value for message in sent for name, value in message.get("headers", ()) if name == b"set-cookie"]
    assert bool(cookies) is starts
    assert (site.record().end_reason is None) is starts


def test_a_login_that_ends_in_an_error_page_does_not_stand() -> None:
    """L25: a framework makes an error page of a view that raised, and we hear of nothing else; the session that came stays."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        session = session_from(scope)
        await session.login("mallory" if session.is_active else "alice")
        status = int(scope["query_string"] or 200)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    site = Site(app)
    cookie = b"; ".join(value.partition(b";")[0] for name, value in site.get()[0]["headers"] if name == b"set-cookie")
    answer = asyncio.run(site.answered([], cookie, query_string=b"500"))
    assert [name for name, _ in answer[0]["headers"] if name == b"set-cookie"] == []
    assert {row.subject: row.end_reason for row in site.store.rows.values()} == {"alice": None, "mallory": "abandoned"}
    answer = asyncio.run(site.answered([], cookie, query_string=b"499"))
    assert len([name for name, _ in answer[0]["headers"] if name == b"set-cookie"]) == 2, "the app chose that answer"


@pytest.mark.parametrize("path", ["/base/me", "/me"], ids=["as ASGI has it", "as servers did before"])
def test_the_way_back_leads_below_the_mount(path: str) -> None:
    """Some servers leave root_path out of `path`; the return parameter is the address that the browser showed (L15)."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        raise AssertionError("not for visitors")

    site = Site(answer)
    site.app = SessionLifetimeMiddleware(app, site.app.engine.settings, site.store)
    scope = {"path": path, "raw_path": path.encode(), "root_path": "/base", "query_string": b"page=2"}
    headers = [(b"host", b"app.example"), (b"accept", b"text/html")]
    sent = asyncio.run(site.answered([], **scope, headers=headers))
    assert sent[0]["status"] == 303
    location = dict(sent[0]["headers"])[b"location"].decode()
    assert location == "/base/login?return_to=/base/me%3Fpage%3D2"


# --- plain functions in threads ----------------------------------------------------------------------------------------


async def answer(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def to_thread(call: Callable[[], None]) -> Any:
    return asyncio.to_thread(call)


def in_executor(call: Callable[[], None]) -> Any:
    return asyncio.get_running_loop().run_in_executor(None, call)


def trio_thread(call: Callable[[], None]) -> Any:
    return trio.to_thread.run_sync(call)


@pytest.mark.parametrize("elsewhere", [to_thread, in_executor, trio_thread])
def test_a_plain_function_in_a_thread_has_the_blocking_session(elsewhere: Callable[[Callable[[], None]], Any]) -> None:
    """However the app makes its thread: the verbs run on the loop of the request, on asyncio and on trio."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        def view() -> None:
            session = sync_session_from(scope)
            session.login("alice")
            session.extend(30)

        await elsewhere(view)
        await answer(send)

    site, sent = Site(app), []
    if elsewhere is trio_thread:
        trio.run(site.answered, sent)
    else:
        asyncio.run(site.answered(sent))
    record = site.record()
    assert record.subject == "alice"
    assert record.inactivity_deadline == record.created_at + 30 * 60
    assert [name for name, _ in sent[0]["headers"]].count(b"set-cookie") == 2


@pytest.mark.filterwarnings("error")
def test_the_wrong_accessor_names_the_right_one() -> None:
    """On the loop sync_session_from() raises at the call, in a thread session_from(); no coroutine is left behind."""
    said: list[str] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        def ask(accessor: Any) -> None:
            with pytest.raises(SessionNotAttached) as refused:
                accessor(scope)
            said.append(str(refused.value))

        ask(sync_session_from)
        await asyncio.to_thread(ask, session_from)
        await answer(send)

    Site(app).get()
    assert "use session_from()" in said[0]
    assert "Use sync_session_from()" in said[1]


@pytest.mark.filterwarnings("error")
def test_a_session_that_outlives_its_loop_says_so() -> None:
    """Kept beyond the loop, or used on it, the blocking session raises, and leaves no coroutine behind."""
    kept: list[Any] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await asyncio.to_thread(lambda: kept.append(sync_session_from(scope)))
        with pytest.raises(SessionNotAttached, match="on the event loop"):
            kept[0].login("alice")
        await answer(send)

    def too_late() -> None:
        with pytest.raises(SessionNotAttached, match="has stopped"):
            kept[0].login("alice")
        kept.append("refused")

    Site(app).get()
    thread = threading.Thread(target=too_late)
    thread.start()
    thread.join()
    assert kept[1:] == ["refused"]


def test_each_middleware_has_its_own_accessor() -> None:
    """Starlette's middleware keeps no loop, so the accessor of this module says whose to use."""
    scopes: list[Any] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)

        def view() -> None:
            with pytest.raises(SessionNotAttached, match="another middleware"):
                sync_session_from(scope)

        await asyncio.to_thread(view)
        await answer(send)

    site = Site(app)
    settings = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"], default_policy="optional")
    site.app = starlette.SessionLifetimeMiddleware(app, settings, site.store)  # type: ignore[assignment]
    site.get()
    assert scopes
