"""TLS to PostgreSQL: it is spoken, and where it fails an operator reads why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from session_middleware.errors import StoreUnavailable
from session_middleware.stores.postgres import AsyncPostgresStore, PostgresStore, create_schema
from session_middleware.testing.reference_record import reference_record
from tests.stores.certificates import certificate_of_its_own
from tests.stores.postgres_server import PostgresServer, new_server

pytestmark = pytest.mark.server

RECORD = reference_record(0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The certificate of the server, its key, and a stranger's certificate."""
    trusted, key = certificate_of_its_own(tmp_path_factory.mktemp("ours"))
    key.chmod(0o600)  # else PostgreSQL does not take it
    stranger, _ = certificate_of_its_own(tmp_path_factory.mktemp("stranger"))
    return {"trusted": trusted, "key": key, "stranger": stranger, "missing": trusted.parent / "missing.pem"}


@pytest.fixture(scope="module")
def server(files: dict[str, Path]) -> Iterator[PostgresServer]:
    """A PostgreSQL that speaks TLS too, with a certificate of 127.0.0.1 that it signed itself."""
    made = new_server("")
    for name, file in (("cert", files["trusted"]), ("key", files["key"])):
        made.give(file, f"{name}.pem")
    made.configure("ssl = on", "ssl_cert_file = 'cert.pem'", "ssl_key_file = 'key.pem'")
    create_schema(made.url())
    yield made
    made.remove()


@pytest.mark.parametrize(("n", "query"), [(0, "sslmode=require"), (1, "sslmode=verify-full&sslrootcert={trusted}")])
def test_tls_is_spoken(server: PostgresServer, files: dict[str, Path], n: int, query: str) -> None:
    """Encrypted without a look at the certificate, or with its authority named, both forms work, announcements too."""
    record = reference_record(n)
    url = server.url(query=query.format(**files))
    with PostgresStore.from_url(url) as store:
        line = store.announcements()
        store.create(record)
        assert store.end(record.key, "logout", record.last_seen_at, record.keep_until)
        assert line.receive(5.0)[0] == [record.key]
        line.close()

    async def main() -> None:
        async with AsyncPostgresStore.from_url(url) as awaited:
            held = await awaited.load(record.key)
            assert held is not None
            assert held.end_reason == "logout"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "query", "says"),
    [
        ("127.0.0.1", "sslmode=verify-full", "sslrootcert=/path/ca.pem"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={missing}", "sslrootcert=/path/ca.pem"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={stranger}", "sslrootcert=/path/ca.pem"),
        ("localhost", "sslmode=verify-full&sslrootcert={trusted}", "a name that the server's certificate has"),
        ("127.0.0.1", "sslmode=on", "Correct it in SESSION_STORE_URL"),
    ],
)
def test_where_tls_fails_the_operator_reads_why(
    server: PostgresServer, files: dict[str, Path], host: str, query: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The error of both forms and the log name the way out and never the password."""
    url = f"postgresql://sessions:hunter2@{host}:{server.port}/postgres?{query.format(**files)}"

    async def main() -> None:
        async with AsyncPostgresStore.from_url(url) as awaited:
            with pytest.raises(StoreUnavailable, match=says):
                await awaited.load(RECORD.key)

    with caplog.at_level(logging.ERROR, "session_middleware"), PostgresStore.from_url(url) as store:
        with pytest.raises(StoreUnavailable, match=says) as caught:
            store.load(RECORD.key)
        asyncio.run(main())
    assert [says in entry.getMessage() for entry in caplog.records] == [True, True]
    assert "hunter2" not in f"{caught.value!r}{caught.value.__cause__!r}{caplog.text}"
