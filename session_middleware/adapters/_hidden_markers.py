"""In what a decorator without functools.wraps may hide a marked function, and in what nobody should look for one (L21)."""

from __future__ import annotations

from types import FunctionType

__all__ = ["what_may_hide"]


def what_may_hide(held: object) -> tuple[object, ...]:
    """Return what of something that a view holds may be a marked function, or a decorator's object around one.

    An object that answers to any name is none: a proxy such as Flask's `request`, a mock, a client of a database or of
    another service. Asking those for a marker may raise, connect to somewhere, or come to no end. But a decorator's object
    may hand on any name to its function, so the functions that it keeps are looked at; that asks it nothing.
    """
    if not callable(held):
        return ()
    if not hasattr(type(held), "__getattr__"):
        return (held,)
    try:
        kept = object.__getattribute__(held, "__dict__")
    except Exception:  # it has none, or a proxy's own
        return ()
    return tuple(each for each in kept.values() if isinstance(each, FunctionType)) if type(kept) is dict else ()
