"""WebSockets and streams under ASGI end with their session (L13, L15, L17), on both loops; nothing there is activity (L6)."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.engine import Engine
from session_middleware.errors import StoreUnavailable
from session_middleware.sessions import AsyncSessions
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.sqlite import SQLiteStore
from session_middleware.watch import Watcher

from .driver import House, Open

Test = Callable[..., Awaitable[None]]

BOTH = [(kind, loop) for kind in ("asgi", "starlette") for loop in ("asyncio", "trio")]


def on_both(test: Test) -> Any:
    """Run an async test in each adapter on each loop."""

    @pytest.mark.parametrize(("kind", "loop"), BOTH, ids=["-".join(pair) for pair in BOTH])
    @functools.wraps(test)
    def run(kind: str, loop: str) -> None:
        anyio.run(test, kind, backend=loop)

    del run.__wrapped__  # pytest would look for its arguments there
    return run


def house(kind: str, store: Any = None, **settings: Any) -> House:
    given = {"inactivity_timeout": 300, "absolute_lifetime": 900, **settings}
    return House(MemoryStore() if store is None else store, kind=kind, **given)


def reasons(at: House) -> list[str]:
    return [event.detail["reason"] for event in at.events if event.name == "connection_closed"]


async def said(socket: Open, text: str) -> None:
    """Say something, and wait for the app's answer."""
    before = socket.kinds.count("websocket.send")
    socket.say(text)
    await socket.until(lambda: socket.kinds.count("websocket.send") > before)


async def closed(socket: Open) -> tuple[int, str]:
    await socket.until(lambda: socket.closed and socket.over)
    assert socket.closed is not None
    assert socket.over is True, socket.over
    return socket.closed["code"], socket.closed["reason"]


@on_both
async def test_silence_ends_a_socket(kind: str) -> None:
    """At its deadline and not before; messages alone are no activity; the app sees an ordinary disconnect (L5, L6)."""
    at = house(kind)
    async with at.open("/socket", await at.login(), kind="websocket") as socket:
        await at.turn(200)
        socket.say("hello")
        await socket.until(lambda: "websocket.send" in socket.kinds)
        await at.turn(99)
        assert socket.closed is None
        await at.turn(1)
        assert await closed(socket) == (4401, "inactivity")
        assert socket.told[-1] == {"type": "websocket.disconnect", "code": 4401, "reason": "inactivity"}
    assert reasons(at) == ["inactivity"]


@on_both
async def test_age_ends_a_socket_in_use(kind: str) -> None:
    """The absolute deadline holds however busy the user is (L3)."""
    at = house(kind)
    async with at.open("/socket", await at.login(), kind="websocket") as socket:
        for _ in range(8):
            await at.turn(100)
            await said(socket, "user")
        assert socket.closed is None
        await at.turn(100)
        assert await closed(socket) == (4401, "lifetime")


@on_both
async def test_the_app_says_what_is_activity(kind: str) -> None:
    """`session.touch()` moves the deadline as a request does, with at most one write in touch_interval (L5)."""
    store = Counting()
    writes = store.touched
    at = house(kind, store)
    async with at.open("/socket", await at.login(), kind="websocket") as socket:
        await at.turn(200)
        writes.clear()
        for _ in range(20):
            await said(socket, "user")
        assert len(writes) == 1
        await at.turn(200)
        assert socket.closed is None
        await at.turn(116)  # 200 + 300 and touch_interval
        assert await closed(socket) == (4401, "inactivity")


class Counting(MemoryStore):
    """Counts touches."""

    def __init__(self) -> None:
        super().__init__()
        self.touched: list[bytes] = []

    def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        self.touched.append(key)
        return super().touch(key, touch)


@on_both
async def test_every_message_may_be_activity(kind: str) -> None:
    """`socket_activity="message"`: what the client sends keeps the session, what the app sends does not (L6)."""
    at = house(kind, socket_activity="message")
    async with at.open("/socket", await at.login(), kind="websocket") as socket:
        await at.turn(200)
        socket.say("hello")
        await socket.until(lambda: "websocket.send" in socket.kinds)
        await at.turn(200)
        assert socket.closed is None
        await at.turn(116)
        assert await closed(socket) == (4401, "inactivity")


