"""My sessions: the list, and ending one or all others."""

from __future__ import annotations

from urllib.parse import quote

from session_middleware import provider_users
from session_middleware.core import pages
from session_middleware.core.exchange import Exchange
from session_middleware.core.record import SessionRecord
from session_middleware.core.refusal import Reply, is_navigation
from session_middleware.core.replies import (
    NEGOTIATED,
    as_json,
    as_page,
    done,
    problem,
    rfc3339,
    session_row,
)
from session_middleware.endpoints.call import Call
from session_middleware.endpoints.leaving import Leaving

__all__ = ["Mine"]


class Mine(Leaving):
    """The endpoints about all sessions of a user."""

    __slots__ = ()

    async def _list(self, call: Call) -> Reply:
        x = call.x
        records = await self._mine(x)
        current = _own(x).key
        if is_navigation(x.facts):
            rows = [
                pages.Row(
                    record.key == current,
                    rfc3339(record.created_at),
                    rfc3339(record.last_seen_at),
                    record.attributes,
                    self._url(x, f"list/{quote(record.public_id, safe='')}/end"),
                )
                for record in records
            ]
            return as_page(pages.sessions(rows, self._url(x, "list/end-others"))).with_headers(NEGOTIATED)
        listed = [session_row(record, record.key == current) for record in records]
        return as_json({"sessions": listed}).with_headers(NEGOTIATED)

    async def _end_one(self, call: Call) -> Reply:
        x = call.x
        if _own(x).is_named(call.id):
            return await self._end_this(x)
        meant = [record for record in await self._mine(x) if record.is_named(call.id)]
        if not meant:
            return problem(x.facts, 404, "not_found", "You have no such session.")
        for record in meant:  # one; it may have got another id since the list was shown (L12)
            await self.engine.end_id(record.public_id, x.now)
        return done(x.facts, self._url(x, "list"))

    async def _end_others(self, call: Call) -> Reply:
        record = _own(call.x)
        await provider_users.end_all(self.engine, record.subject, call.x.now, (record.key,))
        return done(call.x.facts, self._url(call.x, "list"))

    async def _mine(self, x: Exchange) -> list[SessionRecord]:
        return await self.engine.list_of(_own(x).subject, x.now)


def _own(x: Exchange) -> SessionRecord:
    assert x.record is not None  # the route needs "active"
    return x.record
