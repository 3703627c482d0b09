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
from collections.abc import Callable

import pytest

from session_middleware.adapters.wsgi import WSGIFacts
from session_middleware.authorities.base import NOTHING_SHOWN, Alive, Attached, Authority, Shown, Vouch
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
