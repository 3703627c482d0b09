"""What the model test found, each as the shortest life that shows it."""

from __future__ import annotations

from typing import Any

import pytest
from model_browser import JWT, TOKEN, Browser, Facts, closed, opened, settings_of

from session_middleware.core.exchange import RouteRules
from session_middleware.core.lifetime import Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.engine import Engine
from session_middleware.errors import SessionError, SettingsError, StoreUnavailable
from session_middleware.runtime import run_sync
from session_middleware.session import Session
from session_middleware.sessions import Sessions
from session_middleware.settings import Limits
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.clock import FakeClock

OPEN = RouteRules(policy="optional")
POLL = RouteRules(touch=False)


class Life:
    """One browser, one store, and as many processes as a test asks for."""

    def __init__(self, **given: object) -> None:
        self.clock = FakeClock()
        self.store: Any = MemoryStore()
        self.engine = self.process(**given)
        self.browser = Browser()

    def process(self, **given: object) -> Engine:
        return Engine(settings_of(("k1",), **given), self.store, clock=self.clock)

    def begin(self, rules: RouteRules = RouteRules(), engine: Engine | None = None) -> Session:  # noqa: B008  # frozen
        engine = engine or self.engine
        x, _ = opened(engine, Facts(self.browser.cookies(), "POST"), rules)
        return Session(engine, x)

    def end(self, session: Session) -> dict[str, str | None]:
        lines = closed(session._engine, session._x)
        self.browser.take(lines)
        return lines

    def visit(self, rules: RouteRules = RouteRules(), engine: Engine | None = None) -> Session:  # noqa: B008  # frozen
        session = self.begin(rules, engine)
        self.end(session)
        return session

    def sign_in(self, **given: object) -> None:
        session = self.begin(OPEN)
        session.login("alice", **given)  # type: ignore[arg-type]  # the arguments of login
        self.end(session)


def test_a_step_up_under_way_does_not_survive_a_logout() -> None:
    """L13: a session that ended between step_up and its response is not carried on under the new id."""
    life = Life()
    life.sign_in()
    slow = life.begin()
    slow.step_up([{"type": "otp"}])
    other = life.begin()
    other.logout()
    assert life.end(slow) == {}
    assert slow.verdict is Verdict.REVOKED
    assert Sessions(life.engine).list("alice") == []


def test_a_session_that_has_ended_cannot_be_stepped_up() -> None:
    """L13: a slow request that opened before the logout cannot make a new session out of the old one."""
    life = Life()
    life.sign_in()
    slow = life.begin()
    life.begin().logout()
    with pytest.raises(SessionError) as refused:
        slow.step_up([{"type": "otp"}])
    assert refused.value.code == "ended"
    assert life.end(slow) == {}
    assert Sessions(life.engine).list("alice") == []


def test_step_up_carries_on_what_others_wrote_meanwhile() -> None:
    """L14: a slow request that steps up does not take the claims back to what it read when it opened."""
    life = Life()
    life.sign_in(claims={"tier": "silver"})
    slow = life.begin()
    other = life.begin()
    other.update_claims(tier="gold")
    life.end(other)
    slow.step_up([{"type": "otp"}])
    life.end(slow)
    assert life.visit().claims == {"tier": "gold"}


def proves(session: Session, how: str) -> None:
    """Have the user prove once more who they are, in part or in full: both begin another session (L12)."""
    if how == "login":
        session.login("alice")
    else:
        session.step_up([{"type": "otp"}])


@pytest.mark.parametrize("how", ["login", "step_up"])
def test_what_others_wrote_before_and_after_a_new_session_was_made_of_the_old_one(how: str) -> None:
    """L12, L14: a slow view keeps what is written beside it, be it before it begins the new session or until it answers."""
    life = Life()
    life.sign_in(claims={"tier": "silver", "gone": 1, "mine": "old"})
    slow, before = life.begin(), life.begin()
    before.update_claims(tier="gold")
    before.data["cart"] = [1]
    life.end(before)
    after = life.begin()
    proves(slow, how)
    slow.update_claims(mine="slow")
    slow.data["seen"] = True
    after.update_claims(gone=None, mine="other", new="here")
    after.data["cart"] = [1, 2]
    life.end(after)
    life.end(slow)
    assert life.visit().claims == {"tier": "gold", "new": "here", "mine": "slow"}, (
        "who writes the same name last has it"
    )
    assert life.visit().data == {"cart": [1, 2], "seen": True}


@pytest.mark.parametrize("how", ["login", "step_up"])
def test_nothing_is_taken_along_where_nothing_was_written(how: str) -> None:
    """L14: no write for it, and no revision of the new record."""
    life = Life()
    life.sign_in(claims={"tier": "silver"})
    slow = life.begin()
    proves(slow, how)
    life.end(slow)
    (record,) = [record for record in life.store._records.values() if record.ended_at is None]
    assert (record.revision, record.claims) == (0, {"tier": "silver"})


