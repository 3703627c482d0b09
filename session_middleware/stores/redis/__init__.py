"""Sessions in Redis 6 or later, or Valkey: one server, the master behind Sentinels, or a Cluster.

`blocking` and `awaited` are the two public forms, `arguments` what they are given; `calls` what each method does, once for
both; `scripts` what the server does with it and `value` how a record lies there; `link`, `direct`, `cluster` and `sending` how commands travel, `replicas` who confirms them;
`clients`, `links` and `url` which client that is; `epoch` the instant of `end_before`; `listener` what Redis announces; `faults` what
an operator is told.
"""

try:
    import redis  # noqa: F401  # asked for here, once for all of this package
except ImportError as problem:
    raise ImportError("RedisStore needs redis-py: pip install 'session-middleware[redis]'") from problem

from session_middleware.stores.redis.awaited import AsyncRedisStore
from session_middleware.stores.redis.blocking import RedisStore

__all__ = ["AsyncRedisStore", "RedisStore"]
