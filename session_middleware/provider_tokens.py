"""Tokens for the provider's own APIs, kept sealed in the record and refreshed by one request at a time.

A provider that rotates refresh tokens takes each of them once and revokes the whole family when one comes a second time
(RFC 9700 §4.14.2), so "one at a time" holds for all processes: whoever takes note of the token first uses it, the others
wait for what that brings.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from session_middleware.authorities.base import Token, Tokens
from session_middleware.core.exchange import Exchange
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.reach import rewrite
from session_middleware.stores.base import AddsOnce

if TYPE_CHECKING:
    from session_middleware.engine import Engine

__all__ = ["provider_token"]

#: Seconds for which a refresh belongs to whoever began it.
LEASE: Final = 10.0

#: Seconds between two looks at what another process got, and how often to look.
LOOK_AGAIN: Final = 0.1
LOOKS: Final = 50


async def provider_token(engine: Engine, x: Exchange) -> str:
    """Return an access token of the provider for the session of a request.

    Raises:
        SessionError: nobody is signed in, there is no token, or the provider gives none any more.
        StoreUnavailable: store or provider do not answer.
    """
    record = await engine.live(x, "provider_token")
    tokens = engine.authority
    if not isinstance(tokens, Tokens) or record.sealed is None:
        raise SessionError(
            "There is no token of a provider in this session. Configure the authority to ask for one (offline_access).",
            code="provider_token",
        )
    held = tokens.current(record, x.now)
    if held is not None:
        return held.access_token
    if not isinstance(engine.store, AddsOnce):
        raise SessionError(f"{type(engine.store).__name__} cannot take note of what was used.", code="not_supported")
    try:
        found: Token = await engine.vouching.alone(
            ("token", record.key), lambda: _refreshed(engine, tokens, record.key, x.now)
        )
    except SessionError:
        raise
    except Exception as fault:
        engine.vouching.fault(fault)
        raise StoreUnavailable("provider_token() needs the provider, which does not answer.") from fault
    return found.access_token


async def _refreshed(engine: Engine, tokens: Tokens, key: bytes, now: float) -> Token:
    reach = engine.reach
    for _ in range(LOOKS):
        record = await reach.load(key, anew=True)
        if record is None or record.ended_at is not None or record.sealed is None:
            raise SessionError("The session ended meanwhile.", code="ended")
        held = tokens.current(record, now)
        if held is not None:
            return held
        lease = handle_of("refresh", sha256(record.sealed.encode()).hexdigest())
        if await reach.write("add_once", lease, now + LEASE, now):
            token = await tokens.refresh(record, now)
            if token.sealed is not None:
                await rewrite(reach, record, partial(SessionRecord.evolve, sealed=token.sealed))
            return token
        await engine.runtime.pause(LOOK_AGAIN)
    raise StoreUnavailable("Another process began to refresh the provider's token, and has not finished.")