def test_another_user_takes_nothing_along() -> None:
    """L12: nothing is carried over, be it written before or after."""
    life = Life()
    life.sign_in(claims={"tier": "silver"})
    slow, other = life.begin(), life.begin()
    slow.login("bob")
    other.update_claims(tier="gold")
    life.end(other)
    life.end(slow)
    assert life.visit().claims == {}


def test_a_login_over_what_ended_meanwhile() -> None:
    """L12: what the request has read of it still goes along; the end of the old session is none of the new one's."""
    life = Life()
    life.sign_in(claims={"tier": "silver"})
    slow = life.begin()
    life.begin().logout()
    slow.login("alice")
    life.end(slow)
    assert life.visit().claims == {"tier": "silver"}


class EndsAtSave(MemoryStore):
    """A store in which somebody ends a session just before it is written to."""

    is_late = False

    def save(self, record: SessionRecord) -> SessionRecord | None:
        if self.is_late:
            self.end(record.key, "revoked", 0.0, 9e9)
        return super().save(record)


def test_a_new_session_that_ends_while_something_is_taken_along() -> None:
    """L13: dead wins, and no cookie goes out."""
    life = Life()
    life.store = EndsAtSave()
    life.engine = life.process()
    life.sign_in()
    slow, other = life.begin(), life.begin()
    slow.login("alice")
    other.update_claims(tier="gold")
    life.end(other)
    life.store.is_late = True
    assert life.end(slow) == {}
    assert slow.verdict is Verdict.REVOKED


class LogsOut(MemoryStore):
    """A store in which somebody logs out elsewhere while an end is written."""

    with_it: bytes | None = None

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        if self.with_it is not None:
            super().end(self.with_it, "logout", at, keep_until)
        return super().end(key, reason, at, keep_until)


def test_nothing_is_made_up_for_between_the_last_look_and_the_cookies() -> None:
    """L13: a request that wrote what the store was owed in between handed out cookies of what had ended meanwhile."""
    life = Life()
    life.store = LogsOut()
    life.engine = life.process()
    life.sign_in()
    life.clock.advance(seconds=200)  # a session JWT is due
    slow = life.begin()
    life.store.with_it = slow._x.record.key  # type: ignore[union-attr]  # it is signed in
    life.engine.reach._owe_end(b"another", "logout", life.clock(), life.clock() + 60)
    assert JWT in life.end(slow)
    (record,) = life.store._records.values()
    assert record.ended_at is None


class Blips(MemoryStore):
    """A store whose next loads fail."""

    faults = 0

    def load(self, key: bytes) -> SessionRecord | None:
        if self.faults > 0:
            self.faults -= 1
            raise ConnectionError("down")
        return super().load(key)


@pytest.mark.parametrize("stale", [False, True])
def test_a_login_whose_request_came_while_the_store_did_not_answer(stale: bool) -> None:
    """L12, L17: it takes the place of the session that came all the same: its claims are kept, and its JWT is none of a stranger's."""
    life = Life()
    life.store = Blips()
    life.engine = life.process()
    life.sign_in(claims={"tier": "silver"})
    life.visit()
    before = life.browser.jar[JWT]
    life.clock.advance(seconds=70)
    life.store.faults = 1
    session = life.begin(RouteRules(policy="optional", on_unavailable="stale" if stale else None))
    assert session.verdict is Verdict.UNAVAILABLE
    assert session.is_active is stale
    session.login("alice")
    assert (session.verdict, session.is_verified) == (Verdict.ACTIVE, True)
    life.end(session)
    life.browser.jar[JWT] = before  # of an answer that was on its way
    assert life.visit().claims == {"tier": "silver"}
    assert len(Sessions(life.engine).list("alice")) == 1


@pytest.mark.parametrize("stale", [False, True])
def test_a_login_while_nobody_can_be_asked_who_was_there(stale: bool) -> None:
    """L17: where the store does not answer the second time either, whoever has just proved who they are is signed in."""
    life = Life()
    life.store = Blips()
    life.engine = life.process()
    life.sign_in(claims={"tier": "silver"})
    life.visit()
    life.clock.advance(seconds=70)
    life.store.faults = 2
    session = life.begin(RouteRules(policy="optional", on_unavailable="stale" if stale else None))
    with pytest.raises(SettingsError):
        session.login("alice", claims={"tier": object()})
    assert (session.verdict, session.is_active) == (Verdict.UNAVAILABLE, stale), "what went wrong changed nothing"
    life.store.faults = 1
    session.login("alice")
    life.end(session)
    assert life.visit().subject == "alice"
    assert len(Sessions(life.engine).list("alice")) == 1


def test_end_others_after_step_up_leaves_this_session() -> None:
    """L12: the session that step_up carries on is no other one; it ends when the response starts."""
    life = Life()
    life.sign_in()
    session = life.begin()
    session.step_up([{"type": "otp"}])
    assert session.end_others() == 0
    assert set(life.end(session)) == {TOKEN, JWT}
    assert life.visit().is_active
    assert len(Sessions(life.engine).list("alice")) == 1


