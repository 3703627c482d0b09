"""Logins of Django's that we did not see: before this package was installed, or outside a request (`client.force_login`)."""

from __future__ import annotations

import secrets
from collections.abc import Coroutine
from typing import Any

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.http import HttpRequest

from session_middleware.adapters._adoption import adopts_until, take_once
from session_middleware.adapters._django_exchange import Attached
from session_middleware.adapters._django_setup import current
from session_middleware.adapters._django_user import LINK, ONCE, found, link_to
from session_middleware.core.lifetime import Verdict
from session_middleware.core.tokens import ID_BYTES, b64decode, b64encode, key_of, public_id_of
from session_middleware.errors import SessionError, StoreUnavailable

__all__ = ["adopted", "mark", "proof"]


async def adopted(
    request: HttpRequest,
    x: Attached,
    data: dict[str, Any],  # Any: what a session may hold
    looping: bool,
) -> Any:  # Any: AbstractBaseUser | None
    """Begin our session for a login of Django's that names none of ours, if that is due; return its user."""
    link, once = data.get(LINK), data.get(ONCE)
    if once is not None:
        return await _adopt_marked(x, link, once, looping)
    if link is None and x.verdict is Verdict.ANONYMOUS and x.now < adopts_until(x.side.engine):
        return await _adopt_existing(request, x, looping)
    return None


async def _adopt_marked(x: Attached, link: Any, once: Any, looping: bool) -> Any:  # Any: what a session may hold
    """Begin the session for which `_mark` drew the id: once, because a record under that id is never made twice."""
    engine = x.side.engine
    try:
        token_id, at = b64decode(once[0]), float(once[1])
    except (ValueError, TypeError, LookupError):
        return None
    # Later than that, the record of a session that was adopted and ended may have been forgotten (L16).
    if public_id_of(token_id) != link or not -1.0 <= x.now - at < engine.settings.timing.ended_retention:
        return None
    try:
        if await engine.reach.load(key_of(link), anew=True) is not None:
            return None
    except StoreUnavailable:
        x.unknown = True
        return None
    user = await found(x, looping)
    if user is None:
        return None
    began, _ = await _login(x, engine.login(x, str(user.pk), token_id=token_id, authenticated_at=min(at, x.now)))
    if not began:
        return None
    x.adopted, x.linked = True, link
    return user


async def _adopt_existing(request: HttpRequest, x: Attached, looping: bool) -> Any:  # Any: AbstractBaseUser | None
    """Begin our session for somebody who was signed in before this package was installed.

    Their login counts from `last_login` (L3): whoever signed in longer ago than the absolute lifetime signs in again. It
    may have been at another browser, so this session is not fresh.
    """
    user = await found(x, looping)
    if user is None:
        return None
    last = getattr(user, "last_login", None)
    at = x.now if last is None else min(last.timestamp(), x.now)
    if at + x.side.engine.limits_for(str(user.pk), {}, False).absolute_lifetime <= x.now:
        return None
    session = request.session
    key: Any = session.session_key  # a str: it has been read
    if await session.aexists(key) if looping else session.exists(key):
        began, refusal = await _login(
            x, x.side.engine.adopt_login(x, proof(session), str(user.pk), authenticated_at=at)
        )
    elif await _is_first(session, x, looping):
        login = x.side.engine.login(x, str(user.pk), authenticated_at=at, fresh=False)
        began, refusal = await _login(x, login)
    else:
        return None
    if refusal is not None and refusal.code == "login_ended":
        await link_to(session, "", looping)  # else each request would begin a session that is over already
    if not began:
        return None
    assert x.record is not None
    x.adopted, x.linked = True, x.record.public_id
    await link_to(session, x.linked, looping)
    return user


def proof(session: Any) -> str:  # Any: SessionBase
    """Return what makes the session that begins on one of Django's the same for all requests that show it."""
    return f"django\0{session.session_key}"


async def _is_first(session: Any, x: Attached, looping: bool) -> bool:  # Any: SessionBase
    """Say whether a session of Django's that lives in a cookie has not been adopted before: our store knows."""
    user = await session.aget(SESSION_KEY) if looping else session.get(SESSION_KEY)
    digest = await session.aget(HASH_SESSION_KEY, "") if looping else session.get(HASH_SESSION_KEY, "")
    engine = x.side.engine
    try:
        engine.check_login(x)
        return await take_once(engine, x, "django", str(user), str(digest))
    except StoreUnavailable:
        x.unknown, x.verdict = True, Verdict.UNAVAILABLE
    except SessionError:
        pass  # another site's request, or one that takes no cookie: the next request of our own may
    return False


async def _login(x: Attached, login: Coroutine[Any, Any, bool | None]) -> tuple[bool, SessionError | None]:
    """Begin a session; return whether there is one now, and what kept it from beginning."""
    # Another subject's session may stand in our cookie; Django's session is already this user's, so it stays.
    kept, x.framework = x.framework, None
    try:
        return await login is not False, None
    except SessionError as refusal:  # another site's request, or too late: whoever it is stays anonymous
        if isinstance(refusal, StoreUnavailable):
            x.unknown, x.verdict = True, Verdict.UNAVAILABLE
        return False, refusal
    finally:
        x.framework = kept


def mark(session: Any) -> None:  # Any: SessionBase
    """Leave a one-time mark for a login that no response of ours can answer: `client.force_login`, `client.login`."""
    token_id = secrets.token_bytes(ID_BYTES)
    session[LINK] = public_id_of(token_id)
    session[ONCE] = [b64encode(token_id), current().now()]
