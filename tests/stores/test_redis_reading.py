"""The shared line of awaited reads and the kept connections of blocking ones: what goes wrong on them is nobody else's answer."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions

from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.stores.redis.line import ASK_THE_CLIENT, Line
from session_middleware.stores.redis.reading import AwaitedReads, BlockingReads
from session_middleware.testing.reference_record import reference_record
from tests.stores.certificates import certificate_of_its_own
from tests.stores.redis_server import Server, Wire, a_prefix, cluster, free_port, standalone

pytestmark = pytest.mark.server

RECORDS = [reference_record(n) for n in range(40)]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.remove()


def reads_of(store: AsyncRedisStore) -> Any:
    return store._calls._link()._reads  # type: ignore[attr-defined]


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many questions were in each write."""
    found: list[int] = []
    ask = Line.ask

    def noted(line: Line, asked: list[tuple[bytes, Any]]) -> None:
        found.append(len(asked))
        ask(line, asked)

    monkeypatch.setattr(Line, "ask", noted)
    return found


def test_a_lone_question_is_sent_at_once(writes: list[int]) -> None:
    """It does not wait for the loop to turn, as nobody else is there to share a write with."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(standalone().url, prefix=a_prefix(), lease=60) as store:
            await store.load(RECORDS[0].key)  # the line is up
            writes.clear()
            asking = asyncio.create_task(store.load(RECORDS[0].key))
            await asyncio.sleep(0)  # asked, and whatever that put off is still to come
            assert writes == [1]
            assert await asking is None

    asyncio.run(main())


def test_reads_of_one_turn_share_a_write(writes: list[int]) -> None:
    """Of forty tasks that read at once the first asks alone, all others share one trip, and each gets its own record."""
    wire = Wire(standalone().port)

    async def main() -> None:
        async with AsyncRedisStore.from_url(f"redis://127.0.0.1:{wire.port}", prefix=a_prefix(), lease=60) as store:
            for record in RECORDS:
                await store.create(record)
            await store.load(RECORDS[0].key)
            await store.load(RECORDS[0].key)  # the line is up
            before = wire.trips
            writes.clear()
            answers = await asyncio.gather(*(store.load(record.key) for record in RECORDS), store.load(b"nobody"))
            assert answers == [*RECORDS, None]
            assert writes == [1, len(RECORDS)]
            assert wire.trips - before <= len(writes)
            assert reads_of(store)._line is not None

    asyncio.run(main())
    wire.close()


def test_a_read_under_way_does_not_keep_a_server_that_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is asked while all are left for another server brings its answer, and is not used again."""
    with standalone().client() as client:
        reads = BlockingReads(client)
        assert reads.get(b"nothing") is None
        (connection,) = reads._kept
        answer = connection.read_response

        def meanwhile(**options: Any) -> Any:
            reads.leave()
            return answer(**options)

        monkeypatch.setattr(connection, "read_response", meanwhile)
        assert reads.get(b"nothing") is None
        assert connection._sock is None


