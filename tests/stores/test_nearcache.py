"""NearCache holds what it may believe and nothing else, in every order of reads, writes, announcements and faults."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from session_middleware.core.lifetime import Touch
from session_middleware.errors import SettingsError
from session_middleware.stores.base import AddsOnce, Caches, Caps, EndsBefore, Prunes, Recognises
from session_middleware.stores.line import _begin_anew
from session_middleware.stores.memory import MemoryStore
from session_middleware.stores.nearcache import AsyncNearCache, NearCache, near_cache
from session_middleware.testing.reference_record import reference_record
from session_middleware.watch import News
from tests.fresh_python import printed_by
from tests.stores.announcing_store import PATIENCE, AnnouncingStore, AwaitedStore, Line, Monotonic, Plain
from tests.stores.forked import in_child
from tests.stores.redis_server import wait_until

RECORD = reference_record(0)
KEY = RECORD.key
LATER = Touch(RECORD.last_seen_at + 60, RECORD.last_seen_at + 7200, RECORD.keep_until + 60)
END = (KEY, "logout", RECORD.last_seen_at + 1, RECORD.keep_until)


@pytest.fixture
def store() -> AnnouncingStore:
    store = AnnouncingStore()
    store.create(RECORD)
    return store


@pytest.fixture
def clock() -> Monotonic:
    return Monotonic()


@pytest.fixture(params=["blocking", "awaited"])
def make(request: pytest.FixtureRequest, store: AnnouncingStore, clock: Monotonic) -> Iterator[Callable[..., Plain]]:
    """Makes near caches before `store`, of both forms, each called plainly."""
    made = []

    def new(**options: Any) -> Plain:
        before = store if request.param == "blocking" else AwaitedStore(store)
        made.append(near_cache(before, monotonic=clock, **options))
        return Plain(made[-1])

    yield new
    for near in made:
        near.stop()


@pytest.fixture
def near(make: Callable[..., Plain]) -> Plain:
    return make()


def opened(near: Plain, store: AnnouncingStore, number: int = 0) -> Line:
    """Have the cache listen, and return its line once it is open; nothing is held yet."""
    near.load(KEY)
    line = store.line(number)
    assert near.state.open
    line.tell(KEY)
    return line


def is_near(near: Plain, store: AnnouncingStore, key: bytes = KEY) -> bool:
    """Say whether a load is answered without the store."""
    before = store.loads
    near.load(key)
    return store.loads == before


# --- hits -------------------------------------------------------------------------------------------------------------


def test_what_was_read_is_held(near: Plain, store: AnnouncingStore) -> None:
    """Once the server has answered, a record that was read is answered and recognised without the store."""
    opened(near, store)
    found = near.load(KEY)
    assert found == RECORD
    loads = store.loads
    assert near.load(KEY) is found
    assert near.holds(found)
    assert store.loads == loads
    assert near.state.entries == 1
    assert near.state.hits == 1
    assert near.state.misses == 2


def test_an_equal_record_that_is_not_held_is_not_recognised(near: Plain, store: AnnouncingStore) -> None:
    """`holds` is about the very record that was returned."""
    opened(near, store)
    found = near.load(KEY)
    assert near.holds(found)
    assert not near.holds(found.evolve())


def test_nothing_is_held_before_the_server_has_answered(
    store: AnnouncingStore, make: Callable[..., Plain], clock: Monotonic
) -> None:
    """An open line proves nothing; only an answer does, and for a lease from when it was asked."""
    store.answers = False
    near = make(lease=2.0)
    near.load(KEY)
    line = store.line()
    assert not is_near(near, store)
    assert not is_near(near, store)
    clock.now += 1.5
    line.answer()
    assert near.state.open
    assert not is_near(near, store)
    assert is_near(near, store)
    clock.now += 0.5
    assert not near.state.open
    assert not is_near(near, store)


def test_the_missing_and_the_ended_are_not_held(near: Plain, store: AnnouncingStore) -> None:
    """Only live records are held; for others the store is asked each time."""
    opened(near, store)
    store.end(*END)
    for _ in range(2):
        assert near.load(KEY).ended_at is not None
        assert near.load(b"nobody") is None
        assert not is_near(near, store)
        assert not is_near(near, store, b"nobody")
    assert near.state.entries == 0


def test_reload_goes_past_the_cache(near: Plain, store: AnnouncingStore) -> None:
    """`reload` asks the store although the record is held, and what it finds is held then."""
    opened(near, store)
    near.load(KEY)
    store.touch(KEY, LATER)
    fresh = near.reload(KEY)
    assert fresh.last_seen_at == LATER.last_seen_at
    assert near.load(KEY) is fresh


def test_an_answer_older_than_a_write_here_is_not_held(near: Plain, store: AnnouncingStore) -> None:
    """A touch need not be announced, and what was read before it must not take the place of what it left (L5)."""
    opened(near, store)
    store.meanwhile = lambda: near.touch(KEY, LATER)
    near.load(KEY)
    assert near.load(KEY).last_seen_at == LATER.last_seen_at


# --- announcements ----------------------------------------------------------------------------------------------------


def test_an_announced_record_is_forgotten(near: Plain, store: AnnouncingStore) -> None:
    """A write elsewhere drops the record, and only that one."""
    other = reference_record(1)
    store.create(other)
    line = opened(near, store)
    near.load(KEY)
    near.load(other.key)
    store.end(*END)
    line.tell(KEY)
    assert near.load(KEY).ended_at is not None
    assert is_near(near, store, other.key)


def test_an_announcement_for_all_forgets_everything(near: Plain, store: AnnouncingStore) -> None:
    """b"" (end_before, a flush) drops every record."""
    line = opened(near, store)
    near.load(KEY)
    store.end_before(RECORD.authenticated_at + 1, RECORD.authenticated_at + 2)
    line.tell(b"")
    assert near.state.entries == 0
    assert near.load(KEY).ended_at is not None


@pytest.mark.parametrize("key", [KEY, b""])
def test_an_announcement_that_overtakes_the_reply(near: Plain, store: AnnouncingStore, key: bytes) -> None:
    """A record that was read before the write, and arrives after its announcement, is answered but not held."""
    line = opened(near, store)

    def meanwhile() -> None:
        store.end(*END)
        line.tell(key)

    store.meanwhile = meanwhile
    assert near.load(KEY) == RECORD
    assert near.state.entries == 0
    assert near.load(KEY).ended_at is not None


def test_an_announcement_after_the_reply(near: Plain, store: AnnouncingStore) -> None:
    """A record that was read before the write is held until the announcement arrives, no longer."""
    line = opened(near, store)
    store.meanwhile = lambda: store.end(*END)
    assert near.load(KEY) == RECORD
    assert near.load(KEY) == RECORD
    line.tell(KEY)
    assert near.load(KEY).ended_at is not None


def test_an_announcement_of_another_record_spoils_nothing(near: Plain, store: AnnouncingStore) -> None:
    """What is announced while a record is being read counts for its own record only."""
    line = opened(near, store)
    store.meanwhile = lambda: line.tell(b"somebody else")
    near.load(KEY)
    assert is_near(near, store)


def test_a_fill_counts_for_itself_only(near: Plain, store: AnnouncingStore) -> None:
    """Of two reads of one record at once, the one that began before the announcement is not held, the later one is."""
    line = opened(near, store)
    inner = []

    def meanwhile() -> None:
        store.touch(KEY, LATER)
        line.tell(KEY)
        inner.append(near.load(KEY))

    store.meanwhile = meanwhile
    outer = near.load(KEY)
    assert outer == RECORD
    assert inner[0].last_seen_at == LATER.last_seen_at
    assert near.load(KEY).last_seen_at == LATER.last_seen_at


# --- own writes -------------------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[Plain], Any]] = {
    "touch": lambda near: near.touch(KEY, LATER),
    "save": lambda near: near.save(RECORD.evolve(claims={"n": 2})),
    "renew": lambda near: near.renew(KEY, 0, 1, RECORD.last_seen_at + 3600),
}


@pytest.mark.parametrize("write", WRITES)
def test_what_a_write_returns_is_held(near: Plain, store: AnnouncingStore, write: str) -> None:
    """A touch, a save and a renewal hold the record as it now stands."""
    opened(near, store)
    written = WRITES[write](near)
    assert written not in (None, RECORD)
    assert near.holds(written)
    assert is_near(near, store)


@pytest.mark.parametrize("write", WRITES)
def test_an_own_write_whose_announcement_comes_first(near: Plain, store: AnnouncingStore, write: str) -> None:
    """Then what it returns may be old already, and is not held."""
    line = opened(near, store)
    real = getattr(store, write)

    def announced(*args: Any) -> Any:
        written = real(*args)
        store.end(*END)
        line.tell(KEY)
        return written

    setattr(store, write, announced)
    assert WRITES[write](near).ended_at is None
    assert near.load(KEY).ended_at is not None


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_fails_forgets(near: Plain, store: AnnouncingStore, write: str) -> None:
    """Whether a write that raised has happened nobody knows, so the store is asked again."""
    opened(near, store)
    near.load(KEY)

    def fails(*args: Any) -> Any:
        raise OSError("cut off")

    real = getattr(store, write)
    setattr(store, write, fails)
    with pytest.raises(OSError, match="cut off"):
        WRITES[write](near)
    setattr(store, write, real)
    assert not is_near(near, store)
    assert is_near(near, store)


def test_an_end_counts_here_at_once(near: Plain, store: AnnouncingStore) -> None:
    """Before its announcement arrives, and also for a read that began before it."""
    opened(near, store)
    near.load(KEY)
    assert near.end(*END)
    assert near.load(KEY).ended_at is not None


def test_an_end_counts_for_reads_that_were_faster(
    near: Plain, store: AnnouncingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that began and came back while the end was on its way found the record alive, and leaves nothing behind."""
    opened(near, store)
    end = store.end

    def overtaken(*args: Any) -> bool:
        assert near.load(KEY) == RECORD
        return end(*args)

    monkeypatch.setattr(store, "end", overtaken)
    assert near.end(*END)
    assert near.load(KEY).ended_at is not None


