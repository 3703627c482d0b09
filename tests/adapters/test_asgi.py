"""Plain ASGI: when a response has started (L25), and the session of a plain function in a thread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from session_middleware import Settings, session_optional
from session_middleware.adapters.asgi import SessionLifetimeMiddleware, session_from
from session_middleware.core.record import SessionRecord
from session_middleware.testing import FakeClock
from session_middleware.testing.reference_store import ReferenceStore


class Site:
    """A plain ASGI app with sessions."""

    def __init__(self, app: Any) -> None:
        self.store = ReferenceStore()
        settings = Settings(secret_keys=["0f6a1b2c3d4e5f60718293a4b5c6d7e8f9"])
        self.app = SessionLifetimeMiddleware(session_optional(app), settings, self.store, clock=FakeClock())

    def get(self) -> list[dict[str, Any]]:
        """Return what the app sends in answer to a request, and raise what it raises."""
        return asyncio.run(self.answered([]))

    async def answered(self, sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Make a request on this loop; the messages are put into `sent`."""
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "method": "GET",
            "scheme": "https",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"app.example")],
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent

    def record(self) -> SessionRecord:
        """Return the one record."""
        (record,) = self.store.rows.values()
        return record


@pytest.mark.parametrize("starts", [False, True])
def test_a_login_stands_once_the_response_has_started(starts: bool) -> None:
    """L25: the start message takes the cookie along, and the session stands whatever follows; without one it ends."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await session_from(scope).login("alice")
        if starts:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    site, sent = Site(app), []
    with pytest.raises(ZeroDivisionError):
        asyncio.run(site.answered(sent))
    cookies = [value for message in sent for name, value in message.get("headers", ()) if name == b"set-cookie"]
    assert bool(cookies) is starts
    assert (site.record().end_reason is None) is starts
