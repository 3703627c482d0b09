"""What the engine says of what happens, and what it asks of the app's own functions: limits, addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from session_middleware.authorities.base import Authority
from session_middleware.core.exchange import Exchange, RequestFacts
from session_middleware.errors import SettingsError
from session_middleware.events import Hook, SessionEvent, announce, log_failure
from session_middleware.settings import AAL3_OVERALL, Limits, Settings

__all__ = ["Telling"]


class Telling:
    """The part of the engine that every other part is built on."""

    settings: Settings
    clock: Callable[[], float]
    authority: Authority
    hooks: tuple[Hook, ...]

    def limits_for(
        self, subject: str, claims: Mapping[str, Any], persistent: bool, fallback: Limits | None = None
    ) -> Limits:
        """Return the configured limits of a subject; `fallback` instead of raising where `limits=` fails (L2)."""
        settings = self.settings
        if settings.limits is None:
            return settings.max_age_limits if persistent else settings.default_limits
        try:
            answer = settings.limits(subject, claims)
            if not isinstance(answer, Limits):
                raise SettingsError("limits", answer, "is not Limits.", "Let the function return Limits(...).")
            if settings.aal == "aal3" and answer.absolute_lifetime > AAL3_OVERALL:
                raise SettingsError(
                    "limits",
                    answer,
                    "is beyond what aal3 allows (NIST SP 800-63B-4 §2.3.3: 12 hours).",
                    "Give at most 43200.",
                )
        except Exception as fault:
            if fallback is None:
                raise
            # Nobody is logged out by a fault of the app's own function: what held at login goes on.
            log_failure("limits=", fault)
            self.announce("settings_fault", self.clock(), subject=subject, detail={"fault": type(fault).__name__})
            return fallback
        return answer

    def address(self, facts: RequestFacts) -> str | None:
        """Return the client's address: the peer's, or what `client_address` makes of the request; None where it fails.

        It is asked while sessions end, and a fault of the app's own function must not keep one alive.
        """
        find = self.settings.client_address
        if find is None:
            return facts.client
        try:
            found = find(facts)
        except Exception as fault:
            log_failure("client_address=", fault)
            self.announce("settings_fault", self.clock(), detail={"fault": type(fault).__name__})
            return None
        return found if isinstance(found, str) else None

    async def clear_framework(self, x: Exchange) -> None:
        """Clear the framework's own session data (L26)."""
        clear = x.clear_framework or getattr(x.facts, "empty_session", None)
        if clear is not None:
            waiting = clear()
            if waiting is not None:
                await waiting

    def tell(self, name: str, x: Exchange, **detail: str) -> None:
        """Announce something about a request."""
        record, presented = x.record, x.presented
        session = record.public_id if record is not None else presented.public_id if presented is not None else None
        subject = record.subject if record is not None else None
        self.announce(name, x.now, session, subject, self.address(x.facts), detail)

    def announce(
        self,
        name: str,
        at: float,
        session: str | None = None,
        subject: str | None = None,
        address: str | None = None,
        detail: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Give an event to the logger and to every hook."""
        announce(SessionEvent(name, at, session, subject, address, detail), self.hooks)
