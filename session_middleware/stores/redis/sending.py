"""How a script is sent, how a durable write waits for replicas, and what an answer that is an error means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import NoScriptError, ResponseError

from session_middleware.errors import RecordUnreadable
from session_middleware.stores.redis.faults import Fault, explained
from session_middleware.stores.redis.link import Answer, Command, Link
from session_middleware.stores.redis.scripts import Script

__all__ = ["Sending", "value_of"]

#: Seconds to wait for replicas where nobody says how long: at most so many, and never longer than half of what an answer
#: may take, since a call that is given up in between has written and says that it has not.
_REPLICA_WAIT: Final = 0.5


class Sending:
    """Sends writes.

    Args:
        replicas: how many replicas are to confirm a durable write, where there are so many.
        replica_wait: seconds to wait for them; None: half of what an answer may take, 0.5 at most.

    Attributes:
        unconfirmed: how many durable writes they did not confirm in time.
    """

    def __init__(self, *, replicas: int, replica_wait: float | None) -> None:
        self._replicas = replicas
        self._wait = replica_wait
        self.unconfirmed = 0

    async def script(self, link: Link, script: Script, key: bytes, *arguments: Any) -> Answer:  # Any: as Command
        """Run a script on a key: by its name, and by its text where the server does not know it."""
        try:
            return await link.one("EVALSHA", script.digest, 1, key, *arguments)
        except NoScriptError:
            pass
        except ResponseError as problem:
            return value_of(problem)
        try:
            return await link.one("EVAL", script.text, 1, key, *arguments)
        except ResponseError as problem:
            return value_of(problem)

    async def durable_script(
        self, link: Link, script: Script, key: bytes, *arguments: Any
    ) -> Answer:  # Any: as Command
        """Do what `script` does, durably."""
        if not await self._wanted(link, key):
            return await self.script(link, script, key, *arguments)
        # By its text: that the server does not know the name would be heard only when the wait for a silent replica is
        # over, and then that would be waited for once more.
        return value_of((await self.durably(link, key, [("EVAL", script.text, 1, key, *arguments)]))[0])

    async def durably(self, link: Link, key: bytes, commands: Sequence[Command]) -> list[Answer]:
        """Send writes, in the same trip wait for replicas to have them where there are any, and return the answers.

        Errors and faults are among them; `value_of` raises what they say. Replicas that are late are no error: the write stands, and raising would tell a caller that it had not (L13).
        """
        wanted = await self._wanted(link, key)
        if not wanted and len(commands) == 1:
            try:
                return [await link.one(*commands[0])]
            except ResponseError as problem:
                return [problem]
        if not wanted:
            answers = await link.together(key, commands)
        else:
            wait = ("WAIT", wanted, self._milliseconds(link))
            *answers, confirmed = await link.together(key, [*commands, wait])
            late = not isinstance(confirmed, int) or confirmed < wanted
            if late and not isinstance(answers[0], Exception):
                self.unconfirmed += 1
                link.doubt_replicas()  # after a fail-over there may be none, and nobody is to wait for it again
        return answers

    async def _wanted(self, link: Link, key: bytes) -> int:
        """Return how many replicas are to confirm a write."""
        return min(self._replicas, await link.replicas(key)) if self._replicas else 0

    def _milliseconds(self, link: Link) -> int:
        """Return how long to wait for them; 0 would mean for ever."""
        wait = self._wait
        if wait is None:
            wait = _REPLICA_WAIT if link.timeout is None else min(_REPLICA_WAIT, link.timeout / 2)
        return max(1, int(wait * 1000))


def value_of(answer: Answer) -> Answer:
    """Return an answer, or raise what it says; RecordUnreadable where something else stands under the key."""
    if isinstance(answer, Exception):
        if "WRONGTYPE" in str(answer) or "UNREADABLE" in str(answer):
            raise RecordUnreadable(
                "What Redis holds under this key is no session record of a version this one reads; it was written by "
                "something else or damaged. It is left as it is."
            ) from None
        raise explained(answer) if isinstance(answer, Fault) else answer
    return answer
