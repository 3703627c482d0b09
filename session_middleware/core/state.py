"""What an authority leaves in a browser on its way to the provider, signed: states, each in a cookie of its own.

Signed and not encrypted: it is this browser's own sign-in, and nothing in it is worth more than the browser's cookies are.
A cookie for each, so that two tabs that sign in at once do not overwrite each other.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from session_middleware.core.cookies import SIZE_LIMIT, find
from session_middleware.core.tokens import b64decode, b64encode
from session_middleware.errors import SettingsError
from session_middleware.settings import Settings

__all__ = ["forget_line", "remember_line", "remembered", "remembered_ids"]

_ID: Final = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)


def _name(settings: Settings, id: str) -> str:
    # Never __Secure-: a state belongs to this host alone, also where the session is shared by a domain.
    prefix = "" if settings.insecure_dev else "__Host-"
    return f"{prefix}{settings.cookie_name}_state_{id}"


def _mac(key: bytes, name: str, payload: str) -> bytes:
    return hmac.digest(key, f"{name}\0{payload}".encode(), "sha256")


def _attributes(settings: Settings) -> str:
    # Lax whatever the session's is: the provider sends the browser back from another site.
    return f"; Path=/{'' if settings.insecure_dev else '; Secure'}; HttpOnly; SameSite=Lax"


def remember_line(
    settings: Settings, keys: Sequence[bytes], id: str, state: Mapping[str, Any], now: float, seconds: float
) -> str:
    """Return the Set-Cookie value that keeps a state.

    Args:
        settings: for the cookie's name.
        keys: secrets; the first signs.
        id: 8 to 64 letters, digits, "-" and "_".
        state: JSON values.
        now: the instant.
        seconds: how long it holds.

    Raises:
        SettingsError: the id is none, or the state is too long for a cookie.
    """
    if not _ID.fullmatch(id):
        raise SettingsError("state", id, "is no id of a state.", "Use 8 to 64 letters, digits, - and _.")
    name = _name(settings, id)
    payload = b64encode(json.dumps({"until": now + seconds, "state": dict(state)}, separators=(",", ":")).encode())
    value = f"{payload}.{b64encode(_mac(keys[0], name, payload))}"
    if len(name) + len(value) + 1 > SIZE_LIMIT:
        raise SettingsError("state", f"<{len(value)} bytes>", "does not fit a cookie.", "Shorten the return path.")
    return f"{name}={value}; Max-Age={int(seconds)}{_attributes(settings)}"


def forget_line(settings: Settings, id: str) -> str:
    """Return the Set-Cookie value that removes a state that has served."""
    return f"{_name(settings, id)}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT{_attributes(settings)}"


def remembered(settings: Settings, keys: Sequence[bytes], cookies: str, id: str, now: float) -> dict[str, Any] | None:
    """Return a state that came with a request; None for none, a forged one or one that is over."""
    if not _ID.fullmatch(id):
        return None
    name = _name(settings, id)
    values = find(cookies, name)
    if len(values) != 1:
        return None
    payload, dot, mac = values[0].partition(".")
    try:
        given = b64decode(mac)
        if not dot or not any(hmac.compare_digest(_mac(key, name, payload), given) for key in keys):
            return None
        held = json.loads(b64decode(payload))  # ours: the signature is good
    except ValueError:
        return None
    state: dict[str, Any] = held["state"]
    return state if now < held["until"] else None


def remembered_ids(settings: Settings, cookies: str) -> list[str]:
    """Return the ids of the states that came with a request, in order, good or not."""
    begin = _name(settings, "")
    names = (pair.partition("=")[0].strip(" \t") for pair in cookies.split(";"))
    return [name.removeprefix(begin) for name in names if name.startswith(begin) and _ID.fullmatch(name[len(begin) :])]
