"""Tokens of the provider's: at hand, refreshed by one request at a time in all processes, kept with the session (RFC 9700)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from session_middleware import SessionError, Settings, StoreUnavailable, provider_tokens
from session_middleware.adapters.wsgi import WSGIFacts
from session_middleware.authorities.base import Shown, Token
from session_middleware.authorities.local import LocalAuthority
from session_middleware.core.exchange import Exchange
from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord
from session_middleware.engine import Engine
from session_middleware.runtime import LoopRuntime
from session_middleware.session import AsyncSession, Session
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock
from session_middleware.testing.stage import KEY

from .front_desk import FrontDesk


class OneTimeDesk(FrontDesk):
    """A provider that takes each refresh token once, and says so if one comes again."""

    def __init__(self) -> None:
        super().__init__()
        self.good, self.used = "sealed-0", set[str]()
        self.meanwhile: Callable[[SessionRecord], Awaitable[None]] | None = None

    def current(self, record: SessionRecord, now: float) -> Token | None:
        return Token(f"for {record.sealed}") if record.sealed == self.good else None

    async def refresh(self, record: SessionRecord, now: float) -> Token:
        assert record.sealed is not None
        assert record.sealed not in self.used, "a refresh token came twice: the provider would revoke them all"
        if self.fault is not None:
            raise self.fault
        self.used.add(record.sealed)
        await anyio.sleep(0.02)
        if self.meanwhile is not None:
            await self.meanwhile(record)
        self.refreshed += 1
        self.good = f"sealed-{self.refreshed}"
        return Token(f"for {self.good}", self.good)


class Failing(MemoryStore):
    """A store whose first saves fail."""

    def __init__(self, faults: int) -> None:
        super().__init__()
        self.faults = faults

    def save(self, record: SessionRecord) -> SessionRecord | None:
        if self.faults > 0:
            self.faults -= 1
            raise ConnectionError("down")
        return super().save(record)


class House:
    """Processes of one app over one store, and somebody signed in."""

    def __init__(self, authority: Any, store: Any = None) -> None:
        self.store = MemoryStore() if store is None else store
        self.clock, self.authority = FakeClock(), authority
        self.cookies = ""
        self.process = self.another()

    def another(self) -> Engine:
        settings = Settings(secret_keys=[KEY])
        return Engine(settings, self.store, authority=self.authority, runtime=LoopRuntime(), clock=self.clock)

    async def sign_in(self, sealed: str | None = "sealed-0") -> None:
        x = self.process.begin(WSGIFacts({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}))
        provider = ProviderSession("stay-1", self.clock(), authority="front desk")
        await self.process.login(x, "alice", provider=provider, sealed=sealed)
        self.cookies = "; ".join(line.partition(";")[0] for line in await self.process.close(x))

    def request(self, engine: Engine | None = None) -> tuple[Engine, Exchange]:
        engine = engine or self.process
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_COOKIE": self.cookies}
        return engine, engine.begin(WSGIFacts(environ))

    async def token(self, engine: Engine | None = None) -> str:
        return await AsyncSession(*self.request(engine)).provider_token()


def test_the_token_at_hand_costs_nothing() -> None:
    """A token that is good for a while yet is not refreshed."""

    async def life() -> None:
        house = House(OneTimeDesk())
        await house.sign_in()
        assert await house.token() == "for sealed-0"
        assert house.authority.refreshed == 0

    asyncio.run(life())


def test_fifty_requests_in_three_processes_refresh_once() -> None:
    """Whoever comes first refreshes, the others get what that brought; the record holds it."""

    async def life() -> None:
        desk = OneTimeDesk()
        house = House(desk)
        await house.sign_in()
        desk.good = "none"
        processes = [house.process, house.another(), house.another()]
        found = await asyncio.gather(*(house.token(processes[n % 3]) for n in range(50)))
        assert set(found) == {"for sealed-1"}
        assert desk.refreshed == 1

    asyncio.run(life())


def test_other_writers_meanwhile() -> None:
    """A write of claims during the refresh is kept, and the new token too (L14); an end wins (L13)."""

    async def life(end: bool) -> None:
        desk = OneTimeDesk()
        house = House(desk)
        await house.sign_in()
        desk.good = "none"

        async def claims(record: SessionRecord) -> None:
            held = house.store.load(record.key)
            assert held is not None
            house.store.save(held.evolve(claims={"color": "red"}))

        async def over(record: SessionRecord) -> None:
            house.store.end(record.key, "revoked", house.clock(), house.clock() + 60)

        desk.meanwhile = over if end else claims
        assert await house.token() == "for sealed-1"
        engine, x = house.request()
        await engine.open(x)
        assert x.record is not None
        assert (dict(x.record.claims), x.record.sealed) == (({}, None) if end else ({"color": "red"}, "sealed-1"))

    asyncio.run(life(end=False))
    asyncio.run(life(end=True))


def test_where_there_is_none() -> None:
    """No token in this session, nobody signed in, an authority without tokens: each an error that says what to do."""

    async def life() -> None:
        house = House(OneTimeDesk())
        with pytest.raises(SessionError) as nobody:
            await house.token()
        assert nobody.value.code == "not_signed_in"
        await house.sign_in(sealed=None)
        with pytest.raises(SessionError, match="offline_access") as none:
            await house.token()
        assert none.value.code == "provider_token"
        house.authority = LocalAuthority()
        with pytest.raises(SessionError, match="offline_access"):
            await house.token(house.another())

    asyncio.run(life())


def test_the_provider_gives_none_any_more_or_does_not_answer() -> None:
    """What it says goes to the app as it is; what it does not say is 503, and nobody is logged out (L17)."""

    async def life() -> None:
        desk = OneTimeDesk()
        house = House(desk)
        await house.sign_in()
        desk.good, desk.fault = "none", RuntimeError("down")
        with pytest.raises(StoreUnavailable, match="provider"):
            await house.token()
        house.clock.advance(11)
        desk.fault = SessionError("Ask the user to sign in again.", code="provider_token")
        with pytest.raises(SessionError, match="sign in again"):
            await house.token()
        house.clock.advance(11)
        desk.fault = None
        assert await house.token() == "for sealed-1"

    asyncio.run(life())


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (SessionError("Ask the user to sign in again.", code="provider_token"), SessionError, "sign in again"),
        (RuntimeError("down"), StoreUnavailable, "a moment ago"),
    ],
)
def test_who_asks_again_after_a_refresh_that_failed(
    fault: Exception, kind: type[SessionError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token may have been used up and is not sent again; who asks here waits for no answer that cannot come."""

    async def life() -> None:
        desk = OneTimeDesk()
        house = House(desk)
        await house.sign_in()
        desk.good, desk.fault = "none", fault

        async def pause(seconds: float) -> None:
            raise AssertionError("nobody is to wait")

        monkeypatch.setattr(house.process.runtime, "pause", pause, raising=False)
        with pytest.raises(kind):
            await house.token()
        house.clock.advance(9)
        desk.fault = None
        with pytest.raises(kind, match=said) as again:
            await house.token()
        assert again.value.code == (fault.code if isinstance(fault, SessionError) else kind.code)
        house.clock.advance(1)
        assert await house.token() == "for sealed-1"

    asyncio.run(life())


