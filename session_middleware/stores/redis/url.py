"""Which client a URL asks for: of one server, a Cluster, or the master that Sentinels name; with or without TLS."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.retry
import redis.sentinel
from redis.backoff import NoBackoff

from session_middleware.errors import SettingsError
from session_middleware.stores._query import options_in

__all__ = ["FORMS", "RedisAddress", "address_of"]

#: How each kind is written; the scheme with an s after redis (rediss, valkeys) speaks TLS.
FORMS: Final = {
    "redis": "redis://user:password@host:6379/0",
    "redis+cluster": "redis+cluster://user:password@host:6379,other:6379",
    "redis+sentinel": "redis+sentinel://user:password@host:26379,other:26379/master-name",
}

_SCHEME: Final = re.compile(r"(?:redis|valkey)(s?)(?:\+(cluster|sentinel))?")
_PORTS: Final = {"": 6379, "cluster": 6379, "sentinel": 26379}
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::([0-9]{1,5}))?")

_ALWAYS: Final = ("prefix", "timeout", "max_connections")
_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL: Final = ("sentinel_username", "sentinel_password")

#: Connections a process opens at most to one server. A pool of one server lends them in turn; redis-py has no such pool
#: for a Cluster or Sentinel, where one more than this is an error.
_CONNECTIONS: Final = {"": 100, "cluster": 1000, "sentinel": 1000}


def _introduced() -> dict[str, Any]:  # Any: an object of redis-py
    """Return what a connection says of the driver; else redis-py 7 and later read it from disk at each, on the loop."""
    try:
        from redis.driver_info import DriverInfo
    except ImportError:
        return {}
    return {"driver_info": DriverInfo(lib_version=redis.__version__)}


_INTRODUCED: Final = _introduced()


@dataclass(frozen=True)
class RedisAddress:
    """Where Redis is, and how to sign in.

    Attributes:
        kind: "", "cluster" or "sentinel".
        hosts: of the server, some of the Cluster's, or the Sentinels.
        master: the name the Sentinels know the master by.
        database: the number of a database.
        tls: whether to speak TLS.
        options: what the URL says after its "?".
    """

    kind: str
    hosts: tuple[tuple[str, int], ...]
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    master: str
    database: int
    tls: bool
    options: dict[str, str] = field(repr=False)

    def timeout(self, otherwise: float) -> float:
        """Return the seconds that the URL says to wait for a connection or an answer, or these."""
        return float(self.options.get("timeout", otherwise))

    def client(self, *, asynchronous: bool, timeout: float) -> Any:  # Any: a client of redis-py
        """Return a client that waits so many seconds for a connection or an answer and repeats nothing by itself."""
        timeout = self.timeout(timeout)
        connections = int(self.options.get("max_connections", _CONNECTIONS[self.kind]))
        asyncio = redis.asyncio
        retry: Any = asyncio.retry.Retry if asynchronous else redis.retry.Retry
        common: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "protocol": 2,
            "retry": retry(NoBackoff(), 0),
            **_INTRODUCED,
        }
        tls: dict[str, Any] = {name: self.options[name] for name in _TLS if name in self.options}
        signed_in = common | tls | {"username": self.username, "password": self.password}
        if self.kind == "cluster":
            cluster: Any
            node: Any
            cluster, node = (
                (asyncio.RedisCluster, redis.asyncio.cluster.ClusterNode)
                if asynchronous
                else (redis.RedisCluster, redis.cluster.ClusterNode)
            )
            nodes = [node(*host) for host in self.hosts]
            # reinitialize_steps: a slot that moved is looked up by itself. Anew from scratch every few moves, as is the
            # default, closes connections that others are using.
            return cluster(
                startup_nodes=nodes, ssl=self.tls, max_connections=connections, reinitialize_steps=0, **signed_in
            )
        signed_in["db"] = self.database
        if self.kind == "sentinel":
            sentinels: Any = (asyncio.sentinel if asynchronous else redis.sentinel).Sentinel
            account = {name.removeprefix("sentinel_"): self.options.get(name) for name in _SENTINEL}
            asked = common | tls | account | ({"ssl": True} if self.tls else {})
            return sentinels(self.hosts, sentinel_kwargs=asked).master_for(
                self.master, ssl=self.tls, max_connections=connections, **signed_in
            )
        kind: Any = asyncio if asynchronous else redis
        pool = kind.BlockingConnectionPool(
            max_connections=connections,
            timeout=timeout,
            connection_class=kind.SSLConnection if self.tls else kind.Connection,
            host=self.hosts[0][0],
            port=self.hosts[0][1],
            **signed_in,
        )
        return kind.Redis(connection_pool=pool)


def address_of(url: str) -> RedisAddress:
    """Read a URL.

    Raises:
        SettingsError: it cannot be read; passwords are never shown.
    """
    from session_middleware.stores import refuse_control_characters  # it imports us where a URL is of Redis

    refuse_control_characters(url)
    scheme, _, _ = url.partition("://")
    kind = _SCHEME.fullmatch(scheme)
    if kind is None or "://" not in url:
        raise _wrong(url, "is no URL of Redis.", f"There are: {'; '.join(FORMS.values())}; and rediss:// for TLS.")
    form = FORMS[f"redis+{kind[2]}" if kind[2] else "redis"]
    if "#" in url:
        raise _wrong(url, "has a '#'; in a password it is written %23.", f"Write it so: {form}")
    try:
        parts = urlsplit(url)
        account, at, addresses = parts.netloc.rpartition("@")
        hosts = tuple(_host(address, _PORTS[kind[2] or ""]) for address in addresses.split(","))
    except ValueError:
        raise _wrong(url, "names no host and port.", f"Write it so: {form}") from None
    if len(hosts) > 1 and not kind[2]:
        raise _wrong(url, "names several servers.", f"Write it so: {FORMS['redis+cluster']}")
    username, colon, password = account.partition(":")
    if at and not colon:
        raise _wrong(
            url,
            "has a name before '@', but no password.",
            f"Write it so: {form}; without a name: redis://:password@host",
        )
    options = _options(url, parts.query, tls=bool(kind[1]), sentinel=kind[2] == "sentinel")
    master, database = "", parts.path.removeprefix("/")
    if kind[2] == "sentinel":
        master, _, database = database.partition("/")
        if not master:
            raise _wrong(url, "does not name the master.", f"Write the name that sentinel.conf gives it: {form}")
    if database and (kind[2] == "cluster" or not database.isdecimal()):
        raise _wrong(url, "has something else than a database's number after the host.", f"Write it so: {form}")
    return RedisAddress(
        kind=kind[2] or "",
        hosts=hosts,
        username=unquote(username) or None,
        password=unquote(password) or None,
        master=unquote(master),
        database=int(database or 0),
        tls=bool(kind[1]),
        options=options,
    )


def _host(address: str, port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(address)
    if found is None or not 0 < int(found[2] or port) < 65536:
        raise ValueError
    return unquote(found[1]).strip("[]") or "localhost", int(found[2] or port)


def _options(url: str, query: str, *, tls: bool, sentinel: bool) -> dict[str, str]:
    known = (*_ALWAYS, *(_TLS if tls else ()), *(_SENTINEL if sentinel else ()))
    options = {name: text for name, text, _ in options_in(query)}
    for name, text in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise _wrong(url, f"has an option {name!r} that this kind of URL does not have.", hint)
        if name == "timeout" and not re.fullmatch(r"\d+(\.\d+)?|\.\d+", text):
            raise _wrong(url, "has a timeout that is no number of seconds.", "Write timeout=2 or timeout=0.5.")
        if (name == "timeout" and not float(text)) or (
            name == "max_connections" and not re.fullmatch(r"[1-9]\d*", text)
        ):
            raise _wrong(url, f"has a {name} that is no positive number.", "Write timeout=2 and max_connections=100.")
        if not text:
            raise _wrong(url, f"has an option {name!r} without a value.", f"Write {name}=..., or leave it out.")
        if name in _TLS and not Path(text).is_file():
            raise _wrong(
                url, f"names a file in {name} that is not there.", "Write its whole path; it is read by the app."
            )
    return options


def _wrong(url: str, problem: str, fix: str) -> SettingsError:
    from session_middleware.stores import masked  # it imports us where a URL is of Redis

    return SettingsError("SESSION_STORE_URL", masked(url), f"this URL {problem}", fix)
