"""Sessions as such, for work outside a request: Sessions (blocking) and AsyncSessions (awaitable)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from session_middleware import provider_users
from session_middleware.core.instants import epoch
from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord
from session_middleware.core.tokens import key_of
from session_middleware.core.values import checked_id, checked_subject
from session_middleware.engine import Engine
from session_middleware.errors import SettingsError
from session_middleware.runtime import LoopRuntime, ThreadRuntime, run_sync
from session_middleware.settings import Settings

__all__ = ["AsyncSessions", "SessionInfo", "Sessions"]


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One of a subject's sessions, as lists show it.

    Attributes:
        id: the public id; not the token, and not derivable to it.
        current: whether it is the one that asks.
        attributes: `user_agent` and `address` at login.
    """

    id: str
    current: bool
    created_at: datetime
    authenticated_at: datetime
    last_seen_at: datetime
    attributes: Mapping[str, str]


def _info(record: SessionRecord, current: bytes | None = None) -> SessionInfo:
    return SessionInfo(
        record.public_id,
        record.key == current,
        datetime.fromtimestamp(record.created_at, UTC),
        datetime.fromtimestamp(record.authenticated_at, UTC),
        datetime.fromtimestamp(record.last_seen_at, UTC),
        record.attributes,
    )


class _Outside:
    """Sessions as such: for a password reset, a ban, a task queue, a shell."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def _list(self, subject: str) -> list[SessionInfo]:
        checked_subject(subject)
        return [_info(record) for record in await self._engine.list_of(subject, self._engine.clock())]

    async def _end(self, id: str) -> bool:
        return await self._engine.end_id(checked_id("id", id), self._engine.clock())

    async def _end_all(self, subject: str, except_id: str | None) -> int:
        keep = () if except_id is None else (key_of(checked_id("except_id", except_id)),)
        return await provider_users.end_all(self._engine, checked_subject(subject), self._engine.clock(), keep)

    async def _list_at_provider(self, subject: str) -> list[ProviderSession]:
        return [*await provider_users.list_at_provider(self._engine, checked_subject(subject), self._engine.clock())]

    async def _end_at_provider(self, id: str) -> int:
        return await provider_users.end_at_provider(self._engine, checked_id("id", id), self._engine.clock())

    async def _end_before(self, instant: datetime | float) -> None:
        engine, before = self._engine, epoch("instant", instant)
        now = engine.clock()
        if before > now + engine.settings.timing.clock_skew:
            raise SettingsError(
                "instant",
                instant,
                "lies in the future: every login until then would end as it begins, and it cannot be taken back.",
                "Give an instant up to now.",
            )
        await engine.end_before(before, now)


class Sessions(_Outside):
    """All sessions in a store, for blocking code outside a request.

    Example:
        >>> from session_middleware.stores.memory import MemoryStore
        >>> settings = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"])
        >>> Sessions(settings, MemoryStore()).list("alice")
        []
    """

    def __init__(self, settings: Settings | Engine, store: Any = None, **options: Any) -> None:
        super().__init__(
            settings if isinstance(settings, Engine) else Engine(settings, store, runtime=ThreadRuntime(), **options)
        )

    def list(self, subject: str) -> list[SessionInfo]:
        """Return the live sessions of a user, the latest seen first.

        Raises:
            SettingsError: the subject is no text: nobody can be signed in as 5, only as "5".
        """
        return run_sync(self._list(subject))

    def end(self, id: str) -> bool:
        """End one session by its public id; True if it was alive.

        Raises:
            SettingsError: the id is no text.
        """
        return run_sync(self._end(id))

    def end_all(self, subject: str, except_id: str | None = None) -> int:
        """End all sessions of a user, but for one if given; return how many were alive here.

        Those at the provider end too, also those never seen here, where the authority has the rights to ask for them
        (Stytch; Kratos with `admin_url`; Auth0 with `management`): else their credential would begin the next session.

        Raises:
            SettingsError: the subject or the id is no text: a ban of 5 would not end the sessions of "5".
            StoreUnavailable: an end could not be stored, or ours have ended and the provider does not answer; do it again.
        """
        return run_sync(self._end_all(subject, except_id))

    def list_at_provider(self, subject: str) -> Sequence[ProviderSession]:
        """Return the live sessions of a user at the provider behind the app, also those never seen here.

        Raises:
            SessionError: the authority has not the rights for it, or no such thing (`code="not_supported"`).
            StoreUnavailable: the provider does not answer.
        """
        return run_sync(self._list_at_provider(subject))

    def end_at_provider(self, id: str) -> int:
        """End a session by its id at the provider, there and here; return how many of ours stood on it.

        Raises:
            SessionError: as `list_at_provider`.
            StoreUnavailable: the end could not be stored, or the provider does not answer; do it again.
        """
        return run_sync(self._end_at_provider(id))

    def end_before(self, instant: datetime | float) -> None:
        """End every session authenticated before an instant: after a breach, say. Constant time.

        Raises:
            SettingsError: it is no instant, or one to come.
        """
        run_sync(self._end_before(instant))


class AsyncSessions(_Outside):
    """As `Sessions`, awaited."""

    def __init__(self, settings: Settings | Engine, store: Any = None, **options: Any) -> None:
        super().__init__(
            settings if isinstance(settings, Engine) else Engine(settings, store, runtime=LoopRuntime(), **options)
        )

    async def list(self, subject: str) -> list[SessionInfo]:
        """As `Sessions.list`."""
        return await self._list(subject)

    async def end(self, id: str) -> bool:
        """As `Sessions.end`."""
        return await self._end(id)

    async def end_all(self, subject: str, except_id: str | None = None) -> int:
        """As `Sessions.end_all`."""
        return await self._end_all(subject, except_id)

    async def list_at_provider(self, subject: str) -> Sequence[ProviderSession]:
        """As `Sessions.list_at_provider`."""
        return await self._list_at_provider(subject)

    async def end_at_provider(self, id: str) -> int:
        """As `Sessions.end_at_provider`."""
        return await self._end_at_provider(id)

    async def end_before(self, instant: datetime | float) -> None:
        """As `Sessions.end_before`."""
        await self._end_before(instant)
