"""The rules L1-L14 and L25-L26 a second time, small and slow, written from their text and not from `core/lifetime.py`.

Every value the machine feeds in is a multiple of 1/1024 s, so that sums are exact and two ways of adding must agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

NEVER = math.inf
STORED_REASONS = {"inactivity_timeout", "lifetime_exceeded", "replayed"}
DAY = 86_400.0


@dataclass(frozen=True)
class Config:
    """How one process is configured, as far as the rules ask."""

    silence: float | None = 900.0
    age: float = 7_200.0
    touch_given: float | None = None
    rolling: bool = True
    renewal: float | None = 3_600.0
    grace: float = 30.0
    jwt: float = 300.0
    on_replay: str = "end"
    keys: tuple[str, ...] = ("k1",)
    activity: str = "request"
    by_subject: bool = False  # limits= is given
    persistent: bool = False
    persistent_limits: tuple[float | None, float] | None = None

    @property
    def touch(self) -> float:
        """L5: the default is min(60 s, inactivity_timeout / 20)."""
        if self.touch_given is not None:
            return self.touch_given
        return 60.0 if self.silence is None else min(60.0, self.silence / 20)

    def limits_of(self, persistent: bool, answer: tuple[float | None, float]) -> tuple[float | None, float]:
        """What is configured for a session: the function's answer, else the settings' (L2, L19)."""
        if self.by_subject:
            return answer
        if persistent and self.persistent_limits is not None:
            return self.persistent_limits
        return self.silence, self.age


@dataclass
class Held:
    """One session as the rules see it."""

    id: str
    subject: str
    created_at: float
    authenticated_at: float
    limits: tuple[float | None, float]
    seen: float
    recorded: float | None
    renewed_at: float
    generation: int = 0
    presented_at: float | None = None
    persistent: bool = False
    fresh_at: float | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    dead: str | None = None
    dead_at: float | None = None
    version: int = 0  # how often it was changed, so that a slow request can tell that others were here
    before: tuple[str, ...] = ()  # the ids by which the browser knew it before step-ups and logins of the same user
    replaced: bool = False  # it ended because it went on under another id

    def copy(self) -> Held:
        return replace(self, claims=dict(self.claims), data=dict(self.data))

    def die(self, verdict: str, at: float) -> None:
        """L13: only the first end counts."""
        if self.dead is None:
            self.dead, self.dead_at = verdict, at
            self.version += 1


def least(a: float | None, b: float | None) -> float | None:
    """The smaller of two limits of which None is none."""
    given = [limit for limit in (a, b) if limit is not None]
    return min(given) if given else None


def begun(
    id: str,
    subject: str,
    config: Config,
    now: float,
    answer: tuple[float | None, float],
    *,
    persistent: bool,
    minutes: float | None,
    limits: tuple[float | None, float] | None,
) -> Held:
    """L2, L3, L5, L12: a login, with its exact first deadline."""
    configured = config.limits_of(persistent, answer)
    if limits is not None:
        configured = least(configured[0], limits[0]), min(configured[1], limits[1])
    silence, age = configured
    first = now + minutes * 60 if minutes is not None else None if silence is None else now + silence
    if first is not None:
        first = min(first, now + age)
    return Held(id, subject, now, now, configured, now, first, now, persistent=persistent)


def silence_in_force(s: Held, configured: tuple[float | None, float]) -> float | None:
    return least(s.limits[0], configured[0])


def in_force(s: Held, config: Config, configured: tuple[float | None, float]) -> tuple[float | None, float]:
    """L2, L3: the two deadlines that are enforced and shown."""
    absolute = s.authenticated_at + min(s.limits[1], configured[1])
    silence = s.recorded
    stored, now_configured = s.limits[0], configured[0]
    if now_configured is not None and (stored is None or now_configured < stored):
        cut = s.seen + now_configured + config.touch
        silence = cut if silence is None else min(silence, cut)
    return silence, absolute


def judged(s: Held, config: Config, configured: tuple[float | None, float], generation: int, now: float) -> str:
    """L1, L11, L16: the verdict on a good token; may end the session."""
    if s.dead is not None:
        return s.dead
    silence, absolute = in_force(s, config, configured)
    if now >= min(absolute, NEVER if silence is None else silence):
        verdict = "INACTIVITY_TIMEOUT" if silence is not None and silence < absolute else "LIFETIME_EXCEEDED"
        s.die(verdict, now)
        return verdict
    late = s.presented_at is not None and now >= s.presented_at + config.grace
    if generation < s.generation - 1 or (generation == s.generation - 1 and late):
        if config.on_replay == "end":
            s.die("REPLAYED", now)
        return "REPLAYED"
    return "ACTIVE"


def seen_active(
    s: Held,
    config: Config,
    configured: tuple[float | None, float],
    generation: int,
    now: float,
    *,
    activity: bool,
    writes: bool,
) -> None:
    """What an ACTIVE request does to the session when it opens: L4, L5, L6, L11."""
    before = replace(s, version=0)
    if writes and generation == s.generation and generation > 0 and s.presented_at is None:
        s.presented_at = now
    if activity:
        touched(s, config, configured, now)
        if config.renewal is not None and generation == s.generation and now - s.renewed_at >= config.renewal:
            s.generation, s.renewed_at, s.presented_at = s.generation + 1, now, None
    if replace(s, version=0) != before:
        s.version += 1


def touched(s: Held, config: Config, configured: tuple[float | None, float], now: float) -> None:
    """L4, L5."""
    silence = silence_in_force(s, configured)
    absolute = s.authenticated_at + min(s.limits[1], configured[1])
    moves = config.rolling and silence is not None and s.recorded is not None
    beyond = moves and min(now + silence, absolute) > s.recorded  # type: ignore[operator]
    if now - s.seen >= config.touch or beyond:
        s.seen = max(s.seen, now)
        if moves:
            s.recorded = max(s.recorded, min(now + silence + config.touch, absolute))  # type: ignore[operator, type-var]


def extended(s: Held, configured: tuple[float | None, float], now: float, seconds: float) -> None:
    """L7: exactly now + so much, capped by the absolute deadline; an explicit verb is seen."""
    s.recorded = min(now + seconds, s.authenticated_at + min(s.limits[1], configured[1]))
    s.seen = max(s.seen, now)
    s.version += 1


def stepped_up(s: Held, id: str, now: float) -> Held:
    """L12: a new id and freshness; limits, deadlines and what is remembered stay."""
    return replace(
        s.copy(),
        id=id,
        generation=0,
        renewed_at=now,
        presented_at=None,
        fresh_at=now,
        dead=None,
        dead_at=None,
        version=0,
    )


def jwt_end(now: float, config: Config, deadlines: tuple[float | None, float]) -> int:
    """L9: jwt_lifetime from now, never past the deadline in force; a NumericDate in whole seconds."""
    return math.floor(min(now + config.jwt, *(d for d in deadlines if d is not None)))


def jwt_due(expires: int, now: float, config: Config, deadlines: tuple[float | None, float]) -> bool:
    """L9: less than half is left and a new one would live longer, or it would outlive the deadline, or it is over."""
    ends = min(d for d in deadlines if d is not None)
    if expires <= now or expires > ends:
        return True
    return expires - now < config.jwt / 2 and jwt_end(now, config, deadlines) > expires
