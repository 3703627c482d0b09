"""What a view may do long after its request was judged: on a connection that stays open (L5, L7, L13, L17)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from session_middleware import Limits, Settings
from session_middleware.authorities.local import LocalAuthority
from session_middleware.core.exchange import Exchange, RouteRules
from session_middleware.core.lifetime import Touch, Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.endpoints import Endpoints
from session_middleware.engine import Engine
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.runtime import run_sync
from session_middleware.session import Session
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing import FakeClock

from .driver import KEY
from .plain_store import Plain
from .test_connections import Faulty, _Facts


class Place:
    """An engine, and an exchange whose response has started with a session."""

    def __init__(self, store: MemoryStore | None = None, authority: Any = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore() if store is None else store
        given = {"inactivity_timeout": 300, "absolute_lifetime": 900, **settings}
        self.engine = Engine(Settings(secret_keys=[KEY], **given), self.store, clock=self.clock, authority=authority)
        self.x: Exchange = self.engine.begin(_Facts())
        run_sync(self.engine.login(self.x, "alice"))
        self.lines = run_sync(self.engine.close(self.x))
        self.session = Session(self.engine, self.x)

    @property
    def record(self) -> SessionRecord:
        assert self.x.record is not None
        return self.x.record

    def left(self) -> float:
        assert self.x.deadlines is not None
        return self.x.deadlines.ends_at - self.clock()


def test_a_touch_moves_the_deadline_from_now() -> None:
    """As a request at that instant would (L5)."""
    place = Place()
    place.clock.advance(seconds=200)
    place.session.touch()
    assert place.left() == 315
    place.session.touch()
    assert place.left() == 315


def test_a_touch_finds_what_another_request_did() -> None:
    """A touch that has just been written elsewhere needs no second one."""
    place = Place()
    place.clock.advance(seconds=200)
    place.store.touch(place.record.key, Touch(place.clock(), place.clock() + 315, place.clock() + 90_000))
    place.session.touch()
    assert place.left() == 315
    assert place.record.last_seen_at == place.clock()


def test_a_touch_after_the_known_deadline() -> None:
    """It asks first: another request may have extended; else it revives nothing (L13)."""
    place = Place()
    place.clock.advance(seconds=200)
    run_sync(place.engine.reach.touch(place.record, Touch(place.clock(), place.clock() + 300, place.clock() + 90_000)))
    place.clock.advance(seconds=150)
    place.session.touch()
    assert place.session.is_active
    place.clock.advance(seconds=400)
    with pytest.raises(SessionError, match="INACTIVITY_TIMEOUT"):
        place.session.touch()
    assert place.session.reason == "inactivity"


def test_a_session_that_ends_between_the_look_and_the_touch() -> None:
    """Dead wins (L13)."""

    class Ending(MemoryStore):
        def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
            self.end(key, "revoked", touch.last_seen_at, touch.keep_until)
            return super().touch(key, touch)

    place = Place(Ending())
    place.clock.advance(seconds=200)
    with pytest.raises(SessionError, match="has ended"):
        place.session.touch()
    assert place.x.verdict is Verdict.REVOKED


def test_a_touch_while_the_store_is_down_is_kept() -> None:
    """It counts here at once, and is written when the store answers (L17)."""
    store = Faulty()
    place = Place(store)
    place.clock.advance(seconds=200)
    store.down = True
    store.refuses_touches = True
    place.session.touch()
    assert place.left() == 315
    assert place.record.key in place.engine.reach.unsaved


def test_the_record_of_another_session_is_nobodys_on_what_is_open() -> None:
    """L8, L17: copied under our key while a socket is open, it makes that of nobody else; the verbs answer as while it is down."""
    place = Place()
    other = place.record.evolve(public_id="another", subject="bob")
    place.store.prune(place.record.keep_until)
    place.store.create(other)
    with pytest.raises(StoreUnavailable, match="another session"):
        run_sync(place.engine.look_again(place.x))
    with pytest.raises(StoreUnavailable, match="another session"):
        place.session.extend(10)
    assert (place.session.subject, place.session.is_active) == ("alice", True)
    place.clock.advance(seconds=301)
    with pytest.raises(StoreUnavailable):
        place.session.extend(10)
    assert place.x.verdict is Verdict.UNAVAILABLE, "beyond what is known nobody is served"


def test_a_touch_beyond_the_known_deadline_needs_the_store() -> None:
    """Nobody is served beyond what is known (L17)."""
    store = Faulty()
    place = Place(store)
    place.clock.advance(seconds=301)
    store.down = True
    with pytest.raises(StoreUnavailable):
        place.session.touch()
    assert place.x.verdict is Verdict.UNAVAILABLE


def test_what_this_process_knows_to_be_over() -> None:
    """A look while the store is down finds a session over that this process ended (L17)."""
    store = Faulty()
    place = Place(store)
    run_sync(place.engine.end(place.record.key, "logout", place.clock(), place.clock()))
    store.down = True
    assert run_sync(place.engine.look_again(place.x))
    assert place.x.verdict is Verdict.REVOKED
    with pytest.raises(SessionError):
        place.session.extend(10)


def test_a_look_while_the_store_is_down_ends_nothing() -> None:
    """Before its known deadline nothing is known to have changed (L17)."""
    store = Faulty()
    place = Place(store)
    store.down = True
    with pytest.raises(StoreUnavailable):
        run_sync(place.engine.look_again(place.x))
    assert place.session.is_active


def test_extend_counts_from_now() -> None:
    """`session.extend()` long after the request sets now + minutes, not the request's instant + minutes (L7)."""
    place = Place(absolute_lifetime=86_400)
    place.clock.advance(seconds=250)
    place.session.extend(10)
    assert place.left() == 600


