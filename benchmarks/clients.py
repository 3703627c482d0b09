"""Clients that call an app directly, hold its cookies as a browser does, and time each call and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, MutableMapping
from http.cookies import SimpleCookie
from io import BytesIO
from typing import Any, Protocol

__all__ = ["ASGIClient", "Client", "WSGIClient"]

#: What a browser sends with a form of the same site; peers pay for reading it as we do.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
HEADERS = {
    "host": "app.example",
    "user-agent": USER_AGENT,
    "accept": "*/*",
    "accept-language": "en-GB,en;q=0.9",
    "accept-encoding": "gzip, deflate, br",
    "sec-fetch-site": "same-origin",
    "sec-fetch-mode": "cors",
    "sec-fetch-dest": "empty",
}

RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
ENVIRON_HEADERS = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in HEADERS.items()}


class Jar:
    """The cookies of one browser, as far as a benchmark needs them."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}
        self.set_cookies = 0
        self.header = ""

    def take(self, lines: Iterable[str]) -> None:
        """Keep what a response sets."""
        for line in lines:
            self.set_cookies += 1
            for name, morsel in SimpleCookie(line).items():
                self._held[name] = morsel.value
            self.header = "; ".join(f"{name}={value}" for name, value in self._held.items())

    def put(self, header: str) -> None:
        """Send these cookies from now on."""
        self.header = header

    def forget(self) -> None:
        """Be a new visitor."""
        self._held.clear()
        self.header = ""


class Client(Protocol):
    """Calls an app."""

    jar: Jar
    took: float  # seconds of the last request

    def call(self, method: str, path: str) -> tuple[int, bytes]:
        """Make one request; return status and body."""
        ...

    def burst(self, path: str, requests: int, between: Callable[[], object] | None = None) -> list[float]:
        """Make requests one after the other; return the seconds of each. `between` runs before each, untimed."""
        ...

    def close(self) -> None: ...


class ASGIClient:
    """Calls an ASGI app on a loop of its own."""

    def __init__(self, app: Any) -> None:  # Any: frameworks type their callables differently
        self.app = app
        self.jar = Jar()
        self.took = 0.0
        self._runner = asyncio.Runner()
        self._sent: list[MutableMapping[str, Any]] = []

    def call(self, method: str, path: str) -> tuple[int, bytes]:
        self._runner.run(self._call(method, path))
        return self._status(), b"".join(message.get("body", b"") for message in self._sent)

    def burst(self, path: str, requests: int, between: Callable[[], object] | None = None) -> list[float]:
        async def all_of_them() -> list[float]:
            times = []
            for _ in range(requests):
                if between is not None:
                    between()
                times.append(await self._call("GET", path))
                if self._status() != 200:
                    raise RuntimeError(f"GET {path} was answered {self._status()}")
            return times

        return self._runner.run(all_of_them())

    def close(self) -> None:
        self._runner.close()

    def _status(self) -> int:
        status: int = self._sent[0]["status"]
        return status

    async def _call(self, method: str, path: str) -> float:
        sent = self._sent = []
        headers = list(RAW_HEADERS)
        if self.jar.header:
            headers.append((b"cookie", self.jar.header.encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("192.0.2.7", 51000),
            "server": ("app.example", 443),
            "state": {},
        }
        asked = False

        async def receive() -> MutableMapping[str, Any]:
            nonlocal asked
            if asked:
                await asyncio.get_running_loop().create_future()  # the client stays
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        began = time.perf_counter()
        await self.app(scope, receive, send)
        took = self.took = time.perf_counter() - began
        self.jar.take(value.decode() for name, value in sent[0]["headers"] if name.lower() == b"set-cookie")
        return took


class WSGIClient:
    """Calls a WSGI app."""

    def __init__(self, app: Any) -> None:  # Any: frameworks type their callables differently
        self.app = app
        self.jar = Jar()
        self.took = 0.0
        self._answer: tuple[str, list[tuple[str, str]]] = ("", [])
        self._body = b""

    def call(self, method: str, path: str) -> tuple[int, bytes]:
        self._call(method, path)
        return int(self._answer[0].split()[0]), self._body

    def burst(self, path: str, requests: int, between: Callable[[], object] | None = None) -> list[float]:
        times = []
        for _ in range(requests):
            if between is not None:
                between()
            times.append(self._call("GET", path))
            if not self._answer[0].startswith("200"):
                raise RuntimeError(f"GET {path} was answered {self._answer[0]}")
        return times

    def close(self) -> None:
        """Nothing is held open."""

    def _call(self, method: str, path: str) -> float:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "app.example",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.7",
            "CONTENT_LENGTH": "0",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": BytesIO(),
            "wsgi.errors": BytesIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        environ.update(ENVIRON_HEADERS)
        if self.jar.header:
            environ["HTTP_COOKIE"] = self.jar.header.encode().decode("latin-1")  # a new string, as from a server

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
            self._answer = (status, headers)
            return None

        began = time.perf_counter()
        body = self.app(environ, start_response)
        chunks = list(body)
        close = getattr(body, "close", None)
        if close is not None:
            close()
        took = self.took = time.perf_counter() - began
        self._body = b"".join(chunks)
        self.jar.take(value for name, value in self._answer[1] if name.lower() == "set-cookie")
        return took
