"""AsyncRedisStore: the same, awaited."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError
from session_middleware.runtime import forget_closed, running_loop
from session_middleware.stores._on_trio import OnTrio
from session_middleware.stores.base import Announcements
from session_middleware.stores.redis.arguments import LEASE, PREFIX, TIMEOUT, checked, listening_to
from session_middleware.stores.redis.blocking import RedisStore
from session_middleware.stores.redis.calls import RedisCalls
from session_middleware.stores.redis.clients import Client, fitting, maker_of, refuse_long_wait
from session_middleware.stores.redis.faults import FAULTS, explained
from session_middleware.stores.redis.link import Link
from session_middleware.stores.redis.links import link_to
from session_middleware.stores.redis.url import address_of

__all__ = ["AsyncRedisStore"]


class AsyncRedisStore:
    """The same for asyncio: calls are awaited, with connections of its own for each event loop.

    redis-py's awaited client does not work on trio; there the calls are those of `RedisStore`, in threads.

    Args:
        client: a client of `redis.asyncio` (`Redis`, also from `Sentinel.master_for`, or `RedisCluster`), which then
            serves one event loop only; or a function that returns one, which is called once in each.
        listening: a blocking client to the same Redis, or a function that returns one: for `announcements`, and for
            all calls on trio.
        prefix: as for `RedisStore`.
        lease: as for `RedisStore`.
        replicas: as for `RedisStore`.
        replica_wait: as for `RedisStore`.

    Raises:
        SettingsError: a client of another kind, or nonsense in the rest.
    """

    short_calls: frozenset[str] = frozenset()

    def __init__(
        self,
        client: Client | Callable[[], Client],
        *,
        listening: Client | Callable[[], Client] | None = None,
        prefix: str = PREFIX,
        lease: float = LEASE,
        replicas: int = 1,
        replica_wait: float | None = None,
    ) -> None:
        self._make = maker_of(client, awaited=True, replica_wait=replica_wait)
        self._replica_wait = replica_wait
        self._one_loop = not callable(client)
        self._served: weakref.ref[object] | None = None  # the loop of a client that was given
        self._links: weakref.WeakKeyDictionary[object, tuple[int, Link]] = weakref.WeakKeyDictionary()
        self._listen = None if listening is None else maker_of(listening, awaited=False)
        self._listens_on_its_own = callable(listening)
        self._prefix = checked(prefix, lease, replicas, replica_wait)
        self._calls = RedisCalls(
            self._linked, prefix=self._prefix, lease=lease, replicas=replicas, replica_wait=replica_wait
        )
        self._trio = OnTrio(
            lambda: RedisStore(
                self._blocking(), prefix=prefix, lease=lease, replicas=replicas, replica_wait=replica_wait
            )
        )

    @classmethod
    def from_url(cls, url: str, *, timeout: float = TIMEOUT, **options: Any) -> AsyncRedisStore:  # Any: of the class
        """Return a store for a URL; see `RedisStore.from_url`.

        Raises:
            SettingsError: the URL cannot be read, or the rest makes no sense; passwords are never shown.
        """
        address = address_of(url)
        refuse_long_wait(options.get("replica_wait"), address.timeout(timeout))
        options = {"prefix": address.options.get("prefix", PREFIX)} | options
        return cls(
            lambda: address.client(asynchronous=True, timeout=timeout),
            listening=lambda: address.client(asynchronous=False, timeout=timeout),
            **options,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._prefix.decode()}>"

    async def __aenter__(self) -> AsyncRedisStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections of this event loop; the next call opens new ones."""
        loop = running_loop()
        held = None if loop is None else self._links.pop(loop, None)
        if held is not None:
            await held[1].close()
        self._trio.close()

    async def check(self) -> None:
        """See that the server, or every master, can be reached; a warning in the log says where one may evict keys.

        Raises:
            StoreUnavailable: there is no connection.
        """
        await self._trio.instead_of(self._calls).check()

    @property
    def unconfirmed(self) -> int:
        """How many durable writes of this process no replica confirmed in time."""
        other = self._trio.store
        return self._calls.unconfirmed + (0 if other is None else other.unconfirmed)

    # --- the store's promises: see base.py ------------------------------------------------------------------------

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

    def read_anew(self) -> None:
        """Ask for the instant of `end_before` again; see `RedisStore.read_anew`."""
        self._calls.read_anew()
        if self._trio.store is not None:
            self._trio.store.read_anew()

    async def walk(self, after: bytes | None, limit: int) -> tuple[Sequence[bytes], bytes | None]:
        return await self._trio.instead_of(self._calls).walk(after, limit)

    def announcements(self) -> Announcements:
        """Open a blocking connection of its own to each master, on which Redis says which keys are written.

        Raises:
            SettingsError: the store was made from a client, without `listening`.
        """
        try:
            client = fitting(self._blocking()(), awaited=False)
        except FAULTS as problem:
            raise explained(problem) from problem
        return listening_to(client, self._prefix, owned=self._listens_on_its_own)

    def check_announces(self) -> None:
        """See that there is what `announcements` needs.

        Raises:
            SettingsError: the store was made from a client, without `listening`.
        """
        self._blocking()

    # --- how ------------------------------------------------------------------------------------------------------

    def _blocking(self) -> Callable[[], Client]:
        if self._listen is None:
            raise SettingsError(
                "listening",
                None,
                "announcements are received on a blocking connection, as every call is made on trio, and this store was "
                "given an awaited client only.",
                "Use AsyncRedisStore.from_url(url), or give listening=redis.Redis(...) to the same server.",
            )
        return self._listen

    def _linked(self) -> Link:
        loop = running_loop()
        if loop is None:
            raise SettingsError(
                "store",
                type(self).__name__,
                "is awaited, and no event loop runs here.",
                "Use RedisStore in synchronous code.",
            )
        held = self._links.get(loop)
        if held is not None and held[0] == os.getpid():
            return held[1]
        if self._one_loop and self._served is not None and self._served() is not loop:
            raise SettingsError(
                "client",
                type(self).__name__,
                "was given one client, which belongs to the event loop that used it first, and is used from another.",
                "Use AsyncRedisStore.from_url(url), or give a function that returns a new client.",
            )
        self._served = weakref.ref(loop)
        forget_closed(self._links)
        link = link_to(fitting(self._make(), awaited=True, replica_wait=self._replica_wait))
        self._links[loop] = (os.getpid(), link)
        return link