def test_a_cut_of_the_limits_counts_at_the_next_look() -> None:
    """What `limits=` answers now holds for what is written now (L2)."""
    limits = [Limits(300, 900)]
    place = Place(limits=lambda subject, claims: limits[0])
    place.clock.advance(seconds=100)
    limits[0] = Limits(120, 900)
    place.session.touch()
    assert place.left() == 135


def test_a_request_served_from_the_jwt_alone() -> None:
    """Once the store is back, what the outage left unknown is known again (L17)."""
    store = Faulty()
    place = Place(store)
    place.x.verdict, place.x.stale = Verdict.UNAVAILABLE, True
    store.down = True
    with pytest.raises(StoreUnavailable):
        place.session.extend(10)
    store.down = False
    place.session.extend(10)
    assert place.session.is_active
    assert not place.x.stale


class Vouches:
    """What a `verify` hook answers, or raises."""

    def __init__(self) -> None:
        self.answer: bool | Exception = True

    def __call__(self, record: SessionRecord) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def served_from_the_jwt(place: Place) -> Exchange:
    """Return an exchange whose response has started, with nobody but the session JWT to speak for it."""
    facts = _Facts()
    facts.cookies = "; ".join(line.partition(";")[0] for line in place.lines)
    run_sync(place.engine.open(place.engine.begin(facts)))  # what this process has never seen it cannot serve
    place.clock.advance(seconds=20)
    return place.engine.begin(facts)


@pytest.mark.parametrize("answer", [True, False, OSError("gone")])
def test_a_request_served_while_the_authority_is_down(answer: bool | Exception) -> None:
    """L17: the store's word does not make it whole; a verb asks whoever vouches, and stays read-only where nobody answers."""
    vouches = Vouches()
    place = Place(authority=LocalAuthority(vouches), inactivity_timeout=3600, absolute_lifetime=7200)
    x = served_from_the_jwt(place)
    vouches.answer = OSError("gone")
    assert run_sync(place.engine.open(x, RouteRules(policy="required", on_unavailable="stale"))) is None
    run_sync(place.engine.close(x))
    assert x.stale
    ends_at = x.deadlines.ends_at if x.deadlines is not None else 0.0
    run_sync(place.engine.look_again(x))
    session = Session(place.engine, x)
    assert (session.is_active, session.is_verified) == (True, False)
    vouches.answer = answer
    if answer is True:
        session.extend(10)
        assert (session.is_verified, x.stale) == (True, False)
        assert x.deadlines is not None
        assert x.deadlines.ends_at == place.clock() + 600
    elif answer is False:
        with pytest.raises(SessionError, match="REVOKED"):
            session.extend(10)
        assert not session.is_active
    else:
        with pytest.raises(StoreUnavailable, match="whoever vouches"):
            session.extend(10)
        assert (session.is_active, session.is_verified) == (True, False)
        assert x.deadlines is not None
        assert x.deadlines.ends_at == ends_at, "bounded by the session JWT as before"
        place.clock.advance(seconds=ends_at - place.clock())
        run_sync(place.engine.look_again(x))
        assert not session.is_active


def test_a_record_that_is_gone() -> None:
    """A wiped store signs out (L16)."""
    place = Place()
    place.store._records.clear()
    assert run_sync(place.engine.look_again(place.x))
    assert place.x.verdict is Verdict.UNKNOWN


def test_a_touch_on_a_route_that_looked_at_nothing() -> None:
    """Without a session there is nothing to touch, and the error says so."""
    place = Place()
    x = place.engine.begin(_Facts())
    with pytest.raises(SessionError, match="ANONYMOUS"):
        Session(place.engine, x).touch()