def test_somebody_began_and_never_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for another process does not wait for ever; after its lease the next one refreshes."""

    async def life() -> None:
        desk = OneTimeDesk()
        house = House(desk)
        await house.sign_in()
        desk.good, desk.fault = "none", RuntimeError("crashed")
        with pytest.raises(StoreUnavailable):
            await house.token()
        desk.fault = None
        pauses: list[float] = []

        async def pause(seconds: float) -> None:
            pauses.append(seconds)

        other = house.another()
        monkeypatch.setattr(other.runtime, "pause", pause, raising=False)
        with pytest.raises(StoreUnavailable, match="Another process"):
            await house.token(other)
        assert sum(pauses) == pytest.approx(5)
        house.clock.advance(10)
        assert await house.token() == "for sealed-1"

    asyncio.run(life())


def test_a_slow_request_refreshes_as_of_now() -> None:
    """Views may take longer than a lease: who begins a refresh at their end has it for as long as any other."""

    async def life() -> None:
        desk = OneTimeDesk()
        house = House(desk)
        await house.sign_in()
        slow = house.request()
        house.clock.advance(60)
        desk.good = "none"
        others: list[asyncio.Task[str]] = []

        async def another(record: SessionRecord) -> None:
            others.append(asyncio.create_task(house.token(house.another())))
            await asyncio.sleep(0.02)

        desk.meanwhile = another
        assert await AsyncSession(*slow).provider_token() == "for sealed-1"
        desk.meanwhile = None
        assert await others[0] == "for sealed-1"

    asyncio.run(life())


def test_a_slow_request_gets_no_token_that_is_over_by_now() -> None:
    """Whether the token at hand is good is asked of the clock, not of the instant at which the request came."""

    class Dated(OneTimeDesk):
        """Its first token is good for a minute."""

        def current(self, record: SessionRecord, now: float) -> Token | None:
            return super().current(record, now) if record.sealed != "sealed-0" or now < until else None

    async def life() -> None:
        nonlocal until
        house = House(Dated())
        await house.sign_in()
        until, slow = house.clock() + 60, house.request()
        house.clock.advance(60)
        assert await AsyncSession(*slow).provider_token() == "for sealed-1"

    until = 0.0
    asyncio.run(life())


def test_a_refresh_that_may_take_longer_has_a_longer_lease() -> None:
    """Where the provider is given more time for its answers, nobody else begins before that is over."""

    class Slow(OneTimeDesk):
        """A provider that is waited for."""

        refresh_seconds = 31.0

    async def life() -> None:
        desk = Slow()
        house = House(desk)
        await house.sign_in()
        desk.good = "none"
        others: list[asyncio.Task[str]] = []

        async def another(record: SessionRecord) -> None:
            house.clock.advance(30)
            others.append(asyncio.create_task(house.token(house.another())))
            await asyncio.sleep(0.02)

        desk.meanwhile = another
        assert await house.token() == "for sealed-1"
        desk.meanwhile = None
        assert await others[0] == "for sealed-1"

    asyncio.run(life())


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_request_broken_off_while_it_refreshes(loop: str) -> None:
    """What the provider has given by then is kept: the old refresh token is used up, and a second use would end them all."""

    async def life() -> None:
        desk = OneTimeDesk()
        house = House(desk)
        await house.sign_in()
        desk.good = "none"
        with anyio.CancelScope() as scope:

            async def goes_away(record: SessionRecord) -> None:
                scope.cancel()
                await anyio.lowlevel.checkpoint()

            desk.meanwhile = goes_away
            await house.token()
        desk.meanwhile = None
        assert await house.token() == "for sealed-1"
        assert desk.refreshed == 1

    anyio.run(life, backend=loop)


def test_a_store_that_fails_when_the_token_is_there() -> None:
    """Whoever asked gets the token, and what the record is to keep is written as soon as it can be (L17)."""

    async def life() -> None:
        desk = OneTimeDesk()
        house = House(desk, Failing(1))
        await house.sign_in()
        desk.good = "none"
        assert await house.token() == "for sealed-1"
        engine, x = house.request()
        await engine.open(x)
        assert x.record is not None
        assert x.record.sealed == "sealed-0"
        assert await AsyncSession(engine, x).provider_token() == "for sealed-1"
        assert await house.token(house.another()) == "for sealed-1"
        assert desk.refreshed == 1

    asyncio.run(life())


def test_what_was_not_kept_gives_way_to_what_another_process_got() -> None:
    """The store was down for longer than a lease, and somebody else has refreshed since: theirs stands."""

    async def life() -> None:
        desk = OneTimeDesk()
        store = Failing(2)
        house = House(desk, store)
        await house.sign_in()
        desk.good = "none"
        assert await house.token() == "for sealed-1"
        with pytest.raises(StoreUnavailable):
            await house.token()
        engine, x = house.request()
        await engine.open(x)
        assert x.record is not None
        store.save(x.record.evolve(sealed="sealed-9"))
        desk.good = "sealed-9"
        assert await house.token() == "for sealed-9"

    asyncio.run(life())


@pytest.mark.parametrize("answered", ["meanwhile", "later"])
@pytest.mark.parametrize("refreshed", [False, True])
def test_a_step_up_beside_a_refresh(answered: str, *, refreshed: bool) -> None:
    """L12, RFC 9700: it copies a token that is being used up; what came for it is the new session's, and nothing is revoked."""
    revoked: list[str | None] = []

    async def end(record: SessionRecord, shown: Shown, reason: str, now: float) -> None:
        revoked.append(record.sealed)

    async def life() -> None:
        desk: Any = OneTimeDesk()
        desk.end = end
        house = House(desk)
        await house.sign_in()
        desk.good = "none"
        ahead = house.request()

        async def step_up(record: SessionRecord) -> None:
            engine, x = ahead
            await engine.open(x)
            await AsyncSession(engine, x).step_up([{"type": "otp"}])
            if refreshed:
                assert x.record is not None
                x.record = house.store.save(x.record.evolve(sealed="sealed-9"))
            if answered == "meanwhile":
                await close()

        async def close() -> None:
            lines = await ahead[0].close(ahead[1])
            house.cookies = "; ".join(line.partition(";")[0] for line in lines)

        desk.meanwhile = step_up
        assert await house.token() == "for sealed-1"
        desk.meanwhile = None
        if answered == "later":
            await close()
        engine, x = house.request()
        await engine.open(x)
        assert x.record is not None
        assert x.record.sealed == ("sealed-9" if refreshed else "sealed-1")
        assert not revoked

    asyncio.run(life())