def test_an_end_counts_for_reads_under_way(near: Plain, store: AnnouncingStore) -> None:
    """A read that began before an end of this process does not hold what it found."""
    opened(near, store)
    store.meanwhile = lambda: near.end(*END)
    assert near.load(KEY) == RECORD
    assert near.load(KEY).ended_at is not None


def test_an_end_that_fails_forgets(near: Plain, store: AnnouncingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have happened."""
    opened(near, store)
    near.load(KEY)

    def fails(*args: Any) -> Any:
        MemoryStore.end(store, *args)
        raise OSError("cut off")

    monkeypatch.setattr(store, "end", fails)
    with pytest.raises(OSError, match="cut off"):
        near.end(*END)
    assert near.load(KEY).ended_at is not None


def test_end_before_counts_here_at_once(near: Plain, store: AnnouncingStore) -> None:
    """Before its announcement arrives."""
    opened(near, store)
    near.load(KEY)
    near.end_before(RECORD.authenticated_at + 1, RECORD.authenticated_at + 2)
    assert near.load(KEY).ended_at is not None


def test_what_was_pruned_is_forgotten(near: Plain, store: AnnouncingStore) -> None:
    """Rubbish that is deleted is not held on, and nothing else is forgotten."""
    short = reference_record(1).evolve(keep_until=RECORD.keep_until - 10)
    store.create(short)
    opened(near, store)
    near.load(KEY)
    near.load(short.key)
    assert near.prune(RECORD.keep_until - 5) == 1
    assert near.load(short.key) is None
    assert is_near(near, store)


@pytest.mark.parametrize("evict", [True, False])
def test_a_login_that_makes_room(near: Plain, store: AnnouncingStore, evict: bool) -> None:
    """What `create_capped` ends is forgotten at once; where it refuses, nothing is."""
    opened(near, store)
    near.load(KEY)
    new = reference_record(1).evolve(handles=RECORD.handles)
    now = new.authenticated_at
    ended = near.create_capped(new, RECORD.handles[0], 1, evict, now, RECORD.keep_until)
    if evict:
        assert [record.key for record in ended] == [KEY]
        assert near.load(KEY).ended_at is not None
    else:
        assert ended is None
        assert is_near(near, store)


def test_the_rest_is_passed_on(near: Plain, store: AnnouncingStore) -> None:
    """create, list and add_once are the store's own."""
    new = reference_record(1)
    near.create(new)
    assert store.load(new.key) == new
    assert near.list(new.handles[0], new.created_at) == [new]
    assert near.add_once("jti", 2.0, 1.0)
    assert not store.add_once("jti", 2.0, 1.0)
    line = near.announcements()
    assert line is store.lines[-1]


def test_it_has_the_powers_of_its_store(store: AnnouncingStore) -> None:
    """No more and no fewer, besides its own."""
    near = NearCache(store)
    powers = (Caches, Recognises, EndsBefore, AddsOnce, Prunes, Caps)
    assert all(isinstance(near, power) for power in powers)

    class Few:
        short_calls: frozenset[str] = frozenset()
        announcements = load = create = touch = save = renew = end = list = print

    few = NearCache(Few())  # type: ignore[arg-type]  # looked at only
    assert [power for power in powers if isinstance(few, power)] == [Caches, Recognises]


# --- the line is lost, or silent --------------------------------------------------------------------------------------


def test_a_lost_line_closes_the_cache(near: Plain, store: AnnouncingStore, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is believed from then on, not even by a record in hand, until another line has answered."""
    line = opened(near, store)
    held = near.load(KEY)
    store.answers = False
    with caplog.at_level(logging.WARNING, "session_middleware"):
        line.lose()
        line.wait_closed()
        again = store.line(1)
    assert not near.holds(held)
    assert near.state.entries == 0
    assert near.state.lost == 1
    assert [one.getMessage() for one in caplog.records] == [
        "The store's announcements cannot be heard (ConnectionResetError); every call goes to the store."
    ]
    store.end(*END)  # nobody heard
    assert near.load(KEY).ended_at is not None
    again.answer()
    assert near.load(KEY).ended_at is not None


def test_a_lost_line_closes_the_cache_at_once(near: Plain, store: AnnouncingStore) -> None:
    """Long before the lease has run out, and where no other line is to be had: every call goes to the store."""
    line = opened(near, store)
    held = near.load(KEY)
    assert near.holds(held)
    store.refusing = ConnectionRefusedError("down")
    line.lose()
    line.wait_closed()
    assert not near.state.open
    assert not near.holds(held)
    store.end(*END)  # nobody heard
    assert near.load(KEY).ended_at is not None


def test_a_read_from_before_the_line_was_lost(near: Plain, store: AnnouncingStore) -> None:
    """A record that was asked for on the old line and arrives on the new one is not held: what came between is unknown."""
    line = opened(near, store)

    def meanwhile() -> None:
        line.lose()
        line.wait_closed()
        store.end(*END)
        store.line(1)

    store.meanwhile = meanwhile
    assert near.load(KEY) == RECORD
    assert near.state.open
    assert near.load(KEY).ended_at is not None


def test_a_silent_server_runs_out_of_lease(near: Plain, store: AnnouncingStore, clock: Monotonic) -> None:
    """Without answers hits stop a lease after the last answered question was asked, although nothing raised."""
    line = opened(near, store)
    line.answers = False
    held = near.load(KEY)
    clock.now += 1.999
    assert near.holds(held)
    clock.now += 0.002
    assert not near.holds(held)
    assert not near.state.open
    assert not is_near(near, store)
    assert not line.closed


def test_a_server_silent_for_a_lease_is_given_up(near: Plain, store: AnnouncingStore, clock: Monotonic) -> None:
    """Then another line is opened, and what was held is not believed on it."""
    line = opened(near, store)
    line.answers = False
    near.load(KEY)
    clock.now += 0.5
    line.wake()
    assert not line.closed
    clock.now += 2.1
    line.wake()
    line.wait_closed()
    store.end(*END)
    store.line(1)
    assert near.state.open
    assert near.load(KEY).ended_at is not None
    assert near.state.lost == 1


def test_a_late_answer_counts_from_its_question(near: Plain, store: AnnouncingStore, clock: Monotonic) -> None:
    """An answer opens the cache for the rest of a lease since the question, however late it comes."""
    line = opened(near, store)
    line.answers = False
    held = near.load(KEY)
    clock.now += 0.5
    line.wake()
    clock.now += 1.4
    line.answer()
    assert near.state.lag == pytest.approx(1.4)
    clock.now += 0.5  # 2.4 after the first question, 1.9 after the second
    assert near.holds(held)
    clock.now += 0.2
    assert not near.holds(held)


def test_the_longest_lag_is_told(near: Plain, store: AnnouncingStore, clock: Monotonic) -> None:
    """Beside the last lag an operator reads the longest of those before it."""
    line = opened(near, store)
    line.answers = False
    clock.now += 0.5
    line.wake()
    clock.now += 1.4
    line.answer()  # and the next question is asked at once
    line.answers = True
    clock.now += 0.5
    line.wake()
    assert near.state.lag == pytest.approx(0.5)
    assert near.state.worst_lag == pytest.approx(1.4)


def test_announcements_before_an_answer_are_dealt_with_first(
    near: Plain, store: AnnouncingStore, clock: Monotonic
) -> None:
    """The lease goes on only once all that was announced before the answer is forgotten."""
    line = opened(near, store)
    line.answers = False
    held = near.load(KEY)
    clock.now += 1.9
    line.wake()
    line.tell(KEY)
    line.answer()
    clock.now += 0.2
    assert near.state.open
    assert not near.holds(held)


def test_questions_are_asked_four_times_in_a_lease(near: Plain, store: AnnouncingStore, clock: Monotonic) -> None:
    """So that one late answer does not close the cache; news in between asks nothing."""
    line = opened(near, store)
    assert line.asked == 1
    for n in range(2, 6):
        clock.now += 0.5
        line.wake()
        line.tell(KEY)
        assert line.asked == n
    assert near.state.worst_lag == 0.0


def test_an_answer_that_nobody_asked_for_is_no_answer(near: Plain, store: AnnouncingStore) -> None:
    """A line that cannot count is given up."""
    line = opened(near, store)
    line.answer()
    line.wait_closed()
    store.line(1)
    assert near.state.lost == 1


def test_a_server_that_cannot_be_reached(
    store: AnnouncingStore, make: Callable[..., Plain], caplog: pytest.LogCaptureFixture
) -> None:
    """The store is asked each time, the log says so once, and the cache opens when it can."""
    store.refusing = ConnectionRefusedError("nobody there")
    near = make()
    with caplog.at_level(logging.WARNING, "session_middleware"):
        near.load(KEY)
        wait_until(lambda: near.state.lost >= 3, "three attempts")
    assert len(caplog.records) == 1
    assert not is_near(near, store)
    store.refusing = None
    store.line()
    near.load(KEY)
    assert is_near(near, store)


def test_a_store_that_says_why_it_cannot_announce(
    store: AnnouncingStore, make: Callable[..., Plain], caplog: pytest.LogCaptureFixture
) -> None:
    """What our own error says, which names the fix, stands in the log."""
    store.refusing = SettingsError("announces", False, "means silence.", "Leave it out.")
    near = make()
    with caplog.at_level(logging.WARNING, "session_middleware"):
        near.load(KEY)
        wait_until(lambda: "Leave it out." in caplog.text, "the log")


def test_a_line_that_breaks_at_once_each_time_is_not_hammered(
    store: AnnouncingStore, make: Callable[..., Plain], caplog: pytest.LogCaptureFixture
) -> None:
    """A server that accepts and then cuts off is met with longer and longer pauses and one warning."""
    pauses: list[float] = []

    class Breaks(Line):
        def receive(self, seconds: float) -> Any:
            raise ConnectionResetError("at once")

    store.announcements = lambda: Breaks(answers=False)  # type: ignore[method-assign]
    near = make()
    wait = near.near._closed.wait
    near.near._closed.wait = lambda seconds: bool(pauses.append(seconds)) or wait(0)
    with caplog.at_level(logging.WARNING, "session_middleware"):
        near.load(KEY)
        wait_until(lambda: len(pauses) >= 6, "six attempts")
    near.near._closed.wait = wait
    assert pauses[:6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0]
    assert len(caplog.records) == 1


def test_a_line_that_cannot_even_be_closed(near: Plain, store: AnnouncingStore) -> None:
    """A fault on closing a lost line keeps nobody from opening the next."""
    line = opened(near, store)

    def close() -> None:
        Line.close(line)
        raise OSError("no")

    line.close = close  # type: ignore[method-assign]
    line.lose()
    line.wait_closed()
    store.line(1)
    assert near.state.open


def test_no_thread_to_be_had(
    store: AnnouncingStore, make: Callable[..., Plain], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started requests go to the store, and the next load tries again."""

    def none_left(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    near = make()
    with monkeypatch.context() as patch:
        patch.setattr("session_middleware.stores.line.beside", none_left)
        assert near.load(KEY) == RECORD
        assert near.load(KEY) == RECORD
    assert store.lines == []
    opened(near, store)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_it_holds_so_many_and_no_more(store: AnnouncingStore, make: Callable[..., Plain]) -> None:
    """The one that was read longest ago goes first; a record that is read again counts as new."""
    records = [reference_record(n) for n in range(1, 5)]
    for record in records:
        store.create(record)
    near = make(most=3)
    opened(near, store)
    for record in records[:3]:
        near.load(record.key)
    near.reload(records[0].key)
    near.load(records[3].key)
    assert near.state.entries == 3
    assert near.holds(store.load(records[0].key))
    assert not near.holds(store.load(records[1].key))


def test_nothing_stays_of_reads_that_are_over(near: Plain, store: AnnouncingStore) -> None:
    """Neither reads that found something nor those that failed leave a trace."""
    opened(near, store)
    for n in range(100):
        near.load(b"nobody %d" % n)

    def fails() -> None:
        raise OSError("cut off")

    store.meanwhile = fails
    with pytest.raises(OSError, match="cut off"):
        near.load(b"nobody")
    assert near.near._filling == {}
    assert near.state.entries == 0


# --- threads, processes, loops ----------------------------------------------------------------------------------------


def test_many_threads_fill_one_key(store: AnnouncingStore, clock: Monotonic) -> None:
    """However reads, touches and announcements meet, what is held in the end is what the store holds."""
    near = NearCache(store, monotonic=clock)
    plain = Plain(near)
    line = opened(plain, store)
    together = threading.Barrier(9)

    def work(thread: int) -> None:
        together.wait()
        for n in range(200):
            if n % 5 == thread % 5:
                near.touch(KEY, Touch(RECORD.last_seen_at + n + 1, None, RECORD.keep_until))
                with line._changed:
                    line._news.append(KEY)
                    line._changed.notify_all()
            near.load(KEY)

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(work, thread) for thread in range(8)]
        together.wait()
        for job in jobs:
            job.result()
    line.settle()
    assert near.load(KEY) == store.load(KEY)
    assert near._filling == {}
    assert len(store.lines) == 1
    near.stop()


def test_one_thread_listens_however_many_begin(store: AnnouncingStore, clock: Monotonic) -> None:
    """Loads that come at once start one listener."""
    near = NearCache(store, monotonic=clock)
    together = threading.Barrier(8)

    def begin(_: int) -> None:
        together.wait()
        near.load(KEY)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(begin, range(8)))
    store.line()
    assert len(store.lines) == 1
    near.stop()


def test_two_event_loops_share_what_is_held(store: AnnouncingStore, clock: Monotonic) -> None:
    """What one loop has read the other finds, also at the same time, and an end in one counts in the other."""
    awaited = AwaitedStore(store)
    near = AsyncNearCache(awaited, monotonic=clock)  # type: ignore[arg-type]  # its methods are put in by name
    asyncio.run(near.load(KEY))
    store.line()
    asyncio.run(near.load(KEY))
    loads = store.loads
    together = threading.Barrier(2)

    async def reads() -> int:
        together.wait()
        for _ in range(200):
            assert await near.load(KEY) is not None
            await asyncio.sleep(0)
        return id(asyncio.get_running_loop())

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(asyncio.run, [reads(), reads()]))
    assert store.loads == loads
    asyncio.run(near.end(*END))
    ended = asyncio.run(near.load(KEY))
    assert ended is not None
    assert ended.ended_at is not None
    near.stop()


