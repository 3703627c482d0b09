"""TLS to Redis, alone, in a Cluster and behind Sentinels: it is spoken, and where it fails an operator reads why."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from session_middleware.errors import StoreUnavailable
from session_middleware.stores.redis import AsyncRedisStore, RedisStore
from session_middleware.testing.reference_record import reference_record
from tests.stores.certificates import certificate_of_its_own
from tests.stores.redis_server import Server, free_port, wait_until

RECORD = reference_record(0)
KEY = RECORD.key


@dataclass(frozen=True)
class Places:
    """Servers that speak TLS on one port and not on another.

    Attributes:
        trusted: the file of the authority.
        stranger: the file of another one.
        urls: by kind, `(scheme, in TLS, plain, what follows the port)`.
    """

    trusted: Path
    stranger: Path
    urls: dict[str, tuple[str, int, int, str]]

    def url(self, kind: str, *, tls: bool, port: str, trust: Path | None) -> str:
        """Return a URL: speaking TLS or not, to the port that does or does not, trusting an authority or none."""
        scheme, in_tls, plain, rest = self.urls[kind]
        scheme = scheme.replace("redis", "rediss") if tls else scheme
        trusting = "" if trust is None else f"&ssl_ca_certs={trust}"
        return f"{scheme}://:hunter2@127.0.0.1:{in_tls if port == 'tls' else plain}{rest}?timeout=0.5{trusting}"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    certificate, key = certificate_of_its_own(tmp_path_factory.mktemp("ours"))
    stranger, _ = certificate_of_its_own(tmp_path_factory.mktemp("stranger"))
    files = {
        "tls-auth-clients": "no",
        "tls-cert-file": certificate,
        "tls-key-file": key,
        "tls-ca-cert-file": certificate,
    }
    options = [str(word) for name, value in files.items() for word in (f"--{name}", value)]
    ports = [free_port() for _ in range(3)]
    password = ("--requirepass", "hunter2")
    alone = Server("--tls-port", str(ports[0]), *options, *password)
    cluster = Server("--cluster-enabled", "yes", "--tls-port", str(ports[1]), "--tls-cluster", "yes", *options)
    with cluster.client() as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        client.config_set("requirepass", "hunter2")
        client.execute_command("AUTH", "hunter2")
        wait_until(lambda: client.cluster("INFO")["cluster_state"] == "ok", "the Cluster")
    conf = "".join(f"{name} {value}\n" for name, value in files.items())
    conf += f"tls-port {ports[2]}\ntls-replication yes\nsentinel monitor main 127.0.0.1 {ports[0]} 1\n"
    conf += "sentinel auth-pass main hunter2\n"
    sentinel = Server(conf=conf)
    yield Places(
        certificate,
        stranger,
        {
            "alone": ("redis", ports[0], alone.port, "/0"),
            "cluster": ("redis+cluster", ports[1], cluster.port, ""),
            "sentinel": ("redis+sentinel", ports[2], sentinel.port, "/main"),
        },
    )
    for server in (alone, cluster, sentinel):
        server.remove()


KINDS = ("alone", "cluster", "sentinel")


@pytest.mark.parametrize("kind", KINDS)
def test_tls_is_spoken(places: Places, kind: str) -> None:
    """With the authority named the store works in both forms, announcements too."""
    url = places.url(kind, tls=True, port="tls", trust=places.trusted)

    async def main() -> None:
        async with AsyncRedisStore.from_url(url, prefix=f"{kind}:") as store:
            assert await store.load(KEY) == RECORD

    with RedisStore.from_url(url, prefix=f"{kind}:") as store:
        listener = store.announcements()
        store.create(RECORD)
        assert store.load(KEY) == RECORD
        wait_until(lambda: listener.receive(5.0)[0] == [KEY], "the announcement")
        listener.close()
    asyncio.run(main())


FAILURES = [
    *[(kind, True, "tls", "stranger", "ssl_ca_certs names the authority") for kind in ("alone", "cluster")],
    *[(kind, True, "tls", None, "ssl_ca_certs names the authority") for kind in ("alone", "cluster")],
    ("sentinel", True, "tls", "stranger", "ssl_ca_certs for the authority"),
    ("sentinel", True, "tls", None, "ssl_ca_certs for the authority"),
    ("alone", True, "plain", "trusted", "did not answer in TLS in time"),
    ("sentinel", True, "plain", "trusted", "did not answer in TLS in time"),
    ("cluster", True, "plain", "trusted", "whether they speak TLS"),
    ("cluster", False, "tls", None, "whether they speak TLS"),
    ("sentinel", False, "tls", None, "rediss.sentinel:// if they speak it"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tls", "port", "trust", "says"), FAILURES)
def test_where_tls_fails_the_operator_reads_why(
    places: Places,
    kind: str,
    tls: bool,
    port: str,
    trust: str | None,
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The error names the way out, the log too, once; neither shows the password."""
    url = places.url(kind, tls=tls, port=port, trust=None if trust is None else getattr(places, trust))
    told: list[BaseException] = []

    async def awaited() -> None:
        async with AsyncRedisStore.from_url(url) as store:
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match=says) as caught:
                    await store.load(KEY)
                told.append(caught.value)

    with RedisStore.from_url(url) as store, caplog.at_level(logging.ERROR, "session_middleware"):
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=says) as caught:
                store.load(KEY)
            told.append(caught.value)
        assert len(caplog.records) == 1
        asyncio.run(awaited())
        assert len(caplog.records) == 2
    shown = "".join(f"{fault!r}{fault.__cause__!r}" for fault in told) + caplog.text
    assert re.search(says, caplog.text)
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+sentinel://:hunter2@127.0.0.1:{}/mainn", "no master called 'mainn'"),
        ("redis+sentinel://:hunter2@127.0.0.1:1/main", "No Sentinel could be asked"),
        ("redis+cluster://:hunter2@127.0.0.1:1", "No node of the Redis Cluster could be reached"),
        (
            "redis://:hunter2@127.0.0.1:1/0",
            r"Redis cannot be reached \(Connection refused\)\. Check that it runs, and the host",
        ),
        (
            "redis://:hunter2@no-such-host.invalid/0",
            r"Redis cannot be reached \([\w ]+\w\)\. Check that it runs, and the host",
        ),
    ],
)
def test_nobody_there(places: Places, url: str, says: str, caplog: pytest.LogCaptureFixture) -> None:
    """A master of another name, servers that do not run: the error says so, and the log, without the password."""
    with RedisStore.from_url(url.format(places.urls["sentinel"][2])) as store:
        with pytest.raises(StoreUnavailable, match=says) as caught:
            store.load(KEY)
        assert "hunter2" not in f"{caught.value!r}{caught.value.__cause__!r}{caplog.text}"
        assert re.search(says, caplog.text)


def test_nobody_there_for_who_awaits() -> None:
    """What the system said stands in the text whole, without the address that asyncio puts behind it."""

    async def main() -> None:
        store = AsyncRedisStore.from_url("redis://127.0.0.1:1/0")
        with pytest.raises(StoreUnavailable, match=r"cannot be reached \(Connect call failed\)\. Check"):
            await store.load(KEY)
        await store.close()

    asyncio.run(main())
