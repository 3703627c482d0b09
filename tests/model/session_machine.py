"""The state machine: random lives of sessions in two processes, each step compared with `lifetime_model`."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import lifetime_model as model
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lifetime_model import Config
from model_browser import JWT
from model_requests import Requests
from model_world import (
    BAD_MINUTES,
    HEADERS,
    KEYS,
    LIMITS,
    MINUTES,
    RETENTION,
    ROUTES,
    SUBJECTS,
    TICK,
    configs,
)

from session_middleware.sessions import Sessions
from session_middleware.stores.sqlite import SQLiteStore


class SessionLives(Requests, RuleBasedStateMachine):
    """Random lives on a MemoryStore, both clocks equal."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        Requests.__init__(self)

    # --- processes and time ------------------------------------------------------------------------------------

    @initialize(
        one=configs(), two=configs(), same=st.booleans(), skew=st.sampled_from([-30.0, -7.25, 0.5, 12.75, 30.0])
    )
    def start(self, one: Config, two: Config, same: bool, skew: float) -> None:
        self.processes = [
            self.process(0, one, 0.0),
            self.process(1, one if same else two, skew if self.skewed else 0.0),
        ]
        for who, subject in enumerate(("alice", "alice", "bob")):
            self.sign_in(who % 2, who, "answered", subject=subject)

    @rule(which=st.integers(0, 1), config=configs(), keys=KEYS, limits=st.none() | LIMITS)
    def deploy(
        self, which: int, config: Config, keys: tuple[str, ...], limits: tuple[float | None, float] | None
    ) -> None:
        """Everything anew, or only a cut or a raise."""
        if limits is None:
            self.redeploy(which, config, keys)
        else:
            self.change_limits(which, limits)

    def redeploy(self, which: int, config: Config, keys: tuple[str, ...]) -> None:
        self.count("redeploy")
        old = self.processes[which]
        self.processes[which] = self.process(which, Config(**{**config.__dict__, "keys": keys}), old.skew)

    def change_limits(self, which: int, limits: tuple[float | None, float]) -> None:
        """A cut or a raise, all else equal."""
        old = self.processes[which]
        changed = {**old.config.__dict__, "silence": limits[0], "age": limits[1]}
        if changed["touch_given"] is None and limits[0] is None:
            changed["touch_given"] = 60.0
        self.count("change_limits")
        self.processes[which] = self.process(which, Config(**changed), old.skew)

    @precondition(lambda self: not self.pending)
    @rule(subject=st.sampled_from(SUBJECTS), limits=LIMITS)
    def change_limits_of_one(self, subject: str, limits: tuple[float | None, float]) -> None:
        self.count("change_limits_of_one")
        self.answers[subject].append((self.time, limits))

    @rule(steps=st.integers(1, 200_000) | st.integers(1, 4_000_000))
    def pause(self, steps: int) -> None:
        self.wait_until(self.time + steps * TICK)

    def pause_until_it_matters(self, pick: int, off: float) -> None:
        """Wait for an instant at which some rule changes its mind."""
        instants = set()
        for s in self.held.values():
            if s.dead is not None:
                instants.add((s.dead_at or 0.0) + RETENTION)
                continue
            for process in self.processes:
                config = process.config
                silence, absolute = model.in_force(s, config, config.limits_of(s.persistent, self.answer(s.subject)))
                instants |= {absolute, s.seen + config.touch, s.renewed_at + (config.renewal or 0.0)}
                if silence is not None:
                    instants |= {silence, silence - config.touch}
                if s.presented_at is not None:
                    instants.add(s.presented_at + config.grace)
                jwt = process.minted.get(s.id)
                if jwt is not None:
                    instants |= {jwt.expires, jwt.expires - config.jwt / 2}
        later = sorted(at + off for at in instants if at + off > self.time)[:8]
        if later:
            self.count("pause_until_it_matters")
            self.wait_until(later[pick % len(later)])

    # --- requests ----------------------------------------------------------------------------------------------

    @rule(
        where=st.integers(0, 1),
        who=st.integers(0, 2),
        kind=st.sampled_from(["plain"] * 4 + list(ROUTES)),
        method=st.sampled_from(["GET", "GET", "GET", "POST", "OPTIONS"]),
        headers=st.sampled_from(["none"] * 3 + list(HEADERS)),
        fate=st.sampled_from(["answered"] * 6 + ["lost", "raises"]),
    )
    def request(self, where: int, who: int, kind: str, method: str, headers: str, fate: str) -> None:
        self.finish(self.begin(where, who, kind, method, headers), fate)

    @rule(
        where=st.integers(0, 1),
        who=st.integers(0, 2),
        quarters=st.integers(1, 400) | st.integers(1, 12),
        times=st.integers(1, 6),
    )
    def keep_busy(self, where: int, who: int, quarters: int, times: int) -> None:
        for _ in range(times):
            self.wait_until(self.time + quarters / 4)
            self.finish(self.begin(where, who, "plain", "POST", "none"), "answered")

    @rule(
        where=st.integers(0, 1),
        who=st.integers(0, 2),
        pick=st.integers(0, 10_000),
        off=st.sampled_from([0.0, 0.0, -TICK, TICK]),
        kind=st.sampled_from(["plain", "plain", "no_touch"]),
    )
    def visit_when_it_matters(self, where: int, who: int, pick: int, off: float, kind: str) -> None:
        self.pause_until_it_matters(pick, off)
        self.finish(self.begin(where, who, kind, "POST", "none"), "answered")

    @rule(
        where=st.integers(0, 1),
        who=st.integers(0, 2),
        subject=st.sampled_from(SUBJECTS),
        persistent=st.sampled_from([None, None, True, False]),
        minutes=MINUTES,
        limits=st.one_of(st.none(), st.none(), LIMITS),
        fate=st.sampled_from(["answered"] * 6 + ["lost", "raises"]),
    )
    def login_request(self, where: int, who: int, fate: str, **arguments: Any) -> None:
        self.sign_in(where, who, fate, **arguments)

    def sign_in(self, where: int, who: int, fate: str, **arguments: Any) -> None:
        p = self.begin(where, who, "optional", "POST", "none")
        self.login(p, **arguments)
        self.finish(p, fate)

    VERBS: ClassVar[Any] = st.one_of(
        st.tuples(st.just("login"), st.sampled_from(SUBJECTS)),
        st.tuples(st.just("extend"), MINUTES),
        st.tuples(st.just("extend"), BAD_MINUTES),
        st.tuples(st.just("continue_"), st.sampled_from([None, None, 5, 10, 60, 3])),
        st.tuples(st.just("step_up"), st.none()),
        st.tuples(st.just("claims"), st.sampled_from(["gold", "silver", None])),
        st.tuples(st.just("data"), st.integers(0, 3)),
        st.tuples(st.just("end_others"), st.none()),
        st.tuples(st.just("logout"), st.none()),
    )

    @rule(
        where=st.integers(0, 1),
        who=st.integers(0, 2),
        kind=st.sampled_from(["plain", "plain", "optional", "no_touch", "exempt", "fresh"]),
        verbs=st.lists(VERBS, min_size=1, max_size=3),
        fate=st.sampled_from(["answered"] * 6 + ["lost", "raises"]),
    )
    def request_with_verbs(self, where: int, who: int, kind: str, verbs: list[tuple[str, Any]], fate: str) -> None:
        p = self.begin(where, who, kind, "POST", "none")
        for verb, argument in verbs:
            self.act(p, verb, argument)
        self.finish(p, fate)

    @rule(
        where=st.integers(0, 1),
        elsewhere=st.integers(0, 1),
        who=st.integers(0, 2),
        first=VERBS,
        second=VERBS,
        acts_first=st.booleans(),
        gap=st.sampled_from([0.0, 1.0, 65.0]),
    )
    def two_tabs(
        self, where: int, elsewhere: int, who: int, first: Any, second: Any, acts_first: bool, gap: float
    ) -> None:
        """Two requests of one browser at once, each doing something to the session."""
        slow = self.begin(where, who, "plain", "POST", "none")
        self.pending.append(slow)
        if acts_first:
            self.act(slow, *first)
        self.wait_until(self.time + gap)
        quick = self.begin(elsewhere, who, "plain", "POST", "none")
        self.act(quick, *second)
        self.finish(quick, "answered")
        if not acts_first:
            self.act(slow, *first)
        self.pending.remove(slow)
        self.finish(slow, "answered")

    @rule(
        where=st.integers(0, 1),
        elsewhere=st.integers(0, 1),
        who=st.integers(0, 2),
        thief=st.integers(0, 2),
        fate=st.sampled_from(["answered", "answered", "lost"]),
        unseen=st.sampled_from([0.0, 1.0, 20.0, 100.0]),
        off=st.sampled_from([-TICK, 0.0, -1.0, 1.0]),
    )
    def renewal_beside_a_thief(
        self, where: int, elsewhere: int, who: int, thief: int, fate: str, unseen: float, off: float
    ) -> None:
        """Steal, wait for a renewal, present the successor a while later, then come with the old token (L11)."""
        self.steal(thief, who)
        config = self.processes[where].config
        self.wait_until(self.time + (config.renewal or 60.0))
        self.finish(self.begin(where, who, "plain", "POST", "none"), fate)
        self.wait_until(self.time + unseen)
        self.finish(self.begin(elsewhere, who, "plain", "POST", "none"), "answered")
        self.wait_until(self.time + config.grace + off)
        self.finish(self.begin(where, thief, "plain", "POST", "none"), "answered")

    @precondition(lambda self: len(self.pending) < 3)
    @rule(
        where=st.integers(0, 1),
        who=st.integers(0, 2),
        kind=st.sampled_from(["plain", "plain", "optional", "no_touch", "exempt"]),
    )
    def slow_request_begins(self, where: int, who: int, kind: str) -> None:
        self.pending.append(self.begin(where, who, kind, "POST", "none"))

    @precondition(lambda self: self.pending)
    @rule(pick=st.integers(0, 2), verb=VERBS)
    def slow_request_acts(self, pick: int, verb: tuple[str, Any]) -> None:
        self.act(self.pending[pick % len(self.pending)], *verb)

    @precondition(lambda self: self.pending)
    @rule(pick=st.integers(0, 2), fate=st.sampled_from(["answered"] * 4 + ["lost", "raises"]))
    def slow_request_ends(self, pick: int, fate: str) -> None:
        self.finish(self.pending.pop(pick % len(self.pending)), fate)

    @rule(thief=st.integers(0, 2), victim=st.integers(0, 2))
    def steal(self, thief: int, victim: int) -> None:
        self.browsers[thief].jar = dict(self.browsers[victim].jar)

    @rule(who=st.integers(0, 2), other=st.integers(0, 2))
    def mix(self, who: int, other: int) -> None:
        """Somebody else's JWT beside one's own token, or none."""
        jar = self.browsers[who].jar
        jar.pop(JWT, None)
        if JWT in self.browsers[other].jar and who != other:
            jar[JWT] = self.browsers[other].jar[JWT]

    # --- from outside a request --------------------------------------------------------------------------------

    @rule(
        how=st.sampled_from(["all", "spare", "one", "before"]),
        where=st.integers(0, 1),
        subject=st.sampled_from(SUBJECTS),
        pick=st.integers(0, 99),
        ago=st.sampled_from([5_000.0, 1_000.0, 10.0, 0.0]),
    )
    def end_from_outside(self, how: str, where: int, subject: str, pick: int, ago: float) -> None:
        if how == "one":
            self.end_one(where, pick)
        elif how == "before":
            self.end_before(where, ago)
        else:
            self.end_all(where, subject, how == "spare")

    def end_all(self, where: int, subject: str, spare: bool) -> None:
        mine = [s for s in self.held.values() if s.subject == subject and s.dead is None]
        kept = mine[0].id if spare and mine else None
        Sessions(self.processes[where].engine).end_all(subject, except_id=kept)
        for s in mine:
            if kept not in (s.id, *s.before):  # what goes on from it is not another session (L12)
                self.die(s)
        self.count("end_all")

    def end_one(self, where: int, pick: int) -> None:
        if self.held:
            s = list(self.held.values())[pick % len(self.held)]
            kept = not self.is_rubbish(s)
            ended = Sessions(self.processes[where].engine).end(s.id)
            assert s.dead is None or s.replaced or not (ended and kept), "ended twice"
            if s.dead is None:
                self.die(s)
            elif s.replaced:
                self.gone_on_ends(s, self.processes[where].engine.clock())
            self.count("end_one")

    def end_before(self, where: int, ago: float) -> None:
        instant = self.time - ago
        Sessions(self.processes[where].engine).end_before(instant)
        self.epoch = max(self.epoch, instant)
        for s in self.held.values():
            if s.authenticated_at < self.epoch and s.dead is None:
                self.die(s)
        self.count("end_before")

    @invariant()
    def the_dead_stay_dead(self) -> None:
        """Whatever happens, no record that has ended is alive in the store (L13)."""
        for s in self.held.values():
            if s.dead is not None:
                record = self.record(s)
                assert self.is_rubbish(s) or record.ended_at is not None, f"{s} was resurrected"


class SkewedLives(SessionLives):
    """The clock of the second process is wrong, within clock_skew (L1)."""

    seen: ClassVar[Counter[str]] = Counter()
    skewed = True


class SQLiteLives(SessionLives):
    """Random lives on a SQLite file that two processes have opened."""

    seen: ClassVar[Counter[str]] = Counter()

    def make_stores(self) -> list[Any]:  # Any: a store, as Engine takes it
        self.folder = tempfile.TemporaryDirectory()
        return [SQLiteStore(Path(self.folder.name) / "sessions.db") for _ in range(2)]

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()