def test_a_line_that_is_left_brings_what_was_asked(writes: list[int]) -> None:
    """However often writes find their server read-only, no read fails or is repeated; new ones go on another line."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(standalone().url, prefix=a_prefix(), lease=60) as store:
            for record in RECORDS[:2]:
                await store.create(record)
                assert await store.load(record.key) == record
            reads, writes[:] = reads_of(store), []
            line = reads._line
            asking = [asyncio.create_task(store.load(record.key)) for record in RECORDS[:2]]
            await asyncio.sleep(0)  # the first is on its way, the second is to be sent
            reads.leave()
            reads.leave()
            assert await asyncio.gather(*asking) == RECORDS[:2]
            assert sum(writes) == 2
            assert reads._line is not line
            reads.leave()  # with nothing on its way
            assert await store.load(RECORDS[0].key) == RECORDS[0]
            assert line.connection is None  # given back

    asyncio.run(main())


def test_a_store_that_is_closed_leaves_nobody_waiting(writes: list[int]) -> None:
    """Reads on their way and reads that were still to be sent hear of it at once; none waits for an answer for ever."""

    async def main() -> None:
        store = AsyncRedisStore.from_url(standalone().url, prefix=a_prefix(), lease=60)
        await store.load(RECORDS[0].key)  # the line is up
        writes.clear()
        asking = [asyncio.create_task(store.load(record.key)) for record in RECORDS[:3]]
        await asyncio.sleep(0)  # the first is on its way, the others are to be sent
        assert writes == [1]
        await store.close()
        done, waiting = await asyncio.wait(asking, timeout=10)
        assert not waiting
        assert {str(task.exception()) for task in done} == {"The store was closed."}
        async with store:
            assert await store.load(RECORDS[0].key) is None

    asyncio.run(main())


@pytest.mark.slow
def test_a_cluster_that_closes_idle_connections_is_read_unnoticed() -> None:
    """Reads on connections of a Cluster that the servers have closed meanwhile are made anew; nobody sees a fault."""

    async def main() -> None:
        url = cluster()
        async with AsyncRedisStore.from_url(url, prefix=a_prefix(), lease=0.001) as store:
            for record in RECORDS:
                await store.create(record)
            for _ in range(3):
                assert await asyncio.gather(*(store.load(record.key) for record in RECORDS)) == RECORDS
                for port in re.findall(r":(\d+)", url):
                    with redis.Redis(port=int(port)) as admin:
                        admin.execute_command("CLIENT", "KILL", "TYPE", "normal")
                for record in RECORDS:
                    assert await store.load(record.key) == record

    asyncio.run(main())


def test_whoever_goes_away_takes_nobodys_answer_along() -> None:
    """A task that is cancelled while its read is on its way leaves the others with their own records."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(standalone().url, prefix=a_prefix(), lease=60) as store:
            for record in RECORDS:
                await store.create(record)
            await store.load(RECORDS[0].key)
            for _ in range(20):
                tasks = [asyncio.create_task(store.load(record.key)) for record in RECORDS]
                await asyncio.sleep(0)  # asked
                for task in tasks[::3]:
                    task.cancel()
                await asyncio.sleep(0)  # sent
                for task in tasks[1::3]:
                    task.cancel()
                answers = await asyncio.gather(*tasks, return_exceptions=True)
                assert answers[2::3] == RECORDS[2::3]

    asyncio.run(main())


def test_a_line_that_was_cut_is_made_anew_unnoticed(server: Server) -> None:
    """Reads on their way when the connection is lost are asked again on another; nobody sees a fault."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(server.url, lease=60) as store:
            for record in RECORDS:
                await store.create(record)
            await store.load(RECORDS[0].key)
            for _ in range(5):
                await store.load(RECORDS[0].key)
                line = reads_of(store)._line
                waiting = [asyncio.create_task(store.load(record.key)) for record in RECORDS]
                await asyncio.sleep(0)
                line._transport.abort()
                assert await asyncio.gather(*waiting) == RECORDS
                assert reads_of(store)._line is not line

    asyncio.run(main())


def test_lines_that_are_lost_use_up_no_pool(server: Server) -> None:
    """A connection whose line was lost goes back to the pool, a hundred times over a pool of eight."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(f"{server.url}?max_connections=8", lease=60) as store:
            await store.create(RECORDS[0])
            await store.load(RECORDS[0].key)
            for _ in range(100):
                await store.load(RECORDS[0].key)
                reads_of(store)._line._transport.abort()
            assert await store.load(RECORDS[0].key) == RECORDS[0]

    asyncio.run(main())


