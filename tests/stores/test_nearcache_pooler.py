"""Behind a pooler that hands connections on, nothing is announced; a near cache must not believe that it listens."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from session_middleware.errors import StoreUnavailable
from session_middleware.stores.nearcache import NearCache
from session_middleware.stores.postgres import PostgresStore
from session_middleware.testing.reference_record import reference_record
from tests.stores.postgres_server import _unprivileged, new_schema, postgres_server
from tests.stores.redis_server import wait_until

pytestmark = pytest.mark.server

_CONF = """
[databases]
postgres = host=127.0.0.1 port={server} user=sessions
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
ignore_startup_parameters = options,extra_float_digits
"""


@pytest.fixture(params=["transaction", "statement"])
def pooled(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a store through PgBouncer."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("needs pgbouncer")
    direct, server = new_schema(), postgres_server()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    conf = server.folder / f"pgbouncer-{port}.ini"
    conf.write_text(_CONF.format(server=server.port, port=port, mode=request.param))
    before, options = _unprivileged()
    bouncer = subprocess.Popen(
        [*before, program, "-q", str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )

    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            return False
        return True

    wait_until(answers, "pgbouncer")
    yield direct.replace(f":{server.port}/", f":{port}/") + "&prepare=off"
    bouncer.terminate()
    bouncer.wait()


def test_a_pooler_is_noticed(pooled: str) -> None:
    """announcements() raises an error that says what stands in the way."""
    with PostgresStore.from_url(pooled) as store:
        store.create(reference_record(0))
        with pytest.raises(StoreUnavailable, match="pooler"):
            store.announcements()


def test_nothing_is_held_behind_a_pooler(pooled: str, caplog: pytest.LogCaptureFixture) -> None:
    """The cache stays closed, the log says why, and every call goes to the store."""
    with NearCache(PostgresStore.from_url(pooled)) as near:
        record = reference_record(0)
        near.create(record)
        near.load(record.key)
        wait_until(lambda: "pooler" in caplog.text, "the log")
        assert near.load(record.key) == record
        assert near.state.entries == 0
