"""The parts the engine is made of: runtime, events, what it reaches (L17) and what it issues (L9)."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from session_middleware.core.jwt import JwtKey, JwtKeys
from session_middleware.core.lifetime import Outage, Touch
from session_middleware.core.record import SessionRecord
from session_middleware.core.tokens import b64decode
from session_middleware.engine import Engine
from session_middleware.engine import issuer as issuer_module
from session_middleware.engine.issuer import Issuer
from session_middleware.errors import RecordUnreadable, SettingsError, StoreUnavailable
from session_middleware.events import LEVELS, SessionEvent, announce
from session_middleware.reach import Reach
from session_middleware.reach import owed as reach_module
from session_middleware.runtime import LoopRuntime, PerThread, ThreadRuntime, bind, drop_oldest, run_sync
from session_middleware.settings import Limits, Settings
from session_middleware.stores.memory import MemoryStore

KEY = "0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"
OTHER_KEY = "9f8e7d6c5b4a39281706f5e4d3c2b1a0ff"


# --- runtime ---------------------------------------------------------------------------------------------------------


def test_run_sync_returns_and_raises_as_a_call_would() -> None:
    """A coroutine that never suspends is a call: its result and its exceptions come through."""

    async def give(value: int) -> int:
        return value

    async def fail() -> None:
        raise KeyError("x")

    assert run_sync(give(5)) == 5
    with pytest.raises(KeyError):
        run_sync(fail())


def test_run_sync_names_what_suspends() -> None:
    """Design §2: a suspension in a synchronous app is an error with a clear text."""

    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="ASGI adapter"):
        run_sync(waits())


class Blocking:
    short_calls = frozenset({"load"})

    def load(self) -> int:
        return threading.get_ident()

    def touch(self) -> int:
        return threading.get_ident()


class Awaited:
    async def load(self) -> int:
        return 7


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_short_calls_stay_on_the_loop_and_others_leave_it(run: Any) -> None:
    """Design §2: inline only what the store declares short; the rest in a worker thread, on asyncio and on trio."""

    async def main() -> tuple[int, int, int]:
        bound = bind(Blocking(), ("load", "touch", "nothing"), LoopRuntime())
        assert not hasattr(bound, "nothing")
        return threading.get_ident(), await bound.load(), await bound.touch()

    here, inline, threaded = run(main) if run is trio.run else run(main())
    assert inline == here
    assert threaded != here


def test_an_asynchronous_store_needs_an_asynchronous_app() -> None:
    """Design §2: an async-only store in a synchronous app is refused at construction."""
    with pytest.raises(SettingsError, match="Awaited"):
        bind(Awaited(), ("load",), ThreadRuntime())
    assert asyncio.run(bind(Awaited(), ("load",), LoopRuntime()).load()) == 7
    assert run_sync(bind(Blocking(), ("touch",), ThreadRuntime()).touch()) == threading.get_ident()
    assert run_sync(ThreadRuntime().in_thread(max, 1, 2)) == 2


def test_per_thread_places() -> None:
    """What one thread keeps, another does not see."""
    place = PerThread()
    place.value = 1
    seen = []
    other = threading.Thread(target=lambda: seen.append(hasattr(place, "value")))
    other.start()
    other.join()
    assert seen == [False]


# --- events ----------------------------------------------------------------------------------------------------------


def test_room_is_made_while_other_threads_write() -> None:
    """Whoever looks for the oldest while another thread puts something in goes without; so who finds the last one taken."""

    class Shared(dict[int, int]):
        """A dict into which another thread puts something once somebody has begun to look at it."""

        def __iter__(self) -> Iterator[int]:
            looking = super().__iter__()
            self[len(self)] = 0
            return looking

    contended, quiet = Shared({7: 0}), {7: 0, 8: 0}
    drop_oldest(contended)
    assert len(contended) == 2
    for left in ({8: 0}, {}, {}):
        drop_oldest(quiet)
        assert quiet == left


def test_a_failing_hook_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """ASVS 16.5.4: a hook that raises is logged, the next one still runs."""
    seen: list[SessionEvent] = []
    event = SessionEvent("session_replayed", 5.0, "id", "alice", "::1", {"reason": "x"})

    def broken(_: SessionEvent) -> None:
        raise ValueError("hook")

    with caplog.at_level(logging.DEBUG, "session_middleware"):
        announce(event, [broken, seen.append])
    assert seen == [event]
    assert caplog.records[0].levelno == logging.CRITICAL
    assert caplog.records[0].session_event is event  # type: ignore[attr-defined]  # put there by extra=
    assert event.time.isoformat() == "1970-01-01T00:00:05+00:00"
    assert "hook failed" in caplog.text


@pytest.mark.parametrize("where", ["session_id", "subject", "address", "detail"])
def test_log_lines_cannot_be_forged(caplog: pytest.LogCaptureFixture, where: str) -> None:
    """ASVS 16.4.1: line breaks and escapes in what a client sent, or a proxy said of it, stay inside one line."""
    hostile = "a\r\nb\x1b[31m"
    given: dict[str, Any] = {where: {"k": hostile} if where == "detail" else hostile}
    with caplog.at_level(logging.INFO, "session_middleware"):
        announce(SessionEvent("session_created", 1.0, **given), [])
    (record,) = caplog.records
    assert repr(hostile) in record.getMessage()
    assert "\n" not in record.getMessage()
    assert "\x1b" not in record.getMessage()


def test_quiet_levels_are_not_formatted(caplog: pytest.LogCaptureFixture) -> None:
    """A level that is off costs no formatting."""
    with caplog.at_level(logging.ERROR, "session_middleware"):
        announce(SessionEvent("session_created", 1.0), [])
    assert not caplog.records
    assert set(LEVELS.values()) <= {logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL}


# --- reach -----------------------------------------------------------------------------------------------------------


def record(name: bytes = b"k") -> SessionRecord:
    return SessionRecord(name * 32, "p", "alice", 1.0, 1.0, 1.0, 3601.0, Limits(3600, 86400), 9e9, 1.0)


class Fragile(MemoryStore):
    """A store that fails in the methods named in `broken`."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in ("load", "touch", "end", "renew", "save", "create", "list"):
            calls, broken = super().__getattribute__("calls"), super().__getattribute__("broken")
            calls.append(name)
            if name in broken:
                raise ConnectionError("down")
        return super().__getattribute__(name)


