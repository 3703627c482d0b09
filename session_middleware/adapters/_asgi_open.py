"""WebSockets and responses under way: they stay open as long as their session lives, and end as if the client had gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from session_middleware.core.lifetime import Verdict
from session_middleware.errors import SessionError, StoreUnavailable
from session_middleware.runtime import Cut, at_once
from session_middleware.watch import Watcher

if TYPE_CHECKING:
    from session_middleware.adapters._asgi_connection import Connection

__all__ = ["CLOSE_CODE", "OpenConnection", "OpenSocket", "OpenStream", "SessionOver"]

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

#: WebSocket close code of a refusal, where the server cannot send a response, and of a session's end (4000-4999 are the
#: application's).
CLOSE_CODE = 4401

#: "Try again later" (RFC 6455 §11.7, IANA): the deadline has passed as far as is known, and nobody can be asked.
_TRY_AGAIN = 1013


class SessionOver(ConnectionResetError):
    """What `send` raises once the session is over, as servers do once the client has gone (ASGI 2.4)."""


class OpenConnection(Watcher):
    """What both have in common.

    Args:
        connection: the request.
        deliver: the server's `send`.
        head: the message that began the response; None for a WebSocket.
    """

    __slots__ = ("_connection", "_cut", "_deliver", "_head", "_is_complete", "_raises", "leave", "verdict")

    leave: Callable[[], None]

    def __init__(self, connection: Connection, deliver: Send, head: Message | None) -> None:
        self._connection = connection
        self._deliver = deliver
        self._head = head
        self._cut = Cut()
        self._is_complete = False
        version = str(connection.scope.get("asgi", {}).get("spec_version", "2.0"))
        self._raises = tuple(int(part) for part in version.split(".") if part.isdigit()) >= (2, 4)
        self.verdict: Verdict | None = None

    async def send(self, message: Message) -> None:
        """Send a message of the app's, unless the session is over."""
        if self.verdict is not None:
            if self._raises:
                raise SessionOver("The session has ended, and this connection with it.")
            return
        self._cut.mark()
        await self._deliver(message)

    async def sign_of_life(self) -> None:
        """Count a message of the user's as activity (L6, `socket_activity`)."""
        x, engine = self._connection, self._connection.gate.engine
        try:
            with suppress(StoreUnavailable):  # as for a request: nobody is logged out by a fault of ours
                await engine.touch(x)
        except SessionError:
            if self.verdict is None:
                self.leave()
                self.over(x.verdict)

    def disconnect(self) -> Message:
        """Return what the app is told."""
        raise NotImplementedError

    def over(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self._connection.interrupt()

    def absorbs(self, fault: BaseException) -> bool:
        """Say whether the app has only let through what it was stopped with."""
        x = self._connection
        if self.verdict is None and isinstance(fault, SessionError) and fault.code in ("ended", "not_signed_in"):
            if x.verdict in (Verdict.ACTIVE, Verdict.UNAVAILABLE):
                return False
            self.leave()  # the app found out first: touch(), extend()
            self.over(x.verdict)
            return True
        return self.verdict is not None and (self._cut.made(fault) or _comes_of_the_end(fault))

    async def finish(self) -> None:
        """Close what the app has left open."""
        self.leave()


class OpenSocket(OpenConnection):
    """An accepted WebSocket."""

    __slots__ = ()

    def disconnect(self) -> Message:
        code, reason = self._close()
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    def over(self, verdict: Verdict) -> None:
        super().over(verdict)
        at_once(self._tell_client)  # also where the app is busy with something else

    async def _tell_client(self) -> None:
        if not self._is_complete:
            self._is_complete = True
            code, reason = self._close()
            await _quietly(self._deliver, {"type": "websocket.close", "code": code, "reason": reason})

    async def finish(self) -> None:
        await super().finish()
        if self.verdict is not None:
            await self._tell_client()  # before the server closes the connection of an app that has returned

    def _close(self) -> tuple[int, str]:
        verdict = self.verdict
        assert verdict is not None
        return _TRY_AGAIN if verdict is Verdict.UNAVAILABLE else CLOSE_CODE, verdict.reason or ""


class OpenStream(OpenConnection):
    """A response that is sent in parts."""

    __slots__ = ()

    async def send(self, message: Message) -> None:
        await super().send(message)
        if self.verdict is None and not message.get("more_body"):
            self._is_complete = True
            self.leave()  # what the app does after its response is its own

    def disconnect(self) -> Message:
        return {"type": "http.disconnect"}

    def cut(self) -> None:
        self._cut.now()  # it neither sends nor receives: nothing else reaches it

    async def finish(self) -> None:
        await super().finish()
        # A stream of events ends where it is. Any other body is left incomplete, so that nobody takes a part for the whole;
        # the server then closes the connection.
        if self.verdict is not None and not self._is_complete and _is_event_stream(self._head):
            await _quietly(self._deliver, {"type": "http.response.body", "body": b"", "more_body": False})


async def _quietly(deliver: Send, message: Message) -> None:
    """Send a last message, to a client that may have gone."""
    with suppress(Exception):  # servers raise what they like here, and there is nobody left to tell
        await deliver(message)


def _is_event_stream(head: Message | None) -> bool:
    headers = () if head is None else head.get("headers", ())
    return any(name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)


def _comes_of_the_end(fault: BaseException) -> bool:
    if isinstance(fault, SessionOver):
        return True
    if isinstance(fault, BaseExceptionGroup):
        return all(_comes_of_the_end(each) for each in fault.exceptions)
    behind = fault.__cause__ or fault.__context__
    return behind is not None and _comes_of_the_end(behind)
