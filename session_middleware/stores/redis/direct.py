"""The link to one server, or to the master that a Sentinel names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import ResponseError

from session_middleware.errors import StoreUnavailable
from session_middleware.stores.redis.clients import timeout_of
from session_middleware.stores.redis.faults import FAULTS, Complaints, Fault, is_of_a_replica
from session_middleware.stores.redis.line import ASK_THE_CLIENT, Lost
from session_middleware.stores.redis.link import Answer, Command, closed, or_error
from session_middleware.stores.redis.reading import AwaitedReads, BlockingReads
from session_middleware.stores.redis.replicas import KnownReplicas

__all__ = ["DirectLink"]


class DirectLink:
    """One server.

    Where it says that it is a replica, a fail-over has made it one, and the name that led to it leads elsewhere now: all
    connections are made anew, and what was asked, of which nothing was done, is asked once more.
    """

    one_place = True

    def __init__(self, client: Any) -> None:  # Any: redis.Redis or redis.asyncio.Redis
        self._client = client
        self.timeout = timeout_of(client)
        self._awaits = isinstance(client, redis.asyncio.Redis)
        self._tls = "SSL" in client.connection_pool.connection_class.__name__
        self._reads = AwaitedReads(client) if self._awaits else BlockingReads(client)
        self._complaints = Complaints()
        self._replicas = KnownReplicas()

    async def one(self, *command: Any) -> Answer:  # Any: as Command
        try:
            answer = self._client.execute_command(*command)
            answer = await answer if self._awaits else answer
        except FAULTS as problem:
            if not is_of_a_replica(problem):
                raise self._complaints.about(problem, tls=self._tls) from problem
            answer = (await self._elsewhere([command]))[0]
            if isinstance(answer, Fault):
                raise self._complaints.about(answer, tls=self._tls) from answer
        self._complaints.are_over()
        return answer

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
            return await or_error(self.one("GET", name))
        self._complaints.are_over()
        return answer

    async def together(self, key: bytes, commands: Sequence[Command]) -> list[Answer]:
        answers = await self._asked(commands)
        # Only where the first was not done: else a second time it would meet its own doing.
        return await self._elsewhere(commands) if is_of_a_replica(answers[0]) else answers

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

    async def told_by_masters(self, *command: Any) -> list[Answer]:  # Any: as Command
        return await self._asked([command])

    async def replicas(self, key: bytes) -> int:
        known = self._replicas.of("")
        if known is not None:
            return known
        try:
            return self._replicas.said("", await self.one("INFO", "replication"))
        except (ResponseError, StoreUnavailable):  # an account that may not ask
            return self._replicas.take("", 0)

    def doubt_replicas(self) -> None:
        self._replicas.doubt()

    async def close(self) -> None:
        if isinstance(self._reads, AwaitedReads):
            await closed(self._reads.close())
        pool = self._client.connection_pool
        sentinels = getattr(getattr(pool, "sentinel_manager", None), "sentinels", [])
        for client in (self._client, *sentinels):  # whoever was made from a pool or by a Sentinel's leaves it open
            if self._awaits:
                await closed(client.aclose())
                await closed(client.connection_pool.disconnect())
            else:
                client.close()
                client.connection_pool.disconnect()

    async def _asked(self, commands: Sequence[Command]) -> list[Answer]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            answers = pipeline.execute(raise_on_error=False)
            return list(await answers if self._awaits else answers)
        except FAULTS as problem:
            raise self._complaints.about(problem, tls=self._tls) from problem

    async def _elsewhere(self, commands: Sequence[Command]) -> list[Answer]:
        """Ask where the name leads now; connections that others are using go when these hear of it themselves."""
        pool = self._client.connection_pool
        self._reads.leave()
        if isinstance(self._reads, AwaitedReads):
            idle: list[Any] = list(getattr(pool, "_available_connections", ()))  # Any: connections
            for connection in idle:
                await connection.disconnect(nowait=True)  # which does not suspend: nobody takes one that is half closed
        else:
            pool.disconnect(inuse_connections=False)
        return await self._asked(commands)
