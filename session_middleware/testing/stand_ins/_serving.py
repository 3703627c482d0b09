"""Serve a WSGI callable on 127.0.0.1 from a thread, so that a client meets it over a real connection."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from types import TracebackType
from typing import Any
from urllib.parse import unquote
from wsgiref.types import WSGIApplication

__all__ = ["served"]

#: Seconds that a request may still take when the server is closed.
PATIENCE = 10.0

#: Status codes whose responses have no body and no length (RFC 9110 §6.4.1).
WITHOUT_BODY = ("1", "204", "304")


@contextlib.contextmanager
def served(app: WSGIApplication, *, port: int = 0) -> Iterator[str]:
    """Serve a WSGI callable on 127.0.0.1 while the block runs: HTTP/1.1 with keep-alive, one thread per connection.

    An app that raises `ConnectionError` closes the connection without an answer. Any other exception is answered 500
    and raised again where the block ends, so that a fault of the app is not taken for one of its client.

    Args:
        app: the WSGI callable; it is called from several threads at once.
        port: where to listen; 0 takes a free one.

    Yields:
        The base URL without a slash at its end, such as "http://127.0.0.1:49152".

    Raises:
        OSError: the port is taken.

    Example:
        >>> from urllib.request import urlopen
        >>> def app(environ, start_response):
        ...     start_response("200 OK", [("Content-Type", "text/plain")])
        ...     return [b"hello"]
        >>> with served(app) as base_url:
        ...     print(urlopen(base_url + "/any/path").read())
        b'hello'
    """
    server = _Server(app, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="served", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        with contextlib.suppress(OSError):  # wakes who listens; where that cannot be done, it looks soon
            server.socket.shutdown(socket.SHUT_RDWR)
        server.shutdown()
        thread.join(PATIENCE)
        server.hang_up()
        server.server_close()
    if server.raised is not None:
        raise server.raised


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, app: WSGIApplication, port: int) -> None:
        self.app = app
        self.raised: BaseException | None = None
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # Any: as socketserver declares it
        # daemon: one that hangs must not keep the interpreter alive
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self._lock:
            self._open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:  # Any: as socketserver declares it
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Close the connections that clients keep alive, and wait until their threads are done."""
        with self._lock:
            open_now = dict(self._open)
        for connection in open_now:
            with contextlib.suppress(OSError):  # the client may have closed it meanwhile
                connection.shutdown(socket.SHUT_RD)
        for thread in open_now.values():
            thread.join(PATIENCE)

    def handle_error(self, request: Any, client_address: Any) -> None:  # Any: as socketserver declares it
        """A client that went away is no error of the server."""
        error = sys.exception()
        if not isinstance(error, OSError):
            self.raised = self.raised or error


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536  # status, headers and body leave together: with two packets the second waits for an ACK
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # nobody else makes one

    def answer(self) -> None:
        """Answer one request."""
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            self.send_error(411)
            return
        response = _Response()
        try:
            parts = self.server.app(self._environ(), response)
            try:
                body = b"".join(parts)
            finally:
                close = getattr(parts, "close", None)
                if close is not None:
                    close()
        except ConnectionError:
            self.close_connection = True
            return
        except Exception as error:  # the app's own: told to the client, and to the test where the block ends
            self.server.raised = self.server.raised or error
            response, body = _Response(), b""
            response("500 Internal Server Error", [])
        self._send(response, b"".join(response.written) + body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def _send(self, response: _Response, body: bytes) -> None:
        code, _, phrase = response.status.partition(" ")
        self.send_response_only(int(code), phrase)
        for name, value in response.headers:
            self.send_header(name, value)
        bare = code.startswith(WITHOUT_BODY)
        if not bare and not any(name.lower() == "content-length" for name, _ in response.headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not bare and self.command != "HEAD":
            self.wfile.write(body)

    def _environ(self) -> dict[str, Any]:  # Any: a WSGI environ holds what it likes (PEP 3333)
        path, _, query = self.path.partition("?")
        length = int(self.headers.get("Content-Length") or 0)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self.server.server_address[1]),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": self.client_address[0],
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(length),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(self.rfile.read(length)),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name in dict.fromkeys(self.headers):
            key = name.upper().replace("-", "_")
            if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                joint = "; " if key == "COOKIE" else ", "
                environ[f"HTTP_{key}"] = joint.join(self.headers.get_all(name, []))
        return environ

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the lines of a stand-in are noise in an app's log and in a test's output."""


class _Response:
    """What an app tells `start_response` (PEP 3333)."""

    def __init__(self) -> None:
        self.status = "500 Internal Server Error"  # of an app that never begins its response
        self.headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []

    def __call__(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None = None,
        /,
    ) -> Callable[[bytes], object]:
        self.status, self.headers = status, headers
        return self.written.append
