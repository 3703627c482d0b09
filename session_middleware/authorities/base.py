"""What an authority promises; the specification that `testing.AuthorityContract` runs.

An authority vouches: it is asked whether the user of a session may still be signed in, and answers with a value. It
judges no deadline of ours, writes to no store and logs nobody in; the engine does that with its answers. What only some
can do is a protocol of its own: `Adopts` (their own credential comes with the request), `Extends`, `Ends`, `Lists`,
`SignsOut`, `Serves` (routes below our prefix: `authorities/routes.py`).

The smallest one of your own:

    class Directory:
        name = "directory"
        verify_interval = 60.0

        async def verify(self, record, shown, now):
            employed = ...  # ask the directory; an exception counts as "could not find out"
            return Vouch(Alive.ALIVE if employed else Alive.GONE)
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from session_middleware.core.provider import ProviderSession
from session_middleware.core.record import SessionRecord
from session_middleware.runtime import Runtime
from session_middleware.settings import Settings

__all__ = [
    "NOTHING_SHOWN",
    "Adopts",
    "Advises",
    "Alive",
    "Attached",
    "Authority",
    "EndedThere",
    "Ends",
    "Extended",
    "Extends",
    "Extension",
    "Lists",
    "NeedsBrowser",
    "NotExtended",
    "ProviderLogin",
    "Shown",
    "SignsOut",
    "Token",
    "Tokens",
    "Vouch",
]


class Alive(enum.Enum):
    """What an authority knows of a session."""

    ALIVE = "alive"
    GONE = "gone"  # proof that it ended: the record is ended too
    UNKNOWN = "unknown"  # it could not find out: the session is UNAVAILABLE, never a logout (L17)
    NOT_SHOWN = (
        "not shown"  # the request does not show the provider's credential: nobody is let in, nothing is ended (L24)
    )


@dataclass(frozen=True, slots=True)
class ProviderLogin:
    """Who a provider's credential says is there: what `login()` is given when it is adopted.

    Attributes:
        subject: the user's id.
        provider: the provider's session; its times count (L2, L3).
        claims: put into the session's claims; a value of None removes one.
        factors: how the user proved who they are, as `login(factors=)` takes them.
        sealed: what the authority wants to find in the record again, encrypted by itself; None keeps nothing.
        handles: more texts under which this session is to be found, besides subject and provider session (at most two),
            made by `core.record.handle_of`.
        moves: whether the provider may move `provider.ends_at` to later; then a deadline that it sets is asked about
            before it ends anything. False for an upper bound that was fixed at login (`session_expiry`).
    """

    subject: str
    provider: ProviderSession
    claims: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON values
    factors: tuple[Mapping[str, Any], ...] = ()
    sealed: str | None = None
    handles: tuple[str, ...] = ()
    moves: bool = False


@dataclass(frozen=True, slots=True)
class Vouch:
    """An authority's answer about one session.

    Attributes:
        alive: what it knows.
        login: whose session the shown credential is; needed to adopt it, and compared with the record by `verify` (L24).
            None where nothing is shown with requests.
        relay: whole Set-Cookie values of the provider's, for the browser as they are.
        ask_for: query parameters for the login route, where the user has to do more there (such as `aal=aal2`); only
            with NOT_SHOWN.
    """

    alive: Alive
    login: ProviderLogin | None = None
    relay: tuple[str, ...] = ()
    ask_for: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows of what an authority may see; never a cookie of ours.

    Attributes:
        cookies: the named cookies that came, each with its one value.
        headers: the named headers that came.
        several: the named cookies that came with different values, in the order they came. A browser does so where one was
            set for the host and one for the domain above it, or where another host of that domain has planted one: which
            of them counts only the provider knows.
    """

    cookies: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    several: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:  # values are credentials
        return f"<Shown {sorted((*self.cookies, *self.headers, *self.several))}>"


NOTHING_SHOWN = Shown()


@dataclass(frozen=True, slots=True)
class Attached:
    """What an authority is told of the app it serves, before the first question.

    Attributes:
        runtime: how waiting is done; what blocks must not be called in place where it is `asynchronous`.
        clock: seconds since the epoch.
        keys: returns the secrets for a purpose, derived from `secret_keys`: the first encrypts and signs, all read.
        prefix: the path below which our endpoints lie, mount not included, such as "/session".
        clock_skew: seconds by which clocks may differ (L1).
        token_cookie: the name of our own session cookie.
        silent_sso: whether the provider's memory may begin a session again after silence (L24).
    """

    runtime: Runtime
    clock: Callable[[], float]
    keys: Callable[[str], Sequence[bytes]]
    prefix: str = "/session"
    clock_skew: float = 30.0
    token_cookie: str = "__Host-session"  # noqa: S105  # a name
    silent_sso: bool = False


class Authority(Protocol):
    """Who is asked, after the record has been judged ACTIVE, whether the user may still be signed in (L8).

    An exception counts as `Alive.UNKNOWN`. `verify` never suspends where `Attached.runtime` is not asynchronous. A method
    `attach(to: Attached)`, where there is one, is called before the first question, once for each app. An attribute `title`,
    where there is one, is what people call the provider, in place of `name`.

    Attributes:
        name: kept in each record it stands behind.
        verify_interval: seconds for which an answer holds in one process; 0 asks on each request, None never asks.
    """

    name: str
    verify_interval: float | None

    async def verify(self, record: SessionRecord, shown: Shown, now: float) -> Vouch:
        """Say whether the session of this record may live on. Never raises for a user who is gone."""
        ...


