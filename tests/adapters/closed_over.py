"""What a view may hold besides functions, and nobody should ask for a marker."""

from __future__ import annotations

from typing import Any

from werkzeug.local import LocalProxy

__all__ = ["HELD", "Client", "HandsOn"]


class Client:
    """A client of a database: every name is one of its collections, and so is every name of those."""

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth

    def __getattr__(self, name: str) -> Client:
        assert self.depth < 100, "it is asked without end"
        return Client(self.depth + 1)

    def __call__(self) -> None:
        raise TypeError("a collection cannot be called")


class HandsOn:
    """A decorator's object that answers to any name with what its function says."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["function"], name)

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def _outside_a_request() -> Any:
    raise RuntimeError("working outside of request context")


#: A mock does what a client does.
HELD = {"client": Client(), "proxy": LocalProxy(_outside_a_request)}
