"""What both forms are given alike: defaults, checks, and how their announcements are heard."""

from __future__ import annotations

from typing import Final

from session_middleware.errors import SettingsError
from session_middleware.stores.base import Announcements
from session_middleware.stores.redis.calls import EPOCH, RECORD
from session_middleware.stores.redis.clients import Client
from session_middleware.stores.redis.listener import RedisAnnouncements

__all__ = ["LEASE", "PREFIX", "TIMEOUT", "checked", "listening_to"]

PREFIX: Final = "session:"
TIMEOUT: Final = 2.0
LEASE: Final = 2.0


def checked(prefix: str, lease: float, replicas: int, replica_wait: float | None) -> bytes:
    """Return the prefix as bytes.

    Raises:
        SettingsError: one of the arguments makes no sense.
    """
    if not isinstance(prefix, str) or not prefix:
        raise SettingsError("prefix", prefix, "begins every key, so that a server can be shared.", "Write 'session:'.")
    if not 0 < lease <= 60:
        raise SettingsError("lease", lease, "is no number of seconds up to 60.", "Give 2.0, say.")
    if replicas < 0 or (replica_wait is not None and not 0 < replica_wait <= 60):
        raise SettingsError(
            "replicas",
            (replicas, replica_wait),
            "are not a number of replicas and the seconds to wait for them.",
            "Give replicas=1, replica_wait=0.5, say; replicas=0 does not wait.",
        )
    return prefix.encode()


def listening_to(client: Client, prefix: bytes, *, owned: bool) -> Announcements:
    """Open the connections on which the masters that a blocking client knows say what was written.

    Args:
        client: the client.
        prefix: begins every key.
        owned: whether the client is closed with them.
    """
    return RedisAnnouncements(client, prefix + RECORD, prefix + EPOCH, owned=owned)
