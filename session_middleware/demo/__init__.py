"""The demo that `session-middleware demo` runs: every rule with a button, limits short enough to watch.

No framework: wsgiref's server, the plain WSGI adapter and the embedded SQLite default in a temporary folder.
"""

from __future__ import annotations

import ipaddress
import secrets
import tempfile
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from session_middleware.demo.app import Demo
from session_middleware.settings import Settings
from session_middleware.stores.sqlite import SQLiteStore

__all__ = ["Demo", "demo_settings", "run"]


def demo_settings(*, insecure_dev: bool = False) -> Settings:
    """Return the demo's settings: a fresh key, and limits of seconds where an app would have minutes and hours."""
    return Settings(
        secret_keys=[secrets.token_urlsafe(48)],
        cookie_name="session_demo",  # ports do not separate cookies, so an app of yours on localhost keeps its own
        inactivity_timeout=60,
        absolute_lifetime=300,
        touch_interval=3,
        renewal_interval=60,
        renewal_grace=10,
        jwt_lifetime=30,
        insecure_dev=insecure_dev,
    )


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # an open keep-alive connection must not hold up Ctrl-C


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # Any: as in the parent
        """Say nothing: the page shows what happened, and the terminal stays readable."""


def run(host: str = "127.0.0.1", port: int = 8000, *, insecure_dev: bool = False) -> None:
    """Serve the demo until interrupted (KeyboardInterrupt); prints its address as soon as it answers.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        insecure_dev: cookies without Secure and `__Host-`, for browsers that do not keep Secure cookies on plain http.

    Raises:
        OSError: nothing can listen there.
    """
    with tempfile.TemporaryDirectory(prefix="session-middleware-demo-") as folder:
        server = _Server((host, port), _Quiet)
        store = SQLiteStore(Path(folder) / "sessions.db")
        try:
            server.set_app(Demo(demo_settings(insecure_dev=insecure_dev), store))
            shown = "localhost" if _is_this_machine(host) else host
            print(f"The demo runs at http://{shown}:{server.server_port}/  (Ctrl-C stops it)", flush=True)
            if shown != "localhost" and not insecure_dev:
                print(
                    "On plain http, browsers keep Secure cookies for localhost only: open it there, or add "
                    "--insecure-dev.",
                    flush=True,
                )
            server.serve_forever(poll_interval=0.2)
        finally:
            server.server_close()
            store.close()


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
