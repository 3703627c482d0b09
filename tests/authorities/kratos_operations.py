"""Kratos' operations as its OpenAPI document has them, read out of the official client that is generated from it.

Each method of `ory_kratos_client` is let serialise a request full of marks; where a mark comes out says whether it is
a path parameter, a query parameter, a header or the body. A request that fits no operation raises AssertionError.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints
from urllib.parse import parse_qsl

import ory_kratos_client as official
from pydantic import BaseModel

from session_middleware.testing.stand_ins.kratos import KratosCall

#: Headers that carry a credential: each operation declares which it reads.
CREDENTIALS = ("cookie", "x-session-token", "authorization")


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    name: str
    method: str
    path: str
    query: dict[str, Any]
    required: frozenset[str]
    credentials: frozenset[str]
    body: type[BaseModel] | None

    def fits(self, call: KratosCall) -> bool:
        """Say whether a call is one of this operation, its parameters not looked at."""
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(self.path))
        return call.method == self.method and re.fullmatch(pattern, call.path) is not None

    def check(self, call: KratosCall) -> None:
        """Hold a call's query, credentials and body against the operation.

        Raises:
            AssertionError: it does not fit.
        """
        given = parse_qsl(call.query, keep_blank_values=True, strict_parsing=bool(call.query))
        for name, value in given:
            assert name in self.query, f"{self.name} has no parameter {name!r}"
            assert _fits(value, self.query[name]), f"{self.name}: {name}={value!r} is not {self.query[name]}"
        assert self.required <= {name for name, _ in given}, f"{self.name} needs {set(self.required)}"
        sent = {name for name in CREDENTIALS if name in call.headers}
        assert sent <= self.credentials, f"{self.name} does not read {sent - self.credentials}"
        if self.body is None:
            assert not call.body, f"{self.name} has no body"
            return
        kind = call.headers.get("content-type", "")
        assert kind.startswith("application/json"), f"{self.name}: a body of type {kind!r}"
        assert self.body.from_json(call.body.decode()) is not None  # type: ignore[attr-defined]  # of every generated model


def _fits(value: str, wanted: Any) -> bool:
    leaves = set(_leaves(wanted))
    if bool in leaves:
        return value in ("true", "false")
    if int in leaves:
        return value.isdecimal()
    return bool(value)


def _leaves(wanted: Any) -> Iterator[Any]:
    yield wanted
    for part in get_args(wanted):
        yield from _leaves(part)


class _Marks(official.ApiClient):
    """Catches what a method would serialise."""

    caught: dict[str, Any]

    def param_serialize(self, method: str, resource_path: str, **parts: Any) -> Any:
        self.caught = {"method": method, "path": resource_path, **parts}
        return ()


def operations() -> list[Operation]:
    """Return every operation of the public and of the admin listener."""
    client = _Marks(official.Configuration(host="http://kratos.invalid"))
    found = []
    for api in (official.FrontendApi(client), official.IdentityApi(client)):
        for serializer, serialize in inspect.getmembers(api, inspect.ismethod):
            match = re.fullmatch(r"_(\w+)_serialize", serializer)
            if match is None:
                continue
            own = [name for name in inspect.signature(serialize).parameters if not name.startswith("_")]
            settings = {"_request_auth": None, "_content_type": None, "_headers": {}, "_host_index": 0}
            serialize(**{name: f"mark of {name}" for name in own}, **settings)
            public = getattr(api, match[1])
            hints = get_type_hints(public)
            demanded = {
                name
                for name, parameter in inspect.signature(public).parameters.items()
                if parameter.default is inspect.Parameter.empty
            }
            found.append(_operation(match[1], client.caught, hints, demanded))
    return found


def _operation(name: str, caught: dict[str, Any], hints: dict[str, Any], demanded: set[str]) -> Operation:
    def of(mark: Any) -> str:
        return str(mark).removeprefix("mark of ")

    query = {wire: hints[of(mark)] for wire, mark in caught["query_params"]}
    headers = {header.lower() for header in caught["header_params"]}
    body = caught["body"]
    return Operation(
        name=name,
        method=caught["method"],
        path=caught["path"],
        query=query,
        required=frozenset(wire for wire, mark in caught["query_params"] if of(mark) in demanded),
        credentials=frozenset(headers | ({"authorization"} if caught["auth_settings"] else set())) & set(CREDENTIALS),
        body=None if body is None else _model(hints[of(body)]),
    )


def _model(hint: Any) -> type[BaseModel] | None:
    models = [leaf for leaf in _leaves(hint) if inspect.isclass(leaf) and issubclass(leaf, BaseModel)]
    return models[0] if models else None


def check_calls(calls: list[KratosCall]) -> set[str]:
    """Hold each call against the operation that it is, and return their names.

    Raises:
        AssertionError: one fits no operation.
    """
    known, named = operations(), set()
    for call in calls:
        # "/sessions/whoami" fits "/sessions/{id}" too: the path without a parameter goes first, as in any router.
        fitting = sorted((operation for operation in known if operation.fits(call)), key=lambda each: "{" in each.path)
        assert fitting, f"Kratos has no operation {call.method} {call.path}"
        fitting[0].check(call)
        named.add(fitting[0].name)
    return named
