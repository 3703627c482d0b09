"""Whom a security event is about: subject identifiers of RFC 9493, simple and complex, as Shared Signals 1.0 §3 has them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from session_middleware.authorities.signed import refused, text_in

__all__ = ["About", "subject_of"]

#: Identifiers in one `aliases` that are looked at.
MOST_ALIASES: Final = 20


@dataclass(frozen=True, slots=True)
class About:
    """Whom an event is about; nobody who can be known here where both are None.

    Attributes:
        sid: the session, None where none in particular is meant.
        subject: the user's `sub` at the provider, None where it is not said in a form that can be read here.
        either: it cannot be told whether a session or a user has this id, so that both are meant.
    """

    sid: str | None
    subject: str | None
    either: bool = False


def subject_of(named: object, provider: str) -> About:
    """Return the session and the user that a subject identifier names.

    Args:
        named: the claim `sub_id`.
        provider: the issuer whose users are known here.

    Raises:
        InvalidToken: it names nobody, or not in the form it says.
    """
    found = _identifier(named)
    if found["format"] == "opaque":
        # Alone it is a session in CAEP 1.0 §3.1 (first example), and the user in events that are about users.
        id = text_in(found, "id")
        return About(id, id, either=True)
    if found["format"] != "complex":
        return About(None, _user(found, provider))
    members = {name: _identifier(value) for name, value in found.items() if name != "format"}
    if not members:
        raise refused("security_event", "it is about nobody.")
    session, user = members.get("session"), members.get("user")
    sid = text_in(session, "id") if session is not None and session["format"] == "opaque" else None
    # A device or a tenant beside the user says which of the user's sessions; who cannot tell takes them all.
    return About(sid, None if user is None else _user(user, provider))


def _user(named: Mapping[str, Any], provider: str) -> str | None:
    """Return `sub` of a user of this provider; None for one named in another way, such as by email."""
    if named["format"] == "aliases":  # the same user by several names (RFC 9493 §3.2.8)
        listed = named.get("identifiers")
        if not isinstance(listed, list) or not 0 < len(listed) <= MOST_ALIASES:
            raise refused("security_event", "it is about nobody.")
        found = [_identifier(each) for each in listed]
        if any(each["format"] == "aliases" for each in found):
            raise refused("security_event", "its names are nested.")
        return next((subject for each in found if (subject := _user(each, provider)) is not None), None)
    if named["format"] == "iss_sub":
        subject, issuer = text_in(named, "sub"), text_in(named, "iss")
        return subject if issuer == provider else None
    return text_in(named, "id") if named["format"] == "opaque" else None


def _identifier(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("format"), str):
        raise refused("security_event", "it is about nobody.")
    return value
