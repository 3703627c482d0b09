"""Browser: what stands between a person and an app in a test, with the cookie jar and headers of a real one.

It follows RFC 6265bis where that decides whether a session lives: prefixes, Secure, Max-Age, Path, the size limit. It
sends what browsers send that the rules of this package read: Host, Origin, Referer, Sec-Fetch-*. It follows no redirect
by itself and ignores SameSite: which site a request comes from is what the test says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from session_middleware.testing.cookie_jar import CookieJar

__all__ = ["Answer", "Browser", "Driver"]

Pairs = Sequence[tuple[str, str]]

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FORM = "application/x-www-form-urlencoded"
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response: status, headers in order (names in any case), body."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return a header's value, several joined by ", "; None if there is none."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def set_cookies(self) -> list[str]:
        """The values of all Set-Cookie headers."""
        return [value.strip() for key, value in self.headers if key.lower() == "set-cookie"]

    @property
    def json(self) -> Any:  # Any: JSON
        """The body, read as JSON."""
        return json.loads(self.body)


class Driver(Protocol):
    """An app under test, behind whatever server or test client its framework has."""

    def request(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        """Send one request and return the whole response; an exception raised by the app is an Answer of 500.

        Args:
            method: in capitals.
            target: path and query, percent-encoded, the mount included.
            headers: as a browser would send them, Host and Cookie included; Content-Length is the driver's.
            body: the whole body.
        """
        ...

    def close(self) -> None:
        """Stop whatever runs behind it; the store is not closed."""
        ...


class Browser:
    """A browser with its own cookies, at one origin.

    Args:
        driver: the app; assign another to `browser.driver` to have a second worker or a new release answer.
        clock: by which cookies run out.
        origin: scheme and host of the app.

    Attributes:
        jar: the cookies.
        answers: everything received, in order.
        cookie_header: sent in place of what the jar holds, if it is not None.
        enter: signs a user in at the provider behind the app (`stage.Behind`); None where the app vouches itself.
        beside: cookies of that provider. Scenarios look at ours: these are sent with each request and kept, and are
            neither in `jar` nor in the answers that are returned.
        beside_names: their names.
    """

    def __init__(self, driver: Driver, clock: Callable[[], float], *, origin: str = "https://app.example") -> None:
        self.driver = driver
        self.clock = clock
        self.origin = origin
        self.jar = CookieJar(clock)
        self.answers: list[Answer] = []
        self.cookie_header: str | None = None
        self.enter: Callable[[str], tuple[dict[str, Any], list[str]]] | None = None  # Any: JSON values
        self.beside = CookieJar(clock)
        self.beside_names: tuple[str, ...] = ()

    # --- what people do ----------------------------------------------------------------------------------------

    def navigate(self, target: str, method: str = "GET", *, site: str = "none", headers: Pairs = ()) -> Answer:
        """Open a page, as from the address bar (`site="none"`) or by a link of a page of that site."""
        sent = [("Accept", HTML), ("Upgrade-Insecure-Requests", "1"), *self._fetch_metadata(site, "navigate")]
        return self.send(method, target, [*sent, *headers])

    def submit(
        self, target: str, body: bytes = b"", *, site: str = "same-origin", page: str = "/", headers: Pairs = ()
    ) -> Answer:
        """Post a form of a page, `page` being its path; from another site the browser says only which."""
        sent = [
            ("Accept", HTML),
            ("Content-Type", FORM),
            *self._source(site, page, "POST"),
            *self._fetch_metadata(site, "navigate"),
        ]
        return self.send("POST", target, [*sent, *headers], body)

    def follow(self, answer: Answer) -> Answer:
        """Go where a redirect on this origin points."""
        location = answer.header("Location")
        assert answer.status in (301, 302, 303, 307, 308), f"a {answer.status} is no redirect"
        assert location is not None, "a redirect without a Location"
        parts = urlsplit(location)
        assert not parts.netloc or f"{parts.scheme}://{parts.netloc}" == self.origin, f"leads elsewhere: {location}"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return self.navigate(target, site="same-origin")

    # --- what scripts do ---------------------------------------------------------------------------------------

    def fetch(
        self,
        target: str,
        method: str = "GET",
        body: bytes = b"",
        *,
        site: str = "same-origin",
        page: str = "/",
        headers: Pairs = (),
    ) -> Answer:
        """Do what `fetch()` of a page's script does."""
        sent = [("Accept", "*/*"), *self._source(site, page, method), *self._fetch_metadata(site, "cors")]
        return self.send(method, target, [*sent, *headers], body)

    def htmx(self, target: str, method: str = "GET", *, page: str = "/", headers: Pairs = ()) -> Answer:
        """Do what an htmx attribute of a page does."""
        return self.fetch(
            target,
            method,
            page=page,
            headers=[("HX-Request", "true"), ("HX-Current-URL", self.origin + page), *headers],
        )

    def prefetch(self, target: str, *, purpose: str = "prefetch") -> Answer:
        """Ask ahead of the user, as for `<link rel=prefetch>` or speculation rules."""
        sent = [("Accept", HTML), ("Sec-Purpose", purpose), *self._fetch_metadata("same-origin", "navigate")]
        return self.send("GET", target, sent)

    def plain(self, target: str, method: str = "GET", body: bytes = b"", *, headers: Pairs = ()) -> Answer:
        """Ask as a tool that is no browser would: cookies and Host, nothing of our own beside `headers`."""
        return self.send(method, target, headers, body)

    # --- the cookies -------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """Close and reopen the browser: cookies without Max-Age are gone."""
        self.jar.drop_session_cookies()

    def twin(self, driver: Driver | None = None) -> Browser:
        """Return a browser with a copy of the cookies: a thief, a parallel tab, one that lost the last response."""
        other = Browser(driver or self.driver, self.clock, origin=self.origin)
        other.jar, other.enter = self.jar.copy(), self.enter
        other.beside, other.beside_names = self.beside.copy(), self.beside_names
        return other

    # --- one request -------------------------------------------------------------------------------------------

    def send(self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Answer:
        """Send a request with Host, User-Agent and the cookies that belong to it, and keep what it sets."""
        parts = urlsplit(self.origin)
        path = target.partition("?")[0]
        sent = [("Host", parts.netloc), ("User-Agent", AGENT)]
        cookie = self.jar.header_for(self.origin, path) if self.cookie_header is None else self.cookie_header
        cookie = "; ".join(part for part in (cookie, self.beside.header_for(self.origin, path)) if part)
        if cookie:
            sent.append(("Cookie", cookie))
        answer = self.driver.request(method, target, [*sent, *headers], body)
        if self.beside_names:
            self.beside.take([line for line in answer.set_cookies if self._is_beside(line)], self.origin, path)
            kept = [pair for pair in answer.headers if pair[0].lower() != "set-cookie" or not self._is_beside(pair[1])]
            answer = Answer(answer.status, kept, answer.body)
        self.jar.take(answer.set_cookies, self.origin, path)
        self.answers.append(answer)
        return answer

    def _is_beside(self, line: str) -> bool:
        return line.partition("=")[0].strip() in self.beside_names

    def _fetch_metadata(self, site: str, mode: str) -> list[tuple[str, str]]:
        if not self.jar.is_secure(self.origin):
            return []  # sent to potentially trustworthy origins only (Fetch Metadata §2)
        headers = [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode)]
        headers.append(("Sec-Fetch-Dest", "document" if mode == "navigate" else "empty"))
        if mode == "navigate":
            headers.append(("Sec-Fetch-User", "?1"))
        return headers

    def _source(self, site: str, page: str, method: str) -> list[tuple[str, str]]:
        if site == "none":
            return []
        origin = {"same-origin": self.origin, "same-site": "https://other.app.example"}.get(
            site, "https://elsewhere.test"
        )
        headers = [("Referer", origin + page if site == "same-origin" else f"{origin}/")]
        if method in UNSAFE or site != "same-origin":
            headers.append(("Origin", origin))
        return headers
