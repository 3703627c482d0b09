"""One request to an endpoint of ours, and what every answer has in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from session_middleware import provider_routes
from session_middleware.core.exchange import Exchange
from session_middleware.core.fields import Fields, body_fields
from session_middleware.core.origin import on_this_host
from session_middleware.core.refusal import Reply
from session_middleware.engine import Engine

__all__ = ["BODY_LIMIT", "Answers", "Call", "ReadBody", "fields_of"]

#: Given a limit in bytes, returns the request's body; raises ValueError if it is longer, NoLength if it has no known end.
ReadBody = Callable[[int], Awaitable[bytes]]

#: Bodies here hold a few short fields; more is refused with 413.
BODY_LIMIT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an endpoint: the exchange, its body when asked for, and the id in its path."""

    x: Exchange
    read_body: ReadBody
    id: str


async def fields_of(call: Call) -> Fields | None:
    """Return the fields of the body, JSON or a urlencoded form; None if it is neither, such as a multipart form.

    Raises:
        provider_routes.BodyTooLong: it is too long.
        provider_routes.NoLength: nobody says where it ends.
    """
    try:
        body = await call.read_body(BODY_LIMIT)
    except ValueError as fault:
        raise provider_routes.BodyTooLong from fault
    return body_fields(body, call.x.facts.header("content-type"))


class Answers:
    """What the parts of `Endpoints` share."""

    __slots__ = ("_user_keys", "engine", "prefix")

    engine: Engine
    prefix: str
    _user_keys: Sequence[bytes]

    def _refused(self, x: Exchange) -> Reply:
        return self.engine.render(x, self.engine.refusal(x, x.verdict.reason))

    def _retry_after(self) -> tuple[str, str]:
        return "Retry-After", str(max(1, round(self.engine.settings.timing.retry_after)))

    def _url(self, x: Exchange, name: str) -> str:
        return on_this_host(x.facts.mount + self.prefix) + name