def test_what_is_not_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process does not fill its memory with tokens that a store does not take."""

    async def life() -> None:
        desk = OneTimeDesk()
        store = MemoryStore()
        store.save = lambda record: None  # type: ignore[method-assign]
        house = House(desk, store)
        for _ in range(3):
            await house.sign_in()
            desk.good, desk.used = "none", set()
            assert (await house.token()).startswith("for sealed-")
            house.clock.advance(60)
        assert len(house.process.vouching.unkept) == 2

    monkeypatch.setattr(provider_tokens, "REMEMBERED", 2)
    asyncio.run(life())


def test_what_a_session_got_after_its_end_is_revoked() -> None:
    """RFC 7009: it ended while it refreshed, so the provider was told of the token before, and nobody has the new one."""

    revoked: list[str | None] = []

    async def end(record: SessionRecord, shown: Shown, reason: str, now: float) -> None:
        revoked.append(record.sealed)

    async def life(*, late: bool) -> None:
        desk: Any = OneTimeDesk()
        desk.end, store = end, MemoryStore()
        if late:
            store.save = broken  # type: ignore[method-assign]
        house = House(desk, store)
        await house.sign_in()
        desk.good = "none"

        async def over(record: Any) -> None:
            house.store.end(record.key, "revoked", house.clock(), house.clock() + 60)

        desk.meanwhile = over
        if late:
            desk.meanwhile = None
            await house.token()
            request = house.request()
            await request[0].open(request[1])
            await over(request[1].record)
            with pytest.raises(SessionError, match="ended"):
                await AsyncSession(*request).provider_token()
        else:
            await house.token()
        assert revoked.pop() == "sealed-1"
        assert not revoked

    def broken(record: SessionRecord) -> None:
        raise ConnectionError

    asyncio.run(life(late=False))
    asyncio.run(life(late=True))


def test_an_end_before_the_refresh() -> None:
    """A session that has ended meanwhile gets no token."""

    async def life() -> None:
        desk = OneTimeDesk()
        house = House(desk)
        await house.sign_in()
        desk.good = "none"
        engine, x = house.request()
        await engine.open(x)
        assert x.record is not None
        house.store.end(x.record.key, "revoked", house.clock(), house.clock() + 60)
        with pytest.raises(SessionError) as ended:
            await AsyncSession(engine, x).provider_token()
        assert ended.value.code == "ended"

    asyncio.run(life())


def test_too_many_writers() -> None:
    """A record that is written to without end is a fault, not an endless loop."""

    async def life() -> None:
        desk = OneTimeDesk()
        store = MemoryStore()
        store.save = lambda record: None  # type: ignore[method-assign]
        house = House(desk, store)
        await house.sign_in()
        desk.good = "none"
        assert await house.token() == "for sealed-1"  # which is good, and stays owed to the record
        with pytest.raises(StoreUnavailable, match="writers"):
            await house.token()

    asyncio.run(life())


def test_a_store_that_cannot_take_note() -> None:
    """Without `add_once` a refresh token could be used twice, so it is not used at all."""

    class Plain:
        """A store with the plain methods only."""

        def __init__(self) -> None:
            inner = MemoryStore()
            for name in ("create", "load", "touch", "save", "renew", "end", "list"):
                setattr(self, name, getattr(inner, name))

    async def life() -> None:
        desk = OneTimeDesk()
        house = House(desk, Plain())
        await house.sign_in()
        desk.good = "none"
        with pytest.raises(SessionError) as fault:
            await house.token()
        assert fault.value.code == "not_supported"

    asyncio.run(life())


def test_the_blocking_form() -> None:
    """`Session.provider_token()` is the same."""
    desk = OneTimeDesk()
    house = House(desk)
    asyncio.run(house.sign_in())
    engine, x = house.request()
    assert Session(engine, x, lambda coroutine: asyncio.run(coroutine)).provider_token() == "for sealed-0"


def test_a_token_that_changes_nothing_kept() -> None:
    """Where the provider leaves the refresh token as it is, nothing is written."""

    class Keeping(OneTimeDesk):
        """Gives a token and no new refresh token."""

        async def refresh(self, record: SessionRecord, now: float) -> Token:
            return Token("for now")

    async def life() -> None:
        house = House(Keeping())
        await house.sign_in()
        house.authority.good = "none"
        assert await house.token() == "for now"
        engine, x = house.request()
        await engine.open(x)
        assert x.record is not None
        assert (x.record.sealed, x.record.revision) == ("sealed-0", 0)

    asyncio.run(life())
