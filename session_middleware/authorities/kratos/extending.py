"""Kratos' session made to end later: when that is due, and what really came of it."""

from __future__ import annotations

from session_middleware.authorities.base import Extended, Extension, NotExtended, Shown
from session_middleware.authorities.calls import ProviderFault
from session_middleware.authorities.kratos.server import Kratos
from session_middleware.core.record import SessionRecord

__all__ = ["Extending"]

#: An extension that changed nothing came too early; the next attempt waits for this part of what is left.
WAITING_PART = 0.1

#: Sessions whose next extension is known to be too early; when there are more, all are tried again.
REMEMBERED = 4096


class Extending:
    """Extends by the admin listener.

    Args:
        when_left: activity extends a session that has fewer seconds left.
    """

    def __init__(self, when_left: float) -> None:
        self.when_left = when_left
        self._too_early: dict[str, float] = {}  # provider session -> when it may be tried again

    def is_due(self, record: SessionRecord, now: float) -> bool:
        """Say whether activity is to extend the session that a record stands on."""
        if record.ceiling is None or record.provider_session is None or record.ceiling - now >= self.when_left:
            return False
        return now >= self._too_early.get(record.provider_session, now)

    async def extend(self, kratos: Kratos, id: str, shown: Shown, now: float, wanted: float) -> Extension:
        """Extend a session, if less than `wanted` seconds are left of it.

        Kratos extends what has expired and calls success what it ignored, so it is asked before and after; the second
        question goes to whoami, which brings the new cookie too.

        Raises:
            ProviderFault: it could not be found out.
        """
        before = await kratos.session(id)
        if before is None or not before.active:
            seen = (await kratos.whoami(shown, id)).session
            if seen is not None and seen.id == id:
                raise ProviderFault("credentials", "admin_url does not know a session that public_url shows.")
            return NotExtended(gone=True)
        if before.expires_at - now < wanted:
            await kratos.extend(id)
        who = await kratos.whoami(shown, id)
        after = who.session
        if after is None or after.id != id:
            after = await kratos.session(id)
        if after is None or not after.active:
            return NotExtended(gone=True)
        if after.expires_at <= before.expires_at < now + wanted:
            self._wait(id, now, after.expires_at)
        return Extended(after.expires_at, who.relay)

    def _wait(self, id: str, now: float, ends_at: float) -> None:
        if len(self._too_early) >= REMEMBERED and id not in self._too_early:
            self._too_early.clear()
        self._too_early[id] = now + max(1.0, (ends_at - now) * WAITING_PART)
