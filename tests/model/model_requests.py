"""A request in three parts, begin, act and finish, each compared with the model."""

from __future__ import annotations

import lifetime_model as model
from lifetime_model import Held
from model_browser import JWT, TOKEN, Facts, Jwt, Token, closed, opened, read_jwt, read_token
from model_verbs import Verbs
from model_world import HEADERS, ROUTES, Pending

from session_middleware.runtime import run_sync
from session_middleware.session import Session


class Requests(Verbs):
    def begin(self, where: int, who: int, kind: str, method: str, headers: str) -> Pending:
        process, browser = self.processes[where], self.browsers[who]
        now, config = self.time + process.skew, process.config
        facts = Facts(browser.cookies(), method, **HEADERS[headers])
        x, refusal = opened(process.engine, facts, ROUTES[kind])
        assert x.now == now
        token = read_token(browser.jar[TOKEN]) if TOKEN in browser.jar else None
        jwt = read_jwt(browser.jar[JWT]) if JWT in browser.jar else None
        p = Pending(
            process,
            browser,
            x,
            self.time,
            now,
            Session(process.engine, x),
            token,
            jwt,
            kind,
            method,
            refusal is not None,
            (0, 0),
        )
        self.count(f"{kind} route")
        if kind == "exempt":
            assert refusal is None
            assert not x.authenticated, "an exempt route was read (L21)"
            return p
        activity = (
            kind in ("plain", "optional", "fresh")
            and method != "OPTIONS"
            and headers in ("none", "navigation")
            and (config.activity == "request" or method == "POST" or headers == "navigation")
        )
        self.judge(p, activity)
        expected = kind not in ("optional", "status") and p.verdict != "ACTIVE"
        if kind == "fresh" and p.verdict == "ACTIVE":
            assert p.opened_with is not None
            expected = not self.is_fresh(p.opened_with, now)
        assert p.refused == expected, (p.verdict, kind)
        return p

    def is_fresh(self, s: Held, now: float) -> bool:
        return now - max(s.authenticated_at, s.fresh_at or 0.0) < 300.0

    def usable_jwt(self, p: Pending) -> Jwt | None:
        jwt = p.jwt
        if jwt is None or jwt.key not in p.process.config.keys or jwt.expires <= p.now:
            return None
        return jwt if jwt.claims["nbf"] <= p.now + 30 and jwt.claims["iat"] <= p.now + 30 else None

    def is_strange(self, p: Pending, s: Held, jwt: Jwt) -> bool:
        """Whether a JWT beside the token of a session is TAMPERED: not where it names an id that this had before (L9, L12)."""
        if jwt.id == s.id:
            return False
        forgotten = s.dead is not None or self.is_rubbish(s)  # what it was before is not kept beyond the end (L16)
        return jwt.id not in s.before[-8:] or (forgotten and p.verdict == "TAMPERED")

    def judge(self, p: Pending, activity: bool) -> None:
        """Compare verdict and deadlines with the model, and let the model follow."""
        p.used = True
        x, config, token = p.x, p.process.config, p.token
        p.verdict = x.verdict.name
        self.count(p.verdict)
        if token is None:
            assert p.verdict == "ANONYMOUS"
            return
        jwt = self.usable_jwt(p)
        if token.key not in config.keys or (jwt is not None and self.is_strange(p, self.held[token.id], jwt)):
            assert p.verdict == "TAMPERED"
            if token.key in config.keys:
                p.came = self.held[token.id]  # a login or a logout ends it, whoever it is (L12, L13)
            return
        s = self.held[token.id]
        if p.verdict == "UNKNOWN":
            self.assert_forgettable(s, p.now)
            return
        if s.dead == "UNKNOWN" and (self.skewed or p.verdict == "REVOKED"):
            # For this clock its retention is not over yet; or a row not yet swept was ended once more by a login.
            assert p.verdict != "ACTIVE"
            return
        predictions = []
        for judging in self.possible_answers(s.subject, config):
            for after in {judging, self.answer(s.subject)}:
                then = s.copy()
                verdict = model.judged(then, config, config.limits_of(s.persistent, judging), token.generation, p.now)
                counts = activity and not (p.kind == "fresh" and not self.is_fresh(s, p.now))
                shown = None
                if verdict == "ACTIVE":
                    limits = config.limits_of(s.persistent, after)
                    # Our own GET endpoints, exempt and refused requests write nothing, not even a first presentation.
                    writes = p.kind not in ("status", "exempt") and not (
                        p.kind == "fresh" and not self.is_fresh(s, p.now)
                    )
                    model.seen_active(then, config, limits, token.generation, p.now, activity=counts, writes=writes)
                    shown = model.in_force(then, config, limits)
                predictions.append((verdict, shown, then, after, counts))
        force = x.deadlines
        actual = p.verdict, None if p.verdict != "ACTIVE" else (force.inactivity, force.absolute)  # type: ignore[union-attr]
        agreeing = [each for each in predictions if each[:2] == actual]
        assert agreeing, f"engine {actual}, model {[each[:2] for each in predictions]} for {s} at {p.now}"
        verdict, _, then, after, counts = agreeing[0]
        self.hold_invariants(s, p, verdict, counts)
        s.__dict__.update(then.__dict__)
        p.came = s
        p.answer = after
        if verdict == "ACTIVE":
            p.current, p.opened_with, p.version = s, s.copy(), s.version
            assert dict(x.claims) == s.claims
            assert p.session.subject == s.subject
        self.compare_with_store(s)

    def finish(self, p: Pending, fate: str) -> None:
        self.count(fate)
        if fate == "raises" and not p.refused:
            run_sync(p.process.engine.abandon(p.x))
            for s in p.created:
                self.die(s, p.now)
            self.compare_all(p)
            return
        lines = closed(p.process.engine, p.x)
        came = None if p.came is None or p.came.dead is not None else p.came.copy()
        self.end_replaced(p)
        self.save(p)
        self.take_along(p, came)
        self.check_token(p, lines)
        self.check_jwt(p, lines)
        if fate != "lost":
            p.browser.take(lines)
        self.compare_all(p)

    def end_replaced(self, p: Pending) -> None:
        """L12, L13: the session that came with the request ends; what was stepped up from an ended one ends too."""
        if not p.created or p.current is not p.created[-1] or p.came is None:
            return
        if p.carries_on and p.came.dead is not None:
            self.die(p.current, p.now)
        if p.current.dead is None and p.came.dead is None:
            self.die(p.came, p.now)
            p.came.replaced = True
        elif (
            p.current.dead is None
            and p.came.replaced
            and p.came.subject != p.current.subject
            and p.verdict != "TAMPERED"
        ):
            self.gone_on_ends(p.came, p.now)

    def take_along(self, p: Pending, came: Held | None) -> None:
        """L12, L14: what others wrote to the session that came, after it was copied, goes along with the new one."""
        s, copied = p.current, p.copied
        if s is None or s not in p.created or s.dead is not None or copied is None or copied.subject != s.subject:
            return
        if came is None or came.id != copied.id:
            return
        for mine, before, now in ((s.claims, copied.claims, came.claims), (s.data, copied.data, came.data)):
            for name in {*before, *now}:
                if now.get(name) != before.get(name) and mine.get(name) == before.get(name):
                    mine.pop(name, None)
                    mine.update({name: now[name]} if name in now else {})
                    self.count("taken along")

    def save(self, p: Pending) -> None:
        s = p.current
        if s is None or s.dead is not None or not (p.claims or p.data):
            return
        version = s.version
        s.claims = {name: value for name, value in {**s.claims, **p.claims}.items() if value is not None}
        s.data.update(p.data)
        s.version += 1
        if version == p.version:
            p.version = s.version

    def silent(self, p: Pending) -> bool:
        """Whether no cookie of ours may go out."""
        return (
            not p.used
            or p.method == "OPTIONS"
            or not ROUTES[p.kind].sets_cookies
            or p.current is None
            or p.current.dead is not None
        )

    def check_token(self, p: Pending, lines: dict[str, str | None]) -> None:
        s = p.current
        if p.logged_out:
            assert all(value is None for value in lines.values()), "a logout that signs in"
            assert set(p.browser.jar) <= {*lines} or p.opened_with is None, "a cookie survives logout"
            return
        assert None not in lines.values(), "only logout deletes cookies (L26)"
        if self.silent(p):
            assert lines == {}, f"cookies for {(s and s.dead) or p.verdict}"
            return
        assert s is not None
        first = p.process.config.keys[0]
        sent = read_token(lines[TOKEN]) if TOKEN in lines else None  # type: ignore[arg-type]
        if s in p.created:
            assert sent == Token(s.id, 0, first)
            return
        assert p.token is not None
        expected = Token(s.id, p.opened_with.generation, first)  # type: ignore[union-attr]
        if s.generation != expected.generation:  # a slow request, and the session was renewed beside it
            assert sent is None or sent in (expected, Token(s.id, s.generation, first))
        elif p.token == expected:
            assert sent is None
        else:
            assert sent == expected
            self.count("token re-issued")

    def check_jwt(self, p: Pending, lines: dict[str, str | None]) -> None:
        if p.logged_out or self.silent(p):
            return
        s, config = p.current, p.process.config
        assert s is not None
        sent = read_jwt(lines[JWT]) if JWT in lines else None  # type: ignore[arg-type]
        limits = self.configured(p, s)
        force = model.in_force(s, config, limits)
        held = self.usable_jwt(p) if s not in p.created else None
        if held is not None and held.id != s.id:
            held = None  # one that the session had before (L9)
        minted = p.process.minted.get(s.id)
        if sent is not None:
            assert sent.id == s.id
            assert sent.key == config.keys[0]
            p.process.minted[s.id] = sent
        current = {"tier": s.claims["tier"]} if "tier" in s.claims else {}
        if s not in p.created and s.version != p.version:  # a slow request: others moved the deadlines meanwhile
            return
        if sent is not None:
            assert sent.expires <= min(at for at in force if at is not None), "a JWT outlives its session (L9)"
            assert {name: v for name, v in sent.claims.items() if name == "tier"} == current

        def is_due(jwt: Jwt | None) -> bool:
            if jwt is None or jwt.key != config.keys[0]:
                return True
            if {name: v for name, v in jwt.claims.items() if name == "tier"} != current:
                return True
            return model.jwt_due(jwt.expires, p.now, config, force)

        if not is_due(held):
            assert sent is None, "rotated before it was due"
        elif not is_due(minted):
            assert sent is not None
            assert sent.text == minted.text, "signed twice (L9)"  # type: ignore[union-attr]
            self.count("JWT given again")
        else:
            assert sent is not None, "a due JWT was not rotated"
            assert sent.expires == model.jwt_end(p.now, config, force)
            self.count("JWT minted")

    def compare_all(self, p: Pending) -> None:
        for s in {
            id(s): s for s in (p.current, p.opened_with and self.held[p.opened_with.id], *p.created) if s
        }.values():
            self.compare_with_store(s)
