"""Where django-ninja keeps the functions that are marked: Django sees one view for all operations of a path.

Who looks for them also has it noted what they raise: ninja is imported by the URLconf, after our middleware was made.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from session_middleware.adapters._django_failures import note_failures_of_ninja

__all__ = ["operations_of"]


def operations_of(view: Any) -> Mapping[str, Any] | None:  # Any: a callable with attributes, and marked ones
    """Return the function that answers each method on a path of django-ninja's, None for any other view."""
    ninja = sys.modules.get("ninja.operation")
    if ninja is None or type(view) is not FunctionType:
        return None
    for cell in view.__closure__ or ():
        try:
            held = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        if isinstance(held, ninja.PathView):
            for operation in held.operations:
                note_failures_of_ninja(type(operation.api))
            # The first that takes a method is the one that runs; a later one never does.
            first_last = reversed(held.operations)
            return {method: operation.view_func for operation in first_last for method in operation.methods}
    return None
