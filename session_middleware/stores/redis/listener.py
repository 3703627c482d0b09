"""What Redis announces: client tracking in broadcast mode, on a connection of its own to each master.

Compared with a PUBLISH in every script: either takes the server 14 us a touch with eight listeners instead of 9 without;
but tracking also tells of what no script of ours does (a key that expired or was evicted, FLUSHALL, an operator's DEL),
and in a Cluster each master tells of its own keys, while PUBLISH goes to every node. It is asked for in RESP2, redirected
to the connection itself, which then only listens.

In a Cluster each question also asks which masters there are: what a master says that nobody listens to is not heard, so an
answer proves nothing unless they are all the same as before. Whoever asks decides how often, and so a near cache's lease
holds while a Cluster grows.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, NoPermissionError, ResponseError
from redis.retry import Retry

from session_middleware.errors import StoreUnavailable
from session_middleware.runtime import mutex, run_sync
from session_middleware.stores.redis.faults import CHANNEL, FAULTS, explained
from session_middleware.stores.redis.links import link_to

__all__ = ["RedisAnnouncements"]

_CHANNEL = CHANNEL.encode()

#: Names the connection on which a Cluster's masters are looked up; a master's name is its address.
_LOOKING = "looking"

_PING, _SLOTS = ("PING",), ("CLUSTER", "SLOTS")


class RedisAnnouncements:
    """Listens to every master.

    Args:
        client: a blocking client.
        records: begins the key of every record.
        epoch: the key of `end_before`'s instant.
        owned: whether to close the client at the end.

    Raises:
        StoreUnavailable: this Redis does not announce.
    """

    def __init__(self, client: Any, records: bytes, epoch: bytes, *, owned: bool) -> None:
        # Any: redis.Redis or redis.RedisCluster
        self._client = client
        self._records = records
        self._owned = owned
        self._cluster = isinstance(client, redis.RedisCluster)
        self._sending = mutex()
        self._closed = False
        self._connections: dict[str, Any] = {}  # of redis-py, by the master's name
        self._answers: dict[str, int] = {}
        self._told = 0
        self._masters: set[bytes] = set()
        try:
            pools = self._pools()
            for name, pool in pools.items():
                connection = _connection_of(pool)
                self._connections[name], self._answers[name] = connection, 0
                connection.connect()
                if self._cluster:
                    self._masters.add(_asked(connection, "CLUSTER", "MYID"))
                _listen(connection, (records, epoch))
            if self._cluster:
                looking = self._connections[_LOOKING] = _connection_of(next(iter(pools.values())))
                self._answers[_LOOKING] = 0
                looking.connect()
                self._check_masters(_asked(looking, *_SLOTS))
        except BaseException as problem:
            self.close()
            if self._cluster and not owned:  # a client that lives on may still know a master that is gone
                with contextlib.suppress(Exception):
                    client.nodes_manager.initialize()
            if isinstance(problem, ResponseError) and not isinstance(problem, NoPermissionError):
                raise StoreUnavailable(
                    f"This Redis does not announce changes ({problem}). It takes Redis 6 or later, or Valkey."
                ) from problem
            if isinstance(problem, FAULTS):
                raise explained(problem) from problem
            raise

    def ask(self) -> None:
        with self._sending:
            for name, connection in self._connections.items():
                _socket(connection)  # else redis-py would connect anew, to a server that announces nothing to us
                connection.send_command(*(_SLOTS if name == _LOOKING else _PING), check_health=False)

    def receive(self, seconds: float) -> tuple[Sequence[bytes], int]:
        try:
            return self._received(seconds)
        except BaseException:
            self.close()  # what was lost once has missed something, and never announces again
            raise

    def _received(self, seconds: float) -> tuple[Sequence[bytes], int]:
        patience = time.monotonic() + seconds
        keys: list[bytes] = []
        for connection in self._connections.values():
            _socket(connection)
        # What the parser has read beyond the last message no socket shows.
        ready = [name for name, connection in self._connections.items() if connection.can_read(0)]
        while True:
            if self._closed:
                raise ConnectionError("The connection was closed.")
            for name in ready:
                while self._connections[name].can_read(0):
                    self._take(name, self._connections[name].read_response(), keys)
            answered = min(self._answers.values()) - self._told
            left = patience - time.monotonic()
            if keys or answered or left <= 0:
                self._told += answered
                return keys, answered
            ready = self._told_something(left)

    def _told_something(self, seconds: float) -> list[str]:
        """Wait at most so long, and return which masters have sent something."""
        # Not epoll, which a socket closed meanwhile would leave waiting; nor select, which knows 1024 files only.
        with getattr(selectors, "PollSelector", selectors.SelectSelector)() as waiting:
            try:
                for name, connection in self._connections.items():
                    waiting.register(_socket(connection), selectors.EVENT_READ, name)
            except ValueError:
                raise ConnectionError("The connection was closed.") from None
            return [key.data for key, _ in waiting.select(seconds)]

    def close(self) -> None:
        self._closed = True
        for connection in self._connections.values():
            # Shutting down wakes a `receive` of another thread, which closing alone would not.
            with contextlib.suppress(Exception):
                connection.disconnect()
        if self._owned:
            with contextlib.suppress(Exception):
                run_sync(link_to(self._client).close())

    def _take(self, name: str, message: Any, keys: list[bytes]) -> None:  # Any: what redis-py parsed
        if name == _LOOKING:
            self._check_masters(message)
            self._answers[name] += 1
            return
        if not isinstance(message, list):
            raise ConnectionError(f"Redis said {message!r} where it should announce.")
        if message[0] == b"pong":
            self._answers[name] += 1
        elif message[0] == b"message" and message[1] == _CHANNEL:
            told = message[2] or (b"",)  # nothing: the whole database was flushed
            keys += (key.removeprefix(self._records) if key.startswith(self._records) else b"" for key in told)

    def _pools(self) -> dict[str, Any]:  # Any: pools of redis-py
        if not self._cluster:
            return {"": self._client.connection_pool}
        return {
            node.name: self._client.get_redis_connection(node).connection_pool for node in self._client.get_primaries()
        }

    def _check_masters(self, slots: Any) -> None:  # Any: what redis-py parsed
        """Raise where the Cluster has masters that nobody listens to; whoever opens us anew then does."""
        if {slot[2][2] for slot in slots} != self._masters:
            self._client.nodes_manager.initialize()
            raise ConnectionError("The Cluster has other masters than before.")


def _connection_of(pool: Any) -> Any:  # Any: a pool and a connection of redis-py
    """Return a new connection to where a pool's go, that speaks RESP2 and repeats nothing."""
    options = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if not name.startswith(("maint_", "oss_", "orig_")) and name != "himport_registry"
    }
    return pool.connection_class(**(options | {"protocol": 2, "retry": Retry(NoBackoff(), 0)}))


def _asked(connection: Any, *command: Any) -> Any:  # Any: a connection of redis-py, a command and its answer
    connection.send_command(*command, check_health=False)
    return connection.read_response()


def _listen(connection: Any, prefixes: tuple[bytes, ...]) -> None:  # Any: a connection of redis-py
    itself = _asked(connection, "CLIENT", "ID")
    tracked = [word for prefix in prefixes for word in ("PREFIX", prefix)]
    _asked(connection, "CLIENT", "TRACKING", "ON", "REDIRECT", itself, "BCAST", *tracked)
    _asked(connection, "SUBSCRIBE", _CHANNEL)


def _socket(connection: Any) -> Any:  # Any: a connection of redis-py, and its socket
    """Return the socket to wait for: redis-py itself can wait for one connection only."""
    found = connection._sock
    if found is None:
        raise ConnectionError("The connection was closed.")
    return found
