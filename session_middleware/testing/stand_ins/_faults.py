"""An answer of a stand-in, and what becomes of it on the way: late, lost, or another one altogether."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock

__all__ = ["Answer", "Faults"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response.

    Attributes:
        status: its code.
        body: sent as it is; not in the repr, for it may hold a session's token.
        headers: beside Content-Length.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Fault:
    answer: Answer | None
    hang_up: bool
    seconds: float
    only: str
    left: int | None
    over: Event = field(default_factory=Event)


class Faults:
    """The faults in force; of several that meet a call, the one set last is taken."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: list[_Fault] = []

    def set(
        self,
        answer: Answer | None = None,
        *,
        hang_up: bool = False,
        seconds: float = 0.0,
        only: str = "",
        times: int | None = None,
    ) -> None:
        """Put a fault in force.

        Args:
            answer: what is said instead; None lets the provider do what it is asked and say so.
            hang_up: nothing is done or said, and the connection is closed.
            seconds: how late it is said.
            only: part of the path that is met; "" meets each.
            times: how many calls; None for all until `clear()`.
        """
        with self._lock:
            self._held.append(_Fault(answer, hang_up, seconds, only, times))

    def clear(self) -> None:
        """Let everything work again; what is held back goes out."""
        with self._lock:
            for fault in self._held:
                fault.over.set()
            self._held.clear()

    def through(self, path: str, provider: Callable[[], Answer]) -> Answer:
        """Return what the caller of a path hears.

        Raises:
            ConnectionError: nothing.
        """
        fault = self._take(path)
        if fault is None:
            return provider()
        if fault.hang_up:
            raise ConnectionResetError("the stand-in hangs up")
        answer = fault.answer or provider()
        fault.over.wait(fault.seconds)
        return answer

    def _take(self, path: str) -> _Fault | None:
        with self._lock:
            met = [fault for fault in self._held if fault.only in path]
            if not met:
                return None
            fault = met[-1]
            if fault.left is not None:
                fault.left -= 1
                if fault.left <= 0:
                    self._held.remove(fault)
            return fault
