"""The keys that a provider publishes: fetched when needed, kept, and fetched again when they are old or lack the one wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from session_middleware.authorities.calls import Answered, Calls, ProviderFault
from session_middleware.authorities.signed import PublishedKey, published_keys
from session_middleware.runtime import OneFlight, Runtime

__all__ = ["COOL_DOWN", "FRESH_FOR", "PATIENCE", "KeyCache", "KeySource", "document"]

#: Seconds after which they are fetched again, so that a key which the provider has withdrawn does not serve on.
FRESH_FOR: Final = 3_600.0

#: Seconds between two fetches because a token named a key that is not known: forged tokens must not make a storm.
COOL_DOWN: Final = 10.0

#: Seconds to wait for a fetch that another request makes.
PATIENCE: Final = 30.0


class KeySource:
    """The keys published at one address.

    Args:
        calls: how it is asked.
        runtime: how waiting is done.
        address: returns the address; awaited, since discovery says it.
        cache: shared with what serves the same keys elsewhere in this process.
    """

    def __init__(
        self, calls: Calls, runtime: Runtime, address: Callable[[float], Awaitable[str]], cache: KeyCache
    ) -> None:
        self._calls, self._runtime, self._address, self._cache = calls, runtime, address, cache

    async def keys(self, kid: object, now: float) -> tuple[PublishedKey, ...]:
        """Return the keys, fetched anew where they are old, or do not have the one wanted.

        Args:
            kid: the key id that a token names, None where it names none.
            now: the instant.

        Raises:
            ProviderFault: they could not be fetched, and the one wanted is not among those held: a token under a key that
                may just have been published is no bad one.
        """
        cache = self._cache
        fresh = 0 <= now - cache.fetched_at < FRESH_FOR
        known = bool(cache.held) and (kid is None or any(key.kid == kid for key in cache.held))
        asked = bool(cache.held) and 0 <= now - cache.asked_at < COOL_DOWN
        if (known and fresh) or (asked and (known or cache.fetched_at == cache.asked_at)):
            return cache.held
        if asked:
            raise ProviderFault("left_alone", "The provider's keys could not be fetched a moment ago.")
        try:
            await cache.flights.run(self._runtime, "keys", lambda: self._fetch(now), PATIENCE)
        except (ProviderFault, TimeoutError):
            if not known:
                raise
        return cache.held

    async def _fetch(self, now: float) -> None:
        cache = self._cache
        try:
            answered = await self._calls.ask("GET", await self._address(now))
        finally:
            cache.asked_at = now  # not before: who comes meanwhile waits for this answer
        found = published_keys(document(answered))
        if not found:
            raise ProviderFault("garbage", f"{answered.where}: no key for signatures of a kind that is known.")
        cache.held, cache.fetched_at = found, now


class KeyCache:
    """What a process holds of the keys at one address."""

    def __init__(self) -> None:
        self.flights = OneFlight()
        self.held: tuple[PublishedKey, ...] = ()
        self.fetched_at = float("-inf")
        self.asked_at = float("-inf")


def document(answered: Answered) -> dict[str, Any]:  # Any: JSON values
    """Return the document that an address was asked for.

    Raises:
        ProviderFault: there is none.
    """
    if answered.status != 200:
        raise ProviderFault("garbage", f"{answered.where}: an answer {answered.status} in place of a document.")
    return answered.object()
