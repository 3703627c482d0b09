"""LocalAuthority: the app itself vouches, through one hook: is the user still active, the password unchanged?"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from session_middleware.authorities.base import Alive, Attached, Shown, Vouch
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError
from session_middleware.runtime import Runtime

__all__ = ["LocalAuthority"]

Verify = Callable[[SessionRecord], bool | Awaitable[bool]]


class LocalAuthority:
    """Vouches for sessions that the app's own login made.

    Args:
        verify: called with the `SessionRecord` on each request; False ends the session at once. It may be a plain
            function or a coroutine function (in asynchronous apps); a plain one that blocks should say so with
            `blocking=True`, so that an asynchronous app runs it in a worker thread. Compare `record.stamp` with what
            `login(stamp=...)` was given, for example a digest of the stored password hash, so that a password change
            ends the other sessions. An exception is a fault, not a logout (L17).
        blocking: whether a plain `verify` waits for a database or a network.
        verify_interval: seconds for which one answer holds in this process; 0 asks on each request (L8).

    Example:
        >>> authority = LocalAuthority(verify=lambda record: record.subject != "mallory")
    """

    name = "local"

    def __init__(self, verify: Verify | None = None, *, blocking: bool = False, verify_interval: float = 0.0) -> None:
        if verify is not None and not callable(verify):
            raise SettingsError("verify", verify, "is not a function.", "Give one that takes the record, or None.")
        self._verify = verify
        self._blocking = blocking
        self._runtime: Runtime | None = None
        self.verify_interval: float | None = None if verify is None else verify_interval

    def attach(self, to: Attached) -> None:
        """Take note of where blocking hooks are to run."""
        self._runtime = to.runtime

    async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
        if self._verify is None:
            return Vouch(Alive.ALIVE)
        if self._blocking and self._runtime is not None:
            answer = await self._runtime.in_thread(self._verify, record)
        else:
            answer = self._verify(record)
        if inspect.isawaitable(answer):
            answer = await answer
        return Vouch(Alive.ALIVE if answer else Alive.GONE)
