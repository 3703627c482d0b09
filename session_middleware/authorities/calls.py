"""Calls to a provider over HTTP: time limits, one retry where it is safe, a pause after faults; blocking and awaited.

httpx2 does the work (chosen over httpx, whose last release is of 2024 and which Starlette's test client has left; over
aiohttp, which has no blocking form and no trio; over urllib3 and niquests, which have no trio). An answer of any status is
a value; what is no answer is a `ProviderFault`. Nothing here ever prints a body, a query or a header.
"""

from __future__ import annotations

import json as json_module
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from session_middleware.authorities.base import Attached
from session_middleware.errors import SettingsError
from session_middleware.runtime import mutex, this_loop

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx2

__all__ = ["Answered", "Calls", "ProviderFault"]

#: Bytes of an answer that are read; a provider's are a few thousand.
MOST: Final = 1024 * 1024

#: Faults in a row after which a provider is left alone for a moment.
FAULTS_IN_A_ROW: Final = 5

#: Seconds for which it is then left alone.
LEFT_ALONE: Final = 1.0

#: Seconds for which it is left alone at most because it said so itself (429 or 503 with Retry-After, RFC 9110 §10.2.3).
LONGEST_PAUSE: Final = 60.0


class ProviderFault(Exception):
    """The provider did not give an answer that can be used. It says nothing about anybody's session (L17).

    Attributes:
        kind: "timeout", "connection", "garbage" (not what its documentation promises), "throttled", "outage" (5xx),
            "credentials" (ours are refused: the operator's to mend), "refused" (what we asked for is: likewise),
            "left_alone" (not asked, after faults), "unconfirmed" (it denies a session, which proves nothing yet).
        retry_after: seconds, where the provider said so.
    """

    def __init__(self, kind: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, str(self), self.retry_after)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a provider answered.

    Attributes:
        status: the HTTP status.
        headers: in order, names in lower case.
        body: as it came.
        where: method and path, for messages.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    where: str

    def __repr__(self) -> str:  # a body may hold tokens
        return f"<Answered {self.status} to {self.where}>"

    def header(self, name: str) -> str | None:
        """Return the first header of a lower-case name."""
        return next((value for held, value in self.headers if held == name), None)

    @property
    def set_cookies(self) -> tuple[str, ...]:
        """Every Set-Cookie value, unchanged."""
        return tuple(value for name, value in self.headers if name == "set-cookie")

    def object(self) -> dict[str, Any]:  # Any: JSON values
        """Return the JSON object in the body.

        Raises:
            ProviderFault: there is none.
        """
        try:
            found = json_module.loads(self.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ProviderFault(
                "garbage", f"The provider answered {self.status} to {self.where} without a JSON object."
            )
        return found


class Calls:
    """Makes HTTP calls for an authority.

    Args:
        base_url: such as "https://api.stytch.com"; paths given to `ask` are appended. http is accepted for this machine only
            (or with `insecure_dev`).
        timeout: seconds for a whole call, connecting included.
        most: connections at once.
        headers: sent with every call; their values are secrets.
        basic: user and password for HTTP Basic.
        client: an `httpx2.Client` or `AsyncClient` of the app's own, for proxies, certificates and the like; it keeps no
            cookies from then on.

    Raises:
        SettingsError: the URL or a number makes no sense, or httpx2 is not installed.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = 3.0,
        most: int = 64,
        headers: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
        client: httpx2.Client | httpx2.AsyncClient | None = None,
        insecure_dev: bool = False,
    ) -> None:
        self.base_url = _checked_base(base_url, insecure_dev)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 60:
            raise SettingsError("timeout", timeout, "is no time limit for a call.", "Give seconds up to 60, such as 3.")
        self.timeout = float(timeout)
        self._most = most
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "session-middleware",
            **(headers or {}),
        }
        self._basic = basic
        self._own = client
        self._tls: SSLContext | None = None
        self._lock = mutex()
        self._blocking: tuple[int, httpx2.Client] | None = None
        self._awaited: WeakKeyDictionary[Any, tuple[int, httpx2.AsyncClient]] = WeakKeyDictionary()  # Any: a loop
        self._asynchronous = False
        self._runtime: Any = None
        self._clock: Callable[[], float] = time.time
        self._faults = 0
        self._alone_until = float("-inf")
        _library()

    def __repr__(self) -> str:
        return f"<Calls to {self.base_url}>"

    def attached(self, to: Attached) -> Calls:
        """Return these calls as one app makes them: one authority may serve several, each in its own way.

        Raises:
            SettingsError: the app's own client is of the other form, or these are calls of an app of the other form.
        """
        if self._runtime is not None and self._asynchronous is not to.runtime.asynchronous:
            raise SettingsError(
                "authority",
                self.base_url,
                "serves an app of the other kind already, blocking or asynchronous.",
                "Make an authority for each app.",
            )
        calls = copy(self)
        calls._runtime, calls._clock, calls._asynchronous = to.runtime, to.clock, to.runtime.asynchronous
        calls._blocking, calls._awaited, calls._lock = None, WeakKeyDictionary(), mutex()
        if calls._asynchronous and self._own is None:
            # Certificates are read from disk now, while the app is built, and not on its loop.
            calls._tls = _certificates()
        if self._own is not None and hasattr(self._own, "aclose") is not calls._asynchronous:
            wanted = "AsyncClient" if calls._asynchronous else "Client"
            raise SettingsError(
                "client", type(self._own).__name__, "does not fit this kind of app.", f"Give an httpx2.{wanted}."
            )
        if self._own is not None:
            self._own.cookies = _no_cookies()
        return calls

    async def ask(
        self,
        method: Literal["GET", "POST", "PATCH", "DELETE"],
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,  # Any: JSON values
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        safe: bool | None = None,
        expect: Sequence[int] = (),
    ) -> Answered:
        """Make a call; never suspends in a synchronous app.

        Args:
            method: the HTTP method.
            path: below `base_url`, beginning with "/"; or a whole URL that the provider itself has published.
            query: the query's fields.
            json: sent as a JSON body.
            form: sent as a form.
            headers: more headers.
            safe: whether it may be sent twice where a connection broke; GET may.
            expect: statuses from 500 on that are answers all the same.

        Returns:
            The answer, whatever its status below 500, 429 excepted.

        Raises:
            ProviderFault: there was none.
        """
        url = path if "://" in path else self.base_url + path
        where = f"{method} {urlsplit(url).path}"
        now = self._clock()
        if now < self._alone_until <= now + LONGEST_PAUSE:
            raise ProviderFault(
                "left_alone", f"{where}: the provider is left alone for a moment after faults.", self._alone_until - now
            )
        if safe is None:
            safe = method == "GET"
        options: dict[str, Any] = {"params": query, "json": json, "data": form, "headers": headers}
        options = {name: value for name, value in options.items() if value is not None}
        tries = 2 if safe else 1
        while True:
            tries -= 1
            try:
                answered = await self._send(method, url, where, options)
            except ProviderFault as fault:
                if fault.kind == "connection" and tries:
                    continue
                self._fault(now)
                raise
            return self._judged(answered, now, expect)

    def _judged(self, answered: Answered, now: float, expect: Sequence[int]) -> Answered:
        status = answered.status
        if status in expect or (status < 500 and status != 429):
            self._faults = 0
            return answered
        pause = _seconds(answered.header("retry-after"))
        kind = "throttled" if status == 429 else "outage"
        if pause is not None:
            self._alone_until = now + min(pause, LONGEST_PAUSE)
        if status != 429:
            self._fault(now)
        raise ProviderFault(kind, f"The provider answered {status} to {answered.where}.", pause)

    def _fault(self, now: float) -> None:
        self._faults += 1
        if self._faults >= FAULTS_IN_A_ROW:
            self._alone_until = max(self._alone_until, now + LEFT_ALONE)

    async def _send(self, method: str, url: str, where: str, options: dict[str, Any]) -> Answered:
        httpx = _library()
        deadline = time.monotonic() + self.timeout
        try:
            if self._asynchronous:
                async with (
                    self._runtime.within(self.timeout),
                    self._async_client().stream(method, url, **options) as got,
                ):
                    chunks, size = [], 0
                    _check(got, where)
                    async with aclosing(got.aiter_raw()) as arriving:
                        async for chunk in arriving:
                            size += len(chunk)
                            if size > MOST:
                                raise _too_large(where)
                            chunks.append(chunk)
                return _answered(got, chunks, where)
            with self._client().stream(method, url, **options) as got:
                chunks, size = [], 0
                _check(got, where)
                for chunk in got.iter_raw():
                    size += len(chunk)
                    if size > MOST:
                        raise _too_large(where)
                    if time.monotonic() > deadline:  # each read has its limit, a drip of many has this one
                        raise TimeoutError
                    chunks.append(chunk)
            return _answered(got, chunks, where)
        except (httpx.TimeoutException, TimeoutError):
            raise ProviderFault("timeout", f"{where}: no answer within {self.timeout:g} s.") from None
        except (httpx.HTTPError, OSError) as fault:
            # Not chained: its request carries our secrets.
            raise ProviderFault("connection", f"{where}: {type(fault).__name__}.") from None

    def _client(self) -> httpx2.Client:
        if self._own is not None:
            return self._own  # type: ignore[return-value]  # attach() has looked
        held = self._blocking
        if held is None or held[0] != os.getpid():  # a connection shared with a child would mix answers up
            with self._lock:
                held = self._blocking
                if held is None or held[0] != os.getpid():
                    held = self._blocking = (os.getpid(), _library().Client(**self._options()))
        return held[1]

    def _async_client(self) -> httpx2.AsyncClient:
        if self._own is not None:
            return self._own  # type: ignore[return-value]  # attach() has looked
        loop = this_loop()
        held = self._awaited.get(loop)
        if held is None or held[0] != os.getpid():
            held = self._awaited[loop] = (os.getpid(), _library().AsyncClient(**self._options()))
        return held[1]

    def _options(self) -> dict[str, Any]:
        httpx = _library()
        return {
            "verify": True if self._tls is None else self._tls,
            "timeout": self.timeout,
            "headers": self._headers,
            "auth": self._basic,
            "follow_redirects": False,
            "cookies": _no_cookies(),
            "limits": httpx.Limits(max_connections=self._most, max_keepalive_connections=self._most),
        }

    def close(self) -> None:
        """Close the connections of a synchronous app."""
        held, self._blocking = self._blocking, None
        if held is not None:
            held[1].close()

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        held = self._awaited.pop(this_loop(), None)
        if held is not None:
            await held[1].aclose()


def _no_cookies() -> CookieJar:
    """Return a jar that keeps nothing: a provider's cookies belong to one browser each, and we call for all of them."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


def _check(got: Any, where: str) -> None:  # Any: httpx2.Response
    """Refuse by its headers what would not be read to its end, or is compressed though nobody asked for that.

    Raises:
        ProviderFault: it is.
    """
    if got.headers.get("content-encoding", "identity") != "identity":
        raise ProviderFault("garbage", f"{where}: the answer is encoded, which was not asked for.")
    length = got.headers.get("content-length", "")
    if length.isdigit() and int(length) > MOST:
        raise _too_large(where)


def _too_large(where: str) -> ProviderFault:
    return ProviderFault("garbage", f"{where}: the answer is longer than {MOST} bytes.")


def _answered(got: Any, chunks: Sequence[bytes], where: str) -> Answered:  # Any: httpx2.Response
    headers = tuple((name.lower(), value) for name, value in got.headers.multi_items())
    return Answered(got.status_code, headers, b"".join(chunks), where)


def _seconds(text: str | None) -> float | None:
    """Read Retry-After in seconds; its other form, a date, is no reason to wait on (RFC 9110 §10.2.3)."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None


def _library() -> Any:  # Any: the module
    try:
        import httpcore2  # noqa: F401  # httpx2 loads it at the first call, and that reads files while the loop waits
        import httpx2
    except ImportError:
        raise SettingsError(
            "authority",
            "a provider",
            "is asked over HTTP, which needs httpx2.",
            "Install the extra: pip install 'session-middleware[stytch]' (or kratos, oidc).",
        ) from None
    return httpx2


@cache
def _certificates() -> SSLContext:
    """Return what connections are checked by; reading it takes tens of milliseconds, so every authority shares it."""
    context: SSLContext = _library().create_ssl_context()
    return context


def _checked_base(url: object, insecure_dev: bool) -> str:
    """Return a provider's address without its last slash.

    Raises:
        SettingsError: it is none, or is not encrypted.
    """
    parts = None
    if isinstance(url, str):
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("base_url", url, "is no address of a provider.", "Give one like https://api.example.com.")
    if parts.query or parts.fragment or parts.username is not None:
        raise SettingsError(
            "base_url", "<hidden>", "has more than scheme, host and path.", "Give credentials by their own arguments."
        )
    host = parts.hostname
    local = host == "localhost" or host.endswith(".localhost") or host in ("127.0.0.1", "::1")
    if parts.scheme == "http" and not local and not insecure_dev:
        raise SettingsError(
            "base_url", url, "is not encrypted.", "Use https, or insecure_dev=True inside a test network."
        )
    return str(url).rstrip("/")
