"""The endpoints under `endpoint_prefix`, written once over the engine and mounted by every adapter.

`ROUTES` says for each name and method what guards it (L20), what it needs to know of the session, whether it may set
cookies (L9), and who answers. None of them is activity (L6); `continue` moves the deadline by L7.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote
from uuid import uuid4

from session_middleware import client, provider_routes, provider_users
from session_middleware.authorities.base import SignsOut
from session_middleware.authorities.routes import Endpoint
from session_middleware.core import lifetime, pages
from session_middleware.core.exchange import Exchange, RequestFacts, RouteRules
from session_middleware.core.fields import Fields, body_fields, minutes_of, query_fields, text_of
from session_middleware.core.lifetime import Verdict
from session_middleware.core.origin import is_cross_site, may_change_state, on_this_host
from session_middleware.core.record import SessionRecord
from session_middleware.core.refusal import HARDENING, Reply, is_navigation
from session_middleware.core.replies import (
    NEGOTIATED,
    as_json,
    as_page,
    done,
    gone_elsewhere,
    key_set,
    problem,
    rfc3339,
    session_object,
    session_row,
    wrong_method,
)
from session_middleware.core.tokens import b64encode, derive
from session_middleware.engine import Engine
from session_middleware.errors import SessionError, SettingsError, StoreUnavailable
from session_middleware.event_stream import EventStream, as_event, opening

__all__ = ["BODY_LIMIT", "ROUTES", "WARN_BEFORE", "Endpoints", "ReadBody"]

#: Given a limit in bytes, returns the request's body; raises ValueError if it is longer.
ReadBody = Callable[[int], Awaitable[bytes]]

#: Bodies here hold a few short fields; more is refused with 413.
BODY_LIMIT: Final = 64 * 1024

#: Seconds before its end at which a user should be asked whether to go on (Auth0, "Timeout modal").
WARN_BEFORE: Final = 60


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an endpoint: the exchange, its body when asked for, and the id in its path."""

    x: Exchange
    read_body: ReadBody
    id: str


@dataclass(frozen=True, slots=True)
class Route:
    """What holds for one endpoint and method.

    Attributes:
        answer: the method of `Endpoints` that answers.
        guard: "same_origin" where state changes, "cross_site" where only what another site asks is refused (L20).
        needs: "nothing" does not look at the session; "look" takes any verdict; "known" answers 503 where none can be
            reached (L17); "active" moreover refuses whoever is not signed in (L15).
        cookies: whether the answer may set cookies (L9).
    """

    answer: Callable[[Endpoints, Call], Awaitable[Reply]]
    guard: Literal["none", "cross_site", "same_origin"]
    needs: Literal["nothing", "look", "known", "active"]
    cookies: bool = False
    rules: RouteRules = field(init=False)

    def __post_init__(self) -> None:
        rules = RouteRules(policy="optional", touch=False, on_unavailable="refuse", sets_cookies=self.cookies)
        object.__setattr__(self, "rules", rules)


