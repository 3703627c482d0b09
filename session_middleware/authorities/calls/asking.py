"""How a provider is asked: a time limit, one retry where it is safe, a pause after faults; blocking and awaited."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, urlsplit

from session_middleware.authorities.base import Attached
from session_middleware.authorities.calls.answers import Answered, ProviderFault
from session_middleware.authorities.calls.connections import Connections, checked_base, library
from session_middleware.errors import SettingsError

if TYPE_CHECKING:
    import httpx2

__all__ = ["Calls", "path_segment"]

#: Bytes of an answer that are read; a provider's are a few thousand.
MOST: Final = 1024 * 1024

#: Faults in a row after which a provider is left alone for a moment.
FAULTS_IN_A_ROW: Final = 5

#: Seconds for which it is then left alone.
LEFT_ALONE: Final = 1.0

#: Seconds for which it is left alone at most because it said so itself (429 or 503 with Retry-After, RFC 9110 §10.2.3).
LONGEST_PAUSE: Final = 60.0


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
        self.base_url = checked_base(base_url, insecure_dev)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= 60:
            raise SettingsError("timeout", timeout, "is no time limit for a call.", "Give seconds up to 60, such as 3.")
        self.timeout = float(timeout)
        # All this goes with each call, since a client of the app's own knows nothing of it, and may follow redirects.
        self._always: dict[str, Any] = {"follow_redirects": False}
        if basic is not None:
            self._always["auth"] = basic
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "session-middleware",
            **(headers or {}),
        }
        self._connections = Connections(most=most, own=client)
        self._runtime: Any = None
        self._clock: Callable[[], float] = time.time
        self._faults = 0
        self._alone_until = float("-inf")
        library()

    def __repr__(self) -> str:
        return f"<Calls to {self.base_url}>"

    def attached(self, to: Attached) -> Calls:
        """Return these calls as one app makes them: one authority may serve several, each in its own way.

        Raises:
            SettingsError: the app's own client is of the other form, or these are calls of an app of the other form.
        """
        asynchronous = to.runtime.asynchronous
        if self._runtime is not None and self._connections.asynchronous is not asynchronous:
            raise SettingsError(
                "authority",
                self.base_url,
                "serves an app of the other kind already, blocking or asynchronous.",
                "Make an authority for each app.",
            )
        calls = copy(self)
        calls._runtime, calls._clock = to.runtime, to.clock
        calls._connections = self._connections.attached(asynchronous)
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
        given: dict[str, Any] = {"params": query, "json": json, "data": form}
        options = {name: value for name, value in given.items() if value is not None}
        options |= {**self._always, "timeout": self.timeout, "headers": {**self._headers, **(headers or {})}}
        tries = 2 if safe else 1
        while True:
            tries -= 1
            try:
                answered = await self._send(method, url, where, options)
            except ProviderFault as fault:
                if fault.kind == "connection" and tries:
                    continue
                self._fault(self._clock())
                raise
            return self._judged(answered, self._clock(), expect)

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
        """Count a fault, at the instant at which it was known: one by a time limit began longer ago than anybody is left alone."""
        self._faults += 1
        if self._faults >= FAULTS_IN_A_ROW:
            self._alone_until = max(self._alone_until, now + LEFT_ALONE)

    async def _send(self, method: str, url: str, where: str, options: dict[str, Any]) -> Answered:
        httpx, connections = library(), self._connections
        deadline = time.monotonic() + self.timeout
        try:
            if connections.asynchronous:
                async with (
                    self._runtime.within(self.timeout),
                    connections.async_client().stream(method, url, **options) as got,
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
            with connections.client().stream(method, url, **options) as got:
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

    def close(self) -> None:
        """Close the connections of a synchronous app."""
        self._connections.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._connections.aclose()


def path_segment(text: str) -> str:
    """Return an id as one part of a path, whatever is in it: `..` would be taken away by the client, with what is before it.

    Raises:
        ValueError: it is empty, and so another path.
    """
    if not text:
        raise ValueError("an empty id is no part of a path")
    return quote(text, safe="").replace(".", "%2E") if set(text) == {"."} else quote(text, safe="")


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
    # A byte for a character, so that what is relayed leaves as it came: httpx2 itself would guess an encoding.
    headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in got.headers.raw)
    return Answered(got.status_code, headers, b"".join(chunks), where)


def _seconds(text: str | None) -> float | None:
    """Read Retry-After in seconds; its other form, a date, is no reason to wait on (RFC 9110 §10.2.3)."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None
