"""What comes of a call to a provider: an answer of any status, which is a value, or a fault of a kind.

Nothing here ever prints a body, a query or a header.
"""

from __future__ import annotations

import json as json_module
import re
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Answered", "ProviderFault"]

_COOKIE: Final = re.compile(r"[!-:<>-~]+=[ -~]*")


class ProviderFault(Exception):
    """The provider did not give an answer that can be used. It says nothing about anybody's session (L17).

    Attributes:
        kind: "timeout", "connection", "garbage" (not what its documentation promises), "throttled", "outage" (5xx),
            "credentials" (ours are refused: the operator's to mend), "refused" (what we asked for is: likewise),
            "left_alone" (not asked, after faults), "unconfirmed" (it denies a session, which proves nothing yet).
        retry_after: seconds, where the provider said so.
    """

    def __init__(self, kind: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, str(self), self.retry_after)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a provider answered.

    Attributes:
        status: the HTTP status.
        headers: in order, names in lower case.
        body: as it came.
        where: method and path, for messages.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    where: str

    def __repr__(self) -> str:  # a body may hold tokens
        return f"<Answered {self.status} to {self.where}>"

    def header(self, name: str) -> str | None:
        """Return the first header of a lower-case name."""
        return next((value for held, value in self.headers if held == name), None)

    @property
    def set_cookies(self) -> tuple[str, ...]:
        """Every Set-Cookie value, unchanged, but for those which browsers refuse and no response can carry.

        Those are the ones without a name, with a control character, and with letters beyond ASCII, which Django's ASGI
        handler cannot send (RFC 6265bis §4.1.1).
        """
        return tuple(value for name, value in self.headers if name == "set-cookie" and _COOKIE.fullmatch(value))

    def object(self) -> dict[str, Any]:  # Any: JSON values
        """Return the JSON object in the body.

        Raises:
            ProviderFault: there is none.
        """
        try:
            found = json_module.loads(self.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ProviderFault(
                "garbage", f"The provider answered {self.status} to {self.where} without a JSON object."
            )
        return found