class Failing:
    """Calls a Fragile store by name at call time, as a network client would."""

    short_calls = MemoryStore.short_calls

    def __init__(self) -> None:
        self.inner = Fragile()

    def load(self, key: bytes) -> Any:
        return self.inner.load(key)

    def touch(self, key: bytes, touch: Touch) -> Any:
        return self.inner.touch(key, touch)

    def end(self, *args: Any) -> Any:
        return self.inner.end(*args)

    def create(self, rec: SessionRecord) -> None:
        self.inner.create(rec)


def reaching() -> tuple[Reach, Fragile, list[float], list[tuple[str, dict[str, str]]]]:
    store, clock, said = Failing(), [100.0], []
    reach = Reach(
        store,
        runtime=ThreadRuntime(),
        clock=lambda: clock[0],
        retention=86400.0,
        announce=lambda name, detail: said.append((name, detail)),
    )
    store.inner.create(record())
    return reach, store.inner, clock, said


def test_an_outage_is_noticed_and_its_end_too() -> None:
    """L17: the time during which the store did not answer is kept, for deadlines that passed in it."""
    reach, store, clock, said = reaching()
    store.broken = {"load"}
    for at in (100.0, 150.0):
        clock[0] = at
        with pytest.raises(StoreUnavailable, match="load"):
            run_sync(reach.load(b"k" * 32))
    assert not reach.is_well
    store.broken, clock[0] = set(), 200.0
    assert run_sync(reach.load(b"k" * 32)) == record()
    assert (reach.is_well, reach.outage) == (True, Outage(100.0, 200.0))
    assert [name for name, _ in said] == ["store_fault", "store_fault", "store_recovered"]


def test_a_missing_record_is_no_fault() -> None:
    """Store promise: None is an answer."""
    reach, *_ = reaching()
    assert run_sync(reach.load(b"z" * 32)) is None


def test_an_unreadable_record_is_a_fault_of_its_own() -> None:
    """Bad input: it is UNAVAILABLE for its owner and no outage for the others."""
    reach, store, _, said = reaching()

    def unreadable(key: bytes) -> None:
        raise RecordUnreadable("It is broken.")

    store.load = unreadable  # type: ignore[assignment, method-assign]  # a store with a damaged row
    object.__setattr__(store, "load", unreadable)
    with pytest.raises(StoreUnavailable, match=r"It is broken\. Deploy the version that wrote it, or delete it"):
        run_sync(reach.load(b"k" * 32))
    assert reach.is_well
    ((_, detail),) = said
    assert (detail["problem"], detail["record"]) == ("It is broken.", "6b" * 32)
    assert "delete it" in detail["fix"]


