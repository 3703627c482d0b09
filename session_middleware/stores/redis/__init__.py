"""Sessions in Redis 6 or later, or Valkey: one server, the master behind Sentinels, or a Cluster.

`store` holds the two public forms; `calls` what each method does, once for both; `scripts` what the server does with it
and `value` how a record lies there; `link` and `sending` how commands travel; `clients` and `url` which client that is;
`epoch` the instant of `end_before`; `listener` what Redis announces; `faults` what an operator is told.
"""

from session_middleware.stores.redis.store import AsyncRedisStore, RedisStore

__all__ = ["AsyncRedisStore", "RedisStore"]
