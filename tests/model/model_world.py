"""What the machine knows of the world: processes, sessions as the model sees them, what really happened, the store."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

import lifetime_model as model
from hypothesis import strategies as st
from lifetime_model import Config, Held
from model_browser import Browser, Jwt, Token, settings_of

from session_middleware.core.exchange import Exchange, RouteRules
from session_middleware.core.tokens import key_of
from session_middleware.engine import Engine
from session_middleware.session import Session
from session_middleware.settings import Limits
from session_middleware.stores.memory import MemoryStore

TICK = 1 / 1024
RETENTION = 3_600.0
SUBJECTS = ("alice", "bob")
ROUTES = {
    "plain": RouteRules(),
    "optional": RouteRules(policy="optional"),
    "no_touch": RouteRules(touch=False),
    "exempt": RouteRules(policy="exempt"),
    "fresh": RouteRules(policy="required", fresh_within=300.0),
    "status": RouteRules(policy="optional", touch=False, sets_cookies=False),
}
HEADERS: dict[str, dict[str, str]] = {
    "none": {},
    "navigation": {"sec_fetch_mode": "navigate"},
    "prefetch": {"sec_purpose": "prefetch", "sec_fetch_mode": "navigate"},
    "old prefetch": {"purpose": "prefetch"},
    "poll": {"session_activity": "none"},
}
LIMITS = st.sampled_from([(None, 86_400.0), (3_600.0, 7_200.0), (900.0, 7_200.0), (400.0, 3_600.0), (100.0, 600.0)])
KEYS = st.sampled_from([("k1",), ("k1", "k2"), ("k2", "k1"), ("k2",)])
LIVELY_KEYS = st.sampled_from([("k1",), ("k1", "k2"), ("k2", "k1")])
MINUTES = st.sampled_from([None, 5, 5.5, 10, 30, 120, 527_040])
BAD_MINUTES = st.sampled_from([0, -1, 4.999, 527_041, math.nan, math.inf, "ten", True])


@st.composite
def configs(draw: st.DrawFn) -> Config:
    silence, age = draw(LIMITS)
    renewal = draw(st.sampled_from([None, 60.0, 600.0, 3_600.0]))
    return Config(
        silence=silence,
        age=age,
        touch_given=draw(st.sampled_from([None, None, 0.0, 10.0, 30.0])),
        rolling=draw(st.sampled_from([True, True, True, False])),
        renewal=renewal,
        grace=draw(st.sampled_from([5.0, 30.0])),
        jwt=draw(st.sampled_from([10.0, 60.0, 300.0])),
        on_replay=draw(st.sampled_from(["end", "end", "refuse"])),
        keys=draw(LIVELY_KEYS),
        activity=draw(st.sampled_from(["request", "request", "user"])),
        by_subject=draw(st.sampled_from([False, False, True])),
        persistent=draw(st.sampled_from([False, False, True])),
        persistent_limits=draw(st.sampled_from([None, None, (None, 86_400.0), (1_800.0, 3_600.0)])),
    )


@dataclass
class Process:
    """One engine over the shared store, and the JWTs it has signed."""

    engine: Engine
    config: Config
    skew: float
    minted: dict[str, Jwt] = field(default_factory=dict)


@dataclass
class Ledger:
    """What really happened to a session, for the invariants: kept without any of the model's formulas."""

    born: float
    last_activity: float
    last_seen: float
    floor: float | None  # before this instant silence must not end it
    set_to: float | None  # the deadline that the last login(minutes), continue or extend asked for
    set_at: float
    silence: float | None
    age: float
    dead: bool = False