def test_a_small_pool_has_no_connection_to_spare() -> None:
    """With three connections or fewer reads go as all commands do, so that no write waits for one that is never free."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(
            f"{standalone().url}?max_connections=1", prefix=a_prefix(), lease=60
        ) as store:
            for record in RECORDS[:3]:
                await store.create(record)
                assert await store.load(record.key) == record
            assert reads_of(store)._line is None

    asyncio.run(main())


@pytest.mark.parametrize("form", ["awaited", "blocking"])
def test_an_answer_that_is_an_error_is_raised_as_the_client_raises_it(server: Server, form: str) -> None:
    """WRONGTYPE is an unreadable record, on the line as elsewhere, and the line goes on."""
    prefix = a_prefix()
    with server.client() as client:
        client.lpush(prefix.encode() + b"r:" + RECORDS[1].key, "x")

    async def main() -> None:
        async with AsyncRedisStore.from_url(server.url, prefix=prefix, lease=60) as store:
            await store.create(RECORDS[0])
            await store.load(RECORDS[0].key)
            answers = await asyncio.gather(*(store.load(RECORDS[n].key) for n in (0, 1, 0)), return_exceptions=True)
            assert [getattr(answer, "code", answer) for answer in answers] == [
                RECORDS[0],
                "record_unreadable",
                RECORDS[0],
            ]

    def blocking() -> None:
        with RedisStore.from_url(server.url, prefix=prefix, lease=60) as store:
            store.create(RECORDS[0])
            store.load(RECORDS[0].key)
            with pytest.raises(Exception, match="no session record"):
                store.load(RECORDS[1].key)
            assert store.load(RECORDS[0].key) == RECORDS[0]

    asyncio.run(main()) if form == "awaited" else blocking()


class Speaker:
    """A server that says what it is told to, however it is asked, after the greeting of a client."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._speak, args=(line,), daemon=True).start()

    def _speak(self, line: socket.socket) -> None:
        with line:
            while data := line.recv(65536):
                if b"CLIENT" in data:
                    line.sendall(b"+OK\r\n" * data.count(b"CLIENT"))
                if b"GET" in data:
                    for part in self._parts:
                        line.sendall(part)
                        threading.Event().wait(0.01)  # a part at a time is what is shown

    def close(self) -> None:
        self._socket.close()


def said(*parts: bytes) -> Any:
    """Return what one read makes of what a server says, in these parts."""
    speaker = Speaker(*parts)

    async def main() -> Any:
        client = redis.asyncio.Redis(port=speaker.port, socket_timeout=0.5, protocol=2, max_connections=8)
        reads = AwaitedReads(client)
        try:
            return (await reads.get([b"k"]))[0]
        finally:
            await reads.close()
            await client.aclose()

    try:
        return asyncio.run(main())
    finally:
        speaker.close()


@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        ([b"$3\r\nabc\r\n"], b"abc"),
        ([b"$", b"3\r", b"\na", b"bc\r", b"\n"], b"abc"),
        ([b"$4\r\n\r\n", b"\r\n\r\n"], b"\r\n\r\n"),
        ([b"$0\r\n\r\n"], b""),
        ([b"$-1\r\n"], None),
        ([b"_\r\n"], None),
        ([b"-ERR so\r\n"], ASK_THE_CLIENT),
    ],
)
def test_an_answer_is_read_however_it_comes(parts: list[bytes], answer: object) -> None:
    """A value, an empty one, none (in both protocols) and an error are read whole or in pieces."""
    assert said(*parts) == answer


@pytest.mark.parametrize("part", [b":1\r\n", b">1\r\n+x\r\n", b"$x\r\n", b"x" * 70_000])
def test_what_was_not_asked_for_is_nobodys_answer(part: bytes) -> None:
    """A line on which something else comes is given up, and so is the next; then it is a fault."""
    with pytest.raises(redis.exceptions.RedisError):
        said(part)


