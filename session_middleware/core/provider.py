"""The session at an identity provider that one of ours stands on, and the mark that its end leaves (L3, L24)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from session_middleware.core.instants import epoch
from session_middleware.core.record import SessionRecord, handle_of
from session_middleware.errors import SettingsError
from session_middleware.settings import Limits

__all__ = [
    "ProviderSession",
    "handle_mark",
    "handle_mark_key",
    "is_mark",
    "lasting",
    "mark_of",
    "provider_handle",
    "provider_mark",
]

#: Seconds for which an end is remembered where nobody can say how long its proof may begin sessions: where the provider names
#: no end of its session, or the app's own function gives the limits.
KEPT: Final = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class ProviderSession:
    """The session at an identity provider that a login stands on.

    Attributes:
        id: its id there: `sid` of an ID token, `session_id` of Stytch, `id` of Kratos.
        authenticated_at: when the user proved who they are there (`auth_time`, `started_at`, `authenticated_at`): an aware
            datetime, or seconds since the epoch. Our absolute lifetime counts from it (L3).
        ends_at: when it ends there, if the provider says so; ours ends 30 s earlier (L2).
        authority: names the provider, where an app has several.

    Raises:
        SettingsError: the id is empty, or a time is none.
    """

    id: str
    authenticated_at: datetime | float
    ends_at: datetime | float | None = None
    authority: str = "provider"

    def __post_init__(self) -> None:
        for name in ("id", "authority"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise SettingsError(name, value, "names no provider session.", "Give the provider's own text.")
        object.__setattr__(self, "authenticated_at", epoch("authenticated_at", self.authenticated_at))
        if self.ends_at is not None:
            object.__setattr__(self, "ends_at", epoch("ends_at", self.ends_at))

    @property
    def proven_at(self) -> float:
        """`authenticated_at` in seconds since the epoch."""
        return epoch("authenticated_at", self.authenticated_at)

    @property
    def ceiling(self) -> float | None:
        """`ends_at` in seconds since the epoch."""
        return None if self.ends_at is None else epoch("ends_at", self.ends_at)

    @property
    def mark_key(self) -> bytes:
        """The store key of the mark that an end leaves."""
        return _mark_key(self.authority, self.id)


def provider_handle(authority: str, id: str) -> str:
    """Return the handle under which the sessions of one provider session are found."""
    return handle_of("provider", f"{authority}\0{id}")


def mark_of(record: SessionRecord, at: float) -> SessionRecord | None:
    """Return what the end of a record at an instant leaves behind: a record whose `last_seen_at` is that instant.

    It is kept as a record because a touch moves `last_seen_at` to later instants only, in every store, in one step: of two
    ends the later stands. It has no handles, so no list shows it, and its `authenticated_at` is beyond every
    `end_before`.

    The provider's session may be extended by somebody else after ours has ended, so its end as we knew it is not enough: the
    mark is kept until no proof of before the end can begin a session, which is never older than its proof. The next login may
    have longer limits than the one that ended; see `lasting`.

    Returns:
        None where the record stands on no provider session.
    """
    if record.provider_session is None:
        return None
    mark = provider_mark(record.authority, record.provider_session, at, record.ceiling, record.proven_at)
    return lasting(mark, record.limits.absolute_lifetime)


def provider_mark(
    authority: str, id: str, at: float, ceiling: float | None = None, proven_at: float | None = None
) -> SessionRecord:
    """Return the mark that the end, at an instant, of what stands on a provider session leaves; see `mark_of`.

    Args:
        authority: the provider.
        id: its session's id.
        at: the instant.
        ceiling: when the provider's session ends, if that is known: the mark is kept until then at the least.
        proven_at: what the provider's clock says of the proof that ends with it, which may be later (L1).
    """
    ended_at = at if proven_at is None else max(at, proven_at)
    until = ended_at + KEPT if ceiling is None else max(ended_at, ceiling)
    return _mark(_mark_key(authority, id), at, ended_at, until)


def lasting(mark: SessionRecord, lifetime: float) -> SessionRecord:
    """Return a mark that is kept for as long as a session of this lifetime, in seconds, could begin on what it refuses."""
    until = max(mark.keep_until, mark.last_seen_at + lifetime)
    return mark if until == mark.keep_until else mark.evolve(keep_until=until, authenticated_at=until)


def handle_mark(handle: str, at: float) -> SessionRecord:
    """Return the mark that is left where a provider ends at an instant all that stands under a handle: a user's sessions.

    A sign-in that is on its way has no session yet that the end could find; see `mark_of`.

    Args:
        handle: one of `ProviderLogin.handles`.
        at: the instant.
    """
    return _mark(handle_mark_key(handle), at, at, at + KEPT)


def handle_mark_key(handle: str) -> bytes:
    """Return the store key of the mark that the end of all that stands under a handle leaves."""
    return sha256(b"session_middleware ended provider handle\0" + handle.encode("utf-8", "surrogatepass")).digest()


def _mark(key: bytes, now: float, ended_at: float, keep_until: float) -> SessionRecord:
    # A store sweeps by the time a record was made, so that is ours and not the provider's (L1).
    return SessionRecord(
        key=key,
        public_id=key.hex(),
        subject="",
        created_at=now,
        authenticated_at=keep_until,
        last_seen_at=ended_at,
        inactivity_deadline=None,
        limits=Limits(None, KEPT),
        keep_until=keep_until,
        renewed_at=now,
    )


def is_mark(record: SessionRecord) -> bool:
    """Say whether a record is no session but the mark of an end; see `mark_of`."""
    return not record.subject and record.public_id == record.key.hex()


def _mark_key(authority: str, id: str) -> bytes:
    named = f"{authority}\0{id}".encode("utf-8", "surrogatepass")
    return sha256(b"session_middleware ended provider session\0" + named).digest()
