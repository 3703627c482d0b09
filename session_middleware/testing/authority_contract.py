"""AuthorityContract: every promise of `authorities/base.py` as a test; an authority is right if it passes.

class TestMyAuthority(AuthorityContract):
    @pytest.fixture
    def authority(self):
        return LocalAuthority(verify=lambda record: record.subject != "mallory")

    @pytest.fixture
    def gone(self, alive):
        return alive.evolve(subject="mallory")

    @pytest.fixture
    def cut_off(self):
        return LocalAuthority(verify=lambda record: 1 / 0)
"""

from __future__ import annotations

import asyncio  # a test owns the loop that a server owns otherwise
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import pytest

from session_middleware.adapters.wsgi import WSGIFacts
from session_middleware.authorities.base import (
    NOTHING_SHOWN,
    Adopts,
    Alive,
    Attached,
    Authority,
    EndedThere,
    Ends,
    Extended,
    Extends,
    Lists,
    Shown,
    Vouch,
)
from session_middleware.core.lifetime import Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.core.tokens import derive
from session_middleware.engine import Engine
from session_middleware.runtime import LoopRuntime
from session_middleware.settings import Settings
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.clock import FakeClock
from session_middleware.testing.reference_record import reference_record
from session_middleware.testing.stage import KEY

__all__ = ["AuthorityContract"]

T = TypeVar("T")

#: What a request shows of the provider's credential for a session.
Shows = Callable[[SessionRecord], Shown]


