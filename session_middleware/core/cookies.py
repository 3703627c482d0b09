"""Read cookies from a Cookie header, write Set-Cookie lines, and hold them to their limits (L19)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from session_middleware.errors import SettingsError
from session_middleware.settings import COOKIE_MAX_AGE, Settings

__all__ = ["Relayed", "check_size", "delete_line", "find", "max_age", "relayed", "sent_beside", "set_line"]

#: Browsers drop a cookie whose name and value are longer (RFC 6265bis §5.6; ASVS 3.3.5).
SIZE_LIMIT = 4096


def find(header: str, name: str) -> list[str]:
    """Return every different value of a cookie in a Cookie header, in order; names match exactly (L10)."""
    if name not in header:
        return []
    values: dict[str, None] = {}  # a list would be searched as often as it is long
    for pair in header.split(";"):
        left, equals, value = pair.partition("=")
        if equals and left.strip(" \t") == name:
            values[value.strip(" \t")] = None
    return list(values)


def check_size(name: str, value: str) -> None:
    """Refuse a cookie that browsers would drop.

    Raises:
        SettingsError: name and value together are over 4096 bytes.
    """
    size = len(name) + len(value) + 1
    if size > SIZE_LIMIT:
        raise SettingsError(
            "claims",
            f"<cookie {name} of {size} bytes>",
            f"makes a cookie over {SIZE_LIMIT} bytes, which browsers drop.",
            "List fewer or shorter claims in jwt_claims, or keep them in session.data, which never leaves the server.",
        )


def max_age(absolute_deadline: float, now: float) -> int:
    """Return Max-Age of a live persistent session: seconds to the absolute deadline, at most 400 days (L19).

    Never 0: that would delete the cookie, which only logout does (L26).
    """
    return max(1, min(math.floor(absolute_deadline - now), COOKIE_MAX_AGE))


def _attributes(settings: Settings) -> str:
    parts = ["; Path=/"]
    if settings.cookie_domain:
        parts.append(f"; Domain={settings.cookie_domain}")
    if not settings.insecure_dev:
        parts.append("; Secure")
    parts.append(f"; HttpOnly; SameSite={settings.cookie_samesite}")
    if settings.cookie_partitioned:
        parts.append("; Partitioned")
    return "".join(parts)


def set_line(settings: Settings, name: str, value: str, age: int | None) -> str:
    """Return the value of a Set-Cookie header; `age` in seconds for a persistent cookie, None for the browser's session."""
    lifetime = "" if age is None else f"; Max-Age={age}"
    return f"{name}={value}{lifetime}{_attributes(settings)}"


def delete_line(settings: Settings, name: str) -> str:
    """Return the Set-Cookie value that removes a cookie: same name and attributes (RFC 6265bis §4.1.1)."""
    return f"{name}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT{_attributes(settings)}"


class Relayed(str):
    """A Set-Cookie value of a provider's, for the browser as it is.

    Unlike our own it gives way where the app sets the cookie itself: a login that the app has just made at the provider
    must not be undone by what the provider said of the session before.
    """

    __slots__ = ()


def relayed(lines: Iterable[str]) -> list[str]:
    """Return a provider's lines without those that a later one for the same cookie replaces (L18, RFC 6265bis §4.1.1).

    A provider that is asked twice in the course of a request may write its cookies twice. Cookies of one name that
    differ in Domain or Path are different ones.
    """
    kept: dict[tuple[str, ...], str] = {}
    for line in lines:
        pair, *attributes = line.split(";")
        where = (part.strip().lower() for part in attributes)
        cookie = (
            pair.partition("=")[0].strip(),
            *sorted(part for part in where if part.startswith(("domain=", "path="))),
        )
        kept.pop(cookie, None)
        kept[cookie] = Relayed(line)
    return list(kept.values())


def sent_beside(lines: Iterable[str], set_by_app: Collection[str]) -> list[str]:
    """Return those of our lines and a provider's that go out beside cookies of these names which the app sets."""
    return [
        str(line)  # WSGI takes exactly str (PEP 3333)
        for line in lines
        if not (isinstance(line, Relayed) and line.partition("=")[0].strip() in set_by_app)
    ]
