"""What happened to sessions, as one frozen object given to plain callables; the logger is one of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

__all__ = ["LEVELS", "Hook", "SessionEvent", "announce", "log_failure"]

_log = logging.getLogger("session_middleware")

#: Every event and its level; names follow the OWASP Logging Vocabulary where it has one.
LEVELS: Final[dict[str, int]] = {
    "session_created": logging.INFO,
    "session_renewed": logging.INFO,
    "session_extended": logging.INFO,
    "session_stepped_up": logging.INFO,
    "session_ended": logging.INFO,  # detail["reason"]: logout, inactivity_timeout, lifetime_exceeded, revoked, ...
    "session_refused": logging.INFO,
    "connection_closed": logging.INFO,  # sockets and streams of a session that is over
    "adoption_refused": logging.WARNING,  # a provider session that has ended here, or an authentication too old
    "session_stale": logging.WARNING,  # the provider wants the user to prove who they are again
    "session_limit": logging.WARNING,  # a login refused: the user is signed in at max_sessions places
    "session_unknown": logging.WARNING,  # a token of ours without a record
    "session_tampered": logging.WARNING,
    "session_use_after_end": logging.WARNING,
    "session_replayed": logging.CRITICAL,  # authn_token_reuse
    "csrf_blocked": logging.WARNING,
    "redirect_blocked": logging.WARNING,
    "insecure_cookie": logging.WARNING,
    "store_fault": logging.ERROR,
    "store_recovered": logging.WARNING,
    "authority_fault": logging.ERROR,
    "settings_fault": logging.ERROR,
    "changes_lost": logging.ERROR,  # claims or data written after the response had started, and never saved
    "marker_unreachable": logging.WARNING,
}


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """One thing that happened. Never holds a token, a cookie or a key.

    Attributes:
        name: one of `LEVELS`.
        at: seconds since the epoch, UTC.
        session_id: the public id, where a session is known.
        subject: the subject, where known.
        address: the client's address, where a request was at hand.
        detail: what else there is to say, by name.
    """

    name: str
    at: float
    session_id: str | None = None
    subject: str | None = None
    address: str | None = None
    detail: Mapping[str, str] = field(default_factory=dict)

    @property
    def level(self) -> int:
        """The level of the logging module at which this event is logged."""
        return LEVELS[self.name]

    @property
    def time(self) -> datetime:
        """The instant as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.at, UTC)


Hook = Callable[[SessionEvent], object]


def log_failure(what: str, fault: Exception) -> None:
    """Log with its traceback what a function of the app's own raised: the event names its class alone."""
    _log.error("%s raised", what, exc_info=fault)


def announce(event: SessionEvent, hooks: Iterable[Hook]) -> None:
    """Log the event and give it to every hook; a hook that raises is logged and disturbs nothing (ASVS 16.5.4)."""
    level = event.level
    if _log.isEnabledFor(level):
        # %r escapes line breaks and control characters: one record an event (ASVS 16.4.1).
        _log.log(
            level,
            "%s session=%r subject=%r address=%r%s",
            event.name,
            event.session_id,
            event.subject,
            event.address,
            "".join(f" {key}={value!r}" for key, value in event.detail.items()),
            extra={"session_event": event},
        )
    for hook in hooks:
        try:
            hook(event)
        except Exception:
            _log.exception("an on_event hook failed on %s", event.name)
