"""Which link leads to the servers of a client."""

from __future__ import annotations

import redis
import redis.asyncio

from session_middleware.stores.redis.clients import Client
from session_middleware.stores.redis.cluster import ClusterLink
from session_middleware.stores.redis.direct import DirectLink
from session_middleware.stores.redis.link import Link

__all__ = ["link_to"]


def link_to(client: Client) -> Link:
    """Return the link for a client."""
    if isinstance(client, (redis.RedisCluster, redis.asyncio.RedisCluster)):
        return ClusterLink(client)
    return DirectLink(client)
