"""The checks of what kind a value is: text, a switch, a list, a function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from session_middleware.errors import SettingsError

__all__ = ["check_function", "listed", "text", "texts"]

_HALF = re.compile(r"[\ud800-\udfff]")


def text(name: str, value: object, fix: str) -> str:
    """Return text that is not empty, and that can leave us: half a character has no bytes in UTF-8.

    Raises:
        SettingsError: it is something else.
    """
    if not isinstance(value, str):
        raise SettingsError(name, value, "is not text.", fix)
    if not value:
        raise SettingsError(name, value, "is empty.", fix)
    if _HALF.search(value):  # a byte of an environment that is not UTF-8, or JSON that was cut in the middle
        raise SettingsError(name, value, "is no text of Unicode.", fix)
    return value


def listed(name: str, value: object, fix: str, *, secret: bool = False) -> tuple[Any, ...]:  # Any: checked by who asks
    """Return what is in a list.

    Args:
        name: the setting, for the message.
        value: a list, or anything else that holds values in an order or none.
        fix: what to write instead.
        secret: whether the message must not show the value.

    Raises:
        SettingsError: it is no list; a text is one value, not a list of letters.
    """
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, memoryview, Mapping)):
        return tuple(value)
    if isinstance(value, (str, bytes)):
        problem, fix = "is one value, not a list.", f"Write {name}=[{'...' if secret else repr(value)}]."
    else:
        problem = "is not a list."
    raise SettingsError(name, "***" if secret else value, problem, fix)


def texts(name: str, value: object, fix: str) -> tuple[str, ...]:
    """Return the texts in a list, none of them empty.

    Raises:
        SettingsError: it is no list of them.
    """
    return tuple(text(name, each, fix) for each in listed(name, value, fix))


def check_function(name: str, value: object, fix: str) -> None:
    """Refuse what is no plain function.

    Raises:
        SettingsError: it cannot be called, or what it returns would have to be awaited, which nobody does.
    """
    if not callable(value):
        raise SettingsError(name, value, "is not a function.", fix)
    for each in (value, type(value).__call__):
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            raise SettingsError(
                name,
                value,
                "is an async function, and nobody would await what it returns.",
                "Write it with a plain def.",
            )
