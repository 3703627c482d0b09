"""What a Django view calls; all of it is to be had from `session_middleware.adapters.django`."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from django.http import HttpRequest

from session_middleware.adapters import _django_auth as auth
from session_middleware.adapters._django_exchange import KEY, Attached
from session_middleware.adapters._django_setup import current
from session_middleware.core.origin import safe_path
from session_middleware.errors import SessionNotAttached
from session_middleware.runtime import on_loop
from session_middleware.session import AsyncSession, Session, async_session_of, session_of
from session_middleware.sessions import AsyncSessions, Sessions

__all__ = ["asession_from", "asessions", "safe_return_to", "session_from", "sessions"]

T = TypeVar("T")


def _not_attached() -> SessionNotAttached:
    return SessionNotAttached(
        "This request did not pass through SessionLifetimeMiddleware. Add "
        "'session_middleware.adapters.django.SessionLifetimeMiddleware' to MIDDLEWARE; code that runs in a "
        "middleware must stand after it."
    )


def _attached(request: HttpRequest) -> Attached:
    x: Attached | None = getattr(request, KEY, None)
    if x is None:
        raise _not_attached()
    return x


def session_from(request: HttpRequest) -> Session:
    """Return the session of a request, in blocking code: a `def` view, under WSGI and under ASGI.

    Raises:
        SessionNotAttached: the request did not pass through the middleware, or this is asynchronous code.
    """
    try:
        x: Attached = request._session_lifetime  # type: ignore[attr-defined]  # KEY
    except AttributeError:
        raise _not_attached() from None
    if on_loop():
        raise SessionNotAttached(
            "session_from(request) blocks, and this is asynchronous code: write asession_from(request) here, and await "
            "what it can do."
        )
    side = x.side
    if x.find_user is None:
        return session_of(side.engine, x, side.run)
    if not x.settled:
        side.run(auth.settle(request, x))
    session = _new(_Bridged)
    session._engine = side.engine
    session._x = x
    session._request = request
    return session


def asession_from(request: HttpRequest) -> AsyncSession:
    """Return the session of a request, in asynchronous code: an `async def` view, under ASGI and under WSGI.

    On an exempt route it is opened first: `await asession_from(request).open()`.

    Raises:
        SessionNotAttached: the request did not pass through the middleware, or this is blocking code.
    """
    x = _attached(request)
    if not on_loop():
        raise SessionNotAttached(
            "asession_from(request) must be awaited, and this is blocking code: write session_from(request) here."
        )
    engine = x.side.engine
    if x.find_user is None:
        return async_session_of(engine, x)
    session = _AsyncBridged(engine, x)
    session._request = request
    return session


_new = object.__new__


class _Bridged(Session):
    """The session of a request to a project whose users are bridged: Django's user follows what its verbs do (L23)."""

    __slots__ = ("_request",)

    _request: HttpRequest

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        x = _attached(self._request)
        try:
            found: T = x.side.run(coroutine)
            return found
        finally:
            auth.follow(self._request, x)


class _AsyncBridged(AsyncSession):
    """The same in asynchronous code; opening it also asks whether Django knows the user."""

    __slots__ = ("_request",)

    _request: HttpRequest

    async def open(self) -> AsyncSession:
        """As `AsyncSession.open`."""
        await auth.settle(self._request, _attached(self._request))
        return self

    async def login(self, subject: str, **given: Any) -> None:  # Any: arguments of AsyncSession.login
        """As `AsyncSession.login`."""
        await self.open()  # a forced login from outside is adopted first, or it would take the place of this one
        await self._followed(super().login(subject, **given))

    async def step_up(self, factors: Sequence[Mapping[str, Any]]) -> None:
        """As `AsyncSession.step_up`."""
        await self._followed(super().step_up(factors))

    async def logout(self) -> None:
        """As `AsyncSession.logout`."""
        await self._followed(super().logout())

    async def end_others(self) -> int:
        """As `AsyncSession.end_others`."""
        return await self._followed(super().end_others())

    async def extend(self, minutes: float | None = None) -> None:
        """As `AsyncSession.extend`."""
        await self._followed(super().extend(minutes))

    async def touch(self) -> None:
        """As `AsyncSession.touch`."""
        await self._followed(super().touch())

    async def provider_token(self) -> str:
        """As `AsyncSession.provider_token`."""
        return await self._followed(super().provider_token())

    async def save(self) -> None:
        """As `AsyncSession.save`."""
        await self._followed(super().save())

    async def _followed(self, verb: Coroutine[Any, Any, T]) -> T:
        try:
            return await verb
        finally:
            auth.follow(self._request, _attached(self._request))


def safe_return_to(request: HttpRequest, default: str = "/") -> str:
    """Return where to go after login: the return parameter if it is a path on this host, else `default` (L15).

    As in Django's LoginView it may come with the form or with the URL.
    """
    name = _attached(request).side.engine.return_param
    values = (request.POST.getlist(name) if request.method == "POST" else []) or request.GET.getlist(name)
    path = safe_path(values[0]) if len(set(values)) == 1 else None
    return default if path is None else path


def sessions() -> Sessions:
    """Return all sessions of this project, for blocking code outside a request: a shell, a command, a task.

    Raises:
        SessionNotAttached: this is asynchronous code.
        SettingsError: the store can only be awaited.
    """
    if on_loop():
        raise SessionNotAttached("sessions() blocks, and this is asynchronous code: write asessions() here.")
    return Sessions(current().blocking.engine)


def asessions() -> AsyncSessions:
    """Return all sessions of this project, for asynchronous code outside a request."""
    return AsyncSessions(current().looping.engine)
