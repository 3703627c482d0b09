"""PROVES: what our own suites are made of, for the suites of users.

A fake clock for any app; a contract for a store, an authority or an adapter of your own: inherit it, give a factory.
Each is imported when it is asked for; only the contracts import `pytest` and `hypothesis`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from session_middleware.testing.adapter_contract import AdapterContract
    from session_middleware.testing.authority_contract import AuthorityContract
    from session_middleware.testing.clock import FakeClock
    from session_middleware.testing.signed_in import SignIn
    from session_middleware.testing.store_contract import StoreContract

__all__ = ["AdapterContract", "AuthorityContract", "FakeClock", "SignIn", "StoreContract"]

_HOME = {
    "AdapterContract": "adapter_contract",
    "AuthorityContract": "authority_contract",
    "FakeClock": "clock",
    "SignIn": "signed_in",
    "StoreContract": "store_contract",
}


def __getattr__(name: str) -> Any:  # Any: a module's attribute, as PEP 562 has it; type checkers see the imports above
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