@on_both
async def test_a_message_after_the_deadline_revives_nothing(kind: str) -> None:
    """Also before the wheel has turned: a message that comes too late finds the session over (L1, L13)."""
    at = house(kind, socket_activity="message")
    async with at.open("/socket", await at.login(), kind="websocket") as socket:
        at.clock.advance(seconds=301)
        socket.say("hello")
        assert await closed(socket) == (4401, "inactivity")
        assert "websocket.send" not in socket.kinds


@on_both
async def test_an_ended_session_is_not_extended_by_a_socket(kind: str) -> None:
    """extend() on an open connection counts from now and judges first (L7)."""
    at = house(kind, absolute_lifetime=86_400)
    async with at.open("/socket", await at.login(), kind="websocket") as socket:
        await at.turn(200)
        socket.say("extend")
        await socket.until(lambda: "websocket.send" in socket.kinds)
        await at.turn(3599)
        assert socket.closed is None
        at.clock.advance(seconds=2)
        socket.say("extend")
        assert await closed(socket) == (4401, "inactivity")


@on_both
async def test_logout_ends_what_belongs_to_the_session(kind: str) -> None:
    """A logout ends every socket of that session, and no other's (L13)."""
    at = house(kind)
    mine, other = await at.login(), await at.login()
    async with (
        at.open("/socket", mine, kind="websocket") as first,
        at.open("/socket", mine, kind="websocket") as second,
        at.open("/socket", other, kind="websocket") as third,
    ):
        await at.ask("/logout", mine)
        await at.turn()
        assert await closed(first) == await closed(second) == (4401, "signed_out")
        assert third.closed is None
        third.say("hello")
        await third.until(lambda: "websocket.send" in third.kinds)
    assert [(e.detail["reason"], e.detail["connections"]) for e in at.events if e.name == "connection_closed"] == [
        ("signed_out", "2")
    ]


@on_both
async def test_a_login_that_takes_the_place_of_another_is_told_at_once(kind: str) -> None:
    """`max_sessions` ends a session as a logout does: what is open of it here closes without waiting for a comparison."""
    at = house(kind, max_sessions=1)
    async with at.open("/socket", await at.login(), kind="websocket") as socket:
        await at.turn()
        await at.login()
        await at.turn()
        assert await closed(socket) == (4401, "signed_out")


@on_both
async def test_a_session_that_a_socket_opens_late(kind: str) -> None:
    """On an exempt route it may be opened long after the handshake: from then on the socket belongs to it (L13, L21)."""
    at = house(kind, exempt_paths=("/exempt",))
    cookies = await at.login()
    async with (
        at.open("/exempt", cookies, kind="websocket") as socket,
        at.open("/exempt", cookies, kind="websocket") as unopened,
    ):
        await at.turn(100)
        await said(socket, "open")
        assert socket.sent[-1]["text"] == "open True"
        await at.ask("/logout", cookies)
        await at.turn()
        assert await closed(socket) == (4401, "signed_out")
        assert unopened.closed is None, "nobody has asked there who it is"
    assert reasons(at) == ["signed_out"]


@pytest.mark.parametrize("how", ["end", "end_all", "end_before"])
@pytest.mark.parametrize("form", ["memory", "sqlite"])
def test_an_end_in_another_process(how: str, form: str, tmp_path: Any) -> None:
    """Whatever ends a session elsewhere closes its sockets here within a second, on stores that announce nothing."""

    async def main() -> None:
        store = MemoryStore() if form == "memory" else SQLiteStore(tmp_path / "sessions.db")
        other = store if form == "memory" else SQLiteStore(tmp_path / "sessions.db")
        at = house("asgi", store)
        elsewhere = AsyncSessions(Engine(at.settings, other, clock=at.clock, runtime=at.engine.runtime))
        async with at.open("/socket", await at.login(), kind="websocket") as socket:
            await at.turn(1)
            at.clock.advance(seconds=1)
            if how == "end":
                (session,) = await elsewhere.list("alice")
                await elsewhere.end(session.id)
            elif how == "end_all":
                assert await elsewhere.end_all("alice") == 1
            else:
                await elsewhere.end_before(at.clock())
            await at.turn(1)
            assert await closed(socket) == (4401, "signed_out")

    anyio.run(main)


