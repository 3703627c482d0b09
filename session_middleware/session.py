"""What a view holds: Session (blocking) and AsyncSession (awaitable)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from session_middleware import provider_users
from session_middleware.core.exchange import Exchange
from session_middleware.core.provider import ProviderSession
from session_middleware.engine import Engine
from session_middleware.provider_tokens import provider_token
from session_middleware.runtime import run_sync
from session_middleware.session_view import SessionView
from session_middleware.settings import Limits

__all__ = ["AsyncSession", "Session", "async_session_of", "session_of"]

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]  # Any: a coroutine's send and yield types


class Session(SessionView):
    """The session of a request, in blocking code."""

    __slots__ = ("_run",)

    def __init__(self, engine: Engine, exchange: Exchange, run: Run[Any] = run_sync) -> None:
        super().__init__(engine, exchange)
        self._run = run

    def _open_now(self) -> None:
        self._run(self._engine.authenticate(self._x))

    def login(
        self,
        subject: str,
        *,
        claims: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        factors: Sequence[Mapping[str, Any]] = (),
        persistent: bool | None = None,
        minutes: float | None = None,
        limits: Limits | None = None,
        stamp: str | None = None,
        actor: str | None = None,
        provider: ProviderSession | None = None,
    ) -> None:
        """Begin a session for a user who has just proved who they are (L12).

        A new id is minted in any case; the session that came with the request ends when the response starts.

        Args:
            subject: the user's id, as text.
            claims: what to remember about the user; those listed in `jwt_claims` also enter the session JWT.
            data: the app's own values, kept in the store only.
            factors: how they proved it, for example `[{"type": "password"}]`.
            persistent: True keeps the cookie when the browser closes; None takes the setting.
            minutes: the first inactivity deadline, in minutes from now (5..527040).
            limits: stricter limits for this session; never looser than the configured ones (L2).
            stamp: what the authority compares on each request, for example a digest of the password hash.
            actor: who acts as the subject, for support staff signing in as a customer.
            provider: the session at an identity provider that this login stands on; its times count (L3), and once ours
                has ended it is accepted again only after a later authentication (L24).

        Raises:
            SettingsError: an argument makes no sense, or the session JWT would not fit a cookie.
            SessionError: another site made this request (L20), its response takes no cookie (WebSocket, OPTIONS), the user
                is signed in at `max_sessions` places, or the provider session has ended here (`provider_session_ended`):
                send the user there for a new authentication (`prompt=login`, `max_age=0`, `refresh=true`).
            ResponseAlreadyStarted: the headers have gone out.
            StoreUnavailable: the store did not answer.
        """
        self._run(
            self._engine.login(
                self._x,
                subject,
                claims=claims,
                data=data,
                factors=factors,
                persistent=persistent,
                minutes=minutes,
                limits=limits,
                stamp=stamp,
                actor=actor,
                provider=provider,
            )
        )

    def step_up(self, factors: Sequence[Mapping[str, Any]]) -> None:
        """Record a further proof under a new id: the session is fresh, its deadlines stay (L12).

        Raises:
            SessionError: nobody is signed in, or the response takes no cookie (WebSocket, OPTIONS).
            ResponseAlreadyStarted: the headers have gone out.
            StoreUnavailable: the store did not answer.
        """
        self._run(self._engine.step_up(self._x, factors))

    def logout(self) -> None:
        """End this session now, everywhere, and remove its cookies (L13, L25).

        Raises:
            StoreUnavailable: the end could not be stored yet; the cookies go and the end is retried (L17).
            ResponseAlreadyStarted: it has ended, but its cookies could not be removed.
        """
        self._run(self._engine.logout(self._x))

    def end_others(self) -> int:
        """End all other sessions of this user, as `Sessions.end_all` does; return how many there were here.

        Raises:
            SessionError: nobody is signed in.
            StoreUnavailable: not all of them could be ended.
        """
        count: int = self._run(_end_others(self._engine, self._x))
        return count

    def extend(self, minutes: float | None = None) -> None:
        """Set the inactivity deadline to exactly now + minutes (5..527040; None leaves it), capped (L7).

        Raises:
            SettingsError: the minutes are out of range.
            SessionError: the session has ended, or nobody is signed in.
        """
        self._run(self._engine.extend(self._x, minutes))

    def touch(self) -> None:
        """Record activity now (L4-L6): what a message on a socket is where the app says so, or a long request's later signs.

        At most one write per `touch_interval`; a request of its own is activity without it.

        Raises:
            SessionError: the session has ended, or there is none.
            StoreUnavailable: the deadline has passed as far as is known, and the store cannot be asked.
        """
        self._run(self._engine.touch(self._x))

    def provider_token(self) -> str:
        """Return an access token for the APIs of the provider behind this session, refreshed if it is about to end.

        Raises:
            SessionError: nobody is signed in, the provider gave no token, or gives none any more.
            StoreUnavailable: the store or the provider does not answer.
        """
        token: str = self._run(provider_token(self._engine, self._x))
        return token

    def save(self) -> None:
        """Write changed claims and data now instead of when the response starts (L14); after that, nothing else does.

        Raises:
            SessionError: the session has ended, or nobody is signed in.
            StoreUnavailable: they could not be stored; what was changed stays changed here, so it may be tried again.
        """
        self._run(self._engine.save(self._x))


class AsyncSession(SessionView):
    """The session of a request, in asynchronous code: the verbs of `Session`, awaited; `update_claims` and `is_fresh` wait for nothing."""

    __slots__ = ()

    async def open(self) -> AsyncSession:
        """Read the session on an exempt route, where it is not read beforehand (L21); elsewhere it does nothing."""
        engine, x = self._engine, self._x
        # Two tasks of one view may ask at once, resolvers of GraphQL say: the second waits for what the first finds.
        await engine.vouching.alone(("open", id(x)), lambda: engine.authenticate(x))
        return self

    async def login(
        self,
        subject: str,
        *,
        claims: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        factors: Sequence[Mapping[str, Any]] = (),
        persistent: bool | None = None,
        minutes: float | None = None,
        limits: Limits | None = None,
        stamp: str | None = None,
        actor: str | None = None,
        provider: ProviderSession | None = None,
    ) -> None:
        """Begin a session (L12); arguments and errors as `Session.login`."""
        await self._engine.login(
            self._x,
            subject,
            claims=claims,
            data=data,
            factors=factors,
            persistent=persistent,
            minutes=minutes,
            limits=limits,
            stamp=stamp,
            actor=actor,
            provider=provider,
        )

    async def step_up(self, factors: Sequence[Mapping[str, Any]]) -> None:
        """As `Session.step_up`."""
        await self._engine.step_up(self._x, factors)

    async def logout(self) -> None:
        """As `Session.logout`."""
        await self._engine.logout(self._x)

    async def end_others(self) -> int:
        """As `Session.end_others`."""
        return await _end_others(self._engine, self._x)

    async def extend(self, minutes: float | None = None) -> None:
        """As `Session.extend`."""
        await self._engine.extend(self._x, minutes)

    async def touch(self) -> None:
        """As `Session.touch`."""
        await self._engine.touch(self._x)

    async def provider_token(self) -> str:
        """As `Session.provider_token`."""
        return await provider_token(self._engine, self._x)

    async def save(self) -> None:
        """As `Session.save`."""
        await self._engine.save(self._x)


async def _end_others(engine: Engine, x: Exchange) -> int:
    record = await engine.live(x, "end_others")
    mine, before = [record.key], x.outgoing
    # What login or step_up take the place of ends when the response starts, and goes on if none does (L12, L25). Where it
    # stands on a session of the provider's that this one does not, that is another, and ends for good (L24).
    if before is not None and before.provider_session in (None, record.provider_session):
        mine.append(before.key)
    return await provider_users.end_all(engine, record.subject, x.now, mine)


_new = object.__new__


def session_of(engine: Engine, x: Exchange, run: Run[Any] = run_sync) -> Session:
    """Return what `Session(engine, x, run)` does, in half the time: an `__init__` is a call from C (measured)."""
    session = _new(Session)
    session._engine = engine
    session._x = x
    session._run = run
    return session


def async_session_of(engine: Engine, x: Exchange) -> AsyncSession:
    """Return what `AsyncSession(engine, x)` does, in half the time."""
    session = _new(AsyncSession)
    session._engine = engine
    session._x = x
    return session
