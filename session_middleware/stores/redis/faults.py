"""What goes wrong with Redis, in words that name the way out and never a secret."""

from __future__ import annotations

import logging
import re
from typing import Final

import redis.asyncio.sentinel
import redis.sentinel
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
)

from session_middleware.errors import StoreUnavailable

__all__ = ["CHANNEL", "EVICTS", "FAULTS", "Complaints", "Fault", "explained", "is_of_a_replica", "unreachable"]

#: What redis-py raises; one of them is no RedisError.
Fault = RedisError | RedisClusterException
FAULTS: Final = (RedisError, RedisClusterException)

_NO_MASTER: Final = (redis.sentinel.MasterNotFoundError, redis.asyncio.sentinel.MasterNotFoundError)


_log: Final = logging.getLogger("session_middleware")

#: A server that does not speak TLS waits for the rest of what it takes for a command.
_SILENT_IN_TLS: Final = "did not answer in TLS in time. Check that the port of the store's URL speaks it."

_NOT_TRUSTED: Final = (
    "TLS with {} failed ({}). Check that the port speaks TLS, that ssl_ca_certs names the authority that signed its "
    "certificate, and that the host is the certificate's."
)

#: What the system said, in redis-py's words about a connection that could not be made.
_WHY_NOT: Final = re.compile(r"connecting to \S+\. ([A-Za-z ]*[A-Za-z])")

#: What an operator is told of a server that evicts keys; its policy.
EVICTS: Final = (
    "Redis may evict keys when its memory is full (maxmemory-policy %s): people are signed out, and sessions that end_before "
    "ended come alive again. Set maxmemory-policy noeviction."
)

#: What a near cache listens on.
CHANNEL: Final = "__redis__:invalidate"

#: How Redis names a command; of one inside a script it does not say which.
_COMMAND: Final = re.compile(r"the '([a-z|]+)' command")
_IN_A_SCRIPT: Final = (
    "The user executing the script can't run",
    "ACL failure in script",
)  # Redis; Valkey, with its name

_NOT_ALLOWED: Final = (
    "The account at Redis may not {}. Allow it the store's keys (~session:*), the channel &__redis__:invalidate for a near "
    "cache, and GET, SET, SETRANGE, PEXPIRE, PTTL, TIME, EVAL, EVALSHA, ZADD, ZREM, ZSCORE, ZRANGE, ZREMRANGEBYSCORE, SCAN, "
    "PING, SELECT, WAIT, INFO, CLIENT, SUBSCRIBE, CLUSTER, COMMAND and ASKING; docs/redis.md has the line to copy."
)


def explained(problem: Fault, *, tls: bool = False) -> Exception:
    """Return a fault of Redis as it is, or with the fix where an operator's settings are wrong; never with a secret.

    Args:
        problem: what redis-py raised.
        tls: whether the connection was to speak TLS, where its text does not tell.
    """
    text = str(problem)
    if isinstance(problem, _NO_MASTER):
        return _no_master(text)
    if isinstance(problem, RedisClusterException):
        return _no_node(text) if "cannot be connected" in text else problem
    if tls and isinstance(problem, TimeoutError) and "connecting" in text:
        return StoreUnavailable(f"Redis {_SILENT_IN_TLS}")
    if isinstance(problem, AuthenticationError):
        return StoreUnavailable(
            f"Redis refused to sign us in ({_code(problem)}). Check user and password of the store's URL or client."
        )
    if isinstance(problem, NoPermissionError) or any(words in text for words in _IN_A_SCRIPT):
        return StoreUnavailable(_NOT_ALLOWED.format(_denied(text)))
    if isinstance(problem, ReadOnlyError):
        return StoreUnavailable(
            "The Redis that we were led to is a replica, which takes no writes. Check that the host of the store's URL leads "
            "to the master, or name the Sentinels or the Cluster (redis+sentinel://, redis+cluster://)."
        )
    if isinstance(problem, ConnectionError) and _is_of_tls(text):
        return StoreUnavailable(_NOT_TRUSTED.format("Redis", type(problem.__cause__ or problem).__name__))
    if isinstance(problem, (ConnectionError, TimeoutError)) and "connecting to" in text:
        return unreachable(problem)
    return problem


def unreachable(problem: Fault) -> StoreUnavailable:
    """Return what to say where a server does not answer; not its name, for which a password may have been taken."""
    why = _WHY_NOT.search(str(problem))
    return StoreUnavailable(
        f"Redis cannot be reached ({why[1] if why else _code(problem)}). Check that it runs, and the host and port of the "
        "store's URL or client."
    )


def _denied(text: str) -> str:
    """Return what an account may not do, without the name of a key, which nobody is to read in a log."""
    command = _COMMAND.search(text)
    if command is not None:
        return f"run {command[1].upper()}"
    if _IN_A_SCRIPT[0] in text:
        return "run a command inside our scripts"
    return f"use the channel {CHANNEL}" if "channel" in text else "use the store's keys"


def is_of_a_replica(problem: object) -> bool:
    """Say whether an answer is that of a server that takes no writes; of Redis 6 a script's error says so in its text."""
    return isinstance(problem, ReadOnlyError) or (isinstance(problem, ResponseError) and "READONLY" in str(problem))


def _no_master(text: str) -> StoreUnavailable:
    """Return what to say where no Sentinel named a master; redis-py's text shows how it was asked, and that is long."""
    name, _, reasons = text.removeprefix("No master found for ").partition(" : ")
    if not reasons:
        return StoreUnavailable(
            f"The Sentinels know no master called {name} that is up. Check the name after the last '/' of the store's URL; "
            "`redis-cli -p 26379 SENTINEL MASTERS` lists those they know."
        )
    if "SSLConnection" in reasons and "Timeout" in reasons:
        return StoreUnavailable(f"A Sentinel {_SILENT_IN_TLS}")
    return StoreUnavailable(
        "No Sentinel could be asked for the master. Check that they run, the hosts and ports of the store's URL, their own "
        "account (sentinel_username, sentinel_password), and TLS: rediss+sentinel:// if they speak it, and then ssl_ca_certs "
        "for the authority that signed their certificate."
    )


def _no_node(text: str) -> StoreUnavailable:
    """Return what to say where no node of a Cluster let us in."""
    if _is_of_tls(text):
        return StoreUnavailable(_NOT_TRUSTED.format("the Redis Cluster", "certificate"))
    reason = text.partition("reachable node: ")[2] or "no reason given"
    return StoreUnavailable(
        f"No node of the Redis Cluster could be reached ({reason.rstrip('.')}). Check that they run, the hosts, ports and "
        "password of the store's URL, and whether they speak TLS (rediss+cluster://)."
    )


def _is_of_tls(text: str) -> bool:
    return "[SSL" in text or "certificate" in text


def _code(problem: Fault) -> str:
    return type(problem).__name__


class Complaints:
    """Says once what an operator has to put right: a request only learns that there is a fault."""

    def __init__(self) -> None:
        self._last = ""

    def about(self, problem: Fault, *, tls: bool = False) -> Exception:
        """Return the fault as `explained`; where that names a fix, it is logged, unless it was just before."""
        found = explained(problem, tls=tls)
        if isinstance(found, StoreUnavailable) and str(found) != self._last:
            self._last = str(found)
            _log.error("%s", found)
        return found

    def are_over(self) -> None:
        """Forget what was said, since all is well."""
        if self._last:
            self._last = ""
