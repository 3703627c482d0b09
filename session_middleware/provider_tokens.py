"""Tokens for the provider's own APIs, kept sealed in the record and refreshed by one request at a time.

A provider that rotates refresh tokens takes each of them once and revokes the whole family when one comes a second time
(RFC 9700 §4.14.2), so "one at a time" holds for all processes: whoever takes note of the token first uses it, the others
wait for what that brings.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeVar

from session_middleware.authorities.base import NOTHING_SHOWN, Token, Tokens
from session_middleware.core.exchange import Exchange
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.reach import rewrite
from session_middleware.runtime import drop_oldest, to_its_end
from session_middleware.stores.base import AddsOnce

if TYPE_CHECKING:
    from session_middleware.engine import Engine

__all__ = ["provider_token"]

#: Seconds for which a refresh belongs to whoever began it, at least.
LEASE: Final = 10.0

#: Seconds between two looks at what another process got, and how often to look.
LOOK_AGAIN: Final = 0.1
LOOKS: Final = 50

#: Sessions whose new token a store still has to be told; and refreshes of which it is known that they failed.
REMEMBERED: Final = 1_000

K = TypeVar("K")
V = TypeVar("V")


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
    # By the clock, here and below: a view may have been at work for long, and a lease that began with its request be over.
    held = tokens.current(record, engine.clock())
    if held is not None:
        return held.access_token
    if not isinstance(engine.store, AddsOnce):
        raise SessionError(f"{type(engine.store).__name__} cannot take note of what was used.", code="not_supported")
    try:
        found: Token = await engine.vouching.alone(
            ("token", record.key), lambda: _refreshed(engine, tokens, record.key)
        )
    except SessionError:
        raise
    except Exception as fault:
        engine.vouching.fault(fault)
        raise StoreUnavailable("provider_token() needs the provider, which does not answer.") from fault
    return found.access_token


async def _refreshed(engine: Engine, tokens: Tokens, key: bytes) -> Token:
    reach, runtime = engine.reach, engine.runtime
    for _ in range(LOOKS):
        record = await _kept(engine, key, await reach.load(key, anew=True))
        if record is None or record.ended_at is not None or record.sealed is None:
            raise SessionError("The session ended meanwhile.", code="ended")
        now = engine.clock()
        held = tokens.current(record, now)
        if held is not None:
            return held
        lease = handle_of("refresh", sha256(record.sealed.encode()).hexdigest())
        until = now + max(LEASE, getattr(tokens, "refresh_seconds", LEASE))
        failed = engine.vouching.failed_refreshes.get(lease)
        if failed is not None and now < failed[0]:
            raise failed[1]()  # the lease is ours, and what it brought is known: nobody has to wait for its end
        if await reach.write("add_once", lease, until, now):
            refresh = partial(_refresh, engine, tokens, record, now, lease, until)
            return await (to_its_end(refresh) if runtime.asynchronous else refresh())
        await runtime.pause(LOOK_AGAIN)
    raise StoreUnavailable("Another process began to refresh the provider's token, and has not finished.")


async def _refresh(
    engine: Engine, tokens: Tokens, record: SessionRecord, now: float, lease: str, until: float
) -> Token:
    try:
        token = await tokens.refresh(record, now)
    except Exception as fault:
        _remember(engine.vouching.failed_refreshes, lease, (until, _again(fault)))
        raise
    if token.sealed is not None:
        _remember(engine.vouching.unkept, record.key, (record, token.sealed))
        with suppress(
            StoreUnavailable
        ):  # the token is good, and what is to be kept stays owed: until the next call here
            await _kept(engine, record.key, record)
    return token


def _remember(held: dict[K, V], key: K, value: V) -> None:
    if len(held) >= REMEMBERED:
        drop_oldest(held)
    held[key] = value


def _again(fault: Exception) -> Callable[[], SessionError]:
    """Return what makes the exception for whoever asks once more, while it is not to be tried again."""
    if isinstance(fault, SessionError):
        return partial(SessionError, str(fault), code=fault.code)
    return partial(StoreUnavailable, "provider_token() needs the provider, which did not answer a moment ago.")


async def _kept(engine: Engine, key: bytes, record: SessionRecord | None) -> SessionRecord | None:
    """Write what a refresh has brought for a session, where that is still owed; return the record, None if it has ended."""
    reach, unkept = engine.reach, engine.vouching.unkept
    owed = unkept.get(key)
    if owed is None:
        return record
    before, sealed = owed
    if record is not None and record.ended_at is not None:
        record = None
    if record is not None and record.sealed == before.sealed:
        record = await rewrite(reach, record, partial(SessionRecord.evolve, sealed=sealed))
    # A step-up meanwhile has copied the token that is used up, and the session goes on under that id (L12).
    listed = await reach.read("list", handle_of("subject", before.subject), engine.clock())
    going_on = [each for each in listed if each.is_named(before.public_id) and each.key != key]
    for each in going_on:
        if each.sealed == before.sealed:
            await rewrite(reach, each, partial(SessionRecord.evolve, sealed=sealed))
    unkept.pop(key, None)
    if record is None and not going_on:  # the provider was told of the end with the token before
        await engine.vouching.end(before.evolve(sealed=sealed), NOTHING_SHOWN, "ended", engine.clock())
    return record