def test_a_cancelled_read_holds_nothing(store: AnnouncingStore, clock: Monotonic) -> None:
    """A request that goes away while its record is being read leaves nothing behind."""
    awaited = AwaitedStore(store)
    near = AsyncNearCache(awaited, monotonic=clock)  # type: ignore[arg-type]  # its methods are put in by name

    async def main() -> None:
        await near.load(KEY)
        store.line().tell(KEY)

        async def never(key: bytes) -> None:
            await asyncio.Event().wait()

        awaited.load = never  # type: ignore[attr-defined]
        task = asyncio.create_task(near.load(KEY))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert near._filling == {}
    assert near.state.entries == 0
    near.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # what is tested is just that
def test_a_forked_child_believes_nothing_and_listens_anew(near: Plain, store: AnnouncingStore) -> None:
    """The child holds nothing of its parent's and opens a line of its own; the parent goes on as it was."""
    line = opened(near, store)
    held = near.load(KEY)
    assert near.holds(held)

    def child() -> None:
        assert not near.holds(held), "holds"
        assert not near.state.open, "open"
        assert near.state.entries == 0, "entries"
        assert not is_near(near, store), "near"
        store.line(1)
        assert near.state.open, "listens"
        near.load(KEY)
        assert is_near(near, store), "holds anew"

    assert in_child(child) == ""
    assert len(store.lines) == 1
    assert not line.closed
    assert near.holds(held)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # what is tested is just that
