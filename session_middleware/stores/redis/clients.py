"""Which clients of redis-py a store takes: those that answer bytes, from masters, in the form it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio

from session_middleware.errors import SettingsError

__all__ = ["Client", "fitting", "maker_of", "refuse_long_wait", "timeout_of"]

Client = Any  # redis.Redis | redis.RedisCluster, or of redis.asyncio: their commands are typed for both at once


def maker_of(
    client: Client | Callable[[], Client], *, awaited: bool, replica_wait: float | None = None
) -> Callable[[], Client]:
    """Return the function that makes a client, or that returns the one given.

    Args:
        client: either.
        awaited: whether its calls are to be awaited.
        replica_wait: seconds to wait for replicas, where the caller said so.

    Raises:
        SettingsError: a client that a store cannot use.
    """
    if callable(client):
        return client
    fitting(client, awaited=awaited, replica_wait=replica_wait)
    return lambda: client


def fitting(client: Client, *, awaited: bool, replica_wait: float | None = None) -> Client:
    """Return a client if it is one that a store can use.

    Raises:
        SettingsError: it is of another form or kind, decodes or caches answers, reads from replicas, or gives up before the wait
            for replicas is over.
    """
    kinds: Any = (redis.Redis, redis.RedisCluster)  # Any: else the client would be an object after the test
    others: Any = (redis.asyncio.Redis, redis.asyncio.RedisCluster)
    if awaited:
        kinds, others = others, kinds
    name = type(client).__name__
    if isinstance(client, others):
        store = "RedisStore" if awaited else "AsyncRedisStore"
        raise SettingsError("client", name, f"is {'blocking' if awaited else 'awaited'}.", f"Give it to {store}.")
    if not isinstance(client, kinds):
        raise SettingsError(
            "client",
            name,
            "is no client of redis-py that this store can use.",
            "Give redis.Redis(...), redis.RedisCluster(...) or Sentinel(...).master_for(name)"
            + (" of redis.asyncio." if awaited else "."),
        )
    if client.get_encoder().decode_responses:
        raise SettingsError(
            "client", name, "decodes what Redis answers, but records are bytes.", "Make it with decode_responses=False."
        )
    replicas = getattr(client, "read_from_replicas", False) or getattr(client, "load_balancing_strategy", None)
    if replicas or not getattr(getattr(client, "connection_pool", None), "is_master", True):
        raise SettingsError(
            "client",
            name,
            "reads from replicas, where a session that has ended may still be alive.",
            "Read from masters: leave out load_balancing_strategy and read_from_replicas; use master_for, not slave_for.",
        )
    if getattr(getattr(client, "nodes_manager", None), "_cache", None) is not None:
        raise SettingsError(
            "client",
            name,
            "keeps answers in a cache of its own, where a session that has ended may still be alive.",
            "Make it without cache_config and cache; NearCache(RedisStore(...)) is a cache whose age is bounded.",
        )
    refuse_long_wait(replica_wait, timeout_of(client))
    return client


def timeout_of(client: Client) -> float | None:
    """Return the seconds for which a client waits for an answer; None where it waits for ever."""
    holder = getattr(client, "connection_pool", None) or client.nodes_manager
    timeout: float | None = holder.connection_kwargs.get("socket_timeout")
    return timeout


def refuse_long_wait(replica_wait: float | None, timeout: float | None) -> None:
    """See that replicas are waited for no longer than for an answer: the write would stand, and the call fail (L13).

    Raises:
        SettingsError: they are.
    """
    if replica_wait is not None and timeout is not None and replica_wait >= timeout:
        raise SettingsError(
            "replica_wait",
            replica_wait,
            f"is no less than the timeout of {timeout:g} s, so that a call would be given up while it waits for replicas.",
            f"Give replica_wait={timeout / 2:g}, say, or a longer timeout; left out, it is half the timeout, 0.5 at most.",
        )
