"""Routes that an authority needs below our prefix (login, callback, back-channel logout), as data.

The authority's handler looks at the request and answers with a value; `endpoints.py` does what it says. A handler sees
neither our cookies nor the store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from session_middleware.authorities.base import ProviderLogin, Shown
from session_middleware.core.fields import Fields
from session_middleware.core.record import SessionRecord

__all__ = ["Answer", "Ask", "Begin", "Done", "End", "Endpoint", "Page", "Problem", "Redirect", "Serves", "State"]

#: What was remembered under a state: texts and numbers.
State = Mapping[str, Any]  # Any: JSON values


class Ask(Protocol):
    """A request to an authority's route.

    Attributes:
        method: "GET" or "POST".
        query: the fields of the query.
        shown: the cookies and headers the authority may see.
        now: the request's instant.
        record: the live session's, None without one; only on a route that `needs` "look".
        origin: scheme and host as the request names them. A guess: whoever builds a URL for others to follow asks for
            `app_url=` instead.
        mount: where the app lies, "" at the root.
    """

    @property
    def method(self) -> str: ...
    @property
    def query(self) -> Fields: ...
    @property
    def shown(self) -> Shown: ...
    @property
    def now(self) -> float: ...
    @property
    def record(self) -> SessionRecord | None: ...
    @property
    def origin(self) -> str: ...
    @property
    def mount(self) -> str: ...

    def header(self, name: str) -> str | None:
        """Return a header by its lower-case name; None for Cookie and Authorization."""
        ...

    async def body(self) -> bytes:
        """Return the body; one that is too long is answered with 413 for you."""
        ...

    async def form(self) -> Fields | None:
        """Return the fields of a form or JSON body; None: it is neither."""
        ...

    async def once(self, key: str, until: float) -> bool:
        """Return True for the first caller with this key in any process, False until `until` has passed."""
        ...

    def recall(self, id: str) -> State | None:
        """Return what `Redirect.remember` left in this browser under this id, if it is ours and not over."""
        ...

    def safe_path(self, text: str | None) -> str | None:
        """Return a path of this host to go back to (L15), None for anything else."""
        ...


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a session and send the browser on.

    Attributes:
        login: whose.
        to: a path of this host, mount included.
        again: where to send a user whose provider session may not begin one here (L24): to the provider, for a new proof.
        forget: ids of remembered states that have served.
        relay: whole Set-Cookie values of the provider's, sent if the session begins.
    """

    login: ProviderLogin
    to: str = "/"
    again: str | None = None
    forget: tuple[str, ...] = ()
    relay: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """The provider says, with proof, that sessions are over; or that their users have to prove who they are again.

    Attributes:
        reason: recorded with the end.
        provider_sessions: their ids there. Each leaves a mark, so that a login which is on its way is refused too (L24).
        handles: or texts under which ours are found, as in `ProviderLogin.handles`.
        before: only those whose user proved who they are until this instant (when the provider said it, `iat`), so that
            the same said twice does no harm; None: all.
        once: a key and until when it is kept: the same again is answered with 400, once it has been done (a replay).
        stale: True ends nothing: the sessions are no longer fresh (`fresh_login_required` asks again).
        status: of the answer.
    """

    reason: str
    provider_sessions: tuple[str, ...] = ()
    handles: tuple[str, ...] = ()
    before: float | None = None
    once: tuple[str, float] | None = None
    stale: bool = False
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send the browser somewhere (303).

    Attributes:
        url: where.
        remember: states to keep in this browser for `seconds`, by id: signed, in cookies of their own, HttpOnly, Lax.
        forget: ids of states that have served.
        relay: whole Set-Cookie values of the provider's.
    """

    url: str
    remember: Mapping[str, State] = field(default_factory=dict)
    seconds: float = 600.0
    forget: tuple[str, ...] = ()
    relay: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Show a small page of ours: HTML, its own script allowed by its hash only."""

    html: str
    script_hash: str | None = None
    form_target: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """Answer with a status and no content to speak of (RFC 8935 §2.2, Back-Channel Logout 1.0 §2.8)."""

    status: int = 200


@dataclass(frozen=True, slots=True)
class Problem:
    """Refuse: problem+json, or a page for a person.

    Attributes:
        status: 400, 403 ...
        error: a short word.
        title: one sentence for people.
        body: sent as JSON instead of a problem document, where a standard says so.
        forget: ids of states that have served.
    """

    status: int
    error: str
    title: str
    body: Mapping[str, str] | None = None
    forget: tuple[str, ...] = ()


Answer = Begin | End | Redirect | Page | Done | Problem


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route below our prefix.

    Attributes:
        method: "GET" or "POST".
        path: such as "login" or "backchannel-logout".
        handler: answers.
        guard: "same_origin" where only pages of this host may ask (L20); "none" where the request proves itself.
        needs: "look" opens the session first, so that `Ask.record` is set; "nothing" does not.
        body_limit: bytes.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Callable[[Ask], Awaitable[Answer]]
    guard: Literal["none", "same_origin"] = "none"
    needs: Literal["nothing", "look"] = "nothing"
    body_limit: int = 64 * 1024


@runtime_checkable
class Serves(Protocol):
    """An authority with routes of its own. One named "login" is where people are sent, unless `login_url` is set.

    Attributes:
        endpoints: its routes.
    """

    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...
