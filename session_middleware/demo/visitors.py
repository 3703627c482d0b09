"""The demo's other people: a second browser of the user, and a thief with a copy of the cookie.

Both call the demo's app in this process, as a browser would over the network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults

from session_middleware.core.cookies import find

__all__ = ["Thief", "Visitor"]

WSGIApp = Callable[[dict[str, Any], Any], Iterable[bytes]]  # Any: as WSGI has it (PEP 3333)
Answer = dict[str, Any]  # Any: JSON values


class Visitor:
    """A browser: it keeps the cookies it is given and sends them back."""

    def __init__(self, app: WSGIApp, agent: str) -> None:
        self._app = app
        self._agent = agent
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, target: str, cookies: str | None = None) -> Answer:
        """Ask for something and return what came, with its status.

        Args:
            method: the method.
            target: path and query.
            cookies: sent instead of what the browser keeps; then nothing that comes back is kept either.
        """
        path, _, query = target.partition("?")
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "HTTP_USER_AGENT": self._agent,
            "HTTP_SEC_FETCH_SITE": "same-origin",
            "HTTP_SEC_FETCH_MODE": "cors",
            "HTTP_HOST": "localhost",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_COOKIE": kept if cookies is None else cookies,
        }
        setup_testing_defaults(environ)
        started: list[Any] = []
        body = b"".join(self._app(environ, lambda status, headers, exc_info=None: started.extend((status, headers))))
        status, headers = started
        if cookies is None:
            for name, value in headers:
                if name == "Set-Cookie":
                    left, _, rest = value.partition(";")[0].partition("=")
                    self.cookies[left] = rest
        document = json.loads(body) if body[:1] == b"{" else {}
        return {"status": int(status[:3]), **document}


class Thief:
    """Somebody who once got hold of the cookies of a request."""

    def __init__(self, app: WSGIApp, token_cookie: str) -> None:
        self._visitor = Visitor(app, "The thief (simulated by the demo)")
        self._name = token_cookie
        self._copy = ""

    def steal(self, cookies: str) -> bool:
        """Copy the cookies of a request; False if it carries no session."""
        tokens = find(cookies, self._name)
        if tokens:
            self._copy = cookies
        return bool(tokens)

    def replay(self) -> Answer:
        """Ask for a page with the copy as it was stolen."""
        if not self._copy:
            return {"error": "nothing has been stolen yet"}
        return self._visitor.ask("GET", "/page", self._copy)

    def forge(self) -> Answer:
        """Ask for a page with a token of a random id that no key of ours has signed."""
        return self._visitor.ask("GET", "/page", f"{self._name}=v1.{'A' * 32}.0.{'B' * 42}A")