def test_a_blank_extend_leaves_the_deadline_of_a_cut() -> None:
    """L7, L2: blank leaves the deadline unchanged, also where it is counted from last_seen_at."""
    life = Life(inactivity_timeout=3_600)
    life.sign_in()
    strict = life.process(inactivity_timeout=900)
    before = life.visit(POLL, strict).inactivity_deadline
    life.clock.advance(minutes=10)
    session = life.begin(POLL, strict)
    session.extend(None)
    assert session.inactivity_deadline == before
    life.end(session)
    assert life.visit(POLL, strict).inactivity_deadline == before


def test_the_last_second_of_a_persistent_session_deletes_no_cookie() -> None:
    """L26: a cookie set within a second of the absolute deadline is not one with Max-Age=0."""
    life = Life(inactivity_timeout=None, absolute_lifetime=600, persistent=True)
    life.sign_in()
    del life.browser.jar[JWT]
    life.clock.advance(seconds=599.5)
    lines = life.end(life.begin())
    assert set(lines) == {JWT}
    assert None not in lines.values()


def test_a_jwt_of_another_session_is_noticed_once_it_verifies() -> None:
    """L9, L1: a clock that was behind for one request does not make the mismatch pass for ever."""
    life = Life()
    life.sign_in()
    other = life.browser.jar[JWT]
    life.browser.jar.clear()
    life.sign_in()
    life.browser.jar[JWT] = other
    life.clock.set(life.clock() - 31)
    assert closed(life.engine, life.begin()._x).keys() == {JWT}  # not yet valid, so it counts as missing
    life.clock.advance(seconds=31)
    assert life.visit().verdict is Verdict.TAMPERED


@pytest.mark.parametrize("late", [0.0, 59.0])
def test_activity_after_a_visit_at_the_instant_of_login_counts(late: float) -> None:
    """L5: never earlier than inactivity_timeout after the last activity, whatever the quiet path remembered before."""
    life = Life(inactivity_timeout=1_200, limits=lambda subject, claims: Limits(1_200, 86_400))
    life.sign_in()
    life.visit()  # at the very instant of the login: nothing is due yet
    life.clock.advance(seconds=late)
    assert life.visit().is_active
    life.clock.advance(seconds=1_199)
    assert life.visit(POLL).is_active


@pytest.mark.parametrize("what", ["claims", "data"])
def test_claims_and_data_during_an_outage_are_no_anonymous_session(what: str) -> None:
    """L17: while the store is down nobody is told that he is signed out; the adapter answers 503."""
    life = Life()
    life.sign_in()
    life.clock.advance(minutes=2)
    life.store.load = life.store.holds = _down  # type: ignore[assignment,method-assign]
    life.engine = life.process()
    session = life.begin(OPEN)
    with pytest.raises(StoreUnavailable):
        _ = session.update_claims(tier="gold") if what == "claims" else session.data


def _down(*args: object) -> None:
    raise OSError("the store went away")


def test_the_quiet_path_sees_that_the_last_jwt_is_over() -> None:
    """L9: `exp` is in whole seconds, so a JWT that ends with its session is over up to a second before it."""
    life = Life(inactivity_timeout=900, touch_interval=30, rolling=False)
    life.clock.set(life.clock() + 0.75)
    life.sign_in()
    life.clock.advance(seconds=890)
    life.visit()
    life.clock.advance(seconds=5)
    assert life.end(life.begin()) == {}
    life.clock.advance(seconds=4.5)
    x, _ = opened(life.engine, Facts(life.browser.cookies(), "POST"), RouteRules())
    assert x.verdict is Verdict.ACTIVE
    assert not life.engine.is_settled(x)


def test_continue_without_a_limit_by_silence_leaves_what_another_tab_set() -> None:
    """L7, L14: a slow request does not put back the deadline that it read when it opened."""
    life = Life(inactivity_timeout=None)
    life.sign_in(minutes=120)
    slow = life.begin()
    other = life.begin()
    other.extend(5)
    run_sync(life.engine.continue_(slow._x, None))
    life.end(slow)
    assert life.visit(POLL).inactivity_deadline == other.inactivity_deadline


def test_a_step_up_under_a_cut_is_kept_as_long_as_the_session_may_live() -> None:
    """L2, L16: a cut is never written back, not even as the time a store keeps the record."""
    life = Life(inactivity_timeout=None, absolute_lifetime=864_000)
    life.sign_in()
    strict = life.process(inactivity_timeout=None, absolute_lifetime=3_600)
    session = life.begin(engine=strict)
    session.step_up([{"type": "otp"}])
    lines = closed(strict, session._x)
    life.browser.take(lines)
    life.clock.advance(days=5)
    assert life.visit().is_active
