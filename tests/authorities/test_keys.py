"""A provider's keys: who asks for one that is not held, and what is said where it cannot be told whether it exists."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from session_middleware.authorities.calls import Answered, ProviderFault
from session_middleware.authorities.keys import COOL_DOWN, FRESH_FOR, KeyCache, KeySource
from session_middleware.runtime import LoopRuntime, ThreadRuntime, run_sync

X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"  # RFC 8037, appendix A.2


class Publisher:
    """What publishes keys: as many as it has ids, unless it is down; or waits."""

    def __init__(self, *kids: str) -> None:
        self.kids = kids
        self.down = False
        self.asked = 0
        self.answers: asyncio.Event | None = None

    async def ask(self, method: str, path: str) -> Answered:
        self.asked += 1
        if self.answers is not None:
            await self.answers.wait()
        if self.down:
            raise ProviderFault("connection", "it does not answer.")
        keys = [{"kty": "OKP", "crv": "Ed25519", "x": X, "kid": kid} for kid in self.kids]
        return Answered(200, (), json.dumps({"keys": keys}).encode(), f"{method} {path}")


async def _address(now: float) -> str:
    return "/jwks"


def source_of(publisher: Publisher, runtime: Any = None) -> KeySource:
    calls: Any = publisher
    return KeySource(calls, runtime or ThreadRuntime(), _address, KeyCache())


def kids(source: KeySource, kid: str | None, now: float) -> list[str | None]:
    return [key.kid for key in run_sync(source.keys(kid, now))]


def test_keys_are_fetched_once_and_again_when_they_are_old() -> None:
    """Old ones serve on while nobody answers (L17)."""
    publisher = Publisher("a")
    source = source_of(publisher)
    assert kids(source, "a", 0) == kids(source, None, FRESH_FOR - 1) == ["a"]
    assert publisher.asked == 1
    publisher.down = True
    assert kids(source, "a", FRESH_FOR) == kids(source, "a", FRESH_FOR + 1) == ["a"]
    assert publisher.asked == 2, "and is left alone for a while"
    publisher.down, publisher.kids = False, ("b",)
    assert kids(source, "b", FRESH_FOR + COOL_DOWN) == ["b"]


def test_a_key_that_nobody_publishes() -> None:
    """The list without it is the answer, for moments also where another is asked for: forged tokens make no storm."""
    publisher = Publisher("a")
    source = source_of(publisher)
    kids(source, "a", 0)
    assert kids(source, "forged", COOL_DOWN) == ["a"]
    assert kids(source, "forged too", COOL_DOWN + 1) == ["a"]
    assert publisher.asked == 2
    publisher.kids = ("a", "new")
    assert kids(source, "new", 2 * COOL_DOWN) == ["a", "new"]


def test_a_new_key_while_the_provider_is_down() -> None:
    """A token under it is no bad one: whoever sent it is to send it again (OpenID Connect Back-Channel Logout 1.0 §2.8)."""
    publisher = Publisher("a")
    source = source_of(publisher)
    kids(source, "a", 0)
    publisher.down = True
    for now, kind in ((COOL_DOWN, "connection"), (COOL_DOWN + 1, "left_alone"), (3 * COOL_DOWN, "connection")):
        with pytest.raises(ProviderFault) as fault:
            kids(source, "new", now)
        assert fault.value.kind == kind
        assert kids(source, "a", now) == ["a"]
    assert publisher.asked == 3


def test_two_tokens_under_a_new_key_at_once() -> None:
    """The second waits for what the first fetches."""

    async def main() -> None:
        publisher = Publisher("a")
        source = source_of(publisher, LoopRuntime())
        await source.keys("a", 0)
        publisher.kids, publisher.answers = ("a", "new"), asyncio.Event()
        both = [asyncio.ensure_future(source.keys("new", COOL_DOWN + after)) for after in (0, 1)]
        for _ in range(5):
            await asyncio.sleep(0)
        publisher.answers.set()
        for found in await asyncio.gather(*both):
            assert [key.kid for key in found] == ["a", "new"]
        assert publisher.asked == 2

    asyncio.run(main())
