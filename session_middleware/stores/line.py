"""A thread that hears what a store announces, for those in this process who want to know which records may have changed."""

from __future__ import annotations

import logging
import os
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from session_middleware.errors import SessionError
from session_middleware.runtime import Flag, beside, mutex
from session_middleware.stores.base import Announcements, ReadsAhead

__all__ = ["EVERYTHING", "NEVER", "Line"]

_log = logging.getLogger("session_middleware")

#: An instant before all others.
NEVER: Final = float("-inf")

#: The key that stands for all records.
EVERYTHING: Final = b""

#: Seconds between attempts to listen again.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0

#: Questions asked within one lease, so that one late answer does not count as silence.
_QUESTIONS: Final = 4


class Line:
    """Hears a store's announcements, and opens another line where one is lost.

    Args:
        store: a store that can announce changes.
        lease: seconds for which an answer of the server shows that everything announced has been heard.
        monotonic: seconds of a clock that is never set.
    """

    def __init__(self, store: Any, *, lease: float, monotonic: Callable[[], float]) -> None:
        # Any: Store | AsyncStore, with Announces
        self.store: Any = store
        self.lease = lease
        self._monotonic = monotonic
        self._lost = 0
        self._lags: deque[float] = deque(maxlen=256)
        self._line: Announcements | None = None
        self._begin()
        _lines.add(self)

    def _begin(self) -> None:
        """Hear nothing yet, at first or in a forked child."""
        self._mutex = mutex()
        self._open_until = NEVER
        self._inherited, self._line = self._line, None  # kept, since dropping it might close what is the parent's
        self._listening = False
        self._closed = Flag()
        self._hearers: tuple[Callable[[bytes], None], ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether everything that was announced has been heard, up to a lease ago."""
        return self._monotonic() < self._open_until

    def hear(self, hearer: Callable[[bytes], None]) -> Callable[[], None]:
        """Have a function called with the key of each record that may have changed; return what ends that.

        The key b"" stands for all records: something may have gone unheard. It is called in the thread that listens, and
        must neither block nor raise.
        """
        with self._mutex:
            self._hearers = (*self._hearers, hearer)
        self.listen()

        def end() -> None:
            with self._mutex:
                self._hearers = tuple(each for each in self._hearers if each is not hearer)

        return end

    def stop(self) -> None:
        """Stop listening."""
        self._closed.set()
        if self._line is not None:
            _close(self._line)  # else the listener would notice only at its next question
        self._open_until = NEVER
        self._everything()

    def listen(self) -> None:
        """Begin to listen, if that has not begun in this process."""
        with self._mutex:
            if self._listening or self._closed.is_set():
                return
            self._listening = True
        try:
            beside(self._listen, "session announcements")
        except RuntimeError:  # no thread is to be had now; the next call tries again
            self._listening = False

    # --- in the thread that listens --------------------------------------------------------------------------------

    def _changed(self, key: bytes) -> None:
        """Take note that a record may have changed."""
        for hearer in self._hearers:
            hearer(key)

    def _everything(self) -> None:
        """Take note that any record may have changed."""
        for hearer in self._hearers:
            hearer(EVERYTHING)

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
                self._everything()
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
        # Ours name the fix and no secret.
        said = str(fault) if isinstance(fault, SessionError) else type(fault).__name__
        _log.log(level, "The store's announcements cannot be heard (%s); every call goes to the store.", said)

    def _all_may_differ(self) -> None:
        """Let go of everything, what the store itself has read ahead before that: new reads must not build on it."""
        if isinstance(self.store, ReadsAhead):
            self.store.read_anew()
        self._everything()

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
                    self._changed(key)
                else:
                    self._all_may_differ()
            now = self._monotonic()
            for _ in range(answered):
                then = asked.popleft()
                self._lags.append(now - then)
                self._open_until = then + self.lease  # after what was announced before has been heard
            if asked and now - asked[0] > self.lease:
                raise TimeoutError("the server does not answer")


_lines: weakref.WeakSet[Line] = weakref.WeakSet()


def _begin_anew() -> None:
    # In a forked child: the thread that listens stayed behind, with the connection, which is the parent's to close.
    for held in list(_lines):
        stopped = held._closed.is_set()
        held._begin()
        if stopped:
            held._closed.set()


if hasattr(os, "register_at_fork"):  # not on Windows; once for all lines, since what is registered stays for ever
    os.register_at_fork(after_in_child=_begin_anew)


def _close(line: Announcements) -> None:
    try:
        line.close()
    except Exception as fault:  # it was lost anyway
        _log.debug("Closing the lost line: %s", type(fault).__name__)