def test_what_is_unreadable_and_no_record_is_told_too() -> None:
    """Bad input: such as the instant of end_before, of which the store's own error says where it lies."""
    reach, _, _, said = reaching()

    async def unreadable(instant: float, now: float) -> None:
        raise RecordUnreadable("Something else lies under the epoch's key.")

    reach._call.end_before = unreadable
    with pytest.raises(StoreUnavailable, match="epoch's key"):
        run_sync(reach.write("end_before", 1.0, 2.0))
    assert [(name, detail["problem"], "record" in detail) for name, detail in said] == [
        ("store_fault", "Something else lies under the epoch's key.", False)
    ]


def test_touches_that_could_not_be_written_are_kept_and_written_later() -> None:
    """L17: reads work, writes fail: the request is served as if the touch were written, and it is, later."""
    reach, store, _, _ = reaching()
    store.broken = {"touch"}
    touch = Touch(50.0, 4000.0, 9e9)
    served = run_sync(reach.touch(record(), touch))
    assert served is not None
    assert served.last_seen_at == 50.0
    loaded = run_sync(reach.load(b"k" * 32))
    assert loaded is not None
    assert loaded.last_seen_at == 50.0
    store.broken = set()
    store.create(record(b"m"))
    run_sync(reach.touch(record(b"m"), Touch(60.0, 4000.0, 9e9)))
    assert reach.unsaved == {}
    assert MemoryStore.load(store, b"k" * 32).last_seen_at == 50.0  # type: ignore[union-attr]  # it is there


def test_a_later_touch_that_is_owed_meanwhile_is_kept() -> None:
    """L17: what is owed is forgotten only if it is what has just been written."""
    reach, store, _, _ = reaching()
    first, second = Touch(50.0, 4000.0, 9e9), Touch(70.0, 4000.0, 9e9)
    reach.unsaved[b"k" * 32] = first
    plain = MemoryStore.touch

    def touch(key: bytes, touch: Touch) -> SessionRecord | None:
        reach.unsaved[key] = second  # another request, whose own write failed
        return plain(store, key, touch)

    object.__setattr__(store, "touch", touch)
    run_sync(reach.catch_up())
    assert reach.unsaved == {b"k" * 32: second}


