"""How commands reach Redis: what a link does, whichever servers it leads to; blocking or awaited.

Everything is written `async` once. Over a blocking client nothing ever suspends, and `run_sync` drives it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from redis.exceptions import ResponseError

from session_middleware.stores.redis.faults import FAULTS

__all__ = ["Answer", "Command", "Link", "closed", "or_error"]

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

    async def told_by_masters(self, *command: Any) -> list[Answer]:  # Any: as Command
        """Send a command to every master, and return the answers, errors among them."""
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


async def closed(closing: Awaitable[None]) -> None:
    """Wait until connections are closed; they are gone too where the other side is late to say good-bye."""
    with contextlib.suppress(*FAULTS):
        await closing


async def or_error(asking: Awaitable[Answer]) -> Answer:
    """Wait for an answer; an error that is one is returned."""
    try:
        return await asking
    except ResponseError as problem:
        return problem
