"""`GET /session/events` under ASGI: what pages are told of their session, at once, and never as activity (L6)."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from session_middleware.stores.memory import MemoryStore

from .driver import House, Open
from .test_connections import Counting, Faulty, house, on_both


def told(stream: Open) -> list[dict[str, Any]]:
    """Return the events so far."""
    blocks = stream.body.decode().split("\n\n")
    return [json.loads(block.removeprefix("data: ")) for block in blocks if block.startswith("data: ")]


@on_both
async def test_the_first_event_is_what_status_says(kind: str) -> None:
    """The stream begins with the state; it may be stored nowhere and held back by no proxy."""
    at = house(kind)
    cookies = await at.login()
    status = json.loads((await at.ask("/session/status", cookies)).body)
    async with at.open("/session/events", cookies) as stream:
        await stream.until(lambda: told(stream))
        assert told(stream) == [status]
        assert stream.body.startswith(b"retry: ")
        assert 2000 <= int(stream.body.split()[1]) <= 5000
        headers = dict(stream.sent[0]["headers"])
        assert stream.status == 200
        assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert headers[b"cache-control"] == b"no-store"
        assert headers[b"x-accel-buffering"] == b"no"
        assert b"content-length" not in headers
        assert b"set-cookie" not in headers


@on_both
async def test_pages_are_told_of_extension_and_end(kind: str) -> None:
    """Another tab's activity moves the time left; the last event says why it ended, and the stream ends."""
    at = house(kind)
    cookies = await at.login()
    async with at.open("/session/events", cookies) as stream:
        await stream.until(lambda: told(stream))
        await at.turn(100)
        assert len(told(stream)) == 1, "time alone is no news"
        await at.ask("/use", cookies)
        await at.turn()
        await stream.until(lambda: len(told(stream)) == 2)
        assert told(stream)[1]["inactivity_left"] == 315
        await at.ask("/logout", cookies)
        await at.turn()
        await stream.until(lambda: stream.over)
        assert told(stream)[2]["authenticated"] is False
        assert told(stream)[2]["reason"] == "signed_out"
        assert stream.is_complete
        assert stream.over is True


@on_both
async def test_silence_ends_a_stream_of_events(kind: str) -> None:
    """An open page alone keeps nobody signed in, however many signs of life the stream carries (L6)."""
    store = Counting()
    at = house(kind, store)
    async with at.open("/session/events", await at.login()) as stream:
        await stream.until(lambda: told(stream))
        for number in range(1, 19):
            await at.turn(16)
            await stream.until(lambda number=number: stream.body.count(b":\n\n") == number)  # type: ignore[misc]
        assert store.touched == []
        await at.turn(12)
        await stream.until(lambda: stream.over)
        assert told(stream)[-1]["reason"] == "inactivity"
        assert len(told(stream)) == 2


@on_both
async def test_without_a_session_there_is_nothing_to_tell(kind: str) -> None:
    """401 ends an EventSource for good; HEAD answers at once; another site may not listen (L20)."""
    at = house(kind)
    cookies = await at.login()
    assert (await at.ask("/session/events")).status == 401
    cross = [(b"sec-fetch-site", b"cross-site")]
    assert (await at.ask("/session/events", cookies, headers=cross)).status == 403
    scope = {**at.scope("/session/events", cookies), "method": "HEAD"}
    head = Open()
    head.give({"type": "http.request", "body": b""})
    await at.app(scope, head.receive, head.send)
    head.close()
    assert head.status == 200
    assert head.is_complete
    assert head.body == b""


@on_both
async def test_a_store_that_is_down_tells_nothing(kind: str) -> None:
    """503 where nothing is known; a stream that is open stays silent until its known deadline, and then ends (L17)."""
    store = Faulty()
    at = house(kind, store)
    cookies = await at.login()
    async with at.open("/session/events", cookies) as stream:
        await stream.until(lambda: told(stream))
        store.down = True
        assert (await at.ask("/session/events", cookies)).status == 503
        for _ in range(29):
            await at.turn(10)
        assert not stream.over
        await at.turn(10)
        await at.turn(10)
        await stream.until(lambda: stream.over)
        assert [event["authenticated"] for event in told(stream)] == [True], "nobody knows that it has ended"


def test_two_loops_in_one_process() -> None:
    """Each event loop looks after its own connections; an end on one is told on the other."""

    async def main() -> None:
        store = MemoryStore()
        at = house("asgi", store)
        cookies = await at.login()
        async with at.open("/session/events", cookies) as stream:
            await stream.until(lambda: told(stream))

            async def elsewhere() -> None:
                other = House(store, clock=at.clock, inactivity_timeout=300, absolute_lifetime=900)
                other.app = at.app  # the same process, engine and Watching, on another loop
                async with other.open("/session/events", cookies) as second:
                    await second.until(lambda: told(second))
                    await other.ask("/logout", cookies)

            await anyio.to_thread.run_sync(lambda: anyio.run(elsewhere))
            await at.turn(1)
            await stream.until(lambda: stream.over)
            assert told(stream)[-1]["reason"] == "signed_out"

    anyio.run(main)


@pytest.mark.parametrize("sent", ["http.request", "something.else"])
def test_what_a_client_sends_is_not_its_going(sent: str) -> None:
    """Only a disconnect ends the stream before the session does."""

    async def main() -> None:
        at = house("asgi")
        async with at.open("/session/events", await at.login()) as stream:
            await stream.until(lambda: told(stream))
            stream.give({"type": sent})
            await at.turn(20)
            await stream.until(lambda: b":\n\n" in stream.body)
            assert not stream.over

    anyio.run(main)


@on_both
async def test_a_cookie_of_the_providers_goes_out_with_the_stream(kind: str) -> None:
    """What the provider renews while it is asked reaches the browser here too, as with every other answer."""
    at = house(kind)
    cookies = await at.login()
    with_provider(at.engine)
    async with at.open("/session/events", cookies) as stream:
        await stream.until(lambda: told(stream))
        assert (b"set-cookie", b"provider=renewed; Path=/") in stream.sent[0]["headers"]


def with_provider(engine: Any) -> None:
    """Have each request bring a renewed cookie of a provider's."""
    inner = engine.authenticate

    async def authenticate(x: Any) -> None:
        await inner(x)
        x.relay = ("provider=renewed; Path=/",)

    engine.authenticate = authenticate
    engine.quiet = lambda x: False
