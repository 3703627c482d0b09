"""What goes over the wire at the Kratos stand-in: a request, an answer, and the errors in Kratos' own shape."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from session_middleware.testing.stand_ins._faults import Answer

__all__ = ["Headers", "KratosCall", "Problem", "as_json", "empty", "moment", "no_route", "no_session", "redirect"]

#: Headers of an answer, in order.
Headers = Iterable[tuple[str, str]]

JSON = ("Content-Type", "application/json")


@dataclass(slots=True)
class KratosCall:
    """One request that reached the stand-in.

    Attributes:
        listener: "public" or "admin".
        method: as sent.
        path: decoded, without the query.
        query: the raw query, without "?".
        headers: names in lower case.
        body: the raw body.
        base_url: scheme and host as the client named them.
        status: of the answer; None while there is none, and where the connection was closed instead.
    """

    listener: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(repr=False)  # they hold credentials
    body: bytes = field(repr=False)
    base_url: str
    status: int | None = None

    @classmethod
    def read(cls, listener: str, environ: Mapping[str, Any]) -> KratosCall:
        """Read a WSGI environ (PEP 3333)."""
        headers = {
            name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")
        }
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if environ.get(name):
                headers[name.replace("_", "-").lower()] = environ[name]
        host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        return cls(
            listener=listener,
            method=environ["REQUEST_METHOD"],
            path=environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace"),
            query=environ.get("QUERY_STRING", ""),
            headers=headers,
            body=environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)),
            base_url=f"{environ['wsgi.url_scheme']}://{host}",
        )

    def parameter(self, name: str) -> str:
        """Return the first value of a query parameter, "" without one."""
        return parse_qs(self.query, keep_blank_values=True).get(name, [""])[0]

    def cookie(self, name: str) -> str | None:
        """Return the first cookie of a name, as Go's `Request.Cookie` does."""
        for pair in self.headers.get("cookie", "").split(";"):
            found, equals, value = pair.strip().partition("=")
            if equals and found == name:
                return value.strip('"')
        return None

    @property
    def bearer(self) -> str:
        """The credential of `Authorization: Bearer`, "" without one."""
        scheme, _, credential = self.headers.get("authorization", "").partition(" ")
        return credential.strip() if scheme.lower() == "bearer" else ""

    @property
    def is_json(self) -> bool:
        """Whether the client is no browser: it accepts JSON and not HTML, or sends JSON (x/isjsonrequest.go)."""
        if self.headers.get("content-type", "") == "application/json":
            return True
        accepted = [part.partition(";")[0].strip() for part in self.headers.get("accept", "").split(",")]
        return "application/json" in accepted and not {"text/html", "text/*", "*/*"} & set(accepted)

    def fields(self) -> dict[str, str]:
        """Return the fields of a form or of a JSON object.

        Raises:
            Problem: the body is neither.
        """
        if self.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
            try:
                found = json.loads(self.body)
            except ValueError:
                found = None
            if not isinstance(found, dict):
                raise Problem(400, "Unable to decode the JSON body.")
            return {name: value for name, value in found.items() if isinstance(value, str)}
        given = parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)
        return {name: values[0] for name, values in given.items()}


class Problem(Exception):
    """An error answer in the shape of Kratos' `errorGeneric` (ory/herodot).

    Args:
        status: the status code.
        reason: for people.
        id: what programs look at; Kratos leaves it out of most errors, whoami's 401 among them.
        message: the short text; the phrase of the status by default.
        details: further facts inside `error`.
        beside: what stands beside `error` in the body.
    """

    def __init__(
        self,
        status: int,
        reason: str = "",
        *,
        id: str = "",
        message: str = "",
        details: Mapping[str, str] | None = None,
        beside: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, id, reason)
        self.status, self.reason, self.id = status, reason, id
        self.message = message or HTTPStatus(status).description or HTTPStatus(status).phrase
        self.details, self.beside = details, beside

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        error: dict[str, Any] = {"code": self.status, "status": HTTPStatus(self.status).phrase}
        if self.id:
            error["id"] = self.id
        if self.reason:
            error["reason"] = self.reason
        if self.details is not None:
            error["details"] = dict(self.details)
        error["message"] = self.message
        return {"error": error, **(self.beside or {})}

    def answer(self, headers: Headers = ()) -> Answer:
        """Return the response; its header `Ory-Error-Id` is there where the id is."""
        named = (("Ory-Error-Id", self.id),) if self.id else ()
        return as_json(self.body(), self.status, (*named, *headers))


def no_session() -> Problem:
    """Return what whoami says of every session it could not load, whatever the reason; `error.id` is not in it."""
    reason = "No valid session credentials found in the request."
    return Problem(401, reason, message="The request could not be authorized")


def as_json(value: Any, status: int = 200, headers: Headers = ()) -> Answer:
    """Return an answer with a JSON body."""
    return Answer(status, json.dumps(value).encode(), (JSON, *headers))


def empty(headers: Headers = ()) -> Answer:
    """Return a 204."""
    return Answer(204, headers=tuple(headers))


def no_route() -> Answer:
    """Return the 404 of a path that is not served: Go's own, which is no JSON, unlike that of a session."""
    return Answer(404, b"404 page not found\n", (("Content-Type", "text/plain; charset=utf-8"),))


def redirect(target: str, headers: Headers = ()) -> Answer:
    """Return a 303 to a URL."""
    return Answer(303, headers=(("Location", target), *headers))


def moment(at: float) -> str:
    """Return an instant as Kratos writes it (RFC 3339, UTC)."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
