"""The thread of a near cache that listens: it forgets what was announced, and opens the cache for a lease at a time."""

from __future__ import annotations

import logging
import os
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from session_middleware.core.record import SessionRecord
from session_middleware.errors import SessionError
from session_middleware.runtime import Flag, beside
from session_middleware.stores.base import Announcements, ReadsAhead
from session_middleware.stores.nearcache.entries import NEVER, Entries

__all__ = ["Listening"]

_log = logging.getLogger("session_middleware")

#: Seconds between attempts to listen again.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0

#: Questions asked within one lease, so that one late answer does not close the cache.
_QUESTIONS: Final = 4


class Listening(Entries):
    """Entries that are believed as long as the store's announcements are heard.

    Args:
        store: a store that can announce changes.
        lease: seconds for which an answer of the server keeps the cache open.
        most: as for `Entries`.
        monotonic: as for `Entries`.
    """

    def __init__(self, store: Any, *, lease: float, most: int, monotonic: Callable[[], float]) -> None:
        # Any: Store | AsyncStore, with Announces
        super().__init__(most, monotonic)
        self.store: Any = store
        self.lease = lease
        self._lost = 0
        self._lags: deque[float] = deque(maxlen=256)
        self._line: Announcements | None = None
        self._begin()
        if hasattr(os, "register_at_fork"):
            this = weakref.ref(self)  # what is registered there stays for ever
            os.register_at_fork(after_in_child=lambda: _begin_anew(this()))

    def _begin(self) -> None:
        super()._begin()
        self._inherited, self._line = self._line, None  # kept, since dropping it might close what is the parent's
        self._listening = False
        self._closed = Flag()

    def announcements(self) -> Announcements:
        """Hand on the store's own."""
        line: Announcements = self.store.announcements()
        return line

    def stop(self) -> None:
        """Stop listening, and forget everything."""
        self._closed.set()
        if self._line is not None:
            _close(self._line)  # else the listener would notice only at its next question
        self._open_until = NEVER
        self._forget_all()

    def _found(self, key: bytes) -> SessionRecord | None:
        record = super()._found(key)
        if record is None and not self._listening:
            self._listen_beside()
        return record

    def _listen_beside(self) -> None:
        with self._mutex:
            if self._listening or self._closed.is_set():
                return
            self._listening = True
        try:
            beside(self._listen, "session near cache")
        except RuntimeError:  # no thread is to be had now; the next miss tries again
            self._listening = False

    def _listen(self) -> None:
        """Listen until stopped; where the line is lost, open another."""
        pause = _FIRST_PAUSE
        while not self._closed.is_set():
            fault: Exception | None = None
            try:
                opened: Announcements = self.store.announcements()
                self._line = opened
                self._all_may_differ()  # nothing held until now was watched
                self._hear(opened)
            except Exception as lost:
                fault = lost
            finally:
                worked = self._open_until != NEVER
                self._open_until = NEVER
                self._forget_all()
                line, self._line = self._line, None
                if line is not None:
                    _close(line)
            if fault is not None and not self._closed.is_set():
                if worked:
                    pause = _FIRST_PAUSE
                self._note(fault, logging.WARNING if pause == _FIRST_PAUSE else logging.DEBUG)
            self._closed.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _note(self, fault: Exception, level: int) -> None:
        self._lost += 1
        said = (
            str(fault) if isinstance(fault, SessionError) else type(fault).__name__
        )  # ours name the fix and no secret
        _log.log(level, "The near cache cannot listen (%s); every call goes to the store.", said)

    def _all_may_differ(self) -> None:
        """Forget everything, and what the store itself has read ahead before that: new reads must not build on it."""
        if isinstance(self.store, ReadsAhead):
            self.store.read_anew()
        self._forget_all()

    def _hear(self, line: Announcements) -> None:
        """Listen until the line is lost or the server silent for a lease; raises then."""
        asked: deque[float] = deque()
        due = NEVER
        while not self._closed.is_set():
            now = self._monotonic()
            if now >= due:
                line.ask()
                asked.append(now)
                due = now + self.lease / _QUESTIONS
            keys, answered = line.receive(max(0.0, due - self._monotonic()))
            for key in keys:
                if key:
                    self._forget(key)
                else:
                    self._all_may_differ()
            now = self._monotonic()
            for _ in range(answered):
                then = asked.popleft()
                self._lags.append(now - then)
                self._open_until = then + self.lease  # after what was announced before has been forgotten
            if asked and now - asked[0] > self.lease:
                raise TimeoutError("the server does not answer")


def _begin_anew(held: Listening | None) -> None:
    # In a forked child: the thread that listens stayed behind, with the connection, which is the parent's to close.
    if held is not None:
        stopped = held._closed.is_set()
        held._begin()
        if stopped:
            held._closed.set()


def _close(line: Announcements) -> None:
    try:
        line.close()
    except Exception as fault:  # it was lost anyway
        _log.debug("Closing the lost line: %s", type(fault).__name__)
