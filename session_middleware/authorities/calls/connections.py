"""The connections to a provider: one client for each process in a blocking app, and for each loop in an asynchronous one.

httpx2 does the work (chosen over httpx, whose last release is of 2024 and which Starlette's test client has left; over
aiohttp, which has no blocking form and no trio; over urllib3 and niquests, which have no trio).
"""

from __future__ import annotations

import os
from copy import copy
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from session_middleware.errors import SettingsError
from session_middleware.runtime import forget_closed, mutex, this_loop

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx2

__all__ = ["Connections", "checked_base", "library"]


class Connections:
    """Makes clients when they are needed, and closes them.

    Args:
        most: connections at once.
        own: a client of the app's own, used as it is; it keeps no cookies from then on, and is never closed here.

    Attributes:
        asynchronous: whether the app is.
        own: as given.
    """

    def __init__(self, *, most: int, own: httpx2.Client | httpx2.AsyncClient | None) -> None:
        self.asynchronous, self.own, self._most = False, own, most
        self._empty()

    def _empty(self) -> None:
        self._lock = mutex()
        self._blocking: tuple[int, httpx2.Client] | None = None
        self._awaited: WeakKeyDictionary[Any, tuple[int, httpx2.AsyncClient]] = WeakKeyDictionary()  # Any: a loop

    def attached(self, asynchronous: bool) -> Connections:
        """Return the same for one app, with connections of its own.

        Raises:
            SettingsError: the app's own client is of the other form.
        """
        made = copy(self)
        made._empty()
        made.asynchronous = asynchronous
        if self.own is None:
            if asynchronous:
                _certificates()  # read from disk now, while the app is built, and not on its loop
            return made
        if hasattr(self.own, "aclose") is not asynchronous:
            wanted = "AsyncClient" if asynchronous else "Client"
            raise SettingsError(
                "client", type(self.own).__name__, "does not fit this kind of app.", f"Give an httpx2.{wanted}."
            )
        self.own.cookies = _no_cookies()
        return made

    def client(self) -> httpx2.Client:
        """Return the client of this process, in a blocking app."""
        if self.own is not None:
            return self.own  # type: ignore[return-value]  # attached() has looked
        held = self._blocking
        if held is None or held[0] != os.getpid():  # a connection shared with a child would mix answers up
            with self._lock:
                held = self._blocking
                if held is None or held[0] != os.getpid():
                    held = self._blocking = (os.getpid(), library().Client(**self._options()))
        return held[1]

    def async_client(self) -> httpx2.AsyncClient:
        """Return the client of the running loop, in an asynchronous app."""
        if self.own is not None:
            return self.own  # type: ignore[return-value]  # attached() has looked
        loop = this_loop()
        held = self._awaited.get(loop)
        if held is None or held[0] != os.getpid():
            forget_closed(self._awaited)
            held = self._awaited[loop] = (os.getpid(), library().AsyncClient(**self._options()))
        return held[1]

    def _options(self) -> dict[str, Any]:
        return {
            "verify": _certificates(),
            "cookies": _no_cookies(),
            "limits": library().Limits(max_connections=self._most, max_keepalive_connections=self._most),
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


def library() -> Any:  # Any: the module
    """Return httpx2, with all that its first call would load.

    Raises:
        SettingsError: it is not installed.
    """
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
    context: SSLContext = library().create_ssl_context()
    return context


def checked_base(url: object, insecure_dev: bool) -> str:
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
