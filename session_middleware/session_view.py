"""What both kinds of session can say of a request without waiting: who, since when, until when, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from session_middleware.core.exchange import Exchange
from session_middleware.core.lifetime import Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.engine import Engine
from session_middleware.errors import SessionNotAttached
from session_middleware.settings import seconds

__all__ = ["SessionView"]

_EMPTY: Mapping[str, Any] = MappingProxyType({})

#: Looking a member up on its enum takes Python 3.11 a tenth of a microsecond.
_ACTIVE = Verdict.ACTIVE


def _instant(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


class SessionView:
    """What both kinds of session can say without waiting. All instants are aware datetimes in UTC."""

    __slots__ = ("_engine", "_x")

    def __init__(self, engine: Engine, exchange: Exchange) -> None:
        self._engine = engine
        self._x = exchange

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._x.verdict.name}>"  # never a token (ASVS 16.2.5)

    def _opened(self) -> Exchange:
        if not self._x.authenticated:
            self._open_now()
        return self._x

    def _open_now(self) -> None:
        raise SessionNotAttached(
            "This route is exempt, so its session was not read. Call `await session.open()` first."
        )

    @property
    def _record(self) -> SessionRecord | None:
        x = self._x
        if not x.authenticated:
            self._open_now()
        return x.record if x.verdict is _ACTIVE or x.stale else None

    @property
    def verdict(self) -> Verdict:
        """What is known about the session of this request (L16)."""
        return self._opened().verdict

    @property
    def reason(self) -> str | None:
        """Why it is not active, in the word shown outside: inactivity, lifetime, signed_out, unavailable, or None."""
        return self._opened().verdict.reason

    @property
    def is_active(self) -> bool:
        """Whether somebody is signed in; also true for a stale answer (see `is_verified`)."""
        x = self._opened()
        return x.verdict is Verdict.ACTIVE or x.stale

    @property
    def is_verified(self) -> bool:
        """False where a session JWT stands in for the record because the store is down (L17)."""
        return self._opened().verdict is Verdict.ACTIVE

    @property
    def subject(self) -> str | None:
        """Who is signed in, as given to `login()`; None for nobody."""
        x = self._x
        if (
            x.quiet and x.verdict is _ACTIVE
        ):  # what `_record` says, without the call: this is what nearly every view asks
            return x.record.subject  # type: ignore[union-attr]
        record = self._record
        return None if record is None else record.subject

    @property
    def id(self) -> str | None:
        """The public id of the session: good for lists and logs, useless as a token (L10)."""
        return None if self._record is None else self._record.public_id

    @property
    def claims(self) -> Mapping[str, Any]:
        """What was said about the user at login, with `update_claims` applied; read-only."""
        return _EMPTY if self._record is None else MappingProxyType(dict(self._x.claims))

    @property
    def data(self) -> dict[str, Any]:
        """The app's own values in this session. Changes are written when the response starts, name by name (L14).

        After that, in a stream or on a socket, only `save()` writes them.

        Raises:
            SessionError: nobody is signed in: there are no anonymous sessions (L27).
        """
        return self._engine.data_of(self._opened())

    @property
    def factors(self) -> Sequence[Mapping[str, Any]]:
        """How the user proved who they are."""
        return () if self._record is None else self._record.factors

    @property
    def attributes(self) -> Mapping[str, str]:
        """`user_agent` and `address` at login."""
        return _EMPTY if self._record is None else self._record.attributes

    @property
    def actor(self) -> str | None:
        """Who acts as the subject, where somebody does (RFC 8693 §4.1)."""
        return None if self._record is None else self._record.actor

    @property
    def created_at(self) -> datetime | None:
        """When this user's session began."""
        return _instant(None if self._record is None else self._record.created_at)

    @property
    def authenticated_at(self) -> datetime | None:
        """When the user last proved in full who they are; the absolute deadline counts from here (L3)."""
        return _instant(None if self._record is None else self._record.authenticated_at)

    @property
    def last_seen_at(self) -> datetime | None:
        """The last recorded activity; written at most once per touch_interval (L5)."""
        return _instant(None if self._record is None else self._record.last_seen_at)

    @property
    def inactivity_deadline(self) -> datetime | None:
        """When silence ends the session, as enforced; None without such a limit (L5)."""
        force = None if self._record is None else self._x.deadlines
        return _instant(None if force is None else force.inactivity)

    @property
    def absolute_deadline(self) -> datetime | None:
        """When the session ends in any case (L3)."""
        force = None if self._record is None else self._x.deadlines
        return _instant(None if force is None else force.absolute)

    @property
    def ends_at(self) -> datetime | None:
        """The earlier of the two deadlines."""
        force = None if self._record is None else self._x.deadlines
        return _instant(None if force is None else force.ends_at)

    @property
    def jwt(self) -> str | None:
        """The session JWT of this request, to hand to another service of yours (L9)."""
        return self._engine.current_jwt(self._opened())

    def is_fresh(self, within: timedelta | float) -> bool:
        """Say whether the user proved who they are within the last `within` (seconds or `timedelta`)."""
        return self._engine.is_fresh(self._opened(), seconds("within", within))

    def update_claims(self, **claims: Any) -> None:
        """Change claims; None removes one. Written when the response starts, or by `save()` (L14).

        A plain function in `AsyncSession` too, not awaited: it waits for nothing.

        After the response has started, in a stream or on a socket, only `save()` writes them.

        Raises:
            SessionError: nobody is signed in (L27).
            SettingsError: a value is not JSON, or the session JWT would not fit a cookie (L19).
        """
        self._engine.change_claims(self._opened(), claims)