def test_a_deadline_moved_elsewhere_counts(tmp_path: Any) -> None:
    """What another process has extended is not closed at the deadline that was known here, and `session` follows."""

    async def main() -> None:
        at = house("asgi", SQLiteStore(tmp_path / "sessions.db"))
        other = house("asgi", SQLiteStore(tmp_path / "sessions.db"), clock=at.clock)
        cookies = await at.login()
        async with at.open("/socket", cookies, kind="websocket") as socket:
            await at.turn(250)
            assert (await other.ask("/use", cookies)).body == b"ACTIVE"
            await at.turn(100)
            assert socket.closed is None
            await at.turn(216)
            assert await closed(socket) == (4401, "inactivity")

    anyio.run(main)


@pytest.mark.parametrize("form", ["memory", "sqlite"])
def test_an_end_between_the_handshake_and_the_first_look(form: str, tmp_path: Any) -> None:
    """A session that ends while its socket is being accepted is not missed."""

    async def main() -> None:
        store = MemoryStore() if form == "memory" else SQLiteStore(tmp_path / "sessions.db")
        at = house("asgi", store)
        cookies = await at.login()
        async with at.open("/use", cookies):  # the session is known, and its record held
            pass
        join = at.watching.join

        def late(*given: Any, **more: Any) -> Any:
            key = given[0].record.key
            store.end(key, "revoked", at.clock(), at.clock() + 3600)
            return join(*given, **more)

        at.watching.join = late  # type: ignore[method-assign]
        async with at.open("/socket", cookies, kind="websocket") as socket:
            await at.turn()
            assert await closed(socket) == (4401, "signed_out")

    anyio.run(main)


@on_both
async def test_an_idle_stream_is_cut(kind: str) -> None:
    """A stream of events ends where it is, any other body is left incomplete; nothing more goes out (M27 stays honest)."""
    for path, complete in (("/events", True), ("/stream", False)):
        at = house(kind)
        cookies = await at.login()
        async with at.open(path, cookies) as stream:
            await at.ask("/logout", cookies)
            await at.turn()
            await at.turn(1.2)
            if kind == "asgi" and at.on_trio:
                assert not stream.over  # trio cancels no task from outside: it ends with its next message
                at.release.set()
            await stream.until(lambda: stream.over)
            assert stream.over is True
            assert stream.body == b"1\n"
            assert stream.is_complete is complete
        assert reasons(at) == ["signed_out"]


@on_both
async def test_a_stream_that_sends_hears_at_its_next_part(kind: str) -> None:
    """Nothing that the app sends after the end goes out, whether its server raises for a client that has gone or not."""
    for version in ("2.3", "2.4"):
        at = house(kind)
        cookies = await at.login()
        async with at.open("/stream", cookies, version=version) as stream:
            await at.ask("/logout", cookies)
            await at.turn()
            at.release.set()
            await stream.until(lambda: stream.over)
            assert stream.over is True, stream.over
            assert stream.body == b"1\n"


@on_both
async def test_a_listening_stream_hears_an_ordinary_disconnect(kind: str) -> None:
    """An app that waits for the client to go is told so."""
    at = house(kind)
    cookies = await at.login()
    async with at.open("/listening", cookies) as stream:
        await at.turn(301)
        await at.turn(1.2)
        await stream.until(lambda: stream.over)
        assert stream.over is True
        assert kind == "starlette" or stream.told[-1] == {"type": "http.disconnect"}


@on_both
async def test_a_deaf_app_cannot_speak_any_more(kind: str) -> None:
    """A socket's app that is busy elsewhere finds its client gone; what it then sends reaches nobody."""
    for version in ("2.3", "2.4"):
        at = house(kind)
        cookies = await at.login()
        async with at.open("/socket", cookies, kind="websocket", version=version) as socket:
            socket.say("deaf")
            await socket.until(lambda: socket.told and socket.told[-1].get("text") == "deaf")
            await at.ask("/logout", cookies)
            await at.turn()
            await socket.until(lambda: socket.closed)
            at.release.set()
            await socket.until(lambda: socket.over)
            assert socket.over is True, socket.over
            assert "websocket.send" not in socket.kinds


@on_both
async def test_what_belongs_to_nobody_stays(kind: str) -> None:
    """A stream without a session, and a response that is over, are watched by nobody."""
    at = house(kind)
    async with at.open("/session/status", await at.login()) as status:
        assert status.is_complete
    assert at.watching.here().is_idle
    if kind == "asgi":
        at = house(kind)
        async with at.open("/stream", "") as stream:
            await at.turn(1000)
            assert not stream.over
            at.release.set()
            await stream.until(lambda: stream.is_complete)
            assert stream.body == b"1\n2\n3\n"


