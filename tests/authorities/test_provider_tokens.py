"""Tokens of the provider's: at hand, refreshed by one request at a time in all processes, kept with the session (RFC 9700)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from session_middleware import SessionError, Settings, StoreUnavailable
from session_middleware.adapters.wsgi import WSGIFacts
from session_middleware.authorities.base import Token
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
        await asyncio.sleep(0.02)
        if self.meanwhile is not None:
            await self.meanwhile(record)
        self.refreshed += 1
        self.good = f"sealed-{self.refreshed}"
        return Token(f"for {self.good}", self.good)


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

        monkeypatch.setattr(house.process.runtime, "pause", pause, raising=False)
        with pytest.raises(StoreUnavailable, match="Another process"):
            await house.token()
        assert sum(pauses) == pytest.approx(5)
        house.clock.advance(10)
        assert await house.token() == "for sealed-1"

    asyncio.run(life())


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
