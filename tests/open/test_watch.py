"""What a watch does when nobody tells it anything, when a store cannot be asked, and when connections go meanwhile."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import pytest

from session_middleware import Settings
from session_middleware.authorities.local import LocalAuthority
from session_middleware.core.lifetime import Deadlines, Touch, Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.engine import Engine
from session_middleware.errors import SettingsError
from session_middleware.runtime import Bell, LoopRuntime
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.watch import LEASE, News, Watcher, Watching

from .driver import KEY
from .plain_store import Plain
from .test_connections import _Facts, house


class Teller(Watcher):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.leaves: Any = None

    def changed(self) -> None:
        self.told.append("changed")

    def over(self, verdict: Any) -> None:
        self.told.append(verdict.name)
        if self.leaves is not None:
            self.leaves()

    def cut(self) -> None:
        self.told.append("cut")


class Place:
    """An engine on a running loop, with a clock of each kind."""

    def __init__(self, store: Any, authority: Any = None) -> None:
        self.clock = FakeClock()
        self.seconds = 0.0
        settings = Settings(secret_keys=[KEY], inactivity_timeout=300, absolute_lifetime=900)
        self.store = store
        self.engine = Engine(settings, store, clock=self.clock, runtime=LoopRuntime(), authority=authority)
        self.watching = Watching(self.engine, lambda: self.seconds)

    async def session(self) -> Any:
        x = self.engine.begin(_Facts())
        await self.engine.login(x, "alice")
        return x

    def stale(self, x: Any, left: float) -> Any:
        """Return another exchange of a session, served from a session JWT that ends after so many seconds."""
        late = self.engine.begin(_Facts())
        late.authenticated, late.verdict, late.stale = True, Verdict.UNAVAILABLE, True
        late.record, late.deadlines = x.record, Deadlines(x.deadlines.inactivity, self.clock() + left)
        return late

    async def turn(self, seconds: float) -> None:
        self.seconds += seconds
        await self.watching.here().turn()


def test_a_store_that_tells_nothing_is_asked_once_a_lease() -> None:
    """Every session with an open connection is read every two seconds, and no more often."""

    async def main() -> None:
        store = Plain()
        place = Place(store)
        x = await place.session()
        teller = Teller()
        place.watching.join(x, teller)
        await place.turn(0)
        store.loaded.clear()
        await place.turn(LEASE - 0.1)
        assert store.loaded == []
        await place.turn(0.1)
        assert store.loaded == [x.record.key]
        store._inner.end(x.record.key, "revoked", place.clock(), place.clock() + 60)
        await place.turn(LEASE)
        assert teller.told == ["REVOKED"]

    anyio.run(main)


def test_a_logout_that_could_not_be_stored_closes_what_is_open() -> None:
    """Where every write is told nobody looks by themselves, and what could not be written is told by nobody (L17)."""

    class Told(News):
        @property
        def is_heard(self) -> bool:
            return True

    class Full(MemoryStore):
        def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
            raise OSError("out of memory")

    async def main() -> None:
        place = Place(Full())
        place.watching._news = Told(place.store, lambda: place.seconds)
        x = await place.session()
        teller = Teller()
        place.watching.join(x, teller)
        await place.turn(1)
        assert teller.told == []
        assert not await place.engine.reach.end(x.record.key, "logout", place.clock(), place.clock())
        await place.turn(1)
        assert teller.told == ["REVOKED"]

    anyio.run(main)


def test_a_store_whose_version_cannot_be_read_is_compared() -> None:
    """A fault there is a reason to look, not to believe."""

    class Broken(MemoryStore):
        def version(self) -> object:
            raise OSError("no such file")

    async def main() -> None:
        place = Place(Broken())
        x = await place.session()
        teller = Teller()
        place.watching.join(x, teller)
        await place.turn(1)
        place.store.end(x.record.key, "revoked", place.clock(), place.clock() + 60)
        await place.turn(1)
        assert teller.told == ["REVOKED"]

    anyio.run(main)


def test_a_version_that_stands_still_spares_the_comparison() -> None:
    """Where nobody has written there is nothing to compare, however many connections there are."""

    class Still(MemoryStore):
        compared = 0
        writes = 0

        def version(self) -> object:
            return self.writes

        def holds(self, record: SessionRecord) -> bool:
            self.compared += 1
            return super().holds(record)

    async def main() -> None:
        store = Still()
        place = Place(store)
        for _ in range(250):  # more than are compared in one go
            place.watching.join(await place.session(), Teller())
        await place.turn(1)
        store.compared = 0
        await place.turn(1)
        assert store.compared == 0
        store.writes += 1
        await place.turn(1)
        assert store.compared == 250

    anyio.run(main)


def test_a_store_set_up_not_to_announce_is_asked_instead() -> None:
    """`check_announces` says no, so nobody listens."""

    class Silent(MemoryStore):
        def announcements(self) -> Any:
            raise AssertionError("nobody should listen")

        def check_announces(self) -> None:
            raise SettingsError("store", "announces=off", "is off.", "Leave it out.")

    news = News(Silent(), lambda: 0.0)
    end = news.begin(lambda key: None)
    assert not news.is_heard
    end()
    news.stop()


def test_connections_that_go_while_others_are_told() -> None:
    """What leaves during a turn is not told any more, and breaks nothing."""

    async def main() -> None:
        place = Place(MemoryStore())
        first, second = await place.session(), await place.session()
        one, other = Teller(), Teller()
        leaves = [place.watching.join(first, one), place.watching.join(second, other)]
        one.leaves, other.leaves = leaves[1], leaves[0]
        for x in (first, second):
            place.store.end(x.record.key, "revoked", place.clock(), place.clock() + 60)
        await place.turn(1)
        assert one.told + other.told == ["REVOKED"]

    anyio.run(main)


def test_the_last_connection_goes_during_the_look() -> None:
    """The answer of the store comes for nobody."""

    begun, go_on = threading.Event(), threading.Event()
    go_on.set()

    class Slow(MemoryStore):
        short_calls = MemoryStore.short_calls - {"load"}

        def load(self, key: bytes) -> SessionRecord | None:
            begun.set()
            assert go_on.wait(30)
            return super().load(key)

    async def main() -> None:
        place = Place(Slow())
        x = await place.session()
        teller = Teller()
        leave = place.watching.join(x, teller)
        place.store.end(x.record.key, "revoked", place.clock(), place.clock() + 60)
        watch = place.watching.here()
        place.seconds += 1
        begun.clear()
        go_on.clear()
        turning = asyncio.ensure_future(watch.turn())
        assert await asyncio.to_thread(begun.wait, 30)
        leave()
        go_on.set()
        await turning
        assert teller.told == []
        assert watch.is_idle

    anyio.run(main)


def test_what_does_not_stop_by_itself_is_cut() -> None:
    """A second after it was told, and once."""

    async def main() -> None:
        place = Place(MemoryStore())
        x = await place.session()
        teller = Teller()
        leave = place.watching.join(x, teller)
        place.store.end(x.record.key, "revoked", place.clock(), place.clock() + 60)
        await place.turn(1)
        await place.turn(0.9)
        assert teller.told == ["REVOKED"]
        await place.turn(0.2)
        await place.turn(5)
        assert teller.told == ["REVOKED", "cut"]
        leave()

    anyio.run(main)


def test_a_watch_ends_after_its_last_connection() -> None:
    """No task is left behind, and the next connection begins another."""

    async def main() -> None:
        place = Place(MemoryStore())
        x = await place.session()
        before = len(asyncio.all_tasks())
        for _ in range(2):
            leave = place.watching.join(x, Teller())
            assert len(asyncio.all_tasks()) == before + 1
            leave()
            leave()
            with anyio.fail_after(5):
                while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110  # a turn of the loop, no time
                    await asyncio.sleep(0)
            assert place.engine.reach.hearers == ()

    anyio.run(main)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_bell_of_a_loop_that_is_gone(loop: str) -> None:
    """Ringing it from another thread is no error; the caller learns that nobody hears."""
    bells: list[Bell] = []

    async def main() -> None:
        bells.append(Bell())
        assert bells[0].ring()
        await bells[0].wait(60)

    anyio.run(main, backend=loop)
    assert not bells[0].ring()


def test_a_stale_answer_keeps_a_connection_open_as_long_as_its_jwt() -> None:
    """L17: beside connections of the same session that were opened while the store answered, and hold their deadline."""

    class Failing(MemoryStore):
        down = False

        def load(self, key: bytes) -> SessionRecord | None:
            if self.down:
                raise OSError("gone")
            return super().load(key)

    async def main() -> None:
        place = Place(Failing())
        x = await place.session()
        before, stale, after = Teller(), Teller(), Teller()
        place.watching.join(x, before)
        await place.turn(1)
        place.store.down = True
        late = place.stale(x, 100)
        place.watching.join(late, stale)
        place.clock.advance(99)
        await place.turn(1)
        assert (before.told, stale.told) == ([], [])
        place.clock.advance(1)
        await place.turn(1)
        assert (before.told, stale.told) == ([], ["UNAVAILABLE"])
        assert not late.stale, "nobody is served beyond what is known"
        late = place.stale(x, 5)
        place.watching.join(late, after)
        place.store.down = False
        await place.turn(1)
        assert after.told == ["changed"], "the store answers: it is known again how long the session lives"
        assert (late.verdict, late.stale) == (Verdict.ACTIVE, False), "and that it does"
        place.clock.advance(50)
        await place.turn(1)
        assert (before.told, after.told) == ([], ["changed"])

    anyio.run(main)


def test_a_connection_that_goes_as_it_is_told_of_a_change() -> None:
    """It was the last one: nothing is left to be looked at."""

    class Leaver(Teller):
        def changed(self) -> None:
            super().changed()
            self.leaves()

    async def main() -> None:
        place = Place(MemoryStore())
        x = await place.session()
        leaver = Leaver()
        leaver.leaves = place.watching.join(x, leaver)
        place.clock.advance(10)
        place.store.touch(x.record.key, Touch(place.clock(), place.clock() + 300, place.clock() + 90_000))
        await place.turn(1)
        assert leaver.told == ["changed"]
        assert place.watching.here().is_idle
        place.clock.advance(301)
        await place.turn(1)
        assert leaver.told == ["changed"]

    anyio.run(main)


def test_a_stale_answer_for_which_nobody_vouches_ends_with_its_jwt() -> None:
    """L17: where it was the authority that did not answer, or may have been, the store's word alone makes nobody known."""

    async def main() -> None:
        place = Place(MemoryStore(), LocalAuthority(verify=lambda record: True))
        x = await place.session()
        whole, stale = Teller(), Teller()
        late = place.stale(x, 100)
        place.watching.join(x, whole)
        place.watching.join(late, stale)
        await place.turn(1)
        place.clock.advance(99)
        assert await place.engine.look_again(late) is False
        await place.turn(1)
        assert (late.verdict, late.stale, stale.told) == (Verdict.UNAVAILABLE, True, [])
        place.clock.advance(1)
        await place.turn(1)
        assert (whole.told, stale.told) == ([], ["UNAVAILABLE"])
        assert not late.stale

    anyio.run(main)


def test_a_deadline_that_the_provider_may_move_closes_and_ends_nothing() -> None:
    """L2: at a ceiling the socket closes; whether the session is over is the provider's to say, at the next request."""

    async def main() -> None:
        store = MemoryStore()
        at = house("asgi", store)
        async with at.open("/socket", await at.login(), kind="websocket") as socket:
            (key,) = store._records
            store._records[key] = store._records[key].evolve(ceiling=at.clock() + 100)
            await at.turn(1)
            await at.turn(70)
            await socket.until(lambda: socket.closed)
            assert socket.closed is not None
            assert socket.closed["reason"] == "lifetime"
            assert store._records[key].ended_at is None

    anyio.run(main)
