"""WatchedStore: a store whose calls are counted, can be made to fail, and can be interrupted by another process."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

__all__ = ["Meanwhile", "StoreDown", "WatchedStore"]

READS = ("load", "list", "holds", "walk")
WRITES = ("create", "create_capped", "touch", "save", "renew", "end", "end_before", "add_once", "prune")

#: What a near cache before this store asks of it, which is no call of an app's.
ANNOUNCING = ("announcements", "check_announces", "read_anew")

#: What another process does meanwhile: yields (method, *arguments) and is sent what the store answers.
Meanwhile = Callable[[], Generator[tuple[Any, ...], Any, None]]  # Any: the store's methods, by name


class StoreDown(OSError):
    """What a store raises here while it is down."""


class WatchedStore:
    """Passes calls on to a store, blocking or asynchronous, with exactly the powers that it has.

    Args:
        store: the store.

    Attributes:
        calls: how often each method was called since the last `forget_calls`, failed calls included.
    """

    def __init__(self, store: Any) -> None:  # Any: a Store or an AsyncStore
        self.store = store
        self.short_calls: frozenset[str] = getattr(store, "short_calls", frozenset())
        self.calls: Counter[str] = Counter()
        self._down: frozenset[str] = frozenset()
        self._interruptions: list[tuple[str, int, Meanwhile]] = []
        for name in READS + WRITES:
            # Set on the instance, so that the store's optional powers are seen, and only those it has.
            method = getattr(store, name, None)
            if method is not None:
                setattr(self, name, self._watched(name, method))
        if hasattr(store, "reload"):  # of a store that caches: a load like any other for whoever counts or interrupts
            self.reload = self._watched("load", store.reload)
        for name in ANNOUNCING:
            if hasattr(store, name):
                setattr(self, name, getattr(store, name))

    @property
    def writes(self) -> int:
        """How many writes were asked for."""
        return sum(self.calls[name] for name in WRITES)

    @property
    def total(self) -> int:
        """How many calls there were of any kind."""
        return sum(self.calls.values())

    def forget_calls(self) -> None:
        """Begin to count anew."""
        self.calls.clear()

    def go_down(self, *, reads: bool = True, writes: bool = True) -> None:
        """Let calls fail from now on."""
        self._down = frozenset((READS if reads else ()) + (WRITES if writes else ()))

    def come_back(self) -> None:
        """Let calls succeed again."""
        self._down = frozenset()

    def interrupt(self, method: str, meanwhile: Meanwhile, *, skip: int = 0) -> None:
        """Before the next call of a method, or a later one, let another process act on the same store, once."""
        self._interruptions.append((method, self.calls[method] + skip + 1, meanwhile))

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(method):

            async def awaited(*args: Any) -> Any:  # Any: as the method's
                for other in self._noted(name):
                    answer = None
                    while (step := _next(other, answer)) is not None:
                        answer = await getattr(self.store, step[0])(*step[1:])
                return await method(*args)

            return awaited

        def called(*args: Any) -> Any:  # Any: as the method's
            for other in self._noted(name):
                self._let_act(other)
            return method(*args)

        return called

    def _let_act(self, other: Generator[tuple[Any, ...], Any, None]) -> None:
        """Do what another process does meanwhile, whatever this thread is there for; a blocking-call detector must know."""
        answer = None
        while (step := _next(other, answer)) is not None:
            answer = getattr(self.store, step[0])(*step[1:])

    def _noted(self, name: str) -> list[Generator[tuple[Any, ...], Any, None]]:
        """Count a call, fail it if the store is down, and return who comes in between."""
        self.calls[name] += 1
        if name in self._down:
            raise StoreDown(f"the store is down ({name})")
        due = [item for item in self._interruptions if item[:2] == (name, self.calls[name])]
        for item in due:
            self._interruptions.remove(item)
        return [meanwhile() for _, _, meanwhile in due]


def _next(other: Generator[tuple[Any, ...], Any, None], answer: Any) -> tuple[Any, ...] | None:
    try:
        return other.send(answer)
    except StopIteration:
        return None
