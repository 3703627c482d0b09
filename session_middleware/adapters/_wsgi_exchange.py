"""One request of a WSGI app as an exchange; every blocking adapter but Django's is built on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from session_middleware.core.exchange import ANONYMOUS, NO_RULES, Exchange, RequestFacts

if TYPE_CHECKING:
    from session_middleware.engine import Engine

__all__ = ["KEY", "OVER", "Environ", "StartResponse", "WSGIExchange", "WSGIFacts", "Write", "new"]

Environ = dict[str, Any]  # Any: WSGI puts anything there (PEP 3333)
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]

#: Where an environ holds its exchange.
KEY = "session_middleware.exchange"

#: What an exchange has instead of its environ once the request is over. Otherwise the two would hold each other in a circle
#: that waits for the garbage collector, which costs more than all the rest (measured).
OVER: Environ = {"REQUEST_METHOD": "GET", "wsgi.url_scheme": "https"}

#: Makes an object of a class, without its `__init__`.
new = object.__new__


def _native(text: str) -> str:
    """Decode what PEP 3333 calls a native string: bytes in the guise of Latin-1."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


class _Read:
    """What an environ says of its request (RequestFacts)."""

    __slots__ = ()

    environ: Environ
    websocket = False

    @property
    def cookies(self) -> str:
        return str(self.environ.get("HTTP_COOKIE", ""))

    @property
    def method(self) -> str:
        method: str = self.environ["REQUEST_METHOD"]
        return method

    @property
    def path(self) -> str:
        return _native(self.environ.get("PATH_INFO", "")) or "/"

    @property
    def mount(self) -> str:
        return _native(self.environ.get("SCRIPT_NAME", "")).rstrip("/")

    @property
    def target(self) -> str:
        environ = self.environ
        whole = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        query = environ.get("QUERY_STRING", "")
        path = quote(whole.encode("latin-1", "replace"), safe="/:;,@&=+$!*'()~")
        return f"{path or '/'}?{query}" if query else path or "/"

    @property
    def scheme(self) -> str:
        return str(self.environ.get("wsgi.url_scheme", "http"))

    @property
    def host(self) -> str:
        return str(self.environ.get("HTTP_HOST", ""))

    @property
    def client(self) -> str | None:
        return self.environ.get("REMOTE_ADDR") or None

    def header(self, name: str) -> str | None:
        key = "CONTENT_TYPE" if name == "content-type" else "HTTP_" + name.upper().replace("-", "_")
        value: str | None = self.environ.get(key)
        return value


class WSGIFacts(_Read):
    """RequestFacts of a WSGI request.

    Args:
        environ: of the request, as PEP 3333 has it.
    """

    __slots__ = ("environ",)

    def __init__(self, environ: Environ) -> None:
        self.environ = environ


class WSGIExchange(_Read, Exchange):
    """One request: an exchange that is its own facts.

    One object for both, made by `new` and not by a call: an `__init__` is a call from C, which takes as long as all that it
    has to do (measured). `begin` and the adapters set what each request needs.

    Attributes:
        engine: the one that it passes through.
        environ: of the request; an empty one once it is over.
        server_start: the server's start_response.
        started: whether an answer was given to the server.
    """

    __slots__ = ("engine", "environ", "server_start", "started")

    engine: Engine
    environ: Environ
    server_start: StartResponse
    started: bool

    def begin(self, engine: Engine, environ: Environ, start: StartResponse) -> None:
        """Set what each request needs."""
        self.engine = engine
        self.environ = environ
        self.shown = environ.get("HTTP_COOKIE", "")
        clock = engine.clock  # what is called stands in a local variable first: see Entrance
        self.now = clock()
        self.server_start = start
        self.verdict = ANONYMOUS
        self.rules = NO_RULES
        self.authenticated = self.judged = self.started = False
        environ[KEY] = self

    @property
    def facts(self) -> RequestFacts:  # type: ignore[override]  # nobody gives it others
        return self