class AuthorityContract:
    """Inherit it, override the fixtures `authority`, `gone` and `cut_off`, done.

    `alive` too where the default does not do, and `shows` where requests show a credential of the provider's.
    """

    @pytest.fixture
    def authority(self) -> Authority:
        """Override: return the authority under test, with whatever stands behind it answering."""
        raise NotImplementedError("Override the fixture authority: return the authority under test.")

    @pytest.fixture
    def alive(self) -> SessionRecord:
        """The record of a session that the authority vouches for."""
        return reference_record(0)

    @pytest.fixture
    def gone(self, alive: SessionRecord) -> SessionRecord:
        """Override: return the record of a session that the authority knows to be over."""
        raise NotImplementedError("Override the fixture gone: return the record of a user who may no longer be here.")

    @pytest.fixture
    def shows(self) -> Shows:
        """Override where the provider's own credential comes with requests: what one shows for a record."""
        return lambda record: NOTHING_SHOWN

    @pytest.fixture
    def cut_off(self) -> Authority:
        """Override: return the authority with whatever stands behind it not answering."""
        raise NotImplementedError("Override the fixture cut_off: return the authority when it cannot find out.")

    # --- what it says of itself --------------------------------------------------------------------------------

    def test_its_name(self, authority: Authority) -> None:
        """A record keeps the authority's name, so it is a short text that does not change."""
        assert isinstance(authority.name, str)
        assert 0 < len(authority.name) <= 64
        assert authority.name == authority.name.strip()

    def test_its_interval(self, authority: Authority) -> None:
        """verify_interval is seconds, 0 for each request, or None for never (L8)."""
        interval = authority.verify_interval
        assert interval is None or (not isinstance(interval, bool) and interval >= 0)

    def test_it_is_asked_by_awaiting(self, authority: Authority) -> None:
        """`verify` is a coroutine function; one that never suspends runs in synchronous apps too."""
        assert inspect.iscoroutinefunction(authority.verify)

    # --- what it answers -----------------------------------------------------------------------------------------

    def test_it_vouches_for_who_is_there(self, authority: Authority, alive: SessionRecord, shows: Shows) -> None:
        """A live session is vouched for, each time it is asked about, and by nobody else's name (L8, L24)."""
        for _ in range(3):
            vouch = ask(authority, alive, shows(alive))
            assert vouch.alive is Alive.ALIVE
            if vouch.login is not None:
                provider = vouch.login.provider
                named = (vouch.login.subject, provider.authority, provider.id)
                assert named == (alive.subject, authority.name, alive.provider_session)

    def test_it_says_who_is_gone(self, authority: Authority, gone: SessionRecord, shows: Shows) -> None:
        """That a session is over is an answer and no exception, each time (L8)."""
        for _ in range(3):
            assert ask(authority, gone, shows(gone)) == Vouch(Alive.GONE)

    def test_one_answer_does_not_colour_another(
        self, authority: Authority, alive: SessionRecord, gone: SessionRecord, shows: Shows
    ) -> None:
        """Many questions at once get each their own answer."""
        asked = [alive, gone] * 20

        async def all_of_them() -> list[Vouch]:
            attach(authority)
            try:
                return await asyncio.gather(
                    *(authority.verify(record, shows(record), record.created_at) for record in asked)
                )
            finally:
                await detach(authority)

        answers = asyncio.run(all_of_them())
        assert [vouch.alive for vouch in answers] == [Alive.ALIVE, Alive.GONE] * 20

    def test_not_knowing_is_no_logout(self, cut_off: Authority, alive: SessionRecord, shows: Shows) -> None:
        """Where it cannot find out it raises or says UNKNOWN: never GONE, and never ALIVE on trust (L17)."""
        try:
            vouch = ask(cut_off, alive, shows(alive))
        except Exception:
            return
        assert vouch.alive is Alive.UNKNOWN

    # --- what only some can do -------------------------------------------------------------------------------------

    def test_what_it_adopts(
        self, authority: Authority, alive: SessionRecord, gone: SessionRecord, shows: Shows
    ) -> None:
        """Its credential names the user and session that `verify` names; what is over, and what is not there, names nobody."""
        if not isinstance(authority, Adopts):
            pytest.skip("it shows nothing with requests")
        assert authority.credential(NOTHING_SHOWN) is None
        shown = shows(alive)
        known = authority.credential(shown)
        assert isinstance(known, str)
        assert authority.credential(shown) == known
        vouch = done(authority, lambda: authority.adopt(shown, alive.created_at))
        assert vouch.alive is Alive.ALIVE
        assert vouch.login is not None
        provider = vouch.login.provider
        assert (vouch.login.subject, provider.id) == (alive.subject, alive.provider_session)
        assert done(authority, lambda: authority.adopt(shows(gone), gone.created_at)).alive is not Alive.ALIVE

    def test_a_fault_adopts_nobody(self, cut_off: Authority, alive: SessionRecord, shows: Shows) -> None:
        """Where it cannot find out whose a credential is it raises, or does not say yes (L17)."""
        if not isinstance(cut_off, Adopts):
            pytest.skip("it shows nothing with requests")
        try:
            vouch = done(cut_off, lambda: cut_off.adopt(shows(alive), alive.created_at))
        except Exception:
            return
        assert vouch.alive is not Alive.ALIVE

    def test_what_is_over_is_not_extended(self, authority: Authority, gone: SessionRecord, shows: Shows) -> None:
        """Whether an extension is due is said at once; what has ended is not brought back by one (L7)."""
        if not isinstance(authority, Extends):
            pytest.skip("it extends nothing")
        attach(authority)
        assert isinstance(authority.extension_due(gone, gone.created_at), bool)
        extension = done(authority, lambda: authority.extend(gone, shows(gone), gone.created_at, None))
        assert not isinstance(extension, Extended)

    def test_an_end_may_be_told_twice(self, authority: Authority, alive: SessionRecord, shows: Shows) -> None:
        """A second time is as good as the first, and outside of requests nothing is shown."""
        if not isinstance(authority, Ends):
            pytest.skip("it ends nothing")
        for shown in (shows(alive), NOTHING_SHOWN, NOTHING_SHOWN):
            told = done(authority, partial(authority.end, alive, shown, "revoked", alive.created_at))
            assert told is None or isinstance(told, EndedThere)

    def test_an_end_that_cannot_be_told(self, cut_off: Authority, alive: SessionRecord) -> None:
        """It raises, so that it is told again, or says that it ended nothing; it never claims to have (L17)."""
        if not isinstance(cut_off, Ends):
            pytest.skip("it ends nothing")
        try:
            told = done(cut_off, lambda: cut_off.end(alive, NOTHING_SHOWN, "revoked", alive.created_at))
        except Exception:
            return
        assert told is None

    def test_all_of_a_user(self, authority: Authority, alive: SessionRecord) -> None:
        """It lists a user's sessions by their ids, ends them all, and knows none of a stranger's."""
        if not isinstance(authority, Lists) or not authority.knows_users:
            pytest.skip("it knows no users")
        now = alive.created_at
        done(authority, lambda: authority.end_all("a stranger", now))
        listed = done(authority, lambda: authority.list(alive.subject, now))
        assert alive.provider_session in {session.id for session in listed}
        assert {session.authority for session in listed} == {authority.name}
        assert list(done(authority, lambda: authority.list("a stranger", now))) == []
        done(authority, lambda: authority.end_all(alive.subject, now))
        assert list(done(authority, lambda: authority.list(alive.subject, now))) == []

    def test_a_fault_is_no_empty_list(self, cut_off: Authority, alive: SessionRecord) -> None:
        """Where it cannot find out which sessions there are it raises: nobody is taken for somebody without any."""
        if not isinstance(cut_off, Lists) or not cut_off.knows_users:
            pytest.skip("it knows no users")
        with pytest.raises(Exception):  # noqa: B017, PT011  # whatever it is, the engine calls it a fault
            done(cut_off, lambda: cut_off.list(alive.subject, alive.created_at))

    # --- what follows from it --------------------------------------------------------------------------------------

    def test_who_is_gone_stays_out(self, authority: Authority, gone: SessionRecord, shows: Shows) -> None:
        """The engine ends the record of a session that is gone, for good (L8, L13)."""
        assert requests(authority, gone, shows(gone)) == ([Verdict.REVOKED] * 2, "revoked")

    def test_who_is_there_is_let_in(self, authority: Authority, alive: SessionRecord, shows: Shows) -> None:
        """The engine lets a session in that is vouched for, and writes nothing about it (L8)."""
        assert requests(authority, alive, shows(alive)) == ([Verdict.ACTIVE] * 2, None)

    def test_nobody_is_logged_out_by_a_fault(self, cut_off: Authority, alive: SessionRecord, shows: Shows) -> None:
        """Where it cannot find out, the verdict is UNAVAILABLE and the record lives on (L17)."""
        if cut_off.verify_interval is None:
            pytest.skip("it is never asked")
        assert requests(cut_off, alive, shows(alive)) == ([Verdict.UNAVAILABLE] * 2, None)