class Endpoints:
    """Answers requests below `endpoint_prefix`.

    The adapter asks `owns`, hands the exchange to `answer`, then calls `engine.close` and adds what that returns.

    Attributes:
        prefix: what the path of each of our endpoints begins with, its last slash included.
    """

    __slots__ = ("_routes", "_user_keys", "engine", "prefix")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.prefix = engine.settings.endpoint_prefix + "/"
        self._routes = _with(engine.provider_routes, type(engine.authority).__name__)
        keys = engine.settings.secret_keys
        self._user_keys = [derive(k if isinstance(k, bytes) else k.encode(), "user of a page") for k in keys]

    def owns(self, path: str) -> bool:
        """Say whether a path, decoded and below the mount, is for us to answer."""
        return path.startswith(self.prefix)

    async def answer(self, x: Exchange, read_body: ReadBody) -> Reply:
        """Answer a request whose path we own; it opens the exchange and leaves closing it to the adapter."""
        facts = x.facts
        name, id = _named(facts.path[len(self.prefix) :])
        methods = self._routes.get(name)
        if methods is None or facts.websocket:
            return problem(facts, 404, "not_found", "There is nothing at this address.")
        route = methods.get("GET" if facts.method == "HEAD" else facts.method)
        if route is None:
            return wrong_method(facts, methods)
        if route.guard == "none":
            return await self._answer(route, Call(x, read_body, id))
        if not self._may_come(facts, route):
            self.engine.tell("csrf_blocked", x, endpoint=name, origin=(facts.header("origin") or "")[:200])
            reply = problem(facts, 403, "csrf", "This request was made by another site.")
        else:
            reply = await self._answer(route, Call(x, read_body, id))
        return reply.with_headers((("Vary", "Sec-Fetch-Site, Origin"),))

    def _may_come(self, facts: RequestFacts, route: Route) -> bool:
        if route.guard == "same_origin":
            return may_change_state(facts, self.engine.settings)
        return not is_cross_site(facts, self.engine.settings)

    async def _answer(self, route: Route, call: Call) -> Reply:
        x, engine = call.x, self.engine
        try:
            if route.needs != "nothing":
                await engine.open(x, route.rules)
                await engine.authenticate(x)  # not done yet where exempt_paths covers our prefix
            if x.verdict is Verdict.UNAVAILABLE and route.needs != "look":
                return self.engine.unavailable(x)
            if route.needs == "active" and not x.is_active:
                return self._refused(x)
            return await route.answer(self, call)
        except StoreUnavailable:
            return self.engine.unavailable(x)
        except provider_routes.BodyTooLong:
            return problem(x.facts, 413, "too_large", "The request body is too large.")

    # --- the session's state -----------------------------------------------------------------------------------

    async def _status(self, call: Call) -> Reply:
        return self._state(call.x)

    async def _events(self, call: Call) -> Reply:
        """Begin a stream that tells a page what becomes of its session (docs/client.md)."""
        engine = self.engine
        if not engine.runtime.asynchronous and not engine.settings.sse:
            return Reply(204, HARDENING)  # a thread for each browser is too much to take without being asked
        if call.x.facts.method == "HEAD":
            return Reply(200, EventStream(b"", self.event).headers)
        return EventStream(opening() + self.event(call.x), self.event)

    def event(self, x: Exchange) -> bytes:
        """Return the event that says how things stand with a session."""
        return as_event(self._state(x).body)

    async def _continue(self, call: Call) -> Reply:
        facts = call.x.facts
        fields = await _fields(call)
        if fields is None:
            title = "The request body could not be read."
            return problem(facts, 400, "unreadable", title, "Send JSON or a form, with the matching Content-Type.")
        try:
            await self.engine.continue_(call.x, minutes_of(fields))
        except SettingsError as fault:
            return problem(facts, 400, "minutes", "The value of minutes is out of range.", fault.fix)
        except SessionError:
            if call.x.is_active:
                raise
            return self._refused(call.x)  # it ended meanwhile, and an ended session stays ended (L7)
        return self._state(call.x)

    async def _refresh(self, call: Call) -> Reply:
        """Answer the session as Stytch's session object; the adapter's `close` rotates the JWT if due (L9)."""
        x = call.x
        record, deadlines = x.record, x.deadlines
        assert record is not None
        assert deadlines is not None
        session = session_object(record, deadlines.ends_at, x.claims)
        return as_json({"status_code": 200, "request_id": f"request-id-{uuid4()}", "session": session})

    async def _jwks(self, call: Call) -> Reply:
        return key_set(self.engine.jwks())

    async def _client(self, call: Call) -> Reply:
        return client.reply(call.x.facts)

    # --- logout --------------------------------------------------------------------------------------------------

    async def _confirm_logout(self, call: Call) -> Reply:
        """Ask before signing out: a GET changes nothing. A listed return URL is carried on."""
        asked = query_fields(call.x.facts.target)
        target = self._listed(asked)
        carried = ((name, text_of(asked, name)) for name in ("return_to", "client_id") if target is not None)
        fields = [(name, value) for name, value in carried if value is not None]
        return as_page(pages.confirm_logout(self._url(call.x, "logout"), fields), form_target=target)

    async def _log_out(self, call: Call) -> Reply:
        """End the session in any case; go to the URL asked for only if it is listed, else to our landing page."""
        asked = {**query_fields(call.x.facts.target), **(await _fields(call) or {})}
        target = self._listed(asked)
        if target is None and asked.get("return_to"):
            url, client = text_of(asked, "return_to") or "", text_of(asked, "client_id") or ""
            self.engine.tell("redirect_blocked", call.x, url=url.partition("?")[0][:200], client_id=client[:200])
        return await self._end_this(call.x, target, text_of(asked, "client_id"))

    async def _end_this(self, x: Exchange, target: str | None = None, client: str | None = None) -> Reply:
        authority = self.engine.authority
        record = x.record if x.is_active else None
        elsewhere = None
        if isinstance(authority, SignsOut):  # asked while there is a record: it may hold what the provider wants to see
            try:
                elsewhere = await authority.logout_url(record, target, client)
            except Exception as fault:  # no reason not to log out here
                self.engine.vouching.fault(fault)
        kinds = self.engine.settings.clear_site_data
        clear = (("Clear-Site-Data", ", ".join(f'"{kind}"' for kind in kinds)),) if kinds else ()
        try:
            await self.engine.logout(x)
        except StoreUnavailable:
            detail = (
                "This browser is signed out here. That the session has ended could not be stored yet; this is being "
                "retried. On a shared or lost device, sign out of your other sessions later."
            )
            title = "Signed out in this browser only."
            return problem(x.facts, 503, "unavailable", title, detail, (self._retry_after(), *clear))
        if elsewhere is not None:
            return gone_elsewhere(x.facts, elsewhere).with_headers(clear)
        return done(x.facts, target or self._url(x, "signed-out")).with_headers(clear)

    def _listed(self, asked: Fields) -> str | None:
        """Return the URL asked for, percent-encoded, if the list of that client (or of all) has exactly it."""
        settings = self.engine.settings
        url, client = text_of(asked, "return_to"), text_of(asked, "client_id")
        if asked.get("client_id"):
            # It only selects the list; the session ends for every application that shares it (Auth0).
            allowed = settings.logout_urls_by_client.get(client, ()) if client is not None else ()
        else:
            allowed = settings.logout_urls
        if url is None or url not in allowed:
            return None
        return quote(url, safe="/?&=%:;,+$!*'()@-._~[]", errors="surrogatepass")

    async def _signed_out(self, call: Call) -> Reply:
        if call.x.is_active:  # somebody who is signed in must not read that they are not
            return as_page(pages.confirm_logout(self._url(call.x, "logout")))
        provider = self.engine.vouching.may_know(call.x.facts)
        return as_page(pages.signed_out(self.engine.login_url(call.x.facts), provider))

    # --- my sessions ---------------------------------------------------------------------------------------------

    async def _list(self, call: Call) -> Reply:
        x = call.x
        records = await self._mine(x)
        current = _own(x).key
        if is_navigation(x.facts):
            rows = [
                pages.Row(
                    record.key == current,
                    rfc3339(record.created_at),
                    rfc3339(record.last_seen_at),
                    record.attributes,
                    self._url(x, f"list/{quote(record.public_id, safe='')}/end"),
                )
                for record in records
            ]
            return as_page(pages.sessions(rows, self._url(x, "list/end-others"))).with_headers(NEGOTIATED)
        listed = [session_row(record, record.key == current) for record in records]
        return as_json({"sessions": listed}).with_headers(NEGOTIATED)

    async def _end_one(self, call: Call) -> Reply:
        x = call.x
        if call.id == _own(x).public_id:
            return await self._end_this(x)
        if all(record.public_id != call.id for record in await self._mine(x)):
            return problem(x.facts, 404, "not_found", "You have no such session.")
        await self.engine.end_id(call.id, x.now)
        return done(x.facts, self._url(x, "list"))

    async def _end_others(self, call: Call) -> Reply:
        record = _own(call.x)
        await provider_users.end_all(self.engine, record.subject, call.x.now, (record.key,))
        return done(call.x.facts, self._url(call.x, "list"))

    async def _mine(self, x: Exchange) -> list[SessionRecord]:
        return await self.engine.list_of(_own(x).subject, x.now)

    # --- answers -------------------------------------------------------------------------------------------------

    def _state(self, x: Exchange) -> Reply:
        deadlines = x.deadlines if x.is_active else None
        silence = deadlines.inactivity if deadlines is not None else None
        state: dict[str, object] = {
            "authenticated": x.is_active,
            "reason": x.verdict.reason,
            "inactivity_left": None if silence is None else max(0, math.floor(silence - x.now)),
            "absolute_left": None if deadlines is None else max(0, math.floor(deadlines.absolute - x.now)),
            "final_left": None if deadlines is None else max(0, math.floor(self._final(x, deadlines) - x.now)),
            "warn_before": WARN_BEFORE,
            "report_every": self._report_every(x),
            "user": self._user(x),
            "login_url": self.engine.login_url(x.facts),
            "return_param": self.engine.return_param,
        }
        if x.continue_url is not None:
            state["continue_url"] = x.continue_url
        return as_json(state)

    def _final(self, x: Exchange, deadlines: lifetime.Deadlines) -> float:
        """Return the end that nothing moves: the absolute deadline, without a provider's end that `continue` may move."""
        record = x.record
        if record is None or record.ceiling is None or not self.engine.vouching.may_move_ceiling(record):
            return deadlines.absolute
        free = record.evolve(ceiling=None)
        return lifetime.deadlines(free, x.configured, self.engine.settings.timing).absolute

    def _report_every(self, x: Exchange) -> float | None:
        """Return how often the browser script may report its user with `continue`; None where it is not to.

        Where activity does not move the deadline (L4) a report must not either, and what extends a provider's session is a
        call to the provider, which a person should have asked for.
        """
        timing, record = self.engine.settings.timing, x.record
        if not x.is_active or record is None or x.deadlines is None or x.deadlines.inactivity is None:
            return None
        return max(timing.touch_interval, 1.0) if timing.rolling and record.provider_session is None else None

    def _user(self, x: Exchange) -> list[str] | None:
        """Return what tells this page's user from another and says nothing else: a keyed hash, one for each key.

        Two answers are of one user if they share one; so nobody seems to be somebody else while a key is changed (L10).
        """
        if not x.is_active or x.record is None:
            return None
        subject = x.record.subject.encode("utf-8", "surrogatepass")
        return [b64encode(hmac.digest(key, subject, "sha256")[:12]) for key in self._user_keys]

    def _refused(self, x: Exchange) -> Reply:
        return self.engine.render(x, self.engine.refusal(x, x.verdict.reason))

    def _retry_after(self) -> tuple[str, str]:
        return "Retry-After", str(max(1, round(self.engine.settings.timing.retry_after)))

    def _url(self, x: Exchange, name: str) -> str:
        return on_this_host(x.facts.mount + self.prefix) + name


