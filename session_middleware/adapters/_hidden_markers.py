"""In what a decorator without functools.wraps may hide a marked function, and in what nobody should look for one (L21)."""

from __future__ import annotations

__all__ = ["may_hide"]


def may_hide(held: object) -> bool:
    """Say whether something that a view holds may be a marked function, or a decorator's object around one.

    An object that answers to any name is none: a proxy such as Flask's `request`, a mock, a client of a database or of
    another service. Asking those for a marker may raise, connect to somewhere, or come to no end.
    """
    return callable(held) and not hasattr(type(held), "__getattr__")
