"""What a view does with its session, done to the engine and to the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lifetime_model as model
from lifetime_model import Held
from model_world import Ledger, Pending, World

from session_middleware.core.lifetime import recorded_end
from session_middleware.errors import SessionError, SettingsError
from session_middleware.runtime import run_sync
from session_middleware.settings import Limits


class Verbs(World):
    def act(self, p: Pending, verb: str, argument: Any) -> None:
        if p.refused:
            return
        if not p.used:
            _ = p.session.verdict  # a view on an exempt route uses the session: it is opened, and that is no activity
            self.judge(p, activity=False)
        self.count(verb)
        getattr(self, verb)(p, argument)

    def login(
        self,
        p: Pending,
        subject: str,
        persistent: bool | None = None,
        minutes: float | None = None,
        limits: tuple[float | None, float] | None = None,
    ) -> None:
        given = {"tier": "new"} if limits else {}
        p.session.login(
            subject,
            claims=given,
            persistent=persistent,
            minutes=minutes,
            limits=None if limits is None else Limits(*limits),
        )
        config = p.process.config
        assert p.session.id is not None
        assert p.session.id not in self.held, "an id was used twice (L12)"
        s = model.begun(
            p.session.id,
            subject,
            config,
            p.now,
            self.answer(subject),
            persistent=config.persistent if persistent is None else persistent,
            minutes=minutes,
            limits=limits,
        )
        old = p.current
        if old is not None and old.subject == subject:
            s.created_at = old.created_at
            s.claims = {name: value for name, value in {**old.claims, **p.claims}.items() if value is not None}
            s.data = {**old.data, **p.data}
        s.claims.update(given)
        p.claims, p.data = {}, {}
        if old is not None and old.dead is not None:
            record = self.record(s)
            s.claims, s.data = dict(record.claims), dict(record.data)  # what becomes of them no rule says
        self.born(p, s, by_step_up=False)
        self.shown(p, s)

    def step_up(self, p: Pending, _: None) -> None:
        if self.refuses(p, lambda: p.session.step_up([{"type": "otp"}])):
            return
        old = p.current
        assert old is not None
        assert p.session.id is not None
        s = model.stepped_up(old, p.session.id, p.now)
        s.claims, p.claims = {name: v for name, v in {**s.claims, **p.claims}.items() if v is not None}, {}
        s.data = {**s.data, **p.data}
        p.data = {}
        self.born(p, s, by_step_up=True)
        self.shown(p, s)

    def born(self, p: Pending, s: Held, *, by_step_up: bool) -> None:
        self.held[s.id] = s
        old = p.current
        if old is not None and (by_step_up or old.subject == s.subject):
            s.before = old.before if old in p.created else (*old.before, old.id)
        if p.created and old is p.created[-1]:
            self.die(old, p.now)  # nobody ever held its token
            p.carries_on = p.carries_on and by_step_up
        else:
            p.carries_on = by_step_up
            p.copied = None if old is None else old.copy()
        if by_step_up:
            assert old is not None
            self.ledger[s.id] = Ledger(**{**self.ledger[old.id].__dict__, "dead": False})
        else:
            self.ledger[s.id] = Ledger(p.now, p.now, p.now, s.recorded, s.recorded, p.now, *s.limits)
        p.current = s
        p.created.append(s)
        p.logged_out = False
        if s.authenticated_at < self.epoch:
            self.die(s, p.now)
        self.compare_with_store(s)

    def refuses(self, p: Pending, call: Callable[[], object]) -> bool:
        """Do what needs a live session; it must refuse where there is none."""
        if p.current is None or p.current.dead is not None:
            try:
                call()
            except SessionError as error:
                if not isinstance(error, SettingsError):  # else the argument was at fault, and nobody looked further
                    p.current = None
                return True
            raise AssertionError(f"a verb worked on a session that is {p.current and p.current.dead}")
        call()
        return False

    def extend(self, p: Pending, minutes: Any) -> None:
        if p.current is None or p.current.dead is not None:
            if p.current is None or minutes is not None:
                assert self.refuses(p, lambda: p.session.extend(minutes)) if self.valid(minutes) else True
            return None
        if not self.valid(minutes):
            try:
                p.session.extend(minutes)
            except SettingsError:
                return self.shown_unless_raced(p)
            raise AssertionError(f"extend({minutes!r}) was taken")
        p.session.extend(minutes)
        if minutes is not None:
            self.extended(p, minutes * 60)
        return None

    def valid(self, minutes: Any) -> bool:
        return minutes is None or (type(minutes) in (int, float) and 5 <= minutes <= 527_040)

    def continue_(self, p: Pending, minutes: float | None) -> None:
        def call() -> None:
            run_sync(p.process.engine.continue_(p.x, minutes))

        if p.current is None or p.current.dead is not None:
            if self.valid(minutes):
                self.refuses(p, call)
            return None
        silence = model.silence_in_force(p.current, self.configured(p, p.current))
        wanted = silence if minutes is None else minutes * 60
        if not self.valid(minutes) or (minutes is not None and silence is not None and wanted > silence):
            try:
                call()
            except SettingsError:
                return self.shown_unless_raced(p)
            raise AssertionError(f"continue({minutes!r}) was taken with {silence}")
        leaves = minutes is None and self.stands_longer(p, p.current, wanted)
        raced, recorded = p.current.version != p.version, p.current.recorded
        call()
        if minutes is None and raced:  # it knows the deadline that it read, and not what others have set since
            record = self.record(p.current)
            leaves = record is not None and record.inactivity_deadline == recorded
        if wanted is not None and not leaves:
            self.extended(p, wanted)
        else:
            p.current.seen = max(p.current.seen, p.now)
            self.ledger[p.current.id].last_seen = max(self.ledger[p.current.id].last_seen, p.now)
        return None

    def stands_longer(self, p: Pending, s: Held, silence: float | None) -> bool:
        """L7: whether the app has set a deadline that continuing leaves."""
        standing, _ = model.in_force(s, p.process.config, self.configured(p, s))
        return None not in (standing, silence) and standing > p.now + silence + p.process.config.touch  # type: ignore[operator]

    def extended(self, p: Pending, seconds: float) -> None:
        s = p.current
        assert s is not None
        version = s.version
        model.extended(s, self.configured(p, s), p.now, seconds)
        if version == p.version:
            p.version = s.version
        entry = self.ledger[s.id]
        entry.floor, entry.set_to, entry.set_at = s.recorded, s.recorded, p.now
        entry.last_seen = max(entry.last_seen, p.now)
        self.shown(p, s)
        self.compare_with_store(s)

    def configured(self, p: Pending, s: Held) -> tuple[float | None, float]:
        answer = self.answer(s.subject) if s in p.created and not p.carries_on else p.answer
        return p.process.config.limits_of(s.persistent, answer)

    def shown_unless_raced(self, p: Pending) -> None:
        assert p.current is not None
        if p.current.version == p.version or p.current in p.created:
            self.shown(p, p.current)

    def shown(self, p: Pending, s: Held) -> None:
        """What a view sees is what will be enforced (L5)."""
        expected = model.in_force(s, p.process.config, self.configured(p, s))
        assert (p.x.deadlines.inactivity, p.x.deadlines.absolute) == expected, s  # type: ignore[union-attr]

    def claims(self, p: Pending, tier: str | None) -> None:
        if p.current is None:
            self.refuses(p, lambda: p.session.update_claims(tier=tier))
            return
        p.session.update_claims(tier=tier)
        p.claims["tier"] = tier

    def data(self, p: Pending, value: int) -> None:
        def write() -> None:
            p.session.data[f"n{value}"] = value

        if p.current is None:
            self.refuses(p, write)
            return
        write()
        p.data[f"n{value}"] = value

    def end_others(self, p: Pending, _: None) -> None:
        if p.current is None or p.current.dead is not None:
            if p.current is None:
                self.refuses(p, p.session.end_others)
            return
        p.session.end_others()
        came = p.came if p.created else None  # it goes on if no response starts (L12, L25)
        mine = {s.id for s in (p.current, came) if s is not None}
        for s in self.held.values():
            if s.subject == p.current.subject and mine.isdisjoint((s.id, *s.before)) and s.dead is None:
                self.die(s, p.now)

    def logout(self, p: Pending, _: None) -> None:
        p.session.logout()
        for s in (p.current, p.came, *p.created):
            if s is not None and s.dead is None:
                self.die(s, p.now)
        if p.came is not None and p.came.replaced:
            self.gone_on_ends(p.came, p.now)
        p.current, p.logged_out = None, True
        p.claims, p.data = {}, {}

    def gone_on_ends(self, came: Held, now: float) -> None:
        """L12, L13: what is over is over, also where the session has got another id before it was ended."""
        for s in self.held.values():
            if came.id in s.before and s.subject == came.subject and s.dead is None:
                record = self.record(s)
                if record is not None and record.ended_at is None:
                    forgotten = self.is_rubbish(came) or recorded_end(record) <= now
                    assert forgotten, "an end has left alive what the session goes on as"
                elif record is not None:
                    self.die(s, now)
