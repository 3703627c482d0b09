"""The quiet path against the general one: the same life twice, once as it is and once with `quiet` always saying no."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from model_browser import JWT, TOKEN, Browser, Facts, closed, opened, read_jwt, read_token, settings_of

from session_middleware.core.exchange import Exchange, RouteRules
from session_middleware.core.record import SessionRecord
from session_middleware.engine import Engine
from session_middleware.runtime import run_sync
from session_middleware.session import Session
from session_middleware.settings import Limits
from session_middleware.stores.memory import MemoryStore

START = 1_700_000_000.25
WRITES = ("create", "touch", "save", "renew", "end")
OPEN = RouteRules(policy="optional")
ROUTES = [
    *[RouteRules()] * 6,
    OPEN,
    RouteRules(touch=False),
    RouteRules(policy="required", fresh_within=300.0),
    RouteRules(policy="optional", touch=False, sets_cookies=False),
]
HEADERS: list[dict[str, str]] = [{}, {}, {}, {}, {}, {}, {"sec_purpose": "prefetch"}, {"session_activity": "none"}]


class Counting(MemoryStore):
    """A MemoryStore that counts calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:  # Any: methods by name
        if name in (*WRITES, "load", "list"):
            self.calls[name] += 1
        return super().__getattribute__(name)

    @property
    def writes(self) -> int:
        return sum(self.calls[name] for name in WRITES)


class Watched(Engine):
    """An engine that says how often the quiet path answered, and fails if it wrote."""

    hits = 0

    def quiet(self, x: Exchange) -> bool:
        before = Counter(self.store.calls)
        answered = super().quiet(x)
        assert self.store.calls == before, "the quiet path called the store"
        self.hits += answered
        return answered


class Reading(Engine):
    """An engine whose store has no `holds`: it reads the record each time, and recognises it."""

    hits = 0

    def quiet(self, x: Exchange) -> bool:
        return False

    def _is_as_before(self, *found: Any) -> bool:  # Any: as the engine's
        answered = super()._is_as_before(*found)
        self.hits += answered
        return answered


class General(Engine):
    """An engine without a quiet path."""

    def quiet(self, x: Exchange) -> bool:
        return False

    def _is_as_before(self, *found: Any) -> bool:  # Any: as the engine's
        return False


class Life:
    """One app, driven by decisions that another life may repeat; ids differ, so they are told by order of birth."""

    def __init__(self, kind: type[Engine], config: dict[str, Any]) -> None:
        self.kind, self.config = kind, dict(config)
        self.time = START
        self.cut: Limits | None = None
        self.store = Counting()
        self.engines = [self.process(), self.process()]
        self.browsers = [Browser(), Browser()]
        self.sent_away: list[Browser] = []
        self.born: dict[str, int] = {}
        self.hits = 0

    def process(self) -> Engine:
        given = dict(self.config)
        by_subject = given.pop("by_subject")

        def limits(subject: str, claims: Any) -> Limits:  # Any: JSON values
            return self.cut or Limits(900, 7_200)

        set_up = settings_of(("k1",), limits=limits if by_subject else None, **given)
        return self.kind(set_up, self.store, clock=lambda: self.time)

    def collect(self, engine: Engine) -> None:
        self.hits += getattr(engine, "hits", 0)

    def burst(self, draw: random.Random) -> list[Any]:
        """Some requests of one browser to one process, a little apart."""
        engine, browser = draw.choice(self.engines), draw.choice(self.browsers)
        seen = []
        for _ in range(draw.randrange(5, 15)):
            seen.append(self.request(draw, engine, browser))
            self.time += draw.choice([0.0, 0.25, 1.0, 3.0, 10.0, 30.0])
        return seen

    def request(self, draw: random.Random, engine: Engine, browser: Browser) -> Any:
        """Make a request and return all that can be seen of it."""
        rules, headers, method = draw.choice(ROUTES), draw.choice(HEADERS), draw.choice(["GET", "GET", "POST"])
        verb = draw.choice([None] * 60 + ["login", "logout", "extend", "claims", "data", "step_up"])
        if verb is None and (not browser.jar or browser in self.sent_away):
            rules, method, verb = OPEN, "POST", "login"
            self.sent_away = []
        fate = draw.choice(["answered"] * 9 + ["lost"])
        shortly = draw.random() < 0.5  # as an adapter may, before it makes a coroutine
        minutes = draw.choice([5, 10, 30])
        reads_before = self.store.writes
        x, refusal = engine.begin(Facts(browser.cookies(), method, **headers)), None
        if not (shortly and engine.open_quietly(x, rules)):
            refusal = run_sync(engine.open(x, rules))
        session = Session(engine, x)
        if refusal is not None:
            self.sent_away = [browser]
        if refusal is None and (verb == "login" or x.is_active):
            if verb == "login":
                session.login("alice", minutes=draw.choice([None, minutes]))
            elif verb == "logout":
                session.logout()
            elif verb == "extend":
                session.extend(minutes)
            elif verb == "claims":
                session.update_claims(tier=str(minutes))
            elif verb == "data":
                session.data["n"] = minutes
            elif verb == "step_up":
                session.step_up([{"type": "otp"}])
        shown = (
            x.verdict,
            refusal is None or refusal.reason,
            x.protected,
            session.subject,
            session.inactivity_deadline,
            session.absolute_deadline,
            session.is_fresh(300),
            dict(session.claims),
            engine.vary(x),
        )
        lines = closed(engine, x)
        token = read_token(lines[TOKEN]) if lines.get(TOKEN) else None
        if token is not None:
            self.born.setdefault(token.id, len(self.born))
        jwt = read_jwt(lines[JWT]) if lines.get(JWT) else None
        sent = (
            {name: value is None for name, value in lines.items()},
            token and (self.born[token.id], token.generation),
            jwt and (self.born[jwt.id], jwt.expires, jwt.claims["iat"], jwt.claims.get("tier")),
        )
        if fate == "answered":
            browser.take(lines)
        return shown, sent, self.store.writes - reads_before

    def step(self, draw: random.Random) -> Any:
        """Do the next thing and return what can be seen."""
        choice = draw.random()
        if choice < 0.62:
            return self.burst(draw)
        if choice < 0.82:
            self.wait_until_it_matters(draw)
        elif choice < 0.94:
            self.time += draw.choice([29.75, 30.0, 45.0, 59.75, 60.0, 150.0, 299.75, 300.0, 600.0, 899.75, 900.0])
        elif choice < 0.96:
            self.browsers[0].jar = dict(self.browsers[1].jar)
        elif choice < 0.98:
            self.cut = draw.choice([None, Limits(300, 7_200), Limits(900, 1_800)])
        else:
            which = draw.randrange(2)
            self.config["inactivity_timeout"] = draw.choice([300, 900])
            self.collect(self.engines[which])
            self.engines[which] = self.process()
        return None

    def wait_until_it_matters(self, draw: random.Random) -> None:
        """Wait until shortly before something is due, or until it is."""
        instants = set()
        for record in self.store._records.values():
            if record.ended_at is None:
                instants |= {record.authenticated_at + self.config.get("absolute_lifetime", 0.0)}
                instants |= {record.renewed_at + (self.config.get("renewal_interval") or 0.0)}
                instants |= {record.inactivity_deadline or 0.0}
        before = draw.choice([0.0, 0.25, 1.0, 10.0, 20.0])
        later = sorted(at - before for at in instants if at - before > self.time)
        if later:
            self.time = later[draw.randrange(min(3, len(later)))]

    def records(self) -> list[tuple[Any, ...]]:
        """Return what the store must hold, ids and keys left out; rubbish is swept in an order that random keys decide."""
        names = [name for name in SessionRecord.__slots__ if name not in ("key", "public_id", "before")]
        held = self.store._records.values()
        return [tuple(getattr(record, name) for name in names) for record in held if record.keep_until > self.time]


