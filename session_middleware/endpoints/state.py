"""How things stand with a session: status, events, continue, refresh (L6, L7, L9)."""

from __future__ import annotations

import hmac
import math
from typing import Final
from uuid import uuid4

from session_middleware import client
from session_middleware.core import lifetime, pages
from session_middleware.core.exchange import Exchange
from session_middleware.core.fields import minutes_of
from session_middleware.core.origin import path_of
from session_middleware.core.refusal import HARDENING, Reply
from session_middleware.core.replies import (
    NEGOTIATED,
    as_json,
    as_page,
    done,
    is_for_a_person,
    key_set,
    problem,
    session_object,
)
from session_middleware.core.tokens import b64encode
from session_middleware.endpoints.call import Answers, Call, fields_of
from session_middleware.errors import SessionError, SettingsError
from session_middleware.event_stream import EventStream, as_event, opening

__all__ = ["WARN_BEFORE", "State"]

#: Seconds before its end at which a user should be asked whether to go on (Auth0, "Timeout modal").
WARN_BEFORE: Final = 60


class State(Answers):
    """The endpoints that say how long is left, and `continue`, which moves it."""

    __slots__ = ()

    async def _status(self, call: Call) -> Reply:
        return self._state(call.x)

    async def _events(self, call: Call) -> Reply:
        """Begin a stream that tells a page what becomes of its session (docs/client.md)."""
        if not self._has_events:
            return Reply(204, HARDENING)  # a thread for each browser is too much to take without being asked
        if call.x.facts.method == "HEAD":
            return Reply(200, EventStream(b"", self.event).headers)
        return EventStream(opening() + self.event(call.x), self.event)

    @property
    def _has_events(self) -> bool:
        return self.engine.runtime.asynchronous or self.engine.settings.sse

    def event(self, x: Exchange) -> bytes:
        """Return the event that says how things stand with a session, when its stream is ready to send it."""
        if x.closed:
            x.now = self.engine.clock()  # a slow client may take it long after the change that it tells of
        return as_event(self._state(x).body)

    async def _continue(self, call: Call) -> Reply:
        """Go on, and answer as status does; a person comes back to the page with the button, or to the provider's own."""
        facts = call.x.facts
        fields = await fields_of(call)
        if fields is None:
            title = "The request body could not be read."
            fix = "Send JSON or a urlencoded form (not multipart), with the matching Content-Type."
            return problem(facts, 400, "unreadable", title, fix)
        try:
            await self.engine.continue_(call.x, minutes_of(fields))
        except SettingsError as fault:
            return problem(facts, 400, "minutes", "The value of minutes is out of range.", fault.fix)
        except SessionError:
            if call.x.is_active:
                raise
            return self._refused(call.x)  # it ended meanwhile, and an ended session stays ended (L7)
        if is_for_a_person(facts):
            back = call.x.continue_url or path_of(facts.header("referer"), facts)
            return as_page(pages.continued()).with_headers(NEGOTIATED) if back is None else done(facts, back)
        return self._state(call.x).with_headers(NEGOTIATED)

    async def _refresh(self, call: Call) -> Reply:
        """Answer the session as Stytch's session object; the adapter's `close` rotates the JWT if due (L9)."""
        x = call.x
        record, deadlines = x.record, x.deadlines
        assert record is not None
        assert deadlines is not None
        session = session_object(record, deadlines.ends_at, x.claims)
        return as_json({"status_code": 200, "request_id": f"request-id-{uuid4()}", "session": session})

    async def _jwks(self, call: Call) -> Reply:
        return key_set(self.engine.jwks())

    async def _client(self, call: Call) -> Reply:
        return client.reply(call.x.facts)

    def _state(self, x: Exchange) -> Reply:
        deadlines = x.deadlines if x.is_active else None
        silence = deadlines.inactivity if deadlines is not None else None
        state: dict[str, object] = {
            "authenticated": x.is_active,
            "reason": x.verdict.reason,
            "inactivity_left": None if silence is None else max(0, math.floor(silence - x.now)),
            "absolute_left": None if deadlines is None else max(0, math.floor(deadlines.absolute - x.now)),
            "final_left": None if deadlines is None else max(0, math.floor(self._final(x, deadlines) - x.now)),
            "warn_before": WARN_BEFORE,
            "report_every": self._report_every(x),
            "events": self._has_events,
            "user": self._user(x),
            "login_url": self.engine.login_url(x.facts),
            "return_param": self.engine.return_param,
        }
        if x.continue_url is not None:
            state["continue_url"] = x.continue_url
        return as_json(state)

    def _final(self, x: Exchange, deadlines: lifetime.Deadlines) -> float:
        """Return the end that nothing moves: the absolute deadline, without a provider's end that `continue` may move."""
        record = x.record
        if record is None or record.ceiling is None or not self.engine.vouching.may_move_ceiling(record):
            return deadlines.absolute
        free = record.evolve(ceiling=None)
        return lifetime.deadlines(free, x.configured, self.engine.settings.timing).absolute

    def _report_every(self, x: Exchange) -> float | None:
        """Return how often the browser script may report its user with `continue`; None where it is not to.

        Where activity does not move the deadline (L4) a report must not either, and what extends a provider's session is a
        call to the provider, which a person should have asked for.
        """
        timing, record = self.engine.settings.timing, x.record
        if not x.is_active or record is None or x.deadlines is None or x.deadlines.inactivity is None:
            return None
        return max(timing.touch_interval, 1.0) if timing.rolling and record.provider_session is None else None

    def _user(self, x: Exchange) -> list[str] | None:
        """Return what tells this page's user from another and says nothing else: a keyed hash, one for each key.

        Two answers are of one user if they share one; so nobody seems to be somebody else while a key is changed (L10).
        """
        if not x.is_active or x.record is None:
            return None
        subject = x.record.subject.encode("utf-8", "surrogatepass")
        return [b64encode(hmac.digest(key, subject, "sha256")[:12]) for key in self._user_keys]
