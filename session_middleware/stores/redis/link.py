"""How commands reach Redis: one server (or the master a Sentinel names), or a Cluster; blocking or awaited.

Everything is written `async` once. Over a blocking client nothing ever suspends, and `run_sync` drives it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Protocol

import redis
import redis.asyncio
from redis.asyncio.cluster import PipelineCommand
from redis.exceptions import (
    AskError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from session_middleware.errors import StoreUnavailable
from session_middleware.stores.redis.clients import timeout_of
from session_middleware.stores.redis.faults import FAULTS, Complaints
from session_middleware.stores.redis.line import ASK_THE_CLIENT, Lost
from session_middleware.stores.redis.reading import AwaitedReads, BlockingReads

__all__ = ["ClusterLink", "DirectLink", "Link", "link_to"]

#: Seconds for which it is believed how many replicas a server said it has.
_REPLICAS_KNOWN: Final = 10.0

Command = tuple[Any, ...]  # Any: what the client takes: str, bytes, numbers
Answer = Any  # whatever the command answers


class Link(Protocol):
    """Sends commands.

    Attributes:
        one_place: whether all keys live in one place, so that commands on several keys can share a trip.
        timeout: seconds after which an answer that has not come is given up; None: never.
    """

    one_place: bool
    timeout: float | None

    async def one(self, *command: Any) -> Answer:  # Any: as Command
        """Send a command to where its key lives and return the answer; raise if it is an error."""
        ...

    async def get(self, name: bytes) -> Answer:
        """Return what stands under a key, an error as an answer."""
        ...

    async def together(self, key: bytes, commands: Sequence[Command]) -> list[Answer]:
        """Send commands on one connection to where the key lives, in one trip; errors are returned as answers."""
        ...

    async def values(self, keys: Sequence[bytes]) -> list[Answer]:
        """Return what stands under each key, errors as answers."""
        ...

    async def scan(self, pattern: bytes, after: bytes | None, limit: int) -> tuple[list[bytes], bytes | None]:
        """Return some names of keys that match, on all masters in turn, and where to go on; None at the end."""
        ...

    async def replicas(self, key: bytes) -> int:
        """Return how many replicas follow the server where the key lives."""
        ...

    def doubt_replicas(self) -> None:
        """Ask anew for the number of replicas, since one did not answer."""
        ...

    async def close(self) -> None:
        """Close the connections; the next command opens new ones."""
        ...


def link_to(client: Any) -> Link:  # Any: a client of redis-py
    """Return the link for a client."""
    if isinstance(client, (redis.RedisCluster, redis.asyncio.RedisCluster)):
        return ClusterLink(client)
    return DirectLink(client)


async def _closed(closing: Awaitable[None]) -> None:
    """Wait until connections are closed; they are gone too where the other side is late to say good-bye."""
    with contextlib.suppress(*FAULTS):
        await closing


async def _or_error(asking: Awaitable[Answer]) -> Answer:
    """Wait for an answer; an error that is one is returned."""
    try:
        return await asking
    except ResponseError as problem:
        return problem


class DirectLink:
    """One server."""

    one_place = True

    def __init__(self, client: Any) -> None:  # Any: redis.Redis or redis.asyncio.Redis
        self._client = client
        self.timeout = timeout_of(client)
        self._awaits = isinstance(client, redis.asyncio.Redis)
        self._tls = "SSL" in client.connection_pool.connection_class.__name__
        self._reads = AwaitedReads(client) if self._awaits else BlockingReads(client)
        self._complaints = Complaints()
        self._replicas = 0
        self._replicas_due = -1.0

    async def one(self, *command: Any) -> Answer:  # Any: as Command
        try:
            answer = self._client.execute_command(*command)
            answer = await answer if self._awaits else answer
            self._complaints.are_over()
            return answer
        except FAULTS as problem:
            raise self._complaints.about(problem, tls=self._tls) from problem

    async def get(self, name: bytes) -> Answer:
        reads = self._reads
        try:
            if isinstance(reads, AwaitedReads):
                try:
                    answer = await reads.ask(name)[0]
                except Lost:
                    answer = await reads.ask(name)[0]
            else:
                answer = reads.get(name)
        except FAULTS as problem:
            raise self._complaints.about(problem, tls=self._tls) from problem
        if answer is ASK_THE_CLIENT:
            return await _or_error(self.one("GET", name))
        self._complaints.are_over()
        return answer

    async def together(self, key: bytes, commands: Sequence[Command]) -> list[Answer]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            answers = pipeline.execute(raise_on_error=False)
            return list(await answers if self._awaits else answers)
        except FAULTS as problem:
            raise self._complaints.about(problem, tls=self._tls) from problem

    async def values(self, keys: Sequence[bytes]) -> list[Answer]:
        if isinstance(self._reads, AwaitedReads) and keys:
            try:
                answers = await self._reads.get(keys)
            except FAULTS as problem:
                raise self._complaints.about(problem, tls=self._tls) from problem
            if ASK_THE_CLIENT not in answers:
                return answers
        return await self.together(b"", [("GET", key) for key in keys]) if keys else []

    async def scan(self, pattern: bytes, after: bytes | None, limit: int) -> tuple[list[bytes], bytes | None]:
        cursor, names = await self.one("SCAN", after or b"0", "MATCH", pattern, "COUNT", limit)
        return names, str(cursor).encode() if cursor else None

    async def replicas(self, key: bytes) -> int:
        now = time.monotonic()
        if now >= self._replicas_due:
            try:
                self._replicas = int((await self.one("INFO", "replication")).get("connected_slaves", 0))
            except (ResponseError, StoreUnavailable):  # an account that may not ask
                self._replicas = 0
            self._replicas_due = now + _REPLICAS_KNOWN
        return self._replicas

    def doubt_replicas(self) -> None:
        self._replicas_due = -1.0

    async def close(self) -> None:
        if isinstance(self._reads, AwaitedReads):
            await _closed(self._reads.close())
        pool = self._client.connection_pool
        sentinels = getattr(getattr(pool, "sentinel_manager", None), "sentinels", [])
        for client in (self._client, *sentinels):  # whoever was made from a pool or by a Sentinel's leaves it open
            if self._awaits:
                await _closed(client.aclose())
                await _closed(client.connection_pool.disconnect())
            else:
                client.close()
                client.connection_pool.disconnect()


class ClusterLink:
    """A Cluster: each key lives in one of its slots, and commands on one connection share a slot."""

    one_place = False

    def __init__(self, client: Any) -> None:  # Any: redis.RedisCluster or redis.asyncio.RedisCluster
        self._client = client
        self.timeout = timeout_of(client)
        self._awaits = isinstance(client, redis.asyncio.RedisCluster)
        self._complaints = Complaints()

    async def one(self, *command: Any) -> Answer:  # Any: as Command
        try:
            if self._awaits:
                # Before it knows the slots, redis-py's awaited client asks any node, and five such detours make it
                # close connections that others are using.
                await self._client.initialize()
            answer = self._client.execute_command(*command)
            answer = await answer if self._awaits else answer
            self._complaints.are_over()
            return answer
        except FAULTS as problem:
            raise self._complaints.about(problem) from problem

    async def get(self, name: bytes) -> Answer:
        return await _or_error(self.one("GET", name))

    async def together(self, key: bytes, commands: Sequence[Command]) -> list[Answer]:
        try:
            answers = await self._on_node(await self._node(key), commands)
        except FAULTS as problem:
            raise self._complaints.about(problem) from problem
        for at, answer in enumerate(answers):
            # The slot has moved: nothing was done, and the client that finds the new place sends one command at a time.
            # A WAIT sent to the old place has then waited for nothing; the replicas of the new one get the write a
            # moment later.
            if isinstance(answer, (MovedError, AskError, TryAgainError)):
                answers[at] = await self._caught(commands[at])
        return answers

    async def values(self, keys: Sequence[bytes]) -> list[Answer]:
        if not keys:
            return []
        try:
            if self._awaits:
                await self._client.initialize()
            pipeline = self._client.pipeline()
            for key in keys:
                pipeline.execute_command("GET", key)
            answers = pipeline.execute(raise_on_error=False)
            return list(await answers if self._awaits else answers)
        except FAULTS as problem:
            raise self._complaints.about(problem) from problem

    async def scan(self, pattern: bytes, after: bytes | None, limit: int) -> tuple[list[bytes], bytes | None]:
        try:
            if self._awaits:
                await self._client.initialize()
            masters = {node.name.encode(): node for node in self._client.get_primaries()}
            name, _, cursor = (after or min(masters) + b" 0").partition(b" ")
            if name not in masters:
                raise StoreUnavailable(
                    "The masters of the Redis Cluster have changed while its keys were read. Begin again."
                )
            (answer,) = await self._on_node(masters[name], [("SCAN", cursor, "MATCH", pattern, "COUNT", limit)])
        except FAULTS as problem:
            raise self._complaints.about(problem) from problem
        if isinstance(answer, Exception):
            raise answer
        following, names = answer
        if following:
            return names, b"%s %d" % (name, following)
        behind = min((other for other in masters if other > name), default=None)
        return names, None if behind is None else behind + b" 0"

    async def replicas(self, key: bytes) -> int:
        try:
            if self._awaits:
                await self._client.initialize()
            return int(self._client.get_node_from_key(key, replica=True) is not None)
        except FAULTS as problem:
            raise self._complaints.about(problem) from problem

    def doubt_replicas(self) -> None:
        """Nothing to do: the client learns of another layout when a node is gone."""

    async def close(self) -> None:
        if self._awaits:
            nodes = self._client.nodes_manager
            await _closed(self._client.aclose())
            # After a fault the client is to learn the slots anew, and until then it closes nothing.
            await _closed(nodes.aclose())
            await _closed(nodes.aclose("startup_nodes"))
        else:
            self._client.disconnect_connection_pools()  # its `close` leaves those of the nodes open
            self._client.close()

    async def _node(self, key: bytes) -> Any:  # Any: a node of the client
        if self._awaits:
            await self._client.initialize()
        return self._client.get_node_from_key(key)

    async def _on_node(self, node: Any, commands: Sequence[Command]) -> list[Answer]:  # Any: a node of the client
        if self._awaits:
            sent = [PipelineCommand(at, *command) for at, command in enumerate(commands)]
            await node.execute_pipeline(sent)
            return [command.result for command in sent]
        pipeline = self._client.get_redis_connection(node).pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return list(pipeline.execute(raise_on_error=False))

    async def _caught(self, command: Command) -> Answer:
        try:
            return await self.one(*command)
        except RedisError as problem:
            return problem
