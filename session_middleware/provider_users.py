"""All sessions of a user, those at the provider among them that were never seen here (L24).

Where the provider's credential alone begins a session, to end ours is not enough: a moment later the next one would begin.
So the provider is told first, and ours end whatever it answers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from session_middleware.authorities.base import NOTHING_SHOWN, Lists
from session_middleware.core.provider import ProviderSession, provider_mark
from session_middleware.core.record import handle_of
from session_middleware.engine.ending import goes_on_from
from session_middleware.errors import SessionError, StoreUnavailable

if TYPE_CHECKING:
    from session_middleware.engine import Engine

__all__ = ["end_all", "end_at_provider", "list_at_provider"]


async def end_all(engine: Engine, subject: str, now: float, except_keys: Collection[bytes] = ()) -> int:
    """End every session of a subject but some, here and at the provider; return how many of ours were alive.

    Raises:
        StoreUnavailable: an end could not be stored, or ours have ended and the provider could not be told of those that
            it knows besides; the same once more does the rest.
    """
    lists, told = engine.vouching.lists, True
    if lists is not None and lists.knows_users and subject:
        try:
            await _end_there(engine, lists, subject, now, except_keys)
        except StoreUnavailable:
            raise
        except Exception as fault:
            engine.vouching.fault(fault)
            told = False
    count = await engine.end_all(subject, now, except_keys=except_keys)
    if not told:
        raise StoreUnavailable(
            "The sessions of this user have ended here. The provider could not be asked to end those which it knows "
            "besides; do this again when it answers."
        )
    return count


async def _end_there(engine: Engine, lists: Lists, subject: str, now: float, except_keys: Collection[bytes]) -> None:
    name = engine.authority.name
    held = await engine.reach.read("list", handle_of("subject", subject), now) if except_keys else ()
    own = (record for record in held if record.key in except_keys or goes_on_from(record, except_keys))
    kept = {record.provider_session for record in own if record.authority == name}
    going = [session for session in await lists.list(subject, now) if session.id not in kept]
    for session in going:  # so that it begins no session, whether the provider is quick to end it or slow
        await engine.reach.mark(provider_mark(name, session.id, now, session.ceiling, session.proven_at))
    if not kept:
        await lists.end_all(subject, now)
        return
    for session in going:
        await _end_one_there(engine, session.id, now)


async def _end_one_there(engine: Engine, id: str, now: float) -> None:
    ends, name = engine.vouching.ends, engine.authority.name
    if ends is not None:
        record = provider_mark(name, id, now).evolve(authority=name, provider_session=id)
        await ends.end(record, NOTHING_SHOWN, "revoked", now)


async def list_at_provider(engine: Engine, subject: str, now: float) -> Sequence[ProviderSession]:
    """Return the live sessions of a user at the provider, also those never seen here.

    Raises:
        SessionError: the authority cannot say (`code="not_supported"`).
        StoreUnavailable: the provider did not answer.
    """
    lists = _may_ask(engine)
    if not subject:
        return ()
    try:
        return await lists.list(subject, now)
    except Exception as fault:
        engine.vouching.fault(fault)
        raise StoreUnavailable("The provider did not say which sessions this user has there.") from fault


async def end_at_provider(engine: Engine, id: str, now: float) -> int:
    """End a session by its id at the provider, there and here; return how many of ours stood on it.

    Raises:
        SettingsError: the id is empty.
        SessionError: the authority cannot end one (`code="not_supported"`).
        StoreUnavailable: the end could not be stored, or the provider did not answer.
    """
    _may_ask(engine)
    ProviderSession(id, now)  # refuses what is none
    count = await engine.end_by_provider("revoked", now, provider_sessions=(id,))
    try:
        await _end_one_there(engine, id, now)
    except Exception as fault:
        engine.vouching.fault(fault)
        raise StoreUnavailable("The session has ended here; the provider could not be asked to end its own.") from fault
    return count


def _may_ask(engine: Engine) -> Lists:
    lists = engine.vouching.lists
    if lists is None or not lists.knows_users:
        raise SessionError(
            f"{type(engine.authority).__name__} cannot be asked for the sessions of a user: it keeps none, or lacks the "
            "rights for it (see its documentation).",
            code="not_supported",
        )
    return lists