@dataclass(eq=False)
class Pending:
    """A request that has been opened and whose response has not started."""

    process: Process
    browser: Browser
    x: Exchange
    began: float
    now: float  # the same by the clock of the process
    session: Session
    token: Token | None
    jwt: Jwt | None
    kind: str
    method: str
    refused: bool
    answer: tuple[float | None, float]
    verdict: str = "ANONYMOUS"
    came: Held | None = None  # the session of the token that came, whatever its verdict
    current: Held | None = None  # the live session of this request, as the view sees it
    opened_with: Held | None = None
    version: int = 0
    used: bool = False
    logged_out: bool = False
    carries_on: bool = False  # the new session is a step-up of the one that came
    created: list[Held] = field(default_factory=list)
    copied: Held | None = None  # the one that came as it was when the first of them was made
    claims: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


class World:
    """Two processes, some browsers, and every session there ever was."""

    #: How many steps of each kind ran; the test asserts that none is missing.
    seen: ClassVar[Counter[str]] = Counter()
    skewed: ClassVar[bool] = False

    def __init__(self) -> None:
        self.stores: list[Any] = self.make_stores()  # one for each process, the same or on the same file
        self.time = 1_700_000_000.25
        self.processes: list[Process] = []
        self.browsers = [Browser() for _ in range(3)]
        self.held: dict[str, Held] = {}
        self.ledger: dict[str, Ledger] = {}
        self.answers: dict[str, list[tuple[float, tuple[float | None, float]]]] = {
            subject: [(-math.inf, (900.0, 7_200.0))] for subject in SUBJECTS
        }
        self.pending: list[Pending] = []
        self.epoch = -math.inf
        self.most_touch = 0.0

    def wait_until(self, instant: float) -> None:
        """Let time pass, but no request take as long as an ended record is kept."""
        latest = [p.began + RETENTION / 2 for p in self.pending]
        self.time = max(self.time, min([instant, *latest]))

    def make_stores(self) -> list[Any]:  # Any: a store, as Engine takes it
        return [MemoryStore()] * 2

    def count(self, what: str) -> None:
        type(self).seen[what] += 1

    def process(self, which: int, config: Config, skew: float) -> Process:
        def limits(subject: str, claims: Any) -> Limits:
            return Limits(*self.answers[subject][-1][1])

        given = config.persistent_limits
        settings = settings_of(
            config.keys,
            inactivity_timeout=config.silence,
            absolute_lifetime=config.age,
            touch_interval=config.touch_given,
            rolling=config.rolling,
            renewal_interval=config.renewal,
            renewal_grace=config.grace,
            jwt_lifetime=config.jwt,
            on_replay=config.on_replay,
            activity=config.activity,
            limits=limits if config.by_subject else None,
            persistent=config.persistent,
            persistent_limits=None if given is None else Limits(*given),
            ended_retention=RETENTION,
            jwt_claims=("tier",),
        )
        self.most_touch = max(self.most_touch, config.touch)
        assert settings.touch_interval == config.touch
        return Process(Engine(settings, self.stores[which], clock=lambda: self.time + skew), config, skew)

    def answer(self, subject: str) -> tuple[float | None, float]:
        return self.answers[subject][-1][1]

    def possible_answers(self, subject: str, config: Config) -> list[tuple[float | None, float]]:
        """L2: an answer of limits= may be touch_interval old."""
        if not config.by_subject:
            return [self.answer(subject)]
        history = self.answers[subject]
        young = [answer for (_, answer), (until, _) in itertools.pairwise(history) if until > self.time - config.touch]
        return [history[-1][1], *young]

    def hold_invariants(self, s: Held, p: Pending, verdict: str, counts: bool) -> None:
        """The issue's three invariants, from the ledger alone."""
        entry, config, now = self.ledger[s.id], p.process.config, p.now
        slack = abs(p.process.skew) + max(abs(q.skew) for q in self.processes)
        possible = [config.limits_of(s.persistent, a) for a in self.possible_answers(s.subject, config)]
        cuts = [silence for silence, _ in possible if silence is not None]
        if verdict == "ACTIVE":
            assert not entry.dead, "resurrected"
            assert now < entry.born + min(entry.age, max(age for _, age in possible)) + slack, "alive past its age"
            last = max(entry.last_seen, entry.set_at)
            if entry.silence is not None:
                latest = max(entry.last_activity + entry.silence + self.most_touch, entry.set_to or 0.0)
                assert now < latest + slack, "alive in silence"
            if len(cuts) == len(possible) and (entry.silence is None or max(cuts) < entry.silence):
                assert now < last + max(cuts) + config.touch + slack, "alive in silence after a cut"
            if counts:
                entry.last_seen = max(entry.last_seen, now)
                if config.rolling:
                    entry.last_activity = max(entry.last_activity, now)
                    longest = [silence for silence in (entry.silence, *cuts) if silence is not None]
                    if longest and entry.floor is not None:
                        ages = min(entry.age, *(age for _, age in possible))
                        entry.floor = max(entry.floor, min(now + min(longest), entry.born + ages))
        elif verdict == "INACTIVITY_TIMEOUT" and not entry.dead:
            # A process with a longer touch_interval may have left its last activity unrecorded for that much longer.
            unseen = max(0.0, self.most_touch - config.touch)
            floors = [entry.last_seen + cut - unseen for cut in cuts if entry.silence is None or cut < entry.silence]
            if entry.floor is not None:
                floors.append(entry.floor)
            assert now >= min(floors) - slack, "ended before its silence was long enough"
        elif verdict == "LIFETIME_EXCEEDED" and not entry.dead:
            assert now >= entry.born + min(entry.age, *(age for _, age in possible)) - slack, "ended before its age"
        if verdict in ("INACTIVITY_TIMEOUT", "LIFETIME_EXCEEDED", "REVOKED"):
            entry.dead = True
        if verdict == "REPLAYED" and config.on_replay == "end":
            entry.dead = True

    def assert_forgettable(self, s: Held, now: float) -> None:
        """UNKNOWN is honest only when the retention of the end has passed (L16)."""
        ends = [s.dead_at, s.recorded]
        for q in self.processes:
            ends += model.in_force(s, q.config, q.config.limits_of(s.persistent, self.answer(s.subject)))
        end = min(at for at in ends if at is not None)
        assert max(now, self.time) >= end + RETENTION - 60, f"{s} was forgotten at {now}"
        s.die("UNKNOWN", end)
        self.ledger[s.id].dead = True

    def die(self, s: Held, at: float | None = None) -> None:
        """Somebody ended it; a slow request does so at the instant it was opened (L1)."""
        s.die("REVOKED", self.time if at is None else at)
        self.ledger[s.id].dead = True

    def record(self, s: Held) -> Any:
        return self.stores[0].load(key_of(s.id))

    def is_rubbish(self, s: Held) -> bool:
        """Whether the store has dropped the record or may do so at any time (L16); ended or not, it opens nothing."""
        record = self.record(s)
        return record is None or record.keep_until <= self.time + 60

    def compare_with_store(self, s: Held) -> None:
        record = self.record(s)
        if record is None:
            self.assert_forgettable(s, self.time + max(q.skew for q in self.processes))
            return
        if s.dead == "UNKNOWN":
            return
        if s.dead is not None:
            assert record.ended_at is not None, f"{s} lives in the store"
            assert not record.claims
            assert not record.data
            return
        assert record.ended_at is None, f"{s} ended in the store"
        stored = (
            record.authenticated_at,
            record.created_at,
            (record.limits.inactivity_timeout, record.limits.absolute_lifetime),
            record.last_seen_at,
            record.inactivity_deadline,
            record.generation,
            record.renewed_at,
            record.presented_at,
            record.fresh_at,
            record.persistent,
            dict(record.claims),
            dict(record.data),
        )
        expected = (
            s.authenticated_at,
            s.created_at,
            s.limits,
            s.seen,
            s.recorded,
            s.generation,
            s.renewed_at,
            s.presented_at,
            s.fresh_at,
            s.persistent,
            s.claims,
            s.data,
        )
        assert stored == expected, f"stored {stored}, model {expected}"