CONFIGS = st.fixed_dictionaries(
    {
        "inactivity_timeout": st.sampled_from([None, 300, 900]),
        "absolute_lifetime": st.sampled_from([1_800, 7_200]),
        "touch_interval": st.sampled_from([None, 30, 0]),
        "rolling": st.sampled_from([True, True, False]),
        "renewal_interval": st.sampled_from([60, 600, None]),
        "renewal_grace": st.sampled_from([5, 30]),
        "jwt_lifetime": st.sampled_from([300, 3_600, 60]),
        "on_replay": st.sampled_from(["end", "refuse"]),
        "activity": st.sampled_from(["request", "request", "user"]),
        "persistent": st.booleans(),
        "jwt_claims": st.just(("tier",)),
        "by_subject": st.booleans(),
    }
)


def compare(kind: type[Engine], config: dict[str, Any], seed: int, steps: int) -> int:
    """Live the same life on both paths; return how often the quiet path answered."""
    config = {**config, "touch_interval": 30 if config["inactivity_timeout"] is None else config["touch_interval"]}
    quiet, general = Life(kind, config), Life(General, config)
    one, two = random.Random(seed), random.Random(seed)
    for number in range(steps):
        seen, expected = quiet.step(one), general.step(two)
        assert seen == expected, f"step {number}"
        assert quiet.records() == general.records(), f"step {number}"
    assert quiet.store.writes == general.store.writes
    for engine in quiet.engines:
        quiet.collect(engine)
    return quiet.hits


def run(kind: type[Engine], examples: int, steps: int) -> int:
    hits = 0

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=not os.environ.get("SESSION_TESTS_RANDOM"),
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],  # config and seed say all; to shrink a seed is to throw other dice
    )
    @given(config=CONFIGS, seed=st.integers(0, 2**32))
    def lives(config: dict[str, Any], seed: int) -> None:
        nonlocal hits
        hits += compare(kind, config, seed, steps)

    lives()
    return hits


@pytest.mark.parametrize("kind", [Watched, Reading])
def test_the_quiet_path_is_the_general_one(kind: type[Engine]) -> None:
    """Verdict, deadlines, cookies, records and writes are the same, and the quiet path did answer."""
    assert run(kind, examples=20, steps=40) > 200


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Watched, Reading])
def test_the_quiet_path_is_the_general_one_in_long_lives(kind: type[Engine]) -> None:
    """The same with many more steps."""
    assert run(kind, examples=60, steps=200) > 5_000


def test_a_poll_within_the_touch_interval_asks_the_store_nothing() -> None:
    """Design §6: a request for which nothing is due neither reads nor writes, and sets no cookie."""
    life = Life(Watched, {"by_subject": False})
    engine, browser = life.engines[0], life.browsers[0]
    x, _ = opened(engine, Facts("", "POST"), RouteRules(policy="optional"))
    Session(engine, x).login("alice")
    browser.take(closed(engine, x))
    life.time += 61
    browser.take(closed(engine, opened(engine, Facts(browser.cookies()), RouteRules())[0]))
    before = Counter(life.store.calls)
    for _ in range(50):
        life.time += 1
        x, refusal = opened(engine, Facts(browser.cookies()), RouteRules())
        assert (refusal, closed(engine, x)) == (None, {})
    assert life.store.calls == before
    assert engine.hits == 50
