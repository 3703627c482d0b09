"""The link to a Cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.cluster import PipelineCommand
from redis.exceptions import AskError, ConnectionError, MovedError, RedisError, ResponseError, TryAgainError

from session_middleware.errors import StoreUnavailable
from session_middleware.stores.redis.clients import timeout_of
from session_middleware.stores.redis.faults import FAULTS, Complaints
from session_middleware.stores.redis.link import Answer, Command, closed, or_error
from session_middleware.stores.redis.replicas import KnownReplicas

__all__ = ["ClusterLink"]


class ClusterLink:
    """A Cluster: each key lives in one of its slots, and commands on one connection share a slot."""

    one_place = False

    def __init__(self, client: Any) -> None:  # Any: redis.RedisCluster or redis.asyncio.RedisCluster
        self._client = client
        self.timeout = timeout_of(client)
        self._awaits = isinstance(client, redis.asyncio.RedisCluster)
        self._complaints = Complaints()
        self._replicas = KnownReplicas()

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
        try:
            return await or_error(self.one("GET", name))
        except ConnectionError:  # one that was idle and that the server has closed, say; a read may be repeated
            return await or_error(self.one("GET", name))

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

    async def told_by_masters(self, *command: Any) -> list[Answer]:  # Any: as Command
        try:
            if self._awaits:
                await self._client.initialize()
            return [(await self._on_node(master, [command]))[0] for master in self._client.get_primaries()]
        except FAULTS as problem:
            raise self._complaints.about(problem) from problem

    async def replicas(self, key: bytes) -> int:
        try:
            master = await self._node(key)
            known = self._replicas.of(master.name)
            if known is not None:
                return known
            # Not by the client's own layout: that is looked up when a master is gone, and then only.
            (told,) = await self._on_node(master, [("INFO", "replication")])
            if isinstance(told, ResponseError):  # an account that may not ask
                return self._replicas.take(master.name, int(self._client.get_node_from_key(key, True) is not None))
            if isinstance(told, Exception):
                raise told
            return self._replicas.said(master.name, told)
        except FAULTS as problem:
            raise self._complaints.about(problem) from problem

    def doubt_replicas(self) -> None:
        self._replicas.doubt()

    async def close(self) -> None:
        if self._awaits:
            nodes = self._client.nodes_manager
            await closed(self._client.aclose())
            # After a fault the client is to learn the slots anew, and until then it closes nothing.
            await closed(nodes.aclose())
            await closed(nodes.aclose("startup_nodes"))
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
