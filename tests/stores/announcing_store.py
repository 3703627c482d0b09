"""A store in memory whose announcements a test makes itself, one by one, and a clock that moves when the test says."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from session_middleware.runtime import run_sync
from session_middleware.stores.memory import MemoryStore

#: Seconds to wait for another thread before the test has failed.
PATIENCE = 30.0

_ANSWER = object()


class Line:
    """Announcements that arrive when the test says so, each in a `receive` of its own.

    Attributes:
        answers: whether questions are answered by themselves.
        asked: how many questions came.
        closed: whether the listener has closed it.
    """

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.asked = 0
        self.closed = False
        self._news: deque[Any] = deque()
        self._changed = threading.Condition()
        self._idle = self._woken = False

    # --- the listener's side: see stores/base.py ------------------------------------------------------------------

    def ask(self) -> None:
        with self._changed:
            self.asked += 1
            if self.answers:
                self._news.append(_ANSWER)

    def receive(self, seconds: float) -> tuple[Sequence[bytes], int]:
        with self._changed:
            if seconds > 0 and not (self._news or self.closed):
                self._idle = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._news or self.closed or self._woken)
            self._idle = self._woken = False
            if self.closed:
                raise ConnectionError("closed")
            if not self._news:
                return [], 0
            news = self._news.popleft()
        if isinstance(news, Exception):
            raise news
        if isinstance(news, bytes):
            return [news], 0
        return [], 1

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    # --- the test's side ------------------------------------------------------------------------------------------

    def tell(self, *keys: bytes) -> None:
        """Announce keys, and wait until the listener has dealt with them."""
        self._put(*keys)

    def answer(self, questions: int = 1) -> None:
        """Answer questions, and wait as above."""
        self._put(*[_ANSWER] * questions)

    def lose(self, fault: Exception | None = None) -> None:
        """Let the next `receive` raise; does not wait."""
        with self._changed:
            self._news.append(fault or ConnectionResetError("lost"))
            self._changed.notify_all()

    def wake(self) -> None:
        """Let the listener look at its clock, and wait until it has."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()
        self.settle()

    def settle(self) -> None:
        """Wait until the listener has dealt with everything, or has closed the line."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: self.closed or (self._idle and not self._news and not self._woken), PATIENCE
            )
        assert done, "the listener is stuck"

    def wait_closed(self) -> None:
        """Wait until the listener has given the line up."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.closed, PATIENCE), "the listener keeps a lost line"

    def _put(self, *news: object) -> None:
        with self._changed:
            self._news.extend(news)
            self._changed.notify_all()
        self.settle()


class AnnouncingStore(MemoryStore):
    """MemoryStore that can announce; what is announced and when is the test's affair.

    Attributes:
        lines: those opened so far.
        answers: whether new lines answer by themselves.
        refusing: raised instead of opening a line.
        meanwhile: called once, after a `load` has read and before it returns.
        loads: how many there were.
    """

    def __init__(self, *, answers: bool = True) -> None:
        super().__init__()
        self.lines: list[Line] = []
        self.answers = answers
        self.refusing: Exception | None = None
        self.meanwhile: Callable[[], object] | None = None
        self.loads = 0
        self._opened = threading.Condition()

    def announcements(self) -> Line:
        if self.refusing is not None:
            raise self.refusing
        with self._opened:
            self.lines.append(Line(answers=self.answers))
            self._opened.notify_all()
            return self.lines[-1]

    def line(self, number: int = 0) -> Line:
        """Return a line, once the listener has opened it and asked what it wants to."""
        with self._opened:
            assert self._opened.wait_for(lambda: len(self.lines) > number, PATIENCE), "nobody listens"
        self.lines[number].settle()
        return self.lines[number]

    def load(self, key: bytes) -> Any:  # Any: as MemoryStore's
        self.loads += 1
        found = super().load(key)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found


class AwaitedStore:
    """The same with awaited calls.

    Args:
        store: what it stands before.
    """

    def __init__(self, store: AnnouncingStore) -> None:
        self.blocking = store
        self.closes = 0

    def announcements(self) -> Line:
        return self.blocking.announcements()

    async def close(self) -> None:
        self.closes += 1


def _awaited(name: str) -> Callable[..., Any]:
    async def call(self: AwaitedStore, *args: Any) -> Any:  # Any: those of the store's method
        return getattr(self.blocking, name)(*args)

    return call


for _name in (
    "create",
    "load",
    "touch",
    "save",
    "renew",
    "end",
    "list",
    "end_before",
    "add_once",
    "create_capped",
    "prune",
):
    setattr(AwaitedStore, _name, _awaited(_name))


class Monotonic:
    """Seconds that pass when the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Plain:
    """A near cache of either form whose methods are called plainly; in memory nothing ever waits.

    Args:
        near: the cache.
    """

    def __init__(self, near: Any) -> None:
        self.near = near

    def __getattr__(self, name: str) -> Any:  # Any: methods are found by name
        found = getattr(self.near, name)
        if not callable(found):
            return found

        def call(*args: Any) -> Any:  # Any: those of the method
            answer = found(*args)
            return run_sync(answer) if hasattr(answer, "send") else answer

        return call