def test_work_after_a_response_is_let_be() -> None:
    """A background task of a response that is complete is nobody's stream: a logout does not cut it off."""

    async def main() -> None:
        at = house("asgi")
        cookies = await at.login()
        async with at.open("/then-work", cookies) as stream:
            await stream.until(lambda: stream.is_complete)
            await at.ask("/logout", cookies)
            await at.turn(1)
            await at.turn(2)
            assert at.watching.here().is_idle
            at.release.set()
            await stream.until(lambda: stream.over)
            assert stream.over is True
            assert stream.told[-1] == {"type": "work done"}
        assert reasons(at) == []

    anyio.run(main)


@on_both
async def test_whoever_goes_is_forgotten(kind: str) -> None:
    """A client that leaves leaves nothing behind."""
    at = house(kind)
    async with at.open("/socket", await at.login(), kind="websocket"):
        watch = at.watching.here()
        assert not watch.is_idle
    assert watch.is_idle


class Faulty(MemoryStore):
    """A store that can be taken away."""

    down = refuses = refuses_touches = False

    def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        if self.refuses_touches:
            raise OSError("the store is full")
        return super().touch(key, touch)

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        if self.refuses:
            raise OSError("the store is full")
        return super().end(key, reason, at, keep_until)

    def load(self, key: bytes) -> Any:
        if self.down:
            raise OSError("the store is away")
        return super().load(key)

    def holds(self, record: Any) -> bool:
        if self.down:
            raise OSError("the store is away")
        return super().holds(record)


@on_both
async def test_a_store_that_is_down_ends_nothing_early(kind: str) -> None:
    """L17: until its known deadline a socket lives on; then it is told to come back later, which is no logout."""
    store = Faulty()
    at = house(kind, store)
    async with at.open("/socket", await at.login(), kind="websocket") as socket:
        store.down = True
        for _ in range(29):
            await at.turn(10)
        assert socket.closed is None
        store.down = False
        await at.turn(1)
        assert socket.closed is None
        store.down = True
        await at.turn(10)
        await at.turn(10)
        assert await closed(socket) == (1013, "unavailable")


@on_both
async def test_a_logout_counts_while_the_store_is_down(kind: str) -> None:
    """What this process knows to be over is closed, though the store could not be told (L17)."""
    store = Faulty()
    at = house(kind, store)
    cookies = await at.login()
    async with at.open("/socket", cookies, kind="websocket") as socket:
        store.refuses = True
        with suppress(StoreUnavailable):  # around Starlette's own error page, which has been sent by then
            await at.ask("/logout", cookies)
        store.down = True
        await at.turn(2)
        await at.turn(2)
        assert await closed(socket) == (4401, "signed_out")


def test_many_sockets_cost_one_task_and_one_look() -> None:
    """2,000 sessions with a socket each: one task of ours, and an end elsewhere reads one record (no poll per socket)."""

    async def main() -> None:
        import asyncio

        store = MemoryStore()
        at = house("asgi", store)
        loads: list[bytes] = []
        load = store.load
        at.engine.reach._call.load = _counted(load, loads)
        before = len(asyncio.all_tasks())
        exchanges = []
        for number in range(2000):
            x = at.engine.begin(_Facts())
            await at.engine.login(x, f"user {number}")
            exchanges.append(x)
            at.watching.join(x, Watcher())
        await at.turn(1)
        assert len(asyncio.all_tasks()) == before + 1
        loads.clear()
        record = exchanges[1000].record
        assert record is not None
        store.end(record.key, "revoked", at.clock(), at.clock() + 60)
        await at.turn(1)
        assert loads == [record.key]
        loads.clear()
        await at.turn(1)
        assert loads == []

    anyio.run(main)


def _counted(load: Callable[[bytes], Any], loads: list[bytes]) -> Callable[[bytes], Awaitable[Any]]:
    async def counted(key: bytes) -> Any:
        loads.append(key)
        return load(key)

    return counted


class _Facts:
    method, path, mount, target, scheme, host = "POST", "/login", "", "/login", "https", "app.example"
    websocket, cookies, client = False, "", None

    def header(self, name: str) -> str | None:
        return "same-origin" if name == "sec-fetch-site" else None
