"""Markers that a decorator without functools.wraps hides: where to look for them, and where nobody should (L21)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Final

from session_middleware.core.exchange import NO_RULES, RouteRules, rules_of

__all__ = ["hidden_marker", "identity", "strict", "what_may_hide"]

#: How many objects a search for a hidden marker looks at; a chain of decorators is shorter.
SEARCH_LIMIT: Final = 64


def hidden_marker(
    view: object, reachable: Callable[[], Collection[int]] = frozenset, containers: tuple[type, ...] = ()
) -> tuple[object, RouteRules] | None:
    """Return the marked function that a view hides and its rules, None if there is none; of several one that forbids something.

    Args:
        view: what is registered; it carries no marker itself.
        reachable: returns the identities of functions whose markers act, because they are registered themselves; such a
            one is not hidden by a view that only chooses it. Asked only where there is something to find: to list all there is,
            for each view, would take long at the start of a large app.
        containers: classes of the framework's, such as the app, which hold all there is: what they reach is not hidden by
            this view.
    """
    if _search(view, frozenset(), containers) is None:
        return None
    return _search(view, reachable(), containers)


def _search(view: object, reachable: Collection[int], containers: tuple[type, ...]) -> tuple[object, RouteRules] | None:
    seen = {id(view)}
    elsewhere = {*reachable} - {identity(view)}
    queue = [view]
    looked = 0
    found = None
    while queue and looked < SEARCH_LIMIT:
        looked += 1
        for inner in _held_by(queue.pop(0), (type, *containers)):
            if id(inner) in seen or identity(inner) in elsewhere:
                continue
            seen.add(id(inner))
            # What a partial calls comes next, and has a name.
            rules = None if isinstance(inner, partial) else rules_of(inner)
            if rules is None:
                queue.append(inner)
            elif strict(rules) != NO_RULES:
                return inner, rules
            else:  # what else it holds may forbid, whatever the names are by which the view holds them
                found = found or (inner, rules)
    return found


def identity(view: object) -> int:
    """Return what tells a view from all others: a bound method is made anew each time somebody asks for it."""
    return id(view.__func__ if isinstance(view, MethodType) else view)


def strict(hidden: RouteRules) -> RouteRules:
    """Return what a hidden marker forbids, without what it allows: what the decorator really runs is not known for sure."""
    return RouteRules(
        policy="required" if hidden.policy == "required" else None,
        fresh_within=hidden.fresh_within,
        touch=hidden.touch,
        on_unavailable="refuse" if hidden.on_unavailable == "refuse" else None,
    )


def _held_by(holder: object, containers: tuple[type, ...]) -> Iterator[object]:
    """Yield the callables that a function closes over, or that an object made to be called holds."""
    if isinstance(holder, MethodType):
        yield holder.__func__
        holder = holder.__self__
    held: list[object] = [getattr(holder, "__wrapped__", None), getattr(holder, "func", None)]
    if isinstance(holder, FunctionType):
        for cell in holder.__closure__ or ():
            try:
                held.append(cell.cell_contents)
            except ValueError:  # not filled yet
                continue
    elif not isinstance(holder, containers):
        held += list(getattr(holder, "__dict__", {}).values())
    for each in held:
        yield from (part for part in what_may_hide(each) if not isinstance(part, containers))


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
