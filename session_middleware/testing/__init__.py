"""PROVES: what our own suites are made of, for the suites of users.

A fake clock for any app; a contract for a store, an authority or an adapter of your own: inherit it, give a factory.
`pytest` and `hypothesis` are imported only by the contracts, when they are asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from session_middleware.testing.clock import FakeClock

if TYPE_CHECKING:
    from session_middleware.testing.adapter_contract import AdapterContract
    from session_middleware.testing.authority_contract import AuthorityContract
    from session_middleware.testing.store_contract import StoreContract

__all__ = ["AdapterContract", "AuthorityContract", "FakeClock", "StoreContract"]

_LAZY = {
    "AdapterContract": "session_middleware.testing.adapter_contract",
    "AuthorityContract": "session_middleware.testing.authority_contract",
    "StoreContract": "session_middleware.testing.store_contract",
}


def __getattr__(name: str) -> Any:  # Any: a module's attribute, as PEP 562 has it; type checkers see the imports above
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