def test_kept_touches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are dropped when too many are owed."""
    monkeypatch.setattr(reach_module, "KEPT_TOUCHES", 2)
    reach, store, _, _ = reaching()
    store.broken = {"touch"}
    for name in (b"a", b"b", b"c"):
        run_sync(reach.touch(record(name), Touch(50.0, 4000.0, 9e9)))
    assert list(reach.unsaved) == [b"b" * 32, b"c" * 32]


def test_an_end_that_could_not_be_written_holds_here_and_is_retried() -> None:
    """L13, L17: this process treats the session as ended at once; the store learns of it as soon as it answers."""
    reach, store, clock, said = reaching()
    store.broken = {"end"}
    assert run_sync(reach.end(b"k" * 32, "logout", 100.0, 100.0)) is None
    ended = run_sync(reach.load(b"k" * 32))
    assert ended is not None
    assert (ended.ended_at, ended.end_reason) == (100.0, "logout")
    assert not reach.is_well
    run_sync(reach.load(b"k" * 32))
    assert said.count(("store_fault", {"method": "end", "fault": "ConnectionError"})) == 2, "retried once a second"
    store.broken, clock[0] = set(), 102.0
    run_sync(reach.load(b"k" * 32))
    assert reach.is_well
    held = MemoryStore.load(store, b"k" * 32)
    assert held is not None
    assert held.end_reason == "logout"
    assert run_sync(reach.end(b"k" * 32, "logout", 103.0, 103.0)) is False
    assert run_sync(reach.end_now(b"k" * 32, "logout", 103.0)) is False


def test_a_touch_owed_to_an_ended_session_is_dropped() -> None:
    """L13: an end forgets the touches that were owed."""
    reach, store, _, _ = reaching()
    store.broken = {"touch"}
    run_sync(reach.touch(record(), Touch(50.0, 4000.0, 9e9)))
    store.broken = set()
    run_sync(reach.end(b"k" * 32, "logout", 100.0, 100.0))
    assert reach.unsaved == {}


# --- issuer ----------------------------------------------------------------------------------------------------------


def issuing(clock: Callable[[], float] = lambda: 100.0, **given: Any) -> Issuer:
    settings = Settings(secret_keys=[KEY], **given)
    return Issuer(settings, JwtKeys([JwtKey.hs256(bytes(range(32)))]), b"p" * 32, clock)


def test_nothing_personal_enters_a_jwt_unless_listed() -> None:
    """L9, NIST §5.1.1: the subject is pairwise, claims only where listed; acr and amr where known."""
    rec = record().evolve(claims={"mail": "a@b", "role": "x"}, factors=({"type": "otp"}, {"type": "password"}, {}))
    assert "alice" not in str(issuing().claims_for(rec, rec.claims))
    said = issuing(jwt_claims=["role", "absent"], aal="aal2", jwt_subject="plain").claims_for(rec, rec.claims)
    assert (said["sub"], said["role"], said["acr"], said["amr"]) == ("alice", "x", "aal2", ["otp", "password"])
    assert "mail" not in said
    assert "absent" not in said


def subject_under(*keys: str, **given: Any) -> str:
    """Return the `sub` of alice where these are the secret keys."""
    engine = Engine(Settings(secret_keys=keys, **given), MemoryStore())
    return str(engine.issuer.claims_for(record(), {})["sub"])


def test_pairwise_subjects_outlive_a_change_of_keys() -> None:
    """L9: with jwt_subject_key set to the key that was first, every `sub` stays, whichever key signs now."""
    before = subject_under(KEY)
    assert subject_under(KEY, OTHER_KEY) == before
    assert subject_under(OTHER_KEY, KEY) != before
    assert subject_under(OTHER_KEY, KEY, jwt_subject_key=KEY) == before
    assert subject_under(OTHER_KEY, jwt_subject_key=KEY.encode()) == before
    told = {"SESSION_JWT_SUBJECT_KEY": KEY, "SESSION_SECRET_KEYS": OTHER_KEY}
    assert Settings.from_mapping(told, prefix="SESSION_").jwt_subject_key == KEY.encode()
    assert KEY not in repr(Settings(secret_keys=[OTHER_KEY], jwt_subject_key=KEY))


def test_one_signature_for_50_parallel_requests() -> None:
    """L9: one signature per process, session and rotation, also from many threads."""
    issuer, texts = issuing(), []
    threads = [threading.Thread(target=lambda: texts.append(issuer.mint(record(), 100.0, 3600.0))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(set(texts)), issuer.signatures) == (1, 1)
    issuer.mint(record(), 251.0, 3600.0)
    assert issuer.signatures == 2
    issuer.forget(b"k" * 32)
    issuer.mint(record(), 251.0, 3600.0)
    assert issuer.signatures == 3


def test_minted_jwts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The older half goes when it is full."""
    monkeypatch.setattr(issuer_module, "REMEMBERED", 4)
    issuer = issuing()
    for name in (b"a", b"b", b"c", b"d", b"e"):
        issuer.mint(record(name), 100.0, 3600.0)
    assert len(issuer._minted) == 3


def test_a_jwt_too_large_for_a_cookie_is_refused() -> None:
    """L19: listed claims that do not fit are an error."""
    rec = record().evolve(claims={"big": "x" * 4000})
    with pytest.raises(SettingsError):
        issuing(jwt_claims=["big"]).mint(rec, 100.0, 3600.0)


def test_ends_that_this_process_knows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The older half goes when there are too many; what is owed to the store is never forgotten."""
    monkeypatch.setattr(reach_module, "KEPT_ENDS", 4)
    reach, *_ = reaching()
    for name in (b"a", b"b", b"c", b"d", b"e"):
        run_sync(reach.end(name * 32, "logout", 100.0, 100.0))
    assert not reach.has_ended(b"a" * 32)
    assert reach.has_ended(b"e" * 32)


def test_a_jwt_of_a_clock_that_was_set_back_is_replaced() -> None:
    """L1, L9: what says that it is of a later hour is good for nobody until then: not handed out, and not kept."""
    ahead, now, ends_at = 2_000.0, 1_400.0, 9_000.0
    clock = [ahead]
    issuer = issuing(lambda: clock[0])
    early = issuer.mint(record(), ahead, ends_at)
    assert issuer.mint(record(), now, ends_at) == early, "a request of long ago is given what its process signed since"
    clock[0] = now
    assert issuer.mint(record(), ahead - 30, ends_at) == early, "as far as clocks may differ it is as good as any"
    said = json.loads(b64decode(early.split(".")[1]))
    assert not issuer.is_due(early, said, record(), ahead - 30, ends_at)
    assert issuer.is_due(early, said, record(), now, ends_at)
    late = json.loads(b64decode(issuer.mint(record(), now, ends_at).split(".")[1]))
    assert late["iat"] == now
