"""What the two PostgreSQL stores do, written once; one drives it in the thread, the other on the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from session_middleware.core.lifetime import Touch
from session_middleware.core.record import SessionRecord
from session_middleware.errors import SettingsError
from session_middleware.stores.base import to_evict
from session_middleware.stores.postgres import rows as rows_of
from session_middleware.stores.postgres.address import Address
from session_middleware.stores.postgres.announcements import PostgresAnnouncements
from session_middleware.stores.postgres.links import Links
from session_middleware.stores.postgres.schema import checked_schema
from session_middleware.stores.postgres.statements import Statements
from session_middleware.stores.postgres.waits import Waits

__all__ = ["Calls"]


class Calls:
    """See `PostgresStore` for the arguments, and `stores/base.py` for what each method promises."""

    def __init__(
        self,
        conninfo: str,
        waits: Callable[[int], Waits],
        *,
        schema: str,
        connections: int,
        timeout: float,
        prepare: bool,
        announces: bool,
    ) -> None:
        if connections < 1:
            raise SettingsError("connections", connections, "would let nobody through.", "Give at least 1.")
        if not 0 < timeout <= 3600:
            raise SettingsError("timeout", timeout, "is no number of seconds above 0.", "Write 2.0.")
        self.schema = checked_schema(schema)
        self.address = Address(conninfo, max(2, round(timeout)))
        self._announces = announces
        self._timeout = timeout
        self._read = rows_of.Read()
        self._say = Statements(schema, announces=announces)
        self.links = Links(self.address, self._say, waits(connections), schema=schema, timeout=timeout, prepare=prepare)

    async def create(self, record: SessionRecord) -> None:
        await self.links.ask(self._say.create, rows_of.creating(record))

    async def load(self, key: bytes) -> SessionRecord | None:
        return self._read.loaded(key, await self.links.ask(self._say.load, (key,), again=True))

    async def touch(self, key: bytes, touch: Touch) -> SessionRecord | None:
        return rows_of.written(key, await self.links.ask(self._say.touching(touch), rows_of.touched_with(key, touch)))

    async def save(self, record: SessionRecord) -> SessionRecord | None:
        return rows_of.written(record.key, await self.links.ask(self._say.save, rows_of.saving(record)))

    async def renew(self, key: bytes, generation: int, to: int, at: float) -> SessionRecord | None:
        return rows_of.written(key, await self.links.ask(self._say.renew, rows_of.renewing(key, generation, to, at)))

    async def end(self, key: bytes, reason: str, at: float, keep_until: float) -> bool:
        self._read.forget(key)
        return bool((await self.links.ask(self._say.end, rows_of.ending(key, reason, at, keep_until))).ntuples)

    async def list(self, handle: str, now: float) -> Sequence[SessionRecord]:
        return rows_of.listed(await self.links.ask(self._say.list, rows_of.listing(handle, now), again=True))

    async def create_capped(
        self, record: SessionRecord, handle: str, most: int, evict: bool, now: float, keep_until: float
    ) -> Sequence[SessionRecord] | None:
        # Two round trips: who is over is decided by the rules, not in SQL. The lock ends with the transaction.
        async with self.links.lent() as link:
            *_, rows, _ = await self.links.run_all(
                link,
                (self._say.begin, ()),
                (self._say.lock, rows_of.locking(self.schema, handle)),
                (self._say.rivals, (*rows_of.listing(handle, now), *rows_of.instants(record.authenticated_at))),
            )
            evicted = to_evict(rows_of.listed(rows), most, now)
            if evicted and not evict:
                await self.links.run_all(link, (self._say.commit, ()))
                return None
            # In the order of their keys, so that two that end the same ones never wait for each other.
            ends = [
                rows_of.ending(old.key, "revoked", now, keep_until) for old in sorted(evicted, key=lambda old: old.key)
            ]
            await self.links.run_all(
                link,
                *((self._say.end, end) for end in ends),
                (self._say.create, rows_of.creating(record)),
                (self._say.commit, ()),
            )
            return evicted

    async def end_before(self, instant: float, at: float) -> None:
        await self.links.ask(self._say.end_before, rows_of.instants(instant, at))

    async def add_once(self, key: str, until: float, now: float) -> bool:
        return bool((await self.links.ask(self._say.add_once, rows_of.adding(key, until, now))).ntuples)

    async def prune(self, now: float, limit: int = 1000) -> int:
        gone = 0
        while gone < limit:
            left = rows_of.pruning(now, limit - gone)
            deleted, postponed = rows_of.counted(await self.links.ask(self._say.prune, left))
            gone += deleted
            if not (deleted or postponed):
                break
        return gone

    async def walk(self, after: bytes | None, limit: int) -> tuple[Sequence[bytes], bytes | None]:
        rows = await self.links.ask(self._say.walk, rows_of.walking(after, limit), again=True)
        return rows_of.walked(rows, limit)

    async def check(self) -> None:
        self.links.finish(await self.links.opened())

    def check_announces(self) -> None:
        if not self._announces:
            raise SettingsError(
                "announces", False, "means that this store tells nobody what it writes.", "Leave announces out."
            )

    def announcements(self) -> PostgresAnnouncements:
        self.check_announces()
        return PostgresAnnouncements(self.address, self.schema, self._timeout)

    async def close(self) -> None:
        self.links.close()