def test_a_near_cache_is_asked_past_before_anybody_is_refused() -> None:
    """A record held near that looks over may be news not heard: a touch of another process (L11)."""

    class Behind(MemoryStore):
        """Holds what it first read, until it is asked past that."""

        held: SessionRecord | None = None

        def load(self, key: bytes) -> SessionRecord | None:
            self.held = self.held or super().load(key)
            return self.held

        def reload(self, key: bytes) -> SessionRecord | None:
            self.held = MemoryStore.load(self, key)
            return self.held

        def _alive(self, key: bytes) -> SessionRecord | None:
            return MemoryStore.load(self, key)

    store = Behind()
    place = Place(store)
    run_sync(place.engine.look_again(place.x))
    place.clock.advance(seconds=290)
    store.touch(place.record.key, Touch(place.clock(), place.clock() + 300, place.clock() + 90_000))
    place.clock.advance(seconds=20)
    assert run_sync(place.engine.look_again(place.x))
    assert place.session.is_active
    assert place.left() == 280


def test_freshness_is_of_now_where_a_connection_stays_open() -> None:
    """L3, L21: what was fresh when the request came is not so for as long as its socket is open."""
    place = Place()
    assert place.session.is_fresh(60)
    place.clock.advance(seconds=200)
    assert not place.session.is_fresh(60)
    assert place.session.is_fresh(201)


def test_an_event_says_what_is_left_when_it_goes_out() -> None:
    """L5: a slow client takes it long after the change that it tells of; what is shown is what is enforced."""
    place = Place()
    place.clock.advance(seconds=200)
    event = Endpoints(place.engine).event(place.x)
    assert json.loads(event.removeprefix(b"data: "))["inactivity_left"] == 100


def test_the_jwt_of_an_open_connection_is_one_of_now() -> None:
    """L9: one that came with the handshake, or was minted then, would be refused by the service it is handed to."""
    place = Place(absolute_lifetime=7200, inactivity_timeout=3600)
    for _ in range(3):
        text = place.session.jwt
        assert text is not None
        assert place.engine.verify_jwt(text)["exp"] > place.clock() + 100
        signatures = place.engine.issuer.signatures
        assert place.session.jwt == text
        assert place.engine.issuer.signatures == signatures
        place.clock.advance(seconds=1000)
    place.clock.advance(seconds=600)
    assert place.left() <= 0
    assert place.session.jwt is None, "the session is over, though nobody has looked yet"


def test_the_jwt_that_came_is_handed_on_while_it_is_good() -> None:
    """L9: no second signature for what the browser has already; on an open connection as long as that is of use."""
    place = Place(absolute_lifetime=7200, inactivity_timeout=3600)
    facts = _Facts()
    facts.cookies = "; ".join(line.partition(";")[0] for line in place.lines)
    x = place.engine.begin(facts)
    run_sync(place.engine.open(x))
    run_sync(place.engine.close(x))
    session = Session(place.engine, x)
    shown = facts.cookies.rpartition("=")[2]
    assert session.jwt == shown
    place.clock.advance(seconds=140)
    assert session.jwt == shown
    place.clock.advance(seconds=200)
    assert session.jwt != shown
    assert place.engine.verify_jwt(session.jwt or "")["iat"] == int(place.clock())


def test_a_session_that_is_opened_late_is_judged_then() -> None:
    """L1, L8: on an exempt route the session may be read for the first time long after its request came."""
    place = Place()
    facts = _Facts()
    facts.cookies = "; ".join(line.partition(";")[0] for line in place.lines)
    x = place.engine.begin(facts)
    run_sync(place.engine.open(x, RouteRules(policy="exempt")))
    run_sync(place.engine.close(x))
    place.clock.advance(seconds=301)
    assert Session(place.engine, x).reason == "inactivity"


@pytest.mark.parametrize("store", [MemoryStore, Plain])
def test_who_holds_a_connection_open_is_told_of_a_session_that_is_opened_late(store: Any) -> None:
    """L13: by a store that recognises a record by itself, and by one that has to be asked."""
    place = Place(store())
    facts = _Facts()
    facts.cookies = "; ".join(line.partition(";")[0] for line in place.lines)
    for late in (False, False, True):
        place.clock.advance(seconds=1)
        x = place.engine.begin(facts)
        told: list[str] = []
        x.opened_late = lambda told=told: told.append("late")  # type: ignore[method-assign, misc]
        run_sync(place.engine.open(x, RouteRules(policy="exempt" if late else None)))
        run_sync(place.engine.close(x))
        assert Session(place.engine, x).is_active
        assert told == ["late"] * late


def test_a_stale_answer_ends_with_what_is_known() -> None:
    """L17: where nobody can be asked beyond the deadline, nobody is signed in any more."""
    store = Faulty()
    place = Place(store)
    place.x.verdict, place.x.stale = Verdict.UNAVAILABLE, True
    assert place.session.is_active
    store.down = True
    place.clock.advance(seconds=301)
    assert run_sync(place.engine.look_again(place.x))
    assert (place.session.verdict, place.session.is_active) == (Verdict.UNAVAILABLE, False)