@runtime_checkable
class Adopts(Protocol):
    """An authority whose own credential comes with each request: it proves, and our session carries limits (L24).

    Attributes:
        cookies: the names of the cookies it may see.
        headers: the names of the headers it may see, in lower case; leave it empty where you can, since a request that
            may be known by a header is never recognised by its cookies alone.
    """

    cookies: tuple[str, ...]
    headers: tuple[str, ...]

    def credential(self, shown: Shown) -> str | None:
        """Return the text by which the same provider session is known again while nothing has changed; None: none came."""
        ...

    async def adopt(self, shown: Shown, now: float) -> Vouch:
        """Say whose session the shown credential is; `Vouch.login` is set where it is ALIVE."""
        ...


@dataclass(frozen=True, slots=True)
class Extended:
    """The provider's session now ends at `until` (seconds since the epoch); None: the provider does not say."""

    until: float | None
    relay: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NeedsBrowser:
    """Only the user's browser can extend it there, by going to this URL."""

    url: str


@dataclass(frozen=True, slots=True)
class NotExtended:
    """It was not extended. `gone`: because it is over there, which is proof of an end."""

    gone: bool = False


Extension = Extended | NeedsBrowser | NotExtended


@runtime_checkable
class Extends(Protocol):
    """An authority whose session can be made to end later.

    One that prolongs nothing but its own silence, so that an end it gave (L2) stays, has `ceiling_is_final = True`.
    """

    def extension_due(self, record: SessionRecord, now: float) -> bool:
        """Say whether activity now is to extend the provider's session; asked at most once per touch interval."""
        ...

    async def extend(self, record: SessionRecord, shown: Shown, now: float, minutes: float | None) -> Extension:
        """Extend it: by what the authority is configured for, or to exactly now + `minutes`. Raises where it cannot say."""
        ...


@dataclass(frozen=True, slots=True)
class EndedThere:
    """The provider's session is over too. `relay`: whole Set-Cookie values of the provider's."""

    relay: tuple[str, ...] = ()


@runtime_checkable
class Ends(Protocol):
    """An authority that can end its session when ours has ended."""

    async def end(self, record: SessionRecord, shown: Shown, reason: str, now: float) -> EndedThere | None:
        """End the provider's session of this record; None: not wanted for this reason, or it takes the browser.

        Args:
            record: as it was while alive.
            shown: what the request showed; nothing outside of requests.
            reason: why ours has ended: "logout", "revoked", "inactivity_timeout", "lifetime_exceeded", "replayed" ...
            now: the instant.

        Raises:
            Exception: it could not be told; it is told again later.
        """
        ...


@runtime_checkable
class Lists(Protocol):
    """An authority that knows all sessions of a user, also those never seen here: what `Sessions.end_all` ends too.

    Attributes:
        knows_users: whether it may be asked: it has the rights that this takes, and calls its users what we call them.
    """

    @property
    def knows_users(self) -> bool: ...

    async def list(self, subject: str, now: float) -> Sequence[ProviderSession]:
        """Return the live ones; none for somebody whom it does not know. Raises where it cannot say."""
        ...

    async def end_all(self, subject: str, now: float) -> None:
        """End all of them; that there are none is as good. Raises where it cannot say."""
        ...


@runtime_checkable
class SignsOut(Protocol):
    """An authority at which only the browser can sign out."""

    async def logout_url(
        self, record: SessionRecord | None, return_to: str | None, client_id: str | None
    ) -> str | None:
        """Return where the browser goes once our session has ended; None, and where it raises: to our own page.

        Args:
            record: the session's as it was, None if there was none.
            return_to: where our own allow list lets the user go afterwards, None for our landing page.
            client_id: the application that asked.
        """
        ...


@runtime_checkable
class Advises(Protocol):
    """An authority that knows what is doubtful in settings beside its provider's own limits."""

    def advice(self, settings: Settings) -> Sequence[str]:
        """Return one sentence for each doubt; `session-middleware check` prints them as warnings."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """A token for calls to the provider's APIs.

    Attributes:
        access_token: the token.
        sealed: what the record is to hold from now on, encrypted; None: what it holds.
    """

    access_token: str = field(repr=False)
    sealed: str | None = field(default=None, repr=False)


@runtime_checkable
class Tokens(Protocol):
    """An authority that keeps tokens of the provider in `SessionRecord.sealed`.

    It may have an attribute `refresh_seconds`: how long `refresh` takes at most; 10 s without.
    """

    def current(self, record: SessionRecord, now: float) -> Token | None:
        """Return the token at hand if it is good for a while yet; asks nobody."""
        ...

    async def refresh(self, record: SessionRecord, now: float) -> Token:
        """Get a new one. Called by one request at a time, in all processes: some providers take a refresh token once.

        Raises:
            SessionError: the provider gives none any more (`code="provider_token"`).
            Exception: it could not be asked.
        """
        ...
