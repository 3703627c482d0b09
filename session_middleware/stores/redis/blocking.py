"""RedisStore: sessions for many machines, in one Redis, behind Sentinels or in a Cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.runtime import mutex, run_sync
from session_middleware.stores.base import Announcements
from session_middleware.stores.redis.arguments import LEASE, PREFIX, TIMEOUT, checked, listening_to
from session_middleware.stores.redis.calls import RedisCalls
from session_middleware.stores.redis.clients import Client, fitting, maker_of, refuse_long_wait
from session_middleware.stores.redis.faults import FAULTS, Complaints
from session_middleware.stores.redis.link import Link
from session_middleware.stores.redis.links import link_to
from session_middleware.stores.redis.url import address_of

__all__ = ["RedisStore"]


class RedisStore:
    """Keeps records in Redis 6 or later, or Valkey: one server, the master behind Sentinels, or a Cluster.

    A load is one GET. Touch, save, renew and end are a script on the record's key: one trip each, decided where the
    record is; `end` and `create` take another for the list of the subject's sessions, except `create` outside a
    Cluster. Keys expire by themselves, so there is nothing to prune.

    `create`, `end`, `end_before` and `add_once` wait until a replica has the write, where there is one; replicas that
    are late by more than `replica_wait` are counted in `unconfirmed`, and the write stands. What Redis cannot promise:
    a fail-over may lose the last writes, an `end` among them where no replica confirmed it; and after a crash of the
    server it has what its own settings (appendfsync) had put on disk. Set `maxmemory-policy noeviction`: a server that
    evicts signs people out, and in again after `end_before`.

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
        replica_wait: seconds to wait for them, less than the client's own timeout. None: half of that, 0.5 at most.

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
        prefix: str = PREFIX,
        lease: float = LEASE,
        replicas: int = 1,
        replica_wait: float | None = None,
    ) -> None:
        self._make = maker_of(client, awaited=False, replica_wait=replica_wait)
        self._replica_wait = replica_wait
        self._given = None if callable(client) else client
        self._link: Link | None = None
        self._complaints = Complaints()
        self._settling = mutex()
        self._prefix = checked(prefix, lease, replicas, replica_wait)
        self._calls = RedisCalls(
            self._linked, prefix=self._prefix, lease=lease, replicas=replicas, replica_wait=replica_wait
        )

    @classmethod
    def from_url(cls, url: str, *, timeout: float = TIMEOUT, **options: Any) -> RedisStore:  # Any: of the class
        """Return a store for a URL.

        Args:
            url: `redis://user:password@host:6379/0`, `redis+cluster://host,other`, or
                `redis+sentinel://host,other/master-name`; `rediss` for TLS, `valkey` means the same as `redis`. After a
                "?": prefix, timeout, max_connections, ssl_ca_certs, ssl_certfile, ssl_keyfile, sentinel_username,
                sentinel_password.
            timeout: seconds to wait for a connection or an answer. Nothing is repeated by itself.
            options: the other arguments of the class.

        Raises:
            SettingsError: the URL cannot be read, or the rest makes no sense; passwords are never shown.
        """
        address = address_of(url)
        refuse_long_wait(options.get("replica_wait"), address.timeout(timeout))
        options = {"prefix": address.options.get("prefix", PREFIX)} | options
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

    def check(self) -> None:
        """See that the server, or every master, can be reached; a warning in the log says where one may evict keys.

        Raises:
            StoreUnavailable: there is no connection.
        """
        run_sync(self._calls.check())

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
        return listening_to(client, self._prefix, owned=self._given is None)

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
            return fitting(self._make(), awaited=False, replica_wait=self._replica_wait)
        except FAULTS as problem:  # a blocking client of a Cluster connects when it is made
            raise self._complaints.about(problem) from problem
