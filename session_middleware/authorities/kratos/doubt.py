"""How long Kratos has been saying that it sees no session, where that proves nothing yet (L17)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Doubts"]

#: Seconds for which Kratos must keep saying it.
LONG_ENOUGH = 30.0

#: Seconds of silence after which an older answer says nothing about the next one.
LAPSE = 300.0

#: Sessions in doubt that are remembered; when there are more, all doubt begins anew.
REMEMBERED = 4096


@dataclass(slots=True)
class _Run:
    first: float
    last: float


class Doubts:
    """The sessions that whoami denies at the moment, in this process."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], _Run] = {}

    def is_settled(self, session: str, credential: str, now: float) -> bool:
        """Take note of a 401; True: there has been nothing else for long enough.

        Args:
            session: the provider session that the record stands on.
            credential: what the request showed.
            now: the instant.
        """
        key = (session, credential)
        run = self._runs.get(key)
        if run is None or not 0 <= now - run.last <= LAPSE:
            if len(self._runs) >= REMEMBERED:
                self._runs.clear()
            self._runs[key] = _Run(now, now)
            return False
        run.last = now
        return now - run.first >= LONG_ENOUGH

    def clear(self, session: str, credential: str) -> None:
        """Take note of anything else than a 401."""
        self._runs.pop((session, credential), None)
