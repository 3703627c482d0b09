"""A request as the core sees it, for tests that need no server."""

from __future__ import annotations


class Facts:
    """RequestFacts with plain values; header names are given with underscores."""

    def __init__(
        self,
        method: str = "GET",
        path: str = "/x",
        *,
        cookies: str = "",
        mount: str = "",
        query: str = "",
        scheme: str = "https",
        host: str = "app.example",
        websocket: bool = False,
        client: str | None = "192.0.2.1",
        **headers: str,
    ) -> None:
        self.method = method
        self.path = path
        self.mount = mount
        self.target = mount + path + (f"?{query}" if query else "")
        self.scheme = scheme
        self.host = host
        self.websocket = websocket
        self.cookies = cookies
        self.client = client
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def header(self, name: str) -> str | None:
        return self._headers.get(name)
