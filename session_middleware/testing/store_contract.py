"""StoreContract: every promise of `stores/base.py` as a test; a store is right if it passes.

Five lines test a store of your own:

    class TestDictStore(StoreContract):
        @pytest.fixture
        def make_store(self):
            return DictStore

Optional powers (Recognises, EndsBefore, AddsOnce, Prunes, Caps, Walks) are found by what the store can do, and then tested too. No
test sleeps or reads a clock; nothing is rubbish before its `keep_until`, which the tests choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_middleware.errors import SettingsError
from session_middleware.testing.driven import Driven
from session_middleware.testing.store_promises.capping import Capping
from session_middleware.testing.store_promises.ending import Ending
from session_middleware.testing.store_promises.powers import Powers
from session_middleware.testing.store_promises.writing import Writing

__all__ = ["StoreContract"]


class StoreContract(Writing, Ending, Powers, Capping):
    """Inherit it, override the fixture `make_store`, done.

    `make_store` is called without arguments and returns a new, empty store: blocking or asynchronous. If the store has
    a `close`, it is called at the end.
    """

    #: Random histories compared with the reference; fewer where each call crosses a network.
    histories: int = 40

    @pytest.fixture
    def make_store(self) -> Callable[[], Any]:  # Any: a Store or an AsyncStore
        """Override: return a callable that returns a new, empty store each time."""
        raise NotImplementedError("Override the fixture make_store: return what makes a new, empty store.")

    @pytest.fixture(params=["threads", "loop"])
    def open_store(self, request: pytest.FixtureRequest, make_store: Callable[[], Any]) -> Callable[[], Driven]:
        """How the store is run: as a WSGI app does, and as an ASGI app does."""

        def opened() -> Driven:
            try:
                return Driven(make_store(), on_loop=request.param == "loop")
            except SettingsError:
                pytest.skip("an asynchronous store runs on a loop only")

        return opened

    @pytest.fixture
    def store(self, open_store: Callable[[], Driven]) -> Iterator[Driven]:
        """The store under test."""
        store = open_store()
        yield store
        store.finish()

    def test_random_histories_agree_with_the_reference(self, open_store: Callable[[], Driven]) -> None:
        """Whatever is done in whatever order, the store answers as the one in base.py's docstring."""
        pytest.importorskip("hypothesis", reason="compares random histories")
        from session_middleware.testing.store_machine import compare_with_reference

        compare_with_reference(open_store, self.histories)
