"""Which clients of redis-py a store takes: those that answer bytes, from masters, in the form it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio

from session_middleware.errors import SettingsError

__all__ = ["Client", "fitting", "maker_of"]

Client = Any  # redis.Redis | redis.RedisCluster, or of redis.asyncio: their commands are typed for both at once


def maker_of(client: Client | Callable[[], Client], *, awaited: bool) -> Callable[[], Client]:
    """Return the function that makes a client, or that returns the one given.

    Args:
        client: either.
        awaited: whether its calls are to be awaited.

    Raises:
        SettingsError: a client that a store cannot use.
    """
    if callable(client):
        return client
    fitting(client, awaited=awaited)
    return lambda: client


def fitting(client: Client, *, awaited: bool) -> Client:
    """Return a client if it is one that a store can use.

    Raises:
        SettingsError: it is of another form or kind, decodes answers, or reads from replicas.
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
    return client
