"""FrontDesk: a provider with routes of its own and tokens, to test what is done with a handler's answers."""

from __future__ import annotations

import base64
from typing import Any

from session_middleware.authorities.base import Alive, Attached, ProviderLogin, Shown, Token, Vouch
from session_middleware.authorities.routes import Answer, Ask, Begin, Done, End, Endpoint, Page, Problem, Redirect
from session_middleware.core.fields import text_of
from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.errors import SessionError

PROVIDER = "https://desk.example"


class FrontDesk:
    """Signs people in by a redirect; nothing of it comes with later requests."""

    name = "front desk"
    verify_interval: float | None = None

    def __init__(self) -> None:
        self.guest, self.stay, self.proven_at = "alice", "stay-1", 0.0
        self.asked: list[dict[str, Any]] = []
        self.end: End | None = None
        self.fault: Exception | None = None
        self.away: str | None = None
        self.refreshed = 0
        self.endpoints: tuple[Endpoint, ...] = (
            Endpoint("GET", "login", self.login),
            Endpoint("GET", "callback", self.callback),
            Endpoint("POST", "callback", self.callback),
            Endpoint("POST", "told", self.told, body_limit=100),
            Endpoint("GET", "page", self.page, needs="look"),
            Endpoint("POST", "mine", self.mine, guard="same_origin", needs="look"),
            Endpoint("GET", "done", self.done),
            Endpoint("GET", "no", self.refused),
        )

    def __copy__(self) -> FrontDesk:  # Django attaches copies, and there is one desk
        return self

    def attach(self, to: Attached) -> None:
        self.attached = to

    async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
        return Vouch(Alive.ALIVE)

    async def login(self, ask: Ask) -> Answer:
        to = ask.safe_path(text_of(ask.query, "return_to")) or "/"
        state = text_of(ask.query, "state") or "state-0001"
        self.asked.append({"query": ask.query, "mount": ask.mount, "origin": ask.origin})
        return Redirect(f"{PROVIDER}/authorize?state={state}", remember={state: {"to": to}})

    async def callback(self, ask: Ask) -> Answer:
        if self.fault is not None:
            raise self.fault
        state = text_of(ask.query, "state") or ""
        held = ask.recall(state)
        if held is None or not await ask.once(state, ask.now + 600):
            return Problem(400, "state", "This sign-in was not begun in this browser.", forget=(state,))
        provider = ProviderSession(self.stay, self.proven_at or ask.now, authority=self.name)
        handles = (handle_of("desk", self.guest),)
        login = ProviderLogin(self.guest, provider, sealed="sealed-0", handles=handles)
        return Begin(login, held["to"], again=f"{PROVIDER}/authorize?prompt=login", forget=(state,))

    async def told(self, ask: Ask) -> Answer:
        self.asked.append({"form": await ask.form(), "body": await ask.body(), "secret": ask.header("cookie")})
        assert self.end is not None
        return self.end

    async def page(self, ask: Ask) -> Answer:
        who = ask.record.subject if ask.record is not None else "nobody"
        return Page(f"<p>{who} {ask.method} {sorted(ask.shown.cookies)}</p>", "sha256-abc", PROVIDER)

    async def mine(self, ask: Ask) -> Answer:
        return Done(204)

    async def done(self, ask: Ask) -> Answer:
        return Done()

    async def refused(self, ask: Ask) -> Answer:
        return Problem(400, "no", "No.", body={"err": "no", "description": base64.b64encode(b"why").decode()})

    async def logout_url(
        self, record: SessionRecord | None, return_to: str | None, client_id: str | None
    ) -> str | None:
        if self.fault is not None:
            raise self.fault
        self.asked.append({"record": record, "return_to": return_to, "client_id": client_id})
        return self.away

    def current(self, record: SessionRecord, now: float) -> Token | None:
        return Token("access-0") if record.sealed == "sealed-0" and not self.refreshed else None

    async def refresh(self, record: SessionRecord, now: float) -> Token:
        self.refreshed += 1
        if self.fault is not None:
            raise self.fault
        return Token(f"access-{self.refreshed}", f"sealed-{self.refreshed}")


__all__ = ["PROVIDER", "FrontDesk", "SessionError"]
