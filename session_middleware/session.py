"""What a view holds: Session (blocking) and AsyncSession (awaitable)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar

from session_middleware import provider_users
from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Verdict
from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord
from session_middleware.engine import Engine
from session_middleware.errors import SessionNotAttached
from session_middleware.provider_tokens import provider_token
from session_middleware.runtime import run_sync
from session_middleware.settings import Limits, seconds

__all__ = ["AsyncSession", "Session", "async_session_of", "session_of"]

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]  # Any: a coroutine's send and yield types

_EMPTY: Mapping[str, Any] = MappingProxyType({})

#: Looking a member up on its enum takes Python 3.11 a tenth of a microsecond.
_ACTIVE = Verdict.ACTIVE


def _instant(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


class _View:
    """What both kinds of session can say without waiting. All instants are aware datetimes in UTC."""

    __slots__ = ("_engine", "_x")

    def __init__(self, engine: Engine, exchange: Exchange) -> None:
        self._engine = engine
        self._x = exchange

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._x.verdict.name}>"  # never a token (ASVS 16.2.5)

    def _opened(self) -> Exchange:
        if not self._x.authenticated:
            self._open_now()
        return self._x

    def _open_now(self) -> None:
        raise SessionNotAttached(
            "This route is exempt, so its session was not read. Call `await session.open()` first."
        )

    @property
    def _record(self) -> SessionRecord | None:
        x = self._x
        if not x.authenticated:
            self._open_now()
        return x.record if x.verdict is _ACTIVE or x.stale else None

    @property
    def verdict(self) -> Verdict:
        """What is known about the session of this request (L16)."""
        return self._opened().verdict

    @property
    def reason(self) -> str | None:
        """Why it is not active, in the word shown outside: inactivity, lifetime, signed_out, unavailable, or None."""
        return self._opened().verdict.reason

    @property
    def is_active(self) -> bool:
        """Whether somebody is signed in; also true for a stale answer (see `is_verified`)."""
        x = self._opened()
        return x.verdict is Verdict.ACTIVE or x.stale

    @property
    def is_verified(self) -> bool:
        """False where a session JWT stands in for the record because the store is down (L17)."""
        return self._opened().verdict is Verdict.ACTIVE

    @property
    def subject(self) -> str | None:
        """Who is signed in, as given to `login()`; None for nobody."""
        x = self._x
        if (
            x.quiet and x.verdict is _ACTIVE
        ):  # what `_record` says, without the call: this is what nearly every view asks
            return x.record.subject  # type: ignore[union-attr]
        record = self._record
        return None if record is None else record.subject

    @property
    def id(self) -> str | None:
        """The public id of the session: good for lists and logs, useless as a token (L10)."""
        return None if self._record is None else self._record.public_id

    @property
    def claims(self) -> Mapping[str, Any]:
        """What was said about the user at login, with `update_claims` applied; read-only."""
        return _EMPTY if self._record is None else MappingProxyType(dict(self._x.claims))

    @property
    def data(self) -> dict[str, Any]:
        """The app's own values in this session. Changes are written when the response starts, name by name (L14).

        After that, in a stream or on a socket, only `save()` writes them.

        Raises:
            SessionError: nobody is signed in: there are no anonymous sessions (L27).
        """
        return self._engine.data_of(self._opened())

    @property
    def factors(self) -> Sequence[Mapping[str, Any]]:
        """How the user proved who they are."""
        return () if self._record is None else self._record.factors

    @property
    def attributes(self) -> Mapping[str, str]:
        """`user_agent` and `address` at login."""
        return _EMPTY if self._record is None else self._record.attributes

    @property
    def actor(self) -> str | None:
        """Who acts as the subject, where somebody does (RFC 8693 §4.1)."""
        return None if self._record is None else self._record.actor

    @property
    def created_at(self) -> datetime | None:
        """When this user's session began."""
        return _instant(None if self._record is None else self._record.created_at)

    @property
    def authenticated_at(self) -> datetime | None:
        """When the user last proved in full who they are; the absolute deadline counts from here (L3)."""
        return _instant(None if self._record is None else self._record.authenticated_at)

    @property
    def last_seen_at(self) -> datetime | None:
        """The last recorded activity; written at most once per touch_interval (L5)."""
        return _instant(None if self._record is None else self._record.last_seen_at)

    @property
    def inactivity_deadline(self) -> datetime | None:
        """When silence ends the session, as enforced; None without such a limit (L5)."""
        force = None if self._record is None else self._x.deadlines
        return _instant(None if force is None else force.inactivity)

    @property
    def absolute_deadline(self) -> datetime | None:
        """When the session ends in any case (L3)."""
        force = None if self._record is None else self._x.deadlines
        return _instant(None if force is None else force.absolute)

    @property
    def ends_at(self) -> datetime | None:
        """The earlier of the two deadlines."""
        force = None if self._record is None else self._x.deadlines
        return _instant(None if force is None else force.ends_at)

    @property
    def jwt(self) -> str | None:
        """The session JWT of this request, to hand to another service of yours (L9)."""
        return self._engine.current_jwt(self._opened())

    def is_fresh(self, within: timedelta | float) -> bool:
        """Say whether the user proved who they are within the last `within` (seconds or `timedelta`)."""
        return self._engine.is_fresh(self._opened(), seconds("within", within))

    def update_claims(self, **claims: Any) -> None:
        """Change claims; None removes one. Written when the response starts, or by `save()` (L14).

        A plain function in `AsyncSession` too, not awaited: it waits for nothing.

        After the response has started, in a stream or on a socket, only `save()` writes them.

        Raises:
            SessionError: nobody is signed in (L27).
            SettingsError: a value is not JSON, or the session JWT would not fit a cookie (L19).
        """
        self._engine.change_claims(self._opened(), claims)


class Session(_View):
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


class AsyncSession(_View):
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