def attach(authority: Authority) -> None:
    """Tell an authority where it runs, as the engine does, if it wants to know."""
    tell = getattr(authority, "attach", None)
    if tell is not None:
        tell(Attached(LoopRuntime(), FakeClock(), lambda purpose: (derive(KEY.encode(), purpose),)))


async def detach(authority: Authority) -> None:
    """Let an authority close the connections of this loop, if it has any."""
    close = getattr(authority, "aclose", None)
    if close is not None:
        await close()


def done(authority: Authority, call: Callable[[], Awaitable[T]]) -> T:
    """Make a call of an authority's on a loop of its own."""

    async def made() -> T:
        attach(authority)
        try:
            return await call()
        finally:
            await detach(authority)

    return asyncio.run(made())


def ask(authority: Authority, record: SessionRecord, shown: Shown) -> Vouch:
    """Ask once, on a loop of its own."""

    async def asked() -> Vouch:
        attach(authority)
        try:
            return await authority.verify(record, shown, record.created_at)
        finally:
            await detach(authority)

    vouch = asyncio.run(asked())
    assert isinstance(vouch, Vouch)
    return vouch


def requests(authority: Authority, like: SessionRecord, shown: Shown) -> tuple[list[Verdict], str | None]:
    """Begin a session like this record and make two requests with it; return their verdicts, and why it ended."""
    beside = [f"{name}={value}" for name, value in shown.cookies.items()]
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in shown.headers.items()}
    store, clock = MemoryStore(), FakeClock(like.created_at)

    def facts(cookies: str = "") -> WSGIFacts:
        return WSGIFacts({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_COOKIE": cookies, **headers})

    async def life() -> tuple[list[Verdict], str | None]:
        engine = Engine(Settings(secret_keys=[KEY]), store, authority=authority, runtime=LoopRuntime(), clock=clock)
        begun = engine.begin(facts())
        await engine.login(begun, like.subject, claims=like.claims, stamp=like.stamp)
        assert begun.created is not None
        # What a provider's login would have recorded beside it.
        recorded = {name: getattr(like, name) for name in ("authority", "provider_session", "sealed", "ceiling")}
        store.save(begun.created.evolve(**recorded))
        ours = [line.partition(";")[0] for line in await engine.close(begun)]
        cookies = "; ".join([*ours, *beside])
        verdicts = []
        for _ in range(2):
            x = engine.begin(facts(cookies))
            await engine.open(x)
            verdicts.append(x.verdict)
        await detach(authority)
        record = store.load(begun.created.key)
        assert record is not None
        return verdicts, record.end_reason

    return asyncio.run(life())