def test_a_second_answer_is_not_kept_for_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more comes than was asked for, the line is hung up, so that nobody gets what was left on it."""
    hung_up: list[str] = []
    fail = Line.fail
    monkeypatch.setattr(Line, "fail", lambda line, problem: (hung_up.append(str(problem)), fail(line, problem))[1])
    assert said(b"$3\r\nabc\r\n$3\r\nxyz\r\n") == b"abc"
    assert "not asked for" in hung_up[0]


def test_a_server_that_is_silent_is_given_up_in_time() -> None:
    """Whoever reads from a server that says nothing hears so after its time limit, and no longer."""
    with pytest.raises(redis.exceptions.TimeoutError):
        said()


def test_blocking_reads_keep_to_their_own_connections(server: Server) -> None:
    """Threads that read through kept connections get their own records, also after the server has closed them all."""
    with RedisStore.from_url(server.url, lease=60) as store, server.client() as client:
        for record in RECORDS:
            store.create(record)
        with ThreadPoolExecutor(24) as pool:
            for _ in range(5):
                assert list(pool.map(lambda record: store.load(record.key), RECORDS)) == RECORDS
                client.client_kill_filter(_type="normal", skipme=True)
        assert len(client.client_list()) < 60


def test_a_crowd_at_the_start_opens_one_connection(server: Server) -> None:
    """Fifty reads at once by a new process are one connection, though none of them knows of an `end_before` yet."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(server.url) as store:
            assert await asyncio.gather(*(store.load(record.key) for record in RECORDS)) == [None] * len(RECORDS)
            with server.client() as client:
                assert len(client.client_list()) == 2  # and the one that counts

    asyncio.run(main())


def test_large_records_hold_nobody_up(server: Server) -> None:
    """Records of megabytes that come in many pieces are put together once, among small ones that come whole."""
    large = reference_record(900).evolve(claims={"x": "y" * 3_000_000})

    async def main() -> None:
        async with AsyncRedisStore.from_url(f"{server.url}?timeout=30", lease=60) as store:
            await store.create(large)
            await store.create(RECORDS[0])
            keys = [large.key, RECORDS[0].key] * 8
            assert await asyncio.gather(*(store.load(key) for key in keys)) == [large, RECORDS[0]] * 8

    asyncio.run(main())


def test_whoever_goes_away_during_a_fault_leaves_no_complaint(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Of two questions in one trip whose asker is gone, neither failure is logged as one that nobody asked for."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(server.url) as store:
            await store.load(RECORDS[0].key)
            reads = reads_of(store)
            asking = asyncio.create_task(reads.get([b"one", b"two"]))
            await asyncio.sleep(0)
            asking.cancel()
            reads._line._transport.abort()
            with pytest.raises(asyncio.CancelledError):
                await asking

    asyncio.run(main())
    gc.collect()
    assert caplog.records == []


def _loops() -> list[Any]:  # Any: what pytest.param returns
    found = [pytest.param(asyncio.run, id="asyncio")]
    if importlib.util.find_spec("uvloop"):
        import uvloop

        found.append(pytest.param(uvloop.run, id="uvloop"))
    return found


@pytest.mark.parametrize("run", _loops())
def test_nobody_hears_of_a_line_that_was_just_given_up(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever asks between its end and the word of it asks in vain, and then another line, unnoticed."""

    async def main() -> None:
        async with AsyncRedisStore.from_url(standalone().url, prefix=a_prefix(), lease=60) as store:
            await store.create(RECORDS[0])
            await store.load(RECORDS[0].key)  # the line is up
            for _ in range(8):
                reads_of(store)._line.fail(redis.exceptions.TimeoutError("silent"))
                assert await store.load(RECORDS[0].key) == RECORDS[0]

    run(main())
    assert caplog.records == []


@pytest.mark.parametrize("run", _loops())
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_line_is_there_on_every_loop_and_in_tls(run: Any, tls: bool, tmp_path: Path) -> None:
    """Reads share a line, signed in, on the loops that apps run on, in TLS too, and after it was lost."""
    certificate, key = certificate_of_its_own(tmp_path)
    port = free_port()
    files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate]
    server = Server("--tls-port", str(port), *map(str, files), "--tls-auth-clients", "no", "--requirepass", "hunter2")
    url = f"redis://:hunter2@127.0.0.1:{server.port}/3?timeout=10"
    if tls:
        url = f"rediss://:hunter2@127.0.0.1:{port}/3?timeout=10&ssl_ca_certs={certificate}"

    async def main() -> None:
        async with AsyncRedisStore.from_url(url, lease=60) as store:
            for record in RECORDS:
                await store.create(record)
            for _ in range(3):
                assert await asyncio.gather(*(store.load(record.key) for record in RECORDS)) == RECORDS
                line = reads_of(store)._line
                assert line is not None
                line._transport.abort()

    run(main())
    server.remove()
