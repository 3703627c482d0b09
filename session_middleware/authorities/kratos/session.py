"""A session as Kratos describes it, read strictly: what is not what its API promises is a fault of the provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from session_middleware.authorities.calls import ProviderFault

__all__ = ["KratosSession", "read_session"]

#: Instants before this one (2001-09-09) are Go's zero time or rubbish.
FIRST = 1_000_000_000.0


@dataclass(frozen=True, slots=True)
class KratosSession:
    """What whoami and the admin listener say of a session.

    Attributes:
        id: a UUID.
        active: as Kratos computes it: flag, expiry and, where the identity was loaded, whether that is active.
        identity: the user's id; None where the identity was not loaded.
        authenticated_at: when the last factor was proved, in seconds since the epoch.
        expires_at: when it ends unless it is extended.
        methods: the factors that were proved, as Kratos lists them.
        document: the whole JSON object.
    """

    id: str
    active: bool
    identity: str | None
    authenticated_at: float
    expires_at: float
    methods: tuple[Mapping[str, Any], ...] = ()  # Any: JSON values
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)  # Any: JSON values

    @property
    def factors(self) -> tuple[Mapping[str, str], ...]:
        """The factors as `login(factors=)` takes them: `type`, `aal` and `at`, and `provider` where there was one."""
        names = {"method": "type", "aal": "aal", "completed_at": "at", "provider": "provider"}
        found = (
            {ours: value for theirs, ours in names.items() if isinstance(value := method.get(theirs), str)}
            for method in self.methods
        )
        return tuple(factor for factor in found if "type" in factor)


def read_session(document: Mapping[str, Any]) -> KratosSession:  # Any: JSON values
    """Read Kratos' `session` object (spec/api.json).

    Raises:
        ProviderFault: it is none, of kind "garbage".
    """
    id, active, identity = document.get("id"), document.get("active"), document.get("identity")
    if not isinstance(id, str) or not 0 < len(id) <= 64 or not isinstance(active, bool):
        raise _garbage("id and active")
    owner = identity.get("id") if isinstance(identity, Mapping) else None
    if owner is not None and (not isinstance(owner, str) or not owner):
        raise _garbage("identity")
    methods = document.get("authentication_methods") or ()
    if not isinstance(methods, Sequence) or not all(isinstance(method, Mapping) for method in methods):
        raise _garbage("authentication_methods")
    return KratosSession(
        id=id,
        active=active,
        identity=owner,
        authenticated_at=_instant(document, "authenticated_at"),
        expires_at=_instant(document, "expires_at"),
        methods=tuple(methods),
        document=document,
    )


def _instant(document: Mapping[str, Any], name: str) -> float:  # Any: JSON values
    text = document.get(name)
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or found.timestamp() < FIRST:
        raise _garbage(name)
    return found.timestamp()


def _garbage(what: str) -> ProviderFault:
    return ProviderFault("garbage", f"Kratos described a session without a usable {what}.")
