"""What an adapter tells the engine of a request (RequestFacts, RouteRules) and what the engine keeps of it (Exchange)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import FunctionType, MethodType
from typing import Any, ClassVar, Literal, Protocol

from session_middleware.core.lifetime import Deadlines, Verdict
from session_middleware.core.record import SessionRecord
from session_middleware.core.tokens import Presented
from session_middleware.errors import SettingsError

__all__ = [
    "ANONYMOUS",
    "GIVEN_ATTRIBUTE",
    "NO_RULES",
    "RULES_ATTRIBUTE",
    "Exchange",
    "RequestFacts",
    "RouteRules",
    "is_activity",
    "is_prefetch",
    "rules_given_by",
    "rules_of",
]

Policy = Literal["required", "optional", "exempt"]

#: Where a marker leaves its rules on an endpoint.
RULES_ATTRIBUTE = "__session_rules__"

#: Where a marker itself says what rules it gives.
GIVEN_ATTRIBUTE = "__session_gives__"

#: How many decorators around a view are looked through; more than anybody stacks, and an end to any circle.
_LAYERS = 64

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class RequestFacts(Protocol):
    """A request as the core sees it; an adapter reads each fact from its own request only when asked.

    Attributes:
        method: in capitals; "GET" for a WebSocket handshake.
        path: decoded, below the mount (PATH_INFO; `scope["path"]` without `root_path`) (L21).
        mount: decoded mount point, "" at the root (SCRIPT_NAME, root_path).
        target: path and query as the client should ask for them again, mount included, percent-encoded.
        scheme: "http" or "https" as the server says.
        host: the Host header, "" if there is none.
        websocket: whether this is a WebSocket handshake.
        cookies: the Cookie header, several joined by "; ", "" if there is none.
        client: the peer's address, None if the server does not say.
    """

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def mount(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def websocket(self) -> bool: ...
    @property
    def cookies(self) -> str: ...
    @property
    def client(self) -> str | None: ...

    def header(self, name: str) -> str | None:
        """Return a header by its lower-case name, or None."""
        ...


@dataclass(frozen=True, slots=True)
class RouteRules:
    """What the markers of a route say (L21).

    Attributes:
        policy: None takes the default policy.
        fresh_within: seconds since authentication within which the user must be, or None.
        touch: False: a request here is not activity (`no_touch`).
        on_unavailable: "stale" lets a still valid session JWT stand in while the store is down (L17); None: as set.
        cross_site_login: True: `login()` may be called in a cross-site unsafe request (L20).
        sets_cookies: False for our own status, list and jwks endpoints (L9).
    """

    policy: Policy | None = None
    fresh_within: float | None = None
    touch: bool = True
    on_unavailable: Literal["refuse", "stale"] | None = None
    cross_site_login: bool = False
    sets_cookies: bool = True

    def merged(self, other: RouteRules) -> RouteRules:
        """Return both sets of rules as one; the order does not matter.

        Raises:
            SettingsError: they contradict each other.
        """
        policies = {p for p in (self.policy, other.policy) if p is not None}
        if len(policies) > 1:
            raise SettingsError("markers", sorted(policies), "contradict each other on one route.", "Keep one of them.")
        policy = policies.pop() if policies else None
        windows = [w for w in (self.fresh_within, other.fresh_within) if w is not None]
        outages = {o for o in (self.on_unavailable, other.on_unavailable) if o is not None}
        return replace(
            self,
            policy="required" if windows else policy,
            fresh_within=min(windows) if windows else None,
            touch=self.touch and other.touch,
            on_unavailable="refuse" if "refuse" in outages else outages.pop() if outages else None,
            cross_site_login=self.cross_site_login or other.cross_site_login,
            sets_cookies=self.sets_cookies and other.sets_cookies,
        )

    def narrowed(self, nearer: RouteRules) -> RouteRules:
        """Return both, where the other stands nearer to what runs; where they differ on who may come in, that goes before."""
        broad = self if nearer.policy in (None, self.policy) else replace(self, policy=None, fresh_within=None)
        return broad.merged(nearer)


#: Shared by every route without a marker.
NO_RULES = RouteRules()


def rules_of(endpoint: object) -> RouteRules | None:
    """Return what the markers on an endpoint say; None if there are none.

    They may stand on what a `functools.partial` calls; of an object that is called, on its class and on `__call__`; and of
    a bound method on its class, where views of one class are registered one by one (Flask-Admin, sqladmin, Django's ModelAdmin),
    also where it is wrapped.
    """
    while True:
        rules = getattr(endpoint, RULES_ATTRIBUTE, None)
        found = rules if isinstance(rules, RouteRules) else None
        if type(endpoint) is FunctionType:  # nearly always
            return _below_class(_wrapped_in(endpoint), found) if "__wrapped__" in endpoint.__dict__ else found
        if isinstance(endpoint, MethodType):
            return _below_class(endpoint, found)
        if found is not None or not isinstance(endpoint, partial):  # by its attributes a mock would look like one
            call = getattr(type(endpoint), "__call__", None)  # noqa: B004  # not whether it can be called: what that runs
            own = getattr(call, RULES_ATTRIBUTE, None)
            return found if own is None else own if found is None else found.narrowed(own)
        endpoint = endpoint.func


def _wrapped_in(view: object) -> object:
    """Return what stands innermost below `functools.wraps`; that has copied the method's markers, not those of its class."""
    for _ in range(_LAYERS):
        if type(view) is not FunctionType:
            break
        view = view.__dict__.get("__wrapped__")
    return view


def _below_class(method: object, found: RouteRules | None) -> RouteRules | None:
    """Return what is said of a view of which a bound method runs: by its class, and, going before that, what was found nearer."""
    if not isinstance(method, MethodType):
        return found
    owner = method.__self__
    whole = getattr(owner if isinstance(owner, type) else type(owner), RULES_ATTRIBUTE, None)
    if not isinstance(whole, RouteRules):
        return found
    return whole if found is None else whole.narrowed(found)


def rules_given_by(decorator: object) -> RouteRules | None:
    """Return the rules that a marker gives to what it is applied to; None for anything that is no marker.

    For the places where a framework applies decorators too late for the rules to be found on the endpoint.
    """
    rules = decorator.__dict__.get(GIVEN_ATTRIBUTE) if type(decorator) is FunctionType else None
    return rules if isinstance(rules, RouteRules) else None


def is_prefetch(facts: RequestFacts) -> bool:
    """Say whether the browser asks ahead of the user (Fetch: Sec-Purpose; older: Purpose)."""
    purpose = facts.header("sec-purpose") or facts.header("purpose")
    return purpose is not None and purpose.lower().startswith(("prefetch", "prerender"))


def is_activity(facts: RequestFacts, rules: RouteRules, activity: str) -> bool:
    """Say whether an ACTIVE request to this route is activity (L6)."""
    if not rules.touch or facts.method == "OPTIONS":
        return False
    if facts.header("session-activity") == "none" or is_prefetch(facts):
        return False
    if activity == "user":
        return facts.method not in SAFE_METHODS or facts.header("sec-fetch-mode") == "navigate"
    return True


# Looking a member up on its enum takes Python 3.11 a tenth of a microsecond, and these two are asked for all the time.
_ACTIVE, ANONYMOUS = Verdict.ACTIVE, Verdict.ANONYMOUS


class Exchange:
    """One request and its response, as far as the session is concerned; the engine alone writes to it.

    What nothing has been written to is found on the class: to write two dozen fields for every request would cost a tenth
    of what we may add to one (measured). But not verdict and rules: the interpreter writes slowly what the class has, too, as
    an object of another class. Who makes one without `__init__` sets what that sets.
    """

    facts: RequestFacts
    shown: str | bytes  # the Cookie header as the server gave it; what is known of it is found by this
    now: float  # read once per request (L1)
    authenticated: bool  # whether the credentials were looked at
    judged: bool  # whether the rules of a route were applied
    quiet = False  # whether nothing at all is due for this request and its response
    closed = False  # whether the response has started
    rules: RouteRules
    verdict: Verdict
    protected = False  # whether the route requires a session (L18)
    record: SessionRecord | None = None
    presented: Presented | None = None
    deadlines: Deadlines | None = None
    configured: Any = None  # Limits in force by configuration; set with record
    known: Any = None  # the engine's cache entry for this Cookie header
    reissue = False  # the token goes out with the response
    replaced: tuple[bytes, ...] = ()  # keys of sessions that end when the response starts (L12)
    outgoing: SessionRecord | None = None  # the live one among them
    gone_on: SessionRecord | None = None  # the one among them that goes on under another id since a step-up elsewhere
    stepped_from: bytes | None = None  # the key in `replaced` whose authentication step_up carries on
    created: SessionRecord | None = None  # made by login or step_up during this request (L25)
    created_id = b""  # the token id of `created`
    adopted = False  # `created` was begun by an adoption, not by the view
    shared = False  # `created` may be other requests' too: all that show the same proof of a provider's take it
    deletes = False  # logout: our cookies are removed
    relay: tuple[str, ...] = ()  # Set-Cookie values of the provider's, for the browser as they are
    anew: Any = None  # a ProviderLogin that the shown credential proves and the record does not stand on (L24)
    ask_for: tuple[tuple[str, str], ...] = ()  # what the login route is to ask of the user (Vouch.ask_for)
    continue_url: str | None = None  # where only the browser can extend the provider's session
    stale = False  # served from the session JWT alone while the store was down (L17)
    claim_changes: dict[str, Any] | None = None  # Any: JSON values
    data: dict[str, Any] | None = None  # the app's working copy, made when it asks
    data_from: Mapping[str, Any] | None = None  # what that was copied from; the record may be newer by now
    unsaved: Any = None  # what says so where nobody saves what is written from now on; see unsaved.py
    clear_framework: Callable[[], Awaitable[None] | None] | None = None  # set by the adapter (L26)

    #: What most requests have written to them, besides what stands in slots.
    written: ClassVar[tuple[str, ...]] = (
        *("shown", "now", "authenticated", "judged", "quiet", "closed", "rules", "verdict", "protected"),
        *("record", "presented", "deadlines", "configured", "known"),
    )

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _lay_out(cls)

    def __init__(self, facts: RequestFacts, now: float) -> None:
        self.facts = facts
        self.shown = facts.cookies
        self.now = now
        self.verdict = ANONYMOUS
        self.rules = NO_RULES
        self.authenticated = self.judged = False

    def opened_late(self) -> None:
        """Take note that its session was read only after the response had started; for adapters that hold it open."""

    @property
    def is_active(self) -> bool:
        return self.verdict is _ACTIVE

    @property
    def was_looked_at(self) -> bool:
        """Whether the response may depend on the session, be it that somebody looked and gave up (L18)."""
        return self.authenticated or self.known is not None

    @property
    def over(self) -> str | None:
        """The public id of the session for whose end the framework's is emptied; None at a logout or a login (L26)."""
        return None if self.record is None or self.is_active else self.record.public_id

    @property
    def claims(self) -> Mapping[str, Any]:
        """The claims as the view sees them: the record's, with what it changed."""
        held: Mapping[str, Any] = self.record.claims if self.record is not None else {}
        if not self.claim_changes:
            return held
        return changed(held, self.claim_changes)


def _lay_out(kind: type[Exchange]) -> None:
    """Let every instance of a class have a place for what is written to most of them.

    CPython decides for which attributes there is one by the first few dozen instances (PEP 412, as it is since 3.11). An app
    whose first requests were all health checks would keep a dict of its own for each signed-in request from then on, at
    more than twice the cost of an exchange (measured).
    """
    first = kind.__new__(kind)
    for name in kind.written:
        setattr(first, name, None)


_lay_out(Exchange)


def changed(held: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with changes applied; a value of None removes."""
    merged = {**held, **changes}
    return {name: value for name, value in merged.items() if value is not None}
