"""Connections that stay open, and the sessions they belong to: who is told when one of these ends or changes.

One wheel, one task and one line of announcements for all connections of an event loop, however many there are. A session is
looked at when its deadline comes, when somebody has written to it, and, where nobody tells of that, whenever it may have
been written to. Nothing here is activity, and nothing is written: the end itself is recorded by the next request (L16).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Deadlines, Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.core.wheel import Wheel
from session_middleware.engine import Engine
from session_middleware.errors import SettingsError, StoreUnavailable
from session_middleware.runtime import Bell, at_once, mutex, side_by_side, this_loop
from session_middleware.stores.base import Announces, AnnouncesIf, Recognises, SeesWrites
from session_middleware.stores.line import EVERYTHING, Line

__all__ = ["LEASE", "TICK", "Watch", "Watcher", "Watching"]

#: Seconds of a turn of the wheel: a connection ends at most so long after its session's deadline, and the call to the store.
TICK: Final = 0.5

#: Seconds after which a session is looked at again where nobody says what was written; and the lease of a line (L8).
LEASE: Final = 2.0

#: Seconds that the app has to take notice, before what still runs is cut off.
GRACE: Final = 1.0

#: Seconds between two signs of life on a connection that carries nothing else, shorter than proxies wait (60 s mostly).
BEAT: Final = 15.0

#: Sessions looked at side by side.
_SIDE_BY_SIDE: Final = 32

#: Sessions compared in one go, between which the loop serves others.
_SLICE: Final = 200


class Watcher:
    """An open connection. What it is told, it is told on its event loop; it must not raise."""

    __slots__ = ()

    def changed(self) -> None:
        """Take note that the exchange has another record or other deadlines."""

    def over(self, verdict: Verdict) -> None:
        """Stop: the session has ended, or (UNAVAILABLE) its deadline has passed and nobody can be asked (L17)."""

    def cut(self) -> None:
        """Stop by force, since `GRACE` is over."""

    def beat(self) -> None:
        """Give a sign of life, if this kind of connection does."""


class _Session:
    """One session that has open connections."""

    __slots__ = ("deadlines", "members", "record")

    def __init__(self, record: SessionRecord, deadlines: Deadlines) -> None:
        self.record = record
        self.deadlines = deadlines
        self.members: dict[Watcher, Exchange] = {}


class Watch:
    """The connections of one event loop.

    Args:
        engine: the app's.
        news: says what was written.
        monotonic: seconds of a clock that is never set.
    """

    def __init__(self, engine: Engine, news: News, monotonic: Callable[[], float]) -> None:
        self._engine = engine
        self._news = news
        self._monotonic = monotonic
        self._sessions: dict[bytes, _Session] = {}
        self._deadlines: Wheel[bytes] = Wheel(TICK)
        self._cuts: Wheel[Watcher] = Wheel(TICK / 10)
        self._beats: Wheel[Watcher] = Wheel(TICK)
        self._mutex = mutex()
        self._written: set[bytes] = set()
        self._compared_at = monotonic()
        self._version: object = None
        self._bell = Bell()

    @property
    def is_idle(self) -> bool:
        """Whether no connection is left."""
        return not self._sessions and not len(self._cuts)

    def join(self, x: Exchange, watcher: Watcher, *, beats: bool = False) -> None:
        """Let a connection belong to the session of its request."""
        record, deadlines = x.record, x.deadlines
        assert record is not None
        assert deadlines is not None
        held = self._sessions.get(record.key)
        if held is None:
            held = self._sessions[record.key] = _Session(record, deadlines)
            self._deadlines.put(record.key, deadlines.ends_at)
            if x.stale or not self._news.is_current(record):  # else an end between that read and now would go unheard
                self.hear(record.key)
        elif x.stale:  # it may be good for less than the others, and the store may be back (L17)
            self.hear(record.key)
        held.members[watcher] = x
        if beats:
            self._beats.put(watcher, self._monotonic() + BEAT)

    def leave(self, key: bytes, watcher: Watcher) -> None:
        """Forget a connection that is closed."""
        self._cuts.drop(watcher)
        self._beats.drop(watcher)
        held = self._sessions.get(key)
        if held is not None and held.members.pop(watcher, None) is not None and not held.members:
            self._forget(key)
        if self.is_idle:
            self._bell.ring()

    def hear(self, key: bytes) -> None:
        """Take note, from any thread, that a record may have been written; b"": any record."""
        if key in self._sessions or key == EVERYTHING:
            with self._mutex:
                self._written.add(key)
            self._bell.ring()

    async def run(self, done: Callable[[], None]) -> None:
        """Look after the connections until there are none."""
        try:
            while not self.is_idle:
                await self._bell.wait(TICK if not len(self._cuts) else GRACE / 10)
                await self.turn()
        finally:
            done()

    async def turn(self) -> None:
        """Do everything that is due now."""
        with self._mutex:
            written, self._written = self._written, set()
        if EVERYTHING in written:
            written = set(self._sessions)
        else:
            written &= self._sessions.keys()
            written.update(await self._compared())
        written.update(self._deadlines.due(self._engine.clock()))
        if written:
            await side_by_side([partial(self._look, key) for key in written], min(_SIDE_BY_SIDE, len(written)))
        now = self._monotonic()
        for watcher in self._cuts.due(now):
            watcher.cut()
        for watcher in self._beats.due(now):
            self._beats.put(watcher, now + BEAT)
            watcher.beat()

    # --- one session -----------------------------------------------------------------------------------------------

    async def _look(self, key: bytes) -> None:
        held, now = self._sessions.get(key), self._engine.clock()
        if held is None:
            return
        try:
            record, judgement = await self._engine.look(held.record, now)
        except StoreUnavailable:
            if self._engine.reach.is_over(held.record):
                self._end(key, held, Verdict.REVOKED)
                return
            over = {watcher: x for watcher, x in held.members.items() if now >= _ends_at(x)}
            if over:
                self._end(key, held, Verdict.UNAVAILABLE, over)  # nobody is served beyond what is known
            if held.members:
                self._deadlines.put(key, min(now + LEASE, *map(_ends_at, held.members.values())))
            return
        if self._sessions.get(key) is not held:
            return  # the last connection has gone meanwhile
        if record is None or judgement.verdict is not Verdict.ACTIVE:
            self._end(key, held, judgement.verdict)
            return
        held.record, held.deadlines = record, judgement.deadlines
        ends_at = judgement.deadlines.ends_at
        unconfirmed: dict[Watcher, Exchange] = {}
        for watcher, x in list(held.members.items()):
            if not self._engine.is_confirmed(x):
                if now >= _ends_at(x):
                    unconfirmed[watcher] = x
                else:
                    ends_at = min(ends_at, _ends_at(x))
                continue
            news = record is not x.record or judgement.deadlines != x.deadlines
            if x.stale or (news and (record != x.record or judgement.deadlines != x.deadlines)):
                x.record, x.deadlines, x.now = record, judgement.deadlines, now
                if x.stale:
                    x.verdict, x.stale = Verdict.ACTIVE, False
                watcher.changed()
        if unconfirmed:  # the store answers, whoever vouches has not been asked
            self._end(key, held, Verdict.UNAVAILABLE, unconfirmed)
        if held.members:
            self._deadlines.put(key, ends_at)

    def _end(
        self, key: bytes, held: _Session, verdict: Verdict, some: Mapping[Watcher, Exchange] | None = None
    ) -> None:
        """End the connections of a session: all, or some."""
        members = held.members if some is None else some
        held.members = {watcher: x for watcher, x in held.members.items() if watcher not in members}
        if not held.members:
            self._forget(key)
        engine, record, until = self._engine, held.record, self._monotonic() + GRACE
        detail = {"reason": verdict.reason or "", "connections": str(len(members))}
        engine.announce("connection_closed", engine.clock(), record.public_id, record.subject, detail=detail)
        for watcher, x in members.items():
            self._beats.drop(watcher)
            self._cuts.put(watcher, until)
            x.verdict, x.stale = verdict, False  # a stale answer has ended as well (L17)
            watcher.over(verdict)

    def _forget(self, key: bytes) -> None:
        del self._sessions[key]
        self._deadlines.drop(key)

    async def _compared(self) -> list[bytes]:
        """Return the sessions that may have been written to, where nobody tells."""
        now = self._monotonic()
        if self._news.is_heard or now - self._compared_at < (TICK if self._news.compares else LEASE):
            return []
        self._compared_at = now
        before, self._version = self._version, self._news.version()
        if before == self._version:
            return []
        found = []
        for index, (key, held) in enumerate(list(self._sessions.items())):
            if index % _SLICE == _SLICE - 1:
                await self._engine.runtime.pause(0)
            if not self._news.is_current(held.record):
                found.append(key)
        return found


def _ends_at(x: Exchange) -> float:
    assert x.deadlines is not None
    return x.deadlines.ends_at


class News:
    """Says which records of a store were written, as well as that store allows.

    Args:
        store: the app's.
        monotonic: seconds of a clock that is never set.
    """

    def __init__(self, store: Any, monotonic: Callable[[], float]) -> None:  # Any: Store | AsyncStore
        self._store = store
        self._line: Line | None = store if isinstance(store, Line) else None
        self._owns_line = False
        self._monotonic = monotonic
        #: Whether a record can be compared with what the store holds without a call that waits.
        self.compares = isinstance(store, Recognises)

    @property
    def is_heard(self) -> bool:
        """Whether every write is told now."""
        return self._line is not None and self._line.is_open

    def is_current(self, record: SessionRecord) -> bool:
        """Say whether nobody has written to this record since it was read."""
        if not self.compares:
            return False
        try:
            return bool(self._store.holds(record))
        except Exception:
            return False  # the look meets the same fault and deals with it

    def version(self) -> object:
        """Return what equals an earlier answer only if nobody has written since."""
        try:
            return self._store.version() if isinstance(self._store, SeesWrites) else object()
        except Exception:
            return object()

    def begin(self, hearer: Callable[[bytes], None]) -> Callable[[], None]:
        """Have writes told; return what ends that."""
        if self._line is None and isinstance(self._store, Announces):
            try:
                if isinstance(self._store, AnnouncesIf):
                    self._store.check_announces()
                self._line, self._owns_line = Line(self._store, lease=LEASE, monotonic=self._monotonic), True
            except SettingsError:
                pass  # it was set up not to announce: it is asked instead
        return self._line.hear(hearer) if self._line is not None else _nothing

    def stop(self) -> None:
        """Hear nothing any more; `begin` begins anew."""
        if self._line is not None and self._owns_line:
            self._line.stop()
            self._line, self._owns_line = None, False


def _nothing() -> None:
    """End what was never begun."""


class Watching:
    """The open connections of an app in one process: a `Watch` for each event loop that has any.

    Args:
        engine: the app's.
        monotonic: seconds of a clock that is never set.
    """

    def __init__(self, engine: Engine, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._news = News(engine.store, monotonic)
        self._watches: dict[object, Watch] = {}
        self._mutex = mutex()

    def join(self, x: Exchange, watcher: Watcher, *, beats: bool = False) -> Callable[[], None]:
        """Let a connection of the running loop belong to the session of its request; return what it calls once it is closed.

        Args:
            x: the exchange, with a record.
            watcher: the connection.
            beats: whether it wants a sign of life every `BEAT` seconds.
        """
        watch = self.here()
        watch.join(x, watcher, beats=beats)
        assert x.record is not None
        key = x.record.key

        def leave() -> None:
            watch.leave(key, watcher)

        return leave

    def here(self) -> Watch:
        """Return the watch of the running loop; it is begun with the first connection and ends after the last."""
        loop = this_loop()
        with self._mutex:
            watch = self._watches.get(loop)
            if watch is not None:
                return watch
            watch = self._watches[loop] = Watch(self._engine, self._news, self._monotonic)
            silence = self._news.begin(watch.hear)
            self._engine.reach.hearers = (*self._engine.reach.hearers, watch.hear)
        at_once(partial(watch.run, partial(self._gone, loop, watch, silence)))
        return watch

    def _gone(self, loop: object, watch: Watch, silence: Callable[[], None]) -> None:
        silence()
        with self._mutex:
            self._watches.pop(loop, None)
            reach = self._engine.reach
            reach.hearers = tuple(each for each in reach.hearers if each != watch.hear)
            if not self._watches:
                self._news.stop()
