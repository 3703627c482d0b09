"""CookieJar: the storage model of RFC 6265bis §5, for one person's browser and a clock that a test moves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

__all__ = ["Cookie", "CookieJar"]

NAME_AND_VALUE_LIMIT = 4096  # §5.6 step 5
ATTRIBUTE_LIMIT = 1024  # §5.6
LONGEST_AGE = 400 * 86_400  # §5.5
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Cookie:
    """A stored cookie.

    Attributes:
        expires: the instant at which it is gone; None when the browser closes.
    """

    name: str
    value: str
    domain: str
    host_only: bool
    path: str
    secure: bool
    http_only: bool
    same_site: str | None
    expires: float | None


class CookieJar:
    """Keeps cookies as a browser would, and says why it dropped one.

    Attributes:
        dropped: for each Set-Cookie that a browser would not keep, its name and why.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._cookies: dict[tuple[str, str, str], Cookie] = {}
        self.dropped: list[str] = []

    def __iter__(self) -> Iterator[Cookie]:
        return iter(self._live())

    def __getitem__(self, name: str) -> str:
        return self.cookie(name).value

    def __contains__(self, name: object) -> bool:
        return any(cookie.name == name for cookie in self._live())

    @property
    def names(self) -> set[str]:
        """The names of all cookies that are not over."""
        return {cookie.name for cookie in self._live()}

    def cookie(self, name: str) -> Cookie:
        """Return the cookie of a name.

        Raises:
            KeyError: there is none.
        """
        for cookie in self._live():
            if cookie.name == name:
                return cookie
        raise KeyError(name)

    def put(self, name: str, value: str) -> None:
        """Overwrite a cookie's value, as an attacker or a developer console does; its attributes stay."""
        for key, cookie in self._cookies.items():
            if cookie.name == name:
                self._cookies[key] = replace(cookie, value=value)
                return
        raise KeyError(name)

    def forget(self, *names: str) -> None:
        """Remove cookies by name; all of them if none is given."""
        self._cookies = {key: c for key, c in self._cookies.items() if names and c.name not in names}

    def copy(self) -> CookieJar:
        """Return a jar with the same cookies."""
        other = CookieJar(self._clock)
        other._cookies = dict(self._cookies)
        return other

    def drop_session_cookies(self) -> None:
        """Do what closing the browser does."""
        self._cookies = {key: c for key, c in self._cookies.items() if c.expires is not None}

    @staticmethod
    def is_secure(origin: str) -> bool:
        """Say whether Secure cookies go there: https, or this very machine."""
        parts = urlsplit(origin)
        host = parts.hostname or ""
        return parts.scheme == "https" or host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost")

    def header_for(self, origin: str, path: str) -> str:
        """Return the Cookie header for a request: longer paths first, then the older cookie (§5.8.3)."""
        host, secure = urlsplit(origin).hostname or "", self.is_secure(origin)
        fitting = [
            cookie
            for cookie in self._live()
            if (cookie.domain == host if cookie.host_only else _domain_matches(host, cookie.domain))
            and _path_matches(path, cookie.path)
            and (secure or not cookie.secure)
        ]
        fitting.sort(key=lambda cookie: -len(cookie.path))  # stable, and dicts keep the order of creation
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in fitting)

    def take(self, lines: Iterable[str], origin: str, path: str) -> None:
        """Store what a response sets.

        Raises:
            AssertionError: it sets one name twice: which of the two stands would depend on the browser (§4.1.1).
        """
        lines = list(lines)
        names = [line.partition("=")[0].strip() for line in lines]
        assert len(names) == len(set(names)), f"one response sets a cookie twice: {sorted(names)}"
        for line in lines:
            why = self._take(line, origin, path)
            if why is not None:
                self.dropped.append(f"{line.partition('=')[0]}: {why}")

    def _take(self, line: str, origin: str, path: str) -> str | None:
        """Store one cookie; return why it was dropped, or None."""
        if _CONTROL.search(line):
            return "a control character"
        pair, *parts = line.split(";")
        name, equals, value = pair.partition("=")
        name, value = name.strip(" \t"), value.strip(" \t")
        if not equals or not name:
            return "no name"
        if len(name.encode()) + len(value.encode()) > NAME_AND_VALUE_LIMIT:
            return f"over {NAME_AND_VALUE_LIMIT} bytes"
        attributes = _attributes(parts)
        host, secure = urlsplit(origin).hostname or "", "secure" in attributes
        domain = attributes.get("domain", "").lstrip(".").lower()
        if domain and not _domain_matches(host, domain):
            return f"{host} may not set it for {domain}"
        if secure and not self.is_secure(origin):
            return "Secure over plain http"
        where = attributes.get("path", "")
        if not where.startswith("/"):
            where = path.rpartition("/")[0] or "/"
        lower = name.lower()
        if lower.startswith(("__secure-", "__host-")) and not secure:
            return "the prefix asks for Secure"
        if lower.startswith("__host-") and (domain or attributes.get("path") != "/"):
            return "__Host- asks for Path=/ and no Domain"
        if "partitioned" in attributes and not secure:
            return "Partitioned asks for Secure"
        same_site = attributes.get("samesite")
        if (same_site or "").lower() == "none" and not secure:
            return "SameSite=None asks for Secure"
        expires = self._expiry(attributes)
        key = (name, domain or host, where)
        if expires is not None and expires <= self._clock():
            self._cookies.pop(key, None)
            return None
        self._cookies[key] = Cookie(
            name, value, domain or host, not domain, where, secure, "httponly" in attributes, same_site, expires
        )
        return None

    def _expiry(self, attributes: dict[str, str]) -> float | None:
        """Return when a cookie is over; Max-Age wins over Expires, both are held to 400 days (§5.5, §5.6.1-2)."""
        now = self._clock()
        age = attributes.get("max-age", "")
        if re.fullmatch(r"-?[0-9]+", age):
            return now + min(int(age), LONGEST_AGE) if int(age) > 0 else float("-inf")
        if "expires" in attributes:
            try:
                moment = parsedate_to_datetime(attributes["expires"])
            except ValueError:
                return None
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
            return min(moment.timestamp(), now + LONGEST_AGE)
        return None

    def _live(self) -> list[Cookie]:
        now = self._clock()
        self._cookies = {k: c for k, c in self._cookies.items() if c.expires is None or c.expires > now}
        return list(self._cookies.values())


def _attributes(parts: Iterable[str]) -> dict[str, str]:
    """Read a cookie's attributes; of one that is given twice the last counts (§5.6)."""
    found: dict[str, str] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if len(value.strip()) <= ATTRIBUTE_LIMIT:
            found[name.strip().lower()] = value.strip()
    return found


def _domain_matches(host: str, domain: str) -> bool:
    return host == domain or host.endswith("." + domain)


def _path_matches(path: str, cookie_path: str) -> bool:
    """Say whether a cookie's path covers a request's (§5.1.4)."""
    if not path.startswith(cookie_path):
        return False
    return len(path) == len(cookie_path) or cookie_path.endswith("/") or path[len(cookie_path)] == "/"
