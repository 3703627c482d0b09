"""AsyncPostgresStore: the same, awaited."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.stores._on_trio import OnTrio
from session_middleware.stores.base import Announcements
from session_middleware.stores.postgres.address import options_of
from session_middleware.stores.postgres.blocking import PostgresStore
from session_middleware.stores.postgres.calls import Calls
from session_middleware.stores.postgres.waits import OnLoop

__all__ = ["AsyncPostgresStore"]


class AsyncPostgresStore:
    """The same for asyncio; see `PostgresStore` for all it promises. On trio its calls are those of the blocking form, in threads.

    Several event loops may share it. A caller that is cancelled gives up its connection, not the statement: a logout
    whose request goes away is still stored.

    Example:
        >>> AsyncPostgresStore("host=db.example dbname=app", connections=20)
        <AsyncPostgresStore postgresql://db.example/app>
    """

    short_calls: frozenset[str] = frozenset()

    def __init__(
        self,
        conninfo: str,
        *,
        schema: str = "session_middleware",
        connections: int = 10,
        timeout: float = 2.0,
        prepare: bool = True,
        announces: bool = True,
    ) -> None:
        self._calls = Calls(
            conninfo,
            OnLoop,
            schema=schema,
            connections=connections,
            timeout=timeout,
            prepare=prepare,
            announces=announces,
        )
        self._trio = OnTrio(
            lambda: PostgresStore(
                conninfo,
                schema=schema,
                connections=connections,
                timeout=timeout,
                prepare=prepare,
                announces=announces,
            )
        )

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the store that a URL names; see `PostgresStore.from_url`."""
        conninfo, options = options_of(url)
        return cls(conninfo, **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._calls.address.shown}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def check(self) -> None:
        """See that the server can be reached and has our tables; see `PostgresStore.check`."""
        await self._trio.instead_of(self._calls).check()

    async def close(self) -> None:
        """Close the idle connections; the next call opens new ones."""
        await self._calls.close()
        self._trio.close()

    async def create(self, record: SessionRecord) -> None:
        await self._trio.instead_of(self._calls).create(record)

    async def load(self, key: bytes) -> SessionRecord | None:
        return await self._trio.instead_of(self._calls).load(key)

    async def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        return await self._trio.instead_of(self._calls).touch(key, touch)

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        return await self._trio.instead_of(self._calls).save(record)

    async def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        return await self._trio.instead_of(self._calls).renew(key, generation, to, at)

    async def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        return await self._trio.instead_of(self._calls).end(key, reason, at, keep_until)

    async def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        return await self._trio.instead_of(self._calls).list(handle, now)

    async def create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        return await self._trio.instead_of(self._calls).create_capped(record, handle, most, evict, now, keep_until)

    async def end_before(self, instant: float, at: float) -> None:
        await self._trio.instead_of(self._calls).end_before(instant, at)

    async def add_once(self, key: str, until: float, now: float) -> bool:
        return await self._trio.instead_of(self._calls).add_once(key, until, now)

    async def prune(self, now: float, limit: int = 1000) -> int:
        return await self._trio.instead_of(self._calls).prune(now, limit)

    async def walk(self, after: bytes | None, limit: int) -> tuple[Sequence[bytes], bytes | None]:
        return await self._trio.instead_of(self._calls).walk(after, limit)

    def announcements(self) -> Announcements:
        return self._calls.announcements()

    def check_announces(self) -> None:
        """See that writes are announced.

        Raises:
            SettingsError: the store was made with `announces=False`.
        """
        self._calls.check_announces()
