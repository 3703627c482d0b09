"""MemoryStore keeps every promise of a store; so does the example in base.py's docstring."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable

import pytest

from session_middleware.stores import base
from session_middleware.stores.memory import MemoryStore
from session_middleware.testing.reference_record import reference_record
from session_middleware.testing.reference_store import ReferenceStore
from session_middleware.testing.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return MemoryStore


class TestReferenceStore(StoreContract):
    """The reference itself; its prune is not a login's sweep."""

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return ReferenceStore

    test_logins_sweep = None


class AsyncReferenceStore:
    """The reference as a store whose calls are awaited; each gives others a turn before it acts."""

    def __init__(self) -> None:
        self._store = ReferenceStore()


def _awaited(name: str) -> Callable[..., object]:
    async def call(self: AsyncReferenceStore, *args: object) -> object:
        await asyncio.sleep(0)
        return getattr(self._store, name)(*args)

    return call


for _name in (
    *("create", "load", "touch", "save", "renew", "end", "list"),
    *("create_capped", "end_before", "add_once", "prune"),
):
    setattr(AsyncReferenceStore, _name, _awaited(_name))


class TestAsyncStore(StoreContract):
    histories = 10

    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        return AsyncReferenceStore

    test_logins_sweep = None


class TestDocstringExample(StoreContract):
    @pytest.fixture
    def make_store(self) -> Callable[[], object]:
        code = base.__doc__.split("A complete store of your own:")[1].split("(One process")[0]
        names = {"renewed": base.renewed, "saved": base.saved}
        exec(textwrap.dedent(code), names)
        return names["DictStore"]


def test_what_was_loaded_is_recognised():
    """A record just loaded is recognised, else the power would be of no use."""
    store = MemoryStore()
    store.create(reference_record(0))
    assert store.holds(store.load(reference_record(0).key))
