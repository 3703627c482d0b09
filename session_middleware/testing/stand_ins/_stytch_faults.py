"""What goes wrong between an app and its provider: slow, down, throttled, hung up, answered by something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Answer", "Faults"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response.

    Attributes:
        status: its code.
        body: sent as it is; a stand-in's bodies hold session tokens, so a repr does not show it.
        headers: beside Content-Length.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


@dataclass(slots=True)
class _Fault:
    answer: Answer | None  # None: what the provider would say
    hang_up: bool
    seconds: float
    only: str
    left: int | None
    over: threading.Event


class Faults:
    """The faults in force, the one set last first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[_Fault] = []

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
            answer: said instead of the provider's answer; the provider does nothing then.
            hang_up: close the connection without an answer; the provider does nothing then.
            seconds: how long the answer takes. The provider has done what was asked before that time begins, as behind a
                slow network.
            only: part of the path that it concerns; "" means each.
            times: how many calls it concerns; None means each until `clear`.
        """
        with self._lock:
            self._faults.append(_Fault(answer, hang_up, seconds, only, times, threading.Event()))

    def clear(self) -> None:
        """End all faults; answers that are being held back go out."""
        with self._lock:
            for fault in self._faults:
                fault.over.set()
            self._faults.clear()

    def through(self, path: str, provider: Callable[[], Answer]) -> Answer:
        """Return what a caller of this path hears.

        Raises:
            ConnectionError: nothing, for the connection is closed.
        """
        fault = self._of(path)
        if fault is None:
            return provider()
        if fault.hang_up:
            raise ConnectionAbortedError
        answer = provider() if fault.answer is None else fault.answer
        fault.over.wait(fault.seconds)
        return answer

    def _of(self, path: str) -> _Fault | None:
        with self._lock:
            for fault in reversed(self._faults):
                if fault.only in path:
                    if fault.left is not None:
                        fault.left -= 1
                        if not fault.left:
                            self._faults.remove(fault)
                    return fault
        return None
