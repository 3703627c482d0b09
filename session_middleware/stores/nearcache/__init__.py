"""A near cache: records that this process has read, held until the server says that they changed.

A hit costs no round trip. What makes that safe is the lease: a hit counts only while the listener has had an answer, on
the connection that carries the announcements, to a question it asked less than `lease` seconds ago. All that was written
before that question has been heard of by then. When the line is lost, or the server falls silent, the lease runs out,
every call goes to the store, and nothing held before is believed again.

`store` holds the two public forms, `entries` what is held and what may not be, `listening` the thread that hears of
changes.
"""

from session_middleware.stores.nearcache.store import AsyncNearCache, NearCache, NearCacheState, near_cache

__all__ = ["AsyncNearCache", "NearCache", "NearCacheState", "near_cache"]