def test_a_child_is_not_held_up_by_its_parents_lock(near: Plain, store: AnnouncingStore) -> None:
    """A lock that another thread held at the moment of the fork does not exist in the child."""
    opened(near, store)
    with near.near._mutex:
        assert in_child(lambda: [near.load(KEY), None][1]) == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # what is tested is just that
def test_a_cache_that_was_stopped_is_stopped_in_a_child(near: Plain, store: AnnouncingStore) -> None:
    """A child does not begin to listen for who has stopped."""
    line = opened(near, store)
    near.stop()
    line.wait_closed()

    def child() -> None:
        near.load(KEY)
        assert not near.near._listening

    assert in_child(child) == ""


@pytest.mark.parametrize("stopped", [False, True])
def test_what_a_child_begins_with(near: Plain, store: AnnouncingStore, stopped: bool) -> None:
    """The same, seen from within: nothing held, nobody listening, the parent's line neither used nor dropped."""
    line = opened(near, store)
    near.load(KEY)
    if stopped:
        near.stop()
        line.wait_closed()
    _begin_anew()
    assert near.state.entries == 0
    assert not near.state.open
    assert near.near._closed.is_set() is stopped
    near.stop()
    assert line.closed is stopped
    line.close()


def test_where_there_are_no_forks() -> None:
    """A system without fork has nothing to register for."""
    script = (
        "import os\nfor name in ('fork', 'register_at_fork'): vars(os).pop(name, None)\n"
        "import session_middleware.stores.line as line; print(line.Line)"
    )
    assert "Line" in printed_by(script)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_lines_leave_nothing_behind(store: AnnouncingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is registered for forks stays for ever, so no line registers anything: each first connection opens one anew."""
    registered: list[Any] = []
    monkeypatch.setattr(os, "register_at_fork", lambda **hooks: registered.append(hooks))
    news = News(store, time.monotonic)
    for _ in range(3):
        news.begin(lambda key: None)()
        news.stop()
    NearCache(store)
    assert registered == []


def test_a_read_under_way_across_a_fork_is_not_held(near: Plain, store: AnnouncingStore) -> None:
    """What began before the cache began anew, as in a child, is not held after it."""
    fill = near.near._filled_by(KEY)
    near.near._begin()
    opened(near, store).tell(KEY)
    near.near._fill(KEY, fill, RECORD, wrote=False)
    assert near.state.entries == 0


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # what is tested is just that
def test_what_the_store_has_read_ahead_is_read_anew(near: Plain, store: AnnouncingStore) -> None:
    """When everything may have changed, the store is told before anything is forgotten, so that no new read builds on it."""
    asked: list[int] = []
    store.read_anew = lambda: asked.append(near.state.entries)  # type: ignore[attr-defined]
    if isinstance(near.near, AsyncNearCache):
        near.store.read_anew = store.read_anew  # type: ignore[attr-defined]
    line = opened(near, store)
    near.load(KEY)
    line.tell(b"")
    assert asked == [0, 1]
    near.load(KEY)
    line.tell(KEY)
    assert asked == [0, 1]
    line.lose()
    line.wait_closed()
    store.line(1)
    assert asked == [0, 1, 0]


def test_a_cache_that_nobody_has_is_let_go(store: AnnouncingStore) -> None:
    """What is registered for forks does not keep a cache in memory."""
    near = NearCache(store)
    gone = weakref.ref(near)
    del near
    gc.collect()
    assert gone() is None


# --- the end ----------------------------------------------------------------------------------------------------------


def test_stop_closes_the_line_and_forgets(
    near: Plain, store: AnnouncingStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The listener goes away at once, without a word in the log, and every call goes to the store."""
    before = set(threading.enumerate())
    line = opened(near, store)
    (listener,) = set(threading.enumerate()) - before
    held = near.load(KEY)
    with caplog.at_level(logging.DEBUG, "session_middleware"):
        near.stop()
        listener.join(PATIENCE)
    assert not listener.is_alive()
    assert line.closed
    assert caplog.records == []
    assert near.state.lost == 0
    assert not near.holds(held)
    assert not is_near(near, store)
    assert not is_near(near, store)
    assert len(store.lines) == 1


def test_stopping_what_never_listened(near: Plain, store: AnnouncingStore) -> None:
    """Nothing happens, and no load begins to listen then."""
    near.stop()
    near.load(KEY)
    assert store.lines == []


def test_stop_while_a_line_is_being_opened(store: AnnouncingStore, make: Callable[..., Plain]) -> None:
    """A line that opens after the end is closed again."""
    near = make()
    begun, go_on = threading.Event(), threading.Event()
    real = store.announcements

    def slowly() -> Line:
        begun.set()
        assert go_on.wait(PATIENCE)
        return real()

    store.announcements = slowly  # type: ignore[method-assign]
    near.load(KEY)
    assert begun.wait(PATIENCE)
    near.stop()
    go_on.set()
    wait_until(lambda: bool(store.lines), "the line")
    store.lines[0].wait_closed()
    assert not near.state.open


def test_close_closes_the_store_too() -> None:
    """`with` and `close` stop listening and close the store, if it can be closed."""
    closed = []

    class Closable(AnnouncingStore):
        def close(self) -> None:
            closed.append("blocking")

    with NearCache(Closable()) as near:
        near.load(KEY)
    assert closed == ["blocking"]
    NearCache(AnnouncingStore()).close()

    async def main() -> None:
        store = AwaitedStore(AnnouncingStore())
        async with AsyncNearCache(store) as near:  # type: ignore[arg-type]  # its methods are put in by name
            await near.load(KEY)
        assert store.closes == 1
        store.close = None  # type: ignore[method-assign, assignment]
        await near.close()

    asyncio.run(main())


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lease", [0, 0.09, 61, -1, float("nan"), float("inf"), "2", None, True])
def test_a_lease_that_makes_no_sense(store: AnnouncingStore, lease: Any) -> None:
    """The error names the value and what to write."""
    with pytest.raises(SettingsError, match="lease") as caught:
        NearCache(store, lease=lease)
    assert repr(lease) in str(caught.value)
    assert "0.1 to 60" in str(caught.value)


@pytest.mark.parametrize("most", [0, -5, 1.5, "many", None, True])
def test_a_size_that_makes_no_sense(store: AnnouncingStore, most: Any) -> None:
    """The error names the value and what to write."""
    with pytest.raises(SettingsError, match="most") as caught:
        NearCache(store, most=most)
    assert repr(most) in str(caught.value)


def test_a_store_that_cannot_announce() -> None:
    """A store in memory or in a file needs no near cache, and the error says so."""
    with pytest.raises(SettingsError, match=r"MemoryStore.*cannot announce"):
        near_cache(MemoryStore())


def test_the_form_of_the_store_decides(store: AnnouncingStore) -> None:
    """A blocking store gets the blocking form, an awaited one the awaited."""
    assert type(near_cache(store)) is NearCache
    assert type(near_cache(AwaitedStore(store))) is AsyncNearCache


@pytest.mark.parametrize(
    ("form", "other"), [(NearCache, "AsyncNearCache"), (AsyncNearCache, "NearCache")], ids=["blocking", "awaited"]
)
def test_the_wrong_form_is_told_the_right_one(store: AnnouncingStore, form: Any, other: str) -> None:
    """A store of the other form is refused at construction, not at the first request."""
    with pytest.raises(SettingsError, match=f"Give it to {other}\\."):
        form(AwaitedStore(store) if form is NearCache else store)
