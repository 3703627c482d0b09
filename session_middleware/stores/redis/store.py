"""RedisStore and AsyncRedisStore: sessions for many machines, in one Redis, behind Sentinels or in a Cluster."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError
from session_middleware.runtime import mutex, run_sync, running_loop
from session_middleware.stores._on_trio import OnTrio
from session_middleware.stores.base import Announcements
from session_middleware.stores.redis.calls import EPOCH, RECORD, RedisCalls
from session_middleware.stores.redis.clients import Client, fitting, maker_of
from session_middleware.stores.redis.faults import FAULTS, Complaints, explained
from session_middleware.stores.redis.link import Link, link_to
from session_middleware.stores.redis.listener import RedisAnnouncements
from session_middleware.stores.redis.url import address_of

__all__ = ["AsyncRedisStore", "RedisStore"]

_PREFIX: Final = "session:"
_TIMEOUT: Final = 2.0
_LEASE: Final = 2.0
_REPLICA_WAIT: Final = 0.5


class RedisStore:
    """Keeps records in Redis 6 or later, or Valkey: one server, the master behind Sentinels, or a Cluster.

    A load is one GET. Touch, save, renew and end are a script on the record's key: one trip each, decided where the
    record is; `end` and `create` take another for the list of the subject's sessions, except `create` outside a
    Cluster. Keys expire by themselves, so there is nothing to prune.

    `create`, `end`, `end_before` and `add_once` wait until a replica has the write, where there is one; replicas that
    are late by more than `replica_wait` are counted in `unconfirmed`, and the write stands. What Redis cannot promise:
    a fail-over may lose the last writes, an `end` among them where no replica confirmed it; and after a crash of the
    server it has what its own settings (appendfsync) had put on disk. Set `maxmemory-policy noeviction`: a server that
    evicts signs people out.

    `end_before` counts at once in the process that calls it, and within `lease` seconds in the others.

    Safe with threads and forks. Give it to asynchronous apps too: its calls then run in threads; `AsyncRedisStore`
    spares them that on asyncio.

    Args:
        client: a `redis.Redis` (also from `Sentinel.master_for`), a `redis.RedisCluster`, or a function that returns
            one, which is then called at first use. It must answer bytes, and read from masters. Its own timeouts and
            retries hold: repeated, no write of this store does harm.
        prefix: begins every key; stores with different prefixes share nothing.
        lease: seconds within which other processes see `end_before`.
        replicas: how many replicas must have a durable write, where there are as many. 0: do not wait.
        replica_wait: seconds to wait for them; less than the client's own timeout.

    Raises:
        SettingsError: a client of another kind, or nonsense in the rest.

    Example:
        >>> store = RedisStore.from_url("redis://localhost:6379/0")
        >>> store.close()
    """

    #: Every call crosses a network.
    short_calls: frozenset[str] = frozenset()

    def __init__(
        self,
        client: Client | Callable[[], Client],
        *,
        prefix: str = _PREFIX,
        lease: float = _LEASE,
        replicas: int = 1,
        replica_wait: float = _REPLICA_WAIT,
    ) -> None:
        self._make = maker_of(client, awaited=False)
        self._given = None if callable(client) else client
        self._link: Link | None = None
        self._complaints = Complaints()
        self._settling = mutex()
        self._prefix, self._lease = _checked(prefix, lease, replicas, replica_wait), lease
        self._calls = RedisCalls(
            self._linked, prefix=self._prefix, lease=lease, replicas=replicas, replica_wait=replica_wait
        )

    @classmethod
    def from_url(cls, url: str, *, timeout: float = _TIMEOUT, **options: Any) -> RedisStore:  # Any: of the class
        """Return a store for a URL.

        Args:
            url: `redis://user:password@host:6379/0`, `redis+cluster://host,other`, or
                `redis+sentinel://host,other/master-name`; `rediss` for TLS, `valkey` means the same as `redis`. After a
                "?": prefix, timeout, max_connections, ssl_ca_certs, ssl_certfile, ssl_keyfile, sentinel_username,
                sentinel_password.
            timeout: seconds to wait for a connection or an answer. Nothing is repeated by itself.
            options: the other arguments of the class.

        Raises:
            SettingsError: the URL cannot be read; passwords are never shown.
        """
        address = address_of(url)
        options = {"prefix": address.options.get("prefix", _PREFIX)} | options
        return cls(lambda: address.client(asynchronous=False, timeout=timeout), **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._prefix.decode()}>"

    def __enter__(self) -> RedisStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        with self._settling:
            link, self._link = self._link, None
        if link is not None:
            run_sync(link.close())

    @property
    def unconfirmed(self) -> int:
        """How many durable writes of this process no replica confirmed in time."""
        return self._calls.unconfirmed

    # --- the store's promises: see base.py ------------------------------------------------------------------------

    def create(self, record: SessionRecord) -> None:
        run_sync(self._calls.create(record))

    def load(self, key: bytes) -> SessionRecord | None:
        return run_sync(self._calls.load(key))

    def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        return run_sync(self._calls.touch(key, touch))

    def save(self, record: SessionRecord) -> SessionRecord | None:
        return run_sync(self._calls.save(record))

    def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        return run_sync(self._calls.renew(key, generation, to, at))

    def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        return run_sync(self._calls.end(key, reason, at, keep_until))

    def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        return run_sync(self._calls.list(handle, now))

    def create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        return run_sync(self._calls.create_capped(record, handle, most, evict, now, keep_until))

    def end_before(self, instant: float, at: float) -> None:
        run_sync(self._calls.end_before(instant, at))

    def add_once(self, key: str, until: float, now: float) -> bool:
        return run_sync(self._calls.add_once(key, until, now))

    def read_anew(self) -> None:
        """Ask for the instant of `end_before` again, though its lease is not over; a near cache has heard of another."""
        self._calls.read_anew()

    def walk(self, after: bytes | None, limit: int) -> tuple[Sequence[bytes], bytes | None]:
        return run_sync(self._calls.walk(after, limit))

    def announcements(self) -> Announcements:
        """Open a connection of its own to each master, on which Redis says which keys are written."""
        client = self._given if self._given is not None else self._made()
        return _listening(client, self._prefix, self._lease, owned=self._given is None)

    # --- how ------------------------------------------------------------------------------------------------------

    def _linked(self) -> Link:
        link = self._link
        if link is not None:
            return link
        made = link_to(self._made())
        with self._settling:  # for an instant only, so that no fork finds it held by a thread that makes a Cluster's
            if self._link is None:
                self._link = made
            link = self._link
        if link is not made:
            run_sync(made.close())
        return link

    def _made(self) -> Client:
        try:
            return fitting(self._make(), awaited=False)
        except FAULTS as problem:  # a blocking client of a Cluster connects when it is made
            raise self._complaints.about(problem) from problem


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
        prefix: str = _PREFIX,
        lease: float = _LEASE,
        replicas: int = 1,
        replica_wait: float = _REPLICA_WAIT,
    ) -> None:
        self._make = maker_of(client, awaited=True)
        self._one_loop = not callable(client)
        self._served: weakref.ref[object] | None = None  # the loop of a client that was given
        self._links: weakref.WeakKeyDictionary[object, tuple[int, Link]] = weakref.WeakKeyDictionary()
        self._listen = None if listening is None else maker_of(listening, awaited=False)
        self._listens_on_its_own = callable(listening)
        self._prefix, self._lease = _checked(prefix, lease, replicas, replica_wait), lease
        self._calls = RedisCalls(
            self._linked, prefix=self._prefix, lease=lease, replicas=replicas, replica_wait=replica_wait
        )
        self._trio = OnTrio(
            lambda: RedisStore(
                self._blocking(), prefix=prefix, lease=lease, replicas=replicas, replica_wait=replica_wait
            )
        )

    @classmethod
    def from_url(cls, url: str, *, timeout: float = _TIMEOUT, **options: Any) -> AsyncRedisStore:  # Any: of the class
        """Return a store for a URL; see `RedisStore.from_url`.

        Raises:
            SettingsError: the URL cannot be read; passwords are never shown.
        """
        address = address_of(url)
        options = {"prefix": address.options.get("prefix", _PREFIX)} | options
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
        return _listening(client, self._prefix, self._lease, owned=self._listens_on_its_own)

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
        link = link_to(fitting(self._make(), awaited=True))
        self._links[loop] = (os.getpid(), link)
        return link


def _checked(prefix: str, lease: float, replicas: int, replica_wait: float) -> bytes:
    if not isinstance(prefix, str) or not prefix:
        raise SettingsError("prefix", prefix, "begins every key, so that a server can be shared.", "Write 'session:'.")
    if not 0 < lease <= 60:
        raise SettingsError("lease", lease, "is no number of seconds up to 60.", "Give 2.0, say.")
    if replicas < 0 or not 0 < replica_wait <= 60:
        raise SettingsError(
            "replicas",
            (replicas, replica_wait),
            "are not a number of replicas and the seconds to wait for them.",
            "Give replicas=1, replica_wait=0.5, say; replicas=0 does not wait.",
        )
    return prefix.encode()


def _listening(client: Client, prefix: bytes, lease: float, *, owned: bool) -> Announcements:
    return RedisAnnouncements(client, prefix + RECORD, prefix + EPOCH, check_every=lease, owned=owned)
