"""Random lives of sockets beside what the store holds: none outlives its session, none ends before it (L5, L13, L17)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import hypothesis.strategies as st
from hypothesis import given, settings

from session_middleware.authorities.local import LocalAuthority
from session_middleware.core import lifetime
from session_middleware.core.exchange import Exchange, RouteRules
from session_middleware.core.lifetime import Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.reach.breaker import LEFT_ALONE
from session_middleware.stores.memory import MemoryStore
from session_middleware.watch import LEASE

from .test_connections import _Facts
from .test_later import Vouches
from .test_watch import Place, Teller


class Failing(MemoryStore):
    """A store that this process cannot reach now and then; another one can."""

    down = False

    def _gone(self) -> None:
        if self.down:
            raise OSError("gone")

    def load(self, key: bytes) -> SessionRecord | None:
        self._gone()
        return super().load(key)

    def touch(self, key: bytes, touch: lifetime.Touch) -> SessionRecord | None:
        self._gone()
        return super().touch(key, touch)

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        self._gone()
        return super().end(key, reason, at, keep_until)

    @contextmanager
    def elsewhere(self) -> Iterator[MemoryStore]:
        """Give the store as another process has it."""
        down, self.down = self.down, False
        yield self
        self.down = down

    def whole(self, key: bytes) -> SessionRecord:
        """Return a record as another process reads it."""
        with self.elsewhere():
            record = self.load(key)
        assert record is not None
        return record


class Socket(Teller):
    """One that is open, and its exchange."""

    def __init__(self, x: Exchange) -> None:
        super().__init__()
        self.x = x
        assert x.record is not None
        self.key = x.record.key
        self.since = x.now

    @property
    def verdicts(self) -> list[str]:
        return [each for each in self.told if each not in ("changed", "cut")]


class Facts(_Facts):
    """Of a request to a page that is not the login page."""

    path = target = "/socket"


class Lives:
    """Some sessions, their sockets, and what was said of them."""

    def __init__(self, *, asks: bool) -> None:
        self.store = Failing()
        self.vouches = Vouches()
        self.asks = asks  # whether somebody else has to say yes as well
        self.place = Place(self.store, LocalAuthority(self.vouches) if asks else None)
        self.sockets: list[Socket] = []
        self.keys: list[bytes] = []
        self.cookies: list[str] = []
        self.well_from = self.place.clock()

    async def login(self) -> None:
        """Sign a user in, and open a socket with their cookies."""
        try:
            x = await self.place.session()
            lines = await self.place.engine.close(x)
        except StoreUnavailable:
            return
        self.cookies.append("; ".join(line.partition(";")[0] for line in lines))
        self.keys.append(x.record.key)
        await self.open_another(len(self.keys) - 1)

    def open(self, x: Exchange) -> None:
        socket = Socket(x)
        self.sockets.append(socket)
        self.place.watching.join(x, socket)

    async def open_another(self, which: int) -> None:
        """Open another socket of a session; while the store is down its JWT alone may speak for it."""
        if self.keys:
            facts = Facts()
            facts.cookies = self.cookies[which % len(self.cookies)]
            x = self.place.engine.begin(facts)
            if await self.place.engine.open(x, RouteRules(on_unavailable="stale")) is None:
                await self.place.engine.close(x)
                x.closed = True
                self.open(x)

    def judged(self, record: SessionRecord, now: float) -> lifetime.Judgement:
        engine = self.place.engine
        if record.ended_at is None:
            record = engine.reach.as_known(record)  # with the touch that the store has not got yet
        outage = engine.reach.outage_of(record.key)
        return lifetime.judge(
            record, record.generation, now, engine.settings.default_limits, engine.settings.timing, outage
        )

    async def use(self, which: int, verb: str) -> None:
        """Have an app call a verb on its open socket."""
        if not self.sockets:
            return
        socket = self.sockets[which % len(self.sockets)]
        engine = self.place.engine
        try:
            if verb == "touch":
                await engine.touch(socket.x)
            elif verb == "extend":
                await engine.extend(socket.x, 6)
            else:
                await engine.logout(socket.x)
        except (SessionError, StoreUnavailable):
            pass

    def elsewhere(self, which: int, what: str) -> None:
        """Have another process end a session, or extend it."""
        if not self.keys:
            return
        key, now = self.keys[which % len(self.keys)], self.place.clock()
        with self.store.elsewhere() as store:
            if what == "end":
                store.end(key, "revoked", now, now + 86_400)
            elif self.judged(self.store.whole(key), now).verdict is Verdict.ACTIVE:
                store.touch(key, lifetime.Touch(now, now + 300, now + 90_000))

    def down(self) -> None:
        self.store.down, self.well_from = True, float("inf")

    def up(self) -> None:
        """Let the store be reached again; it may be left alone for a moment, and is then asked at the next look."""
        if self.store.down:
            self.store.down, self.well_from = False, self.place.clock() + LEFT_ALONE + LEASE

    async def turn(self, seconds: float) -> None:
        before = {id(socket): list(socket.verdicts) for socket in self.sockets}
        self.place.clock.advance(seconds=seconds)
        await self.place.turn(max(seconds, 1.0))
        self.check(before)

    def check(self, before: dict[int, list[str]]) -> None:
        now, engine = self.place.clock(), self.place.engine
        for socket in self.sockets:
            assert len(socket.verdicts) <= 1, "told once"
            x, record = socket.x, self.store.whole(socket.key)
            judgement = self.judged(record, now)
            known_over = engine.reach.has_ended(socket.key)
            lives = judgement.verdict is Verdict.ACTIVE and not known_over
            if socket.verdicts:
                newly = not before.get(id(socket))
                if newly and lives:
                    assert socket.verdicts == ["UNAVAILABLE"], "of a session that lives"
                    assert self.asks or now < self.well_from
                continue
            if now < self.well_from:
                assert not known_over
                assert x.deadlines is not None
                assert now < x.deadlines.ends_at, "beyond what is known"
                continue
            assert lives, (judgement.verdict, known_over)
            if self.asks and x.stale:
                assert x.deadlines is not None
                assert now < x.deadlines.ends_at <= judgement.deadlines.ends_at
                assert now - socket.since < 300, "bounded by the session JWT"
                continue
            assert x.verdict is Verdict.ACTIVE
            assert not x.stale
            if socket.key not in engine.reach.unsaved:  # of a touch that is still owed, others hear once it is written
                assert x.deadlines == judgement.deadlines


which = st.integers(0, 5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("login")),
        st.tuples(st.just("another"), which),
        st.tuples(st.just("use"), which, st.sampled_from(["touch", "extend", "logout"])),
        st.tuples(st.just("elsewhere"), which, st.sampled_from(["end", "extend"])),
        st.tuples(st.just("down")),
        st.tuples(st.just("up")),
        st.tuples(st.just("vouches"), st.booleans()),
        st.tuples(st.just("turn"), st.sampled_from([0.0, 1.0, 20.0, 150.0, 299.0, 400.0])),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(st.booleans(), steps)
def test_a_socket_lives_as_long_as_its_session(asks: bool, life: list[tuple[Any, ...]]) -> None:
    """Whatever happens here and elsewhere while the store comes and goes, and a `verify` hook that may have to be asked."""

    async def main() -> None:
        at = Lives(asks=asks)
        await at.login()
        for what, *how in life:
            if what == "login":
                await at.login()
            elif what == "another":
                await at.open_another(*how)
            elif what == "use":
                await at.use(*how)
            elif what == "elsewhere":
                at.elsewhere(*how)
            elif what == "down":
                at.down()
            elif what == "up":
                at.up()
            elif what == "vouches":
                at.vouches.answer = True if how[0] else OSError("gone")
            else:
                await at.turn(*how)
        at.up()
        for _ in range(4):
            await at.turn(1.0)
        for socket in at.sockets:
            at.place.watching.here().leave(socket.key, socket)

    anyio.run(main)
