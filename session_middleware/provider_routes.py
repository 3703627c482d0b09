"""The routes of an authority below our prefix: its handler says what is to happen, and here it is done.

`endpoints.py` finds the route and guards it (L20); the handler sees what it may (`Ask`) and answers with a value; nothing
that it answers sets a cookie, begins or ends a session by any other way than the engine's.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from session_middleware.authorities.base import Shown
from session_middleware.authorities.routes import Begin, Done, End, Endpoint, Page, Problem, Redirect, State
from session_middleware.core import state
from session_middleware.core.exchange import Exchange
from session_middleware.core.fields import Fields, are_text, body_fields, query_fields
from session_middleware.core.origin import safe_path
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.core.refusal import EMPTY, HARDENING, PAGE_HARDENING, Reply
from session_middleware.core.replies import NEGOTIATED, problem
from session_middleware.errors import SessionError
from session_middleware.stores.base import AddsOnce

if TYPE_CHECKING:
    from session_middleware.engine import Engine

__all__ = ["BodyTooLong", "NoLength", "answer"]

#: States that one browser keeps at a time; the next sign-in begins anew.
MOST_STATES: Final = 5

_HIDDEN: Final = frozenset({"cookie", "authorization"})


class BodyTooLong(Exception):
    """The body is longer than an endpoint takes."""


class NoLength(Exception):
    """Nobody says where the body ends."""


class Asked:
    """A request to an authority's route, as `routes.Ask` describes it."""

    def __init__(self, engine: Engine, x: Exchange, route: Endpoint, read: Callable[[int], Awaitable[bytes]]) -> None:
        self._engine, self._x, self._route, self._read = engine, x, route, read
        self._held: bytes | None = None
        self._keys = engine.vouching.keys("state")

    @property
    def method(self) -> str:
        return "GET" if self._x.facts.method == "HEAD" else self._x.facts.method

    @property
    def query(self) -> Fields:
        return query_fields(self._x.facts.target)

    @property
    def shown(self) -> Shown:
        return self._engine.vouching.shown(self._x.facts)

    @property
    def now(self) -> float:
        return self._x.now

    @property
    def record(self) -> SessionRecord | None:
        return self._x.record if self._x.is_active else None

    @property
    def origin(self) -> str:
        return f"{self._x.facts.scheme}://{self._x.facts.host}"

    @property
    def mount(self) -> str:
        return self._x.facts.mount

    def header(self, name: str) -> str | None:
        return None if name in _HIDDEN else self._x.facts.header(name)

    async def body(self) -> bytes:
        if self._held is None:
            try:
                self._held = await self._read(self._route.body_limit)
            except ValueError as fault:
                raise BodyTooLong from fault
        return self._held

    async def form(self) -> Fields | None:
        fields = body_fields(await self.body(), self._x.facts.header("content-type"))
        return fields if fields is not None and are_text(fields) else None

    async def once(self, key: str, until: float) -> bool:
        engine = self._engine
        if not isinstance(engine.store, AddsOnce):
            raise SessionError(
                f"{type(engine.store).__name__} cannot take note of what has been used.", code="not_supported"
            )
        handle = handle_of("once", f"{engine.authority.name}\0{key}")
        return bool(await engine.reach.write("add_once", handle, until, self.now))

    def recall(self, id: str) -> State | None:
        return state.remembered(self._engine.settings, self._keys, self._x.facts.cookies, id, self.now)

    def safe_path(self, text: str | None) -> str | None:
        return safe_path(text)

    def remember_lines(self, answered: Redirect) -> Sequence[str]:
        settings, now = self._engine.settings, self.now
        there = state.remembered_ids(settings, self._x.facts.cookies)
        over = there if len(there) + len(answered.remember) > MOST_STATES else []
        return [
            *(state.forget_line(settings, id) for id in over if id not in answered.remember),
            *(
                state.remember_line(settings, self._keys, id, kept, now, answered.seconds)
                for id, kept in answered.remember.items()
            ),
        ]


async def answer(engine: Engine, x: Exchange, route: Endpoint, read_body: Callable[[int], Awaitable[bytes]]) -> Reply:
    """Ask the handler of a route, and do what it says.

    Raises:
        StoreUnavailable: something could not be stored.
        BodyTooLong: the body is longer than the route takes.
        NoLength: nobody says where the body ends.
    """
    asked = Asked(engine, x, route, read_body)
    try:
        said = await route.handler(asked)
    except (SessionError, BodyTooLong, NoLength):
        raise
    except Exception as fault:
        engine.vouching.fault(fault)
        return engine.unavailable(x)
    settings = engine.settings
    # Only what came with this request: an id may have come out of a query, and is no text for a header then.
    there = set(state.remembered_ids(settings, x.facts.cookies))
    lines = [state.forget_line(settings, id) for id in getattr(said, "forget", ()) if id in there]
    if isinstance(said, Begin):
        reply = await _begin(engine, x, said)
    elif isinstance(said, End):
        await engine.end_by_provider(
            said.reason,
            x.now,
            provider_sessions=said.provider_sessions,
            handles=said.handles,
            before=said.before,
            stale=said.stale,
        )
        # Only now: what could not be stored is said again by the provider, and must not be taken for a replay then.
        if said.once is not None and not await asked.once(*said.once):
            reply = problem(x.facts, 400, "replayed", "This has been said before.")
        else:
            reply = _done(said.status)
    elif isinstance(said, Redirect):
        lines += [*asked.remember_lines(said), *said.relay]
        reply = _go(said.url)
    elif isinstance(said, Page):
        reply = _page(said)
    elif isinstance(said, Done):
        reply = _done(said.status)
    else:
        reply = _refused(x, said)
    if isinstance(said, Redirect) or (isinstance(said, Begin) and x.created is not None):
        x.relay += said.relay
    x.relay += tuple(lines)
    return reply


async def _begin(engine: Engine, x: Exchange, said: Begin) -> Reply:
    try:
        await engine.begin_provided(x, said.login, vouched=True)
    except SessionError as fault:
        if fault.code == "provider_session_ended" and said.again is not None:
            return _go(said.again)  # a new proof, not the provider's memory of the old one (L24)
        reply = await engine.answer(x, fault)
        if reply is None:
            raise
        return reply
    x.relay += said.relay
    return _go(said.to)


def _done(status: int) -> Reply:
    return Reply(status, HARDENING if status == 204 else (EMPTY, *HARDENING))


def _go(url: str) -> Reply:
    return Reply(303, (("Location", url), EMPTY, *HARDENING))


def _page(said: Page) -> Reply:
    hardening = []
    for name, value in PAGE_HARDENING:
        if name == "Content-Security-Policy" and said.script_hash is not None:
            value = f"{value}; script-src '{said.script_hash}'"
        if name == "Content-Security-Policy" and said.form_target is not None:
            value = value.replace("form-action 'self'", f"form-action 'self' {said.form_target}")
        hardening.append((name, value))
    return Reply(200, (("Content-Type", "text/html; charset=utf-8"), *HARDENING, *hardening), said.html.encode())


def _refused(x: Exchange, said: Problem) -> Reply:
    if said.body is not None:
        headers = (("Content-Type", "application/json"), *HARDENING)
        return Reply(said.status, headers, json.dumps(dict(said.body)).encode())
    return problem(x.facts, said.status, said.error, said.title).with_headers(NEGOTIATED)