async def _fields(call: Call) -> Fields | None:
    """Return the fields of the body, None if it is unreadable.

    Raises:
        provider_routes.BodyTooLong: it is too long.
    """
    try:
        body = await call.read_body(BODY_LIMIT)
    except ValueError as fault:
        raise provider_routes.BodyTooLong from fault
    return body_fields(body, call.x.facts.header("content-type"))


def _named(rest: str) -> tuple[str, str]:
    """Return the name of an endpoint from what follows the prefix, and the id in it, "" where there is none."""
    parts = rest.split("/")
    if parts[0] == "list" and len(parts) in (2, 3) and parts[1] not in ("", "end-others"):
        return "/".join(["list", "{id}", *parts[2:]]), parts[1]
    return rest, ""


def _own(x: Exchange) -> SessionRecord:
    assert x.record is not None  # the route needs "active"
    return x.record


#: Every endpoint: name below the prefix -> method -> what holds. HEAD is answered as GET.
ROUTES: Final[Mapping[str, Mapping[str, Route]]] = {
    "status": {"GET": Route(Endpoints._status, "cross_site", "known")},
    "events": {"GET": Route(Endpoints._events, "cross_site", "active")},
    "continue": {"POST": Route(Endpoints._continue, "same_origin", "active", cookies=True)},
    "refresh": {"POST": Route(Endpoints._refresh, "cross_site", "active", cookies=True)},
    "jwks.json": {"GET": Route(Endpoints._jwks, "none", "nothing")},
    "client.js": {"GET": Route(Endpoints._client, "none", "nothing")},
    "logout": {
        "GET": Route(Endpoints._confirm_logout, "none", "nothing"),
        "POST": Route(Endpoints._log_out, "same_origin", "look"),
    },
    "signed-out": {"GET": Route(Endpoints._signed_out, "none", "known")},
    "list": {"GET": Route(Endpoints._list, "cross_site", "active")},
    "list/end-others": {"POST": Route(Endpoints._end_others, "same_origin", "active")},
    "list/{id}": {"DELETE": Route(Endpoints._end_one, "same_origin", "active")},
    "list/{id}/end": {"POST": Route(Endpoints._end_one, "same_origin", "active")},
}


def _with(more: Sequence[Endpoint], whose: str) -> Mapping[str, Mapping[str, Route]]:
    """Return every endpoint of ours, and those that the authority brings.

    Raises:
        SettingsError: it brings one that we have.
    """
    routes = {name: dict(methods) for name, methods in ROUTES.items()}
    for endpoint in more:
        methods = routes.setdefault(endpoint.path, {})
        if endpoint.method in methods:
            raise SettingsError(
                "authority", whose, f"brings {endpoint.method} {endpoint.path}, which is ours.", "Rename its route."
            )
        methods[endpoint.method] = Route(_handled_by(endpoint), endpoint.guard, endpoint.needs, cookies=True)
    return routes


def _handled_by(endpoint: Endpoint) -> Callable[[Endpoints, Call], Awaitable[Reply]]:
    async def answer(endpoints: Endpoints, call: Call) -> Reply:
        return await provider_routes.answer(endpoints.engine, call.x, endpoint, call.read_body)

    return answer
