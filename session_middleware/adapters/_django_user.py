"""What Django knows of a request's user, and how it is asked: its session's data, the link in it, and the user (L23)."""

from __future__ import annotations

from typing import Any, Final

from asgiref.sync import sync_to_async
from django.conf import settings as conf
from django.contrib.auth import BACKEND_SESSION_KEY, SESSION_KEY
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject, empty
from django.utils.module_loading import import_string

from session_middleware.adapters._django_exchange import Attached
from session_middleware.core.lifetime import Verdict

__all__ = ["LINK", "ONCE", "found", "link_to", "named", "read"]

_ACTIVE = Verdict.ACTIVE

#: The link, in the data of Django's session: the public id of ours. Moving the data to a new key does not matter.
LINK: Final = "_session_lifetime"

#: Beside the link after a login outside our middleware (`client.force_login`): the id drawn for it, and when.
ONCE: Final = "_session_lifetime_once"

#: Where the sessions come from whose reads take a thread on the loop, or nothing.
_BACKENDS: Final = "django.contrib.sessions.backends."


async def read(request: HttpRequest, x: Attached) -> dict[str, Any]:  # Any: what a session may hold
    """Return the data of Django's session on the loop, which from here on is in memory.

    Django hands the reading of a session to a thread, and then the query for its user. Where both are its own,
    one thread does both here: each way there and back takes longer than all that we add to a request (measured).
    """
    session: Any = request.session
    if not hasattr(session, "_session_cache"):
        if session.__class__.__module__.startswith(_BACKENDS):
            return await _read_in_thread(request, x)
        await session.aget(LINK)
    data: dict[str, Any] = session._session
    return data


def _read_both(request: HttpRequest, x: Attached) -> dict[str, Any]:  # Any: what a session may hold
    """Read the session, and the user if the link is good, in Django's thread; the user goes where `auser` looks first."""
    from django.contrib.auth.middleware import get_user  # needs the app registry

    data: dict[str, Any] = request.session._session  # type: ignore[attr-defined]  # not in the stubs
    if data.get(SESSION_KEY) is not None and named(x, data.get(LINK)) and _loads_in_thread(x, data):
        request._acached_user = get_user(request)  # type: ignore[attr-defined]  # Django's own
    return data  # what was there: for a user whom Django no longer accepts it has begun an empty one


_read_in_thread = sync_to_async(_read_both)


def _loads_in_thread(x: Attached, data: dict[str, Any]) -> bool:  # Any: what a session may hold
    """Say whether all that Django's `auser` would do for this user is to ask the database in a thread."""
    from django.contrib.auth.backends import BaseBackend, ModelBackend  # as above
    from django.contrib.auth.middleware import auser

    if getattr(x.find_auser, "func", None) is not auser:
        return False  # a middleware of the project's
    path: Any = data.get(BACKEND_SESSION_KEY)
    if path not in conf.AUTHENTICATION_BACKENDS:
        return False  # `auser` knows what to do
    backend = import_string(path)
    if backend.aget_user is ModelBackend.aget_user:
        return bool(backend.get_user is ModelBackend.get_user)
    return bool(backend.aget_user is BaseBackend.aget_user)


def named(x: Attached, link: Any) -> bool:  # Any: what a session may hold
    """Say whether a link names this request's session, which is alive."""
    record = x.record
    if x.verdict is not _ACTIVE or record is None or link is None:
        return False
    return link == record.public_id or record.is_named(link) or _is_ours(x, link)


def _is_ours(x: Attached, link: Any) -> bool:  # Any: as above
    """Say whether a link names it as it was linked in this request, or as it came with it (L12)."""
    came = x.presented.public_id if x.created is not None and x.presented is not None else None
    return link in (x.linked, came)


async def found(x: Attached, looping: bool) -> Any:  # Any: AbstractBaseUser | None
    """Return the user that Django finds, or None; Django compares the password's hash with its session's here."""
    if looping:
        user = await x.find_auser()
    else:
        user = x.find_user
    if type(user) is SimpleLazyObject:  # each look through it costs a microsecond
        held = object.__getattribute__(user, "_wrapped")
        if held is empty:
            user._setup()
            held = object.__getattribute__(user, "_wrapped")
        user = held
    return user if user.is_authenticated else None


async def link_to(session: Any, public_id: str, looping: bool) -> None:  # Any: SessionBase
    """Let Django's session name this one of ours."""
    if looping:
        await session.aset(LINK, public_id)
    else:
        session[LINK] = public_id
